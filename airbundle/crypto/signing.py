"""Composite signatures over DSSE payloads, and what copies of a signed document are worth (spec chapter 9).

A signature is those of all signing keys of an identity together; one half alone is nothing (T-2). What is signed is
`airbundle/sig/v1 ‖ u8 suite ‖ key id ‖ PAE`, so a half cannot be moved to another key, suite, type or protocol.
Failing signatures, those by unknown keys (T-3) and those of another suite (K-11) count for nothing: `judge` only
reports them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.crypto.identities import fingerprint_hex, fingerprint_words
from airbundle.errors import ForgedError, StrangerError, UnsignedError
from airbundle.format.dsse import Envelope, Signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airbundle.crypto.identities import PrivateIdentity, PublicIdentity
    from airbundle.crypto.suites import Suite
    from airbundle.crypto.trust import TrustSet

SIGNATURE_CONTEXT: Final = b"airbundle/sig/v1"
BELIEVE: Final = "`airbundle trust add` the packer's public key"
"""What to do with a key that was compared; a station has another way."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the signatures of one payload are worth. `failing`, `unknown` and `foreign` are key ids and prove nothing.

    `foreign` are trusted keys of another suite than the payload's (K-11).
    """

    packer_id: bytes
    packer: PublicIdentity | None
    valid: tuple[PublicIdentity, ...]
    failing: tuple[bytes, ...]
    unknown: tuple[bytes, ...]
    foreign: tuple[bytes, ...] = ()

    def require_packer(self) -> PublicIdentity:
        """The packer, whose signature is there, trusted and valid (T-3).

        Raises UnsignedError (it did not sign), StrangerError (nobody here trusts it) or ForgedError (its signature
        does not hold, or its key is of another suite).
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
                f"{BELIEVE}",
                rule="T-3",
            )
        if self.packer_id in self.foreign:
            raise ForgedError(f"the document names another suite than the key of its packer has: {seen}", rule="K-11",
                              hint="do not use it: the trusted packer does not write this")
        raise UnsignedError(
            f"the packer that the document names did not sign it: {seen}", hint="ask the packer to sign", rule="T-3"
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, version 1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(identity: PrivateIdentity, payload_type: str, payload: bytes) -> Signature:
    """The composite signature of `identity` (T-2): 3373 bytes in `standard`, 4627 in `cnsa2`."""
    message = _message(identity.suite, identity.public.key_id, payload_type, payload)
    return Signature(identity.public.key_id, identity.sign(message, SIGNATURE_CONTEXT))


def check(public: PublicIdentity, signature: Signature, payload_type: str, payload: bytes) -> None:
    """Returns if all halves of `signature` hold under `public`. Raises ForgedError (T-2) otherwise."""
    if signature.key_id != public.key_id:
        raise ForgedError(f"a signature is not one by the key {public.hex}", rule="T-2")
    message = _message(public.suite, public.key_id, payload_type, payload)
    try:
        public.require(signature.value, message, SIGNATURE_CONTEXT)
    except ForgedError as error:
        raise ForgedError(f"a signature by the key {public.hex} does not hold", rule=error.rule) from None


def group_copies(envelopes: Iterable[Envelope]) -> tuple[tuple[Envelope, ...], ...]:
    """Copies with equal type and payload together, in the order in which each payload came first (T-4)."""
    groups: dict[tuple[str, bytes], list[Envelope]] = {}
    for envelope in envelopes:
        groups.setdefault((envelope.payload_type, envelope.payload), []).append(envelope)
    return tuple(tuple(group) for group in groups.values())


def judge(copies: Sequence[Envelope], trust: TrustSet, packer_id: bytes, suite: Suite) -> Judgement:
    """What the union of the signatures on `copies` of one payload is worth (T-3, T-4, K-11).

    `copies` is one group of `group_copies` (ValueError otherwise); `packer_id` and `suite` are what the payload says.
    A key is failing only if none of its signatures holds. Never raises for what is in a signature.
    """
    groups = group_copies(copies)
    if len(groups) != 1:
        raise ValueError("not copies of one payload")
    # A dict and not a set, to keep the order; equal signatures are checked once.
    signatures = dict.fromkeys(signature for copy in copies for signature in copy.signatures)
    valid: dict[bytes, PublicIdentity] = {}
    failing: dict[bytes, None] = {}
    unknown: dict[bytes, None] = {}
    foreign: dict[bytes, None] = {}
    for signature in signatures:
        public = trust.find(signature.key_id)
        if public is None:
            unknown[signature.key_id] = None
        elif public.suite.number != suite.number:  # K-11
            foreign[signature.key_id] = None
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
        foreign=tuple(foreign),
    )


def _message(suite: Suite, key_id: bytes, payload_type: str, payload: bytes) -> bytes:
    return SIGNATURE_CONTEXT + bytes([suite.number]) + key_id + pae(payload_type, payload)  # T-2
