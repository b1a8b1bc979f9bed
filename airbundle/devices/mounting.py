"""Mount a file system of a stranger so that it can do nothing but be read, and make sure that it is so.

The device is set read-only first. The flags asked for are not believed: they are read back from the mount table, since
helpers drop some of them (exfat-fuse: noexec; fuse2fs: ro), and what is missing is added by a second, bind mount or
the file system is unmounted again.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from typing import Final

from airbundle.errors import MediumError, UsageError
from airbundle.format.names import shown
from airbundle.media.mount_table import MountRow, mounts

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_BLKROSET: Final = 0x125D
_BLKROGET: Final = 0x125E
_READ_ONLY, _NO_SUID, _NO_DEV, _NO_EXEC, _REMOUNT, _NO_SYMFOLLOW, _BIND = 1, 2, 4, 8, 32, 256, 4096
_FLAGS: Final = _READ_ONLY | _NO_SUID | _NO_DEV | _NO_EXEC | _NO_SYMFOLLOW
_DETACH: Final = 2
_NEW_MOUNTS: Final = 0x20000
_FOLLOW, _ALL_BELOW = 1 << 19, 1 << 14  # MS_SLAVE, MS_REC
WANTED: Final = frozenset({"ro", "nosuid", "nodev", "noexec", "nosymfollow"})
_FOR_ALL: Final = "fmask=0133,dmask=0022"  # whatever the umask here, the part without privileges may read
OPTIONS: Final = {
    "vfat": f"utf8,{_FOR_ALL}", "exfat": f"iocharset=utf8,{_FOR_ALL}", "ntfs3": f"iocharset=utf8,{_FOR_ALL}",
    "ext2": "", "ext3": "noload", "ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay",
    "udf": "mode=0444,dmode=0555", "iso9660": "iocharset=utf8,mode=0444,dmode=0555", "squashfs": "", "erofs": ""}
"""File systems of the kernel that are mounted, each with what keeps it from writing, or from mangling names."""


def set_read_only(node: str) -> None:
    """Make the kernel refuse every write to a block device that nobody uses. Raises MediumError if it does not take."""
    try:
        descriptor = os.open(node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, _BLKROSET, struct.pack("i", 1))
            answer = fcntl.ioctl(descriptor, _BLKROGET, struct.pack("i", 0))
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EBUSY:  # setting it read-only would pull the ground from under somebody's writes
            raise MediumError("is in use already", where=node,
                              hint="unmount it, and keep the desktop from mounting drives, or watch --source mounts"
                              ) from error
        raise MediumError(f"cannot be set read-only: {error.strerror}", where=node) from error
    if struct.unpack("i", answer)[0] != 1:
        raise MediumError("cannot be set read-only", where=node, hint="use a write blocker for this drive")


def mount_read_only(node: str, kind: str, point: str) -> MountRow:
    """Mount `node`, a file system of `kind`, at the folder `point`.

    Raises MediumError; UsageError for a kind that is not mounted here, or that this kernel does not know.
    On return every flag of `WANTED` holds, as the kernel's own table says.
    """
    if kind not in OPTIONS:
        raise UsageError(f"file systems of the kind '{shown(kind)}' are not mounted here", where=node)
    set_read_only(node)
    _mount(node, point, kind, _FLAGS, OPTIONS[kind])
    try:
        return require_flags(point)
    except BaseException:
        unmount(point)
        raise


def require_flags(point: str) -> MountRow:
    """The mount at `point`; flags that are missing are added. Raises MediumError if one is missing then."""
    row = mounted_at(point)
    if row is not None and not row.options >= WANTED:
        with contextlib.suppress(MediumError):
            _mount("none", point, None, _FLAGS | _REMOUNT | _BIND, None)
        row = mounted_at(point)
    missing = sorted(WANTED - row.options) if row is not None else sorted(WANTED)
    if row is None or missing:
        raise MediumError(f"is mounted without {', '.join(missing)}", where=point,
                          hint="nothing on it was read: it is unmounted again")
    return row


def mounted_at(point: str) -> MountRow | None:
    """The mount that is seen at `point`: the last one there."""
    rows = [row for row in mounts() if row.point == os.path.realpath(point)]
    return rows[-1] if rows else None


def unmount(point: str) -> None:
    """Take a mount away; one whose device is gone, or that is still in use, is detached. Raises MediumError."""
    if _LIBC.umount2(os.fsencode(point), 0) != 0 and _LIBC.umount2(os.fsencode(point), _DETACH) != 0:
        raise _error(point, "cannot be unmounted")


def _mount(source: str, point: str, kind: str | None, flags: int, data: str | None) -> None:
    if _LIBC.mount(os.fsencode(source), os.fsencode(point), kind.encode() if kind else None, ctypes.c_ulong(flags),
                   data.encode() if data else None) != 0:
        if ctypes.get_errno() == errno.ENODEV and kind is not None:
            raise UsageError(f"this system cannot read the file system '{kind}'", where=source,
                             hint=f"modprobe {kind}, or use a drive with another file system")
        raise _error(source, "cannot be mounted")


def _error(where: str, what: str) -> MediumError:
    number = ctypes.get_errno()
    return MediumError(f"{what}: {os.strerror(number)}", where=where)


def own_mounts() -> None:
    """From here on this process and its children mount for themselves alone: what it mounts ends with it.

    Others' mounts still come in. Raises MediumError. Only before any thread is started.
    """
    if _LIBC.unshare(_NEW_MOUNTS) != 0 or _LIBC.mount(b"none", b"/", None, ctypes.c_ulong(_FOLLOW | _ALL_BELOW),
                                                      None) != 0:
        raise _error("/", "mounts cannot be kept apart")
