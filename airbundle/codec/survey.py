"""What entropy coding would make of a chunk, judged by a sample (for chapter 6; nothing here is part of the format).

A cost is packed size by plain size, estimated from byte counts alone: the Shannon entropy with the correction of Miller
and Madow, without which a small sample of noise looks as if it could be packed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from airbundle.codec.planes import word_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from airbundle.codec.planes import Bytes

_PIECES: Final = 16
_PIECE: Final = 512
_SLACK: Final = 4
"""Bytes behind each piece, so that words can be read at each phase."""


def pieces_of(chunk: Bytes) -> Bytes:
    """16 pieces of 516 bytes spread over the chunk, shape (pieces, bytes); a short chunk is one piece.

    All pieces begin at a multiple of 4, so that a phase means the same in each.
    """
    length = _PIECE + _SLACK
    if chunk.size < 2 * _PIECES * length:
        return chunk[np.newaxis, :]
    starts = np.linspace(0, chunk.size - length, _PIECES).astype(np.intp) // 4 * 4
    return np.lib.stride_tricks.sliding_window_view(chunk, length)[starts]


def byte_cost(sample: Bytes) -> float:
    """The cost of the bytes as they are."""
    return float(_costs(sample.reshape(-1, 1))[0])


def plane_costs(sample: Bytes, width: int, phases: Iterable[int]) -> NDArray[np.float64]:
    """The cost of each plane, shape (width, planes), for rotated words of `width` bytes; 1 at other than `phases`."""
    costs = np.ones((width, width))
    words_each = (sample.shape[1] - width + 1) // width
    for phase in phases if words_each > 0 else ():
        body = np.ascontiguousarray(sample[:, phase : phase + words_each * width])
        words = body.view(word_type(width))
        rotated = (words << 1) | (words >> (8 * width - 1))
        costs[phase] = _costs(rotated.view(np.uint8).reshape(-1, width))[::-1]
    return costs


def _costs(columns: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Entropy by 8 bits of each column of bytes."""
    rows, width = columns.shape
    counts = np.bincount((columns + np.arange(width, dtype=np.intp) * 256).ravel(), minlength=256 * width).reshape(
        width, 256
    )
    share: NDArray[np.floating[Any]] = counts / max(rows, 1)
    bits = -(share * np.log2(np.where(counts, share, 1))).sum(axis=1)
    correction = (np.count_nonzero(counts, axis=1) - 1) / (2 * np.log(2) * max(rows, 1))
    result: NDArray[np.float64] = (bits + correction) / 8
    return result
