"""Verify: every byte of a bundle, block by block, in numbered steps, without any secret.

1. statement: readable copies, canonical, signed by the packer that it names, the packer trusted
2. catalog: both copies against the signed row
3. segments: each against its row, in memory, repaired there to see whether it can be
4. what lies beside: files that belong to nothing, files with swapped names, bytes past an end
5. with a key: envelope, commitment, manifest, and every chunk opened, expanded and digested

The answer is always threefold: well-formed, whole, believed. `verify` returns a report when all three are yes and
raises otherwise, with the report in the error.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.codec.engines import best_engine
from airbundle.codec.erasure import alternate, left_over
from airbundle.crypto.envelope import NOTHING, Keyring
from airbundle.crypto.seal import Opener
from airbundle.errors import (
    AirbundleError,
    DamagedError,
)
from airbundle.format.catalog import DATA
from airbundle.media import volume as volumes
from airbundle.transfer.check import Findings, check_file, check_files
from airbundle.transfer.content import Contents
from airbundle.transfer.image import layout_of
from airbundle.transfer.open import Bundle, Opened, check_preambles, open_bundle, open_manifest
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.report import Report
from airbundle.transfer.restore import Restorer
from airbundle.transfer.schedule import run_all
from airbundle.transfer.seal import open_chunks, open_index
from airbundle.transfer.statements import revision_of
from airbundle.transfer.verdict import Tally, make_report, raise_verdict
from airbundle.transfer.whose import homes_of, homes_without, missing_here
from airbundle.transfer.workspace import Pace, Workspace, Workspaces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airbundle.codec.erasure import Layout
    from airbundle.crypto.trust import TrustSet
    from airbundle.format.block import Flags
    from airbundle.format.catalog import Row
    from airbundle.media.volume import VolumeReader

    Found = list[tuple[VolumeReader, str, Findings]]

OTHER_SIGNATURES: Final = "statement: carries other signatures than it should"


def verify(readers: tuple[VolumeReader, ...], *, trust: TrustSet | None, keyring: Keyring = NOTHING,
           fast: bool = False, pace: Pace | None = None, progress: Callable[[Tick], None] | None = None,
           sidecar: VolumeReader | None = None, only_these: bool = False) -> Report:
    """All steps, then the report, or the error that outranks the others with the report as `.report`.

    `sidecar` is a folder whose copies of statement and catalog are used and not judged; `only_these` judges the volumes
    given, whatever lies on others.

    Raises UntrustedError, NoKeyError, DamagedError, IncompleteError, RepairableError or UncheckedError (`fast`), in
    this order of precedence.
    """
    began = time.monotonic()
    meter = Meter(progress)
    bundle = open_bundle(readers, trust, sidecar=sidecar)  # (1) and the first half of (2)
    tally = Tally([], [], [])
    failure: AirbundleError | None = None
    check_statements(bundle, tally)
    check_catalogs(bundle, tally)  # (2)
    inside: tuple[Opened, Contents] | None = None
    try:
        check_preambles(bundle)
        if keyring:  # (5)
            opened = open_manifest(bundle, keyring)
            inside = opened, Contents(opened.manifest, len(bundle.data_rows))
    except AirbundleError as error:
        failure = error
    bundle.forget_body()
    failure = check_segments(bundle, tally, inside, fast=fast, pace=pace or Pace(), meter=meter) or failure
    if only_these:
        tally.missing = missing_here(bundle, tally.missing)
        tally.restorable = missing_here(bundle, tally.restorable)
    report = make_report(bundle, tally, opened=inside is not None and failure is None, began=began,
                         stages=meter.stages)  # (4)
    raise_verdict(bundle, report, failure)
    return report


def check_statements(bundle: Bundle, tally: Tally) -> None:
    """(1) Each copy on each volume has to be there and to say the same; the record has to be its exact encoding."""
    if bundle.unread:  # T-7: what is the newest catalog's is missing here
        tally.missing.append(bundle.statement.catalog.number)
    for copy in bundle.copies:
        if copy.name not in volumes.STATEMENTS:  # read because the two that should be there cannot be
            continue
        if copy.raw is None or copy.envelope is None:
            tally.note(copy.volume, copy.name, f"statement: {copy.problem}")
        elif copy.envelope.payload != bundle.statement_raw:
            revision = revision_of(copy.envelope.payload)
            known = {older.revision for older in bundle.older}.union(bundle.unread)
            tally.note(copy.volume, copy.name,
                       f"statement: revision {revision} where {bundle.statement.revision} holds" if revision in known
                       else "statement: differs from the one that is believed")
        elif copy.raw != bundle.documents[copy.volume.path]:
            tally.note(copy.volume, copy.name, OTHER_SIGNATURES)  # T-8
        elif copy.name == volumes.RECORD_NAME and copy.encoded_for != bundle.suite.number:
            tally.note(copy.volume, copy.name, "statement: damaged, and corrected by its own code")


def check_catalogs(bundle: Bundle, tally: Tally) -> None:
    """(2) Both copies on each volume."""
    tally.beyond |= bundle.preamble_raw is None or bool(bundle.rows and bundle.segments_preamble is None)  # K-7
    row = bundle.statement.catalog
    size = bundle.expected(row).place.stored_size
    names = {reader.path: {name for other, name in bundle.segments.get(row.number, []) if other is reader}
             for reader in bundle.volumes}
    for reader, name, findings in bundle.catalog_findings:
        right_name = catalog_name(bundle, reader, name)
        if name in volumes.CATALOGS or (findings.lost == 0 and name != right_name):  # D-5
            tally.count(reader, name, findings, size=size, right_name=right_name)
    for reader in bundle.volumes:
        for name in volumes.CATALOGS:
            if name not in names[reader.path]:
                tally.note(reader, name, "catalog: is missing")


def catalog_name(bundle: Bundle, reader: VolumeReader, name: str) -> str:
    """The name that a file with a catalog should have: its own, unless that is none and one of the two is free."""
    whole = {other for holder, other, findings in bundle.catalog_findings if holder is reader and findings.lost == 0}
    free = [right for right in volumes.CATALOGS if right not in whole]
    return name if name in volumes.CATALOGS or not free else free[0]


def check_segments(bundle: Bundle, tally: Tally, inside: tuple[Opened, Contents] | None, *, fast: bool, pace: Pace,
                   meter: Meter) -> AirbundleError | None:
    """(3), and (5) for the chunks. Returns the first error of opening; damage is only counted."""
    sizes = {row.number: bundle.expected(row).place.stored_size for row in bundle.rows}
    if fast:
        tally.bytes_not_read = sum(sizes.values())
        nowhere = {number: None for number in sizes if number not in bundle.segments}
        for row, comes_back in counted_back(bundle, nowhere):
            (tally.restorable if comes_back else tally.missing).append(row.number)
        return None
    meter.begin("verifying", sum(sizes.values()))
    workers = pace.workers(bundle.largest_segment())
    spaces = Workspaces(workers, bundle.largest_segment(), best_engine(), stages=meter.stages)
    failures: list[AirbundleError] = []

    look_inside = partial(_look_inside, bundle, inside, failures)

    def work(row: Row) -> tuple[Row, Found]:
        meter.alive()
        with spaces.borrow() as space:
            found = read_segment(bundle, row, space, cache=volumes.Cache.PASSED)
            if found and found[-1][2].lost == 0:
                look_inside(row, space)
            found += _read_twins(bundle, row, space, found)
        meter.add(sizes[row.number])
        return row, found

    gone: dict[int, Flags | None] = {}
    for row, found in run_all(bundle.rows, work, workers=workers, meter=meter):
        _count_missing(bundle, tally, row, found)
        if all(findings.lost for _, _, findings in found):
            layout = layout_of(bundle.expected(row).geometry)  # G-9: on trial a member's own code counts too
            gone[row.number] = min((left_over(layout, findings.lacking) for _, _, findings in found),
                                   key=np.count_nonzero, default=None)
        for reader, name, findings in found:
            tally.count(reader, name, findings, size=sizes[row.number], right_name=volumes.segment_name(row.number))
        _count_untried(bundle, tally, row, [reader for reader, _, _ in found])
    _bring_back(bundle, tally, gone, spaces, meter, look_inside)
    return failures[0] if failures else None


def _bring_back(bundle: Bundle, tally: Tally, gone: Mapping[int, Flags | None], spaces: Workspaces, meter: Meter,
                look_inside: Callable[[Row, Workspace], None]) -> None:
    """Bring back from their groups, in memory, the segments that no file gives: restorable is what was had (D-2)."""
    lost = counted_back(bundle, gone)
    tally.missing += [row.number for row, comes_back in lost if not comes_back]
    likely = [row for row, comes_back in lost if comes_back]
    groups = [list(rows) for _, rows in itertools.groupby(likely, key=lambda row: row.group)]

    def bring(rows: list[Row]) -> list[tuple[Row, bool]]:
        restorer, found = Restorer(bundle, bundle.groups[rows[0].group]), []
        with spaces.borrow_two() as (space, helper):
            for row in rows:
                meter.alive()
                try:
                    found.append((row, restorer.restore(row, space, helper)))
                except DamagedError:
                    found.append((row, False))
                if found[-1][1]:
                    look_inside(row, space)
                meter.add(bundle.expected(row).place.stored_size)
        return found

    if likely:
        meter.begin("restoring", sum(bundle.expected(row).place.stored_size for row in likely))
    for found in run_all(groups, bring, workers=spaces.pairs, meter=meter):
        for row, comes_back in found:
            (tally.restorable if comes_back else tally.missing).append(row.number)


def counted_back(bundle: Bundle, gone: Mapping[int, Flags | None]) -> list[tuple[Row, bool]]:
    """The lost segments, and whether by counting they come back from their groups (G-9); None: there is no file."""
    found = []
    for group in bundle.groups:
        if not any(row.number in gone for row in group.members):
            continue
        layouts = [layout_of(bundle.expected(row).geometry) for row in group.members]
        lacking = [_lacking(layout, gone, row.number) for layout, row in zip(layouts, group.members, strict=True)]
        left = alternate(layouts, lacking, len(group.parity))
        found += [(row, not flags.any()) for row, flags in zip(group.members, left, strict=True) if row.number in gone]
    return found


def _lacking(layout: Layout, gone: Mapping[int, Flags | None], number: int) -> Flags:
    flags = gone.get(number)
    return np.full(layout.count, number in gone) if flags is None else flags


def _read_twins(bundle: Bundle, row: Row, space: Workspace, found: Found) -> Found:
    """The same segment on the other volumes that were given: nothing is said of a drive that was not read.

    A file under another name is one of the bundle's if a block at one of its ends says so, else it counts for nothing
    (D-5).
    """
    twins: Found = []
    geometry, right_name = bundle.expected(row).geometry, volumes.segment_name(row.number)
    for reader in bundle.volumes:
        if not any(other is reader for other, _, _ in found):
            twins += [twin for twin in read_segment(bundle, row, space, cache=volumes.Cache.PASSED, only=reader)
                      if twin[1] == right_name or (twin[1], geometry) in bundle.held.get(reader.path, ())]
    return twins


def _count_untried(bundle: Bundle, tally: Tally, row: Row, seen: list[VolumeReader]) -> None:
    """What lies under other names beyond L-6, in folders of which no file of the segment was read (V-6)."""
    geometry, right_name = bundle.expected(row).geometry, volumes.segment_name(row.number)
    for reader, name in bundle.untried.get(row.number, ()):
        if reader not in seen and (name, geometry) in bundle.held[reader.path]:
            tally.note(reader, name, f"belongs under the name {right_name}")


def _count_missing(bundle: Bundle, tally: Tally, row: Row, found: Found) -> None:
    """A segment that is not where it should be: on its volume, or on each of the copies of that which were given."""
    whole = [reader for reader, _, findings in found if findings.lost == 0]
    homes = homes_of(bundle, row)
    if whole and homes and not any(reader in homes for reader in whole):  # D-4
        name = volumes.segment_name(row.number)
        tally.moved.append(f"{name}: lies on another volume than volume {row.volume}, so a lost drive may cost more")
    for reader in homes_without(bundle, row, whole):
        if not any(other is reader for other, _, _ in found):  # a file that is damaged was counted
            tally.note(reader, volumes.segment_name(row.number), "segment: is missing")


def read_segment(bundle: Bundle, row: Row, space: Workspace, *, cache: volumes.Cache,
                 only: VolumeReader | None = None, data_alone: bool = False) -> Found:
    """Check the files that hold a segment until one is whole; afterwards `space` holds the last one's image.

    With `data_alone` a file is good enough that gives the data, whatever its parity is (D-2). Where no file is, all of
    them are put together: what that gives comes last, with nothing counted twice.
    """
    results: Found = []
    expected = bundle.expected(row)
    for reader, name in bundle.segments.get(row.number, []):
        if only is not None and reader is not only:
            continue
        findings, image = check_file(space, reader, name, expected, cache=cache)
        space.image = image
        bundle.used.add((reader.path, name))
        results.append((reader, name, findings))
        if not (findings.data_lost if data_alone else findings.lost):
            return results
    if len(results) > 1 and only is None:
        findings, space.image = check_files(space, [(reader, name) for reader, name, _ in results], expected,
                                            cache=cache)
        results.append((*results[0][:2], replace(findings, blocks=0, unreadable=0, damaged=0, misplaced=0, altered=0,
                                                 whole=True, dead=())))
    return results


def _look_inside(bundle: Bundle, inside: tuple[Opened, Contents] | None, failures: list[AirbundleError], row: Row,
                 space: Workspace) -> None:
    try:
        if inside is not None and row.role == DATA:
            _open_all(bundle, row, space, *inside)
    except AirbundleError as error:
        error.where = error.where or volumes.segment_name(row.number)
        failures.append(error)


def _open_all(bundle: Bundle, row: Row, space: Workspace, opened: Opened, contents: Contents) -> None:
    opener = Opener(bundle.context, opened.key, row.number, bytes.fromhex(row.salt))
    assert space.image is not None
    index = open_index(space.image, opener)
    contents.require(index, row.number)
    for _ in open_chunks(space, space.image, bundle.suite, opener, index, lambda length: space.plain[:length]):
        pass
