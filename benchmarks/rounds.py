"""All recipes of a group in turns, repeated: each round has every one of them once, so a ratio is of neighbours.

Every second round goes the other way round, and in each the first place moves on. What was written is removed between
two recipes. In the first round what was unpacked is compared with the source.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from benchmarks import throttle
from benchmarks.measuring import Cost, bytes_in, measure, warm
from benchmarks.recipes import PATH, UNPACK, Recipe, lacking

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.cases import Group
    from benchmarks.recipes import Step


T = TypeVar("T")
MANY = 500
REHEARSED = 1 << 20


@dataclass(frozen=True)
class Sample:
    """One timed step; bytes are what lies where it wrote, of a step that writes nothing 0."""

    group: str
    tool: str
    step: str
    round: int
    cost: Cost
    written_bytes: int


@dataclass(frozen=True)
class Workshop:
    """The folder of all: keys, sources by name, and the drive that is packed onto."""

    place: str
    aside: bool = True  # whether folders of many files are removed at the end only

    def at(self, *parts: str) -> str:
        return os.path.join(self.place, *parts)

    def source(self, data: str) -> str:
        return self.at("data", data, "source")


def run_group(workshop: Workshop, group: Group, rounds: int) -> list[Sample]:
    """The samples of a group; a recipe whose programs are not here is left out."""
    recipes = [recipe for recipe in group.recipes if not lacking(recipe)]
    samples: list[Sample] = []
    with _medium(workshop, group):
        for number in range(rounds):
            for recipe in in_turn(recipes, number):
                samples += run_recipe(workshop, group, recipe, number)
            print(f"  {group.name}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return samples


def in_turn(those: Sequence[T], number: int) -> list[T]:
    """The order of a round: every second one backwards, and the first place moves on."""
    first = number // 2 % len(those) if those else 0
    turned = [*those[first:], *those[:first]]
    return turned[::-1] if number % 2 else turned


def run_recipe(workshop: Workshop, group: Group, recipe: Recipe, number: int) -> Iterator[Sample]:
    """One recipe on an empty drive."""
    places = {"source": workshop.source(group.data), "drive": workshop.at("medium", "drive"),
              "back": workshop.at("back"), "keys": workshop.at("keys")}
    for name in ("drive", "back"):
        os.mkdir(places[name])
    try:
        for step in recipe.steps:
            if step.before:
                measure(step.before.format_map(places), workshop.place)
            warm(places[step.reads])
            rehearse(workshop, recipe, step)
            cost = measure(step.script.format_map(places), workshop.place)
            written = bytes_in(places[step.writes]) if step.writes else 0
            yield Sample(group.name, recipe.tool, step.name, number, cost, written)
            if step.name == UNPACK and number == 0:
                _compare(places["source"], os.path.join(places["back"], "source"))
    finally:
        for name in ("drive", "back"):
            discard(workshop, places[name])


def rehearse(workshop: Workshop, recipe: Recipe, last: Step) -> None:
    """A recipe up to a step on a small file, so that the programs of that step are in memory when its clock starts."""
    with tempfile.TemporaryDirectory(dir=workshop.place) as place:
        places = {name: os.path.join(place, name) for name in ("source", "drive", "back")}
        for folder in places.values():
            os.mkdir(folder)
        with open(os.path.join(places["source"], "small.bin"), "wb") as file:
            file.write(os.urandom(REHEARSED))
        places["keys"] = workshop.at("keys")
        for step in recipe.steps[:recipe.steps.index(last) + 1]:
            for script in filter(None, (step.before, step.script)):
                measure(script.format_map(places), workshop.place)
    os.sync()


def discard(workshop: Workshop, folder: str) -> None:
    """Remove a folder; one with many files is put aside until the end, where the workshop asks for it.

    ext4 does not reuse an inode for some minutes and looks at all of those for each file that is made: who comes after
    a removal of 50,000 files would take ten times as long.
    """
    if workshop.aside and sum(len(names) for _, _, names in os.walk(folder)) > MANY:
        aside = workshop.at("aside")
        os.makedirs(aside, exist_ok=True)
        os.rename(folder, os.path.join(aside, str(len(os.listdir(aside)))))
    else:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _medium(workshop: Workshop, group: Group) -> Iterator[None]:
    folder = workshop.at("medium")
    os.makedirs(folder, exist_ok=True)
    if not group.bytes_per_second:
        yield
        return
    size = 2 * bytes_in(workshop.source(group.data)) + (256 << 20)
    with throttle.slow_medium(folder, size, group.bytes_per_second):
        yield


def _compare(source: str, back: str) -> None:
    if subprocess.run(["diff", "-r", source, back], check=False).returncode != 0:
        sys.exit("what came out is not what went in")


def environment(place: str) -> dict[str, str]:
    """What every command gets: nothing of the person's own trust or state is touched."""
    return {"PATH": PATH, "XDG_CONFIG_HOME": os.path.join(place, "config"),
            "XDG_STATE_HOME": os.path.join(place, "state")}
