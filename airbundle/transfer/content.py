"""Hold what segments say of themselves against the manifest (rule G-5)."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from airbundle.errors import FormatError
from airbundle.format.segment import FileSpan

if TYPE_CHECKING:
    from airbundle.format.manifest import FileRow, Manifest
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
        spans = tuple(FileSpan(file.path, self.starts[at], file.size)
                      for at, file in self.touched(row.start, row.length))
        if index.files != spans:
            raise FormatError(f"segment {number} names other files than the manifest", rule="G-5")

    def touched(self, start: int, length: int) -> list[tuple[int, FileRow]]:
        """Files that have bytes in `length` bytes from `start`: number and row."""
        first = bisect.bisect_right(self.starts, start) - 1
        last = bisect.bisect_left(self.starts, start + length) - 1
        return [(at, self.manifest.files[at]) for at in range(first, last + 1) if self.manifest.files[at].size]
