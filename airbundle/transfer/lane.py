"""The second reader of a pack: follows the segment workers through the source, within the page cache.

It makes the SHA-256 of every file, one after another, which segments in parallel cannot, and digests every chunk
again. If a chunk differs from what a worker sealed, the source changed while it was read, even where no time stamp
tells.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Self

from airbundle.errors import SourceChangedError
from airbundle.format import limits
from airbundle.media import system

if TYPE_CHECKING:
    from types import TracebackType

    from airbundle.crypto.suites import Suite
    from airbundle.media.reading import SourceReader
    from airbundle.transfer.progress import Meter
    from airbundle.transfer.slices import Slice, Stream


class Lane:
    """A thread that reads slice `n` once a worker has begun it."""

    def __init__(self, stream: Stream, reader: SourceReader, suite: Suite, meter: Meter) -> None:
        self._stream, self._reader, self._suite, self._meter = stream, reader, suite, meter
        self._begun = -1
        self._closed = False
        self._news = threading.Condition()
        self._content: dict[int, bytes] = {}
        self._digests: list[str] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="airbundle-lane", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        with self._news:
            self._closed = self._closed or error is not None
            self._news.notify_all()
        self._thread.join()

    def follow(self, number: int) -> None:
        """A worker begins slice `number`."""
        with self._news:
            self._begun = max(self._begun, number)
            self._news.notify_all()

    def expect(self, number: int, content: bytes) -> None:
        """A worker sealed slice `number` with `content`, `H` over its chunk digests. Waits for this lane's own.

        Raises SourceChangedError if they differ, and whatever stopped the lane.
        """
        with self._news:
            self._news.wait_for(lambda: number in self._content or self._error is not None)
            if self._error is not None:
                raise self._error
            if self._content.pop(number) == content:
                return
        part = self._stream.slices[number]
        names = [self._stream.source.files[n].path for n in range(part.first, min(part.first + 3, part.last + 1))]
        raise SourceChangedError("changed while it was read", where=", ".join(names),
                                 hint="stop what writes there and run the same command again")

    def result(self) -> list[str]:
        """SHA-256 of each file in hexadecimal, after the last slice."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digests

    def _run(self) -> None:
        try:
            self._read_all()
        except BaseException as error:  # noqa: BLE001 - raised again by `expect` and `result`
            with self._news:
                self._error = error
                self._news.notify_all()

    def _read_all(self) -> None:
        files = self._stream.source.files
        buffer = memoryview(system.huge_buffer(limits.CHUNK_MAX))
        current, left, sha = 0, files[0].size if files else 0, hashlib.sha256()
        for part in self._stream.slices:
            if not self._wait_for(part):
                return
            chunk_digests = []
            for cut in self._stream.chunks(part):
                self._meter.alive()
                plain = buffer[:cut.length]
                self._reader.read(cut.start, plain)
                chunk_digests.append(self._suite.hash(plain))
                while len(plain):
                    while not left:
                        self._digests.append(sha.hexdigest())
                        current, sha = current + 1, hashlib.sha256()
                        left = files[current].size
                    piece = plain[:left]
                    sha.update(piece)
                    left -= len(piece)
                    plain = plain[len(piece):]
            with self._news:
                self._content[part.number] = self._suite.hash(*chunk_digests)
                self._news.notify_all()
        while len(self._digests) < len(files):
            self._digests.append(sha.hexdigest())
            sha = hashlib.sha256()

    def _wait_for(self, part: Slice) -> bool:
        with self._news:
            self._news.wait_for(lambda: self._begun >= part.number or self._closed)
            return not self._closed
