"""Step 4 of a pack on this machine: while some segments are computed, others are being written.

A worker has one segment from its first byte to its name. Segments of an earlier run are only checked: those on the
media against their roots, and the source against what they were made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airbundle.codec.engines import best_engine
from airbundle.format.catalog import DATA, PARITY, Row, row_of
from airbundle.media import volume as volumes
from airbundle.transfer.job import (
    changed_source,
    chunk_digests,
    finished_before,
    is_on_medium,
    read_slice,
    require_open,
    settle,
)
from airbundle.transfer.journal import Finished
from airbundle.transfer.parity import OuterParity
from airbundle.transfer.readback import require_image
from airbundle.transfer.schedule import Turns, run_all
from airbundle.transfer.seal import Sealed, capacity, largest_place, seal_slice
from airbundle.transfer.workspace import Workspace, Workspaces

if TYPE_CHECKING:
    from airbundle.transfer.job import Job
    from airbundle.transfer.layout import Team
    from airbundle.transfer.parity import Growing
    from airbundle.transfer.slices import Slice


def segments_here(job: Job) -> tuple[list[Row], int]:
    """All segments of a pack, and how many of them an earlier run had made."""
    run = _Here.of(job)
    job.meter.begin("packing", job.stream.source.total)
    rows, kept = [], 0
    for made, again in run_all(job.stream.slices, run.take_slice, workers=len(run.spaces), meter=job.meter):
        rows += made
        kept += again
    return sorted(rows, key=lambda row: row.number), kept


@dataclass(frozen=True, slots=True)
class _Here:
    """What the workers share."""

    job: Job
    parity: OuterParity
    computing: Turns
    spaces: Workspaces

    @classmethod
    def of(cls, job: Job) -> _Here:
        """As many as memory permits: one takes its segment, and the parity of the group that it works on."""
        plan, stages = job.plan, job.meter.stages
        size, place = capacity(plan, job.stream), largest_place(plan, job.stream)
        memory = size * (1 + job.teams.most_parity)
        at_a_time = max(1, min(job.pace.buffers(memory, len(job.drives)), len(job.stream.slices)))
        parity = OuterParity(job.teams, plan, size, place.data_at * plan.block_size, at_a_time, stages)
        return cls(job, parity, Turns(job.pace.workers(memory)),
                   Workspaces(at_a_time, size, best_engine(), stages=stages))

    def take_slice(self, part: Slice) -> tuple[list[Row], bool]:
        """The segment of a slice, and the parity that it completes; whether an earlier run had made the segment."""
        job, teams = self.job, self.job.teams
        try:
            with self.spaces.borrow() as space:
                with self.computing.enter(part.number):
                    finished = _kept(job, space, part)
                    sealed = None if finished else _seal(job, space, part)
                    assert space.image is not None
                    self.parity.add(part.number, space.image)
                    if finished is not None:
                        _compare_source(job, space, part, finished)
                if sealed is not None:
                    team = teams.team(part.number)
                    finished = _put(job, space, sealed, DATA, team, part.number - team.first)
                assert finished is not None
                return [finished.row, *self._put_parity(space, self.parity.settled(part.number))], sealed is None
        except BaseException:
            self._stop()
            raise

    def _put_parity(self, space: Workspace, grown: Growing | None) -> list[Row]:
        """Finish the parity of a complete group and put it on its media; what an earlier run put there stays."""
        if grown is None:
            return []
        job, rows = self.job, []
        for row in range(grown.team.parity):
            number = job.teams.number(grown.team, row)
            before = finished_before(job, number)
            if before is not None:
                sealed = self.parity.finish(grown, row, bytes.fromhex(before.row.salt))
                if sealed.root.hex() == before.row.root and is_on_medium(job, space, before.row):
                    rows.append(before.row)
                    continue
            require_open(job, number)
            sealed = self.parity.finish(grown, row, job.entropy(16))  # K-10
            rows.append(_put(job, space, sealed, PARITY, grown.team, grown.team.count + row).row)
        self.parity.release(grown)
        return rows

    def _stop(self) -> None:
        """A worker failed: whoever waits for it stops too."""
        self.computing.stop()
        self.job.digests.stop()
        self.parity.stop()


def _kept(job: Job, space: Workspace, part: Slice) -> Finished | None:
    """A segment of an earlier run, in the buffer, if what is on the medium still gives its root."""
    finished = finished_before(job, part.number)
    return finished if finished is not None and is_on_medium(job, space, finished.row) else None


def _compare_source(job: Job, space: Workspace, part: Slice, finished: Finished) -> None:
    """What was sealed in the earlier run has to be what the digests of files are now made from.

    Raises SourceChangedError if the source no longer gives what it was made from.
    """
    content = read_slice(job, space, part)
    if job.plan.context.suite.hash(*chunk_digests(job, part, content)).hex() != finished.content:
        raise changed_source(job, part)
    job.digests.take(part, content)
    job.meter.add(part.length)


def _seal(job: Job, space: Workspace, part: Slice) -> Sealed:
    """Read one slice and make it a segment."""
    require_open(job, part.number)
    content = read_slice(job, space, part)
    job.digests.take(part, content)  # before sealing, which writes over it
    sealed = seal_slice(space, job.plan, job.stream, part, content, entropy=job.entropy, done=job.meter.add)
    space.image = sealed.image
    return sealed


def _put(job: Job, space: Workspace, sealed: Sealed, role: str, team: Team, position: int) -> Finished:
    """Put a segment on its medium: durable, read back and journaled before it gets its name."""
    row = row_of(sealed.geometry, role=role, volume=team.volumes[position], root=sealed.root, group=team.number,
                 position=position)
    volume = job.drives[row.volume]
    temporary = volume.write(volumes.segment_name(row.number), [sealed.image.blocks.reshape(-1).data], suffix=row.salt)
    if job.reads_back:
        with space.stages("read back"):
            require_image(volume, space, temporary, sealed.image)
    finished = Finished(row, sealed.content.hex(), checked=True)
    settle(job, finished)
    return finished
