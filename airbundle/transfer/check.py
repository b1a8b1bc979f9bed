"""Check one segment against its signed root and repair it in memory: what verify, repair and unpack share.

The steps, in order (spec chapter 5 and rules B-4 to B-7):

1. read all blocks; what cannot be read is lost, and the run goes on
2. digest each data and parity block in the buffer
3. find leaves that give the signed root: from the blocks themselves, from either list, or from both merged
4. count every block that is not its leaf as lost, and say how: unreadable, damaged, misplaced or altered
5. recover lost blocks, check each against its leaf again
6. compare lists and preambles with what they have to be

Afterwards the buffer holds the segment as it was written, or `whole` is false.
"""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from airbundle.codec.erasure import recover
from airbundle.errors import DamagedError
from airbundle.format.block import digest_fields_right, write_header
from airbundle.format.geometry import HEADER_SIZE, Geometry, Placement
from airbundle.media import system
from airbundle.media.volume import Cache
from airbundle.transfer.image import Image, copy_blocks, digest_rows, digests, label_block, layout_of, root_of
from airbundle.transfer.offers import first_fitting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.codec.engines import Engine
    from airbundle.crypto.suites import Suite
    from airbundle.format.block import Blocks, Flags
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Expected:
    """What a statement and a catalog row say of one segment; `preamble` and `leaves` where they are known already."""

    suite: Suite
    geometry: Geometry
    root: bytes
    preamble_length: int
    preamble_hash: bytes
    preamble: bytes | None = None
    leaves: bytes | None = None

    @property
    def place(self) -> Placement:
        """Where its blocks lie."""
        return Placement(self.geometry, self.preamble_length)

    def is_preamble(self, content: bytes) -> bool:
        """Whether this is the preamble of which the hash is signed (K-7)."""
        return self.suite.hash(content) == self.preamble_hash


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in one file: counts of blocks, and the places that a repair has to write.

    `unreadable`: read errors and missing ends. `damaged`: wrong digest. `misplaced`: a sound block of another place.
    `altered`: a sound block of this place that nobody signed. `surplus`: bytes past the end (S-9). `lost`: coded
    blocks that could not be recovered, `data_lost` those of them that hold the body, `gone` which of the coded blocks
    these are; `whole` means the buffer holds the segment as it was written. `leaves` are those of the signed root,
    where they were found. `lacking` are the coded blocks that are lost for good: `gone`, or without leaves those that
    do not even carry a digest of their own.
    """

    number: int
    blocks: int
    unreadable: int
    damaged: int
    misplaced: int
    altered: int
    surplus: int
    lost: int
    data_lost: int
    whole: bool
    dead: tuple[int, ...]
    preamble: bytes | None
    gone: Flags
    lacking: Flags
    leaves: bytes | None

    @property
    def clean(self) -> bool:
        """Nothing to repair."""
        return self.whole and not self.dead and not self.surplus


def check_segment(work: Workspace, descriptor: int, expected: Expected, *,
                  stage: str = "read") -> tuple[Findings, Image]:
    """Read the open file, check it, repair it in the buffer. Raises MediumError only if the device is gone."""
    place = expected.place
    image = Image(place, work.blocks(place.block_count, expected.geometry.block_size))
    # (1)
    with work.stages(stage):
        unreadable = _read(descriptor, image.blocks, expected.geometry.block_size)
    surplus = max(0, os.fstat(descriptor).st_size - place.stored_size)
    return judge_image(work, image, expected, unreadable, surplus), image


def check_file(work: Workspace, reader: VolumeReader, name: str, expected: Expected, *,
               cache: Cache = Cache.PASSED) -> tuple[Findings, Image]:
    """`check_segment` of a file of a volume. One that cannot be opened is lost; others may hold the same (B-4)."""
    try:
        descriptor = reader.open(name, cache=cache)
    except (FileNotFoundError, DamagedError):  # also: replaced by a link or a pipe since it was listed (V-1)
        place, size = expected.place, expected.geometry.block_size
        count, nothing = place.block_count, np.ones(expected.geometry.coded_blocks, np.bool_)
        return Findings(number=expected.geometry.number, blocks=count, unreadable=count, damaged=0, misplaced=0,
                        altered=0, surplus=0, lost=expected.geometry.coded_blocks,
                        data_lost=expected.geometry.data_blocks, whole=False,
                        dead=tuple(range(count)), preamble=None, leaves=None,
                        gone=nothing, lacking=nothing), Image(place, work.blocks(count, size))
    try:
        findings, image = check_segment(work, descriptor, expected)
    finally:
        os.close(descriptor)
    if findings.unreadable == findings.blocks:  # of a drive that failed as a whole not every block has to be tried
        reader.presence.require_present()
    return findings, image


def check_files(work: Workspace, files: Sequence[tuple[VolumeReader, str]], expected: Expected, *,
                cache: Cache = Cache.PASSED) -> tuple[Findings, Image]:
    """`check_segment` of several files of one segment together (D-2)."""
    with ExitStack() as stack:
        descriptors = []
        for reader, name in files:
            with suppress(FileNotFoundError, DamagedError):
                descriptors.append(stack.enter_context(reader.opened(name, cache=cache)))
        if not descriptors:
            return check_file(work, *files[0], expected, cache=cache)
        return _check_merged(work, descriptors, replace(expected, leaves=_leaves_of_one(work, descriptors, expected)))


def _leaves_of_one(work: Workspace, descriptors: Sequence[int], expected: Expected) -> bytes | None:
    """The leaves that a file gives by itself, which hold for all (S-7): others may have a forged list."""
    place, size = expected.place, expected.geometry.block_size
    image = Image(place, work.blocks(place.block_count, size))
    found = (judge_image(work, image, expected, _read(descriptor, image.blocks, size), 0).leaves
             for descriptor in descriptors)
    return next((leaves for leaves in found if leaves is not None), None)


def _check_merged(work: Workspace, descriptors: Sequence[int], expected: Expected) -> tuple[Findings, Image]:
    """Blocks that the first lacks come from the others; of two for one place the one that is its leaf counts."""
    place, suite, size = expected.place, expected.suite, expected.geometry.block_size
    image = Image(place, work.blocks(place.block_count, size))
    unreadable = _read(descriptors[0], image.blocks, size)
    for descriptor in descriptors[1:]:
        own = digest_rows(image.blocks, suite)
        for at in np.flatnonzero(~(digest_fields_right(image.blocks, own) & image.in_place & ~unreadable)):
            unreadable[at] = _read(descriptor, image.blocks[at:at + 1], size, offset=int(at) * size)[0]
    findings = judge_image(work, image, expected, unreadable, 0)
    if not findings.lost or findings.leaves is None:
        return findings, image
    leaves, spare = _rows(findings.leaves, suite), np.empty((1, size), np.uint8)
    for descriptor, index in itertools.product(descriptors, np.flatnonzero(findings.gone).tolist()):
        spot = place.data_at + index
        if not _read(descriptor, spare, size, offset=spot * size)[0] and (
                digests(spare, suite) == leaves[index].tobytes()):
            image.blocks[spot] = spare[0]
            unreadable[spot] = False
    return judge_image(work, image, expected, unreadable, 0), image


def _read(descriptor: int, blocks: Blocks, size: int, *, offset: int = 0) -> Flags:
    """Fill `blocks` from the file; gives which of them could not be read or lie past its end."""
    reading = system.read_blocks(descriptor, blocks.reshape(-1).data, size, offset=offset)
    unreadable = np.arange(len(blocks)) >= reading.length // size  # a block that is cut is lost, even if zeros follow
    unreadable[list(reading.unreadable)] = True
    return unreadable


def judge_image(work: Workspace, image: Image, expected: Expected, unreadable: Flags, surplus: int) -> Findings:
    """Steps 2 to 6 on blocks that are in memory already."""
    place, geometry, suite = image.place, expected.geometry, expected.suite
    # (2)
    with work.stages("digest"):
        own = digest_rows(image.blocks, suite)
    sound = digest_fields_right(image.blocks, own) & ~unreadable
    in_place = image.in_place
    # (3)
    coded = slice(place.data_at, place.data_at + geometry.coded_blocks)
    leaves, touched = expected.leaves, False
    if leaves is None:
        leaves, touched = _find_leaves(work, image, expected, own, sound & in_place)
    here = sound
    if touched:  # S-7: what counts is what is in memory now
        own = digest_rows(image.blocks, suite)
        here = digest_fields_right(image.blocks, own) & ~unreadable
    if leaves is None:
        return _findings(image, sound, in_place, unreadable, surplus, None, leaves=None,
                         gone=np.ones(geometry.coded_blocks, np.bool_), lacking=~(here & in_place)[coded],
                         preamble=_find_preamble(image, expected, sound & in_place))
    # (4)
    right = here.copy()
    right[coded] &= (own[coded] == _rows(leaves, suite)).all(axis=1)
    # (5)
    gone = recover_checked(work.engine, image, suite, ~right[coded], leaves)
    # (6)
    preamble = expected.preamble or _find_preamble(image, expected, sound & in_place)
    copies = [(leaves, at) for at in place.lists_at]
    copies += [(preamble, at) for at in place.preambles_at if preamble is not None]
    for content, at in copies:
        copy = copy_blocks(image, suite, at, content)
        found = image.blocks[at:at + len(copy)]
        right[at:at + len(copy)] = (found == copy).all(axis=1) & ~unreadable[at:at + len(copy)]
        found[...] = copy
    return _findings(image, sound, in_place, unreadable, surplus, right, gone=gone, lacking=gone, leaves=leaves,
                     preamble=preamble)


def _findings(image: Image, sound: Flags, in_place: Flags, unreadable: Flags, surplus: int, right: Flags | None, *,
              gone: Flags, lacking: Flags, leaves: bytes | None, preamble: bytes | None) -> Findings:
    """Count what is not `right`; None where no leaves were found, so that nothing can be called altered."""
    wrong = np.ones(len(sound), np.bool_) if right is None else ~right
    lost = int(gone.sum())
    return Findings(
        number=image.place.geometry.number, blocks=len(sound), surplus=surplus, lost=lost,
        data_lost=int(gone[:image.place.geometry.data_blocks].sum()),
        unreadable=int((wrong & unreadable).sum()),
        damaged=int((wrong & ~unreadable & ~sound).sum()),
        misplaced=int((wrong & sound & ~in_place).sum()),  # B-5
        altered=int((wrong & sound & in_place).sum()) if right is not None else 0,  # B-6
        whole=lost == 0 and preamble is not None,
        dead=tuple(np.flatnonzero(wrong).tolist()), preamble=preamble, gone=gone, lacking=lacking, leaves=leaves)


def recover_checked(engine: Engine, image: Image, suite: Suite, lost: Flags, leaves: bytes) -> Flags:
    """Recover lost coded blocks in place; gives those that are still lost."""
    if not lost.any():
        return lost
    still = recover(engine, layout_of(image.place.geometry), image.payloads, lost)
    rows = _rows(leaves, suite)
    for index in np.flatnonzero(lost & ~still).tolist():  # S-8: a recovered block is checked like one that was read
        if label_block(image, suite, index) != rows[index].tobytes():
            still[index] = True
    return still


def _find_leaves(work: Workspace, image: Image, expected: Expected, own: Blocks,
                 usable: Flags) -> tuple[bytes | None, bool]:
    """Leaves whose root is the signed one (S-7), or None; and whether blocks were recovered in place to find them.

    `own` are the digests of all blocks as they were read.
    """
    place, geometry, suite = image.place, expected.geometry, expected.suite

    def fits(leaves: bytes) -> bool:
        return root_of(suite, geometry, expected.preamble_hash, leaves) == expected.root

    coded = slice(place.data_at, place.data_at + geometry.coded_blocks)
    recomputed = (own[coded] * usable[coded, None]).tobytes()  # S-7: zeros for a lost one
    if fits(recomputed):
        return recomputed, False
    candidates = _list_candidates(image, place.lists_at, geometry.list_blocks, usable)
    size = geometry.payload_size
    stand_in = [offers or [recomputed[at * size:(at + 1) * size]] for at, offers in enumerate(candidates)]
    leaves = first_fitting(stand_in, geometry.coded_blocks * suite.digest_size, fits)
    if leaves is not None:
        return leaves, False
    found = _leaves_by_recovery(work, image, suite, own, usable)
    return (found if found is not None and fits(found) else None), True


def _list_candidates(image: Image, places: tuple[int, int], count: int, usable: Flags) -> list[list[bytes]]:
    """For each block of a list or preamble the payloads that its two copies offer, without repeats."""
    found: list[list[bytes]] = []
    for block in range(count):
        offers = [image.blocks[at + block, HEADER_SIZE:].tobytes() for at in places if usable[at + block]]
        found.append(list(dict.fromkeys(offers)))
    return found


def _leaves_by_recovery(work: Workspace, image: Image, suite: Suite, own: Blocks, usable: Flags) -> bytes | None:
    """Without a list (G-9): take blocks with right digests as they are, recover the others, and digest those.

    What is left of lists is not asked. Whether it all holds, the root says.
    """
    place, geometry = image.place, image.place.geometry
    coded = slice(place.data_at, place.data_at + geometry.coded_blocks)
    known, rows = usable[coded], own[coded].copy()
    with work.stages("parity"):
        still = recover(work.engine, layout_of(geometry), image.payloads, ~known)
    if still.any():
        return None
    for index in np.flatnonzero(~known):
        at = place.data_at + int(index)
        write_header(image.blocks, at, 1, image.headers)
        rows[index] = np.frombuffer(digests(image.blocks[at:at + 1], suite), np.uint8)
    return rows.tobytes()


def _find_preamble(image: Image, expected: Expected, usable: Flags) -> bytes | None:
    """A preamble from this segment's copies that has the signed hash, or None (K-7)."""
    place = image.place
    candidates = _list_candidates(image, place.preambles_at, place.preamble_blocks, usable)
    return first_fitting(candidates, expected.preamble_length, expected.is_preamble)


def _rows(digest_bytes: bytes, suite: Suite) -> Blocks:
    return np.frombuffer(digest_bytes, np.uint8).reshape(-1, suite.digest_size)

