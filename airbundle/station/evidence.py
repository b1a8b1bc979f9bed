"""What an import gathers for its receipt while it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from airbundle.station.gates.result import GateResult, Outcome
from airbundle.station.receipts import (
    FINDINGS_MAX,
    AuditRef,
    BlockCounts,
    GateFinding,
    GateLine,
    Receipt,
    SignerLine,
    receipt_documents,
    receipt_payload,
)
from airbundle.station.state import PAGE_SUFFIX, RECEIPT_SUFFIX
from airbundle.station.states import ImportState
from airbundle.version import WRITER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.errors import AirbundleError
    from airbundle.format.manifest import Manifest
    from airbundle.station.admission import Admission, Drive
    from airbundle.station.station import Station
    from airbundle.transfer.open import Bundle
    from airbundle.transfer.report import Report


class Evidence:
    """The facts of one import. Of what nobody trusted has signed a receipt only has which bundle it claims to be."""

    def __init__(self, station: Station, admission: Admission) -> None:
        self._station, self._admission = station, admission
        self._began = int(time.time())
        self._clock = time.monotonic()
        self._bundle: Bundle | None = None
        self.drives: tuple[Drive, ...] = ()
        self._report: Report | None = None
        self._results: list[GateResult] = []
        self.files = self.size = self.bytes_read = 0

    @property
    def bundle_id(self) -> str:
        """The bundle that it is, or claims to be."""
        return self._bundle.statement.bundle if self._bundle else ""

    @property
    def statement(self) -> str:
        """The hash of its statement."""
        return self._bundle.statement_hash if self._bundle else ""

    @property
    def label(self) -> str:
        """Its label, if somebody trusted signed it."""
        return self._bundle.statement.label if self._bundle and self._bundle.distrust is None else ""

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._clock

    @property
    def gate_notes(self) -> tuple[str, ...]:
        """What was let in although a gate or scanner examined nothing."""
        return tuple(f"{one.path or 'the folder'}: not examined by {one.gate}" for one in self._results
                     if one.outcome is Outcome.NOT_EXAMINED)[:FINDINGS_MAX]

    def found(self, bundle: Bundle, drives: tuple[Drive, ...]) -> None:
        """The bundle was opened."""
        self._bundle, self.drives = bundle, drives

    def opened(self, manifest: Manifest) -> None:
        """The list of files is known."""
        self.files, self.size = len(manifest.files), manifest.size

    def read(self, report: Report, drives: Sequence[Drive]) -> None:
        """What was read, also by earlier runs, from these drives."""
        self._report, self.bytes_read = report, report.bytes_read
        self.drives = tuple({(drive.volume, drive.serial, drive.path): drive for drive in drives}.values())

    def examined(self, results: Sequence[GateResult]) -> None:
        """What the gates said."""
        self._results = list(results)

    def payload_of_publication(self, target: str) -> bytes:
        """What the receipt will say once the content is in its place."""
        return receipt_payload(self._receipt(ImportState.PUBLISHED, None, target))

    def close(self, state: ImportState, error: AirbundleError) -> str:
        """The receipt of an import that was not let in; gives its path."""
        self._station.ledger.note(state.value, bundle=self.bundle_id, code=error.code, detail=str(error))
        payload = receipt_payload(self._receipt(state, error, ""))
        name, document, page = receipt_documents(payload, self._station.key)
        self._station.state.save_receipt(name + PAGE_SUFFIX, page.encode())
        return self._station.state.save_receipt(name + RECEIPT_SUFFIX, document)

    def _receipt(self, state: ImportState, error: AirbundleError | None, target: str) -> Receipt:
        bundle, policy, head = self._bundle, self._station.policy, self._station.ledger.head()
        statement = bundle.statement if bundle is not None and bundle.distrust is None else None
        report = self._report
        return Receipt(
            station=policy.rules.station.name, state=state.value, code=error.code if error else "",
            exit=error.exit_status if error else 0, what=str(error) if error else "the content is in its place",
            bundle=self.bundle_id, statement=self.statement,
            label=statement.label if statement else "", marking=statement.marking if statement else "",
            series=statement.series if statement else None, sequence=statement.sequence if statement else None,
            suite=statement.suite if statement else "", revision=statement.revision if statement else 0,
            volumes=len(statement.volumes) if statement else 0, drives=tuple(map(_bounded, self.drives)),
            signers=self._signers(), checks=tuple(self._admission.checks), blocks=_counts(report),
            findings=tuple(f"{one.volume}: {one.file}: {one.problem}" for one in report.findings[:FINDINGS_MAX])
            if report else (),
            gates=_gate_lines(self._results), gate_findings=_gate_findings(self._results),
            waivers=tuple(self._admission.used), files=self.files, bytes=self.size, target=target,
            policy=policy.digest, tighter=tuple(f"{name} = {value}" for name, value in policy.tighter),
            audit=AuditRef(head.number, head.hash), began=self._began, ended=int(time.time()),
            clock=self._admission.clock.note, writer=WRITER)

    def _signers(self) -> tuple[SignerLine, ...]:
        """Who signed; of what nobody here vouches for, the packer that it names."""
        bundle = self._bundle
        if bundle is None:
            return ()
        if bundle.judgement is None:
            return (SignerLine(bundle.statement.packer, "", ()),)
        known = {holder.key_id: holder for holder in self._station.policy.holders}
        lines = [SignerLine(public.key_id.hex(), known[public.key_id].identity.name, tuple(known[public.key_id].roles))
                 for public in bundle.judgement.valid]
        return (*lines, *(SignerLine(key_id.hex(), "", ()) for key_id in bundle.judgement.unknown))


def _bounded(drive: Drive) -> Drive:
    """A drive with so many lines as a receipt holds: anybody can put events there, and it has to stay readable."""
    def cut(lines: tuple[str, ...]) -> tuple[str, ...]:
        more = len(lines) - FINDINGS_MAX
        return (*lines[:FINDINGS_MAX], f"and {more} more") if more > 0 else lines

    return msgspec.structs.replace(drive, events=cut(drive.events), broken=cut(drive.broken))


def _counts(report: Report | None) -> BlockCounts:
    if report is None:
        return BlockCounts()
    wrong = report.unreadable + report.damaged + report.misplaced + report.altered
    return BlockCounts(report.blocks, report.unreadable, report.damaged, report.misplaced, report.altered, wrong)


def _gate_lines(results: Sequence[GateResult]) -> tuple[GateLine, ...]:
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for one in results:
        files, not_clean = counts.get((one.gate, one.version), (0, 0))
        counts[one.gate, one.version] = files + 1, not_clean + (one.outcome is not Outcome.CLEAN)
    return tuple(GateLine(gate, version, *found) for (gate, version), found in sorted(counts.items()))


def _gate_findings(results: Sequence[GateResult]) -> tuple[GateFinding, ...]:
    bad = [one for one in results if one.outcome is not Outcome.CLEAN]
    return tuple(GateFinding(one.gate, one.path, one.outcome.value, one.detail) for one in bad[:FINDINGS_MAX])
