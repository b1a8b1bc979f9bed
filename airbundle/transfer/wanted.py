"""What of a bundle is asked for: all of it, or what matches patterns (D-2)."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from airbundle.errors import UsageError
from airbundle.format.names import SafePath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airbundle.format.manifest import FileRow, Manifest


class Wanted:
    """Files and folders of a manifest that match one of the patterns `include`; all without any.

    One byte is kept for each file: there may be half a million.
    """

    def __init__(self, manifest: Manifest, include: Sequence[str]) -> None:
        """Raises UsageError for a pattern that matches nothing."""
        def matches(path: str) -> bool:
            return not include or any(fnmatch.fnmatchcase(path, pattern) for pattern in include)

        self._files = manifest.files
        self._marks = bytes(matches(file.path) for file in manifest.files)
        self.folders = [SafePath(folder) for folder in manifest.folders if matches(folder)]
        if include:
            paths = [*(file.path for file in self.files()), *self.folders]
            if left := [pattern for pattern in include if not fnmatch.filter(paths, pattern)]:
                raise UsageError(f"no file matches {', '.join(left)}", hint="airbundle inspect --key lists them")

    def __len__(self) -> int:
        """How many files."""
        return self._marks.count(1)

    def __contains__(self, number: int) -> bool:
        return bool(self._marks[number])

    def files(self) -> Iterator[FileRow]:
        """The files, in order."""
        return (file for file, mark in zip(self._files, self._marks, strict=True) if mark)

    def path(self, number: int) -> SafePath | None:
        """Where file `number` of the manifest is written to; nowhere if it is not wanted."""
        return SafePath(self._files[number].path) if self._marks[number] else None
