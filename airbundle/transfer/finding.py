"""Find the volumes of one bundle, and read what is there of its statement (V-2).

Nothing is believed here: ids are claims, and only keep the volumes of different bundles apart.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.codec.record import RECORD_SIZE, recover_record
from airbundle.crypto.suites import hash_by_suite
from airbundle.errors import DamagedError, FormatError, UsageError
from airbundle.format.dsse import Envelope, parse_envelope
from airbundle.format.statement import STATEMENT_TYPE, parse_statement
from airbundle.media import volume as volumes
from airbundle.media.volume import VolumeReader
from airbundle.transfer.claims import claims_of, holds_record

if TYPE_CHECKING:
    from collections.abc import Sequence

STATEMENTS = (volumes.STATEMENT_NAME, volumes.RECORD_NAME)


@dataclass(frozen=True, slots=True)
class StatementCopy:
    """One copy of a statement on one volume, readable or not; `problem` says what is wrong with it."""

    volume: VolumeReader
    name: str
    raw: bytes | None
    envelope: Envelope | None
    problem: str


def open_volumes(paths: Sequence[str], bundle_id: str = "") -> tuple[VolumeReader, ...]:
    """(1) The volumes at `paths`. Raises UsageError if there is none, or several bundles and no `bundle_id`."""
    found: dict[str, str] = {}
    for path in paths:
        for folder in volumes.find_volumes(path):
            found.setdefault(os.path.realpath(folder), folder)
    if not found:
        raise UsageError("no volume here", where=", ".join(paths),
                         hint="give a folder that ends in .airbundle, or one that holds it")
    readers = [volumes.VolumeReader(folder) for folder in found.values()]
    try:
        chosen = _one_bundle(readers, bundle_id.lower(), ", ".join(paths))
    except BaseException:
        chosen = ()
        raise
    finally:
        for reader in readers:
            if reader not in chosen:
                reader.close()
    return chosen


def _one_bundle(readers: list[VolumeReader], wanted: str, where: str) -> tuple[VolumeReader, ...]:
    """The volumes of the one bundle that is here or wanted. What a stopped pack left behind is no bundle yet (V-4)."""
    stated = {reader: _stated_bundles(reader) for reader in readers}
    claimed = stated if any(stated.values()) else {reader: _held_bundles(reader) for reader in readers}
    ids = {claim for claims in claimed.values() for claim in claims if claim.startswith(wanted)}
    if wanted and not ids:
        there = sorted({claim for claims in claimed.values() for claim in claims})
        raise UsageError(f"no volume of bundle {wanted} here", where=where,
                         hint="there is: " + (", ".join(there) or "nothing that can be read"))
    if len(ids) > 1:
        raise UsageError(f"volumes of {len(ids)} bundles here", where=where,
                         hint="say which with --bundle: " + ", ".join(sorted(ids)))
    if not ids:
        return tuple(readers)
    return tuple(reader for reader in readers if ids & (claimed[reader] or _held_bundles(reader)))


def _stated_bundles(reader: VolumeReader) -> set[str]:
    """Bundle ids that the volume's statements claim; its blocks decide where they differ."""
    stated = set()
    for copy in read_statements(reader):
        if copy.envelope is not None:
            with contextlib.suppress(FormatError):
                stated.add(parse_statement(copy.envelope.payload).bundle)
    return stated & _held_bundles(reader) or stated if len(stated) > 1 else stated


def _held_bundles(reader: VolumeReader) -> set[str]:
    """Bundle ids that the volume's blocks claim."""
    return {claim.geometry.bundle.hex() for name in reader.listing().files for claim in claims_of(reader, name)
            if claim.sound}


def read_statements(reader: VolumeReader) -> list[StatementCopy]:
    """Both copies of the statement on one volume; where neither can be read, records under other names (V-2)."""
    copies = [_read_statement(reader, name) for name in STATEMENTS]
    if all(copy.envelope is None for copy in copies):
        copies += [_read_statement(reader, name) for name in reader.listing().files
                   if name not in volumes.FIXED_NAMES and holds_record(reader, name)]
    return copies


def _read_statement(reader: VolumeReader, name: str) -> StatementCopy:
    raw, envelope, problem = None, None, ""
    try:
        raw = reader.read_small(name, RECORD_SIZE + 1)
        if name != volumes.STATEMENT_NAME:
            raw = recover_record(raw, hash_by_suite=hash_by_suite, engine=best_engine()).content
        envelope = parse_envelope(raw, STATEMENT_TYPE)  # T-1
    except FileNotFoundError:
        problem = "is missing"
    except DamagedError as error:
        problem = str(error)
    return StatementCopy(reader, name, raw, envelope, problem)
