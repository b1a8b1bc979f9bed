"""custody: signed events on a drive, who had it and under which seal."""

from __future__ import annotations

from typing import Annotated

import typer

from airbundle import api
from airbundle.cli import output, words
from airbundle.cli.choices import BundleId, Json, KeyPassphrase, Trust
from airbundle.crypto.identities import fingerprint_hex
from airbundle.errors import UntrustedError
from airbundle.transfer.custody import KINDS

custody = typer.Typer(no_args_is_help=True, help="Who had a drive, and under which seal.", add_completion=False)

OneVolume = Annotated[str, typer.Argument(metavar="VOLUME", help="A .airbundle folder, or what holds one.")]


@custody.command("add")
def add_event_of_custody(
        volume: OneVolume,
        event: Annotated[str, typer.Option(metavar="EVENT", help=f"One of: {', '.join(KINDS)}.")],
        sign: Annotated[str, typer.Option("--sign", metavar="NAME.key", help="Who says so.")],
        seal: Annotated[str, typer.Option(help="Number of the seal.")] = "",
        note: Annotated[str, typer.Option(help="Anything else, in one line.")] = "",
        serial: Annotated[str, typer.Option(help="Serial number of the drive.", show_default="as the drive says")] = "",
        trust: Trust = None, bundle: BundleId = "", key_passphrase_file: KeyPassphrase = None,
        as_json: Json = False) -> None:
    """Sign an event and write it onto the drive, beside the bundle."""
    added = api.add_custody(volume, sign=words.load_identity(sign, key_passphrase_file), kind=event, seal=seal,
                            note=note, serial=serial, trust=api.load_trust(*trust or ()), bundle=bundle)
    if as_json:
        output.emit("custody add", added)
        return
    output.table([("event", f"{added.number}: {added.event}"), ("serial", added.serial or "unknown"),
                  ("seal", added.seal or "-"), ("time", output.moment(added.time))])
    output.good("signed and written")


@custody.command("show")
def show_events_of_custody(volume: OneVolume, trust: Trust = None, bundle: BundleId = "",
                           as_json: Json = False) -> None:
    """Show the events on a drive, and what is wrong with them."""
    chain = api.read_custody(volume, trust=api.load_trust(*trust or ()), bundle=bundle)
    if as_json:
        output.emit("custody show", chain)
        return
    output.table([(link.event.number, output.moment(link.event.time), link.event.event,
                   link.name or fingerprint_hex(link.signer), link.event.serial, link.event.seal, link.event.note)
                  for link in chain.links], head=("", "time", "event", "by", "serial", "seal", "note"))
    if chain.problems:
        raise UntrustedError("; ".join(chain.problems), where=volume,
                             hint="find out who had the drive, and compare with the slip on it")
    output.good(f"{output.counted(len(chain.links), 'event')}, each by a trusted key and after the one before"
                if chain.links else "no events")
