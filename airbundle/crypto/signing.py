"""Composite signatures over DSSE payloads, and what copies of a signed document are worth (spec chapter 9).

A signature is Ed25519 and ML-DSA-65 together; one half alone is nothing (T-2). What is signed is
`airbundle/sig/v1 ‖ u8 suite ‖ key id ‖ PAE`, so a half cannot be moved to another key, suite, type or protocol.
Failing signatures and those by unknown keys count for nothing (T-3): `judge` only reports them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature

from airbundle.crypto.identities import fingerprint_hex, fingerprint_words
from airbundle.errors import ForgedError, StrangerError, UnsignedError
from airbundle.format.dsse import Envelope, Signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airbundle.crypto.identities import PrivateIdentity, PublicIdentity
    from airbundle.crypto.suites import Suite
    from airbundle.crypto.trust import TrustSet

SIGNATURE_CONTEXT: Final = b"airbundle/sig/v1"
ED25519_SIGNATURE_SIZE: Final = 64
MLDSA_SIGNATURE_SIZE: Final = 3309
SIGNATURE_SIZE: Final = ED25519_SIGNATURE_SIZE + MLDSA_SIGNATURE_SIZE


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the signatures of one payload are worth. `failing` and `unknown` are key ids and prove nothing."""

    packer_id: bytes
    packer: PublicIdentity | None
    valid: tuple[PublicIdentity, ...]
    failing: tuple[bytes, ...]
    unknown: tuple[bytes, ...]

    def require_packer(self) -> PublicIdentity:
        """The packer, whose signature is there, trusted and valid (T-3).

        Raises UnsignedError (it did not sign), StrangerError (nobody here trusts it) or ForgedError (its signature
        does not hold).
        """
        for identity in self.valid:
            if identity.key_id == self.packer_id:
                return identity
        seen = fingerprint_hex(self.packer_id)
        if self.packer_id in self.failing:
            raise ForgedError(
                f"the signature of the trusted packer {seen} does not hold",
                hint="the document was changed after it was signed: do not use it",
                rule="T-3",
            )
        if self.packer_id in self.unknown:
            raise StrangerError(
                f"signed by a key that is not trusted here: {seen}",
                hint=f"its words are '{fingerprint_words(self.packer_id)}': compare them with the packer, then "
                "`airbundle trust add` the packer's public key",
                rule="T-3",
            )
        raise UnsignedError(
            f"the packer that the document names did not sign it: {seen}", hint="ask the packer to sign", rule="T-3"
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, version 1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(identity: PrivateIdentity, payload_type: str, payload: bytes) -> Signature:
    """The composite signature of `identity`, 3373 bytes (T-2)."""
    message = _message(identity.suite, identity.public.key_id, payload_type, payload)
    halves = identity.ed25519_key.sign(message) + identity.mldsa_key.sign(message, SIGNATURE_CONTEXT)
    return Signature(identity.public.key_id, halves)


def check(public: PublicIdentity, signature: Signature, payload_type: str, payload: bytes) -> None:
    """Returns if both halves of `signature` hold under `public`. Raises ForgedError (T-2) otherwise."""
    if signature.key_id != public.key_id or len(signature.value) != SIGNATURE_SIZE:
        raise ForgedError(f"a signature is not one by the key {public.hex}", rule="T-2")
    message = _message(public.suite, public.key_id, payload_type, payload)
    first, second = signature.value[:ED25519_SIGNATURE_SIZE], signature.value[ED25519_SIGNATURE_SIZE:]
    try:
        public.ed25519_key.verify(first, message)  # T-2: both MUST hold
        public.mldsa_key.verify(second, message, SIGNATURE_CONTEXT)
    except InvalidSignature:
        raise ForgedError(f"a signature by the key {public.hex} does not hold", rule="T-2") from None


def group_copies(envelopes: Iterable[Envelope]) -> tuple[tuple[Envelope, ...], ...]:
    """Copies with equal type and payload together, in the order in which each payload came first (T-4)."""
    groups: dict[tuple[str, bytes], list[Envelope]] = {}
    for envelope in envelopes:
        groups.setdefault((envelope.payload_type, envelope.payload), []).append(envelope)
    return tuple(tuple(group) for group in groups.values())


def judge(copies: Sequence[Envelope], trust: TrustSet, packer_id: bytes) -> Judgement:
    """What the union of the signatures on `copies` of one payload is worth (T-3, T-4).

    `copies` is one group of `group_copies` (ValueError otherwise); `packer_id` is what the payload says. A key is
    failing only if none of its signatures holds. Never raises for what is in a signature.
    """
    groups = group_copies(copies)
    if len(groups) != 1:
        raise ValueError("not copies of one payload")
    # A dict and not a set, to keep the order; equal signatures are checked once.
    signatures = dict.fromkeys(signature for copy in copies for signature in copy.signatures)
    valid: dict[bytes, PublicIdentity] = {}
    failing: dict[bytes, None] = {}
    unknown: dict[bytes, None] = {}
    for signature in signatures:
        public = trust.find(signature.key_id)
        if public is None:
            unknown[signature.key_id] = None
        elif signature.key_id not in valid:
            try:
                check(public, signature, copies[0].payload_type, copies[0].payload)
            except ForgedError:
                failing[signature.key_id] = None
            else:
                valid[signature.key_id] = public
    return Judgement(
        packer_id=packer_id,
        packer=trust.find(packer_id),
        valid=tuple(valid.values()),
        failing=tuple(key_id for key_id in failing if key_id not in valid),
        unknown=tuple(unknown),
    )


def _message(suite: Suite, key_id: bytes, payload_type: str, payload: bytes) -> bytes:
    return SIGNATURE_CONTEXT + bytes([suite.number]) + key_id + pae(payload_type, payload)  # T-2
