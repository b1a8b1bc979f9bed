"""Pack a source onto a medium.

The steps, in order:

1. scan the source, cut it into slices; with what the journal's bundle has taken already, ask whether it fits
2. go on with the journal of this plan and lock, or draw bundle id, bundle key and preamble and begin one
3. make the volume's folder; preallocate statement and catalog in front of everything else
4. per segment: read; carry the SHA-256 of the files on; digest, compress, compare, seal, blocks, parity; write under a
   temporary name; read back past the cache; journal; rename
5. catalog, then its copy, then the record, then the statement: there is no bundle before the last byte of it; then
   the words that open it are shown, if nobody chose them

What is finished stays finished: `kill -9` at any moment and the same command again goes on.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.codec.engines import best_engine
from airbundle.crypto.envelope import BundleKey, Context
from airbundle.errors import FormatError, MediumError, SourceChangedError, UsageError
from airbundle.format import limits
from airbundle.format.catalog import DATA, Row, row_of
from airbundle.format.geometry import Placement
from airbundle.format.manifest import check_meta
from airbundle.format.names import check_public_text
from airbundle.format.statement import VolumeRow
from airbundle.media import system
from airbundle.media import volume as volumes
from airbundle.media.drive import device_serial, filesystem_label, total_space
from airbundle.media.state import read_document, save_document, state_folder
from airbundle.media.writing import VolumeWriter, temporary_name
from airbundle.transfer.check import Expected, check_segment
from airbundle.transfer.ending import Declared, make_ending, write_ending
from airbundle.transfer.fingerprints import FileDigests
from airbundle.transfer.journal import Finished, Journal
from airbundle.transfer.plan import Fit, Options, catalog_body, estimate, open_stream, overall, sample
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.readme import volume_readme
from airbundle.transfer.schedule import Turns, run_all
from airbundle.transfer.seal import Sealed, SealPlan, capacity, seal_slice
from airbundle.transfer.workspace import Pace, Workspace, Workspaces
from airbundle.version import WRITER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.locks import Lock
    from airbundle.crypto.suites import Suite
    from airbundle.media.reading import SourceReader
    from airbundle.media.source import Source
    from airbundle.transfer.slices import Slice, Stream


READ_SIZE: Final = 8 * limits.MIB


@dataclass(frozen=True, slots=True)
class PackResult:
    """What `pack` did; sizes in bytes, `seconds` of wall time."""

    bundle: str
    volumes: tuple[str, ...]
    files: int
    folders: int
    source_bytes: int
    sealed_bytes: int
    stored_bytes: int
    segments: int
    kept_segments: int
    statement_hash: str
    read_back: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that the segment workers share."""

    stream: Stream
    reader: SourceReader
    plan: SealPlan
    volume: VolumeWriter
    journal: Journal
    digests: FileDigests
    computing: Turns
    meter: Meter
    read_back: bool
    entropy: Callable[[int], bytes]


def pack(source: str, target: str, *, identity: PrivateIdentity, lock: Lock,
         declared: Declared | None = None, options: Options | None = None, pace: Pace | None = None,
         read_back: bool = True, progress: Callable[[Tick], None] | None = None, now: Callable[[], float] = time.time,
         entropy: Callable[[int], bytes] = secrets.token_bytes) -> PackResult:
    """Pack `source` into a volume under the folder `target`. Raises AirbundleError; then there is no bundle."""
    began = time.monotonic()
    declared, options, pace = declared or Declared(), options or Options(), pace or Pace()
    _check_declared(declared)
    lock.require_suite(identity.suite)
    meter = Meter(progress)
    found, stream, reader = open_stream(source, options)
    with reader:
        plan_hash = _plan_hash(found, target, identity, lock, declared, options)
        _refuse_finished(plan_hash, identity, entropy)
        with Journal(identity, plan_hash, entropy) as journal:
            _require_lock(journal, lock)
            _require_room(target, stream, options, reader, identity.suite, lock, _taken(journal, target, declared))
            plan, created = _seal_plan(journal, found, identity, lock, options, now, entropy)
            name = volumes.volume_name(declared.label, plan.context.bundle_id, 1, 1)
            with VolumeWriter(os.path.join(target, name), bundle_id=plan.context.bundle_id) as volume:
                _prepare(volume, journal, plan, stream)
                digests = FileDigests(stream)
                size = capacity(plan, stream)
                computing = Turns(pace.workers(size))
                job = _Job(stream, reader, plan, volume, journal, digests, computing, meter, read_back, entropy)
                rows, kept = _segments(job, pace.buffers(size), size)
                held = _stored_sizes(plan, rows)
                if journal.ending is None:
                    volume.require(held)
                    journal.add(make_ending(plan, stream, rows, digests.result(), declared=declared, identity=identity,
                                            created=created, medium=_describe(target, declared), entropy=entropy))
                assert journal.ending is not None
                meter.begin("finishing", 0)
                statement_hash = write_ending(volume, plan, journal.ending, held, read_back=read_back)
                result = _result(job, found, rows, kept, volume.path, statement_hash, began)
            if journal.head is not None and journal.head.words:  # before anything says that it is finished
                lock.show(journal.head.words)
            save_document(os.path.join(state_folder("finished"), plan_hash[:32]),
                          os.fsencode(os.path.abspath(volume.path)))
            journal.erase()
            return result


def _check_declared(declared: Declared) -> None:
    try:
        for text in (declared.label, declared.marking, declared.series or ""):
            check_public_text(text)
        check_meta(declared.meta)
    except FormatError as error:  # what a reader would refuse is a mistake of the command here
        raise UsageError(error.what, rule=error.rule) from error
    volumes.volume_name(declared.label, bytes(16), 1, 1)
    if (declared.series is None) != (declared.sequence is None):
        raise UsageError("--series and --sequence go together")
    for number in (declared.sequence, declared.expires):
        if number is not None and not 0 <= number <= limits.INTEGER_MAX:
            raise UsageError(f"{number} is not from 0 to 2^53 - 1", rule="E-1")


def _refuse_finished(plan_hash: str, identity: PrivateIdentity, entropy: Callable[[int], bytes]) -> None:
    """The same command again, after it has finished, would only write the same content a second time."""
    volume = os.fsdecode(read_document(os.path.join(state_folder("finished"), plan_hash[:32])))
    if volume and os.path.exists(os.path.join(volume, volumes.STATEMENT_NAME)):
        with Journal(identity, plan_hash, entropy) as journal:
            if journal.head is not None:  # killed between the last word and the end: the bundle key is not kept
                journal.erase()
        raise UsageError("holds this bundle already, finished", where=volume,
                         hint="verify it, or remove it to pack again")


def _require_lock(journal: Journal, lock: Lock) -> None:
    """Another passphrase makes another bundle. Which it was is not in the plan's hash, so the envelope is tried."""
    head = journal.head
    if head is not None and not lock.fits(head.preamble_bytes, BundleKey(head.key_bytes)):
        journal.restart()


def _taken(journal: Journal, target: str, declared: Declared) -> int:
    """Bytes on the medium that the bundle of the journal has taken in an earlier run."""
    if journal.head is None:
        return 0
    name = volumes.volume_name(declared.label, bytes.fromhex(journal.head.bundle), 1, 1)
    return volumes.bytes_in(os.path.join(target, name))


def _require_room(target: str, stream: Stream, options: Options, reader: SourceReader, suite: Suite, lock: Lock,
                  taken: int) -> None:
    """(1) Refuse before anything is written; sample only if the worst case would not fit."""
    root = os.path.realpath(stream.source.root)
    if os.path.commonpath([root, os.path.realpath(target)]) == root:
        raise UsageError("lies inside the source", where=target, hint="pack onto another drive or folder")
    preamble = lock.preamble_size(suite)
    answer = estimate(target, stream, options, None, suite=suite, preamble=preamble, taken=taken)
    if answer.fit is Fit.NOT and not options.pad:
        ratio = overall(stream, sample(stream, reader.read))
        answer = estimate(target, stream, options, ratio, suite=suite, preamble=preamble, taken=taken)
    if answer.fit is Fit.NOT:
        short = answer.need_by_sample + answer.margin - answer.room
        raise MediumError(f"does not fit: needs {answer.need_by_sample:,} bytes and a margin of {answer.margin:,}, "
                          f"has {answer.room:,}", where=target,
                           hint=f"free {short:,} bytes more, or take a larger drive")


def _plan_hash(found: Source, target: str, identity: PrivateIdentity, lock: Lock, declared: Declared,
               options: Options) -> str:
    """What makes it the same command: source as scanned, target, keys, and everything that is written."""
    suite = identity.public.suite
    facts = {
        "root": found.root, "files": [[file.path, file.identity] for file in found.files],
        "folders": list(found.folders), "target": os.path.realpath(target), "packer": identity.public.key_id.hex(),
        "lock": lock.facts,
        "declared": repr(declared), "options": repr(options), "writer": WRITER,
    }
    return suite.hash(json.dumps(facts, sort_keys=True).encode()).hex()


def _seal_plan(journal: Journal, found: Source, identity: PrivateIdentity, lock: Lock, options: Options,
               now: Callable[[], float], entropy: Callable[[int], bytes]) -> tuple[SealPlan, int]:
    """(2) From the journal, or drawn and written into it."""
    public = identity.public
    head = journal.head
    if head is None:
        bundle, key = entropy(16), BundleKey.generate(entropy=entropy)
        context = Context(public.suite, bundle, public.key_id)
        preamble = lock.write(context, key, entropy=entropy)
        head = journal.begin(bundle=bundle, key=key.secret_bytes(), preamble=preamble, created=int(now()),
                             words=lock.words)
    context = Context(public.suite, bytes.fromhex(head.bundle), public.key_id)
    plan = SealPlan(context=context, key=BundleKey(head.key_bytes), preamble=head.preamble_bytes,
                    block_size=options.block_size(found.total), parity=options.parity, pad=options.pad)
    return plan, head.created


def _prepare(volume: VolumeWriter, journal: Journal, plan: SealPlan, stream: Stream) -> None:
    """(3) V-3: statement and catalog get their places before the first segment."""
    if journal.finished or journal.ending:
        return
    volume.fill(volumes.README_NAME, volume_readme(plan.context.bundle_id, 1, 1))
    volume.preallocate(volumes.STATEMENT_NAME, 16 * limits.KIB)
    volume.preallocate(volumes.CATALOG_NAME, 64 * limits.KIB + 3 * catalog_body(stream, plan.context.suite))


def _segments(job: _Job, buffers: int, size: int) -> tuple[list[Row], int]:
    """(4) All segments, the finished ones only checked; while some are computed, others are being written."""
    workers = min(buffers, max(1, len(job.stream.slices)))
    spaces = Workspaces(workers, size, best_engine())
    job.meter.begin("packing", job.stream.source.total)
    kept = 0

    def work(part: Slice) -> tuple[Row, bool]:
        try:
            with spaces.borrow() as space:
                with job.computing.enter(part.number):
                    finished = _keep(job, space, part)
                    if finished is not None:
                        return finished.row, True
                    _require_open(job)
                    sealed = _seal(job, space, part)
                return _put(job, space, part, sealed).row, False
        except BaseException:
            job.computing.stop()
            job.digests.stop()
            raise

    rows = []
    for row, again in run_all(job.stream.slices, work, workers=workers, meter=job.meter):
        rows.append(row)
        kept += again
    return rows, kept


def _read_slice(job: _Job, space: Workspace, part: Slice) -> memoryview:
    """The bytes of a slice, in the buffer that digests and seals share."""
    content = space.slice(part.length)
    for at in range(0, part.length, READ_SIZE):
        job.meter.alive()
        job.reader.read(part.start + at, content[at:at + READ_SIZE])
    return content


def _keep(job: _Job, space: Workspace, part: Slice) -> Finished | None:
    """A segment of an earlier run, if what is on the medium still gives its root.

    Raises SourceChangedError if the source no longer gives what it was made from.
    """
    finished = job.journal.finished.get(part.number)
    if finished is None:
        return None
    name = volumes.segment_name(part.number)
    suite = job.plan.context.suite
    geometry = finished.row.geometry(suite=suite.number, digest_size=suite.digest_size,
                                     bundle=job.plan.context.bundle_id)
    expected = Expected(suite, geometry, bytes.fromhex(finished.row.root), len(job.plan.preamble),
                        suite.hash(job.plan.preamble), job.plan.preamble)
    for candidate in (name, temporary_name(name, finished.row.salt)):
        try:
            with job.volume.opened(candidate) as descriptor:
                findings, _ = check_segment(space, descriptor, expected)
        except FileNotFoundError:
            continue
        if findings.clean:
            if candidate != name:
                job.volume.settle(candidate, name)
            _compare_source(job, space, part, finished)
            return finished
    return None


def _compare_source(job: _Job, space: Workspace, part: Slice, finished: Finished) -> None:
    """What was sealed in the earlier run has to be what the digests of files are now made from."""
    content = _read_slice(job, space, part)
    hash_chunk = job.plan.context.suite.hash
    chunks = [hash_chunk(content[cut.start - part.start:][:cut.length]) for cut in job.stream.chunks(part)]
    if hash_chunk(*chunks).hex() != finished.content:
        names = [job.stream.source.files[n].path for n in range(part.first, min(part.first + 3, part.last + 1))]
        raise SourceChangedError("changed since an earlier run read it", where=", ".join(names),
                                 hint="remove the folder of that run and run the same command again")
    job.digests.take(part, content)
    job.meter.add(part.length)


def _require_open(job: _Job) -> None:
    """A statement that was made once binds the segments as they were; a new segment would need a second one."""
    if job.journal.ending is not None:
        job.journal.forget()
        raise MediumError("what was packed here before is damaged or gone", where=job.volume.path,
                          hint="remove that folder and run the same command again: it makes a new bundle")


def _seal(job: _Job, space: Workspace, part: Slice) -> Sealed:
    """Read one slice and make it a segment."""
    content = _read_slice(job, space, part)
    job.digests.take(part, content)  # before sealing, which writes over it
    return seal_slice(space, job.plan, job.stream, part, content, entropy=job.entropy, done=job.meter.add)


def _put(job: _Job, space: Workspace, part: Slice, sealed: Sealed) -> Finished:
    """Put a segment on the medium: durable, read back and journaled before it gets its name."""
    name = volumes.segment_name(part.number)
    temporary = job.volume.write(name, [sealed.image.blocks.reshape(-1).data],
                                 suffix=sealed.geometry.salt.hex())
    if job.read_back:
        _read_back(job, space, temporary, sealed)
    row = row_of(sealed.geometry, role=DATA, volume=1, root=sealed.root)
    finished = Finished(row, sealed.content.hex())
    job.journal.add(finished)
    job.volume.settle(temporary, name)
    return finished


def _read_back(job: _Job, space: Workspace, name: str, sealed: Sealed) -> None:
    """Compare the file, read past the page cache, with the buffer it was written from."""
    blocks = sealed.image.blocks.reshape(-1)
    with job.volume.opened(name) as descriptor:
        for at in range(0, len(blocks), len(space.window)):
            part = space.window[:len(blocks) - at]
            count = system.read_into(descriptor, part.data, at)
            if count != len(part) or not np.array_equal(part, blocks[at:at + len(part)]):
                raise MediumError(f"gives back other bytes than were written, near byte {at:,} of {name}",
                                  where=job.volume.path, hint="do not use this drive; pack onto another one")


def _stored_sizes(plan: SealPlan, rows: Sequence[Row]) -> dict[str, int]:
    """What the files of the segments have to be."""
    suite, sizes = plan.context.suite, {}
    for row in rows:
        geometry = row.geometry(suite=suite.number, digest_size=suite.digest_size, bundle=plan.context.bundle_id)
        sizes[volumes.segment_name(row.number)] = Placement(geometry, len(plan.preamble)).stored_size
    return sizes


def _describe(target: str, declared: Declared) -> VolumeRow:
    """What the statement says of the medium."""
    serial = device_serial(target) if declared.record_serials else None
    return VolumeRow(1, filesystem_label(target), total_space(target), serial or None)


def _result(job: _Job, found: Source, rows: list[Row], kept: int, path: str, statement_hash: str,
            began: float) -> PackResult:
    return PackResult(
        bundle=job.plan.context.bundle_id.hex(), volumes=(path,), files=len(found.files),
        folders=len(found.folders), source_bytes=found.total, sealed_bytes=sum(row.body for row in rows),
        stored_bytes=sum(job.volume.sizes().values()), segments=len(rows), kept_segments=kept,
        statement_hash=statement_hash,
        read_back=job.read_back, seconds=time.monotonic() - began)
