"""What of a bundle is in the staging tree already, so that unpack can go on with the next volume, or after a kill.

The notes lie beside the tree, in a folder that nobody else can enter. A segment is noted when what it holds is on the
medium; one that was written and not noted is simply written again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Self

import msgspec

from airbundle.format.limits import GIB
from airbundle.media.state import AppendLog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.media.staging import StagingTree

SYNC_EVERY: Final = 4 * GIB


class _Head(msgspec.Struct, frozen=True):
    """What the tree belongs to: bundle, and which of its files are wanted."""

    bundle: str
    include: tuple[str, ...]


class Landing:
    """The notes of one staging tree. Threads may share it. Use as a context."""

    def __init__(self, staging: StagingTree, bundle: str, include: Iterable[str]) -> None:
        """Go on with the notes of this bundle, or begin new ones. Raises UsageError if another process has them."""
        self._staging = staging
        self._log = AppendLog(staging.notes)
        self._lock = threading.Lock()
        self._fresh: list[int] = []
        self._bytes = 0
        self.done: set[int] = set()
        head = msgspec.json.encode(_Head(bundle, tuple(include)))
        if self._log.records[:1] == [head]:
            for record in self._log.records[1:]:
                self.done.update(msgspec.json.decode(record, type=list[int]))
        else:
            self._log.keep(0)
            staging.clear()
            self._log.append(head)

    def add(self, number: int, size: int) -> None:
        """Segment `number`, with `size` bytes of the source, was written."""
        with self._lock:
            self.done.add(number)
            self._fresh.append(number)
            self._bytes += size
            if self._bytes >= SYNC_EVERY:
                self._note()

    def flush(self) -> None:
        """Note everything that was written. Raises MediumError."""
        with self._lock:
            self._note()

    def _note(self) -> None:
        if self._fresh:
            self._staging.sync()
            self._log.append(msgspec.json.encode(self._fresh))
            self._fresh, self._bytes = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.__exit__(None, None, None)
