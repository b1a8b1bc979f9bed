"""Blocks of a bundle that no statement and no catalog explain: written as they were found, and nothing is made up.

Of several attempts at a segment the one of which most was found is taken. Each block carries its own digest; parity is
not used, since no root would say whether what it gives is right. With `--sidecar`, verify and repair go on from there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record
from airbundle.crypto.suites import hash_by_suite, suite_by_number
from airbundle.format.block import INDEX_AT, Kind
from airbundle.format.geometry import HEADER_SIZE, Geometry
from airbundle.format.limits import PREAMBLE_MAX
from airbundle.media import volume as volumes
from airbundle.media.writing import VolumeWriter
from airbundle.transfer.assemble import collect
from airbundle.transfer.check import Expected
from airbundle.transfer.laying import put_image
from airbundle.transfer.rescued import RescuedBundle, RescuedSegment
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from airbundle.errors import AirbundleError
    from airbundle.media.raw import RawSources
    from airbundle.transfer.scan import Sightings

LABEL = "ab"


def write_strays(sources: RawSources, sightings: Sightings, bundle: bytes, target: str,
                 problem: AirbundleError, document: bytes) -> RescuedBundle:
    """Segment files under their numbers, in one folder, and the statement if there is one.

    Raises MediumError, UsageError (V-5).
    """
    attempts = sightings.attempts(bundle)
    best: dict[int, tuple[Geometry, int]] = {}
    for geometry, count in attempts:
        if geometry.number not in best or count > best[geometry.number][1]:
            best[geometry.number] = geometry, count
    lengths = {geometry: _preamble_length(sources, sightings, geometry) for geometry, _ in best.values()}
    usual = max(lengths.values(), default=0)
    path = os.path.join(target, volumes.volume_name(LABEL, bundle, 1, 1))
    sources.require_apart(path)
    segments = []
    with VolumeWriter(path, bundle_id=bundle) as volume:
        for number in sorted(best):
            geometry = best[number][0]
            expected = Expected(suite=suite_by_number(geometry.suite), geometry=geometry, root=b"",
                                preamble_length=lengths[geometry] or usual or 1, preamble_hash=b"")
            place = expected.place
            work = Workspace(place.stored_size)
            image, sound, conflicting = collect(work, sources, sightings, expected)
            put_image(volume, volumes.segment_name(number), image, work)
            found = int(sound.sum())
            segments.append(RescuedSegment(number, 1, len(sound), found, len(sound) - found, 0, conflicting,
                                           whole=False))
        volume.discard_leftovers()
        if document:  # the catalog may still be somewhere: with it the volume is what it was
            volume.fill(volumes.RECORD_NAME, encode_record(
                document, suite_number=best[min(best)][0].suite, hash_by_suite=hash_by_suite, engine=best_engine()))
            volume.fill(volumes.STATEMENT_NAME, document)
        volume.sync()
    taken = {id(geometry) for geometry, _ in best.values()}
    stale = [count for geometry, count in attempts if id(geometry) not in taken]
    return RescuedBundle(bundle.hex(), "none that can be used", None, (path,), tuple(segments), len(stale), sum(stale),
                         (), str(problem), problem.exit_status)


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
    return length if 0 < length <= PREAMBLE_MAX else 0
