from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from airbundle.errors import DamagedError, FormatError, MediumError, UsageError
from airbundle.format import limits
from airbundle.media import system
from airbundle.media.folder import Folder
from airbundle.media.volume import (
    Cache,
    VolumeReader,
    find_volumes,
    segment_name,
    volume_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = bytes(range(16))
THEIRS = bytes(16)
MAGIC = b"\x89ABS\r\n\x1a\n"


def test_names() -> None:
    assert volume_name("ab", OURS, 2, 3) == "ab-aaaqea-2of3.airbundle"
    assert segment_name(7) == "00000007.abs"
    assert segment_name(123_456_789) == "123456789.abs"
    for label in ("a/b", "what?", "x" * 300, "a\nb"):
        with pytest.raises(UsageError) as caught:
            volume_name(label, OURS, 1, 1)
        assert caught.value.rule.startswith("P-")


def hostile(place: Path) -> None:
    """A volume as an enemy would leave it."""
    place.mkdir()
    (place / "00000000.abs").write_bytes(b"data")
    os.mkfifo(place / "00000001.abs")
    (place / "00000002.abs").symlink_to("/etc/passwd")
    (place / "00000003.abs").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(place)
        listener.bind("00000004.abs")
        os.chdir(here)
    try:
        os.mknod(place / "00000005.abs", 0o020666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:  # only root makes devices
        os.mkfifo(place / "00000005.abs")
    (place / "statement.json").mkdir()
    with open(place / "00000006.abs", "wb") as file:
        file.truncate(4 << 30)
    for name in (b"._00000000.abs", b".DS_Store", b"desktop.ini", b"System Volume Information", b"\xff\n\x1b[2J.abs"):
        with open(os.fsencode(place) + b"/" + name, "wb"):
            pass


def test_a_hostile_volume_neither_hangs_nor_leads_elsewhere(tmp_path: Path, both: str) -> None:
    place = tmp_path / "x.airbundle"
    hostile(place)
    with VolumeReader(str(place)) as reader:
        listing = reader.listing()
        assert listing.files == (".DS_Store", "._00000000.abs", "00000000.abs", "00000006.abs",
                                 "System Volume Information", "desktop.ini", "\udcff\n\x1b[2J.abs")
        assert listing.complete
        ignored = dict(listing.ignored)
        assert ignored["00000001.abs"] == "a pipe, a socket or a device"
        assert ignored["00000002.abs"] == "a link"
        assert ignored["statement.json"] == "a folder"
        assert len(ignored) == 6
        for number in range(1, 7):
            with pytest.raises(FormatError, match="V-1"):
                reader.open(segment_name(number))
        with pytest.raises(FormatError, match="V-1"):
            reader.read_small("statement.json", 10)
        with pytest.raises(FileNotFoundError):
            reader.open("statement.rec")
        assert reader.read_small("00000000.abs", 3) == b"dat"
        assert reader.read_small("00000000.abs", 99) == b"data"
        assert reader.read_small("\udcff\n\x1b[2J.abs", 99) == b""


def test_an_entry_swapped_after_the_look_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, both: str) -> None:
    (tmp_path / "a.abs").write_bytes(b"x")
    with VolumeReader(str(tmp_path)) as reader:
        fine = (tmp_path / "a.abs").stat()
        (tmp_path / "a.abs").unlink()
        monkeypatch.setattr(Folder, "status", lambda *_: fine)
        os.mkfifo(tmp_path / "a.abs")
        with pytest.raises(FormatError, match="V-1"):
            reader.open("a.abs")
        (tmp_path / "a.abs").unlink()
        (tmp_path / "a.abs").symlink_to("/etc/passwd")
        with pytest.raises(FormatError, match="V-1"):
            reader.open("a.abs")


def test_a_volume_is_a_folder_and_no_link(tmp_path: Path, both: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.airbundle").symlink_to("real")
    (tmp_path / "file.airbundle").write_text("")
    for name in ("link.airbundle", "link.airbundle/", "file.airbundle"):
        with pytest.raises(FormatError, match="V-1"):
            VolumeReader(str(tmp_path / name).rstrip("/") + ("/" if name.endswith("/") else ""))
    with pytest.raises(MediumError):
        VolumeReader(str(tmp_path / "absent"))


def test_entries_are_counted_before_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VOLUME_ENTRIES_MAX", 5)
    for number in range(6):
        (tmp_path / str(number)).write_text("")
    with VolumeReader(str(tmp_path)) as reader, pytest.raises(FormatError, match="L-6"):
        reader.listing()
    with pytest.raises(FormatError, match="L-6"):
        find_volumes(str(tmp_path))


def test_a_sick_folder_gives_what_it_still_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "00000000.abs").write_text("")
    real = Folder.entries

    def sick(self: Folder) -> Iterator[os.DirEntry[str]]:
        yield from real(self)
        raise OSError(errno.EIO, "x")

    with VolumeReader(str(tmp_path)) as reader:
        monkeypatch.setattr(Folder, "entries", sick)
        listing = reader.listing()
        assert (listing.files, listing.complete) == (("00000000.abs",), False)

        def dead(*_: object) -> os.stat_result:
            raise OSError(errno.EIO, "x")

        monkeypatch.setattr(Folder, "status", dead)
        with pytest.raises(DamagedError, match="entry"):
            reader.open("00000000.abs")


def test_volumes_are_found_one_level_down(tmp_path: Path, both: str) -> None:
    stick = tmp_path / "stick"
    (stick / "b-1of1.airbundle").mkdir(parents=True)
    (stick / "A-1OF1.AIRBUNDLE").mkdir()
    (stick / "other/c.airbundle").mkdir(parents=True)
    (stick / "link.airbundle").symlink_to("other/c.airbundle")
    (stick / "file.airbundle").write_text("")
    os.mkfifo(stick / "pipe.airbundle")
    os.mkdir(os.fsencode(stick) + b"/\xff\n.airbundle")
    names = ["A-1OF1.AIRBUNDLE", "b-1of1.airbundle", "\udcff\n.airbundle"]
    assert find_volumes(str(stick)) == [str(stick / name) for name in names]
    assert find_volumes(str(stick) + "/") == find_volumes(str(stick))
    assert find_volumes(str(stick / "b-1of1.airbundle/")) == [str(stick / "b-1of1.airbundle")]
    assert find_volumes(str(stick / "other/c.airbundle")) == [str(stick / "other/c.airbundle")]
    (tmp_path / "mine").symlink_to("stick")
    assert len(find_volumes(str(tmp_path / "mine"))) == 3
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed/00000000.abs").write_text("")
    (tmp_path / "to it").symlink_to("renamed")
    assert find_volumes(str(tmp_path / "to it") + "/") == [str(tmp_path / "renamed")]
    with pytest.raises(UsageError, match="V-1"):
        find_volumes(str(stick / "link.airbundle"))
    for name in ("absent", "stick/file.airbundle", "stick/pipe.airbundle"):
        with pytest.raises(UsageError, match="not a folder"):
            find_volumes(str(tmp_path / name))


def test_a_renamed_volume_is_still_one(tmp_path: Path) -> None:
    assert find_volumes(str(tmp_path)) == []
    (tmp_path / "README.txt").write_text("")
    assert find_volumes(str(tmp_path)) == []
    (tmp_path / "00000012.abs").write_text("")
    assert find_volumes(str(tmp_path)) == [str(tmp_path)]


def test_what_is_in_the_page_cache_comes_from_there_and_the_rest_goes_past_it(tmp_path: Path) -> None:
    content = os.urandom(4 << 20)
    path = tmp_path / segment_name(0)
    path.write_bytes(content)
    os.sync()
    assert path.read_bytes() == content
    answers = []
    with VolumeReader(str(tmp_path)) as reader, reader.opened(path.name, cache=Cache.USED) as peeked:
        with reader.opened(path.name, cache=Cache.PASSED) as fd:
            if not system.is_direct(fd) or not hasattr(os, "RWF_NOWAIT"):
                pytest.skip("no direct I/O here")
        try:
            os.preadv(peeked, [bytearray(1)], 0, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
            pytest.skip("this file system does not tell what is in the page cache")
        for dropped in (False, True):
            if dropped:
                system.drop_cache(peeked)
            assert os.preadv(peeked, [bytearray(1)], 0) == 1  # as those do that look at the ends alone
            with reader.opened(path.name, cache=Cache.SPARED) as fd:
                answers.append(system.is_direct(fd))
                back = memoryview(system.huge_buffer(len(content)))
                assert system.read_into(fd, back, 0) == len(content)
                assert back == content
    assert answers == [False, True]
