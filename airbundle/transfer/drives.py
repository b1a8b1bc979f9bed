"""The volumes of one bundle while they are written: one on each target, numbered from 1.

Which target has which number is found out again when a pack goes on: a folder of the bundle keeps its number, a new
target takes a free one. So a lost drive is replaced by giving another one in its place.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from airbundle.errors import UsageError
from airbundle.format import limits
from airbundle.format.statement import VolumeRow
from airbundle.media import volume as volumes
from airbundle.media.drive import device_serial, filesystem_label, total_space
from airbundle.media.faults import reporting
from airbundle.media.writing import VolumeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airbundle.stages import Stages


def in_order(targets: Sequence[str], label: str, bundle_id: bytes | None) -> tuple[str, ...]:
    """The targets by volume number: where a volume of the bundle was begun, it keeps its number."""
    require_different(targets)
    places: list[str | None] = [None] * len(targets)
    fresh = []
    for target in targets:
        number, _ = begun(target, label, bundle_id) if bundle_id else (0, "")
        if 1 <= number <= len(places) and places[number - 1] is None:
            places[number - 1] = target
        else:
            fresh.append(target)
    return tuple(place if place is not None else fresh.pop(0) for place in places)


def require_different(targets: Sequence[str]) -> None:
    """Raise UsageError where a target is given twice, or there are more than a bundle may have."""
    if len({os.path.realpath(target) for target in targets}) != len(targets):
        raise UsageError("the same -o twice", where=", ".join(targets), hint="give each drive once")
    if not 1 <= len(targets) <= limits.VOLUMES_MAX:
        raise UsageError(f"{len(targets)} drives", hint=f"give 1 to {limits.VOLUMES_MAX}", rule="T-5")


def begun(target: str, label: str, bundle_id: bytes) -> tuple[int, str]:
    """The number and path of the volume that a pack of this bundle has begun on a target; 0 and nothing without.

    By its name; copies that were laid out anew have others (`targets.py`).
    """
    pattern = volumes.name_pattern(label, bundle_id)
    if os.path.isdir(target):
        with reporting(target):
            names = sorted(os.listdir(target))
        for name in names:
            match = pattern.fullmatch(name)
            if match and not match["copy"]:
                return int(match["number"]), os.path.join(target, name)
    return 0, ""


class Drives:
    """One `VolumeWriter` for each target, by number from 1. Use as a context."""

    def __init__(self, targets: Sequence[str], label: str, bundle_id: bytes, tell: Callable[[str], None],
                 stages: Stages) -> None:
        """Make the folders, or go on in those that were begun. Raises UsageError (V-5), MediumError.

        `tell` hears at once what somebody should know of a drive, `stages` where the time went.
        """
        self.targets = tuple(targets)
        self._writers: list[VolumeWriter] = []
        with ExitStack() as stack:
            for number, target in enumerate(targets, 1):
                path = os.path.join(target, volumes.volume_name(label, bundle_id, number, len(targets)))
                _, old = begun(target, label, bundle_id)
                if old and old != path:
                    with reporting(old):
                        os.rename(old, path)
                self._writers.append(stack.enter_context(VolumeWriter(path, bundle_id=bundle_id, tell=tell,
                                                                       stages=stages)))
            self._stack = stack.pop_all()

    def __getitem__(self, number: int) -> VolumeWriter:
        return self._writers[number - 1]

    def __iter__(self) -> Iterator[VolumeWriter]:
        return iter(self._writers)

    def __len__(self) -> int:
        return len(self._writers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rows(self, *, serials: bool) -> tuple[VolumeRow, ...]:
        """What the statement says of the media."""
        return tuple(VolumeRow(number, filesystem_label(target), total_space(target),
                               (device_serial(target) or None) if serials else None)
                     for number, target in enumerate(self.targets, 1))
