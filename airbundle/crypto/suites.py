"""The suites of spec chapter 2: each fixes hash, KDF, seal, signature and envelope together. Nothing is negotiated.

What differs between suites is in these values and nowhere else. All of them seal with AES-256-GCM.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from airbundle.crypto.halves import ED25519, MLDSA65, MLDSA87, MLKEM768_X25519, MLKEM1024_ALONE, Half, Kem, Signer
from airbundle.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer


class Hasher(Protocol):
    """What the hash constructors of a suite give."""

    def update(self, data: Buffer, /) -> object:
        """Take more input."""

    def digest(self) -> bytes:
        """The digest of all input so far."""



@dataclass(frozen=True, slots=True)
class Suite:
    """One row of spec chapter 2. `has_passphrase` says whether a bundle of it may be under a passphrase (K-12)."""

    number: int
    name: str
    digest_size: int
    new_hash: Callable[..., Hasher]
    kdf_hash: hashes.HashAlgorithm
    signers: tuple[Signer, ...]
    kem: Kem
    has_passphrase: bool

    @property
    def halves(self) -> tuple[Half, ...]:
        """What an identity of this suite consists of, in the order of spec 7.1."""
        return (*self.signers, *self.kem.halves)

    @property
    def seeds_size(self) -> int:
        """Bytes of the seeds of an identity."""
        return sum(half.seed_size for half in self.halves)

    @property
    def signature_size(self) -> int:
        """Bytes of a signature: those of all signers (T-2)."""
        return sum(signer.signature_size for signer in self.signers)

    def hash(self, *parts: Buffer) -> bytes:
        """`H` over the parts end to end; `digest_size` bytes."""
        hasher = self.new_hash()
        for part in parts:
            hasher.update(part)
        return hasher.digest()

    def expand(self, key: bytes, info: bytes, length: int) -> bytes:
        """HKDF-Expand (RFC 5869) of a uniform 32-byte key."""
        return HKDFExpand(algorithm=self.kdf_hash, length=length, info=info).derive(key)


def tag(name: str) -> bytes:
    """`TAG(name)` of spec chapter 1: what keeps one use of a hash or key apart from all others."""
    return f"airbundle/{name}/v1".encode() + b"\0"


STANDARD: Final = Suite(number=1, name="standard", digest_size=32, new_hash=blake3, kdf_hash=hashes.SHA256(),
                        signers=(ED25519, MLDSA65), kem=MLKEM768_X25519, has_passphrase=True)
CNSA2: Final = Suite(number=2, name="cnsa2", digest_size=48, new_hash=hashlib.sha384, kdf_hash=hashes.SHA384(),
                     signers=(MLDSA87,), kem=MLKEM1024_ALONE, has_passphrase=False)
SUITES: Final = (STANDARD, CNSA2)


def suite_by_number(number: int) -> Suite:
    """K-1: raises FormatError for a number that is not known."""
    for suite in SUITES:
        if suite.number == number:
            return suite
    raise FormatError(f"suite number {number} is not known", rule="K-1")


def suite_by_name(name: str) -> Suite:
    """K-1: raises FormatError for a name that is not known."""
    for suite in SUITES:
        if suite.name == name:
            return suite
    raise FormatError(f"suite '{name[:40]}' is not known", rule="K-1")


def hash_by_suite(number: int) -> Callable[..., bytes]:
    """The hash of a suite over parts end to end (K-1)."""
    return suite_by_number(number).hash
