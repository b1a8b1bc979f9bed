"""Identities as files: canonical JSON (spec chapter 11) with the keys in base64.

A private file holds the seeds in clear or sealed under a passphrase: Argon2id (RFC 9106) gives a key, AES-256-GCM
seals the seeds with all the other fields as associated data. The salt is fresh for each writing, so each key seals
once and the nonce is zero. `check` is a hash of the file without it. It keeps nobody from forging; it tells a damaged
file from a wrong passphrase, which a person has to know apart. The cost of Argon2id stands in the file, so it is
held against limits before anything is computed.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from airbundle.crypto.identities import SEEDS_SIZE, PrivateIdentity, PublicIdentity, fingerprint_hex
from airbundle.crypto.suites import Suite, suite_by_name, tag
from airbundle.errors import FormatError, NoKeyError, UsageError
from airbundle.format import encoding, limits
from airbundle.format.names import check_public_text

if TYPE_CHECKING:
    from collections.abc import Callable

SALT_SIZE: Final = 16
TAG_SIZE: Final = 16
MEMORY_KIB_MAX: Final = 512 * 1024
ITERATIONS_MAX: Final = 16
LANES_MAX: Final = 16

_NONCE: Final = bytes(12)


@dataclass(frozen=True, slots=True)
class PassphraseCost:
    """The cost of Argon2id: KiB of memory, iterations, lanes. Raises FormatError for what no reader would run."""

    memory_kib: int = 256 * 1024
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        within = 1 <= self.iterations <= ITERATIONS_MAX and 1 <= self.lanes <= LANES_MAX
        if not within or not 8 * self.lanes <= self.memory_kib <= MEMORY_KIB_MAX:  # RFC 9106 wants 8 KiB a lane
            raise FormatError(
                f"a key file asks for {self.memory_kib} KiB, {self.iterations} iterations and {self.lanes} lanes",
                hint=f"allowed are {MEMORY_KIB_MAX} KiB, {ITERATIONS_MAX} iterations and {LANES_MAX} lanes",
            )


@dataclass(frozen=True, slots=True)
class NamedIdentity:
    """A public identity and the name that its file gives it. The name is not part of the key id: it proves nothing."""

    name: str
    public: PublicIdentity


@dataclass(frozen=True, slots=True)
class PrivateFile:
    """A private key file that was read but not opened; `unlock` opens it. Never shows what it holds."""

    name: str
    suite: Suite
    key_id: bytes
    is_protected: bool
    _header: bytes
    _salt: bytes
    _cost: PassphraseCost | None
    _seeds: bytes

    def __repr__(self) -> str:
        return f"PrivateFile({self.name!r}, {fingerprint_hex(self.key_id)})"

    def unlock(self, passphrase: str | None = None) -> PrivateIdentity:
        """The identity in the file; `passphrase` has no effect on a file that is not protected.

        Raises NoKeyError for a passphrase that is missing or wrong, FormatError (K-3) if the seeds do not give the id.
        """
        seeds = self._seeds if self._cost is None else self._open_seeds(self._cost, passphrase)
        identity = PrivateIdentity(self.suite, seeds)
        if identity.public.key_id != self.key_id:  # K-3
            raise FormatError("the seeds in a private key file do not give its id", rule="K-3")
        return identity

    def _open_seeds(self, cost: PassphraseCost, passphrase: str | None) -> bytes:
        if not passphrase:
            raise NoKeyError(f"the key '{self.name}' is protected by a passphrase", hint="give the passphrase")
        try:
            return AESGCM(_stretch(passphrase, self._salt, cost)).decrypt(_NONCE, self._seeds, self._header)
        except InvalidTag:
            raise NoKeyError(
                f"the passphrase does not open the key '{self.name}'", hint="type it again; capitals and spaces count"
            ) from None


class _PublicDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["airbundle public key"]
    version: Literal[1]
    suite: str
    name: str
    ed25519: str
    mldsa: str
    mlkem: str
    x25519: str
    id: encoding.HexDigest


class _PrivateDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["airbundle private key"]
    version: Literal[1]
    suite: str
    name: str
    id: encoding.HexDigest
    protection: Literal["none", "argon2id"]
    memory: encoding.Int53  # KiB
    iterations: encoding.Int53
    lanes: encoding.Int53
    salt: str
    seeds: str
    check: encoding.HexDigest | Literal[""]


def write_public(name: str, public: PublicIdentity) -> bytes:
    """The file of a public identity, about 4.5 KB. Raises FormatError (E-4) for a name that cannot be shown."""
    return encoding.encode(
        _PublicDocument(
            kind="airbundle public key",
            version=1,
            suite=public.suite.name,
            name=check_public_text(name),
            ed25519=encoding.to_base64(public.ed25519),
            mldsa=encoding.to_base64(public.mldsa),
            mlkem=encoding.to_base64(public.mlkem),
            x25519=encoding.to_base64(public.x25519),
            id=public.key_id.hex(),
        )
    )


def parse_public(raw: bytes) -> NamedIdentity:
    """The identity in the file `raw`. Raises FormatError (E-1 to E-4, K-1, K-3) and nothing else."""
    document = encoding.decode(raw, _PublicDocument, limit=limits.IDENTITY_FILE_MAX, rule="E-1")
    keys = (document.ed25519, document.mldsa, document.mlkem, document.x25519)
    public = PublicIdentity(suite_by_name(document.suite), *(encoding.from_base64(key, rule="E-3") for key in keys))
    if public.key_id.hex() != document.id:  # K-3
        raise FormatError("the keys in a public key file do not give its id", rule="K-3")
    return NamedIdentity(check_public_text(document.name), public)


def write_private(
    name: str,
    identity: PrivateIdentity,
    *,
    passphrase: str | None,
    cost: PassphraseCost | None = None,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """The file of `identity`: sealed under `passphrase`, or in clear if that is None.

    Raises UsageError for an empty passphrase, FormatError (E-4) for a name that cannot be shown.
    """
    cost = (cost or PassphraseCost()) if passphrase is not None else None
    salt = entropy(SALT_SIZE) if cost else b""
    document = _PrivateDocument(
        kind="airbundle private key",
        version=1,
        suite=identity.suite.name,
        name=check_public_text(name),
        id=identity.public.key_id.hex(),
        protection="argon2id" if cost else "none",
        memory=cost.memory_kib if cost else 0,
        iterations=cost.iterations if cost else 0,
        lanes=cost.lanes if cost else 0,
        salt=encoding.to_base64(salt),
        seeds="",
        check="",
    )
    seeds = identity.secret_bytes()
    if cost and passphrase is not None:
        seeds = AESGCM(_stretch(passphrase, salt, cost)).encrypt(_NONCE, seeds, encoding.encode(document))
    document = msgspec.structs.replace(document, seeds=encoding.to_base64(seeds))
    return encoding.encode(msgspec.structs.replace(document, check=_check(identity.suite, document)))


def parse_private(raw: bytes) -> PrivateFile:
    """The private key file `raw`, not yet opened. Raises FormatError and nothing else, before any costly step."""
    document = encoding.decode(raw, _PrivateDocument, limit=limits.IDENTITY_FILE_MAX, rule="E-1")
    suite = suite_by_name(document.suite)
    without = msgspec.structs.replace(document, check="")
    if document.check != _check(suite, without):
        raise FormatError("a private key file is damaged", hint="use a copy of the file")
    salt = encoding.from_base64(document.salt, rule="E-3")
    seeds = encoding.from_base64(document.seeds, rule="E-3")
    is_protected = document.protection == "argon2id"
    cost = None
    if is_protected:
        cost = PassphraseCost(document.memory, document.iterations, document.lanes)
    elif document.memory or document.iterations or document.lanes:
        raise FormatError("a private key file has a cost but no protection", rule="E-3")
    expected = (SALT_SIZE, SEEDS_SIZE + TAG_SIZE) if is_protected else (0, SEEDS_SIZE)
    if (len(salt), len(seeds)) != expected:
        raise FormatError(f"a private key file has {len(salt)} bytes of salt and {len(seeds)} of seeds", rule="K-3")
    return PrivateFile(
        name=check_public_text(document.name),
        suite=suite,
        key_id=bytes.fromhex(document.id),
        is_protected=is_protected,
        _header=encoding.encode(msgspec.structs.replace(without, seeds="")),
        _salt=salt,
        _cost=cost,
        _seeds=seeds,
    )


def _stretch(passphrase: str, salt: bytes, cost: PassphraseCost) -> bytes:
    """32 bytes by Argon2id. The passphrase is taken in NFC, as keyboards differ in how they compose letters."""
    if not passphrase:
        raise UsageError("the passphrase is empty", hint="give a passphrase, or none at all")
    try:
        secret = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise UsageError("the passphrase is not Unicode text") from None
    kdf = Argon2id(salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib)
    return kdf.derive(secret)


def _check(suite: Suite, document: _PrivateDocument) -> str:
    return suite.hash(tag("keyfile"), encoding.encode(document)).hex()
