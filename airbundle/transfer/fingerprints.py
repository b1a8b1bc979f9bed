"""The SHA-256 of each file, made by the segment workers in turns, from the very bytes that they seal.

A digest of a file runs from its first byte to its last, segments are sealed side by side. So each worker, when it has
read its slice, waits for its turn and carries the digest on over the buffer that it then seals from. The source is
read once, and what the manifest says of a file is what was sealed, whatever happens to the source meanwhile.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from airbundle.transfer.schedule import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.stages import Stages
    from airbundle.transfer.slices import Slice, Stream


class FileDigests:
    """SHA-256 of all files of a stream. Threads share it; slices come in from any thread and wait for their turn."""

    def __init__(self, stream: Stream, stages: Stages) -> None:
        self._stages = stages
        self._files = stream.source.files
        self._turns = Turns()
        self._digests = bytearray()
        self._done = 0
        self._left = self._files.size(0) if self._files else 0
        self._sha = hashlib.sha256()

    def take(self, part: Slice, content: memoryview) -> None:
        """Carry on over `content`, the bytes of slice `part`, once all slices before it were taken.

        Raises InterruptedRunError if one of them never will be.
        """
        with self._turns.enter(part.number), self._stages("digest"):
            self._update(content)

    def stop(self) -> None:
        """A worker failed: whoever waits for its slice stops too."""
        self._turns.stop()

    def result(self) -> Iterator[str]:
        """Hexadecimal digests in the order of the files, after the last slice."""
        while self._done < len(self._files):  # the last file, and empty ones behind it
            self._next_file()
        size = self._sha.digest_size
        return (self._digests[at:at + size].hex() for at in range(0, len(self._digests), size))

    def _update(self, content: memoryview) -> None:
        while len(content):
            while not self._left:
                self._next_file()
            piece = content[:self._left]
            self._sha.update(piece)
            self._left -= len(piece)
            content = content[len(piece):]

    def _next_file(self) -> None:
        self._digests += self._sha.digest()
        self._done += 1
        self._sha = hashlib.sha256()
        if self._done < len(self._files):
            self._left = self._files.size(self._done)
