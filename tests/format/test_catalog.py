"""The table of segments: order, groups, and what is no table (G-1, G-6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle.errors import FormatError
from airbundle.format.catalog import DATA, PARITY, Row, groups_of, parse_table, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

replace = msgspec.structs.replace


def table(*shapes: tuple[Sequence[int], int]) -> list[Row]:
    """Groups of data segments with so many blocks each, and so many parity segments."""
    members = [(DATA, group, position, blocks) for group, (sizes, _) in enumerate(shapes)
               for position, blocks in enumerate(sizes)]
    members += [(PARITY, group, len(sizes) + row, max(sizes)) for group, (sizes, parity) in enumerate(shapes)
                for row in range(parity)]
    return [Row(number, role, group, position, 1 + position % 3, blocks, 2, 1, 4096, blocks * 3968, "ab" * 16,
                "cd" * 32) for number, (role, group, position, blocks) in enumerate(members)]


def parse(rows: Sequence[Row]) -> tuple[Row, ...]:
    return parse_table(write_table(tuple(rows)), catalog_number=len(rows))


HONEST = [((5, 5, 3), 2), ((7,), 1), ((2, 9), 2)]


def numbered(rows: list[Row]) -> list[Row]:
    return [replace(row, number=number) for number, row in enumerate(rows)]


def with_row(at: int, **change: Any) -> list[Row]:
    rows = table(*HONEST)
    rows[at] = replace(rows[at], **change)
    return rows


def test_groups_come_out_as_they_went_in() -> None:
    rows = parse(table(*HONEST))
    groups = groups_of(rows)
    assert [(len(group.data), len(group.parity)) for group in groups] == [(3, 2), (1, 1), (2, 2)]
    assert [row.number for group in groups for row in group.data] == [0, 1, 2, 3, 4, 5]
    assert [row.number for group in groups for row in group.parity] == [6, 7, 8, 9, 10]
    assert [[row.position for row in group.members] for group in groups] == [[0, 1, 2, 3, 4], [0, 1], [0, 1, 2, 3]]
    assert parse([]) == ()


LIES: dict[str, Callable[[], list[Row]]] = {
    "groups out of order": lambda: numbered([*table(*HONEST)[3:6], *table(*HONEST)[:3], *table(*HONEST)[6:]]),
    "parity of groups out of order": lambda: numbered([*table(*HONEST)[:6], *table(*HONEST)[8:], *table(*HONEST)[6:8]]),
    "a group that comes twice": lambda: with_row(4, group=0, position=3),
    "a group left out": lambda: [replace(row, group=row.group + (row.group > 0)) for row in table(*HONEST)],
    "groups from 1": lambda: [replace(row, group=row.group + 1) for row in table(*HONEST)],
    "a group without parity": lambda: numbered([row for row in table(*HONEST) if (row.role, row.group) != (PARITY, 1)]),
    "the last group without parity": lambda: numbered(
        [row for row in table(*HONEST) if (row.role, row.group) != (PARITY, 2)]),
    "a group without data": lambda: numbered([row for row in table(*HONEST) if (row.role, row.group) != (DATA, 1)]),
    "no parity at all": lambda: table(*HONEST)[:6],
    "nothing but parity": lambda: numbered(table(*HONEST)[6:]),
    "parity before data": lambda: numbered([*table(*HONEST)[6:], *table(*HONEST)[:6]]),
    "parity among data": lambda: numbered([*table(*HONEST)[:3], table(*HONEST)[6], *table(*HONEST)[3:6],
                                           *table(*HONEST)[7:]]),
    "a position twice": lambda: with_row(1, position=0),
    "a position left out": lambda: with_row(2, position=3),
    "positions swapped": lambda: [*(replace(row, position=1 - row.position) if row.number < 2 else row
                                    for row in table(*HONEST))],
    "parity at the position of data": lambda: with_row(6, position=2),
    "parity that begins one late": lambda: [replace(row, position=row.position + (row.role == PARITY))
                                            for row in table(*HONEST)],
    "parity shorter than data": lambda: with_row(6, body=4 * 3968, k=4),
    "parity longer than data": lambda: with_row(6, body=6 * 3968, k=6),
    "one of two parity segments longer": lambda: with_row(7, body=6 * 3968, k=6),
    "data longer than parity": lambda: with_row(2, body=6 * 3968, k=6),
    "other blocks in one data segment": lambda: with_row(1, block_size=8192),
    "other blocks in one parity segment": lambda: with_row(10, block_size=8192),
    "a group of 129": lambda: table(([1] * 128, 1)),
    "a group of 129 with much parity": lambda: table(([1] * 65, 64)),
}


@pytest.mark.parametrize("lie", LIES)
def test_groups_that_are_none(lie: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(LIES[lie]())
    assert caught.value.rule == "G-6"


@pytest.mark.parametrize("shape", [([1] * 127, 1), ([1], 127), ([1] * 64, 64), ([3, 1, 2], 1)])
def test_groups_as_large_as_they_may_be(shape: tuple[list[int], int]) -> None:
    (group,) = groups_of(parse(table(shape)))
    assert (len(group.data), len(group.parity)) == (len(shape[0]), shape[1])


@pytest.mark.parametrize("change", [{"number": 4}, {"volume": 0}, {"role": "catalog"}, {"role": "spare"}, {"role": ""}])
def test_rows_that_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as caught:
        parse(with_row(3, **change))
    assert caught.value.rule == "G-1"


def test_more_or_fewer_rows_than_the_catalog_has_numbers() -> None:
    rows = tuple(table(*HONEST))
    for count in (len(rows) - 1, len(rows) + 1, 0, 2**53 - 1):
        with pytest.raises(FormatError) as caught:
            parse_table(write_table(rows), catalog_number=count)
        assert caught.value.rule == "G-1"


def test_groups_may_have_blocks_of_their_own() -> None:
    rows = table(((2,), 1), ((3,), 1))
    parse([replace(row, block_size=8192, body=3 * 8064) if row.group else row for row in rows])
