"""From findings to the threefold answer: well-formed, whole, believed; and the one error that outranks the others."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airbundle.crypto.identities import fingerprint_hex
from airbundle.errors import (
    AirbundleError,
    DamagedError,
    ForgedError,
    IncompleteError,
    RepairableError,
    StrangerError,
    UncheckedError,
)
from airbundle.format.names import shown
from airbundle.media import volume as volumes
from airbundle.stages import Stages
from airbundle.transfer.report import Belief, Condition, FileFindings, Report
from airbundle.transfer.whose import copies_absent, volumes_absent, volumes_not_seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.check import Findings
    from airbundle.transfer.landing import Wrong
    from airbundle.transfer.open import Bundle

PRECEDENCE: Final = (1, 2, 130, 9, 5, 6, 8, 7, 4, 3, 11, 10)


@dataclass(slots=True)
class Tally:
    """Findings of one run, added up as they come."""

    files: list[FileFindings]
    missing: list[int]
    restorable: list[int]
    moved: list[str] = field(default_factory=list)
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
        if name != right_name:  # V-6
            problem = f"belongs under the name {right_name}" + (f"; {problem}" if problem else "")
        if problem:
            self.files.append(FileFindings(
                reader.path, name, findings.number, problem, findings.unreadable, findings.damaged,
                findings.misplaced, findings.altered, findings.surplus, findings.whole))

    def recall(self, notes: Mapping[str, Wrong]) -> None:
        """Add what earlier runs found in files that were not read now."""
        known = {shown(f"{os.path.basename(found.volume)}/{found.file}") for found in self.files}
        for path, note in notes.items():
            if path not in known:
                volume, _, file = path.partition("/")
                self.files.append(FileFindings(volume, file, None, note.problem, note.unreadable, note.damaged,
                                               note.misplaced, note.altered))
                self.unreadable += note.unreadable
                self.damaged += note.damaged
                self.misplaced += note.misplaced
                self.altered += note.altered

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
        text += f"{'; ' if text else ''}more than its own parity gives back"
    return text


def belief_of(bundle: Bundle) -> Belief:
    """The third answer (D-1)."""
    if bundle.distrust is None:
        return Belief.TRUSTED
    if isinstance(bundle.distrust, StrangerError):
        return Belief.STRANGER
    return Belief.FORGED if isinstance(bundle.distrust, ForgedError) else Belief.UNSIGNED


def make_report(bundle: Bundle, tally: Tally, *, opened: bool, began: float, stages: Stages) -> Report:
    """Put the three answers together."""
    statement = bundle.statement
    condition = Condition.WHOLE  # D-5
    if tally.bytes_not_read:
        condition = Condition.UNCHECKED
    if tally.files or tally.restorable:
        condition = Condition.REPAIRABLE  # D-4
    if tally.beyond or tally.missing:
        condition = Condition.INCOMPLETE if elsewhere(bundle) else Condition.DAMAGED  # D-3
    signers = tuple(identity.hex for identity in bundle.judgement.valid) if bundle.judgement else ()
    return Report(
        bundle=statement.bundle, label=statement.label, marking=statement.marking, suite=statement.suite,
        packer=statement.packer, created=statement.created, expires=statement.expires, series=statement.series,
        sequence=statement.sequence, revision=statement.revision,
        volumes=tuple(reader.path for reader in bundle.volumes), volumes_of=len(statement.volumes),
        not_seen=describe_volumes(bundle, volumes_not_seen(bundle)),
        condition=condition, belief=belief_of(bundle),
        believed_by=bundle.believed_by, signers=signers, opened=opened, segments=len(bundle.rows),
        blocks=tally.blocks, bytes_read=tally.bytes_read, bytes_not_read=tally.bytes_not_read,
        unreadable=tally.unreadable, damaged=tally.damaged, misplaced=tally.misplaced, altered=tally.altered,
        findings=tuple(tally.files), missing=tuple(sorted(tally.missing)), restorable=tuple(sorted(tally.restorable)),
        absent=elsewhere(bundle), ignored=(*_ignored(bundle), *tally.moved),
        statement_hash=bundle.statement_hash,
        seconds=time.monotonic() - began, stages=stages.seconds())


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
            number = ours.get((path, name), volumes.segment_number(name))
            if number is None and name not in volumes.FIXED_NAMES and (path, name) not in statements:
                whose = "left by the operating system" if volumes.is_litter(name) else "no file of this bundle"
                lines.append(f"{name}: {whose}")
            elif number is not None and number >= bundle.statement.catalog.number and (
                    number > bundle.statement.catalog.number or (path, name) not in ours):
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
        errors.append(IncompleteError(f"{len(report.missing)} of {report.segments} segments need other volumes",
                                      where=where, hint=f"give these too: {'; '.join(report.absent)}", rule="D-3"))
    elif report.condition is Condition.REPAIRABLE:
        hint = "airbundle repair puts it right, bit for bit"
        if report.absent:
            hint = f"not here: {'; '.join(report.absent)}; if it is lost, airbundle repair -o DIR makes it anew"
        errors.append(RepairableError(_summary(report), where=where, hint=hint, rule="D-4"))
    if report.bytes_not_read:
        errors.append(UncheckedError(f"{report.bytes_not_read:,} bytes were NOT verified", where=where,
                                     hint="leave out --fast to read everything"))
    if errors:
        first = min(errors, key=lambda error: PRECEDENCE.index(error.exit_status))
        first.report = report
        raise first


def elsewhere(bundle: Bundle) -> tuple[str, ...]:
    """Volumes, and copies that were laid out anew, that are not here and hold something."""
    return describe_volumes(bundle, volumes_absent(bundle)) + describe_copies(copies_absent(bundle))


def describe_copies(copies: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """Copies that were laid out anew, by number and count."""
    return tuple(f"copy {number} of {count}" for number, count in copies)


def describe_volumes(bundle: Bundle, numbers: Iterable[int]) -> tuple[str, ...]:
    """Volumes as a person looks for them: number, file-system label and size, and serial where it was recorded."""
    found = []
    for number in sorted(numbers):
        if number <= len(bundle.statement.volumes):
            volume = bundle.statement.volumes[number - 1]
            label = f", '{shown(volume.name)}'" if volume.name else ""
            serial = f", serial {shown(volume.serial)}" if volume.serial else ""
            size = f", {volume.size / 1e9:.0f} GB" if volume.size else ""
            found.append(f"volume {number} of {len(bundle.statement.volumes)}{label}{size}{serial}")
    return tuple(found)


def _summary(report: Report) -> str:
    blocks = [f"{count} {noun}" for count, noun in (
        (report.unreadable, "unreadable"), (report.damaged, "damaged"), (report.misplaced, "misplaced"),
        (report.altered, "ALTERED")) if count]
    parts = []
    if blocks:
        parts.append(f"blocks: {', '.join(blocks)}")
    elif report.findings:
        parts.append(_counted(len(report.findings), "finding"))
    if report.restorable:
        parts.append(f"{_counted(len(report.restorable), 'segment')} to be had from the others of its group")
    if report.missing:
        parts.append(f"{_counted(len(report.missing), 'segment')} beyond what its group gives back")
    worse = report.condition is Condition.DAMAGED
    parts.append("beyond repair" if worse else "can be repaired from what is here")
    return "; ".join(parts)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
