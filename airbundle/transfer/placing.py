"""Which segments a copy writes, and onto which target each: the volumes as they were given, or laid out anew.

What is copied is all that the given volumes should hold, whether its file is there or not, and whatever else they hold.
A copy that was laid out anew does not say what it should hold: that is what it holds, and with all copies of its layout
every segment of the volumes that it was made of.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airbundle.media import volume as volumes
from airbundle.transfer.laying import Place
from airbundle.transfer.whose import volumes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airbundle.format.catalog import Row
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.open import Bundle
    from airbundle.transfer.targets import Target


@dataclass(slots=True)
class Unit:
    """A volume, or a copy that was laid out anew: its name and number, and the numbers of its segments."""

    name: str
    number: int
    relaid: int = 0
    segments: set[int] = field(default_factory=set)


def given_units(bundle: Bundle) -> list[Unit]:
    """What was given, each once; under the name '' what holds segments of several volumes and does not say why."""
    units: dict[str, Unit] = {}
    for reader in bundle.volumes:
        held = held_by(bundle, reader)
        unit = _unit(bundle, reader)
        units.setdefault(unit.name, unit).segments.update(held)
    found = sorted(units.values(), key=lambda unit: (unit.relaid, unit.number))
    own = {unit.name: {row.number for row in bundle.rows if row.volume == unit.number}
           if unit.name and not unit.relaid else unit.segments for unit in found}
    for unit in found:  # what strayed here and is nobody's else
        others = set().union(*(own[other.name] for other in found if other is not unit))
        unit.segments = own[unit.name] | (unit.segments - others)
    _complete(bundle, found)
    return found


def held_by(bundle: Bundle, reader: VolumeReader) -> set[int]:
    """The segments of which a volume has files."""
    return {row.number for row in bundle.rows
            if any(other is reader for other, _ in bundle.segments.get(row.number, ()))}


def _unit(bundle: Bundle, reader: VolumeReader) -> Unit:
    """By the name where it says that it was laid out anew, else by the one volume that it stands for (G-3)."""
    label, count = bundle.statement.label, len(bundle.statement.volumes)
    number, relaid = volumes.relaid_number(reader.path)
    if number:
        return Unit(volumes.relaid_name(label, bundle.id, number, relaid), number, relaid)
    stands_for, by_name = volumes_of(bundle, reader.path), volumes.volume_number(reader.path, count)
    number = by_name if by_name in stands_for else min(stands_for) if len(stands_for) == 1 else 0
    return Unit(volumes.volume_name(label, bundle.id, number, count) if number else "", number)


def _complete(bundle: Bundle, units: Sequence[Unit]) -> None:
    """Where all copies of a layout are here, they should hold all segments of their volumes: share out the rest."""
    layouts: defaultdict[int, list[Unit]] = defaultdict(list)
    for unit in units:
        layouts[unit.relaid].append(unit)
    for count, copies in layouts.items():
        if not count or {copy.number for copy in copies} != set(range(1, count + 1)):
            continue
        held = set().union(*(copy.segments for copy in copies))
        of = {bundle.rows[number].volume for number in held}
        for row in bundle.rows:
            if row.volume in of and row.number not in held:
                group = {member.number for member in bundle.groups[row.group].members}
                least = min(copies, key=lambda copy: (len(copy.segments & group), len(copy.segments)))
                least.segments.add(row.number)


def place_as_given(bundle: Bundle, units: Sequence[Unit], targets: Sequence[Target]) -> list[Place]:
    """Each unit to a target of its own; one that was begun there goes on there, and a finished one stays.

    Raises UsageError for a target with a finished volume that is none of these.
    """
    left, free = list(units), [target for target in targets if not target.finished]
    chosen: list[tuple[Unit, Target]] = []
    for target in targets:
        if target.finished:
            unit = next((unit for unit in left if unit.name == target.name and target.held <= unit.segments), None)
            if unit is None:
                raise target.refused()
            left.remove(unit)
            chosen.append((unit, target))
    for unit in left:
        best = max(free, key=lambda target: (len(target.held & unit.segments), target.name == unit.name))
        free.remove(best)
        chosen.append((unit, best))
    chosen.sort(key=lambda pair: units.index(pair[0]))
    return [_place(bundle, target, unit.name, unit.number, unit.segments) for unit, target in chosen]


def place_anew(bundle: Bundle, rows: Sequence[Row], targets: Sequence[Target]) -> list[Place]:
    """The segments of each group on different targets as far as there are enough; what lies there stays where it can.

    Raises UsageError for a target with a finished volume that is no part of such a layout.
    """
    numbers = _numbers(targets)
    wanted = {row.number for row in rows}
    share = {group: -(-count // len(targets)) for group, count in Counter(row.group for row in rows).items()}
    parts: dict[str, list[Row]] = {target.path: [] for target in targets}
    room = {target.path: target.room for target in targets}
    used: Counter[tuple[int, str]] = Counter()
    taken: set[int] = set()

    def put(row: Row, target: Target) -> None:
        taken.add(row.number)
        parts[target.path].append(row)
        used[row.group, target.path] += 1
        room[target.path] -= bundle.expected(row).place.stored_size

    for target in sorted(targets, key=lambda target: not target.finished):
        if target.finished and (target.held & taken or target.held - wanted):
            raise target.refused()
        for number in sorted(target.held & wanted - taken):
            row = bundle.rows[number]
            if target.finished or used[row.group, target.path] < share[row.group]:
                put(row, target)
    open_targets = [target for target in targets if not target.finished] or list(targets)
    for row in sorted(rows, key=lambda row: (row.group, row.position)):
        if row.number not in taken:
            put(row, min(open_targets, key=lambda one: (used[row.group, one.path], -room[one.path])))
    return [_place(bundle, target, volumes.relaid_name(bundle.statement.label, bundle.id, number, len(targets)),
                   number, {row.number for row in parts[target.path]})
            for number, target in sorted(numbers.items())]


def _numbers(targets: Sequence[Target]) -> dict[int, Target]:
    """The number of each target; one that holds a copy of as many has its number, if it can."""
    numbers: dict[int, Target] = {}
    fresh = []
    for target in sorted(targets, key=lambda target: not target.finished):
        number, count = volumes.relaid_number(target.folder)
        fits = count == len(targets) and 1 <= number <= count and number not in numbers
        if fits:
            numbers[number] = target
        elif target.finished:
            raise target.refused()
        else:
            fresh.append(target)
    free = [number for number in range(1, len(targets) + 1) if number not in numbers]
    fresh.sort(key=targets.index)
    return numbers | dict(zip(free, fresh, strict=True))


def _place(bundle: Bundle, target: Target, name: str, number: int, segments: Collection[int]) -> Place:
    rows = tuple(bundle.rows[each] for each in sorted(segments))
    return Place(target.path, name, number, rows, target.folder, target.finished)
