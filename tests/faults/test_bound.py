"""Exactly at the bound everything comes back, bit for bit; one block beyond it nothing is published (spec 5, 5.2).

Bundles of one to five drives, of equal and unequal room, in every suite. The damage is done by `damage.py`, which knows
the spec and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.crypto.identities import generate
from airbundle.crypto.suites import STANDARD, SUITES
from airbundle.errors import AirbundleError
from tests.faults import damage
from tests.transfer.workshop import KIB, MIB, Keys, Spread, digests, noise, spread, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airbundle.crypto.suites import Suite

pytestmark = pytest.mark.in_memory

DRIVES = [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (5, 1), (5, 2), (5, 4)]
ROOMS = [70, 74, 82, 100, 140]  # MiB, of which 64 stay free
CASES = [(f"{count} lose {lose}", how) for count, lose in DRIVES for how in ("equal", "unequal")[:count]]
SOURCES = {"many small": (64 * KIB, 900 * KIB), "two stripes": (400 * KIB, 950 * KIB), "large": (4 * MIB, 5 * MIB)}
BOUND, BEYOND = 300, 100


@dataclass
class Shelf:
    """Bundles that are made once, when they are first asked for."""

    place: Path
    made: dict[tuple[str, ...], Spread]
    keys: dict[str, Keys]

    def bundle(self, suite: Suite, drives: str, how: str, source: str) -> Spread:
        name = (suite.name, drives, how, source)
        if name not in self.made:
            place = self.place / "-".join(name).replace(" ", "_")
            place.mkdir()
            count, lose = (int(word) for word in drives.split() if word.isdigit())
            segment_size, size = SOURCES[source]
            tree = write_tree(place / "source", {"noise": noise(size * 2 // 3, 1), "text": b"text " * (size // 15),
                                                 "empty": b""})
            with mounted([place / f"drive{number}" for number in range(count)], unequal=how == "unequal") as folders:
                bundle = spread(self.identities(suite), tree, folders, segment_size=segment_size, lose=lose)
                self.made[name] = bundle.copied(place / "kept")
        return self.made[name]

    def identities(self, suite: Suite) -> Keys:
        if suite.name not in self.keys:
            make: Any = generate
            self.keys[suite.name] = Keys(*(make() if suite is STANDARD else make(suite) for _ in range(4)))
        return self.keys[suite.name]


@contextlib.contextmanager
def mounted(places: list[Path], *, unequal: bool) -> Iterator[list[Path]]:
    """Folders, each a file system of its own size if that is wanted; skips where nothing may be mounted."""
    done: list[Path] = []
    for place in places:
        place.mkdir()
    try:
        for place, room in zip(places, ROOMS[-len(places):], strict=True) if unequal else ():
            words = ["mount", "-t", "tmpfs", "-o", f"size={room}m", "unequal", str(place)]
            if (tried := subprocess.run(words, check=False, capture_output=True)).returncode:
                pytest.skip(f"mount: {tried.stderr.decode().strip()}")
            done.append(place)
        yield places
    finally:
        for place in done:
            subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    place = tmp_path_factory.mktemp("shelf")
    yield Shelf(place, {}, {})
    shutil.rmtree(place)


def choose(shelf: Shelf, suite: Suite, seed: int) -> tuple[str, Spread]:
    """The kind of bundle goes round with the seed, so that all of them come up equally often."""
    drives, how = CASES[seed % len(CASES)]
    source = list(SOURCES)[seed // len(CASES) % len(SOURCES)]
    if how == "unequal" and source == "large":
        source = "many small"  # the smallest drive has room for no more than that
    return f"{drives}, {how}", shelf.bundle(suite, drives, how, source)


def comes_back(whole: Spread, place: Path, name: str, rng: random.Random) -> bool:
    """Damage a copy at the bound and unpack it; whether verify saw that something has to be done."""
    bundle = whole.copied(place)
    here = damage.AT_THE_BOUND[name](damage.look(list(map(str, bundle.all.values()))), rng)
    left = bundle.without(*(number for number in bundle.here if number not in here))
    assert left.report(11).missing == ()
    result = left.unpack(place / "back")
    assert digests(place / "back") == digests(bundle.source)
    shutil.rmtree(place)
    return bool(result.report.restorable)


def is_refused(whole: Spread, place: Path, rng: random.Random) -> int:
    """Damage a copy in one place beyond the bound: the exit status, of verify and unpack alike."""
    bundle = whole.copied(place)
    here, members = damage.one_stripe_more(damage.look(list(map(str, bundle.all.values()))), rng)
    left = bundle.without(*(number for number in bundle.here if number not in here))
    wanted = 4 if len(here) == len(bundle.here) else 3
    report = left.report(wanted)
    absent = {row.number for row in bundle.rows() if row.volume not in here}
    assert members <= set(report.missing) <= members | absent
    (place / "out").mkdir()
    with pytest.raises(AirbundleError) as caught:
        left.unpack(place / "out" / "back")
    assert caught.value.exit_status == wanted
    # What waits for another volume is in a hidden folder; nothing has the name that was asked for.
    assert [name for name in os.listdir(place / "out") if ".airbundle-partial-" not in name] == []
    shutil.rmtree(place)
    return wanted


@pytest.mark.parametrize("name", damage.AT_THE_BOUND)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_at_the_bound(shelf: Shelf, tmp_path: Path, suite: Suite, name: str) -> None:
    for number, (drives, source) in enumerate([("1 lose 0", "two stripes"), ("5 lose 2", "many small")]):
        rng = random.Random(f"{name} {number}")
        comes_back(shelf.bundle(suite, drives, "equal", source), tmp_path / str(number), name, rng)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_one_block_beyond_the_bound(shelf: Shelf, tmp_path: Path, suite: Suite, seed: int) -> None:
    for number, (drives, source) in enumerate([("1 lose 0", "two stripes"), ("5 lose 2", "many small")]):
        rng = random.Random(f"beyond {seed} {number}")
        is_refused(shelf.bundle(suite, drives, "equal", source), tmp_path / str(number), rng)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_campaign_at_the_bound(shelf: Shelf, tmp_path: Path, suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    table: Counter[tuple[str, str]] = Counter()
    by_group: Counter[tuple[str, str]] = Counter()
    kinds = list(damage.AT_THE_BOUND)
    for seed in range(BOUND):
        label, bundle = choose(shelf, suite, seed)
        name = kinds[(seed + seed // len(kinds)) % len(kinds)]
        by_group[label, name] += comes_back(bundle, tmp_path / str(seed), name, random.Random(seed))
        table[label, name] += 1
    with capsys.disabled():
        show(f"at the bound, {suite.name}: came back (of these, by their groups)", kinds, {
            key: f"{count} ({by_group[key]})" for key, count in table.items()})
    assert sum(table.values()) == BOUND


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_campaign_beyond_the_bound(
        shelf: Shelf, tmp_path: Path, suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    table: Counter[tuple[str, str]] = Counter()
    for seed in range(BEYOND):
        label, bundle = choose(shelf, suite, seed)
        table[label, f"exit {is_refused(bundle, tmp_path / str(seed), random.Random(f'beyond {seed}'))}"] += 1
    with capsys.disabled():
        show(f"one stripe beyond the bound, {suite.name}: refused", ["exit 3", "exit 4"], {
            key: str(count) for key, count in table.items()})
    assert sum(table.values()) == BEYOND


def show(title: str, columns: list[str], cells: dict[tuple[str, str], str]) -> None:
    print(f"\n{title}")
    print(f"{'':22}" + "".join(f"{column:>20}" for column in columns))
    for label in dict.fromkeys(label for label, _ in cells):
        print(f"{label:22}" + "".join(f"{cells.get((label, column), '-'):>20}" for column in columns))
