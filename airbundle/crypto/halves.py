"""The halves of an identity (spec 7.1): one value for each algorithm that a suite signs or seals with.

Everything that differs between algorithms is in these values: sizes, how a public key comes from its seed, which public
keys are refused, how to sign, verify, seal and open. Suites are made of them, and nothing else names an algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from airbundle.errors import ForgedError, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    MldsaPrivate = type[MLDSA65PrivateKey | MLDSA87PrivateKey]
    MldsaPublic = type[MLDSA65PublicKey | MLDSA87PublicKey]
    OpeningKey = hpke.MLKEM768X25519PrivateKey | MLKEM1024PrivateKey
    SealingKey = hpke.MLKEM768X25519PublicKey | MLKEM1024PublicKey

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


@dataclass(frozen=True, slots=True)
class Half:
    """One kind of key: its `field` in key files, its name for people, and its sizes in bytes.

    `public_of` gives the public key of a seed. `load` makes a key of public bytes and raises ValueError for bytes that
    are none, or FormatError that says more; it is how a key is checked (K-3).
    """

    field: str
    title: str
    seed_size: int
    public_size: int
    public_of: Callable[[bytes], bytes]
    load: Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Signer(Half):
    """A half that signs. `sign(seed, message, context)` gives `signature_size` bytes.

    `verify(public, signature, message, context)` raises InvalidSignature.
    """

    signature_size: int
    sign: Callable[[bytes, bytes, bytes], bytes]
    verify: Callable[[bytes, bytes, bytes, bytes], None]

    def require(self, public: bytes, signature: bytes, message: bytes, context: bytes) -> None:
        """Returns if the signature holds. Raises ForgedError (T-2)."""
        try:
            self.verify(public, signature, message, context)
        except InvalidSignature:
            raise ForgedError(f"the {self.title} signature does not hold", rule="T-2") from None


@dataclass(frozen=True, slots=True)
class Kem:
    """How a bundle key is sealed to an identity: HPKE, and the halves that its keys are made of.

    `encapsulated_size` is what HPKE puts in front of what it seals, in bytes.
    """

    title: str
    hpke: hpke.Suite
    encapsulated_size: int
    halves: tuple[Half, ...]
    sealing_key: Callable[..., SealingKey]
    """From the public bytes of the halves, in order."""
    opening_key: Callable[..., OpeningKey]
    """From their seeds."""

    def seal(self, publics: Sequence[bytes], content: bytes, info: bytes) -> bytes:
        """The encapsulated key, then `content` and a tag of 16 bytes."""
        return self.hpke.encrypt(content, self.sealing_key(*publics), info=info)

    def open(self, seeds: Sequence[bytes], sealed: bytes, info: bytes) -> bytes:
        """The inverse of `seal`. Raises InvalidTag."""
        return self.hpke.decrypt(sealed, self.opening_key(*seeds), info=info)


def _load_ed25519(public: bytes) -> Ed25519PublicKey:
    # Only one spelling of a point, otherwise two keys could share a half without K-4 seeing it.
    y = int.from_bytes(public, "little") & (2**255 - 1)
    if y >= _PRIME:
        raise FormatError("a public key is not in its canonical form", rule="K-3")
    if y in _SMALL_ORDER:
        raise FormatError("an Ed25519 public key has small order", rule="K-3")
    return Ed25519PublicKey.from_public_bytes(public)


def _load_x25519(public: bytes) -> X25519PublicKey:
    if int.from_bytes(public, "little") >= _PRIME:
        raise FormatError("a public key is not in its canonical form", rule="K-3")
    key = X25519PublicKey.from_public_bytes(public)
    # An exchange with a point of small order fails: found here and not while packing.
    X25519PrivateKey.from_private_bytes(bytes(32)).exchange(key)
    return key


def _verify_ed25519(public: bytes, signature: bytes, message: bytes, _context: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


def _mldsa(title: str, private: MldsaPrivate, public: MldsaPublic, *, size: int, signature_size: int) -> Signer:
    """One of the parameter sets of FIPS 204, with its context string."""

    def verify(key: bytes, signature: bytes, message: bytes, context: bytes) -> None:
        public.from_public_bytes(key).verify(signature, message, context)

    return Signer(
        field="mldsa", title=title, seed_size=32, public_size=size, signature_size=signature_size, verify=verify,
        public_of=lambda seed: private.from_seed_bytes(seed).public_key().public_bytes_raw(),
        load=public.from_public_bytes,
        sign=lambda seed, message, context: private.from_seed_bytes(seed).sign(message, context))


ED25519: Final = Signer(
    field="ed25519", title="Ed25519", seed_size=32, public_size=32, signature_size=64, load=_load_ed25519,
    public_of=lambda seed: Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw(),
    sign=lambda seed, message, _: Ed25519PrivateKey.from_private_bytes(seed).sign(message), verify=_verify_ed25519)
MLDSA65: Final = _mldsa("ML-DSA-65", MLDSA65PrivateKey, MLDSA65PublicKey, size=1952, signature_size=3309)
MLDSA87: Final = _mldsa("ML-DSA-87", MLDSA87PrivateKey, MLDSA87PublicKey, size=2592, signature_size=4627)

X25519: Final = Half(
    field="x25519", title="X25519", seed_size=32, public_size=32, load=_load_x25519,
    public_of=lambda seed: X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())
MLKEM768: Final = Half(
    field="mlkem", title="ML-KEM-768", seed_size=64, public_size=1184, load=MLKEM768PublicKey.from_public_bytes,
    public_of=lambda seed: MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw())
MLKEM1024: Final = Half(
    field="mlkem", title="ML-KEM-1024", seed_size=64, public_size=1568, load=MLKEM1024PublicKey.from_public_bytes,
    public_of=lambda seed: MLKEM1024PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw())

MLKEM768_X25519: Final = Kem(
    title="MLKEM768-X25519", encapsulated_size=1120, halves=(MLKEM768, X25519),  # ML-KEM-768 1088, X25519 32
    hpke=hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    sealing_key=lambda mlkem, x25519: hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(mlkem), X25519PublicKey.from_public_bytes(x25519)),
    opening_key=lambda mlkem, x25519: hpke.MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(mlkem), X25519PrivateKey.from_private_bytes(x25519)))
MLKEM1024_ALONE: Final = Kem(
    title="ML-KEM-1024", encapsulated_size=1568, halves=(MLKEM1024,),
    hpke=hpke.Suite(hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM),
    sealing_key=MLKEM1024PublicKey.from_public_bytes, opening_key=MLKEM1024PrivateKey.from_seed_bytes)
