"""The journal of a pack: what the same command needs to go on after `kill -9`.

The head (bundle id and key, preamble, time, what may be lost, and fresh words until they were shown) is signed by the
packer and then sealed to it: a forged journal would choose the bundle key. It carries a journal key under which every
further record is sealed with a salt of its own. A segment is in the journal before it has its final name, so a file
with a final name is never written again.
"""

from __future__ import annotations

import base64
import os
import threading
from typing import TYPE_CHECKING, Final, Self

import msgspec

from airbundle.crypto.sealed_log import open_entry, open_from_self, seal_entry, seal_to_self
from airbundle.errors import AirbundleError
from airbundle.format.catalog import Row
from airbundle.media.state import AppendLog, state_folder
from airbundle.transfer.layout import Team

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from airbundle.crypto.identities import PrivateIdentity

PURPOSE: Final = "journal"


class Head(msgspec.Struct, frozen=True):
    """What is drawn once per bundle."""

    plan: str
    bundle: str
    key: str
    preamble: str
    created: int
    journal_key: str
    lose: int
    words: str = ""

    def __repr__(self) -> str:
        """Without the keys: a value like this ends up in reports of bugs."""
        return f"Head({self.bundle})"

    @property
    def key_bytes(self) -> bytes:
        """The bundle key."""
        return _un64(self.key)

    @property
    def preamble_bytes(self) -> bytes:
        """The preamble of every segment."""
        return _un64(self.preamble)


class Finished(msgspec.Struct, frozen=True, tag="segment"):
    """A segment whose bytes are durable on the medium under its temporary name.

    It is `checked` if it was made here, or read back and opened; otherwise a worker elsewhere says what it is.
    """

    row: Row
    content: str
    checked: bool


class LaidOut(msgspec.Struct, frozen=True, tag="layout"):
    """Which segments are coded together and which volumes take them; the last one holds."""

    teams: tuple[tuple[int, int, tuple[int, ...]], ...]

    @classmethod
    def of(cls, teams: Sequence[Team]) -> Self:
        """From teams."""
        return cls(tuple((team.first, team.count, team.volumes) for team in teams))

    def as_teams(self) -> tuple[Team, ...]:
        """The teams."""
        return tuple(Team(number, *fields) for number, fields in enumerate(self.teams))


class Mounted(msgspec.Struct, frozen=True, tag="mounted"):
    """Targets and the points at which they were mounted, as bytes in hexadecimal; the last one holds."""

    points: dict[str, str]


class Ending(msgspec.Struct, frozen=True, tag="final"):
    """What catalog `number` is made of, and the very bytes of the statement: so no second valid one can exist.

    `body` is without padding; with `salt` it gives the same catalog at any time, which has more than twice its bytes.
    """

    number: int
    salt: bytes
    body: bytes
    statement: bytes


class Journal:
    """Open or begin the journal of the plan with hash `plan`."""

    def __init__(self, identity: PrivateIdentity, plan: str, entropy: Callable[[int], bytes]) -> None:
        self._identity = identity
        self._plan = plan
        self._entropy = entropy
        self._log = AppendLog(os.path.join(state_folder("pack"), f"{plan[:32]}.journal"))
        self.head: Head | None = None
        self.finished: dict[int, Finished] = {}
        self.ending: Ending | None = None
        self.teams: tuple[Team, ...] | None = None
        self.mounted: dict[str, str] = {}
        self._counter = 0
        self._lock = threading.Lock()
        self._load()

    def _load(self) -> None:
        if not self._log.records:
            return
        try:
            head = msgspec.json.decode(open_from_self(self._identity, self._log.records[0], PURPOSE), type=Head)
        except (AirbundleError, msgspec.MsgspecError):
            head = None
        if head is None or head.plan != self._plan:  # not ours: begin anew, believe nothing of it
            self._log.keep(0)
            return
        self.head = head
        for raw in self._log.records[1:]:
            try:
                payload = open_entry(_un64(head.journal_key), self._counter, raw, PURPOSE, suite=self._identity.suite)
            except AirbundleError:  # torn, or not ours: what follows is made again
                self._log.keep(1 + self._counter)
                break
            record = msgspec.msgpack.decode(payload, type=Finished | Ending | LaidOut | Mounted)
            self._counter += 1
            if isinstance(record, Finished):
                self.finished[record.row.number] = record
            elif isinstance(record, LaidOut):
                self.teams = record.as_teams()
            elif isinstance(record, Mounted):
                self.mounted = record.points
            else:
                self.ending = record
        self._log.records = []

    def begin(self, *, bundle: bytes, key: bytes, preamble: bytes, created: int, lose: int, words: str = "") -> Head:
        """Write the head of a new bundle."""
        self.head = Head(self._plan, bundle.hex(), _64(key), _64(preamble), created, _64(self._entropy(32)), lose,
                         words)
        self._log.append(seal_to_self(self._identity, msgspec.json.encode(self.head), PURPOSE))
        return self.head

    def add(self, record: Finished | Ending | LaidOut | Mounted) -> None:
        """Append; durable on return. Threads may share it."""
        assert self.head is not None
        with self._lock:
            self._log.append(seal_entry(_un64(self.head.journal_key), self._counter, msgspec.msgpack.encode(record),
                                        PURPOSE, suite=self._identity.suite, entropy=self._entropy))
            self._counter += 1
            if isinstance(record, Ending):
                self.ending = record

    def restart(self) -> None:
        """Forget all of it before anything is added: this run makes another bundle."""
        self._log.keep(0)
        self.head, self.finished, self.ending, self.teams, self._counter = None, {}, None, None, 0

    def forget(self) -> None:
        """Begin anew next time, with another bundle id."""
        with self._lock:
            self._log.keep(0)

    def erase(self) -> None:
        """The bundle is done."""
        self._log.erase()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self.head is None:  # nothing was begun
            self._log.erase()
        self._log.__exit__(kind, error, trace)


def _64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _un64(text: str) -> bytes:
    return base64.b64decode(text)
