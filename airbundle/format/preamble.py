"""The preamble (spec 7.2) as bytes and as a value: who sealed it, the commitment, and the envelopes.

Nothing is opened here; `crypto.envelope` does that. How long digests and envelopes are depends on the suite, so a
function that knows (`shape_of`) comes in as an argument.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.errors import FormatError
from airbundle.format import limits

if TYPE_CHECKING:
    from collections.abc import Callable

BUNDLE_ID_SIZE: Final = 16
ENVELOPE_HPKE: Final = 1  # K-5

_HEAD: Final = struct.Struct("<BBH16s")
_ENTRY: Final = struct.Struct("<BBH")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a suite fixes: bytes of a digest (`h`) and of an envelope of type 1."""

    digest_size: int
    envelope_size: int


@dataclass(frozen=True, slots=True)
class SealedKey:
    """One envelope: the key id of its recipient, and the sealed bundle key (type 1)."""

    recipient: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Preamble:
    """The fields of spec 7.2. Made by `parse_preamble`, or by a writer that then calls `write_preamble_bytes`."""

    suite_number: int
    bundle_id: bytes
    packer_id: bytes
    commitment: bytes
    envelopes: tuple[SealedKey, ...]

    @property
    def recipients(self) -> tuple[bytes, ...]:
        """Key ids of the envelopes, in order (compared with the manifest by G-4)."""
        return tuple(envelope.recipient for envelope in self.envelopes)


def write_preamble_bytes(preamble: Preamble) -> bytes:
    """The bytes of `preamble`; the inverse of `parse_preamble`."""
    parts = [
        _HEAD.pack(preamble.suite_number, len(preamble.envelopes), 0, preamble.bundle_id),
        preamble.packer_id,
        preamble.commitment,
    ]
    for envelope in preamble.envelopes:
        parts += [_ENTRY.pack(ENVELOPE_HPKE, 0, len(envelope.sealed)), envelope.recipient, envelope.sealed]
    return b"".join(parts)


def parse_preamble_bytes(raw: bytes, shape_of: Callable[[int], Shape]) -> Preamble:
    """The preamble that is all of `raw`. Raises FormatError: K-1 (from `shape_of`) or K-6, nothing else."""
    if not _HEAD.size <= len(raw) <= limits.PREAMBLE_MAX:  # K-6
        raise FormatError(f"the preamble has {len(raw)} bytes", rule="K-6")
    suite_number, count, zero, bundle_id = _HEAD.unpack_from(raw)
    shape = shape_of(suite_number)
    h = shape.digest_size
    if not 1 <= count <= limits.ENVELOPES_MAX or zero:
        raise FormatError(f"the preamble says {count} envelopes, or has bytes that should be zero", rule="K-6")
    expected = _HEAD.size + 2 * h + count * (_ENTRY.size + h + shape.envelope_size)
    if len(raw) != expected:  # all envelopes of a suite have one size, so the count fixes the length
        raise FormatError(f"the preamble has {len(raw)} bytes instead of {expected}", rule="K-6")
    at = _HEAD.size
    packer_id, commitment = raw[at : at + h], raw[at + h : at + 2 * h]
    at += 2 * h
    envelopes = []
    for _ in range(count):
        kind, zero, length = _ENTRY.unpack_from(raw, at)
        if kind != ENVELOPE_HPKE or zero or length != shape.envelope_size:
            raise FormatError(f"an envelope of type {kind} and {length} bytes is not known", rule="K-6")
        at += _ENTRY.size
        envelopes.append(SealedKey(raw[at : at + h], raw[at + h : at + h + length]))
        at += h + length
    if len({envelope.recipient for envelope in envelopes}) != count:  # K-6
        raise FormatError("the preamble names a recipient twice", rule="K-6")
    return Preamble(suite_number, bundle_id, packer_id, commitment, tuple(envelopes))
