"""The geometry of a segment: how many blocks of which size, in which stripes (spec chapters 4 and 5).

A `Geometry` checks rules B-1 to B-3 when it is made, so nothing is ever allocated for one that breaks them.
A `Placement` adds the preamble's length and says at which place of the file each block lies.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from airbundle.errors import FormatError
from airbundle.format import limits

HEADER_SIZE: Final = 128
GEOMETRY_SIZE: Final = 64
GEOMETRY: Final = struct.Struct("<HBBBBHII16sQ16sQ")  # bytes 56 to 119 of a block


@dataclass(frozen=True, slots=True)
class Geometry:
    """What every block header of a segment repeats. Sizes in bytes; `digest_size` is the suite's `h`."""

    suite: int
    digest_size: int
    k: int
    m: int
    stripes: int
    block_size: int
    bundle: bytes
    number: int
    salt: bytes
    body: int

    def __post_init__(self) -> None:
        size = self.block_size
        if not limits.BLOCK_MIN <= size <= limits.BLOCK_MAX or size & (size - 1):
            raise FormatError(f"block size {size} is not a power of two from 4 KiB to 1 MiB", rule="B-1")
        if not 1 <= self.k <= limits.COLUMNS_MAX:
            raise FormatError(f"k = {self.k} is outside 1 to 128", rule="B-2")
        if not limits.PARITY_ROWS_MIN <= self.m <= limits.PARITY_ROWS_MAX:
            raise FormatError(f"m = {self.m} is outside 2 to 128", rule="B-2")
        if self.body < self.payload_size or self.body % self.payload_size:
            raise FormatError(f"body length {self.body} is not a number of whole blocks", rule="B-2")
        if not 1 <= self.stripes <= self.data_blocks or self.k != -(-self.data_blocks // self.stripes):
            raise FormatError(f"{self.data_blocks} data blocks do not lie in {self.stripes} stripes of {self.k}",
                              rule="B-2")
        least = (self.data_blocks + self.parity_blocks + 2 * self.list_blocks) * size
        if least > limits.SEGMENT_STORED_MAX:
            raise FormatError(f"a stored segment of {least} bytes is larger than 288 MiB", rule="B-3")
        if not 0 <= self.number <= limits.INTEGER_MAX or len(self.bundle) != 16 or len(self.salt) != 16:
            raise FormatError("number, bundle id or salt of a segment is off", rule="B-2")

    @property
    def payload_size(self) -> int:
        """`P`, payload bytes of a block."""
        return self.block_size - HEADER_SIZE

    @property
    def data_blocks(self) -> int:
        """`n`."""
        return self.body // self.payload_size

    @property
    def parity_blocks(self) -> int:
        """`m · T`."""
        return self.m * self.stripes

    @property
    def coded_blocks(self) -> int:
        """Data and parity blocks together: how many leaves there are."""
        return self.data_blocks + self.parity_blocks

    @property
    def list_blocks(self) -> int:
        """`l`, blocks of one copy of the list."""
        return -(-self.coded_blocks * self.digest_size // self.payload_size)

    def packed(self, kind: int = 0) -> bytes:
        """Bytes 56 to 119 of a block of `kind`; kind 0 is what the root covers (S-6)."""
        return GEOMETRY.pack(limits.VERSION, self.suite, kind, self.k, self.m, 0, self.stripes, self.block_size,
                             self.bundle, self.number, self.salt, self.body)


def stripe_shape(data_blocks: int, block_size: int, parity_percent: float) -> tuple[int, int, int]:
    """`(k, m, T)` for `data_blocks` (S-3); `parity_percent` of `k`, at least 2 rows, and 1 MiB for small segments."""
    stripes = -(-data_blocks // limits.COLUMNS_MAX)
    k = -(-data_blocks // stripes)
    burst = min(limits.BURST_MIN + block_size, data_blocks * block_size)  # a hole begins anywhere in a block
    m = max(limits.PARITY_ROWS_MIN, -int(-parity_percent * k // 100), -(-burst // (stripes * block_size)))
    return k, min(m, limits.PARITY_ROWS_MAX), stripes


@dataclass(frozen=True, slots=True)
class Placement:
    """Where each block of a segment lies in its file, counted in blocks (spec chapter 5)."""

    geometry: Geometry
    preamble_length: int

    def __post_init__(self) -> None:
        if not 1 <= self.preamble_length <= limits.PREAMBLE_MAX:
            raise FormatError(f"a preamble of {self.preamble_length} bytes", rule="K-6")
        if self.stored_size > limits.SEGMENT_STORED_MAX:
            raise FormatError(f"a stored segment of {self.stored_size} bytes is larger than 288 MiB", rule="B-3")

    @property
    def preamble_blocks(self) -> int:
        """`p`, blocks of one copy of the preamble."""
        return -(-self.preamble_length // self.geometry.payload_size)

    @property
    def data_at(self) -> int:
        """Place of the first data block."""
        return self.preamble_blocks + self.geometry.list_blocks

    @property
    def parity_at(self) -> int:
        """Place of the first parity block."""
        return self.data_at + self.geometry.data_blocks

    @property
    def lists_at(self) -> tuple[int, int]:
        """Places of the two copies of the list."""
        return self.preamble_blocks, self.data_at + self.geometry.coded_blocks

    @property
    def preambles_at(self) -> tuple[int, int]:
        """Places of the two copies of the preamble."""
        return 0, self.lists_at[1] + self.geometry.list_blocks

    @property
    def block_count(self) -> int:
        """All blocks of the file."""
        return self.preambles_at[1] + self.preamble_blocks

    @property
    def stored_size(self) -> int:
        """Bytes of the file."""
        return self.block_count * self.geometry.block_size
