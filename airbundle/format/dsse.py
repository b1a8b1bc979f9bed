"""DSSE envelopes (spec chapter 9): a payload, its type, and signatures over both.

The form of github.com/secure-systems-lab/dsse, narrowed to canonical JSON and canonical base64 so that equal
content has equal bytes. Nothing is verified here, `crypto.signing` does that. But a type other than the expected one
is refused before anything of the payload is decoded (T-1).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from airbundle.errors import FormatError
from airbundle.format import encoding, limits
from airbundle.format.names import shown


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature and the key id (32 or 48 bytes) of the key that is said to have made it."""

    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type, and 1 to 10 signatures, no two by the same key (T-5). Not verified."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.signatures) <= limits.SIGNATURES_MAX:  # T-5
            raise FormatError(f"a document has {len(self.signatures)} signatures instead of 1 to 10", rule="T-5")
        if len({signature.key_id for signature in self.signatures}) != len(self.signatures):  # T-5
            raise FormatError("a document has two signatures by the same key", rule="T-5")


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: encoding.HexDigest
    sig: str


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payload_type: str = msgspec.field(name="payloadType")
    signatures: tuple[_Signature, ...]


def write_envelope(envelope: Envelope) -> bytes:
    """The canonical JSON of `envelope`; the inverse of `parse_envelope`."""
    signatures = tuple(_Signature(s.key_id.hex(), encoding.to_base64(s.value)) for s in envelope.signatures)
    return encoding.encode(_Document(encoding.to_base64(envelope.payload), envelope.payload_type, signatures))


def parse_envelope(
    raw: bytes,
    payload_type: str,
    *,
    limit: int = limits.STATEMENT_MAX,
    payload_limit: int = limits.STATEMENT_PAYLOAD_MAX,
) -> Envelope:
    """The envelope that `raw` is. Raises FormatError: T-5, L-5, T-1 (another type), E-1 to E-3, nothing else.

    `limit` and `payload_limit` are bytes; the defaults are those of a statement.
    """
    document = encoding.decode(raw, _Document, limit=limit, rule="T-5")
    if document.payload_type != payload_type:  # T-1
        raise FormatError(f"a document has the type '{shown(document.payload_type)[:100]}'", rule="T-1")
    if len(document.payload) > (payload_limit + 2) // 3 * 4:
        raise FormatError(f"a payload has more than {payload_limit} bytes", rule="L-5")
    payload = encoding.from_base64(document.payload, rule="E-3")
    if len(payload) > payload_limit:
        raise FormatError(f"a payload has {len(payload)} bytes, at most {payload_limit} are allowed", rule="L-5")
    if len(document.signatures) > limits.SIGNATURES_MAX:
        raise FormatError(f"a document has {len(document.signatures)} signatures instead of 1 to 10", rule="T-5")
    signatures = tuple(
        Signature(bytes.fromhex(s.keyid), encoding.from_base64(s.sig, rule="E-3")) for s in document.signatures
    )
    return Envelope(document.payload_type, payload, signatures)
