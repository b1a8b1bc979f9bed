"""Floats to byte planes and back (spec chapter 6).

A word is rotated left by one bit, so that its sign goes to the bottom and the exponent fills the top; plane 0 is the
most significant byte of all rotated words, plane 1 the next one, and so on. Nothing is lost: this is a permutation of
bits, whatever the words mean, so NaN payloads, subnormals and bytes that are no floats at all come back as they were.

All of a chunk goes through each numpy call: two threads that both make many short calls wait for the interpreter more
than they compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from airbundle.format.limits import CHUNK_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.unsignedinteger[Any]]
    Bytes = NDArray[np.uint8]


def word_type(width: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The little-endian word of `width` (2 or 4) bytes."""
    return np.dtype(f"<u{width}")


def new_scratch() -> Bytes:
    """Scratch for the words of one chunk, shape (2, bytes of the largest); not to be shared by threads."""
    return np.empty((2, CHUNK_MAX), np.uint8)


def split(words: Words, planes: Sequence[Bytes] | Bytes, scratch: Bytes) -> None:
    """Write the `w` planes of N words; `words` has shape (N,), each of the `w` planes shape (N,).

    `words` may lie at any address: numpy copies unaligned words through a small buffer of its own, at hardly any cost.
    `scratch` comes from `new_scratch`, and has room for what a chunk holds.
    """
    for row, plane in zip(range(words.itemsize), planes, strict=True):
        split_one(words, row, plane, scratch)


def split_one(words: Words, row: int, plane: Bytes, scratch: Bytes) -> None:
    """Write plane `row` alone, as `split` does."""
    sign = 8 * words.itemsize - 1
    if row < words.itemsize - 1:
        np.right_shift(words, sign - 8 * (row + 1), out=plane, casting="unsafe")
        return
    signs = scratch[0, :words.size]
    np.add(words, words, out=plane, casting="unsafe")  # a shift to the left, twice as fast
    np.right_shift(words, sign, out=signs, casting="unsafe")
    np.bitwise_or(plane, signs, out=plane)


def join(planes: Sequence[Bytes] | Bytes, words: Words, scratch: Bytes) -> None:
    """The inverse of `split`: fill `words`, shape (N,), at any address, from `w` planes of shape (N,) each.

    No more words than a chunk holds.
    """
    rotated, other = (row[:words.nbytes].view(words.dtype) for row in scratch)
    np.copyto(rotated, planes[0])
    for row in range(1, words.itemsize):
        np.multiply(rotated, 1 << 8, out=rotated)
        np.bitwise_or(rotated, planes[row], out=rotated)
    np.right_shift(rotated, 1, out=other)
    np.multiply(rotated, 1 << (8 * words.itemsize - 1), out=rotated)
    np.bitwise_or(rotated, other, out=words)
