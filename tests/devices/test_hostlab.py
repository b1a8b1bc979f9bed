"""Sticks on this machine: they look as if on USB, fail where they shall, and nothing of them is left."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from pathlib import Path

import pytest
import pyudev

from tests.devices.equipment import require
from tests.devices.hostlab import RULES, HostLab, loops, mounts, properties, udevd
from tests.devices.sticks import MIB, SECTOR, make_stick, sector_of

pytestmark = pytest.mark.devices

BIG = random.Random(6).randbytes(4 * MIB)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An ext4 with one large file of noise."""
    require("host")
    content = tmp_path / "content"
    content.mkdir()
    (content / "big.bin").write_bytes(BIG)
    return make_stick(tmp_path / "stick.img", "ext4", content=content)


def listen() -> pyudev.Monitor:
    made = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
    made.filter_by("block")
    made.start()
    return made


def event(monitor: pyudev.Monitor, device: str, action: str) -> pyudev.Device:
    """The next one of that kind; others may come before."""
    while (found := monitor.poll(timeout=10)) is not None:
        if (found.device_node, found.action) == (device, action):
            return found
    raise AssertionError(f"no event {action} for {device}")


def read_at(path: str | Path, offset: int, size: int) -> bytes | str:
    """What lies there, or the name of the error."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, size, offset)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        os.close(fd)


def test_udev_tells_of_a_stick(host: HostLab, image: Path, tmp_path: Path) -> None:
    monitor = listen()
    device = host.plug("a", image)
    told = event(monitor, device, "add").properties
    assert {name: told.get(name) for name in ("ID_BUS", "ID_SERIAL_SHORT", "ID_FS_TYPE", "ID_FS_LABEL")} == {
        "ID_BUS": "usb", "ID_SERIAL_SHORT": "AIRB-a", "ID_FS_TYPE": "ext4", "ID_FS_LABEL": "AIRSTICK"}
    other = host.plug("b", make_stick(tmp_path / "b.img", "vfat"))
    assert event(monitor, other, "add").properties["ID_FS_TYPE"] == "vfat"
    assert int(properties(other)["DISKSEQ"]) > int(properties(device)["DISKSEQ"])
    (Path("/sys/block") / os.path.basename(device) / "uevent").write_text("change")  # by somebody else
    assert event(monitor, device, "change").properties["ID_SERIAL_SHORT"] == "AIRB-a"


def test_a_bad_sector_cannot_be_read(host: HostLab, image: Path) -> None:
    bad = sector_of(image, BIG[MIB:MIB + SECTOR])
    device = host.plug("a", image, bad_sector=bad)
    place = host.mount("a")
    assert mounts(device) == [str(place)]
    assert read_at(place / "big.bin", 0, SECTOR) == BIG[:SECTOR]
    assert read_at(place / "big.bin", MIB, SECTOR) == "EIO"
    assert read_at(place / "big.bin", 3 * MIB, SECTOR) == BIG[3 * MIB:3 * MIB + SECTOR]


def test_what_is_pulled_cannot_be_read_and_is_removed(host: HostLab, image: Path) -> None:
    monitor = listen()
    device = host.plug("a", image)
    place = host.mount("a")
    assert read_at(place / "big.bin", 0, SECTOR) == BIG[:SECTOR]
    first = event(monitor, device, "add").properties["DISKSEQ"]
    host.pull("a")
    event(monitor, device, "remove")
    assert read_at(place / "big.bin", 3 * MIB, SECTOR) == "EIO"
    assert "ID_BUS" not in properties(device)
    again = host.plug("a", image)
    assert int(event(monitor, again, "add").properties["DISKSEQ"]) > int(first)
    assert (host.mount("a") / "big.bin").read_bytes() == BIG


def test_a_slow_stick_takes_its_time(host: HostLab, image: Path) -> None:
    device = host.plug("a", image, bytes_per_second=8 * MIB)
    begun = time.monotonic()
    assert read_at(device, 16 * MIB, 2 * MIB) == image.read_bytes()[16 * MIB:18 * MIB]
    assert time.monotonic() - begun >= 0.25


def test_a_stick_that_stalls_answers_when_it_is_resumed(host: HostLab, image: Path) -> None:
    device = host.plug("a", image)
    host.stall("a")
    found: list[bytes | str] = []
    reader = threading.Thread(target=lambda: found.append(read_at(device, 16 * MIB, SECTOR)))
    reader.start()
    reader.join(0.2)
    assert not found
    host.resume("a")
    reader.join()
    assert found == [image.read_bytes()[16 * MIB:][:SECTOR]]


def test_nothing_is_left(image: Path, tmp_path: Path) -> None:
    before, mounted = loops(), Path("/proc/self/mounts").read_text()

    def fail_within() -> None:
        with HostLab(tmp_path / "lab") as host:
            host.plug("a", image)
            host.plug("b", image)
            host.mount("a")
            host.mount("b")
            host.stall("b")
            assert len(loops() - before) == 2
            host.pull("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_within()
    assert loops() == before
    assert Path("/proc/self/mounts").read_text() == mounted
    assert not RULES.exists()


def test_udevd_ends_where_it_was_started(image: Path) -> None:
    with udevd() as number:
        assert os.path.exists("/run/udev/control")
        with udevd() as second:  # one is there already
            assert second is None
    if number is not None:
        assert not os.path.exists(f"/proc/{number}")
        assert not os.path.exists("/run/udev/control")
