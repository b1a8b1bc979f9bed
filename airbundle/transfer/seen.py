"""Which volumes of a bundle were given, and which were not seen.

A volume carries its number nowhere but in the rows of the segments that it should hold, so what lies on it says which
one it is. That is advice like the rows (G-3): it only says what the verdict is about, never what is whole.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.format.statement import VolumeRow
    from airbundle.transfer.open import Bundle


def volumes_not_seen(bundle: Bundle) -> tuple[VolumeRow, ...]:
    """The rows of the statement for volumes of which nothing was given."""
    numbers = _numbers(bundle)
    return tuple(row for row in bundle.statement.volumes if row.number not in numbers)


def missing_here(bundle: Bundle, missing: Iterable[int]) -> list[int]:
    """Of the `missing` segments those that should lie on the volumes given. If one of those cannot be told: all."""
    numbers = _numbers(bundle)
    if None in numbers:
        return list(missing)
    return [number for number in missing
            if number >= len(bundle.rows) or bundle.rows[number].volume in numbers]


def describe_volume(row: VolumeRow, count: int) -> str:
    """`volume 2 of 3, 'LOWSIDE-B', 512,000,000,000 bytes`."""
    name = f", '{row.name}'" if row.name else ""
    return f"volume {row.number} of {count}{name}, {row.size:,} bytes"


def _numbers(bundle: Bundle) -> set[int | None]:
    """The number of each volume given: the one that most of its segments have; None for one that holds no segment."""
    if len(bundle.statement.volumes) == 1:
        return {1}
    counts: dict[str, Counter[int]] = {reader.path: Counter() for reader in bundle.volumes}
    for row in bundle.rows:
        for reader, _ in bundle.segments.get(row.number, []):
            counts[reader.path][row.volume] += 1
    return {count.most_common(1)[0][0] if count else None for count in counts.values()}
