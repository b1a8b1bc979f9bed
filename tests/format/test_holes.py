"""Holes of an image against a plain set of bytes, and ddrescue's map file line by line."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import FormatError
from airbundle.format import limits
from airbundle.format.holes import Holes, parse_mapfile

SIZE = 40
spans = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))
HEAD = "0x0 +\n"


def plain(holes: Holes, size: int = SIZE) -> set[int]:
    return {at for start, end in holes.within(0, size) for at in range(start, end)}


@given(st.lists(spans, max_size=8), spans)
def test_as_a_set_of_bytes(added: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    holes, known = Holes(), set()
    for start, end in added:
        holes.add(start, end)
        known |= set(range(start, end))
    assert plain(holes) == known
    assert holes.total == len(known)
    found = holes.within(*asked)
    assert {at for start, end in found for at in range(start, end)} == known & set(range(*asked))
    whole = holes.within(0, SIZE)
    assert all(start < end for start, end in whole)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(whole))  # neighbours are one
    assert len(holes) == len(whole)


@pytest.mark.parametrize(("text", "holes"), [
    ("0x0 0x28 +", []), ("0 40 +", []), ("0x0 0x28 -", [(0, 40)]), ("0x0 0x8 +\n0x8 0x8 -\n0x10 0x18 +", [(8, 16)]),
    ("0x0 0x8 ?\n0x8 0x20 +", [(0, 8)]), ("0x0 0x8 *\n0x8 0x20 +", [(0, 8)]), ("0x0 0x8 /\n0x8 0x20 +", [(0, 8)]),
    ("0x8 0x20 +", [(0, 8)]), ("0x0 0x20 +", [(32, 40)]), ("0x0 0x100 +", []), ("0x0 0x100 -", [(0, 40)]),
    ("0x64 0x8 +", [(0, 40)]), ("0x0 0x10 + # said", [(16, 40)]), ("0x0 0x0 +", [(0, 40)]),
    ("0x0 0x7fffffffffffffff +", []), ("0x8 0x8 +\n0x10 0x18 +", [(0, 8)])])
def test_map_files(text: str, holes: list[tuple[int, int]]) -> None:
    found = parse_mapfile(f"# Mapfile\n{HEAD}{text}\n".encode(), SIZE)
    assert found.within(0, SIZE) == holes
    assert found.total == sum(end - start for start, end in holes)


@pytest.mark.parametrize("text", [
    "", "0x0 0x8 +\n0x8 0x20 +\n", f"{HEAD}0x0 0x0 +\n0x8 0x20 +\n", "# only a remark\n",
    "0x0 0x28 +\n", HEAD, f"{HEAD}0x0 0x28 x\n", f"{HEAD}0x0 +\n",
    f"{HEAD}0x0 0x8 +\n0x9 0x8 +\n",
    f"{HEAD}0x0 0x8 +\n0x7 0x8 +\n", f"{HEAD}0x0 08 +\n", f"{HEAD}0x0 00 +\n", f"{HEAD}0x0 0x8000000000000000 +\n",
    f"{HEAD}0x0 9223372036854775808 +\n", f"{HEAD}-1 0x8 +\n"])
def test_what_is_no_map_file(text: str) -> None:
    with pytest.raises(FormatError):
        parse_mapfile(text.encode(), SIZE)


def test_the_size_of_a_map_file(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = f"{HEAD}0x0 0x28 +\n".encode()
    monkeypatch.setattr(limits, "MAPFILE_MAX", len(raw))
    parse_mapfile(raw, SIZE)
    with pytest.raises(FormatError):
        parse_mapfile(raw + b"\n", SIZE)
