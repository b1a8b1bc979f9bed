"""Repair where a segment's own parity is not enough: its group gives it back, bit for bit, in its place."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.transfer.test_blocks import stripes
from tests.transfer.test_surroundings import KINDS, in_place_of
from tests.transfer.test_truncation import borders, lost_blocks
from tests.transfer.workshop import MIB, Packed, block_of, digests, kill_blocks, noise, overwrite, with_digest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_file_that_is_gone(small: Packed, tmp_path: Path, number: int) -> None:
    """Data and parity alike; the parity needs no key (G-8)."""
    before = digests(small.volume)
    small.segment(number).unlink()
    small.heals(tmp_path / "back", number, before=before)


@pytest.mark.parametrize("content", [b"", bytes(MIB), noise(MIB)], ids=["empty", "zeros", "noise"])
def test_a_file_of_which_nothing_is_left(small: Packed, tmp_path: Path, content: bytes) -> None:
    before = digests(small.volume)
    for number in (0, 1, 2):
        path = small.segment(number)
        path.write_bytes(content[:path.stat().st_size])
        small.heals(tmp_path / "back", number, before=before)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_something_else_in_its_place(small: Packed, tmp_path: Path, kind: str) -> None:
    before = digests(small.volume)
    in_place_of(small.segment(0), kind, tmp_path / "elsewhere")
    there = (tmp_path / "elsewhere").read_bytes() if kind == "link" else b""
    small.heals(tmp_path / "back", 0, before=before)
    assert not small.segment(0).is_symlink()
    if kind == "link":
        assert (tmp_path / "elsewhere").read_bytes() == there


def test_cut_anywhere(small: Packed, tmp_path: Path) -> None:
    before = digests(small.volume)
    for row in small.rows():
        path = small.segment(row.number)
        content = path.read_bytes()
        for length in sorted(borders(small, path)):
            if lost_blocks(small, row.number, length) > row.m:
                path.write_bytes(content[:length])
                small.heals(tmp_path / "back", row.number, before=before)


@pytest.mark.parametrize("which", ["small", "striped", "large"])
def test_one_block_more_than_a_stripe_gives_back(request: pytest.FixtureRequest, tmp_path: Path, which: str) -> None:
    bundle: Packed = request.getfixturevalue(which)
    before, random_ = digests(bundle.volume), random.Random(which)
    for row in bundle.rows():
        for stripe in stripes(bundle, row.number):
            kill_blocks(bundle.segment(row.number), row.block_size, random_.sample(stripe, row.m + 1))
            bundle.heals(tmp_path / "back", row.number, before=before)


def test_both_lists_changed_on_purpose(small: Packed, tmp_path: Path) -> None:
    """The group gives the segment without them; its root decides."""
    before, path, place = digests(small.volume), small.segment(0), small.place(small.rows()[0])
    block = bytearray(block_of(path, place.data_at, 4096))
    block[300] ^= 1
    changed = with_digest(bytes(block))
    overwrite(path, place.data_at * 4096, changed)
    for at in place.lists_at:
        entry = bytearray(block_of(path, at, 4096))
        entry[128:160] = changed[8:40]
        overwrite(path, at * 4096, with_digest(bytes(entry)))
    small.heals(tmp_path / "back", 0, before=before)


def test_a_segment_that_is_gone_and_a_block_that_says_it_is_here(small: Packed, tmp_path: Path) -> None:
    before = digests(small.volume)
    block = block_of(small.segment(1), 0, 4096)
    small.segment(1).unlink()
    overwrite(small.segment(0), 0, block)
    small.heals(tmp_path / "back", 1, before=before)


def test_one_member_gone_and_all_others_damaged(large: Packed, tmp_path: Path) -> None:
    """The others are put right by their own parity first."""
    before, random_ = digests(large.volume), random.Random(3)
    for row in large.rows():
        for stripe in stripes(large, row.number):
            kill_blocks(large.segment(row.number), row.block_size, random_.sample(stripe, row.m))
    large.segment(1).unlink()
    large.heals(tmp_path / "back", 1, before=before)


def test_two_damaged_members_at_different_indices(large: Packed, tmp_path: Path) -> None:
    """Neither has enough of its own; each gives the other what it lacks."""
    before, numbers = digests(large.volume), (0, 2)
    for part, number in enumerate(numbers):
        row, count = large.rows()[number], large.rows()[number].m + 1
        places = stripes(large, number)[0][part * count:(part + 1) * count]
        kill_blocks(large.segment(number), row.block_size, places)
    large.heals(tmp_path / "back", *numbers, before=before)


def test_what_is_beyond_its_group_leaves_the_rest_repaired(small: Packed, tmp_path: Path) -> None:
    for number in (0, 2):
        small.segment(number).unlink()
    kill_blocks(small.segment(1), 4096, range(6))
    small.is_beyond(tmp_path / "back", 0, 2)
    assert [finding.file for finding in small.report(4).findings] == ["00000000.abs", "00000002.abs"]


def without_lists(bundle: Packed, number: int) -> None:
    place = bundle.place(bundle.rows()[number])
    for at in place.lists_at:
        kill_blocks(bundle.segment(number), place.geometry.block_size, range(at, at + place.geometry.list_blocks))


@pytest.mark.parametrize("both", [False, True])
def test_a_member_without_its_lists(large: Packed, tmp_path: Path, both: bool) -> None:
    """At each index one member at most lacks its block: its own sound blocks count, its root says whether rightly."""
    before, numbers = digests(large.volume), (0, 2)
    for part, number in enumerate(numbers):
        row, count = large.rows()[number], large.rows()[number].m + 1
        places = stripes(large, number)[0][part * count:(part + 1) * count]
        kill_blocks(large.segment(number), row.block_size, places)
    for number in numbers if both else numbers[:1]:
        without_lists(large, number)
    large.heals(tmp_path / "back", *numbers, before=before)


def test_a_member_without_its_lists_and_with_a_block_changed_on_purpose(large: Packed, tmp_path: Path) -> None:
    """Its own blocks are no help then, and no harm: the group gives all of it."""
    before, path, place = digests(large.volume), large.segment(0), large.place(large.rows()[0])
    size = place.geometry.block_size
    without_lists(large, 0)
    kill_blocks(path, size, stripes(large, 0)[0][:place.geometry.m + 1])
    block = bytearray(block_of(path, place.data_at + place.geometry.data_blocks - 1, size))
    block[300] ^= 1
    overwrite(path, (place.data_at + place.geometry.data_blocks - 1) * size, with_digest(bytes(block)))
    large.heals(tmp_path / "back", 0, before=before)
