"""A volume as files: its names, and reading one (spec chapter 3).

A medium is a stranger's: its names are any bytes, its entries may be links and pipes, its sectors may be dead. Only
regular files are opened, nothing on it is followed, and everything is bounded. `writing.py` writes volumes.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Self

from airbundle.errors import DamagedError, FormatError, UsageError
from airbundle.format import limits
from airbundle.format.names import SafePath, shown
from airbundle.media import system
from airbundle.media.custody_folder import CUSTODY_NAME
from airbundle.media.faults import DAMAGE, medium_error, reporting
from airbundle.media.folder import Folder
from airbundle.media.presence import Presence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Peek = Callable[[int, int], bytes]

README_NAME: Final = "README.txt"
STATEMENT_NAME: Final = "statement.json"
RECORD_NAME: Final = "statement.rec"
CATALOG_NAME: Final = "catalog.abs"
CATALOG_COPY_NAME: Final = "catalog-copy.abs"
VOLUME_SUFFIX: Final = ".airbundle"
SEGMENT_NAME: Final = re.compile(r"[0-9]{8}\.abs", re.ASCII)
CATALOGS: Final = (CATALOG_NAME, CATALOG_COPY_NAME)
STATEMENTS: Final = (STATEMENT_NAME, RECORD_NAME)
"""The copy in front of the segments, and the one behind them (V-3)."""
FIXED_NAMES: Final = frozenset({README_NAME, *STATEMENTS, *CATALOGS})
_LITTER: Final = re.compile(r"\._.*|\.trash.*|system volume information|desktop\.ini|\.ds_store|thumbs\.db", re.DOTALL)
_NUMBERS: Final = re.compile(r"-(copy)?([1-9][0-9]?)of([1-9][0-9]?)\.airbundle\Z", re.IGNORECASE | re.ASCII)
_PIECE: Final = system.ALIGNMENT


def volume_name(label: str, bundle_id: bytes, number: int, count: int) -> str:
    """`LABEL-SIXLETTERS-1of2.airbundle`. Raises UsageError when the label cannot stand in the name of a folder."""
    name = f"{label}-{_letters(bundle_id)}-{number}of{count}{VOLUME_SUFFIX}"
    hint = "take a short label of letters, digits and hyphens"
    if "/" in label:
        raise UsageError(f"the label '{shown(label)}' has a '/'", hint=hint, rule="P-1")
    try:
        return SafePath.parse(name)
    except FormatError as error:
        raise UsageError(f"the label cannot be used: {error.what}", hint=hint, rule=error.rule) from error


def _letters(bundle_id: bytes) -> str:
    return base64.b32encode(bundle_id).decode().lower()[:6]


def segment_name(number: int) -> str:
    """The name of the file of segment `number`."""
    return f"{number:08d}.abs"


def segment_number(name: str) -> int | None:
    """The number of the segment that a file of this name should hold; names decide only where headers are lost."""
    return int(name.removesuffix(".abs")) if SEGMENT_NAME.fullmatch(name) else None


def is_litter(name: str) -> bool:
    """Whether an operating system left this on the drive by itself."""
    return _LITTER.fullmatch(name.lower()) is not None


def speaks_of_volume(name: str) -> bool:
    """Whether a file of this name belongs to a volume, going by the name alone."""
    return name in FIXED_NAMES or SEGMENT_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a volume's folder holds, in order of the names' bytes: regular files, and what is ignored and why.

    `complete` is false when the folder itself is damaged, so that there may be more.
    """

    files: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]
    complete: bool


class Cache(Enum):
    """What a read has to do with the system's page cache."""

    USED = "as the system likes"
    SPARED = "past it, where it is known not to have the file: for what is hardly read again"
    PASSED = "past it: what is said of a medium has to come from there"


class VolumeReader:
    """One volume, open for reading. Close it before the drive is unmounted."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/") or path
        self.presence = Presence.of(self.path)
        try:
            self._folder = Folder.open(self.path)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENOTDIR}:
                raise FormatError("it is not a folder", where=shown(path), rule="V-1") from error
            raise medium_error(error, path) from error

    def lock(self) -> None:
        """Let no other process write here until `close`. Raises UsageError where one does."""
        if not self._folder.lock():
            raise busy(self.path)

    def listing(self) -> Listing:
        """What is here. Raises FormatError for more than 300,000 entries (L-6), MediumError."""
        files: list[str] = []
        ignored: list[tuple[str, str]] = []
        complete = True
        try:
            for count, entry in enumerate(self._folder.entries()):
                if count >= limits.VOLUME_ENTRIES_MAX:
                    what = f"more than {limits.VOLUME_ENTRIES_MAX} entries"
                    raise FormatError(what, where=shown(self.path), rule="L-6")
                if entry.name == CUSTODY_NAME and entry.is_dir(follow_symlinks=False):
                    continue
                why = _why_ignored(entry)
                if why:
                    ignored.append((entry.name, why))
                else:
                    files.append(entry.name)
        except OSError as error:
            self.presence.require_connected()
            if error.errno not in DAMAGE:
                raise medium_error(error, self.path) from error
            complete = False
        files.sort(key=os.fsencode)
        ignored.sort(key=lambda pair: os.fsencode(pair[0]))
        return Listing(tuple(files), tuple(ignored), complete)

    def open(self, name: str, *, cache: Cache = Cache.USED) -> int:
        """Open a file for reading; the caller closes it.

        Raises FileNotFoundError when there is none, FormatError for what is not a file or too big (V-1),
        DamagedError when its entry cannot be read, PulledError, MediumError.
        """
        where = os.path.join(self.path, name)
        try:
            # Looked at first: opening a pipe, a socket or a device has effects of its own.
            self._require_file(self._folder.status(name), where)
            fd = self._folder.open_file(name, os.O_RDONLY, direct=cache is Cache.PASSED)
        except FileNotFoundError:
            self.presence.require_connected()
            raise
        except OSError as error:
            if error.errno in DAMAGE:
                self.presence.require_connected()
                raise DamagedError("the file's entry cannot be read", where=shown(where)) from error
            if error.errno in {errno.ELOOP, errno.EMLINK}:
                raise FormatError("it is not a regular file", where=shown(where), rule="V-1") from error
            raise medium_error(error, where) from error
        try:
            self._require_file(os.fstat(fd), where)
        except FormatError:
            os.close(fd)
            raise
        if cache is Cache.PASSED and not system.is_direct(fd):
            system.drop_cache(fd)
        elif cache is Cache.SPARED and not _is_cached(fd):
            system.set_direct(fd, on=True)
        return fd

    @contextlib.contextmanager
    def opened(self, name: str, *, cache: Cache = Cache.PASSED) -> Iterator[int]:
        """`open` for a `with` block."""
        fd = self.open(name, cache=cache)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def peeking(self, name: str) -> Iterator[Peek]:
        """What gives some bytes of a file by offset and length, from the end where the offset is negative.

        Fewer or none where they cannot be had.
        """
        try:
            fd = self.open(name)
        except (FileNotFoundError, DamagedError):
            yield lambda _offset, _length: b""
            return
        try:
            size = os.fstat(fd).st_size
            yield lambda offset, length: _peek(fd, offset if offset >= 0 else size + offset, length)
        finally:
            os.close(fd)

    def read_small(self, name: str, max_bytes: int) -> bytes:
        """The first `max_bytes` bytes of a file or all of it; what cannot be read is zeros. Raises as `open` does."""
        fd = self.open(name)
        try:
            size = min(max_bytes, os.fstat(fd).st_size)
            buffer = bytearray(size)
            with memoryview(buffer) as view:
                got = system.read_blocks(fd, view, _PIECE, where=os.path.join(self.path, name)).length
                return bytes(view[:got])
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of the folder."""
        self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _require_file(found: os.stat_result, where: str) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise FormatError("it is not a regular file", where=shown(where), rule="V-1")
        if found.st_size > limits.VOLUME_FILE_MAX:
            raise FormatError("it has 4 GiB or more", where=shown(where), rule="V-1")


def _is_cached(fd: int) -> bool:
    """Whether the page cache has the middle of a file; True where the file system does not tell.

    The first bytes are there whenever somebody looked whose file it is. Where the middle is not, Linux may bring in the
    page that was asked for: whoever opens the file again may be told that it is there, and is only slower.
    """
    if not (hasattr(os, "RWF_NOWAIT") and system.features().direct and system.features().positional):
        return True
    try:
        os.preadv(fd, [bytearray(1)], os.fstat(fd).st_size // 2, os.RWF_NOWAIT)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True


def _peek(fd: int, start: int, length: int) -> bytes:
    buffer = bytearray(length)
    with memoryview(buffer) as view:
        got = system.read_blocks(fd, view, _PIECE, offset=start).length if start >= 0 else 0
        return bytes(view[:got])


def busy(path: str) -> UsageError:
    """What to say of a volume that another process has locked."""
    return UsageError("another airbundle is writing to this volume", where=shown(path),
                      hint="wait until it is done, then run the same command again")


def volume_number(path: str, count: int) -> int:
    """The number in the name of a folder, `...-2of3.airbundle` of `count` volumes; else 0. Advice only (V-2)."""
    relaid, number, total = _numbers(path)
    return number if not relaid and total == count else 0


def _numbers(path: str) -> tuple[bool, int, int]:
    """Whether the name of a folder is that of a copy laid out anew, and its two numbers; zeros for none (D-6)."""
    name = os.path.basename(path)
    if not name.lower().endswith(VOLUME_SUFFIX):  # such as '.'; what has the ending is no link (V-1)
        name = os.path.basename(os.path.realpath(path))
    found = _NUMBERS.search(name)
    if not found or int(found[2]) > int(found[3]):
        return False, 0, 0
    return found[1] is not None, int(found[2]), int(found[3])


def name_pattern(label: str, bundle_id: bytes) -> re.Pattern[str]:
    """The names that volumes of this bundle get, as packed or laid out anew (`copy`), with their `number`."""
    stem = volume_name(label, bundle_id, 1, 1).removesuffix(f"1of1{VOLUME_SUFFIX}")
    return re.compile(re.escape(stem) + r"(?P<copy>copy)?(?P<number>[0-9]{1,2})of[0-9]{1,2}" + re.escape(VOLUME_SUFFIX))


def relaid_name(label: str, bundle_id: bytes, number: int, count: int) -> str:
    """The name of a copy whose segments are laid out otherwise than the statement says."""
    return volume_name(label, bundle_id, number, count).replace(f"-{number}of{count}.", f"-copy{number}of{count}.")


def relaid_number(path: str) -> tuple[int, int]:
    """Number and count in the name of such a copy; zeros if it is none. Advice only (V-2)."""
    relaid, number, total = _numbers(path)
    return (number, total) if relaid else (0, 0)


def require_folder(path: str) -> None:
    """Raise UsageError unless somebody can give this as a volume, or as the place that holds some."""
    path = path.rstrip("/") or path
    if path.lower().endswith(VOLUME_SUFFIX) and os.path.islink(path):
        raise UsageError("it is a link", where=shown(path), hint="give the folder itself", rule="V-1")
    if not os.path.isdir(path):
        raise UsageError("it is not a folder", where=shown(path), hint="give a volume or the place that holds it")


def find_volumes(path: str) -> list[str]:
    """The volumes at `path`: itself, or those directly in it, in order (D-7).

    Raises UsageError, FormatError, MediumError.

    The last part of `path` may be a link that the person made; a link named `*.airbundle` may come from a medium and
    is not followed (V-1). A folder that was renamed is still a volume (V-2).
    """
    require_folder(path)
    path, real = path.rstrip("/") or path, os.path.realpath(path)
    if os.path.basename(path) != os.path.basename(real):  # a link that the person made, `.` or `..`
        path = real
    if path.lower().endswith(VOLUME_SUFFIX):
        return [path]
    found: list[str] = []
    renamed = False
    with reporting(path), _as_far_as_listed(), os.scandir(path) as entries:
        for count, entry in enumerate(entries):
            if count >= limits.VOLUME_ENTRIES_MAX:
                raise FormatError(f"more than {limits.VOLUME_ENTRIES_MAX} entries", where=shown(path), rule="L-6")
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    if entry.name.lower().endswith(VOLUME_SUFFIX) and not entry.name.startswith("."):
                        found.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and entry.name != README_NAME:
                    renamed = renamed or speaks_of_volume(entry.name)
    if not found and renamed:
        return [path]
    return sorted(found, key=os.fsencode)


@contextlib.contextmanager
def _as_far_as_listed() -> Iterator[None]:
    """What a damaged folder does not list counts as not there (V-1)."""
    try:
        yield
    except OSError as error:
        if error.errno not in DAMAGE:
            raise


def volumes_named(place: str, bundles: Iterable[bytes]) -> list[str]:
    """The folders in `place` that have names of volumes of these bundles, whatever their labels. Raises MediumError."""
    letters = {f"-{_letters(bundle)}-" for bundle in bundles}
    with reporting(place), os.scandir(place) as entries:
        found = [entry.path for entry in entries if entry.name.lower().endswith(VOLUME_SUFFIX)
                 and any(part in entry.name for part in letters) and entry.is_dir(follow_symlinks=False)]
    return sorted(found, key=os.fsencode)


def bytes_in(path: str) -> int:
    """Bytes of the files in a volume's folder; none if there is no folder."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    return 0


def _why_ignored(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_symlink():
            return "a link"
        if entry.is_file(follow_symlinks=False):  # whatever its name: that carries no meaning (V-2)
            return ""
        if is_litter(entry.name):
            return "left by the operating system"
        return "a folder" if entry.is_dir(follow_symlinks=False) else "a pipe, a socket or a device"
    except OSError:
        return "its entry cannot be read"
