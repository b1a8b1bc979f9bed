"""What the tests with real devices need on this machine, tier by tier, and what of it is not there.

A tier is a way to make a device: `host` uses this kernel's own loop devices with udev and FUSE, `machine` boots a
virtual machine with USB, `systemd` does so with systemd as its first process. Nothing is installed here.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil

import pytest

PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
UDEVD = "/lib/systemd/systemd-udevd"
SYSTEMD = "/lib/systemd/systemd"

MEDIA = {"mkfs.vfat": "dosfstools", "mcopy": "mtools", "mkfs.exfat": "exfatprogs", "mke2fs": "e2fsprogs",
         "udevadm": "udev", UDEVD: "udev"}
HOST = {"losetup": "mount", "blkid": "util-linux", "fusermount3": "fuse3"}
MACHINE = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "modprobe": "kmod", "depmod": "kmod",
           "dpkg": "dpkg", "apt-get": "apt", "setpriv": "util-linux", "ip": "iproute2", "bash": "bash"}
TIERS = {"host": MEDIA | HOST, "machine": MEDIA | MACHINE, "systemd": MEDIA | MACHINE | {SYSTEMD: "systemd",
                                                                                         "journalctl": "systemd"}}


def where(name: str) -> str | None:
    """The path of a program, also where the path of an ordinary user does not lead."""
    return shutil.which(name, path=PATH)


def program(name: str) -> str:
    """The path of a program that has to be there."""
    found = where(name)
    assert found is not None, f"{name} is not installed"
    return found


def lacking(tier: str) -> list[str]:
    """What a tier needs and does not find, in words; nothing where the tier can run."""
    found = [f"{name} (Debian: {package})" for name, package in TIERS[tier].items() if where(name) is None]
    if os.geteuid() != 0:
        found.append("root")
    if tier == "host":
        found += [device for device in ("/dev/fuse", "/dev/loop-control") if not os.path.exists(device)]
        if importlib.util.find_spec("mfusepy") is None:
            found.append("mfusepy (the extra named dev)")
    elif platform.machine() != "x86_64":
        found.append("an x86-64 machine")
    return found


def require(tier: str) -> None:
    """Skips the test where a tier cannot run; a failure where CI is set, for there nobody would see the skip."""
    if found := lacking(tier):
        text = f"the tier {tier} needs {', '.join(found)}"
        if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
            pytest.fail(text)
        pytest.skip(text)
