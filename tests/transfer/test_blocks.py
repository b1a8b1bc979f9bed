"""Blocks that are lost, moved, taken from elsewhere or changed on purpose; the bound of the parity, exactly."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from tests.transfer.workshop import (
    MIB,
    Packed,
    block_of,
    digests,
    hole,
    kill_blocks,
    overwrite,
    pack,
    with_digest,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory

SIZE = 4096


def test_each_block_zeroed(small: Packed, tmp_path: Path) -> None:
    before = digests(small.volume)
    for path in sorted(small.volume.glob("*.abs")):
        for number in range(path.stat().st_size // SIZE):
            kill_blocks(path, SIZE, [number])
            report = small.heals(tmp_path / "back", before=before)
            assert (report.damaged, report.altered, report.misplaced) == (1, 0, 0)


def test_blocks_swapped_within_a_segment(small: Packed, tmp_path: Path) -> None:
    before, path, random_ = digests(small.volume), small.segment(0), random.Random(1)
    count = path.stat().st_size // SIZE
    for _ in range(40):
        one, two = random_.sample(range(count), 2)
        first, second = block_of(path, one, SIZE), block_of(path, two, SIZE)
        overwrite(path, one * SIZE, second)
        overwrite(path, two * SIZE, first)
        report = small.heals(tmp_path / "back", before=before)
        # The two copies of a list or preamble block are the same bytes.
        assert (report.misplaced, report.altered, report.damaged) == (2, 0, 0)


@pytest.mark.parametrize("pair", [("00000000.abs", "00000001.abs"), ("00000000.abs", "catalog.abs"),
                                  ("catalog.abs", "catalog-copy.abs")])
def test_blocks_swapped_between_files(small: Packed, tmp_path: Path, pair: tuple[str, str]) -> None:
    """Also the first and the last ones, which say what a file is."""
    before = digests(small.volume)
    one, two = (small.volume / name for name in pair)
    for numbers in ((0, 0), (0, -1), (-1, -1), (1, 1), (5, 5), (0, 5)):
        at = [number % (path.stat().st_size // SIZE) for number, path in zip(numbers, (one, two), strict=True)]
        first, second = block_of(one, at[0], SIZE), block_of(two, at[1], SIZE)
        if first == second:
            continue
        overwrite(one, at[0] * SIZE, second)
        overwrite(two, at[1] * SIZE, first)
        small.heals(tmp_path / "back", before=before)


def test_first_and_last_block_of_another_segment(small: Packed, tmp_path: Path) -> None:
    """Both ends of a file say that it is another one."""
    before = digests(small.volume)
    files = ("00000000.abs", "00000001.abs", "catalog.abs", "00000000.abs")
    for one, two in itertools.pairwise(files):
        path, other = small.volume / one, small.volume / two
        for number in (0, -1):
            last = path.stat().st_size // SIZE
            count = other.stat().st_size // SIZE
            overwrite(path, number % last * SIZE, block_of(other, number % count, SIZE))
        report = small.heals(tmp_path / "back", before=before)
        assert report.altered == 0


def test_blocks_of_another_bundle(small: Packed, tmp_path: Path) -> None:
    before = digests(small.volume)
    other = pack(small.keys, small.source, tmp_path / "other")
    for path in sorted(small.volume.glob("*.abs")):
        for number in (0, 1, 2, 5, path.stat().st_size // SIZE - 1):
            overwrite(path, number * SIZE, block_of(other.volume / path.name, number, SIZE))
            report = small.heals(tmp_path / "back", before=before)
            assert (report.misplaced, report.altered) == (1, 0), (path.name, number)


def test_changed_on_purpose_with_a_digest_that_fits(small: Packed, tmp_path: Path) -> None:
    """Chance does not make that: counted as altered, in blocks of every kind, and repaired all the same."""
    before = digests(small.volume)
    for path in sorted(small.volume.glob("[0-9]*.abs")):
        row = small.rows()[int(path.stem)]
        place = small.place(row)
        for number in (0, place.lists_at[0], place.data_at, place.parity_at, place.lists_at[1], place.preambles_at[1]):
            block = bytearray(block_of(path, number, SIZE))
            block[200] ^= 4
            overwrite(path, number * SIZE, with_digest(bytes(block)))
            report = small.heals(tmp_path / "back", before=before)
            assert (report.altered, report.damaged, report.misplaced) == (1, 0, 0), (path.name, number)


def test_a_digest_that_fits_after_a_changed_header(small: Packed, tmp_path: Path) -> None:
    before, path = digests(small.volume), small.segment(0)
    for at in (56, 59, 60, 61, 64, 68, 72, 88, 96, 112, 120, 124):
        for number in (0, 3):
            block = bytearray(block_of(path, number, SIZE))
            block[at] ^= 1
            overwrite(path, number * SIZE, with_digest(bytes(block)))
            small.heals(tmp_path / "back", before=before)


def test_both_lists_changed_on_purpose(small: Packed, tmp_path: Path) -> None:
    """A list that nobody signed, twice the same, and blocks that fit it: the root knows, and the group helps."""
    before = digests(small.volume)
    partner = small.partner(small.rows()[0])
    honest = small.segment(partner.number).read_bytes()
    for row in (small.rows()[0], partner):
        path, place = small.segment(row.number), small.place(row)
        block = bytearray(block_of(path, place.data_at, SIZE))
        block[300] ^= 1
        changed = with_digest(bytes(block))
        overwrite(path, place.data_at * SIZE, changed)
        for at in place.lists_at:
            entry = bytearray(block_of(path, at, SIZE))
            entry[128:160] = changed[8:40]
            overwrite(path, at * SIZE, with_digest(bytes(entry)))
    small.is_beyond(tmp_path / "back", 0, partner.number)
    small.segment(partner.number).write_bytes(honest)
    small.comes_back(tmp_path / "back", 0)
    path, place = small.segment(0), small.place(small.rows()[0])
    overwrite(path, place.data_at * SIZE, bytes(SIZE))  # now only bit rot under a changed list
    report = small.heals(tmp_path / "back", before=before)
    assert report.altered == 2


def stripes(bundle: Packed, number: int) -> list[list[int]]:
    """The places of the coded blocks of each stripe."""
    row = bundle.rows()[number]
    place = bundle.place(row)
    data = place.geometry.data_blocks
    found: list[list[int]] = [[] for _ in range(row.stripes)]
    for index in range(place.geometry.coded_blocks):
        found[index % row.stripes].append(place.data_at + index)
    assert data + row.m * row.stripes == place.geometry.coded_blocks
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("which", ["small", "striped", "large"])
def test_m_blocks_of_every_stripe_and_not_one_more(
    request: pytest.FixtureRequest, tmp_path: Path, which: str, seed: int
) -> None:
    bundle: Packed = request.getfixturevalue(which)
    before, random_ = digests(bundle.volume), random.Random(seed)
    for row in bundle.rows():
        for stripe in stripes(bundle, row.number):
            kill_blocks(bundle.segment(row.number), row.block_size, random_.sample(stripe, row.m))
    report = bundle.heals(tmp_path / "back", before=before)
    assert report.damaged == sum(row.m * row.stripes for row in bundle.rows())

    longest = max(row.body for row in bundle.rows())
    row = random_.choice([row for row in bundle.rows() if row.body == longest])
    one_too_many = random_.sample(random_.choice(stripes(bundle, row.number)), row.m + 1)
    kill_blocks(bundle.segment(row.number), row.block_size, one_too_many)
    bundle.comes_back(tmp_path / "back", row.number)

    partner = bundle.partner(row)
    assert bundle.place(partner).geometry.data_blocks == bundle.place(row).geometry.data_blocks
    kill_blocks(bundle.segment(partner.number), row.block_size, one_too_many)
    bundle.is_beyond(tmp_path / "none", *sorted((row.number, partner.number)))


def test_any_run_of_blocks(small: Packed, tmp_path: Path) -> None:
    """m·T in a row, at every offset of the coded area."""
    before = digests(small.volume)
    for row in small.rows():
        place, path = small.place(row), small.segment(row.number)
        content = path.read_bytes()
        length = row.m * row.stripes
        for start in range(place.data_at, place.data_at + place.geometry.coded_blocks - length + 1):
            kill_blocks(path, SIZE, range(start, start + length))
            assert small.report(11).damaged == length
            small.repair()
            assert digests(small.volume) == before
        kill_blocks(path, SIZE, range(place.data_at, place.data_at + length + 1))
        small.comes_back(tmp_path / "back", row.number)
        partner = small.partner(row).number
        small.segment(partner).rename(tmp_path / "partner")
        small.is_beyond(tmp_path / "none", *sorted((row.number, partner)))
        (tmp_path / "partner").rename(small.segment(partner))
        path.write_bytes(content)


def test_runs_over_several_stripes(striped: Packed) -> None:
    before, row = digests(striped.volume), striped.rows()[0]
    place, length = striped.place(row), row.m * row.stripes
    for start in range(place.data_at, place.data_at + place.geometry.coded_blocks - length + 1, 29):
        kill_blocks(striped.segment(0), SIZE, range(start, start + length))
        assert striped.report(11).damaged == length
        striped.repair()
        assert digests(striped.volume) == before


def places_of_holes(total: int) -> list[int]:
    random_ = random.Random(11)
    return [*range(0, total - MIB, 4000 * 1024), total - MIB, *(random_.randrange(total - MIB) for _ in range(3))]


def test_a_hole_of_a_mebibyte_anywhere_on_the_medium(large: Packed, tmp_path: Path) -> None:
    before = digests(large.volume)
    total = sum(path.stat().st_size for path in large.image())
    for at in places_of_holes(total):
        hole(large.image(), at, MIB)
        large.heals(tmp_path / "back", before=before)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_a_hole_at_each_step(large: Packed, tmp_path: Path) -> None:
    before = digests(large.volume)
    total = sum(path.stat().st_size for path in large.image())
    for at in range(0, total - MIB, 50 * 1024 + 7):
        hole(large.image(), at, MIB)
        large.heals(tmp_path / "back", before=before)
