"""What a plan promises of FAT32 and exFAT, in the kernel's own drivers, in a virtual machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.devices.sticks import MIB, make_stick

if TYPE_CHECKING:
    from pathlib import Path

    from tests.devices.machine import Machine

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("kind", "options"), [
    ("vfat", "utf8,umask=077"), ("exfat", "iocharset=utf8,umask=077")])
def test_the_limits_of_fat_hold_on_it(machine: Machine, tmp_path: Path, kind: str, options: str) -> None:
    image = make_stick(tmp_path / "stick.img", kind, size=300 * MIB, fat=32)
    machine.plug("fat", image, readonly=False)
    machine.output(f"mount -o {options} {machine.device('fat')} /mnt")
    done = machine.run(f"{sys.executable} -m tests.devices.fat_limits /mnt {kind}", timeout=240)
    assert done.status == 0, done.output
    assert f" /mnt {kind} " in machine.output("grep ' /mnt ' /proc/mounts")
    machine.output("umount /mnt")
