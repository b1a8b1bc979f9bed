"""Where plaintext is put before it is published: a folder beside the target, renamed into place when all is verified.

Nobody but this user can enter the staging folder. Files are made once, by descriptor, and no link is followed (P-7).
The tree inside has the modes that the user's umask gives, so it can be renamed as it is. Publishing never replaces
anything: the target is absent or an empty folder, which one `rename` checks and takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Self

from airbundle.errors import MediumError, UsageError
from airbundle.format.names import SafePath, shown
from airbundle.media import system
from airbundle.media.descriptors import Descriptors
from airbundle.media.drive import free_space
from airbundle.media.faults import medium_error, reporting
from airbundle.media.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TREE: Final = "tree"
_NOTES: Final = "notes"
_FILES_OPEN: Final = 64
_FOLDERS_OPEN: Final = 32
_NAME_SHOWN: Final = 40


class StagingTree:
    """A tree of files that becomes `target` at once. Threads may share it; discarded when a `with` block fails.

    With a `key` it can be kept, and found again by the same key. It lies beside the target, or in the folder `place`,
    which has to be on the same file system.
    """

    def __init__(self, target: str, key: str = "", place: str = "") -> None:
        """Make the staging folder, or go on in an earlier one. Raises UsageError if `target` is in use, MediumError."""
        self.target = os.path.abspath(target)
        above, name = os.path.split(self.target)
        self._mode = require_free(self.target)
        parent = os.path.abspath(place) if place else above
        with reporting(parent):
            os.makedirs(parent, exist_ok=True)
            # mkdtemp gives mode 0700.
            self._staging = _own(os.path.join(parent, _folder_name(name, key))) if key else tempfile.mkdtemp(
                prefix=_folder_name(name, ""), dir=parent)
            self.path = os.path.join(self._staging, _TREE)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path)
            self._root = Folder.open(self.path)
        self._lock = threading.Lock()
        self._folders: OrderedDict[str, Folder] = OrderedDict()
        self._files: Descriptors[SafePath] = Descriptors(self._open_again, _FILES_OPEN)
        self._direct_files: Descriptors[SafePath] = Descriptors(self._open_direct, _FILES_OPEN)
        self._done = self._kept = False

    @property
    def notes(self) -> str:
        """A file beside the tree, for notes about what is in it."""
        return os.path.join(self._staging, _NOTES)

    def keep(self, *, kept: bool = True) -> None:
        """Do not discard what is there, whatever happens: a later run goes on with it."""
        self._kept = kept

    def require_only(self, sizes: Mapping[str, int], folders: Iterable[str]) -> None:
        """Raise MediumError unless the tree holds these files, with these sizes, and these folders, and nothing else.

        What an earlier run has left may have been changed since.
        """
        wanted = {*folders, *(above for path in [*sizes, *folders] for above in SafePath(path).above)}
        missing = len(sizes) + len(wanted)
        stack = [""]
        with reporting(self.path):
            while stack:
                folder = stack.pop()
                with os.scandir(os.path.join(self.path, folder)) as entries:
                    for entry in entries:
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_dir(follow_symlinks=False) and path in wanted:
                            stack.append(path)
                        elif not entry.is_file(follow_symlinks=False) or sizes.get(path) != entry.stat().st_size:
                            raise _changed(self._staging, path)
                        missing -= 1
        if missing:
            raise _changed(self._staging, min(
                (path for path in (*sizes, *wanted) if not os.path.lexists(os.path.join(self.path, path))), default=""))

    def sync(self) -> None:
        """Wait until everything written is on the medium. Raises MediumError."""
        with reporting(self.path):
            system.sync_tree(self.path)

    def clear(self) -> None:
        """Remove what an earlier run has left. Raises MediumError."""
        with reporting(self.path):
            for entry in os.scandir(self.path):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)

    def require_digests(self, digests: Iterable[tuple[SafePath, str]]) -> None:
        """Raise MediumError unless each of these files has its SHA-256 (hexadecimal)."""
        for path, wanted in digests:
            if self.digest(path) != wanted:
                raise _changed(self._staging, path)

    def digest(self, path: SafePath) -> str:
        """The SHA-256 of a file, hexadecimal. Raises MediumError."""
        with reporting(path):
            fd = os.open(os.path.join(self.path, path), os.O_RDONLY | system.NOFOLLOW)
            with open(fd, "rb", buffering=0) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

    def rename(self, path: SafePath, new: SafePath) -> None:
        """Give a file another name in its folder. Raises MediumError, also if that name is taken."""
        with reporting(path):
            if os.path.lexists(os.path.join(self.path, new)):  # nobody else can enter: it does not come in between
                raise MediumError("is there already", where=new)
            os.rename(os.path.join(self.path, path), os.path.join(self.path, new))

    def create(self, path: SafePath, size: int) -> None:
        """Make the file `path` with `size` bytes, zeros until written. Raises MediumError, also when it exists."""
        with reporting(path):
            with self._lock:
                folder = self._folder(path.rpartition("/")[0])
                fd = folder.open_file(path.rpartition("/")[2], os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.ftruncate(fd, size)
            except OSError:
                os.close(fd)
                raise
        # Without the lock: `borrow` takes the two locks the other way round.
        self._files.adopt(path, fd)

    def touch(self, path: SafePath) -> None:
        """Make the file `path`, empty, if it is not there. Raises MediumError."""
        with reporting(path), self._files.borrow(path):
            pass

    def write_at(self, path: SafePath, offset: int, view: memoryview) -> None:
        """Write `view` at `offset` of a file, which is made if it is not there. Raises MediumError.

        What is large, and lies in memory as it will lie in pages of the file, goes past the page cache.
        """
        head = -offset % system.ALIGNMENT
        middle = (len(view) - head) // system.ALIGNMENT * system.ALIGNMENT
        if middle < system.DIRECT_FROM or not system.aligned(view[head : head + middle]):
            head, middle = len(view), 0
        with reporting(path):
            if middle:
                with self._direct_files.borrow(path) as fd:
                    system.write_all(fd, view[head : head + middle], offset + head)
            if len(view) > middle:
                with self._files.borrow(path) as fd:
                    system.write_all(fd, view[:head], offset)
                    system.write_all(fd, view[head + middle :], offset + head + middle)

    def make_folder(self, path: SafePath) -> None:
        """Make the folder `path` and those on the way. Raises MediumError."""
        with self._lock, reporting(path):
            self._folder(path)

    def publish(self, tree: str = "") -> None:
        """Sync everything and rename it to the target. Raises MediumError; then the tree is still there.

        With `tree`, a folder beside the tree that was made from it, that one becomes the target.
        """
        self._release()
        tree = tree or self.path
        with reporting(self.target):
            if self._mode is not None:
                os.chmod(tree, self._mode)
            system.sync_tree(tree)
            os.makedirs(os.path.dirname(self.target), exist_ok=True)
            if os.name == "nt" and os.path.isdir(self.target):
                os.rmdir(self.target)
            # Of a folder: takes the place of an empty folder and of nothing else.
            os.rename(tree, self.target)
            self._done = True
            shutil.rmtree(self._staging, ignore_errors=True)
            system.sync_directory(os.path.dirname(self.target))

    def discard(self) -> None:
        """Remove everything that was staged. Does nothing after `publish`."""
        if not self._done and self._kept:
            self._release()
        elif not self._done:
            self._release()
            try:
                shutil.rmtree(self._staging, ignore_errors=True)
            except KeyboardInterrupt:  # once more asked to stop: plaintext is not left behind for that
                shutil.rmtree(self._staging, ignore_errors=True)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None or not self._done:
            self.discard()

    def _release(self) -> None:
        self._files.close()
        self._direct_files.close()
        with self._lock:
            while self._folders:
                self._folders.popitem()[1].close()
            self._root.close()

    def _open_again(self, path: SafePath, *, direct: bool = False) -> int:
        folder, _, name = path.rpartition("/")
        with self._lock:
            return self._folder(folder).open_file(name, os.O_WRONLY | os.O_CREAT, direct=direct)

    def _open_direct(self, path: SafePath) -> int:
        return self._open_again(path, direct=True)

    def _folder(self, path: str) -> Folder:
        """The folder `path`, made if it is not there; call with the lock held and use before letting it go."""
        if not path:
            return self._root
        if path in self._folders:
            self._folders.move_to_end(path)
            return self._folders[path]
        above, _, name = path.rpartition("/")
        parent = self._folder(above)
        with contextlib.suppress(FileExistsError):
            parent.make_folder(name)
        self._folders[path] = parent.enter(name)
        if len(self._folders) > _FOLDERS_OPEN:
            self._folders.popitem(last=False)[1].close()
        return self._folders[path]


def remove_left(target: str, key: str, place: str) -> None:
    """Remove the staging folder that a run has left which was stopped when it had published to `target`."""
    shutil.rmtree(os.path.join(place, _folder_name(os.path.basename(target), key)), ignore_errors=True)


def _folder_name(name: str, key: str) -> str:
    return f".{name[:_NAME_SHOWN]}.airbundle-partial-{key}"


def require_space(path: str, needed: int) -> None:
    """Raise MediumError unless `needed` bytes are free on the file system where `path` is or will be."""
    place = os.path.abspath(path)
    while not os.path.exists(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    with reporting(place):
        free = free_space(place)
    if free < needed:
        raise MediumError(
            f"{needed} bytes are needed and {free} are free",
            where=shown(path),
            hint=f"make room for {needed - free} bytes more or use another place",
        )


def _changed(staging: str, path: str) -> MediumError:
    return MediumError(f"'{shown(path)}' is not as an earlier run left it", where=shown(staging),
                       hint="nothing was published, and it is thrown away: run the same command again from the start")


def _own(path: str) -> str:
    """The folder `path` with mode 0700, made if it is not there. Raises UsageError if somebody else could enter it."""
    made = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        made = True
    found = os.lstat(path)
    ours = stat.S_ISDIR(found.st_mode) and (os.name == "nt" or (
        found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077))
    if not ours and made:  # FAT and exFAT: all files have the owner and the mode that the mount says
        os.rmdir(path)
        raise UsageError("this file system cannot keep a folder for you alone, so others could read what is unpacked",
                         where=shown(os.path.dirname(path)),
                         hint="mount it with umask=077 and your uid, or unpack somewhere else")
    if not ours:
        raise UsageError("is not a folder of yours alone", where=shown(path), hint="remove it")
    return path


def require_free(target: str) -> int | None:
    """Check that nothing is at `target` but perhaps an empty folder (P-7), and give that folder's mode.

    Raises UsageError, MediumError.
    """
    hint = "give the name of a folder that does not exist yet"
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise medium_error(error, target) from error
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError("it exists and is not a folder", where=shown(target), hint=hint, rule="P-7")
    with reporting(target):
        if os.listdir(target):
            raise UsageError("the folder is not empty", where=shown(target), hint=hint, rule="P-7")
        if os.stat(os.path.dirname(os.path.abspath(target))).st_dev != found.st_dev:
            raise UsageError("the folder is a mount point", where=shown(target), hint="give a new folder inside it")
    return stat.S_IMODE(found.st_mode)
