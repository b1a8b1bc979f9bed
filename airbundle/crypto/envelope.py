"""The bundle key and the envelopes that carry it (spec 7.2, 7.3).

Every use of the bundle key is bound to a `Context`: suite, bundle id, packer. The commitment makes sure that all
recipients get the same key, which AES-GCM alone does not (K-8); `open_preamble` gives out no key that it does not fit.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from airbundle.crypto.identities import fingerprint_hex
from airbundle.crypto.suites import Suite, suite_by_number, tag
from airbundle.errors import AirbundleError, ForgedError, FormatError, NoKeyError, UsageError
from airbundle.format import limits
from airbundle.format.preamble import (
    BUNDLE_ID_SIZE,
    Preamble,
    SealedKey,
    Shape,
    parse_preamble_bytes,
    write_preamble_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airbundle.crypto.identities import PrivateIdentity, PublicIdentity

BUNDLE_KEY_SIZE: Final = 32
SALT_SIZE: Final = 16
ENCAPSULATED_SIZE: Final = 1120  # ML-KEM-768 1088, X25519 32
ENVELOPE_SIZE: Final = ENCAPSULATED_SIZE + BUNDLE_KEY_SIZE + 16

HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Context:
    """What all keys of one bundle are bound to. `bundle_id` has 16 bytes, `packer_id` `h` bytes."""

    suite: Suite
    bundle_id: bytes
    packer_id: bytes

    def __post_init__(self) -> None:
        if len(self.bundle_id) != BUNDLE_ID_SIZE or len(self.packer_id) != self.suite.digest_size:
            raise FormatError("a bundle id or a packer's key id has the wrong length", rule="K-6")

    @property
    def encoded(self) -> bytes:
        """`u8 suite ‖ bundle id ‖ packer's key id` of spec 7.3."""
        return bytes([self.suite.number]) + self.bundle_id + self.packer_id


class BundleKey:
    """The 32 secret bytes of one bundle. Never shown, never compared; used through what is derived from them."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Raises FormatError for another number of bytes."""
        if len(key) != BUNDLE_KEY_SIZE:
            raise FormatError(f"a bundle key has {len(key)} bytes instead of {BUNDLE_KEY_SIZE}", rule="K-5")
        self._key = bytes(key)

    def __repr__(self) -> str:
        return "BundleKey(...)"

    @classmethod
    def generate(cls, *, entropy: Callable[[int], bytes] = secrets.token_bytes) -> BundleKey:
        """A fresh bundle key."""
        return cls(entropy(BUNDLE_KEY_SIZE))

    def secret_bytes(self) -> bytes:
        """The key itself, for envelopes and the journal and for nothing else."""
        return self._key

    def commitment(self, context: Context) -> bytes:
        """What the preamble says about this key, `h` bytes (K-8)."""
        return context.suite.expand(self._key, tag("commit") + context.encoded, context.suite.digest_size)

    def object_key(self, context: Context, number: int, salt: bytes) -> bytes:
        """The 32-byte key of one attempt to write segment `number` (K-9); `salt` has 16 bytes."""
        if len(salt) != SALT_SIZE:
            raise FormatError(f"a salt has {len(salt)} bytes instead of {SALT_SIZE}", rule="K-9")
        info = tag("seal") + context.encoded + number.to_bytes(8, "little") + salt
        return context.suite.expand(self._key, info, 32)


def seal_envelope(context: Context, bundle_key: BundleKey, recipient: PublicIdentity) -> bytes:
    """The bundle key sealed to `recipient` (K-5): 1168 bytes. Raises UsageError for a key of another suite (K-2)."""
    if recipient.suite.number != context.suite.number:
        raise UsageError(
            f"the recipient {recipient.hex} has a key of the suite '{recipient.suite.name}'",
            hint=f"the packer's key is of '{context.suite.name}': all keys of a bundle are of one suite",
            rule="K-2",
        )
    return HPKE.encrypt(bundle_key.secret_bytes(), recipient.hpke_key, info=_info(context))


def open_envelope(context: Context, sealed: bytes, identity: PrivateIdentity) -> BundleKey:
    """The bundle key in an envelope, not yet compared with the commitment. Raises NoKeyError (K-5)."""
    if identity.suite.number != context.suite.number or len(sealed) != ENVELOPE_SIZE:
        raise NoKeyError("an envelope is not for a key like this", rule="K-5")
    try:
        return BundleKey(HPKE.decrypt(sealed, identity.hpke_key, info=_info(context)))
    except InvalidTag:
        # The key file was checked against its id, so the fault is not here. Behind K-7 the bytes are those that the
        # packer signed: it sealed them wrongly. In front of K-7 (salvage) they may be damaged or forged.
        raise NoKeyError(
            f"the envelope for the key {identity.public.hex} does not open",
            hint="the packer sealed it wrongly, or it was changed: use another recipient's key, or pack again",
            rule="K-5",
        ) from None


def write_preamble(context: Context, bundle_key: BundleKey, recipients: Sequence[PublicIdentity]) -> bytes:
    """The preamble for 1 to 64 recipients, at most 76,900 bytes. Raises UsageError (K-2, K-6)."""
    if not 1 <= len(recipients) <= limits.ENVELOPES_MAX:  # K-6
        raise UsageError(f"a bundle has 1 to {limits.ENVELOPES_MAX} recipients, not {len(recipients)}", rule="K-6")
    if len({recipient.key_id for recipient in recipients}) != len(recipients):  # K-6
        raise UsageError("a recipient is named twice", hint="name each recipient once", rule="K-6")
    envelopes = tuple(SealedKey(r.key_id, seal_envelope(context, bundle_key, r)) for r in recipients)
    number, commitment = context.suite.number, bundle_key.commitment(context)
    return write_preamble_bytes(Preamble(number, context.bundle_id, context.packer_id, commitment, envelopes))


def parse_preamble(raw: bytes) -> Preamble:
    """The preamble that is all of `raw`. Raises FormatError (K-1, K-6) and nothing else."""
    return parse_preamble_bytes(raw, lambda number: Shape(suite_by_number(number).digest_size, ENVELOPE_SIZE))


def preamble_context(preamble: Preamble) -> Context:
    """What the keys of this preamble are bound to. Raises FormatError (K-1)."""
    return Context(suite_by_number(preamble.suite_number), preamble.bundle_id, preamble.packer_id)


def open_preamble(preamble: Preamble, identities: Iterable[PrivateIdentity]) -> BundleKey:
    """The bundle key, from the first envelope that one of `identities` opens, compared with the commitment (K-8).

    Raises NoKeyError if no envelope is for these identities (it says for whom they are) or none of theirs opens, and
    ForgedError (K-8) if one opens to another key than all recipients were promised.
    """
    context = preamble_context(preamble)
    ours = {identity.public.key_id: identity for identity in identities}
    failure: AirbundleError | None = None
    for envelope in preamble.envelopes:
        identity = ours.get(envelope.recipient)
        if identity is None:
            continue
        try:
            bundle_key = open_envelope(context, envelope.sealed, identity)
        except NoKeyError as error:
            failure = error
            continue
        if not hmac.compare_digest(bundle_key.commitment(context), preamble.commitment):  # K-8
            raise ForgedError(
                f"the envelope for the key {identity.public.hex} holds another key than the bundle is committed to",
                hint="do not use this bundle: its packer gave different recipients different keys",
                rule="K-8",
            )
        return bundle_key
    if failure is not None:
        raise failure
    sealed_to = ", ".join(fingerprint_hex(recipient) for recipient in preamble.recipients)
    raise NoKeyError("no key here opens this bundle",
                     hint=f"it is sealed to {sealed_to}: give the private key of that recipient")


def _info(context: Context) -> bytes:
    return tag("envelope") + context.encoded  # K-5
