"""The files of a source, as they were when it was scanned, in columns.

There may be half a million of them, and what is kept of one is kept while all are packed: as objects that is 0.5 KiB
a file, in columns 60 bytes and its path.
"""

from __future__ import annotations

import os
import struct
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from airbundle.format.columns import PathColumn, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airbundle.format.names import SafePath

_IDENTITY: Final = struct.Struct("<5Q")
_DEVICE: Final = 8
_WORD: Final = (1 << 64) - 1


class SourceFile(NamedTuple):
    """One file: its path in the bundle, where its bytes are, its size in bytes, and its `identity_of` when scanned."""

    path: SafePath
    location: str
    size: int
    identity: bytes


def identity_of(found: os.stat_result) -> bytes:
    """What stays the same as long as a file is not changed: device, inode, size and times in nanoseconds."""
    return _IDENTITY.pack(found.st_dev & _WORD, found.st_ino & _WORD, found.st_size, found.st_mtime_ns & _WORD,
                          found.st_ctime_ns & _WORD)


def without_device(identity: bytes) -> bytes:
    """The same without the number of the device, which is each machine's own."""
    return identity[_DEVICE:]


class SourceFiles(Rows[SourceFile]):
    """Files below the folder `root`, each made when it is asked for.

    `paths` and `identities` (end to end) are columns; `starts` is where each file begins in the source stream, in
    bytes, and one more for its end.
    """

    __slots__ = ("_elsewhere", "_root", "identities", "paths", "starts")

    def __init__(self, root: str, paths: PathColumn, sizes: Iterable[int], identities: bytes,
                 elsewhere: dict[SafePath, str]) -> None:
        """`elsewhere` are the locations of files that do not lie where their paths say."""
        self._root, self._elsewhere = root, elsewhere
        self.paths, self.identities = paths, identities
        self.starts = array("Q", accumulate(sizes, initial=0))

    @classmethod
    def of(cls, files: Sequence[SourceFile]) -> Self:
        """From files, wherever they lie."""
        return cls("", PathColumn(file.path for file in files), (file.size for file in files),
                   b"".join(file.identity for file in files), {file.path: file.location for file in files})

    @property
    def total(self) -> int:
        """Bytes of the source stream."""
        return self.starts[-1]

    def size(self, number: int) -> int:
        """Bytes of file `number`."""
        return self.starts[number + 1] - self.starts[number]

    def __len__(self) -> int:
        return len(self.paths)

    def _row(self, number: int) -> SourceFile:
        path = self.paths[number]
        return SourceFile(path, self._elsewhere.get(path) or os.path.join(self._root, *path.parts), self.size(number),
                          self.identities[number * _IDENTITY.size:(number + 1) * _IDENTITY.size])


class FoundFiles:
    """Files in the order in which a scan of `root` finds them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._paths: list[SafePath] = []
        self._sizes = array("Q")
        self._identities = bytearray()
        self._elsewhere: dict[SafePath, str] = {}

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def total(self) -> int:
        """The sum of their sizes, which files with holes can push past 64 bits."""
        return sum(self._sizes)

    def add(self, path: SafePath, found: os.stat_result, elsewhere: str = "") -> None:
        """One more file; `elsewhere` is its location if that is not what its path says."""
        self._paths.append(path)
        self._sizes.append(found.st_size)
        self._identities += identity_of(found)
        if elsewhere:
            self._elsewhere[path] = elsewhere

    def in_order(self) -> SourceFiles:
        """All of them in order of their paths (P-5), which is that of their code points."""
        order = np.array(sorted(range(len(self._paths)), key=self._paths.__getitem__), np.intp)
        identities = np.frombuffer(self._identities, np.uint8).reshape(-1, _IDENTITY.size)[order]
        return SourceFiles(self._root, PathColumn(self._paths[number] for number in order),
                           array("Q", (self._sizes[number] for number in order)), identities.tobytes(),
                           self._elsewhere)
