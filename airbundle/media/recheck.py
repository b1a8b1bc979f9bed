"""Drives that lie about their size: what lies beyond the real one is dropped, or is written over what came first.

What is dropped is seen when it is read back. What is written over something else reads back well, and only what lay
there before is gone. So what came first on a volume, its README and its first segment, is read again past the page
cache after every twentieth of what the volume is to hold, and at the end. Where nothing is read back, the segment that
made the twentieth full is read with them.

What a drive keeps in memory of its own is not seen through, and neither is what the file system wrote for itself.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHARE: Final = 20


class Written(NamedTuple):
    """What was written to a file: how many bytes, and a digest on which no secret and no signature rests."""

    size: int
    digest: bytes

    @classmethod
    def of(cls, pieces: Iterable[memoryview]) -> Self:
        """What comes in pieces."""
        state, size = hashlib.blake2b(), 0
        for piece in pieces:
            state.update(piece)
            size += len(piece)
        return cls(size, state.digest())


class Recheck:
    """What is to be read again of one volume, and when. Its caller has the lock of the drive."""

    def __init__(self, total: int, kept: dict[str, Written], first: str, *, newest: bool) -> None:
        """`total` bytes at most are to come. Of what is there already `kept` is read again, the segment `first` too."""
        self.kept = dict(kept)
        self._first, self._newest = first, newest
        self._step, self._since = total // _SHARE, 0
        self._begun: dict[str, Written] = {}

    def write(self, name: str, temporary: str, views: Iterable[memoryview], size: int) -> None:
        """A segment of so many bytes was written under a temporary name."""
        self._first = self._first or name
        self._since += size
        if name == self._first or (self._newest and self._is_due()):
            self._begun[temporary] = Written.of(views)

    def settle(self, temporary: str, name: str) -> dict[str, Written]:
        """It got its name. Gives what is to be read again now, by name: mostly nothing."""
        begun = self._begun.pop(temporary, None)
        if begun is not None and name == self._first:
            self.kept[name] = begun
        if begun is None and not self._is_due():
            return {}
        self._since = 0
        return self.kept if begun is None else {**self.kept, name: begun}

    def _is_due(self) -> bool:
        return self._since >= self._step
