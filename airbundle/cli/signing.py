"""sign and rewrap: what changes the statement of a bundle that is packed already."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from airbundle import api
from airbundle.cli import output, words
from airbundle.cli.choices import BundleId, Jobs, Json, KeyPassphrase, ProgressStyle, Trust, Volumes
from airbundle.crypto.identities import fingerprint_hex, parse_fingerprint
from airbundle.transfer.workspace import Pace

if TYPE_CHECKING:
    from airbundle.transfer.report import Report
    from airbundle.transfer.rewrap import RewrapResult
    from airbundle.transfer.sign import SignResult


def sign(
    volumes: Volumes,
    signer: Annotated[str, typer.Option("--sign", metavar="NAME.key", help="Your private key.")],
    trust: Trust = None,
    key_passphrase_file: KeyPassphrase = None,
    bundle: BundleId = "",
    jobs: Jobs = 0,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Verify every byte, show what is being signed, and add your signature to the packer's.

    Nothing is signed that is not whole and believed. Stopped or killed, the same command goes on.
    """
    identity = words.load_identity(signer, key_passphrase_file)
    with output.ProgressView(progress) as view:
        def announce(report: Report) -> None:
            view.pause()
            _show_what_is_signed(report)

        result = api.sign(volumes, sign=identity, trust=api.load_trust(*trust or ()), bundle=bundle,
                          pace=Pace(jobs=jobs), progress=view, announce=None if as_json else announce)
    drives = api.settle_drives(os.path.dirname(path) for path in result.files)
    if as_json:
        output.emit("sign", result, drives)
    else:
        _show_signed(result)
        output.unplug(drives)


def _show_what_is_signed(report: Report) -> None:
    series = f"{report.series} {report.sequence}" if report.series is not None else "-"
    output.table([
        ("bundle", report.bundle), ("packer", fingerprint_hex(bytes.fromhex(report.packer))),
        ("label", report.label), ("marking", report.marking or "-"), ("created", output.moment(report.created)),
        ("expires", output.moment(report.expires)), ("series", series), ("revision", report.revision),
        ("volumes", f"{len(report.volumes)} of {report.volumes_of}"),
        *(("signed by", signer) for signer in report.signers), ("statement", report.statement_hash)])


def _show_signed(result: SignResult) -> None:
    if result.left_out:
        output.say(f"{output.counted(result.left_out, 'signature')} by keys that nobody here trusts had to make room.")
    if result.made:
        output.good(f"signed: {result.signer}, on {output.counted(len(result.report.volumes), 'volume')}")
    elif result.files:
        output.good(f"signed before: {result.signer}; brought to {output.counted(len(result.files), 'copy')}")
    else:
        output.good(f"signed before: {result.signer}; nothing added")


def rewrap(
    volumes: Volumes,
    signer: Annotated[str, typer.Option("--sign", metavar="NAME.key", help="The packer's private key.")],
    key: Annotated[list[str], typer.Option("--key", metavar="NAME.key", help="A recipient's private key.")],
    add: Annotated[list[str] | None, typer.Option(metavar="NAME.pub", help="Who may open it too; once for each.")]
    = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="ID", help="Fingerprint of who may not; once for each.")]
    = None,
    key_passphrase_file: KeyPassphrase = None,
    bundle: BundleId = "",
    jobs: Jobs = 0,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Change who can open a bundle, without packing it again. Only its packer can.

    It revokes nothing: whoever has a copy of the volumes from before, or the bundle key, can open that as ever.
    Signatures that others added are over the old statement and are lost. Stopped or killed, the same command goes on.
    """
    identity = words.load_identity(signer, key_passphrase_file)
    openers = [identity if path == signer else words.load_identity(path, key_passphrase_file) for path in key]
    known = api.load_trust()  # whose signatures are lost
    with output.ProgressView(progress) as view:
        result = api.rewrap(volumes, sign=identity, keys=openers,
                            add=[api.load_public(path).public for path in add or ()],
                            drop=[parse_fingerprint(text) for text in drop or ()], trust=known, bundle=bundle,
                            pace=Pace(jobs=jobs), progress=view)
    drives = api.settle_drives(os.path.dirname(path) for path in result.files)
    if as_json:
        output.emit("rewrap", result, drives)
    else:
        _show_rewrapped(result)
        output.unplug(drives)


def _show_rewrapped(result: RewrapResult) -> None:
    output.table([("bundle", result.bundle), ("revision", result.revision),
                  *(("sealed to", recipient) for recipient in result.recipients),
                  *(("dropped", recipient) for recipient in result.dropped), ("statement", result.statement_hash)])
    if result.lost_signatures:
        output.say(f"{output.counted(result.lost_signatures, 'signature')} by others held for the older revision and "
                   "not for this one: ask them to sign again.")
    if result.dropped:
        output.say("This revokes nothing: copies of the volumes from before open as ever for who was dropped.")
    output.good(f"rewrapped: revision {result.revision}" if result.files else "nothing to change")
