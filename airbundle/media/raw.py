"""Sources of a rescue: devices, images and folders of carved files, opened for reading only, read in large windows.

Nothing is believed of them, not even that they have a file system. A sector that cannot be read costs 4 KiB: the
region around it is read once more in steps of that size, past the page cache, and what is dead there is written down
as a hole. That is done by `system.read_blocks`; a drive that dies under the hands is first read by ddrescue, whose map
file then says where the holes are.
"""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from airbundle.errors import FormatError, MediumError, UsageError
from airbundle.format import limits
from airbundle.format.holes import Holes, parse_mapfile
from airbundle.format.names import shown
from airbundle.media import system
from airbundle.media.descriptors import Descriptors
from airbundle.media.drive import filesystem_type, lies_on, physical_device
from airbundle.media.faults import DAMAGE, medium_error, reporting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airbundle.format.block import Blocks

WINDOW: Final = 32 * limits.MIB
CARRY: Final = limits.BLOCK_MAX
"""What a window repeats of the one before it: no block that begins in a window is cut by its end."""
_OPEN_MAX: Final = 64
_MAP_SUFFIX: Final = ".map"
_SYS_BLOCK: Final = "/sys/dev/block"
_UNKNOWN_DISK: Final = "dev-"  # so `physical_device` begins where the kernel names no disk
_WITHOUT_DISK: Final = {"tmpfs", "ramfs", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs"}


@dataclass(slots=True)
class RawSource:
    """One device, image or carved file. `device` is its device number, or 0 of a file; `size` in bytes."""

    path: str
    size: int
    device: int
    holes: Holes = field(default_factory=Holes)


class RawWindow(NamedTuple):
    """Bytes of a source from `start`; blocks are looked for in the first `fresh` of them, and may end behind."""

    start: int
    content: Blocks
    fresh: int


class RawSources:
    """All sources, by number. Close them before the drive is pulled."""

    def __init__(self, given: Sequence[str]) -> None:
        """`given` are paths, or IMAGE:MAP. Raises UsageError, FormatError (a map file), MediumError."""
        self._all: list[RawSource] = []
        self._folders: list[str] = []
        self._files: list[str] = []
        for path in given:
            if os.path.isdir(path):
                self._folders.append(os.path.realpath(path))
                self._all += _carved(path)
            else:
                self._all.append(_one_source(path))
                self._files += _places(self._all[-1].path)
        if not self._all:
            raise UsageError("nothing to read here", where=", ".join(map(shown, given)),
                             hint="give a device, an image, IMAGE:MAP of ddrescue, or a folder of carved files")
        self._open: Descriptors[int] = Descriptors(self._open_one, _OPEN_MAX)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> RawSource:
        return self._all[number]

    def __iter__(self) -> Iterator[RawSource]:
        return iter(self._all)

    def take_in(self, folder: str) -> None:
        """One more folder, behind the others. Unlike what was given it may be written to: it is the target's own."""
        self._all += _carved(folder)

    def read(self, number: int, view: memoryview, offset: int, piece: int = system.ALIGNMENT) -> system.Reading:
        """Fill `view` from `offset`; dead pieces are zeros and listed. Raises MediumError when the device is gone."""
        source = self._all[number]
        with self._open.borrow(number) as fd, reporting(source.path):
            reading = system.read_blocks(fd, view, piece, offset=offset, where=source.path)
        if reading.unreadable and len(reading.unreadable) * piece >= len(view):
            _require_connected(source)
        return reading

    def windows(self, number: int) -> Iterator[RawWindow]:
        """The source from start to end, each window read while the one before it is looked at; holes are noted."""
        buffers = [np.frombuffer(system.huge_buffer(CARRY + WINDOW), np.uint8) for _ in range(2)]
        size, carried = self._all[number].size, 0
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read_window, number, buffers[0], 0)
            for start in range(0, size, WINDOW):
                got, buffer = ahead.result(), buffers[0]
                last = start + WINDOW >= size or got < WINDOW
                if not last:
                    ahead = reader.submit(self._read_window, number, buffers[1], start + WINDOW)
                end = CARRY + got
                yield RawWindow(start - carried, buffer[CARRY - carried:end], got + carried - (0 if last else CARRY))
                if last:
                    return
                ahead.result()
                buffers[1][:CARRY] = buffer[end - CARRY:end]
                carried = CARRY
                buffers.reverse()

    def _read_window(self, number: int, buffer: Blocks, start: int) -> int:
        source = self._all[number]
        length = min(WINDOW, source.size - start)
        reading = self.read(number, buffer[CARRY:CARRY + length].data, start)
        for piece in reading.unreadable:
            at = start + piece * system.ALIGNMENT
            source.holes.add(at, min(at + system.ALIGNMENT, source.size))
        return reading.length

    def require_target(self, target: str) -> None:
        """Raise UsageError if a new folder in `target` would be written to a source, or if nobody can tell."""
        real = os.path.realpath(target)
        for source in self._all:
            if source.device:
                _require_other_disk(real, source)
        if any(_holds(folder, real) for folder in self._folders):
            raise UsageError("lies in a folder that is to be rescued", where=shown(target),
                             hint="give a folder elsewhere")

    def require_apart(self, path: str) -> None:
        """Raise UsageError if writing files into the folder `path` could write to a source; it need not exist yet."""
        self.require_target(path)
        real = os.path.realpath(path)
        if any(_holds(real, place) for place in (*self._folders, *self._files)):
            raise UsageError("holds what is to be rescued", where=shown(path), hint="give a folder elsewhere")

    def close(self) -> None:
        """Close all of them."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_one(self, number: int) -> int:
        source = self._all[number]
        # A device is read past the page cache, which would read 1 MiB for each dead sector.
        fd = system.open_file(source.path, os.O_RDONLY | system.NONBLOCK, direct=bool(source.device))
        system.expect_sequential(fd)
        return fd


def _one_source(path: str) -> RawSource:
    """A device or an image, with what its map file says. Raises UsageError, FormatError, MediumError."""
    image, mapped = path, path + _MAP_SUFFIX
    if not os.path.lexists(path) and os.path.exists(path.rpartition(":")[0]):
        image, _, mapped = path.rpartition(":")
        if not os.path.isfile(mapped):
            raise UsageError("there is no such map file", where=shown(mapped), hint="give IMAGE:MAP")
    with reporting(image):
        found = os.stat(image)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISBLK(found.st_mode):
            raise UsageError("it is no device, no file and no folder", where=shown(image))
        size, device = found.st_size, 0
        if stat.S_ISBLK(found.st_mode):
            device = found.st_rdev
            fd = system.open_file(image, os.O_RDONLY | system.NONBLOCK)
            try:
                size = os.lseek(fd, 0, os.SEEK_END)
            finally:
                os.close(fd)
    return RawSource(image, size, device, _holes_of(mapped, size))


def _holes_of(path: str, size: int) -> Holes:
    if not os.path.isfile(path):
        return Holes()
    with reporting(path), open(path, "rb") as file:
        raw = file.read(limits.MAPFILE_MAX + 1)
    try:
        return parse_mapfile(raw, size)
    except FormatError as error:
        raise UsageError(error.what, where=shown(path),
                         hint="give the map file that ddrescue wrote, or move it away") from error


def _carved(path: str) -> list[RawSource]:
    """The regular files below a folder, in order of their paths; no link is followed (V-1).

    Raises MediumError for a folder that may not be read; of one that is damaged nothing is taken.
    """
    found: list[RawSource] = []
    entries = 0

    def refuse(error: OSError) -> None:
        if error.errno not in DAMAGE:
            raise medium_error(error, error.filename)

    for folder, inner, files in os.walk(path, onerror=refuse):
        inner.sort(key=os.fsencode)
        for name in sorted(files, key=os.fsencode):
            entries += 1
            if entries > limits.VOLUME_ENTRIES_MAX:
                raise FormatError(f"more than {limits.VOLUME_ENTRIES_MAX} files", where=shown(path), rule="L-6")
            with suppress(OSError):
                here = os.lstat(os.path.join(folder, name))
                if stat.S_ISREG(here.st_mode) and here.st_size >= limits.BLOCK_MIN:
                    found.append(RawSource(os.path.join(folder, name), here.st_size, 0))
    return found


def _holds(folder: str, path: str) -> bool:
    """Whether `path` is `folder` or lies in it; both are real paths."""
    return os.path.commonpath([folder, path]) == folder


def _places(path: str) -> tuple[str, str]:
    """Where the content of a file lies, and the name by which it was given."""
    return os.path.realpath(path), os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _require_other_disk(path: str, source: RawSource) -> None:
    """Raise UsageError unless `path` surely lies on another disk than a device."""
    here = path
    while not os.path.lexists(here):
        here = os.path.dirname(here)
    try:
        same = os.stat(here).st_dev == source.device or lies_on(here, source.device)
        known = os.path.isdir(_folder_of(source)) and (
            not physical_device(here).startswith(_UNKNOWN_DISK) or filesystem_type(here) in _WITHOUT_DISK)
    except (OSError, MediumError):
        same = known = False
    if same:
        raise UsageError(f"lies on {shown(source.path)}, which is to be rescued", where=shown(path),
                         hint="write to another drive: what is written there would take what is left")
    if not known:
        raise UsageError(f"nothing here tells whether this lies on {shown(source.path)}, which is to be rescued",
                         where=shown(path), hint="make an image of it elsewhere, with ddrescue, and rescue from that")


def _folder_of(source: RawSource) -> str:
    """The folder in /sys of a device."""
    return f"{_SYS_BLOCK}/{os.major(source.device)}:{os.minor(source.device)}"


def _require_connected(source: RawSource) -> None:
    """Raise MediumError when a whole stretch was dead because the device is gone."""
    if source.device and system.features().kernel_files and not os.path.exists(_folder_of(source)):
        raise MediumError("the device is gone", where=shown(source.path),
                          hint="connect the drive again, then run the same command again")
