"""Summaries to SVG: a bar for each case, as long as its ratio is of its bound; the bound is one line for all. Pure.

Cases stand under the peer that they are compared with. What is far beyond its bound is cut and says so. Colours differ
in lightness too, and every bar has its number.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.summaries import Row

WIDTH = 800
LEFT, RIGHT, TOP, LINE = 290, 30, 84, 28
MOST = 2.4
WITHIN, OVER, INK, PALE = "#1f6f5c", "#e0913a", "#1b1b1b", "#5c5c5c"
STYLE = "font-family:system-ui,'DejaVu Sans',sans-serif"
SCALE = (WIDTH - LEFT - RIGHT) / MOST


def draw(rows: Sequence[Row], caption: str) -> str:
    """The picture of all cases that have a bound."""
    shown = [row for row in rows if row["bound"] is not None]
    peers = dict.fromkeys(row["peer"] for row in shown)
    top, parts = float(TOP), []
    for peer in peers:
        parts.append(_text(LEFT - 10, top + LINE / 2 + 6, f"beside {peer}", size=13, fill=PALE, anchor="end"))
        top += LINE
        for row in shown:
            if row["peer"] == peer:
                parts += _bar(top, row)
                top += LINE
    line, height = LEFT + SCALE, round(top) + 44
    return "\n".join([
        (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
         f'role="img" style="{STYLE}">'),
        "<title>How long airbundle takes beside its peers, as a part of what was set as the bound</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 28, "How long airbundle takes: its time over the peer's, beside the bound", size=18, weight=600),
        _text(16, 50, caption, size=13, fill=PALE),
        *parts,
        f'<line x1="{line:.1f}" y1="{TOP + 4}" x2="{line:.1f}" y2="{top + 4:.1f}" stroke="{INK}" stroke-width="2"/>',
        _text(line, TOP - 4, "bound", size=13, anchor="middle"),
        *_key(top + 30), "</svg>", ""])


def _bar(top: float, row: Row) -> list[str]:
    assert row["bound"] is not None
    share = row["ratio"] / row["bound"]
    width = min(share, MOST) * SCALE
    middle = top + LINE / 2 + 5
    number = f"{row['ratio']:.2f}, bound {row['bound']:.2f}" + (" (cut)" if share > MOST else "")
    inside = width > 0.7 * SCALE
    outside = LEFT + width + 8 if width < 0.2 * SCALE else LEFT + SCALE + 8  # never across the line of the bound
    return [
        _text(LEFT - 10, middle, row["name"].removesuffix(", beside cp"), anchor="end"),
        (f'<rect x="{LEFT}" y="{top + 3}" width="{width:.1f}" height="{LINE - 6}" '
         f'fill="{WITHIN if share <= 1 else OVER}"/>'),
        _text(LEFT + 8 if inside else outside, middle, number, size=14,
              fill="#ffffff" if inside and share <= 1 else INK)]


def _key(y: float) -> list[str]:
    return [f'<rect x="{LEFT}" y="{y - 12:.1f}" width="14" height="14" fill="{WITHIN}"/>',
            _text(LEFT + 20, y, "within its bound", size=13),
            f'<rect x="{LEFT + 150}" y="{y - 12:.1f}" width="14" height="14" fill="{OVER}"/>',
            _text(LEFT + 170, y, "over it", size=13),
            _text(LEFT + 250, y, "shorter is faster", size=13, fill=PALE)]


def _text(x: float, y: float, text: str, *, size: int = 15, weight: int = 400, fill: str = INK,
          anchor: str = "start") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
            f'text-anchor="{anchor}">{escape(text)}</text>')
