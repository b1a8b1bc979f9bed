"""Reads the arguments of a pickle's opcodes: bounded texts, numbers, lines. Builds and calls nothing.

Where a reader of pickles goes on, this goes on too, with a stand-in for what is too large to keep: otherwise one
overlong text in front of a payload would hide it. What this takes for malformed, every reader stops at.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import struct
import warnings
from typing import TYPE_CHECKING, Final

from airbundle.station.gates.result import RefusalError

if TYPE_CHECKING:
    from airbundle.station.gates.window import Window

LINE_MAX: Final = 64 << 10
TEXT_MAX: Final = 8 << 20
HUGE: Final = 1 << 2048
"""Stands for every number that is larger than any of a checkpoint."""
_DIGITS_MAX: Final = 600
_AHEAD: Final = 16 << 10
_FAR_AHEAD: Final = 1 << 20
_NUMBER: Final = re.compile(rb"[-+.0-9a-fA-FxXoO_\s\0]+")


class MalformedError(Exception):
    """The bytes are no pickle, or stop being one here."""


class PickleStream:
    """The bytes of one or several pickles, read front to back between two offsets of a file."""

    def __init__(self, window: Window, offset: int, end: int) -> None:
        self._window = window
        self._end = end
        self._buffer = b""
        self._at = 0
        self._buffer_from = offset

    @property
    def position(self) -> int:
        """Offset in the file of the next byte."""
        return self._buffer_from + self._at

    @property
    def left(self) -> int:
        """Bytes up to the end."""
        return self._end - self.position

    def byte(self) -> int:
        """The next byte."""
        at = self._at
        if at >= len(self._buffer):
            self._fill(1)
            at = 0
        self._at = at + 1
        return self._buffer[at]

    def take(self, length: int) -> bytes:
        """The next `length` bytes; nothing where they are more than 8 MiB, which are passed over."""
        at = self._at
        if at + length > len(self._buffer):
            if length > TEXT_MAX:
                return self._pass_over(length)
            self._fill(length)
            at = 0
        self._at = at + length
        return self._buffer[at : at + length]

    def number(self, width: int) -> int:
        """An unsigned number, little-endian."""
        return int.from_bytes(self.take(width), "little")

    def signed(self, width: int) -> int:
        """A signed number, little-endian."""
        return int.from_bytes(self.take(width), "little", signed=True)

    def big(self, length: int) -> int:
        """A signed number of `length` bytes, little-endian; one of more than 255 bytes stands for all such."""
        raw = self.take(length)
        return int.from_bytes(raw, "little", signed=True) if length <= 255 else HUGE

    def double(self) -> float:
        """A number of 8 bytes, big-endian."""
        value: float = struct.unpack(">d", self.take(8))[0]
        return value

    def text(self, length: int) -> str:
        """The next `length` bytes as pickle reads texts."""
        try:
            return str(self.take(length), "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise MalformedError("a text is not UTF-8") from None

    def skip_frame(self) -> None:
        """A frame is advice for readers: its bytes have to be there, they are read like any others."""
        length = self.number(8)
        if length > self.left:
            raise MalformedError("a frame is longer than the pickle")

    def line(self) -> bytes:
        """A line with a name or a number, without its end. Names of more than 64 KiB are none, numbers are refused."""
        line = self.long_line(LINE_MAX)
        if len(line) < LINE_MAX:
            return line
        if _NUMBER.fullmatch(line):
            raise RefusalError(f"a pickle holds a number of more than {LINE_MAX} digits")
        raise MalformedError("a line does not end")

    def long_line(self, most: int = 1 << 62) -> bytes:
        """A line with a text, without its end: only the first 64 KiB; at `most` so many bytes are looked at."""
        kept: list[bytes] = []
        length = 0
        while True:
            if self._at >= len(self._buffer):
                if self.left == 0:  # without an end to the line the reader in C stops; that in Python drops a byte
                    line = b"".join(kept)
                    return line[:-1] if length < LINE_MAX else line[:LINE_MAX]
                self._fill(1, ahead=_AHEAD if length < LINE_MAX else _FAR_AHEAD)
            found = self._buffer.find(b"\n", self._at)
            end = found if found >= 0 else len(self._buffer)
            if length < LINE_MAX:
                kept.append(self._buffer[self._at : end])
            length += end - self._at
            self._at = end
            if found >= 0 or length >= most:
                self._at += 1
                return b"".join(kept)[:LINE_MAX]

    def whole_number(self) -> int:
        """A line with a number as C reads it; what has more digits than any number needs stands for all such."""
        line = self.line().split(b"\0")[0].strip().rstrip(b"L")
        if len(line) > _DIGITS_MAX and _NUMBER.fullmatch(line):
            return HUGE
        for base in (0, 10, 8):
            with contextlib.suppress(ValueError):
                return int(line[: _DIGITS_MAX + 1], base)
        raise MalformedError("a line is not a number")

    def place(self) -> int:
        """A line with a place of the memo."""
        line = self.line().split(b"\0")[0]
        try:
            return int(line[: _DIGITS_MAX + 1])
        except ValueError:
            raise MalformedError("a line is not a place of the memo") from None

    def float_line(self) -> float:
        """A line with a float."""
        line = self.line().split(b"\0")[0]
        try:
            return float(line)
        except ValueError:
            raise MalformedError("a line is not a float") from None

    def quoted(self) -> str:
        """A line with a text of Python 2 in quotes, with escapes."""
        line = self.long_line()
        if len(line) == LINE_MAX:
            return ""
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in {b"'", b'"'}:
            raise MalformedError("a text has no quotes")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of escapes that mean nothing
                return codecs.escape_decode(line[1:-1])[0].decode("latin-1")
        except ValueError:
            raise MalformedError("a text has a broken escape") from None

    def raw_unicode(self) -> str:
        r"""A line with a text in which `\uXXXX` stands for a character."""
        try:
            return str(self.long_line(), "raw-unicode-escape")
        except UnicodeDecodeError:
            raise MalformedError("a text has a broken escape") from None

    def old_text(self, length: int) -> str:
        """The next `length` bytes as a text of Python 2, whose encoding nobody knows."""
        return self.take(length).decode("latin-1")

    def _pass_over(self, length: int) -> bytes:
        if length > self.left:
            raise MalformedError("the pickle ends in the middle")
        self._buffer_from, self._buffer, self._at = self.position + length, b"", 0
        return b""

    def _fill(self, length: int, *, ahead: int = _AHEAD) -> None:
        """Have at least `length` bytes ahead."""
        start = self.position
        if start + length > self._end:
            raise MalformedError("the pickle ends in the middle")
        self._buffer = self._window.read(start, min(max(length, ahead), self._end - start))
        self._buffer_from, self._at = start, 0
