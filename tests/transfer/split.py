"""A bundle on two volumes: what was packed onto one, with a catalog and a statement that say so."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.codec.engines import best_engine
from airbundle.codec.record import recover_record
from airbundle.crypto.envelope import Keyring
from airbundle.crypto.signing import check
from airbundle.crypto.suites import hash_by_suite
from airbundle.errors import AirbundleError, ForgedError, NoKeyError
from airbundle.format import limits
from airbundle.format.catalog import CATALOG, row_of, write_body, write_table
from airbundle.format.dsse import Envelope, parse_envelope
from airbundle.format.manifest import write_manifest
from airbundle.format.statement import STATEMENT_TYPE, VolumeRow, parse_statement, write_statement
from airbundle.media import volume as names
from airbundle.media.volume import VolumeReader
from airbundle.transfer.open import Bundle, open_bundle, open_manifest
from airbundle.transfer.seal import SealPlan, finish_catalog, seal_manifest
from airbundle.transfer.workspace import Workspace
from tests.transfer.forge import write_statement as sign_statement
from tests.transfer.workshop import PACE, Keys, Packed, digests

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.trust import TrustSet


FIXED = (names.CATALOG_COPY_NAME, names.RECORD_NAME, names.CATALOG_NAME, names.STATEMENT_NAME)


@dataclass(frozen=True)
class Split:
    """Two volumes of one bundle, on two folders that stand for drives."""

    keys: Keys
    source: Path
    volumes: tuple[Path, ...]

    @property
    def paths(self) -> list[str]:
        return [str(volume) for volume in self.volumes]

    def copy_to(self, place: Path) -> Split:
        return Split(self.keys, self.source, tuple(
            shutil.copytree(volume, place / volume.parent.name / volume.name) for volume in self.volumes))

    def verify(self, trust: TrustSet | None = None, **more: Any) -> Any:
        return api.verify(self.paths, trust=trust or self.keys.trust, pace=PACE, **more)

    def refused(self, status: int, trust: TrustSet | None = None, **more: Any) -> Any:
        with pytest.raises(AirbundleError) as caught:
            self.verify(trust, **more)
        assert caught.value.exit_status == status, repr(caught.value)
        return caught.value

    def opened(self, which: tuple[int, ...] | None = None) -> Bundle:
        """Opened from some of its volumes alone."""
        readers = tuple(VolumeReader(path) for at, path in enumerate(self.paths) if which is None or at in which)
        try:
            return open_bundle(readers, self.keys.trust)
        finally:
            for reader in readers:
                reader.close()

    def copies(self) -> dict[Path, Envelope]:
        """Every copy of the statement that is there, by path."""
        return {volume / name: envelope_of(volume / name) for volume in self.volumes
                for name in (names.STATEMENT_NAME, names.RECORD_NAME) if (volume / name).exists()}

    def signers(self) -> list[set[bytes]]:
        """Whose signatures each copy carries."""
        return [{signature.key_id for signature in envelope.signatures} for envelope in self.copies().values()]


def envelope_of(path: Path) -> Envelope:
    raw = path.read_bytes()
    if path.name == names.RECORD_NAME:
        raw = recover_record(raw, hash_by_suite=hash_by_suite, engine=best_engine()).content
    return parse_envelope(raw, STATEMENT_TYPE)


def holds(identity: PrivateIdentity, envelope: Envelope) -> bool:
    """Whether an envelope carries a valid signature of `identity`."""
    for signature in envelope.signatures:
        if signature.key_id == identity.public.key_id:
            try:
                check(identity.public, signature, envelope.payload_type, envelope.payload)
            except ForgedError:
                return False
            return True
    return False


def no_two_disagree(bundle: Split) -> None:
    """Of all payloads that the packer signed no two are of one revision."""
    payloads = {envelope.payload for envelope in bundle.copies().values() if holds(bundle.keys.packer, envelope)}
    assert len({parse_statement(payload).revision for payload in payloads}) == len(payloads) > 0


def split(bundle: Packed, place: Path) -> Split:
    """The packer's own work, as if it had been packed onto two drives: one segment on each."""
    keys = bundle.keys
    with VolumeReader(str(bundle.volume)) as reader:
        opened = open_bundle((reader,), keys.trust)
        manifest = open_manifest(opened, Keyring((keys.reader,)))
    assert opened.preamble_raw is not None
    rows = tuple(msgspec.structs.replace(row, volume=1 + row.number % 2) for row in opened.rows)
    sealing = SealPlan(opened.context, manifest.key, opened.preamble_raw, limits.BLOCK_MIN, 0.0, pad=False)
    sealed, salt = seal_manifest(sealing, len(rows), write_manifest(manifest.manifest), entropy=secrets.token_bytes)
    body = write_body(write_table(rows), sealed)
    catalog = finish_catalog(sealing, len(rows), salt, body, Workspace(3 * len(body) + 4 * limits.MIB))
    payload = write_statement(msgspec.structs.replace(
        opened.statement, catalog=row_of(catalog.geometry, role=CATALOG, volume=0, root=catalog.root),
        volumes=(VolumeRow(1, "LOW-A", 10**9, None), VolumeRow(2, "LOW-B", 2 * 10**9, None))))
    folders = []
    for number in (1, 2):
        folder = place / f"drive{number}" / f"ab-{number}of2.airbundle"
        folder.mkdir(parents=True)
        for row in rows:
            if row.volume == number:
                shutil.copy(bundle.segment(row.number), folder)
        for name in (names.CATALOG_NAME, names.CATALOG_COPY_NAME):
            (folder / name).write_bytes(catalog.image.blocks.tobytes())
        sign_statement(folder, keys, payload)
        folders.append(folder)
    return Split(keys, bundle.source, tuple(folders))


def rewrap(bundle: Split, **more: Any) -> Any:
    """By its packer, opened by the reader; the second one is added unless something else is asked for."""
    keys = bundle.keys
    more.setdefault("keys", [keys.reader])
    more.setdefault("add", [keys.second.public])
    return api.rewrap(more.pop("paths", bundle.paths), sign=more.pop("sign", keys.packer), pace=PACE, **more)


def opens(bundle: Split, key: PrivateIdentity, target: Path) -> bool:
    """Whether `key` unpacks it; what comes out then is what went in."""
    try:
        api.unpack(bundle.paths, str(target), keys=[key], trust=bundle.keys.trust, pace=PACE)
    except NoKeyError:
        return False
    assert digests(target) == digests(bundle.source)
    return True
