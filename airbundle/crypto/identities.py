"""Identities (spec 7.1): the public keys that are one key, the seeds behind them, and the words people compare.

Which keys an identity consists of is for its suite to say. The halves have no life of their own: the key id covers all
of them (K-3). Keys are checked when the value is made, so that a `PublicIdentity` can always be sealed to. Seeds never
show in a `repr`. The files that hold identities are in `keyfiles`.
"""

from __future__ import annotations

import difflib
import re
import secrets
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

from mnemonic import Mnemonic

from airbundle.crypto.suites import STANDARD, Suite, tag
from airbundle.errors import ForgedError, FormatError, UsageError
from airbundle.format.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FINGERPRINT_SIZE: Final = 16

_WORDS: Final = re.compile(r"[\s,]+")
_HEX_SEPARATORS: Final = re.compile(r"[\s:\-]+")
_HEX: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """The public keys as bytes, one for each half of the suite. Raises FormatError (K-3) if one cannot be used."""

    suite: Suite
    keys: tuple[bytes, ...]
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        _check_keys(self)
        key_id = self.suite.hash(tag("key"), bytes([self.suite.number]), *self.keys)  # K-3
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

    def require(self, signature: bytes, message: bytes, context: bytes) -> None:
        """Returns if `signature` holds under all signing keys. Raises ForgedError (T-2)."""
        signers = self.suite.signers
        if len(signature) != self.suite.signature_size:
            raise ForgedError(f"a signature has {len(signature)} bytes", rule="T-2")
        parts = _cut(signature, [signer.signature_size for signer in signers])
        for signer, key, part in zip(signers, self.keys[:len(signers)], parts, strict=True):
            signer.require(key, part, message, context)

    def seal(self, content: bytes, info: bytes) -> bytes:
        """`content` sealed to this identity by HPKE."""
        return self.suite.kem.seal(self.keys[len(self.suite.signers):], content, info)


class PrivateIdentity:
    """The seeds of an identity, one for each half of its suite, end to end.

    The seeds stay in memory until the process ends: Python gives no way to wipe them.
    """

    __slots__ = ("_seeds", "public")

    def __init__(self, suite: Suite, seeds: bytes) -> None:
        """Raises FormatError for another number of bytes."""
        if len(seeds) != suite.seeds_size:
            raise FormatError(f"a private key has {len(seeds)} bytes instead of {suite.seeds_size}", rule="K-3")
        self._seeds = _cut(seeds, [half.seed_size for half in suite.halves])
        keys = tuple(half.public_of(seed) for half, seed in zip(suite.halves, self._seeds, strict=True))
        self.public = PublicIdentity(suite, keys)

    def __repr__(self) -> str:
        return f"PrivateIdentity({self.public.hex})"

    @property
    def suite(self) -> Suite:
        """The suite of this identity, and so of all it signs."""
        return self.public.suite

    def sign(self, message: bytes, context: bytes) -> bytes:
        """The signatures of all signing keys, end to end (T-2)."""
        signers = self.suite.signers
        seeds = self._seeds[:len(signers)]
        return b"".join(signer.sign(seed, message, context) for signer, seed in zip(signers, seeds, strict=True))

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed to this identity by HPKE. Raises InvalidTag."""
        return self.suite.kem.open(self._seeds[len(self.suite.signers):], sealed, info)

    def secret_bytes(self) -> bytes:
        """The seeds. For the key file and for nothing else."""
        return b"".join(self._seeds)


def generate(suite: Suite = STANDARD, *, entropy: Callable[[int], bytes] = secrets.token_bytes) -> PrivateIdentity:
    """A new identity."""
    return PrivateIdentity(suite, entropy(suite.seeds_size))


def fingerprint_words(key_id: bytes) -> str:
    """The first 16 bytes of `key_id` as twelve English words of BIP-39."""
    return bip39().to_mnemonic(key_id[:FINGERPRINT_SIZE])


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
    known = bip39().wordlist
    for place, word in enumerate(words, 1):
        if word not in known:
            near = difflib.get_close_matches(word[:20], known, n=2)
            hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else "ask for this word again"
            raise UsageError(f"word {place}, '{shown(word)[:40]}', is not in the list of words", hint=hint)
    try:
        return bytes(bip39().to_entropy(words))
    except ValueError:
        raise UsageError(
            "these twelve words do not belong together: one is wrong, or two are swapped",
            hint="ask for the words again, one by one",
        ) from None


def _check_keys(identity: PublicIdentity) -> None:
    halves = identity.suite.halves
    sizes = tuple(len(key) for key in identity.keys)
    if sizes != tuple(half.public_size for half in halves):
        raise FormatError(f"the public keys have {sizes} bytes", rule="K-3")
    for half, key in zip(halves, identity.keys, strict=True):
        try:
            half.load(key)
        except ValueError:
            raise FormatError("a public key cannot be used", rule="K-3") from None


def _cut(raw: bytes, sizes: Sequence[int]) -> tuple[bytes, ...]:
    """`raw` in pieces of these sizes."""
    return tuple(raw[start:end] for start, end in pairwise(accumulate(sizes, initial=0)))


@cache
def bip39() -> Mnemonic:
    """The 2048 English words, and their way of writing numbers."""
    return Mnemonic("english")
