"""Bounded reading of one staged file: exact lengths, small pieces kept, never more than 16 MiB at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airbundle.station.gates.result import Outcome, RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.station.gates.result import Content

READ_MAX: Final = 16 << 20
_KEPT: Final = 64 << 10


class Window:
    """Reads a file through a piece of 64 KiB that it keeps."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.size = content.size
        self._kept = b""
        self._kept_at = 0

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes. Refused where the file has not so many."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise RefusalError(f"the file ends at {self.size}, in front of what it says to have there")
        if length > _KEPT:
            return self._exactly(offset, length)
        start = offset - self._kept_at
        if start < 0 or start + length > len(self._kept):
            # Backwards too: a reader of archives goes from the end to the front.
            begin = max(0, offset + length - _KEPT) if offset < self._kept_at else offset
            self._kept = self._exactly(begin, min(_KEPT, self.size - begin))
            self._kept_at, start = begin, offset - begin
        return self._kept[start : start + length]

    def pieces(self, offset: int, end: int, length: int = 1 << 20) -> Iterator[bytes]:
        """The bytes of `[offset, end)` in pieces. Refused where the file has not so many."""
        if end > self.size:
            raise RefusalError(f"the file ends at {self.size}, in front of what it says to have there")
        while offset < end:
            step = min(length, end - offset)
            yield self._exactly(offset, step)
            offset += step

    def require_zeros(self, offset: int, end: int, what: str) -> None:
        """Refuse padding that holds anything."""
        for piece in self.pieces(offset, end):
            if piece.count(0) != len(piece):
                raise RefusalError(f"{what} at {offset} is not zero")

    def _exactly(self, offset: int, length: int) -> bytes:
        parts = []
        while length > 0:
            part = self._content.read_at(offset, min(length, READ_MAX))
            if not part:
                raise RefusalError(f"the file could not be read at {offset}", Outcome.ERROR)
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
