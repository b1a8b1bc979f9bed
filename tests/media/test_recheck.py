"""What came first on a drive is read again while more is written: a drive that lies about its size loses it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.errors import MediumError, UnreliableDriveError
from airbundle.format.limits import KIB, MIB
from airbundle.media import drive, recheck, writing
from airbundle.media.recheck import Recheck, Written
from airbundle.media.writing import VolumeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

SIZE = 10_000
OURS = bytes(range(16))


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[VolumeWriter]:
    with VolumeWriter(str(tmp_path / "v"), bundle_id=OURS) as writer:
        writer.fill("README.txt", b"read me first")
        yield writer


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is read again."""
    names: list[str] = []
    real = VolumeWriter._reading

    def watched(self: VolumeWriter, name: str) -> AbstractContextManager[Any]:
        names.append(name)
        return real(self, name)

    monkeypatch.setattr(VolumeWriter, "_reading", watched)
    return names


def memory(content: bytes) -> Callable[[int, int], memoryview]:
    return lambda at, length: memoryview(content)[at:at + length]


def put(volume: VolumeWriter, number: int, content: bytes = b"") -> str:
    name = f"{number:08d}.abs"
    volume.settle(volume.write(name, [memoryview(content or os.urandom(SIZE))], suffix="0a"), name)
    return name


def put_some(volume: VolumeWriter, first: int, end: int, done: list[int]) -> None:
    for number in range(first, end):
        done.append(number)
        put(volume, number)


def spoil(volume: VolumeWriter, name: str) -> None:
    with open(f"{volume.path}/{name}", "r+b") as file:
        file.seek(5)
        file.write(b"over")


def test_after_every_twentieth(volume: VolumeWriter, read: list[str]) -> None:
    volume.expect(60 * SIZE)
    for number in range(60):
        put(volume, number)
    assert read[:3] == ["README.txt", "README.txt", "00000000.abs"]  # as it is at first, and when there is a segment
    assert read.count("00000000.abs") == 20 == len(read) - read.count("README.txt")
    volume.sync()
    assert read.count("00000000.abs") == 21


@pytest.mark.parametrize("lost", ["README.txt", "00000007.abs"])
def test_what_came_first_is_lost(volume: VolumeWriter, lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "known_as", lambda _: " (label 'STICK', serial number 123)")
    done: list[int] = []
    volume.expect(60 * SIZE)
    put(volume, 7)
    spoil(volume, lost)
    with pytest.raises(UnreliableDriveError, match=r"label 'STICK', serial number 123.*lies about its size") as caught:
        put_some(volume, 8, 60, done)
    assert done == [8, 9, 10]
    assert (caught.value.exit_status, caught.value.where) == (9, f"{volume.path}/{lost}")
    with pytest.raises(UnreliableDriveError):
        volume.sync()
    os.truncate(f"{volume.path}/{lost}", 3)
    with pytest.raises(UnreliableDriveError):
        volume.sync()
    os.unlink(f"{volume.path}/{lost}")
    with pytest.raises(MediumError, match="is gone or has another size"):
        volume.sync()


def test_in_pieces_and_as_a_whole(volume: VolumeWriter) -> None:
    """In between some pieces all over the first segment are read, its last byte too; at the end all of it."""
    content = os.urandom(17 * MIB + 5)
    volume.expect(100 * SIZE)
    name = put(volume, 0, content)
    read = [0] * len(content)
    for at, length in recheck._places(len(content)):
        read[at:at + length] = [1] * length
    assert 256 * KIB <= sum(read) <= 272 * KIB
    assert (read[0], read[-1]) == (1, 1)
    gaps = "".join(map(str, read)).split("1")
    assert max(map(len, gaps)) < len(content) / 15

    def broken(at: int, *, whole: bool) -> None:
        with open(f"{volume.path}/{name}", "r+b") as file:
            file.seek(at)
            file.write(bytes([content[at] ^ 1]))
        try:
            volume.sync(whole=whole)
        finally:
            with open(f"{volume.path}/{name}", "r+b") as file:
                file.seek(at)
                file.write(content[at:at + 1])

    missed = read.index(0)
    broken(missed, whole=False)
    for at, whole in ((missed, True), (0, False), (len(content) - 1, False), (len(content) - 1, True)):
        with pytest.raises(UnreliableDriveError):
            broken(at, whole=whole)


def test_a_run_that_goes_on_minds_what_is_there(volume: VolumeWriter) -> None:
    done: list[int] = []
    put(volume, 3)
    volume.expect(60 * SIZE)
    put_some(volume, 4, 12, [])
    put(volume, 3)  # it was damaged, and is written anew
    put_some(volume, 12, 30, [])
    spoil(volume, "00000003.abs")
    with pytest.raises(UnreliableDriveError, match="lies about its size"):
        put_some(volume, 30, 60, done)
    assert len(done) <= 3


def test_the_newest_where_nothing_is_read_back(volume: VolumeWriter, read: list[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    volume.expect(60 * SIZE, reads_back=False)
    for number in range(10):
        put(volume, number)
    assert [name for name in dict.fromkeys(read) if name.endswith(".abs")] == [f"{n:08d}.abs" for n in (0, 3, 6, 9)]
    real = os.replace

    def drop(old: str, new: str, **more: int) -> None:
        real(old, new, **more)
        spoil(volume, os.path.basename(new))

    monkeypatch.setattr(os, "replace", drop)
    with pytest.raises(UnreliableDriveError) as caught:
        put_some(volume, 10, 20, done)
    assert caught.value.where.endswith("00000012.abs")
    assert done == [10, 11, 12]


def test_what_is_written_in_several_views(volume: VolumeWriter) -> None:
    volume.expect(60 * SIZE)
    name = "00000000.abs"
    volume.settle(volume.write(name, [memoryview(b"one"), memoryview(b"two")], suffix="0a"), name)
    volume.sync(whole=True)
    with open(f"{volume.path}/{name}", "ab") as file:
        file.write(b"more")
    with pytest.raises(UnreliableDriveError):
        volume.sync()


def test_nothing_is_read_again_unless_it_was_asked_for(volume: VolumeWriter, read: list[str]) -> None:
    for number in range(3):
        put(volume, number)
    volume.sync()
    assert read == []


def test_a_file_of_another_writing_is_not_taken_for_the_first() -> None:
    work = Recheck(1000, {}, "", newest=False)
    work.write("00000000.abs", "t0", memory(b"a"), 1)
    work.write("00000001.abs", "t1", memory(b"b"), 1)
    assert work.settle("t1", "00000001.abs") == {}
    assert work.settle("t0", "00000000.abs") == {"00000000.abs": Written.of(memory(b"a"), 1, whole=True)}


def test_a_segment_that_is_not_the_first_is_never_digested_as_a_whole() -> None:
    """It made a twentieth full: of its 8 MiB a quarter of a MiB is looked at, and not more for each of them."""
    size, asked = 8 << 20, [0]

    def read(at: int, length: int) -> memoryview:
        asked[0] += length
        return memoryview(bytes(length))

    work = Recheck(20 * size, {}, "", newest=True)
    work.write("00000000.abs", "t0", read, size)
    assert asked == [size + (256 << 10)]
    work.write("00000001.abs", "t1", read, size)
    assert asked == [size + 2 * (256 << 10)]


def test_how_a_drive_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "filesystem_label", lambda _: "LOW")
    monkeypatch.setattr(drive, "device_serial", lambda _: "")
    assert drive.known_as("/x") == " (label 'LOW')"
    monkeypatch.setattr(drive, "device_serial", lambda _: "77")
    assert drive.known_as("/x") == " (label 'LOW', serial number 77)"
    monkeypatch.setattr(drive, "filesystem_label", lambda _: "")
    monkeypatch.setattr(drive, "device_serial", lambda _: "")
    assert drive.known_as("/x") == ""
