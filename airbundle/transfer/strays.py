"""Blocks of a bundle that no statement and no catalog explain: written as they were found, and nothing is made up.

Of several attempts at a segment the one of which most was found is taken. Each block carries its own digest; parity is
not used, since no root would say whether what it gives is right. An attempt of which less than one block in 64 is
there is not written: a single block can claim a file of 288 MiB. With `--sidecar`, verify and repair go on from there.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from airbundle.crypto.suites import suite_by_name, suite_by_number
from airbundle.errors import FormatError, MediumError, UsageError
from airbundle.format import limits
from airbundle.format.block import INDEX_AT, Kind
from airbundle.format.geometry import HEADER_SIZE, Geometry
from airbundle.format.names import shown
from airbundle.format.statement import parse_statement
from airbundle.media import volume as volumes
from airbundle.media.drive import free_space
from airbundle.media.volume import VolumeReader
from airbundle.media.writing import VolumeWriter
from airbundle.transfer.assemble import collect, keep_there
from airbundle.transfer.check import Expected
from airbundle.transfer.claims import claims_of
from airbundle.transfer.ends import encoded_record
from airbundle.transfer.laying import put_image
from airbundle.transfer.plan import margin
from airbundle.transfer.readback import holds_content, holds_image
from airbundle.transfer.replace import replace_file
from airbundle.transfer.rescued import RescuedBundle, RescuedSegment
from airbundle.transfer.statements import read_statements
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from airbundle.errors import AirbundleError
    from airbundle.media.raw import RawSources
    from airbundle.transfer.scan import Sightings
    from airbundle.transfer.stated import FoundStatement

LABEL = "ab"


@dataclass(frozen=True, slots=True)
class _Stray:
    """One attempt of which enough was found to be written."""

    geometry: Geometry
    preamble_length: int
    found: int


def write_strays(sources: RawSources, sightings: Sightings, bundle: bytes, target: str,
                 problem: AirbundleError, document: FoundStatement | None) -> RescuedBundle:
    """Segment files under their numbers, in one folder, and the statement if there is one; nothing if all are junk.

    Raises MediumError, also if there is no room, and UsageError (V-5).
    """
    path = os.path.join(target, volumes.volume_name(LABEL, bundle, 1, 1))
    there = _attempts_there(path)
    best: dict[int, _Stray] = {}
    for stray in sorted(_strays(sources, sightings, bundle),
                        key=lambda stray: (stray.geometry in there, stray.found), reverse=True):
        best.setdefault(stray.geometry.number, stray)
    written: list[RescuedSegment] = []
    if best or document is not None:
        sources.require_apart(path)
        sizes = [_expected(stray).place.stored_size for stray in best.values()]
        require_room(target, sum(sizes), volumes.bytes_in(path), max(sizes, default=0))
        with VolumeWriter(path, bundle_id=bundle) as volume, VolumeReader(path) as reader:
            require_right_names(reader, bundle)
            written = [_write_one(sources, sightings, volume, reader, best[number]) for number in sorted(best)]
            volume.discard_leftovers()
            if document is not None:  # the catalog may still be somewhere: with it the volume is what it was
                _write_statement(volume, reader, document)
            volume.sync()
    taken = {id(stray.geometry) for stray in best.values()}
    stale = [count for geometry, count in sightings.attempts(bundle) if id(geometry) not in taken]
    return RescuedBundle(bundle.hex(), "none that can be used", None, (path,) if written or document else (),
                         tuple(written), len(stale), sum(stale), (), str(problem), problem.exit_status)


def _attempts_there(path: str) -> set[Geometry]:
    """The attempts that the files of an earlier rescue are of: without a root nothing says that another is better."""
    if not os.path.isdir(path):
        return set()
    with VolumeReader(path) as reader:
        return {claim.geometry for name in reader.listing().files for claim in claims_of(reader, name) if claim.sound}


def require_right_names(reader: VolumeReader, bundle: bytes) -> None:
    """Raise UsageError if a file of a volume would be replaced by another segment than it holds."""
    for name in reader.listing().files:
        held = {claim.geometry.number for claim in claims_of(reader, name)
                if claim.sound and claim.geometry.bundle == bundle}
        if volumes.segment_number(name) is not None and held - {volumes.segment_number(name)}:
            raise UsageError("holds another segment than its name says", where=shown(os.path.join(reader.path, name)),
                             hint="move that folder elsewhere and give it as one more SOURCE")


def require_room(target: str, needed: int, there: int, largest: int) -> None:
    """Raise MediumError unless volumes of `needed` bytes fit, of which so many are `there`.

    Where something is, a new file of at most `largest` bytes lies beside the old one until it takes its place.
    """
    free, new = free_space(target), max(0, needed - there)
    spare = margin(free, new) if new else 0
    more = new + spare + (largest if there else 0)
    if more > free:
        raise MediumError(f"{more:,} bytes are needed, {spare:,} of them to stay free, and {free:,} are free",
                          where=target, hint="free more, or take a larger drive")


def _strays(sources: RawSources, sightings: Sightings, bundle: bytes) -> list[_Stray]:
    """The attempts that are no junk: so large a file is not written for a few blocks, nor one that breaks B-3."""
    enough = [(geometry, places) for geometry, _ in sightings.attempts(bundle)
              if (places := sightings.sound_places(geometry)) * limits.STRAY_SHARE
              >= geometry.coded_blocks + 2 * geometry.list_blocks]
    lengths = [_preamble_length(sources, sightings, geometry) for geometry, _ in enough]
    usual = Counter(length for length in lengths if length).most_common(1)
    strays = []
    for (geometry, places), own in zip(enough, lengths, strict=True):
        for length in filter(None, (own, *(length for length, _ in usual), 1)):
            stray = _Stray(geometry, length, places)
            with suppress(FormatError):
                _ = _expected(stray).place
                strays.append(stray)
                break
    return strays


def _expected(stray: _Stray) -> Expected:
    return Expected(suite=suite_by_number(stray.geometry.suite), geometry=stray.geometry, root=b"",
                    preamble_length=stray.preamble_length, preamble_hash=b"")


def _write_one(sources: RawSources, sightings: Sightings, volume: VolumeWriter, reader: VolumeReader,
               stray: _Stray) -> RescuedSegment:
    expected, number = _expected(stray), stray.geometry.number
    work, helper = (Workspace(expected.place.stored_size) for _ in range(2))
    name = volumes.segment_name(number)
    image, sound, conflicting = collect(work, sources, sightings, expected)
    keep_there(image, sound, reader, name, expected, None, helper)
    if not holds_image(volume, work, name, image):
        put_image(volume, name, image, work)
    found = int(sound.sum())
    return RescuedSegment(number, 1, len(sound), found, len(sound) - found, 0, conflicting, whole=False)


def _write_statement(volume: VolumeWriter, reader: VolumeReader, document: FoundStatement) -> None:
    """The record first; each takes the place of what is there only when it is whole (T-9). Signatures there stay."""
    suite = suite_by_name(parse_statement(document.envelope.payload).suite)  # K-2
    there = [copy.raw for copy in read_statements(reader)[::-1] if copy.raw is not None
             and copy.envelope is not None and copy.envelope.payload == document.envelope.payload]
    raw = (*there, document.raw)[0]
    for name, content in ((volumes.RECORD_NAME, encoded_record(raw, suite)), (volumes.STATEMENT_NAME, raw)):
        if not holds_content(volume, name, content):
            replace_file(volume, name, content)


def _preamble_length(sources: RawSources, sightings: Sightings, geometry: Geometry) -> int:
    """What the last preamble block that was found says of the length in bytes; 0 if none was."""
    runs = sightings.of(geometry)
    runs = runs[runs["sound"] & (runs["kind"] == Kind.PREAMBLE)]
    if not len(runs):
        return 0
    run = runs[int(np.argmax(runs["index"] + runs["count"]))]
    last = int(run["index"]) + int(run["count"]) - 1
    header = bytearray(HEADER_SIZE)
    with memoryview(header) as view:
        sources.read(int(run["source"]), view, int(run["position"]) + (int(run["count"]) - 1) * geometry.block_size)
    length = last * geometry.payload_size + int.from_bytes(header[INDEX_AT + 4:HEADER_SIZE], "little")
    return length if 0 < length <= limits.PREAMBLE_MAX else 0
