"""The source stream: all files of a source end to end, read from any place by any thread.

Each file is checked against the scan after each read, so bytes of two states of a file never meet in one bundle.
"""

from __future__ import annotations

import bisect
import os
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from airbundle.errors import SourceChangedError
from airbundle.format.limits import MIB
from airbundle.format.names import shown
from airbundle.media import system
from airbundle.media.descriptors import Descriptors
from airbundle.media.faults import medium_error
from airbundle.media.source import check_unchanged, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.media.source import Source
    from airbundle.media.source_files import SourceFile

_READAHEAD_FROM: Final = 4 * MIB
_SMALL: Final = MIB // 4


class Piece(NamedTuple):
    """`length` bytes of `file` from `offset`."""

    file: SourceFile
    offset: int
    length: int


class SourceReader:
    """Gives bytes of the source stream. Threads may share it; at most `descriptors` files stay open."""

    def __init__(self, source: Source, *, descriptors: int = 64) -> None:
        self.total = source.total
        self._files = source.files
        self._open: Descriptors[int] = Descriptors(self._open_one, descriptors)
        self._small_files = threading.Lock()  # threads that read them side by side only wait for the interpreter

    def read(self, start: int, out: memoryview) -> None:
        """Fill `out` from position `start` of the stream. Raises SourceChangedError, MediumError."""
        done = 0
        for number, offset, length in self._places(start, len(out)):
            view = out[done : done + length]
            if length < _SMALL and length == self._files.size(number):  # nothing else will be read from it
                file = self._files[number]
                with self._small_files:
                    fd = open_source(file)
                    try:
                        _read(fd, file, view, 0)
                    finally:
                        os.close(fd)
            else:
                with self._open.borrow(number) as fd:
                    _read(fd, self._files[number], view, offset)
            done += length

    def pieces(self, start: int, length: int) -> Iterator[Piece]:
        """Which files the range `[start, start + length)` of the stream touches, in order; empty files never."""
        return (Piece(self._files[number], offset, size) for number, offset, size in self._places(start, length))

    def close(self) -> None:
        """Close all files. Nobody may be reading."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _places(self, start: int, length: int) -> Iterator[tuple[int, int, int]]:
        assert 0 <= start <= start + length <= self.total, (start, length, self.total)
        starts, end = self._files.starts, start + length
        number = bisect.bisect_right(starts, start) - 1  # of those that begin here the last: the others are empty
        while start < end:
            after = min(starts[number + 1], end)
            if after > start:
                yield number, start - starts[number], after - start
            start = after
            number += 1

    def _open_one(self, number: int) -> int:
        file = self._files[number]
        fd = open_source(file)
        if file.size >= _READAHEAD_FROM:
            system.expect_sequential(fd)
        return fd


def _read(fd: int, file: SourceFile, out: memoryview, offset: int) -> None:
    """Fill `out` from an open file, which has to be as it was scanned. Raises SourceChangedError, MediumError."""
    try:
        got = system.read_into(fd, out, offset)
    except OSError as error:
        check_unchanged(fd, file)
        raise medium_error(error, file.path) from error
    check_unchanged(fd, file)
    if got < len(out):
        raise SourceChangedError("it is shorter than when it was scanned", where=shown(file.path))
