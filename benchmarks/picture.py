"""Summaries to SVG: a bar for each case, as long as its ratio is of its bound; the bound is one line for all. Pure.

Beyond twice the bound a bar is cut and says so. Colours differ in lightness too, and every bar has its number.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.summaries import Row

WIDTH = 800
LEFT, RIGHT, TOP, LINE = 300, 90, 74, 30
MOST = 1.6
WITHIN, OVER, INK, PALE = "#1f6f5c", "#d9822b", "#1b1b1b", "#6b6b6b"
STYLE = "font-family:system-ui,'DejaVu Sans',sans-serif;font-size:15px"


def draw(rows: Sequence[Row], caption: str) -> str:
    """The picture of all cases that have a bound."""
    shown = [(row, row["bound"]) for row in rows if row["bound"]]
    height = TOP + LINE * len(shown) + 44
    scale = (WIDTH - LEFT - RIGHT) / MOST
    line = LEFT + scale
    bottom = TOP + LINE * len(shown)
    parts = [
        (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
         f'role="img" style="{STYLE}">'),
        "<title>Time of airbundle beside its peers, as a part of the bound</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 26, "Time of airbundle over that of its peer, and the bound of it", size=18, weight=600),
        _text(16, 47, caption, size=13, fill=PALE),
    ]
    for number, (row, bound) in enumerate(shown):
        parts += _bar(TOP + LINE * number, row, bound, scale)
    parts += [
        f'<line x1="{line:.1f}" y1="{TOP - 6}" x2="{line:.1f}" y2="{bottom + 4}" stroke="{INK}" stroke-width="2"/>',
        _text(line, TOP - 10, "bound", size=13, anchor="middle"),
        *_key(bottom + 28), "</svg>", ""]
    return "\n".join(parts)


def _bar(top: float, row: Row, bound: float, scale: float) -> list[str]:
    share = row["ratio"] / bound
    width = min(share, MOST) * scale
    middle = top + LINE / 2 + 5
    number = f"{row['ratio']:.2f} of {bound:.2f}" + (" (cut)" if share > MOST else "")
    inside = width > 0.62 * scale
    return [
        _text(LEFT - 10, middle, row["name"], anchor="end"),
        (f'<rect x="{LEFT}" y="{top + 4}" width="{width:.1f}" height="{LINE - 8}" '
         f'fill="{WITHIN if share <= 1 else OVER}"/>'),
        _text(LEFT + 8 if inside else LEFT + width + 8, middle, number, size=14,
              fill=("#ffffff" if share <= 1 else INK) if inside else INK)]


def _key(y: float) -> list[str]:
    return [f'<rect x="{LEFT}" y="{y - 12}" width="14" height="14" fill="{WITHIN}"/>',
            _text(LEFT + 20, y, "within its bound", size=13),
            f'<rect x="{LEFT + 150}" y="{y - 12}" width="14" height="14" fill="{OVER}"/>',
            _text(LEFT + 170, y, "over it", size=13),
            _text(LEFT + 250, y, "less is better", size=13, fill=PALE)]


def _text(x: float, y: float, text: str, *, size: int = 15, weight: int = 400, fill: str = INK,
          anchor: str = "start") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
            f'text-anchor="{anchor}">{escape(text)}</text>')
