"""The state table against what may happen to drives: drawn sequences on a simulated medium."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from airbundle.devices.block import BlockDevice
from airbundle.devices.drive_states import GONE, NEXT, VERDICTS, DriveEvent, DriveState
from airbundle.devices.gathering import (
    PATIENCE,
    SETTLE,
    Change,
    Gathering,
    HeldBundle,
    Import,
    ImportEnd,
    Look,
    Mount,
    Unmount,
)
from airbundle.devices.rules import DeviceRow
from tests.devices.simulated import ENDS, stick

SEQUENCES = 500


@dataclass
class Bundle:
    """A bundle whose import needs `needed` of its drives, and what it comes to then."""

    needed: int
    end: int
    taken: set[int] = field(default_factory=set)
    published: bool = False


@dataclass
class Medium:
    """What would be on the drives, and how each behaves."""

    bundles: dict[str, Bundle]
    holds: dict[int, tuple[str, ...]]
    sick: dict[int, str]


class Station:
    """A gathering with everything around it simulated: what it asks for is answered, late, badly or not at all."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.rows = (DeviceRow(serial="S[0-6]"),) if self.dice.random() < 0.5 else ()
        self.gathering = Gathering(self.rows)
        self.medium = self._medium()
        self.now = 0.0
        self.sequence = 0
        self.here: dict[int, BlockDevice] = {}
        self.asked: list[Mount | Look | Import] = []
        self.points: set[int] = set()
        self.importing: Import | None = None
        self.seen: dict[str, DriveState] = {}

    def _medium(self) -> Medium:
        names = [f"{number:032x}" for number in range(1, 4)]
        bundles = {name: Bundle(self.dice.choice((1, 1, 2, 3)), self.dice.choice((0, 0, 0, 4, 5, 6, 7, 8, 9)))
                   for name in names}
        holds = {number: tuple(self.dice.sample(["", *names], self.dice.choice((0, 1, 1, 1, 2))))
                 for number in range(8)}
        sick = {number: self.dice.choice(("", "", "", "mount", "guards", "look", "slow", "no file system"))
                for number in range(8)}
        return Medium(bundles, holds, sick)

    def do_something(self) -> None:
        choice = self.dice.random()
        if choice < 0.22:
            self.plug(self.dice.randrange(8))
        elif choice < 0.36 and self.here:
            self.pull(self.dice.choice(list(self.here)))
        elif choice < 0.42 and self.here:  # twice, or `change`
            device = self.here[self.dice.choice(list(self.here))]
            self.gathering.plug(replace(device, label=f"L{self.dice.randrange(3)}"), self.now)
        elif choice < 0.45:
            self.gathering.pull(f"sd{self.dice.randrange(8)}:{900 + self.dice.randrange(50)}", self.now)
        elif choice < 0.75:
            self.answer()
        else:
            self.now += self.dice.choice((0.1, SETTLE, 1.0, PATIENCE))
        self.follow()

    def plug(self, number: int) -> None:
        if number in self.here:
            return
        self.sequence += 1
        kind = "" if self.medium.sick[number] == "no file system" else "vfat"
        self.here[number] = stick(number, self.sequence, kind=kind)
        self.gathering.plug(self.here[number], self.now)

    def pull(self, number: int) -> None:
        self.gathering.pull(self.here.pop(number).key, self.now)

    def follow(self) -> None:
        """What the watcher does between two events, and the laws that hold at each moment."""
        self.gathering.tick(self.now)
        while self.gathering.actions:
            action = self.gathering.actions.pop(0)
            if isinstance(action, Unmount):
                assert action.ticket in self.points or any(
                    one.ticket == action.ticket for one in self.asked) is False
                self.points.discard(action.ticket)
                continue
            if isinstance(action, Import):
                assert self.importing is None, "two imports at a time"
                self.importing = action
                for key in action.keys:
                    assert self.gathering.drives[key].ticket in self.points, "an import of what is not mounted"
            self.asked.append(action)
        for change in self.gathering.changes:
            self.check(change)
        self.gathering.changes.clear()

    def check(self, change: Change) -> None:
        before = self.seen.get(change.device.key)
        if change.event == "receipt":
            assert change.state is before is DriveState.PULLED
            return
        if before is None or change.event == "plug":
            assert change.state is DriveState.ATTACHED
        else:
            assert NEXT[before][DriveEvent(change.event)] is change.state
        self.seen[change.device.key] = change.state
        if change.state in {DriveState.MOUNTING, DriveState.IMPORTING}:
            assert not self.rows or int(change.device.serial[1:]) < 7, "a drive that is not on the list"

    def number_of(self, key: str) -> int | None:
        return next((number for number, device in self.here.items() if device.key == key), None)

    def answer(self) -> None:
        """One question is answered, not always the oldest; what is asked of a drive that is gone too."""
        if not self.asked:
            return
        asked = self.asked.pop(self.dice.randrange(len(self.asked)))
        if isinstance(asked, Import):
            self.importing = None
            self.gathering.ended(asked.ticket, self.import_end(asked), self.now)
            return
        number = self.number_of(asked.key)
        sick = self.medium.sick[number] if number is not None else "mount"
        if sick == "slow" and self.dice.random() < 0.8:
            self.asked.append(asked)
            return
        if isinstance(asked, Mount):
            if sick in {"mount", "guards"}:
                self.gathering.not_mounted(asked.key, asked.ticket, "no", sick=sick == "mount")
            else:
                self.points.add(asked.ticket)
                self.gathering.mounted(asked.key, asked.ticket)
        elif number is None or sick == "look":
            self.gathering.look_failed(asked.key, asked.ticket, "no")
        else:
            self.gathering.found(asked.key, asked.ticket, [HeldBundle(name, (f"/{name}",))
                                                          for name in self.medium.holds[number]])

    def import_end(self, job: Import) -> ImportEnd:
        numbers = {self.number_of(key) for key in job.keys}
        bundle = self.medium.bundles.get(job.bundle)
        if None in numbers:
            return ENDS[9]
        if bundle is None:
            return ENDS[4]
        if bundle.published:
            return ENDS[6]
        bundle.taken |= {number for number in numbers if number is not None}
        if len(bundle.taken) < bundle.needed:
            return ENDS[3]
        bundle.published = bundle.end == 0
        return ENDS[bundle.end]

    def come_to_rest(self) -> None:
        """Nothing happens any more but answers and time."""
        for _ in range(2000):
            if self.gathering.idle and not self.asked:
                return
            self.answer()
            self.now += 1.0
            self.follow()
        raise AssertionError(f"stuck: {[drive.state for drive in self.gathering.drives.values()]}")


@pytest.mark.parametrize("part", range(10))
def test_every_drive_ends_in_a_verdict(part: int) -> None:
    for seed in range(part * SEQUENCES // 10, (part + 1) * SEQUENCES // 10):
        station = Station(seed)
        for _ in range(station.dice.randrange(5, 120)):
            station.do_something()
        station.come_to_rest()
        for key, drive in station.gathering.drives.items():
            assert drive.state in VERDICTS, (seed, key, drive.state)
            assert not drive.mounted
            assert (drive.state in GONE) == (station.number_of(key) is None), (seed, key, drive.state)
        assert not station.points, (seed, "something is still mounted")


def test_the_sequences_come_to_every_state_and_use_every_step() -> None:
    steps, states = set(), set()
    for seed in range(SEQUENCES):
        station = Station(seed)
        check = station.check

        def noting(change: Change, station: Station = station, check: object = check) -> None:
            before = station.seen.get(change.device.key)
            if before is not None and change.event not in {"plug", "receipt"}:
                steps.add((before, DriveEvent(change.event)))
            states.add(change.state)
            check(change)  # type: ignore[operator]

        station.check = noting  # type: ignore[method-assign]
        for _ in range(200):
            station.do_something()
        station.come_to_rest()
    assert states == set(DriveState)
    missing = {(state, event) for state, events in NEXT.items() for event in events} - steps
    assert not missing, sorted(missing)
