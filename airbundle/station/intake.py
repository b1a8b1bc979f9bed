"""Import: let a bundle in, or say why not, with evidence of either.

The steps, in order (the states are those of `states.py`):

1. what an earlier run has left between intention and publication is settled; ledger and audit log know of each other
2. found: statement, signatures, catalog, as every reader opens them
3. admitted: the policy on all that is public (`admission.py`)
4. opened: a key of the station, the policy on the list of files, a place, the right to write there
5. unpacked: every byte verified into a staging folder on the file system of the place; nothing of it is seen there
6. examined: altered blocks, then every file through the gates
7. published: intention, one rename, the ledger's transaction; then links, receipt, hook

A receipt is written whatever the end. The drives are only read.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final, Self

import msgspec

from airbundle.crypto.envelope import Keyring
from airbundle.errors import AirbundleError, FormatError, GateError
from airbundle.format.names import SafePath, shown
from airbundle.format.quantities import parse_size, parse_span
from airbundle.media.drive import device_serial, require_writable
from airbundle.media.staged import StagedFile, is_folder, open_staged
from airbundle.media.staging import StagingTree
from airbundle.station.admission import Admission, Clock, Drive
from airbundle.station.audit import AuditLog
from airbundle.station.commands import require_program
from airbundle.station.evidence import Evidence, published_ending
from airbundle.station.gates.examine import examine
from airbundle.station.gates.result import GateResult, Outcome, decide, is_named
from airbundle.station.gates.rules import resolve_scanner
from airbundle.station.gates.scanning import scan_with
from airbundle.station.hook import run_hook
from airbundle.station.ledger import Entry, Ledger
from airbundle.station.publish import Destination, destination_of, point_at
from airbundle.station.state import StationState, to_syslog
from airbundle.station.states import ImportState, end_of
from airbundle.station.waivers import read_waiver
from airbundle.transfer.custody import CustodyChain, read_chain
from airbundle.transfer.open import Bundle, Opened, open_bundle, open_manifest
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.unpack import fill, staging_key
from airbundle.transfer.whose import volumes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.trust import TrustSet
    from airbundle.format.statement import Statement
    from airbundle.media.volume import VolumeReader
    from airbundle.station.policy import LoadedPolicy
    from airbundle.transfer.workspace import Pace

_NOTED_GATE_RESULTS: Final = 3


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """How an import ended; also the `.report` of its error. Sizes in bytes, `receipt` is a path."""

    state: ImportState
    code: str = ""
    bundle: str = ""
    statement: str = ""
    label: str = ""
    target: str = ""
    files: int = 0
    bytes: int = 0
    read: int = 0
    receipt: str = ""
    clock: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class Station:
    """A station with its ledger and audit log open. Use as a context; one for each thread."""

    def __init__(self, policy: LoadedPolicy, *, waivers: Sequence[bytes] = (), clock: int | None = None) -> None:
        """Settles what an earlier run left. Raises UsageError, MediumError, DamagedError, PolicyError."""
        self.policy = policy
        self._clock = clock
        self.key = policy.station_key()
        self.state = StationState(policy.state)
        try:
            rules = policy.rules.audit
            log = AuditLog(self.state.audit, rotate=parse_size(rules.rotate),
                           forward=to_syslog if rules.syslog else None)
            self.ledger = Ledger(self.state, log)
            self.waivers = tuple(read_waiver(raw, policy, self.clock().now) for raw in waivers)
            self.ledger.require_told(catch_up=self._may_catch_up)
            self.settled = self._settle()
        except BaseException:
            self.state.close()
            raise

    def clock(self) -> Clock:
        """The time that counts now."""
        return Clock(int(time.time()) if self._clock is None else self._clock, self.ledger.newest())

    def newest(self, statement_created: int) -> int:
        """What of a signed time may count from now on: a date ahead of the clock moves nothing."""
        skew = parse_span(self.policy.rules.clock.skew)
        return statement_created if statement_created <= self.clock().clock + skew else 0

    def finish(self, entry: Entry) -> tuple[str, ...]:
        """What follows a publication: links, receipt, hook. Gives what is to be said of it."""
        rules = self.policy.rules.publish
        point_at(rules.layout, entry.target)
        self.state.release_receipt(entry.bundle)
        notes = run_hook(rules.hook, entry)
        for note in notes:
            self.ledger.note("hook failed", bundle=entry.bundle, detail=note)
        self.ledger.conclude(entry.bundle)
        return notes

    def _settle(self) -> set[str]:
        """Finish or drop what was stopped, of bundles that nobody is importing just now. Gives what was finished."""
        finished = set()
        for entry in self.ledger.stopped():
            with contextlib.ExitStack() as stack:
                if not stack.enter_context(self.state.importing(entry.bundle)):
                    continue
                if self.ledger.settle(entry, in_place=is_folder(entry.target), newest=self.newest(entry.created)):
                    self.finish(entry)
                    finished.add(entry.bundle)
        return finished

    def _may_catch_up(self, last_line: str) -> bool:
        return any(waiver.subject == last_line and "ledger-restored" in waiver.allow for waiver in self.waivers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.state.close()


def intake(readers: tuple[VolumeReader, ...], station: Station, *, pace: Pace | None = None,
           progress: Callable[[Tick], None] | None = None,
           announce: Callable[[ImportState], None] | None = None) -> ImportResult:
    """Import one bundle. `announce` hears each state. Raises why it did not come in, with an ImportResult as report.

    Raises UntrustedError, PolicyError, GateError, NoKeyError, IncompleteError, DamagedError, MediumError, UsageError.
    """
    run = _Import(readers, station, announce or (lambda _: None))
    try:
        return run.take(pace, Meter(progress))
    except AirbundleError as error:
        error.where = error.where or readers[0].path
        error.report = run.give_up(error)
        raise


class _Import:
    """One import on its way."""

    def __init__(self, readers: tuple[VolumeReader, ...], station: Station,
                 announce: Callable[[ImportState], None]) -> None:
        self.readers, self.station, self.announce = readers, station, announce
        self.admission = Admission(station.policy, station.ledger, station.clock(), station.waivers)
        self.evidence = Evidence(station, self.admission)

    def take(self, pace: Pace | None, meter: Meter) -> ImportResult:
        """Steps 2 to 7."""
        bundle = open_bundle(self.readers, self.station.policy.trust)
        self.evidence.found(bundle, drives := drives_of(bundle, self.station.policy.trust))
        self._enter(ImportState.FOUND)
        if bundle.distrust is not None:
            raise bundle.distrust
        statement = bundle.statement
        if statement.bundle in self.station.settled:  # the run before this one was stopped behind the rename
            return self._done(statement, ())
        self._admit(bundle, drives)
        with self._alone(statement.bundle):
            opened, place = self._open(bundle)
            with StagingTree(place.target, staging_key(bundle), place.staging) as staging:
                report = fill(staging, bundle, opened, pace=pace, meter=meter, kept=True)
                self.evidence.read(report)
                self._enter(ImportState.UNPACKED)
                staging.keep(kept=False)  # what is refused from here on is not kept
                self.admission.judge_report(report, bundle.statement_hash)
                self._examine(staging, opened, meter)
                staging.keep()
                return self._publish(bundle, opened, place, staging, meter)

    def give_up(self, error: AirbundleError) -> ImportResult:
        """The end of an import that was not let in: audit line and receipt."""
        state = end_of(error.exit_status)
        self.announce(state)
        path = self.evidence.close(state, error)
        return self._result(state, path, code=error.code)

    def _enter(self, state: ImportState) -> None:
        self.evidence.enter(state)
        self.announce(state)

    def _alone(self, bundle: str) -> contextlib.AbstractContextManager[object]:
        return self.station.state.importing(bundle, required=True)

    def _admit(self, bundle: Bundle, drives: Sequence[Drive]) -> None:
        """Step 3."""
        signers = bundle.judgement.valid if bundle.judgement else ()
        stored = sum(row.body for row in bundle.data_rows)
        self.admission.judge_statement(bundle.statement, bundle.statement_hash, signers, stored, drives)
        self._enter(ImportState.ADMITTED)

    def _open(self, bundle: Bundle) -> tuple[Opened, Destination]:
        """Step 4."""
        policy = self.station.policy
        opened = open_manifest(bundle, Keyring(policy.opening_keys()))
        self.admission.judge_manifest(opened.manifest, bundle.statement_hash)
        self.evidence.opened(opened.manifest)
        place = destination_of(policy.root, policy.rules.publish.layout, bundle.statement, opened.manifest)
        with contextlib.suppress(FileNotFoundError):
            require_writable(_there(place.root))
        for scanner in map(resolve_scanner, policy.rules.gates.scanners):
            require_program(scanner.command, f"the scanner {scanner.name}")
        if policy.rules.publish.hook:
            require_program(policy.rules.publish.hook, "the hook")
        self._enter(ImportState.OPENED)
        return opened, place

    def _examine(self, staging: StagingTree, opened: Opened, meter: Meter) -> None:
        """Step 6. Raises GateError for the first file that is not clean."""
        rules = self.station.policy.rules.gates
        results: list[GateResult] = []
        paths = {file.path for file in opened.manifest.files}
        meter.begin("examining", opened.manifest.size)
        for file in opened.manifest.files:
            meter.alive()
            with open_staged(staging, SafePath(file.path)) as content, contextlib.ExitStack() as others:
                def beside(path: str, others: contextlib.ExitStack = others) -> StagedFile | None:
                    return others.enter_context(open_staged(staging, SafePath(path))) if path in paths else None

                results += examine(file.path, content, rules, beside=beside)
            meter.add(file.size)
        results += [scan_with(resolve_scanner(scanner), staging.path) for scanner in rules.scanners]
        self.evidence.examined(results)
        # A scanner that knows no file here says nothing; each file was examined by a gate, or none of it comes in.
        counted = [one for one in results if one.path or one.outcome is not Outcome.NOT_EXAMINED]
        outcome = decide(counted, unexamined=rules.unexamined) if counted else Outcome.CLEAN
        if outcome is not Outcome.CLEAN:
            raise _refusal(outcome, [one for one in results if one.outcome is outcome and not (
                outcome is Outcome.NOT_EXAMINED and is_named(one.path, rules.unexamined))])
        self._enter(ImportState.EXAMINED)

    def _publish(self, bundle: Bundle, opened: Opened, place: Destination, staging: StagingTree,
                 meter: Meter) -> ImportResult:
        """Step 7."""
        statement = bundle.statement
        meter.begin("publishing", 0)
        entry = Entry(statement.bundle, bundle.statement_hash, statement.series, statement.sequence, statement.created,
                      place.target)
        self.evidence.publishing(place.target)
        self.station.ledger.publish(
            entry, lambda: place.put(staging, opened.manifest), newest=self.station.newest(statement.created),
            check=lambda: self.admission.judge_again(statement, bundle.statement_hash))
        return self._done(statement, self.station.finish(entry))

    def _done(self, statement: Statement, notes: tuple[str, ...]) -> ImportResult:
        entry = self.station.ledger.find(statement.bundle)
        assert entry is not None
        self.announce(ImportState.PUBLISHED)
        return self._result(ImportState.PUBLISHED, self.station.state.receipt_path(published_ending(statement.bundle)),
                            target=entry.target, notes=notes)

    def _result(self, state: ImportState, receipt: str, *, code: str = "", target: str = "",
                notes: tuple[str, ...] = ()) -> ImportResult:
        evidence = self.evidence
        noted = tuple(f"{check.name}: {check.detail}" for check in self.admission.checks if check.outcome in {
            "noted", "waived"})
        return ImportResult(state=state, code=code, bundle=evidence.bundle_id,
                            statement=evidence.statement, label=evidence.label, target=target,
                            files=evidence.files, bytes=evidence.size, read=evidence.bytes_read, receipt=receipt,
                            clock=self.admission.clock.note, notes=(*noted, *notes), seconds=evidence.seconds)


def drives_of(bundle: Bundle, trust: TrustSet) -> tuple[Drive, ...]:
    """The drives under the volumes given, what was recorded of them, and the events of custody on them."""
    drives = []
    for reader in bundle.volumes:
        number = min(volumes_of(bundle, reader.path), default=0)
        try:
            chain = read_chain(bundle, reader, trust)
        except FormatError as error:
            chain = CustodyChain(problems=(str(error),))
        recorded = chain.serial or (bundle.statement.volumes[number - 1].serial if number else None)
        events = tuple(f"{'?' if link.problem else ''}{link.event.event} by {link.name or 'a stranger'}"
                       f"{f', seal {link.event.seal}' if link.event.seal else ''}" for link in chain.links)
        drives.append(Drive(number, reader.path, device_serial(reader.path), recorded, events, chain.problems))
    return tuple(drives)


def _refusal(outcome: Outcome, results: Sequence[GateResult]) -> GateError:
    said = "; ".join(f"{shown(one.path) or 'the folder'}: {one.gate}: {shown(one.detail)}"
                     for one in results[:_NOTED_GATE_RESULTS])
    more = len(results) - _NOTED_GATE_RESULTS
    error = GateError(f"{said}{f'; and {more} more' if more > 0 else ''}",
                      hint="the receipt has all of it; gates.unexamined names what may pass unexamined"
                      if outcome is Outcome.NOT_EXAMINED else "the receipt has all of it")
    error.code = f"gate-{outcome.value}"
    return error


def _there(path: str) -> str:
    """The nearest folder above that exists."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path
