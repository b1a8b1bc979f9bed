"""Unpack a bundle into a folder.

The steps, in order:

1. open: statement, signature, catalog, preamble, key, manifest; stop at the first that does not hold
2. room on the target; a staging folder on the same file system, perhaps of an earlier run
3. per segment: read into memory, check whole against the signed root, repair there, open only from that memory,
   write into the staging folder
4. what no file gives is brought back from the other members of its group
5. publish: everything durable, then one rename

The medium is never changed. Until step 5 there is nothing under the target's name. Where volumes are missing, or one
was pulled, the staging folder stays, and the same command with the next volume goes on: so one port is enough.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.codec.erasure import weights
from airbundle.crypto.seal import Opener
from airbundle.errors import AirbundleError, IncompleteError, MediumError
from airbundle.format.catalog import DATA
from airbundle.format.names import SafePath, shown
from airbundle.media import volume as volumes
from airbundle.media.flow import StreamWriter
from airbundle.media.presence import explained
from airbundle.media.staging import StagingTree, require_space
from airbundle.transfer.content import Contents
from airbundle.transfer.landing import Landing, Wrong
from airbundle.transfer.open import Bundle, Opened, open_bundle, open_manifest
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.restore import Restorer, beyond_repair
from airbundle.transfer.schedule import run_all
from airbundle.transfer.seal import open_chunks, open_index
from airbundle.transfer.sums import RunningSum, add_up
from airbundle.transfer.verdict import Tally, describe, describe_copies, describe_volumes, elsewhere, make_report
from airbundle.transfer.verify import check_catalogs, check_statements, read_segment
from airbundle.transfer.wanted import Wanted
from airbundle.transfer.whose import copies_absent, copies_here, volumes_absent, volumes_here
from airbundle.transfer.workspace import Pace, Workspace, Workspaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.envelope import Keyring
    from airbundle.crypto.trust import TrustSet
    from airbundle.format.catalog import Group, Row
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.check import Findings
    from airbundle.transfer.report import Report

    Found = list[tuple[VolumeReader, str, Findings]]


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
    stages: dict[str, float]


@dataclass
class _Work:
    """What all steps share. `open_rows` are the segments that no file gave, `restored` came with a group."""

    bundle: Bundle
    opened: Opened
    contents: Contents
    landing: Landing
    tally: Tally
    meter: Meter
    spaces: Workspaces
    helpers: Workspaces
    needed: frozenset[int]
    open_rows: set[int] = field(default_factory=set)
    restored: set[int] = field(default_factory=set)


def unpack(readers: tuple[VolumeReader, ...], target: str, *, keyring: Keyring, trust: TrustSet,
           include: Sequence[str] = (), pace: Pace | None = None, progress: Callable[[Tick], None] | None = None,
           sidecar: VolumeReader | None = None) -> UnpackResult:
    """All steps; with `include`, patterns of paths, nothing else is read or written.

    `sidecar` is a folder with one more copy of statement and catalog.

    Raises AirbundleError; then nothing was published.
    """
    began = time.monotonic()
    meter = Meter(progress)
    # (1)
    bundle = open_bundle(readers, trust, sidecar=sidecar)
    if bundle.distrust is not None:
        raise bundle.distrust
    opened = open_manifest(bundle, keyring)
    with StagingTree(target, key=staging_key(bundle.statement.bundle)) as staging:
        report = fill(staging, bundle, opened, include=include, pace=pace, meter=meter).report  # (2) to (4)
        meter.begin("publishing", 0)
        with meter.stages("sync"):
            staging.publish()  # (5)
    wanted = Wanted(opened.manifest, include)
    return UnpackResult(target=target, files=len(wanted), folders=len(wanted.folders),
                        source_bytes=sum(file.size for file in wanted.files()), repaired=report.unreadable
                        + report.damaged + report.misplaced + report.altered, report=report,
                        seconds=time.monotonic() - began, stages=meter.stages.seconds())


def staging_key(bundle: str) -> str:
    """What a staging folder of the bundle with this id is found again by."""
    return bundle[:12]


@dataclass(frozen=True, slots=True)
class Filled:
    """What is in the staging tree now: what was found on the medium in all runs, and their witnesses."""

    report: Report
    witnesses: tuple[str, ...]


def fill(staging: StagingTree, bundle: Bundle, opened: Opened, *, include: Sequence[str] = (),
         pace: Pace | None = None, meter: Meter, kept: bool = False, witness: str = "") -> Filled:
    """Steps 2 to 4: everything that is wanted, verified, in `staging`, and what was found on the medium.

    With `kept` the staging folder stays whatever happens here, so that a later run goes on with it; without, only
    where volumes are missing or one was pulled. `witness` is kept with it, and given back by the run that finishes.
    The body of the bundle's catalog is let go. Raises AirbundleError with what was found so far, a Filled, as report.
    """
    began = time.monotonic()
    bundle.forget_body()  # it is `opened`
    contents = Contents(opened.manifest, len(bundle.data_rows))  # G-5 comes before what is asked for (D-2)
    wanted = Wanted(opened.manifest, include)
    tally = Tally([], [], [])
    check_statements(bundle, tally)
    check_catalogs(bundle, tally)
    with _landing(staging, bundle, include) as landing:
        staging.keep(kept=kept or landing.begun)
        landing.see(volumes_here(bundle), copies_here(bundle))
        landing.witness(witness)
        for reader, name, findings in bundle.catalog_findings:
            _remember_wrong(landing, reader, name, findings)
        resumed = bool(landing.done)
        try:
            _take_all(staging, bundle, opened, contents, landing, tally, wanted, pace or Pace(), meter)
        except AirbundleError as failure:
            error = explained(failure, [reader.presence for reader in bundle.volumes])
            if isinstance(error, IncompleteError) or (isinstance(error, MediumError) and _is_on(error, bundle.volumes)):
                staging.keep()
                landing.flush()
            tally.recall(landing.wrongs)
            error.report = Filled(make_report(bundle, tally, opened=True, began=began, stages=meter.stages),
                                  tuple(landing.witnesses))
            raise error from (None if error is failure else failure)
        for file in wanted.files():
            if file.size == 0:  # the others were made when their first bytes came
                staging.touch(SafePath(file.path))
        for folder in wanted.folders:
            staging.make_folder(folder)
        staging.keep(kept=False)
        require_unchanged(staging, opened, include=include, digests=resumed)
        staging.keep(kept=kept)
        tally.recall(landing.wrongs)
        return Filled(make_report(bundle, tally, opened=True, began=began, stages=meter.stages),
                      tuple(landing.witnesses))


def _take_all(staging: StagingTree, bundle: Bundle, opened: Opened, contents: Contents, landing: Landing, tally: Tally,
              wanted: Wanted, pace: Pace, meter: Meter) -> None:
    rows = _needed(bundle, contents, wanted, landing)
    size = sum(opened.manifest.segments[row.number].length for row in rows)
    require_space(staging.path, size)
    work = _work(bundle, opened, contents, staging, landing, tally, pace, meter, wanted, rows)
    meter.begin("unpacking", size)
    _take_files(work, rows)  # (3)
    _take_groups(work)  # (4)
    _require_landed(work)


def require_unchanged(staging: StagingTree, opened: Opened, *, include: Sequence[str] = (),
                      digests: bool = True) -> None:
    """Raise MediumError unless the tree holds what is wanted and nothing else, with `digests` byte for byte."""
    wanted = Wanted(opened.manifest, include)
    staging.require_only({file.path: file.size for file in wanted.files()}, wanted.folders)
    if digests:  # what an earlier run, or another program, had in its hands
        staging.require_digests((SafePath(file.path), file.sha256) for file in wanted.files())


def _remember_wrong(landing: Landing, reader: VolumeReader, name: str, findings: Findings) -> None:
    problem = describe(findings)
    if problem:
        landing.wrong(Wrong(shown(f"{os.path.basename(reader.path)}/{name}"), problem, findings.unreadable,
                            findings.damaged, findings.misplaced, findings.altered))


def _is_on(error: AirbundleError, readers: tuple[VolumeReader, ...]) -> bool:
    """Whether it was one of the volumes that failed, and not the target."""
    return any(f"{error.where}/".startswith(f"{reader.path}/") for reader in readers)


def _needed(bundle: Bundle, contents: Contents, wanted: Wanted, landing: Landing) -> list[Row]:
    """The data segments that hold something of the files and are not in the staging tree yet."""
    slices = contents.manifest.segments
    return [row for row in bundle.data_rows if row.number not in landing.done and any(
        number in wanted for number in contents.touched(slices[row.number].start, slices[row.number].length))]


def _landing(staging: StagingTree, bundle: Bundle, include: Sequence[str]) -> Landing:
    """The notes of the staging tree, which is not ours to discard before they are."""
    staging.keep()
    return Landing(staging, bundle.statement.bundle, sorted(set(include)))


def _require_landed(work: _Work) -> None:
    """Nothing is published before every segment that it needs was written out."""
    left = sorted(work.needed - work.landing.done)
    if left:
        raise AirbundleError(f"a bug: {len(left)} segments were never written out, the first is {left[0]}")


def _work(bundle: Bundle, opened: Opened, contents: Contents, staging: StagingTree, landing: Landing, tally: Tally,
          pace: Pace, meter: Meter, wanted: Wanted, rows: Sequence[Row]) -> _Work:
    size = bundle.largest_segment()
    lossy = any(not bundle.segments.get(row.number) for row in rows)
    # One worker more than cores: some wait for the target. What is lost takes a second buffer.
    workers = pace.buffers(2 * size if lossy else size)

    def writer() -> StreamWriter:
        return StreamWriter(staging, wanted.path, contents.starts, meter.stages)

    spaces, helpers = (Workspaces(count, size, best_engine(), writer=writer, stages=meter.stages)
                       for count in (workers, workers if lossy else 0))
    return _Work(bundle, opened, contents, landing, tally, meter, spaces, helpers,
                 frozenset(row.number for row in rows))


def _take_files(work: _Work, rows: Sequence[Row]) -> None:
    """(3) What the files of the segments give; a segment that is lost comes with the files of its group."""
    bundle = work.bundle
    sizes = {row.number: bundle.expected(row).place.stored_size for row in bundle.rows}

    def take(part: tuple[Row, ...]) -> list[tuple[Row, Found]]:
        work.meter.alive()
        with work.spaces.borrow() as space:
            if len(part) == 1:
                return [(part[0], _take_file(work, part[0], space, wanted=True))]
            with work.helpers.borrow() as helper:
                return _take_around(work, part, space, helper)

    for taken in run_all(_parts(work, rows), take, workers=len(work.spaces), meter=work.meter):
        for row, found in taken:
            for reader, name, findings in found:
                work.tally.count(reader, name, findings, size=sizes[row.number],
                                 right_name=volumes.segment_name(row.number))
    work.tally.restorable += sorted(work.open_rows | work.restored)


def _parts(work: _Work, rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    """Rows to be taken alone, or, first in a row of several, one that is lost with all others of its group.

    Each of `rows` is in exactly one part: the first that is lost in a group brings its members that have files; another
    lost one is taken alone, and stays open.
    """
    here = work.bundle.segments
    parts: list[tuple[Row, ...]] = []
    for group, some in itertools.groupby(rows, key=lambda row: row.group):
        members = list(some)
        around = [other for other in work.bundle.groups[group].members if here.get(other.number)]
        lost = [row for row in members if not here.get(row.number)]
        if lost and len(around) >= len(work.bundle.groups[group].data):
            parts += [(lost[0], *around), *((row,) for row in lost[1:])]
        else:
            parts += [(row,) for row in members]
    return parts


def _take_file(work: _Work, row: Row, space: Workspace, *, wanted: bool) -> Found:
    """Read one segment; write out what it holds if it is whole and `wanted`, else leave it open."""
    found = read_segment(work.bundle, row, space, cache=volumes.Cache.SPARED, data_alone=True)
    for reader, name, findings in found:
        _remember_wrong(work.landing, reader, name, findings)
    if not found or found[-1][2].data_lost:
        work.open_rows.update([row.number] if wanted else [])
    elif wanted:
        _write_out(work, row, space)
    return found


def _take_around(work: _Work, part: tuple[Row, ...], space: Workspace, helper: Workspace) -> list[tuple[Row, Found]]:
    """Read the members of a group once: for what they hold, and for the segment that is lost, the first of `part`."""
    lost, *around = part
    group = work.bundle.groups[lost.group]
    chosen = around[:len(group.data)]
    shares = weights(len(group.data), len(group.parity), [row.position for row in chosen], lost.position)
    total = RunningSum(work.bundle, lost, helper)
    taken, whole = [], True
    for row, share in zip(chosen, shares, strict=True):
        wanted = row.role == DATA and row.number in work.needed
        found = _take_file(work, row, space, wanted=wanted)
        taken.append((row, found))
        if found[-1][2].data_lost == 0 and space.image is not None:
            total.add(int(share), space.image)
        else:
            whole = False
    if whole and total.complete():
        _write_out(work, lost, helper)
        work.restored.add(lost.number)
    else:
        work.open_rows.add(lost.number)
    return taken


def _take_groups(work: _Work) -> None:
    """(4) Raises IncompleteError naming the volumes that are still needed, DamagedError where none would help."""
    bundle = work.bundle
    groups = [group for group in bundle.groups if any(row.number in work.open_rows for row in group.data)]

    def bring_back(group: Group) -> list[Row]:
        restorer = Restorer(bundle, group)
        failed = []
        with work.spaces.borrow_two() as (space, helper):
            for row in group.data:
                if row.number in work.open_rows:
                    work.meter.alive()
                    if restorer.restore(row, space, helper) or add_up(bundle, work.landing, row, restorer,
                                                                      space, helper):
                        _write_out(work, row, space)
                    else:
                        failed.append(row)
        return failed

    left = run_all(groups, bring_back, workers=work.spaces.pairs, meter=work.meter)
    open_rows = [row for failed in left for row in failed]
    if open_rows:
        raise _still_open(work, open_rows)


def _still_open(work: _Work, rows: Sequence[Row]) -> AirbundleError:
    """What to say of segments that neither their files nor their groups give."""
    bundle = work.bundle
    absent = elsewhere(bundle)
    fresh = tuple(copy for copy in copies_absent(bundle) if copy not in work.landing.copies)
    if not absent:
        return beyond_repair(bundle, rows[0])
    needed = " and ".join(describe_volumes(bundle, volumes_absent(bundle) & {row.volume for row in rows})
                          or describe_copies(fresh) or absent)
    once_more = {bundle.groups[row.group].members[position].volume for row in rows
                 if (note := work.landing.sums.get(row.number)) for position in note.given if position not in note.has}
    hint = f"connect {needed} and run the same command with it; what is unpacked is kept"
    if once_more:
        again = " and ".join(describe_volumes(bundle, once_more))
        hint += f"; if it is lost or damaged, give {again} once more instead"
    return IncompleteError(f"{len(rows)} of {len(bundle.data_rows)} segments are still needed, from {needed}",
                           where=bundle.volumes[0].path, hint=hint, rule="D-3")


def _write_out(work: _Work, row: Row, space: Workspace) -> None:
    """Open the checked image and write its slice of the source stream into the files that it belongs to."""
    assert space.image is not None
    assert space.writer is not None
    opener = Opener(work.bundle.context, work.opened.key, row.number, bytes.fromhex(row.salt))
    try:
        index = open_index(space.image, opener)
        work.contents.require(index, row.number)
        space.writer.begin(index.start)
        for length in open_chunks(space, space.image, work.bundle.suite, opener, index, space.writer.room):
            space.writer.advance(length)
            work.meter.add(length)
        space.writer.flush()
    except AirbundleError as error:
        error.where = error.where or volumes.segment_name(row.number)
        raise
    work.landing.add(row.number, index.length)
