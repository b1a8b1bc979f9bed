"""Receipts: what an import saw, decided and did, signed by the station's key; for refusals too.

A receipt is a DSSE document (`NAME.receipt.json`) with the same said in plain text beside it (`NAME.receipt.txt`),
which is for eyes only: what counts is the document.
"""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from airbundle.crypto.identities import fingerprint_hex, fingerprint_words
from airbundle.crypto.signing import check, sign
from airbundle.errors import ForgedError, StrangerError
from airbundle.format import encoding
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.encoding import DigestOrNone, HexDigest, Int53
from airbundle.format.names import shown
from airbundle.station.admission import Check, Drive
from airbundle.station.audit import escaped
from airbundle.station.state import RECEIPT_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.trust import TrustSet

RECEIPT_TYPE: Final = "application/vnd.airbundle.receipt.v1+json"
FINDINGS_MAX: Final = 200
PUBLISHED_NAME: Final = "published"
WIDTH: Final = 78


class SignerLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signed: name and roles by the policy, empty for a stranger."""

    key: HexDigest
    name: str
    roles: tuple[str, ...]


class BlockCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Blocks read, and those that were not as written; `repaired` were put right in memory."""

    read: Int53 = 0
    unreadable: Int53 = 0
    damaged: Int53 = 0
    misplaced: Int53 = 0
    altered: Int53 = 0
    repaired: Int53 = 0


class GateLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one gate did: how many files, and how many it did not find clean."""

    gate: str
    version: str
    files: Int53
    not_clean: Int53


class GateFinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file that a gate did not find clean."""

    gate: str
    path: str
    outcome: str
    detail: str


class AuditRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The line of the audit log that was the last when the receipt was made."""

    number: Int53
    hash: DigestOrNone


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signed payload. Times in seconds since 1970, `state` where the import came to, `code` why it ended there."""

    receipt: Literal[1] = 1
    station: str
    state: str
    code: str
    exit: Int53
    what: str
    bundle: str
    statement: DigestOrNone
    label: str
    marking: str
    series: str | None
    sequence: Int53 | None
    suite: str
    revision: Int53
    volumes: Int53
    drives: tuple[Drive, ...]
    signers: tuple[SignerLine, ...]
    checks: tuple[Check, ...]
    blocks: BlockCounts
    findings: tuple[str, ...]
    gates: tuple[GateLine, ...]
    gate_findings: tuple[GateFinding, ...]
    waivers: tuple[str, ...]
    files: Int53
    bytes: Int53
    target: str
    policy: HexDigest
    tighter: tuple[str, ...]
    audit: AuditRef
    began: Int53
    ended: Int53
    clock: str
    writer: str


def receipt_payload(receipt: Receipt) -> bytes:
    """What is signed; bytes of names on a drive that are no Unicode text are written as escapes."""
    return encoding.encode(msgspec.convert(_escaped(msgspec.to_builtins(receipt)), Receipt))


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value


def receipt_documents(payload: bytes, identity: PrivateIdentity) -> tuple[str, bytes, str]:
    """Name, signed document and page of a receipt. Raises FormatError for a payload that is none."""
    receipt = encoding.decode(payload, Receipt, limit=RECEIPT_MAX, rule="L-5")
    document = write_envelope(Envelope(RECEIPT_TYPE, payload, (sign(identity, RECEIPT_TYPE, payload),)))
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(receipt.began))
    name = published_name(receipt.bundle) if not receipt.code else f"{receipt.bundle or 'unknown'}-{receipt.code}"
    return f"{moment}-{receipt.audit.number:06d}-{name}", document, receipt_page(receipt, identity.public.key_id)


def published_name(bundle: str) -> str:
    """How the name of the receipt of a publication ends."""
    return f"{bundle}-{PUBLISHED_NAME}"


def parse_receipt(raw: bytes, trust: TrustSet | None) -> tuple[Receipt, bytes]:
    """A receipt and the key id of the station that signed it; without `trust` nobody vouches for it.

    Raises FormatError, StrangerError, ForgedError.
    """
    envelope = parse_envelope(raw, RECEIPT_TYPE, limit=RECEIPT_MAX, payload_limit=RECEIPT_MAX)
    signature = envelope.signatures[0]
    if trust is not None:
        public = trust.find(signature.key_id)
        if public is None or len(envelope.signatures) != 1:
            raise StrangerError(f"the receipt is signed by a key that is not trusted here: "
                                f"{fingerprint_hex(signature.key_id)}", hint="give the station's key with --trust")
        check(public, signature, RECEIPT_TYPE, envelope.payload)
    receipt = encoding.decode(envelope.payload, Receipt, limit=RECEIPT_MAX, rule="L-5")
    return receipt, signature.key_id


def require_statement(receipt: Receipt, hashes: Sequence[str]) -> None:
    """Raise ForgedError unless the receipt is about a statement with one of these hashes."""
    if receipt.statement not in hashes:
        raise ForgedError(f"the receipt is about statement {receipt.statement or 'none'}, this is "
                          f"{' or '.join(hashes) or 'none'}",
                          hint="it is the receipt of another bundle, or of another revision")


def receipt_page(receipt: Receipt, station: bytes) -> str:
    """The plain-text page; `station` is the key id of its signer."""
    lines = [f"AIRBUNDLE RECEIPT: {receipt.state.upper()}" + (f" ({receipt.code})" if receipt.code else ""), ""]
    rows = [
        ("station", receipt.station), ("bundle", receipt.bundle or "-"), ("label", receipt.label),
        ("marking", receipt.marking or "-"), ("series", _series(receipt)), ("suite", receipt.suite),
        ("statement", receipt.statement or "-"), ("what", receipt.what), ("exit status", str(receipt.exit)),
        ("published to", receipt.target or "-"), ("content", f"{receipt.files} files, {receipt.bytes} bytes"),
        ("began", _time(receipt.began)), ("ended", _time(receipt.ended)), ("clock", receipt.clock or "in order"),
        ("policy", ", ".join((receipt.policy, *receipt.tighter))),
        ("audit line", f"{receipt.audit.number}, {receipt.audit.hash}"),
        ("written by", receipt.writer)]
    lines += _rows(rows)
    for title, found in (
            ("Signed by", [f"{signer.name or 'a stranger'} ({', '.join(signer.roles) or 'no role'}): "
                           f"{fingerprint_hex(bytes.fromhex(signer.key))}" for signer in receipt.signers]),
            ("Drives", [f"volume {drive.volume or '?'} of {receipt.volumes}: serial {drive.serial or 'unknown'}, "
                        f"recorded {drive.recorded or 'none'}" for drive in receipt.drives]),
            ("Custody", [f"volume {drive.volume or '?'}: {line}" for drive in receipt.drives
                         for line in (*drive.events, *drive.broken)]),
            ("Checks", [f"{one.outcome:8} {one.name}: {one.detail}" for one in receipt.checks]),
            ("Blocks", [", ".join(f"{n} {name}" for name, n in msgspec.structs.asdict(receipt.blocks).items())]),
            ("Findings on the drives", list(receipt.findings)),
            ("Gates", [f"{gate.gate} {gate.version}: {gate.files} files, {gate.not_clean} not clean"
                       for gate in receipt.gates]),
            ("Gate findings", [f"{one.outcome} {one.path}: {one.gate}: {one.detail}" for one in receipt.gate_findings]),
            ("Waivers", list(receipt.waivers))):
        if found:
            lines += ["", title, *(line for text in found for line in _wrapped(text, "  "))]
    lines += ["", "Signed by the station's key", f"  {fingerprint_hex(station)}",
              *_wrapped(fingerprint_words(station), "  ", "  "),
              "What counts is the signed document beside this page: airbundle receipt verify"]
    return "\n".join(lines) + "\n"


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    return [line for name, value in rows for line in _wrapped(value, f"{name:13} ", " " * 14)]


def _wrapped(text: str, first: str, rest: str = "    ") -> list[str]:
    return textwrap.wrap(shown(text), WIDTH, initial_indent=first, subsequent_indent=rest) or [first.rstrip()]


def _series(receipt: Receipt) -> str:
    return f"{receipt.series} {receipt.sequence}" if receipt.series is not None else "-"


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
