"""What is to be packed: a folder, one file, or a model in the Hugging Face cache (spec chapter 12).

`scan` looks at everything once, collects all that cannot be carried and refuses the source with the whole list.
Links are followed to regular files inside the source, or to the blobs of the model cache that the source is a
snapshot of; no other link, and no pipe, socket or device, is carried. `reading.py` gives the bytes.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airbundle.errors import FormatError, SourceChangedError, SourceError, UsageError
from airbundle.format import limits
from airbundle.format.names import SafePath, check_paths, require_assigned, shown
from airbundle.media import system
from airbundle.media.faults import medium_error, reporting
from airbundle.media.source_files import FoundFiles, identity_of, without_device

if TYPE_CHECKING:
    from airbundle.media.source_files import SourceFile, SourceFiles

SALVAGE_MARKER: Final = "AIRBUNDLE-SALVAGED.txt"
_PROBLEMS_SHOWN: Final = 20
_MOST: Final = limits.ROWS_MAX * limits.SLICE_MAX
_CACHED_MODEL: Final = re.compile(r"(?:models|datasets|spaces)--.+")


@dataclass(frozen=True, slots=True)
class Source:
    """A scanned source: files and empty folders in order of their paths (P-5)."""

    root: str
    files: SourceFiles
    folders: tuple[SafePath, ...]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return self.files.total


def scan(path: str) -> Source:
    """Look at the file or folder `path`. Raises SourceError with all problems, UsageError, MediumError."""
    if not os.path.exists(path):
        raise UsageError("there is no such file or folder", where=shown(path), hint="check the path")
    root = os.path.realpath(path)
    with reporting(path):
        found = os.stat(root)
    work = _Scan(root, _blobs_beside(root), FoundFiles(root))
    if stat.S_ISDIR(found.st_mode):
        work.walk()
    else:
        # The person named this file, so a link on the way to it is theirs; its name is the one they gave.
        name = os.path.basename(os.path.abspath(path))
        if os.path.lexists(os.path.join(os.path.dirname(os.path.abspath(path)), SALVAGE_MARKER)):
            work.problem(name, "comes from a salvage, which nobody signed")
        work.take(name, found, root)
    return work.result()


def open_source(file: SourceFile) -> int:
    """Open the file for reading; whoever reads from it has to `check_unchanged` afterwards.

    Raises SourceChangedError when it is gone, MediumError.
    """
    try:
        return system.open_file(file.location, os.O_RDONLY | system.NOFOLLOW | system.NONBLOCK)
    except OSError as error:
        if not os.path.lexists(file.location) or os.path.islink(file.location):
            raise SourceChangedError("it is no longer there", where=shown(file.path)) from error
        raise medium_error(error, file.path) from error


def check_unchanged(fd: int, file: SourceFile) -> None:
    """Raise SourceChangedError when the open file is not as it was scanned."""
    if identity_of(os.fstat(fd)) != file.identity:
        raise SourceChangedError(
            "it changed after the source was scanned",
            where=shown(file.path),
            hint="wait until nothing writes there, then run the same command again",
        )


def seen_from_here(file: SourceFile) -> SourceFile:
    """The file as this machine sees it, where another one has scanned it over a file system that both share.

    Numbers of devices are each machine's own; all else has to be the same. Raises UsageError, SourceChangedError.
    """
    try:
        found = os.stat(file.location, follow_symlinks=False)
    except FileNotFoundError:
        raise UsageError("is not there on the worker", where=shown(file.location),
                         hint="keep the source on a file system that all workers share, under the same path") from None
    except OSError as error:
        raise medium_error(error, file.location) from error
    identity = identity_of(found)
    if without_device(identity) != without_device(file.identity):
        raise SourceChangedError("it changed after the source was scanned, or is another file on the worker",
                                 where=shown(file.path), hint="wait until nothing writes there, look whether all "
                                 "workers see the same file system, then run the same command again")
    return file._replace(identity=identity)


@dataclass(slots=True)
class _Scan:
    """One walk over a source and all that was found on it."""

    root: str
    blobs: str
    files: FoundFiles
    folders: list[SafePath] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def problem(self, name: str, why: str) -> None:
        self.problems.append(f"'{shown(name)}' {why}")

    def walk(self) -> None:
        waiting: list[tuple[str, str]] = [("", self.root)]
        while waiting:
            prefix, folder = waiting.pop()
            empty = True
            with reporting(folder), os.scandir(folder) as entries:
                for entry in entries:
                    empty = False
                    name = prefix + entry.name
                    if entry.name == SALVAGE_MARKER:
                        self.problem(name, "marks a salvaged folder, which nobody signed")
                    elif entry.is_dir(follow_symlinks=False):
                        self._enter(name, entry.path, waiting)
                    else:
                        self._entry(name, entry)
            if empty and prefix:
                self.folders.append(SafePath.parse(prefix[:-1]))
            if len(self.files) > limits.FILES_MAX or len(self.folders) > limits.FOLDERS_MAX:
                raise SourceError(f"more than {limits.FILES_MAX} files", where=shown(self.root), rule="L-3")

    def _enter(self, name: str, location: str, waiting: list[tuple[str, str]]) -> None:
        # A folder that cannot be carried is one problem, not one for each file below it.
        if self._parsed(name) is not None:
            waiting.append((name + "/", location))

    def _entry(self, name: str, entry: os.DirEntry[str]) -> None:
        location, elsewhere = entry.path, ""
        if entry.is_symlink():
            elsewhere = self._followed(name, location)
            if not elsewhere:
                return
            location = elsewhere
        try:  # not `with reporting`: a context takes half as long again as the call, for each file
            found = os.stat(location, follow_symlinks=False)
        except OSError as error:
            raise medium_error(error, location) from error
        self.take(name, found, elsewhere)

    def _followed(self, name: str, location: str) -> str:
        """The regular file that a link may be followed to, or nothing and a problem."""
        try:
            target = os.path.realpath(location, strict=True)
            folder = stat.S_ISDIR(os.stat(target).st_mode)
        except OSError:
            self.problem(name, "is a link that leads nowhere")
            return ""
        if folder:
            self.problem(name, "is a link to a folder")
        elif _inside(target, self.root) or (self.blobs and _inside(target, self.blobs)):
            return target
        else:
            self.problem(name, "is a link that leads out of the source")
        return ""

    def take(self, name: str, found: os.stat_result, elsewhere: str = "") -> None:
        if not stat.S_ISREG(found.st_mode):
            self.problem(name, "is a pipe, a socket or a device")
            return
        path = self._parsed(name)
        if path is not None:
            self.files.add(path, found, elsewhere)

    def _parsed(self, name: str) -> SafePath | None:
        try:
            return SafePath.parse(require_assigned(name))
        except FormatError as error:
            self.problems.append(str(error))
            return None

    def result(self) -> Source:
        if self.files.total > _MOST:
            raise SourceError(f"{self.files.total:,} bytes in files", where=shown(self.root), rule="L-2",
                              hint=f"a bundle carries {_MOST >> 40} TiB at most")
        files = self.files.in_order()
        self.folders.sort()
        try:
            check_paths(files.paths, self.folders)
        except FormatError as error:
            self.problems.extend(_collisions([*files.paths, *self.folders]) or [str(error)])
        if self.problems:
            listed = sorted(self.problems)
            lines = listed[:_PROBLEMS_SHOWN]
            if len(listed) > len(lines):
                lines.append(f"and {len(listed) - len(lines)} more")
            raise SourceError(
                f"{len(listed)} {'thing' if len(listed) == 1 else 'things'} in the source cannot be carried",
                problems=tuple(listed),
                where=shown(self.root),
                hint="rename or remove them:\n" + "\n".join(lines),
            )
        return Source(self.root, files, tuple(self.folders))


def _collisions(paths: list[SafePath]) -> list[str]:
    """All collisions, after the guard found one: spellings that are alike are put to the guard two by two."""
    alike: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            spelling = "/".join(parts[:count])
            alike.setdefault(unicodedata.normalize("NFC", spelling.casefold()), set()).add(spelling)
    found: dict[str, None] = {}
    for spellings in alike.values():
        first, *others = sorted(spellings)
        for other in others:
            try:
                check_paths([SafePath.parse(first), SafePath.parse(other)])
            except FormatError as error:
                found[str(error)] = None
    return list(found)


def _blobs_beside(root: str) -> str:
    """The blobs folder of the model cache that `root` is a snapshot of (`models--x--y/snapshots/REVISION`), or ''."""
    folder = root
    while (parent := os.path.dirname(folder)) != folder:
        model = os.path.dirname(parent)
        if os.path.basename(parent) == "snapshots" and _CACHED_MODEL.fullmatch(os.path.basename(model)):
            return os.path.join(model, "blobs")
        folder = parent
    return ""


def _inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)
