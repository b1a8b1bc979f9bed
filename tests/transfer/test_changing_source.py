"""A source that changes while it is packed: an error that names the file, and no bundle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.errors import AirbundleError, SourceChangedError
from airbundle.media.reading import SourceReader
from tests.transfer.workshop import KIB, MIB, Keys, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airbundle.transfer.progress import Tick


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


def test_the_source_is_read_once(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the digests of files and what was sealed cannot differ, even where a change leaves no trace."""
    source = write_tree(tmp_path / "source", {"first": noise(KIB, 5), "second": noise(40 * KIB, 6)})
    real, places = SourceReader.read, []

    def shaky(reader: SourceReader, start: int, out: memoryview) -> None:
        """Gives other bytes each time."""
        real(reader, start, out)
        places.append((start, len(out)))
        out[0] = len(places)

    monkeypatch.setattr(SourceReader, "read", shaky)
    bundle = pack(keys, source, tmp_path / "drive", segment_size=8 * KIB)
    assert sorted(places) == [(at, min(8 * KIB, 41 * KIB - at)) for at in range(0, 41 * KIB, 8 * KIB)]
    bundle.unpack(tmp_path / "back")
    manifest = api.inspect([str(bundle.volume)], trust=keys.trust, keys=[keys.reader])
    assert {file.path: file.sha256 for file in manifest.files} == digests(tmp_path / "back")


def test_a_kept_segment_is_held_against_the_source(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that leaves no trace between two runs would give the file a digest that its sealed bytes do not have."""
    source = write_tree(tmp_path / "source", {"a": noise(40 * KIB, 6)})

    def stop(tick: Tick) -> None:
        if tick.done >= 32 * KIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(keys, source, tmp_path / "drive", segment_size=8 * KIB, progress=stop)
    real = SourceReader.read

    def other(reader: SourceReader, start: int, out: memoryview) -> None:
        real(reader, start, out)
        out[5] ^= 1

    monkeypatch.setattr(SourceReader, "read", other)
    with pytest.raises(SourceChangedError, match="changed since") as caught:
        pack(keys, source, tmp_path / "drive", segment_size=8 * KIB)
    assert caught.value.where == "a"
    no_bundle(keys, tmp_path / "drive")


def test_the_same_command_after_the_change(keys: Keys, tmp_path: Path) -> None:
    """The changed source is another plan; it gets a bundle of its own."""
    source = write_tree(tmp_path / "source", {"a": noise(200 * KIB, 1)})
    pending = [source / "a"]
    with pytest.raises(SourceChangedError):
        pack(keys, source, tmp_path / "drive", progress=lambda _: append(pending.pop()) if pending else None)
    bundle = pack(keys, source, tmp_path / "drive")
    bundle.verify(opened=True)
