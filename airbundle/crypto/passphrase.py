"""Passphrases of key files and of bundles: text that a person knows, and the key that Argon2id (RFC 9106) makes of it.

Text is taken in NFC, as keyboards differ in how they compose letters (K-13). What a person chooses may be bad; what
`fresh_words` gives has 110 bits. A passphrase never shows in a `repr`.
"""

from __future__ import annotations

import secrets
import unicodedata
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from airbundle.crypto.identities import bip39
from airbundle.errors import MediumError, UsageError
from airbundle.format import limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.format.cost import PassphraseCost

STRETCHED_SIZE: Final = 32
STRETCH_SALT_SIZE: Final = 16
WORDS: Final = 10

_WORD_BITS: Final = 11


class Passphrase:
    """A passphrase that is not empty. Raises UsageError for one that is, or that is no Unicode text."""

    __slots__ = ("_secret",)

    def __init__(self, text: str) -> None:
        if not text:
            raise UsageError("the passphrase is empty", hint="give a passphrase, or none at all")
        try:
            self._secret = unicodedata.normalize("NFC", text).encode()  # K-13
        except UnicodeEncodeError:
            raise UsageError("the passphrase is not Unicode text") from None

    def __repr__(self) -> str:
        return "Passphrase(...)"

    def require_lasting(self) -> None:
        """For writers. Raises UsageError (K-16) for one too short to be worth its cost, or that NFC may change."""
        if any(unicodedata.category(c) == "Cn" for c in self._secret.decode()):
            raise UsageError("the passphrase has a character that is not in Unicode " + unicodedata.unidata_version,
                             rule="K-16", hint="take at least eight words drawn at random")
        if len(self._secret) < limits.PASSPHRASE_MIN:  # K-16
            raise UsageError(f"the passphrase has less than {limits.PASSPHRASE_MIN} bytes", rule="K-16",
                             hint="take at least eight words drawn at random")

    def stretch(self, salt: bytes, cost: PassphraseCost) -> bytes:
        """32 bytes by Argon2id; `salt` has 16. Raises MediumError where the memory for it is not there."""
        kdf = Argon2id(salt=salt, length=STRETCHED_SIZE, iterations=cost.iterations, lanes=cost.lanes,
                       memory_cost=cost.memory_kib)
        try:
            return kdf.derive(self._secret)
        except MemoryError:
            raise MediumError(f"a passphrase takes {cost.memory_kib // 1024} MiB of memory, which are not there",
                              hint="end other programs and try again") from None


def fresh_words(*, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A new passphrase: ten English words of BIP-39, without its checksum, of 110 random bits."""
    bits = int.from_bytes(entropy(-(-WORDS * _WORD_BITS // 8)), "big")
    known = bip39().wordlist
    return " ".join(known[bits >> at * _WORD_BITS & (1 << _WORD_BITS) - 1] for at in range(WORDS))
