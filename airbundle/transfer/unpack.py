"""Unpack a bundle into a folder.

The steps, in order:

1. open: statement, signature, catalog, preamble, key, manifest; stop at the first that does not hold
2. room on the target; a staging folder on the same file system
3. per segment: read into memory, check whole against the signed root, repair there, open only from that memory,
   write into the staging folder
4. publish: everything durable, then one rename

The medium is never changed. Until step 4 there is nothing under the target's name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.crypto.seal import Opener
from airbundle.errors import AirbundleError, DamagedError, IncompleteError
from airbundle.format.names import SafePath
from airbundle.media import volume as volumes
from airbundle.media.flow import StreamWriter
from airbundle.media.staging import StagingTree, require_space
from airbundle.transfer.content import Contents
from airbundle.transfer.open import Bundle, Opened, open_bundle, open_manifest
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.schedule import run_all
from airbundle.transfer.seal import open_chunks, open_index
from airbundle.transfer.verdict import Tally, make_report
from airbundle.transfer.verify import check_catalogs, check_statements, read_segment
from airbundle.transfer.workspace import Pace, Workspace, Workspaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.trust import TrustSet
    from airbundle.format.catalog import Row
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.check import Findings
    from airbundle.transfer.report import Report


@dataclass(frozen=True, slots=True)
class UnpackResult:
    """What `unpack` did; sizes in bytes. `report` says what was found on the medium."""

    target: str
    files: int
    folders: int
    source_bytes: int
    repaired: int
    report: Report
    seconds: float


def unpack(readers: tuple[VolumeReader, ...], target: str, *, identities: Sequence[PrivateIdentity], trust: TrustSet,
           pace: Pace | None = None, progress: Callable[[Tick], None] | None = None,
           sidecar: VolumeReader | None = None) -> UnpackResult:
    """All steps; `sidecar` is a folder with one more copy of statement and catalog.

    Raises AirbundleError; then nothing was published.
    """
    began = time.monotonic()
    meter = Meter(progress)
    # (1)
    bundle = open_bundle(readers, trust, sidecar=sidecar)
    if bundle.distrust is not None:
        raise bundle.distrust
    opened = open_manifest(bundle, identities)
    contents = Contents(opened.manifest, len(bundle.rows))
    # (2)
    require_space(target, opened.manifest.size)
    tally = Tally([], [])
    check_statements(bundle, tally)
    check_catalogs(bundle, tally)
    with StagingTree(target) as staging:
        for file in opened.manifest.files:
            if file.size == 0:  # the others are made when their first bytes are there
                staging.create(SafePath(file.path), 0)
        for folder in opened.manifest.folders:
            staging.make_folder(SafePath(folder))
        _unpack_segments(bundle, opened, contents, staging, tally, pace or Pace(), meter)  # (3)
        meter.begin("publishing", 0)
        staging.publish()  # (4)
    report = make_report(bundle, tally, opened=True, began=began)
    return UnpackResult(target=target, files=len(opened.manifest.files), folders=len(opened.manifest.folders),
                        source_bytes=opened.manifest.size, repaired=report.unreadable + report.damaged
                        + report.misplaced + report.altered, report=report, seconds=time.monotonic() - began)


def _unpack_segments(bundle: Bundle, opened: Opened, contents: Contents, staging: StagingTree, tally: Tally,
                     pace: Pace, meter: Meter) -> None:
    """Step (3)."""
    sizes = {row.number: bundle.expected(row).place.stored_size for row in bundle.rows}
    meter.begin("unpacking", opened.manifest.size)
    workers = pace.buffers(bundle.largest_segment())  # one more than cores: some wait for the target
    paths = [SafePath(file.path) for file in opened.manifest.files]
    spaces = Workspaces(workers, bundle.largest_segment(), best_engine(),
                        writer=lambda: StreamWriter(staging, paths, contents.starts))

    def work(row: Row) -> tuple[Row, list[tuple[VolumeReader, str, Findings]]]:
        meter.alive()
        with spaces.borrow() as space:
            found = read_segment(bundle, row, space, from_medium=False)
            _require_whole(bundle, row, [findings.lost for _, _, findings in found])
            try:
                _write_out(bundle, row, space, opened, contents, meter)
            except AirbundleError as error:
                error.where = error.where or volumes.segment_name(row.number)
                raise
        return row, found

    for row, found in run_all(bundle.rows, work, workers=workers, meter=meter):
        for reader, name, findings in found:
            tally.count(reader, name, findings, size=sizes[row.number], right_name=volumes.segment_name(row.number))


def _require_whole(bundle: Bundle, row: Row, lost: list[int]) -> None:
    if lost and lost[-1] == 0:
        return
    where = f"volume {row.volume} of {len(bundle.statement.volumes)}, {volumes.segment_name(row.number)}"
    if not lost and len(bundle.volumes) < len(bundle.statement.volumes):
        raise IncompleteError("is on a volume that is not here", where=where,
                              hint="connect that volume and give it too")
    what = f"{lost[-1]} blocks are lost, more than its parity can give back" if lost else "is missing"
    raise DamagedError(what, where=where, rule="S-7",
                       hint="fetch another copy of the bundle")


def _write_out(bundle: Bundle, row: Row, space: Workspace, opened: Opened, contents: Contents, meter: Meter) -> None:
    """Open the checked image and write its slice of the source stream into the files that it belongs to."""
    assert space.image is not None
    assert space.writer is not None
    opener = Opener(bundle.context, opened.key, row.number, bytes.fromhex(row.salt))
    index = open_index(space.image, opener)
    contents.require(index, row.number)
    space.writer.begin(index.start)
    for length in open_chunks(space, space.image, bundle.suite, opener, index, space.writer.room):
        space.writer.advance(length)
        meter.add(length)
    space.writer.flush()
