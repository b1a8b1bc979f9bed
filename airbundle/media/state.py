"""The packer's state folder: append-only logs that survive `kill -9`, and small documents. Never on a medium.

A log is a row of `u32 length ‖ bytes`, each appended and synced; a torn end is cut off when the log is opened.
What the bytes mean, and how they are protected, is the caller's business.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import TYPE_CHECKING, Final, Self

from airbundle.errors import MediumError, UsageError
from airbundle.format import limits
from airbundle.media import system
from airbundle.media.faults import reporting
from airbundle.media.streams import make_private

if TYPE_CHECKING:
    from types import TracebackType

_LENGTH: Final = struct.Struct("<I")
RECORD_MAX: Final = limits.SEGMENT_STORED_MAX + limits.MIB


def state_folder(*parts: str) -> str:
    """`$XDG_STATE_HOME/airbundle/...`, made with mode 0700 where it is missing."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    folder = os.path.join(home, "airbundle", *parts)
    with reporting(folder):
        return make_private(folder)


def boot_id() -> str:
    """What stays the same until this machine starts anew; nothing where the kernel does not say."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read(64).strip()
    return ""


def save_document(path: str, content: bytes | memoryview) -> None:
    """Write a small file whole or not at all. Raises MediumError."""
    temporary = f"{path}.{os.getpid()}.part"
    with reporting(path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            system.write_all(descriptor, memoryview(content), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)


def read_document(path: str) -> bytes:
    """A small file, at most 64 KiB of it; nothing if it is not there."""
    with reporting(path), contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        return file.read(64 * limits.KIB)
    return b""


def save_buffer(path: str, view: memoryview) -> None:
    """Write a large file, which is not there yet; durable on return. Raises MediumError."""
    with reporting(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            system.write_all(descriptor, view, 0)
            system.sync_file(descriptor)
        finally:
            os.close(descriptor)


def load_buffer(path: str, view: memoryview) -> None:
    """Fill `view` from the file. Raises MediumError."""
    with reporting(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if system.read_into(descriptor, view, 0) != len(view):
                raise MediumError("is shorter than it was written", where=path)
        finally:
            os.close(descriptor)


class AppendLog:
    """An append-only log, open by one process at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        with reporting(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not system.try_lock(self._descriptor):
            os.close(self._descriptor)
            raise UsageError("another process is doing just this", where=path, hint="wait until it has ended")
        self.records = self._read()

    def _read(self) -> list[bytes]:
        size = os.fstat(self._descriptor).st_size
        records, at = [], 0
        while at + _LENGTH.size <= size:
            length = _LENGTH.unpack(os.pread(self._descriptor, _LENGTH.size, at))[0]
            if length > RECORD_MAX or at + _LENGTH.size + length > size:
                break
            records.append(os.pread(self._descriptor, length, at + _LENGTH.size))
            at += _LENGTH.size + length
        os.ftruncate(self._descriptor, at)
        return records

    def append(self, record: bytes, *, durable: bool = True) -> None:
        """On the medium on return if `durable`, else safe from the end of this process only. Raises MediumError."""
        with reporting(self.path):
            end = os.lseek(self._descriptor, 0, os.SEEK_END)
            system.write_all(self._descriptor, memoryview(_LENGTH.pack(len(record)) + record), end)
            if durable:
                os.fsync(self._descriptor)

    def keep(self, count: int) -> None:
        """Forget all records but the first `count`."""
        self.records = self.records[:count]
        os.ftruncate(self._descriptor, sum(_LENGTH.size + len(record) for record in self.records))

    def erase(self) -> None:
        """Remove the log for good."""
        os.unlink(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        os.close(self._descriptor)
