"""What a data segment holds: index and trailer of its body, and the bytes that its root covers (spec chapter 5)."""

from __future__ import annotations

import struct
from typing import Annotated, Final

import msgspec

from airbundle.errors import FormatError
from airbundle.format import encoding, limits
from airbundle.format.encoding import HexDigest, Int53
from airbundle.format.names import SafePath

TRAILER: Final = struct.Struct("<QQI12s")
TAG_SIZE: Final = 16
SEALED_TRAILER: Final = TRAILER.size + TAG_SIZE
FILLER: Final = "filler"
CODECS: Final = ("raw", "zstd", "planes-2", "planes-4", FILLER)


class ChunkRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One chunk: plain and sealed length in bytes, codec, `H` of the plain bytes in hexadecimal."""

    length: Int53
    sealed: Int53
    codec: str
    digest: HexDigest


class FileSpan(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A file that has bytes in the slice: its path, its start in the source stream, its size."""

    path: str
    start: Int53
    size: Int53


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The index of one data segment."""

    start: Int53
    length: Int53
    chunks: Annotated[tuple[ChunkRow, ...], msgspec.Meta(max_length=limits.CHUNKS_MAX)]
    files: Annotated[tuple[FileSpan, ...], msgspec.Meta(max_length=limits.SEGMENT_FILES_MAX)]


class Trailer(msgspec.Struct, frozen=True):
    """Where the sealed index begins in the body, how long the index is, how many chunks there are."""

    index_at: int
    index_length: int
    chunks: int

    def packed(self) -> bytes:
        """32 bytes of plaintext."""
        return TRAILER.pack(self.index_at, self.index_length, self.chunks, bytes(12))


def parse_trailer(raw: bytes, body: int) -> Trailer:
    """Parse the opened trailer of a body of `body` bytes (S-11, S-15, L-1). Raises FormatError."""
    index_at, length, chunks, zeros = TRAILER.unpack(raw)
    if length > limits.INDEX_MAX:
        raise FormatError(f"an index of {length} bytes", rule="L-1")
    if chunks > limits.CHUNKS_MAX:
        raise FormatError(f"a segment of {chunks} chunks", rule="S-15")
    if any(zeros) or length > body - SEALED_TRAILER - TAG_SIZE - index_at:
        raise FormatError("the trailer points outside the body", rule="S-11")
    return Trailer(index_at, length, chunks)


def parse_index(raw: bytes, trailer: Trailer) -> Index:
    """Parse the opened index, zeros included, and check S-12 to S-15. Raises FormatError."""
    content, padding = raw[:trailer.index_length], raw[trailer.index_length:]
    if padding.strip(b"\0"):
        raise FormatError("bytes behind the index", rule="S-12")
    index = encoding.decode(content, Index, limit=limits.INDEX_MAX, rule="L-1")
    if len(index.chunks) != trailer.chunks:
        raise FormatError("index and trailer disagree on the number of chunks", rule="S-13")
    for chunk in index.chunks:
        if chunk.codec not in CODECS or (chunk.codec == FILLER) != (chunk.length == 0):
            raise FormatError(f"a chunk of codec '{chunk.codec[:20]}' and {chunk.length} bytes", rule="S-14")
        if chunk.length > limits.CHUNK_MAX or not TAG_SIZE < chunk.sealed <= limits.CHUNK_MAX + TAG_SIZE:
            raise FormatError(f"a chunk of {chunk.length} bytes, sealed {chunk.sealed}", rule="S-14")
    if sum(c.length for c in index.chunks) != index.length or sum(c.sealed for c in index.chunks) != trailer.index_at:
        raise FormatError("the chunks do not add up", rule="S-13")
    end = index.start
    for span in index.files:
        SafePath.parse(span.path)
        if span.start > max(end, index.start) or span.start + span.size <= end:
            raise FormatError(f"'{span.path}' does not follow the file before it", rule="S-13")
        end = span.start + span.size
    if end < index.start + index.length:
        raise FormatError("the files do not cover the slice", rule="S-13")
    return index


def root_parts(tag: bytes, geometry: bytes, preamble_hash: bytes, leaves: bytes, digest_size: int) -> tuple[bytes, ...]:
    """What the segment root is the hash of (S-6)."""
    return tag, geometry, preamble_hash, struct.pack("<I", len(leaves) // digest_size), leaves
