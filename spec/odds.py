"""The odds of loss in rationale.md: exact binomial and Poisson sums, and a bound where the two codes work together.

Run it to print the tables: python spec/odds.py
"""

from __future__ import annotations

import math
from typing import NamedTuple

BLOCK = 64 * 1024
TIB = 1 << 40


class Shape(NamedTuple):
    """A segment of `k` + `m` blocks in each of `stripes`, in groups of `members`, `lose` of them parity."""

    name: str
    k: int
    m: int
    stripes: int
    members: int
    lose: int

    @property
    def stripe(self) -> int:
        """Blocks of a stripe."""
        return self.k + self.m

    @property
    def segment(self) -> int:
        """Bytes of a segment's data and parity."""
        return self.stripe * self.stripes * BLOCK


ONE_DRIVE = Shape("one drive, 16 + 1", 114, 10, 6, 17, 1)
FIVE_DRIVES = Shape("five drives, --lose 1", 114, 10, 6, 5, 1)
FIVE_LOSE_TWO = Shape("five drives, --lose 2", 114, 10, 6, 5, 2)
SHAPES = (ONE_DRIVE, FIVE_DRIVES, FIVE_LOSE_TWO)


def above(n: int, p: float, most: int) -> float:
    """P(more than `most` of `n` happen), each with probability `p` by itself."""
    return math.fsum(math.comb(n, i) * p ** i * (1 - p) ** (n - i) for i in range(most + 1, n + 1))


def any_of(count: float, p: float) -> float:
    """P(at least one of `count` happens)."""
    return -math.expm1(count * math.log1p(-p)) if p < 1 else 1.0


def stripe_is_lost(shape: Shape, p: float) -> float:
    """More than `m` blocks of a stripe are gone: its own parity does not give them back."""
    return above(shape.stripe, p, shape.m)


def file_is_lost(shape: Shape, p: float) -> float:
    """Any stripe of a segment."""
    return any_of(shape.stripes, stripe_is_lost(shape, p))


def group_is_lost(shape: Shape, p: float) -> float:
    """A bound from above: some block index is missing in more than `lose` members after the inner code has run once.

    Alternating the two codes only brings back more than that.
    """
    missing = p * above(shape.stripe - 1, p, shape.m - 1)  # this block, and m others of its stripe
    return min(1.0, shape.k * shape.stripes * above(shape.members, missing, shape.lose))


def burst_is_too_much(shape: Shape, length: int) -> int:
    """How many holes of `length` bytes in one file may take more than `m` blocks of a stripe."""
    blocks = (length - 2) // BLOCK + 2  # it may begin with the last byte of a block
    return shape.m // math.ceil(blocks / shape.stripes) + 1


def file_is_lost_to_bursts(shape: Shape, length: int, per_tib: float) -> float:
    """Holes of `length` bytes, `per_tib` of them at random places of each TiB: a bound, as all are thought to meet."""
    rate = per_tib * (shape.segment + length) / TIB
    return -math.expm1(-rate) - math.fsum(math.exp(-rate) * rate ** i / math.factorial(i)
                                          for i in range(1, burst_is_too_much(shape, length)))


def group_is_lost_to_bursts(shape: Shape, length: int, per_tib: float) -> float:
    """More than `lose` members of a group are lost."""
    return above(shape.members, max(0.0, file_is_lost_to_bursts(shape, length, per_tib)), shape.lose)


def per_tib(shape: Shape, of_a_group: float) -> float:
    """P(any group of a TiB of segments is lost)."""
    return any_of(TIB / (shape.segment * shape.members), min(of_a_group, 1.0))


def shown(p: float) -> str:
    """Two digits; below 1e-18 what a double says is rounding, and nobody needs it."""
    return "below 1e-18" if p < 1e-18 else f"{p:.1e}"


def tables() -> str:
    """Both tables as they stand in rationale.md."""
    lines = ["| a block dies with | a stripe is lost | a file is lost | " + " | ".join(
        f"a TiB, {shape.name}" for shape in SHAPES) + " |", "| --- |" + " --- |" * (2 + len(SHAPES))]
    for p in (0.001, 0.005, 0.01, 0.02, 0.05):
        odds = [stripe_is_lost(ONE_DRIVE, p), file_is_lost(ONE_DRIVE, p),
                *(per_tib(shape, group_is_lost(shape, p)) for shape in SHAPES)]
        lines.append(f"| {p} | " + " | ".join(map(shown, odds)) + " |")
    lines += ["", "| holes | in a TiB | it takes in one file | a file is lost | " + " | ".join(
        f"a TiB, {shape.name}" for shape in SHAPES) + " |", "| --- | --: | --: |" + " --- |" * (1 + len(SHAPES))]
    for name, length in (("4 KiB", 4096), ("1 MiB", 1 << 20), ("3 MiB", 3 << 20), ("16 MiB", 16 << 20)):
        for count in (100, 10_000):
            odds = [file_is_lost_to_bursts(ONE_DRIVE, length, count),
                    *(per_tib(shape, group_is_lost_to_bursts(shape, length, count)) for shape in SHAPES)]
            lines.append(f"| {name} | {count:,} | {burst_is_too_much(ONE_DRIVE, length)} | "
                         + " | ".join(map(shown, odds)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
