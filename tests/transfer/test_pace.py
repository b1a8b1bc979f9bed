"""How many segments are worked on and kept at a time: by cores and drives, within the memory."""

from __future__ import annotations

import pytest

from airbundle.format.limits import MIB
from airbundle.media.system import cpu_count
from airbundle.transfer.workspace import Pace


def test_a_worker_for_each_core() -> None:
    assert Pace().workers(MIB) == cpu_count()


@pytest.mark.parametrize(("jobs", "memory", "segment", "drives", "workers", "buffers"), [
    (2, 640, 72, 1, 2, 3),  # one is written while two are made
    (2, 640, 72, 4, 2, 6),  # four drives write at a time
    (2, 640, 72, 9, 2, 8),  # as far as the memory goes
    (2, 200, 72, 1, 2, 2),
    (4, 280, 72, 1, 4, 4),  # who asks for more jobs takes more memory
    (1, 10, 300, 3, 1, 1),  # less than one cannot be
])
def test_buffers(jobs: int, memory: int, segment: int, drives: int, workers: int, buffers: int) -> None:
    pace = Pace(jobs=jobs, memory=memory * MIB)
    assert (pace.workers(segment * MIB), pace.buffers(segment * MIB, drives)) == (workers, buffers)


def test_memory_bounds_what_nobody_asked_for() -> None:
    assert Pace(memory=80 * MIB).workers(72 * MIB) == 1
