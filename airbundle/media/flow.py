"""The source stream on its way back into files: the inverse of `reading.py`.

A stretch of the stream is collected in a window and written in large calls. The window is placed so that a file's
bytes lie at the same distance from a page border in memory as in the file, which is what direct I/O wants.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final

from airbundle.format.limits import CHUNK_MAX, MIB
from airbundle.media import system
from airbundle.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.format.names import SafePath
    from airbundle.media.staging import StagingTree

WINDOW: Final = 16 * MIB


class StreamWriter:
    """Writes stretches of the stream into staged files. One per worker; not to be shared by threads.

    `starts` are the places of the files in the stream and the end of the last one, in bytes; `path_of` gives the path
    of a file by its number, None for one that is not wanted, and not written.
    """

    def __init__(self, staging: StagingTree, path_of: Callable[[int], SafePath | None], starts: Sequence[int],
                 stages: Stages | None = None) -> None:
        self._staging, self._path_of, self._starts = staging, path_of, starts
        self._stages = stages or Stages()
        self._window = memoryview(system.huge_buffer(WINDOW))
        self._at = 0  # place in the stream of the first byte in the window
        self._first = self._end = 0  # where the collected bytes lie in the window

    def begin(self, start: int) -> None:
        """What follows goes to the stream from `start`; what was collected is written first. Raises MediumError."""
        self.flush()
        self._place(start)

    def room(self, length: int) -> memoryview:
        """Where the next `length` bytes (at most 1 MiB) have to be put; `advance` then takes them."""
        assert length <= CHUNK_MAX
        if self._end + length > len(self._window):
            self._write(keep_tail=True)
        return self._window[self._end : self._end + length]

    def advance(self, length: int) -> None:
        """`length` bytes were put into the room."""
        self._end += length

    def flush(self) -> None:
        """Write everything that was collected. Raises MediumError."""
        self._write(keep_tail=False)

    def _align(self, where: int, offset: int) -> int:
        """Move what the window holds from `where` on to where direct I/O takes it; what lay before is written."""
        delta = (where - offset) % system.ALIGNMENT
        if delta:
            self._window[where - delta:self._end - delta] = self._window[where:self._end]
            self._first -= delta
            self._end -= delta
        return where - delta

    def _place(self, start: int) -> None:
        file = bisect.bisect_right(self._starts, start) - 1
        self._at = start
        self._first = self._end = (start - self._starts[file]) % system.ALIGNMENT

    def _write(self, *, keep_tail: bool) -> None:
        """Hand the window to the files. The tail of the last file may wait, to go out with its page's other bytes."""
        at, end = self._at, self._at + self._end - self._first
        number = bisect.bisect_right(self._starts, at) - 1
        tail = b""
        while at < end:
            offset = at - self._starts[number]
            length = min(self._starts[number + 1], end) - at
            if keep_tail and at + length == end:
                spare = (offset + length) % system.ALIGNMENT
                if spare < length:
                    tail = bytes(self._window[self._end - spare : self._end])
                    length -= spare
                    end -= spare
            path = self._path_of(number) if length else None
            if path is not None:
                where = self._first + at - self._at
                if length >= system.DIRECT_FROM:
                    where = self._align(where, offset)
                with self._stages("write"):
                    self._staging.write_at(path, offset, self._window[where : where + length])
            at += length
            number += 1
        self._place(end)
        self._window[self._end : self._end + len(tail)] = tail
        self._end += len(tail)
