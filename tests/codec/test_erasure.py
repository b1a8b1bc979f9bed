"""The field, the two engines, and what a segment's parity promises."""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from airbundle.codec import engines
from airbundle.codec.engines import Engine, IsalEngine, NumpyEngine, best_engine
from airbundle.codec.erasure import Layout, encode_blocks, recover, weights
from airbundle.codec.galois import INVERSES, POWERS, PRODUCTS, cauchy, invert, multiply
from airbundle.errors import FormatError

Bytes = NDArray[np.uint8]


def isal() -> IsalEngine | None:
    try:
        return IsalEngine()
    except OSError:
        return None


ISAL = isal()
needs_isal = pytest.mark.skipif(ISAL is None, reason="no ISA-L on this machine")
ENGINES: list[Engine] = [NumpyEngine()] if ISAL is None else [ISAL, NumpyEngine()]
IDS = [engine.name for engine in ENGINES]


def peasant(a: int, b: int) -> int:
    """A product as it is taught: shift, add, reduce by 0x11D."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


def test_products_inverses_and_powers() -> None:
    assert PRODUCTS.tolist() == [[peasant(a, b) for b in range(256)] for a in range(256)]
    assert all(peasant(a, int(INVERSES[a])) == 1 for a in range(1, 256))
    assert all(peasant(int(POWERS[e]), 2) == POWERS[e + 1] for e in range(509))


@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_inverse_of_a_matrix(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one: Bytes = np.identity(size, np.uint8)
    lower: Bytes = np.tril(rng.integers(0, 256, (size, size), np.uint8), -1) + one
    matrix = multiply(lower, lower.T)[rng.permutation(size)]
    assert (multiply(invert(matrix), matrix) == one).all()
    assert (multiply(matrix, invert(matrix)) == one).all()


def test_inverse_of_a_matrix_with_zeros_on_its_diagonal() -> None:
    order = np.random.default_rng(0).permutation(12)
    matrix: Bytes = np.identity(12, np.uint8)[order]
    assert (invert(matrix) == matrix.T).all()


def test_a_matrix_without_an_inverse() -> None:
    with pytest.raises(ValueError, match="without an inverse"):
        invert(np.array([[1, 2, 3], [2, 4, 6], [7, 8, 9]], np.uint8))


@pytest.mark.parametrize(("k", "m"), [(1, 2), (3, 2), (121, 10), (128, 128), (17, 1)])
def test_coefficients_are_those_of_s_4(k: int, m: int) -> None:
    matrix = cauchy(k, m)
    assert all(peasant(int(matrix[r, c]), (k + r) ^ c) == 1 for r in range(m) for c in range(k))


@needs_isal
@pytest.mark.parametrize(("k", "m"), [(1, 2), (3, 2), (121, 10), (128, 128), (17, 1)])
def test_coefficients_are_those_of_isal(k: int, m: int) -> None:
    assert ISAL is not None
    table = (ctypes.c_ubyte * ((k + m) * k))()
    ISAL.library.gf_gen_cauchy1_matrix(table, k + m, k)
    assert (np.frombuffer(bytes(table), np.uint8).reshape(k + m, k)[k:] == cauchy(k, m)).all()


def test_more_than_256_rows_and_columns_do_not_fit() -> None:
    with pytest.raises(ValueError, match="GF"):
        cauchy(129, 128)


def segment(rng: np.random.Generator, count: int, size: int, header: int = 128) -> Bytes:
    """Payloads as they lie in a segment: a strided view of blocks."""
    return rng.integers(0, 256, (count, header + size), np.uint8)[:, header:]


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
@pytest.mark.parametrize(
    ("rows", "columns", "size"),
    [
        *[(1, 1, 1), (2, 3, 15), (7, 5, 31), (8, 9, 64), (9, 2, 8191), (17, 40, 8192)],
        *[(64, 191, 513), (3, 4, 20_000), (128, 128, 100)],
    ],
)
def test_combine_is_the_product_of_matrices(engine: Engine, rows: int, columns: int, size: int) -> None:
    rng = np.random.default_rng(rows * columns + size)
    coefficients = rng.integers(0, 256, (rows, columns), np.uint8)
    blocks = segment(rng, rows + columns + 3, size)
    before = blocks.copy()
    order = rng.permutation(len(blocks))
    sources, targets = order[:columns], order[columns : columns + rows]
    engine.combine(coefficients, blocks, sources, targets)
    wanted = multiply(coefficients, before[sources])
    assert (blocks[targets] == wanted).all()
    untouched = np.setdiff1d(order, targets)
    assert (blocks[untouched] == before[untouched]).all()
    elsewhere = np.zeros((rows + 1, size), np.uint8)
    engine.combine(coefficients, before, sources.tolist(), range(rows), out_blocks=elsewhere)
    assert (elsewhere[:rows] == wanted).all()
    assert not elsewhere[rows].any()


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_headers_between_the_rows_are_left_alone(engine: Engine) -> None:
    whole = np.full((6, 200), 0x5A, np.uint8)
    engine.combine(cauchy(4, 2), whole[:, 130:199], range(4), [4, 5])
    assert (whole[:, :130] == 0x5A).all()
    assert (whole[:, 199:] == 0x5A).all()
    assert (whole[4:, 130:199] != 0x5A).any()


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_sums_of_nothing(engine: Engine) -> None:
    blocks = np.full((3, 40), 7, np.uint8)
    engine.combine(np.empty((0, 2), np.uint8), blocks, [0, 1], [])
    assert (blocks == 7).all()
    engine.combine(np.empty((1, 0), np.uint8), blocks, [], [2])
    assert (blocks == np.array([[7], [7], [0]])).all()


def read_only() -> Bytes:
    blocks = np.zeros((4, 40), np.uint8)
    blocks.flags.writeable = False
    return blocks


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
@pytest.mark.parametrize(
    ("blocks", "sources", "targets"),
    [
        (np.zeros((4, 40), np.uint8), [0, 4], [2]),
        (np.zeros((4, 40), np.uint8), [0, -1], [2]),
        (np.zeros((4, 40), np.uint8), [0, 1], [4]),
        (np.zeros((4, 40), np.uint8), [0, 1], [-2]),
        (np.zeros((4, 40), np.uint8), [0, 1], [1]),
        (np.zeros((4, 40), np.uint8), [0, 1, 2], [3]),
        (np.zeros((4, 40), np.uint8), [0, 1], [2, 3]),
        (np.zeros((4, 80), np.uint8)[:, ::2], [0, 1], [2]),
        (np.zeros((4, 40), np.uint16), [0, 1], [2]),
        (np.zeros((4, 40), np.bool_), [0, 1], [2]),
        (np.zeros(160, np.uint8), [0, 1], [2]),
        (read_only(), [0, 1], [2]),
    ],
)
def test_what_would_write_elsewhere_is_refused(
    engine: Engine, blocks: Bytes, sources: list[int], targets: list[int]
) -> None:
    with pytest.raises(ValueError):
        engine.combine(np.ones((1, 2), np.uint8), blocks, sources, targets)


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_other_targets_that_are_refused(engine: Engine) -> None:
    blocks = np.zeros((4, 40), np.uint8)
    with pytest.raises(ValueError, match="once"):
        engine.combine(np.ones((2, 1), np.uint8), blocks, [0], [2, 2])
    with pytest.raises(ValueError, match="one size"):
        engine.combine(np.ones((1, 1), np.uint8), blocks, [0], [0], out_blocks=np.zeros((1, 39), np.uint8))


def test_numpy_where_there_is_no_isal_or_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = ctypes.util.find_library("c")
    for path in ("nowhere.so", libc):
        with pytest.raises(OSError, match="no ISA-L"):
            IsalEngine(path)
    monkeypatch.setattr(engines, "_candidates", lambda: iter(["nowhere.so"]))
    assert best_engine.__wrapped__().name == "numpy"


@needs_isal
def test_an_isal_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_engine().name == "isa-l"
    made = IsalEngine._make_tables
    monkeypatch.setattr(IsalEngine, "_make_tables", lambda engine, _, *shape: made(engine, bytes(1000), *shape))
    with pytest.raises(OSError, match="something else"):
        IsalEngine()


LAYOUTS = [
    Layout(n=1, k=1, m=2, stripes=1),
    Layout(n=3, k=1, m=2, stripes=5),
    Layout(n=7, k=3, m=2, stripes=3),
    Layout(n=100, k=25, m=5, stripes=4),
    Layout(n=129, k=65, m=7, stripes=2),
    Layout(n=128, k=128, m=128, stripes=1),
    Layout(n=1025, k=114, m=10, stripes=9),
]
LAYOUT_IDS = [str(layout.n) for layout in LAYOUTS]


@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
def test_places_are_those_of_s_1_and_s_2(layout: Layout) -> None:
    stripes = layout.stripes
    for stripe in range(stripes):
        data = layout.data_blocks(stripe)
        assert data.tolist() == [i for i in range(layout.n) if i % stripes == stripe]
        assert [i // stripes for i in data] == list(range(len(data)))
        assert len(data) <= layout.k
        parity = layout.parity_blocks(stripe) - layout.n
        assert parity.tolist() == [j for j in range(layout.m * stripes) if (layout.n + j) % stripes == stripe]
        assert [j // stripes for j in parity] == list(range(layout.m))


@pytest.mark.parametrize(
    "bad",
    [
        (0, 1, 2, 1),
        (0, 0, 2, 1),
        (10, 6, 2, 2),
        (1, 1, 2, 0),
        (129, 129, 2, 1),
        (10, 4, 2, 2),
        (10, 10, 1, 1),
        (10, 10, 129, 1),
    ],
)
def test_geometries_beyond_b_2_are_refused(bad: tuple[int, int, int, int]) -> None:
    n, k, m, stripes = bad
    with pytest.raises(FormatError, match="B-2"):
        Layout(n, k, m, stripes)


def encoded(layout: Layout, size: int = 70, seed: int = 0) -> Bytes:
    blocks = segment(np.random.default_rng(seed), layout.count, size)
    encode_blocks(ENGINES[0], layout, blocks)
    return blocks


@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
def test_parity_is_that_of_s_4_from_every_engine(layout: Layout) -> None:
    blocks = encoded(layout)
    for engine in ENGINES:
        again = blocks.copy()
        again[layout.n :] = 0xEE
        encode_blocks(engine, layout, again)
        assert (again == blocks).all()
    for j in {0, 1, layout.m * layout.stripes - 1}:
        stripe, row = (layout.n + j) % layout.stripes, j // layout.stripes
        members = [(i // layout.stripes, i) for i in range(layout.n) if i % layout.stripes == stripe]
        for at in (0, 69):
            total = 0
            for column, i in members:
                total ^= peasant(int(INVERSES[(layout.k + row) ^ column]), int(blocks[i, at]))
            assert blocks[layout.n + j, at] == total


def lose(rng: np.random.Generator, layout: Layout, losses: list[int]) -> NDArray[np.bool_]:
    """So many blocks of each stripe, anywhere among its data and parity."""
    lost = np.zeros(layout.count, bool)
    for stripe, losses_here in enumerate(losses):
        members = np.concatenate([layout.data_blocks(stripe), layout.parity_blocks(stripe)])
        lost[rng.permutation(members)[:losses_here]] = True
    return lost


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
@pytest.mark.parametrize("seed", range(4))
def test_any_m_lost_blocks_a_stripe_are_recovered(engine: Engine, layout: Layout, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = encoded(layout)
    lost = lose(rng, layout, [layout.m] * layout.stripes)
    damaged = whole.copy()
    damaged[lost] = rng.integers(0, 256, (int(lost.sum()), 70), np.uint8)
    before = lost.copy()
    assert not recover(engine, layout, damaged, lost).any()
    assert (damaged == whole).all()
    assert (lost == before).all()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_stripe_beyond_the_bound_is_left_alone_and_the_others_are_recovered(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from([layout for layout in LAYOUTS if layout.stripes > 1]))
    losses = data.draw(st.lists(st.integers(0, layout.m), min_size=layout.stripes, max_size=layout.stripes))
    beyond = data.draw(st.integers(0, layout.stripes - 1))
    members = len(layout.data_blocks(beyond)) + layout.m
    losses[beyond] = layout.m + 1
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    whole = encoded(layout)
    lost = lose(rng, layout, losses)
    damaged = whole.copy()
    damaged[lost] = 0x33
    still = recover(data.draw(st.sampled_from(ENGINES)), layout, damaged, lost)
    left = np.zeros(layout.count, bool)
    if members > layout.m:
        left[layout.data_blocks(beyond)] = left[layout.parity_blocks(beyond)] = True
    assert (still == (lost & left)).all()
    assert (damaged[~still] == whole[~still]).all()
    assert (damaged[still] == 0x33).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
def test_any_m_times_t_in_a_row_are_recovered(layout: Layout) -> None:
    whole, run = encoded(layout), layout.m * layout.stripes
    for start in np.unique(np.linspace(0, layout.count - run, 25).astype(int)):
        lost = np.zeros(layout.count, bool)
        lost[start : start + run] = True
        damaged = whole.copy()
        damaged[lost] = 0
        assert not recover(ENGINES[0], layout, damaged, lost).any()
        assert (damaged == whole).all()


def test_nothing_lost_touches_nothing() -> None:
    layout = LAYOUTS[3]
    blocks = read_only()
    assert not recover(ENGINES[0], layout, blocks, np.zeros(layout.count, bool)).any()


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
@pytest.mark.parametrize("size", [1, 63, 64, 65, 4096, (1 << 18) + 4097])
def test_accumulate_adds_products(engine: Engine, size: int) -> None:
    rng = np.random.default_rng(size)
    source, first, second = (rng.integers(0, 256, length, np.uint8) for length in (size, size, size + 7))
    before = [first.copy(), second.copy()]
    engine.accumulate(np.array([7, 0x8E], np.uint8), source, [first, second])
    assert np.array_equal(first, before[0] ^ PRODUCTS[7, source])
    assert np.array_equal(second[:size], before[1][:size] ^ PRODUCTS[0x8E, source])
    assert np.array_equal(second[size:], before[1][size:])


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_accumulate_refuses_what_it_would_write_astray(engine: Engine) -> None:
    long, short = np.zeros(64, np.uint8), np.zeros(63, np.uint8)
    one = np.ones(1, np.uint8)
    for coefficients, source, targets in (
        (one, long, [short]), (one, long, [long]), (one, long, []), (np.ones(2, np.uint8), long, [long.copy()]),
        (one, short, [np.zeros((8, 8), np.uint8)[0]]), (np.ones(2, np.uint8), short, [long, long]),
        (one, short, [np.zeros(200, np.uint8)[::2]]),
    ):
        with pytest.raises(ValueError, match=r"buffers|target|coefficients"):
            engine.accumulate(coefficients, source, targets)


@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_any_k_members_of_a_group_give_each_other_one(k: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (k, 9), np.uint8)
    members = np.concatenate([data, multiply(cauchy(k, m), data)])
    chosen = rng.permutation(k + m)[:k].tolist()
    for wanted in range(k + m):
        assert np.array_equal(multiply(weights(k, m, chosen, wanted)[np.newaxis], members[chosen])[0], members[wanted])
