"""Waivers: exceptions from the policy, signed by administrators, each for one bundle or one state of the ledger.

There is no flag that lets in what the policy refuses. A waiver names what it is for by a hash (that of the bundle's
statement, or of the last line of the audit log), which refusals it lifts, why, and until when; using it is logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from airbundle.crypto.signing import judge, sign
from airbundle.crypto.suites import SUITES
from airbundle.errors import ForgedError, FormatError, StrangerError, ThresholdError, UsageError
from airbundle.format import encoding, limits
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.encoding import HexDigest, Int53
from airbundle.format.names import check_public_text
from airbundle.format.quantities import DAY
from airbundle.station.policy import ADMINISTRATOR

if TYPE_CHECKING:
    from collections.abc import Collection

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.station.policy import LoadedPolicy

WAIVER_TYPE: Final = "application/vnd.airbundle.waiver.v1+json"
WAIVABLE: Final = ("replay", "rollback", "step", "expired", "no-expiry", "long-life", "marking", "series",
                   "too-large", "too-many-files", "altered-blocks", "changed-serial", "unknown-drive", "custody",
                   "ledger-restored")
"""What can be lifted: never a signature, a suite, a future date or a gate."""


class Waiver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signed payload. Times in seconds since 1970."""

    waiver: Literal[1]
    subject: HexDigest
    allow: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=len(WAIVABLE))]
    reason: str
    made: Int53
    until: Int53


def make_waiver(identity: PrivateIdentity, *, subject: str, allow: Collection[str], reason: str, now: int,
                seconds: int) -> bytes:
    """A waiver as a signed document. Raises UsageError for what cannot be waived."""
    unknown = sorted(set(allow) - set(WAIVABLE))
    if unknown or not allow:
        raise UsageError(f"'{', '.join(unknown)}' cannot be waived" if unknown else "nothing is to be waived",
                         hint=f"known are: {', '.join(WAIVABLE)}")
    if not reason.strip():
        raise UsageError("a waiver needs a reason", hint="--reason TEXT, in one line")
    try:
        check_public_text(reason)
        payload = encoding.encode(Waiver(1, subject, tuple(sorted(allow)), reason, now, now + seconds))
        _parse(payload)
    except FormatError as error:
        raise UsageError(error.what, hint="give the hash that the refusal named, and a reason of one line") from None
    return write_envelope(Envelope(WAIVER_TYPE, payload, (sign(identity, WAIVER_TYPE, payload),)))


def parse_waiver(raw: bytes) -> Waiver:
    """What a waiver says, whoever signed it. Raises FormatError."""
    return _parse(parse_envelope(raw, WAIVER_TYPE).payload)


def add_signature(raw: bytes, identity: PrivateIdentity, *, subject: str) -> bytes:
    """The same waiver with one more signature. Raises UsageError if it is for another subject, FormatError."""
    envelope = parse_envelope(raw, WAIVER_TYPE)
    if _parse(envelope.payload).subject != subject:
        raise UsageError("the waiver is for something else", hint="look at it, and give the hash that it names")
    signature = sign(identity, WAIVER_TYPE, envelope.payload)
    return write_envelope(Envelope(WAIVER_TYPE, envelope.payload, (*envelope.signatures, signature)))


def read_waiver(raw: bytes, policy: LoadedPolicy, now: int) -> Waiver:
    """A waiver that holds here and now.

    Raises FormatError, StrangerError or ThresholdError (not enough administrators of the policy), UsageError (too late
    or too early).
    """
    envelope = parse_envelope(raw, WAIVER_TYPE)
    administrators = {holder.key_id for holder in policy.holders_of(ADMINISTRATOR)}
    valid = set()
    for suite in SUITES:
        judgement = judge([envelope], policy.trust, envelope.signatures[0].key_id, suite)
        valid |= {identity.key_id for identity in judgement.valid} & administrators
        if judgement.failing:
            raise ForgedError("a signature of the waiver does not hold")
    needed = policy.rules.thresholds.administrator
    if not valid:
        raise StrangerError("no administrator of the policy has signed this waiver")
    if len(valid) < needed:
        raise ThresholdError(f"{len(valid)} of {needed} administrators have signed this waiver")
    waiver = _parse(envelope.payload)
    if not waiver.made - DAY <= now < waiver.until:
        raise UsageError("the waiver does not hold now: it is too late or too early")
    return waiver


def _parse(payload: bytes) -> Waiver:
    waiver = encoding.decode(payload, Waiver, limit=limits.STATEMENT_PAYLOAD_MAX, rule="L-5")
    check_public_text(waiver.reason)
    if any(code not in WAIVABLE for code in waiver.allow):
        raise FormatError("a waiver of something that cannot be waived")
    return waiver
