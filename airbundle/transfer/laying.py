"""Lay segments of a finished bundle down on a medium, whole and read back: what copy and `repair -o` share.

A segment is taken from its file, repaired in memory, or brought back from its group; nothing else is ever written.
Statement and catalog get their places first and are filled last, so a copy that was stopped is no volume yet, and the
same command goes on: what is on the target already and whole is not written again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record
from airbundle.crypto.suites import hash_by_suite
from airbundle.errors import DamagedError, IncompleteError, MediumError
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.limits import KIB
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import system
from airbundle.media import volume as volumes
from airbundle.media.writing import VolumeWriter
from airbundle.transfer.check import check_segment
from airbundle.transfer.image import Image
from airbundle.transfer.readme import volume_readme
from airbundle.transfer.replace import rebuilt_catalog
from airbundle.transfer.restore import Restorer
from airbundle.transfer.schedule import run_all
from airbundle.transfer.verdict import elsewhere
from airbundle.transfer.verify import read_segment
from airbundle.transfer.workspace import Pace, Workspace, Workspaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.format.catalog import Row
    from airbundle.transfer.open import Bundle
    from airbundle.transfer.progress import Meter


@dataclass(frozen=True, slots=True)
class Laid:
    """One volume that was laid down: where, how many segments and bytes, and how many of them were there already."""

    path: str
    number: int
    segments: int
    kept: int
    restored: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Place:
    """A volume to be: the folder of its target, its name and number, and the segments that it is to hold."""

    target: str
    name: str
    number: int
    rows: tuple[Row, ...]


def lay_down(bundle: Bundle, place: Place, *, pace: Pace, meter: Meter) -> Laid:
    """Write one volume. Raises UsageError (V-5), MediumError, DamagedError or IncompleteError (G-9)."""
    path = f"{place.target.rstrip('/')}/{place.name}"
    size = bundle.largest_segment()
    workers = pace.workers(2 * size)
    spaces = Workspaces(workers, size, best_engine())
    kept = restored = 0
    with VolumeWriter(path, bundle_id=bundle.id) as volume:
        prepare_volume(bundle, place.number, volume)

        def work(row: Row) -> str:
            meter.alive()
            with spaces.borrow() as space:
                how = "kept" if _is_whole(bundle, row, volume, space) else _put(bundle, row, volume, space)
            meter.add(bundle.expected(row).place.stored_size)
            return how

        for how in run_all(place.rows, work, workers=workers, meter=meter):
            kept += how == "kept"
            restored += how == "restored"
        volume.discard_leftovers()
        finish_volume(bundle, volume, Workspace(size), _document(bundle))
        stored = sum(volume.sizes().values())
    return Laid(path, place.number, len(place.rows), kept, restored, stored)


def prepare_volume(bundle: Bundle, number: int, volume: VolumeWriter) -> None:
    """V-3: the front copies get their places before the first segment."""
    there = volume.sizes()
    if volumes.STATEMENT_NAME not in there:
        volume.fill(volumes.README_NAME, volume_readme(bundle.id, number, len(bundle.statement.volumes)))
        volume.preallocate(volumes.STATEMENT_NAME, 16 * KIB)
    if volumes.CATALOG_NAME not in there:
        volume.preallocate(volumes.CATALOG_NAME, bundle.expected(bundle.statement.catalog).place.stored_size)


def _is_whole(bundle: Bundle, row: Row, volume: VolumeWriter, space: Workspace) -> bool:
    try:
        with volume.opened(volumes.segment_name(row.number)) as descriptor:
            return check_segment(space, descriptor, bundle.expected(row))[0].clean
    except FileNotFoundError:
        return False


def _put(bundle: Bundle, row: Row, volume: VolumeWriter, space: Workspace) -> str:
    found = read_segment(bundle, row, space, from_medium=True)
    restored = not found or bool(found[-1][2].lost)
    if restored and not Restorer(bundle, bundle.groups[row.group]).restore(row, space, Workspace(
            bundle.largest_segment(), space.engine)):
        raise cannot_have(bundle, row)
    assert space.image is not None
    put_image(volume, volumes.segment_name(row.number), space.image, space)
    return "restored" if restored else "copied"


def cannot_have(bundle: Bundle, row: Row) -> DamagedError | IncompleteError:
    """What to say of a segment that neither its file nor its group gives."""
    where = f"volume {row.volume} of {len(bundle.statement.volumes)}, {volumes.segment_name(row.number)}"
    if absent := elsewhere(bundle):
        return IncompleteError("cannot be had from the volumes that are here", where=where,
                               hint=f"give these too: {'; '.join(absent)}")
    return DamagedError("more is lost than its parity and its group can give back", where=where, rule="G-9",
                        hint="fetch another copy of the bundle")


def put_image(volume: VolumeWriter, name: str, image: Image, space: Workspace) -> None:
    """Write a segment under its name: durable, and read back before it gets that."""
    temporary = volume.write(name, [image.blocks.reshape(-1).data], suffix=secrets.token_hex(8))
    read_back(volume, space, temporary, image)
    volume.settle(temporary, name)


def read_back(volume: VolumeWriter, space: Workspace, name: str, image: Image) -> None:
    """Compare the file, read past the page cache, with the buffer it was written from. Raises MediumError."""
    blocks = image.blocks.reshape(-1)
    with volume.opened(name) as descriptor:
        for at in range(0, len(blocks), len(space.window)):
            part = space.window[:len(blocks) - at]
            count = system.read_into(descriptor, part.data, at)
            if count != len(part) or not np.array_equal(part, blocks[at:at + len(part)]):
                raise MediumError(f"gives back other bytes than were written, near byte {at:,} of {name}",
                                  where=volume.path, hint="do not use this drive; take another one")


def finish_volume(bundle: Bundle, volume: VolumeWriter, space: Workspace, document: bytes) -> None:
    """Catalogs, record, statement, each durable before the next (V-3, V-4)."""
    catalog = rebuilt_catalog(bundle, space).blocks.tobytes()
    volume.fill(volumes.CATALOG_NAME, catalog)
    volume.fill(volumes.CATALOG_COPY_NAME, catalog)
    volume.fill(volumes.RECORD_NAME, encode_record(document, suite_number=bundle.suite.number,
                                                   hash_by_suite=hash_by_suite, engine=best_engine()))
    require_same(volume, volumes.CATALOG_NAME, catalog)
    require_same(volume, volumes.CATALOG_COPY_NAME, catalog)
    volume.fill(volumes.STATEMENT_NAME, document)
    require_same(volume, volumes.STATEMENT_NAME, document)
    volume.sync()


def _document(bundle: Bundle) -> bytes:
    """The statement with every valid signature of a trusted key; what nobody here can judge goes to no new volume."""
    assert bundle.judgement is not None
    trusted = {identity.key_id for identity in bundle.judgement.valid}
    envelope = parse_envelope(next(iter(bundle.documents.values())), STATEMENT_TYPE)
    kept = tuple(signature for signature in envelope.signatures if signature.key_id in trusted)
    return write_envelope(Envelope(STATEMENT_TYPE, envelope.payload, kept))


def require_same(volume: VolumeWriter, name: str, content: bytes) -> None:
    """Read a small file back past the cache. Raises MediumError."""
    with volume.opened(name) as descriptor:
        found = bytearray(len(content) + 1)
        count = system.read_into(descriptor, memoryview(found), 0)
    if bytes(found[:count]) != content:
        raise MediumError("gives back other bytes than were written", where=f"{volume.path}/{name}",
                          hint="do not use this drive; take another one")


def volume_rows(bundle: Bundle, numbers: Sequence[int]) -> dict[int, tuple[Row, ...]]:
    """The rows of each of the volumes."""
    return {number: tuple(row for row in bundle.rows if row.volume == number) for number in numbers}
