"""Cut the source stream into slices (one a segment) and slices into chunks (spec chapters 5 and 6).

A slice ends after `segment_size` bytes, or after 65,536 files. A chunk ends after 1 MiB, where the dtype changes, or
with its slice; never merely because a file or a tensor ends. Where a slice would end inside a float it ends a few
bytes earlier, so that the words of each chunk are whole.
"""

from __future__ import annotations

import bisect
import itertools
from array import array
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from airbundle.codec.dtypes import Dtype, Run, runs
from airbundle.errors import UsageError
from airbundle.format import limits
from airbundle.format.columns import Rows
from airbundle.format.segment import SEALED_TRAILER, TAG_SIZE, FileSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airbundle.media.source import Source

    FileRead = Callable[[int, int, int], bytes]

LARGE_FILE: Final = 64 * limits.KIB
CHUNK_ROW_MAX: Final = 128  # bytes of JSON that a chunk row has at most
_FILE_ROW: Final = 48  # the same for a file span without its path
_INDEX_FRAME: Final = 256


@dataclass(frozen=True, slots=True)
class Slice:
    """`length` bytes of the source stream from `start`; `first` and `last` are the files that it touches."""

    number: int
    start: int
    length: int
    first: int
    last: int


class Slices(Rows[Slice]):
    """Slices of a stream whose files begin at `starts`, each made when it is asked for.

    `cuts` is where they begin, and where the last one ends: what is kept of a segment has to be little.
    """

    __slots__ = ("_cuts", "_starts")

    def __init__(self, starts: Sequence[int], cuts: Sequence[int]) -> None:
        self._starts, self._cuts = starts, cuts

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def _row(self, number: int) -> Slice:
        start, end = self._cuts[number], self._cuts[number + 1]
        return Slice(number, start, end - start, *_touched(self._starts, start, end))


@dataclass(frozen=True, slots=True)
class Cut:
    """One chunk of the source stream."""

    start: int
    length: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Stream:
    """The source stream: starts of its files, runs of one dtype, slices. All offsets in bytes.

    `row_sums` are bytes: what the rows of all files before one take at most in an index.
    """

    source: Source
    starts: Sequence[int]
    row_sums: Sequence[int]
    runs: tuple[Run, ...]
    slices: Sequence[Slice]

    @classmethod
    def of(cls, source: Source, starts: Sequence[int], runs: Sequence[Run], slices: Sequence[Slice]) -> Self:
        """With `row_sums` counted."""
        rows = (len(path.encode()) + _FILE_ROW if source.files.size(number) else 0
                for number, path in enumerate(source.files.paths))
        return cls(source, starts, array("Q", itertools.accumulate(rows, initial=0)), tuple(runs), slices)

    def chunks(self, part: Slice) -> Iterator[Cut]:
        """The chunks of a slice, in order."""
        at, end = part.start, part.start + part.length
        number = bisect.bisect_right(self.runs, at, key=lambda run: run.start) - 1
        while at < end:
            run = self.runs[number]
            length = min(limits.CHUNK_MAX, run.end - at, end - at)
            yield Cut(at, length, run.dtype)
            at += length
            number += at >= run.end

    def spans(self, part: Slice) -> Iterator[FileSpan]:
        """The files that have bytes in a slice."""
        for number in range(part.first, part.last + 1):
            size = self.source.files.size(number)
            if size:
                yield FileSpan(str(self.source.files.paths[number]), self.starts[number], size)

    def largest_body(self, part: Slice) -> int:
        """Bytes that the body of a slice never exceeds, however badly it compresses."""
        chunks = sum(1 for _ in self.chunks(part))
        index = _INDEX_FRAME + chunks * CHUNK_ROW_MAX
        index += self.row_sums[part.last + 1] - self.row_sums[part.first]
        return part.length + (chunks + 1) * TAG_SIZE + index + SEALED_TRAILER


def cut_stream(source: Source, segment_size: int, read: FileRead) -> Stream:
    """Find the dtypes of large files by their headers and cut. `read(file number, offset, length)` gives bytes.

    Raises UsageError when there would be more segments than a catalog may have (L-2).
    """
    starts = source.files.starts
    stream_runs: list[Run] = []
    end = 0
    for number, start in enumerate(starts[:-1]):
        size = starts[number + 1] - start
        if size >= LARGE_FILE:
            _add_run(stream_runs, Run(end, start - end, Dtype.UNKNOWN))  # the small files before it
            for run in runs(size, partial(read, number)):
                _add_run(stream_runs, Run(start + run.start, run.length, run.dtype, run.phase))
            end = starts[number + 1]
    _add_run(stream_runs, Run(end, starts[-1] - end, Dtype.UNKNOWN))
    slices = Slices(starts, array("Q", _cuts(starts, stream_runs, segment_size)))
    if len(slices) > limits.ROWS_MAX:
        raise UsageError(f"{len(slices)} segments are more than a catalog may have", rule="L-2",
                         hint="take a larger --segment-size")
    return Stream.of(source, starts, stream_runs, slices)


def _add_run(stream_runs: list[Run], run: Run) -> None:
    """Small files and unknown content share chunks; floats keep their own runs, and so their phase."""
    if run.length == 0:
        return
    last = stream_runs[-1] if stream_runs else None
    if last is not None and last.dtype is run.dtype is Dtype.UNKNOWN:
        stream_runs[-1] = Run(last.start, last.length + run.length, Dtype.UNKNOWN)
    else:
        stream_runs.append(run)


def _cuts(starts: Sequence[int], stream_runs: list[Run], size: int) -> Iterator[int]:
    """Where slices begin, and where the last one ends."""
    at, total = 0, starts[-1]
    yield at
    while at < total:
        end = min(at + size, total)
        if end < total:
            run = stream_runs[bisect.bisect_right(stream_runs, end, key=lambda run: run.start) - 1]
            words_at = run.start + run.phase
            if end > words_at:
                end -= (end - words_at) % run.dtype.width
        first, last = _touched(starts, at, end)
        if last - first >= limits.SEGMENT_FILES_MAX:
            end = starts[first + limits.SEGMENT_FILES_MAX]
        yield end
        at = end


def _touched(starts: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """The first and the last file that have bytes in a range that is not empty."""
    return bisect.bisect_right(starts, start) - 1, bisect.bisect_left(starts, end) - 1
