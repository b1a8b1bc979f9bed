"""Identities as files: canonical JSON (spec chapter 11) with the keys in base64, as many as the suite has.

A private file holds the seeds in clear or sealed under a passphrase: Argon2id (RFC 9106) gives a key, AES-256-GCM
seals the seeds with all the other fields as associated data. The salt is fresh for each writing, so each key seals
once and the nonce is zero. `check` is a hash of the file without it. It keeps nobody from forging; it tells a damaged
file from a wrong passphrase, which a person has to know apart. The cost of Argon2id stands in the file, so it is
held against limits before anything is computed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airbundle.crypto.identities import PrivateIdentity, PublicIdentity, fingerprint_hex
from airbundle.crypto.passphrase import STRETCH_SALT_SIZE, Passphrase
from airbundle.crypto.suites import SUITES, Suite, suite_by_name, tag
from airbundle.errors import FormatError, NoKeyError
from airbundle.format import encoding, limits
from airbundle.format.cost import PassphraseCost
from airbundle.format.names import check_public_text, require_assigned

if TYPE_CHECKING:
    from collections.abc import Callable

TAG_SIZE: Final = 16

_NONCE: Final = bytes(12)
_HALVES: Final = frozenset(half.field for suite in SUITES for half in suite.halves)


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
        if passphrase is None:
            raise NoKeyError(f"the key '{self.name}' is protected by a passphrase", hint="give the passphrase")
        try:
            key = Passphrase(passphrase).stretch(self._salt, cost)
            return AESGCM(key).decrypt(_NONCE, self._seeds, self._header)
        except InvalidTag:
            raise NoKeyError(
                f"the passphrase does not open the key '{self.name}'", hint="type it again; capitals and spaces count"
            ) from None


class _PublicDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The halves of all suites; a file has those of its own, and no others."""

    kind: Literal["airbundle public key"]
    version: Literal[1]
    suite: str
    name: str
    ed25519: str | msgspec.UnsetType = msgspec.UNSET
    mldsa: str | msgspec.UnsetType = msgspec.UNSET
    mlkem: str | msgspec.UnsetType = msgspec.UNSET
    x25519: str | msgspec.UnsetType = msgspec.UNSET
    id: encoding.HexDigest

    def keys(self, suite: Suite) -> tuple[bytes, ...]:
        """The public keys. Raises FormatError (K-3) for halves that the suite does not have, or too few."""
        wanted = [half.field for half in suite.halves]
        found = {name: text for name in _HALVES if isinstance(text := getattr(self, name), str)}
        if sorted(wanted) != sorted(found):
            raise FormatError(f"a public key file of the suite '{suite.name}' has other keys than it", rule="K-3")
        return tuple(encoding.from_base64(found[name], rule="E-3") for name in wanted)


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
    """The file of a public identity, about 5 KB. Raises FormatError (E-4) for a name that cannot be shown."""
    return encoding.encode(
        _PublicDocument(
            kind="airbundle public key",
            version=1,
            suite=public.suite.name,
            name=check_public_text(require_assigned(name)),
            id=public.key_id.hex(),
            **{half.field: encoding.to_base64(key) for half, key in zip(public.suite.halves, public.keys, strict=True)},
        )
    )


def parse_public(raw: bytes) -> NamedIdentity:
    """The identity in the file `raw`. Raises FormatError (E-1 to E-4, K-1, K-3) and nothing else."""
    document = encoding.decode(raw, _PublicDocument, limit=limits.IDENTITY_FILE_MAX, rule="E-1")
    suite = suite_by_name(document.suite)
    public = PublicIdentity(suite, document.keys(suite))
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

    Raises UsageError for a passphrase that is empty or short (K-16), FormatError (E-4) for a name that cannot be shown.
    """
    secret = Passphrase(passphrase) if passphrase is not None else None
    if secret is not None:
        secret.require_lasting()
    cost = (cost or PassphraseCost()) if secret is not None else None
    salt = entropy(STRETCH_SALT_SIZE) if cost else b""
    document = _PrivateDocument(
        kind="airbundle private key",
        version=1,
        suite=identity.suite.name,
        name=check_public_text(require_assigned(name)),
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
    if cost and secret is not None:
        seeds = AESGCM(secret.stretch(salt, cost)).encrypt(_NONCE, seeds, encoding.encode(document))
    document = msgspec.structs.replace(document, seeds=encoding.to_base64(seeds))
    return encoding.encode(msgspec.structs.replace(document, check=_check(identity.suite, document)))


def parse_private(raw: bytes) -> PrivateFile:
    """The private key file `raw`, not yet opened. Raises FormatError and nothing else, before any costly step."""
    document = encoding.decode(raw, _PrivateDocument, limit=limits.IDENTITY_FILE_MAX, rule="E-1")
    suite = suite_by_name(document.suite)
    without = msgspec.structs.replace(document, check="")
    if document.check != _check(suite, without):  # K-17
        raise FormatError("a private key file is damaged", hint="use a copy of the file", rule="K-17")
    salt = encoding.from_base64(document.salt, rule="E-3")
    seeds = encoding.from_base64(document.seeds, rule="E-3")
    is_protected = document.protection == "argon2id"
    cost = None
    if is_protected:
        cost = PassphraseCost(document.memory, document.iterations, document.lanes)
    elif document.memory or document.iterations or document.lanes:
        raise FormatError("a private key file has a cost but no protection", rule="E-3")
    expected = (STRETCH_SALT_SIZE, suite.seeds_size + TAG_SIZE) if is_protected else (0, suite.seeds_size)
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


def _check(suite: Suite, document: _PrivateDocument) -> str:
    return suite.hash(tag("keyfile"), encoding.encode(document)).hex()
