"""Import: let a bundle in, or say why not, with evidence of either.

The steps, in order (the states are those of `states.py`):

1. begun: waivers hold, ledger and audit log know of each other, and what an earlier run left is settled
2. found: statement, signatures, catalog, as every reader opens them
3. admitted: the policy on all that is public (`admission.py`)
4. opened: a key of the station, the policy on the list of files, a place, the right to write, the programs needed
5. unpacked: every byte verified into a staging folder on the file system of the place; nothing of it is seen there
6. examined: altered blocks, then every file through the gates
7. published: intention, one rename, the ledger's transaction; then links, receipt, hook (`station.py`)

A receipt is written whatever the end. The drives are only read.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from airbundle.crypto.envelope import Keyring
from airbundle.crypto.signing import BELIEVE
from airbundle.errors import AirbundleError, FormatError, GateError, MediumError, StrangerError
from airbundle.format.names import SafePath, shown
from airbundle.media.drive import device_serial, require_writable
from airbundle.media.presence import Presence, pulled_first
from airbundle.media.staged import StagedPath, folder_id, open_staged
from airbundle.media.staging import StagingTree
from airbundle.station.admission import Admission, Drive
from airbundle.station.audit import escaped
from airbundle.station.commands import require_program
from airbundle.station.evidence import Evidence
from airbundle.station.gates.examine import examine
from airbundle.station.gates.result import GateResult, Outcome, decide, is_named
from airbundle.station.gates.rules import resolve_scanner
from airbundle.station.gates.scanning import scan_with
from airbundle.station.ledger import Entry
from airbundle.station.publish import Destination, destination_of
from airbundle.station.states import NEXT, ImportState, end_of
from airbundle.transfer.custody import CustodyChain, read_chain
from airbundle.transfer.finding import open_volumes
from airbundle.transfer.open import Bundle, Opened, open_bundle, open_manifest
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.unpack import Filled, fill, require_unchanged, staging_key
from airbundle.transfer.whose import volumes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.trust import TrustSet
    from airbundle.format.statement import Statement
    from airbundle.media.volume import VolumeReader
    from airbundle.station.station import Station
    from airbundle.transfer.workspace import Pace

_NOTED_GATE_RESULTS: Final = 3
_NOT_KEPT: Final = frozenset({"gate-finding", "gate-not-examined", "altered-blocks"})
"""Refusals after which what was unpacked is thrown away: it will not come in another time either."""


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """How an import ended; also the `.report` of its error. Sizes in bytes, `receipt` is a path."""

    state: ImportState
    code: str = ""
    codes: tuple[str, ...] = ()
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


def intake(volumes: Sequence[str], station: Station, *, bundle: str = "", waivers: Sequence[bytes] = (),
           pace: Pace | None = None, progress: Callable[[Tick], None] | None = None,
           announce: Callable[[ImportState], None] | None = None) -> ImportResult:
    """Import the bundle at `volumes`. `announce` hears each state. Raises why it did not come in.

    Raises UntrustedError, PolicyError, GateError, NoKeyError, IncompleteError, DamagedError, MediumError, UsageError,
    each with an ImportResult as report.
    """
    run = _Import(station, announce or (lambda _: None))
    try:
        run.begin(waivers)
        presences = [Presence.of(path) for path in volumes]
        with contextlib.ExitStack() as stack, pulled_first(presences):
            readers = open_volumes(volumes, bundle)
            for reader in readers:
                presences.append(reader.presence)
                stack.callback(reader.close)
            return run.take(readers, pace, Meter(progress))
    except AirbundleError as error:
        error.where = error.where or (volumes[0] if volumes else "")
        error.report = run.give_up(error)
        raise
    except KeyboardInterrupt:
        run.stopped()
        raise


def refuse_drive(station: Station, error: AirbundleError, drive: Drive) -> str:
    """The receipt of a drive that was not let in as a device, and so was never read; gives its path."""
    station.settle(())
    evidence = Evidence(station, Admission(station.policy, station.ledger, station.clock()))
    evidence.drives = (drive,)
    return evidence.close(end_of(error.exit_status), error)


class _Import:
    """One import on its way."""

    def __init__(self, station: Station, announce: Callable[[ImportState], None]) -> None:
        self.station, self.announce = station, announce
        self.state = ImportState.BEGUN
        self.unsettled = False
        self.admission = Admission(station.policy, station.ledger, station.clock())
        self.evidence = Evidence(station, self.admission)

    def begin(self, waivers: Sequence[bytes]) -> None:
        """Step 1."""
        failure: AirbundleError | None = None
        try:
            self.admission.waivers = self.station.read_waivers(waivers)
        except AirbundleError as error:  # what is left of an earlier run comes first
            failure = error
        self.station.settle(self.admission.waivers)
        if failure is not None:
            raise failure
        self.admission.clock = self.station.clock()
        self.announce(ImportState.BEGUN)

    def take(self, readers: tuple[VolumeReader, ...], pace: Pace | None, meter: Meter) -> ImportResult:
        """Steps 2 to 7."""
        bundle = open_bundle(readers, self.station.policy.trust)
        self.evidence.found(bundle, drives := drives_of(bundle, self.station.policy.trust))
        self._enter(ImportState.FOUND)
        if bundle.distrust is not None:
            raise bundle.distrust
        if bundle.statement_hash in self.station.finished:  # the run before this one was stopped behind the rename
            return self._done(bundle.statement, ("this finishes what an earlier run had begun",))
        self._admit(bundle, drives)
        with self.station.state.importing(bundle.statement.bundle, required=True):
            opened, destination = self._open(bundle)
            with StagingTree(destination.target, staging_key(bundle.statement.bundle), destination.staging) as staging:
                staging.keep()
                try:
                    self._unpack(bundle, opened, staging, pace, meter)
                    self._examine(staging, opened, meter)
                except AirbundleError as error:
                    if error.code in _NOT_KEPT:
                        staging.keep(kept=False)
                    raise
                return self._publish(bundle, opened, destination, staging, meter)

    def give_up(self, error: AirbundleError) -> ImportResult:
        """The end of an import that was not let in: audit line and receipt."""
        state, path = end_of(error.exit_status), ""
        if isinstance(error, StrangerError):
            error.hint = error.hint.replace(BELIEVE, "add its public key to [[keys]] of the policy")
        notes: tuple[str, ...] = ()
        if self.unsettled:  # whether it was published is not known before the next run has looked
            error.hint = "run the same command again: it finds out whether this was published, and goes on"
            return self._result(self.state, "", code=error.code)
        try:
            self.admission.note_waivers(self.evidence.bundle_id)
            path = self.evidence.close(state, error)
        except AirbundleError as other:  # the state folder has no room, say: the refusal stays what it is
            notes = (f"no receipt could be written: {other}",)
        self.announce(state)
        return self._result(state, path, code=error.code, notes=notes)

    def stopped(self) -> None:
        """The person, or the system, ended it: what was unpacked is kept."""
        with contextlib.suppress(AirbundleError):
            self.station.ledger.note("interrupted", bundle=self.evidence.bundle_id)

    def _enter(self, state: ImportState) -> None:
        assert state in NEXT[self.state], f"{self.state} does not lead to {state}"
        self.state = state
        self.station.ledger.note(state.value, bundle=self.evidence.bundle_id)
        self.announce(state)

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
        self.evidence.opened(opened.manifest)
        destination = destination_of(policy.root, policy.rules.publish.layout, bundle.statement, opened.manifest)
        destination.require_inside()
        self.admission.judge_manifest(opened.manifest, bundle.statement, bundle.statement_hash, destination)
        for folder in {_there(destination.root), _there(os.path.dirname(destination.target))}:
            require_writable(folder)
        for scanner in map(resolve_scanner, policy.rules.gates.scanners):
            require_program(scanner.command, f"the scanner {scanner.name}")
        if policy.rules.publish.hook:
            require_program(policy.rules.publish.hook, "the hook")
        self._enter(ImportState.OPENED)
        return opened, destination

    def _unpack(self, bundle: Bundle, opened: Opened, staging: StagingTree, pace: Pace | None, meter: Meter) -> None:
        """Step 5, and the end of a run that others have to follow: what was altered on a drive is judged before."""
        witness = msgspec.json.encode(self.evidence.drives).decode()
        try:
            filled = fill(staging, bundle, opened, pace=pace, meter=meter, kept=True, witness=witness)
        except AirbundleError as error:
            if isinstance(error.report, Filled):
                self._look_at(error.report, bundle)
            raise
        self._enter(ImportState.UNPACKED)
        self._look_at(filled, bundle)

    def _look_at(self, filled: Filled, bundle: Bundle) -> None:
        drives = [drive for text in filled.witnesses for drive in msgspec.json.decode(text, type=tuple[Drive, ...])]
        self.evidence.read(filled.report, drives)
        self.admission.judge_report(filled.report, bundle.statement_hash)

    def _examine(self, staging: StagingTree, opened: Opened, meter: Meter) -> None:
        """Step 6. Raises GateError for the first file that is not clean."""
        rules = self.station.policy.rules.gates
        results: list[GateResult] = []
        paths = {file.path for file in opened.manifest.files}
        meter.begin("examining", opened.manifest.size)
        for file in opened.manifest.files:
            meter.alive()
            with open_staged(staging, SafePath(file.path)) as content:
                results += examine(file.path, content, rules, beside=lambda path: StagedPath(
                    staging, SafePath(path)) if path in paths else None)
            meter.add(file.size)
        results += [scan_with(resolve_scanner(scanner), staging.path) for scanner in rules.scanners]
        self.evidence.examined(results)
        # A scanner that knows no file here says nothing; each file was examined by a gate, or none of it comes in.
        counted = [one for one in results if one.path or one.outcome is not Outcome.NOT_EXAMINED]
        outcome = decide(counted, unexamined=rules.unexamined) if counted else Outcome.CLEAN
        if outcome is not Outcome.CLEAN:
            raise _refusal(outcome, [one for one in counted if one.outcome is outcome and not (
                outcome is Outcome.NOT_EXAMINED and is_named(one.path, rules.unexamined))])
        if rules.scanners:  # they could write where they read
            try:
                require_unchanged(staging, opened)
            except MediumError as changed:
                staging.keep(kept=False)
                raise _gate_error(Outcome.ERROR, f"a scanner changed what it examined: {changed}") from changed
        self._enter(ImportState.EXAMINED)

    def _publish(self, bundle: Bundle, opened: Opened, destination: Destination, staging: StagingTree,
                 meter: Meter) -> ImportResult:
        """Step 7."""
        statement = bundle.statement
        meter.begin("publishing", 0)
        entry = Entry(statement.bundle, bundle.statement_hash, statement.series, statement.sequence, statement.created,
                      destination.target)
        tree = destination.prepare(staging, opened.manifest)

        def check() -> str:
            self.admission.judge_again(statement, bundle.statement_hash)
            self.station.state.hold_payload(entry.bundle, self.evidence.payload_of_publication(destination.target))
            return folder_id(tree)

        notes: tuple[str, ...] = ()
        try:
            self.station.ledger.publish(entry, lambda: staging.publish(tree), check=check,
                                        newest=self.station.newest(statement.created))
        except AirbundleError as error:
            if entry not in self.station.ledger.stopped():  # it did not even come to the intention
                raise
            self.unsettled = True
            if not self.station.settle_one(entry):
                self.unsettled = False
                raise
            self.unsettled = False
            notes = (f"published, after: {error}",)
        self.admission.note_waivers(statement.bundle)
        return self._done(statement, (*notes, *self.station.finish(entry)))

    def _done(self, statement: Statement, notes: tuple[str, ...]) -> ImportResult:
        entry = self.station.ledger.find(statement.bundle)
        assert entry is not None
        self.announce(ImportState.PUBLISHED)
        return self._result(ImportState.PUBLISHED, self.station.receipt_of(statement.bundle), target=entry.target,
                            notes=(*notes, *self.station.notes))

    def _result(self, state: ImportState, receipt: str, *, code: str = "", target: str = "",
                notes: tuple[str, ...] = ()) -> ImportResult:
        evidence = self.evidence
        noted = tuple(f"{check.name}: {check.detail}" for check in self.admission.checks if check.outcome in {
            "noted", "waived"})
        return ImportResult(state=state, code=code, codes=self.admission.refusals, bundle=evidence.bundle_id,
                            statement=evidence.statement, label=evidence.label, target=target, files=evidence.files,
                            bytes=evidence.size, read=evidence.bytes_read, receipt=receipt,
                            clock=self.admission.clock.note, notes=(*noted, *evidence.gate_notes, *notes),
                            seconds=evidence.seconds)


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
        drives.append(Drive(number, escaped(reader.path), device_serial(reader.path), recorded, chain.sound_kinds,
                            chain.lines, chain.problems))
    return tuple(drives)


def _refusal(outcome: Outcome, results: Sequence[GateResult]) -> GateError:
    said = "; ".join(f"{shown(one.path) or 'the folder'}: {one.gate}: {shown(one.detail)}"
                     for one in results[:_NOTED_GATE_RESULTS])
    more = len(results) - _NOTED_GATE_RESULTS
    return _gate_error(outcome, f"{said}{f'; and {more} more' if more > 0 else ''}")


def _gate_error(outcome: Outcome, what: str) -> GateError:
    error = GateError(what, hint="airbundle receipt show has all of it" + (
        "; gates.unexamined of the policy names what may pass unexamined" if outcome is Outcome.NOT_EXAMINED else ""))
    error.code = f"gate-{outcome.value}"
    return error


def _there(path: str) -> str:
    """The nearest folder above that exists."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path
