"""The virtual machine itself: its sticks are those that a hand plugs and pulls, and its faults are real ones."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.devices.equipment import require
from tests.devices.machine import SHARED, Command, Machine
from tests.devices.sticks import KINDS, MIB, make_stick, sector_of

pytestmark = [pytest.mark.devices, pytest.mark.timeout(300)]

BIG = random.Random(5).randbytes(4 * MIB)
# Reads with no cache and a sector at a time, and says where that failed and how.
READ = """
import mmap, os, sys
space = mmap.mmap(-1, 512)
with open(sys.argv[1], "rb", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_DIRECT)) as file:
    for sector in range(*map(int, sys.argv[2:4])):
        try:
            os.preadv(file.fileno(), [space], sector * 512)
        except OSError as error:
            print(sector, error.errno)
"""
# Reads as any program does, and says how far that went.
FOLLOW = """
import os, sys
done, file = 0, os.open(sys.argv[1], os.O_RDONLY)
try:
    while part := os.read(file, 65536):
        done += len(part)
        if done == 1 << 18:
            print("begun")
    print(done, 0)
except OSError as error:
    print(done, error.errno)
"""
WATCH = """
import pyudev, sys
monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
monitor.filter_by("block")
monitor.start()
print("ready")
for device in iter(monitor.poll, None):
    if device.device_type == "disk":
        print(device.action, *(device.properties.get(name) for name in sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FAT with one large file of noise."""
    require("machine")
    content = tmp_path_factory.mktemp("content")
    (content / "big.bin").write_bytes(BIG)
    return make_stick(tmp_path_factory.mktemp("sticks") / "stick.img", content=content)


def test_it_has_what_tests_need(machine: Machine) -> None:
    assert machine.output("id -u nobody").strip() == "65534"
    assert "landlock" in machine.output("cat /sys/kernel/security/lsm").split(",")
    assert re.search(r"^Seccomp:\s+0$", machine.output("cat /proc/self/status"), re.MULTILINE)
    assert int(machine.python("import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))")) >= 1  # of Landlock
    machine.output("for place in /run /tmp /mnt /var /etc; do touch $place/written && rm $place/written; done")
    assert not Path("/etc/written").exists()
    assert machine.python("import airbundle; print(airbundle.__file__)").startswith(str(Path(__file__).parents[2]))
    assert machine.output("setpriv --reuid nobody --regid nogroup --clear-groups "
                          f"{sys.executable} -c 'import airbundle, os; print(os.getuid(), os.__file__)'"
                          ).split() == ["65534", os.__file__]  # this Python, also where it lies in the home of root


def test_what_is_written_to_the_shared_folder_is_written_here(machine: Machine) -> None:
    (machine.folder / "here").write_text("from here")
    assert machine.output(f"cat {SHARED}/here; echo -n from there > {machine.folder}/there") == "from here"
    assert (machine.folder / "there").read_text() == "from there"


def watch(machine: Machine, *names: str) -> Command:
    """A program in the guest that says what udev tells of disks, and the properties that are named."""
    watcher = machine.start(sys.executable, "-c", WATCH, *names)
    watcher.expect("ready")
    return watcher


def test_a_stick_appears_with_its_serial_number(machine: Machine, image: Path) -> None:
    watcher = watch(machine, "ID_BUS", "ID_SERIAL_SHORT", "ID_VENDOR", "ID_MODEL", "ID_FS_TYPE")
    machine.plug("a", image)
    watcher.expect("add usb AIRB-a QEMU QEMU_HARDDISK vfat")
    machine.plug("b", image, serial="4711", vendor_product=("ACME", "Sticky"))
    watcher.expect("add usb 4711 ACME Sticky vfat")
    machine.plug("c", image)
    watcher.expect("add usb AIRB-c")
    assert len({machine.device(name) for name in "abc"}) == 3
    for name in "cab":
        machine.pull(name)
    watcher.expect("remove usb 4711")
    watcher.signal(signal.SIGTERM)
    assert watcher.wait() == -signal.SIGTERM


def test_a_bad_sector_is_bad_and_no_other_is(machine: Machine, image: Path) -> None:
    bad = sector_of(image, BIG[MIB:MIB + 512])
    machine.plug("a", image, bad_sector=[bad, bad + 3])
    found = machine.output(f"{sys.executable} -c {shlex.quote(READ)} {machine.device('a')} {bad - 8} {bad + 8}")
    numbers = [tuple(map(int, line.split())) for line in found.splitlines()]
    assert [sector for sector, _ in numbers] == [bad, bad + 3]
    assert {number for _, number in numbers} <= {errno.EIO, errno.ENODATA}


def test_what_is_pulled_is_gone_and_what_is_put_back_is_another_disk(machine: Machine, image: Path) -> None:
    watcher = watch(machine, "DISKSEQ")
    machine.plug("a", image, bytes_per_second=MIB)
    first = int(watcher.expect(lambda line: line.startswith("add")).split()[1])
    device = machine.device("a")
    machine.output(f"mount -o ro {device} /mnt")
    reader = machine.start(sys.executable, "-c", FOLLOW, "/mnt/big.bin")
    begun = reader.expect("begun")
    machine.pull("a")
    watcher.expect(f"remove {first}")
    done, number = map(int, reader.expect(lambda line: line.split()[0].isdigit()).split())
    assert MIB // 4 <= done < len(BIG)
    assert number in {errno.EIO, errno.ENODEV}
    assert reader.lines[-1].at - begun.at < 10
    assert machine.run(f"test -e {device}").status == 1
    machine.output("echo 3 > /proc/sys/vm/drop_caches")  # FAT says of a name that it cannot read that it is not there
    assert machine.run("cat /mnt/big.bin").output == "cat: /mnt/big.bin: No such file or directory\n"
    machine.output("umount /mnt")
    machine.plug("a", image)
    assert int(watcher.expect(lambda line: line.startswith("add")).split()[1]) > first
    machine.output(f"mount -o ro {machine.device('a')} /mnt")
    assert machine.output("sha256sum /mnt/big.bin").split()[0] == hashlib.sha256(BIG).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_mounts_it(machine: Machine, tmp_path: Path, kind: str) -> None:
    content = tmp_path / "content"
    content.mkdir()
    (content / "Größe.txt").write_text("what is in it")
    stick = make_stick(tmp_path / "stick.img", kind, content=None if kind == "exfat" else content)
    if kind == "exfat":
        machine.fill(stick, content)
    machine.plug("a", stick)
    machine.output(f"mount -o ro,nosuid,nodev,noexec,nosymfollow {machine.device('a')} /mnt")
    assert machine.output("cat /mnt/Größe.txt") == "what is in it"
    assert f" /mnt {kind} ro,nosuid,nodev,noexec" in machine.output("grep ' /mnt ' /proc/mounts")
    assert machine.run("touch /mnt/new").status != 0


def test_a_test_leaves_nothing_to_the_next_one(machine: Machine, image: Path) -> None:
    left = machine.start("bash", "-c", "sleep 1000 & echo begun; wait")
    left.expect("begun")
    machine.plug("a", image)
    machine.output(f"mount -o ro {machine.device('a')} /mnt")
    machine.tidy()
    assert left.status == -signal.SIGKILL
    assert not machine.lines
    assert machine.run("pgrep -x sleep || grep /dev/sd /proc/mounts || ls /sys/block | grep sd").output == ""


def test_a_line_that_cannot_come_is_not_waited_for(machine: Machine) -> None:
    command = machine.start("echo", "one")
    with pytest.raises(AssertionError, match="has ended without such a line"):
        command.expect("two", timeout=60)
    with pytest.raises(TimeoutError, match=": one"):
        machine.expect("two", timeout=0.1)
    assert command.wait() == 0
    assert machine.start("no-such-program").wait() == 127


def test_a_machine_that_does_not_come_up_is_ended(tmp_path: Path) -> None:
    require("machine")
    made = Machine(tmp_path, patience=0.5)
    with pytest.raises(TimeoutError, match="did not come up"):
        made.__enter__()
    assert not os.path.exists(f"/proc/{made.process.pid}")
