from __future__ import annotations

import os
import stat
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.errors import SourceError
from airbundle.format.names import SafePath
from airbundle.media.source import scan
from airbundle.media.source_files import SourceFile, SourceFiles, identity_of, without_device
from airbundle.transfer.slices import Slice, cut_stream

if TYPE_CHECKING:
    from pathlib import Path

MANY = 2000


class Status:
    """What the system says of a file, and what a test says instead."""

    @classmethod
    def like(cls, found: os.stat_result, **instead: int) -> Any:
        status = cls()
        status.__dict__.update({name: getattr(found, name) for name in dir(found) if name.startswith("st_")}, **instead)
        return status


def test_columns_give_back_each_file_where_it_lies(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    (inside / "b").mkdir(parents=True)
    for name, size in (("b/z", 5), ("a", 0), ("c", 7)):
        (inside / name).write_bytes(bytes(size))
    (inside / "b/link").symlink_to("../c")
    files = scan(str(inside)).files
    places = {"a": "a", "b/link": "c", "b/z": "b/z", "c": "c"}
    assert list(files) == [SourceFile(SafePath(path), str(inside / place), (inside / place).stat().st_size,
                                      identity_of((inside / place).stat())) for path, place in places.items()]
    assert list(files.starts) == [0, 0, 7, 12, 19]
    assert files[-1] == files[3]
    assert files[1:3] == [files[1], files[2]]
    with pytest.raises(IndexError):
        files[4]
    assert list(SourceFiles.of(list(files))) == list(files)


def test_a_file_and_a_slice_take_few_bytes(tmp_path: Path) -> None:
    """What is kept of each for as long as all are packed: there may be half a million."""
    for number in range(MANY):
        (tmp_path / f"{number:06d}").write_bytes(b"x")
    scan(str(tmp_path))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        source = scan(str(tmp_path))
        scanned = tracemalloc.get_traced_memory()[0]
        stream = cut_stream(source, 1, lambda *_: b"")
        cut = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(source.files) == len(stream.slices) == MANY
    assert 60 < (scanned - before) / MANY < 90
    assert (cut - scanned) / MANY < 20


def test_more_bytes_than_a_bundle_carries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with holes can say any size: all of them together need not fit into a word."""
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    honest = os.stat

    def huge(*words: Any, **named: Any) -> Any:
        found = honest(*words, **named)
        return Status.like(found, st_size=(1 << 63) - 1) if stat.S_ISREG(found.st_mode) else found

    monkeypatch.setattr(os, "stat", huge)
    with pytest.raises(SourceError, match="27,670,116,110,564,327,421 bytes") as caught:
        scan(str(tmp_path))
    assert (caught.value.rule, caught.value.hint) == ("L-2", "a bundle carries 64 TiB at most")


@pytest.mark.parametrize("changed", ["st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_an_identity_tells_every_change(tmp_path: Path, changed: str) -> None:
    found = tmp_path.stat()
    other = identity_of(Status.like(found, **{changed: getattr(found, changed) + 1}))
    assert without_device(other) != without_device(identity_of(found))
    elsewhere = identity_of(Status.like(found, st_dev=found.st_dev + 1))
    assert elsewhere != identity_of(found)
    assert without_device(elsewhere) == without_device(identity_of(found))


def test_times_before_1970_are_times_like_others(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(-10**18, -10**18))
    found = tmp_path.stat()
    assert found.st_mtime_ns == -10**18
    for later in (10**9, 10**18, 2 * 10**18):
        assert identity_of(Status.like(found, st_mtime_ns=later - 10**18)) != identity_of(found)


def test_slices_are_made_when_they_are_asked_for(tmp_path: Path) -> None:
    for name, size in (("a", 3), ("b", 0), ("c", 5), ("d", 0), ("e", 4), ("f", 0)):
        (tmp_path / name).write_bytes(bytes(size))
    slices = cut_stream(scan(str(tmp_path)), 4, lambda *_: b"").slices
    assert list(slices) == [Slice(0, 0, 4, 0, 2), Slice(1, 4, 4, 2, 2), Slice(2, 8, 4, 4, 4)]
    assert slices[-1] == slices[2]
    assert slices[1:] == [slices[1], slices[2]]
    with pytest.raises(IndexError):
        slices[3]
