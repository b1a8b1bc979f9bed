"""Salvage of segments by themselves: nobody vouches for them, and any of them may be a stranger's."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from airbundle.cli import main as command_line
from airbundle.cli import reading
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import write_private
from airbundle.errors import DamagedError
from airbundle.format import limits
from airbundle.format.block import MAGIC, Kind
from airbundle.media import volume
from airbundle.media.volume import VolumeReader
from airbundle.transfer.claims import claims_within
from tests.rescue.test_junk import LARGEST
from tests.transfer.forge import Lies, forge
from tests.transfer.test_salvage import FILES, salvage, sick, whole, without_statements
from tests.transfer.workshop import KIB, Keys, Packed, kill_blocks, overwrite, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["sick", "whole"]


@pytest.mark.parametrize("change", ["cut in the parity", "cut in the list", "bytes behind the end", "cut, and damaged"])
def test_where_the_data_lies_does_not_depend_on_the_length(keys: Keys, tmp_path: Path, change: str) -> None:
    """The preamble has several blocks; how many, the blocks behind it say."""
    readers = [generate().public for _ in range(8)]
    files = {"big": FILES["big"][:300 * KIB]}
    bundle = pack(keys, write_tree(tmp_path / "source", files), tmp_path / "drive", to=[*readers, keys.reader.public])
    without_statements(bundle.copy_to(tmp_path / "copy"))
    copy = Packed(keys, bundle.source, tmp_path / "copy" / bundle.volume.name)
    for row in bundle.data_rows():
        place, size, path = bundle.place(row), row.block_size, copy.segment(row.number)
        assert place.preamble_blocks > 2
        if change.startswith("cut"):
            os.truncate(path, (place.lists_at[1] - place.geometry.m // 2 if "list" not in change
                               else place.lists_at[1]) * size + 100)
        else:
            path.write_bytes(path.read_bytes() + bytes(6 * size))
        if "damaged" in change:
            kill_blocks(path, size, [place.preamble_blocks, place.data_at])
    result = salvage(copy, tmp_path / "out", unsigned=True)
    assert (result.bytes_lost, result.failed, result.problems) == (0, 0, ())
    assert (tmp_path / "out" / result.files[0].name).read_bytes() == files["big"]


@pytest.mark.parametrize("size", [1 << 46, 2**53 - 1])
def test_a_file_that_no_file_system_takes_ends_nothing_else(keys: Keys, tmp_path: Path, size: int) -> None:
    """Anyone can seal a segment to a public key, under any bundle id; here one with the largest of files."""
    good = pack(keys, write_tree(tmp_path / "source", {"f": FILES["z"]}), tmp_path / "drive")
    wanted = bytes.fromhex(good.statement().bundle)
    false = forge(tmp_path / "false", keys, Lies(index=lambda index: replace(
        index, files=(replace(index.files[0], size=size),))), entropy=lambda count: wanted[:count].ljust(count, b"+"))
    without_statements(good)
    shutil.copy(false.segment(0), good.volume / "00000077.abs")
    result = salvage(good, tmp_path / "out", unsigned=True)
    assert [(file.path, file.holes) for file in result.files] == [("f", ())]
    assert (result.failed, len(result.problems)) == (1, 1)
    assert "a file of this size does not fit" in result.problems[0]
    for path in good.volume.glob("0000000*.abs"):
        path.unlink()
    with pytest.raises(DamagedError, match=r"nothing can be read: .*a file of this size"):
        salvage(good, tmp_path / "none", unsigned=True)


def test_the_command_counts_what_gave_nothing(
        sick: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a catalog nobody knows the files of a segment whose index is lost."""
    without_statements(sick)
    for number in (0, 1):
        os.truncate(sick.segment(number), 8 * 16 * KIB)
    key = tmp_path / "reader.key"
    key.write_bytes(write_private("reader", sick.keys.reader, passphrase=None))
    monkeypatch.setattr(reading, "refuse_root", lambda: None)
    command = ["salvage", *sick.given, "-o", str(tmp_path / "out"), "--key", str(key), "--progress", "none"]
    assert command_line.main([*command, "--unsigned"]) == 12
    assert "and 2 segments of which nothing could be read" in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("front", [1, 2, 12])
def test_a_segment_without_a_preamble_opens_with_the_key_of_another(sick: Packed, tmp_path: Path, number: int,
                                                                     front: int) -> None:
    """Its first and its last block are gone, and so both copies."""
    without_statements(sick)
    path, size = sick.segment(number), 16 * KIB
    overwrite(path, 0, bytes(front * size))
    overwrite(path, path.stat().st_size - size, bytes(size))
    if front == 12:  # nothing is left where a file is asked first; and no header, before one
        kill_blocks(path, size, [path.stat().st_size // size - (1 << power) for power in range(7)])
        overwrite(path, 13 * size, MAGIC)
    result = salvage(sick, tmp_path / "out", unsigned=True)
    assert (result.bytes_lost, result.failed, result.problems) == (0, 0, ())
    for other in sick.volume.glob("0*.abs"):
        if other != path:
            other.unlink()
    with pytest.raises(DamagedError, match=r"no preamble is left in it, and no key of another segment opens it"):
        salvage(sick, tmp_path / "alone", unsigned=True)


def test_headers_cost_no_more_than_so_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = (MAGIC + bytes(48) + LARGEST.packed(Kind.DATA) + bytes(8)).ljust(4096, b"x")
    (tmp_path / "00000000.abs").write_bytes(bytes(4096) + head * 2048)
    looked: list[int] = []
    real = volume._peek

    def peek(fd: int, start: int, length: int) -> bytes:
        looked.append(length)
        return real(fd, start, length)

    monkeypatch.setattr(volume, "_peek", peek)
    with VolumeReader(str(tmp_path)) as reader:
        assert claims_within(reader, "00000000.abs") == []
    assert looked.count(LARGEST.block_size) == limits.CLAIMS_WITHIN_MAX
