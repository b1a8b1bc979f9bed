"""Where published content goes, and how it is laid out there.

`plain`: `ROOT/LABEL/BUNDLE-ID/`, and a link `ROOT/LABEL/current` to the newest. `hf-cache`: the cache of the Hugging
Face hub, `ROOT/models--ORG--NAME/{blobs,refs,snapshots}`, so that `from_pretrained(..., local_files_only=True)` finds
it; the repository is the bundle's own sealed note `hf-repo`, the revision its note `hf-revision`, else made from the
bundle id. Either way one rename makes everything visible at once; links and references to it follow (`point_at`),
and are set again if that was stopped.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.errors import FormatError, MediumError, PolicyError
from airbundle.format.names import SafePath, shown
from airbundle.media.staged import (
    git_blob_id,
    leads_elsewhere,
    link_blobs,
    open_staged,
    point_link,
    write_reference,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.format.manifest import FileRow, Manifest
    from airbundle.format.statement import Statement
    from airbundle.media.staging import StagingTree

CURRENT: Final = "current"
STAGING_PLACE: Final = ".airbundle-staging"
REPOSITORY_NOTE: Final = "hf-repo"
REVISION_NOTE: Final = "hf-revision"
BLOBS: Final = "blobs"
REFS: Final = "refs"
MAIN: Final = "main"
LARGE_FILE: Final = 10 * 1024 * 1024
"""The hub keeps a file of so many bytes as a large one, whatever its name."""
LARGE_NAMES: Final = ("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gguf", "*.gz", "*.h5", "*.joblib",
                      "*.lfs.*", "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet",
                      "*.pb", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors", "*.tar", "*.tflite",
                      "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*")
"""The patterns of the `.gitattributes` that the hub gives a new repository; one that the bundle carries comes first."""
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_REVISION: Final = re.compile(r"[0-9a-f]{40}")
_ATTRIBUTES: Final = ".gitattributes"
_ATTRIBUTES_MAX: Final = 1 << 20
_PATTERNS_MAX: Final = 200  # each is held against each file; a blob that the hub would name otherwise is as good


@dataclass(frozen=True, slots=True)
class Destination:
    """Where one bundle goes: the folder `target`, which appears at once, under `root`."""

    layout: str
    root: str
    target: str

    @property
    def staging(self) -> str:
        """The folder for staging, on the same file system."""
        return staging_place(self.root)

    def require_inside(self) -> None:
        """Raise MediumError if a link under the root leads what is published or staged elsewhere."""
        above = os.path.dirname(self.target)
        beside = () if self.layout == "plain" else (BLOBS, REFS)
        for folder in (self.staging, above, *(os.path.join(os.path.dirname(above), name) for name in beside)):
            if leads_elsewhere(self.root, folder):
                raise MediumError("a link leads out of its place", where=folder,
                                  hint="nothing is published through links: remove it")

    def prepare(self, staging: StagingTree, manifest: Manifest) -> str:
        """Do everything but the rename, and wait for the medium; gives the tree to be renamed. Raises MediumError."""
        if self.layout == "plain":
            staging.sync()
            return staging.path
        large = _large_names(staging, manifest.files)
        names = {file.path: _blob_name(staging, file, large) for file in manifest.files}
        blobs = os.path.join(os.path.dirname(os.path.dirname(self.target)), BLOBS)
        tree = link_blobs(staging, blobs, names, {file.path: file.sha256 for file in manifest.files})
        staging.sync()
        return tree


def destination_of(root: str, layout: str, statement: Statement, manifest: Manifest) -> Destination:
    """The place of a bundle. Raises PolicyError if it has no usable repository name."""
    root = os.path.abspath(root)
    if layout == "plain":
        return Destination(layout, root, os.path.join(root, _folder_name(statement.label), statement.bundle))
    notes = dict(manifest.meta)
    repository = notes.get(REPOSITORY_NOTE, "")
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise PolicyError("repository", f"its note {REPOSITORY_NOTE} is '{shown(repository)}': no repository",
                          hint=f"pack with --meta {REPOSITORY_NOTE}=ORG/NAME")
    revision = notes.get(REVISION_NOTE, statement.bundle + "0" * 8)
    if not _REVISION.fullmatch(revision):
        raise PolicyError("repository", f"its note {REVISION_NOTE} is no revision of 40 hexadecimal digits")
    folder = "models--" + repository.replace("/", "--")
    return Destination(layout, root, os.path.join(root, folder, "snapshots", revision))


def staging_place(root: str) -> str:
    """The folder for staging under a publish root."""
    return os.path.join(root, STAGING_PLACE)


def point_at(layout: str, target: str) -> None:
    """Set what points to the newest content; may be done again. Raises MediumError."""
    above, name = os.path.split(target)
    if layout == "plain":
        point_link(os.path.join(above, CURRENT), name)
    else:
        write_reference(os.path.join(os.path.dirname(above), REFS, MAIN), name)


def _folder_name(label: str) -> str:
    """The label if it can be the name of a folder on every system, else with what cannot be replaced."""
    try:
        if "/" not in SafePath.parse(label) and not label.startswith(".") and label.casefold() != CURRENT:
            return label
    except FormatError:
        pass
    return "_" + re.sub(r"[^A-Za-z0-9-]", "_", label)[:100]


def _blob_name(staging: StagingTree, file: FileRow, large: Sequence[str]) -> str:
    """What the hub calls the blob: SHA-256 of a large file, as it was signed; of others the id that git gives it."""
    name = file.path.rpartition("/")[2]
    if file.size >= LARGE_FILE or any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(file.path, pattern)
                                      for pattern in large):
        return file.sha256
    with open_staged(staging, SafePath(file.path)) as staged:
        return git_blob_id(staged)


def _large_names(staging: StagingTree, files: Sequence[FileRow]) -> tuple[str, ...]:
    """Patterns of large files: of the `.gitattributes` that came along, or those of a new repository."""
    if not any(file.path == _ATTRIBUTES for file in files):
        return LARGE_NAMES
    with open_staged(staging, SafePath(_ATTRIBUTES)) as staged:
        text = staged.read_at(0, _ATTRIBUTES_MAX).decode(errors="replace")
    lines = [line.split() for line in text.splitlines()]
    return tuple(words[0] for words in lines if "filter=lfs" in words[1:])[:_PATTERNS_MAX]
