"""plan and pack."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer

from airbundle import api
from airbundle.cli import output, words
from airbundle.cli.choices import BundlePassphrase, Json, KeyPassphrase, Lose, Parity, ProgressStyle, SegmentSize
from airbundle.errors import MediumError, UsageError
from airbundle.format.quantities import parse_size
from airbundle.media.unplug import SettledDrive
from airbundle.transfer.ending import Declared
from airbundle.transfer.pack import PackResult
from airbundle.transfer.plan import DriveEstimate, Fit, Options, Plan
from airbundle.transfer.workspace import Pace

Source = Annotated[str, typer.Argument(metavar="SRC", help="A folder or a file.")]


def plan(
    source: Source,
    targets: Annotated[list[str] | None, typer.Option("-o", "--output", metavar="DIR|SIZE",
                                                       help="A drive, or the size of one.")] = None,
    lose: Lose = None,
    parity: Parity = 8.0,
    segment_size: SegmentSize = "",
    pad: Annotated[bool, typer.Option("--pad", help="Count with `pack --pad`.")] = False,
    as_json: Json = False,
) -> None:
    """Say what would be written where, and whether it fits. Needs no keys and no drives."""
    options = Options(segment_size=words.parse_segment_size(segment_size), parity=parity, pad=pad)
    wanted = [parse_size(target) if words.looks_like_size(target) else target for target in targets or ()]
    answer = api.plan(source, wanted, options=options, lose=lose)
    if as_json and answer.fit is not Fit.NOT:
        output.emit("plan", answer)
    if not as_json:
        _show_plan(answer)
    if answer.fit is Fit.NOT:
        worst = max(answer.drives, key=lambda drive: drive.need_by_sample + drive.margin - drive.room)
        needed = worst.need_by_sample + worst.margin
        error = MediumError("does not fit", where=_drive_row(worst)[0],
                            hint=f"a drive with {output.human(needed)} free would do")
        error.report = answer
        raise error


def _show_plan(answer: Plan) -> None:
    output.table([
        ("source", f"{output.counted(answer.files, 'file')}, {output.human(answer.source_bytes)}"),
        ("segments", f"{answer.segments} and {answer.parity_segments} of parity"),
        ("blocks", output.human(answer.block_size)),
        ("compresses to", f"{answer.ratio:.1%} of the source, by sample"),
        *((f"  {dtype}", f"{output.human(size)} to {ratio:.1%}") for dtype, size, ratio in answer.by_dtype),
        ("takes", f"{output.duration(answer.seconds)} at least on this machine, and what the drives need")])
    if answer.drives:
        output.table([_drive_row(drive) for drive in answer.drives],
                     head=("drive", "free", "needs", "at most", "margin", "answer"))
    m, stripes = answer.stripe_parity
    blocks = f"any {m} lost blocks a stripe, hence any {m * stripes} in a row, in every segment"
    output.table([("survives", blocks), ("", survival(answer.lose, len(answer.drives)))])
    for warning in answer.warnings:
        output.warn(warning)


def survival(lose: int, drives: int) -> str:
    """What the outer code promises, in words."""
    if lose:
        return f"the loss of any {lose} of {drives} drives"
    return "the loss of any one file of a group; not the loss of " + ("a drive" if drives > 1 else "the drive")


def _drive_row(drive: DriveEstimate) -> tuple[str, ...]:
    target = output.human(int(drive.target)) if drive.target.isdigit() else drive.target
    return (target, output.human(drive.room), output.human(drive.need_by_sample),
            output.human(drive.need_at_most), output.human(drive.margin), drive.fit.value)


def pack(
    source: Source,
    targets: Annotated[list[str], typer.Option("-o", "--output", metavar="DIR", help="A drive to write to; once for "
                                                                                       "each.")],
    sign: Annotated[str, typer.Option("--sign", metavar="NAME.key", help="Your private key: you are the packer.")],
    to: Annotated[list[str] | None, typer.Option("--to", metavar="NAME.pub",
                                                 help="A recipient's public key; once for each.")] = None,
    passphrase_file: BundlePassphrase = None,
    new_passphrase: Annotated[bool, typer.Option(
        "--new-passphrase", help="Make ten words and show them once, when the bundle is finished.")] = False,
    lose: Lose = None,
    parity: Parity = 8.0,
    segment_size: SegmentSize = "",
    pad: Annotated[bool, typer.Option("--pad", help="Hide how well the content compresses.")] = False,
    label: Annotated[str, typer.Option(help="Public label, in the name of the volume.")] = "ab",
    marking: Annotated[str, typer.Option(metavar="TEXT", help="Public marking, such as a classification.")] = "",
    meta: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Sealed note; once for each.")] = None,
    series: Annotated[str | None, typer.Option(help="Name of a series of bundles.")] = None,
    sequence: Annotated[int | None, typer.Option(min=0, help="Number in the series.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="WHEN", help="Public date, 2027-01-31 or +90d.")] = None,
    record_serials: Annotated[bool, typer.Option("--record-serials", help="Make the drive's serial public.")] = False,
    no_read_back: Annotated[bool, typer.Option("--no-read-back", help="Do not read the drive back.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, max=256, show_default="by cores and memory",
                                      help="Segments at a time; with --cluster orders under way, 64.")] = 0,
    cluster: Annotated[str, typer.Option("--cluster", metavar="ADDRESS",
                                         help="A Dask scheduler whose workers share SRC and DIR.")] = "",
    key_passphrase_file: KeyPassphrase = None,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Pack SRC onto drives: compressed, sealed to the recipients, signed by you, repairable from themselves.

    Instead of --to a passphrase opens it. Stopped or killed, the same command goes on where it was.
    """
    if bool(to) + (passphrase_file is not None) + new_passphrase != 1:
        raise UsageError("give --to, --passphrase-file or --new-passphrase, and only one of them", rule="K-12")
    identity = words.load_identity(sign, key_passphrase_file)
    recipients = [api.load_public(path).public for path in to or ()]
    passphrase = words.read_passphrase(passphrase_file) if passphrase_file is not None else None
    options = Options(segment_size=words.parse_segment_size(segment_size), parity=parity, pad=pad)
    after = words.parse_after(expires)
    declared = Declared(label=label, marking=marking, meta=words.parse_meta(meta or ()), series=series,
                        sequence=sequence, expires=None if after is not None else words.parse_when(expires),
                        expires_after=after, record_serials=record_serials)
    with _workers(cluster) as executor, output.ProgressView(progress) as view:
        result = api.pack(source, targets, sign=identity, to=recipients, passphrase=passphrase, lose=lose,
                          new_passphrase=_show_words if new_passphrase else None, declared=declared, options=options,
                          pace=Pace(jobs=jobs), read_back=not no_read_back, progress=view, executor=executor)
    drives = api.settle_drives(result.volumes)
    if as_json:
        output.emit("pack", result, drives if result.read_back else ())
    else:
        show_packed(result, identity.public.hex, drives)


def _workers(address: str) -> AbstractContextManager[Executor | None]:
    """Those of a cluster, or none: then this machine does all of it."""
    if not address:
        return nullcontext()
    from airbundle.cluster import workers_of  # the network is loaded only for this

    return workers_of(address)


def _show_words(passphrase: str) -> None:
    """On standard error and nowhere else: what is on standard output is kept in files."""
    output.say(f"The passphrase of this bundle, shown this once:\n\n    {passphrase}\n\n"
               "Write it down, and never let it travel with the drive.")


def show_packed(result: PackResult, packer: str, drives: Sequence[SettledDrive]) -> None:
    """The final table of a pack."""
    share = result.sealed_bytes / result.source_bytes if result.source_bytes else 1.0
    rate = result.source_bytes / result.seconds if result.seconds else 0
    kept = f", {result.kept_segments} kept from the last run" if result.kept_segments else ""
    output.table([
        ("bundle", result.bundle), ("packer", packer),
        ("source", f"{output.counted(result.files, 'file')}, {output.human(result.source_bytes)}"),
        ("sealed", f"{output.human(result.sealed_bytes)} ({share:.1%} of the source)"),
        ("on the drives" if len(result.volumes) > 1 else "on the drive", (
            f"{output.human(result.stored_bytes)} in {output.counted(result.segments, 'segment')} and "
            f"{result.parity_segments} of parity{kept}")),
        ("survives", survival(result.lose, len(result.volumes))),
        ("read back", "yes, every byte" if result.read_back else "NO (--no-read-back)"),
        ("took", f"{result.seconds:.1f} s, {output.human(int(rate))}/s"),
        ("spent on", output.spent(result.stages)),
        ("statement", result.statement_hash)])
    for warning in result.warnings:
        output.warn(warning)
    if result.read_back:
        output.unplug(drives)
    else:
        output.warn("nothing says that the drives hold what was written: verify them before they are unplugged")
