"""Inspect: what a bundle says of itself, without keys; names and sizes with one. In bulk only headers are read."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from airbundle.crypto.envelope import NOTHING, Keyring, parse_preamble
from airbundle.crypto.identities import fingerprint_hex
from airbundle.errors import FormatError
from airbundle.format.catalog import DATA
from airbundle.format.names import shown
from airbundle.transfer.open import open_bundle, open_manifest
from airbundle.transfer.verdict import belief_of

if TYPE_CHECKING:
    from airbundle.crypto.trust import TrustSet
    from airbundle.media.volume import VolumeReader


class FileLine(msgspec.Struct, frozen=True):
    """One file of an opened manifest."""

    path: str
    size: int
    sha256: str


class Inspection(msgspec.Struct, frozen=True):
    """What a bundle says of itself. Unless `belief` is `trusted` none of it is verified. Sizes in bytes."""

    bundle: str
    belief: str
    label: str
    marking: str
    suite: str
    packer: str
    recipients: tuple[str, ...]
    under_passphrase: bool
    created: int
    expires: int | None
    series: str | None
    sequence: int | None
    revision: int
    volumes: tuple[str, ...]
    volumes_of: int
    segments: int
    sealed_bytes: int
    stored_bytes: int
    writer: str
    statement_hash: str
    opened: bool
    source_bytes: int
    meta: tuple[tuple[str, str], ...]
    files: tuple[FileLine, ...]
    folders: tuple[str, ...]


def inspect(readers: tuple[VolumeReader, ...], *, trust: TrustSet | None = None,
            keyring: Keyring = NOTHING) -> Inspection:
    """Read statement, catalog and preamble; with a `keyring` also the manifest. Raises as `open_bundle` does."""
    bundle = open_bundle(readers, trust)
    statement = bundle.statement
    opened = open_manifest(bundle, keyring) if keyring else None
    recipients: tuple[bytes, ...] = ()
    under_passphrase = False
    if bundle.preamble_raw is not None:
        with suppress(FormatError):
            preamble = parse_preamble(bundle.preamble_raw)
            recipients, under_passphrase = preamble.recipients, preamble.under_passphrase
    data = [row for row in bundle.rows if row.role == DATA]
    manifest = opened.manifest if opened else None
    return Inspection(
        bundle=statement.bundle, belief=belief_of(bundle).value, label=shown(statement.label),
        marking=shown(statement.marking), suite=statement.suite,
        packer=fingerprint_hex(bytes.fromhex(statement.packer)),
        recipients=tuple(fingerprint_hex(recipient) for recipient in recipients),
        under_passphrase=under_passphrase, created=statement.created,
        expires=statement.expires, series=statement.series, sequence=statement.sequence,
        revision=statement.revision, volumes=tuple(reader.path for reader in readers),
        volumes_of=len(statement.volumes), segments=len(data), sealed_bytes=sum(row.body for row in data),
        stored_bytes=sum(bundle.expected(row).place.stored_size for row in (*bundle.rows, statement.catalog)),
        writer=statement.writer, statement_hash=bundle.statement_hash, opened=manifest is not None,
        source_bytes=manifest.size if manifest else 0, meta=manifest.meta if manifest else (),
        files=tuple(FileLine(file.path, file.size, file.sha256) for file in manifest.files) if manifest else (),
        folders=manifest.folders if manifest else ())

