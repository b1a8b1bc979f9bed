"""A drive may be unplugged when the system has put everything on it, and says so."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from airbundle.errors import MediumError
from airbundle.media import system, unplug
from airbundle.media.unplug import settle_drives

if TYPE_CHECKING:
    from pathlib import Path


def test_one_line_a_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(tmp_path / name) for name in ("a", "b", "c")]
    for path in paths:
        os.mkdir(path)
    synced: list[str] = []
    monkeypatch.setattr(system, "sync_tree", synced.append)
    monkeypatch.setattr(unplug, "physical_device", lambda path: "sdx" if path.endswith(("a", "c")) else "sdy")
    monkeypatch.setattr(unplug, "filesystem_label", lambda path: "LOW" if path.endswith("a") else "")
    monkeypatch.setattr(unplug, "device_serial", lambda path: "")
    drives = settle_drives([*paths, paths[0]])
    assert [str(drive) for drive in drives] == [f"{paths[0]} and {paths[2]} (label 'LOW')", paths[1]]
    assert sorted(synced) == paths  # each file system: two of them may lie on one drive


def test_what_the_system_could_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: str) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(system, "sync_tree", fails)
    with pytest.raises(MediumError) as caught:
        settle_drives([str(tmp_path)])
    assert caught.value.where == str(tmp_path)
