"""sign: one more person vouches for a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from airbundle import api
from airbundle.cli import output, words
from airbundle.cli.choices import BundleId, Jobs, Json, KeyPassphrase, ProgressStyle, Trust, Volumes
from airbundle.crypto.identities import fingerprint_hex
from airbundle.transfer.workspace import Pace

if TYPE_CHECKING:
    from airbundle.transfer.report import Report
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
        result = api.sign(volumes, sign=identity, trust=api.load_trust(*trust or ()), bundle=bundle,
                          pace=Pace(jobs=jobs), progress=view, announce=None if as_json else _show_what_is_signed)
    if as_json:
        output.emit("sign", result)
    else:
        _show_signed(result)


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
