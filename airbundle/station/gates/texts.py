"""Text: UTF-8 without control characters, up to a size, and without the tags by which YAML makes Python objects."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final

from airbundle.station.gates.result import RefusalError

if TYPE_CHECKING:
    from airbundle.station.gates.rules import GateRules
    from airbundle.station.gates.window import Window

# Tab, line feed, form feed (the licences of GNU have it) and carriage return are the ones that texts have.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_PYTHON_TAG: Final = re.compile(rb"!!python/|tag:yaml\.org,2002:python/")


class NoTextError(RefusalError):
    """A file that is no text, or too much of it."""


def check_text(window: Window, rules: GateRules) -> str:
    """Refuse what is no text. Returns what was examined."""
    if window.size > rules.text_bytes:
        raise NoTextError(f"a text of {window.size} bytes, at most {rules.text_bytes} are allowed")
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    tail = b""
    for piece in window.pieces(0, window.size):
        if found := _CONTROL.search(piece):
            raise NoTextError(f"a text has the control character 0x{found[0][0]:02x}")
        if _PYTHON_TAG.search(tail + piece):
            raise RefusalError("a text has a tag by which YAML makes Python objects")
        tail = piece[-40:]
        try:
            decoder.decode(piece)
        except UnicodeDecodeError:
            raise NoTextError("a text is not UTF-8") from None
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise NoTextError("a text is not UTF-8") from None
    return f"text, {window.size} bytes"
