"""What differs between operating systems: memory, descriptors, syncing. Each call has a portable twin.

The Linux calls are used where they were found at import; `use(Features.portable())` hides them for tests. A file
system that refuses direct I/O, preallocation or advice is served by the twin without a word. Functions raise OSError
as it comes; damage found while reading is no error but a result of `read_blocks` (spec B-4).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import mmap
import os
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from airbundle.format.limits import GIB, KIB, MIB
from airbundle.media.faults import DAMAGE, medium_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)
DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)
_BINARY: Final = getattr(os, "O_BINARY", 0)
_O_DIRECT: Final = getattr(os, "O_DIRECT", 0)
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)

ALIGNMENT: Final = 4 * KIB
CALL: Final = 8 * MIB
DIRECT_FROM: Final = MIB  # for less, direct I/O is not worth its trouble
_HUGE_PAGE: Final = 2 * MIB
_MEMORY_UNKNOWN: Final = 2 * GIB

_REFUSED: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Features:
    """Which of the non-portable calls may be used."""

    huge_pages: bool
    direct: bool
    positional: bool
    preallocation: bool
    advice: bool
    filesystem_sync: bool
    directory_descriptors: bool
    affinity: bool
    kernel_files: bool

    @classmethod
    def detected(cls) -> Features:
        """What this system has."""
        return cls(
            huge_pages=hasattr(mmap, "MADV_HUGEPAGE"),
            direct=bool(_O_DIRECT) and fcntl is not None,
            positional=hasattr(os, "preadv") and hasattr(os, "pwrite"),
            preallocation=hasattr(os, "posix_fallocate"),
            advice=hasattr(os, "posix_fadvise"),
            filesystem_sync=_SYNCFS is not None,
            directory_descriptors=os.open in os.supports_dir_fd and os.scandir in os.supports_fd,
            affinity=hasattr(os, "sched_getaffinity"),
            kernel_files=os.path.exists("/proc/self/mountinfo"),
        )

    @classmethod
    def portable(cls) -> Features:
        """None of them."""
        return cls(*(False,) * 9)


def _c_function(name: str) -> Callable[[int], int] | None:
    with contextlib.suppress(OSError, TypeError, AttributeError):  # no C library by that name, or one without it
        return cast("Callable[[int], int]", getattr(ctypes.CDLL(None, use_errno=True), name))
    return None


_SYNCFS, _TRIM = _c_function("syncfs"), _c_function("malloc_trim")
_twin_lock: Final = threading.Lock()
_active = [Features.detected()]


def features() -> Features:
    """What is in use now."""
    return _active[-1]


@contextlib.contextmanager
def use(chosen: Features) -> Iterator[None]:
    """Use only `chosen` inside the block, in all threads. For tests."""
    _active.append(chosen)
    try:
        yield
    finally:
        _active.pop()


# ---- memory ----


def huge_buffer(size: int) -> mmap.mmap:
    """Private zeroed memory of at least `size` bytes, page-aligned, in whole huge pages of 2 MiB."""
    rounded = max(1, -(-size // _HUGE_PAGE)) * _HUGE_PAGE
    if not features().huge_pages:
        return mmap.mmap(-1, rounded)
    buffer = mmap.mmap(-1, rounded, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without transparent huge pages
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def aligned(view: memoryview) -> bool:
    """Whether direct I/O can take `view`: address and length are multiples of 4096."""
    if not view:
        return True
    return len(view) % ALIGNMENT == 0 and np.frombuffer(view, np.uint8).ctypes.data % ALIGNMENT == 0


def memory_total() -> int:
    """Bytes of memory that this process may hope for: the machine's, or less in a container; 2 GiB when unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _MEMORY_UNKNOWN
    if features().kernel_files:
        with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit:
            total = min(total, int(limit.read()))  # "max" is no number and leaves the machine's
    return total


def return_memory() -> None:
    """Give what was freed back to the system, where the C library can: it keeps more, the larger the pieces were."""
    if _TRIM is not None:
        _TRIM(0)


def cpu_count() -> int:
    """Processors that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if features().affinity else os.cpu_count() or 1


# ---- opening ----


def open_file(path: str, flags: int, mode: int = 0o666, *, dir_fd: int | None = None, direct: bool = False) -> int:
    """Open like `os.open`; past the page cache with `direct` where the file system takes it. Raises OSError."""
    fd = os.open(path, flags | _BINARY, mode, dir_fd=dir_fd)
    if direct:
        set_direct(fd, on=True)
    return fd


def set_direct(fd: int, *, on: bool) -> None:
    """Switch direct I/O on where it can be, or off."""
    if features().direct:  # not by a flag of open(2): what O_CREAT | O_EXCL made stays when O_DIRECT is refused
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | _O_DIRECT if on else flags & ~_O_DIRECT)


def is_direct(fd: int) -> bool:
    """Whether `fd` goes past the page cache."""
    return features().direct and bool(fcntl.fcntl(fd, fcntl.F_GETFL) & _O_DIRECT)


# ---- reading ----


def read_into(fd: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset`; gives the bytes read, less than its length only at the end. Raises OSError."""
    done = 0
    while done < len(view):
        got = _read_some(fd, view[done:], offset + done)
        if got == 0:
            break
        done += got
    return done


@dataclass(frozen=True, slots=True)
class Reading:
    """What `read_blocks` got: bytes before the end, and the pieces that could not be read, in order."""

    length: int
    unreadable: tuple[int, ...]


def read_blocks(fd: int, view: memoryview, block_size: int, *, offset: int = 0, where: str = "") -> Reading:
    """Read the region at `offset` into `view`, in pieces of `block_size`; damage costs only its pieces (B-4).

    A piece that the device cannot read is filled with zeros and listed; so is what lies behind the file's end
    (filled, not listed). Raises MediumError when the device is gone or refuses.
    """
    unreadable: list[int] = []
    position = careful_until = 0
    while position < len(view):
        piece = position // block_size
        end = min((piece + 1) * block_size, len(view))
        careful = position < careful_until
        try:
            if careful:
                got = _read_piece(fd, view[position:end], offset + position)
            else:
                got = _read_some(fd, view[position : position + CALL], offset + position)
        except OSError as error:
            if error.errno not in DAMAGE:
                raise medium_error(error, where) from error
            _require_device(fd, where)
            if not careful:
                careful_until = min(position + CALL, len(view))
                continue
            view[piece * block_size : end] = bytes(end - piece * block_size)
            unreadable.append(piece)
            got = end - position
        if got == 0:
            view[position:] = bytes(len(view) - position)
            break
        position += got
    return Reading(position, tuple(unreadable))


def _read_some(fd: int, view: memoryview, offset: int) -> int:
    if not features().positional:
        with _twin_lock:
            os.lseek(fd, offset, os.SEEK_SET)
            with open(fd, "rb", buffering=0, closefd=False) as raw:
                return raw.readinto(view) or 0
    return _cached_where_refused(fd, lambda: os.preadv(fd, [view], offset))


def _cached_where_refused(fd: int, call: Callable[[], int]) -> int:
    """What `call` gives; once more through the page cache where this file, or an odd address or length, is refused.

    Whether `fd` goes past the cache now says nothing: another thread may have been refused too, and switched it off.
    """
    try:
        return call()
    except OSError as error:
        if error.errno != errno.EINVAL or not features().direct:
            raise
        set_direct(fd, on=False)
        return call()


def _read_piece(fd: int, view: memoryview, offset: int) -> int:
    """Read one piece of a sick region past the cache, so that readahead does not drag its neighbours down."""
    if offset % ALIGNMENT or len(view) % ALIGNMENT or not features().direct or is_direct(fd):
        return read_into(fd, view, offset)
    bounce = huge_buffer(len(view))
    set_direct(fd, on=True)
    try:
        got = read_into(fd, memoryview(bounce)[: len(view)], offset)
    finally:
        set_direct(fd, on=False)
    view[:got] = bounce[:got]
    return got


def _require_device(fd: int, where: str) -> None:
    """Raise MediumError when the disk under `fd` was pulled: the kernel then says EIO for every byte."""
    device = os.fstat(fd).st_dev
    if not features().kernel_files or os.major(device) == 0:  # no disk of its own: tmpfs, overlay, btrfs
        return
    if not os.path.exists(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"):  # the rest: `presence.py`
        raise medium_error(OSError(errno.ENODEV, ""), where)


# ---- writing ----


def write_all(fd: int, view: memoryview, offset: int) -> None:
    """Write all of `view` at `offset` in calls of at most 8 MiB. Raises OSError."""
    done = 0
    while done < len(view):
        done += _write_some(fd, view[done : done + CALL], offset + done)


def _write_some(fd: int, view: memoryview, offset: int) -> int:
    if features().positional:
        return _cached_where_refused(fd, lambda: os.pwrite(fd, view, offset))
    with _twin_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, view)


def preallocate(fd: int, size: int) -> None:
    """Give an empty file `size` bytes that are really there, so that filling it cannot run out of space."""
    if size and features().preallocation:
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
        else:
            return
    zeros = memoryview(bytes(min(size, CALL)))
    for offset in range(0, size, CALL):
        write_all(fd, zeros[: size - offset], offset)


def sync_file(fd: int) -> None:
    """Wait until the file's bytes and size are on the medium."""
    if _FULL_SYNC is not None:
        fcntl.fcntl(fd, _FULL_SYNC)  # macOS: its fsync stops at the drive's own cache
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_directory(path: str) -> None:
    """Wait until the names in the folder are on the medium; nothing where folders cannot be synced."""
    try:
        fd = os.open(path, os.O_RDONLY | DIRECTORY)
    except OSError:
        if DIRECTORY:
            raise
        return  # Windows opens no folders
    try:
        sync_directory_descriptor(fd)
    finally:
        os.close(fd)


def sync_directory_descriptor(fd: int) -> None:
    """Like `sync_directory`, for a folder that is open."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise


def sync_tree(path: str) -> None:
    """Wait until everything below the folder `path` is on the medium: one syncfs, or an fsync for each file."""
    if features().filesystem_sync and _SYNCFS is not None:
        fd = os.open(path, os.O_RDONLY | DIRECTORY)
        try:
            if _SYNCFS(fd) == 0:
                return
            number = ctypes.get_errno()
            if number not in _REFUSED:
                raise OSError(number, os.strerror(number))
        finally:
            os.close(fd)
    for folder, _, files in os.walk(path, topdown=False):
        for file in itertools.filterfalse(os.path.islink, (os.path.join(folder, name) for name in files)):
            fd = os.open(file, os.O_RDWR | NOFOLLOW | _BINARY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        sync_directory(folder)


def try_lock(fd: int, *, wait: bool = False) -> bool:
    """Take the file for this process alone; False if another has it. Where there are no such locks, always True.

    With `wait` it returns when the other has let it go.
    """
    if fcntl is None or not features().kernel_files:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:  # others than this one come from file systems without locks
        return not isinstance(error, BlockingIOError)
    return True


def drop_cache(fd: int) -> None:
    """Forget the file's clean pages, so that the next read comes from the medium; nothing where that cannot be."""
    if features().advice:
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def expect_sequential(fd: int) -> None:
    """Say that the file will be read from start to end."""
    if features().advice:
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)


def is_regular(fd: int) -> bool:
    """Whether `fd` is a regular file (V-1)."""
    return stat.S_ISREG(os.fstat(fd).st_mode)
