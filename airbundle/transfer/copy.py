"""Copy volumes onto other media, verified and read back; and rebuild volumes that are sick or lost.

As many targets as volumes: each volume to a target of its own. Otherwise the segments are laid out anew, members of a
group on different targets as far as there are enough, each where most room is left.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.errors import MediumError, UsageError
from airbundle.media import volume as volumes
from airbundle.media.drive import free_space
from airbundle.transfer.drives import begun
from airbundle.transfer.laying import Laid, Place, lay_down, volume_rows
from airbundle.transfer.open import Bundle, open_bundle, require_preamble
from airbundle.transfer.plan import margin, shared
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.verdict import Tally
from airbundle.transfer.verify import check_segments
from airbundle.transfer.whose import volumes_absent, volumes_of
from airbundle.transfer.workspace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.trust import TrustSet
    from airbundle.format.catalog import Row
    from airbundle.media.volume import VolumeReader


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What was written where; `warnings` where the copies promise less than the bundle does."""

    bundle: str
    volumes: tuple[Laid, ...]
    warnings: tuple[str, ...]
    seconds: float


def copy(readers: tuple[VolumeReader, ...], targets: Sequence[str], *, trust: TrustSet, pace: Pace | None = None,
         progress: Callable[[Tick], None] | None = None) -> CopyResult:
    """Copy what the given volumes hold onto `targets`. Raises AirbundleError; what was finished stays."""
    began = time.monotonic()
    bundle = _believed(readers, trust)
    _require_targets(bundle, targets)
    rows = tuple(row for row in bundle.rows if bundle.segments.get(row.number))
    numbers = sorted({row.volume for row in rows})
    places = (_one_to_one(bundle, targets, volume_rows(bundle, numbers)) if len(numbers) == len(targets)
              else _anew(bundle, targets, rows))
    laid = _lay_all(bundle, places, targets, pace or Pace(), Meter(progress))
    warnings = (*shared(targets, bundle.statement.lose), *_uncovered(bundle, places))
    return CopyResult(bundle.statement.bundle, laid, warnings, time.monotonic() - began)


def rebuild(readers: tuple[VolumeReader, ...], target: str, *, trust: TrustSet, pace: Pace | None = None,
            progress: Callable[[Tick], None] | None = None, sidecar: VolumeReader | None = None) -> CopyResult:
    """Write whole copies of the volumes that are damaged or not here into the folder `target` (`repair -o`)."""
    began = time.monotonic()
    bundle = _believed(readers, trust, sidecar)
    _require_targets(bundle, [target])
    meter = Meter(progress)
    tally = Tally([], [], [])
    check_segments(bundle, tally, None, fast=False, pace=pace or Pace(), meter=meter)
    by_number = {row.number: row.volume for row in bundle.rows}
    sick = {by_number[number] for number in tally.restorable + tally.missing}
    sick |= {by_number[finding.segment] for finding in tally.files if finding.segment in by_number}
    sick |= frozenset().union(*(volumes_of(bundle, finding.volume) for finding in tally.files))
    numbers = sorted(sick | volumes_absent(bundle))
    if not numbers:
        raise UsageError("all volumes are here and whole", where=readers[0].path,
                         hint="airbundle copy makes another copy of them")
    places = [Place(target, _name(bundle, number), number, rows)
              for number, rows in volume_rows(bundle, numbers).items()]
    laid = _lay_all(bundle, places, [target], pace or Pace(), meter)
    return CopyResult(bundle.statement.bundle, laid, (), time.monotonic() - began)


def _require_targets(bundle: Bundle, targets: Sequence[str]) -> None:
    given = {os.path.realpath(os.path.dirname(reader.path)) for reader in bundle.volumes}
    for target in targets:
        if not os.path.isdir(target):
            raise UsageError("is not a folder", where=target, hint="mount the drive, or make the folder")
        if os.path.realpath(target) in given:
            raise UsageError("holds a volume that is to be copied", where=target, hint="give another folder")


def _believed(readers: tuple[VolumeReader, ...], trust: TrustSet, sidecar: VolumeReader | None = None) -> Bundle:
    bundle = open_bundle(readers, trust, sidecar=sidecar)
    if bundle.distrust is not None:
        raise bundle.distrust
    require_preamble(bundle)
    return bundle


def _name(bundle: Bundle, number: int) -> str:
    return volumes.volume_name(bundle.statement.label, bundle.id, number, len(bundle.statement.volumes))


def _one_to_one(bundle: Bundle, targets: Sequence[str], rows: dict[int, tuple[Row, ...]]) -> list[Place]:
    """Each volume to a target of its own; one that was begun there goes on there."""
    begun_there = {begun(target, bundle.statement.label, bundle.id)[0]: target for target in targets}
    free = [target for target in targets if target not in [begun_there.get(number) for number in rows]]
    return [Place(begun_there.get(number) or free.pop(0), _name(bundle, number), number, rows[number])
            for number in sorted(rows)]


def _anew(bundle: Bundle, targets: Sequence[str], rows: Sequence[Row]) -> list[Place]:
    """The segments of each group on different targets as far as there are enough; what lies there stays."""
    held: dict[str, list[Row]] = {target: [] for target in targets}
    there = {target: _held(bundle, target) for target in targets}
    room = {target: free_space(target) + volumes.bytes_in(begun(target, bundle.statement.label, bundle.id)[1])
            for target in targets}
    used: Counter[tuple[int, str]] = Counter()
    for row in sorted(rows, key=lambda row: (row.group, row.position)):
        before = [target for target in targets if row.number in there[target]]
        target = before[0] if before else min(targets, key=lambda one: (used[row.group, one], -room[one]))
        used[row.group, target] += 1
        room[target] -= _size(bundle, row)
        held[target].append(row)
    return [Place(target, volumes.relaid_name(bundle.statement.label, bundle.id, number, len(targets)), number,
                  tuple(sorted(part, key=lambda row: row.number)))
            for number, (target, part) in enumerate(held.items(), 1)]


def _held(bundle: Bundle, target: str) -> set[int]:
    """Segments whose files a copy that was stopped has left on a target."""
    _, path = begun(target, bundle.statement.label, bundle.id)
    names = os.listdir(path) if path else []
    return {number for name in names if (number := volumes.segment_number(name)) is not None}


def _size(bundle: Bundle, row: Row) -> int:
    return bundle.expected(row).place.stored_size


def _lay_all(bundle: Bundle, places: Sequence[Place], targets: Sequence[str], pace: Pace,
             meter: Meter) -> tuple[Laid, ...]:
    catalogs = 2 * bundle.expected(bundle.statement.catalog).place.stored_size
    for target in targets:
        needed = sum(_size(bundle, row) + catalogs // max(1, len(place.rows)) for place in places
                     if place.target == target for row in place.rows)
        taken = volumes.bytes_in(begun(target, bundle.statement.label, bundle.id)[1])
        free = free_space(target) + taken
        if needed + margin(free, needed) > free:
            raise MediumError(f"{needed:,} bytes are needed and {free:,} are free", where=target,
                              hint="free more, or take a larger drive")
    meter.begin("copying", sum(_size(bundle, row) for place in places for row in place.rows))
    return tuple(lay_down(bundle, place, pace=pace, meter=meter) for place in places)


def _uncovered(bundle: Bundle, places: Sequence[Place]) -> tuple[str, ...]:
    """What the loss of `lose` of the targets would take that the groups do not give back."""
    lose = bundle.statement.lose
    where = {row.number: place.number for place in places for row in place.rows}
    for group in bundle.groups if lose and len(where) == len(bundle.rows) else ():
        counts = sorted(Counter(where[row.number] for row in group.members).values(), reverse=True)
        if sum(counts[:lose]) > len(group.parity):
            return (f"the copies do not cover --lose {lose}: members of one group lie on one target",)
    return ()
