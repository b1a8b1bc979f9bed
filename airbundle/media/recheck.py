"""Drives that lie about their size: what lies beyond the real one is dropped, or is written over what came first.

What is dropped is seen when it is read back. What is written over something else reads back well, and only what lay
there before is gone. So what came first on a volume, its README and its first segment, is read again past the page
cache after every twentieth of what the volume is to hold, and at the end. Where nothing is read back, the segment that
made the twentieth full is read with them.

In between a quarter of a MiB is read, in pieces all over the segment, its first and last bytes among them: what wraps
around comes in one stretch, from the front. Before a statement is written it is all of the segment.

What a drive keeps in memory of its own is not seen through, and neither is what the file system wrote for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from blake3 import blake3

from airbundle.format.limits import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Reading = Callable[[int, int], memoryview]
    """Gives so many bytes from a place on, fewer only at the end."""

_SHARE: Final = 20
_PIECES: Final = 16
_PIECE: Final = 16 * KIB
_WHOLE_PIECE: Final = 8 * MIB


@dataclass(frozen=True, slots=True)
class Written:
    """What was written to a file: bytes, and digests of pieces and of all; no secret and no signature rests on them.

    Of what is never asked for as a whole there is no digest of all.
    """

    size: int
    pieces: bytes
    whole: bytes | None

    @classmethod
    def of(cls, read: Reading, size: int, *, whole: bool) -> Self:
        """A file of so many bytes."""
        return cls(size, _digest(read, _places(size)), _digest(read, _all_places(size)) if whole else None)

    def is_held(self, read: Reading, size: int, *, whole: bool) -> bool:
        """Whether a file, of so many bytes now, is what was written, by its pieces or as a `whole`."""
        if whole:
            assert self.whole is not None
            return _digest(read, _all_places(size)) == self.whole
        return _digest(read, _places(size)) == self.pieces


def _digest(read: Reading, places: Iterable[tuple[int, int]]) -> bytes:
    state = blake3()
    for at, length in places:
        state.update(read(at, length))
    return state.digest()


def _all_places(size: int) -> list[tuple[int, int]]:
    return [(at, min(_WHOLE_PIECE, size - at)) for at in range(0, size, _WHOLE_PIECE)]


def _places(size: int) -> list[tuple[int, int]]:
    """Pieces from the first byte to the last, which begin where direct I/O may."""
    if size <= _PIECES * _PIECE:
        return _all_places(size)
    *starts, last = ((size - _PIECE) * part // (_PIECES - 1) // _PIECE * _PIECE for part in range(_PIECES))
    return [*((at, _PIECE) for at in starts), (last, size - last)]


class Recheck:
    """What is to be read again of one volume, and when. Its caller has the lock of the drive."""

    def __init__(self, total: int, kept: dict[str, Written], first: str, *, newest: bool) -> None:
        """`total` bytes at most are to come. Of what is there already `kept` is read again, the segment `first` too."""
        self.kept = dict(kept)
        self._first, self._newest = first, newest
        self._step, self._since = total // _SHARE, 0
        self._begun: dict[str, Written] = {}

    def write(self, name: str, temporary: str, read: Reading, size: int) -> None:
        """A segment of so many bytes, which can be read in memory, was written under a temporary name."""
        self._first = self._first or name
        self._since += size
        if name == self._first or (self._newest and self._is_due()):
            self._begun[temporary] = Written.of(read, size, whole=name == self._first)

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
