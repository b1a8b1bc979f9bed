"""Whether parity is what it has to be, without making it again: sums of blocks with random coefficients (Freivalds).

The print of a segment is the sum of its data blocks, each times a random coefficient, a few times over. Sums keep what
is linear: the print of parity is the same combination of the members' prints as parity is of the members. Who does not
know the coefficients cannot make wrong parity that fits: one in 2^32 would, whatever is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.codec.galois import PRODUCTS, cauchy, multiply
from airbundle.transfer.image import layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.codec.engines import Engine
    from airbundle.format.block import Blocks
    from airbundle.transfer.image import Image

_ROWS: Final = 4
_COLUMNS: Final = 128


class Prints:
    """Coefficients for segments of up to `blocks` data blocks, which nobody else knows."""

    def __init__(self, blocks: int, entropy: Callable[[int], bytes]) -> None:
        self._random = np.frombuffer(entropy(_ROWS * blocks), np.uint8).reshape(_ROWS, blocks)

    def of(self, engine: Engine, image: Image) -> Blocks:
        """The print of a segment, shape (4, P)."""
        blocks = image.place.geometry.data_blocks
        found = np.zeros((_ROWS, image.payloads.shape[1]), np.uint8)
        part = np.empty_like(found)
        for at in range(0, blocks, _COLUMNS):
            sources = range(at, min(at + _COLUMNS, blocks))
            coefficients = np.ascontiguousarray(self._random[:, at:sources.stop])
            engine.combine(coefficients, image.payloads, sources, range(_ROWS), out_blocks=part)
            found ^= part
        return found


def is_coded(engine: Engine, image: Image, entropy: Callable[[int], bytes]) -> bool:
    """Whether the parity blocks of a segment are those of its data blocks (S-2).

    A random sum of the rows of parity is that sum of the rows of the matrix, times the data.
    """
    layout = layout_of(image.place.geometry)
    random = np.frombuffer(entropy(_ROWS * layout.m), np.uint8).reshape(_ROWS, layout.m)
    matrix = multiply(random, cauchy(layout.k, layout.m))
    found, wanted = np.empty((2, _ROWS, image.payloads.shape[1]), np.uint8)
    for stripe in range(layout.stripes):
        data = layout.data_blocks(stripe)
        engine.combine(random, image.payloads, layout.parity_blocks(stripe), range(_ROWS), out_blocks=found)
        engine.combine(np.ascontiguousarray(matrix[:, :data.size]), image.payloads, data, range(_ROWS),
                       out_blocks=wanted)
        if not np.array_equal(found, wanted):
            return False
    return True


def combined(coefficients: bytes, prints: Sequence[Blocks]) -> Blocks:
    """What the print of parity has to be, from those of all members of its group."""
    total = np.zeros_like(prints[0])
    for coefficient, one in zip(coefficients, prints, strict=True):
        total ^= PRODUCTS[coefficient][one]
    return total
