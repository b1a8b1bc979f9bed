"""Pack with workers elsewhere: an executor carries out the units, this machine checks, journals and renames.

The steps of each slice, instead of step 4 of `pack.py`:

1. send the order to seal it, well ahead of its turn
2. read the slice here too: the SHA-256 of files is carried on, which goes from the first byte to the last, and each
   chunk is digested
3. compare what the worker says that it sealed; then read what it wrote past the page cache, check it against its root,
   open it, and compare every chunk with the digests of step 2
4. journal, rename; when a group is complete, send the order to combine it, and check the parity against the members by
   their prints (`prints.py`)

So with reading back nothing is believed of a worker but that it keeps the key to itself. Without, what it says of its
file is believed, except for the size and for what it read.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.codec.galois import cauchy
from airbundle.crypto.seal import Opener
from airbundle.errors import DamagedError, FormatError, MediumError, SourceChangedError
from airbundle.format.catalog import DATA, PARITY, Row, row_of
from airbundle.format.names import shown
from airbundle.format.segment import FILLER
from airbundle.media import volume as volumes
from airbundle.media.volume import README_NAME
from airbundle.media.writing import temporary_name
from airbundle.transfer import pack as packing
from airbundle.transfer.check import check_segment
from airbundle.transfer.crew import Crew, stages_of
from airbundle.transfer.journal import Finished
from airbundle.transfer.orders import CombineOrder, FilePart, Member, Produced, SealOrder, Terms
from airbundle.transfer.prints import Prints, combined
from airbundle.transfer.schedule import run_all
from airbundle.transfer.seal import capacity, largest_place, open_chunks, open_index, shape
from airbundle.transfer.units import expected_segment

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from airbundle.format.block import Blocks
    from airbundle.transfer.crew import Sent
    from airbundle.transfer.layout import Team
    from airbundle.transfer.orders import Done
    from airbundle.transfer.pack import Job
    from airbundle.transfer.slices import Slice
    from airbundle.transfer.workspace import Workspace

AHEAD: Final = 64
_SUSPECT: Final = ("look whether all workers see the same file system; else this worker, or the drive, gives wrong "
                   "results: leave it out and run the same command again")


def segments_apart(job: Job, executor: Executor, ahead: int = 0) -> tuple[list[Row], int]:
    """All segments of a pack, and how many of them an earlier run had made; at most `ahead` units are under way."""
    job.meter.begin("packing", job.stream.source.total)
    with Crew(executor, job.plan.context.suite, entropy=job.entropy, alive=job.meter.alive) as crew:
        run = _Apart(job, crew, ahead or AHEAD)
        kept = sum(run_all(job.stream.slices, run.take_slice, workers=len(job.spaces), meter=job.meter))
        run.finish_groups()
    return sorted(run.rows, key=lambda row: row.number), kept


@dataclass(slots=True, eq=False)
class _Group:
    """A group whose data segments are all there, with their prints; rows of parity that are `wanted` from a worker."""

    team: Team
    members: tuple[tuple[Row, Blocks | None], ...]
    wanted: list[int] = field(default_factory=list)
    sent: Sent | None = None


class _Apart:
    """One run. Threads share it; slices come in order, each is taken by one thread."""

    def __init__(self, job: Job, crew: Crew, ahead: int) -> None:
        self._job, self._crew, self._ahead = job, crew, ahead
        self.rows: list[Row] = []
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._terms = Terms.of(job.plan)
        self._marker = temporary_name(README_NAME, crew.job.hex())
        for volume in job.drives:
            volume.fill(self._marker, b"")
        self._room = capacity(job.plan, job.stream)
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
            with job.spaces.borrow() as space:
                chunks = self._read_here(space, part)
                before = job.journal.finished.get(part.number)
                again = before is not None and self._is_kept(space, part, before, chunks)
                row = before.row if before is not None and again else self._made(space, part, chunks)
                self._settled(row, space)
            for group in self._take_ready():
                self.finish_group(group)
        except BaseException:
            job.stop()
            raise
        job.meter.add(part.length)
        return again

    def _send_ahead(self, number: int) -> None:
        """Orders for what comes next. What an earlier run has finished, so it seems, is only looked at in its turn."""
        job = self._job
        with self._sending:
            last = min(number + self._ahead, len(job.stream.slices))
            for part in job.stream.slices[self._next:last]:
                if part.number not in job.journal.finished:
                    self._sent[part.number] = self._crew.send(self._order(part))
            self._next = max(self._next, last)

    def _order(self, part: Slice) -> SealOrder:
        stream = self._job.stream
        team = self._job.parity.team(part.number)
        files = tuple(FilePart(str(file.path), os.fsencode(os.path.abspath(file.location)), file.size, file.identity)
                      for file in stream.source.files[part.first:part.last + 1])
        end = part.start + part.length
        runs = tuple(run for run in stream.runs if run.start < end and run.end > part.start)
        return SealOrder(self._terms, self._marker, self._folder(team.volumes[part.number - team.first]), part.number,
                         part.start, part.length, stream.starts[part.first], files, runs, self._room)

    def _read_here(self, space: Workspace, part: Slice) -> list[str]:
        """The digests of the chunks as this machine reads them; those of files are carried on."""
        job, hash_chunk = self._job, self._job.plan.context.suite.hash
        content = packing.read_slice(job, space, part)
        with space.stages("digest"):
            chunks = [hash_chunk(content[cut.start - part.start:][:cut.length]).hex()
                      for cut in job.stream.chunks(part)]
        job.digests.take(part, content)
        return chunks

    def _is_kept(self, space: Workspace, part: Slice, before: Finished, chunks: list[str]) -> bool:
        if self._content(chunks).hex() != before.content:
            raise packing.changed_source(self._job, part)
        return packing.is_on_medium(self._job, space, before.row)

    def _made(self, space: Workspace, part: Slice, chunks: list[str]) -> Row:
        """The segment of a worker, checked, journaled and renamed."""
        job, number = self._job, part.number
        packing.require_open(job, number)
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
        team = job.parity.team(number)
        row = self._row(made, DATA, team, number - team.first, job.stream.largest_body(part), done.host)
        if self._read_back(space, row, done.host):
            self._open(space, row, part, chunks, done.host)
        self._settle(row, content)
        return row

    def _open(self, space: Workspace, row: Row, part: Slice, chunks: list[str], host: str) -> None:
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
        found = [(chunk.length, chunk.digest) for chunk in index.chunks if chunk.codec != FILLER]
        wanted = [(cut.length, digest) for cut, digest in zip(job.stream.chunks(part), chunks, strict=True)]
        if (index.start, index.length, found, index.files) != (
                part.start, part.length, wanted, tuple(job.stream.spans(part))):
            raise self._lied(row, host, "has another content than it has to have")

    def _content(self, chunks: list[str]) -> bytes:
        return self._job.plan.context.suite.hash(*map(bytes.fromhex, chunks))

    # ---- groups ----

    def _settled(self, row: Row, space: Workspace) -> None:
        """Remember a data segment; when its group is complete, send the order to combine it."""
        team = self._job.parity.team(row.number)
        found = self._prints.of(space.engine, space.image) if space.image is not None else None
        with self._lock:
            self.rows.append(row)
            members = self._members[team.number]
            members[row.number] = (row, found)
            if len(members) < team.count:
                return
            del self._members[team.number]
        group = _Group(team, tuple(members[number] for number in sorted(members)))
        wanted = [row for row in range(team.parity) if not self._parity_kept(space, group, row)]
        if wanted:
            group.sent = self._crew.send(self._combine_order(group, wanted))
            with self._lock:
                self._combining.append(group)

    def _combine_order(self, group: _Group, wanted: list[int]) -> CombineOrder:
        team, matrix = group.team, cauchy(group.team.count, group.team.parity)
        group.wanted = wanted
        targets = tuple((self._folder(team.volumes[team.count + row]), self._job.parity.number(team, row),
                         matrix[row].tobytes()) for row in wanted)
        members = tuple(Member(self._folder(row.volume), row) for row, _ in group.members)
        return CombineOrder(self._terms, self._marker, members, targets, self._room)

    def _parity_kept(self, space: Workspace, group: _Group, row: int) -> bool:
        """Whether an earlier run has put the parity there, of these very members."""
        job, number = self._job, self._job.parity.number(group.team, row)
        before = job.journal.finished.get(number)
        if before is not None and packing.is_on_medium(job, space, before.row) and self._fits(space, group, row):
            with self._lock:
                self.rows.append(before.row)
            return True
        packing.require_open(job, number)
        return False

    def _fits(self, space: Workspace, group: _Group, row: int) -> bool:
        """Whether the parity in the buffer is that of its group; no where a member was not read back."""
        assert space.image is not None
        prints = [found for _, found in group.members if found is not None]
        if len(prints) < group.team.count:
            return False
        coefficients = cauchy(group.team.count, group.team.parity)[row].tobytes()
        return np.array_equal(self._prints.of(space.engine, space.image), combined(coefficients, prints))

    def _take_ready(self) -> list[_Group]:
        """Groups whose parity has come; each is given once."""
        with self._lock:
            ready = [group for group in self._combining if group.sent is not None and group.sent.is_settled]
            self._combining = [group for group in self._combining if group not in ready]
        return ready

    def finish_group(self, group: _Group) -> None:
        """Take the parity of a group: checked, journaled and renamed."""
        job, team = self._job, group.team
        assert group.sent is not None
        done = self._crew.result(group.sent)
        self._count(done)
        longest = max(row.body for row, _ in group.members)
        numbers = [job.parity.number(team, row) for row in group.wanted]
        for at, made in zip(group.wanted, self._only(done, numbers), strict=True):
            row = self._row(made, PARITY, team, team.count + at, longest, done.host)
            with job.spaces.borrow() as space:
                if row.body != longest:
                    raise self._lied(row, done.host, "is not as long as its group")
                if self._read_back(space, row, done.host) and not self._fits(space, group, at):
                    raise self._lied(row, done.host, "is not the parity of its group")
            self._settle(row, b"")
            with self._lock:
                self.rows.append(row)

    def finish_groups(self) -> None:
        """Take the parity that is still to come."""
        left, self._combining = self._combining, []
        for _ in run_all(left, self.finish_group, workers=len(self._job.spaces), meter=self._job.meter):
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
        padded = not plan.pad or role != DATA or made.body == limit
        if geometry.body != made.body or not padded or len(made.root) != plan.context.suite.digest_size:
            raise self._lied(row, host, "has a length that cannot be")
        return row

    def _read_back(self, space: Workspace, row: Row, host: str) -> bool:
        """Read a file of a worker past the page cache, and check it against its root. Without reading back its size."""
        job, volume, expected = self._job, self._job.drives[row.volume], expected_segment(self._job.plan, row)
        name, temporary = _names(row)
        space.image = None
        try:
            with volume.opened(temporary) as descriptor:
                if not job.reads_back:
                    if os.fstat(descriptor).st_size != expected.place.stored_size:
                        raise self._lied(row, host, "has another size than it has to have")
                    return False
                findings, space.image = check_segment(space, descriptor, expected)
        except FileNotFoundError:
            raise self._lied(row, host, "is not here, where the worker says that it wrote it") from None
        if not findings.clean:
            raise self._lied(row, host, "is not what the worker says that it wrote")
        volume.adopt(name, temporary, space.image.blocks.reshape(-1).data)
        return True

    def _settle(self, row: Row, content: bytes) -> None:
        """Journal, then rename."""
        name, temporary = _names(row)
        self._job.journal.add(Finished(row, content.hex()))
        self._job.drives[row.volume].settle(temporary, name)

    def _lied(self, row: Row, host: str, what: str) -> MediumError:
        name, temporary = _names(row)
        return MediumError(f"{name} of the worker {shown(host)} {what}", hint=_SUSPECT,
                           where=shown(os.path.join(self._job.drives[row.volume].path, temporary)))

    def _count(self, done: Done) -> None:
        for stage, seconds in stages_of(done).items():
            self._job.meter.stages.add(stage, seconds)

    def _folder(self, volume: int) -> bytes:
        return os.fsencode(os.path.abspath(self._job.drives[volume].path))


def _names(row: Row) -> tuple[str, str]:
    """The name of a segment, and the one that its worker gave it."""
    name = volumes.segment_name(row.number)
    return name, temporary_name(name, row.salt)
