"""Find the preamble where neither catalog has it any more: it is the same in every segment (spec 7.2, K-7)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from airbundle.format.block import FIELDS_AT, carries_digest, headers_of
from airbundle.format.geometry import HEADER_SIZE
from airbundle.transfer.offers import first_fitting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.check import Expected


def search_preamble(segments: Iterable[tuple[Expected, VolumeReader, str]]) -> bytes | None:
    """The preamble with the signed hash, of one file or of blocks from any; `segments` are files with what is signed.

    Each file is tried by itself first: so nobody hides the preamble of one behind what he put into others. Then those
    with blocks of one size as one file: at each place, counted from its end of the file, the first block that is right.
    """
    together: dict[int, tuple[Expected, dict[tuple[int, int], bytes]]] = {}
    for expected, reader, name in segments:
        place, size = expected.place, expected.geometry.block_size
        alone: dict[tuple[int, int], bytes] = {}
        with reader.peeking(name) as peek:
            for copy, index in itertools.product(range(2), range(place.preamble_blocks)):
                payload = _payload(expected, peek((place.preambles_at[copy] + index) * size, size), index)
                if payload is not None:
                    alone[copy, index] = payload
        first = together.setdefault(size, (expected, {}))[1]
        together[size] = expected, alone | first
        if (preamble := _fitting(expected, alone)) is not None:
            return preamble
    found = (_fitting(expected, blocks) for expected, blocks in together.values())
    return next((preamble for preamble in found if preamble is not None), None)


def _fitting(expected: Expected, blocks: dict[tuple[int, int], bytes]) -> bytes | None:
    """The first combination of what the two copies say that has the signed hash (S-7)."""
    offers = [list(dict.fromkeys(blocks[copy, index] for copy in range(2) if (copy, index) in blocks))
              for index in range(expected.place.preamble_blocks)]
    return first_fitting(offers, expected.preamble_length, expected.is_preamble)


def _payload(expected: Expected, block: bytes, index: int) -> bytes | None:
    """The payload of a sound preamble block of this place (B-4, B-5, B-7)."""
    place = expected.place
    header = headers_of(place)[place.preambles_at[0] + index].tobytes()
    end = HEADER_SIZE + int.from_bytes(header[-4:], "little")
    if len(block) != place.geometry.block_size or block[FIELDS_AT:HEADER_SIZE] != header or block[end:].strip(b"\0"):
        return None
    return block[HEADER_SIZE:] if carries_digest(block, expected.suite.hash) else None
