"""The ledger: which bundles were published, and the highest number of each series. SQLite, write-ahead log.

A bundle is *intended* before its content is renamed into place, *published* after, and *done* when links, receipt and
hook have followed, each in one transaction; only the second moves a series on. So a stick with nothing but a genuine
statement burns no number, and whoever finds an intention after a kill looks whether the content is there.

Ledger and audit log hold each other: the ledger keeps the last line of the log. One that is further behind than a kill
between two writes explains was put back from a backup, and would let in again what it has forgotten (`require_told`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from airbundle.errors import DamagedError, PolicyError
from airbundle.station.audit import AuditFault, AuditHead, AuditLine, AuditLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.station.state import StationState

INTENDED: Final = "intended"
PUBLISHED: Final = "published"
DONE: Final = "done"
LEDGER_RESTORED: Final = "ledger-restored"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS bundles (
    bundle TEXT PRIMARY KEY, statement TEXT NOT NULL, series TEXT, sequence INTEGER, created INTEGER NOT NULL,
    target TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (series TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
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
        self._state, self._log, self._database = state, log, state.connection
        with state.publishing():
            self._database.executescript(_SCHEMA)

    def find(self, bundle: str) -> Entry | None:
        """The entry of a bundle that was published."""
        return self._entry(bundle, PUBLISHED, DONE)

    def highest(self, series: str) -> int | None:
        """The highest number of a series that was published."""
        row = self._database.execute("SELECT sequence FROM series WHERE series = ?", (series,)).fetchone()
        return row[0] if row else None

    def newest(self) -> int:
        """The newest signed time of what was published; 0 for nothing."""
        return int(self._database.execute("SELECT newest FROM heads").fetchone()[0])

    def head(self) -> AuditHead:
        """The line of the audit log that the ledger knows as the last."""
        return AuditHead(*self._database.execute("SELECT number, hash FROM heads").fetchone())

    def note(self, event: str, *, bundle: str = "", code: str = "", detail: str = "",
             facts: dict[str, str | int | None] | None = None) -> AuditHead:
        """Add a line to the audit log, and remember it."""
        with self._state.publishing():
            return self._note(event, bundle=bundle, code=code, detail=detail, facts=facts)

    def publish(self, entry: Entry, put_in_place: Callable[[], None], *, newest: int,
                check: Callable[[], None]) -> None:
        """Publish one bundle: `check` once more, note the intention, `put_in_place`, and only then move on.

        `newest` is the signed time that counts from now on if it is newer. Raises what the two raise; the intention
        stays then, and is settled by the next run.
        """
        with self._state.publishing():
            check()
            self._write(entry, INTENDED)
            self._note(INTENDED, bundle=entry.bundle, facts=_facts(entry))
            put_in_place()
            self._enter(entry, newest)

    def stopped(self) -> list[Entry]:
        """Bundles whose publication was begun and is not done."""
        rows = self._database.execute("SELECT bundle FROM bundles WHERE state <> ?", (DONE,)).fetchall()
        return [entry for row in rows if (entry := self._entry(row[0], INTENDED, PUBLISHED))]

    def settle(self, entry: Entry, *, in_place: bool, newest: int) -> bool:
        """Whether a publication that was stopped was one; if its content is not `in_place` it is dropped."""
        with self._state.publishing():
            if self._entry(entry.bundle, INTENDED) is None:
                return self._entry(entry.bundle, PUBLISHED) is not None
            if in_place:
                self._enter(entry, newest)
            else:
                self._database.execute("DELETE FROM bundles WHERE bundle = ?", (entry.bundle,))
                self._note("dropped", bundle=entry.bundle)
            return in_place

    def conclude(self, bundle: str) -> None:
        """Links, receipt and hook have followed."""
        with self._state.publishing():
            self._database.execute("UPDATE bundles SET state = ? WHERE bundle = ? AND state = ?",
                                   (DONE, bundle, PUBLISHED))

    def require_told(self, *, catch_up: Callable[[str], bool]) -> None:
        """Ledger and audit log have to know of each other.

        `catch_up`, asked with the hash of the log's last line, says whether an administrator lets an older ledger be
        brought up to date from the log. Raises DamagedError if the log was cut or edited, PolicyError for the ledger.
        """
        with self._state.publishing():
            known, last = self.head(), self._log.head()
            if not self._log.holds(known):
                raise DamagedError(f"the audit log does not have line {known.number} as the ledger knows it",
                                   where=self._state.audit.folder, hint="it was cut or edited: airbundle audit verify")
            behind = self._log.since(known.number)
            if len(behind) == 1 and self._explains(behind[0]):
                self._remember(last)
            elif behind:
                if not catch_up(last.hash):
                    raise PolicyError(
                        LEDGER_RESTORED, f"the ledger knows {known.number} lines of the audit log, which has "
                        f"{last.number}: it was put back from a backup", where=self._state.folder,
                        hint=f"airbundle waive {last.hash} --allow {LEDGER_RESTORED} brings it up to date")
                self._replay(behind)
                self._note("ledger brought up to date", detail=f"from line {known.number}")

    def _explains(self, line: AuditLine) -> bool:
        """Whether a kill between writing this line and remembering it left the ledger as it is."""
        if line.event in {INTENDED, PUBLISHED}:
            return self._entry(line.bundle, INTENDED, PUBLISHED, DONE) is not None
        return True

    def _enter(self, entry: Entry, newest: int) -> None:
        """The transaction that publishes; the line of the audit log is written in it."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._move_on(entry, newest)
            self._note(PUBLISHED, bundle=entry.bundle, facts=_facts(entry) | {"newest": newest})

    def _move_on(self, entry: Entry, newest: int) -> None:
        self._write(entry, PUBLISHED)
        if entry.series is not None:
            self._database.execute(
                "INSERT INTO series VALUES (?, ?) ON CONFLICT (series) DO UPDATE SET sequence = "
                "max(sequence, excluded.sequence)", (entry.series, entry.sequence))
        self._database.execute("UPDATE heads SET newest = max(newest, ?)", (newest,))

    def _replay(self, lines: list[AuditLine]) -> None:
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for line in lines:
                if line.event == PUBLISHED:
                    facts = {name: line.facts.get(name) for name in Entry.__struct_fields__}
                    entry = msgspec.convert(facts | {"bundle": line.bundle}, Entry)
                    self._move_on(entry, int(line.facts["newest"] or 0))
                    self._database.execute("UPDATE bundles SET state = ? WHERE bundle = ?", (DONE, entry.bundle))

    def _write(self, entry: Entry, state: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO bundles VALUES (?, ?, ?, ?, ?, ?, ?)",
                               (*msgspec.structs.astuple(entry), state))

    def _entry(self, bundle: str, *states: str) -> Entry | None:
        """The entry of a bundle if it is in one of these states."""
        row = self._database.execute("SELECT bundle, statement, series, sequence, created, target, state FROM bundles "
                                     "WHERE bundle = ?", (bundle,)).fetchone()
        return Entry(*row[:-1]) if row and row[-1] in states else None

    def _note(self, event: str, *, bundle: str = "", code: str = "", detail: str = "",
              facts: dict[str, str | int | None] | None = None) -> AuditHead:
        head = self._log.append(event, bundle=bundle, code=code, detail=detail, facts=facts)
        self._remember(head)
        return head

    def _remember(self, head: AuditHead) -> None:
        self._database.execute("UPDATE heads SET number = ?, hash = ?", (head.number, head.hash))


def _facts(entry: Entry) -> dict[str, str | int | None]:
    facts: dict[str, str | int | None] = msgspec.structs.asdict(entry)
    return {name: value for name, value in facts.items() if name != "bundle"}


def verify_log(state: StationState) -> tuple[list[AuditFault], AuditHead]:
    """What is wrong with the audit log of a station, also where it ends, and its last line."""
    log = AuditLog(state.audit, rotate=0)
    faults = list(log.faults())
    known = Ledger(state, log).head()
    if not faults and not log.holds(known):
        faults.append(AuditFault(state.audit.folder, known.number, "the ledger knows this line otherwise: it was "
                                                                   "edited, or it and what followed were deleted"))
    return faults, log.head() if not faults else AuditHead()
