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
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airbundle.crypto.identities import PrivateIdentity, fingerprint_hex
from airbundle.crypto.passphrase import STRETCH_SALT_SIZE, Passphrase
from airbundle.crypto.suites import Suite, suite_by_number, tag
from airbundle.errors import AirbundleError, ForgedError, FormatError, NoKeyError, UsageError
from airbundle.format import limits
from airbundle.format.cost import COST_SIZE, PassphraseCost, parse_cost
from airbundle.format.preamble import (
    BUNDLE_ID_SIZE,
    ENVELOPE_HPKE,
    ENVELOPE_PASSPHRASE,
    Preamble,
    SealedKey,
    Shape,
    parse_preamble_bytes,
    preamble_size,
    write_preamble_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.identities import PublicIdentity

BUNDLE_KEY_SIZE: Final = 32
SALT_SIZE: Final = 16
SEALED_KEY_SIZE: Final = BUNDLE_KEY_SIZE + 16
PASSPHRASE_ENVELOPE_SIZE: Final = COST_SIZE + STRETCH_SALT_SIZE + SEALED_KEY_SIZE

_NONCE: Final = bytes(12)


@dataclass(frozen=True, slots=True)
class Keyring:
    """What a reader has to open bundles with: private identities, a passphrase, both, or nothing (which is false)."""

    identities: tuple[PrivateIdentity, ...] = ()
    passphrase: Passphrase | None = None

    def __bool__(self) -> bool:
        return bool(self.identities) or self.passphrase is not None


NOTHING: Final = Keyring()


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
    """The bundle key sealed to `recipient` (K-5). Raises UsageError for a key of another suite (K-2)."""
    require_recipient(context.suite, recipient)
    return recipient.seal(bundle_key.secret_bytes(), _info(context))


def require_recipient(suite: Suite, recipient: PublicIdentity) -> None:
    """Returns if a bundle of `suite` can be sealed to `recipient`. Raises UsageError (K-2)."""
    if recipient.suite.number != suite.number:
        raise UsageError(
            f"the recipient {recipient.hex} has a key of the suite '{recipient.suite.name}'",
            hint=f"the packer's key is of '{suite.name}': all keys of a bundle are of one suite",
            rule="K-2",
        )


def open_envelope(context: Context, sealed: bytes, identity: PrivateIdentity) -> BundleKey:
    """The bundle key in an envelope, not yet compared with the commitment. Raises NoKeyError (K-5)."""
    size = _shape(context.suite).envelope_sizes[ENVELOPE_HPKE]
    if identity.suite.number != context.suite.number or len(sealed) != size:
        raise NoKeyError("an envelope is not for a key like this", rule="K-5")
    try:
        return BundleKey(identity.open(sealed, _info(context)))
    except InvalidTag:
        # The key file was checked against its id, so the fault is not here. Behind K-7 the bytes are those that the
        # packer signed: it sealed them wrongly. In front of K-7 (salvage) they may be damaged or forged.
        raise NoKeyError(
            f"the envelope for the key {identity.public.hex} does not open",
            hint="the packer sealed it wrongly, or it was changed: use another recipient's key, or pack again",
            rule="K-5",
        ) from None


def write_preamble(context: Context, bundle_key: BundleKey, recipients: Sequence[PublicIdentity]) -> bytes:
    """The preamble for 1 to 64 recipients, at most 106,868 bytes. Raises UsageError (K-2, K-6)."""
    if not 1 <= len(recipients) <= limits.ENVELOPES_MAX:  # K-6
        raise UsageError(f"a bundle has 1 to {limits.ENVELOPES_MAX} recipients, not {len(recipients)}", rule="K-6")
    if len({recipient.key_id for recipient in recipients}) != len(recipients):  # K-6
        raise UsageError("a recipient is named twice", hint="name each recipient once", rule="K-6")
    envelopes = tuple(SealedKey(r.key_id, seal_envelope(context, bundle_key, r)) for r in recipients)
    return _preamble_of(context, bundle_key, envelopes)


def write_passphrase_preamble(
    context: Context,
    bundle_key: BundleKey,
    passphrase: Passphrase,
    *,
    cost: PassphraseCost | None = None,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """The preamble under a passphrase, 196 bytes (K-12). Raises UsageError (K-12, K-16)."""
    require_passphrase(context.suite, passphrase)
    cost, salt = cost or PassphraseCost(), entropy(STRETCH_SALT_SIZE)
    sealed = AESGCM(_passphrase_key(context, passphrase, salt, cost)).encrypt(_NONCE, bundle_key.secret_bytes(), None)
    nobody = bytes(context.suite.digest_size)
    return _preamble_of(context, bundle_key, (SealedKey(nobody, cost.packed() + salt + sealed, ENVELOPE_PASSPHRASE),))


def require_passphrase(suite: Suite, passphrase: Passphrase) -> None:
    """Returns if a bundle of `suite` can be under `passphrase`. Raises UsageError (K-12, K-16)."""
    if not suite.has_passphrase:  # K-12
        raise UsageError(f"a bundle of the suite '{suite.name}' cannot be under a passphrase", rule="K-12",
                         hint="seal it to a recipient's key, or sign with a key of the suite 'standard'")
    passphrase.require_lasting()


def open_passphrase_envelope(context: Context, envelope: bytes, passphrase: Passphrase) -> BundleKey:
    """The bundle key in an envelope of type 2, not yet compared with the commitment (K-13).

    Takes the time and the memory that the envelope asks for, within K-14: only for a packer that is trusted (K-15).
    Raises NoKeyError for a wrong passphrase, FormatError (K-14).
    """
    cost, rest = parse_cost(envelope[:COST_SIZE]), envelope[COST_SIZE:]
    salt, sealed = rest[:STRETCH_SALT_SIZE], rest[STRETCH_SALT_SIZE:]
    try:
        return BundleKey(AESGCM(_passphrase_key(context, passphrase, salt, cost)).decrypt(_NONCE, sealed, None))
    except InvalidTag:
        raise NoKeyError("the passphrase does not open this bundle", rule="K-13",
                         hint="type it again; capitals and spaces count") from None


def parse_preamble(raw: bytes) -> Preamble:
    """The preamble that is all of `raw`. Raises FormatError (K-1, K-6, K-12, K-14) and nothing else."""
    return parse_preamble_bytes(raw, lambda number: _shape(suite_by_number(number)))


def preamble_length(suite: Suite, recipients: int) -> int:
    """Bytes of a preamble of `suite`; no recipients stand for a passphrase."""
    kind = ENVELOPE_HPKE if recipients else ENVELOPE_PASSPHRASE
    return preamble_size(_shape(suite), recipients or 1, kind)


def preamble_context(preamble: Preamble) -> Context:
    """What the keys of this preamble are bound to. Raises FormatError (K-1)."""
    return Context(suite_by_number(preamble.suite_number), preamble.bundle_id, preamble.packer_id)


def open_preamble(preamble: Preamble, keyring: Keyring) -> BundleKey:
    """The bundle key, from the first envelope that something on `keyring` opens, compared with the commitment (K-8).

    Raises NoKeyError if no envelope is for what is on the keyring (it says for whom they are) or none of theirs opens,
    and ForgedError (K-8) if one opens to another key than all recipients were promised.
    """
    if preamble.under_passphrase:
        return _open_with_passphrase(preamble, keyring)
    context = preamble_context(preamble)
    ours = {identity.public.key_id: identity for identity in keyring.identities}
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
        _require_commitment(preamble, bundle_key, f"the envelope for the key {identity.public.hex}")
        return bundle_key
    if failure is not None:
        raise failure
    sealed_to = ", ".join(fingerprint_hex(recipient) for recipient in preamble.recipients)
    what = "no key here opens this bundle"
    if not keyring.identities and keyring.passphrase is not None:
        what = "this bundle is sealed to keys, not under a passphrase"
    elif ours and all(identity.suite.number != context.suite.number for identity in ours.values()):
        what += f", which is of the suite '{context.suite.name}'"
    raise NoKeyError(what, hint=f"it is sealed to {sealed_to}: give the private key of that recipient", rule="D-1")


def _open_with_passphrase(preamble: Preamble, keyring: Keyring) -> BundleKey:
    if keyring.passphrase is None:
        raise NoKeyError(
            "this bundle is under a passphrase" + (", not sealed to keys" if keyring.identities else ""),
            hint="give --passphrase-file FILE with the passphrase that its packer told you", rule="D-1")
    (envelope,) = preamble.envelopes
    bundle_key = open_passphrase_envelope(preamble_context(preamble), envelope.sealed, keyring.passphrase)
    _require_commitment(preamble, bundle_key, "the envelope under the passphrase")
    return bundle_key


def _require_commitment(preamble: Preamble, bundle_key: BundleKey, envelope: str) -> None:
    if not hmac.compare_digest(bundle_key.commitment(preamble_context(preamble)), preamble.commitment):  # K-8
        raise ForgedError(
            f"{envelope} holds another key than the bundle is committed to",
            hint="do not use this bundle: its packer gave different recipients different keys",
            rule="K-8",
        )


def _preamble_of(context: Context, bundle_key: BundleKey, envelopes: tuple[SealedKey, ...]) -> bytes:
    number, commitment = context.suite.number, bundle_key.commitment(context)
    return write_preamble_bytes(Preamble(number, context.bundle_id, context.packer_id, commitment, envelopes))


def _shape(suite: Suite) -> Shape:
    """Digests and envelopes of a suite (K-6, K-12)."""
    sizes = {ENVELOPE_HPKE: suite.kem.encapsulated_size + SEALED_KEY_SIZE}
    if suite.has_passphrase:
        sizes[ENVELOPE_PASSPHRASE] = PASSPHRASE_ENVELOPE_SIZE
    return Shape(suite.digest_size, sizes)


def _info(context: Context) -> bytes:
    return tag("envelope") + context.encoded  # K-5


def _passphrase_key(context: Context, passphrase: Passphrase, salt: bytes, cost: PassphraseCost) -> bytes:
    """K-13. Each salt is drawn once, so each key seals once and the nonce may be zero."""
    return context.suite.expand(passphrase.stretch(salt, cost), tag("passphrase") + context.encoded, 32)
