"""Which volume a folder is, and so which volumes are here, which are not, and where a segment should lie.

A volume carries its number in the name of its folder and in the rows of the segments that lie there. Both are
advice (V-2, G-3): they say what the verdict is about and what to ask for, never what is whole.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from airbundle.format.names import shown
from airbundle.media import volume as volumes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.format.catalog import Row
    from airbundle.format.geometry import Geometry
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.open import Bundle


def volumes_of(bundle: Bundle, path: str) -> frozenset[int]:
    """Numbers of the volumes that the folder at `path` stands for (D-6); none if nothing tells.

    The number in its name, if a segment of that volume or no segment at all lies there; else the volume of most of its
    segments. Beside that each volume all of whose segments were put there. A copy that was laid out anew stands for
    whatever it has something of.
    """
    if path not in bundle.stands_for:
        bundle.stands_for[path] = _told(bundle, path)
    return bundle.stands_for[path]


def _told(bundle: Bundle, path: str) -> frozenset[int]:
    count = len(bundle.statement.volumes)
    here = {geometry.number for _, geometry in bundle.held.get(path, ()) if _is_of_table(bundle, geometry)}
    found = Counter(bundle.rows[number].volume for number in here)
    if is_relaid(path):
        return frozenset(found)
    if count == 1:
        return frozenset({1})
    number = volumes.volume_number(path, count)
    if found and number not in found:
        number = max(found, key=lambda one: (found[one], -one))
    planned = Counter(row.volume for row in bundle.rows)
    return frozenset({number} - {0}) | frozenset(one for one in found if found[one] == planned[one])


def _is_of_table(bundle: Bundle, geometry: Geometry) -> bool:
    """Whether it is that of a segment of the bundle, and not of another attempt to write one (B-5)."""
    return geometry.number < len(bundle.rows) and geometry == bundle.expected(bundle.rows[geometry.number]).geometry


def is_relaid(path: str) -> bool:
    """Whether a folder is, by its name, a copy whose segments are laid out otherwise than the statement says."""
    return any(volumes.relaid_number(path))


def volumes_here(bundle: Bundle) -> frozenset[int]:
    """Numbers of the volumes that were given, or of which a re-laid copy has something."""
    return frozenset().union(*(volumes_of(bundle, reader.path) for reader in bundle.volumes))


def all_given(bundle: Bundle) -> bool:
    """Whether all volumes are here as far as the names of their folders tell, since no table does (D-6).

    A folder whose name says no number may be any of those that are left.
    """
    if copies_here(bundle):
        return not copies_absent(bundle)
    count = len(bundle.statement.volumes)
    numbers = [volumes.volume_number(reader.path, count) for reader in bundle.volumes]
    return len(set(numbers) - {0}) + numbers.count(0) >= count


def volumes_absent(bundle: Bundle) -> frozenset[int]:
    """Numbers of volumes that hold segments and are not here."""
    return frozenset(row.volume for row in bundle.rows) - volumes_here(bundle)


def volumes_not_seen(bundle: Bundle) -> tuple[int, ...]:
    """Numbers of volumes of which nothing was given, whether they hold segments or not."""
    here = volumes_here(bundle)
    return tuple(row.number for row in bundle.statement.volumes if row.number not in here)


def copies_here(bundle: Bundle) -> frozenset[tuple[int, int]]:
    """Number and count of the re-laid copies that were given, by their names."""
    return frozenset(volumes.relaid_number(reader.path) for reader in bundle.volumes if is_relaid(reader.path))


def copies_absent(bundle: Bundle) -> tuple[tuple[int, int], ...]:
    """Number and count of the re-laid copies that belong to those that were given."""
    here = copies_here(bundle)
    return tuple((number, count) for count in sorted({count for _, count in here})
                 for number in range(1, count + 1) if (number, count) not in here)


def homes_of(bundle: Bundle, row: Row) -> list[VolumeReader]:
    """The volumes given on which a segment should lie; a re-laid copy is nobody's home."""
    return [reader for reader in bundle.volumes
            if not is_relaid(reader.path) and row.volume in volumes_of(bundle, reader.path)]


def homes_without(bundle: Bundle, row: Row, whole: Iterable[VolumeReader]) -> list[VolumeReader]:
    """Homes of a segment that lack it, where `whole` are the volumes that give it.

    It is valid wherever it lies (G-3), so one that lies elsewhere is not missing at its home. But where a drive and a
    copy of it were given, each is a home, and what one of them has does not stand in for what the other lacks.
    """
    homes, having = homes_of(bundle, row), list(whole)
    if any(reader not in homes for reader in having):
        return []
    return [reader for reader in homes if reader not in having]


def missing_here(bundle: Bundle, missing: Iterable[int]) -> list[int]:
    """Of the `missing` segments those that should lie on the volumes given. If one of those cannot be told: all."""
    told = [volumes_of(bundle, reader.path) for reader in bundle.volumes if not is_relaid(reader.path)]
    if len(told) < len(bundle.volumes) or not all(told) or not volumes_not_seen(bundle):
        return list(missing)
    here = frozenset().union(*told)
    return [number for number in missing if number >= len(bundle.rows) or bundle.rows[number].volume in here]


def misnamed(bundle: Bundle) -> tuple[str, ...]:
    """A warning for each folder whose name is that of another volume than its segments are of (G-3)."""
    found = []
    for reader in bundle.volumes:
        named = volumes.volume_number(reader.path, len(bundle.statement.volumes))
        held = volumes_of(bundle, reader.path)
        if named and held and named not in held:
            numbers = " and ".join(map(str, sorted(held)))
            found.append(f"{shown(reader.path)}: its name says volume {named}, it holds segments of volume {numbers}")
    return tuple(found)
