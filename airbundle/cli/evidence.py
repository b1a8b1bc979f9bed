"""receipt and audit: what a station can show afterwards."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from airbundle import api, station_api
from airbundle.cli import output
from airbundle.cli.choices import Json, Trust
from airbundle.crypto.identities import fingerprint_hex
from airbundle.errors import DamagedError, UsageError
from airbundle.station.receipts import Receipt, receipt_page
from airbundle.station.state import RECEIPT_SUFFIX

receipt = typer.Typer(no_args_is_help=True, help="Receipts of a station.", add_completion=False)
audit = typer.Typer(no_args_is_help=True, help="The audit log of a station.", add_completion=False)

ReceiptFile = Annotated[str, typer.Argument(metavar="FILE", help=f"A file that ends in {RECEIPT_SUFFIX}.")]
StateFolder = Annotated[str, typer.Argument(metavar="DIR", help="The state folder of a station.")]


@receipt.command("show")
def show_receipt(path: ReceiptFile, as_json: Json = False) -> None:
    """Show what a receipt says, believed or not."""
    found, station = station_api.read_receipt(path, trust=None)
    if as_json:
        output.emit("receipt show", found)
        return
    output.tell(receipt_page(found, station))
    output.say("Nobody has checked its signature: airbundle receipt verify does.")


@receipt.command("verify")
def verify_receipt(path: ReceiptFile, trust: Trust = None,
                   statement: Annotated[str, typer.Option(
                       metavar="VOLUME|FILE", help="The bundle, or the statement that the packer kept.")] = "",
                   as_json: Json = False) -> None:
    """Check the station's signature, and that the receipt is about a bundle that you have."""
    trusted = api.load_trust(*trust or ())
    found, station = station_api.read_receipt(path, trust=trusted, statement=statement)
    if as_json:
        output.emit("receipt verify", found)
        return
    _show_short(found)
    about = ", about this statement" if statement else ""
    output.good(f"verified: signed by '{trusted.name(station)}', {fingerprint_hex(station)}{about}")


def _show_short(found: Receipt) -> None:
    output.table([("state", found.state + (f" ({found.code})" if found.code else "")), ("bundle", found.bundle),
                  ("label", found.label), ("statement", found.statement), ("what", found.what),
                  ("ended", output.moment(found.ended))])


@audit.command("show")
def show_audit(folder: StateFolder, as_json: Json = False) -> None:
    """Show the lines of the audit log."""
    lines = [line for _, line, _ in station_api.audit_log(_state(folder)).lines()]
    if as_json:
        output.emit("audit show", lines)
        return
    for line in lines:
        code = f" ({line.code})" if line.code else ""
        output.tell(f"{line.number:6} {output.moment(line.time)}  {line.bundle[:12]:12}  {line.event}{code}")
        if line.detail:
            output.tell(f"       {line.detail}")


@audit.command("verify")
def verify_audit(folder: StateFolder, as_json: Json = False) -> None:
    """Check that no line of the audit log was edited, deleted or moved, and that the ledger knows its end."""
    faults, head = station_api.check_audit(_state(folder))
    if faults:
        error = DamagedError(f"the audit log has {output.counted(len(faults), 'fault')}: "
                             + "; ".join(f"{fault.file}: line {fault.line}: {fault.what}" for fault in faults[:20]),
                             where=folder, hint="keep it as it is for whoever looks into it")
        error.report = faults
        raise error
    if as_json:
        output.emit("audit verify", {"lines": head.number, "hash": head.hash})
        return
    output.table([("lines", head.number), ("last", head.hash)])
    output.good("verified: every line follows from the one before, up to the one that the ledger knows")


def _state(folder: str) -> str:
    if not os.path.isdir(os.path.join(folder, "audit")):
        raise UsageError("is no state folder of a station", where=folder, hint="the policy names it: [station] state")
    return folder
