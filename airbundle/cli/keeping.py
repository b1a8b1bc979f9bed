"""repair and copy: whoever keeps drives, with or without a key."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from airbundle import api
from airbundle.cli import output
from airbundle.cli.choices import BundleId, Jobs, Json, ProgressStyle, Sidecar, Trust, Volumes
from airbundle.cli.reading import LINES_MAX
from airbundle.transfer.copy import CopyResult
from airbundle.transfer.workspace import Pace


def repair(
    volumes: Volumes,
    trust: Trust = None,
    target: Annotated[str | None, typer.Option("-o", "--output", metavar="DIR", help="Write whole volumes there "
                                               "instead, for those that are damaged or lost.")] = None,
    sidecar: Sidecar = "",
    bundle: BundleId = "",
    jobs: Jobs = 0,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Put a damaged bundle right, bit for bit, without a key. In place only blocks that are wrong are written.

    With -o nothing on the volumes changes: take that for a sick drive, and to rebuild a lost one.
    """
    trusted = api.load_trust(*trust or ())
    with output.ProgressView(progress) as view:
        if target is not None:
            rebuilt = api.rebuild(volumes, target, trust=trusted, bundle=bundle, sidecar=sidecar, pace=Pace(jobs=jobs),
                                  progress=view)
        else:
            result = api.repair(volumes, trust=trusted, bundle=bundle, sidecar=sidecar, progress=view)
    if target is not None:
        _show_laid("repair", rebuilt, as_json=as_json)
        return
    drives = api.settle_drives(os.path.dirname(path) for path in result.files)
    if as_json:
        output.emit("repair", result, drives)
        return
    output.table([("bundle", result.report.bundle), ("written", output.counted(result.blocks, "block")),
                  ("took", f"{result.seconds:.1f} s"),
                  *(("repaired", path) for path in result.files[:LINES_MAX])])
    if result.report.absent:
        output.warn(f"not here: {'; '.join(result.report.absent)}; repair -o DIR makes it anew, if it is lost")
    output.good("repaired: every block is as it was packed" if result.files else "nothing to repair")
    output.unplug(drives)


def copy(
    volumes: Volumes,
    targets: Annotated[list[str], typer.Option("-o", "--output", metavar="DIR", help="Where to; once for each drive.")],
    trust: Trust = None,
    bundle: BundleId = "",
    jobs: Jobs = 0,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Copy volumes onto other drives: verified, repaired on the way, read back. Needs no key.

    Onto as many drives as there are volumes each goes to one; onto more or fewer they are laid out anew. Stopped or
    killed, the same command goes on.
    """
    with output.ProgressView(progress) as view:
        result = api.copy(volumes, targets, trust=api.load_trust(*trust or ()), bundle=bundle, pace=Pace(jobs=jobs),
                          progress=view)
    _show_laid("copy", result, as_json=as_json)


def _show_laid(verb: str, result: CopyResult, *, as_json: bool) -> None:
    drives = api.settle_drives(one.path for one in result.volumes)
    if as_json:
        output.emit(verb, result, drives)
        return
    output.table([("bundle", result.bundle), ("took", f"{result.seconds:.1f} s"), *(
        (f"volume {one.number}", f"{output.counted(one.segments, 'segment')}, {output.human(one.stored_bytes)}"
         + (f", {one.kept} kept from the last run" if one.kept else "")
         + (f", {one.restored} brought back from their groups" if one.restored else "")) for one in result.volumes)])
    for warning in result.warnings:
        output.warn(warning)
    output.unplug(drives)
