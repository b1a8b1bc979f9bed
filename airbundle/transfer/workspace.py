"""What one worker owns and uses again for every segment: buffers, codec contexts, the engine.

Fresh large buffers cost page faults, so nothing larger than a few blocks is allocated per segment. `Pace` says how
this machine works (threads, memory); it is never written into a bundle.
"""

from __future__ import annotations

import queue
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from airbundle.codec.compress import Compressor, Expander
from airbundle.codec.engines import Engine, best_engine
from airbundle.errors import MediumError
from airbundle.format import limits
from airbundle.format.segment import TAG_SIZE
from airbundle.media import system
from airbundle.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airbundle.format.block import Blocks
    from airbundle.media.flow import StreamWriter
    from airbundle.transfer.image import Image

MEMORY_DEFAULT: Final = 640 * limits.MIB


@dataclass(frozen=True, slots=True)
class Pace:
    """`jobs` segments at a time; `memory` bytes for all their buffers together.

    With an executor `jobs` is how many orders are under way; what this machine does itself then goes by its cores.
    """

    jobs: int = 0
    memory: int = MEMORY_DEFAULT

    def workers(self, segment_size: int) -> int:
        """How many workers fit, at least one; `segment_size` is the largest stored size in bytes, of all it holds."""
        wanted = self.jobs or system.cpu_count()
        memory = self.memory if self.jobs == 0 else max(self.memory, system.memory_total() // 2)
        return max(1, min(wanted, memory // _taken(segment_size)))

    def buffers(self, segment_size: int, drives: int = 1) -> int:
        """How many segments may be in memory: those of the workers, and one more for each drive that is written to.

        The memory permitting.
        """
        workers = self.workers(segment_size)
        return max(workers, min(workers + drives, self.memory // _taken(segment_size)))


def _taken(segment_size: int) -> int:
    """Bytes of one worker, with all that is not the segment's buffer."""
    return segment_size + 8 * limits.MIB


class Workspace:
    """The buffers of one worker. `capacity` is the largest stored segment in bytes."""

    def __init__(self, capacity: int, engine: Engine | None = None, *, writer: StreamWriter | None = None,
                 stages: Stages | None = None) -> None:
        if capacity > limits.SEGMENT_STORED_MAX + limits.BLOCK_MAX:
            raise MediumError(f"a buffer of {capacity} bytes", rule="B-3")
        self.engine = engine or best_engine()
        self.writer = writer
        self.stages = stages or Stages()
        self._memory = system.huge_buffer(capacity)
        self.bytes: Blocks = np.frombuffer(self._memory, np.uint8)
        self.plain = memoryview(system.huge_buffer(limits.CHUNK_MAX))
        self.image: Image | None = None
        self.sealed = memoryview(system.huge_buffer(limits.CHUNK_MAX + TAG_SIZE))

    def slice(self, length: int) -> memoryview:
        """Room for the `length` source bytes of a slice, at the end of the buffer that its segment grows into.

        Sealing writes from the front and stays behind what it reads: `transfer/seal.py` counts on that.
        """
        return self.bytes[len(self.bytes) - length:].data

    @cached_property
    def packed(self) -> memoryview:
        """Room for one opened, still packed chunk."""
        return memoryview(system.huge_buffer(limits.CHUNK_MAX))

    @cached_property
    def window(self) -> Blocks:
        """Room to read back into."""
        return np.frombuffer(system.huge_buffer(8 * limits.MIB), np.uint8)

    @cached_property
    def compressor(self) -> Compressor:
        """Made when first used: a verifying worker never needs it."""
        return Compressor(self.stages)

    @cached_property
    def expander(self) -> Expander:
        """Likewise."""
        return Expander(self.stages)

    def blocks(self, count: int, block_size: int, *, first: int = 0) -> Blocks:
        """The buffer as `count` blocks of `block_size` bytes from byte `first`."""
        return self.bytes[first:first + count * block_size].reshape(count, block_size)


class Workspaces:
    """A fixed set of workspaces, lent one at a time."""

    def __init__(self, count: int, capacity: int, engine: Engine | None = None, *,
                 writer: Callable[[], StreamWriter] | None = None, stages: Stages | None = None) -> None:
        self._count = count
        self._free: queue.SimpleQueue[Workspace] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(Workspace(capacity, engine, writer=writer() if writer else None, stages=stages))

    def __len__(self) -> int:
        return self._count

    @property
    def pairs(self) -> int:
        """How many tasks may `borrow_two` at a time."""
        return max(1, self._count // 2)

    @contextmanager
    def borrow_two(self) -> Iterator[tuple[Workspace, Workspace]]:
        """Two of them, for no more than `pairs` tasks at a time; where there is only one, a second is made."""
        with self.borrow() as first:
            if self._count == 1:
                yield first, Workspace(len(first.bytes), first.engine, stages=first.stages)
            else:
                with self.borrow() as second:
                    yield first, second

    @contextmanager
    def borrow(self) -> Iterator[Workspace]:
        """Wait for a free one and give it back afterwards."""
        work = self._free.get()
        try:
            yield work
        finally:
            self._free.put(work)


def scatter(payloads: Blocks, position: int, content: memoryview) -> None:
    """Write `content` at byte `position` of the body that the payloads are, end to end."""
    for rows, flat in _runs(payloads, position, content):
        rows[...] = flat


def gather(payloads: Blocks, position: int, out: memoryview) -> None:
    """Read `len(out)` bytes of the body from byte `position`."""
    for rows, flat in _runs(payloads, position, out):
        flat[...] = rows


def _runs(payloads: Blocks, position: int, content: memoryview) -> Iterator[tuple[Blocks, Blocks]]:
    """Pair pieces of the body with pieces of `content`: the rest of a block, whole blocks, the start of a block."""
    size = payloads.shape[1]
    flat = np.frombuffer(content, np.uint8)
    row, column = divmod(position, size)
    done = min(size - column, len(flat))
    yield payloads[row, column:column + done], flat[:done]
    row, whole = row + 1, (len(flat) - done) // size
    if whole:
        yield payloads[row:row + whole], flat[done:done + whole * size].reshape(whole, size)
    done += whole * size
    if done < len(flat):
        yield payloads[row + whole, :len(flat) - done], flat[done:]
