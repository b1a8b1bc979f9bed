"""Segments by themselves, where no statement and no catalog says what they should be (`salvage --unsigned`).

A data segment is readable alone with a key: geometry and salt stand in every block, the preamble with its envelopes at
both ends, the index at the end of the body. Nothing of it is signed. The commitment binds all that is opened to one
bundle key, and the seal says that whoever made it had that key: the packer, or any recipient. Where both its preambles
are lost, the key that another segment of the bundle gave is tried.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from airbundle.codec.engines import best_engine
from airbundle.codec.erasure import recover
from airbundle.crypto.envelope import BundleKey, Context, open_preamble, parse_preamble, preamble_context
from airbundle.crypto.seal import Opener
from airbundle.crypto.suites import suite_by_number
from airbundle.errors import AirbundleError, DamagedError, FormatError, NoKeyError, UsageError
from airbundle.format import limits
from airbundle.format.block import FIELDS_AT, INDEX_AT, KIND_AT, Kind, digest_fields_right, parse_header
from airbundle.format.geometry import HEADER_SIZE, Placement
from airbundle.media import system
from airbundle.transfer.claims import DIGEST_SIZES, claims_of, claims_within
from airbundle.transfer.image import Image, digest_rows, layout_of
from airbundle.transfer.seal import open_trailer
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airbundle.crypto.envelope import Keyring
    from airbundle.crypto.suites import Suite
    from airbundle.format.block import Blocks, Flags
    from airbundle.format.geometry import Geometry
    from airbundle.media.volume import VolumeReader

@dataclass(frozen=True, slots=True)
class LooseSegment:
    """A segment that a key opens: in `image`, which lies in `space` until the next one; `gone` are its lost blocks."""

    where: str
    geometry: Geometry
    image: Image
    gone: Flags
    space: Workspace
    unlocked: Unlocked


class Unlocked(NamedTuple):
    """What a preamble gave: the bundle key under its commitment (K-8), and what keys are bound to."""

    context: Context
    commitment: bytes
    key: BundleKey


def loose_segments(readers: Iterable[VolumeReader], bundle_id: str, keyring: Keyring,
                   problems: list[str]) -> Iterator[LooseSegment]:
    """Each file that holds blocks of a bundle whose id begins with `bundle_id`, if a preamble in it gives a key.

    Raises NoKeyError if no file does, UsageError for a passphrase.
    """
    if keyring.passphrase is not None:  # K-15
        raise UsageError("a passphrase is tried only where a trusted packer signed", rule="K-15",
                         hint="salvage with --trust, or give a key")
    space: Workspace | None = None
    refused = 0
    known: dict[bytes, Unlocked] = {}
    waiting: list[tuple[VolumeReader, str, Geometry]] = []
    for reader, name, geometry in _geometries(readers, bundle_id.lower()):
        try:
            space = _at_least(space, geometry)
            segment = _read(reader, name, geometry, space, keyring)
        except NoKeyError:
            refused += 1
        except _NoPreambleError:
            waiting.append((reader, name, geometry))
        except AirbundleError as error:
            problems.append(f"{name}: {error.what}")
        else:
            known[segment.unlocked.commitment] = segment.unlocked
            yield segment
    for reader, name, geometry in waiting:
        try:
            space = _at_least(space, geometry)
            keys = [one for one in known.values() if one.context.bundle_id == geometry.bundle]
            yield _read(reader, name, geometry, space, None, keys)
        except AirbundleError as error:
            problems.append(f"{name}: {error.what}")
    if refused and not known:
        raise NoKeyError("no key here opens any of the segments", hint="give another --key", rule="D-1")


class _NoPreambleError(DamagedError):
    """No block of a preamble is left."""


def _geometries(readers: Iterable[VolumeReader], prefix: str) -> Iterator[tuple[VolumeReader, str, Geometry]]:
    """What each file says by sound blocks that it is, if that is of a wanted bundle."""
    for reader in readers:
        for name in reader.listing().files:
            claims = [claim for claim in claims_of(reader, name) if claim.sound] or claims_within(reader, name)
            for geometry in dict.fromkeys(claim.geometry for claim in claims):
                if geometry.bundle.hex().startswith(prefix):
                    yield reader, name, geometry


def _at_least(space: Workspace | None, geometry: Geometry) -> Workspace:
    """A workspace that holds a segment of this geometry, with the largest preamble (B-3)."""
    needed = min(Placement(geometry, 1).stored_size + 2 * limits.PREAMBLE_MAX + 4 * geometry.block_size,
                 limits.SEGMENT_STORED_MAX)
    return space if space is not None and len(space.bytes) >= needed else Workspace(needed, best_engine())


def _read(reader: VolumeReader, name: str, geometry: Geometry, space: Workspace,
          keyring: Keyring | None, known: Sequence[Unlocked] = ()) -> LooseSegment:
    """Read one file as a segment of `geometry`, with the key that its preamble gives, or one that is known.

    Raises DamagedError, NoKeyError, ForgedError (K-8).
    """
    suite, size = suite_by_number(geometry.suite), geometry.block_size
    most = geometry.coded_blocks + 2 * geometry.list_blocks + 2 * -(-limits.PREAMBLE_MAX // geometry.payload_size)
    blocks = space.blocks(min(most, len(space.bytes) // size), size)
    with reader.opened(name) as descriptor:
        reading = system.read_blocks(descriptor, blocks.reshape(-1).data, size)
    unread = np.arange(len(blocks)) >= reading.length // size
    unread[list(reading.unreadable)] = True
    own = digest_rows(blocks, suite)
    sound = digest_fields_right(blocks, own) & ~unread
    place = Placement(geometry, _preamble_room(blocks, sound, reading.length // size, geometry))
    image, here = Image(place, blocks[:place.block_count]), slice(place.block_count)
    unlocked = None if keyring is None else _preamble(blocks, sound, place, keyring)
    gone = _lost(image, sound[here], own[here], suite, space)
    if unlocked is None:
        unlocked = _fitting(image, gone, known)
    return LooseSegment(f"{reader.path}/{name}", geometry, image, gone, space, unlocked)


def _fitting(image: Image, gone: Flags, known: Iterable[Unlocked]) -> Unlocked:
    """The key that opens the trailer of a segment whose preambles are lost. Raises DamagedError."""
    geometry = image.place.geometry
    for one in known if not gone[geometry.data_blocks - 1] else ():
        with suppress(DamagedError):
            open_trailer(image, Opener(one.context, one.key, geometry.number, geometry.salt))
            return one
    raise DamagedError("no preamble is left in it, and no key of another segment opens it", rule="K-7")


def _preamble_room(blocks: Blocks, sound: Flags, count: int, geometry: Geometry) -> int:
    """The bytes that the blocks of one preamble hold: most sound data and parity blocks lie so far behind its list.

    Where there is none, by the `count` of blocks of the file, and one block if that was cut.
    """
    spares = [np.full(1, (count - 2 * geometry.list_blocks - geometry.coded_blocks) // 2)]
    for kind, first in ((Kind.DATA, 0), (Kind.PARITY, geometry.data_blocks)):
        packed = np.frombuffer(geometry.packed(kind), np.uint8)
        places = np.flatnonzero(sound & (blocks[:, FIELDS_AT:INDEX_AT] == packed).all(axis=1))
        indices = np.ascontiguousarray(blocks[places, INDEX_AT:INDEX_AT + 4]).view("<u4")[:, 0]
        spares.append(places - indices.astype(np.int64) - first - geometry.list_blocks)
    found, votes = np.unique(np.concatenate(spares), return_counts=True)
    fits = (found >= 1) & (found <= -(-limits.PREAMBLE_MAX // geometry.payload_size))
    spare = int(found[fits][np.argmax(votes[fits])]) if fits.any() else 1
    return min(spare * geometry.payload_size, limits.PREAMBLE_MAX)


def _preamble(blocks: Blocks, sound: Flags, place: Placement, keyring: Keyring) -> Unlocked:
    """What the preamble says, from whichever copy has its blocks, and the bundle key under its commitment (K-8)."""
    offers: list[list[bytes]] = []
    for index in range(place.preamble_blocks):
        here = [at + index for at in place.preambles_at if sound[at + index] and blocks[at + index, KIND_AT]
                == Kind.PREAMBLE]
        offers.append(list(dict.fromkeys(_content(blocks[at]) for at in here)))
    failure: AirbundleError = _NoPreambleError("no preamble is left in it", rule="K-7")
    for choice in itertools.islice(itertools.product(*offers), limits.PREAMBLES_TRIED_MAX):
        try:
            preamble = parse_preamble(b"".join(choice))
            context = preamble_context(preamble)
            if (context.bundle_id, context.suite.number) != (place.geometry.bundle, place.geometry.suite):
                raise FormatError("its preamble is of another bundle", rule="K-2")
            return Unlocked(context, preamble.commitment, open_preamble(preamble, keyring))
        except AirbundleError as error:
            failure = error
    raise failure


def _content(block: Blocks) -> bytes:
    length = parse_header(block[:HEADER_SIZE].tobytes(), DIGEST_SIZES).payload_length
    return block[HEADER_SIZE:HEADER_SIZE + length].tobytes()


def _lost(image: Image, sound: Flags, own: Blocks, suite: Suite, space: Workspace) -> Flags:
    """Coded blocks that are not there: by their own digests, and by a list if all of one is left."""
    place, geometry = image.place, image.place.geometry
    coded = slice(place.data_at, place.data_at + geometry.coded_blocks)
    in_place = image.in_place & sound
    right, lists = in_place[coded].copy(), []
    for at in place.lists_at:
        if in_place[at:at + geometry.list_blocks].all():
            leaves = image.blocks[at:at + geometry.list_blocks, HEADER_SIZE:].tobytes()
            rows = np.frombuffer(leaves[:geometry.coded_blocks * suite.digest_size], np.uint8)
            lists.append((rows.reshape(geometry.coded_blocks, -1) == own[coded]).all(axis=1) & right)
    best = max(lists, key=np.count_nonzero, default=right)
    if 2 * np.count_nonzero(best) >= np.count_nonzero(right):  # anyone can write a list; one that fits little is not it
        right = best
    lost = ~right
    return recover(space.engine, layout_of(geometry), image.payloads, lost) if lost.any() else lost
