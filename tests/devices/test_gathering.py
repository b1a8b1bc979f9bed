"""The state table: single stories."""

from __future__ import annotations

import pytest

from airbundle.devices.block import BlockDevice
from airbundle.devices.drive_states import GONE, MEANING, NEXT, READ, VERDICTS, DriveEvent, DriveState
from airbundle.devices.gathering import (
    BUNDLES_MAX,
    PATIENCE,
    REMEMBERED,
    SETTLE,
    SETTLE_MAX,
    Gathering,
    HeldBundle,
    Import,
    ImportEnd,
    Look,
    Mount,
    event_of,
)
from airbundle.devices.rules import DeviceRow
from tests.devices.simulated import ENDS, stick


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


def test_a_device_of_which_news_never_end_is_taken_as_it_is() -> None:
    gathering = Gathering()
    now = 0.0
    while not gathering.actions:
        gathering.plug(stick(1, label=str(now)), now)
        gathering.tick(now)
        now += SETTLE / 2
        assert now < 2 * SETTLE_MAX
    assert now >= SETTLE_MAX
