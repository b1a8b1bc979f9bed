"""The statement of a bundle: read every copy, judge the signatures, choose the one that is believed (spec chapter 9).

Copies with the same payload give the union of their valid signatures (T-4). Of several revisions the highest comes
first (T-7). A copy that cannot be read, or that nobody here vouches for, is still reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from airbundle.codec.engines import best_engine
from airbundle.codec.record import RECORD_SIZE, CopyState, recover_record
from airbundle.crypto.signing import Judgement, judge, pae
from airbundle.crypto.suites import hash_by_suite, suite_by_name
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError, ForgedError, FormatError, UnsignedError
from airbundle.format import limits
from airbundle.format.dsse import Envelope, parse_envelope
from airbundle.format.statement import STATEMENT_TYPE, Statement, parse_statement
from airbundle.media import volume as volumes
from airbundle.transfer.claims import holds_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.crypto.suites import Suite
    from airbundle.media.volume import VolumeReader

_REVISED: Final = frozenset({"revision", "envelopes", "catalog", "writer"})
"""What a new revision may change (T-10)."""


@dataclass(frozen=True, slots=True)
class StatementCopy:
    """One copy of a statement on one volume, readable or not; `problem` says what is wrong with it.

    `encoded_for` is the number of the suite for which its file is the exact record of `raw`, else 0.
    """

    volume: VolumeReader
    name: str
    raw: bytes | None
    envelope: Envelope | None
    problem: str
    encoded_for: int = 0


def read_statements(reader: VolumeReader) -> list[StatementCopy]:
    """Both copies of the statement on one volume; where neither can be read, records under other names (V-2)."""
    copies = named_statements(reader)
    return copies if any(copy.envelope is not None for copy in copies) else copies + stray_statements(reader)


def named_statements(reader: VolumeReader) -> list[StatementCopy]:
    """Both copies of the statement on one volume, under their own names."""
    return [read_statement(reader, name) for name in volumes.STATEMENTS]


def stray_statements(reader: VolumeReader) -> list[StatementCopy]:
    """Records under other names, so many of them as L-6 says: anyone can store more, and each may take 10 s."""
    names = (name for name in reader.listing().files if name not in volumes.STATEMENTS and holds_record(reader, name))
    return [read_statement(reader, name) for name in islice(names, limits.STRAY_RECORDS_MAX)]


def find_statements(readers: Sequence[VolumeReader], beside: Sequence[StatementCopy],
                    trust: TrustSet) -> tuple[tuple[StatementCopy, ...], list[Candidate]]:
    """The copies under their own names; the strays of all volumes too if none of those, nor `beside`, is believed.

    Also what all of them, and those `beside`, are worth. So a genuine statement of another bundle that somebody drops
    here takes part only where it might be the one (V-2).
    """
    copies = [copy for reader in readers for copy in named_statements(reader)]
    found = _candidates((*copies, *beside), trust)
    if all(candidate.judgement is None for candidate in found):
        copies += [copy for reader in readers for copy in stray_statements(reader)]
        found = _candidates((*copies, *beside), trust)
    return tuple(copies), found


def hash_of_document(raw: bytes) -> str:
    """The hash by which receipts and slips name a statement, from its signed document. Raises FormatError."""
    payload = parse_envelope(raw, STATEMENT_TYPE).payload
    return hash_of_payload(payload, suite_by_name(parse_statement(payload).suite))


def hash_of_payload(payload: bytes, suite: Suite) -> str:
    """`H` over the PAE of a statement's payload."""
    return suite.hash(pae(STATEMENT_TYPE, payload)).hex()


def read_statement(reader: VolumeReader, name: str) -> StatementCopy:
    """One copy of the statement, by the name of its file."""
    raw, envelope, problem, encoded_for = None, None, "", 0
    try:
        raw = reader.read_small(name, RECORD_SIZE + 1)
        if name != volumes.STATEMENT_NAME:
            reading = recover_record(raw, hash_by_suite=hash_by_suite, engine=best_engine())
            if len(raw) == RECORD_SIZE and set(reading.copies) == {CopyState.INTACT}:
                encoded_for = reading.suite_number
            raw = reading.content
        envelope = parse_envelope(raw, STATEMENT_TYPE)  # T-1
    except FileNotFoundError:
        problem = "is missing"
    except DamagedError as error:
        problem = str(error)
    return StatementCopy(reader, name, raw, envelope, problem, encoded_for)


def revision_of(payload: bytes) -> int | None:
    """What revision a payload says it is, if it says anything."""
    try:
        return parse_statement(payload).revision
    except FormatError:
        return None


@dataclass(frozen=True, slots=True)
class Believed:
    """A statement that can be used: its payload, and what it says.

    Where `distrust` says why nobody here vouches for it, `judgement` is None.
    """

    payload: bytes
    statement: Statement
    judgement: Judgement | None
    distrust: AirbundleError | None


def choose_statements(candidates: Sequence[Candidate], where: str) -> tuple[Believed, ...]:
    """The statements that are believed, the highest revision first (T-7); else the first that is there.

    Raises UnsignedError without any, ForgedError where two that are believed disagree (T-4).
    """
    if not candidates:
        raise UnsignedError("no copy of the statement can be read", where=where, rule="T-1",
                            hint="without its statement a bundle cannot be believed: ask for another copy of this file")
    believed = [candidate for candidate in candidates if candidate.judgement is not None]
    chosen = _usable(believed) or _usable(candidates)[:1]
    if not chosen:
        assert candidates[0].error is not None
        raise candidates[0].error
    return _in_order(chosen, where)


def rank_statements(envelopes: Sequence[Envelope], trust: TrustSet, where: str) -> tuple[Believed, ...]:
    """All statements that can be parsed: those that are believed first, then the others, by revision.

    Raises ForgedError as `choose_statements` does. What nobody here vouches for may disagree as it likes.
    """
    by_payload: dict[bytes, list[Envelope]] = {}
    for envelope in envelopes:
        by_payload.setdefault(envelope.payload, []).append(envelope)
    chosen = _usable([_weigh(payload, copies, trust) for payload, copies in by_payload.items()])
    believed = _in_order([one for one in chosen if one.judgement is not None], where)
    others = [one for one in chosen if one.judgement is None]
    return (*believed, *sorted(others, key=lambda one: one.statement.revision, reverse=True))


def _usable(candidates: Sequence[Candidate]) -> list[Believed]:
    return [Believed(candidate.payload, candidate.statement, candidate.judgement, candidate.error)
            for candidate in candidates if candidate.statement is not None]


def _in_order(chosen: Sequence[Believed], where: str) -> tuple[Believed, ...]:
    revisions = {one.statement.revision for one in chosen}
    kept = {tuple(getattr(one.statement, name) for name in Statement.__struct_fields__ if name not in _REVISED)
            for one in chosen}
    if len(kept) > 1 or len(revisions) < len(chosen):  # T-4
        raise ForgedError("two signed statements disagree", where=where, rule="T-4",
                          hint="do not use this bundle; ask its packer which one is meant")
    return tuple(sorted(chosen, key=lambda one: one.statement.revision, reverse=True))


def _candidates(copies: Sequence[StatementCopy], trust: TrustSet) -> list[Candidate]:
    by_payload: dict[bytes, list[Envelope]] = {}
    for copy in copies:
        if copy.envelope is not None:
            by_payload.setdefault(copy.envelope.payload, []).append(copy.envelope)
    return [_weigh(payload, envelopes, trust) for payload, envelopes in by_payload.items()]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One payload and what the signatures on its copies are worth; without a statement it is malformed."""

    payload: bytes
    statement: Statement | None
    judgement: Judgement | None
    error: AirbundleError | None


def _weigh(payload: bytes, envelopes: list[Envelope], trust: TrustSet) -> Candidate:
    """What one payload and all signatures on its copies are worth."""
    statement = None
    try:
        statement = parse_statement(payload)
        judgement = judge(envelopes, trust, bytes.fromhex(statement.packer), suite_by_name(statement.suite))  # K-1
        judgement.require_packer()  # T-3, K-11
    except AirbundleError as error:
        return Candidate(payload, None if isinstance(error, FormatError) else statement, None, error)
    return Candidate(payload, statement, judgement, None)
