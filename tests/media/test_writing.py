from __future__ import annotations

import base64
import errno
import json
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from airbundle.errors import MediumError, UsageError
from airbundle.media import system
from airbundle.media.folder import Folder
from airbundle.media.volume import (
    CATALOG_NAME,
    RECORD_NAME,
    STATEMENT_NAME,
    Cache,
    VolumeReader,
    segment_name,
)
from airbundle.media.writing import VolumeWriter

if TYPE_CHECKING:
    from pathlib import Path

OURS = bytes(range(16))
THEIRS = bytes(16)
MAGIC = b"\x89ABS\r\n\x1a\n"


def block(bundle: bytes, kind: int = 3) -> bytes:
    return (MAGIC + bytes(48) + b"\x01\x00\x01" + bytes([kind]) + bytes(12) + bundle).ljust(4096, b"\0")


def statement(bundle: bytes) -> bytes:
    payload = base64.b64encode(json.dumps({"airbundle": 1, "bundle": bundle.hex()}).encode()).decode()
    return json.dumps({"payload": payload, "payloadType": "x", "signatures": []}).encode()


def record(bundle: bytes) -> bytes:
    content = statement(bundle)
    return MAGIC + bytes(48) + b"\x01\x00\x01\x05" + len(content).to_bytes(4, "little") + content + bytes(200_000)


def write(writer: VolumeWriter, name: str, *data: bytes, suffix: str = "ab12") -> None:
    writer.settle(writer.write(name, [memoryview(piece) for piece in data], suffix=suffix), name)


@pytest.mark.parametrize("shape", ["aligned", "odd", "two views"])
def test_what_is_written_is_read_back(tmp_path: Path, both: str, shape: str) -> None:
    place = str(tmp_path / "v.airbundle")
    buffer = memoryview(system.huge_buffer(10 << 20))
    buffer[:] = os.urandom(1 << 20) * 10
    views = {
        "aligned": [buffer],
        "odd": [buffer[1:5_000_000]],
        "two views": [buffer[: 9 << 20], buffer[4096:8192]],
    }[shape]
    with VolumeWriter(place, bundle_id=OURS) as writer:
        assert writer.write("00000000.abs", views, suffix="00ff") == ".00000000.abs.00ff.part"
        writer.settle(".00000000.abs.00ff.part", "00000000.abs")
        with VolumeReader(place) as reader:
            assert reader.listing().files == ("00000000.abs",)
            expected = b"".join(views)
            for cache in Cache:
                fd = reader.open("00000000.abs", cache=cache)
                back = memoryview(system.huge_buffer(len(expected)))[: len(expected)]
                assert system.read_blocks(fd, back, 4096).length == len(expected)
                assert back == expected
                os.close(fd)


def test_aligned_buffers_go_past_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = os.pwrite

    def watched(fd: int, data: memoryview, offset: int) -> int:
        seen.append(system.is_direct(fd))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", watched)
    with VolumeWriter(str(tmp_path / "v"), bundle_id=OURS) as writer:
        writer.write("00000000.abs", [memoryview(system.huge_buffer(4096))], suffix="0")
        writer.write("00000001.abs", [memoryview(bytes(100))], suffix="0")
    assert seen == [True, False]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, both: str) -> None:
    place = tmp_path / "v"
    with VolumeWriter(str(place), bundle_id=OURS) as writer:
        write(writer, "00000000.abs", b"old")
        seen: list[list[str]] = []
        real = system.sync_file

        def watched(fd: int) -> None:
            seen.append(sorted(os.listdir(place)))
            real(fd)

        monkeypatch.setattr(system, "sync_file", watched)
        write(writer, "00000000.abs", b"new")
        assert seen == [[".00000000.abs.ab12.part", "00000000.abs"]]
        assert (place / "00000000.abs").read_bytes() == b"new"

        def fail(_: int) -> None:
            raise OSError(errno.EIO, "x")

        monkeypatch.setattr(system, "sync_file", fail)
        with pytest.raises(MediumError, match="I/O error"):
            write(writer, "00000000.abs", b"newer")
    assert os.listdir(place) == ["00000000.abs"]
    assert (place / "00000000.abs").read_bytes() == b"new"


def test_the_file_is_synced_before_its_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def watch(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def watched(*given: object, **named: object) -> object:
            steps.append(name)
            return real(*given, **named)

        monkeypatch.setattr(owner, name, watched)

    watch(system, "sync_file")
    watch(os, "replace")
    watch(Folder, "sync")
    with VolumeWriter(str(tmp_path / "v"), bundle_id=OURS) as writer:
        write(writer, "00000000.abs", b"x")
    assert steps == ["sync_file", "sync", "replace", "sync"]


def test_preallocate_then_fill(tmp_path: Path, both: str) -> None:
    with VolumeWriter(str(tmp_path / "v"), bundle_id=OURS) as writer:
        writer.preallocate(CATALOG_NAME, 100_000)
        file = tmp_path / "v" / CATALOG_NAME
        before = file.stat()
        assert before.st_size == 100_000
        writer.fill(CATALOG_NAME, data := os.urandom(60_001))
        assert file.read_bytes() == data
        assert file.stat().st_ino == before.st_ino
        writer.fill(STATEMENT_NAME, b"made")
        assert (tmp_path / "v" / STATEMENT_NAME).read_bytes() == b"made"
        writer.remove(STATEMENT_NAME)
        writer.remove(CATALOG_NAME)
        writer.remove(CATALOG_NAME)
        assert os.listdir(tmp_path / "v") == []


def test_a_full_drive(tiny: Path, both: str) -> None:
    with VolumeWriter(str(tiny / "v"), bundle_id=OURS) as writer:
        write(writer, "00000000.abs", bytes(500_000))
        with pytest.raises(MediumError, match="no space is left") as caught:
            write(writer, "00000001.abs", bytes(600_000))
        assert caught.value.where.endswith("v/00000001.abs")
        assert os.listdir(tiny / "v") == ["00000000.abs"]
        with pytest.raises(MediumError, match="no space is left"):
            writer.preallocate("catalog.abs", 600_000)


def test_a_read_only_drive(tiny: Path) -> None:
    with VolumeWriter(str(tiny / "v"), bundle_id=OURS) as writer:
        assert os.system(f"mount -o remount,ro '{tiny}'") == 0
        with pytest.raises(MediumError, match="read-only") as caught:
            write(writer, "00000000.abs", b"x")
    assert "write-protect" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("00000000.abs", block(THEIRS)),
        (".00000000.abs.ab12.part", block(THEIRS)),
        (CATALOG_NAME, block(THEIRS, 1)),
        (STATEMENT_NAME, statement(THEIRS)),
        (RECORD_NAME, record(THEIRS)),
        ("notes.txt", b"mine"),
    ],
)
def test_nothing_is_written_beside_another_bundle(tmp_path: Path, both: str, name: str, data: bytes) -> None:
    (tmp_path / "00000001.abs").write_bytes(block(OURS))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=f"{name}.*V-5") as caught:
        VolumeWriter(str(tmp_path), bundle_id=OURS)
    assert "empty folder" in caught.value.hint
    assert len(os.listdir(tmp_path)) == 2


def test_a_run_that_was_stopped_goes_on_in_its_folder(tmp_path: Path, both: str) -> None:
    for name, data in (
        ("00000000.abs", block(OURS)),
        (CATALOG_NAME, bytes(5000)),
        (STATEMENT_NAME, statement(OURS)),
        (RECORD_NAME, record(OURS)),
        (".00000001.abs.00ff.part", b"half"),
        (".DS_Store", b"litter"),
        ("README.txt", b"hello"),
    ):
        (tmp_path / name).write_bytes(data)
    with VolumeWriter(str(tmp_path), bundle_id=OURS) as writer:
        writer.discard_leftovers()
    assert ".00000001.abs.00ff.part" not in os.listdir(tmp_path)
    assert len(os.listdir(tmp_path)) == 6


def test_a_link_named_as_a_file_of_the_volume_is_not_written_through(tmp_path: Path, both: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / CATALOG_NAME).symlink_to(victim)
    with pytest.raises(UsageError, match="V-5"):
        VolumeWriter(str(tmp_path / "v"), bundle_id=OURS)
    (tmp_path / "v" / CATALOG_NAME).unlink()
    with VolumeWriter(str(tmp_path / "v"), bundle_id=OURS) as writer:
        (tmp_path / "v" / CATALOG_NAME).symlink_to(victim)
        with pytest.raises(MediumError):
            writer.preallocate(CATALOG_NAME, 10)
        with pytest.raises(MediumError):
            writer.fill(CATALOG_NAME, b"x")
        write(writer, CATALOG_NAME, b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "v" / CATALOG_NAME).read_bytes() == b"new"
    (tmp_path / "link").symlink_to("v")
    with pytest.raises(MediumError):
        VolumeWriter(str(tmp_path / "link"), bundle_id=OURS)


def test_a_file_of_4_gib_is_not_written(tmp_path: Path) -> None:
    class Huge:
        def __len__(self) -> int:
            return 4 << 30

    with VolumeWriter(str(tmp_path / "v"), bundle_id=OURS) as writer:
        with pytest.raises(UsageError, match="V-1"):
            writer.write("00000000.abs", [Huge()], suffix="0")  # type: ignore[list-item]
        with pytest.raises(UsageError, match="V-1"):
            writer.preallocate(CATALOG_NAME, 4 << 30)


def test_one_writer_a_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [0], [0]
    real = system.write_all

    def slow(fd: int, view: memoryview, offset: int) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        real(fd, view, offset)
        inside[0] -= 1

    monkeypatch.setattr(system, "write_all", slow)
    first, second = (VolumeWriter(str(tmp_path / n), bundle_id=OURS) for n in "ab")
    threads = [
        threading.Thread(target=write, args=(writer, segment_name(n), b"x"), kwargs={"suffix": f"{n:x}"})
        for n in range(4)
        for writer in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    first.close()
    second.close()
    assert len(os.listdir(tmp_path / "a")) == 4
