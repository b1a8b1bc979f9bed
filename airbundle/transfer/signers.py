"""Which signatures the two copies of a statement on a volume should carry (spec chapter 9, T-4 and T-8).

What a volume's record carries stays: behind its own code no chance changes it. Where it cannot be read,
`statement.json` stands in for it. Added are the valid signatures of trusted keys from every other copy. A signature
that nobody here can judge stays on its volume, so that it is not lost, and gets to no other, so that it cannot spread.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from airbundle.crypto.signing import check
from airbundle.errors import ForgedError
from airbundle.format import limits
from airbundle.format.dsse import Envelope, Signature, write_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as volumes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airbundle.crypto.identities import PublicIdentity
    from airbundle.crypto.suites import Suite
    from airbundle.crypto.trust import TrustSet
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.statements import StatementCopy

    Judged = dict[tuple[Signature, bytes], bool]
    """Whether a signature over a payload holds."""


def valid_signatures(envelopes: Iterable[Envelope], trust: TrustSet, suite: Suite, packer: bytes,
                     judged: Judged | None = None) -> dict[bytes, Signature]:
    """One valid signature of each trusted key of `suite` (K-2) by key id, the packer's first; at most 10 (T-5).

    What stands in `judged` is not computed again; it gets what is.
    """
    found: dict[bytes, Signature] = {}
    judged = {} if judged is None else judged
    for one, envelope in ((one, copy) for copy in envelopes for one in copy.signatures):
        public = trust.find(one.key_id)
        if public is None or public.suite != suite or one.key_id in found:
            continue
        if (one, envelope.payload) not in judged:
            judged[one, envelope.payload] = _holds(public, one, envelope)
        if judged[one, envelope.payload]:
            found[one.key_id] = one
    order = sorted(found, key=lambda key_id: (key_id != packer, key_id))
    return {key_id: found[key_id] for key_id in order[:limits.SIGNATURES_MAX]}


def _holds(public: PublicIdentity, signature: Signature, envelope: Envelope) -> bool:
    try:
        check(public, signature, envelope.payload_type, envelope.payload)
    except ForgedError:
        return False
    return True


def documents_of(readers: Sequence[VolumeReader], copies: Sequence[StatementCopy], payload: bytes, trust: TrustSet,
                 suite: Suite, packer: bytes, *, added: Sequence[Signature] = ()) -> dict[str, bytes]:
    """By path of the volume what both its copies should say; nothing where nobody trusted has signed anything.

    `copies` may lie elsewhere too (a sidecar); `added` are valid signatures that are on no copy yet.
    """
    same = [copy for copy in copies if copy.envelope is not None and copy.envelope.payload == payload]
    judged: Judged = {}
    wanted = valid_signatures((envelope for copy in same if (envelope := copy.envelope)), trust, suite, packer, judged)
    wanted |= {signature.key_id: signature for signature in added}
    return {reader.path: _document(_leading(reader, same), payload, wanted, trust, suite, judged) for reader in readers}


def _leading(reader: VolumeReader, same: Sequence[StatementCopy]) -> StatementCopy | None:
    """The copy on this volume whose signatures stay: the record before the other, both before strays."""
    names = volumes.STATEMENTS[::-1]
    here = [copy for copy in same if copy.volume is reader]
    here.sort(key=lambda copy: names.index(copy.name) if copy.name in names else len(names))
    return here[0] if here else None


def _document(copy: StatementCopy | None, payload: bytes, wanted: dict[bytes, Signature], trust: TrustSet,
              suite: Suite, judged: Judged) -> bytes:
    """The leading copy as it is if it carries all that are wanted, else with them."""
    if copy is None or copy.envelope is None or copy.raw is None:
        return _written(payload, list(wanted.values()), []) if wanted else b""
    held = valid_signatures([copy.envelope], trust, suite, b"", judged)
    if wanted.keys() <= held.keys():
        return copy.raw
    known = [held.get(key_id, signature) for key_id, signature in wanted.items()]
    unknown = [signature for signature in copy.envelope.signatures if trust.find(signature.key_id) is None]
    return _written(payload, known, [signature for signature in unknown if signature.key_id not in wanted])


def _written(payload: bytes, known: list[Signature], unknown: list[Signature]) -> bytes:
    """The document with all known signatures, and as many of the unknown as still fit (T-5)."""
    for count in range(min(len(unknown), limits.SIGNATURES_MAX - len(known)), -1, -1):
        raw = write_envelope(Envelope(STATEMENT_TYPE, payload, tuple(chain(known, unknown[:count]))))
        if len(raw) <= limits.STATEMENT_MAX:
            break
    return raw
