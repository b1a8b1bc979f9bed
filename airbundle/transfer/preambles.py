"""Find the preamble where neither catalog has it any more: it is the same in every segment (spec 7.2, K-7)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from airbundle.format import limits
from airbundle.format.block import DIGEST_AT, HASHED_AT, Kind
from airbundle.format.geometry import HEADER_SIZE
from airbundle.transfer.offers import first_fitting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.check import Expected


def search_preamble(segments: Iterable[tuple[Expected, VolumeReader, str]]) -> bytes | None:
    """The preamble with the signed hash, of one file or of blocks from any; `segments` are files with what is signed.

    Each file is tried by itself first: so nobody hides the preamble of one behind what he put into others.
    """
    offers: dict[int, list[list[bytes]]] = {}  # by block size
    for expected, reader, name in segments:
        place, size = expected.place, expected.geometry.block_size
        alone: list[list[bytes]] = [[] for _ in range(place.preamble_blocks)]
        for at, index in itertools.product(place.preambles_at, range(len(alone))):
            payload = _payload(expected, reader.peek(name, (at + index) * size, size), index)
            if payload is not None and payload not in alone[index]:
                alone[index].append(payload)
        together = offers.setdefault(size, [[] for _ in alone])
        for known, more in zip(together, alone, strict=True):
            known.extend([one for one in more if one not in known][:limits.PREAMBLE_OFFERS_MAX - len(known)])
        for found in (alone, together):
            preamble = first_fitting(found, expected.preamble_length, expected.is_preamble)
            if preamble is not None:
                return preamble
    return None


def _payload(expected: Expected, block: bytes, index: int) -> bytes | None:
    """The payload of a sound preamble block of this place."""
    geometry = expected.geometry
    header = geometry.packed(Kind.PREAMBLE) + index.to_bytes(4, "little")
    digest = expected.suite.hash(block[HASHED_AT:]).ljust(HASHED_AT - DIGEST_AT, b"\0")
    if len(block) != geometry.block_size or block[DIGEST_AT:HASHED_AT] != digest:
        return None
    return block[HEADER_SIZE:] if block[HASHED_AT:].startswith(header) else None
