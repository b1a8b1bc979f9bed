"""The state folder: what the system says of it is told in words, with the place and the next step."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from airbundle.errors import MediumError
from airbundle.media import system
from airbundle.media.state import AppendLog, read_document, save_document, state_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def append(path: str) -> None:
    with AppendLog(path) as log:
        log.append(b"record")


@pytest.mark.parametrize("write", [append, lambda path: save_document(path, b"content")], ids=["log", "document"])
def test_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[str], None]) -> None:
    def full(_fd: int, _view: memoryview, _offset: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = str(tmp_path / "journal")
    monkeypatch.setattr(system, "write_all", full)
    with pytest.raises(MediumError, match="no space is left") as caught:
        write(path)
    assert (caught.value.where, caught.value.exit_status) == (path, 9)
    assert "make room" in caught.value.hint


def test_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(MediumError) as caught:
        state_folder("pack")
    assert caught.value.where == str(tmp_path / "file/airbundle/pack")
    for reading in (AppendLog, read_document):
        with pytest.raises(MediumError) as caught:
            reading(os.path.join(tmp_path, "file", "x"))
        assert caught.value.where.endswith("file/x")


def test_a_document_that_is_not_there(tmp_path: Path) -> None:
    assert read_document(str(tmp_path / "none")) == b""
