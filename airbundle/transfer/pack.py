"""Pack a source onto media.

The steps, in order:

1. scan the source, cut it into slices; with what the journal's bundle has taken already, ask whether it fits, and lay
   the segments out over the drives (`begin.py`, `layout.py`)
2. go on with the journal of this command and lock, or draw bundle id, bundle key and preamble and begin one
3. make the volumes' folders; preallocate statement and catalog in front of everything else
4. per segment: read; carry the SHA-256 of the files on; digest, compress, compare, seal, blocks, parity; add to the
   parity of its group; write under a temporary name; read back past the cache; journal; rename. The last one of a group
   brings the group's parity segments
5. catalog, then its copy, then the record, then the statement: there is no bundle before the last byte of it;
   then the words that open it are shown, if nobody chose them

What is finished stays finished: `kill -9` at any moment and the same command again goes on.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.codec.engines import best_engine
from airbundle.errors import MediumError, SourceChangedError
from airbundle.format import limits
from airbundle.format.catalog import DATA, PARITY, Row, row_of
from airbundle.format.geometry import Geometry, Placement
from airbundle.media import volume as volumes
from airbundle.media.writing import temporary_name
from airbundle.transfer import begin
from airbundle.transfer.check import Expected, check_segment
from airbundle.transfer.drives import Drives
from airbundle.transfer.ending import Declared, make_ending, write_ending
from airbundle.transfer.ends import prepare_ends
from airbundle.transfer.fingerprints import FileDigests
from airbundle.transfer.journal import Finished, Journal
from airbundle.transfer.layout import Team
from airbundle.transfer.parity import OuterParity
from airbundle.transfer.plan import Options, catalog_body, open_stream, shared
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.readback import require_image
from airbundle.transfer.readme import volume_readme
from airbundle.transfer.schedule import Turns, run_all
from airbundle.transfer.seal import Sealed, SealPlan, capacity, largest_place, seal_slice
from airbundle.transfer.workspace import Pace, Workspace, Workspaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.locks import Lock
    from airbundle.media.reading import SourceReader
    from airbundle.transfer.parity import Growing
    from airbundle.transfer.slices import Slice, Stream


READ_SIZE: Final = 8 * limits.MIB


@dataclass(frozen=True, slots=True)
class PackResult:
    """What `pack` did; sizes in bytes, `seconds` of wall time. `segments` are data, `parity_segments` beside them."""

    bundle: str
    volumes: tuple[str, ...]
    files: int
    folders: int
    source_bytes: int
    sealed_bytes: int
    stored_bytes: int
    segments: int
    parity_segments: int
    kept_segments: int
    lose: int
    statement_hash: str
    read_back: bool
    seconds: float
    stages: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that the segment workers share."""

    stream: Stream
    reader: SourceReader
    plan: SealPlan
    drives: Drives
    journal: Journal
    digests: FileDigests
    parity: OuterParity
    computing: Turns
    spaces: Workspaces
    meter: Meter
    reads_back: bool
    entropy: Callable[[int], bytes]

    def stop(self) -> None:
        """A worker failed: whoever waits for it stops too."""
        self.computing.stop()
        self.digests.stop()
        self.parity.stop()


def pack(source: str, targets: Sequence[str], *, identity: PrivateIdentity, lock: Lock,
         declared: Declared | None = None, options: Options | None = None, lose: int | None = None,
         pace: Pace | None = None, reads_back: bool = True, progress: Callable[[Tick], None] | None = None,
         segments: Callable[[Job], tuple[list[Row], int]] | None = None,
         now: Callable[[], float] = time.time, entropy: Callable[[int], bytes] = secrets.token_bytes) -> PackResult:
    """Pack `source` into a volume under each of the folders `targets`, so that any `lose` of them may be lost.

    `segments` takes the place of step 4 (`apart.py`). Raises AirbundleError; then there is no bundle.
    """
    began = time.monotonic()
    declared, options, pace = declared or Declared(), options or Options(), pace or Pace()
    begin.check_declared(declared)
    lock.require_suite(identity.suite)
    meter = Meter(progress)
    found, stream, reader = open_stream(source, options, lose)
    with reader:
        digest = begin.plan_hash(found, identity, lock, declared, options, lose)
        begin.refuse_finished(digest, targets, identity, entropy)
        with Journal(identity, digest, entropy) as journal:
            left = begin.require_lock(journal, lock, targets, declared.label)
            lose = begin.choose_lose(journal, lose, len(targets))
            targets = begin.place_targets(targets, stream, declared, journal)
            teams = begin.choose_teams(targets, stream, reader, options, lose, identity.suite, lock, declared, journal)
            plan, created = begin.seal_plan(journal, found, identity, lock, options, lose, now, entropy)
            begin.keep_places(journal, teams, targets)
            with Drives(targets, declared.label, plan.context.bundle_id, meter.warn,
                        meter.stages) as drives:
                _prepare(drives, journal, plan, stream, teams, reads_back=reads_back)
                job = _job(stream, reader, plan, drives, journal, teams, pace, meter, reads_back=reads_back,
                           entropy=entropy)
                rows, kept = (segments or _segments)(job)
                held = _stored_sizes(plan, rows, len(drives))
                if journal.ending is None:
                    for number, volume in enumerate(drives, 1):
                        volume.require(held[number])
                    media = drives.rows(serials=declared.record_serials)
                    journal.add(make_ending(plan, stream, rows, job.digests.result(), declared=declared, lose=lose,
                                            identity=identity, created=created, media=media, entropy=entropy))
                assert journal.ending is not None
                meter.begin("finishing", 0)
                statement_hash = write_ending(drives, plan, journal.ending, held, reads_back=reads_back)
                paths = tuple(volume.path for volume in drives)
                stored = sum(sum(volume.sizes().values()) for volume in drives)
            if journal.head is not None and journal.head.words:  # before anything says that it is finished
                lock.show(journal.head.words)
            begin.remember_finished(digest, paths)
            journal.erase()
    data = [row for row in rows if row.role == DATA]
    return PackResult(
        bundle=plan.context.bundle_id.hex(), volumes=paths, files=len(found.files), folders=len(found.folders),
        source_bytes=found.total, sealed_bytes=sum(row.body for row in data), stored_bytes=stored,
        segments=len(data), parity_segments=len(rows) - len(data), kept_segments=kept, lose=lose,
        statement_hash=statement_hash, read_back=reads_back, seconds=time.monotonic() - began,
        stages=meter.stages.seconds(), warnings=(*shared(targets, lose), *left, *meter.warnings))


def _job(stream: Stream, reader: SourceReader, plan: SealPlan, drives: Drives, journal: Journal,
         teams: Sequence[Team], pace: Pace, meter: Meter, *, reads_back: bool, entropy: Callable[[int], bytes]) -> Job:
    size, place = capacity(plan, stream), largest_place(plan, stream)
    memory = _memory_of_one(size, teams)
    at_a_time = max(1, min(pace.buffers(memory, len(drives)), len(stream.slices)))
    parity = OuterParity(teams, plan, len(stream.slices), size, place.data_at * plan.block_size, at_a_time,
                         meter.stages)
    return Job(stream, reader, plan, drives, journal, FileDigests(stream, meter.stages), parity,
                Turns(pace.workers(memory)), Workspaces(at_a_time, size, best_engine(), stages=meter.stages), meter,
                reads_back, entropy)


def _memory_of_one(size: int, teams: Sequence[Team]) -> int:
    """Bytes that one worker takes: its segment, and the parity of the group that it works on."""
    return size * (1 + max((team.parity for team in teams), default=0))


def _prepare(drives: Drives, journal: Journal, plan: SealPlan, stream: Stream, teams: Sequence[Team], *,
             reads_back: bool) -> None:
    """(3) V-3: statement and catalog get their places before the first segment."""
    largest = largest_place(plan, stream).stored_size
    for number, volume in enumerate(drives, 1):
        if not journal.ending and not volume.sizes():
            prepare_ends(volume, volume_readme(plan.context.bundle_id, number, len(drives)),
                         64 * limits.KIB + 3 * catalog_body(stream, plan.context.suite))
        volume.expect(sum(team.volumes.count(number) for team in teams) * largest, reads_back=reads_back)


def _segments(job: Job) -> tuple[list[Row], int]:
    """(4) All segments, the finished ones only checked; while some are computed, others are being written."""
    job.meter.begin("packing", job.stream.source.total)
    rows, kept = [], 0

    def work(part: Slice) -> tuple[list[Row], bool]:
        try:
            with job.spaces.borrow() as space:
                with job.computing.enter(part.number):
                    finished = _kept(job, space, part)
                    sealed = None if finished else _seal(job, space, part)
                    assert space.image is not None
                    grown = job.parity.add(part.number, space.image)
                    if finished is not None:
                        _compare_source(job, space, part, finished)
                if sealed is not None:
                    finished = _put(job, space, sealed, part.number - job.parity.team(part.number).first)
                assert finished is not None
                return [finished.row, *_put_parity(job, space, grown)], sealed is None
        except BaseException:
            job.stop()
            raise

    for made, again in run_all(job.stream.slices, work, workers=len(job.spaces), meter=job.meter):
        rows += made
        kept += again
    return sorted(rows, key=lambda row: row.number), kept


def read_slice(job: Job, space: Workspace, part: Slice) -> memoryview:
    """The bytes of a slice, in the buffer that digests and seals share."""
    content = space.slice(part.length)
    for at in range(0, part.length, READ_SIZE):
        job.meter.alive()
        with space.stages("read"):
            job.reader.read(part.start + at, content[at:at + READ_SIZE])
    return content


def _kept(job: Job, space: Workspace, part: Slice) -> Finished | None:
    """A segment of an earlier run, in the buffer, if what is on the medium still gives its root."""
    finished = job.journal.finished.get(part.number)
    return finished if finished is not None and is_on_medium(job, space, finished.row) else None


def is_on_medium(job: Job, space: Workspace, row: Row) -> bool:
    """Whether the medium still gives a segment, under its name or the one before that."""
    name, volume = volumes.segment_name(row.number), job.drives[row.volume]
    suite = job.plan.context.suite
    expected = Expected(suite, _geometry(job.plan, row), bytes.fromhex(row.root), len(job.plan.preamble),
                        suite.hash(job.plan.preamble), job.plan.preamble)
    for candidate in (name, temporary_name(name, row.salt)):
        try:
            with volume.opened(candidate) as descriptor:
                findings, space.image = check_segment(space, descriptor, expected)
        except FileNotFoundError:
            continue
        if findings.clean:
            if candidate != name:
                volume.settle(candidate, name)
            return True
    return False


def _compare_source(job: Job, space: Workspace, part: Slice, finished: Finished) -> None:
    """What was sealed in the earlier run has to be what the digests of files are now made from.

    Raises SourceChangedError if the source no longer gives what it was made from.
    """
    content = read_slice(job, space, part)
    hash_chunk = job.plan.context.suite.hash
    chunks = [hash_chunk(content[cut.start - part.start:][:cut.length]) for cut in job.stream.chunks(part)]
    if hash_chunk(*chunks).hex() != finished.content:
        raise changed_source(job, part)
    job.digests.take(part, content)
    job.meter.add(part.length)


def changed_source(job: Job, part: Slice) -> SourceChangedError:
    """What to say of a slice that no longer gives what an earlier run has sealed."""
    names = [job.stream.source.files[n].path for n in range(part.first, min(part.first + 3, part.last + 1))]
    return SourceChangedError("changed since an earlier run read it", where=", ".join(names),
                              hint="remove the folder of that run and run the same command again")


def require_open(job: Job, number: int) -> None:
    """A statement that was made once binds the segments as they were; a new segment would need a second one."""
    if job.journal.ending is not None:
        job.journal.forget()
        raise MediumError(f"{volumes.segment_name(number)}, which was packed here before, is damaged or gone",
                          where=", ".join(volume.path for volume in job.drives),
                          hint="remove these folders and run the same command again: it makes a new bundle")


def _seal(job: Job, space: Workspace, part: Slice) -> Sealed:
    """Read one slice and make it a segment."""
    require_open(job, part.number)
    content = read_slice(job, space, part)
    job.digests.take(part, content)  # before sealing, which writes over it
    sealed = seal_slice(space, job.plan, job.stream, part, content, entropy=job.entropy, done=job.meter.add)
    space.image = sealed.image
    return sealed


def _put_parity(job: Job, space: Workspace, grown: Growing | None) -> list[Row]:
    """Finish the parity of a complete group and put it on its media; what an earlier run put there stays."""
    if grown is None:
        return []
    rows = []
    for row in range(grown.team.parity):
        number = job.parity.number(grown.team, row)
        before = job.journal.finished.get(number)
        if before is not None:
            sealed = job.parity.finish(grown, row, bytes.fromhex(before.row.salt))
            if sealed.root.hex() == before.row.root and is_on_medium(job, space, before.row):
                rows.append(before.row)
                continue
        require_open(job, number)
        sealed = job.parity.finish(grown, row, job.entropy(16))  # K-10
        rows.append(_put(job, space, sealed, grown.team.count + row, grown.team).row)
    job.parity.release(grown)
    return rows


def _put(job: Job, space: Workspace, sealed: Sealed, position: int, team: Team | None = None) -> Finished:
    """Put a segment on its medium: durable, read back and journaled before it gets its name."""
    number = sealed.geometry.number
    role = PARITY if team is not None else DATA
    team = team or job.parity.team(number)
    volume = job.drives[team.volumes[position]]
    name = volumes.segment_name(number)
    temporary = volume.write(name, [sealed.image.blocks.reshape(-1).data], suffix=sealed.geometry.salt.hex())
    if job.reads_back:
        with space.stages("read back"):
            require_image(volume, space, temporary, sealed.image)
    finished = Finished(row_of(sealed.geometry, role=role, volume=team.volumes[position], root=sealed.root,
                               group=team.number, position=position), sealed.content.hex())
    with space.stages("sync"):
        job.journal.add(finished)
    volume.settle(temporary, name)
    return finished


def _geometry(plan: SealPlan, row: Row) -> Geometry:
    suite = plan.context.suite
    return row.geometry(suite=suite.number, digest_size=suite.digest_size, bundle=plan.context.bundle_id)


def _stored_sizes(plan: SealPlan, rows: Sequence[Row], drives: int) -> dict[int, dict[str, int]]:
    """What the files of the segments have to be, by volume."""
    sizes: dict[int, dict[str, int]] = {number: {} for number in range(1, drives + 1)}
    for row in rows:
        place = Placement(_geometry(plan, row), len(plan.preamble))
        sizes[row.volume][volumes.segment_name(row.number)] = place.stored_size
    return sizes
