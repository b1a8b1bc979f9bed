"""What the files of a volume say they are (V-2), before anything is believed.

A block may lie, because it was damaged or moved here from another file. So a claim only says where to look first:
what a file holds is what its signed root bears out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.record import COPY_SIZE, RECORD_SIZE
from airbundle.crypto.suites import SUITES, hash_by_suite
from airbundle.errors import FormatError
from airbundle.format import limits
from airbundle.format.block import KIND_AT, MAGIC, Kind, carries_digest, parse_header
from airbundle.format.geometry import HEADER_SIZE, Geometry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.media.volume import Peek, VolumeReader

DIGEST_SIZES = {suite.number: suite.digest_size for suite in SUITES}


@dataclass(frozen=True, slots=True)
class Claim:
    """What one block says of the file that it lies in.

    `sound` if it carries its own digest, has zeros behind its payload (B-7), and ends with the file where it was looked
    for at the end (V-2).
    """

    geometry: Geometry
    sound: bool


def claims_of(reader: VolumeReader, name: str) -> list[Claim]:
    """What a file says by its first and its last block: the sound ones of them, else whatever can be parsed."""
    with reader.peeking(name) as peek:
        front = _claims_at(peek, (0,))
        back = _claims_at(peek, tuple(-(limits.BLOCK_MIN << n) for n in range(9)))
    claims = [next((claim for claim in end if claim.sound), end[0]) for end in (front, back) if end]
    return [claim for claim in claims if claim.sound] or claims


def claims_within(reader: VolumeReader, name: str) -> list[Claim]:
    """What a file says by the first sound block behind a hole at its front, in its first 8 MiB."""
    starts = range(0, 8 * limits.BLOCK_MAX, limits.BLOCK_MIN)
    with reader.peeking(name) as peek:
        return [claim for claim in _claims_at(peek, starts, limits.CLAIMS_WITHIN_MAX) if claim.sound]


def holds_record(reader: VolumeReader, name: str) -> bool:
    """Whether a file says at the beginning of any of its copies that it is a record (chapter 10)."""
    with reader.peeking(name) as peek:
        heads = (peek(at, HEADER_SIZE) for at in range(0, RECORD_SIZE, COPY_SIZE))
        return any(head[:8] == MAGIC and head[KIND_AT:KIND_AT + 1] == bytes([Kind.RECORD]) for head in heads)


def _claims_at(peek: Peek, starts: Iterable[int], most: int = 16) -> list[Claim]:
    found = []
    for start in starts:
        raw = peek(start, HEADER_SIZE)
        if raw[:8] != MAGIC:
            continue
        try:
            header = parse_header(raw, DIGEST_SIZES)
        except FormatError:
            continue
        geometry = header.geometry
        # V-2: a block at the end ends there. Headers cost nothing to make, so what does not is not even read.
        block = b"" if start < 0 and geometry.block_size != -start else peek(start, geometry.block_size)
        right = len(block) == geometry.block_size and carries_digest(block, hash_by_suite(geometry.suite))
        found.append(Claim(geometry, right and not block[HEADER_SIZE + header.payload_length:].strip(b"\0")))  # B-7
        if found[-1].sound or len(found) >= most:
            break
    return found
