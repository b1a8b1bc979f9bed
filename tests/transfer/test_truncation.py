"""Files that are cut off, at every border of their structure and around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.errors import DamagedError
from airbundle.media import volume as names
from tests.transfer.workshop import Packed, digests

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory


def borders(bundle: Packed, path: Path) -> set[int]:
    """Lengths to cut a file of blocks to: each border of its parts, one byte and one block off."""
    row = bundle.statement().catalog if path.name.startswith("catalog") else bundle.rows()[int(path.stem)]
    place, size = bundle.place(row), row.block_size
    marks = {0, *place.lists_at, *place.preambles_at, place.data_at, place.parity_at, place.block_count}
    lengths = {mark * size + off for mark in marks for off in (0, -1, 1, -size, size)}
    return {length for length in lengths if 0 <= length < place.stored_size}


def lost_blocks(bundle: Packed, number: int, length: int) -> int:
    """The most coded blocks that one stripe loses to a cut."""
    row = bundle.rows()[number]
    place = bundle.place(row)
    kept = length // row.block_size - place.data_at
    stripes = [0] * row.stripes
    for index in range(max(0, kept), place.geometry.coded_blocks):
        data = place.geometry.data_blocks
        stripes[index % row.stripes if index < data else (data + index - data) % row.stripes] += 1
    return max(stripes)


def all_segments(bundle: Packed, tmp_path: Path) -> tuple[int, int]:
    """How often a cut was repaired by the segment's own code, and how often it took its group."""
    before, repaired, beyond = digests(bundle.volume), 0, 0
    for row in bundle.rows():
        path = bundle.segment(row.number)
        content = path.read_bytes()
        for length in sorted(borders(bundle, path)):
            path.write_bytes(content[:length])
            if lost_blocks(bundle, row.number, length) <= row.m:
                bundle.heals(tmp_path / "back", before=before)
                repaired += 1
            else:
                bundle.comes_back(tmp_path / "back", row.number)
                partner = bundle.partner(row).number
                bundle.segment(partner).rename(tmp_path / "partner")
                bundle.is_beyond(tmp_path / "back", *sorted((row.number, partner)))
                (tmp_path / "partner").rename(bundle.segment(partner))
                beyond += 1
            path.write_bytes(content)
    return repaired, beyond


def test_segments(small: Packed, tmp_path: Path) -> None:
    repaired, beyond = all_segments(small, tmp_path)
    assert repaired > 20
    assert beyond > 5


def test_a_segment_of_several_stripes(striped: Packed, tmp_path: Path) -> None:
    repaired, beyond = all_segments(striped, tmp_path)
    assert repaired > 5
    assert beyond > 5


def test_every_block_of_a_segment(small: Packed, tmp_path: Path) -> None:
    path, row = small.segment(0), small.rows()[0]
    content = path.read_bytes()
    for length in range(0, len(content), row.block_size):
        path.write_bytes(content[:length])
        report = small.report(11)
        assert (report.restorable, report.missing) == (() if lost_blocks(small, 0, length) <= row.m else (0,), ())


@pytest.mark.parametrize("name", [names.CATALOG_NAME, names.CATALOG_COPY_NAME])
def test_catalogs(small: Packed, tmp_path: Path, name: str) -> None:
    before, path = digests(small.volume), small.volume / name
    for length in sorted(borders(small, path)):
        path.write_bytes(path.read_bytes()[:length])
        small.heals(tmp_path / "back", before=before)


def test_both_catalogs(small: Packed, tmp_path: Path) -> None:
    """Each copy lost another half: together they still are one."""
    before = digests(small.volume)
    place = small.place(small.statement().catalog)
    first, second = small.volume / names.CATALOG_NAME, small.volume / names.CATALOG_COPY_NAME
    first.write_bytes(first.read_bytes()[:place.data_at * 4096])
    whole = second.read_bytes()
    second.write_bytes(bytes(place.data_at * 4096) + whole[place.data_at * 4096:])
    small.heals(tmp_path / "back", before=before)
    cut = place.data_at * 4096
    first.write_bytes(first.read_bytes()[:cut])
    second.write_bytes(bytes(cut))
    assert isinstance(small.refused(4), DamagedError)


def test_record(small: Packed, tmp_path: Path) -> None:
    """Cuts within the second and third copy; those within the first need the code, which takes seconds."""
    before, path = digests(small.volume), small.volume / names.RECORD_NAME
    content, copy = path.read_bytes(), 131072
    for mark in (copy, copy + 64, copy + 255 * 513, 2 * copy, 3 * copy):
        for off in (-1, 0, 1, -4096, 4096):
            if 0 <= mark + off < len(content):
                path.write_bytes(content[:mark + off])
                small.heals(tmp_path / "back", before=before)
    for length in (0, 1, 56):
        path.write_bytes(content[:length])
        small.heals(tmp_path / "back", before=before)


def test_statement(small: Packed, tmp_path: Path) -> None:
    before, path = digests(small.volume), small.volume / names.STATEMENT_NAME
    content = path.read_bytes()
    marks = [0, *(content.index(word) for word in (b'"payloadType"', b'"signatures"', b'"sig"')), len(content)]
    for mark in marks:
        for off in (-1, 0, 1):
            if 0 <= mark + off < len(content):
                path.write_bytes(content[:mark + off])
                small.heals(tmp_path / "back", before=before)


@pytest.mark.parametrize("name", [names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME,
                                  names.CATALOG_COPY_NAME])
def test_a_file_that_is_gone(small: Packed, tmp_path: Path, name: str) -> None:
    before = digests(small.volume)
    (small.volume / name).unlink()
    small.heals(tmp_path / "back", before=before)


def test_a_segment_that_is_gone(small: Packed, tmp_path: Path) -> None:
    small.segment(1).unlink()
    report = small.comes_back(tmp_path / "back", 1)
    assert [(finding.file, finding.problem) for finding in report.findings] == [
        ("00000001.abs", "segment: is missing")]


@pytest.mark.parametrize("gone", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_two_segments_of_a_group_that_are_gone(small: Packed, tmp_path: Path, gone: tuple[int, ...]) -> None:
    for number in gone:
        small.segment(number).unlink()
    small.is_beyond(tmp_path / "back", *gone)


@pytest.mark.parametrize("name", [names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME,
                                  names.CATALOG_COPY_NAME, "00000000.abs", "00000001.abs"])
@pytest.mark.parametrize("surplus", [1, 4096, 1 << 20])
def test_a_file_that_is_longer(small: Packed, tmp_path: Path, name: str, surplus: int) -> None:
    before = digests(small.volume)
    with open(small.volume / name, "ab") as file:
        file.write(b"\x5a" * surplus)
    small.heals(tmp_path / "back", before=before)
