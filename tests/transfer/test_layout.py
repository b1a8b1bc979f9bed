"""Which segments are coded together and which drive takes which (spec 5.2, T-6): no files, only numbers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.errors import MediumError, UsageError
from airbundle.transfer.layout import ALONE, Team, Teams, bound, default_lose, lay_out, require_lose

if TYPE_CHECKING:
    from collections.abc import Sequence


def loads(teams: Sequence[Team], sizes: Sequence[int], drives: int) -> list[int]:
    """Bytes on each drive: a parity segment is as long as the longest of its group."""
    taken = [0] * drives
    for team in teams:
        members = [sizes[number] for number in range(team.first, team.first + team.count)]
        for volume, size in zip(team.volumes, members + [max(members)] * team.parity, strict=True):
            taken[volume - 1] += size
    return taken


def check(teams: Sequence[Team], sizes: Sequence[int], rooms: Sequence[int], lose: int) -> None:
    """All that a layout promises."""
    assert [team.number for team in teams] == list(range(len(teams)))
    assert [number for team in teams for number in range(team.first, team.first + team.count)] == [*range(len(sizes))]
    for team in teams:
        assert team.count >= 1
        assert all(1 <= volume <= len(rooms) for volume in team.volumes)
        assert team.parity == (lose or 1)  # T-6
        if lose:
            assert len(set(team.volumes)) == len(team.volumes)
        else:
            assert len(set(team.volumes)) == 1
            assert team.count <= ALONE
    assert all(load <= room for load, room in zip(loads(teams, sizes, len(rooms)), rooms, strict=True))


@st.composite
def drives(draw: st.DrawFn) -> tuple[list[int], int]:
    most = draw(st.sampled_from([3, 12, 90]))
    rooms = draw(st.lists(st.integers(0, most), min_size=2, max_size=9))
    return rooms, draw(st.integers(1, len(rooms) - 1))


@given(case=drives())
@settings(max_examples=400, deadline=None)
def test_unequal_drives_hold_all_that_can_be_held(case: tuple[list[int], int]) -> None:
    """As many segments as the D - L smallest drives take, and not one more."""
    rooms, lose = case
    most = int(bound(rooms, lose))
    check(lay_out([1] * most, rooms, lose), [1] * most, rooms, lose)
    with pytest.raises(MediumError, match="does not fit"):
        lay_out([1] * (most + 1), rooms, lose)


@pytest.mark.parametrize(("rooms", "lose", "segments"), [
    ([1000, 512, 128], 1, 640), ([512, 128, 1000], 1, 640), ([1000, 512, 128], 2, 128), ([300, 300], 1, 300),
    ([7, 1000], 1, 7), ([100] * 5, 2, 300), ([100, 90, 80, 70, 60], 2, 210), ([900, 1, 1, 1], 1, 3),
    ([50, 50, 50, 0], 1, 100), ([250] * 64, 63, 250)])
def test_examples(rooms: list[int], lose: int, segments: int) -> None:
    assert bound(rooms, lose) == segments
    check(lay_out([1] * segments, rooms, lose), [1] * segments, rooms, lose)
    with pytest.raises(MediumError):
        lay_out([1] * (segments + 1), rooms, lose)


@given(sizes=st.lists(st.integers(1, 1000), max_size=60), count=st.integers(2, 7), data=st.data())
@settings(max_examples=200, deadline=None)
def test_segments_of_any_sizes(sizes: list[int], count: int, data: st.DataObject) -> None:
    """With plenty of room, whatever the sizes: every rule of a layout holds."""
    lose = data.draw(st.integers(0, count - 1))
    rooms = data.draw(st.lists(st.integers(70_000, 200_000), min_size=count, max_size=count))
    check(lay_out(sizes, rooms, lose), sizes, rooms, lose)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 31, 32, 33, 100, 1000])
@pytest.mark.parametrize("drives_", [1, 3])
def test_groups_on_one_drive_are_nearly_equal(count: int, drives_: int) -> None:
    teams = lay_out([10] * count, [100_000] * drives_, 0)
    check(teams, [10] * count, [100_000] * drives_, 0)
    sizes = {team.count for team in teams}
    assert len(teams) == -(-count // ALONE)
    assert not sizes or max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("rooms", "segments"), [([17, 17], 32), ([10, 8, 5], 20), ([2] * 9, 9), ([3, 1, 1], 2)])
def test_groups_on_one_drive_take_what_room_there_is(rooms: list[int], segments: int) -> None:
    """A drive that a whole group would not fit on takes a smaller one."""
    check(lay_out([1] * segments, rooms, 0), [1] * segments, rooms, 0)
    with pytest.raises(MediumError):
        lay_out([1] * (segments + 1), rooms, 0)


def test_the_last_segments_make_a_narrow_group() -> None:
    """One segment is left over for five drives: it takes a drive, and each of the two it may lose."""
    teams = lay_out([1] * 4, [10] * 5, 2)
    assert [(team.count, len(team.volumes)) for team in teams] == [(3, 5), (1, 3)]


@pytest.mark.parametrize("seed", range(20))
def test_what_was_begun_is_kept(seed: int) -> None:
    """Resumed with other room: the first groups stay, the rest is laid out anew, over a drive more too."""
    random_ = random.Random(seed)
    sizes = [random_.randrange(1, 9) for _ in range(40)]
    count = random_.randrange(3, 6)
    lose = random_.randrange(1, count)
    first = lay_out(sizes, [400] * count, lose)
    kept = first[:random_.randrange(len(first) + 1)]
    rooms = [random_.randrange(400, 900) for _ in range(count + random_.randrange(2))]
    again = lay_out(sizes, rooms, lose, kept)
    assert again[:len(kept)] == kept
    check(again, sizes, rooms, lose)


def test_what_was_begun_takes_its_room() -> None:
    first = lay_out([1] * 6, [3] * 3, 1)
    with pytest.raises(MediumError):
        lay_out([1] * 7, [3] * 3, 1, first)


def test_the_error_names_the_drives_that_are_too_small() -> None:
    with pytest.raises(MediumError, match="about 3 bytes are missing on drives 2, 3") as caught:
        lay_out([2] * 2, [4, 1, 0], 1, [Team(0, 0, 2, (1, 2, 3))], ["first", "second", "third"])
    assert caught.value.where == "second, third"


@pytest.mark.parametrize(("lose", "drives_"), [(1, 1), (2, 2), (5, 3), (-1, 3), (64, 64), (64, 65)])
def test_more_than_can_be_lost(lose: int, drives_: int) -> None:
    for call in (lambda: require_lose(lose, drives_), lambda: lay_out([1], [9] * drives_, lose)):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.rule == "T-6"


def test_what_may_be_lost_unless_it_is_said() -> None:
    assert [default_lose(count) for count in (1, 2, 3, 4, 64)] == [0, 0, 1, 1, 1]


def test_parity_is_numbered_behind_all_data() -> None:
    teams = Teams([Team(0, 0, 3, (1, 2, 3, 4, 5)), Team(1, 3, 1, (2, 3, 4)), Team(2, 4, 2, (1, 2, 3))])
    assert [teams.team(number).number for number in range(6)] == [0, 0, 0, 1, 2, 2]
    rows = [(0, 0), (0, 1), (3, 0), (3, 1), (4, 0)]
    numbers = [teams.number(teams.team(first), row) for first, row in rows]
    assert numbers == [6, 7, 8, 9, 10]
    assert (len(teams), teams.most_parity) == (3, 2)
    assert (len(Teams([])), Teams([]).most_parity) == (0, 0)
