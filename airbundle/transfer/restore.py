"""Outer decoding: bring back a segment from the other members of its group (spec 5.2, G-7 and G-9).

The members are read one after another into one helper buffer, checked and repaired there like any segment, and their
share is added to the segment that comes back. So memory is two segments, whatever the size of the group.

Where members are damaged at the same block indices, the codes alternate: what the outer code gives to a member is kept
as a patch, with which its inner code may go on.

Of members without any list their own blocks are used on trial: what comes out is believed if its root, or its leaf in
another member, is the signed one. If not, the same is tried with none of them.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from airbundle.codec.erasure import alternate, recover, weights
from airbundle.errors import DamagedError
from airbundle.format import limits
from airbundle.format.block import DIGEST_AT
from airbundle.media import volume as volumes
from airbundle.transfer.check import check_file, check_files, recover_checked
from airbundle.transfer.image import Image, digests, finish, label_block, layout_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from airbundle.format.block import Blocks, Flags
    from airbundle.format.catalog import Group, Row
    from airbundle.format.geometry import Placement
    from airbundle.transfer.check import Findings
    from airbundle.transfer.open import Bundle
    from airbundle.transfer.workspace import Workspace

    Places = NDArray[np.intp]


class Restorer:
    """Restores segments of one group. Owns nothing but the patches; the two workspaces are lent for each call."""

    def __init__(self, bundle: Bundle, group: Group) -> None:
        self._bundle, self._group = bundle, group
        self._members = group.members
        self._layouts = [layout_of(bundle.expected(row).geometry) for row in self._members]
        self._denied: set[int] = set()
        """Members without a list, once their own blocks did not stand the trial."""
        self._borne_out: dict[int, bytes] = {}
        """Leaves of members without a list that came back whole: their root says so, whatever becomes of others."""
        self._listed: set[int] = set()
        """Members with a list, whose patches are their leaves."""
        self._patches: list[dict[int, bytes]] = [{} for _ in self._members]
        self._forget()

    def _forget(self) -> None:
        """What was found, and what was put on trial, is looked at anew; what a leaf bore out stays (G-9)."""
        self._tried: set[int] = set()
        self._gone: list[Flags] | None = None
        self._patches = [patches if position in self._listed else {} for position, patches in enumerate(self._patches)]

    def restore(self, row: Row, space: Workspace, helper: Workspace) -> bool:
        """Make `space` hold the segment of `row`, whole, if the members that are here can give it.

        Raises DamagedError if they should and do not: what they were signed with does not fit together.
        """
        if self._denied:  # for each segment all are tried first (G-9)
            self._denied.clear()
            self._forget()
        if self._gone is None:
            with contextlib.suppress(DamagedError):
                if self._guess(row) and self._bring(row.position, space, helper):
                    return True
            self._gone = None
        while True:
            try:
                return self._alternate(row, space, helper)
            except DamagedError:  # it may be any of those on trial
                if not self._tried - self._denied:
                    raise
                self._denied |= self._tried
                self._forget()

    def _alternate(self, row: Row, space: Workspace, helper: Workspace) -> bool:
        """Both codes in turns, if counting says that it is enough."""
        gone = self._look(space)
        if alternate(self._layouts, gone, len(self._group.parity))[row.position].any():
            return False
        while not self._bring(row.position, space, helper):
            for other in self._lacking_others(row.position):
                if self._improve(other, space, helper):
                    break
            else:
                raise DamagedError("does not come back though it should", where=volumes.segment_name(row.number),
                                   rule="G-9")
        return True

    def as_far_as_it_goes(self, row: Row, space: Workspace, helper: Workspace) -> tuple[Image, Flags]:
        """A segment in `space`, with which of its coded blocks are lost: what both codes give, though it is not whole.

        A block counts as there only if its leaf lies under the signed root.
        """
        if (whole := self.whole_member(row.position, space)) is not None:
            return whole, np.zeros(self._layouts[row.position].count, np.bool_)
        with contextlib.suppress(DamagedError):
            if self.restore(row, space, helper):
                assert space.image is not None
                return space.image, np.zeros(self._layouts[row.position].count, np.bool_)
        left, failed = -1, set[int]()
        while left != (left := sum(int(flags.sum()) for flags in self._look(space))):
            for position in range(len(self._members)):
                if position in failed or not self._look(space)[position].any():
                    continue
                try:
                    self._bring(position, space, helper, keep=True)
                except DamagedError:  # each member fails once at most, so this ends
                    failed.add(position)
                    self._denied |= self._tried & failed
                    self._forget()
                    left = -1
        image, gone, leaves = self._load(row.position, space)
        return image, gone if leaves is not None else np.ones_like(gone)

    def whole_member(self, position: int, space: Workspace) -> Image | None:
        """A member in `space`, if its file is here and its own code is enough."""
        if not self._bundle.segments.get(self._members[position].number):
            return None
        image, gone, leaves = self._load(position, space)
        return None if leaves is None or gone.any() else image

    def _guess(self, row: Row) -> bool:
        """Take for now that each member of which there is a file is whole, and see whether that would do."""
        here = [member.number != row.number and bool(self._bundle.segments.get(member.number))
                for member in self._members]
        self._gone = [np.full(layout.count, not there) for layout, there in zip(self._layouts, here, strict=True)]
        return sum(here) >= len(self._group.data)

    def _look(self, space: Workspace) -> list[Flags]:
        """What each member lacks after its own code."""
        if self._gone is None:
            self._gone = [self._load(position, space)[1] for position in range(len(self._members))]
        return self._gone

    def _load(self, position: int, space: Workspace) -> tuple[Image, Flags, bytes | None]:
        """A member in `space`, from its best file and its patches; which coded blocks it lacks, and its leaves."""
        row = self._members[position]
        expected = replace(self._bundle.expected(row), leaves=self._borne_out.get(position))
        places = self._bundle.segments.get(row.number, [])
        best = None
        for reader, name in places:
            found, image = check_file(space, reader, name, expected, cache=volumes.Cache.USED)
            if found.lost == 0:
                return image, found.gone, found.leaves
            lacking = int(self._lacking_of(position, found).sum())
            if best is None or lacking < best[0]:
                best = lacking, reader, name
        if best is None:
            return _nothing(expected.place, space), np.ones(expected.geometry.coded_blocks, np.bool_), None
        found, image = check_files(space, places, expected, cache=volumes.Cache.USED)
        if int(self._lacking_of(position, found).sum()) > best[0]:
            found, image = check_file(space, best[1], best[2], expected, cache=volumes.Cache.USED)
        if found.leaves is not None:
            self._listed.add(position)
        elif position not in self._denied:
            self._tried.add(position)
        gone = self._lacking_of(position, found).copy()
        for index, payload in self._patches[position].items():
            image.payloads[index] = np.frombuffer(payload, np.uint8)
            label_block(image, self._bundle.suite, index)
            gone[index] = False
        return image, self._recovered(position, image, gone, found.leaves, space), found.leaves

    def _lacking_of(self, position: int, found: Findings) -> Flags:
        """What a file lacks of a member, whose own blocks count without a list unless they were denied."""
        return found.gone if position in self._denied else found.lacking

    def _recovered(self, position: int, image: Image, gone: Flags, leaves: bytes | None, space: Workspace) -> Flags:
        """What is still lost after the inner code, which checks what it gives if there are leaves."""
        if leaves is not None:
            return recover_checked(space.engine, image, self._bundle.suite, gone, leaves)
        if position in self._denied or not gone.any():
            return gone
        return recover(space.engine, layout_of(image.place.geometry), image.payloads, gone)

    def _order(self, target: int) -> list[int]:
        return [position for position in range(len(self._members)) if position != target]

    def _lacking_others(self, target: int) -> list[int]:
        """Members that lack something, the least damaged first: they take the fewest patches."""
        assert self._gone is not None
        lacking = {position: int(self._gone[position].sum()) for position in self._order(target)}
        return sorted((position for position, count in lacking.items() if count), key=lacking.__getitem__)

    def _improve(self, position: int, space: Workspace, helper: Workspace) -> bool:
        """Give a member other than the wanted one what the outer code has for it. Whether that was anything."""
        assert self._gone is not None
        before = int(self._gone[position].sum())
        self._bring(position, space, helper, keep=True)
        return int(self._gone[position].sum()) < before

    def _bring(self, target: int, space: Workspace, helper: Workspace, *, keep: bool = False) -> bool:
        """One outer step for one member, then its inner code. Whether `space` holds it whole afterwards.

        With `keep` the patches stay also when it is whole: it will be read again, from a file that lacks them.
        """
        assert self._gone is not None
        image, gone, leaves = self._load(target, space)
        n = self._layouts[target].n
        lacking = np.array([self._at(position, n) for position in range(len(self._members))])
        lacking[target] = gone[:n]
        wanted = np.flatnonzero(gone[:n] & (lacking.sum(axis=0) <= len(self._group.parity)))
        self._add_up(target, image, wanted, lacking, helper)
        gone = gone.copy()
        for index in wanted.tolist():
            label_block(image, self._bundle.suite, index)
            gone[index] = False
        if leaves is not None:
            gone[:n] |= _wrong(image, self._bundle, leaves, wanted)
        before, gone = self._gone[target], self._recovered(target, image, gone, leaves, space)
        self._gone[target] = gone
        whole = not gone[:n].any()
        if keep or not whole:
            self._patch(target, image, wanted)
        try:
            if whole and complete(self._bundle, self._members[target], image, space) and leaves is None:
                size = self._bundle.suite.digest_size
                self._borne_out[target] = image.coded[:, DIGEST_AT:DIGEST_AT + size].tobytes()
            return whole
        finally:
            if whole and not keep:  # it will be read again, from a file that lacks what came now
                self._gone[target] = before

    def _at(self, position: int, count: int) -> Flags:
        """What a member lacks at the first `count` indices; beyond its end it is zeros, which nobody lacks."""
        assert self._gone is not None
        flags = np.zeros(count, np.bool_)
        n = min(self._layouts[position].n, count)
        flags[:n] = self._gone[position][:n]
        return flags

    def _add_up(self, target: int, image: Image, wanted: Places, lacking: Flags, helper: Workspace) -> None:
        """Set the blocks `wanted` of the target to the sum of what the other members give (G-7)."""
        k, m = len(self._group.data), len(self._group.parity)
        shares: dict[int, list[tuple[int, int, int]]] = {}  # by member: first block, end, coefficient
        for first, end in _runs(wanted, lacking):
            given = [position for position in self._order(target) if not lacking[position, first]][:k]
            for position, weight in zip(given, weights(k, m, given, target).tolist(), strict=True):
                shares.setdefault(position, []).append((first, end, weight))
            image.blocks[image.place.data_at + first:image.place.data_at + end] = 0
        for position, parts in shares.items():
            other, gone, _ = self._load(position, helper)
            for first, stop, weight in parts:
                end = min(stop, self._layouts[position].n)
                if weight and first < end:
                    if gone[first:end].any():
                        raise DamagedError("gives other bytes each time it is read", rule="S-7",
                                           where=volumes.segment_name(self._members[position].number))
                    helper.engine.accumulate(np.array([weight], np.uint8), _flat(other, first, end),
                                             [_flat(image, first, end)])

    def _patch(self, target: int, image: Image, wanted: Places) -> None:
        assert self._gone is not None
        for index in wanted.tolist():
            if not self._gone[target][index]:
                self._patches[target][index] = image.payloads[index].tobytes()
        size = image.place.geometry.payload_size
        if sum(map(len, self._patches)) * size > limits.PATCHES_MAX:
            raise DamagedError("takes more memory to bring back than may be used", rule="G-9",
                               where=volumes.segment_name(self._members[target].number))


def complete(bundle: Bundle, row: Row, image: Image, space: Workspace) -> bool:
    """Make headers, parity, lists and preambles anew around data blocks that came from elsewhere.

    Where the preamble is lost, zeros stand for it: good to unpack, not to be written to a volume. Raises DamagedError
    if the root is not the signed one (G-9).
    """
    if finish(image, bundle.suite, space.engine, bundle.segments_preamble,
              bundle.expected(row).preamble_hash) != bytes.fromhex(row.root):
        raise DamagedError("what came back from its group does not give its root", rule="G-9",
                           where=volumes.segment_name(row.number))
    space.image = image
    return True


def _nothing(place: Placement, space: Workspace) -> Image:
    """The image of a segment of which nothing is there."""
    return Image(place, space.blocks(place.block_count, place.geometry.block_size))


def _wrong(image: Image, bundle: Bundle, leaves: bytes, wanted: Places) -> Flags:
    """S-8: which of the blocks `wanted` are not their leaves."""
    size = bundle.suite.digest_size
    wrong = np.zeros(image.place.geometry.data_blocks, np.bool_)
    for index in wanted.tolist():
        at = image.place.data_at + index
        wrong[index] = digests(image.blocks[at:at + 1], bundle.suite) != leaves[index * size:(index + 1) * size]
    return wrong


def _flat(image: Image, first: int, end: int) -> Blocks:
    """Data blocks `first` to `end` with their headers, end to end."""
    return image.blocks[image.place.data_at + first:image.place.data_at + end].reshape(-1)


def _runs(wanted: Places, lacking: Flags) -> Iterator[tuple[int, int]]:
    """Runs of neighbours among the indices `wanted` at which the same members lack their block."""
    for _, run in itertools.groupby(enumerate(wanted.tolist()),
                                    key=lambda item: (item[1] - item[0], lacking[:, item[1]].tobytes())):
        indices = [index for _, index in run]
        yield indices[0], indices[-1] + 1


def beyond_repair(bundle: Bundle, row: Row) -> DamagedError:
    """What to say of a segment that neither its file nor its group gives, when all volumes are here."""
    return DamagedError("more is lost than its parity and its group can give back", rule="G-9",
                        where=f"volume {row.volume} of {len(bundle.statement.volumes)}, "
                              f"{volumes.segment_name(row.number)}", hint="fetch another copy of the bundle")
