"""The two ends of a volume: statement and catalog in front, their copies behind (spec chapter 3, V-3 and V-4).

In front are only places at first. What fills them is written when everything is on the medium that it binds: catalogs
before statements, on all volumes. So whatever is stopped, a volume with a valid statement is a finished one.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record
from airbundle.crypto.suites import hash_by_suite
from airbundle.format.limits import KIB
from airbundle.media import volume as volumes
from airbundle.transfer.readback import require_content

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airbundle.crypto.suites import Suite
    from airbundle.media.writing import VolumeWriter

Held: TypeAlias = "Iterable[tuple[str, int]]"
"""Names of a volume's files, and how many bytes each has to have."""


def prepare_ends(volume: VolumeWriter, readme: bytes, catalog_size: int) -> None:
    """V-3: statement and catalog get their places before the first segment. What has one keeps it."""
    there = volume.sizes()
    volume.fill(volumes.README_NAME, readme)
    if volumes.STATEMENT_NAME not in there:
        volume.preallocate(volumes.STATEMENT_NAME, 16 * KIB)
    if volumes.CATALOG_NAME not in there:
        volume.preallocate(volumes.CATALOG_NAME, catalog_size)


def write_ends(held: Sequence[tuple[VolumeWriter, Held]], *, catalog: bytes | memoryview, document: bytes,
               suite: Suite, reads_back: bool = True) -> None:
    """Fill both ends of each volume, and read them back; with each come its segments' files and their sizes.

    No volume gets a statement before all have the rest (V-4). Raises MediumError.
    """
    record = encoded_record(document, suite)
    catalogs = dict.fromkeys(volumes.CATALOGS, catalog)
    for volume, _ in held:
        _fill(volume, catalogs, reads_back=reads_back)
        volume.discard_leftovers()
        volume.sync(whole=True)
    for volume, sizes in held:
        volume.require(itertools.chain(sizes, ((name, len(catalog)) for name in catalogs)))
    for volume, _ in held:
        _fill(volume, {volumes.RECORD_NAME: record}, reads_back=reads_back)
        _fill(volume, {volumes.STATEMENT_NAME: document}, reads_back=reads_back)
        volume.sync()


def encoded_record(document: bytes, suite: Suite) -> bytes:
    """The record of a statement (chapter 10)."""
    return encode_record(document, suite_number=suite.number, hash_by_suite=hash_by_suite, engine=best_engine())


def _fill(volume: VolumeWriter, files: Mapping[str, bytes | memoryview], *, reads_back: bool) -> None:
    for name, content in files.items():
        volume.fill(name, content)
    for name, content in files.items() if reads_back else ():
        require_content(volume, name, content)
