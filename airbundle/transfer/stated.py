"""Statements that were found anywhere: in records, digests before code (spec chapter 10), and as the text they are.

A record has three copies, each with the magic in front, at distances of 128 KiB. A copy that is intact needs no
neighbours. Where a bundle has no statement yet, the place of the record is guessed from each magic that is left, also
when the head of its first copy is gone, and the code does what it can. The text of `statement.json` is short, so it
may be whole where a drive in many pieces leaves no record so.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.codec.record import COPIES, COPY_SIZE, RECORD_SIZE, intact_copy, recover_record
from airbundle.crypto.signing import judge
from airbundle.crypto.suites import hash_by_suite, suite_by_name
from airbundle.errors import AirbundleError, FormatError
from airbundle.format import limits
from airbundle.format.dsse import Envelope, parse_envelope
from airbundle.format.statement import STATEMENT_TYPE, Statement, parse_statement

if TYPE_CHECKING:
    from airbundle.crypto.trust import TrustSet
    from airbundle.format.geometry import Geometry
    from airbundle.media.raw import RawSources
    from airbundle.transfer.scan import Sightings


@dataclass(frozen=True, slots=True)
class FoundStatement:
    """One document as it was found."""

    raw: bytes
    envelope: Envelope
    believed: bool


def found_statements(sources: RawSources, sightings: Sightings, trust: TrustSet) -> dict[bytes, list[FoundStatement]]:
    """Different documents by the bundle that they name: all that are believed, and so many of the others.

    Of the others those come first of whose catalog most was found.
    """
    contents: dict[bytes, None] = {}
    hurt: list[tuple[int, int]] = []
    reached: set[tuple[int, int]] = set()
    for source, at in (*sightings.records, *sightings.hurt_records):
        try:
            content = intact_copy(_read(sources, source, at, COPY_SIZE), hash_by_suite=hash_by_suite)
        except FormatError:
            hurt.append((source, at))
        else:
            contents[content] = None
            reached |= {(source, at + n * COPY_SIZE) for n in range(1 - COPIES, COPIES)}
    for source, at in sightings.texts:
        contents[_text(_read(sources, source, at, limits.STATEMENT_MAX))] = None
    found = _by_bundle(list(contents), sightings, trust)
    settled = {bundle for bundle, here in found.items() if not len(trust) or any(one.believed for one in here)}
    if set(sightings.bundles()) <= settled:
        return found
    _decode(sources, [place for place in hurt if place not in reached], contents)
    return _by_bundle(list(contents), sightings, trust)


def _decode(sources: RawSources, hurt: list[tuple[int, int]], contents: dict[bytes, None]) -> None:
    """Add what the code makes of the records that have a magic at the places `hurt`, in any of their copies."""
    tried: set[tuple[int, int]] = set()
    solved: set[tuple[int, int]] = set()
    for source, at in hurt:
        for base in (at - n * COPY_SIZE for n in range(COPIES)):
            if (source, at) in solved or base < 0 or (source, base) in tried:
                continue
            if len(tried) >= limits.RECORDS_DECODED_MAX:
                return
            tried.add((source, base))
            with suppress(FormatError):
                raw = _read(sources, source, base, RECORD_SIZE)
                contents[recover_record(raw, hash_by_suite=hash_by_suite, engine=best_engine()).content] = None
                solved |= {(source, base + n * COPY_SIZE) for n in range(COPIES)}


def _text(raw: bytes) -> bytes:
    """The JSON that `raw` begins with: no base64 and no hexadecimal in it has a bracket."""
    return raw[:raw.find(b"]}") + 2]


def _by_bundle(contents: list[bytes], sightings: Sightings, trust: TrustSet) -> dict[bytes, list[FoundStatement]]:
    believed: dict[bytes, list[FoundStatement]] = {}
    others: dict[bytes, list[tuple[int, FoundStatement]]] = {}
    for raw in contents:
        with suppress(FormatError):
            envelope = parse_envelope(raw, STATEMENT_TYPE)  # T-1
            statement = parse_statement(envelope.payload)
            bundle = bytes.fromhex(statement.bundle)
            if _is_believed(envelope, statement, trust):
                believed.setdefault(bundle, []).append(FoundStatement(raw, envelope, believed=True))
            else:
                there = sightings.sound_blocks(_catalog_of(statement))
                others.setdefault(bundle, []).append((-there, FoundStatement(raw, envelope, believed=False)))
    found = {bundle: believed.get(bundle, []) for bundle in (*believed, *others)}
    for bundle, here in others.items():
        here.sort(key=lambda one: one[0])
        found[bundle] += [one for _, one in here[:limits.STATEMENTS_SEEN_MAX]]
        sightings.statements_left_out[bundle] = max(0, len(here) - limits.STATEMENTS_SEEN_MAX)
    return found


def _is_believed(envelope: Envelope, statement: Statement, trust: TrustSet) -> bool:
    """Whether the packer signed it, and is trusted here."""
    try:
        judge([envelope], trust, bytes.fromhex(statement.packer), suite_by_name(statement.suite)).require_packer()
    except AirbundleError:
        return False
    return True


def _catalog_of(statement: Statement) -> Geometry:
    suite = suite_by_name(statement.suite)
    return statement.catalog.geometry(suite=suite.number, digest_size=suite.digest_size,
                                      bundle=bytes.fromhex(statement.bundle))


def _read(sources: RawSources, source: int, at: int, length: int) -> bytes:
    buffer = bytearray(length)
    with memoryview(buffer) as view:
        sources.read(source, view, at)
    return bytes(buffer)
