"""Pack a source onto media.

The steps, in order:

1. scan the source, cut it into slices; with what the journal's bundle has taken already, ask whether it fits, and lay
   the segments out over the drives (`begin.py`, `layout.py`)
2. go on with the journal of this command and lock, or draw bundle id, bundle key and preamble and begin one
3. make the volumes' folders; preallocate statement and catalog in front of everything else
4. per segment: read; carry the SHA-256 of the files on; digest, compress, compare, seal, blocks, parity; add to the
   parity of its group; write under a temporary name; read back past the cache; journal; rename. The last one of a group
   brings the group's parity segments (`here.py`; with workers elsewhere `apart.py`)
5. catalog, then its copy, then the record, then the statement: there is no bundle before the last byte of it;
   then the words that open it are shown, if nobody chose them

What is finished stays finished: `kill -9` at any moment and the same command again goes on.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airbundle.format import limits
from airbundle.format.catalog import DATA
from airbundle.format.geometry import Placement
from airbundle.media import volume as volumes
from airbundle.transfer import begin
from airbundle.transfer.drives import Drives
from airbundle.transfer.ending import Declared, make_ending, write_ending
from airbundle.transfer.ends import prepare_ends
from airbundle.transfer.fingerprints import FileDigests
from airbundle.transfer.here import segments_here
from airbundle.transfer.job import Job, geometry_of
from airbundle.transfer.journal import Journal
from airbundle.transfer.layout import Teams
from airbundle.transfer.plan import Options, catalog_body, open_stream, shared
from airbundle.transfer.progress import Meter, Tick
from airbundle.transfer.readme import volume_readme
from airbundle.transfer.seal import largest_place
from airbundle.transfer.workspace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.locks import Lock
    from airbundle.format.catalog import Row
    from airbundle.transfer.ends import Held
    from airbundle.transfer.job import Segments
    from airbundle.transfer.layout import Team
    from airbundle.transfer.seal import SealPlan
    from airbundle.transfer.slices import Stream


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


def pack(source: str, targets: Sequence[str], *, identity: PrivateIdentity, lock: Lock,
         declared: Declared | None = None, options: Options | None = None, lose: int | None = None,
         pace: Pace | None = None, reads_back: bool = True, progress: Callable[[Tick], None] | None = None,
         segments: Segments = segments_here,
         now: Callable[[], float] = time.time, entropy: Callable[[int], bytes] = secrets.token_bytes) -> PackResult:
    """Pack `source` into a volume under each of the folders `targets`, so that any `lose` of them may be lost.

    `segments` is step 4. Raises AirbundleError; then there is no bundle.
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
                job = Job(stream, reader, plan, drives, journal, FileDigests(stream, meter.stages), Teams(teams), pace,
                          meter, reads_back, entropy)
                rows, kept = segments(job)
                held = partial(_stored_sizes, plan, rows)
                if journal.ending is None:
                    for number, volume in enumerate(drives, 1):
                        volume.require(held(number))
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


def _prepare(drives: Drives, journal: Journal, plan: SealPlan, stream: Stream, teams: Sequence[Team], *,
             reads_back: bool) -> None:
    """(3) V-3: statement and catalog get their places before the first segment."""
    largest = largest_place(plan, stream).stored_size
    for number, volume in enumerate(drives, 1):
        if not journal.ending and not volume.sizes():
            prepare_ends(volume, volume_readme(plan.context.bundle_id, number, len(drives)),
                         64 * limits.KIB + 3 * catalog_body(stream, plan.context.suite))
        volume.expect(sum(team.volumes.count(number) for team in teams) * largest, reads_back=reads_back)


def _stored_sizes(plan: SealPlan, rows: Sequence[Row], number: int) -> Held:
    """What the files of the segments on volume `number` have to be."""
    return ((volumes.segment_name(row.number), Placement(geometry_of(plan, row), len(plan.preamble)).stored_size)
            for row in rows if row.volume == number)
