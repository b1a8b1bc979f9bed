"""Surroundings that work against a pack: files that vanish from the drive, kills between the last steps, failures."""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.codec.compress import Compressor
from airbundle.errors import AirbundleError, MediumError, UsageError
from airbundle.media import system
from airbundle.media import volume as names
from airbundle.media.reading import SourceReader
from airbundle.media.staging import StagingTree
from airbundle.media.state import state_folder
from airbundle.media.writing import VolumeWriter
from airbundle.transfer.journal import Journal
from airbundle.transfer.plan import Options
from airbundle.transfer.workspace import Pace
from tests.transfer.workshop import KIB, Keys, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "source", {"one": noise(700 * KIB), "two": b"2" * 99})


@pytest.mark.parametrize("moment", ["while packing", "at the end"])
@pytest.mark.parametrize("cut", [False, True])
def test_a_segment_that_is_deleted_or_cut(keys: Keys, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          moment: str, cut: bool) -> None:
    """A scanner that quarantines files: no statement, no 'safe to unplug'; the same command makes it good."""
    honest_settle, honest_fill = VolumeWriter.settle, VolumeWriter.fill
    settled: list[str] = []

    def harm(volume: VolumeWriter) -> None:
        path = os.path.join(volume.path, names.segment_name(2))
        os.truncate(path, 5000) if cut else os.unlink(path)

    def settle(self: VolumeWriter, temporary: str, name: str) -> None:
        honest_settle(self, temporary, name)
        settled.append(name)
        if moment == "while packing" and len(settled) == 8:
            harm(self)

    def fill(self: VolumeWriter, name: str, data: Any) -> None:
        honest_fill(self, name, data)
        if moment == "at the end" and name == names.CATALOG_COPY_NAME:
            harm(self)

    with monkeypatch.context() as patch:
        patch.setattr(VolumeWriter, "settle", settle)
        patch.setattr(VolumeWriter, "fill", fill)
        with pytest.raises(MediumError, match=names.segment_name(2)):
            pack(keys, source, tmp_path / "drive")
    (volume,) = (tmp_path / "drive").iterdir()
    assert b"payload" not in (volume / names.STATEMENT_NAME).read_bytes()
    assert not (volume / names.RECORD_NAME).exists()  # V-4
    if moment == "while packing":
        pack(keys, source, tmp_path / "drive").verify()


def test_the_bundle_key_stays_on_disk_after_a_kill_at_the_very_end(
        keys: Keys, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(os.listdir(state_folder("pack")))
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "erase", lambda _: None)
        pack(keys, source, tmp_path / "drive")
    assert set(os.listdir(state_folder("pack"))) - before
    with pytest.raises(UsageError, match="finished"):
        pack(keys, source, tmp_path / "drive")
    assert set(os.listdir(state_folder("pack"))) == before


def test_plaintext_stays_in_the_staging_folder_after_a_second_interrupt(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    honest = shutil.rmtree

    def interrupted(path: str, **more: Any) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        honest(path, **more)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), StagingTree(str(tmp_path / "back")):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


PLACES: dict[str, tuple[Any, str]] = {
    "read": (SourceReader, "read"), "compress": (Compressor, "compress"), "write": (VolumeWriter, "write"),
    "settle": (VolumeWriter, "settle"), "journal": (Journal, "add"), "sync": (system, "sync_file"),
    "drop": (system, "drop_cache"), "read back": (system, "read_into")}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("error", [OSError(5, "sick"), MemoryError(), MediumError("gone"), RuntimeError("bug")])
@pytest.mark.parametrize("call", [0, 1, 7])
def test_a_failure_at_any_stage_ends_the_run(keys: Keys, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             place: str, error: BaseException, call: int) -> None:
    """Whatever fails in whatever thread: nobody waits for ever, no statement is left, the same command goes on."""
    owner, name = PLACES[place]
    honest, calls, ended = getattr(owner, name), [0], threading.Event()

    def failing(*arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] > call:
            raise error
        return honest(*arguments, **more)

    raised: list[BaseException] = []

    def run() -> None:
        try:
            api.pack(str(source), str(tmp_path / "drive"), sign=keys.packer, to=[keys.reader.public],
                     options=Options(segment_size=64 * KIB), pace=Pace(jobs=3))
        except BaseException as caught:  # noqa: BLE001 - looked at below
            raised.append(caught)
        ended.set()

    (tmp_path / "drive").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        threading.Thread(target=run, daemon=True).start()
        assert ended.wait(30), "it hangs"
    assert raised
    assert isinstance(raised[0], (AirbundleError, type(error)))
    for volume in (tmp_path / "drive").iterdir():
        statement = volume / names.STATEMENT_NAME
        assert not statement.exists() or b"payload" not in statement.read_bytes()
    pack(keys, source, tmp_path / "drive").verify()
