"""What a byte, a file and a segment cost as there are more of them: processor time and memory of airbundle alone.

Bytes are models of 1 and 4 GiB (16 with --growth-to 16G), files are 1,000, 10,000 and 100,000 small ones, segments
those of models of a sixteenth and of the whole size at the smallest segments. What files cost in memory is told by the
bytes of the most of them in a hundredth as many, "joined". The start of the program, measured with a source of one
file, is taken off. All sizes of a kind are measured in turns, and each figure is the median of its own.

Files are measured on the disk and, where there is one, on a file system in memory: what a file costs a disk's file
system is not of the program, and depends on what happened there before. Models come first, and nothing removes many
files in between, because ext4 looks for some minutes at each inode that was freed (`rounds.discard`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.cases import FILES, FILES_IN_MEMORY, JOINED, Group
from benchmarks.datasets import make_joined_files, make_model, make_small_files
from benchmarks.measuring import Cost
from benchmarks.recipes import AIRBUNDLE_UNREAD, PACK, UNPACK, VERIFY, Recipe, Step
from benchmarks.rounds import Workshop, discard, in_turn, run_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GIB = 1 << 30
SMALLEST_SEGMENT = 1 << 20
JOINED_FILES = 100  # small files in one
MEMORY = "/dev/shm"
ROOM_BY_FILE = 32 << 10  # bytes, for the sources of all sizes, the drive, and what comes back
STEPS = (PACK, VERIFY, UNPACK)
_KEYS = "{keys}/desk-standard", "{keys}/station-standard"
CARRIED = Recipe("airbundle", (
    *AIRBUNDLE_UNREAD.steps,
    Step(VERIFY, f"airbundle verify {{drive}} --trust {_KEYS[0]}.pub --json --progress none", "drive"),
    Step(UNPACK, f"airbundle unpack {{drive}} -o {{back}}/source --key {_KEYS[1]}.key --trust {_KEYS[0]}.pub "
         "--json --progress none", "drive", "back")), ("airbundle",))
SMALL_SEGMENTS = Recipe("airbundle", (
    Step(PACK, f"{AIRBUNDLE_UNREAD.steps[0].script} --segment-size {SMALLEST_SEGMENT}", "source", "drive"),),
    ("airbundle",))


@dataclass(frozen=True)
class Grown:
    """One step over so many units: bytes, files, files that others were joined to, or segments."""

    kind: str
    step: str
    units: int
    cost: Cost


@dataclass(frozen=True)
class Load:
    """What is carried: so many bytes or files."""

    kind: str
    size: int
    recipe: Recipe = CARRIED

    @property
    def data(self) -> str:
        return f"{self.kind.replace(' ', '-')}-{self.size}"

    @property
    def units(self) -> int:
        return self.size // SMALLEST_SEGMENT if self.kind == "segments" else self.size


def grow(workshop: Workshop, largest: int, files: Sequence[int], runs: int) -> tuple[list[Grown], dict[str, float]]:
    """All of it, and the processor time of each step's start."""
    start = {one.step: one.cost.processor_seconds for one in _in_turns(workshop, [Load("start", 1)], runs)}
    sizes = [size for size in (GIB >> 2, GIB, 4 * GIB, 16 * GIB) if size <= largest][-3:]
    top = min(largest, 4 * GIB)
    joined = Load(JOINED, max(1, files[-1] // JOINED_FILES))
    grown = _in_turns(workshop, [Load("bytes", size) for size in sizes], runs)
    grown += _in_turns(workshop, [Load("segments", size, SMALL_SEGMENTS) for size in (top // 16, top)], runs)
    grown += _in_turns(workshop, [*(Load(FILES, count) for count in files), joined], runs)
    with room_in_memory(workshop, files[-1] * ROOM_BY_FILE) as memory:
        if memory:
            grown += _in_turns(memory, [Load(FILES_IN_MEMORY, count) for count in files], runs)
    return grown, start


def _in_turns(workshop: Workshop, loads: Sequence[Load], runs: int) -> list[Grown]:
    """Every load once in each round; of each step the median."""
    os.makedirs(workshop.at("medium"), exist_ok=True)
    for load in loads:
        _make(workshop.source(load.data), load)
    taken: dict[tuple[Load, str], list[Cost]] = {}
    for number in range(runs):
        for load in in_turn(loads, number):
            for sample in run_recipe(workshop, Group(load.data, load.data, ()), load.recipe, number):
                taken.setdefault((load, sample.step), []).append(sample.cost)
        print(f"  growth, {loads[0].kind}: round {number + 1} of {runs}", file=sys.stderr, flush=True)
    for load in loads:
        discard(workshop, os.path.dirname(workshop.source(load.data)))
    return [Grown(load.kind, step, load.units, middle(costs))
            for load in loads for step in STEPS if (costs := taken.get((load, step)))]


def middle(costs: Sequence[Cost]) -> Cost:
    """The median of each figure by itself."""
    return Cost(statistics.median(cost.seconds for cost in costs),
                statistics.median(cost.processor_seconds for cost in costs),
                statistics.median_high(cost.peak_bytes for cost in costs))


def _make(source: str, load: Load) -> None:
    os.makedirs(os.path.dirname(source))
    if load.kind == JOINED:
        make_joined_files(source, load.size * JOINED_FILES, load.size)
    elif load.kind in {"bytes", "segments"}:
        make_model(source, load.size)
    else:
        make_small_files(source, load.size)


@contextlib.contextmanager
def room_in_memory(workshop: Workshop, room: int) -> Iterator[Workshop | None]:
    """The same keys on a file system in memory; nothing where there is none with so much room."""
    if not os.path.ismount(MEMORY) or shutil.disk_usage(MEMORY).free < room:
        print("  growth: no file system in memory with room for the files", file=sys.stderr)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="airbundle-bench-", dir=MEMORY) as place:
        os.symlink(workshop.at("keys"), os.path.join(place, "keys"))
        yield Workshop(place, aside=False)
