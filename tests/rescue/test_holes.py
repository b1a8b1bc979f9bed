"""Holes as intervals, and ddrescue's map files, parsed strictly."""

from __future__ import annotations

import itertools
import random

import pytest

from airbundle.errors import FormatError
from airbundle.format import limits
from airbundle.format.holes import Holes, parse_mapfile

HEAD = "# Mapfile. Created by GNU ddrescue version 1.27\n0x00120000     ?               1\n#  pos  size  status\n"


def test_holes_are_a_set_of_bytes() -> None:
    rng = random.Random(1)
    for _ in range(200):
        holes, bytes_in = Holes(), set()
        for _ in range(rng.randrange(12)):
            start = rng.randrange(90)
            end = start + rng.randrange(12)
            holes.add(start, end)
            bytes_in |= set(range(start, end))
        assert holes.total == len(bytes_in)
        for _ in range(8):
            start = rng.randrange(90)
            end = start + 1 + rng.randrange(30)
            parts = holes.within(start, end)
            assert {at for first, last in parts for at in range(first, last)} == bytes_in & set(range(start, end))
            assert all(one[1] < other[0] for one, other in itertools.pairwise(parts))


def test_what_is_not_rescued_is_a_hole() -> None:
    lines = ("0x0000 0x1000 +", "0x1000 0x0200 -", "0x1200 0x0E00 /", "8192 4096 +", "0x3000 0x1000 ?", "0x4000 4096 *")
    holes = parse_mapfile((HEAD + "\n".join(lines) + "\n").encode(), 0x8000)
    assert holes.within(0, 1 << 40) == [(0x1000, 0x2000), (0x3000, 0x8000)]  # what the map does not speak of is one too


def test_an_area_before_the_first_line_is_a_hole() -> None:
    assert parse_mapfile((HEAD + "0x2000 0x2000 +").encode(), 0x4000).within(0, 99999) == [(0, 0x2000)]


def test_a_map_longer_than_the_image() -> None:
    assert parse_mapfile((HEAD + "0 0x9000 +\n0x9000 0x9000 -").encode(), 0x4000).total == 0


@pytest.mark.parametrize("text", [
    "", HEAD, "# only a comment\n", "0x0 0x1000 +\n", HEAD + "0x0 0x1000 +\n0x1200 0x1000 -\n",
    HEAD + "0x0 0x1000 +\n0x0800 0x1000 -\n", HEAD + "0x0 0x1000 F\n", HEAD + "0x0 0x1000\n", HEAD + "0x0 -5 +\n",
    HEAD + "0x0 0x1000 + 7\n", HEAD + "010 0x1000 +\n", HEAD + "0x0 0xFFFFFFFFFFFFFFFF +\n", HEAD + "0x0 0x1G00 +\n",
    HEAD + "0x0 0x\u0661000 +\n", "current 0x1\n" + HEAD, "\0" * 600])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_mapfile(text.encode(), 1 << 20)


def test_a_map_has_a_size() -> None:
    with pytest.raises(FormatError, match="more than"):
        parse_mapfile(b"#" * (limits.MAPFILE_MAX + 1), 0)
