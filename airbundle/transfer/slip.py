"""What the slip says that is taped to a drive: public facts of one volume, of the drive under it, and of its custody.

No key, and no name of anything in the bundle. What nobody here vouches for is said to be so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.crypto.identities import fingerprint_hex, fingerprint_words
from airbundle.media.drive import device_serial, filesystem_label
from airbundle.media.volume import bytes_in
from airbundle.transfer.whose import is_relaid, volumes_of

if TYPE_CHECKING:
    from airbundle.crypto.trust import TrustSet
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.custody import CustodyChain
    from airbundle.transfer.open import Bundle


@dataclass(frozen=True, slots=True)
class SlipSigner:
    """Who signed: a name of the trust set (empty for the key of a packer whom nobody here trusts) and fingerprint."""

    name: str
    role: str
    hex: str
    words: str


@dataclass(frozen=True, slots=True)
class Slip:
    """Sizes in bytes, times in seconds since 1970; `believed`: a trusted packer signed the statement."""

    bundle: str
    label: str
    marking: str
    series: str
    suite: str
    volume: str
    lose: int
    name: str
    drive: str
    serial: str
    stored: int
    size: int
    created: int
    expires: int | None
    revision: int
    statement: str
    believed: bool
    signers: tuple[SlipSigner, ...]
    last_event: str
    last_event_hash: str


def make_slip(bundle: Bundle, reader: VolumeReader, chain: CustodyChain, trust: TrustSet) -> Slip:
    """The slip of one volume."""
    statement = bundle.statement
    numbers = volumes_of(bundle, reader.path)
    which = " and ".join(str(number) for number in sorted(numbers)) or "?"
    last = next((link for link in reversed(chain.links) if not link.problem), None)
    here, recorded = device_serial(reader.path), chain.serial
    return Slip(
        bundle=statement.bundle, label=statement.label, marking=statement.marking,
        series=f"{statement.series} {statement.sequence}" if statement.series is not None else "",
        suite=statement.suite,
        volume=f"{which} of {len(statement.volumes)}{' (copy)' if is_relaid(reader.path) else ''}",
        lose=statement.lose, name=reader.path.rstrip("/").rpartition("/")[2], drive=filesystem_label(reader.path),
        serial=here if not recorded or recorded == here else f"{here or 'unknown'}, but {recorded} was recorded",
        stored=bytes_in(reader.path), created=statement.created,
        expires=statement.expires, revision=statement.revision, statement=bundle.statement_hash,
        believed=bundle.distrust is None, signers=_signers(bundle, trust),
        last_event=f"{last.event.number}: {last.event.event} by {last.name}, seal {last.event.seal or 'none'}"
        if last else "", size=sum(bundle.expected(row).place.stored_size for row in bundle.rows),
        last_event_hash=chain.last)


def _signers(bundle: Bundle, trust: TrustSet) -> tuple[SlipSigner, ...]:
    packer = bytes.fromhex(bundle.statement.packer)
    valid = [public.key_id for public in bundle.judgement.valid] if bundle.judgement else []
    ids = [packer, *(key_id for key_id in valid if key_id != packer)]
    return tuple(SlipSigner(trust.name(key_id) or "", "packer" if key_id == packer else "signer",
                            fingerprint_hex(key_id), fingerprint_words(key_id)) for key_id in ids)
