"""Writing a volume: each file under a temporary name, synced, then renamed (spec chapter 3, V-3 to V-5).

One file at a time goes to a physical drive, whatever number of workers made it. Large aligned buffers go past the
page cache where the file system takes that. The order of V-3 and V-4 is the caller's; `preallocate` and `fill` are
what it needs for it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import stat
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

import msgspec

from airbundle.errors import MediumError, UnreliableDriveError, UsageError
from airbundle.format import limits
from airbundle.format.block import KIND_AT, MAGIC, Kind
from airbundle.format.names import shown
from airbundle.media import system
from airbundle.media.drive import known_as, physical_device
from airbundle.media.faults import medium_error, reporting
from airbundle.media.folder import Folder
from airbundle.media.rate import WriteRate
from airbundle.media.recheck import Recheck, Written
from airbundle.media.volume import README_NAME, busy, is_litter, segment_number, speaks_of_volume
from airbundle.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_BUNDLE: Final = slice(72, 88)
_LENGTH: Final = slice(60, 64)
_CONTENT_AT: Final = 64
_HEAD: Final = _CONTENT_AT + limits.STATEMENT_MAX
_PART: Final = re.compile(r"\.(?P<name>[^/]+)\.(?P<suffix>[0-9a-f]{1,64})\.part")

_drive_locks: dict[str, threading.Lock] = {}
_drive_locks_lock: Final = threading.Lock()


def temporary_name(name: str, suffix: str) -> str:
    """The name of an attempt to write `name`."""
    return f".{name}.{suffix}.part"


def is_temporary(name: str) -> bool:
    """Whether this is the name of an attempt to write something."""
    return _PART.fullmatch(name) is not None


class VolumeWriter:
    """One volume, open for writing. Threads may share it."""

    def __init__(self, path: str, *, bundle_id: bytes | None, tell: Callable[[str], None] | None = None,
                 clock: Callable[[], float] = time.monotonic, stages: Stages | None = None) -> None:
        """Make the folder, or go on in one that is empty or this bundle's. Raises UsageError (V-5), MediumError.

        Without `bundle_id` the folder has to exist and may hold anything, and its reader has the lock (`reopen`).
        `tell` hears at once what somebody should know of the drive while it goes on.
        """
        self.path = path.rstrip("/") or path
        self._tell, self._clock = tell or (lambda _: None), clock
        self._stages = stages or Stages()
        self._rate = WriteRate()
        self._recheck: Recheck | None = None
        with reporting(self.path):
            if bundle_id is not None and not os.path.lexists(self.path):
                os.mkdir(self.path)
                system.sync_directory(os.path.dirname(os.path.abspath(self.path)))
            self._folder = Folder.open(self.path)
        try:
            with reporting(self.path):
                if bundle_id is not None:
                    self._require_ours(bundle_id)
                self._drive = _lock_of(physical_device(self.path))
        except BaseException:
            self._folder.close()
            raise

    @classmethod
    def reopen(cls, path: str) -> Self:
        """The volume at `path` as it is, to repair it."""
        return cls(path, bundle_id=None)

    def expect(self, total: int, *, reads_back: bool = True) -> None:
        """At most `total` bytes of segments are to come: from now on what came first is read again (`recheck.py`)."""
        with self._drive:
            there = sorted(name for name in self.sizes() if segment_number(name) is not None)[:1]
            kept = {}
            for name in (README_NAME, *there):
                with contextlib.suppress(FileNotFoundError), self._reading(name) as (read, size):
                    kept[name] = Written.of(read, size, whole=True)
            self._recheck = Recheck(total, kept, there[0] if there else "", newest=not reads_back)

    def preallocate(self, name: str, size: int) -> None:
        """Make or replace the file `name` with `size` bytes that are really taken, to be filled later (V-3)."""
        with self._writing(name, size) as where:
            fd = self._folder.open_file(name, os.O_WRONLY | os.O_CREAT)
            try:
                _require_file(fd, where)
                os.ftruncate(fd, 0)
                system.preallocate(fd, size)
                system.sync_file(fd)
            finally:
                os.close(fd)
            self._folder.sync()

    def write(self, name: str, views: Sequence[memoryview], *, suffix: str) -> str:
        """Write `views` under a temporary name, durable on return; `settle` then gives it the name `name`.

        `suffix` is hexadecimal and makes the temporary name unique: the salt of the attempt. Gives the temporary
        name. Raises MediumError and leaves nothing behind.
        """
        temporary = temporary_name(name, suffix)
        assert _PART.fullmatch(temporary), temporary
        size = sum(len(view) for view in views)
        with self._writing(name, size):
            direct = all(system.aligned(view) for view in views)
            fd = self._folder.open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, direct=direct)
            try:
                try:
                    self._write_views(fd, views)
                finally:
                    os.close(fd)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._folder.remove(temporary)
                raise
            self._folder.sync()
            if self._recheck is not None:
                self._recheck.write(name, temporary, lambda at, length: _slice_of(views, at, length), size)
        return temporary

    def adopt(self, name: str, temporary: str, read: Callable[[int, int], memoryview], size: int) -> None:
        """A file of another process that shares this folder counts like one of this one, which is in memory.

        `read` gives so many of its bytes from a place on, as far as they are asked for.
        """
        with self._drive:
            if self._recheck is not None:
                self._recheck.write(name, temporary, read, size)

    def settle(self, temporary: str, name: str) -> None:
        """Give a written file its name; an older one of that name is replaced. Durable on return.

        Raises UnreliableDriveError if by then the drive has lost what came first.
        """
        with self._writing(name, 0):
            self._make_way(name)
            with self._stages("sync"):
                self._folder.rename(temporary, name)
                self._folder.sync()
            if self._recheck is not None:
                with self._stages("read back"):
                    self._require_there(self._recheck.settle(temporary, name))

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """Open a file to read back past the page cache. Raises FileNotFoundError, MediumError."""
        where = os.path.join(self.path, name)
        try:
            fd = self._folder.open_file(name, os.O_RDONLY, direct=True)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise medium_error(error, where) from error
        try:
            _require_file(fd, where)
            system.drop_cache(fd)
            with reporting(where):
                yield fd
        finally:
            os.close(fd)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file of the volume."""
        with reporting(self.path):
            return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in self._folder.entries()
                    if entry.is_file(follow_symlinks=False)}

    def require(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Raise MediumError unless each of these files is still there, with so many bytes."""
        for name, size in wanted:
            where = os.path.join(self.path, name)
            found = None
            with reporting(where), contextlib.suppress(FileNotFoundError):
                found = self._folder.status(name)
            if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != size:
                raise MediumError("what was written is gone or has another size", where=shown(where),
                                  hint="stop what deletes files there, then run the same command again")

    def fill(self, name: str, data: bytes | memoryview) -> None:
        """Overwrite the file `name` in place with `data` (or make it), cut it to that size and sync it."""
        with self._writing(name, len(data)) as where:
            fd = self._folder.open_file(name, os.O_WRONLY | os.O_CREAT)
            try:
                _require_file(fd, where)
                system.write_all(fd, memoryview(data), 0)
                os.ftruncate(fd, len(data))
                system.sync_file(fd)
                system.drop_cache(fd)
            finally:
                os.close(fd)

    def patch(self, name: str, pieces: Sequence[tuple[int, memoryview]], size: int) -> None:
        """Overwrite the `pieces` (offset, bytes) of an existing file and give it `size` bytes; durable on return."""
        with self._writing(name, size) as where:
            fd = self._folder.open_file(name, os.O_RDWR)
            try:
                _require_file(fd, where)
                for offset, view in pieces:
                    system.write_all(fd, view, offset)
                os.ftruncate(fd, size)
                system.sync_file(fd)
                system.drop_cache(fd)
            finally:
                os.close(fd)

    def rename_all(self, names: Mapping[str, str]) -> None:
        """Rename files to names that may be one another's, over temporary names."""
        with self._drive, reporting(self.path):
            # A name that nothing has: what lies under another attempt's may be the only copy of something.
            between = {old: temporary_name(new, os.urandom(8).hex()) for old, new in names.items()}
            for old, temporary in between.items():
                self._folder.rename(old, temporary)
            for old, temporary in between.items():
                self._make_way(names[old])
                self._folder.rename(temporary, names[old])
            self._folder.sync()

    def remove(self, name: str) -> None:
        """Remove the file `name`, if it is there."""
        with self._writing(name, 0), contextlib.suppress(FileNotFoundError):
            self._folder.remove(name)

    def discard_leftovers(self) -> None:
        """Remove the temporary files of attempts that were stopped. Nobody else may be writing."""
        with reporting(self.path):
            for name in [entry.name for entry in self._folder.entries() if _PART.fullmatch(entry.name)]:
                self._folder.remove(name)

    def sync(self, *, whole: bool = False) -> None:
        """Wait until everything written is on the medium. Raises UnreliableDriveError if what came first is not.

        That is looked at in pieces, or as a `whole`.
        """
        with self._drive, reporting(self.path):
            system.sync_tree(self.path)
            if self._recheck is not None:
                self._require_there(self._recheck.kept, whole=whole)

    def close(self) -> None:
        """Let go of the folder, so that its drive can be unmounted."""
        self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def differs(self, name: str, what: str) -> UnreliableDriveError:
        """What to say of a file of this volume that is not what was written, and of its drive."""
        return UnreliableDriveError(
            f"{what}: this drive{known_as(self.path)} lies about its size, or it is failing",
            where=shown(os.path.join(self.path, name)),
            hint="do not trust this drive: copy what is left onto another one and go on there")

    def _require_there(self, wanted: Mapping[str, Written], *, whole: bool = False) -> None:
        for name, written in wanted.items():
            try:
                with self._reading(name) as (read, size):
                    if not written.is_held(read, size, whole=whole):
                        raise self.differs(name, "does not hold any more what was written to it")
            except FileNotFoundError:
                self.require([(name, written.size)])

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[tuple[Callable[[int, int], memoryview], int]]:
        """A file past the page cache, piece by piece, and its size."""
        view = self._window
        with self.opened(name) as fd:
            yield lambda at, length: view[:system.read_into(fd, view[:length], at)], os.fstat(fd).st_size

    @cached_property
    def _window(self) -> memoryview:
        """Room to read again into; who has the lock of the drive may use it."""
        return memoryview(system.huge_buffer(system.CALL))

    def _write_views(self, fd: int, views: Sequence[memoryview]) -> None:
        began, offset = self._clock(), 0
        for view in views:
            for at in range(0, len(view), system.CALL):
                piece = view[at:at + system.CALL]
                with self._stages("write"):
                    system.write_all(fd, piece, offset)
                offset += len(piece)
                self._judge_rate(offset, began, finished=False)
        with self._stages("sync"):
            system.sync_file(fd)
        self._judge_rate(offset, began, finished=True)
        if not system.is_direct(fd):
            system.drop_cache(fd)

    def _judge_rate(self, count: int, began: float, *, finished: bool) -> None:
        news = self._rate.judge(count, self._clock() - began, finished=finished)
        if news:
            self._tell(f"{shown(self.path)}{known_as(self.path)}: {news}")

    @contextlib.contextmanager
    def _writing(self, name: str, size: int) -> Iterator[str]:
        where = os.path.join(self.path, name)
        if size > limits.VOLUME_FILE_MAX:
            raise UsageError("a file of a volume has less than 4 GiB", where=shown(where), rule="V-1")
        with self._drive, reporting(where):
            yield where

    def _make_way(self, name: str) -> None:
        """A folder under the name of a file is nothing of ours, and is kept under another name."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(self._folder.status(name).st_mode):
                self._folder.rename(name, f"{name}.aside-{os.urandom(4).hex()}")

    def _require_ours(self, bundle_id: bytes) -> None:
        if not self._folder.lock():
            raise busy(self.path)
        for entry in self._folder.entries():
            if is_litter(entry.name):
                continue
            part = _PART.fullmatch(entry.name)
            if not speaks_of_volume(part["name"] if part else entry.name):
                raise self._not_ours(f"it holds '{shown(entry.name)}', which is not a file of a volume")
            if not entry.is_file(follow_symlinks=False):
                raise self._not_ours(f"'{shown(entry.name)}' in it is not a regular file")
            owner = self._owner(entry.name)
            if owner not in {None, bundle_id}:
                raise self._not_ours(f"it holds '{shown(entry.name)}' of another bundle")

    def _not_ours(self, why: str) -> UsageError:
        return UsageError(why, where=shown(self.path), hint="give an empty folder or a new name", rule="V-5")

    def _owner(self, name: str) -> bytes | None:
        """The bundle that a file says it is of; None when it says nothing, as one that was never filled."""
        fd = self._folder.open_file(name, os.O_RDONLY)
        try:
            # Of a hundred thousand segments only the block header is read.
            head = bytearray(_HEAD if name.startswith("statement.") else _BUNDLE.stop)
            with memoryview(head) as view:
                got = system.read_into(fd, view, 0)
        finally:
            os.close(fd)
        return _owner_of(bytes(head[:got]))


class _Envelope(msgspec.Struct):
    payload: str


class _Payload(msgspec.Struct):
    bundle: str


def _owner_of(head: bytes) -> bytes | None:
    if head.startswith(MAGIC) and len(head) >= _BUNDLE.stop:
        if head[KIND_AT] != Kind.RECORD:
            return head[_BUNDLE]
        head = head[_CONTENT_AT : _CONTENT_AT + int.from_bytes(head[_LENGTH], "little")]
    # A statement is only asked whose it is; what it is worth is for a reader to say.
    try:
        payload = base64.b64decode(msgspec.json.decode(head, type=_Envelope).payload)
        return bytes.fromhex(msgspec.json.decode(payload, type=_Payload).bundle)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        return None


def _slice_of(views: Sequence[memoryview], at: int, length: int) -> memoryview:
    """Bytes of `views`, as if they were one."""
    if len(views) == 1:
        return views[0][at:at + length]
    return memoryview(b"".join(views))[at:at + length]


def _require_file(fd: int, where: str) -> None:
    if not system.is_regular(fd):
        raise UsageError("it is not a regular file", where=shown(where), rule="V-1")


def _lock_of(drive: str) -> threading.Lock:
    with _drive_locks_lock:
        return _drive_locks.setdefault(drive, threading.Lock())
