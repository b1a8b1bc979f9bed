"""Whether a drive is still there: remembered when it is opened, asked again before anybody says what is wrong.

A drive that was pulled says many things: FAT that there is no such file, ext4 that nothing can be read, FUSE that it is
not connected. None of that is damage, and nothing that is missing then is missing from the bundle.

The guard is `pulled_first`, and it is one: every verb runs inside it, and what fails there is a PulledError where a
drive is gone by then. A success stays one. Who asks earlier (`volume.py`, `check.py`, `salvage.py`) only keeps a verb
from going on with what a drive that is gone seems to say. A healthy drive costs some looks into /proc and /sys when it
is opened, and nothing while it is read.

What cannot be known (no /proc or /sys, no block device, a kernel without diskseq) counts as present.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from airbundle.errors import (
    AirbundleError,
    DamagedError,
    IncompleteError,
    MediumError,
    PolicyError,
    PulledError,
    RepairableError,
    UntrustedError,
    UsageError,
)
from airbundle.format.names import shown
from airbundle.media import system
from airbundle.media.drive import Attached, answers_at, filesystem_label, in_brackets
from airbundle.media.faults import DAMAGE, GONE, RECONNECT, medium_error
from airbundle.media.mount_table import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NOT_TOUCHED: Final = getattr(os, "O_PATH", os.O_RDONLY)
_PROBED_FILES: Final = 8
_ENTRIES_LOOKED_AT: Final = 1000
_MOUNT_ID: Final = re.compile(r"^mnt_id:\s*([0-9]+)$", re.MULTILINE)
_EXPLAINED: Final = (UsageError, IncompleteError, DamagedError, UntrustedError, RepairableError)
_READ_FROM_THE_DRIVE: Final = frozenset({"unknown-drive", "changed-serial", "custody"})
"""Refusals by a policy that a drive causes by not being there."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What lies under a folder: how a person knows the drive, what is attached, the mount as `ID PARENT MAJ:MIN`."""

    path: str
    name: str
    attached: Attached
    mount: str

    @classmethod
    def of(cls, path: str) -> Self:
        """What is there now; of a path that cannot be looked at nothing is known."""
        try:
            attached = Attached.under(path)
        except OSError:
            return cls(path, "", Attached("", ()), "")
        return cls(path, in_brackets(filesystem_label(path), attached.serial()), attached, _mount_of(path))

    def require_connected(self) -> None:
        """Raise PulledError if the drive is surely gone; reads nothing from it, so it is quick."""
        try:
            os.stat(self.path)
        except OSError as error:
            if error.errno in GONE:
                raise self._pulled("the drive was pulled") from error
        if self.attached.is_gone():
            raise self._pulled("the drive was pulled")
        if self.mount and self.mount not in _mounts(self.mount):
            raise self._pulled("the drive is not mounted any more")

    def require_present(self) -> None:
        """Raise PulledError if the drive is gone, or if of a few places all over its files none can be read."""
        self.require_connected()
        if not self._answers():
            raise self._pulled("nothing on this drive can be read any more: it has failed as a whole, or was pulled")

    def _pulled(self, what: str) -> PulledError:
        return PulledError(what + self.name, where=shown(self.path), hint=RECONNECT)

    def _answers(self) -> bool:
        """Whether the device answers, or, where nobody here may ask it, any file; also where there is none."""
        of_device = self.attached.answers()  # first: what was only made room for is zeros without asking the drive
        if of_device is not None:
            return of_device
        files, refused = _files_in(self.path)
        for size, file in sorted(files, reverse=True)[:_PROBED_FILES]:
            answer = _file_answers(file, size)
            if answer:
                return True
            refused = refused or answer is False
        return not refused


def _files_in(path: str, *, below: bool = True) -> tuple[list[tuple[int, str]], bool]:
    """Sizes and paths of files in a folder and in those in it, and whether an entry could not be had from the drive."""
    files: list[tuple[int, str]] = []
    refused = False
    try:
        with os.scandir(path) as entries:
            for entry in itertools.islice(entries, _ENTRIES_LOOKED_AT):
                if len(files) >= _ENTRIES_LOOKED_AT:
                    break
                try:
                    if entry.is_file(follow_symlinks=False):
                        files.append((entry.stat(follow_symlinks=False).st_size, entry.path))
                    elif below and entry.is_dir(follow_symlinks=False):
                        inner, refused_there = _files_in(entry.path, below=False)
                        files += inner
                        refused = refused or refused_there
                except OSError as error:
                    refused = refused or error.errno in DAMAGE | GONE
    except OSError as error:
        refused = refused or error.errno in DAMAGE | GONE
    return files, refused


def _file_answers(path: str, size: int) -> bool | None:
    """Whether a file gives its first bytes or those in the middle; None where that says nothing of the drive."""
    try:
        fd = system.open_file(path, os.O_RDONLY | system.NOFOLLOW | system.NONBLOCK, direct=True)
    except OSError as error:
        return False if error.errno in DAMAGE | GONE else None
    try:
        return any(answers_at(fd, at) for at in (0, size // 2)) if system.is_regular(fd) and size else None
    finally:
        os.close(fd)


def _mount_of(path: str) -> str:
    """The identity of the mount that holds `path`, or ''."""
    if not system.features().kernel_files:
        return ""
    with contextlib.suppress(OSError):
        fd = os.open(path, _NOT_TOUCHED)
        try:
            with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
                found = _MOUNT_ID.search(info.read())
        finally:
            os.close(fd)
        if found is not None:
            return next((line for line in _mounts("") if line.startswith(f"{found[1]} ")), "")
    return ""


def _mounts(otherwise: str) -> list[str]:
    """The identity of each mount; where they cannot be read, `otherwise` alone."""
    try:
        return [row.identity for row in mounts()]
    except OSError:
        return [otherwise]


def explained(error: AirbundleError, presences: Sequence[Presence]) -> AirbundleError:
    """`error`, or, where a drive that is gone may be all that is behind it, a PulledError that names that drive."""
    if not _may_be_pulled(error, presences):
        return error
    for presence in presences:
        try:
            presence.require_present()
        except PulledError as pulled:
            return pulled
    return error


def _may_be_pulled(error: AirbundleError, presences: Sequence[Presence]) -> bool:
    """Whether this is something that a drive which is not there may have caused."""
    if isinstance(error, PolicyError):
        return error.code in _READ_FROM_THE_DRIVE
    if isinstance(error, MediumError):  # of a target, or of the state folder: nothing of the drives that are read
        return not isinstance(error, PulledError) and (not error.where or any(
            f"{error.where}/".startswith(f"{shown(presence.path.rstrip('/'))}/") for presence in presences))
    return isinstance(error, _EXPLAINED)


@contextlib.contextmanager
def pulled_first(presences: Sequence[Presence]) -> Iterator[None]:
    """What goes wrong inside becomes a PulledError where that explains it; `presences` may grow meanwhile."""
    try:
        yield
    except AirbundleError as error:
        failure = explained(error, presences)
        if failure is error:
            raise
        raise failure from error
    except OSError as error:
        failure = explained(medium_error(error, ""), presences)
        if isinstance(failure, PulledError):
            raise failure from error
        raise
