"""drives: what is attached, what it holds, and whether a policy would let it in."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airbundle.cli import output
from airbundle.cli.choices import Json
from airbundle.cli.station import POLICY_ENVIRONMENT, load_tightened
from airbundle.cli.watch import MountsAt, SourceName
from airbundle.devices.messages import EndedAnswer, FoundAnswer, LookRequest, from_hex, to_hex
from airbundle.devices.mounting import own_mounts
from airbundle.devices.rules import barred, concerns
from airbundle.devices.sources import open_drive_source
from airbundle.devices.workers import ReadingWorker, nobody, reader_of
from airbundle.errors import AirbundleError
from airbundle.media.mount_table import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.devices.block import BlockDevice
    from airbundle.devices.sources import DriveSource


def drives(policy_file: Annotated[str, typer.Option("--policy", metavar="FILE", envvar=POLICY_ENVIRONMENT,
                                                    help="Say whether this policy lets them in.")] = "",
           source: SourceName = "auto", mounts_at: MountsAt = "", as_json: Json = False) -> None:
    """List the drives that are attached, what they hold, and whether a policy lets them in.

    Nothing is imported. As root, what is not mounted is mounted read-only for a moment.
    """
    policy = load_tightened(policy_file) if policy_file else None
    rows = policy.rules.devices.allow if policy is not None else ()
    root = os.geteuid() == 0
    mounted = {row.source: row.point for row in reversed(mounts())}
    if root:
        own_mounts()
    heard = open_drive_source("mounts" if source == "auto" and not root else source, mounts_at)
    reader = reader_of(policy.rules.watch.user, policy.path) if policy is not None else nobody()
    worker = ReadingWorker(reader)
    try:
        found = [_described(device, barred(device, rows), heard, mounted.get(device.node, ""), worker)
                 for device in heard.attached() if concerns(device, rows) and not device.parts]
    finally:
        worker.stop()
    if as_json:
        output.emit("drives", {"source": heard.name, "drives": found})
        return
    for one in found:
        about = ", ".join((one["node"], output.human(one["size"]), one["kind"] or "no file system"))
        output.table([("drive", one["title"]), ("device", about), ("serial number", one["serial"] or "-"),
                      ("let in", one["let_in"]),
                      *(("holds", line) for line in one["holds"] or [one["why_not"] or "no bundle"])])
    output.say(f"{output.counted(len(found), 'drive')} by {heard.name}" if found else
               f"no drive is attached ({heard.name}); a machine's own disks are not shown")


def _described(device: BlockDevice, why: str, source: DriveSource, mounted: str,
               worker: ReadingWorker) -> dict[str, Any]:
    """One drive; what a policy does not let in is not mounted."""
    holds: list[str] = []
    why_not = why
    if not why and device.kind:
        try:
            with _readable(device, source, mounted) as point:
                holds = _held(worker, point)
        except AirbundleError as error:
            why_not = str(error)
    return {**output.plain(device), "title": device.title, "let_in": f"no: {why}" if why else "yes", "holds": holds,
            "why_not": why_not}


@contextlib.contextmanager
def _readable(device: BlockDevice, source: DriveSource, mounted: str) -> Iterator[str]:
    if mounted:
        yield mounted
        return
    with tempfile.TemporaryDirectory(prefix="airbundle-drive-") as place:
        os.chmod(place, 0o755)  # noqa: S103 - who reads the drive has to get there, and nothing else is there
        point = source.mount(device, place)
        try:
            yield point
        finally:
            source.unmount(point)


def _held(worker: ReadingWorker, point: str) -> list[str]:
    """Names of the folders of volumes, with the bundle that each claims to be of."""
    held: list[str] = []
    for answer in worker.settle(LookRequest(ticket=1, point=to_hex(point))):
        if isinstance(answer, FoundAnswer):
            held += [f"{os.path.basename(from_hex(folder))} of bundle {one.bundle or '?'}"
                     for one in answer.held for folder in one.folders]
        elif isinstance(answer, EndedAnswer) and answer.exit_status:
            held.append(answer.what)
    return held
