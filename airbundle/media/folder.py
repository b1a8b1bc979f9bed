"""An open folder: all work in it goes through its descriptor, so nobody can swap a link in on the way (V-1).

Names are single parts and links are never followed. Where the system has no such calls the twin works by path and
looks before it opens. Methods raise OSError; the caller says where.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Self

from airbundle.media import system

if TYPE_CHECKING:
    from collections.abc import Iterator


class Folder:
    """A folder held open by descriptor, or by its path in the twin."""

    def __init__(self, path: str, fd: int | None) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def open(cls, path: str) -> Self:
        """Open the folder at `path`; its last part must not be a link."""
        return cls._opened(path, path, None)

    def enter(self, name: str) -> Self:
        """Open the folder `name` in this one."""
        return self._opened(os.path.join(self.path, name), self._at(name), self._fd)

    @classmethod
    def _opened(cls, path: str, at: str, dir_fd: int | None) -> Self:
        if system.features().directory_descriptors:
            return cls(path, os.open(at, os.O_RDONLY | system.DIRECTORY | system.NOFOLLOW, dir_fd=dir_fd))
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return cls(path, None)

    def open_file(self, name: str, flags: int, mode: int = 0o666, *, direct: bool = False) -> int:
        """Open or create the file `name`, never through a link and never waiting for a pipe's other end."""
        at = self._at(name)
        if self._fd is None and os.path.islink(at):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), at)
        guarded = flags | system.NOFOLLOW | system.NONBLOCK
        return system.open_file(at, guarded, mode, dir_fd=self._fd, direct=direct)

    def status(self, name: str) -> os.stat_result:
        """What `name` is; of a link, the link itself."""
        return os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False)

    def make_folder(self, name: str, mode: int = 0o777) -> None:
        """Make the folder `name`."""
        os.mkdir(self._at(name), mode, dir_fd=self._fd)

    def rename(self, old: str, new: str) -> None:
        """Give `old` the name `new`; a file of that name is replaced."""
        os.replace(self._at(old), self._at(new), src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def remove(self, name: str) -> None:
        """Remove the file `name`."""
        os.unlink(self._at(name), dir_fd=self._fd)

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """What the folder holds, as the medium gives it; names may hold any bytes (as surrogates)."""
        with os.scandir(self.path if self._fd is None else self._fd) as found:
            yield from found

    def sync(self) -> None:
        """Wait until the names are on the medium."""
        if self._fd is None:
            system.sync_directory(self.path)
        else:
            system.sync_directory_descriptor(self._fd)

    def lock(self) -> bool:
        """Take the folder for this process alone until `close`; False if another one has it. The twin has no locks."""
        return self._fd is None or system.try_lock(self._fd)

    def close(self) -> None:
        """Let go of the folder, so that its drive can be unmounted."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _at(self, name: str) -> str:
        assert name not in {"", ".", ".."}, name
        assert "/" not in name, name
        return os.path.join(self.path, name) if self._fd is None else name
