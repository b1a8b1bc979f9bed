"""Lay segments of a finished bundle down on a medium, whole and read back: what copy and `repair -o` share.

A segment is taken from its file, repaired in memory, or brought back from its group; nothing else is ever written.
Statement and catalog get their places first and are filled last, so a copy that was stopped is no volume yet, and the
same command goes on: what is on the target already and whole is not written again.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.errors import IncompleteError
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as volumes
from airbundle.media.faults import reporting
from airbundle.media.writing import VolumeWriter
from airbundle.transfer.check import check_segment
from airbundle.transfer.claims import claims_of
from airbundle.transfer.ends import prepare_ends, write_ends
from airbundle.transfer.readback import require_image
from airbundle.transfer.readme import volume_readme
from airbundle.transfer.replace import rebuilt_catalog, replace_ends
from airbundle.transfer.restore import Restorer, beyond_repair
from airbundle.transfer.schedule import run_all
from airbundle.transfer.signers import documents_of
from airbundle.transfer.statements import read_statements
from airbundle.transfer.verdict import elsewhere
from airbundle.transfer.verify import read_segment
from airbundle.transfer.workspace import Pace, Workspace, Workspaces

if TYPE_CHECKING:
    from airbundle.errors import DamagedError
    from airbundle.format.catalog import Row
    from airbundle.transfer.image import Image
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
    """A volume to be: the folder of its target, its name and number, and the segments that it is to hold.

    `found` is the folder there in which it goes on, of whatever name, if it was begun; or it is `finished`.
    """

    target: str
    name: str
    number: int
    rows: tuple[Row, ...]
    found: str = ""
    finished: bool = False


def lay_down(bundle: Bundle, place: Place, *, pace: Pace, meter: Meter) -> Laid:
    """Write one volume. Raises UsageError (V-5), MediumError, DamagedError or IncompleteError (G-9)."""
    path = _folder_of(bundle, place)
    size = bundle.largest_segment()
    workers = pace.workers(2 * size)
    spaces = Workspaces(workers, size, best_engine(), stages=meter.stages)
    kept = restored = 0
    with VolumeWriter(path, bundle_id=bundle.id, tell=meter.warn, stages=meter.stages) as volume:
        if not place.finished:
            _prepare(bundle, place, volume)
            volume.expect(sum(bundle.expected(row).place.stored_size for row in place.rows))

        def work(row: Row) -> str:
            meter.alive()
            with spaces.borrow() as space:
                how = "kept" if _is_whole(bundle, row, volume, space) else _put(bundle, row, volume, space)
            meter.add(bundle.expected(row).place.stored_size)
            return how

        for how in run_all(place.rows, work, workers=workers, meter=meter):
            kept += how == "kept"
            restored += how == "restored"
        _finish(bundle, place, volume, Workspace(size))
        stored = sum(volume.sizes().values())
    return Laid(path, place.number, len(place.rows), kept, restored, stored)


def _folder_of(bundle: Bundle, place: Place) -> str:
    """The folder of the volume, after what was begun under another name got its own. Raises UsageError (V-5)."""
    path = os.path.join(place.target, place.name)
    if place.found and os.path.basename(place.found) != place.name:
        with VolumeWriter(place.found, bundle_id=bundle.id), reporting(place.found):  # V-5: only what is ours
            os.rename(place.found, path)
    return path


def _prepare(bundle: Bundle, place: Place, volume: VolumeWriter) -> None:
    """Make places for the ends, and remove segments of this bundle that were to be here when it was begun."""
    _, count = volumes.relaid_number(place.name)
    prepare_ends(volume, volume_readme(bundle.id, place.number, count or len(bundle.statement.volumes)),
                 bundle.expected(bundle.statement.catalog).place.stored_size)
    wanted = {row.number for row in place.rows}
    with volumes.VolumeReader(volume.path) as reader:
        for name in reader.listing().files:  # damaged ones too: what has a segment's name has to be it (D-4)
            number = volumes.segment_number(name)
            if number is not None and number not in wanted and any(
                    claim.geometry.bundle == bundle.id for claim in claims_of(reader, name)):
                volume.remove(name)


def _is_whole(bundle: Bundle, row: Row, volume: VolumeWriter, space: Workspace) -> bool:
    try:
        with volume.opened(volumes.segment_name(row.number)) as descriptor:
            return check_segment(space, descriptor, bundle.expected(row))[0].clean
    except FileNotFoundError:
        return False


def _put(bundle: Bundle, row: Row, volume: VolumeWriter, space: Workspace) -> str:
    found = read_segment(bundle, row, space, cache=volumes.Cache.PASSED)
    restored = not found or bool(found[-1][2].lost)
    if restored and (bundle.segments_preamble is None or not Restorer(bundle, bundle.groups[row.group]).restore(
            row, space, Workspace(bundle.largest_segment(), space.engine))):
        raise _cannot_have(bundle, row)
    assert space.image is not None
    put_image(volume, volumes.segment_name(row.number), space.image, space)
    return "restored" if restored else "copied"


def _cannot_have(bundle: Bundle, row: Row) -> DamagedError | IncompleteError:
    """What to say of a segment that neither its file nor its group gives."""
    if absent := elsewhere(bundle):
        where = f"volume {row.volume} of {len(bundle.statement.volumes)}, {volumes.segment_name(row.number)}"
        return IncompleteError("cannot be had from the volumes that are here", where=where,
                               hint=f"give these too: {'; '.join(absent)}", rule="D-3")
    return beyond_repair(bundle, row)


def put_image(volume: VolumeWriter, name: str, image: Image, space: Workspace) -> None:
    """Write a segment under its name: durable, and read back before it gets that."""
    temporary = volume.write(name, [image.blocks.reshape(-1).data], suffix=secrets.token_hex(8))
    require_image(volume, space, temporary, image)
    volume.settle(temporary, name)


def _finish(bundle: Bundle, place: Place, volume: VolumeWriter, space: Workspace) -> None:
    """Both ends of the volume; of one that is finished only what is not as it should be is replaced (T-9)."""
    catalog = rebuilt_catalog(bundle, space).blocks.tobytes()
    if place.finished:
        replace_ends(volume, catalog, _document_there(bundle, volume.path), bundle.suite)
        volume.discard_leftovers()
    else:
        held = [(volumes.segment_name(row.number), bundle.expected(row).place.stored_size) for row in place.rows]
        write_ends([(volume, held)], catalog=catalog, document=_document(bundle), suite=bundle.suite)


def _document(bundle: Bundle) -> bytes:
    """The statement with every valid signature of a trusted key; what nobody here can judge goes to no new volume."""
    assert bundle.judgement is not None
    trusted = {identity.key_id for identity in bundle.judgement.valid}
    envelope = parse_envelope(next(iter(bundle.documents.values())), STATEMENT_TYPE)
    kept = tuple(signature for signature in envelope.signatures if signature.key_id in trusted)
    return write_envelope(Envelope(STATEMENT_TYPE, envelope.payload, kept))


def _document_there(bundle: Bundle, path: str) -> bytes:
    """The statement that a finished volume should have: its own, with the signatures that it lacks (T-8)."""
    assert bundle.judgement is not None
    trust = TrustSet([NamedIdentity(identity.hex, identity) for identity in bundle.judgement.valid])
    with volumes.VolumeReader(path) as reader:
        copies = (*bundle.copies, *read_statements(reader))
        return documents_of([reader], copies, bundle.statement_raw, trust, bundle.suite,
                            bytes.fromhex(bundle.statement.packer))[reader.path]
