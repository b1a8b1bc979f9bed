"""Lay segments out over drives: which are coded together, and which drive takes which (DESIGN: outer code).

With `lose` L every group takes a width w of its own, from L + 1 to all drives, on the drives with the most room left,
and gives w - L of them to data. The width is the one that leaves the most capacity. With unequal drives this reaches
the bound: data = the sum of the D - L smallest.

With `lose` 0 a group lies on one drive, up to 16 data segments and one of parity, so that a file which was deleted or
put into quarantine there comes back.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.errors import MediumError, UsageError
from airbundle.format import limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALONE: Final = 16
"""Data segments of a group that lies on one drive."""


@dataclass(frozen=True, slots=True)
class Team:
    """A group before it is packed: data segments `first` to `first + count`, and the volume of each member."""

    number: int
    first: int
    count: int
    volumes: tuple[int, ...]

    @property
    def parity(self) -> int:
        """How many members are parity."""
        return len(self.volumes) - self.count


class Teams:
    """All groups of a bundle: data segments are numbered through all of them, and parity segments after that."""

    def __init__(self, teams: Sequence[Team]) -> None:
        self._teams = tuple(teams)
        self._of = {number: team for team in teams for number in range(team.first, team.first + team.count)}
        firsts = itertools.accumulate((team.parity for team in teams), initial=len(self._of))
        self._parity = {team.number: first for team, first in zip(teams, firsts, strict=False)}

    def __len__(self) -> int:
        return len(self._teams)

    @property
    def most_parity(self) -> int:
        """Parity segments of the group that has the most."""
        return max((team.parity for team in self._teams), default=0)

    def team(self, number: int) -> Team:
        """The team of data segment `number`."""
        return self._of[number]

    def number(self, team: Team, row: int) -> int:
        """The segment number of parity row `row` of a group."""
        return self._parity[team.number] + row


def default_lose(drives: int) -> int:
    """1 for three drives or more, else 0."""
    return 1 if drives > 2 else 0


def require_lose(lose: int, drives: int) -> None:
    """Raises UsageError where no group can survive so much (T-6)."""
    if not 0 <= lose <= limits.LOSE_MAX or (lose and lose >= drives):
        raise UsageError(f"--lose {lose} with {drives} drives", rule="T-6",
                         hint=f"give more drives, or --lose {max(0, drives - 1)} at most")


def bound(rooms: Sequence[float], lose: int) -> float:
    """How much data, in the unit of `rooms`, fits when any `lose` of the drives may be lost: the D - L smallest."""
    return sum(sorted(rooms)[:len(rooms) - lose])


def lay_out(sizes: Sequence[int], rooms: Sequence[int], lose: int, kept: Sequence[Team] = (),
            places: Sequence[str] = ()) -> tuple[Team, ...]:
    """Teams for data segments that will be stored in `sizes` bytes, on drives with `rooms` bytes free, after `kept`.

    Raises MediumError, which names those of `places` that are too small, and UsageError for a `lose` that cannot be.
    """
    require_lose(lose, len(rooms))
    left = list(rooms)
    for team in kept:
        _place(team, sizes, left)
    done = sum(team.count for team in kept)
    teams = [*kept, *(_spread if lose else _alone)(sizes, left, lose, done, len(kept))]
    short = [number for number, room in enumerate(left) if room < 0]
    if short:
        missing = sum(-left[number] for number in short)
        raise MediumError(f"does not fit: about {missing:,} bytes are missing on "
                          f"{'drive' if len(short) == 1 else 'drives'} {', '.join(str(n + 1) for n in short)}",
                          where=", ".join(places[number] for number in short if number < len(places)),
                          hint="free as much, take larger drives, or give one more -o")
    return tuple(teams)


def _place(team: Team, sizes: Sequence[int], left: list[int]) -> None:
    """Take the room of a team."""
    members = [*sizes[team.first:team.first + team.count]]
    for volume, size in zip(team.volumes, members + [max(members)] * team.parity, strict=True):
        left[volume - 1] -= size


def _spread(sizes: Sequence[int], left: list[int], lose: int, at: int, number: int) -> Iterator[Team]:
    while at < len(sizes):
        by_room = sorted(range(len(left)), key=lambda drive: (-left[drive], drive))
        width = _best_width([left[drive] for drive in by_room], max(sizes[at:at + len(left) - lose]), lose)
        count = min(width - lose, len(sizes) - at)
        chosen = sorted(by_room[:count + lose])  # the last of them take parity: without loss they need no visit
        team = Team(number, at, count, tuple(drive + 1 for drive in chosen))
        _place(team, sizes, left)
        yield team
        at, number = at + count, number + 1


def _best_width(rooms: Sequence[int], size: int, lose: int) -> int:
    """The width that keeps the most capacity, the largest of equals; `rooms` in falling order."""
    best, chosen = -math.inf, len(rooms)
    for width in range(len(rooms), lose, -1):
        if rooms[width - 1] < size and width > lose + 1:
            continue  # the last of them is full
        after = [room - size if place < width else room for place, room in enumerate(rooms)]
        kept = (width - lose) * size + bound(after, lose)
        if kept > best:
            best, chosen = kept, width
    return chosen


def _alone(sizes: Sequence[int], left: list[int], _lose: int, at: int, number: int) -> Iterator[Team]:
    """Groups of nearly equal size, each on the drive with the most room left; smaller where that is not enough."""
    while at < len(sizes):
        members = -(-(len(sizes) - at) // -(-(len(sizes) - at) // ALONE))
        drive = max(range(len(left)), key=lambda drive: left[drive])
        if len(left) > 1:
            fitting = (count for count in range(members, 0, -1)
                       if sum(sizes[at:at + count]) + max(sizes[at:at + count]) <= left[drive])
            members = next(fitting, members)
        team = Team(number, at, members, (drive + 1,) * (members + 1))
        _place(team, sizes, left)
        yield team
        at, number = at + members, number + 1
