"""Identities (spec 7.1): four public keys that are one key, the seeds behind them, and the words people compare.

An identity signs with Ed25519 and ML-DSA-65 and is sealed to with ML-KEM-768 and X25519. The halves have no life of
their own: the key id covers all four (K-3). Keys are checked when the value is made, so that a `PublicIdentity` can
always be sealed to. Seeds never show in a `repr`. The files that hold identities are in `keyfiles`.
"""

from __future__ import annotations

import difflib
import re
import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from mnemonic import Mnemonic

from airbundle.crypto.suites import STANDARD, Suite, tag
from airbundle.errors import FormatError, UsageError
from airbundle.format.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable

ED25519_SIZE: Final = 32
MLDSA_SIZE: Final = 1952
MLKEM_SIZE: Final = 1184
X25519_SIZE: Final = 32
SEEDS_SIZE: Final = 32 + 32 + 64 + 32  # Ed25519, ML-DSA, ML-KEM, X25519
FINGERPRINT_SIZE: Final = 16

_PRIME: Final = 2**255 - 19
# The y of the eight points of small order (Ed25519): under such a key one signature holds for every message.
_SMALL_ORDER: Final = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)
_WORDS: Final = re.compile(r"[\s,]+")
_HEX_SEPARATORS: Final = re.compile(r"[\s:\-]+")
_HEX: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """The four public keys as bytes (32, 1952, 1184, 32). Raises FormatError (K-3) for keys that cannot be used."""

    suite: Suite
    ed25519: bytes
    mldsa: bytes
    mlkem: bytes
    x25519: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        _check_keys(self)
        number = bytes([self.suite.number])
        # K-3
        key_id = self.suite.hash(tag("key"), number, self.ed25519, self.mldsa, self.mlkem, self.x25519)
        object.__setattr__(self, "key_id", key_id)

    def __repr__(self) -> str:
        return f"PublicIdentity({self.hex})"

    @property
    def fingerprint(self) -> bytes:
        """The first 16 bytes of the key id, which is what people compare (K-3)."""
        return self.key_id[:FINGERPRINT_SIZE]

    @property
    def words(self) -> str:
        """The fingerprint as twelve English words of BIP-39, one space between them."""
        return fingerprint_words(self.key_id)

    @property
    def hex(self) -> str:
        """The fingerprint in hexadecimal, in groups of four digits."""
        return fingerprint_hex(self.key_id)

    @property
    def ed25519_key(self) -> Ed25519PublicKey:
        """What checks the first half of a signature."""
        return Ed25519PublicKey.from_public_bytes(self.ed25519)

    @property
    def mldsa_key(self) -> MLDSA65PublicKey:
        """What checks the second half of a signature."""
        return MLDSA65PublicKey.from_public_bytes(self.mldsa)

    @property
    def hpke_key(self) -> hpke.MLKEM768X25519PublicKey:
        """What is sealed to."""
        return hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.mlkem), X25519PublicKey.from_public_bytes(self.x25519)
        )


class PrivateIdentity:
    """The seeds of an identity: 160 bytes, those of Ed25519 (32), ML-DSA (32), ML-KEM (64) and X25519 (32).

    The seeds stay in memory until the process ends: Python gives no way to wipe them.
    """

    __slots__ = ("_seeds", "ed25519_key", "hpke_key", "mldsa_key", "public")

    def __init__(self, suite: Suite, seeds: bytes) -> None:
        """Raises FormatError for another number of bytes."""
        if len(seeds) != SEEDS_SIZE:
            raise FormatError(f"a private key has {len(seeds)} bytes instead of {SEEDS_SIZE}", rule="K-3")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(seeds[64:128])
        x25519 = X25519PrivateKey.from_private_bytes(seeds[128:])
        self._seeds = seeds
        self.ed25519_key = Ed25519PrivateKey.from_private_bytes(seeds[:32])
        self.mldsa_key = MLDSA65PrivateKey.from_seed_bytes(seeds[32:64])
        self.hpke_key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = PublicIdentity(
            suite=suite,
            ed25519=self.ed25519_key.public_key().public_bytes_raw(),
            mldsa=self.mldsa_key.public_key().public_bytes_raw(),
            mlkem=mlkem.public_key().public_bytes_raw(),
            x25519=x25519.public_key().public_bytes_raw(),
        )

    def __repr__(self) -> str:
        return f"PrivateIdentity({self.public.hex})"

    @property
    def suite(self) -> Suite:
        """The suite of this identity, and so of all it signs."""
        return self.public.suite

    def secret_bytes(self) -> bytes:
        """The seeds, 160 bytes. For the key file and for nothing else."""
        return self._seeds


def generate(*, entropy: Callable[[int], bytes] = secrets.token_bytes) -> PrivateIdentity:
    """A new identity of the suite `standard`."""
    return PrivateIdentity(STANDARD, entropy(SEEDS_SIZE))


def fingerprint_words(key_id: bytes) -> str:
    """The first 16 bytes of `key_id` as twelve English words of BIP-39."""
    return _bip39().to_mnemonic(key_id[:FINGERPRINT_SIZE])


def fingerprint_hex(key_id: bytes) -> str:
    """The first 16 bytes of `key_id` as eight groups of four digits."""
    return key_id[:FINGERPRINT_SIZE].hex(" ", 2)


def parse_fingerprint(text: str) -> bytes:
    """16 bytes from twelve words (any case), or from 32 hex digits with spaces, colons or dashes between them.

    Raises UsageError. The checksum of BIP-39 has 4 bits: of sixteen wrong sentences one passes, so a fingerprint is
    always compared as a whole.
    """
    plain = text.strip().lower()
    digits = _HEX_SEPARATORS.sub("", plain)
    if _HEX.fullmatch(digits):
        return bytes.fromhex(digits)
    words = [word for word in _WORDS.split(plain) if word]
    if len(words) != 12:
        raise UsageError(
            f"a fingerprint is twelve words or 32 hexadecimal digits, this is {len(words)} words",
            hint="type all twelve words, with a space between each two",
        )
    known = _bip39().wordlist
    for place, word in enumerate(words, 1):
        if word not in known:
            near = difflib.get_close_matches(word[:20], known, n=2)
            hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else "ask for this word again"
            raise UsageError(f"word {place}, '{shown(word)[:40]}', is not in the list of words", hint=hint)
    try:
        return bytes(_bip39().to_entropy(words))
    except ValueError:
        raise UsageError(
            "these twelve words do not belong together: one is wrong, or two are swapped",
            hint="ask for the words again, one by one",
        ) from None


def _check_keys(identity: PublicIdentity) -> None:
    sizes = tuple(len(key) for key in (identity.ed25519, identity.mldsa, identity.mlkem, identity.x25519))
    if sizes != (ED25519_SIZE, MLDSA_SIZE, MLKEM_SIZE, X25519_SIZE):
        raise FormatError(f"the public keys have {sizes} bytes", rule="K-3")
    # Only one spelling of a point, otherwise two keys could share a half without K-4 seeing it.
    y = int.from_bytes(identity.ed25519, "little") & (2**255 - 1)
    if y >= _PRIME or int.from_bytes(identity.x25519, "little") >= _PRIME:
        raise FormatError("a public key is not in its canonical form", rule="K-3")
    if y in _SMALL_ORDER:
        raise FormatError("an Ed25519 public key has small order", rule="K-3")
    try:
        MLDSA65PublicKey.from_public_bytes(identity.mldsa)
        MLKEM768PublicKey.from_public_bytes(identity.mlkem)
        Ed25519PublicKey.from_public_bytes(identity.ed25519)
        # An exchange with a point of small order fails: found here and not while packing.
        X25519PrivateKey.from_private_bytes(bytes(32)).exchange(X25519PublicKey.from_public_bytes(identity.x25519))
    except ValueError:
        raise FormatError("a public key cannot be used", rule="K-3") from None


@cache
def _bip39() -> Mnemonic:
    return Mnemonic("english")
