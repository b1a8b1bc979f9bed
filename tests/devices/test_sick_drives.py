"""Drives with bad sectors, and drives that are pulled while they are read, as the kernel shows them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.errors import MediumError, PulledError
from airbundle.media import system
from airbundle.media.unplug import settle_drives
from airbundle.transfer.plan import Options
from tests.devices.fuse_image import READY, SECTOR, make_image, mounted, sick_drive
from tests.transfer.workshop import KIB, MIB, PACE, Keys, Packed, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.transfer.pack import PackResult
    from airbundle.transfer.progress import Tick
    from tests.devices.fuse_image import SickDrive
    from tests.station.desk import Desk

pytestmark = [pytest.mark.devices, pytest.mark.usefixtures("fuse")]


@dataclass(frozen=True)
class Stick:
    """A bundle on an image of a drive, and the way to it when it is mounted."""

    image: Path
    bundle: Packed

    def on(self, drive: SickDrive) -> Packed:
        return Packed(self.bundle.keys, self.bundle.source, drive.folder / self.bundle.volume.name)


@pytest.fixture
def stick(keys: Keys, tmp_path: Path, request: pytest.FixtureRequest) -> Stick:
    """Of many segments, or of few that are large."""
    source = write_tree(tmp_path / "source", {"one": noise(10 * MIB, 1), "two": noise(2 * MIB, 2)})
    image = make_image(tmp_path / "image", 192 * MIB)
    with mounted(image, tmp_path / "drive"):
        bundle = pack(keys, source, tmp_path / "drive", segment_size=getattr(request, "param", MIB))
    return Stick(image, bundle)


def pull_at(drive: SickDrive, phase: str, done: int) -> Callable[[Tick], None]:
    def watch(tick: Tick) -> None:
        if tick.phase == phase and tick.done >= done and drive.server.poll() is None:
            drive.pull()

    return watch


def test_pulled_while_it_is_verified(stick: Stick, tmp_path: Path) -> None:
    with sick_drive(stick.image, tmp_path, read_only=True) as drive:
        bundle = stick.on(drive)
        with pytest.raises(PulledError, match=r"nothing on this drive|was pulled") as caught:
            api.verify(bundle.given, trust=bundle.keys.trust, pace=PACE,
                       progress=pull_at(drive, "verifying", 4 * MIB))
        assert (caught.value.exit_status, caught.value.code) == (9, "pulled")
        assert str(drive.folder) in caught.value.where
        with pytest.raises(PulledError):  # what comes later finds a drive that was gone before
            bundle.verify()
    with sick_drive(stick.image, tmp_path, read_only=True) as drive:
        stick.on(drive).verify(opened=True)


def test_pulled_while_it_is_unpacked_and_put_back(stick: Stick, tmp_path: Path) -> None:
    target, keys = tmp_path / "back", stick.bundle.keys
    ticks: list[Tick] = []

    def unpack(drive: SickDrive, progress: Callable[[Tick], None]) -> Any:
        return api.unpack(stick.on(drive).given, str(target), keys=[keys.reader], trust=keys.trust, pace=PACE,
                          progress=progress)

    with sick_drive(stick.image, tmp_path, read_only=True) as drive:
        with pytest.raises(PulledError):
            unpack(drive, pull_at(drive, "unpacking", 6 * MIB))
        assert not target.exists()
    with sick_drive(stick.image, tmp_path, read_only=True) as drive:
        unpack(drive, ticks.append)
    assert digests(target) == digests(stick.bundle.source)
    left = {tick.total for tick in ticks if tick.phase == "unpacking"}
    assert max(left) <= 7 * MIB, left  # what was there of the first run was not read again


def test_pulled_while_it_is_imported_and_put_back(desk: Desk, tmp_path: Path) -> None:
    (packed,) = desk.pack(files={"weights.bin": noise(10 * MIB, 1)}, segment_size=MIB)
    desk.rule("[gates]\nunexamined = ['*.bin']\n")
    image = make_image(tmp_path / "image", 192 * MIB)
    with mounted(image, tmp_path / "drive"):
        shutil.copytree(packed, tmp_path / "drive" / "v.airbundle")
    with sick_drive(image, tmp_path, read_only=True) as drive:
        error = desk.refused("pulled", 9, [str(drive.folder / "v.airbundle")],
                             progress=pull_at(drive, "unpacking", 4 * MIB))
        assert isinstance(error, PulledError)
        desk.refused("pulled", 9, [str(drive.folder / "v.airbundle")])  # it was gone before the import began
    ticks: list[Tick] = []
    with sick_drive(image, tmp_path, read_only=True) as drive:
        result = desk.take([str(drive.folder / "v.airbundle")], progress=ticks.append)
    assert result.state == "published"
    assert max(tick.total for tick in ticks if tick.phase == "unpacking") <= 7 * MIB


@pytest.mark.parametrize("stick", [8 * MIB], indirect=True)
@pytest.mark.parametrize("number", ["EIO", "ENODATA"])
def test_a_bad_sector_costs_its_block(stick: Stick, tmp_path: Path, number: str) -> None:
    """Through loop device and ext4, where a read through the page cache loses everything around it."""
    raw = stick.image.read_bytes()
    size = 16 * KIB
    with mounted(stick.image, tmp_path / "look", read_only=True):
        segment = (tmp_path / "look" / stick.bundle.volume.name / "00000000.abs").read_bytes()
    bad = []
    for block in (4, 300, 301):
        at = raw.index(segment[block * size:][:4 * KIB])
        bad += ["--bad", f"{at // SECTOR + 1}-{at // SECTOR + 2}"]
    (tmp_path / "p.pub").write_bytes(write_public("p", stick.bundle.keys.packer.public))
    (tmp_path / "r.key").write_bytes(write_private("r", stick.bundle.keys.reader, passphrase=None))
    with sick_drive(stick.image, tmp_path, *bad, "--errno", number, read_only=True) as drive:
        done = subprocess.run([sys.executable, "-m", "airbundle", "verify", stick.on(drive).volume, "--trust",
                               tmp_path / "p.pub", "--json"], capture_output=True, text=True, check=False)
        answer = json.loads(done.stdout)
        assert done.returncode == 11
        report = answer["report"]
        assert (report["unreadable"], report["damaged"], report["restorable"]) == (3, 0, [])
        bundle = stick.on(drive)
        assert bundle.unpack(tmp_path / "back").repaired == 3
    assert digests(tmp_path / "back") == digests(stick.bundle.source)


@pytest.mark.parametrize("number", ["EIO", "ENODATA"])
def test_what_the_page_cache_would_lose_around_a_bad_sector(tmp_path: Path, number: str) -> None:
    image = make_image(tmp_path / "image", 64 * MIB)
    content = noise(10 * MIB, 7)
    with mounted(image, tmp_path / "drive"):
        (tmp_path / "drive" / "file").write_bytes(content)
    at = image.read_bytes().index(content[5 * MIB:][:4 * KIB]) // SECTOR

    def lost(*, direct: bool) -> list[int]:
        features = replace(system.features(), direct=direct)
        with sick_drive(image, tmp_path, "--bad", f"{at}-{at + 1}", "--errno", number, read_only=True) as drive, \
                system.use(features), memoryview(system.huge_buffer(len(content))) as view:
            fd = os.open(drive.folder / "file", os.O_RDONLY)
            try:
                reading = system.read_blocks(fd, view[:len(content)], 16 * KIB)
            finally:
                os.close(fd)
            assert reading.length == len(content)
            return list(reading.unreadable)

    assert lost(direct=True) == [320]
    assert len(lost(direct=False)) > 1  # how many depends on the kernel


def test_pulled_while_it_is_packed_and_put_back(keys: Keys, tmp_path: Path) -> None:
    """Of a drive that is written to nothing is claimed; connected again, the pack goes on."""
    source = write_tree(tmp_path / "source", {"weights": noise(10 * MIB, 1)})
    image = make_image(tmp_path / "image", 192 * MIB)

    def run(drive: SickDrive, progress: Callable[[Tick], None]) -> PackResult:
        return api.pack(str(source), str(drive.folder), sign=keys.packer, to=[keys.reader.public], pace=PACE,
                        options=Options(segment_size=MIB), progress=progress)

    with sick_drive(image, tmp_path) as drive:
        with pytest.raises(PulledError) as caught:
            run(drive, pull_at(drive, "packing", 5 * MIB))
        assert str(drive.folder) in caught.value.where
    subprocess.run(["e2fsck", "-p", image], check=False, capture_output=True)  # as whoever connects it again would
    with sick_drive(image, tmp_path) as drive:
        result = run(drive, lambda _: None)
        assert result.kept_segments > 0
        api.verify(result.volumes, trust=keys.trust, pace=PACE)


def test_not_safe_to_unplug_where_something_was_not_written(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", 64 * MIB)
    with sick_drive(image, tmp_path) as drive:
        (drive.folder / "file").write_bytes(noise(MIB))
        (settled,) = settle_drives([str(drive.folder)])
        assert settled.paths == (str(drive.folder),)
        (drive.folder / "another").write_bytes(noise(MIB))
        drive.pull()
        with pytest.raises(MediumError):
            settle_drives([str(drive.folder)])


@pytest.mark.parametrize("phase", ["before", "verifying"])
def test_the_server_of_a_folder_dies(keys: Keys, tmp_path: Path, phase: str) -> None:
    """As with drives that a program shows: phones, network shares, exFAT and NTFS behind FUSE."""
    source = write_tree(tmp_path / "source", {"weights": noise(6 * MIB, 1)})
    bundle = pack(keys, source, tmp_path / "low", segment_size=MIB)
    served = tmp_path / "served"
    served.mkdir()
    command: list[str | Path] = [sys.executable, "-m", "tests.devices.fuse_folder", tmp_path / "low", served]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == READY

            def watch(tick: Tick) -> None:
                if (tick.phase, tick.done > 0) == (phase, True):
                    server.kill()
                    server.wait()

            here = str(served / bundle.volume.name)
            if phase == "before":
                api.verify([here], trust=keys.trust, pace=PACE)
                server.kill()
                server.wait()
            with pytest.raises(PulledError) as caught:
                api.verify([here], trust=keys.trust, pace=PACE, progress=watch)
            assert caught.value.where.startswith(here)
        finally:
            server.kill()
            subprocess.run(["umount", "-l", served], check=True)
