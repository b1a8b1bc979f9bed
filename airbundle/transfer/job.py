"""One pack while its segments are made, by this machine (`here.py`) or by workers elsewhere (`apart.py`).

What both share lies here: a slice is read, a segment of an earlier run is looked for, a finished one gets its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from airbundle.errors import MediumError, SourceChangedError
from airbundle.format import limits
from airbundle.media import volume as volumes
from airbundle.media.writing import temporary_name
from airbundle.transfer.check import Expected, check_segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.format.catalog import Row
    from airbundle.format.geometry import Geometry
    from airbundle.media.reading import SourceReader
    from airbundle.transfer.drives import Drives
    from airbundle.transfer.fingerprints import FileDigests
    from airbundle.transfer.journal import Finished, Journal
    from airbundle.transfer.layout import Teams
    from airbundle.transfer.progress import Meter
    from airbundle.transfer.seal import SealPlan
    from airbundle.transfer.slices import Slice, Stream
    from airbundle.transfer.workspace import Pace, Workspace

_READ_SIZE: Final = 8 * limits.MIB


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that is settled before the first segment is made."""

    stream: Stream
    reader: SourceReader
    plan: SealPlan
    drives: Drives
    journal: Journal
    digests: FileDigests
    teams: Teams
    pace: Pace
    meter: Meter
    reads_back: bool
    entropy: Callable[[int], bytes]


Segments: TypeAlias = "Callable[[Job], tuple[list[Row], int]]"
"""Makes all segments: gives their rows, and how many an earlier run had made."""


def read_slice(job: Job, space: Workspace, part: Slice) -> memoryview:
    """The bytes of a slice, in the buffer that digests and seals share."""
    content = space.slice(part.length)
    for at in range(0, part.length, _READ_SIZE):
        job.meter.alive()
        with space.stages("read"):
            job.reader.read(part.start + at, content[at:at + _READ_SIZE])
    return content


def chunk_digests(job: Job, part: Slice, content: memoryview) -> list[bytes]:
    """`H` of each chunk of a slice, of which these are the bytes."""
    hash_chunk = job.plan.context.suite.hash
    return [hash_chunk(content[cut.start - part.start:][:cut.length]) for cut in job.stream.chunks(part)]


def changed_source(job: Job, part: Slice) -> SourceChangedError:
    """What to say of a slice that no longer gives what an earlier run has sealed."""
    names = job.stream.source.files.paths[part.first:min(part.first + 3, part.last + 1)]
    return SourceChangedError("changed since an earlier run read it", where=", ".join(names),
                              hint="remove the folder of that run and run the same command again")


def finished_before(job: Job, number: int) -> Finished | None:
    """What an earlier run has made of a segment; nothing where that run believed a worker, and this one reads back."""
    before = job.journal.finished.get(number)
    return before if before is not None and (before.checked or not job.reads_back) else None


def names_of(row: Row) -> tuple[str, str]:
    """The name of a segment, and the one that it has before."""
    name = volumes.segment_name(row.number)
    return name, temporary_name(name, row.salt)


def geometry_of(plan: SealPlan, row: Row) -> Geometry:
    """The geometry of a segment of this bundle."""
    suite = plan.context.suite
    return row.geometry(suite=suite.number, digest_size=suite.digest_size, bundle=plan.context.bundle_id)


def expected_segment(plan: SealPlan, row: Row) -> Expected:
    """What a segment of this bundle has to be."""
    suite = plan.context.suite
    return Expected(suite, geometry_of(plan, row), bytes.fromhex(row.root), len(plan.preamble),
                    suite.hash(plan.preamble), plan.preamble)


def is_on_medium(job: Job, space: Workspace, row: Row) -> bool:
    """Whether the medium still gives a segment, under its name or the one before that; then it is in the buffer."""
    name, temporary = names_of(row)
    volume = job.drives[row.volume]
    for candidate in (name, temporary):
        try:
            with volume.opened(candidate) as descriptor:
                findings, space.image = check_segment(space, descriptor, expected_segment(job.plan, row))
        except FileNotFoundError:
            continue
        if findings.clean:
            if candidate != name:
                volume.settle(candidate, name)
            return True
    return False


def require_open(job: Job, number: int) -> None:
    """A statement that was made once binds the segments as they were; a new segment would need a second one."""
    if job.journal.ending is not None:
        job.journal.forget()
        raise MediumError(f"{volumes.segment_name(number)}, which was packed here before, is damaged or gone",
                          where=", ".join(volume.path for volume in job.drives),
                          hint="remove these folders and run the same command again: it makes a new bundle")


def settle(job: Job, finished: Finished) -> None:
    """A segment that is durable under its temporary name is journaled, and gets its name after that."""
    name, temporary = names_of(finished.row)
    with job.meter.stages("sync"):
        job.journal.add(finished)
    job.drives[finished.row.volume].settle(temporary, name)
