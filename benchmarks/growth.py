"""What a byte, a file and a segment cost as there are more of them: processor time and memory of airbundle alone.

Bytes are models of 1 and 4 GiB (16 with --growth-to 16G), files are 1,000, 10,000 and 100,000 small ones, segments
those of models of a sixteenth and of the whole size at the smallest segments. What files cost in memory is told by the
bytes of the most of them in a hundredth as many, "joined". The start of the program, measured with a source of one
file, is taken off. Each figure is the median by processor time of 3 runs; what is larger than 1 GiB, and the segments,
are measured once.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.cases import JOINED, Group
from benchmarks.datasets import make_joined_files, make_model, make_small_files
from benchmarks.measuring import Cost
from benchmarks.recipes import AIRBUNDLE_UNREAD, PACK, UNPACK, VERIFY, Recipe, Step
from benchmarks.rounds import Workshop, discard, run_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GIB = 1 << 30
SMALLEST_SEGMENT = 1 << 20
JOINED_FILES = 100  # small files in one
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


def grow(workshop: Workshop, largest: int, files: Sequence[int], runs: int) -> tuple[list[Grown], dict[str, float]]:
    """All of it, and the processor time of each step's start."""
    start = {one.step: one.cost.processor_seconds for one in _carry(workshop, "files", 1, CARRIED, runs)}
    sizes = [size for size in (GIB >> 2, GIB, 4 * GIB, 16 * GIB) if size <= largest][-3:]
    grown = [one for size in sizes for one in _carry(workshop, "bytes", size, CARRIED, runs if size <= GIB else 1)]
    for count in files:
        grown += _carry(workshop, "files", count, CARRIED, runs)
    for count in files[-1:]:
        grown += _carry(workshop, JOINED, count // JOINED_FILES, CARRIED, runs)
    top = min(largest, 4 * GIB)
    grown += [one for size in (top // 16, top) for one in _carry(workshop, "segments", size, SMALL_SEGMENTS, 1)]
    return grown, start


def _carry(workshop: Workshop, kind: str, units: int, recipe: Recipe, runs: int) -> Iterator[Grown]:
    data = f"growth-{kind}-{units}"
    source = workshop.source(data)
    os.makedirs(os.path.dirname(source))
    os.makedirs(workshop.at("medium"), exist_ok=True)
    if kind == "files":
        make_small_files(source, units)
    elif kind == JOINED:
        make_joined_files(source, units * JOINED_FILES, units)
    else:
        make_model(source, units)
    group = Group(data, data, ())
    taken: dict[str, list[Cost]] = {}
    for number in range(runs):
        for sample in run_recipe(workshop, group, recipe, number):
            taken.setdefault(sample.step, []).append(sample.cost)
    discard(workshop, os.path.dirname(source))
    print(f"  growth: {units:,} of {kind}", file=sys.stderr, flush=True)
    for step, costs in taken.items():
        middle = sorted(costs, key=lambda cost: cost.processor_seconds)[(len(costs) - 1) // 2]
        yield Grown(kind, step, units // SMALLEST_SEGMENT if kind == "segments" else units, middle)
