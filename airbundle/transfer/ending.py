"""The end of a pack: catalog and statement, made once, journaled, and only then put on the medium (spec chapters 8, 9).

There is no bundle before the statement is there, and there is never a second statement for the same bundle.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record
from airbundle.crypto.envelope import parse_preamble
from airbundle.crypto.signing import pae, sign
from airbundle.crypto.suites import hash_by_suite
from airbundle.errors import MediumError
from airbundle.format import limits
from airbundle.format.catalog import CATALOG, Row, row_of, write_body, write_table
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.manifest import FileRow, Manifest, SliceRow, write_manifest
from airbundle.format.statement import STATEMENT_TYPE, PreambleRef, Statement, VolumeRow, write_statement
from airbundle.media import system
from airbundle.media import volume as volumes
from airbundle.media.state import save_document, state_folder
from airbundle.transfer.journal import Ending
from airbundle.transfer.seal import SealPlan, finish_catalog, seal_manifest
from airbundle.transfer.workspace import Workspace
from airbundle.version import WRITER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.media.writing import VolumeWriter
    from airbundle.transfer.slices import Stream


@dataclass(frozen=True, slots=True)
class Declared:
    """What the packer says in public, and the sealed `meta`. Times in seconds since 1970."""

    label: str = "ab"
    marking: str = ""
    meta: tuple[tuple[str, str], ...] = ()
    series: str | None = None
    sequence: int | None = None
    expires: int | None = None
    record_serials: bool = False


def make_ending(plan: SealPlan, stream: Stream, rows: Sequence[Row], digests: Sequence[str], *, declared: Declared,
                identity: PrivateIdentity, created: int, medium: VolumeRow,
                entropy: Callable[[int], bytes]) -> Ending:
    """Catalog and statement of the finished segments `rows`; `digests` are the SHA-256 of the files in hexadecimal."""
    context, suite, found = plan.context, plan.context.suite, stream.source
    preamble = PreambleRef(len(plan.preamble), suite.hash(plan.preamble).hex())
    manifest = Manifest(
        bundle=context.bundle_id.hex(), packer=context.packer_id.hex(),
        recipients=tuple(recipient.hex() for recipient in parse_preamble(plan.preamble).recipients),
        series=declared.series, sequence=declared.sequence, meta=declared.meta,
        segments=tuple(SliceRow(part.number, part.start, part.length) for part in stream.slices),
        files=tuple(FileRow(str(file.path), file.size, digest)
                    for file, digest in zip(found.files, digests, strict=True)),
        folders=tuple(map(str, found.folders)))
    sealed_manifest, salt = seal_manifest(plan, len(rows), write_manifest(manifest), entropy=entropy)
    body = write_body(write_table(tuple(rows)), sealed_manifest)
    space = Workspace(3 * len(body) + 4 * limits.MIB, best_engine())
    catalog = finish_catalog(plan, len(rows), salt, body, space)
    statement = Statement(
        airbundle=1, bundle=context.bundle_id.hex(), suite=suite.name, packer=context.packer_id.hex(), revision=0,
        created=created, expires=declared.expires, series=declared.series, sequence=declared.sequence,
        label=declared.label, marking=declared.marking,
        preamble=preamble, envelopes=preamble,
        catalog=row_of(catalog.geometry, role=CATALOG, volume=0, root=catalog.root),
        volumes=(medium,), lose=0, base=None, writer=WRITER)
    payload = write_statement(statement)
    envelope = write_envelope(Envelope(STATEMENT_TYPE, payload, (sign(identity, STATEMENT_TYPE, payload),)))
    return Ending.of(catalog.image.blocks.tobytes(), envelope)


def _require_same(volume: VolumeWriter, name: str, content: bytes) -> None:
    """Read a small file back past the cache."""
    with volume.opened(name) as descriptor:
        found = bytearray(len(content) + 1)
        count = system.read_into(descriptor, memoryview(found), 0)
    if bytes(found[:count]) != content:
        raise MediumError("gives back other bytes than were written", where=os.path.join(volume.path, name),
                          hint="do not use this drive; pack onto another one")


def write_ending(volume: VolumeWriter, plan: SealPlan, ending: Ending, held: Mapping[str, int], *,
                 read_back: bool) -> str:
    """Catalogs, record, statement, each durable before the next (V-3, V-4). Returns the hash of the statement's PAE.

    `held` are the segments' files and their sizes, which have to be there still.
    """
    catalog, statement = ending.catalog_bytes, ending.statement_bytes
    suite = plan.context.suite
    volume.fill(volumes.CATALOG_NAME, catalog)
    volume.fill(volumes.CATALOG_COPY_NAME, catalog)
    volume.fill(volumes.RECORD_NAME,
                encode_record(statement, suite_number=suite.number, hash_by_suite=hash_by_suite, engine=best_engine()))
    if read_back:
        _require_same(volume, volumes.CATALOG_NAME, catalog)
        _require_same(volume, volumes.CATALOG_COPY_NAME, catalog)
    volume.discard_leftovers()
    folder = state_folder("sent", plan.context.bundle_id.hex())
    save_document(os.path.join(folder, volumes.STATEMENT_NAME), statement)
    save_document(os.path.join(folder, volumes.CATALOG_NAME), catalog)
    volume.require({**held, volumes.CATALOG_NAME: len(catalog), volumes.CATALOG_COPY_NAME: len(catalog)})
    volume.fill(volumes.STATEMENT_NAME, statement)
    volume.sync()
    return suite.hash(pae(STATEMENT_TYPE, parse_envelope(statement, STATEMENT_TYPE).payload)).hex()
