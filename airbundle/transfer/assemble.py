"""Put one segment together from blocks that were found anywhere, and judge it by its signed row (spec chapter 5).

The steps, in order:

1. blocks of this row's geometry and salt, by the place that they claim; at most four contents for each place, of
   which two are tried for each block of the preamble: one in each of its copies
2. leaves: the list, from at most 64 combinations of what was found of it, that gives the signed root (S-7)
3. for each place the candidate that is its leaf, read and digested again; where one fails, the next
4. `judge_image`, as for a file: leaves by recovery, parity, every recovered block against its leaf
5. if that is not enough: blocks that a fragment's border cuts, and stretches of blocks with holes (`pieces.py`)

What was found is only a hint where to read: no byte is used that was not digested in the buffer. So this is bounded
by the buffer, whatever lies on the sources.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from airbundle.errors import DamagedError
from airbundle.format import limits
from airbundle.format.block import DIGEST_AT, FIELDS_AT, digest_fields_right
from airbundle.format.geometry import HEADER_SIZE, Placement
from airbundle.media import system
from airbundle.transfer.check import Expected, Findings, judge_image
from airbundle.transfer.image import Image, copy_blocks, digest_rows, root_of
from airbundle.transfer.offers import first_fitting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from airbundle.format.block import Blocks, Flags
    from airbundle.media.raw import RawSources
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.scan import Sightings
    from airbundle.transfer.workspace import Workspace

    Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Blocks found for the places of one segment, the best first within a place; arrays of equal length.

    `slot` is the place in the file; of lists and preambles, whose copies are equal, the place in the first copy.
    """

    slot: Numbers
    source: Numbers
    position: Numbers
    sound: Flags
    tag: NDArray[np.uint32]
    conflicting: int

    def __len__(self) -> int:
        return len(self.slot)

    def firsts(self) -> Numbers:
        """The best sound candidate of each place that has one, as numbers of rows."""
        rows = np.flatnonzero(self.sound)
        _, first = np.unique(self.slot[rows], return_index=True)
        return rows[first]

    def rows_of(self, slot: int, *, sound: bool) -> list[int]:
        """The rows of one place."""
        first, end = np.searchsorted(self.slot, [slot, slot + 1])
        return [row for row in range(int(first), int(end)) if bool(self.sound[row]) == sound]


def candidates_of(sightings: Sightings, place: Placement, leaves: bytes | None = None) -> Candidates:
    """(1) What was found for a segment; with its leaves the candidates that are theirs come first."""
    geometry = place.geometry
    runs = sightings.of(geometry)
    runs = runs[np.argsort(~runs["sound"], kind="stable")]  # a header alone costs nothing to write
    runs = runs[np.cumsum(runs["count"].astype(np.int64)) <= limits.CROWD_MAX * place.block_count]
    counts = runs["count"].astype(np.int64)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)

    def spread(name: str) -> Numbers:
        return np.repeat(runs[name].astype(np.int64), counts)

    first = np.array([0, 0, place.preamble_blocks, place.data_at, place.parity_at])
    room = np.array([0, place.preamble_blocks, geometry.list_blocks, geometry.data_blocks, geometry.parity_blocks])
    kind, index = spread("kind"), spread("index") + within
    fits = index < room[kind]
    slot, sound = (first[kind] + index)[fits], spread("sound")[fits] > 0
    tag = sightings.tags[(spread("tags") + within)[fits]]
    wanted = np.zeros(place.lists_at[1], np.uint32)
    if leaves is not None:
        rows = np.frombuffer(leaves, np.uint8).reshape(-1, geometry.digest_size)[:, :4]
        wanted[place.data_at:] = np.ascontiguousarray(rows).view("<u4")[:, 0]
    order = np.lexsort((tag, tag != wanted[slot], ~sound, slot))
    slot, sound, tag = slot[order], sound[order], tag[order]
    position = (spread("position") + within * geometry.block_size)[fits][order]
    kept, conflicting = _bounded(slot, sound, tag)
    return Candidates(slot[kept], spread("source")[fits][order][kept], position[kept], sound[kept], tag[kept],
                      conflicting)


def _bounded(slot: Numbers, sound: Flags, tag: NDArray[np.uint32]) -> tuple[Flags, int]:
    """Which rows are kept: of a place four contents and of each of them two; and how many places have several."""
    if not len(slot):
        return np.zeros(0, np.bool_), 0
    fresh = np.concatenate([[True], (slot[1:] != slot[:-1]) | (sound[1:] != sound[:-1])])
    other = fresh | np.concatenate([[True], tag[1:] != tag[:-1]])
    content = np.cumsum(other)
    content -= np.maximum.accumulate(np.where(fresh, content, 0))
    at = np.arange(len(slot))
    twin = at - np.maximum.accumulate(np.where(other, at, 0))
    several = np.unique(slot[sound & (content > 0)])
    return (content < limits.CANDIDATES_MAX) & (twin < limits.COPIES_TRIED_MAX), len(several)


@dataclass(frozen=True, slots=True)
class Assembled:
    """What came of one segment: its image, what was found wrong with it, and counts of its coded blocks.

    `sound` says of each place of the file whether there was a block for it, on its own digest and its leaf.
    """

    image: Image
    findings: Findings
    candidates: Candidates
    sound: Flags


def assemble(work: Workspace, sources: RawSources, sightings: Sightings, expected: Expected) -> Assembled:
    """Steps 1 to 4. Raises MediumError only if a device is gone."""
    place, geometry = expected.place, expected.geometry
    image = Image(place, work.blocks(place.block_count, geometry.block_size))
    found = candidates_of(sightings, place)
    leaves = _settled_leaves(sources, found, expected)  # (2)
    if leaves is not None:
        found = candidates_of(sightings, place, leaves)
    sound = _fill(sources, found, image, expected, leaves)  # (3)
    if leaves is not None:
        for at in place.lists_at:
            image.blocks[at:at + geometry.list_blocks] = copy_blocks(image, expected.suite, at, leaves)
            sound[at:at + geometry.list_blocks] = True
    findings = judge_image(work, image, expected, ~sound, 0)  # (4)
    return Assembled(image, findings, found, sound)


def collect(work: Workspace, sources: RawSources, sightings: Sightings, expected: Expected) \
        -> tuple[Image, Flags, int]:
    """Steps 1 and 3 alone, where no root is known: the blocks as they were found, which there are, and conflicts."""
    place = expected.place
    image = Image(place, work.blocks(place.block_count, expected.geometry.block_size))
    found = candidates_of(sightings, place)
    sound = _fill(sources, found, image, expected, None)
    return image, sound, found.conflicting


def keep_there(image: Image, known: Flags, reader: VolumeReader, name: str, expected: Expected, leaves: bytes | None,
               space: Workspace) -> None:
    """Take from the file that is to be replaced what `image` does not know better; zeros where there is none.

    Without leaves a sound block that is there stays, whatever else was found for its place.
    """
    image.blocks[~known] = 0
    theirs = Image(image.place, space.blocks(*image.blocks.shape))
    theirs.blocks[:] = 0
    with suppress(FileNotFoundError, DamagedError), reader.opened(name) as descriptor:
        system.read_blocks(descriptor, theirs.blocks.reshape(-1).data, system.ALIGNMENT)
        kept = ~known | _right(theirs, expected, leaves)
        image.blocks[kept] = theirs.blocks[kept]


def fits_root(sources: RawSources, sightings: Sightings, expected: Expected) -> bool:
    """Whether the list that was found of a segment gives the root that its row says (steps 1 and 2)."""
    return _settled_leaves(sources, candidates_of(sightings, expected.place), expected) is not None


def read_block(sources: RawSources, found: Candidates, row: int, out: Blocks) -> None:
    """Read the candidate `row` into `out`, shape (B,); what cannot be read is zeros."""
    sources.read(int(found.source[row]), out.data, int(found.position[row]))


def carries_its_digest(block: Blocks, expected: Expected) -> bool:
    """Whether one block, shape (B,), is sound."""
    one = block.reshape(1, -1)
    return bool(digest_fields_right(one, digest_rows(one, expected.suite))[0])


def _settled_leaves(sources: RawSources, found: Candidates, expected: Expected) -> bytes | None:
    """(2) The leaves that the signed root is of, from what was found of the list."""
    place, geometry = expected.place, expected.geometry
    block = np.empty(geometry.block_size, np.uint8)
    offers: list[list[bytes]] = []
    for slot in range(place.lists_at[0], place.data_at):
        here: dict[bytes, None] = {}
        for row in found.rows_of(slot, sound=True):
            read_block(sources, found, row, block)
            if carries_its_digest(block, expected):
                here[block[HEADER_SIZE:].tobytes()] = None
        offers.append(list(here))
    return first_fitting(
        offers, geometry.coded_blocks * geometry.digest_size,
        lambda leaves: root_of(expected.suite, geometry, expected.preamble_hash, leaves) == expected.root)


def _fill(sources: RawSources, found: Candidates, image: Image, expected: Expected, leaves: bytes | None) -> Flags:
    """(3) The best candidate of each place into the image; gives the places where one is sound."""
    place = image.place
    firsts = found.firsts()
    sound = np.zeros(place.block_count, np.bool_)
    image.blocks[:] = 0
    for first, end in _runs_of(found, firsts, expected.geometry.block_size):
        at, count = int(found.slot[firsts[first]]), end - first
        target = image.blocks[at:at + count]
        sources.read(int(found.source[firsts[first]]), target.reshape(-1).data, int(found.position[firsts[first]]))
        sound[at:at + count] = True
    sound &= _right(image, expected, leaves)
    for slot in np.setdiff1d(found.slot[found.sound], np.flatnonzero(sound)).tolist():
        for row in found.rows_of(slot, sound=True):
            read_block(sources, found, row, image.blocks[slot])
            if _right_at(image, expected, leaves, slot):
                sound[slot] = True
                break
    image.blocks[:place.lists_at[1]][~sound[:place.lists_at[1]]] = 0
    _copy_fronts(sources, found, image, expected, sound)
    return sound


def _runs_of(found: Candidates, rows: Numbers, size: int) -> list[tuple[int, int]]:
    """Stretches of `rows` that lie one behind the other, in the file and on the source."""
    if not len(rows):
        return []
    here, before = rows[1:], rows[:-1]
    border = np.flatnonzero((found.slot[here] != found.slot[before] + 1)
                            | (found.source[here] != found.source[before])
                            | (found.position[here] != found.position[before] + size)) + 1
    ends = [0, *border.tolist(), len(rows)]
    return list(itertools.pairwise(ends))


def _right(image: Image, expected: Expected, leaves: bytes | None) -> Flags:
    """Which blocks carry their own digest, lie where they say, and are their leaf where that is known."""
    suite, place = expected.suite, image.place
    own = digest_rows(image.blocks, suite)
    right = digest_fields_right(image.blocks, own) & image.in_place
    if leaves is not None:
        coded = slice(place.data_at, place.data_at + expected.geometry.coded_blocks)
        right[coded] &= (own[coded] == np.frombuffer(leaves, np.uint8).reshape(-1, suite.digest_size)).all(axis=1)
    return right


def _right_at(image: Image, expected: Expected, leaves: bytes | None, slot: int) -> bool:
    """`_right` of one place."""
    block, size = image.blocks[slot], expected.suite.digest_size
    index = slot - image.place.data_at
    if not carries_its_digest(block, expected) or (block[FIELDS_AT:HEADER_SIZE] != image.headers[slot]).any():
        return False
    return leaves is None or index < 0 or (
        block[DIGEST_AT:DIGEST_AT + size].tobytes() == leaves[index * size:(index + 1) * size])


def _copy_fronts(sources: RawSources, found: Candidates, image: Image, expected: Expected, sound: Flags) -> None:
    """The second copies of list and preamble: another content where there is one, so that both are tried (S-7)."""
    place = image.place
    for first, second, count in ((place.lists_at[0], place.lists_at[1], expected.geometry.list_blocks),
                                 (place.preambles_at[0], place.preambles_at[1], place.preamble_blocks)):
        for slot in range(first, first + count):
            if not sound[slot]:
                continue
            twin = second + slot - first
            image.blocks[twin] = image.blocks[slot]
            sound[twin] = True
            others = [row for row in found.rows_of(slot, sound=True)
                      if found.tag[row] != image.blocks[slot, DIGEST_AT:DIGEST_AT + 4].view("<u4")[0]]
            for row in others:
                read_block(sources, found, row, image.blocks[twin])
                if _right_at(image, expected, None, twin):
                    break
                image.blocks[twin] = image.blocks[slot]


