"""The ledger: which bundles were published, and the highest number of each series. SQLite, write-ahead log.

A bundle is *intended* before its content is renamed into place, and *published* after, in one transaction, which alone
moves a series on; the intention goes when links, receipt and hook have followed. So a stick with nothing but a genuine
statement burns no number. An intention knows by its number the very folder that is to be renamed: whoever finds one
after a kill looks whether that folder lies at the target. Another folder of this name proves nothing.

Ledger and audit log hold each other: the ledger keeps the last line of the log. One that is further behind than a kill
between two writes explains was put back from a backup, and would let in again what it has forgotten (`require_told`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from airbundle.errors import DamagedError, MediumError, PolicyError
from airbundle.station.audit import AuditFault, AuditHead, AuditLine, AuditLog
from airbundle.station.state import recorded_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.station.state import StationState

INTENDED: Final = "intended"
PUBLISHED: Final = "published"
LEDGER_RESTORED: Final = "ledger-restored"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS bundles (
    bundle TEXT PRIMARY KEY, statement TEXT NOT NULL, series TEXT, sequence INTEGER, created INTEGER NOT NULL,
    target TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS intentions (
    bundle TEXT PRIMARY KEY, statement TEXT NOT NULL, series TEXT, sequence INTEGER, created INTEGER NOT NULL,
    target TEXT NOT NULL, folder TEXT NOT NULL, published INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (series TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (place TEXT PRIMARY KEY, series TEXT, newest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads (
    one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, hash TEXT NOT NULL, newest INTEGER NOT NULL);
INSERT OR IGNORE INTO heads VALUES (1, 0, '', 0);
"""

class Entry(msgspec.Struct, frozen=True):
    """A bundle of the ledger. `created` in seconds since 1970."""

    bundle: str
    statement: str
    series: str | None
    sequence: int | None
    created: int
    target: str


class Ledger:
    """The ledger of a station with its audit log. Methods that write take the station's lock themselves."""

    def __init__(self, state: StationState, log: AuditLog) -> None:
        self._state, self._log, self._database = state, log, state.database
        self._told = self._refused = False
        with state.publishing():
            self._database.script(_SCHEMA)

    def find(self, bundle: str) -> Entry | None:
        """The entry of a bundle that was published."""
        rows = self._database.run("SELECT * FROM bundles WHERE bundle = ?", bundle)
        return Entry(*rows[0]) if rows else None

    def highest(self, series: str) -> int | None:
        """The highest number of a series that was published."""
        rows = self._database.run("SELECT sequence FROM series WHERE series = ?", series)
        return int(rows[0][0]) if rows else None

    def owner(self, place: str) -> tuple[str | None] | None:
        """The series whose content the link or reference of `place` points to, in a tuple; None before the first."""
        rows = self._database.run("SELECT series FROM places WHERE place = ?", place)
        return (rows[0][0],) if rows else None

    def newest(self) -> int:
        """The newest signed time of what was published; 0 for nothing."""
        return int(self._database.run("SELECT newest FROM heads")[0][0])

    def head(self) -> AuditHead:
        """The line of the audit log that the ledger knows as the last."""
        return AuditHead(*self._database.run("SELECT number, hash FROM heads")[0])

    def note(self, event: str, *, bundle: str = "", code: str = "", detail: str = "",
             facts: dict[str, str | int | None] | None = None) -> AuditHead:
        """Add a line to the audit log, and remember it, unless the two do not know of each other."""
        with self._state.publishing():
            return self._note(event, bundle=bundle, code=code, detail=detail, facts=facts)

    def is_newest(self, target: str) -> bool:
        """Whether nothing was published beside `target` after it."""
        return self._database.run("SELECT newest FROM places WHERE place = ?", place_of(target)) == [(target,)]

    def publish(self, entry: Entry, put_in_place: Callable[[], None], *, newest: int, check: Callable[[], str]) -> None:
        """Publish one bundle: `check` once more, note the intention, `put_in_place`, and only then move on.

        `check` gives what the folder that is put in place is known by. `newest` is the signed time that counts from now
        on if it is newer. Raises what the two raise; the intention stays then, and is to be settled.
        """
        with self._state.publishing():
            self._intend(entry, check())
            self._note(INTENDED, bundle=entry.bundle, facts=_facts(entry))
            put_in_place()
            self._enter(entry, newest)

    def stopped(self) -> list[Entry]:
        """Bundles whose publication was begun and not concluded."""
        return [Entry(*row[:-2]) for row in self._database.run("SELECT * FROM intentions")]

    def settle(self, entry: Entry, *, folder: str, newest: int) -> bool:
        """Whether a publication that was stopped was one: what is at its target is known by `folder`. Else dropped."""
        with self._state.publishing():
            rows = self._database.run("SELECT folder, published FROM intentions WHERE bundle = ?", entry.bundle)
            if not rows or rows[0][1]:
                return bool(rows)
            in_place = bool(folder) and rows[0][0] == folder
            if in_place:
                self._enter(entry, newest)
            else:
                self._database.run("DELETE FROM intentions WHERE bundle = ?", entry.bundle)
                self._note("dropped", bundle=entry.bundle)
            return in_place

    def conclude(self, bundle: str) -> None:
        """Links, receipt and hook have followed."""
        with self._state.publishing():
            self._database.run("DELETE FROM intentions WHERE bundle = ? AND published = 1", bundle)

    def require_told(self, *, catch_up: Callable[[str], str | None]) -> None:
        """Ledger and audit log have to know of each other.

        `catch_up`, asked with the hash of the first line that the ledger does not know, says why an administrator lets
        it be brought up to date from the log, None if nobody does. Raises DamagedError if the log was cut or edited,
        PolicyError for the ledger.
        """
        with self._state.publishing():
            known = self.head()
            if not self._log.holds(known):
                self._refused = True
                raise DamagedError(f"the audit log does not have line {known.number} as the ledger knows it",
                                   where=self._state.audit.folder, hint="it was cut or edited: airbundle audit verify")
            behind, reason = self._log.since(known), None
            if len(behind) > 1 or not all(self._explains(line) for _, line in behind):
                unknown = behind[0][0]
                reason = catch_up(unknown)
                if reason is None:
                    self._refused = True
                    raise PolicyError(
                        LEDGER_RESTORED, f"the ledger knows {known.number} lines of the audit log, which has "
                        f"{behind[-1][1].number}: it was put back from a backup", where=self._state.folder,
                        hint=f"airbundle waive {unknown} --allow {LEDGER_RESTORED} --reason TEXT --sign NAME.key "
                        "-o FILE brings it up to date")
                self._replay([line for _, line in behind])
            if behind:
                self._remember(self._log.head())
            self._told = True
            if reason is not None:
                self._note("ledger brought up to date", detail=f"from line {known.number}: {reason}")

    def _explains(self, line: AuditLine) -> bool:
        """Whether a kill between writing this line and remembering it left the ledger as it is."""
        if line.event in {INTENDED, PUBLISHED}:
            return self.find(line.bundle) is not None or any(
                entry.bundle == line.bundle for entry in self.stopped())
        return True

    def _enter(self, entry: Entry, newest: int) -> None:
        """The transaction that publishes; the line of the audit log is written in it."""
        with self._database.transaction():
            self._move_on(entry, newest)
            self._database.run("UPDATE intentions SET published = 1 WHERE bundle = ?", entry.bundle)
            self._note(PUBLISHED, bundle=entry.bundle, facts=_facts(entry) | {"newest": newest})

    def _move_on(self, entry: Entry, newest: int) -> None:
        self._database.run("INSERT OR REPLACE INTO bundles VALUES (?, ?, ?, ?, ?, ?)",
                           *msgspec.structs.astuple(entry))
        self._database.run("INSERT OR REPLACE INTO places VALUES (?, ?, ?)", place_of(entry.target), entry.series,
                           entry.target)
        if entry.series is not None:
            self._database.run("INSERT INTO series VALUES (?, ?) ON CONFLICT (series) DO UPDATE SET sequence = "
                               "max(sequence, excluded.sequence)", entry.series, entry.sequence)
        self._database.run("UPDATE heads SET newest = max(newest, ?)", newest)

    def _intend(self, entry: Entry, folder: str) -> None:
        self._database.run("INSERT OR REPLACE INTO intentions VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                           *msgspec.structs.astuple(entry), folder)

    def _replay(self, lines: list[AuditLine]) -> None:
        with self._database.transaction():
            for line in lines:
                if line.event == PUBLISHED:
                    facts = {name: line.facts.get(name) for name in Entry.__struct_fields__}
                    entry = msgspec.convert(facts | {"bundle": line.bundle}, Entry)
                    self._move_on(entry, int(line.facts["newest"] or 0))

    def _note(self, event: str, *, bundle: str = "", code: str = "", detail: str = "",
              facts: dict[str, str | int | None] | None = None) -> AuditHead:
        if self._told:
            self._require_step()
        elif not self._refused:
            raise MediumError("ledger and audit log were not compared yet", where=self._state.folder)
        head = self._log.append(event, bundle=bundle, code=code, detail=detail, facts=facts)
        if self._told:
            self._remember(head)
        return head

    def _require_step(self) -> None:
        """The ledger has to know the last line before another follows: never are two lines unknown to it.

        Whoever found no room between a line and the ledger has left one.
        """
        known, last = self.head(), self._log.head()
        if known != last:
            if len(self._log.since(known)) != 1:
                raise DamagedError(f"the audit log ends with line {last.number}, the ledger knows {known.number}",
                                   where=self._state.audit.folder, hint="airbundle audit verify says what is wrong")
            self._remember(last)

    def _remember(self, head: AuditHead) -> None:
        self._database.run("UPDATE heads SET number = ?, hash = ?", head.number, head.hash)


def place_of(target: str) -> str:
    """The folder in which a link or a reference points to the newest content: what a series owns."""
    return target.rpartition("/")[0]


def _facts(entry: Entry) -> dict[str, str | int | None]:
    facts: dict[str, str | int | None] = msgspec.structs.asdict(entry)
    return {name: value for name, value in facts.items() if name != "bundle"}


def verify_log(folder: str, log: AuditLog) -> tuple[list[AuditFault], AuditHead]:
    """What is wrong with the audit log of a state folder, also where it ends, and its last line. Changes nothing."""
    faults = list(log.faults())
    recorded = recorded_head(folder)
    if recorded is None:
        return [*faults, AuditFault(folder, 0, "there is no ledger that knows how the log ends")], AuditHead()
    known = AuditHead(*recorded)
    if not faults and not log.holds(known):
        faults.append(AuditFault(folder, known.number, "the ledger knows this line otherwise: it was edited, or it and "
                                                       "what followed were deleted"))
    if not faults and len(log.since(known)) > 1:
        faults.append(AuditFault(folder, known.number, "the ledger knows no later line: it was put back from a backup"))
    return faults, AuditHead() if faults else log.head()
