"""A source that changes while it is packed: an error that names the file, and no bundle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.errors import AirbundleError, SourceChangedError
from airbundle.media.reading import SourceReader
from tests.transfer.workshop import KIB, MIB, Keys, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(path)


def touch(path: Path) -> None:
    os.utime(path)


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def no_bundle(keys: Keys, drive: Path) -> None:
    """Nothing on the drive verifies."""
    with pytest.raises(AirbundleError) as caught:
        api.verify([str(drive)], trust=keys.trust)
    assert caught.value.exit_status in {2, 4, 5}
    assert not any((folder / "statement.rec").exists() for folder in drive.iterdir())
    for folder in drive.iterdir():
        statement = folder / "statement.json"
        assert not statement.exists() or not statement.read_bytes().strip(b"\0")


@pytest.mark.parametrize("change", [append, truncate, replace, touch, remove, link])
@pytest.mark.parametrize("which", ["a", "z"])
def test_between_scan_and_read(keys: Keys, tmp_path: Path, change: Callable[[Path], None], which: str) -> None:
    """The first tick comes after the scan and before the first byte is read."""
    source = write_tree(tmp_path / "source", {"a": noise(200 * KIB, 1), "m": b"", "z": noise(200 * KIB, 2)})
    pending = [source / which]

    def tick(_: Any) -> None:
        if pending:
            change(pending.pop())

    with pytest.raises(SourceChangedError) as caught:
        pack(keys, source, tmp_path / "drive", progress=tick)
    assert caught.value.exit_status == 9
    assert caught.value.where == which
    no_bundle(keys, tmp_path / "drive")


def test_between_two_segments(keys: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"a": noise(4 * MIB, 3), "b": noise(4 * MIB, 4)})
    pending = [source / "b"]

    def tick(now: Any) -> None:
        if now.done and pending:
            append(pending.pop())

    with pytest.raises(SourceChangedError) as caught:
        pack(keys, source, tmp_path / "drive", segment_size=MIB, progress=tick)
    assert caught.value.where == "b"
    no_bundle(keys, tmp_path / "drive")


@pytest.mark.parametrize("chunk", [0, 2])
def test_content_that_changes_without_a_trace(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Two readings of a chunk differ though size and times are the same: only the second reader can notice."""
    source = write_tree(tmp_path / "source", {"first": noise(MIB, 5), "second": noise(3 * MIB, 6)})
    class Shaky:
        """A reader whose bytes differ between the first and the second time that a place is read."""

        def __init__(self, inner: Any) -> None:
            self.inner, self.times = inner, 0

        def __call__(self, reader: Any, start: int, out: memoryview) -> None:
            self.inner(reader, start, out)
            if start == (1 + chunk) * MIB and len(out) == MIB:  # not the look at the file's header
                self.times += 1
                if self.times == 2:
                    out[7] ^= 1

    shaky = Shaky(SourceReader.read)
    monkeypatch.setattr(SourceReader, "read", lambda *reading: shaky(*reading))  # noqa: PLW0108
    with pytest.raises(SourceChangedError) as caught:
        pack(keys, source, tmp_path / "drive", segment_size=4 * MIB)
    assert "second" in caught.value.where
    assert shaky.times == 2
    no_bundle(keys, tmp_path / "drive")


def test_the_same_command_after_the_change(keys: Keys, tmp_path: Path) -> None:
    """The changed source is another plan; it gets a bundle of its own."""
    source = write_tree(tmp_path / "source", {"a": noise(200 * KIB, 1)})
    pending = [source / "a"]
    with pytest.raises(SourceChangedError):
        pack(keys, source, tmp_path / "drive", progress=lambda _: append(pending.pop()) if pending else None)
    bundle = pack(keys, source, tmp_path / "drive")
    bundle.verify(opened=True)
