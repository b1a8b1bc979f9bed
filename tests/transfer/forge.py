"""Bundles by a packer who lies: everything validly sealed, coded and signed, each part changed by a hook on the way."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record
from airbundle.crypto.envelope import BundleKey, Context, write_preamble
from airbundle.crypto.seal import Sealer
from airbundle.crypto.signing import sign
from airbundle.crypto.suites import hash_by_suite
from airbundle.format import encoding
from airbundle.format.catalog import CATALOG, DATA, PARITY, row_of, write_body, write_table
from airbundle.format.dsse import Envelope, write_envelope
from airbundle.format.geometry import HEADER_SIZE, Placement
from airbundle.format.manifest import FileRow, Manifest, SliceRow
from airbundle.format.segment import FILLER, ChunkRow, FileSpan, Index, Trailer
from airbundle.format.statement import STATEMENT_TYPE, PreambleRef, Statement, VolumeRow
from airbundle.media import volume as names
from airbundle.transfer.image import Image, finish
from airbundle.transfer.seal import Sealed, SealPlan, finish_catalog, seal_manifest, shape
from airbundle.transfer.workspace import Workspace
from tests.transfer.workshop import MIB, Keys, Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Hook = Callable[[Any], Any]


def same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Lies:
    """Hooks; each gets what an honest packer would write."""

    preamble: Hook = same
    packed: Hook = same
    parity: Hook = same
    outer: Hook = same
    chunk: Callable[[bytes], tuple[str, bytes]] = lambda plain: ("raw", plain)
    row: Hook = same
    index: Hook = same
    trailer: Hook = same
    manifest: Hook = same
    table: Hook = same
    body: Hook = same
    statement: Hook = same
    payload: Hook = same
    document: Hook = same
    sealed: Hook = same
    shape: Hook = same
    padded: Hook = same
    catalog: Hook = same
    parts: Hook = same
    sealed_as: int = 0
    fillers: int = 0
    hollow: bool = False


def forge(place: Path, keys: Keys, lies: Lies, files: dict[str, bytes] | None = None, *,
          entropy: Callable[[int], bytes] = secrets.token_bytes) -> Packed:
    """A bundle of one data segment and the parity segment of its group, on the folder `place`."""
    files = {"a": b"first " * 40, "b": b"second " * 50} if files is None else files
    suite = keys.packer.suite
    context = Context(suite, entropy(16), keys.packer.public.key_id)
    key = BundleKey.generate(entropy=entropy)
    preamble = lies.preamble(write_preamble(context, key, [keys.reader.public]))
    packed = lies.packed(preamble)  # in the segments; the catalog keeps the other
    later, plan = (SealPlan(context, key, one, 4096, 8.0, pad=False) for one in (preamble, packed))
    segment = _segment(plan, files, lies, entropy)
    parity = _parity(plan, segment, lies, entropy)
    rows = () if lies.hollow else (
        row_of(segment.geometry, role=DATA, volume=1, root=segment.root),
        row_of(parity.geometry, role=PARITY, volume=1, root=parity.root, position=1))
    total = sum(map(len, files.values()))
    manifest = lies.manifest(Manifest(
        bundle=context.bundle_id.hex(), packer=context.packer_id.hex(), recipients=(keys.reader.public.key_id.hex(),),
        series=None, sequence=None, meta=(), segments=(SliceRow(0, 0, total),) if rows else (),
        files=tuple(FileRow(name, len(content), "00" * 32) for name, content in files.items()), folders=()))
    raw = encoding.encode(manifest) if isinstance(manifest, Manifest) else manifest
    sealed, salt = seal_manifest(later, len(rows), raw, entropy=entropy)
    body = lies.body(write_body(lies.table(write_table(rows)), lies.sealed(sealed)))
    catalog = finish_catalog(later, len(rows), salt, body, Workspace(
        4 * len(body) + 4 * MIB, lies.catalog(best_engine())))
    references = [PreambleRef(len(one), suite.hash(one).hex()) for one in (packed, preamble)]
    statement = lies.statement(Statement(
        airbundle=1, bundle=context.bundle_id.hex(), suite=suite.name, packer=context.packer_id.hex(), revision=0,
        created=1_700_000_000, expires=None, series=None, sequence=None, label="forged", marking="",
        preamble=references[0], envelopes=references[1],
        catalog=row_of(catalog.geometry, role=CATALOG, volume=0, root=catalog.root),
        volumes=(VolumeRow(1, "", 1, None),), lose=0, base=None, writer="forge"))
    volume = place / "forged.airbundle"
    volume.mkdir(parents=True)
    for name, image in ((names.segment_name(0), segment), (names.segment_name(1), parity),
                        (names.CATALOG_NAME, catalog), (names.CATALOG_COPY_NAME, catalog)):
        (volume / name).write_bytes(image.image.blocks.tobytes())
    payload = statement if isinstance(statement, bytes) else encoding.encode(statement)
    write_statement(volume, keys, lies.payload(payload), lies.document)
    return Packed(keys, place, volume)


def write_statement(volume: Path, keys: Keys, payload: bytes, hook: Hook = same) -> None:
    """Sign a payload and write it to both places."""
    document = hook(write_envelope(Envelope(STATEMENT_TYPE, payload, (sign(keys.packer, STATEMENT_TYPE, payload),))))
    (volume / names.STATEMENT_NAME).write_bytes(document)
    (volume / names.RECORD_NAME).write_bytes(
        encode_record(document, suite_number=keys.packer.suite.number, hash_by_suite=hash_by_suite,
                      engine=best_engine()))


def _segment(plan: SealPlan, files: dict[str, bytes], lies: Lies, entropy: Callable[[int], bytes]) -> Sealed:
    sealer = Sealer(plan.context, plan.key, lies.sealed_as, entropy=entropy)
    content = b"".join(files.values())
    parts: list[bytes] = []
    rows: list[ChunkRow] = []

    def seal(counter: int, plain: bytes, *, last: bool = False) -> bytes:
        out = bytearray(len(plain) + 16)
        sealer.seal_into(counter, plain, memoryview(out), last=last)
        return bytes(out)

    for _ in range(lies.fillers):
        parts.append(seal(len(rows), bytes(100)))
        rows.append(ChunkRow(0, len(parts[-1]), FILLER, bytes(plan.context.suite.digest_size).hex()))
    for at in range(0, len(content), 400):
        plain = content[at:at + 400]
        codec, packed = lies.chunk(plain)
        parts.append(seal(len(rows), packed))
        rows.append(lies.row(ChunkRow(len(plain), len(parts[-1]), codec, plan.context.suite.hash(plain).hex())))
    spans, at = [], 0
    for name, one in files.items():
        spans += [FileSpan(name, at, len(one))] if one else []
        at += len(one)
    made = lies.index(Index(0, len(content), tuple(rows), tuple(spans)))
    index = made if isinstance(made, bytes) else encoding.encode(made)
    index_at = sum(map(len, parts))
    payload = plan.block_size - HEADER_SIZE
    total = -(-(index_at + len(index) + 16 + 48) // payload) * payload
    parts.append(seal(len(rows), lies.padded(index.ljust(total - index_at - 64, b"\0"))))
    trailer = lies.trailer(Trailer(index_at, len(index), len(rows)).packed())
    parts.append(seal(0, trailer, last=True))
    return _coded(plan, 0, sealer.salt, b"".join(lies.parts(parts)), lies)


def _parity(plan: SealPlan, segment: Sealed, lies: Lies, entropy: Callable[[int], bytes]) -> Sealed:
    """G-7 with one data member: the coefficient is the inverse of 1 XOR 0, so the sum is the member itself."""
    body = segment.image.payloads[:segment.geometry.data_blocks].tobytes()
    return _coded(plan, 1, entropy(16), lies.outer(body), lies)


def _coded(plan: SealPlan, number: int, salt: bytes, body: bytes, lies: Lies) -> Sealed:
    geometry = lies.shape(shape(plan, number, salt, len(body)))
    placed = Placement(geometry, len(plan.preamble))
    image = Image(placed, np.zeros((placed.block_count, plan.block_size), np.uint8))
    image.payloads[:geometry.data_blocks] = np.frombuffer(body, np.uint8).reshape(geometry.data_blocks, -1)
    return Sealed(image, finish(image, plan.context.suite, lies.parity(best_engine()), plan.preamble), b"")


@contextlib.contextmanager
def little_memory(room: int = 256 * MIB, traced: int = 48 * MIB) -> Iterator[None]:
    """Inside, the process gets at most `room` more bytes of address space, and Python allocates less than `traced`."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    tracemalloc.start()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, hard))
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < traced
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        tracemalloc.stop()
