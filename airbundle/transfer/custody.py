"""Custody: who had a drive, when, and under which seal: signed events on the drive itself, each naming the last one.

The events are no part of the bundle, and no decoding depends on them. What was taken away from their end cannot be
noticed on the drive alone: the last event belongs on the slip (`airbundle slip`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

import msgspec

from airbundle.crypto.identities import fingerprint_hex
from airbundle.crypto.signing import check, sign
from airbundle.errors import ForgedError, FormatError, UsageError
from airbundle.format import encoding, limits
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.encoding import DigestOrNone, Hex16, HexDigest, Int53
from airbundle.format.names import check_public_text, require_assigned
from airbundle.media.custody_folder import add_event, read_events
from airbundle.transfer.whose import volumes_of

if TYPE_CHECKING:
    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.trust import TrustSet
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.open import Bundle

CUSTODY_TYPE: Final = "application/vnd.airbundle.custody.v1+json"
Kind = Literal["packed", "released", "handed-over", "checked", "repaired", "received"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)


class CustodyEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signed payload. `previous` is SHA-256 of the document before it, `time` in seconds since 1970.

    `volume` is the number of the volume on the drive, 0 where nothing tells; `statement` is that of the bundle then.
    """

    custody: Literal[1] = 1
    bundle: Hex16
    statement: HexDigest
    volume: Int53
    number: Int53
    previous: DigestOrNone
    event: Kind
    time: Int53
    serial: str
    seal: str
    note: str


@dataclass(frozen=True, slots=True)
class CustodyLink:
    """One event as it was found: by whom (a name of the trust set, else empty), and what is wrong with it."""

    event: CustodyEvent
    signer: bytes
    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class CustodyChain:
    """The events of one volume in order, and what is wrong with the whole."""

    links: tuple[CustodyLink, ...] = ()
    problems: tuple[str, ...] = ()
    last: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether more is wrong than that somebody unknown here has signed."""
        return (bool(self.problems) and any(link.problem and link.name for link in self.links)) or any(
            problem.endswith(("in its place", "before it")) for problem in self.problems)

    @property
    def sound_kinds(self) -> tuple[str, ...]:
        """The events that hold."""
        return tuple(link.event.event for link in self.links if not link.problem)

    @property
    def lines(self) -> tuple[str, ...]:
        """Each event for a person."""
        return tuple(f"{link.event.event} by {link.name or 'a stranger'}"
                     f"{f', seal {link.event.seal}' if link.event.seal else ''}"
                     f"{f' ({link.problem})' if link.problem else ''}" for link in self.links)

    @property
    def serial(self) -> str:
        """The drive's serial number by the last event of a trusted key that has one."""
        return next((link.event.serial for link in reversed(self.links) if link.event.serial and link.name
                     and not link.problem), "")


def read_chain(bundle: Bundle, reader: VolumeReader, trust: TrustSet) -> CustodyChain:
    """The events on a volume, judged. Raises FormatError for what is no event at all, MediumError."""
    links, problems, previous = [], [], ""
    for place, (name, raw) in enumerate(read_events(reader.path), 1):
        envelope = parse_envelope(raw, CUSTODY_TYPE, limit=limits.CUSTODY_EVENT_SIZE_MAX,
                                  payload_limit=limits.CUSTODY_EVENT_SIZE_MAX)
        event = _parse(envelope.payload)
        link = CustodyLink(event, envelope.signatures[0].key_id, trust.name(envelope.signatures[0].key_id) or "",
                           _problem(bundle, reader, envelope, event, trust))
        if event.number != place:
            problems.append(f"event {place} is missing: {name} stands in its place")
        elif event.previous != previous:
            problems.append(f"event {place} follows another than the one before it")
        if link.problem:
            problems.append(f"event {event.number}: {link.problem}")
        previous = hashlib.sha256(raw).hexdigest()
        links.append(link)
    return CustodyChain(tuple(links), tuple(problems), previous)


def add_to_chain(bundle: Bundle, reader: VolumeReader, chain: CustodyChain, identity: PrivateIdentity, *, kind: str,
                 now: int, serial: str = "", seal: str = "", note: str = "") -> CustodyEvent:
    """Sign one more event and write it onto the volume. Raises UsageError, also for a chain that is broken."""
    if kind not in KINDS:
        raise UsageError(f"'{kind}' is no event of custody", hint=f"known are: {', '.join(KINDS)}")
    if chain.is_broken:
        raise UsageError("the events on this drive are not whole: nothing is added to them", where=reader.path,
                         hint="airbundle custody show says what is wrong")
    try:
        for text in (serial, seal, note):
            check_public_text(require_assigned(text))
    except FormatError as error:
        raise UsageError(error.what, rule=error.rule) from None
    event = CustodyEvent(
        bundle=bundle.statement.bundle, statement=bundle.statement_hash, number=len(chain.links) + 1,
        volume=min(volumes_of(bundle, reader.path), default=0), previous=chain.last, event=cast("Kind", kind), time=now,
        serial=serial, seal=seal, note=note)
    payload = encoding.encode(event)
    raw = write_envelope(Envelope(CUSTODY_TYPE, payload, (sign(identity, CUSTODY_TYPE, payload),)))
    add_event(reader.path, f"{event.number:04d}-{kind}.json", raw)
    return event


def _problem(bundle: Bundle, reader: VolumeReader, envelope: Envelope, event: CustodyEvent, trust: TrustSet) -> str:
    """What is wrong with one event by itself."""
    signature = envelope.signatures[0]
    public = trust.find(signature.key_id)
    if len(envelope.signatures) != 1 or public is None:
        return f"signed by {fingerprint_hex(signature.key_id)}, whom nobody here trusts"
    try:
        check(public, signature, CUSTODY_TYPE, envelope.payload)
    except ForgedError:
        return "its signature does not hold"
    if event.bundle != bundle.statement.bundle:
        return "it is of another bundle"
    here = volumes_of(bundle, reader.path)
    if event.volume and here and event.volume not in here:
        return f"it is of volume {event.volume}"
    same = event.statement == bundle.statement_hash or bundle.statement.revision > 0  # a rewrap makes another statement
    return "" if same else "it names another statement"


def _parse(payload: bytes) -> CustodyEvent:
    event = encoding.decode(payload, CustodyEvent, limit=limits.CUSTODY_EVENT_SIZE_MAX, rule="L-5")
    for text in (event.serial, event.seal, event.note):
        check_public_text(text)
    return event
