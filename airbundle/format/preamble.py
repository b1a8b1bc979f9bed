"""The preamble (spec 7.2) as bytes and as a value: who sealed it, the commitment, and the envelopes.

Nothing is opened here; `crypto.envelope` does that. How long digests and envelopes are, and which there are, depends on
the suite, so a function that knows (`shape_of`) comes in as an argument.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.errors import FormatError
from airbundle.format import limits
from airbundle.format.cost import COST_SIZE, parse_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUNDLE_ID_AT: Final = 4
BUNDLE_ID_SIZE: Final = 16
ENVELOPE_HPKE: Final = 1  # K-5
ENVELOPE_PASSPHRASE: Final = 2  # K-12

_HEAD: Final = struct.Struct("<BBH16s")
_ENTRY: Final = struct.Struct("<BBH")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a suite fixes: bytes of a digest (`h`), and of an envelope of each type that it has."""

    digest_size: int
    envelope_sizes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class SealedKey:
    """One envelope: the key id of its recipient (zeros in type 2), what holds the bundle key, and its type."""

    recipient: bytes
    sealed: bytes
    kind: int = ENVELOPE_HPKE


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
        """Key ids of the envelopes of type 1, in order (compared with the manifest by G-4)."""
        return tuple(envelope.recipient for envelope in self.envelopes if envelope.kind == ENVELOPE_HPKE)

    @property
    def under_passphrase(self) -> bool:
        """Whether it is a passphrase that opens this bundle, and no key (K-12)."""
        return any(envelope.kind == ENVELOPE_PASSPHRASE for envelope in self.envelopes)


def write_preamble_bytes(preamble: Preamble) -> bytes:
    """The bytes of `preamble`; the inverse of `parse_preamble`."""
    parts = [
        _HEAD.pack(preamble.suite_number, len(preamble.envelopes), 0, preamble.bundle_id),
        preamble.packer_id,
        preamble.commitment,
    ]
    for envelope in preamble.envelopes:
        parts += [_ENTRY.pack(envelope.kind, 0, len(envelope.sealed)), envelope.recipient, envelope.sealed]
    return b"".join(parts)


def preamble_size(shape: Shape, count: int, kind: int = ENVELOPE_HPKE) -> int:
    """Bytes of a preamble with `count` envelopes of type `kind`."""
    entry = _ENTRY.size + shape.digest_size + shape.envelope_sizes[kind]
    return _HEAD.size + 2 * shape.digest_size + count * entry


def parse_preamble_bytes(raw: bytes, shape_of: Callable[[int], Shape]) -> Preamble:
    """The preamble that is all of `raw`. Raises FormatError: K-1 (from `shape_of`), K-6, K-12 or K-14, nothing else."""
    if not _HEAD.size <= len(raw) <= limits.PREAMBLE_MAX:  # K-6
        raise FormatError(f"the preamble has {len(raw)} bytes", rule="K-6")
    suite_number, count, zero, bundle_id = _HEAD.unpack_from(raw)
    shape = shape_of(suite_number)
    h = shape.digest_size
    if not 1 <= count <= limits.ENVELOPES_MAX or zero:
        raise FormatError(f"the preamble says {count} envelopes, or has bytes that should be zero", rule="K-6")
    at = _HEAD.size
    packer_id, commitment = raw[at : at + h], raw[at + h : at + 2 * h]
    at += 2 * h
    envelopes = []
    for _ in range(count):
        envelopes.append(_parse_entry(raw, at, shape))
        at += _ENTRY.size + h + len(envelopes[-1].sealed)
    if len(raw) != at:
        raise FormatError(f"the preamble has {len(raw)} bytes instead of {at}", rule="K-6")
    preamble = Preamble(suite_number, bundle_id, packer_id, commitment, tuple(envelopes))
    if preamble.under_passphrase and count != 1:  # K-12
        raise FormatError(f"the preamble has {count} envelopes, one of them under a passphrase", rule="K-12")
    if len({envelope.recipient for envelope in envelopes}) != count:  # K-6
        raise FormatError("the preamble names a recipient twice", rule="K-6")
    return preamble


def _parse_entry(raw: bytes, at: int, shape: Shape) -> SealedKey:
    """The envelope that begins at byte `at`."""
    if len(raw) < at + _ENTRY.size:
        raise FormatError("the preamble ends inside an envelope", rule="K-6")
    kind, zero, length = _ENTRY.unpack_from(raw, at)
    if kind == ENVELOPE_PASSPHRASE and kind not in shape.envelope_sizes:
        raise FormatError("an envelope under a passphrase, which this suite does not have", rule="K-12")
    if length != shape.envelope_sizes.get(kind) or zero:
        raise FormatError(f"an envelope of type {kind} and {length} bytes is not known", rule="K-6")
    at += _ENTRY.size
    recipient, sealed = raw[at : at + shape.digest_size], raw[at + shape.digest_size :][:length]
    if len(sealed) != length:
        raise FormatError("the preamble ends inside an envelope", rule="K-6")
    if kind == ENVELOPE_PASSPHRASE:
        parse_cost(sealed[:COST_SIZE])  # K-14
        if any(recipient):
            raise FormatError("an envelope under a passphrase names a recipient", rule="K-12")
    return SealedKey(recipient, sealed, kind)
