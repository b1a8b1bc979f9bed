"""What is known of the drive under a path: for messages and for the table of volumes in the statement (chapter 9).

All of it is best effort from what the kernel shows in /proc and /sys; an empty text means unknown. Names on a medium
are a stranger's: what is not public text (E-4) is unknown.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from dataclasses import dataclass
from typing import Final, Self

from airbundle.errors import FormatError
from airbundle.format.limits import KIB
from airbundle.format.names import check_public_text
from airbundle.media import system
from airbundle.media.faults import DAMAGE, GONE, medium_error, reporting
from airbundle.media.mount_table import mounts

_SYS = "/sys"
_LABELS = "/dev/disk/by-label"
_HEX: Final = re.compile(rb"\\x([0-9a-f]{2})")
_SLAVES_DEPTH: Final = 8
_PROBES: Final = 16
_CLUSTER_UNKNOWN: Final = 128 * KIB


def physical_device(path: str) -> str:
    """One text for each physical drive: two paths with the same text fall together. Raises MediumError."""
    with reporting(path):
        device = os.stat(path).st_dev
    if system.features().kernel_files:
        disks = _disks(_block_folder(path, device))
        if disks:
            return "+".join(sorted(disks))
    return f"dev-{device}"


def lies_on(path: str, device: int) -> bool:
    """Whether `path` is on a file system of the disk whose device number is `device`. Raises OSError."""
    folder = os.path.realpath(os.path.join(_SYS, f"dev/block/{os.major(device)}:{os.minor(device)}"))
    ours = _disks(_block_folder(path, os.stat(path).st_dev))
    return bool(ours & _disks(folder if os.path.isdir(folder) else ""))


def filesystem_type(path: str) -> str:
    """The kernel's name of the file system, such as `ext4` or `vfat`."""
    return _mount(path)[0]


def mount_point(path: str) -> str:
    """Where the file system that holds `path` is mounted."""
    return _mount(path)[2]


def filesystem_label(path: str) -> str:
    """The file system's label."""
    with contextlib.suppress(OSError), os.scandir(_LABELS) as labels:
        source = os.path.realpath(_mount(path)[1])
        for entry in labels:
            if os.path.realpath(entry.path) == source:
                return _public(_HEX.sub(lambda m: bytes([int(m[1], 16)]), os.fsencode(entry.name)))
    return ""


def device_serial(path: str) -> str:
    """The serial number of the drive, from the nearest of its parents in /sys that has one."""
    with contextlib.suppress(OSError):
        return Attached.under(path).serial()
    return ""


def known_as(path: str) -> str:
    """` (label 'X', serial number Y)`: what a person knows the drive under `path` by beside it; or nothing."""
    return in_brackets(filesystem_label(path), device_serial(path))


def in_brackets(label: str, serial: str) -> str:
    """What is known of a label and a serial number, to be put behind the path of a drive."""
    known = [*([f"label '{label}'"] if label else ()), *([f"serial number {serial}"] if serial else ())]
    return f" ({', '.join(known)})" if known else ""


@dataclass(frozen=True, slots=True)
class Attached:
    """The block device under a path: its folder in /sys or '', and for each whole disk its name and diskseq or ''."""

    folder: str
    disks: tuple[tuple[str, str], ...]

    @classmethod
    def under(cls, path: str) -> Self:
        """What is attached there now. Raises OSError for a path that is not there."""
        device = os.stat(path).st_dev
        folder = _block_folder(path, device) if system.features().kernel_files else ""
        return cls(folder, tuple((disk, _diskseq(disk)) for disk in sorted(_disks(folder))))

    def serial(self) -> str:
        """The serial number of the one disk that this is, or ''."""
        if len(self.disks) != 1:
            return ""
        with contextlib.suppress(OSError):
            return serial_above(os.path.realpath(os.path.join(_SYS, "class/block", self.disks[0][0])))
        return ""

    def is_gone(self) -> bool:
        """Whether it surely is not there any more: removed, without a medium, or another drive has its number now."""
        if not self.folder:
            return False
        return not os.path.isdir(self.folder) or any(
            _of_disk(disk, "size") == "0" or (sequence and _diskseq(disk) not in {sequence, ""})
            for disk, sequence in self.disks)

    def answers(self) -> bool | None:
        """As `device_answers`; None also where there is no device."""
        return device_answers(f"/dev/{os.path.basename(self.folder)}") if self.folder else None


def device_answers(node: str) -> bool | None:
    """Whether a block device gives anything, all over it; None where nobody here may ask it."""
    try:
        fd = system.open_file(node, os.O_RDONLY | system.NONBLOCK, direct=True)
    except OSError as error:
        return False if error.errno in DAMAGE | GONE else None
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        return any(answers_at(fd, (size - 1) * part // _PROBES) for part in range(_PROBES + 1))
    except OSError:
        return False
    finally:
        os.close(fd)


def answers_at(fd: int, offset: int) -> bool:
    """Whether something can be read near `offset`, past the page cache where that can be."""
    system.drop_cache(fd)
    with memoryview(system.huge_buffer(system.ALIGNMENT)) as view:
        try:
            system.read_into(fd, view[:system.ALIGNMENT], max(0, offset) // system.ALIGNMENT * system.ALIGNMENT)
        except OSError:
            return False
    return True


def _diskseq(disk: str) -> str:
    return _of_disk(disk, "diskseq")


def _of_disk(disk: str, name: str) -> str:
    with contextlib.suppress(OSError), open(os.path.join(_SYS, "class/block", disk, name), "rb") as file:
        return _public(file.read(64).strip())
    return ""


def serial_above(folder: str) -> str:
    """The serial number of a disk, by its folder in /sys: that of the nearest above it that has one."""
    top = os.path.realpath(_SYS)
    while folder.startswith(top + os.sep):
        for name in ("serial", "device/serial"):
            with contextlib.suppress(OSError), open(os.path.join(folder, name), "rb") as file:
                if serial := _public(file.read(256).strip()):
                    return serial
        folder = os.path.dirname(folder)
    return ""


def _public(raw: bytes) -> str:
    try:
        return check_public_text(raw.decode())
    except (UnicodeDecodeError, FormatError):
        return ""


def _block_folder(path: str, device: int) -> str:
    """The folder in /sys of the block device under `path`, or ''."""
    if os.major(device) == 0:  # a file system without a number of its own, such as btrfs: ask the mount table
        try:
            device = os.stat(_mount(path)[1]).st_rdev
        except OSError:
            return ""
    folder = os.path.realpath(os.path.join(_SYS, f"dev/block/{os.major(device)}:{os.minor(device)}"))
    return folder if os.path.isdir(folder) else ""


def _disks(folder: str, depth: int = 0) -> set[str]:
    """Names of the whole disks below a block device: a partition's parent, the parts of a mapped one."""
    if not folder or depth > _SLAVES_DEPTH:
        return set()
    if os.path.exists(os.path.join(folder, "partition")):
        folder = os.path.dirname(folder)
    found: set[str] = set()
    with contextlib.suppress(OSError), os.scandir(os.path.join(folder, "slaves")) as slaves:
        for entry in slaves:
            found |= _disks(os.path.realpath(entry.path), depth + 1)
    return found or {os.path.basename(folder)}


def _mount(path: str) -> tuple[str, str, str]:
    """Type, source and point of the mount that holds `path`; the last of those with the longest point counts."""
    best, found = "", ("", "", "")
    if not system.features().kernel_files:
        return found
    real = os.path.realpath(path)
    with contextlib.suppress(OSError):
        for row in mounts():
            if len(row.point) >= len(best) and (real == row.point or real.startswith(row.point.rstrip("/") + "/")):
                best, found = row.point, (row.kind, row.source, row.point)
    return found


def require_writable(path: str) -> None:
    """Raise MediumError for a folder in which nothing can be made: read-only, or not ours to write."""
    if not os.access(path, os.W_OK | os.X_OK):
        with reporting(path):
            read_only = hasattr(os, "statvfs") and os.statvfs(path).f_flag & os.ST_RDONLY
        raise medium_error(OSError(errno.EROFS if read_only else errno.EACCES, ""), path)


def free_space(path: str) -> int:
    """Bytes that may still be written on the file system of `path`. Raises MediumError."""
    with reporting(path):
        return shutil.disk_usage(path).free


def total_space(path: str) -> int:
    """Bytes of the file system of `path`. Raises MediumError."""
    with reporting(path):
        return shutil.disk_usage(path).total


def cluster_size(path: str) -> int:
    """Bytes by which a file's space is rounded up there; 128 KiB when unknown. Raises MediumError."""
    if not hasattr(os, "statvfs"):
        return _CLUSTER_UNKNOWN
    with reporting(path):
        return os.statvfs(path).f_frsize or _CLUSTER_UNKNOWN
