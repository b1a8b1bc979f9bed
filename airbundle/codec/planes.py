"""Floats to byte planes and back (spec chapter 6).

A word is rotated left by one bit, so that its sign goes to the bottom and the exponent fills the top; plane 0 is the
most significant byte of all rotated words, plane 1 the next one, and so on. Nothing is lost: this is a permutation of
bits, whatever the words mean, so NaN payloads, subnormals and bytes that are no floats at all come back as they were.

The work is done in pieces that stay in the cache, with numpy calls that release the interpreter lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.unsignedinteger[Any]]
    Bytes = NDArray[np.uint8]

_PIECE_BYTES: Final = 1 << 18


def word_type(width: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The little-endian word of `width` (2 or 4) bytes."""
    return np.dtype(f"<u{width}")


def new_scratch(width: int) -> Words:
    """Scratch for `split` and `join` of words of `width` bytes: shape (2, a piece); not to be shared by threads."""
    return np.empty((2, _PIECE_BYTES // width), word_type(width))


def split(words: Words, planes: Sequence[Bytes] | Bytes, scratch: Words) -> None:
    """Write the `w` planes of N words; `words` has shape (N,), each of the `w` planes shape (N,).

    `words` may lie at any address: numpy copies unaligned words through a small buffer of its own, at hardly any cost.
    `scratch` comes from `new_scratch(w)`.
    """
    width = words.itemsize
    piece = scratch.shape[1]
    for start in range(0, words.size, piece):
        source = words[start : start + piece]
        stop = start + source.size
        rotated, other = scratch[0, : source.size], scratch[1, : source.size]
        np.right_shift(source, 8 * width - 1, out=other)
        np.add(source, source, out=rotated)  # a shift to the left, twice as fast
        np.bitwise_or(rotated, other, out=rotated)
        for row in range(width - 1, 0, -1):
            np.copyto(planes[row][start:stop], rotated, casting="unsafe")
            np.right_shift(rotated, 8, out=rotated)
        np.copyto(planes[0][start:stop], rotated, casting="unsafe")


def join(planes: Sequence[Bytes] | Bytes, words: Words, scratch: Words) -> None:
    """The inverse of `split`: fill `words`, shape (N,), at any address, from `w` planes of shape (N,) each."""
    width = words.itemsize
    piece = scratch.shape[1]
    for start in range(0, words.size, piece):
        target = words[start : start + piece]
        stop = start + target.size
        rotated, other = scratch[0, : target.size], scratch[1, : target.size]
        np.copyto(rotated, planes[0][start:stop])
        for row in range(1, width):
            np.multiply(rotated, 1 << 8, out=rotated)
            np.copyto(other, planes[row][start:stop])
            np.bitwise_or(rotated, other, out=rotated)
        np.right_shift(rotated, 1, out=other)
        np.multiply(rotated, 1 << (8 * width - 1), out=rotated)
        np.bitwise_or(rotated, other, out=target)
