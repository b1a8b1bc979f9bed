"""Pack with workers elsewhere: an executor carries out the units, this machine checks, journals and renames.

The steps of each slice, instead of those of `here.py`:

1. send the order to seal it, well ahead of its turn
2. read the slice here too: the SHA-256 of files is carried on, which goes from the first byte to the last, and each
   chunk is digested
3. compare what the worker says that it sealed; then read what it wrote past the page cache, check it against its root,
   and its parity by random sums, open it, and compare every chunk with the digests of step 2
4. journal, rename; when a group is complete, send the order to combine it, and check the parity against the members by
   their prints (`prints.py`)

So with reading back nothing is believed of a worker but that it keeps the key to itself. Without, what it says of its
file is believed, except for the size and for what it read; of every volume the first segment, and one more in every
twentieth of it, are checked against their roots (`media/recheck.py`).
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from airbundle.codec.engines import best_engine
from airbundle.codec.galois import cauchy
from airbundle.crypto.seal import Opener
from airbundle.errors import DamagedError, FormatError, MediumError, SourceChangedError
from airbundle.format.catalog import DATA, PARITY, Row, row_of
from airbundle.format.names import shown
from airbundle.format.segment import FILLER
from airbundle.media import volume as volumes
from airbundle.media.writing import temporary_name
from airbundle.stages import STAGES
from airbundle.transfer.check import check_segment
from airbundle.transfer.crew import ASKED_MAX, Crew
from airbundle.transfer.job import (
    changed_source,
    chunk_digests,
    expected_segment,
    finished_before,
    is_on_medium,
    names_of,
    read_slice,
    require_open,
    settle,
)
from airbundle.transfer.journal import Finished
from airbundle.transfer.orders import CombineOrder, FilePart, Member, ParityTarget, Produced, SealOrder, Terms
from airbundle.transfer.prints import Prints, combined, is_coded
from airbundle.transfer.schedule import run_all
from airbundle.transfer.seal import capacity, largest_place, open_chunks, open_index, shape
from airbundle.transfer.workspace import Workspaces

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from airbundle.format.block import Blocks
    from airbundle.transfer.crew import Sent
    from airbundle.transfer.image import Image
    from airbundle.transfer.job import Job
    from airbundle.transfer.layout import Team
    from airbundle.transfer.orders import Done
    from airbundle.transfer.slices import Slice
    from airbundle.transfer.workspace import Workspace

_AHEAD: Final = 64  # twice as many as 32 threads, which have always one waiting; more would only lie about
_SUSPECT: Final = ("look whether all workers see the same file system; else this worker, or the drive, gives wrong "
                   "results: leave it out and run the same command again")


def segments_apart(job: Job, executor: Executor, *, asked_max: int = ASKED_MAX) -> tuple[list[Row], int]:
    """All segments of a pack, and how many of them an earlier run had made.

    `job.pace.jobs` orders are under way at a time. Workers may ask for the key `asked_max` times for each.
    """
    job.meter.begin("packing", job.stream.source.total)
    with Crew(executor, job.plan.context.suite, entropy=job.entropy, alive=job.meter.alive,
              asked_max=asked_max) as crew:
        run = _Apart(job, crew)
        kept = sum(run_all(job.stream.slices, run.take_slice, workers=run.workers, meter=job.meter))
        run.finish_groups()
    return sorted(run.rows, key=lambda row: row.number), kept


_Members: TypeAlias = "tuple[tuple[Row, Blocks | None], ...]"
"""Data segments of a group, each with its print if it was read back."""


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """A group whose data segments are all there; rows of parity that are `wanted` from a worker, and the order."""

    team: Team
    members: _Members
    wanted: tuple[int, ...]
    sent: Sent


class _Apart:
    """One run. Threads share it; slices come in order, each is taken by one thread."""

    def __init__(self, job: Job, crew: Crew) -> None:
        self._job, self._crew, self._ahead = job, crew, job.pace.jobs or _AHEAD
        self.rows: list[Row] = []
        self._began = time.monotonic()
        self._lock, self._sending = threading.Lock(), threading.Lock()
        room = capacity(job.plan, job.stream)
        pace = replace(job.pace, jobs=0)  # of this machine
        self.workers = max(1, min(pace.buffers(room, len(job.drives)), len(job.stream.slices)))
        self._spaces = Workspaces(self.workers, room, best_engine(), stages=job.meter.stages)
        # A temporary name, so that it goes with all that attempts have left, also when this run is killed.
        self._terms = Terms.of(job.plan, room, temporary_name(volumes.README_NAME, crew.job.hex()))
        for volume in job.drives:
            volume.fill(self._terms.marker, b"")
        place = largest_place(job.plan, job.stream)
        self._prints = Prints(place.geometry.data_blocks, job.entropy)
        self._sent: dict[int, Sent] = {}
        self._next = 0
        self._members: defaultdict[int, dict[int, tuple[Row, Blocks | None]]] = defaultdict(dict)
        self._combining: list[_Group] = []

    # ---- slices ----

    def take_slice(self, part: Slice) -> bool:
        """See a slice through to its segment. Gives whether an earlier run had made that already."""
        job = self._job
        try:
            self._send_ahead(part.number)
            with self._spaces.borrow() as space:
                chunks = self._read_here(space, part)
                before = self._kept(space, part, chunks)
                self._settled(before or self._made(space, part, chunks), space)
            for group in self._take_ready():
                self.finish_group(group)
        except BaseException:
            job.digests.stop()  # whoever waits for this slice stops too
            raise
        job.meter.add(part.length)
        return before is not None

    def _send_ahead(self, number: int) -> None:
        """Orders for what comes next. What an earlier run has finished, so it seems, is only looked at in its turn."""
        job = self._job
        with self._sending:
            last = min(number + self._ahead, len(job.stream.slices))
            for part in job.stream.slices[self._next:last]:
                if finished_before(job, part.number) is None:
                    self._sent[part.number] = self._crew.send(self._order(part))
            self._next = max(self._next, last)

    def _order(self, part: Slice) -> SealOrder:
        stream = self._job.stream
        team = self._job.teams.team(part.number)
        files = tuple(FilePart(str(file.path), os.fsencode(os.path.abspath(file.location)), file.size, file.identity)
                      for file in stream.source.files[part.first:part.last + 1])
        end = part.start + part.length
        runs = tuple(run for run in stream.runs if run.start < end and run.end > part.start)
        return SealOrder(self._terms, self._folder(team.volumes[part.number - team.first]), part.number,
                         part.start, part.length, stream.starts[part.first], files, runs)

    def _read_here(self, space: Workspace, part: Slice) -> list[bytes]:
        """The digests of the chunks as this machine reads them; those of files are carried on."""
        content = read_slice(self._job, space, part)
        with space.stages("digest"):
            chunks = chunk_digests(self._job, part, content)
        self._job.digests.take(part, content)
        return chunks

    def _kept(self, space: Workspace, part: Slice, chunks: list[bytes]) -> Row | None:
        """A segment of an earlier run, if the medium still gives it. Raises SourceChangedError."""
        before = finished_before(self._job, part.number)
        if before is None:
            return None
        if self._content(chunks).hex() != before.content:
            raise changed_source(self._job, part)
        return before.row if is_on_medium(self._job, space, before.row) else None

    def _made(self, space: Workspace, part: Slice, chunks: list[bytes]) -> Row:
        """The segment of a worker, checked, journaled and renamed."""
        job, number = self._job, part.number
        require_open(job, number)
        with self._sending:
            sent = self._sent.pop(number, None)
        done = self._crew.result(sent or self._crew.send(self._order(part)))
        self._count(done)
        made = self._only(done, [number])[0]
        content = self._content(chunks)
        if made.content != content:
            raise SourceChangedError(f"the worker {shown(done.host)} read other bytes than this machine",
                                     where=volumes.segment_name(number), hint="wait until nothing writes there; then "
                                     "compare the file on both machines")
        team = job.teams.team(number)
        row = self._row(made, DATA, team, number - team.first, job.stream.largest_body(part), done.host)
        if self._read_back(space, row, done.host):
            self._open(space, row, part, chunks, done.host)
        settle(job, Finished(row, content.hex(), checked=job.reads_back))
        return row

    def _open(self, space: Workspace, row: Row, part: Slice, chunks: list[bytes], host: str) -> None:
        """Every chunk opens to what was read here. Raises MediumError."""
        job, image = self._job, space.image
        assert image is not None
        opener = Opener(job.plan.context, job.plan.key, row.number, bytes.fromhex(row.salt))
        try:
            index = open_index(image, opener)
            for _ in open_chunks(space, image, job.plan.context.suite, opener, index, lambda size: space.plain[:size]):
                job.meter.alive()
        except DamagedError as error:
            raise self._lied(row, host, f"does not open: {error.what}") from error
        found = [(chunk.length, bytes.fromhex(chunk.digest)) for chunk in index.chunks
                 if chunk.codec != FILLER or not job.plan.pad]
        wanted = [(cut.length, digest) for cut, digest in zip(job.stream.chunks(part), chunks, strict=True)]
        if (index.start, index.length, found, index.files) != (
                part.start, part.length, wanted, tuple(job.stream.spans(part))):
            raise self._lied(row, host, "has another content than it has to have")

    def _content(self, chunks: list[bytes]) -> bytes:
        return self._job.plan.context.suite.hash(*chunks)

    # ---- groups ----

    def _settled(self, row: Row, space: Workspace) -> None:
        """Remember a data segment; when its group is complete, send the order to combine it."""
        team = self._job.teams.team(row.number)
        found = self._prints.of(space.engine, space.image) if space.image is not None else None
        with self._lock:
            self.rows.append(row)
            members = self._members[team.number]
            members[row.number] = (row, found)
            if len(members) < team.count:
                return
            del self._members[team.number]
        there = tuple(members[number] for number in sorted(members))
        wanted = tuple(row for row in range(team.parity) if not self._parity_kept(space, team, there, row))
        if wanted:
            group = _Group(team, there, wanted, self._crew.send(self._combine_order(team, there, wanted)))
            with self._lock:
                self._combining.append(group)

    def _combine_order(self, team: Team, members: _Members, wanted: tuple[int, ...]) -> CombineOrder:
        matrix = cauchy(team.count, team.parity)
        targets = tuple(ParityTarget(self._folder(team.volumes[team.count + row]), self._job.teams.number(team, row),
                               matrix[row].tobytes()) for row in wanted)
        return CombineOrder(self._terms, tuple(Member(self._folder(row.volume), row) for row, _ in members), targets)

    def _parity_kept(self, space: Workspace, team: Team, members: _Members, row: int) -> bool:
        """Whether an earlier run has put the parity there, of these very members."""
        job, number = self._job, self._job.teams.number(team, row)
        before = finished_before(job, number)
        if before is not None and is_on_medium(job, space, before.row) and self._fits(space, team, members, row):
            with self._lock:
                self.rows.append(before.row)
            return True
        require_open(job, number)
        return False

    def _fits(self, space: Workspace, team: Team, members: _Members, row: int) -> bool:
        """Whether the parity in the buffer is that of its group; no where a member was not read back."""
        assert space.image is not None
        prints = [found for _, found in members if found is not None]
        if len(prints) < team.count:
            return False
        coefficients = cauchy(team.count, team.parity)[row].tobytes()
        return np.array_equal(self._prints.of(space.engine, space.image), combined(coefficients, prints))

    def _take_ready(self) -> list[_Group]:
        """Groups whose parity has come; each is given once."""
        with self._lock:
            ready = [group for group in self._combining if group.sent.is_settled]
            self._combining = [group for group in self._combining if group not in ready]
        return ready

    def finish_group(self, group: _Group) -> None:
        """Take the parity of a group: checked, journaled and renamed."""
        job, team = self._job, group.team
        done = self._crew.result(group.sent)
        self._count(done)
        longest = max(row.body for row, _ in group.members)
        numbers = [job.teams.number(team, row) for row in group.wanted]
        for at, made in zip(group.wanted, self._only(done, numbers), strict=True):
            row = self._row(made, PARITY, team, team.count + at, longest, done.host)
            with self._spaces.borrow() as space:
                if row.body != longest:
                    raise self._lied(row, done.host, "is not as long as its group")
                if self._read_back(space, row, done.host) and not self._fits(space, team, group.members, at):
                    raise self._lied(row, done.host, "is not the parity of its group")
            settle(job, Finished(row, "", checked=job.reads_back))
            with self._lock:
                self.rows.append(row)

    def finish_groups(self) -> None:
        """Take the parity that is still to come."""
        left, self._combining = self._combining, []
        for _ in run_all(left, self.finish_group, workers=self.workers, meter=self._job.meter):
            pass

    # ---- what a worker says ----

    def _only(self, done: Done, numbers: list[int]) -> tuple[Produced, ...]:
        if [made.number for made in done.made] != numbers:
            raise MediumError(f"the worker {shown(done.host)} answers something else than it was asked", hint=_SUSPECT)
        return done.made

    def _row(self, made: Produced, role: str, team: Team, position: int, body_at_most: int, host: str) -> Row:
        """The row of a segment. Its geometry follows from its salt and the length of its body, and is not asked for."""
        plan = self._job.plan
        limit = shape(plan, made.number, bytes(16), body_at_most).body
        try:
            geometry = shape(plan, made.number, made.salt, min(max(1, made.body), limit))
        except FormatError as error:
            raise MediumError(f"the worker {shown(host)} says what cannot be: {error.what}", hint=_SUSPECT) from error
        row = row_of(geometry, role=role, volume=team.volumes[position], root=made.root, group=team.number,
                     position=position)
        if len(made.root) != plan.context.suite.digest_size:
            raise self._lied(row, host, f"has a root of {len(made.root)} bytes")
        padded = not plan.pad or role != DATA or made.body == limit
        if geometry.body != made.body or not padded:
            raise self._lied(row, host, "has a length that cannot be")
        return row

    def _read_back(self, space: Workspace, row: Row, host: str) -> bool:
        """Read a file of a worker past the page cache, and check it against its root; gives whether that was done.

        Without reading back its size, and all of it where it is one of those by which a drive is seen to lie.
        """
        job, volume, expected = self._job, self._job.drives[row.volume], expected_segment(self._job.plan, row)
        name, temporary = names_of(row)
        space.image = None
        try:
            with volume.opened(temporary) as descriptor:
                if os.fstat(descriptor).st_size != expected.place.stored_size:
                    raise self._lied(row, host, "has another size than it has to have")

                def content(at: int, length: int) -> memoryview:
                    image = space.image or self._checked(space, descriptor, row, host)
                    return image.blocks.reshape(-1).data[at:at + length]

                if job.reads_back:
                    self._checked(space, descriptor, row, host)
                volume.adopt(name, temporary, content, expected.place.stored_size)
        except FileNotFoundError:
            raise self._lied(row, host, "is not here, where the worker says that it wrote it") from None
        return job.reads_back

    def _checked(self, space: Workspace, descriptor: int, row: Row, host: str) -> Image:
        """The segment in an open file, in the buffer. Raises MediumError where it is not that of the row."""
        findings, image = check_segment(space, descriptor, expected_segment(self._job.plan, row), stage="read back")
        if not findings.clean:
            raise self._lied(row, host, "is not what the worker says that it wrote")
        if not is_coded(space.engine, image, self._job.entropy):
            raise self._lied(row, host, "has parity that could not repair it")
        space.image = image
        return image

    def _lied(self, row: Row, host: str, what: str) -> MediumError:
        name, temporary = names_of(row)
        return MediumError(f"{name} of the worker {shown(host)} {what}", hint=_SUSPECT,
                           where=shown(os.path.join(self._job.drives[row.volume].path, temporary)))

    def _count(self, done: Done) -> None:
        """What a worker says of its time, as far as it makes sense."""
        passed = time.monotonic() - self._began
        for stage in STAGES:
            seconds = done.stages.get(stage, 0.0)
            if 0 < seconds <= passed:
                self._job.meter.stages.add(stage, seconds)

    def _folder(self, volume: int) -> bytes:
        return os.fsencode(os.path.abspath(self._job.drives[volume].path))
