"""Bring a segment back through one port: the members of its group come one drive after another (G-9).

What a lost or sick drive leaves open is begun when enough other volumes were seen. Each visit adds what the members on
the connected drive give to a sum that lies beside the staging tree; the sum of all of them is the segment, and its root
says whether it is. The sum is ciphertext, and there is none of it before a drive is missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from airbundle.codec.erasure import weights
from airbundle.errors import DamagedError, MediumError
from airbundle.media.state import load_buffer, save_buffer
from airbundle.transfer.image import Image
from airbundle.transfer.landing import Landing, Summed
from airbundle.transfer.restore import complete

if TYPE_CHECKING:
    from airbundle.format.block import Blocks
    from airbundle.format.catalog import Group, Row
    from airbundle.transfer.open import Bundle
    from airbundle.transfer.restore import Restorer
    from airbundle.transfer.workspace import Workspace


class RunningSum:
    """A segment that is added up in a workspace from the members of its group. Shares come from `weights`."""

    def __init__(self, bundle: Bundle, row: Row, space: Workspace) -> None:
        self._bundle, self._row, self._space = bundle, row, space
        place = bundle.expected(row).place
        self._image = Image(place, space.blocks(place.block_count, place.geometry.block_size))
        self.area = _data_of(self._image)
        self.area[:] = 0

    def add(self, share: int, member: Image) -> None:
        """Add what a whole member gives (G-7)."""
        part = _data_of(member)[:self.area.size]
        self._space.engine.accumulate(np.array([share], np.uint8), part, [self.area])

    def complete(self) -> bool:
        """Make it a whole segment. Raises DamagedError if its root is not the signed one (G-9)."""
        return complete(self._bundle, self._row, self._image, self._space)


def _data_of(image: Image) -> Blocks:
    """The data blocks with their headers, end to end."""
    return image.blocks[image.place.data_at:][:image.place.geometry.data_blocks].reshape(-1)


def add_up(bundle: Bundle, landing: Landing, row: Row, restorer: Restorer, space: Workspace,
           helper: Workspace) -> bool:
    """Add what is here to the sum of `row`. Whether `space` now holds it whole."""
    group = bundle.groups[row.group]
    note = landing.sums.get(row.number) or _begin(landing, group, row)
    if note is None:
        return False
    total = RunningSum(bundle, row, space)
    if note.has:
        try:
            load_buffer(landing.sum_path(note.number, note.has), total.area.data)
        except MediumError:  # gone or cut: begun anew when the volumes come once more
            landing.drop_sum(row.number)
            return False
    shares = weights(len(group.data), len(group.parity), note.given, row.position)
    for position, share in zip(note.given, shares, strict=True):
        if position in note.has:
            continue
        member = restorer.whole_member(position, helper)
        if member is None:
            continue
        total.add(int(share), member)
        note = Summed(note.number, note.given, [*note.has, position])
    if set(note.has) == set(note.given):
        return _completed(total, landing, row.number)
    known = landing.sums.get(row.number)
    if known is None or len(note.has) > len(known.has):
        save_buffer(landing.sum_path(note.number, note.has), total.area.data)
        landing.summed(note)
    return False


def _completed(total: RunningSum, landing: Landing, number: int) -> bool:
    """Whether the sum is the segment. The members of this visit were checked: if not, what lay here has rotted."""
    try:
        return total.complete()
    except DamagedError:
        if number not in landing.sums:
            raise
        landing.drop_sum(number)
        return False


def _begin(landing: Landing, group: Group, row: Row) -> Summed | None:
    """Fix the members to add up, if enough of them lie on volumes that were seen."""
    there = [member.position for member in group.members
             if member.number != row.number and member.volume in landing.seen]
    return Summed(row.number, there[:len(group.data)], []) if len(there) >= len(group.data) else None
