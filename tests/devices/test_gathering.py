"""The state table against what may happen to drives: drawn sequences on a simulated medium, and single stories."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from airbundle.devices.block import BlockDevice
from airbundle.devices.drive_states import GONE, MEANING, NEXT, READ, VERDICTS, DriveEvent, DriveState
from airbundle.devices.gathering import (
    BUNDLES_MAX,
    PATIENCE,
    REMEMBERED,
    SETTLE,
    Change,
    Gathering,
    HeldBundle,
    Import,
    ImportEnd,
    Look,
    Mount,
    Unmount,
    event_of,
)
from airbundle.devices.rules import DeviceRow

SEQUENCES = 500
ENDS = {0: ImportEnd(0), 3: ImportEnd(3, "incomplete"), 4: ImportEnd(4, "damaged"), 5: ImportEnd(5, "stranger"),
        6: ImportEnd(6, "replay"), 7: ImportEnd(7, "gate-finding"), 8: ImportEnd(8, "no-key"),
        9: ImportEnd(9, "environment"), 1: ImportEnd(1, "bug")}


def stick(number: int, sequence: int = 1, **more: object) -> BlockDevice:
    about: dict[str, object] = {"key": f"sd{number}:{sequence}", "node": f"/dev/sd{number}", "kind": "vfat",
                                "serial": f"S{number}", "removable": True}
    return BlockDevice(**{**about, **more})  # type: ignore[arg-type]


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
        for _ in range(100):
            station.do_something()
        station.come_to_rest()
    assert states == set(DriveState)
    missing = {(state, event) for state, events in NEXT.items() for event in events} - steps
    assert not missing, sorted(missing)


class Desk:
    """A gathering in which everything is answered at once, as the test says; `hung` are drives that do not mount."""

    def __init__(self, rows: tuple[DeviceRow, ...] = ()) -> None:
        self.gathering = Gathering(rows)
        self.now = 0.0
        self.imports: list[Import] = []
        self.mounts = 0
        self.holds: dict[str, tuple[str, ...]] = {}
        self.hung: dict[str, int] = {}

    def plug(self, *devices: BlockDevice, holds: tuple[str, ...] = ("a" * 32,)) -> None:
        for device in devices:
            self.holds[device.key] = holds
            self.gathering.plug(device, self.now)
        self.settle()

    def settle(self) -> None:
        self.now += SETTLE
        self.gathering.tick(self.now)
        while self.gathering.actions:
            action = self.gathering.actions.pop(0)
            if isinstance(action, Mount):
                self.mounts += 1
                if action.key in self.hung:
                    self.hung[action.key] = action.ticket
                else:
                    self.gathering.mounted(action.key, action.ticket)
            elif isinstance(action, Look):
                self.gathering.found(action.key, action.ticket, [
                    HeldBundle(name, (f"/{name}",)) for name in self.holds[action.key]])
            elif isinstance(action, Import):
                self.imports.append(action)
            self.gathering.tick(self.now)

    def end(self, status: int) -> None:
        self.gathering.ended(self.imports[-1].ticket, ENDS[status], self.now)
        self.settle()

    def state(self, device: BlockDevice) -> DriveState:
        return self.gathering.drives[device.key].state


def test_drives_of_one_bundle_go_in_together() -> None:
    desk = Desk()
    first, second = stick(1), stick(2)
    desk.plug(first, second)
    assert [one.keys for one in desk.imports] == [(first.key, second.key)]
    desk.end(0)
    assert desk.state(first) is desk.state(second) is DriveState.IMPORTED


def test_through_one_port_each_waits_for_the_next_and_is_told_of_the_end() -> None:
    desk = Desk()
    first, second = stick(1), stick(2)
    desk.plug(first)
    desk.end(3)
    assert desk.state(first) is DriveState.WAITING
    desk.plug(second)  # the first is still in: it is called back
    assert [one.keys for one in desk.imports] == [(first.key,), (first.key, second.key)]
    desk.end(0)
    assert desk.state(first) is desk.state(second) is DriveState.IMPORTED
    third = stick(1, 2)
    desk.gathering.pull(first.key, desk.now)
    desk.plug(third)
    desk.end(6)
    assert desk.state(third) is DriveState.KNOWN


def test_a_pulled_drive_is_never_damaged_and_the_others_are_tried_without_it() -> None:
    desk = Desk()
    first, second = stick(1), stick(2)
    desk.plug(first, second)
    desk.gathering.pull(second.key, desk.now)
    desk.end(4)
    assert desk.state(second) is DriveState.PULLED
    assert [one.keys for one in desk.imports] == [(first.key, second.key), (first.key,)]
    desk.end(3)
    assert desk.state(first) is DriveState.WAITING


def test_put_back_it_is_another_drive_and_goes_on() -> None:
    desk = Desk()
    desk.plug(stick(1))
    desk.gathering.pull("sd1:1", desk.now)
    desk.plug(stick(1, 2))
    assert len(desk.imports) == 1, "one import at a time: the first has not ended"
    desk.end(9)
    assert desk.imports[-1].keys == ("sd1:2",)
    desk.end(0)
    assert desk.state(stick(1, 2)) is DriveState.IMPORTED


def test_what_the_list_does_not_name_is_never_mounted() -> None:
    desk = Desk((DeviceRow(serial="S2"),))
    desk.plug(stick(1), stick(2))
    assert desk.state(stick(1)) is DriveState.BARRED
    assert desk.mounts == 1


def test_the_disks_of_the_machine_are_nobodys_business() -> None:
    desk = Desk()
    desk.plug(stick(1, removable=False), stick(2, parts=True))
    assert desk.gathering.drives == {}
    named = Desk((DeviceRow(bus="ata"),))
    named.plug(stick(1, removable=False, bus="ata"))
    assert named.mounts == 1


def test_an_unreadable_one_is_looked_at_again_when_it_changes() -> None:
    desk = Desk()
    desk.plug(stick(1, kind=""))
    assert desk.state(stick(1)) is DriveState.UNREADABLE
    desk.gathering.plug(stick(1, kind=""), desk.now)
    assert desk.state(stick(1)) is DriveState.UNREADABLE
    desk.plug(stick(1))
    assert desk.state(stick(1)) is DriveState.IMPORTING


def test_several_bundles_on_one_drive_and_the_worst_counts() -> None:
    desk = Desk()
    desk.plug(stick(1), holds=("a" * 32, "b" * 32, "c" * 32))
    desk.end(0)
    desk.end(5)
    desk.end(6)
    assert [one.bundle[:1] for one in desk.imports] == ["a", "b", "c"]
    assert desk.state(stick(1)) is DriveState.REFUSED


def test_an_import_does_not_wait_for_ever_for_a_drive_that_hangs() -> None:
    desk = Desk()
    desk.hung = {stick(2).key: 0}
    desk.plug(stick(1), stick(2))
    assert (desk.state(stick(1)), desk.imports) == (DriveState.READY, [])
    desk.now += PATIENCE
    desk.settle()
    assert [one.keys for one in desk.imports] == [(stick(1).key,)]


def test_a_device_of_which_something_is_heard_is_left_alone() -> None:
    gathering = Gathering()
    gathering.plug(stick(1), 0.0)
    gathering.plug(stick(1, label="more"), SETTLE - 0.1)
    gathering.tick(SETTLE)
    assert gathering.drives[stick(1).key].state is DriveState.ATTACHED
    gathering.tick(2 * SETTLE - 0.1)
    assert gathering.drives[stick(1).key].state is DriveState.MOUNTING


def test_drives_that_do_not_tell_their_bundle_go_in_one_by_one() -> None:
    desk = Desk()
    desk.plug(stick(1), stick(2), holds=("",))
    desk.end(4)
    assert [one.keys for one in desk.imports] == [(stick(1).key,), (stick(2).key,)]


def test_more_bundles_than_are_looked_at() -> None:
    desk = Desk()
    names = tuple(f"{number:032x}" for number in range(BUNDLES_MAX + 1))
    desk.plug(stick(1), holds=names)
    assert (desk.state(stick(1)), desk.imports) == (DriveState.FAILED, [])
    desk.plug(stick(2), holds=names[1:])
    assert desk.state(stick(2)) is DriveState.IMPORTING


def test_one_that_is_called_back_and_does_not_mount_has_failed() -> None:
    """It was read before, so it is none that cannot be."""
    desk = Desk()
    desk.plug(stick(1), holds=("a" * 32, "b" * 32))
    desk.end(3)
    desk.end(5)
    assert desk.state(stick(1)) is DriveState.REFUSED
    desk.hung = {stick(1).key: 0}
    desk.plug(stick(2))
    desk.gathering.not_mounted(stick(1).key, desk.hung[stick(1).key], "no", sick=False)
    assert desk.state(stick(1)) is DriveState.FAILED


def test_only_some_that_are_gone_are_remembered() -> None:
    desk = Desk()
    for number in range(4 * REMEMBERED):
        desk.plug(stick(1, number, kind=""))
        desk.gathering.pull(stick(1, number).key, desk.now)
    assert len(desk.gathering.drives) == REMEMBERED + 1


@pytest.mark.parametrize(("status", "event"), [
    (0, "published"), (3, "incomplete"), (4, "fail"), (5, "refuse"), (6, "replay"), (7, "refuse"), (8, "fail"),
    (9, "fail"), (1, "fail")])
def test_what_an_end_is_for_the_drive(status: int, event: str) -> None:
    assert event_of(ENDS[status]).value == event
    assert event_of(ImportEnd(6, "rollback")) is DriveEvent.REFUSE


def test_the_table_is_whole() -> None:
    assert set(NEXT) == set(DriveState) == set(MEANING)
    assert set(READ) < VERDICTS
    reachable, front = {DriveState.ATTACHED}, [DriveState.ATTACHED]
    while front:
        for state in NEXT[front.pop()].values():
            if state not in reachable:
                reachable.add(state)
                front.append(state)
    assert reachable == set(DriveState)
    for state, events in NEXT.items():
        assert (DriveEvent.PULL in events) == (state not in GONE)
        assert events or state in GONE
