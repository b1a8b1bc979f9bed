"""Parity of a segment and recovery of its lost blocks (spec chapter 5, rules S-1, S-2 and S-4).

Blocks are the rows of one array: `n` data blocks, then `m` times `T` parity blocks, each row a payload. The array may
be a view of a whole segment in memory; nothing is copied. Which blocks are lost is known, from digests, before: this
code corrects erasures only, and a caller checks what it recovered like what it read (S-8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.codec.galois import cauchy, invert, multiply
from airbundle.errors import FormatError
from airbundle.format.limits import COLUMNS_MAX, PARITY_ROWS_MAX, PARITY_ROWS_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from airbundle.codec.engines import Engine

    Bytes = NDArray[np.uint8]
    Flags = NDArray[np.bool_]

__all__: Final = ["Layout", "alternate", "encode_blocks", "left_over", "recover", "weights"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What is coded together: `n` data blocks in stripes of up to `k` columns, and `m` rows of parity for each."""

    n: int
    k: int
    m: int
    stripes: int

    def __post_init__(self) -> None:
        """B-2. Raises FormatError."""
        if not (
            self.n >= 1
            and self.stripes >= -(-self.n // COLUMNS_MAX)
            and self.k == -(-self.n // self.stripes)
            and PARITY_ROWS_MIN <= self.m <= PARITY_ROWS_MAX
        ):
            raise FormatError(f"n = {self.n}, k = {self.k}, m = {self.m}, T = {self.stripes}", rule="B-2")

    @property
    def count(self) -> int:
        """Data and parity blocks."""
        return self.n + self.m * self.stripes

    def data_blocks(self, stripe: int) -> NDArray[np.intp]:
        """S-1: the data blocks of a stripe in order of their columns; columns past `n` are left out."""
        return np.arange(stripe, self.n, self.stripes)

    def parity_blocks(self, stripe: int) -> NDArray[np.intp]:
        """S-2: the parity blocks of a stripe in order of their rows, counted from the first data block."""
        return np.arange(self.n + (stripe - self.n) % self.stripes, self.count, self.stripes)


def encode_blocks(engine: Engine, layout: Layout, blocks: Bytes) -> None:
    """Write the parity rows of `blocks`, shape (count, P), from its data rows."""
    matrix = cauchy(layout.k, layout.m)
    for stripe in range(layout.stripes):
        data = layout.data_blocks(stripe)
        engine.combine(matrix[:, : data.size], blocks, data, layout.parity_blocks(stripe))


def recover(engine: Engine, layout: Layout, blocks: Bytes, lost: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Recover the lost rows of `blocks`, shape (count, P), in place, and return which are still lost, shape (count,).

    A stripe with up to `m` lost blocks is recovered whole; one with more is left as it is.
    """
    still = lost.copy()
    for stripe in range(layout.stripes):
        data, parity = layout.data_blocks(stripe), layout.parity_blocks(stripe)
        missing = int(np.count_nonzero(lost[data]) + np.count_nonzero(lost[parity]))
        if 0 < missing <= layout.m:
            matrix = cauchy(layout.k, layout.m)[:, : data.size]
            coefficients, sources = _solution(matrix, data, parity, lost)
            engine.combine(coefficients, blocks, sources, data[lost[data]])
            engine.combine(matrix[lost[parity]], blocks, data, parity[lost[parity]])
            still[data] = still[parity] = False
    return still


def left_over(layout: Layout, lost: Flags) -> Flags:
    """What `recover` would leave of the lost blocks; nothing is computed but which come back."""
    left = lost.copy()
    for stripe in range(layout.stripes):
        if _lacking(layout, left, stripe) <= layout.m:
            left[_stripe(layout, stripe)] = False
    return left


def weights(k: int, m: int, given: Sequence[int], wanted: int) -> Bytes:
    """What each of `k` members of a group adds to the member `wanted`: its coefficient, shape (k,) (G-7).

    Positions below `k` are data, the `m` behind them parity; `given` are `k` different ones.
    """
    generator = np.concatenate([np.eye(k, dtype=np.uint8), cauchy(k, m)])
    coefficients: Bytes = multiply(generator[wanted : wanted + 1], invert(generator[list(given)]))[0]
    return coefficients


def alternate(layouts: Sequence[Layout], gone: Sequence[Flags], parity: int) -> list[Flags]:
    """What is left of the lost blocks of a group's members when both codes have done what they can (G-9).

    `layouts` and `gone`, each of shape (data and parity blocks,), are those of the members after their own codes; any
    `parity` members may lack their block at one index. Nothing is computed but which blocks come back.
    """
    left = [flags.copy() for flags in gone]
    usable = [[stripe for stripe in range(layout.stripes) if not 0 < _lacking(layout, flags, stripe) <= layout.m]
              for layout, flags in zip(layouts, left, strict=True)]  # the others gave what their leaves deny (S-8)
    while True:
        before = sum(int(flags.sum()) for flags in left)
        for layout, flags, stripes in zip(layouts, left, usable, strict=True):
            for stripe in stripes:
                if _lacking(layout, flags, stripe) <= layout.m:
                    flags[_stripe(layout, stripe)] = False
        lacking = np.zeros(max(layout.n for layout in layouts), np.intp)
        for layout, flags in zip(layouts, left, strict=True):
            lacking[:layout.n] += flags[:layout.n]
        for layout, flags in zip(layouts, left, strict=True):
            flags[:layout.n] &= lacking[:layout.n] > parity
        if sum(int(flags.sum()) for flags in left) == before:
            return left


def _stripe(layout: Layout, stripe: int) -> NDArray[np.intp]:
    return np.concatenate([layout.data_blocks(stripe), layout.parity_blocks(stripe)])


def _lacking(layout: Layout, flags: Flags, stripe: int) -> int:
    """How many blocks of a stripe are lost."""
    return int(flags[_stripe(layout, stripe)].sum())


def _solution(
    matrix: Bytes, data: NDArray[np.intp], parity: NDArray[np.intp], lost: NDArray[np.bool_]
) -> tuple[Bytes, NDArray[np.intp]]:
    """The lost data blocks of one stripe as sums over blocks that are there: coefficients and sources.

    Take as many parity rows R as columns L are lost: R = M[R, L] lost + M[R, K] kept. So lost = inverse of M[R, L]
    times (R + M[R, K] kept), which is one matrix over the kept columns and the rows R; minus is plus.
    """
    gone = lost[data]
    rows = np.flatnonzero(~lost[parity])[: np.count_nonzero(gone)]
    inverse = invert(matrix[rows][:, gone])
    coefficients = np.concatenate([multiply(inverse, matrix[rows][:, ~gone]), inverse], axis=1)
    return coefficients, np.concatenate([data[~gone], parity[rows]])
