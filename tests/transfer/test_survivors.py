"""One copy of something is left of all that were written, and it is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.errors import DamagedError, UnsignedError
from airbundle.media import volume as names
from tests.transfer.workshop import (
    KIB,
    Keys,
    Packed,
    block_of,
    both_suites,
    digests,
    kill_blocks,
    noise,
    overwrite,
    pack,
    with_digest,
    write_tree,
)

if TYPE_CHECKING:
    from pathlib import Path


COPY = 128 * KIB
pytestmark = [both_suites, pytest.mark.in_memory]


@pytest.mark.parametrize("left", [names.STATEMENT_NAME, 0, 1, 2])
def test_one_copy_of_the_statement(small: Packed, tmp_path: Path, left: str | int) -> None:
    before = digests(small.volume)
    if left == names.STATEMENT_NAME:
        overwrite(small.volume / names.RECORD_NAME, 0, bytes(3 * COPY))
    else:
        (small.volume / names.STATEMENT_NAME).unlink()
        for copy in {0, 1, 2} - {left}:
            # Its frame too: digests are looked at first, so the others cost nothing.
            overwrite(small.volume / names.RECORD_NAME, int(copy) * COPY, bytes(COPY))
    small.heals(tmp_path / "back", before=before)


def test_one_copy_of_the_record_with_wrong_bytes_in_it(small: Packed, tmp_path: Path) -> None:
    before, path = digests(small.volume), small.volume / names.RECORD_NAME
    (small.volume / names.STATEMENT_NAME).unlink()
    for copy in (0, 2):
        overwrite(path, copy * COPY, bytes(COPY))
    overwrite(path, COPY + 20_000, noise(100))
    small.heals(tmp_path / "back", before=before)


def test_no_copy_of_the_statement(small: Packed) -> None:
    (small.volume / names.STATEMENT_NAME).unlink()
    (small.volume / names.RECORD_NAME).unlink()
    assert isinstance(small.refused(5), UnsignedError)


@pytest.mark.parametrize("left", [names.CATALOG_NAME, names.CATALOG_COPY_NAME])
@pytest.mark.parametrize("how", ["gone", "zeros", "noise"])
def test_one_catalog(small: Packed, tmp_path: Path, left: str, how: str) -> None:
    before = digests(small.volume)
    other = names.CATALOG_COPY_NAME if left == names.CATALOG_NAME else names.CATALOG_NAME
    path = small.volume / other
    size = path.stat().st_size
    path.unlink()
    if how != "gone":
        path.write_bytes(bytes(size) if how == "zeros" else noise(size))
    small.heals(tmp_path / "back", before=before)


def test_catalogs_that_are_whole_only_together(keys: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {f"file-{n:03d}": b"x" for n in range(300)})
    bundle = pack(keys, source, tmp_path / "drive")
    before = digests(bundle.volume)
    row = bundle.statement().catalog
    place = bundle.place(row)
    last = place.data_at + place.geometry.coded_blocks
    assert place.geometry.coded_blocks > row.m + 1 > 5
    kill_blocks(bundle.volume / names.CATALOG_NAME, 4096, range(place.data_at, place.data_at + row.m + 1))
    kill_blocks(bundle.volume / names.CATALOG_COPY_NAME, 4096, range(last - row.m - 1, last))
    bundle.heals(tmp_path / "back", before=before)


@pytest.mark.parametrize("which", [0, 1])
def test_a_list_changed_on_purpose_over_a_lost_block(small: Packed, tmp_path: Path, which: int) -> None:
    """Either copy: the other one is tried too, because the root fits none with the changed one."""
    before, path = digests(small.volume), small.segment(0)
    place = small.place(small.rows()[0])
    block = bytearray(block_of(path, place.lists_at[which], 4096))
    block[130] ^= 1
    overwrite(path, place.lists_at[which] * 4096, with_digest(bytes(block)))
    kill_blocks(path, 4096, range(place.data_at, place.data_at + 17))
    report = small.heals(tmp_path / "back", before=before)
    assert (report.altered, report.damaged) == (1, 17)


@pytest.mark.parametrize("left", [0, 1])
def test_one_list(small: Packed, tmp_path: Path, left: int) -> None:
    before = digests(small.volume)
    for row in (*small.rows(), small.statement().catalog):
        place = small.place(row)
        at = place.lists_at[1 - left]
        for name in ([names.segment_name(row.number)] if row.role != "catalog" else
                     [names.CATALOG_NAME, names.CATALOG_COPY_NAME]):
            kill_blocks(small.volume / name, 4096, range(at, at + place.geometry.list_blocks))
    small.heals(tmp_path / "back", before=before)


@pytest.mark.parametrize("lost", [0, 1, 10])
def test_no_list(small: Packed, tmp_path: Path, lost: int) -> None:
    """The blocks themselves give the leaves, also with some of them lost."""
    before = digests(small.volume)
    for row in small.rows():
        place, path = small.place(row), small.segment(row.number)
        for at in place.lists_at:
            kill_blocks(path, 4096, range(at, at + place.geometry.list_blocks))
        kill_blocks(path, 4096, range(place.data_at, place.data_at + lost))
    small.heals(tmp_path / "back", before=before)


@pytest.mark.parametrize("lost", [0, 3])
def test_each_block_of_the_list_from_another_copy(striped: Packed, tmp_path: Path, lost: int) -> None:
    before, row = digests(striped.volume), striped.rows()[0]
    place, path = striped.place(row), striped.segment(0)
    assert place.geometry.list_blocks >= 3
    for number in range(place.geometry.list_blocks):
        kill_blocks(path, 4096, [place.lists_at[number % 2] + number])
    kill_blocks(path, 4096, range(place.data_at, place.data_at + lost))
    striped.heals(tmp_path / "back", before=before)


def preambles(bundle: Packed) -> list[tuple[Path, int]]:
    """Where every block of every preamble of the bundle lies."""
    found = []
    for row in (*bundle.rows(), bundle.statement().catalog):
        place = bundle.place(row)
        for name in ([names.segment_name(row.number)] if row.role != "catalog" else
                     [names.CATALOG_NAME, names.CATALOG_COPY_NAME]):
            for at in place.preambles_at:
                found += [(bundle.volume / name, at + block) for block in range(place.preamble_blocks)]
    return found


def test_one_preamble_of_the_whole_bundle(small: Packed, tmp_path: Path) -> None:
    """Any one of them: it is the same in every segment."""
    before = digests(small.volume)
    for left in preambles(small):
        for path, at in preambles(small):
            if (path, at) != left:
                kill_blocks(path, 4096, [at])
        small.heals(tmp_path / "back", before=before)


def test_a_preamble_of_several_blocks_from_several_files(keys: Keys, tmp_path: Path) -> None:
    recipients = [keys.reader.public, keys.second.public, keys.stranger.public, keys.packer.public]
    source = write_tree(tmp_path / "source", {"f": noise(100_000)})
    bundle = pack(keys, source, tmp_path / "drive", to=recipients)
    before = digests(bundle.volume)
    row = bundle.rows()[1]
    place = bundle.place(row)
    assert place.preamble_blocks == 2  # 4900 bytes in standard, 6800 in cnsa2
    kept = {(bundle.segment(0), 0), (bundle.segment(1), place.preambles_at[1] + 1)}
    for path, at in preambles(bundle):
        if (path, at) not in kept:
            kill_blocks(path, 4096, [at])
    bundle.heals(tmp_path / "back", before=before)


def test_no_preamble(small: Packed, tmp_path: Path) -> None:
    for path, at in preambles(small):
        kill_blocks(path, 4096, [at])
    small.refused(4)
    with pytest.raises(DamagedError, match="preamble"):
        small.unpack(tmp_path / "back")
    with pytest.raises(DamagedError, match="preamble"):
        small.repair()
