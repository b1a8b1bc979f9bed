"""Whether a bundle may come in: every check of the policy, in order, each by its name, with what it found.

What is public is judged before a key is touched or the bulk is read; what only a key shows comes after. All checks are
made, so that a receipt tells all there is to tell; then the first that failed is raised. Outcomes and codes are the
words of `docs/station.md`.
"""

from __future__ import annotations

import fnmatch
import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from airbundle.errors import AirbundleError, PolicyError, ThresholdError
from airbundle.format.names import shown
from airbundle.format.quantities import parse_size, parse_span
from airbundle.media.source import SALVAGE_MARKER
from airbundle.media.staged import is_taken
from airbundle.station.ledger import place_of
from airbundle.station.policy import PACKER, SUITE_ORDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.identities import PublicIdentity
    from airbundle.format.manifest import Manifest
    from airbundle.format.statement import Statement
    from airbundle.station.ledger import Ledger
    from airbundle.station.policy import LoadedPolicy, RoleHolder
    from airbundle.station.publish import Destination
    from airbundle.station.waivers import Waiver
    from airbundle.transfer.report import Report

ROLES: Final = ("packer", "releaser")
_NOTED_PROBLEMS: Final = 20


class Drive(msgspec.Struct, frozen=True):
    """A drive as it is here: the volume on it (0: not known), its serial number, and the one that was recorded.

    `kinds` are the events of custody that hold, `events` all of them, a line each, `broken` what is wrong with them.
    """

    volume: int
    path: str
    serial: str
    recorded: str | None
    kinds: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True):
    """One check of the policy: `outcome` is passed, refused, waived or noted."""

    name: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Clock:
    """The time that a decision rests on: the later of the station's clock and the newest signed time published."""

    clock: int
    newest: int
    skew: int

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return max(self.clock, self.newest)

    @property
    def note(self) -> str:
        """What to say of a clock that is behind; nothing otherwise."""
        if self.clock + self.skew >= self.newest:
            return ""
        return (f"the station's clock says {_day(self.clock)}, which is before {_day(self.newest)}, the newest signed "
                "time published here: that time counts. Set the clock")


@dataclass
class Admission:
    """The checks of one import, as they are made."""

    policy: LoadedPolicy
    ledger: Ledger
    clock: Clock
    waivers: Sequence[Waiver] = ()
    checks: list[Check] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    _to_note: list[tuple[str, str, str]] = field(default_factory=list)
    _failures: list[AirbundleError] = field(default_factory=list)

    def judge_statement(self, statement: Statement, statement_hash: str, signers: Sequence[PublicIdentity],
                        stored: int, drives: Sequence[Drive]) -> None:
        """Everything that is public; `stored` are the bytes of its data segments. Raises the first refusal."""
        self._make("signatures", lambda: self._signatures(signers, bytes.fromhex(statement.packer)), "")
        for check in (self._suite, self._replay, self._series, self._sequence, self._marking, self._created,
                      self._expiry):
            self._make(check.__name__[1:], functools.partial(check, statement), statement_hash)
        self._make("size", lambda: self._size(stored), statement_hash)
        self._make("drives", lambda: self._drives(drives), statement_hash)
        self._make("custody", lambda: self._custody(drives), statement_hash)
        self._end_of_stage(statement.bundle)

    def judge_manifest(self, manifest: Manifest, statement: Statement, statement_hash: str,
                       destination: Destination) -> None:
        """What only a key shows, and where it would go. Raises the first refusal."""
        self._make("content size", lambda: self._size(manifest.size), statement_hash)
        self._make("files", lambda: self._files(manifest), statement_hash)
        self._make("salvage", lambda: _not_salvaged(manifest), "")
        self._make("place", lambda: self._place(statement, destination), "")
        self._end_of_stage(statement.bundle)

    def judge_report(self, report: Report, statement_hash: str) -> None:
        """What was found while the bulk was read. Raises the first refusal."""
        self.checks = [check for check in self.checks if check.name != "altered blocks"]
        self._make("altered blocks", lambda: self._altered(report), statement_hash)
        self._end_of_stage(report.bundle)

    def judge_again(self, statement: Statement, statement_hash: str) -> None:
        """What another import may have changed meanwhile. Raises PolicyError."""
        self.checks, kept = [], self.checks
        self._make("replay", lambda: self._replay(statement), statement_hash)
        self._make("sequence", lambda: self._sequence(statement), statement_hash)
        again = {check.name: check for check in self.checks}
        self.checks = [again.get(check.name, check) for check in kept]
        self._raise_first()

    def note_waivers(self, bundle: str) -> None:
        """A line in the audit log for each refusal that a waiver lifted. Not with the station's lock held."""
        while self._to_note:
            subject, code, reason = self._to_note.pop(0)
            self.ledger.note("waived", bundle=bundle, code=code, detail=reason, facts={"subject": subject})

    @property
    def refusals(self) -> tuple[str, ...]:
        """The codes of everything that failed."""
        return tuple(error.code for error in self._failures)

    def _end_of_stage(self, bundle: str) -> None:
        self.note_waivers(bundle)
        self._raise_first()

    def _raise_first(self) -> None:
        """Raise what failed; signatures come before the policy."""
        if self._failures:
            raise min(self._failures, key=lambda error: error.exit_status)

    def _make(self, name: str, check: Callable[[], str], subject: str) -> None:
        """Make one check; a refusal that a waiver for `subject` lifts is noted and not raised."""
        try:
            detail = check()
        except PolicyError as error:
            waiver = next((one for one in self.waivers if subject and one.subject == subject
                           and error.code in one.allow), None)
            if waiver is not None:
                lifted = f"{error.code}: {waiver.reason}"
                if lifted not in self.used:
                    self.used.append(lifted)
                    self._to_note.append((subject, error.code, waiver.reason))
                self.checks.append(Check(name, "waived", f"{error.what}; waived: {waiver.reason}"))
                return
            if error.code in {"future-dated", "expired"} and self.clock.note:
                error.hint = self.clock.note
            self.checks.append(Check(name, "refused", f"{error.code}: {error.what}"))
            self._failures.append(error)
        except ThresholdError as error:
            self.checks.append(Check(name, "refused", f"{error.code}: {error.what}"))
            self._failures.append(error)
        else:
            self.checks.append(Check(name, "noted" if detail.startswith("!") else "passed", detail.removeprefix("!")))

    def _signatures(self, signers: Sequence[PublicIdentity], packer: bytes) -> str:
        """Each role needs so many different keys, and one key counts for one role."""
        known = {holder.key_id: holder for holder in self.policy.holders}
        holders = [known[signer.key_id] for signer in signers if signer.key_id in known]
        if not any(holder.key_id == packer and PACKER in holder.roles for holder in holders):
            raise ThresholdError("the bundle's packer is trusted here, but not as a packer", rule="T-3",
                                 hint="ask the administrator, who gives roles in the policy")
        thresholds = self.policy.rules.thresholds
        needed = {PACKER: thresholds.packer, "releaser": thresholds.releaser}
        given = assign(holders, needed)
        missing = {role: count - len(given[role]) for role, count in needed.items() if len(given[role]) < count}
        if missing:
            raise ThresholdError(
                "signatures are missing: " + ", ".join(f"{count} more {role}" for role, count in missing.items()),
                hint="airbundle sign adds one; whom the policy takes: " + "; ".join(
                    f"{role}: {', '.join(holder.identity.name for holder in self.policy.holders_of(role))}"
                    for role in missing))
        return "; ".join(f"{role}: {', '.join(holder.identity.name for holder in held)}"
                         for role, held in given.items() if held)

    def _suite(self, statement: Statement) -> str:
        floor = self.policy.rules.bundle.suite
        if SUITE_ORDER.index(statement.suite) < SUITE_ORDER.index(floor):
            raise PolicyError("weaker-suite", f"the bundle is of suite '{statement.suite}', this station takes "
                              f"'{floor}' or stronger", hint="pack it with a key of that suite")
        return statement.suite

    def _replay(self, statement: Statement) -> str:
        found = self.ledger.find(statement.bundle)
        if found is not None:
            raise PolicyError("replay", f"bundle {statement.bundle} was imported already, to {shown(found.target)}",
                              hint="it is there: nothing has to be done")
        return "not seen before"

    def _series(self, statement: Statement) -> str:
        rules = self.policy.rules
        if statement.series is None:
            if rules.bundle.series_required:
                raise PolicyError("series", "the bundle belongs to no series", hint="pack with --series and --sequence")
            return "no series"
        table = rules.series_of(statement.series)
        if table is None:
            if rules.series:
                raise PolicyError("series", f"series {shown(statement.series)}: this station does not take it")
            return f"{statement.series}: any is taken"
        names = {holder.identity.name for holder in self.policy.holders
                 if holder.key_id.hex() == statement.packer}
        if table.packers and not names & set(table.packers):
            raise PolicyError("series", f"series {shown(statement.series)}: packed by "
                              f"{', '.join(names) or 'somebody else'}, not by {', '.join(table.packers)}")
        return statement.series

    def _sequence(self, statement: Statement) -> str:
        if statement.series is None or statement.sequence is None:
            return "no series"
        highest = self.ledger.highest(statement.series)
        if highest is None:
            return f"{statement.sequence}, the first here"
        said = f"series {shown(statement.series)}: this is {statement.sequence}, the station has {highest}"
        if statement.sequence <= highest:
            raise PolicyError("rollback", said, hint="ask the packer for the newest of the series")
        table = self.policy.rules.series_of(statement.series)
        if table is not None and table.largest_step and statement.sequence > highest + table.largest_step:
            raise PolicyError("step", f"{said}, and a step is at most {table.largest_step}")
        return f"{statement.sequence} after {highest}"

    def _marking(self, statement: Statement) -> str:
        rules = self.policy.rules.bundle
        if not statement.marking and not rules.marking_required:
            return "none"
        wanted = rules.markings or ("?*",)
        if not any(fnmatch.fnmatchcase(statement.marking, pattern) for pattern in wanted):
            raise PolicyError("marking", f"its marking is '{shown(statement.marking)}', this station takes: "
                              f"{', '.join(wanted)}", hint="pack with --marking")
        return statement.marking

    def _created(self, statement: Statement) -> str:
        if statement.created > self.clock.now + parse_span(self.policy.rules.clock.skew):
            raise PolicyError("future-dated", f"made on {_day(statement.created)}, and here it is "
                              f"{_day(self.clock.now)}", hint="one of the two clocks is wrong: find out which")
        return ("!" + self.clock.note) if self.clock.note else _day(statement.created)

    def _expiry(self, statement: Statement) -> str:
        rules = self.policy.rules.bundle
        if statement.expires is None:
            if rules.expiry_required:
                raise PolicyError("no-expiry", "it never expires, and this station takes only what does",
                                  hint="pack with --expires")
            return "never"
        if statement.expires <= self.clock.now:
            raise PolicyError("expired", f"expired on {_day(statement.expires)}, and here it is "
                              f"{_day(self.clock.now)}", hint="ask the packer for a newer one")
        if rules.longest_life and statement.expires - statement.created > parse_span(rules.longest_life):
            raise PolicyError("long-life", f"it lives longer than {rules.longest_life}")
        return _day(statement.expires)

    def _size(self, size: int) -> str:
        largest = self.policy.rules.bundle.largest_size
        if size > parse_size(largest):
            raise PolicyError("too-large", f"{size} bytes, this station takes {largest}")
        return f"{size} bytes"

    def _drives(self, drives: Sequence[Drive]) -> str:
        rules = self.policy.rules.devices
        for drive in drives:
            if rules.serials and drive.serial not in rules.serials:
                raise PolicyError("unknown-drive", f"the drive with volume {drive.volume or '?'} has serial "
                                  f"'{shown(drive.serial) or 'unknown'}', which the policy does not name",
                                  where=drive.path)
        changed = [drive for drive in drives if drive.recorded and drive.serial != drive.recorded]
        said = "; ".join(f"volume {drive.volume} was written to the drive {shown(drive.recorded or '')}, this one is "
                         f"{shown(drive.serial) or 'unknown'}" for drive in changed)
        if changed and rules.recorded_serial == "refuse":
            raise PolicyError("changed-serial", said, where=changed[0].path,
                              hint="find out whether the bundle was copied, and by whom")
        return f"!{said}" if changed and rules.recorded_serial == "report" else "as recorded" if any(
            drive.recorded for drive in drives) else "no serials recorded"

    def _custody(self, drives: Sequence[Drive]) -> str:
        rules = self.policy.rules.custody
        for drive in drives:
            if missing := [kind for kind in rules.required if kind not in drive.kinds]:
                raise PolicyError("custody", f"the drive with volume {drive.volume or '?'} has no event "
                                  f"{' and no event '.join(missing)}", where=drive.path)
        broken = [f"volume {drive.volume or '?'}: {problem}" for drive in drives for problem in drive.broken]
        more = [f"and {len(broken) - _NOTED_PROBLEMS} more"] if len(broken) > _NOTED_PROBLEMS else []
        said = "; ".join(broken[:_NOTED_PROBLEMS] + more)
        if said and rules.chain == "refuse":
            raise PolicyError("custody", said, hint="find out who had the drive")
        count = sum(len(drive.events) for drive in drives)
        return f"!{said}" if said and rules.chain == "report" else f"{count} events" if count else "no events"

    def _files(self, manifest: Manifest) -> str:
        most = self.policy.rules.bundle.most_files
        if len(manifest.files) > most:
            raise PolicyError("too-many-files", f"{len(manifest.files)} files, this station takes {most}")
        return str(len(manifest.files))

    def _place(self, statement: Statement, destination: Destination) -> str:
        """The place has to be free, and what points to the newest there has to belong to the same series."""
        if is_taken(destination.target):
            raise PolicyError("occupied", "there is something already", where=shown(destination.target),
                              hint="if it is to come in again, remove it first; else find out who put it there")
        owner = self.ledger.owner(place_of(destination.target))
        if owner is not None and owner != (statement.series,):
            raise PolicyError("label", f"{shown(place_of(destination.target))} belongs to "
                              f"{f'series {shown(owner[0])}' if owner[0] else 'bundles without a series'} here",
                              hint="pack it with another --label, or with another hf-repo")
        return destination.target

    def _altered(self, report: Report) -> str:
        """Altered is what somebody wrote; damage by chance is no reason to refuse what was put right."""
        if report.altered and self.policy.rules.bundle.altered_blocks == "refuse":
            raise PolicyError("altered-blocks", f"{report.altered} blocks carry digests that somebody made: this is no "
                              "damage", hint="keep the drive for whoever looks into it, and ask for another")
        return f"{report.altered} altered, {report.damaged + report.unreadable} damaged"


def assign(holders: Sequence[RoleHolder], needed: dict[str, int]) -> dict[str, list[RoleHolder]]:
    """Give keys to roles so that as many places as can be are taken, a key in one of them only (augmenting paths)."""
    places = [(role, number) for role, count in needed.items() for number in range(count)]
    taken: dict[tuple[str, int], RoleHolder] = {}

    def place(holder: RoleHolder, seen: set[tuple[str, int]]) -> bool:
        for one in places:
            if one[0] in holder.roles and one not in seen:
                seen.add(one)
                if one not in taken or place(taken[one], seen):
                    taken[one] = holder
                    return True
        return False

    for holder in holders:
        place(holder, set())
    return {role: [holder for (given, _), holder in taken.items() if given == role] for role in needed}


def _not_salvaged(manifest: Manifest) -> str:
    if any(file.path.rpartition("/")[2].casefold() == SALVAGE_MARKER.casefold() for file in manifest.files):
        raise PolicyError("salvaged", "it holds what was salvaged and never verified",
                          hint="ask for the original")
    return "none"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(min(seconds, 253402300799)))
