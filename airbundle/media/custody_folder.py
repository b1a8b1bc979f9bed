"""The folder `custody` on a volume: small signed files beside the bundle, a stranger's like everything on a medium."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from airbundle.errors import FormatError, UsageError
from airbundle.format import limits
from airbundle.format.names import shown
from airbundle.media import system
from airbundle.media.faults import reporting
from airbundle.media.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

CUSTODY_NAME: Final = "custody"
_EVENT_NAME: Final = re.compile(r"[0-9]{4}-[a-z-]{1,32}\.json")


def read_events(volume: str) -> list[tuple[str, bytes]]:
    """Name and bytes of each event, in order of their names; none where there is no such folder.

    Raises FormatError for more than 1000 entries, for what is not a file, and for more than 64 KiB; MediumError.
    """
    with reporting(volume), _opened(volume) as folder:
        if folder is None:
            return []
        names = []
        for count, entry in enumerate(folder.entries()):
            if count >= limits.CUSTODY_EVENTS_MAX:
                raise FormatError(f"more than {limits.CUSTODY_EVENTS_MAX} events of custody", where=shown(volume))
            names += [entry.name] if _EVENT_NAME.fullmatch(entry.name) else []
        return [(name, _read(folder, name)) for name in sorted(names)]


def _read(folder: Folder, name: str) -> bytes:
    if not stat.S_ISREG(folder.status(name).st_mode):
        raise FormatError("it is not a regular file", where=shown(os.path.join(folder.path, name)), rule="V-1")
    descriptor = folder.open_file(name, os.O_RDONLY)
    try:
        buffer = bytearray(limits.CUSTODY_EVENT_SIZE_MAX + 1)
        with memoryview(buffer) as view:
            got = system.read_into(descriptor, view, 0)
    finally:
        os.close(descriptor)
    if got > limits.CUSTODY_EVENT_SIZE_MAX:
        raise FormatError("an event of custody is too large", where=shown(os.path.join(folder.path, name)))
    return bytes(buffer[:got])


def add_event(volume: str, name: str, raw: bytes) -> None:
    """Write one more event; durable on return. Raises UsageError if there is one of this name, MediumError."""
    with reporting(volume):
        above = Folder.open(volume)
        try:
            with contextlib.suppress(FileExistsError):
                above.make_folder(CUSTODY_NAME)
            above.sync()
        finally:
            above.close()
        with _opened(volume) as folder:
            assert folder is not None
            try:
                descriptor = folder.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                raise UsageError("somebody else has just added an event", where=shown(volume),
                                 hint="run the same command again") from None
            try:
                system.write_all(descriptor, memoryview(raw), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            folder.sync()


@contextlib.contextmanager
def _opened(volume: str) -> Iterator[Folder | None]:
    above = Folder.open(volume)
    folder: Folder | None = None
    try:
        try:
            folder = above.enter(CUSTODY_NAME)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            raise FormatError(f"'{CUSTODY_NAME}' is not a folder", where=shown(volume), rule="V-1") from None
        yield folder
    finally:
        above.close()
        if folder is not None:
            folder.close()
