"""Which volumes of a bundle were given, and which were not seen.

A volume carries its number in its name and in the rows of the segments that it should hold. Both are advice (V-2, G-3):
they only say what the verdict is about, never what is whole.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

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
    if None in numbers:
        return list(missing)
    return [number for number in missing
            if number >= len(bundle.rows) or bundle.rows[number].volume in numbers]


def _numbers(bundle: Bundle) -> set[int | None]:
    """The number of each volume given: of its name, else of most of its segments; None where neither tells."""
    if len(bundle.statement.volumes) == 1:
        return {1}
    by_name = {reader.path: volumes.volume_number(reader.path, len(bundle.statement.volumes))
               for reader in bundle.volumes}
    counts: dict[str, Counter[int]] = {reader.path: Counter() for reader in bundle.volumes}
    for row in bundle.rows:
        for reader, _ in bundle.segments.get(row.number, []):
            counts[reader.path][row.volume] += 1
    return {by_name[path] or (count.most_common(1)[0][0] if count else None) for path, count in counts.items()}
