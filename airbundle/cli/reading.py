"""inspect, verify, unpack and salvage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from airbundle import api
from airbundle.cli import output, words
from airbundle.cli.choices import (
    BundleId,
    BundlePassphrase,
    Jobs,
    Json,
    KeyPassphrase,
    Keys,
    ProgressStyle,
    Sidecar,
    Trust,
    Volumes,
)
from airbundle.crypto.identities import fingerprint_hex
from airbundle.errors import AirbundleError, SalvagedError, UsageError
from airbundle.media.source import SALVAGE_MARKER
from airbundle.transfer.report import Belief, Report
from airbundle.transfer.salvage import SalvageResult, refuse_root
from airbundle.transfer.workspace import Pace

if TYPE_CHECKING:
    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.transfer.inspect import Inspection

LINES_MAX = 20


def inspect(volumes: Volumes, trust: Trust = None, key: Keys = None, key_passphrase_file: KeyPassphrase = None,
            passphrase_file: BundlePassphrase = None, bundle: BundleId = "", as_json: Json = False) -> None:
    """Show what a bundle is, without keys; names and sizes with one."""
    keys, passphrase = _access(key, key_passphrase_file, passphrase_file)
    found = api.inspect(volumes, trust=api.load_trust(*trust or ()), keys=keys, passphrase=passphrase, bundle=bundle)
    if as_json:
        output.emit("inspect", found)
    else:
        _show_inspection(found)


def _show_inspection(found: Inspection) -> None:
    verified = found.belief == Belief.TRUSTED.value
    mark = "" if verified else "  (not verified)"
    series = f"{found.series} {found.sequence}" if found.series is not None else "-"
    output.table([
        ("bundle", found.bundle), ("believed", found.belief if verified else f"NO: {found.belief}"),
        ("packer", found.packer + mark), ("label", found.label + mark), ("marking", (found.marking or "-") + mark),
        ("created", output.moment(found.created) + mark),
        ("expires", output.moment(found.expires) + _expired(found.expires) + mark),
        ("series", series + mark), ("suite", found.suite), ("volumes", f"{len(found.volumes)} of {found.volumes_of}"),
        ("segments", f"{found.segments}, {output.human(found.stored_bytes)} on the drive"),
        ("sealed to", "a passphrase" if found.under_passphrase else ", ".join(found.recipients) or "-"),
        ("statement", found.statement_hash),
        ("written by", found.writer + mark)])
    if found.opened:
        rows: list[tuple[str, ...]] = [(output.human(file.size), file.path) for file in found.files]
        rows += [("folder", folder + "/") for folder in found.folders]
        title = f"{output.counted(len(found.files), 'file')}, {output.human(found.source_bytes)}"
        output.table(rows, head=("size", "path"), title=title)
        if found.meta:
            output.table(found.meta, title="notes")
    else:
        option = "--passphrase-file" if found.under_passphrase else "--key"
        output.say(f"Names and sizes are sealed: give {option} to see them.")


def verify(volumes: Volumes, trust: Trust = None, key: Keys = None, key_passphrase_file: KeyPassphrase = None,
           passphrase_file: BundlePassphrase = None,
           fast: Annotated[bool, typer.Option("--fast", help="Check statement and catalog only; exits 10.")] = False,
           sidecar: Sidecar = "",
           only_these: Annotated[bool, typer.Option("--only-these", help="Judge the volumes given, not the rest.")]
           = False,
           bundle: BundleId = "", jobs: Jobs = 0, progress: ProgressStyle = "auto", as_json: Json = False) -> None:
    """Read every byte and say whether the bundle is well-formed, whole, and to be believed. Needs no secret."""
    keys, passphrase = _access(key, key_passphrase_file, passphrase_file)
    with_key = bool(keys) or passphrase is not None
    try:
        with output.ProgressView(progress) as view:
            report = api.verify(volumes, trust=api.load_trust(*trust or ()), keys=keys, passphrase=passphrase,
                                bundle=bundle, fast=fast, sidecar=sidecar, only_these=only_these,
                                pace=Pace(jobs=jobs), progress=view)
    except AirbundleError as error:
        if isinstance(error.report, Report) and not as_json:
            show_report(error.report, with_key=with_key)
        raise
    if as_json:
        output.emit("verify", report)
        return
    show_report(report, with_key=with_key)
    if only_these and report.not_seen:
        output.good(f"verified: what was given is whole, signed by {report.believed_by}; "
                    f"NOT seen: {'; '.join(report.not_seen)}")
    else:
        output.good(f"verified: whole, signed by {report.believed_by}")


def show_report(report: Report, *, with_key: bool) -> None:
    """The three answers and what they rest on; `with_key` says whether it was to be opened too."""
    believed = f"yes, by {report.believed_by}" if report.belief is Belief.TRUSTED else f"NO: {report.belief.value}"
    counts = {"unreadable": report.unreadable, "damaged": report.damaged, "misplaced": report.misplaced,
              "ALTERED": report.altered}
    output.table([
        ("bundle", report.bundle), ("packer", fingerprint_hex(bytes.fromhex(report.packer))),
        ("label", report.label), ("marking", report.marking or "-"), ("created", output.moment(report.created)),
        ("expires", output.moment(report.expires) + _expired(report.expires)),
        ("volumes", f"{report.volumes_of - len(report.not_seen)} of {report.volumes_of}"),
        *(("not here", volume) for volume in report.absent),
        ("read", f"{report.blocks} blocks, {output.human(report.bytes_read)} in {report.seconds:.1f} s"),
        ("not read", output.human(report.bytes_not_read)),
        ("wrong blocks", ", ".join(f"{count} {noun}" for noun, count in counts.items() if count) or "none"),
        ("opened", "yes, every chunk" if report.opened else "NO" if with_key else "no key given"),
        ("whole", report.condition.value), ("believed", believed),
        *(("signed by", signer) for signer in report.signers),
        ("statement", f"{report.statement_hash}, revision {report.revision}")])
    if report.findings:
        several = len(report.volumes) > 1
        rows = [((finding.volume,) if several else ()) + (finding.file, finding.problem)
                for finding in report.findings[:LINES_MAX]]
        if len(report.findings) > LINES_MAX:
            rows.append(("...", f"and {len(report.findings) - LINES_MAX} more"))
        output.table(rows, title="findings")
    if report.ignored:
        output.table([(line,) for line in report.ignored[:LINES_MAX]], title="ignored")


def unpack(volumes: Volumes,
           target: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="A folder that does not exist.")],
           key: Keys = None, key_passphrase_file: KeyPassphrase = None, passphrase_file: BundlePassphrase = None,
           trust: Trust = None, sidecar: Sidecar = "", bundle: BundleId = "",
           include: Annotated[list[str] | None, typer.Option(
               "--include", metavar="GLOB", help="Only files whose path matches; once for each pattern.")] = None,
           jobs: Jobs = 0, progress: ProgressStyle = "auto", as_json: Json = False) -> None:
    """Verify, repair in memory and unpack into DIR, which appears only when everything was verified.

    Volumes may come one after another: the same command with the next one goes on.
    """
    keys, passphrase = _access(key, key_passphrase_file, passphrase_file)
    with output.ProgressView(progress) as view:
        result = api.unpack(volumes, target, keys=keys, passphrase=passphrase, trust=api.load_trust(*trust or ()),
                            bundle=bundle, include=include or (), sidecar=sidecar, pace=Pace(jobs=jobs), progress=view)
    if as_json:
        output.emit("unpack", result)
        return
    rate = result.source_bytes / result.seconds if result.seconds else 0
    output.table([
        ("bundle", result.report.bundle), ("believed", f"yes, by {result.report.believed_by}"),
        ("files", f"{result.files}, {output.human(result.source_bytes)}"),
        ("took", f"{result.seconds:.1f} s, {output.human(int(rate))}/s"), ("spent on", output.spent(result.stages))])
    if result.report.findings:
        blocks = output.counted(result.repaired, "block")
        output.say(f"The drive is damaged: {blocks} put right in memory. Repair or replace it." if result.repaired else
                   "Some copies on the drives are not as they should be: airbundle verify says which, repair helps.")
    output.good(f"unpacked: {result.target}")


def salvage(volumes: Volumes,
            target: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="A folder that does not exist.")],
            key: Keys = None, key_passphrase_file: KeyPassphrase = None, passphrase_file: BundlePassphrase = None,
            trust: Trust = None,
            unsigned: Annotated[bool, typer.Option("--unsigned", help="Also what nobody here vouches for.")] = False,
            bundle: BundleId = "", progress: ProgressStyle = "auto", as_json: Json = False) -> None:
    """Write what can still be read into DIR, holes and all, where verification cannot succeed.

    Files with holes are named .incomplete, and nothing in DIR is verified as a whole: the exit status is 12.
    """
    if unsigned:
        if trust:
            raise UsageError("--trust and --unsigned exclude each other")
        refuse_root()
    keys, passphrase = _access(key, key_passphrase_file, passphrase_file)
    with output.ProgressView(progress) as view:
        result = api.salvage(volumes, target, keys=keys, passphrase=passphrase, bundle=bundle, progress=view,
                             trust=None if unsigned else api.load_trust(*trust or ()))
    if not as_json:
        _show_salvage(result)
    error = SalvagedError(f"{result.complete} of {output.counted(len(result.files), 'file')} complete, "
                          f"{result.bytes_lost:,} of {result.source_bytes:,} bytes lost"
                          + (f", and {output.counted(result.failed, 'segment')} of which nothing could be read"
                             if result.failed else ""), where=result.target,
                          hint="this is not the checkpoint that was packed: fetch another copy of the bundle")
    error.report = result
    raise error


def _show_salvage(result: SalvageResult) -> None:
    output.table([
        ("signed", "yes, each byte that is here" if result.signed else "NO: nobody vouches for any of it"),
        ("segments", f"{result.failed} of which nothing could be read" if result.failed else "something of each")])
    rows = [(file.name, "WRONG SHA-256" if file.digest is False else
             f"{sum(length for _, length in file.holes):,} of {file.size:,} bytes lost" if file.holes else "complete")
            for file in sorted(result.files, key=lambda file: not file.holes)[:LINES_MAX]]
    if len(result.files) > LINES_MAX:
        rows.append(("...", f"and {len(result.files) - LINES_MAX} more; all of them are in {SALVAGE_MARKER}"))
    output.table(rows, head=("file", "state"))
    if result.problems:
        output.table([(line,) for line in result.problems[:LINES_MAX]], title="problems")


def _expired(expires: int | None) -> str:
    """A remark where the packer's date has passed. Whether it may still be used is for a policy to say."""
    return "  (EXPIRED)" if expires is not None and expires < time.time() else ""


def _access(paths: list[str] | None, key_passphrase_file: str | None,
            passphrase_file: str | None) -> tuple[list[PrivateIdentity], str | None]:
    """The private keys, or the passphrase of the bundle. Raises UsageError for both."""
    if paths and passphrase_file is not None:
        raise UsageError("--key and --passphrase-file exclude each other",
                         hint="for the passphrase of the key itself there is --key-passphrase-file")
    keys = [words.load_identity(path, key_passphrase_file) for path in paths or ()]
    return keys, words.read_passphrase(passphrase_file) if passphrase_file is not None else None
