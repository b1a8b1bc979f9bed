"""The slip as one HTML page for A4 or Letter: black on white, everything inline, no script, nothing fetched."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import segno

from airbundle.cli.output import human, moment
from airbundle.format.names import shown

if TYPE_CHECKING:
    from airbundle.transfer.slip import Slip, SlipSigner

STYLE = """
@page { size: A4; margin: 14mm }
* { box-sizing: border-box }
body { font: 10.5pt/1.35 "DejaVu Sans", "Noto Sans", Arial, sans-serif; color: #000; background: #fff;
       width: 182mm; margin: 0 auto; padding: 0 }
header, footer { display: flex; justify-content: space-between; align-items: flex-start }
.marking { border: 1.2mm solid #000; text-align: center; font-weight: bold; font-size: 16pt; padding: 1.5mm;
           margin: 3mm 0; overflow-wrap: anywhere }
h1 { font-size: 24pt; line-height: 1.1; margin: 0 0 1mm; overflow-wrap: anywhere }
h2 { font-size: 10.5pt; margin: 4mm 0 1mm; border-bottom: .3mm solid #000 }
.volume { font-size: 19pt; font-weight: bold; margin: 0 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .5mm 2mm .5mm 0; overflow-wrap: anywhere }
th { width: 32mm; font-weight: normal; color: #333 }
code { font: 9.5pt/1.3 "DejaVu Sans Mono", "Noto Sans Mono", monospace; overflow-wrap: anywhere }
.words { font-weight: bold }
.fields td, .fields th { border: .3mm solid #000; padding: 1.5mm; height: 11mm; width: auto }
.fields th { height: auto; font-size: 8.5pt; color: #000 }
.qr { width: 38mm; flex: none; text-align: center; font-size: 7.5pt; margin-left: 6mm }
.qr svg { width: 38mm; height: 38mm }
.warning { border: .6mm dashed #000; padding: 2mm; font-weight: bold }
footer { font-size: 8pt; margin-top: 3mm }
.many, .many code { font-size: 6.5pt; line-height: 1.1 }
.many th { width: 14mm }
.long, .marking.long { font-size: 9pt }
.tight { font-size: 9pt; line-height: 1.2 }
.tight td, .tight th { padding-top: .2mm; padding-bottom: .2mm }
.tight h2 { margin-top: 2mm }
@media screen { body { padding: 14mm 0 } }
"""
HANDS, HANDS_OF_MANY = 5, 2
NAME_OF_MANY = 24
MANY_SIGNERS = 3
LONG_TEXT, LONGEST_TEXT = 60, 64
"""Characters of the largest type, and of any: `airbundle inspect` shows the rest. A marking is always whole."""


def slip_page(slip: Slip) -> str:
    """The page. What a stranger wrote in a statement is text and never markup."""
    rows = [("bundle", f"<code>{_text(slip.bundle)}</code>"), ("volume's folder", f"<code>{_text(slip.name)}</code>"),
            ("drive", _text(f"serial {slip.serial or 'unknown'}{f', {slip.drive!r}' if slip.drive else ''}")),
            ("on the drive", _text(f"{human(slip.stored)}; segments of all volumes: {human(slip.size)}")),
            ("series", _text(slip.series or "-")),
            ("made", _text(moment(slip.created))), ("expires", _text(moment(slip.expires))),
            ("suite", _text(f"{slip.suite}, revision {slip.revision}")),
            *([("may be lost", _text(f"any {slip.lose} of the volumes"))] if slip.lose else []),
            ("statement", f"<code>{_text(_grouped(slip.statement), 200)}</code>")]
    if slip.last_event:
        rows.append(("custody so far", f"{_text(slip.last_event)}<br><code>{_text(slip.last_event_hash, 200)}</code>"))
    marking = f'<div class="marking{_long(slip.marking)}">{_text(slip.marking, 1000)}</div>' if slip.marking else ""
    many = len(slip.signers) > MANY_SIGNERS
    signers = "".join(_signer(signer, " " if many else "<br>") for signer in slip.signers)
    warning = "" if slip.believed else (
        '<p class="warning">The machine that printed this trusts nobody who signed this bundle. What it says of itself '
        "is not verified.</p>")
    fields = "".join("<tr>" + "<td></td>" * 5 + "</tr>" for _ in range(HANDS_OF_MANY if many else HANDS))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{_text(slip.name)}</title><style>{STYLE}</style></head>
<body{' class="tight"' if many else ""}>
{marking}<header><div><h1 class="{_long(slip.label)}">{_text(slip.label)}</h1>
<p class="volume">volume {_text(slip.volume)}</p></div>
<div class="qr">{_qr(slip.statement)}the statement's hash</div></header>{warning}
<h2>What it is</h2><table>{"".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)}</table>
<h2>Signed by: compare the words over another channel</h2><table{' class="many"' if many else ""}>{signers}</table>
<h2>Hands</h2><table class="fields"><tr><th>handed over by (name, signature)</th><th>received by (name, signature)</th>
<th>date, time</th><th>seal number</th><th>seal whole? remarks</th></tr>{fields}</table>
<footer><span>airbundle verify reads every byte of this drive without any key.</span>
<span>airbundle inspect shows the same hash.</span></footer>{"" if _long(slip.marking) else marking}</body></html>
"""


def _signer(signer: SlipSigner, between: str) -> str:
    longest = LONGEST_TEXT if between == "<br>" else NAME_OF_MANY
    name = _text(signer.name, longest) or "<b>nobody that is trusted here</b>"
    return (f"<tr><th>{_text(signer.role)}</th><td>{name}{between}<code>{_text(signer.hex)}</code>{between}"
            f'<span class="words">{_text(signer.words, 200)}</span></td></tr>')


def _qr(statement: str) -> str:
    """The hash as a QR code, in capitals, which take fewer modules."""
    code = segno.make(statement.upper(), error="q", micro=False, boost_error=False)
    return str(code.svg_inline(border=2, omitsize=True, dark="#000", light="#fff"))


def _long(text: str) -> str:
    return " long" if len(text) > LONG_TEXT else ""


def _grouped(digits: str) -> str:
    return " ".join(digits[at:at + 8] for at in range(0, len(digits), 8))


def _text(text: str, most: int = LONGEST_TEXT) -> str:
    said = shown(text)
    return html.escape(said if len(said) <= most else said[:most - 1] + "…")
