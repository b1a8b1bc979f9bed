"""When a drive may be unplugged: when everything that was written there is on it, and the system has no error to tell.

`syncfs` gives both: it waits for the file system and then the drive's own cache, and tells of a write that failed since
the last time somebody asked. After that, taking the drive away loses nothing, mounted or not; what was written was read
back before by whoever wrote it. A file system that is still mounted is only marked as not properly taken off, which
the next computer may say. Nothing of airbundle is open there when a verb is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.media import system
from airbundle.media.drive import device_serial, filesystem_label, in_brackets, physical_device
from airbundle.media.faults import reporting

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class SettledDrive:
    """A drive that may be unplugged: what of ours lies on it, and its label and serial number as far as known."""

    paths: tuple[str, ...]
    label: str
    serial: str

    def __str__(self) -> str:
        """The paths, and how a person knows the drive."""
        return " and ".join(self.paths) + in_brackets(self.label, self.serial)


def settle_drives(paths: Iterable[str]) -> tuple[SettledDrive, ...]:
    """Wait until all is on the media, drive by drive. Raises MediumError: then something was lost, or is not known."""
    drives: dict[str, list[str]] = {}
    for path in dict.fromkeys(paths):
        drives.setdefault(physical_device(path), []).append(path)
        with reporting(path):
            system.sync_tree(path)
    return tuple(SettledDrive(tuple(some), filesystem_label(some[0]), device_serial(some[0]))
                 for some in drives.values())
