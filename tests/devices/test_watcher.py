"""The watcher within this process: what its sources call drives, and readers that are in a stranger's hands."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from airbundle.cli.live import WatchView
from airbundle.devices import sources, workers
from airbundle.devices.block import BlockDevice
from airbundle.devices.drive_states import DriveState
from airbundle.devices.gathering import Change, Gathering, ImportEnd
from airbundle.devices.rules import DeviceRow
from airbundle.devices.sources import FolderSource, MountsSource, Plugged, Unplugged
from airbundle.devices.watcher import Watcher
from airbundle.devices.workers import ReadingWorker
from airbundle.media.mount_table import MountRow

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = """
import json, sys
said = {said!r}
for line in sys.stdin:
    asked = json.loads(line)
    for answer in said.get(asked["is"], [dict({{"is": "ended"}}, exit_status=0)]):
        print(answer if isinstance(answer, str) else json.dumps(dict({{"ticket": asked["ticket"]}}, **answer)),
              flush=True)
"""
ENDED = {"is": "ended", "exit_status": 0}


def outcome(place: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, list[object]], *rows: DeviceRow) -> list[
        tuple[str, str]]:
    """What the watcher tells of the folders in `mnt` where the process that reads says `said` to each question."""
    program = place / "hostile.py"
    program.write_text(HOSTILE.format(said=said))
    monkeypatch.setattr(workers, "_PROGRAM", (sys.executable, str(program)))
    told: list[tuple[str, str]] = []
    with Watcher(FolderSource(str(place / "mnt")), Gathering(rows), ReadingWorker(None), ReadingWorker(None),
                 hear=lambda change: told.append((change.device.label, change.state.value)),
                 progress=lambda _: None) as watcher:
        watcher.run(once=True)
    return told


@pytest.mark.parametrize("said", [
    [ENDED],
    ["no answer at all"],
    ["x" * 200_000],
    [{"is": "found", "ticket": 99, "held": []}],
    [{"is": "found", "held": [{"bundle": "../..", "folders": ["00"]}]}],
])
def test_a_reader_that_lies_is_a_verdict_on_its_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      said: list[object]) -> None:
    (tmp_path / "mnt" / "drive").mkdir(parents=True)
    assert outcome(tmp_path, monkeypatch, {"look": said})[-1] == ("drive", "failed")


def test_a_reader_that_answers_another_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnt" / "drive").mkdir(parents=True)
    told = outcome(tmp_path, monkeypatch, {"barred": [{"is": "found", "held": []}, ENDED]}, DeviceRow(serial="1"))
    assert told == [("drive", "attached"), ("drive", "barred"), ("drive", "barred")]


def test_a_folder_of_any_name_is_barred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.makedirs(os.path.join(os.fsencode(tmp_path), b"mnt", b"\xff" + b"n" * 250))
    told = outcome(tmp_path, monkeypatch, {}, DeviceRow(serial="1"))
    assert [state for _, state in told] == ["attached", "barred", "barred"]


def test_a_receipt_of_any_name_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    view = WatchView(Gathering(), title="", as_json=False)
    view.tell(Change(BlockDevice("sda:1", "/dev/sda"), "published", DriveState.IMPORTED,
                     end=ImportEnd(0, receipt="/x/odd\x1b")))
    assert "odd\\x1b" in capfd.readouterr().out


def test_folders_with_a_colon_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "a:b"):
        (tmp_path / name).mkdir()
    source = FolderSource(str(tmp_path))
    assert sorted(device.name for device in source.attached()) == ["a", "a:b"]
    (tmp_path / "a:b").rmdir()
    assert list(source.heard()) == [Unplugged("a:b")]


def test_what_is_mounted_by_another_name_is_missed_by_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As /dev/mapper/luks-1 is, which is dm-0."""
    (tmp_path / "luks-1").symlink_to("/dev/null")
    row = MountRow("36 35 253:0", "/media/stick", "ext4", "/dev/../" + str(tmp_path / "luks-1")[1:], frozenset())
    source = MountsSource()
    monkeypatch.setattr(sources, "mounts", lambda: [row])
    (plugged,) = source.heard()
    assert isinstance(plugged, Plugged)
    monkeypatch.setattr(sources, "mounts", list)
    assert list(source.heard()) == [Unplugged(plugged.device.name)] == [Unplugged("null")]
