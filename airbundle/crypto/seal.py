"""Seals of one object, a segment or a catalog (spec 5.1, 7.3): AES-256-GCM in pieces, under the object's own key.

A `Sealer` draws its salt itself when it is made (K-10), so a retry has another key and no key and nonce ever meet two
plaintexts. Both directions write into buffers that the caller reuses. Object keys are not shared between objects.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airbundle.crypto.envelope import SALT_SIZE
from airbundle.errors import AirbundleError, DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from airbundle.crypto.envelope import BundleKey, Context

TAG_SIZE: Final = 16


class Sealer:
    """Seals the parts of one object in the order of their counters. `salt` (16 bytes) goes into headers and rows."""

    __slots__ = ("_aead", "_closed", "_next", "salt")

    def __init__(
        self,
        context: Context,
        bundle_key: BundleKey,
        number: int,
        *,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """One attempt to write the object `number`; no salt comes in, so none can be used twice (K-10)."""
        self.salt = entropy(SALT_SIZE)
        self._aead = AESGCM(bundle_key.object_key(context, number, self.salt))
        self._next = 0
        self._closed = False

    def seal_into(self, counter: int, plain: Buffer, out: memoryview, *, last: bool) -> int:
        """Seal `plain` into the start of `out`; gives the bytes written, `len(plain) + 16`.

        Counters only grow, and nothing follows the part with `last`: so no nonce is used twice. A breach is a bug and
        raises AirbundleError (S-10). `out` must not overlap `plain`; if it is too short, ValueError.
        """
        if self._closed or (not last and counter < self._next):  # S-10
            raise AirbundleError(f"a nonce would be used twice: counter {counter}", rule="S-10")
        self._closed, self._next = last, counter + 1
        view = memoryview(plain)
        size = view.nbytes + TAG_SIZE
        self._aead.encrypt_into(_nonce(counter, last=last), view, None, out[:size])
        return size


class Opener:
    """Opens the parts of one object, in any order."""

    __slots__ = ("_aead",)

    def __init__(self, context: Context, bundle_key: BundleKey, number: int, salt: bytes) -> None:
        """`salt` is that of the catalog row, 16 bytes (FormatError otherwise)."""
        self._aead = AESGCM(bundle_key.object_key(context, number, salt))

    def open_into(self, counter: int, sealed: Buffer, out: memoryview, *, last: bool) -> int:
        """Open `sealed` into the start of `out`; gives the bytes written, `len(sealed) - 16`.

        Raises DamagedError (S-10) if the seal does not hold; then those bytes of `out` are zero, for the library
        leaves there what it decrypted and could not authenticate.
        """
        view = memoryview(sealed)
        size = view.nbytes - TAG_SIZE
        if size < 0:
            raise DamagedError("a sealed part is shorter than its tag", rule="S-10")
        target = out[:size]
        try:
            self._aead.decrypt_into(_nonce(counter, last=last), view, None, target)
        except InvalidTag:
            target[:] = bytes(size)
            raise DamagedError(f"the seal of part {counter} does not open", rule="S-10") from None
        return size


def _nonce(counter: int, *, last: bool) -> bytes:
    return counter.to_bytes(11, "big") + bytes([last])  # S-10
