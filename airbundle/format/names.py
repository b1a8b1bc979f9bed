"""The one guard for names: `SafePath` for files, `check_public_text` for what a person reads (spec chapter 12, E-4).

No name enters or leaves a bundle except as a `SafePath`. `parse` refuses, nothing here cleans up: a name that
would have to be changed cannot be carried.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Self

from airbundle.errors import FormatError
from airbundle.format import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEVICES: Final = ("con", "prn", "aux", "nul", "com", "lpt")
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[1-9¹²³]|lpt[1-9¹²³]|conin\$|conout\$)(?:\..*)?", re.DOTALL)
_FORBIDDEN: Final = '\\:*?"<>|'
_DIRECTION: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOT_STORED: Final = re.compile(f"[\\x00-\\x1f\\x7f{re.escape(_FORBIDDEN)}{''.join(sorted(_DIRECTION))}]")
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_NOT_FOR_TEXT: Final = _UNPRINTABLE | {"Cf", "Co"}


class SafePath(str):
    """A path that is safe on every file system: made by `parse`, or again from what was parsed before."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text` by rules P-1 to P-4. Raises FormatError that names the rule."""
        raw = _encoded(text, "P-2")
        if unicodedata.normalize("NFC", text) != text:
            raise _refusal(text, "is not in NFC", "P-1")
        parts = text.split("/")
        if len(raw) > limits.PATH_MAX or len(parts) > limits.PATH_PARTS_MAX:
            raise _refusal(text, "is too long", "P-4")
        for part in parts:
            _check_part(text, part)
        return cls(text)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names from the top down."""
        return tuple(self.split("/"))

    @property
    def above(self) -> tuple[str, ...]:
        """The folders on the way to it, from the top down."""
        return tuple(accumulate(self.parts[:-1], "{}/{}".format))


def check_paths(files: Iterable[SafePath], folders: Iterable[SafePath] = ()) -> None:
    """Check order and uniqueness over a whole bundle (P-5): `files` and `folders` each in order, none colliding.

    Raises FormatError. A folder is known by one spelling only, whether it is listed or stands on the way to a file.
    """
    spelling: dict[str, str] = {}
    known_folders: set[str] = set()
    for group in (files, folders):
        last = ""
        for path in group:
            if path <= last:  # in the order of code points, which is that of UTF-8
                raise _refusal(path, "is out of order or twice", "P-5")
            last = path
            parent = path.rpartition("/")[0]
            if parent and parent not in known_folders:  # where it is known, so are those above it
                for folder in path.above:
                    if folder not in known_folders:
                        known_folders.add(folder)
                        _claim(spelling, folder)
            _claim(spelling, path)


def check_public_text(text: str) -> str:
    """Check printable NFC text of at most 256 bytes (E-4) and return it. Raises FormatError."""
    raw = _encoded(text, "E-4")
    if len(raw) > limits.PUBLIC_TEXT_MAX:
        raise _refusal(text, "is longer than 256 bytes", "E-4")
    if text.isascii() and text.isprintable():
        return text
    # What these tables do not assign is left in: a text that was good is not refused by a reader with older ones (P-6).
    if unicodedata.normalize("NFC", text) != text or any(
            unicodedata.category(c) in _NOT_FOR_TEXT or (unicodedata.category(c) == "Zs" and c != " ") for c in text):
        raise _refusal(text, "is not printable text in NFC", "E-4")
    return text


def require_assigned(text: str) -> str:
    """For writers: refuse code points that later tables of Unicode may fold or compose (P-6). Raises FormatError."""
    if not text.isascii() and any(unicodedata.category(c) == "Cn" for c in text):
        raise _refusal(text, "has a character that is not in Unicode " + unicodedata.unidata_version, "P-6")
    return text


def shown(text: str) -> str:
    """`text` with everything that could steer a terminal, marks of direction too, written as an escape (E-4)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _check_part(text: str, part: str) -> None:
    if part in {"", ".", ".."}:
        raise _refusal(text, "has an empty, '.' or '..' part", "P-1")
    if _NOT_STORED.search(part) or not (
            part.isascii() or _UNPRINTABLE.isdisjoint(unicodedata.category(c) for c in part)):
        raise _refusal(text, "has a character that not every system can store or show", "P-2")
    if part[-1] in ". ":
        raise _refusal(text, "has a part that ends in a dot or a space", "P-3")
    folded = part.casefold()
    if folded.startswith(_DEVICES) and (
            _RESERVED.fullmatch(folded) or _RESERVED.fullmatch(folded.partition(".")[0].rstrip())):
        raise _refusal(text, "has a part that is a device name on Windows", "P-3")
    if len(part.encode()) > limits.PATH_PART_MAX:
        raise _refusal(text, "has a part of more than 255 bytes", "P-4")


def _claim(spelling: dict[str, str], path: str) -> None:
    folded = path.lower() if path.isascii() else unicodedata.normalize(
        "NFC", unicodedata.normalize("NFC", path).casefold())
    before = spelling.get(folded)
    if before == path:  # P-5 leaves no other way to come twice
        raise _refusal(path, "is also a folder", "P-5")
    if before is not None:
        raise _refusal(path, f"collides with '{shown(before)}' where case does not count", "P-5")
    spelling[folded] = folded if folded == path else path  # where both are alike, one string is kept and not two


def _encoded(text: str, rule: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _refusal(text, "is not Unicode text", rule) from None


def _refusal(text: str, why: str, rule: str) -> FormatError:
    return FormatError(f"'{shown(text)[:200]}' {why}", rule=rule)
