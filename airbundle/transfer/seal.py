"""Seal one slice of the source into a whole segment, and open it again: the two directions of the data path.

seal: read, digest, compress and compare, seal, place in blocks; then index, trailer, parity, digests, lists.
open: trailer, index, then per chunk: gather from checked blocks, open, expand, digest, hand over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from airbundle.codec.compress import Codec
from airbundle.crypto.seal import Sealer
from airbundle.errors import AirbundleError, DamagedError, FormatError
from airbundle.format import encoding, limits
from airbundle.format.geometry import HEADER_SIZE, Geometry, Placement, stripe_shape
from airbundle.format.segment import (
    FILLER,
    SEALED_TRAILER,
    TAG_SIZE,
    TRAILER,
    ChunkRow,
    Index,
    Trailer,
    parse_index,
    parse_trailer,
)
from airbundle.transfer.image import Image, finish
from airbundle.transfer.slices import CHUNK_ROW_MAX
from airbundle.transfer.workspace import gather, scatter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airbundle.crypto.envelope import BundleKey, Context
    from airbundle.crypto.seal import Opener
    from airbundle.crypto.suites import Suite
    from airbundle.transfer.slices import Slice, Stream
    from airbundle.transfer.workspace import Workspace


@dataclass(frozen=True, slots=True)
class SealPlan:
    """What is the same for all segments of a bundle."""

    context: Context
    key: BundleKey
    preamble: bytes
    block_size: int
    parity: float
    pad: bool


@dataclass(frozen=True, slots=True)
class Sealed:
    """A finished segment in a worker's buffer: its geometry, its root, and `H` over its chunks' plain digests."""

    image: Image
    root: bytes
    content: bytes

    @property
    def geometry(self) -> Geometry:
        """Its geometry."""
        return self.image.place.geometry


def capacity(plan: SealPlan, stream: Stream) -> int:
    """Bytes of the largest stored segment that `stream` can give, with room to place its front."""
    place = largest_place(plan, stream)
    front = place.data_at * plan.block_size
    # The slice lies at the buffer's end while its segment grows from the front (`_Body`): what headers and tags add
    # to each chunk must never reach a chunk that was not read yet.
    longest = max((part.length for part in stream.slices), default=0)
    body_ahead = body_with_headers(longest + limits.CHUNKS_MAX * TAG_SIZE, plan.block_size)
    return max(place.stored_size, body_ahead) + front


def largest_place(plan: SealPlan, stream: Stream) -> Placement:
    """Where blocks lie in the largest segment that `stream` can give."""
    body = max((stream.largest_body(part) for part in stream.slices), default=1)
    return Placement(shape(plan, 0, bytes(16), body), len(plan.preamble))


def body_with_headers(body: int, block_size: int) -> int:
    """Bytes that a body takes with the headers of its blocks, and one block more."""
    return (-(-body // (block_size - HEADER_SIZE)) + 1) * block_size


def shape(plan: SealPlan, number: int, salt: bytes, body: int) -> Geometry:
    """The geometry of a data segment whose body has at least `body` bytes."""
    payload = plan.block_size - HEADER_SIZE
    blocks = -(-body // payload)
    k, m, stripes = stripe_shape(blocks, plan.block_size, plan.parity)
    suite = plan.context.suite
    return Geometry(suite=suite.number, digest_size=suite.digest_size, k=k, m=m, stripes=stripes,
                    block_size=plan.block_size, bundle=plan.context.bundle_id, number=number, salt=salt,
                    body=blocks * payload)


class _Body:
    """Appends sealed parts to the payloads of the blocks that begin at the workspace's data area."""

    def __init__(self, work: Workspace, plan: SealPlan, number: int, stream_room: int) -> None:
        largest = shape(plan, number, bytes(16), stream_room)
        self.front = Placement(largest, len(plan.preamble)).data_at * plan.block_size
        self.blocks = work.blocks(largest.data_blocks, plan.block_size, first=self.front)
        self.payloads = self.blocks[:, HEADER_SIZE:]
        self.position = 0

    @property
    def end(self) -> int:
        """First byte of the workspace's buffer behind the blocks that hold something."""
        return self.front + -(-self.position // int(self.payloads.shape[1])) * int(self.blocks.shape[1])

    def append(self, part: memoryview) -> None:
        scatter(self.payloads, self.position, part)
        self.position += len(part)


def seal_slice(work: Workspace, plan: SealPlan, stream: Stream, part: Slice, content: memoryview, *,
               entropy: Callable[[int], bytes], done: Callable[[int], None] = lambda _: None) -> Sealed:
    """Make the segment of `part`.

    `content` are its bytes of the source stream, which are gone afterwards if they lie in `work.slice`; `done` hears
    the bytes of each chunk and may raise to stop.
    """
    suite = plan.context.suite
    room = stream.largest_body(part)
    body = _Body(work, plan, part.number, room)
    sealer = Sealer(plan.context, plan.key, part.number, entropy=entropy)
    rows: list[ChunkRow] = []
    work.compressor.forget()
    for cut in stream.chunks(part):
        plain = content[cut.start - part.start:][:cut.length]
        with work.stages("digest"):
            digest = suite.hash(plain)
        codec, packed = work.compressor.compress(plain, cut.dtype)
        with work.stages("seal"):
            size = sealer.seal_into(len(rows), packed, work.sealed, last=False)
            body.append(work.sealed[:size])
        rows.append(ChunkRow(cut.length, size, codec.value, digest.hex()))
        if body.end > len(work.bytes) - part.length + cut.start - part.start + cut.length:
            raise AirbundleError("a segment has grown into source bytes that are not sealed yet")
        done(cut.length)
    chunks = suite.hash(*(bytes.fromhex(row.digest) for row in rows))
    if plan.pad:
        _fill(body, sealer, work, rows, room, suite.digest_size)
    _close(body, sealer, rows, stream, part, plan, room if plan.pad else 0)
    geometry = shape(plan, part.number, sealer.salt, body.position)
    place = Placement(geometry, len(plan.preamble))
    first = body.front - place.data_at * plan.block_size
    image = Image(place, work.blocks(place.block_count, plan.block_size, first=first))
    return Sealed(image, finish(image, suite, work.engine, plan.preamble, stages=work.stages), chunks)


def _fill(body: _Body, sealer: Sealer, work: Workspace, rows: list[ChunkRow], room: int,
          digest_size: int) -> None:
    """Fillers up to what incompressible content would have taken (S-16); what is left goes into the index's zeros."""
    work.plain[:] = bytes(len(work.plain))
    tail = room - sum(row.length for row in rows) - len(rows) * TAG_SIZE
    budget = room - tail - body.position
    while budget > TAG_SIZE + CHUNK_ROW_MAX and len(rows) < limits.CHUNKS_MAX:
        length = min(limits.CHUNK_MAX, budget - TAG_SIZE - CHUNK_ROW_MAX)
        size = sealer.seal_into(len(rows), work.plain[:length], work.sealed, last=False)
        body.append(work.sealed[:size])
        rows.append(ChunkRow(0, size, FILLER, bytes(digest_size).hex()))
        budget -= size + CHUNK_ROW_MAX


def _close(body: _Body, sealer: Sealer, rows: list[ChunkRow], stream: Stream, part: Slice, plan: SealPlan,
           least: int) -> None:
    """Index and trailer (S-10 to S-12); the body then fills whole blocks and has at least `least` bytes."""
    index = encoding.encode(Index(part.start, part.length, tuple(rows), tuple(stream.spans(part))))
    payload = plan.block_size - HEADER_SIZE
    need = max(body.position + len(index) + TAG_SIZE + SEALED_TRAILER, least)
    total = -(-need // payload) * payload
    plain = index.ljust(total - body.position - TAG_SIZE - SEALED_TRAILER, b"\0")
    trailer = Trailer(body.position, len(index), len(rows)).packed()
    for counter, last, content in ((len(rows), False, plain), (0, True, trailer)):
        sealed = bytearray(len(content) + TAG_SIZE)
        sealer.seal_into(counter, content, memoryview(sealed), last=last)
        body.append(memoryview(sealed))


def open_trailer(image: Image, opener: Opener) -> Trailer:
    """The trailer, in the last data block. Raises DamagedError, FormatError."""
    geometry = image.place.geometry
    payloads = image.payloads[:geometry.data_blocks]
    if geometry.body < SEALED_TRAILER + TAG_SIZE:
        raise FormatError("a body without room for a trailer", rule="S-11")
    sealed, plain = bytearray(SEALED_TRAILER), bytearray(TRAILER.size)
    gather(payloads, geometry.body - SEALED_TRAILER, memoryview(sealed))
    opener.open_into(0, sealed, memoryview(plain), last=True)
    return parse_trailer(bytes(plain), geometry.body)


def open_index(image: Image, opener: Opener, trailer: Trailer | None = None) -> Index:
    """The index of a checked segment. Raises DamagedError or FormatError; both mean that its packer wrote it wrong."""
    geometry = image.place.geometry
    payloads = image.payloads[:geometry.data_blocks]
    trailer = trailer or open_trailer(image, opener)
    size = geometry.body - SEALED_TRAILER - trailer.index_at
    sealed, plain = bytearray(size), bytearray(size - TAG_SIZE)
    gather(payloads, trailer.index_at, memoryview(sealed))
    opener.open_into(trailer.chunks, sealed, memoryview(plain), last=False)
    return parse_index(bytes(plain), trailer)


def open_chunks(work: Workspace, image: Image, suite: Suite, opener: Opener, index: Index,
                room: Callable[[int], memoryview]) -> Iterator[int]:
    """Open the chunks of a checked segment, one after another, each into `room(its length)`; yields the lengths."""
    position = 0
    for number, row in enumerate(index.chunks):
        if row.codec != FILLER:
            open_chunk(work, image, suite, opener, number, row, position, room(row.length))
            yield row.length
        elif row.digest != bytes(suite.digest_size).hex():
            raise FormatError("a filler with a digest", rule="S-14")
        position += row.sealed


def open_chunk(work: Workspace, image: Image, suite: Suite, opener: Opener, number: int, row: ChunkRow, position: int,
               plain: memoryview) -> None:
    """Open chunk `number`, which lies at byte `position` of the body, into `plain`. Raises DamagedError."""
    sealed, packed = work.sealed[:row.sealed], work.packed[:row.sealed - TAG_SIZE]
    with work.stages("seal"):
        gather(image.payloads[:image.place.geometry.data_blocks], position, sealed)
        opener.open_into(number, sealed, packed, last=False)
    work.expander.expand(Codec(row.codec), packed, plain)
    with work.stages("digest"):
        digest = suite.hash(plain)
    if digest != bytes.fromhex(row.digest):  # S-13
        raise DamagedError(f"chunk {number} is not what was packed", rule="S-13")


def seal_manifest(plan: SealPlan, number: int, raw: bytes, *, entropy: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """The sealed manifest in pieces of 1 MiB and the salt of the catalog that it belongs to (chapter 8)."""
    sealer = Sealer(plan.context, plan.key, number, entropy=entropy)
    count = max(1, -(-len(raw) // limits.SEALED_PIECE))
    out = bytearray(len(raw) + count * TAG_SIZE)
    view, at = memoryview(out), 0
    for piece in range(count):
        content = raw[piece * limits.SEALED_PIECE:(piece + 1) * limits.SEALED_PIECE]
        at += sealer.seal_into(piece, content, view[at:at + len(content) + TAG_SIZE], last=piece == count - 1)
    return bytes(out), sealer.salt


def finish_catalog(plan: SealPlan, number: int, salt: bytes, body: bytes, work: Workspace) -> Sealed:
    """The catalog as a segment: small blocks, as much parity as data."""
    block = limits.BLOCK_MIN if len(body) <= limits.CATALOG_SMALL_BODY else limits.BLOCK_DEFAULT
    payload = block - HEADER_SIZE
    blocks = -(-len(body) // payload)
    k, m, stripes = stripe_shape(blocks, block, 100)
    suite = plan.context.suite
    geometry = Geometry(suite=suite.number, digest_size=suite.digest_size, k=k, m=m, stripes=stripes, block_size=block,
                        bundle=plan.context.bundle_id, number=number, salt=salt, body=blocks * payload)
    place = Placement(geometry, len(plan.preamble))
    image = Image(place, work.blocks(place.block_count, block))
    image.payloads[:blocks] = np.frombuffer(body.ljust(blocks * payload, b"\0"), np.uint8).reshape(blocks, payload)
    return Sealed(image, finish(image, suite, work.engine, plan.preamble, stages=work.stages), b"")
