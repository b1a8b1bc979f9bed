"""Make use of blocks that are not whole: cut by the border of a fragment, or with holes in known places.

A block that begins in one fragment of a file and ends in the next has its header in the one, and its end lies right
before the block that follows it. Where the border is, is tried out, and the digest decides: at each sector of blocks of
64 KiB and less, in larger ones at every 128th part and at most 4 KiB apart, since that is what file systems divide by.

The code works position by position (S-4). So a block of which a sector is a hole still counts at all other positions,
and a stripe is recovered where at each position at most `m` of its blocks lack theirs. Holes are what could not be
read, what a map file of ddrescue lists, and sectors of zeros, which a cipher does not make. A block of which the
header itself is in a hole is looked for where its neighbours in the file lead. All of that is a guess until the digest
of the whole block is its leaf (S-8), and that is what `judge_image` asks for afterwards.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.codec.erasure import recover
from airbundle.format import limits
from airbundle.format.block import DIGEST_AT, FIELDS_AT, FRONT
from airbundle.format.geometry import HEADER_SIZE
from airbundle.transfer.assemble import Assembled, read_block
from airbundle.transfer.check import Expected, judge_image
from airbundle.transfer.image import label_block, layout_of
from airbundle.transfer.scan import STEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from airbundle.format.block import Blocks, Flags
    from airbundle.media.raw import RawSources
    from airbundle.transfer.workspace import Workspace

    Numbers = NDArray[np.int64]

_CUTS: Final = 128
_CUT_MAX: Final = 4096


def mend(work: Workspace, sources: RawSources, before: Assembled, expected: Expected) -> Assembled:
    """Step 5 of `assemble`, for a segment that is not whole yet. Raises MediumError only if a device is gone."""
    place, leaves, image = expected.place, before.findings.leaves, before.image
    coded = slice(place.data_at, place.data_at + expected.geometry.coded_blocks)
    good = before.sound[coded].copy() if leaves is None else ~before.findings.gone
    _join(sources, before, expected, good)
    _by_columns(work, sources, before, expected, good)
    image.coded[~good] = 0
    readable = before.sound.copy()
    readable[coded] = good
    if leaves is not None:  # the first judgement has put the lists right
        for at in place.lists_at:
            readable[at:at + expected.geometry.list_blocks] = True
    findings = judge_image(work, image, expected, ~readable, 0)
    return Assembled(image, findings, before.candidates, before.sound)


def _join(sources: RawSources, found: Assembled, expected: Expected, good: Flags) -> None:
    """Heads of blocks and the ends that lie before the block that follows, put together where the digest says so."""
    place, size, rows = expected.place, expected.geometry.block_size, found.candidates
    head, tail = np.empty(size, np.uint8), np.empty(size, np.uint8)
    for index in np.flatnonzero(~good).tolist():
        slot = place.data_at + index
        after = slot + 1 if slot + 1 < place.lists_at[1] else place.lists_at[0]
        nexts = [row for row in rows.rows_of(after, sound=True) if rows.position[row] >= size]
        for one, other in itertools.product(rows.rows_of(slot, sound=False), nexts):
            read_block(sources, rows, one, head)
            sources.read(int(rows.source[other]), tail.data, int(rows.position[other]) - size)
            cut = _border(head, tail, expected)
            if cut and _is_leaf(head, found.findings.leaves, index, expected):
                head[cut:] = tail[cut:]
                found.image.blocks[slot] = head
                good[index] = True
                break


def _border(head: Blocks, tail: Blocks, expected: Expected) -> int:
    """At which byte `tail` has to take over so that the digest in `head` holds; 0 if at none."""
    wanted, suite = head[DIGEST_AT:DIGEST_AT + expected.suite.digest_size].tobytes(), expected.suite
    step = max(STEP, min(_CUT_MAX, len(head) // _CUTS))
    for cut in range(step, len(head), step):
        if suite.hash(FRONT, head[FIELDS_AT:cut].data, tail[cut:].data) == wanted:
            return cut
    return 0


def _is_leaf(block: Blocks, leaves: bytes | None, index: int, expected: Expected) -> bool:
    """Whether the digest that a block carries is the leaf of that place; yes where no leaves are known."""
    size = expected.suite.digest_size
    return leaves is None or block[DIGEST_AT:DIGEST_AT + size].tobytes() == leaves[index * size:(index + 1) * size]


def _by_columns(work: Workspace, sources: RawSources, found: Assembled, expected: Expected, good: Flags) -> None:
    """Recover position by position; sets `good` for blocks of which every position came back."""
    geometry, image = expected.geometry, found.image
    bad = np.repeat(~good[:, None], geometry.block_size // STEP, axis=1)
    partial = False
    for index in np.flatnonzero(~good).tolist():
        lacking = _gather_parts(sources, found, expected, index)
        if lacking is not None:
            bad[index], partial = lacking, True
    if not partial:
        return
    layout = layout_of(geometry)
    for first, end in _alike_columns(bad):
        columns = slice(max(0, first * STEP - HEADER_SIZE), end * STEP - HEADER_SIZE)
        still = recover(work.engine, layout, image.payloads[:, columns], bad[:, first])
        bad[:, first:end] = still[:, None]
    for index in np.flatnonzero(~good & ~bad.any(axis=1)).tolist():
        label_block(image, expected.suite, index)
        good[index] = _is_leaf(image.coded[index], found.findings.leaves, index, expected)


def _gather_parts(sources: RawSources, found: Assembled, expected: Expected, index: int) -> Flags | None:
    """Lay what is left of one block into the image, from all places. Which sectors it lacks; None if all."""
    size, target = expected.geometry.block_size, found.image.coded[index]
    block = np.empty(size, np.uint8)
    lacking: Flags | None = None
    for source, position in _places(sources, found, expected, found.image.place.data_at + index):
        sources.read(source, block.data, position)
        bad = _dead_sectors(sources, block, source, position)
        if not bad.any() or bad.all():  # without a hole nothing says which of its bytes are wrong
            continue
        fresh = ~bad if lacking is None else lacking & ~bad
        target.reshape(-1, STEP)[fresh] = block.reshape(-1, STEP)[fresh]
        lacking = bad if lacking is None else lacking & bad
    return lacking


def _places(sources: RawSources, found: Assembled, expected: Expected, slot: int) -> Iterator[tuple[int, int]]:
    """Where a block with holes may lie: where its header is, or where its neighbours lead and a header was."""
    rows, size = found.candidates, expected.geometry.block_size
    for row in rows.rows_of(slot, sound=False):
        yield int(rows.source[row]), int(rows.position[row])
    sector = np.empty(STEP, np.uint8)
    coded = np.flatnonzero(rows.slot >= expected.place.data_at)  # a header is enough to lead to its neighbours
    for source in np.unique(rows.source[coded])[:limits.NEIGHBOUR_SOURCES_MAX].tolist():
        here = coded[rows.source[coded] == source]
        after = int(np.searchsorted(rows.slot[here], slot))
        led = dict.fromkeys(int(rows.position[row]) + (slot - int(rows.slot[row])) * size
                            for row in here[max(0, after - 1):after + 1].tolist())
        for position in led:
            if 0 <= position <= sources[source].size - size:
                sources.read(source, sector.data, position)
                if _dead_sectors(sources, sector, source, position)[0]:
                    yield source, position


def _dead_sectors(sources: RawSources, block: Blocks, source: int, position: int) -> Flags:
    """Which sectors of what was read from `position` are holes."""
    dead: Flags = ~np.any(block.reshape(-1, STEP), axis=1)
    for start, end in sources[source].holes.within(position, position + len(block)):
        dead[(start - position) // STEP:-(-(end - position) // STEP)] = True
    return dead


def _alike_columns(bad: Flags) -> Iterator[tuple[int, int]]:
    """Stretches of sectors at which the same blocks lack theirs."""
    border = np.flatnonzero((bad[:, 1:] != bad[:, :-1]).any(axis=0)) + 1
    yield from itertools.pairwise([0, *border.tolist(), bad.shape[1]])
