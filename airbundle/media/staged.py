"""Files of a staging tree, for reading: what gates look at, and what a model cache is made of."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from typing import TYPE_CHECKING, Final

from airbundle.errors import MediumError
from airbundle.media import system
from airbundle.media.faults import reporting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airbundle.format.names import SafePath
    from airbundle.media.staging import StagingTree

LINKS: Final = "links"
_PIECE: Final = 1 << 20


class StagedFile:
    """One file, open for reading at any place."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end. Raises MediumError."""
        length = max(0, min(length, self.size - offset))
        buffer = bytearray(length)
        with reporting(self.path), memoryview(buffer) as view:
            got = system.read_into(self._descriptor, view, offset)
        return bytes(buffer[:got])


class StagedPath:
    """One file, opened for each read: any number of them can be at hand."""

    def __init__(self, staging: StagingTree, path: SafePath) -> None:
        self._staging, self.path = staging, path
        with open_staged(staging, path) as file:
            self.size = file.size

    def read_at(self, offset: int, length: int) -> bytes:
        """As `StagedFile.read_at`."""
        with open_staged(self._staging, self.path) as file:
            return file.read_at(offset, length)


@contextlib.contextmanager
def open_staged(staging: StagingTree, path: SafePath) -> Iterator[StagedFile]:
    """A file of the tree. Raises MediumError."""
    with reporting(path):
        descriptor = os.open(os.path.join(staging.path, path), os.O_RDONLY | system.NOFOLLOW)
    try:
        yield StagedFile(descriptor, path)
    finally:
        os.close(descriptor)


def git_blob_id(file: StagedFile) -> str:
    """What git calls a blob of these bytes: SHA-1 over `blob SIZE NUL` and the bytes, hexadecimal."""
    digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    for offset in range(0, file.size, _PIECE):
        digest.update(file.read_at(offset, _PIECE))
    return digest.hexdigest()


def link_blobs(staging: StagingTree, blobs: str, names: Mapping[str, str], digests: Mapping[str, str]) -> str:
    """Put the files of the tree into the folder `blobs` under `names`, and make a tree of links to them.

    `names` and `digests` (SHA-256, hexadecimal) go by path. The files stay in the tree too, as further names of the
    same content, so that this can be done again after a kill. Gives the path of the tree of links, whose links fit
    when it lies beside `blobs`, one folder down (`snapshots/REVISION`). Raises MediumError, also for a blob that is
    there with other content.
    """
    tree = os.path.join(os.path.dirname(staging.path), LINKS)
    with reporting(blobs):
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(blobs, exist_ok=True)
        os.mkdir(tree)
        for path, name in names.items():
            _put_blob(os.path.join(staging.path, path), os.path.join(blobs, name), digests[path])
            place = os.path.join(tree, path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.symlink(os.path.join(*[os.pardir] * (path.count("/") + 2), os.path.basename(blobs), name), place)
        system.sync_tree(blobs)
    return tree


def _put_blob(source: str, blob: str, sha256: str) -> None:
    try:
        os.link(source, blob)
    except FileExistsError:
        if not os.path.samestat(os.lstat(source), os.lstat(blob)):
            _require_blob(blob, sha256)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        raise MediumError("the file system has no second names for files", where=blob,
                          hint="publish to ext4, xfs or btrfs, or with the layout 'plain'") from error


def _require_blob(blob: str, sha256: str) -> None:
    """Raise MediumError unless the blob that is there already is a file, and no link to one, with this content."""
    hint = "the model cache is damaged: remove this file"
    if not stat.S_ISREG(os.lstat(blob).st_mode):
        raise MediumError("a blob of this name is not a file", where=blob, hint=hint)
    with open(os.open(blob, os.O_RDONLY | system.NOFOLLOW | system.NONBLOCK), "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise MediumError("a blob of this name holds something else", where=blob, hint=hint)


def point_link(link: str, target: str) -> None:
    """Make the symbolic link `link` point to `target`, whatever it was before; never half. Raises MediumError.

    Nobody else may do this at the same time.
    """
    temporary = f"{link}.part"
    with reporting(link):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(target, temporary)
        os.replace(temporary, link)
        system.sync_directory(os.path.dirname(link))


def write_reference(path: str, text: str) -> None:
    """A small text file, whole or not at all. Raises MediumError. Nobody else may write it at the same time."""
    with reporting(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.part"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        system.sync_directory(os.path.dirname(path))


def is_taken(path: str) -> bool:
    """Whether anything but an empty folder is there."""
    return os.path.lexists(path) and not (folder_id(path) and not os.listdir(path))


def folder_id(path: str) -> str:
    """What a folder is known by on its file system, also when it is renamed; nothing for what is no folder."""
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return str(found.st_ino) if stat.S_ISDIR(found.st_mode) else ""
    return ""


def leads_elsewhere(root: str, path: str) -> bool:
    """Whether a link between the folder `root` and `path` below it leads away; `root` itself may be reached by one."""
    return os.path.realpath(path) != os.path.join(os.path.realpath(root), os.path.relpath(path, root))
