"""What is left behind: by a hook that hangs, by a run without room, by one that was stopped behind the rename."""

from __future__ import annotations

import os
import select
import shutil
from typing import TYPE_CHECKING

import pytest

from airbundle.media.state import AppendLog
from airbundle.station import hook
from airbundle.station.ledger import Ledger
from tests.station.test_publication import HUB, HUB_NOTES, fail

if TYPE_CHECKING:
    from tests.station.desk import Desk


def test_a_hook_that_hangs_is_killed_with_what_it_started(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output goes nowhere, and the content is published."""
    pipe = desk.place / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(hook, "HOOK_TIMEOUT", 1)
    desk.rule(f'[publish]\nhook = ["/bin/sh", "-c", "exec 9> {pipe}; echo x >&9; sleep 600 & sleep 600"]\n')
    result = desk.take(desk.pack(sequence=1))
    assert result.notes == ("the hook /bin/sh not finished after 1 s",)
    with open(reader, "rb") as file:
        os.set_blocking(reader, True)
        assert select.select([reader], [], [], 10)[0]
        assert file.read(2) == b"x\n"
        assert select.select([reader], [], [], 10)[0]  # the last that could write is gone: the end
        assert not file.read(1)


def test_no_room_for_the_notes_of_what_is_unpacked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same process may try again when there is room: it does not take itself for another one."""
    volumes = desk.pack(sequence=1)
    with monkeypatch.context() as patch:
        patch.setattr(AppendLog, "append", fail)
        desk.refused("environment", 9, volumes)
    assert desk.take(volumes).state == "published"


def test_stopped_right_behind_the_rename(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that finishes it removes the staging folder, where all files of a model cache have a second name."""
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    desk.rule(HUB)
    volumes = desk.pack(sequence=1, meta=HUB_NOTES)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_enter", stop)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            desk.take(volumes)
    place = desk.high / "models" / ".airbundle-staging"
    assert os.listdir(place)
    assert desk.take(volumes).state == "published"
    assert not os.listdir(place)
