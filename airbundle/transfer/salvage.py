"""Salvage: what can still be read of a bundle that can no longer be verified, with all holes named.

1. open the bundle as unpack does; without trust it may be a stranger's, and may lack its statement or its catalog
2. each data segment: whole if its file or its group gives it, else the blocks that are there
3. open each chunk whose blocks are all there, and write it to its place in the files
4. files with all their bytes keep their names; others get `.incomplete`, and a marker says what this folder is

With trust, only blocks are opened whose leaves lie under a root that the packer signed. Without, the seal alone says
that somebody who had the bundle key made them (`transfer/loose.py`). What two commitments promise is never mixed.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from airbundle.codec.engines import best_engine
from airbundle.crypto.seal import Opener
from airbundle.errors import DamagedError, FormatError, IncompleteError, MediumError, UntrustedError, UsageError
from airbundle.format import limits
from airbundle.format.names import SafePath
from airbundle.format.segment import FILLER
from airbundle.media import volume as volumes
from airbundle.media.source import SALVAGE_MARKER
from airbundle.media.staging import StagingTree, require_space
from airbundle.transfer.content import Contents
from airbundle.transfer.loose import loose_segments
from airbundle.transfer.open import Bundle, Opened, open_bundle, open_manifest
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.restore import Restorer
from airbundle.transfer.seal import open_chunk, open_index, open_trailer
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airbundle.crypto.envelope import Context, Keyring
    from airbundle.crypto.trust import TrustSet
    from airbundle.format.block import Flags
    from airbundle.format.segment import Index
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.image import Image

INCOMPLETE: Final = ".incomplete"


class SalvagedFile(msgspec.Struct, frozen=True):
    """One file. `holes` are pairs of offset and length, in bytes, that read as zeros; `name` is what it is called now.

    `digest` says whether a file without holes has the SHA-256 that the manifest says; None without a manifest.
    """

    path: str
    name: str
    size: int
    signed: bool
    holes: tuple[tuple[int, int], ...]
    digest: bool | None


@dataclass(frozen=True, slots=True)
class SalvageResult:
    """What came out. `complete` files have all their bytes; sizes in bytes; `failed` segments gave nothing at all."""

    target: str
    bundles: tuple[str, ...]
    signed: bool
    files: tuple[SalvagedFile, ...]
    complete: int
    source_bytes: int
    bytes_lost: int
    failed: int
    problems: tuple[str, ...]
    seconds: float


@dataclass
class _File:
    """A file while it is put together: where it begins in the source stream, and which of its bytes are there."""

    start: int
    size: int
    sha256: str = ""
    got: list[tuple[int, int]] = field(default_factory=list)

    def holes(self) -> tuple[tuple[int, int], ...]:
        found, end = [], 0
        for first, last in sorted(self.got):
            if first > end:
                found.append((end, first - end))
            end = max(end, last)
        return tuple(found) if end >= self.size else (*found, (end, self.size - end))


@dataclass
class _Tree:
    """The files of one bundle under one commitment, in a folder of their own unless there is only one."""

    prefix: str
    staging: StagingTree
    files: dict[str, _File] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def file(self, path: str, start: int, size: int) -> _File:
        """The file, made if it is new. Raises FormatError if the same path was something else before."""
        known = self.files.get(path)
        if known is None:
            above = set(SafePath(path).above)
            if path in self.folders or above & self.files.keys():
                raise FormatError(f"'{path}' is a file here and a folder there", rule="P-5")
            self.folders |= above
            self.staging.create(SafePath(self.prefix + path), size)
            known = self.files[path] = _File(start, size)
        if (known.start, known.size) != (start, size):
            raise FormatError(f"'{path}' is another file in another segment", rule="G-5")
        return known

    def write(self, index: Index, at: int, plain: memoryview) -> None:
        """Put bytes of the source stream from `at` into the files that they belong to."""
        for span in index.files:
            first, last = max(at, span.start), min(at + len(plain), span.start + span.size)
            if first < last:
                file = self.file(span.path, span.start, span.size)
                self.staging.write_at(SafePath(self.prefix + span.path), first - span.start,
                                      plain[first - at:last - at])
                if file.got and file.got[-1][1] == first - span.start:
                    file.got[-1] = (file.got[-1][0], last - span.start)
                else:
                    file.got.append((first - span.start, last - span.start))


def salvage(readers: tuple[VolumeReader, ...], target: str, *, keyring: Keyring, trust: TrustSet | None,
            bundle_id: str = "", progress: Callable[[Tick], None] | None = None) -> SalvageResult:
    """All steps. `trust` None takes what nobody here vouches for, and says so of every file.

    Of segments that no statement speaks for, those are taken whose bundle id begins with `bundle_id`.

    Raises what `unpack` raises before step 2 where `trust` is given; NoKeyError; MediumError or UsageError of `target`.
    """
    began = time.monotonic()
    meter = Meter(progress)
    found = _opened(readers, trust, keyring)  # (1)
    with StagingTree(target) as staging:
        problems: list[str] = []
        if found is not None:
            trees, failed = _take_rows(*found, staging, target, meter, problems)
        else:
            trees, failed = _take_loose(readers, bundle_id, keyring, staging, meter, problems)
        signed = trust is not None
        if failed or any(file.holes() for tree in trees for file in tree.files.values()):
            for reader in readers:  # nothing is named as lost that a drive which was pulled has
                reader.presence.require_present()
        meter.begin("naming what has holes", 0)
        files = [file for tree in trees for file in _named(tree, signed=signed)]  # (4)
        if not any(file.holes != ((0, file.size),) or not file.size for file in files):
            why = f": {problems[0]}" if problems else " with this key"
            raise DamagedError(f"nothing can be read{why}", where=readers[0].path,
                               hint="airbundle rescue gets more out of a drive than its folders show")
        result = SalvageResult(
            target=target, bundles=tuple(tree.prefix.rstrip("/") for tree in trees), signed=signed, files=tuple(files),
            complete=sum(not file.holes and file.digest is not False for file in files),
            source_bytes=sum(file.size for file in files),
            bytes_lost=sum(length for file in files for _, length in file.holes), failed=failed,
            problems=tuple(problems), seconds=time.monotonic() - began)
        _mark(staging, result)
        staging.publish()
    return result


def _opened(readers: tuple[VolumeReader, ...], trust: TrustSet | None,
            keyring: Keyring) -> tuple[Bundle, Opened] | None:
    """Catalog and manifest; None where they cannot be had and nobody asked for what is signed."""
    try:
        bundle = open_bundle(readers, trust)
        if trust is not None and bundle.distrust is not None:
            raise bundle.distrust
        return bundle, open_manifest(bundle, keyring)
    except (DamagedError, IncompleteError, UntrustedError) as error:
        if trust is None:
            return None
        error.hint = "salvage --unsigned reads what can be read without a signature"
        raise


def _take_rows(bundle: Bundle, opened: Opened, staging: StagingTree, target: str, meter: Meter,
               problems: list[str]) -> tuple[list[_Tree], int]:
    """(2) and (3) with a catalog: everything is known but what the blocks say."""
    manifest, contents = opened.manifest, Contents(opened.manifest, len(bundle.data_rows))
    require_space(target, sum(file.size for file in manifest.files))
    tree = _Tree("", staging)
    for start, file in zip(contents.starts, manifest.files, strict=False):
        tree.file(file.path, start, file.size).sha256 = file.sha256
    for folder in manifest.folders:
        staging.make_folder(SafePath(folder))
        tree.folders.add(folder)
    space, helper = (Workspace(bundle.largest_segment(), best_engine()) for _ in range(2))
    meter.begin("salvaging", sum(row.length for row in manifest.segments))
    failed = 0
    for group in bundle.groups:
        restorer = Restorer(bundle, group)
        for row in group.data:
            image, gone = restorer.as_far_as_it_goes(row, space, helper)
            opener = Opener(bundle.context, opened.key, row.number, bytes.fromhex(row.salt))
            try:
                index = _index_of(image, gone, opener)
                contents.require(index, row.number)
                _take_chunks(tree, space, image, gone, bundle.context, opener, index, problems)
            except DamagedError as error:
                failed += 1
                problems.append(f"{volumes.segment_name(row.number)}: {error.what}")
            meter.add(manifest.segments[row.number].length)
    return [tree], failed


def _take_loose(readers: Iterable[VolumeReader], bundle_id: str, keyring: Keyring, staging: StagingTree,
                meter: Meter, problems: list[str]) -> tuple[list[_Tree], int]:
    """(2) and (3) without: each segment says itself which files it has."""
    trees: dict[str, _Tree] = {}
    failed = 0
    meter.begin("salvaging", 0)
    for segment in loose_segments(readers, bundle_id, keyring, problems):
        context, commitment, key = segment.unlocked
        opener = Opener(context, key, segment.geometry.number, segment.geometry.salt)
        try:
            index = _index_of(segment.image, segment.gone, opener)
        except DamagedError as error:
            if not segment.gone.any():  # nothing of it is lost, and it has no index: it is parity
                continue
            failed += 1
            problems.append(f"{segment.where}: {error.what}")
            continue
        name = f"{context.bundle_id.hex()[:12]}-{commitment.hex()[:12]}"
        tree = trees.setdefault(name, _Tree(f"{name}/", staging))
        try:
            _make_files(tree, index)
            _take_chunks(tree, segment.space, segment.image, segment.gone, context, opener, index, problems)
        except DamagedError as error:
            failed += 1
            problems.append(f"{segment.where}: {error.what}")
        meter.alive()
    return list(trees.values()), failed


def _make_files(tree: _Tree, index: Index) -> None:
    """The files that a loose segment says it has. Whoever made it says how large they are, so it ends nothing else."""
    try:
        for span in index.files:
            tree.file(span.path, span.start, span.size)
    except MediumError as error:
        raise DamagedError(f"{error.where}: {error.what}") from error


def _index_of(image: Image, gone: Flags, opener: Opener) -> Index:
    """The index of a segment, which ends with it. Raises DamagedError if a block of it is lost: none is opened then."""
    geometry = image.place.geometry
    data = gone[:geometry.data_blocks]
    if data[-1]:
        raise DamagedError("its last block is lost, and the index with it", rule="S-12")
    trailer = open_trailer(image, opener)
    if data[trailer.index_at // geometry.payload_size:].any():
        raise DamagedError("a block of its index is lost", rule="S-12")
    return open_index(image, opener, trailer)


def _take_chunks(tree: _Tree, space: Workspace, image: Image, gone: Flags, context: Context, opener: Opener,
                 index: Index, problems: list[str]) -> None:
    """(3) What lies in a lost block is a hole."""
    payload, position, at = image.place.geometry.payload_size, 0, index.start
    for number, row in enumerate(index.chunks):
        end = position + row.sealed
        if row.codec != FILLER and not gone[position // payload:(end - 1) // payload + 1].any():
            plain = space.plain[:row.length]
            try:
                open_chunk(space, image, context.suite, opener, number, row, position, plain)
            except DamagedError as error:
                problems.append(f"{volumes.segment_name(image.place.geometry.number)}, chunk {number}: {error.what}")
            else:
                tree.write(index, at, plain)
        position, at = end, at + row.length


def _named(tree: _Tree, *, signed: bool) -> Iterable[SalvagedFile]:
    """Give files with holes another name, so that nothing takes them for whole ones."""
    taken = tree.folders | tree.files.keys()
    for path, file in tree.files.items():
        holes = file.holes() if file.size else ()
        name = tree.prefix + path
        same = None
        if not holes and file.sha256:
            same = tree.staging.digest(SafePath(name)) == file.sha256
        if holes or same is False:
            path_now = next(free for free in _other_names(path) if free not in taken)
            taken.add(path_now)
            tree.staging.rename(SafePath(name), SafePath(tree.prefix + path_now))
            name = tree.prefix + path_now
        yield SalvagedFile(path, name, file.size, signed, holes, same)


def _other_names(path: str) -> Iterator[str]:
    """`a/b.incomplete`, `a/b.incomplete2` and so on, the name cut so that it fits into a part of a path (P-4)."""
    above, slash, stem = path.rpartition("/")
    for number in itertools.count(1):
        suffix = INCOMPLETE + (str(number) if number > 1 else "")
        while len(f"{stem}{suffix}".encode()) > limits.PATH_PART_MAX:
            stem = stem[:-1]
        yield f"{above}{slash}{stem}{suffix}"


def _mark(staging: StagingTree, result: SalvageResult) -> None:
    """The marker that pack and the station refuse, with the report in it."""
    lines = ["This folder was salvaged by airbundle. It was NOT verified, and may have holes.",
             "Nothing here is the checkpoint that was packed; airbundle does not pack it again.", "",
             f"signed by its packer: {'yes, each byte that is here' if result.signed else 'NO: nobody vouches for it'}",
             f"bytes lost: {result.bytes_lost:,} of {result.source_bytes:,}", ""]
    for file in result.files:
        state = "WRONG SHA-256" if file.digest is False else "complete" if not file.holes else "HOLES"
        lines.append(f"{state}\t{file.size}\t{file.name}")
        lines += [f"\thole of {length} bytes at {offset}" for offset, length in file.holes]
    path = SafePath(SALVAGE_MARKER)
    content = ("\n".join(lines) + "\n").encode()
    staging.create(path, len(content))
    staging.write_at(path, 0, memoryview(content))


def refuse_root() -> None:
    """Nobody vouches for what --unsigned parses: not with all the machine's rights. Raises UsageError."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        raise UsageError("--unsigned parses what nobody signed, and does not run as root",
                         hint="run it as an ordinary user who can read the drive")
