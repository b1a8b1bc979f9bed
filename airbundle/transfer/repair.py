"""Repair a bundle in place: only dead blocks are written, one file at a time, each read back (spec chapters 3 to 5).

1. open and judge, as verify does; a bundle that nobody here vouches for is not repaired
2. catalogs, one copy after the other
3. segments: what check_segment put right in memory goes to the places that were wrong
4. names that were swapped, bytes past an end
5. copies of catalog and statement that are missing, beyond their own repair, of an older revision, or that lack a
   signature (T-7, T-8)

What is written is bit for bit what the packer wrote. At no moment is less recoverable than before.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.errors import DamagedError, MediumError
from airbundle.media import volume as volumes
from airbundle.transfer.check import Findings, check_file, check_files
from airbundle.transfer.image import Image
from airbundle.transfer.open import Bundle, open_bundle, require_preamble
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.readback import require_image
from airbundle.transfer.replace import Writers, replace_copies
from airbundle.transfer.restore import Restorer
from airbundle.transfer.verdict import Tally, make_report, raise_verdict
from airbundle.transfer.verify import catalog_name, check_catalogs, check_statements
from airbundle.transfer.whose import homes_without
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.crypto.trust import TrustSet
    from airbundle.format.catalog import Row
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.report import FileFindings, Report


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What `repair` did. `report` says what was found; `blocks` and `files` what was written."""

    report: Report
    blocks: int
    files: tuple[str, ...]
    seconds: float


@dataclass
class _Bench:
    """The bundle on the bench: what all steps share."""

    bundle: Bundle
    space: Workspace
    writer: Writers
    tally: Tally
    blocks: int
    touched: list[str]
    rows: dict[int, Row] = field(init=False)
    claimed: dict[tuple[str, str], list[int]] = field(init=False)

    def __post_init__(self) -> None:
        """By number the rows of all segments; by file the segments that it may hold."""
        self.rows = {row.number: row for row in (*self.bundle.rows, self.bundle.statement.catalog)}
        self.claimed = {}
        for number, places in self.bundle.segments.items():
            for reader, name in places if number in self.rows else ():
                self.claimed.setdefault((reader.path, name), []).append(number)

    @cached_property
    def helper(self) -> Workspace:
        """A second buffer, made when a segment has to come back from its group."""
        return Workspace(self.bundle.largest_segment(), self.space.engine)


def repair(readers: tuple[VolumeReader, ...], *, trust: TrustSet, sidecar: VolumeReader | None = None,
           progress: Callable[[Tick], None] | None = None) -> RepairResult:
    """Repair what can be repaired. `sidecar` is a folder with one more copy of statement and catalog.

    Raises UntrustedError before anything is written, DamagedError or IncompleteError if something is left that cannot
    be; MediumError if the medium does not take what is written.
    """
    began = time.monotonic()
    meter = Meter(progress)
    bundle = open_bundle(readers, trust, sidecar=sidecar)  # (1)
    if bundle.distrust is not None:
        raise bundle.distrust
    require_preamble(bundle)
    tally = Tally([], [], [])
    check_statements(bundle, tally)
    check_catalogs(bundle, tally)
    with Writers() as writer:
        bench = _Bench(bundle, Workspace(bundle.largest_segment(), best_engine()), writer, tally, 0, [])
        _repair_catalogs(bench)  # (2)
        meter.begin("repairing", sum(bundle.expected(row).place.stored_size for row in bundle.rows))
        for row in bundle.rows:  # (3)
            _repair_segment(bench, row)
            meter.add(bundle.expected(row).place.stored_size)
        _repair_names(bench)  # (4)
        if not bundle.unread:  # nothing takes the place of a newer revision that cannot be read here
            for path, blocks in replace_copies(bundle, writer).items():  # (5)
                bench.blocks += blocks
                bench.touched.append(path)
    report = make_report(bundle, tally, opened=False, began=began, stages=meter.stages)
    if tally.beyond or tally.missing:
        raise_verdict(bundle, report, None)
    return RepairResult(report, bench.blocks, tuple(bench.touched), time.monotonic() - began)


def _repair_catalogs(bench: _Bench) -> None:
    """Each copy that can be put right where it is; what is under the name of the others may be something else."""
    row = bench.bundle.statement.catalog
    for reader, name in bench.bundle.segments.get(row.number, []):
        findings, _ = _check(bench, reader, name, row)
        if findings.lost == 0 and not findings.clean and not _holds_another(bench, reader, name, row):
            _patch(bench, reader, name, row)


def _holds_another(bench: _Bench, reader: VolumeReader, name: str, row: Row) -> bool:
    """Whether a file from which `row` can be had also gives another segment: a write that went astray leaves that.

    To put one of them right there would destroy the other. The buffer is used.
    """
    for number in bench.claimed.get((reader.path, name), ()):
        if number != row.number and _check(bench, reader, name, bench.rows[number])[0].lost == 0:
            return True
    return False


def _repair_segment(bench: _Bench, row: Row) -> None:
    """Put a segment right where it lies, and back where it should lie, from another copy or from its group."""
    bundle = bench.bundle
    places = bundle.segments.get(row.number, [])
    whole = [(reader, name) for reader in bundle.volumes
             if (name := _repair_on(bench, reader, row, [name for other, name in places if other is reader]))]
    homes = homes_without(bundle, row, [reader for reader, _ in whole])
    if not whole and not homes:  # its volume is not here, but something of it is
        homes = list(dict.fromkeys(reader for reader, _ in places))[:1]
    if whole and not homes:
        return
    image = _whole(bench, *whole[0], row)[1] if whole else _restored(bench, row)
    if image is None:
        bench.tally.missing.append(row.number)
    elif not homes:
        bench.tally.restorable.append(row.number)
    for reader in homes:
        if image is not None:
            _write_aside(bench, reader, volumes.segment_name(row.number), image, row)
            if reader is not homes[-1]:  # the check has used the buffer
                image = _whole(bench, *whole[0], row)[1] if whole else _restored(bench, row)


def _restored(bench: _Bench, row: Row) -> Image | None:
    """A segment from all its files together, or from the other members of its group, in the buffer."""
    places = bench.bundle.segments.get(row.number, [])
    if len(places) > 1:
        findings, image = check_files(bench.space, places, bench.bundle.expected(row))
        if findings.whole:
            return image
    if bench.bundle.segments_preamble is None:  # a segment is not written without it
        return None
    restorer = Restorer(bench.bundle, bench.bundle.groups[row.group])
    with suppress(DamagedError):  # what it was signed with does not fit together: it is missing, the rest goes on
        if restorer.restore(row, bench.space, bench.helper):
            return bench.space.image
    return None


def _repair_on(bench: _Bench, reader: VolumeReader, row: Row, names: list[str]) -> str:
    """Put a segment right on one volume, in the first of the files `names` that gives it; which file has it then."""
    right = volumes.segment_name(row.number)
    for name in names:
        findings, image = _check(bench, reader, name, row)
        size = image.place.stored_size
        if findings.lost == 0 and not findings.clean and _holds_another(bench, reader, name, row):
            bench.tally.note(reader, name, f"holds {right} and another segment")
            return _write_aside(bench, reader, right, _whole(bench, reader, name, row)[1], row)
        bench.tally.count(reader, name, findings, size=size, right_name=right)
        if findings.lost == 0:
            if not findings.clean:
                _patch(bench, reader, name, row)
            return name
    return ""


def _check(bench: _Bench, reader: VolumeReader, name: str, row: Row) -> tuple[Findings, Image]:
    return check_file(bench.space, reader, name, bench.bundle.expected(row))


def _whole(bench: _Bench, reader: VolumeReader, name: str, row: Row) -> tuple[Findings, Image]:
    """A file that was found recoverable, once more in the buffer: what is written comes from there and nowhere else."""
    findings, image = _check(bench, reader, name, row)
    if findings.lost:
        raise MediumError("gives other bytes each time it is read", where=f"{reader.path}/{name}",
                          hint="copy what is left onto another drive and repair there")
    return findings, image


def _patch(bench: _Bench, reader: VolumeReader, name: str, row: Row) -> None:
    """Write the dead blocks, cut what lies past the end, and read the whole file again."""
    findings, image = _whole(bench, reader, name, row)
    size, writer = image.place.geometry.block_size, bench.writer(reader)
    pieces = [(at * size, image.blocks[at].data) for at in findings.dead]
    writer.patch(name, pieces, image.place.stored_size)
    _note(bench, reader, name, len(pieces))
    require_image(writer, bench.space, name, image)


def _write_aside(bench: _Bench, reader: VolumeReader, name: str, image: Image, row: Row) -> str:
    """Write a whole segment under a temporary name, a new one each time; `_repair_names` does the rest."""
    writer = bench.writer(reader)
    temporary = writer.write(name, [image.blocks.reshape(-1).data], suffix=secrets.token_hex(8))
    _note(bench, reader, name, len(image.blocks))
    require_image(writer, bench.space, temporary, image)
    findings, _ = _check(bench, reader, temporary, row)
    bench.tally.count(reader, temporary, findings, size=image.place.stored_size, right_name=name)
    return temporary


def _note(bench: _Bench, reader: VolumeReader, name: str, blocks: int) -> None:
    bench.blocks += blocks
    if f"{reader.path}/{name}" not in bench.touched:
        bench.touched.append(f"{reader.path}/{name}")


def _repair_names(bench: _Bench) -> None:
    """Give files that were found under a wrong name their own, over a temporary one since they may be swapped."""
    for reader in bench.bundle.volumes:
        wrong = {finding.file: _right_name(bench.bundle, reader, finding) for finding in bench.tally.files
                 if finding.volume == reader.path and finding.segment is not None and finding.whole}
        wrong = {right: name for name, right in wrong.items() if name != right}  # one file for each name
        if wrong:
            bench.writer(reader).rename_all({name: right for right, name in wrong.items()})
            bench.touched += [path for right in wrong if (path := f"{reader.path}/{right}") not in bench.touched]


def _right_name(bundle: Bundle, reader: VolumeReader, finding: FileFindings) -> str:
    assert finding.segment is not None
    if finding.segment == bundle.statement.catalog.number:
        return catalog_name(bundle, reader, finding.file)
    return volumes.segment_name(finding.segment)
