"""Which volumes of a bundle were given, and which were not seen.

A volume carries its number in its name and in the rows of the segments that it should hold. Both are advice (V-2, G-3):
they only say what the verdict is about, never what is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airbundle.format.names import shown
from airbundle.media import volume as volumes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.transfer.open import Bundle


def volumes_not_seen(bundle: Bundle) -> tuple[int, ...]:
    """Numbers of volumes of which nothing was given."""
    return tuple(row.number for row in bundle.statement.volumes if row.number not in bundle.here)


def missing_here(bundle: Bundle, missing: Iterable[int]) -> list[int]:
    """Of the `missing` segments those that should lie on the volumes given. If one of those cannot be told: all."""
    numbers = _numbers(bundle)
    if None in numbers or not volumes_not_seen(bundle):
        return list(missing)
    return [number for number in missing
            if number >= len(bundle.rows) or bundle.rows[number].volume in numbers]


def _numbers(bundle: Bundle) -> set[int | None]:
    """The number of each volume given: of its segments, else of its name; None where they do not tell one."""
    count = len(bundle.statement.volumes)
    if count == 1:
        return {1}
    held: dict[str, set[int]] = {reader.path: set() for reader in bundle.volumes}
    for row in bundle.rows:
        for reader, _ in bundle.segments.get(row.number, []):
            held[reader.path].add(row.volume)
    numbers: set[int | None] = set()
    for path, some in held.items():
        by_name = volumes.volume_number(path, count)
        relaid = any(volumes.relaid_number(path)) or len(some) > 1
        numbers.add(None if relaid else min(some) if some else by_name or None)
    return numbers


def misnamed(bundle: Bundle) -> tuple[str, ...]:
    """A warning for each folder whose name is that of another volume than all of its segments are of (G-3)."""
    found = []
    for reader in bundle.volumes:
        named = volumes.volume_number(reader.path, len(bundle.statement.volumes))
        holds = {row.volume for row in bundle.rows
                 if any(other is reader for other, _ in bundle.segments.get(row.number, []))}
        if named and holds and named not in holds:
            numbers = " and ".join(map(str, sorted(holds)))
            found.append(f"{shown(reader.path)}: its name says volume {named}, it holds segments of volume {numbers}")
    return tuple(found)
