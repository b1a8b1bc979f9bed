"""The end of a pack: catalog and statement, made once, journaled, and only then put on the medium (spec chapters 8, 9).

There is no bundle before the statement is there, and there is never a second statement for the same bundle.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.crypto.envelope import parse_preamble
from airbundle.crypto.signing import pae, sign
from airbundle.errors import MediumError
from airbundle.format import limits
from airbundle.format.catalog import CATALOG, Row, row_of, write_body, write_table
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.manifest import FileRow, Manifest, SliceRow, write_manifest
from airbundle.format.statement import (
    STATEMENT_TYPE,
    PreambleRef,
    Statement,
    VolumeRow,
    parse_statement,
    shortened,
    write_statement,
)
from airbundle.media import volume as volumes
from airbundle.media.state import save_document, state_folder
from airbundle.transfer.ends import write_ends
from airbundle.transfer.journal import Ending
from airbundle.transfer.seal import Sealed, SealPlan, finish_catalog, seal_manifest
from airbundle.transfer.workspace import Workspace
from airbundle.version import WRITER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.transfer.drives import Drives
    from airbundle.transfer.ends import Held
    from airbundle.transfer.slices import Stream


@dataclass(frozen=True, slots=True)
class Declared:
    """What the packer says in public, and the sealed `meta`.

    `expires` is in seconds since 1970; or else `expires_after` in seconds after the pack was begun.
    """

    label: str = "ab"
    marking: str = ""
    meta: tuple[tuple[str, str], ...] = ()
    series: str | None = None
    sequence: int | None = None
    expires: int | None = None
    expires_after: int | None = None
    record_serials: bool = False


def make_ending(plan: SealPlan, stream: Stream, rows: Sequence[Row], digests: Iterable[str], *, declared: Declared,
                lose: int, identity: PrivateIdentity, created: int, media: tuple[VolumeRow, ...],
                entropy: Callable[[int], bytes]) -> Ending:
    """Catalog and statement of the finished segments `rows`; `digests` are the SHA-256 of the files in hexadecimal."""
    context, suite = plan.context, plan.context.suite
    expires = declared.expires if declared.expires_after is None else created + declared.expires_after
    preamble = PreambleRef(len(plan.preamble), suite.hash(plan.preamble).hex())
    salt, body = _make_body(plan, stream, rows, digests, declared, entropy)
    catalog = _catalog(plan, len(rows), salt, body)
    if _catalog(plan, len(rows), salt, body).root != catalog.root:  # a wrong one would be signed, and kept for ever
        raise _forgetful()
    statement = Statement(
        airbundle=1, bundle=context.bundle_id.hex(), suite=suite.name, packer=context.packer_id.hex(), revision=0,
        created=created, expires=expires, series=declared.series, sequence=declared.sequence,
        label=declared.label, marking=declared.marking,
        preamble=preamble, envelopes=preamble,
        catalog=row_of(catalog.geometry, role=CATALOG, volume=0, root=catalog.root),
        volumes=shortened(media), lose=lose, base=None, writer=WRITER)
    payload = write_statement(statement)
    envelope = write_envelope(Envelope(STATEMENT_TYPE, payload, (sign(identity, STATEMENT_TYPE, payload),)))
    return Ending(len(rows), salt, body, envelope)


def _make_body(plan: SealPlan, stream: Stream, rows: Sequence[Row], digests: Iterable[str], declared: Declared,
               entropy: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """Salt and body of the catalog. What they are made from is gone afterwards."""
    found = stream.source
    files = (FileRow(str(path), found.files.size(number), digest)
             for (number, path), digest in zip(enumerate(found.files.paths), digests, strict=True))
    sealed, salt = seal_manifest(plan, len(rows), write_manifest(_manifest(plan, stream, declared), files),
                                 entropy=entropy)
    return salt, write_body(write_table(tuple(rows)), sealed)


def _catalog(plan: SealPlan, number: int, salt: bytes, body: bytes) -> Sealed:
    return finish_catalog(plan, number, salt, body, Workspace(3 * len(body) + 4 * limits.MIB, best_engine()))


def _forgetful() -> MediumError:
    return MediumError("the same catalog came out in two ways: this machine does not compute what it should",
                       rule="G-2", hint="run the same command again; if this comes back, test the machine's memory")


def _manifest(plan: SealPlan, stream: Stream, declared: Declared) -> Manifest:
    """The manifest without its files."""
    context, found = plan.context, stream.source
    return Manifest(
        bundle=context.bundle_id.hex(), packer=context.packer_id.hex(),
        recipients=tuple(recipient.hex() for recipient in parse_preamble(plan.preamble).recipients),
        series=declared.series, sequence=declared.sequence, meta=declared.meta,
        segments=tuple(SliceRow(part.number, part.start, part.length) for part in stream.slices),
        files=(),
        folders=tuple(map(str, found.folders)))


def write_ending(drives: Drives, plan: SealPlan, ending: Ending, held: Callable[[int], Held], *,
                 reads_back: bool) -> str:
    """Catalogs, then statements, on all drives. Returns the hash of the statement's PAE.

    `held` gives the segments' files and their sizes on each volume, which have to be there still.
    """
    suite, statement = plan.context.suite, ending.statement
    payload = parse_envelope(statement, STATEMENT_TYPE).payload
    sealed = _catalog(plan, ending.number, ending.salt, ending.body)
    if sealed.root.hex() != parse_statement(payload).catalog.root:
        raise _forgetful()
    catalog = sealed.image.blocks.reshape(-1).data
    folder = state_folder("sent", plan.context.bundle_id.hex())
    save_document(os.path.join(folder, volumes.STATEMENT_NAME), statement)
    save_document(os.path.join(folder, volumes.CATALOG_NAME), catalog)
    write_ends([(volume, held(number)) for number, volume in enumerate(drives, 1)], catalog=catalog,
               document=statement, suite=suite, reads_back=reads_back)
    return suite.hash(pae(STATEMENT_TYPE, payload)).hex()
