"""Copy volumes onto other media, verified and read back; and rebuild volumes that are sick or lost.

As many targets as volumes: each volume to a target of its own. Otherwise the segments are laid out anew, members of a
group on different targets as far as there are enough, each where most room is left (`placing.py`). The same command
goes on with what it has begun (`targets.py`), and so does one with other targets or in another order.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.errors import MediumError, UsageError
from airbundle.media import volume as volumes
from airbundle.transfer.laying import Laid, Place, lay_down
from airbundle.transfer.open import Bundle, open_bundle, require_preamble
from airbundle.transfer.placing import given_units, place_anew, place_as_given
from airbundle.transfer.plan import SIDE_FILES, Room, margin, shared
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.targets import is_finished, look_at, require_targets
from airbundle.transfer.verdict import Tally, describe_volumes, elsewhere
from airbundle.transfer.verify import check_catalogs, check_segments, check_statements
from airbundle.transfer.whose import misnamed, volumes_absent, volumes_of
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
    require_targets(bundle, targets)
    units = given_units(bundle)
    there = look_at(bundle, targets)
    if len(units) == len(targets) and all(unit.name for unit in units):
        places = place_as_given(bundle, units, there)
    else:
        wanted = set().union(*(unit.segments for unit in units))
        places = place_anew(bundle, [row for row in bundle.rows if row.number in wanted], there)
    meter = Meter(progress)
    laid = _lay_all(bundle, places, targets, pace or Pace(), meter)
    warnings = (*shared(targets, bundle.statement.lose), *_warnings(bundle, places), *meter.warnings)
    return CopyResult(bundle.statement.bundle, laid, warnings, time.monotonic() - began)


def rebuild(readers: tuple[VolumeReader, ...], target: str, *, trust: TrustSet, pace: Pace | None = None,
            progress: Callable[[Tick], None] | None = None, sidecar: VolumeReader | None = None) -> CopyResult:
    """Write whole copies of the volumes that are damaged or not here into the folder `target` (`repair -o`)."""
    began = time.monotonic()
    bundle = _believed(readers, trust, sidecar)
    require_targets(bundle, [target])
    meter = Meter(progress)
    tally = Tally([], [], [])
    check_statements(bundle, tally)
    check_catalogs(bundle, tally)
    check_segments(bundle, tally, None, fast=False, pace=pace or Pace(), meter=meter)
    by_number = {row.number: row.volume for row in bundle.rows}
    sick = {by_number[number] for number in tally.restorable + tally.missing}
    sick |= {by_number[finding.segment] for finding in tally.files if finding.segment in by_number}
    sick |= frozenset().union(*(volumes_of(bundle, finding.volume) for finding in tally.files))
    numbers = sorted(sick | volumes_absent(bundle))
    if not numbers:
        raise UsageError("all volumes are here and whole", where=readers[0].path,
                         hint="airbundle copy makes another copy of them")
    places = [_rebuilt(bundle, target, number) for number in numbers]
    laid = _lay_all(bundle, places, [target], pace or Pace(), meter)
    return CopyResult(bundle.statement.bundle, laid, (*misnamed(bundle), *meter.warnings), time.monotonic() - began)


def _believed(readers: tuple[VolumeReader, ...], trust: TrustSet, sidecar: VolumeReader | None = None) -> Bundle:
    bundle = open_bundle(readers, trust, sidecar=sidecar)
    if bundle.distrust is not None:
        raise bundle.distrust
    require_preamble(bundle)
    return bundle


def _rebuilt(bundle: Bundle, target: str, number: int) -> Place:
    """A volume made anew on the target; one that was begun or finished there under its name goes on."""
    name = volumes.volume_name(bundle.statement.label, bundle.id, number, len(bundle.statement.volumes))
    path = os.path.join(target, name)
    there = os.path.isdir(path)
    rows = tuple(row for row in bundle.rows if row.volume == number)
    return Place(target, name, number, rows, path if there else "", there and is_finished(bundle, path))


def _size(bundle: Bundle, row: Row) -> int:
    return bundle.expected(row).place.stored_size


def _lay_all(bundle: Bundle, places: Sequence[Place], targets: Sequence[str], pace: Pace,
             meter: Meter) -> tuple[Laid, ...]:
    catalogs = 2 * bundle.expected(bundle.statement.catalog).place.stored_size
    for target in targets:
        new = [place for place in places if place.target == target and not place.finished]
        needed = sum(SIDE_FILES + catalogs + sum(_size(bundle, row) for row in place.rows) for place in new)
        free = Room.of(target, targets, sum(volumes.bytes_in(place.found) for place in new)).free
        spare = margin(free, needed)
        if new and needed + spare > free:
            raise MediumError(f"{needed + spare:,} bytes are needed, {spare:,} of them to stay free, and {free:,} are "
                              "free", where=target, hint="free more, or take a larger drive")
    meter.begin("copying", sum(_size(bundle, row) for place in places for row in place.rows))
    return tuple(lay_down(bundle, place, pace=pace, meter=meter) for place in places)


def _warnings(bundle: Bundle, places: Sequence[Place]) -> tuple[str, ...]:
    """What is not copied since it is not here, what the loss of `lose` targets would take, and names that mislead."""
    lose = bundle.statement.lose
    where: Counter[tuple[int, int]] = Counter((row.group, at) for at, place in enumerate(places) for row in place.rows)
    copied = {row.number for place in places for row in place.rows}
    together = alone = True
    for group in bundle.groups if lose else ():
        counts = sorted((where[group.data[0].group, at] for at in range(len(places))), reverse=True)
        left = sum(row.number not in copied for row in group.members)
        together = together and sum(counts[:lose]) <= len(group.parity)
        alone = alone and left + sum(counts[:lose]) <= len(group.parity)
    found = []
    if left_out := [row for row in bundle.rows if row.number not in copied]:
        missing = elsewhere(bundle) or describe_volumes(bundle, {row.volume for row in left_out})
        found.append(f"not copied, since not here: {'; '.join(missing)}"
                     + ("" if alone else f"; without that the copies do not cover --lose {lose}"))
    if not together:
        found.append(f"the copies do not cover --lose {lose}: members of one group lie on one target")
    return (*found, *misnamed(bundle))
