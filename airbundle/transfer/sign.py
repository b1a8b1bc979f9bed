"""Countersign a bundle: one more person vouches for what its packer signed (spec T-9).

1. open, and see that the key is of the bundle's suite
2. verify every byte; nothing is signed that is not whole and believed
3. say what is about to be signed
4. sign the payload, unless a copy carries this person's signature already
5. bring the signature to both copies on every volume given, one file at a time (`transfer/replace.py`)

The payload stays as it is, so the packer's signature and everybody else's stay valid. Stopped at any moment, the same
command goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.signing import sign as make_signature
from airbundle.crypto.trust import TrustSet
from airbundle.errors import ForgedError, RepairableError, UsageError
from airbundle.format import limits
from airbundle.format.dsse import parse_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.transfer.open import open_bundle
from airbundle.transfer.replace import Writers, replace_copies
from airbundle.transfer.report import Report
from airbundle.transfer.signers import documents_of, valid_signatures
from airbundle.transfer.verify import OTHER_SIGNATURES, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.format.dsse import Signature
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.open import Bundle
    from airbundle.transfer.progress import Tick
    from airbundle.transfer.workspace import Pace


@dataclass(frozen=True, slots=True)
class SignResult:
    """What `sign` did. `made` says whether a signature was made, `files` which copies were replaced.

    `signers` are the fingerprints of all whose signature is valid and trusted here, with the new one. `left_out` are
    signatures by keys that nobody here knows, for which no room was left (T-5).
    """

    report: Report
    signer: str
    made: bool
    files: tuple[str, ...]
    signers: tuple[str, ...]
    left_out: int
    seconds: float


def sign(readers: tuple[VolumeReader, ...], *, identity: PrivateIdentity, trust: TrustSet, pace: Pace | None = None,
         progress: Callable[[Tick], None] | None = None,
         announce: Callable[[Report], None] | None = None) -> SignResult:
    """All steps. Raises what `verify` raises, and UsageError for a key of another suite (K-2) or without room (T-5)."""
    began = time.monotonic()
    bundle = open_bundle(readers, trust)  # (1)
    if bundle.distrust is not None:
        raise bundle.distrust
    _require_suite(bundle, identity)
    report = _verified(readers, trust, pace, progress)  # (2)
    if report.statement_hash != bundle.statement_hash:
        raise ForgedError("the statement changed while the bundle was being verified", where=readers[0].path,
                          hint="do not sign this: somebody else writes to the drive")
    if announce is not None:
        announce(report)  # (3)
    packer = bytes.fromhex(bundle.statement.packer)
    wider = TrustSet([*trust, NamedIdentity("the signer", identity.public)])  # K-4
    there = valid_signatures((copy.envelope for copy in bundle.copies if copy.envelope is not None
                              and copy.envelope.payload == bundle.statement_raw), wider, bundle.suite, packer)
    added = _signature(bundle, identity, there)  # (4)
    before = _carried(bundle)
    bundle.documents = documents_of(readers, bundle.copies, bundle.statement_raw, wider, bundle.suite, packer,
                                    added=added)
    with Writers() as writer:  # (5)
        files = tuple(replace_copies(bundle, writer))
        writer.discard_leftovers(readers)
    keys = dict.fromkeys([*there, identity.public.key_id])
    signers = tuple(public.hex for key_id in keys if (public := wider.find(key_id)) is not None)
    return SignResult(report=report, signer=identity.public.hex, made=bool(added), files=files, signers=signers,
                      left_out=len(before - _carried(bundle)), seconds=time.monotonic() - began)


def _require_suite(bundle: Bundle, identity: PrivateIdentity) -> None:
    if identity.suite != bundle.suite:
        raise UsageError(f"the key {identity.public.hex} is of the suite '{identity.suite.name}', the bundle of "
                         f"'{bundle.suite.name}'", hint="sign with a key of the bundle's suite", rule="K-2")


def _verified(readers: tuple[VolumeReader, ...], trust: TrustSet, pace: Pace | None,
              progress: Callable[[Tick], None] | None) -> Report:
    """The report of a bundle that is whole but for signatures that some copies lack: those are brought there here."""
    try:
        return verify(readers, trust=trust, pace=pace, progress=progress)
    except RepairableError as error:
        report = error.report
        if not isinstance(report, Report) or report.restorable or any(
                found.problem != OTHER_SIGNATURES for found in report.findings):
            raise
        return report


def _signature(bundle: Bundle, identity: PrivateIdentity, there: dict[bytes, Signature]) -> list[Signature]:
    """The new signature, or nothing where this person has signed: one person counts once."""
    if identity.public.key_id in there:
        return []
    if len(there) >= limits.SIGNATURES_MAX:
        raise UsageError(f"it has {len(there)} signatures by people who are trusted here, and no room for another",
                         where=bundle.volumes[0].path, rule="T-5")
    return [make_signature(identity, STATEMENT_TYPE, bundle.statement_raw)]


def _carried(bundle: Bundle) -> set[tuple[str, bytes]]:
    """Whose signatures each volume's document carries, by path and key id."""
    return {(path, signature.key_id) for path, raw in bundle.documents.items()
            for signature in parse_envelope(raw, STATEMENT_TYPE).signatures}
