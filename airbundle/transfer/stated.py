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
from airbundle.crypto.suites import hash_by_suite
from airbundle.errors import FormatError
from airbundle.format import limits
from airbundle.format.dsse import Envelope, parse_envelope
from airbundle.format.statement import STATEMENT_TYPE, parse_statement

if TYPE_CHECKING:
    from airbundle.media.raw import RawSources
    from airbundle.transfer.scan import Sightings


@dataclass(frozen=True, slots=True)
class FoundStatement:
    """One document as it was found."""

    raw: bytes
    envelope: Envelope


def found_statements(sources: RawSources, sightings: Sightings) -> dict[bytes, list[FoundStatement]]:
    """All different documents, by the bundle that they name. Nothing of them is believed here."""
    contents: dict[bytes, None] = {}
    hurt: list[tuple[int, int]] = []
    reached: set[tuple[int, int]] = set()
    for source, at in sightings.records:
        try:
            content = intact_copy(_read(sources, source, at, COPY_SIZE), hash_by_suite=hash_by_suite)
        except FormatError:
            hurt.append((source, at))
        else:
            contents[content] = None
            reached |= {(source, at + n * COPY_SIZE) for n in range(1 - COPIES, COPIES)}
    for source, at in sightings.texts:
        contents[_text(_read(sources, source, at, limits.STATEMENT_MAX))] = None
    found = _by_bundle(list(contents))
    if set(sightings.bundles()) <= found.keys():
        return found
    _decode(sources, [place for place in hurt if place not in reached], contents)
    return _by_bundle(list(contents))


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


def _by_bundle(contents: list[bytes]) -> dict[bytes, list[FoundStatement]]:
    found: dict[bytes, list[FoundStatement]] = {}
    for raw in contents:
        with suppress(FormatError):
            envelope = parse_envelope(raw, STATEMENT_TYPE)  # T-1
            here = found.setdefault(bytes.fromhex(parse_statement(envelope.payload).bundle), [])
            if len(here) < limits.STATEMENTS_SEEN_MAX:
                here.append(FoundStatement(raw, envelope))
    return found


def _read(sources: RawSources, source: int, at: int, length: int) -> bytes:
    buffer = bytearray(length)
    with memoryview(buffer) as view:
        sources.read(source, view, at)
    return bytes(buffer)
