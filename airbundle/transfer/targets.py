"""What lies on the targets of a copy already: of each its room, and the volume of the same bundle that is there.

A folder with a statement of the bundle is finished, and nothing is ever removed from it. One without, under a name that
volumes of this bundle get, was begun: a copy goes on in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.errors import DamagedError, UsageError
from airbundle.format.names import shown
from airbundle.format.statement import parse_statement
from airbundle.media import volume as volumes
from airbundle.media.drive import require_writable
from airbundle.transfer.drives import require_different
from airbundle.transfer.plan import Room
from airbundle.transfer.statements import read_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.transfer.open import Bundle


@dataclass(frozen=True, slots=True)
class Target:
    """The folder of a drive, and the bytes that it has for a volume.

    `folder` is the volume that is there, nothing if there is none, and `held` are the segments that it has files of.
    """

    path: str
    room: int
    folder: str = ""
    finished: bool = False
    held: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """The name of the volume that is there."""
        return os.path.basename(self.folder)

    def refused(self) -> UsageError:
        """What to say of a finished volume that is not the one to be copied there."""
        return UsageError(f"holds a volume of this bundle already: {shown(self.name)}", where=self.path,
                          hint="give another folder; or remove that volume, if another copy of it is whole")


def require_targets(bundle: Bundle, targets: Sequence[str]) -> None:
    """Raise UsageError for a target that is none, twice the same, or with a volume that is read; MediumError."""
    require_different(targets)
    given = {os.path.realpath(os.path.dirname(reader.path)) for reader in bundle.volumes}
    for target in targets:
        if not os.path.isdir(target):
            raise UsageError("is not a folder", where=target, hint="mount the drive, or make the folder")
        if os.path.realpath(target) in given:
            raise UsageError("holds a volume that is to be copied", where=target, hint="give another folder")
        require_writable(target)


def look_at(bundle: Bundle, targets: Sequence[str]) -> tuple[Target, ...]:
    """The targets with what they hold. Raises UsageError where that is more than one volume, or another revision."""
    return tuple(_look_at(bundle, path, targets) for path in targets)


def _look_at(bundle: Bundle, path: str, targets: Sequence[str]) -> Target:
    finished, begun = [], []
    pattern = volumes.name_pattern(bundle.statement.label, bundle.id)
    for folder in volumes.find_volumes(path):
        if is_finished(bundle, folder):
            finished.append(folder)
        elif pattern.fullmatch(os.path.basename(folder)) and os.path.dirname(folder) == path.rstrip("/"):
            begun.append(folder)
    found = finished + begun
    if len(found) > 1:
        names = " and ".join(shown(os.path.basename(folder)) for folder in found)
        raise UsageError(f"holds several volumes of this bundle: {names}", where=path,
                         hint="give another folder, or remove what is not needed there")
    if not found:
        return Target(path, Room.of(path, targets).free)
    return Target(path, Room.of(path, targets, volumes.bytes_in(found[0])).free, found[0], bool(finished),
                  segments_in(found[0]))


def is_finished(bundle: Bundle, folder: str) -> bool:
    """Whether a folder holds a statement of this bundle. Raises UsageError for another one than `bundle` has."""
    payloads = set()
    with suppress(FileNotFoundError, DamagedError), volumes.VolumeReader(folder) as reader:
        for copy in read_statements(reader):
            with suppress(DamagedError):
                if copy.envelope and parse_statement(copy.envelope.payload).bundle == bundle.statement.bundle:
                    payloads.add(copy.envelope.payload)
    if payloads - {bundle.statement_raw}:
        raise UsageError("is a volume of another revision of this bundle", where=folder, rule="T-7",
                         hint="give another folder; airbundle repair with all volumes brings them to one revision")
    return bool(payloads)


def segments_in(folder: str) -> frozenset[int]:
    """The segments that a folder has files of, by their names."""
    with volumes.VolumeReader(folder) as reader:
        numbers = map(volumes.segment_number, reader.listing().files)
        return frozenset(number for number in numbers if number is not None)
