"""Hold what segments say of themselves against the manifest (rule G-5)."""

from __future__ import annotations

import bisect
from itertools import starmap, zip_longest
from operator import ne
from typing import TYPE_CHECKING

from airbundle.errors import FormatError
from airbundle.format.segment import FileSpan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.format.manifest import Manifest
    from airbundle.format.segment import Index


class Contents:
    """A manifest with the places of its files in the source stream."""

    def __init__(self, manifest: Manifest, segments: int) -> None:
        if len(manifest.segments) != segments:
            raise FormatError(f"the manifest has {len(manifest.segments)} slices for {segments} segments", rule="G-5")
        self.manifest = manifest
        self.starts = manifest.starts()

    def require(self, index: Index, number: int) -> None:
        """The index of segment `number` has to be the slice, and the files, that the manifest gives it."""
        row = self.manifest.segments[number]
        if (index.start, index.length) != (row.start, row.length):
            raise FormatError(f"segment {number} holds another slice than the manifest says", rule="G-5")
        spans = map(self._span, self.touched(row.start, row.length))
        if any(starmap(ne, zip_longest(index.files, spans))):
            raise FormatError(f"segment {number} names other files than the manifest", rule="G-5")

    def touched(self, start: int, length: int) -> Iterator[int]:
        """The numbers of the files that have bytes in `length` bytes from `start`."""
        first = bisect.bisect_right(self.starts, start) - 1
        last = bisect.bisect_left(self.starts, start + length) - 1
        return (at for at in range(first, last + 1) if self.starts[at] < self.starts[at + 1])

    def _span(self, number: int) -> FileSpan:
        row = self.manifest.files[number]
        return FileSpan(row.path, self.starts[number], row.size)
