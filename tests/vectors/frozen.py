"""What cannot be made twice with the same bytes: envelopes, signatures, zstd frames.

Kept by the digest of their input.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from typing import TYPE_CHECKING, Any
from unittest import mock

import zstandard

from airbundle.codec.compress import Codec, Compressor
from airbundle.crypto.identities import PrivateIdentity, PublicIdentity
from airbundle.crypto.suites import tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Frozen:
    """Answers of an earlier run; `used` are those that this run asked for, and new ones."""

    def __init__(self, known: dict[str, bytes]) -> None:
        self.known = known
        self.used: dict[str, bytes] = {}

    def get(self, kind: str, parts: tuple[bytes, ...], make: Callable[[], bytes]) -> bytes:
        digest = hashlib.sha256(kind.encode())
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)
        name = f"{kind}/{digest.hexdigest()[:32]}"
        value = self.known[name] if name in self.known else self.used[name] if name in self.used else make()
        self.used[name] = value
        return value

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, whatever signs, seals to a recipient or compresses asks here first."""
        sign, seal, compress, frame = (PrivateIdentity.sign, PublicIdentity.seal, Compressor.compress,
                                       zstandard.compress)

        def frozen_sign(one: PrivateIdentity, message: bytes, context: bytes) -> bytes:
            if b".v1+json" not in message:  # the journal signs too, with types of its own
                return sign(one, message, context)
            return self.get("signature", (one.public.key_id, message, context), lambda: sign(one, message, context))

        def frozen_seal(one: PublicIdentity, content: bytes, info: bytes) -> bytes:
            if not info.startswith(tag("envelope")):  # a journal is sealed too, and thrown away
                return seal(one, content, info)
            return self.get("envelope", (one.key_id, content, info), lambda: seal(one, content, info))

        def frozen_compress(one: Compressor, plain: memoryview, dtype: Any) -> tuple[Codec, memoryview]:
            def made() -> bytes:
                codec, packed = compress(one, plain, dtype)
                return codec.value.encode() + b"\0" + packed

            codec, _, packed = self.get("chunk", (bytes(plain), str(dtype).encode()), made).partition(b"\0")
            return Codec(codec.decode()), memoryview(packed)

        def frozen_frame(plain: bytes, level: int = 3) -> bytes:
            return self.get("frame", (plain, bytes([level])), functools.partial(frame, plain, level))

        with mock.patch.object(PrivateIdentity, "sign", frozen_sign), \
                mock.patch.object(PublicIdentity, "seal", frozen_seal), \
                mock.patch.object(Compressor, "compress", frozen_compress), \
                mock.patch.object(zstandard, "compress", frozen_frame):
            yield
