"""Documents that an identity keeps for itself, and entries of a log under a key from such a document.

HPKE in base mode has no sender: who knows the public key can seal anything to it. So the head of a log is signed by
its owner first and then sealed to it, and opening checks both (a forged journal would choose the bundle key). Entries
are sealed under a key that only the head holds. Order and completeness of entries are the caller's: the counter is
bound into each of them.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airbundle.crypto.signing import check, sign
from airbundle.crypto.suites import Suite, tag
from airbundle.errors import FormatError
from airbundle.format.dsse import Signature
from airbundle.format.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.crypto.identities import PrivateIdentity

DOCUMENT_MAX: Final = 16 * MIB
ENTRY_KEY_SIZE: Final = 32
ENTRY_SALT_SIZE: Final = 16

_PURPOSE: Final = re.compile(r"[a-z][a-z-]{0,31}")
# Other uses of TAG.
_TAKEN: Final = frozenset({"commit", "envelope", "job", "key", "keyfile", "passphrase", "root", "seal", "sig"})
_NONCE: Final = bytes(12)


def seal_to_self(identity: PrivateIdentity, payload: bytes, purpose: str) -> bytes:
    """`payload` signed by `identity`, then sealed to it. `purpose` is like 'journal'."""
    signature = sign(identity, _type(purpose), payload)
    return identity.public.seal(signature.value + payload, _info(identity, purpose))


def open_from_self(identity: PrivateIdentity, raw: bytes, purpose: str, *, limit: int = DOCUMENT_MAX) -> bytes:
    """The payload that `identity` sealed for `purpose`. `limit` is the most bytes that `raw` may have.

    Raises FormatError (damaged, or not sealed to this identity for this purpose) or ForgedError (T-2: sealed to it,
    but by someone else).
    """
    if len(raw) > limit:
        raise FormatError(f"a sealed {purpose} has {len(raw)} bytes, at most {limit} are allowed")
    try:
        plain = identity.open(raw, _info(identity, purpose))
    except InvalidTag:
        raise FormatError(f"a sealed {purpose} is damaged, or another key's") from None
    size = identity.suite.signature_size
    if len(plain) < size:
        raise FormatError(f"a sealed {purpose} is too short")
    payload = plain[size:]
    check(identity.public, Signature(identity.public.key_id, plain[:size]), _type(purpose), payload)
    return payload


def seal_entry(
    key: bytes,
    counter: int,
    payload: bytes,
    purpose: str,
    *,
    suite: Suite,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """`payload` as entry `counter`: a fresh 16-byte salt, then the payload and a tag sealed under a key used once."""
    salt = entropy(ENTRY_SALT_SIZE)
    return salt + AESGCM(_entry_key(suite, key, counter, salt, purpose)).encrypt(_NONCE, payload, None)


def open_entry(key: bytes, counter: int, raw: bytes, purpose: str, *, suite: Suite) -> bytes:
    """The payload of entry `counter`. Raises FormatError if it is damaged or not this entry of this log."""
    salt, sealed = raw[:ENTRY_SALT_SIZE], raw[ENTRY_SALT_SIZE:]
    try:
        return AESGCM(_entry_key(suite, key, counter, salt, purpose)).decrypt(_NONCE, sealed, None)
    except InvalidTag:
        raise FormatError(f"entry {counter} of a {purpose} is damaged or not of this {purpose}") from None


def _entry_key(suite: Suite, key: bytes, counter: int, salt: bytes, purpose: str) -> bytes:
    if len(key) != ENTRY_KEY_SIZE:
        raise ValueError("the key of a log has 32 bytes")
    return suite.expand(key, _tag(purpose) + counter.to_bytes(8, "little") + salt, 32)


def _info(identity: PrivateIdentity, purpose: str) -> bytes:
    return _tag(purpose) + bytes([identity.suite.number]) + identity.public.key_id


def _type(purpose: str) -> str:
    return f"application/vnd.airbundle.{purpose}.v1"


def _tag(purpose: str) -> bytes:
    if not _PURPOSE.fullmatch(purpose) or purpose in _TAKEN:
        raise ValueError(f"'{purpose}' cannot be the purpose of a sealed log")
    return tag(purpose)
