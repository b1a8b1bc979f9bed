"""Blocks: the header of 128 bytes that says what a block is, for one block and for all blocks of a segment at once.

Blocks of a segment are a numpy array of bytes of shape (blocks, B). `headers_of` gives bytes 56 to 127 of all of
them, which a writer stores and a reader compares (spec chapter 4).
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.errors import FormatError
from airbundle.format import limits
from airbundle.format.geometry import GEOMETRY, GEOMETRY_SIZE, HEADER_SIZE, Geometry, Placement

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from typing_extensions import Buffer

    Blocks = npt.NDArray[np.uint8]
    Flags = npt.NDArray[np.bool_]

MAGIC: Final = b"\x89ABS\r\n\x1a\n"
DIGEST_AT: Final = 8
FIELDS_AT: Final = 56
KIND_AT: Final = 59
INDEX_AT: Final = 120
FRONT: Final = MAGIC + bytes(FIELDS_AT - DIGEST_AT)
"""Bytes 0 to 55 as the digest covers them: its own field counts as zeros."""
_TAIL: Final = struct.Struct("<II")
_MAGIC_ROW: Final = np.frombuffer(MAGIC, np.uint8)


class Kind(enum.IntEnum):
    """Byte 59."""

    PREAMBLE = 1
    LIST = 2
    DATA = 3
    PARITY = 4
    RECORD = 5


@dataclass(frozen=True, slots=True)
class Header:
    """One parsed header. Nothing in it is believed before the digest and a signed root say so."""

    geometry: Geometry
    kind: Kind
    index: int
    payload_length: int


def parse_header(raw: bytes, digest_size: dict[int, int]) -> Header:
    """Parse the first 128 bytes of a block; `digest_size` maps suite numbers to `h`. Raises FormatError."""
    if len(raw) < HEADER_SIZE or raw[:8] != MAGIC:
        raise FormatError("no block begins here", rule="B-4")
    fields = GEOMETRY.unpack_from(raw, FIELDS_AT)
    version, suite, kind, k, m, zero, stripes, size, bundle, number, salt, body = fields
    index, payload_length = _TAIL.unpack_from(raw, INDEX_AT)
    if version != limits.VERSION:
        raise FormatError(f"version {version} is not known", rule="B-4")
    if suite not in digest_size:
        raise FormatError(f"suite number {suite} is not known", rule="K-1")
    if not Kind.PREAMBLE <= kind <= Kind.PARITY or zero:
        raise FormatError(f"kind {kind} is not that of a block", rule="B-4")
    geometry = Geometry(suite=suite, digest_size=digest_size[suite], k=k, m=m, stripes=stripes, block_size=size,
                        bundle=bundle, number=number, salt=salt, body=body)
    if payload_length > geometry.payload_size:
        raise FormatError(f"payload length {payload_length} is larger than the payload", rule="B-7")
    return Header(geometry, Kind(kind), index, payload_length)


def carries_digest(block: Buffer, hash_of: Callable[..., bytes]) -> bool:
    """Whether a block or record begins with its magic and carries its digest: all of it, that field as zeros (B-4).

    `hash_of` is the hash of its suite, over parts end to end.
    """
    view = memoryview(block)
    digest = hash_of(FRONT, view[FIELDS_AT:])
    return view[:FIELDS_AT] == MAGIC + digest.ljust(FIELDS_AT - DIGEST_AT, b"\0")


def headers_of(place: Placement) -> Blocks:
    """Bytes 56 to 127 of each block of the file, shape (blocks, 72)."""
    geometry = place.geometry
    rows = np.empty((place.block_count, HEADER_SIZE - FIELDS_AT), np.uint8)
    data, coded = geometry.data_blocks, geometry.coded_blocks
    _fill(rows[place.data_at:][:data], geometry, Kind.DATA, geometry.payload_size * data)
    _fill(rows[place.parity_at:][:coded - data], geometry, Kind.PARITY, geometry.payload_size * (coded - data))
    for at in place.lists_at:
        _fill(rows[at:][:geometry.list_blocks], geometry, Kind.LIST, coded * geometry.digest_size)
    for at in place.preambles_at:
        _fill(rows[at:][:place.preamble_blocks], geometry, Kind.PREAMBLE, place.preamble_length)
    return rows


def write_header(blocks: Blocks, at: int, count: int, headers: Blocks) -> None:
    """Put magic and fields in front of `count` blocks from place `at`; the digest is left for `write_digests`."""
    blocks[at:at + count, :DIGEST_AT] = _MAGIC_ROW
    blocks[at:at + count, FIELDS_AT:HEADER_SIZE] = headers[at:at + count]


def write_digests(blocks: Blocks, at: int, digests: bytes, digest_size: int) -> None:
    """Store the digests of the blocks from place `at`, padded with zeros to 48 bytes (B-7)."""
    rows = np.frombuffer(digests, np.uint8).reshape(-1, digest_size)
    blocks[at:at + len(rows), DIGEST_AT:DIGEST_AT + digest_size] = rows
    blocks[at:at + len(rows), DIGEST_AT + digest_size:FIELDS_AT] = 0


def digest_fields_right(blocks: Blocks, digests: Blocks) -> Flags:
    """Which blocks have the right magic and carry their own digest; `digests` has shape (blocks, h)."""
    size = digests.shape[1]
    right: Flags = ((blocks[:, :DIGEST_AT] == _MAGIC_ROW).all(axis=1)
                    & (blocks[:, DIGEST_AT:DIGEST_AT + size] == digests).all(axis=1)
                    & ~blocks[:, DIGEST_AT + size:FIELDS_AT].any(axis=1))
    return right


def _fill(rows: Blocks, geometry: Geometry, kind: Kind, content: int) -> None:
    """Headers of one copy of one kind whose content has `content` bytes over all its blocks."""
    count, size = len(rows), geometry.payload_size
    rows[:, :GEOMETRY_SIZE] = np.frombuffer(geometry.packed(kind), np.uint8)
    tails = np.empty((count, 2), "<u4")
    tails[:, 0] = np.arange(count)
    tails[:, 1] = np.minimum(content - np.arange(count, dtype=np.int64) * size, size)
    rows[:, GEOMETRY_SIZE:] = tails.view(np.uint8)
