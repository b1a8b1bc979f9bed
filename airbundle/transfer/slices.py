"""Cut the source stream into slices (one a segment) and slices into chunks (spec chapters 5 and 6).

A slice ends after `segment_size` bytes, or after 65,536 files. A chunk ends after 1 MiB, where the dtype changes, or
with its slice; never merely because a file or a tensor ends. Where a slice would end inside a float it ends a few
bytes earlier, so that the words of each chunk are whole.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.codec.dtypes import Dtype, runs
from airbundle.format import limits
from airbundle.format.segment import SEALED_TRAILER, TAG_SIZE, FileSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airbundle.media.source import Source

    FileRead = Callable[[int, int, int], bytes]

LARGE_FILE: Final = 64 * limits.KIB
CHUNK_ROW_MAX: Final = 128  # bytes of JSON that a chunk row has at most
_FILE_ROW: Final = 48  # the same for a file span without its path
_INDEX_FRAME: Final = 256
_WIDTH: Final = {Dtype.FLOAT32: 4, Dtype.FLOAT16: 2}


@dataclass(frozen=True, slots=True)
class Slice:
    """`length` bytes of the source stream from `start`; `first` and `last` are the files that it touches."""

    number: int
    start: int
    length: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Cut:
    """One chunk of the source stream."""

    start: int
    length: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Stream:
    """The source stream: starts of its files, runs of one dtype, slices. All offsets in bytes."""

    source: Source
    starts: tuple[int, ...]
    run_starts: tuple[int, ...]
    run_dtypes: tuple[Dtype, ...]
    slices: tuple[Slice, ...]

    def chunks(self, part: Slice) -> Iterator[Cut]:
        """The chunks of a slice, in order."""
        at, end = part.start, part.start + part.length
        run = bisect.bisect_right(self.run_starts, at) - 1
        while at < end:
            run_end = self.run_starts[run + 1] if run + 1 < len(self.run_starts) else end
            length = min(limits.CHUNK_MAX, run_end - at, end - at)
            yield Cut(at, length, self.run_dtypes[run])
            at += length
            run += at >= run_end

    def spans(self, part: Slice) -> Iterator[FileSpan]:
        """The files that have bytes in a slice."""
        for number in range(part.first, part.last + 1):
            file = self.source.files[number]
            if file.size:
                yield FileSpan(file.path, self.starts[number], file.size)

    def largest_body(self, part: Slice) -> int:
        """Bytes that the body of a slice never exceeds, however badly it compresses."""
        chunks = sum(1 for _ in self.chunks(part))
        index = _INDEX_FRAME + chunks * CHUNK_ROW_MAX
        index += sum(len(span.path.encode()) + _FILE_ROW for span in self.spans(part))
        return part.length + (chunks + 1) * TAG_SIZE + index + SEALED_TRAILER


def cut_stream(source: Source, segment_size: int, read: FileRead) -> Stream:
    """Find the dtypes of large files by their headers and cut. `read(file number, offset, length)` gives bytes."""
    starts = [0]
    run_starts: list[int] = []
    run_dtypes: list[Dtype] = []
    for number, file in enumerate(source.files):
        start = starts[-1]
        starts.append(start + file.size)
        found = [(0, Dtype.UNKNOWN)] if file.size else []
        if file.size >= LARGE_FILE:
            found = [(run.start, run.dtype) for run in runs(
                file.path, file.size, lambda at, length, n=number: read(n, at, length))]
        for offset, dtype in found:
            if not run_dtypes or run_dtypes[-1] is not dtype or dtype is not Dtype.UNKNOWN:
                run_starts.append(start + offset)
                run_dtypes.append(dtype)
    return Stream(source, tuple(starts), tuple(run_starts), tuple(run_dtypes),
                  tuple(_cut_slices(starts, run_starts, run_dtypes, segment_size)))


def _cut_slices(starts: list[int], run_starts: list[int], run_dtypes: list[Dtype], size: int) -> Iterator[Slice]:
    at, number, total = 0, 0, starts[-1]
    while at < total:
        first = bisect.bisect_right(starts, at) - 1
        end = min(at + size, total)
        if end < total:
            run = bisect.bisect_right(run_starts, end) - 1
            if run_starts[run] > at:
                end -= (end - run_starts[run]) % _WIDTH.get(run_dtypes[run], 1)
            elif end - at > 4:
                end -= (end - at) % _WIDTH.get(run_dtypes[run], 1)
        last = bisect.bisect_left(starts, end) - 1
        if last - first >= limits.SEGMENT_FILES_MAX:
            last = first + limits.SEGMENT_FILES_MAX - 1
            end = starts[last + 1]
        yield Slice(number, at, end - at, first, last)
        at, number = end, number + 1
