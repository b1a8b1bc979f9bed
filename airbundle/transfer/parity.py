"""The outer code on the writer's side: parity segments grow while the data segments of their group are sealed (G-7).

Each data segment is added from the buffer in which it was sealed, so nothing is read twice. When the last one of a
group has its name its parity segments get their inner code and lists like any segment: not before, since a member that
is lost on its way is sealed anew, and the parity of the old one would have to be written again. Headers of blocks are
added up too, since the buffers are whole; `finish` writes them anew.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from airbundle.codec.galois import cauchy
from airbundle.errors import InterruptedRunError
from airbundle.format.geometry import HEADER_SIZE, Placement
from airbundle.transfer.image import Image, finish
from airbundle.transfer.seal import Sealed, shape
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from airbundle.format.block import Blocks
    from airbundle.stages import Stages
    from airbundle.transfer.layout import Team, Teams
    from airbundle.transfer.seal import SealPlan


@dataclass(slots=True)
class Growing:
    """Parity segments of one group that are not finished yet, one workspace each; `left` members have no name yet."""

    team: Team
    spaces: list[Workspace]
    left: int
    blocks: int = 0
    used: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class OuterParity:
    """All parity segments of a bundle. Threads share it; `sets` groups can grow at a time.

    Segments have to come in order, and no more than `sets` of them are in work at a time. Then nobody waits for buffers
    for ever: a group that has some is one with a segment in work, or the one that the next segment belongs to, so while
    one more segment is in work a set is free, or is about to be.
    """

    def __init__(self, teams: Teams, plan: SealPlan, size: int, front: int, sets: int, stages: Stages) -> None:
        """Buffers of `size` bytes with the data area `front` bytes from their start."""
        self._teams, self._plan, self._front, self._stages = teams, plan, front, stages
        self._growing: dict[int, Growing] = {}
        self._stopped = False
        self._news = threading.Condition()
        self._free = [[Workspace(size) for _ in range(teams.most_parity)] for _ in range(min(sets, len(teams)))]

    def add(self, number: int, image: Image) -> None:
        """Add a data segment."""
        team = self._teams.team(number)
        growing = self._of(team)
        geometry = image.place.geometry
        data = image.blocks[image.place.data_at:][:geometry.data_blocks].reshape(-1)
        column = cauchy(team.count, team.parity)[:, number - team.first]
        with growing.lock:
            targets = [self._area(space)[:data.size] for space in growing.spaces[:team.parity]]
            with self._stages("parity"):
                growing.spaces[0].engine.accumulate(np.ascontiguousarray(column), data, targets)
            growing.blocks = max(growing.blocks, geometry.data_blocks)

    def settled(self, number: int) -> Growing | None:
        """A data segment that was added has its name now. Gives the parity of its group if it was the last member."""
        growing = self._of(self._teams.team(number))
        with growing.lock:
            growing.left -= 1
            return growing if growing.left == 0 else None

    def finish(self, growing: Growing, row: int, salt: bytes) -> Sealed:
        """Make parity row `row` of a complete group a whole segment, with a salt that was never used (G-8)."""
        space, plan = growing.spaces[row], self._plan
        body = growing.blocks * (plan.block_size - HEADER_SIZE)
        geometry = shape(plan, self._teams.number(growing.team, row), salt, body)
        place = Placement(geometry, len(plan.preamble))
        growing.used = place.stored_size
        first = self._front - place.data_at * plan.block_size
        image = Image(place, space.blocks(place.block_count, plan.block_size, first=first))
        return Sealed(image, finish(image, plan.context.suite, space.engine, plan.preamble,
                                    stages=self._stages), b"")

    def release(self, growing: Growing) -> None:
        """The parity of a group is on the media: its buffers may be used again."""
        for space in growing.spaces:
            self._area(space)[:growing.used] = 0
        with self._news:
            del self._growing[growing.team.number]
            self._free.append(growing.spaces)
            self._news.notify_all()

    def stop(self) -> None:
        """A worker failed: whoever waits for buffers stops too."""
        with self._news:
            self._stopped = True
            self._news.notify_all()

    def _of(self, team: Team) -> Growing:
        with self._news:
            self._news.wait_for(lambda: self._stopped or team.number in self._growing or self._free)
            if self._stopped:
                raise InterruptedRunError("stopped")
            if team.number not in self._growing:
                self._growing[team.number] = Growing(team, self._free.pop(), team.count)
            return self._growing[team.number]

    def _area(self, space: Workspace) -> Blocks:
        return space.bytes[self._front:]
