"""Arithmetic in GF(2^8) with the polynomial 0x11D, and the matrices of the two codes (spec S-4, R-1).

Small matrices only; what runs over blocks is in `engines`. Elements are `uint8`; addition is XOR.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

POLYNOMIAL: Final = 0x11D
GENERATOR: Final = 2


def _powers() -> Bytes:
    """2^0 to 2^254, twice, so that a sum of two logarithms needs no reduction."""
    powers = np.zeros(510, np.uint8)
    value = 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        value <<= 1
        if value & 0x100:
            value ^= POLYNOMIAL
    return powers


def _products(powers: Bytes) -> Bytes:
    logarithms = np.zeros(256, np.intp)
    logarithms[powers[:255]] = np.arange(255)
    table: Bytes = powers[logarithms[:, np.newaxis] + logarithms]
    table[0, :] = table[:, 0] = 0
    return table


POWERS: Final = _powers()
PRODUCTS: Final = _products(POWERS)
"""All products, shape (256, 256)."""
INVERSES: Final = np.argmax(PRODUCTS == 1, axis=1).astype(np.uint8)
"""The inverse of each element; 0 for 0, which has none."""
for _table in (POWERS, PRODUCTS, INVERSES):
    _table.flags.writeable = False


def multiply(left: Bytes, right: Bytes) -> Bytes:
    """The product of two matrices, shapes (a, b) and (b, c)."""
    product = np.zeros((left.shape[0], right.shape[1]), np.uint8)
    for inner in range(left.shape[1]):
        product ^= PRODUCTS[left[:, inner, np.newaxis], right[inner]]
    return product


def invert(matrix: Bytes) -> Bytes:
    """The inverse of a square matrix, by Gauss and Jordan. Raises ValueError if it has none."""
    size = len(matrix)
    work = np.concatenate([matrix, np.eye(size, dtype=np.uint8)], axis=1)
    for column in range(size):
        pivot = column + int(np.argmax(work[column:, column] != 0))
        if work[pivot, column] == 0:
            raise ValueError("a matrix without an inverse")
        work[[column, pivot]] = work[[pivot, column]]
        work[column] = PRODUCTS[INVERSES[work[column, column]], work[column]]
        factors = work[:, column].copy()
        factors[column] = 0
        work ^= PRODUCTS[factors[:, np.newaxis], work[column]]
    return work[:, size:]


@functools.lru_cache(maxsize=64)
def cauchy(k: int, m: int) -> Bytes:
    """S-4: the parity rows for `k` columns, shape (m, k), read-only. Every square part of it has an inverse.

    The same as the lower part of ISA-L's `gf_gen_cauchy1_matrix`. `k + m` is at most 256.
    """
    if k + m > 256:
        raise ValueError(f"{k} columns and {m} rows do not fit into GF(2^8)")
    rows, columns = np.arange(k, k + m)[:, np.newaxis], np.arange(k)
    matrix: Bytes = INVERSES[rows ^ columns]
    matrix.flags.writeable = False
    return matrix


@functools.lru_cache(maxsize=4)
def systematic(length: int, parity: int) -> Bytes:
    """R-1: the parity rows of RS(`length`, `length - parity`) with first root 2^0, shape (parity, content), read-only.

    Column `i` holds the remainder of x^(length - 1 - i) by the generator polynomial, highest power first.
    """
    generator = np.ones(1, np.uint8)
    for root in range(parity):
        longer = np.append(generator, np.uint8(0))
        longer[1:] ^= PRODUCTS[POWERS[root], generator]
        generator = longer
    content = length - parity
    matrix = np.zeros((parity, content), np.uint8)
    remainder = generator[1:]
    for column in range(content - 1, -1, -1):
        matrix[:, column] = remainder
        remainder = np.append(remainder[1:], np.uint8(0)) ^ PRODUCTS[remainder[0], generator[1:]]
    matrix.flags.writeable = False
    return matrix
