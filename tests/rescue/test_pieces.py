"""Blocks that are not whole: cut by the borders of fragments, with holes in known places, left on several copies."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.errors import DamagedError, UsageError
from tests.rescue.disk import Drive, lay, only, rescued, write_map
from tests.rescue.filesystems import tool
from tests.transfer.workshop import KIB, MIB, Keys, Packed, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airbundle.transfer.rescued import RescuedBundle

pytestmark = pytest.mark.in_memory

SECTOR = 4 * KIB


@pytest.fixture(scope="session")
def _wide(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    place = tmp_path_factory.mktemp("wide")
    source = write_tree(place / "source", {"weights": noise(7 * MIB, 14)})
    return pack(keys, source, place / "drive", segment_size=8 * MIB)


@pytest.fixture
def wide(_wide: Packed, tmp_path: Path) -> Packed:
    """One data segment with blocks of 16 KiB or more in several stripes, and its twin."""
    return _wide.copy_to(tmp_path / "drive")


def without_twin(drive: Drive, bundle: Packed) -> None:
    """The group cannot help: the other member is gone."""
    for _, place, length in drive.spots[bundle.segment(1)]:
        drive.write(place, random.Random(3).randbytes(length))


def holes_in_columns(drive: Drive, bundle: Packed, *, first: int = 0,
                     fill: bytes | None = None) -> list[tuple[int, int]]:
    """In nearly all blocks of segment 0 one sector is gone, in turn; at no position more than parity gives back."""
    row, file = bundle.rows()[0], bundle.segment(0)
    place, holes = bundle.place(row), []
    sectors = row.block_size // SECTOR
    per_column = row.m * row.stripes
    for number in range((sectors - first) * per_column):
        if number >= place.geometry.coded_blocks - 2:
            break
        at = drive.at(file, (place.data_at + number) * row.block_size + (first + number // per_column) * SECTOR)
        drive.write(at, os.urandom(SECTOR) if fill is None else fill)
        holes.append((at, at + SECTOR))
    assert len(holes) > 2 * per_column
    return holes


def one_segment(bundle: Packed, sources: Iterable[Path | str], out: Path) -> tuple[bool, RescuedBundle]:
    """Whether segment 0 came back by itself."""
    out.mkdir()
    try:
        result: Any = api.rescue([str(source) for source in sources], str(out), trust=bundle.keys.trust)
    except DamagedError as error:
        result = error.report
    one = only(result)
    (name,) = os.listdir(out)
    written = out / name / "00000000.abs"
    same = written.exists() and written.read_bytes() == bundle.segment(0).read_bytes()
    assert same == one.segments[0].whole
    return same and not one.segments[0].from_group, one


@pytest.mark.parametrize("first", [0, 1], ids=["also headers", "no headers"])
def test_known_holes_cost_their_columns_and_unknown_ones_their_blocks(
        wide: Packed, tmp_path: Path, first: int) -> None:
    drive = lay(tmp_path / "image", wide.volume.iterdir())
    holes = holes_in_columns(drive, wide, first=first)
    without_twin(drive, wide)
    assert not one_segment(wide, [drive.path], tmp_path / "unknown")[0]
    write_map(tmp_path / "known.map", drive.path.stat().st_size, holes)
    came_back, one = one_segment(wide, [f"{drive.path}:{tmp_path / 'known.map'}"], tmp_path / "known")
    assert came_back
    assert one.segments[0].recovered >= len(holes)
    (tmp_path / "known.map").rename(tmp_path / "image.map")
    assert one_segment(wide, [drive.path], tmp_path / "beside")[0]


def test_sectors_of_zeros_are_holes(wide: Packed, tmp_path: Path) -> None:
    drive = lay(tmp_path / "image", wide.volume.iterdir())
    holes_in_columns(drive, wide, fill=bytes(SECTOR))
    without_twin(drive, wide)
    assert one_segment(wide, [drive.path], tmp_path / "out")[0]


def test_a_drive_with_dead_sectors(wide: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel cannot read is a hole of 4 KiB, and no byte more is given up."""
    drive = lay(tmp_path / "image", wide.volume.iterdir(), front=SECTOR)
    holes = [(at // SECTOR * SECTOR, -(-end // SECTOR) * SECTOR) for at, end in holes_in_columns(drive, wide)]
    without_twin(drive, wide)
    real, dead = os.preadv, sorted(holes)

    def sick(fd: int, buffers: list[memoryview], offset: int, *flags: int) -> int:
        if os.readlink(f"/proc/self/fd/{fd}") == str(drive.path):
            end = offset + sum(map(len, buffers))
            if any(offset < last and first < end for first, last in dead):
                raise OSError(errno.EIO, "dead")
        return real(fd, buffers, offset, *flags)

    monkeypatch.setattr(os, "preadv", sick)
    (tmp_path / "out").mkdir()
    result = api.rescue([str(drive.path)], str(tmp_path / "out"), trust=wide.keys.trust)
    sectors = {at for first, last in holes for at in range(first, last, SECTOR)}
    assert result.sources[0].unreadable == len(sectors) * SECTOR
    assert only(result).segments[0].whole
    assert not only(result).segments[0].from_group


def test_every_block_has_a_hole_on_each_of_two_copies(wide: Packed, tmp_path: Path) -> None:
    """No block of the segment is whole anywhere; what one copy lacks the other has."""
    row = wide.rows()[0]
    one = lay(tmp_path / "one", wide.volume.iterdir())
    two = lay(tmp_path / "two", wide.volume.iterdir(), seed=5, front=3 * 512)
    for drive, column in ((one, 1), (two, 2)):
        without_twin(drive, wide)
        holes = [(at, at + SECTOR) for block in range(wide.place(row).block_count)
                 for at in [drive.at(wide.segment(0), block * row.block_size + column * SECTOR)]]
        for at, _ in holes:
            drive.write(at, b"\xa5" * SECTOR)
        write_map(drive.path.with_suffix(".map"), drive.path.stat().st_size, holes)
    assert not one_segment(wide, [one.path], tmp_path / "alone")[0]
    assert one_segment(wide, [one.path, two.path], tmp_path / "out")[0]


@pytest.mark.parametrize("seed", range(3))
def test_two_half_dead_copies(large: Packed, tmp_path: Path, seed: int) -> None:
    """Of each 64 KiB one of the copies has lost what is there, without a word about it."""
    rng = random.Random(seed)
    files = sorted(large.volume.iterdir())
    drives = [lay(tmp_path / f"copy{n}", files, seed=seed + n, front=512 * (n + 1)) for n in range(2)]
    for file in files:
        for at in range(0, file.stat().st_size, 64 * KIB):
            length = min(64 * KIB, file.stat().st_size - at)
            drive = rng.choice(drives)
            drive.write(drive.at(file, at), rng.randbytes(length))
    for number, drive in enumerate(drives):
        (tmp_path / f"out{number}").mkdir()
        with pytest.raises(Exception, match=r"not whole|statement|catalog"):
            api.rescue([str(drive.path)], str(tmp_path / f"out{number}"), trust=large.keys.trust)
    rescued(large, [drive.path for drive in drives], tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_fragments_that_cut_blocks(large: Packed, tmp_path: Path, seed: int) -> None:
    """Pieces of a block and a half, in any order: every third block is cut."""
    block = large.rows()[0].block_size
    segments = sorted(large.volume.glob("0*.abs"))
    others = sorted(set(large.volume.iterdir()) - set(segments))
    cut = lay(tmp_path / "cut", segments, seed=seed, piece=block + block // 2)
    whole = lay(tmp_path / "whole", others)
    one = only(rescued(large, [cut.path, whole.path], tmp_path))
    assert sum(segment.missing for segment in one.segments) > 0.25 * sum(segment.blocks for segment in one.segments)
    assert not any(segment.from_group for segment in one.segments)


def test_a_map_that_is_none(small: Packed, tmp_path: Path) -> None:
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    (tmp_path / "image.map").write_text("holes: none\n")
    for source in (str(image), f"{image}:{tmp_path / 'image.map'}"):
        with pytest.raises(UsageError, match=r"image\.map.*map file of ddrescue"):
            api.rescue([source], str(tmp_path))
    with pytest.raises(UsageError, match="no such map file"):
        api.rescue([f"{image}:{tmp_path / 'other'}"], str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="a loop device needs root")
def test_a_device_is_read_and_its_own_file_system_is_no_target(small: Packed, tmp_path: Path) -> None:
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    (tmp_path / "tree").mkdir()
    with open(tmp_path / "disk", "wb") as disk:
        disk.truncate(96 * MIB)
    subprocess.run([tool("mke2fs"), "-q", "-t", "ext4", tmp_path / "disk"], check=True)
    loops: list[str] = []
    place = tmp_path / "mounted"
    place.mkdir()
    try:
        for path in (image, tmp_path / "disk"):
            tried = subprocess.run([tool("losetup"), "-f", "--show", *(["-r"] if path == image else []), path],
                                   capture_output=True, text=True, check=False)
            if tried.returncode:
                pytest.skip(f"losetup: {tried.stderr.strip()}")
            loops.append(tried.stdout.strip())
        subprocess.run(["mount", loops[1], place], check=True)
        with pytest.raises(UsageError, match=f"lies on {loops[1]}, which is to be rescued"):
            api.rescue([loops[1]], str(place))
        rescued(small, [Path(loops[0])], tmp_path)
    finally:
        if os.path.ismount(place):
            subprocess.run(["umount", place], check=True)
        for loop in loops:
            subprocess.run([tool("losetup"), "-d", loop], check=True)
