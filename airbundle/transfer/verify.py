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

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.codec.record import RECORD_SIZE, encode_record
from airbundle.crypto.envelope import NOTHING, Keyring
from airbundle.crypto.identities import fingerprint_hex
from airbundle.crypto.seal import Opener
from airbundle.crypto.suites import hash_by_suite
from airbundle.errors import (
    AirbundleError,
    DamagedError,
    ForgedError,
    IncompleteError,
    RepairableError,
    StrangerError,
    UncheckedError,
)
from airbundle.media import volume as volumes
from airbundle.transfer.check import Findings, check_file
from airbundle.transfer.content import Contents
from airbundle.transfer.open import Bundle, Opened, open_bundle, open_manifest, require_preamble
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.report import Belief, Condition, FileFindings, Report
from airbundle.transfer.schedule import run_all
from airbundle.transfer.seal import open_chunks, open_index
from airbundle.transfer.workspace import Pace, Workspace, Workspaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.crypto.trust import TrustSet
    from airbundle.format.catalog import Row
    from airbundle.media.volume import VolumeReader

    Found = list[tuple[VolumeReader, str, Findings]]

PRECEDENCE = (1, 2, 130, 9, 5, 6, 8, 7, 4, 3, 11, 10)
CATALOGS = (volumes.CATALOG_NAME, volumes.CATALOG_COPY_NAME)


@dataclass(slots=True)
class Tally:
    """Findings of one run, added up as they come."""

    files: list[FileFindings]
    missing: list[int]
    blocks: int = 0
    bytes_read: int = 0
    bytes_not_read: int = 0
    unreadable: int = 0
    damaged: int = 0
    misplaced: int = 0
    altered: int = 0
    beyond: bool = False

    def count(self, reader: VolumeReader, name: str, findings: Findings, *, size: int, right_name: str) -> None:
        """Add what was found in one file."""
        self.blocks += findings.blocks
        self.bytes_read += size
        self.unreadable += findings.unreadable
        self.damaged += findings.damaged
        self.misplaced += findings.misplaced
        self.altered += findings.altered
        problem = describe(findings)
        if name != right_name:
            problem = f"belongs under the name {right_name}" + (f"; {problem}" if problem else "")
        if problem:
            self.files.append(FileFindings(
                reader.path, name, findings.number, problem, findings.unreadable, findings.damaged,
                findings.misplaced, findings.altered, findings.surplus, findings.whole))

    def note(self, reader: VolumeReader, name: str, problem: str, *, whole: bool = True) -> None:
        """Something wrong with a file that is not a matter of blocks."""
        self.files.append(FileFindings(reader.path, name, None, problem, whole=whole))


def describe(findings: Findings) -> str:
    """The findings of one file in words; empty if there are none."""
    words = [f"{count} {noun}" for count, noun in (
        (findings.unreadable, "unreadable"), (findings.damaged, "damaged"), (findings.misplaced, "misplaced"),
        (findings.altered, "altered")) if count]
    text = f"blocks: {', '.join(words)} of {findings.blocks}" if words else ""
    if findings.surplus:
        text += f"{'; ' if text else ''}{findings.surplus} bytes past the end"
    if not findings.whole:
        text += f"{'; ' if text else ''}beyond repair"
    return text


def verify(readers: tuple[VolumeReader, ...], *, trust: TrustSet | None, keyring: Keyring = NOTHING,
           fast: bool = False, pace: Pace | None = None, progress: Callable[[Tick], None] | None = None) -> Report:
    """All steps, then the report, or the error that outranks the others with the report as `.report`.

    Raises UntrustedError, NoKeyError, DamagedError, IncompleteError, RepairableError or UncheckedError (`fast`), in
    this order of precedence.
    """
    began = time.monotonic()
    meter = Meter(progress)
    bundle = open_bundle(readers, trust)  # (1) and the first half of (2)
    tally = Tally([], [])
    failure: AirbundleError | None = None
    check_statements(bundle, tally)
    check_catalogs(bundle, tally)  # (2)
    inside: tuple[Opened, Contents] | None = None
    try:
        if bundle.preamble_raw is not None:
            require_preamble(bundle)
        if keyring:  # (5)
            opened = open_manifest(bundle, keyring)
            inside = opened, Contents(opened.manifest, len(bundle.rows))
    except AirbundleError as error:
        failure = error
    failure = check_segments(bundle, tally, inside, fast=fast, pace=pace or Pace(), meter=meter) or failure
    report = make_report(bundle, tally, opened=inside is not None and failure is None, began=began)  # (4)
    raise_verdict(bundle, report, failure)
    return report


def check_statements(bundle: Bundle, tally: Tally) -> None:
    """(1) Each copy on each volume has to be there and to say the same; the record has to be its exact encoding."""
    suite = bundle.suite
    for copy in bundle.copies:
        if copy.name not in volumes.FIXED_NAMES:  # read because the two that should be there cannot be
            continue
        if copy.raw is None or copy.envelope is None:
            tally.note(copy.volume, copy.name, f"statement: {copy.problem}")
        elif copy.raw != bundle.document:
            tally.note(copy.volume, copy.name, "statement: differs from the one that is believed")
        elif copy.name == volumes.RECORD_NAME:
            exact = encode_record(copy.raw, suite_number=suite.number, hash_by_suite=hash_by_suite,
                                  engine=best_engine())
            if copy.volume.read_small(copy.name, RECORD_SIZE + 1) != exact:
                tally.note(copy.volume, copy.name, "statement: damaged, and corrected by its own code")


def check_catalogs(bundle: Bundle, tally: Tally) -> None:
    """(2) Both copies on each volume."""
    tally.beyond |= bundle.preamble_raw is None  # K-7
    row = bundle.statement.catalog
    size = bundle.expected(row).place.stored_size
    names = {reader.path: {name for other, name in bundle.segments.get(row.number, []) if other is reader}
             for reader in bundle.volumes}
    for reader, name, findings in bundle.catalog_findings:
        if name in CATALOGS or findings.lost == 0:  # others only say that they hold the catalog
            tally.count(reader, name, findings, size=size, right_name=catalog_name(bundle, reader, name))
    for reader in bundle.volumes:
        for name in CATALOGS:
            if name not in names[reader.path]:
                tally.note(reader, name, "catalog: is missing")


def catalog_name(bundle: Bundle, reader: VolumeReader, name: str) -> str:
    """The name that a file with a catalog should have: its own, unless that is none and one of the two is free."""
    whole = {other for holder, other, findings in bundle.catalog_findings if holder is reader and findings.lost == 0}
    free = [right for right in CATALOGS if right not in whole]
    return name if name in CATALOGS or not free else free[0]


def check_segments(bundle: Bundle, tally: Tally, inside: tuple[Opened, Contents] | None, *, fast: bool, pace: Pace,
                   meter: Meter) -> AirbundleError | None:
    """(3), and (5) for the chunks. Returns the first error of opening; damage is only counted."""
    sizes = {row.number: bundle.expected(row).place.stored_size for row in bundle.rows}
    if fast:
        tally.bytes_not_read = sum(sizes.values())
        tally.missing += [number for number in sizes if number not in bundle.segments]
        return None
    meter.begin("verifying", sum(sizes.values()))
    workers = pace.workers(bundle.largest_segment())
    spaces = Workspaces(workers, bundle.largest_segment(), best_engine())
    failures: list[AirbundleError] = []

    def work(row: Row) -> tuple[Row, Found]:
        meter.alive()
        with spaces.borrow() as space:
            found = read_segment(bundle, row, space, from_medium=True)
            if inside is not None and found and found[-1][2].lost == 0:
                try:
                    _open_all(bundle, row, space, *inside)
                except AirbundleError as error:
                    error.where = error.where or volumes.segment_name(row.number)
                    failures.append(error)
            found += _read_twins(bundle, row, space, found)
        meter.add(sizes[row.number])
        return row, found

    for row, found in run_all(bundle.rows, work, workers=workers, meter=meter):
        _count_missing(bundle, tally, row, found)
        for reader, name, findings in found:
            tally.count(reader, name, findings, size=sizes[row.number], right_name=volumes.segment_name(row.number))
        tally.beyond |= bool(found) and all(findings.lost for _, _, findings in found)
    return failures[0] if failures else None


def _read_twins(bundle: Bundle, row: Row, space: Workspace, found: Found) -> Found:
    """The same segment on the other volumes that were given: nothing is said of a drive that was not read."""
    twins: Found = []
    for reader in bundle.volumes:
        if not any(other is reader for other, _, _ in found):
            twins += read_segment(bundle, row, space, from_medium=True, only=reader)
    return twins


def _count_missing(bundle: Bundle, tally: Tally, row: Row, found: Found) -> None:
    """A segment that is nowhere; or, of a bundle of one volume, not on each copy of it that was given."""
    if not found:
        tally.missing.append(row.number)
    elif len(bundle.statement.volumes) == 1:
        for reader in bundle.volumes:
            if not any(other is reader for other, _, _ in found):
                tally.note(reader, volumes.segment_name(row.number), "segment: is missing")


def read_segment(bundle: Bundle, row: Row, space: Workspace, *, from_medium: bool,
                 only: VolumeReader | None = None) -> Found:
    """Check the files that hold a segment until one is whole; afterwards `space` holds the last one's image.

    What is said of a medium has to be read `from_medium`; bytes that are only used may come from the page cache.
    """
    results: Found = []
    expected = bundle.expected(row)
    for reader, name in bundle.segments.get(row.number, []):
        if only is not None and reader is not only:
            continue
        findings, image = check_file(space, reader, name, expected, direct=from_medium)
        space.image = image
        bundle.used.add((reader.path, name))
        results.append((reader, name, findings))
        if findings.lost == 0:
            break
    return results


def _open_all(bundle: Bundle, row: Row, space: Workspace, opened: Opened, contents: Contents) -> None:
    opener = Opener(bundle.context, opened.key, row.number, bytes.fromhex(row.salt))
    assert space.image is not None
    index = open_index(space.image, opener)
    contents.require(index, row.number)
    for _ in open_chunks(space, space.image, bundle.suite, opener, index, lambda length: space.plain[:length]):
        pass


def belief_of(bundle: Bundle) -> Belief:
    """The third answer."""
    if bundle.distrust is None:
        return Belief.TRUSTED
    if isinstance(bundle.distrust, StrangerError):
        return Belief.STRANGER
    return Belief.FORGED if isinstance(bundle.distrust, ForgedError) else Belief.UNSIGNED


def make_report(bundle: Bundle, tally: Tally, *, opened: bool, began: float) -> Report:
    """Put the three answers together."""
    statement = bundle.statement
    complete = len(bundle.volumes) >= len(statement.volumes)
    condition = Condition.WHOLE
    if tally.bytes_not_read:
        condition = Condition.UNCHECKED
    if tally.files:
        condition = Condition.REPAIRABLE
    if tally.beyond or tally.missing:
        condition = Condition.DAMAGED if complete or tally.beyond else Condition.INCOMPLETE
    signers = tuple(identity.hex for identity in bundle.judgement.valid) if bundle.judgement else ()
    return Report(
        bundle=statement.bundle, label=statement.label, marking=statement.marking, suite=statement.suite,
        packer=statement.packer, created=statement.created, expires=statement.expires, series=statement.series,
        sequence=statement.sequence, volumes=tuple(reader.path for reader in bundle.volumes),
        volumes_of=len(statement.volumes), condition=condition, belief=belief_of(bundle),
        believed_by=bundle.believed_by, signers=signers, opened=opened, segments=len(bundle.rows),
        blocks=tally.blocks, bytes_read=tally.bytes_read, bytes_not_read=tally.bytes_not_read,
        unreadable=tally.unreadable, damaged=tally.damaged, misplaced=tally.misplaced, altered=tally.altered,
        findings=tuple(tally.files), missing=tuple(tally.missing), ignored=_ignored(bundle),
        statement_hash=bundle.statement_hash,
        seconds=time.monotonic() - began)


def _ignored(bundle: Bundle) -> tuple[str, ...]:
    """(4) What lies beside the bundle's own files (V-2), and signatures that count for nothing (T-3)."""
    used = {number for number, places in bundle.segments.items() if number < bundle.statement.catalog.number
            and any((reader.path, name) in bundle.used for reader, name in places)}
    ours = {(reader.path, name): number for number, places in bundle.segments.items() for reader, name in places}
    statements = {(copy.volume.path, copy.name) for copy in bundle.copies}
    lines = []
    for path, listing in bundle.listings.items():
        lines += [f"{name}: {why}" for name, why in listing.ignored]
        for name in listing.files:
            number = ours.get((path, name))
            if number is None and name not in volumes.FIXED_NAMES and (path, name) not in statements:
                lines.append(f"{name}: no file of this bundle")
            elif number is not None and number > bundle.statement.catalog.number:
                lines.append(f"{name}: claims segment {number}, which the bundle does not have")
            elif number in used and (path, name) not in bundle.used:
                lines.append(f"{name}: segment {number} was read from another file")
    if bundle.judgement is not None:
        lines += [f"statement: a signature by {fingerprint_hex(key_id)}, whom nobody here trusts"
                  for key_id in bundle.judgement.unknown]
        lines += [f"statement: a signature by {fingerprint_hex(key_id)} that does not hold"
                  for key_id in bundle.judgement.failing]
        lines += [f"statement: a signature by {fingerprint_hex(key_id)}, whose key is of another suite"  # K-11
                  for key_id in bundle.judgement.foreign]
    return tuple(lines)


def raise_verdict(bundle: Bundle, report: Report, failure: AirbundleError | None) -> None:
    """Raise what outranks the rest."""
    where = bundle.volumes[0].path
    errors: list[AirbundleError] = [error for error in (bundle.distrust, failure) if error is not None]
    if report.condition is Condition.DAMAGED:
        errors.append(DamagedError(_summary(report), where=where, rule="S-7",
                                   hint="fetch another copy of the bundle"))
    elif report.condition is Condition.INCOMPLETE:
        errors.append(IncompleteError(f"{len(report.missing)} segments are on other volumes", where=where,
                                      hint="connect the missing volume and run the same command with both"))
    elif report.condition is Condition.REPAIRABLE:
        errors.append(RepairableError(_summary(report), where=where,
                                      hint="airbundle repair puts it right, bit for bit"))
    if report.bytes_not_read:
        errors.append(UncheckedError(f"{report.bytes_not_read:,} bytes were NOT verified", where=where,
                                     hint="leave out --fast to read everything"))
    if errors:
        first = min(errors, key=lambda error: PRECEDENCE.index(error.exit_status))
        first.report = report
        raise first


def _summary(report: Report) -> str:
    parts = [f"{count} {noun}" for count, noun in (
        (report.unreadable, "unreadable"), (report.damaged, "damaged"), (report.misplaced, "misplaced"),
        (report.altered, "ALTERED")) if count]
    text = f"blocks: {', '.join(parts)}" if parts else f"{len(report.findings)} findings"
    if report.missing:
        text += f"; {len(report.missing)} segments missing"
    worse = report.condition is Condition.DAMAGED
    return f"{text}; {'beyond repair' if worse else 'can be repaired from what is here'}"
