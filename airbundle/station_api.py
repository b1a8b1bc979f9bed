"""The Python API of a station, used by the command line itself: import under a policy, receipts, audit log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from airbundle.api import opened
from airbundle.errors import AirbundleError, FormatError
from airbundle.format import limits
from airbundle.media.drive import require_writable
from airbundle.station import intake as station_intake
from airbundle.station import receipts
from airbundle.station.admission import Drive
from airbundle.station.audit import AuditFault, AuditHead, AuditLog
from airbundle.station.intake import ImportResult
from airbundle.station.ledger import verify_log
from airbundle.station.state import RECEIPT_MAX, AuditFiles, read_bounded
from airbundle.station.station import Station
from airbundle.transfer.statements import hash_of_document, read_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.api import Progress
    from airbundle.crypto.trust import TrustSet
    from airbundle.station.policy import LoadedPolicy
    from airbundle.station.receipts import Receipt
    from airbundle.station.states import ImportState
    from airbundle.transfer.workspace import Pace


def intake(volumes: Sequence[str], *, policy: LoadedPolicy, waivers: Sequence[str] = (), bundle: str = "",
           receipt_to: str = "", pace: Pace | None = None, progress: Progress | None = None,
           announce: Callable[[ImportState], None] | None = None) -> ImportResult:
    """Import under a policy (`airbundle.station.policy.load_policy`): the verb `import`.

    `waivers` are files, `receipt_to` a folder for one more copy of the receipt, `announce` hears each state. Raises why
    it did not come in, with an ImportResult as `.report`.
    """
    documents = [read_bounded(path, limits.STATEMENT_MAX) for path in waivers]
    copies = [folder for folder in (receipt_to, policy.receipts_to) if folder]
    for folder in copies:
        require_writable(folder)
    with Station(policy) as station:
        try:
            result = station_intake.intake(volumes, station, bundle=bundle, waivers=documents, pace=pace,
                                           progress=progress, announce=announce)
        except AirbundleError as error:
            if isinstance(error.report, ImportResult):
                error.report = _copied(error.report, station, copies)
            raise
        return _copied(result, station, copies)


def turn_away(*, policy: LoadedPolicy, error: AirbundleError, path: str, serial: str) -> str:
    """Leave a receipt of a drive that was not even mounted, and why; gives its path.

    `path` is the device's name, `serial` what it says its serial number is.
    """
    with Station(policy) as station:
        return station_intake.refuse_drive(station, error, Drive(0, path, serial, None))


def _copied(result: ImportResult, station: Station, folders: Sequence[str]) -> ImportResult:
    """The result, with a note where its receipt could not be copied: that changes nothing in what happened."""
    notes = []
    for folder in folders if result.receipt else ():
        try:
            station.state.copy_receipt(result.receipt, folder)
        except AirbundleError as error:
            notes.append(f"the receipt was not copied: {error}")
    return msgspec.structs.replace(result, notes=(*result.notes, *notes))


def read_receipt(path: str, *, trust: TrustSet | None, statement: str = "") -> tuple[Receipt, bytes]:
    """A receipt and the key id of its station; without `trust` its signature is not checked.

    `statement` is a volume, or a file with a statement, that the receipt has to be about.
    """
    try:
        receipt, station = receipts.parse_receipt(read_bounded(path, RECEIPT_MAX), trust)
    except FormatError as error:
        raise FormatError(f"is no receipt: {error.what}", where=path, rule=error.rule) from None
    if statement:
        receipts.require_statement(receipt, _statement_hashes(statement))
    return receipt, station


def _statement_hashes(path: str) -> list[str]:
    """Hashes of the statements in a file, or on a volume."""
    if os.path.isfile(path):
        raws = [read_bounded(path, limits.STATEMENT_MAX)]
    else:
        with opened([path], "") as readers:
            raws = [copy.raw for reader in readers for copy in read_statements(reader) if copy.raw]
    return [hash_of_document(raw) for raw in raws]


def audit_log(folder: str) -> AuditLog:
    """The audit log in a state folder, for reading."""
    return AuditLog(AuditFiles(os.path.join(folder, "audit")), rotate=0)


def check_audit(folder: str) -> tuple[list[AuditFault], AuditHead]:
    """What is wrong with the audit log of a state folder, and its last line; held against the ledger there."""
    return verify_log(folder, audit_log(folder))
