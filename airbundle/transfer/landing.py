"""What of a bundle is in the staging tree already, so that unpack can go on with the next volume, or after a kill.

The notes lie beside the tree, in a folder that nobody else can enter. A segment is noted twice: when it was written,
which holds until the machine starts anew, and when what it holds is on the medium. One that was written and not noted
is simply written again.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, Self

import msgspec

from airbundle.format.limits import GIB
from airbundle.media.state import AppendLog, boot_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.media.staging import StagingTree

SYNC_EVERY: Final = 4 * GIB


class _Head(msgspec.Struct, frozen=True, tag="head"):
    """What the tree belongs to: bundle, and which of its files are wanted."""

    bundle: str
    include: tuple[str, ...]


class _Landed(msgspec.Struct, frozen=True, tag="landed"):
    """Segments whose content is in the tree."""

    numbers: list[int]


class _Written(msgspec.Struct, frozen=True, tag="written"):
    """A segment whose content is in the tree, perhaps only in memory of the machine as it was started then."""

    number: int
    boot: str


class _Seen(msgspec.Struct, frozen=True, tag="seen"):
    """Volumes, and re-laid copies by number and count, that were here in some run."""

    volumes: list[int]
    copies: list[tuple[int, int]]


class Wrong(msgspec.Struct, frozen=True, tag="wrong"):
    """What was found in one file of a volume, `FOLDER/FILE`, in some run: counts of blocks."""

    file: str
    problem: str
    unreadable: int
    damaged: int
    misplaced: int
    altered: int


class _Witnessed(msgspec.Struct, frozen=True, tag="witnessed"):
    """What a caller wants to be told again when all is there, such as which drives were here."""

    text: str


class Summed(msgspec.Struct, frozen=True, tag="summed"):
    """A segment that is being added up: from the members `given` of its group, of which the sum `has` some."""

    number: int
    given: list[int]
    has: list[int]


_Note = _Landed | _Written | _Seen | Summed | Wrong | _Witnessed


class Landing:
    """The notes of one staging tree. Threads may share it. Use as a context."""

    def __init__(self, staging: StagingTree, bundle: str, include: Iterable[str]) -> None:
        """Go on with the notes of this bundle, or begin new ones. Raises UsageError if another process has them."""
        self._staging = staging
        self._log = AppendLog(staging.notes)
        self._lock = threading.Lock()
        self._boot = boot_id()
        self._fresh: list[int] = []
        self._bytes = 0
        self.done: set[int] = set()
        self.seen: set[int] = set()
        self.copies: set[tuple[int, int]] = set()
        self.sums: dict[int, Summed] = {}
        self.wrongs: dict[str, Wrong] = {}
        self.witnesses: list[str] = []
        try:
            self._begin(msgspec.json.encode(_Head(bundle, tuple(include))))
        except BaseException:  # the same process may try again
            self._log.__exit__(None, None, None)
            raise

    def _begin(self, head: bytes) -> None:
        if self._log.records[:1] == [head]:
            for record in self._log.records[1:]:
                self._take(msgspec.json.decode(record, type=_Note))
        else:
            self._log.keep(0)
            self._staging.clear()
            self._log.append(head)

    @property
    def begun(self) -> bool:
        """Whether an earlier run has left something to go on with."""
        return bool(self.done or self.sums)

    def _take(self, note: _Note) -> None:
        if isinstance(note, _Landed):
            self.done.update(note.numbers)
        elif isinstance(note, _Written):
            if note.boot == self._boot:
                self.done.add(note.number)
                self._fresh.append(note.number)
        elif isinstance(note, Wrong):
            self.wrongs[note.file] = note
        elif isinstance(note, _Witnessed):
            self.witnesses.append(note.text)
        elif isinstance(note, _Seen):
            self.seen.update(note.volumes)
            self.copies.update(note.copies)
        elif note.has:
            self.sums[note.number] = note
        else:
            self.sums.pop(note.number, None)

    def add(self, number: int, size: int) -> None:
        """Segment `number`, with `size` bytes of the source, was written."""
        with self._lock:
            self.done.add(number)
            self._fresh.append(number)
            if self._boot:
                self._log.append(msgspec.json.encode(_Written(number, self._boot)), durable=False)
            self._bytes += size
            if self._bytes >= SYNC_EVERY:
                self._note()

    def wrong(self, note: Wrong) -> None:
        """Something is wrong with a file, whatever becomes of what it holds."""
        with self._lock:
            self.wrongs[note.file] = note
            self._log.append(msgspec.json.encode(note), durable=False)

    def witness(self, text: str) -> None:
        """Remember a text, once."""
        with self._lock:
            if text and text not in self.witnesses:
                self.witnesses.append(text)
                self._log.append(msgspec.json.encode(_Witnessed(text)))

    def see(self, volumes: Iterable[int], copies: Iterable[tuple[int, int]] = ()) -> None:
        """These volumes are here, and these re-laid copies by number and count."""
        with self._lock:
            fresh = _Seen(sorted(set(volumes) - self.seen), sorted(set(copies) - self.copies))
            if fresh.volumes or fresh.copies:
                self._take(fresh)
                self._log.append(msgspec.json.encode(fresh))

    def sum_path(self, number: int, has: list[int]) -> str:
        """The file of a sum; each step has one of its own, so that a kill leaves the one before."""
        return os.path.join(os.path.dirname(self._staging.notes), f"sum-{number}-{'-'.join(map(str, sorted(has)))}")

    def summed(self, note: Summed) -> None:
        """A sum has grown, and its file is on the medium. The file of the step before is removed."""
        with self._lock:
            before = self.sums.get(note.number)
            self.sums[note.number] = note
            self._log.append(msgspec.json.encode(note))
            if before is not None and before.has:
                os.unlink(self.sum_path(before.number, before.has))

    def drop_sum(self, number: int) -> None:
        """A sum that cannot be believed is begun anew."""
        with self._lock:
            note = self.sums.pop(number, None)
            if note is not None:
                self._log.append(msgspec.json.encode(Summed(number, note.given, [])))

    def flush(self) -> None:
        """Note everything that was written. Raises MediumError."""
        with self._lock:
            self._note()

    def _note(self) -> None:
        if self._fresh:
            self._staging.sync()
            self._log.append(msgspec.json.encode(_Landed(self._fresh)))
            self._fresh, self._bytes = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.__exit__(None, None, None)
