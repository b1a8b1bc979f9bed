"""A segment in memory: its blocks, and the steps that make a body into a whole segment (spec chapter 5).

`Image` is a view, it owns no memory. `finish` is the writer's side; `transfer/check.py` is the reader's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from airbundle.codec.erasure import Layout, encode_blocks
from airbundle.crypto.suites import Suite, tag
from airbundle.format.block import DIGEST_AT, FIELDS_AT, headers_of, write_digests, write_header
from airbundle.format.geometry import HEADER_SIZE, Geometry, Placement
from airbundle.format.segment import root_parts
from airbundle.stages import Stages

if TYPE_CHECKING:
    from airbundle.codec.engines import Engine
    from airbundle.format.block import Blocks, Flags


@dataclass(frozen=True, slots=True)
class Image:
    """The blocks of one segment in a worker's buffer; `blocks` has shape (block count, B)."""

    place: Placement
    blocks: Blocks
    headers: Blocks = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", headers_of(self.place))

    @property
    def coded(self) -> Blocks:
        """Data and parity blocks, shape (n + m·T, B)."""
        return self.blocks[self.place.data_at:][:self.place.geometry.coded_blocks]

    @property
    def payloads(self) -> Blocks:
        """Their payloads, shape (n + m·T, P)."""
        return self.coded[:, HEADER_SIZE:]

    @property
    def in_place(self) -> Flags:
        """Which blocks say of themselves that they lie where they do (B-5)."""
        fits: Flags = (self.blocks[:, FIELDS_AT:HEADER_SIZE] == self.headers).all(axis=1)
        return fits


def layout_of(geometry: Geometry) -> Layout:
    """The stripes of a segment as the codec wants them."""
    return Layout(n=geometry.data_blocks, k=geometry.k, m=geometry.m, stripes=geometry.stripes)


def digests(blocks: Blocks, suite: Suite) -> bytes:
    """The digest of each block, end to end; `blocks` has shape (count, B) and no gaps.

    The digest fields are zero for a moment, and put back: a block is then hashed where it lies, in one call. So the
    array has to be writable, and nobody else may read it meanwhile.
    """
    size, new_hash = blocks.shape[1], suite.new_hash
    fields = blocks[:, DIGEST_AT:FIELDS_AT].copy()
    blocks[:, DIGEST_AT:FIELDS_AT] = 0
    flat = blocks.reshape(-1).data
    try:
        return b"".join([new_hash(flat[at:at + size]).digest() for at in range(0, len(flat), size)])
    finally:
        blocks[:, DIGEST_AT:FIELDS_AT] = fields


def digest_rows(blocks: Blocks, suite: Suite) -> Blocks:
    """The same, shape (count, h)."""
    return np.frombuffer(digests(blocks, suite), np.uint8).reshape(-1, suite.digest_size)


def label_block(image: Image, suite: Suite, index: int) -> bytes:
    """Put the header in front of coded block `index`, of which only the payload is there; gives its digest."""
    at = image.place.data_at + index
    write_header(image.blocks, at, 1, image.headers)
    digest = digests(image.blocks[at:at + 1], suite)
    write_digests(image.blocks, at, digest, suite.digest_size)
    return digest


def root_of(suite: Suite, geometry: Geometry, preamble_hash: bytes, leaves: bytes) -> bytes:
    """The segment root (S-6)."""
    return suite.hash(*root_parts(tag("root"), geometry.packed(), preamble_hash, leaves, suite.digest_size))


def copy_blocks(image: Image, suite: Suite, at: int, content: bytes) -> Blocks:
    """The blocks of one copy of a list or preamble as they have to be from place `at`, shape (count, B)."""
    geometry = image.place.geometry
    count = -(-len(content) // geometry.payload_size)
    blocks = np.zeros((count, geometry.block_size), np.uint8)
    padded = content.ljust(count * geometry.payload_size, b"\0")
    blocks[:, HEADER_SIZE:] = np.frombuffer(padded, np.uint8).reshape(count, -1)
    write_header(blocks, 0, count, image.headers[at:at + count])
    write_digests(blocks, 0, digests(blocks, suite), suite.digest_size)
    return blocks


def finish(image: Image, suite: Suite, engine: Engine, preamble: bytes | None, preamble_hash: bytes = b"", *,
           stages: Stages | None = None) -> bytes:
    """Make a whole segment around the body that lies in the payloads of the data blocks; returns the root.

    Of a preamble that is lost, None, the `preamble_hash` is enough for the root; zeros take its place.
    """
    place, geometry = image.place, image.place.geometry
    stages = stages or Stages()
    with stages("parity"):
        encode_blocks(engine, layout_of(geometry), image.payloads)
    write_header(image.blocks, place.data_at, geometry.coded_blocks, image.headers)
    with stages("digest"):
        leaves = digests(image.coded, suite)  # S-5
    write_digests(image.blocks, place.data_at, leaves, suite.digest_size)
    front = bytes(place.preamble_length) if preamble is None else preamble
    for content, places in ((leaves, place.lists_at), (front, place.preambles_at)):
        for at in places:
            copy = copy_blocks(image, suite, at, content)
            image.blocks[at:at + len(copy)] = copy
    return root_of(suite, geometry, preamble_hash or suite.hash(front), leaves)
