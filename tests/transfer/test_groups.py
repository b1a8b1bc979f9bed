"""Inner and outer code together on one drive, and bundles that lie about their groups."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from airbundle.codec.galois import cauchy, multiply
from airbundle.errors import FormatError
from airbundle.format import encoding
from airbundle.format.catalog import PARITY, Table
from tests.transfer.forge import Lies, forge
from tests.transfer.test_blocks import stripes
from tests.transfer.workshop import KIB, MIB, Keys, Packed, kill_blocks, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def _broad(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    place = tmp_path_factory.mktemp("broad")
    source = write_tree(place / "source", {"noise": noise(1100 * KIB, 5), "zeros": bytes(200 * KIB)})
    return pack(keys, source, place / "drive")


@pytest.fixture
def broad(_broad: Packed, tmp_path: Path) -> Packed:
    """Two groups of 11 and 10 data segments and one of parity; the last of them is short."""
    return _broad.copy_to(tmp_path / "drive")


def data_of(bundle: Packed, number: int) -> list[bytes]:
    """The payloads of the data blocks of a segment, from the file."""
    row = bundle.rows()[number]
    place, content = bundle.place(row), bundle.segment(number).read_bytes()
    first = place.data_at
    return [content[at * row.block_size + 128:(at + 1) * row.block_size]
            for at in range(first, first + place.geometry.data_blocks)]


def test_the_parity_segment_is_the_sum_of_g_7(broad: Packed) -> None:
    rows = broad.rows()
    assert [sum(row.group == group for row in rows) for group in (0, 1)] == [12, 11]
    for parity in (row for row in rows if row.role == PARITY):
        members = [row for row in rows if row.group == parity.group and row.role != PARITY]
        assert len({row.body for row in members}) == 1 + parity.group  # the second one has a short member
        blocks = [data_of(broad, row.number) for row in members]
        column = cauchy(len(members), 1)[0]
        for index, stored in enumerate(data_of(broad, parity.number)):
            total = bytes(len(stored))
            for weight, own in zip(column, blocks, strict=True):
                if index < len(own):
                    share = multiply(weight.reshape(1, 1), np.frombuffer(own[index], np.uint8).reshape(1, -1))
                    total = bytes(a ^ b for a, b in zip(total, share.tobytes(), strict=True))
            assert stored == total, (parity.group, index)


@pytest.mark.parametrize("group", [0, 1])
def test_each_member_of_a_group(broad: Packed, tmp_path: Path, group: int) -> None:
    for row in broad.rows():
        if row.group == group:
            broad.segment(row.number).rename(tmp_path / "away")
            broad.comes_back(tmp_path / "back", row.number)
            (tmp_path / "away").rename(broad.segment(row.number))


def test_one_member_of_each_group(broad: Packed, tmp_path: Path) -> None:
    gone = [next(row.number for row in broad.rows() if row.group == group) for group in (0, 1)]
    for number in gone:
        broad.segment(number).unlink()
    broad.comes_back(tmp_path / "back", *gone)


def test_two_members_of_one_group(broad: Packed, tmp_path: Path) -> None:
    """And one of the other one comes back all the same, before the run ends."""
    rows = broad.rows()
    gone = [*[row.number for row in rows if row.group == 0][3:5], *[row.number for row in rows if row.group == 1][:1]]
    for number in gone:
        broad.segment(number).unlink()
    report = broad.is_beyond(tmp_path / "back", *gone[:2])
    assert report.restorable == (gone[2],)


def test_a_block_of_each_member_at_an_index_of_its_own(small: Packed, tmp_path: Path) -> None:
    """No segment keeps enough of its own; all of them come back, from blocks that the others lack."""
    rows = small.rows()
    for row in rows:  # all parity and one data block: one too many
        place = small.place(row)
        kill_blocks(small.segment(row.number), row.block_size, [
            place.data_at + row.position, *range(place.parity_at, place.parity_at + row.m)])
    small.comes_back(tmp_path / "back", 0, 1, 2)
    kill_blocks(small.segment(0), 4096, [small.place(rows[0]).data_at + 1])
    small.is_beyond(tmp_path / "back", 0, 1)


def chain(bundle: Packed) -> list[int]:
    """Damage three members so that each needs the other code of another one; which ones."""
    longest = max(row.body for row in bundle.rows())
    one, two, three = (row for row in bundle.rows()[:3] if row.body == longest)
    stripe, half = stripes(bundle, one.number)[0], one.m // 2 + 1
    parts = [stripe[at * half:(at + 1) * half] for at in range(4)]
    kill_blocks(bundle.segment(one.number), one.block_size, parts[0] + parts[1])
    kill_blocks(bundle.segment(two.number), two.block_size, parts[0] + parts[2])
    kill_blocks(bundle.segment(three.number), three.block_size, parts[1] + parts[3])
    return [one.number, two.number, three.number]


def test_both_codes_in_turn(large: Packed, tmp_path: Path) -> None:
    """The first lacks what the other two lack as well; they are helped by the group, then help themselves, then it."""
    numbers = chain(large)
    row = large.rows()[numbers[0]]
    assert len(stripes(large, 0)[0]) > 4 * (row.m // 2 + 1)
    large.comes_back(tmp_path / "back", *numbers)


def test_both_codes_in_turn_and_nobody_can_begin(large: Packed, tmp_path: Path) -> None:
    """The parity member lacks what the second and third would have been helped with."""
    numbers = chain(large)
    stripe, half = stripes(large, 0)[0], large.rows()[0].m // 2 + 1
    kill_blocks(large.segment(3), large.rows()[3].block_size, stripe[2 * half:4 * half])
    large.is_beyond(tmp_path / "back", *numbers, 3)


@pytest.mark.parametrize("seed", range(4))
def test_members_damaged_at_indices_of_their_own(large: Packed, tmp_path: Path, seed: int) -> None:
    """Runs that do not meet, each of more blocks than its stripes give back."""
    random_ = random.Random(seed)
    rows = large.rows()
    order = random_.sample(range(len(rows)), len(rows))
    share = min(large.place(row).geometry.data_blocks for row in rows) // len(rows)
    for slot, number in enumerate(order):
        row = rows[number]
        place = large.place(row)
        first = place.data_at + slot * share
        kill_blocks(large.segment(number), row.block_size, [*range(first, first + share), *range(
            place.parity_at, place.parity_at + row.m * row.stripes)])
    large.comes_back(tmp_path / "back", *range(len(rows)))


@pytest.mark.parametrize("seed", range(3))
def test_a_member_of_which_no_list_is_left(large: Packed, tmp_path: Path, seed: int) -> None:
    """Then all of it comes from the others, and its root decides (G-9)."""
    row = large.rows()[seed]
    place = large.place(row)
    for at in place.lists_at:
        kill_blocks(large.segment(seed), row.block_size, range(at, at + place.geometry.list_blocks))
    stripe = stripes(large, seed)[0]
    kill_blocks(large.segment(seed), row.block_size, random.Random(seed).sample(stripe, row.m + 1))
    large.comes_back(tmp_path / "back", seed)


def table_with(change: Any) -> Lies:
    def table(raw: bytes) -> bytes:
        return encoding.encode(Table(tuple(change(row) for row in msgspec.json.decode(raw, type=Table).rows)))

    return Lies(table=table)


WRONG: dict[str, Any] = {
    "parity longer": lambda row: replace(row, body=row.body + 3968, k=row.k + 1) if row.role == PARITY else row,
    "data longer": lambda row: replace(row, body=row.body + 3968, k=row.k + 1) if row.role != PARITY else row,
    "other blocks": lambda row: replace(row, block_size=8192, body=8064, k=1) if row.role == PARITY else row,
    "parity of another group": lambda row: replace(row, group=1) if row.role == PARITY else row,
    "one position": lambda row: replace(row, position=0),
}


@pytest.mark.parametrize("lie", WRONG)
def test_signed_groups_that_are_none(keys: Keys, tmp_path: Path, lie: str) -> None:
    bundle = forge(tmp_path / "drive", keys, table_with(WRONG[lie]))
    assert bundle.refused(4).rule == "G-6"
    with pytest.raises(FormatError) as caught:
        bundle.unpack(tmp_path / "back")
    assert caught.value.rule == "G-6"
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("lose", [1, 2, 63])
def test_a_statement_that_may_lose_all_it_has(keys: Keys, tmp_path: Path, lose: int) -> None:
    bundle = forge(tmp_path / "drive", keys, Lies(statement=lambda honest: replace(honest, lose=lose)))
    assert bundle.refused(4).rule == "T-6"


def test_a_segment_of_an_earlier_attempt(keys: Keys, small: Packed, tmp_path: Path) -> None:
    """The same source, the same number, another salt or another bundle: it is no segment of this one."""
    other = pack(keys, small.source, tmp_path / "other")
    for number in (0, 2):
        whole = small.segment(number).read_bytes()
        shutil.copy(other.segment(number), small.segment(number))
        small.comes_back(tmp_path / "back", number)
        small.segment(number).write_bytes(whole)
    for number in (0, 2):
        shutil.copy(other.segment(number), small.segment(number))
    small.is_beyond(tmp_path / "back", 0, 2)


def test_a_group_of_one_segment(keys: Keys, tmp_path: Path) -> None:
    bundle = pack(keys, write_tree(tmp_path / "source", {"f": b"x" * 99}), tmp_path / "drive")
    assert [(row.role, row.position) for row in bundle.rows()] == [("data", 0), (PARITY, 1)]
    bundle.segment(0).unlink()
    bundle.comes_back(tmp_path / "back", 0)


def test_nothing_to_pack_has_no_group(keys: Keys, tmp_path: Path) -> None:
    bundle = pack(keys, write_tree(tmp_path / "source", {"empty": b""}), tmp_path / "drive", segment_size=MIB)
    assert bundle.rows() == ()
    bundle.verify(opened=True)
