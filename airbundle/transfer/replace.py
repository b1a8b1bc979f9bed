"""Replace the copies of statement and catalog on volumes: what repair, sign and rewrap share (spec T-9).

A volume has two halves: a catalog with a statement that it fits, twice. What is wrong is replaced file by file, a
half on every volume before the other half on any; within a half the catalog before its statement. Each file is written
under another name, durable and read back past the cache before it takes its place. So at every moment each volume
holds a statement with a catalog that fits it, if it held one before; and what was stopped can be gone on with.
"""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np

from airbundle.errors import DamagedError, MediumError
from airbundle.media import volume as volumes
from airbundle.media.writing import VolumeWriter, is_temporary
from airbundle.transfer.check import check_file
from airbundle.transfer.ends import encoded_record
from airbundle.transfer.image import Image, finish
from airbundle.transfer.readback import holds_content, require_content
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airbundle.crypto.suites import Suite
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.open import Bundle


class Writers:
    """The volumes, each opened for writing when there is something to write."""

    def __init__(self) -> None:
        self._open: dict[str, VolumeWriter] = {}
        self._stack = ExitStack()

    def __call__(self, reader: VolumeReader) -> VolumeWriter:
        """The volume that `reader` reads."""
        if reader.path not in self._open:
            self._open[reader.path] = self._stack.enter_context(VolumeWriter.reopen(reader.path))
        return self._open[reader.path]

    def discard_leftovers(self, readers: Iterable[VolumeReader]) -> None:
        """Remove what stopped attempts left under temporary names; only where every file is known to be whole."""
        for reader in readers:
            if any(is_temporary(name) for name in reader.listing().files):
                self(reader).discard_leftovers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def replace_copies(bundle: Bundle, writer: Callable[[VolumeReader], VolumeWriter]) -> dict[str, int]:
    """Make every copy of catalog and statement what `bundle` says it should be.

    Gives the paths of the files that were replaced, with the number of blocks written. Raises MediumError if a volume
    does not take what is written; each file is then whole as it was, or its twin is.
    """
    stated = [bundle.as_stated(older) for older in bundle.older]
    work = Workspace(max(each.expected(each.statement.catalog).place.stored_size for each in (bundle, *stated)))
    written: dict[str, int] = {}
    catalog = b""
    orders = [(reader, _catalogs(stated, work, reader)) for reader in bundle.volumes]
    for half, statement in enumerate(volumes.STATEMENTS[::-1]):
        for reader, names in orders:
            findings, _ = check_file(work, reader, names[half], bundle.expected(bundle.statement.catalog))
            if not findings.clean:
                catalog = catalog or rebuilt_catalog(bundle, work).blocks.tobytes()
                replace_file(writer(reader), names[half], catalog)
                written[os.path.join(reader.path, names[half])] = findings.blocks
            exact = exact_copy(bundle, reader, statement)
            if _content(reader, statement, len(exact) + 1) != exact:
                replace_file(writer(reader), statement, exact)
                written[os.path.join(reader.path, statement)] = 0
    return written


def replace_file(volume: VolumeWriter, name: str, content: bytes) -> None:
    """Write a whole file aside, read it back past the cache, and only then give it its name. Raises MediumError."""
    temporary = volume.write(name, [memoryview(content)], suffix=secrets.token_hex(8))
    try:
        require_content(volume, temporary, content)
    except MediumError:
        volume.remove(temporary)
        raise
    volume.settle(temporary, name)
    require_content(volume, name, content)


def replace_ends(volume: VolumeWriter, catalog: bytes, document: bytes, suite: Suite) -> None:
    """Make catalogs and statements of one volume these, half by half; what is so already is not touched."""
    contents = {volumes.CATALOG_COPY_NAME: catalog, volumes.RECORD_NAME: encoded_record(document, suite),
                volumes.CATALOG_NAME: catalog, volumes.STATEMENT_NAME: document}
    for name, content in contents.items():
        if not holds_content(volume, name, content):
            replace_file(volume, name, content)


def exact_copy(bundle: Bundle, reader: VolumeReader, name: str) -> bytes:
    """What the file `name`, one of the two of the statement, has to hold on this volume."""
    document = bundle.documents[reader.path]
    if name == volumes.STATEMENT_NAME:
        return document
    return encoded_record(document, bundle.suite)


def _catalogs(stated: list[Bundle], work: Workspace, reader: VolumeReader) -> list[str]:
    """The two names, first one whose file gives no older revision's catalog: nothing is lost with it."""
    def needed(name: str) -> bool:
        return any(check_file(work, reader, name, old.expected(old.statement.catalog))[0].lost == 0 for old in stated)

    back_first = volumes.CATALOGS[::-1]
    return sorted(back_first, key=needed)


def rebuilt_catalog(bundle: Bundle, work: Workspace) -> Image:
    """The catalog in the buffer, made again from the body that was checked before."""
    expected = bundle.expected(bundle.statement.catalog)
    place, geometry = expected.place, expected.geometry
    image = Image(place, work.blocks(place.block_count, geometry.block_size))
    body = np.frombuffer(bundle.require_body(), np.uint8)
    image.payloads[:geometry.data_blocks] = body.reshape(geometry.data_blocks, geometry.payload_size)
    assert bundle.preamble_raw is not None
    root = finish(image, bundle.suite, work.engine, bundle.preamble_raw)
    assert root == expected.root
    return image


def _content(reader: VolumeReader, name: str, most: int) -> bytes | None:
    try:
        return reader.read_small(name, most)
    except (FileNotFoundError, DamagedError):
        return None
