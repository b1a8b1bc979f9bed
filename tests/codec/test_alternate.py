"""Which lost blocks come back when inner and outer code alternate: held against a model made from the spec (G-9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.codec.erasure import Layout, alternate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Lost = set[tuple[str, int]]  # "data" or "parity", and the index of the block

LENGTHS = (1, 2, 5, 6, 9, 12)


def stripe_of(layout: Layout, kind: str, index: int) -> int:
    """S-1 and S-2."""
    return index % layout.stripes if kind == "data" else (layout.n + index) % layout.stripes


def inner(layout: Layout, lost: Lost, denied: set[int]) -> Lost:
    """What is still lost when each stripe with at most m lost blocks is whole again."""
    kept = set()
    for block in lost:
        stripe = stripe_of(layout, *block)
        if stripe in denied or sum(stripe_of(layout, *other) == stripe for other in lost) > layout.m:
            kept.add(block)
    return kept


def model(layouts: list[Layout], members: list[Lost], parity: int) -> list[Lost]:
    """One block at a time, over and over, until a whole round changes nothing.

    Where a stripe has so little lost that its member's own code gives it back and it is lost all the same, the leaves
    have denied what came: it is not used (S-8).
    """
    denied = [{stripe for stripe in range(layout.stripes)
               if any(stripe_of(layout, *block) == stripe for block in lost - inner(layout, lost, set()))}
              for layout, lost in zip(layouts, members, strict=True)]
    members = [set(lost) for lost in members]
    while True:
        before = sum(map(len, members))
        for number, layout in enumerate(layouts):
            members[number] = inner(layout, members[number], denied[number])
        for index in range(max(layout.n for layout in layouts)):
            if sum(("data", index) in lost for lost in members) <= parity:
                for lost in members:
                    lost.discard(("data", index))
        if sum(map(len, members)) == before:
            return members


def flags(layout: Layout, lost: Lost) -> Flags:
    out = np.zeros(layout.count, np.bool_)
    for kind, index in lost:
        out[index + (layout.n if kind == "parity" else 0)] = True
    return out


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Layout], list[Lost], int]:
    count, parity = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    layouts, members = [], []
    for _ in range(count):
        n = draw(st.sampled_from(LENGTHS))
        stripes = draw(st.integers(1, min(3, n)))
        layout = Layout(n, -(-n // stripes), draw(st.integers(2, 3)), stripes)
        blocks = [("data", i) for i in range(n)] + [("parity", j) for j in range(layout.m * stripes)]
        share = draw(st.sampled_from([0, 3, 6, 8, 10]))
        picks = draw(st.lists(st.integers(0, 9), min_size=len(blocks), max_size=len(blocks)))
        layouts.append(layout)
        members.append({block for block, pick in zip(blocks, picks, strict=True) if pick < share})
    return layouts, members, parity


@given(case=cases())
@settings(max_examples=500, deadline=None)
def test_as_the_model_has_it(case: tuple[list[Layout], list[Lost], int]) -> None:
    """Damage as a reader hands it over: each member was through its own code."""
    layouts, members, parity = case
    members = [inner(layout, lost, set()) for layout, lost in zip(layouts, members, strict=True)]
    given_flags = [flags(layout, lost) for layout, lost in zip(layouts, members, strict=True)]
    before = [one.copy() for one in given_flags]
    left = alternate(layouts, given_flags, parity)
    wanted = model(layouts, members, parity)
    assert [one.tolist() for one in left] == [flags(layout, lost).tolist()
                                              for layout, lost in zip(layouts, wanted, strict=True)]
    assert all((one == other).all() for one, other in zip(given_flags, before, strict=True))


@given(case=cases())
@settings(max_examples=200, deadline=None)
def test_as_the_model_has_it_where_some_parity_is_a_lie(case: tuple[list[Layout], list[Lost], int]) -> None:
    layouts, members, parity = case
    left = alternate(layouts, [flags(layout, lost) for layout, lost in zip(layouts, members, strict=True)], parity)
    wanted = model(layouts, members, parity)
    assert [one.tolist() for one in left] == [flags(layout, lost).tolist()
                                              for layout, lost in zip(layouts, wanted, strict=True)]


def test_each_helps_the_other() -> None:
    """Neither code alone gives any of it back."""
    layout = Layout(10, 10, 2, 1)
    lost: list[Lost] = [{("data", i) for i in range(4)}, {("data", 0), ("data", 1), ("data", 4)},
                        {("data", 2), ("data", 3), ("data", 5)}, set()]
    assert not any(one.any() for one in alternate([layout] * 4, [flags(layout, one) for one in lost], 1))
    lost[3] = {("data", 0), ("data", 4), ("data", 5), ("data", 6)}  # now nobody can begin
    left = alternate([layout] * 4, [flags(layout, one) for one in lost], 1)
    assert [int(one.sum()) for one in left] == [4, 3, 3, 3]


@pytest.mark.parametrize(("gone", "left"), [((0,), 0), ((0, 1), 0), ((0, 1, 2), 3), ((4, 5, 6), 3)])
def test_whole_members(gone: tuple[int, ...], left: int) -> None:
    """Of seven members with two of parity any two may be lost, with all their blocks."""
    layout = Layout(12, 6, 3, 2)
    lost = [np.full(layout.count, number in gone) for number in range(7)]
    assert sum(one.all() for one in alternate([layout] * 7, lost, 2)) == left


def test_beyond_its_end_a_member_is_zeros() -> None:
    """Three blocks and five: at indices 3 and 4 only the long ones count."""
    short, long = Layout(3, 3, 2, 1), Layout(5, 5, 2, 1)
    lost = [np.ones(short.count, np.bool_), np.ones(long.count, np.bool_), np.zeros(long.count, np.bool_)]
    left = alternate([short, long, long], lost, 1)
    assert left[0].tolist() == [True] * 5
    assert left[1].tolist() == [True] * 3 + [False] * 2 + [True] * 2
