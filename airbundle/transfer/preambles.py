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
    """The preamble with the signed hash, its blocks taken from any copies; `segments` are files with what is signed."""
    offers: dict[int, dict[int, list[bytes]]] = {}  # by block size, by index
    for expected, reader, name in segments:
        place, size = expected.place, expected.geometry.block_size
        found = offers.setdefault(size, {index: [] for index in range(place.preamble_blocks)})
        for at, index in itertools.product(place.preambles_at, found):
            payload = _payload(expected, reader.peek(name, (at + index) * size, size), index)
            if payload is not None and len(found[index]) < limits.PREAMBLE_OFFERS_MAX and payload not in found[index]:
                found[index].append(payload)
        preamble = first_fitting(found.values(), expected.preamble_length, expected.is_preamble)
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
