"""The texts that bring the virtual machine up: what its first process does, with and without systemd.

The guest's root is this machine's root, read-only, under a layer in memory that takes all changes. The folder that is
shared lies at its own path and at SHARED, and what is written there is written on the host.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.devices.equipment import SYSTEMD, UDEVD
from tests.devices.kernel import Entry, Kernel, archive

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).parents[2]
SHARED = "/srv/shared"
OWN = "/run/machine"  # in the guest: the agent and its start
MODULES = ("xhci_pci", "usb_storage", "uas", "sd_mod", "vfat", "exfat", "nls_ascii", "nls_cp437", "nls_utf8", "loop",
           "fuse")
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

FIRST = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for module in /modules/*; do $B insmod $module; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose root /lower
$B mount -t tmpfs upper /upper
$B mkdir /upper/files /upper/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new
$B mkdir -p /new/lib/modules /new{shared} /new/tmp
$B mount -t tmpfs -o mode=755 run /new/run
$B mkdir -p /new{folder}
$B mount -t 9p -o trans=virtio,version=9p2000.L,rw,msize=512000,cache=none shared /new{folder}
$B mount --bind /new{folder} /new{shared}
$B mount --bind /lower{modules} /new/lib/modules
$B rm -f /new/.dockerenv
{opened}
$B cp -r /files/. /new/
for place in proc sys dev; do $B mount --move /$place /new/$place; done
exec $B switch_root /new {init}
"""

# The shell stays the first process: it takes the ends of those that nobody waits for.
START = f"""export PATH={SEARCH} HOME=/root LC_ALL=C.UTF-8
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t securityfs security /sys/kernel/security
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
{UDEVD} --daemon
modprobe -a {" ".join(MODULES)}
udevadm trigger --subsystem-match=block --subsystem-match=usb
udevadm settle
{{agent}}
"""

AGENT_UNIT = f"""[Unit]
Description=The agent of the tests
DefaultDependencies=no
Wants=systemd-udevd.service systemd-journald.service
After=systemd-udevd.service systemd-journald.service
[Service]
Environment=PATH={SEARCH} HOME=/root LC_ALL=C.UTF-8
ExecStartPre=modprobe -a {" ".join(MODULES)}
ExecStartPre=udevadm trigger --subsystem-match=block --subsystem-match=usb
ExecStartPre=udevadm settle
ExecStart={{agent}}
KillMode=process
"""

TARGET = """[Unit]
Description=What the tests need
AllowIsolate=yes
Requires=machine-agent.service
"""


def first_files(kernel: Kernel, folder: Path, *, systemd: bool, units: Mapping[str, str],
                rules: Mapping[str, str]) -> bytes:
    """The whole archive that the kernel starts from: the part that is always the same, and the part of this start."""
    agent = f"{shlex.quote(sys.executable)} -I -S {OWN}/guest.py"
    files = {"run/machine/guest.py": (REPOSITORY / "tests" / "devices" / "guest.py").read_text(),
             "run/machine/start": START.format(agent=agent),
             **{f"etc/udev/rules.d/{name}": text for name, text in rules.items()},
             **{f"etc/systemd/system/{name}": text for name, text in units.items()}}
    init = f"/bin/bash {OWN}/start"
    if systemd:
        files["etc/systemd/system/machine-agent.service"] = AGENT_UNIT.format(agent=agent)
        files["etc/systemd/system/machine.target"] = TARGET
        init = f"{SYSTEMD} --unit=machine.target --show-status=no"
    opened = "\n".join(f"$B chmod o+x {shlex.quote(f'/new{place}')}" for place in closed_folders())
    text = FIRST.format(folder=shlex.quote(str(folder)), shared=SHARED, modules=shlex.quote(str(kernel.modules)),
                        opened=opened, init=init)
    return kernel.archive.read_bytes() + archive(
        [Entry("init", text.encode(), 0o755), *(Entry(f"files/{name}", text.encode()) for name, text in files.items())])


def closed_folders() -> list[Path]:
    """Folders above Python and the repository that other users may not enter; in the guest they may.

    Where both lie in the home folder of root, nothing could give up its rights and go on.
    """
    ends = [Path(sys.executable), Path(sys.executable).resolve(), Path(sys.prefix), Path(sys.base_prefix), REPOSITORY]
    found = {place for end in ends for place in (end, *end.parents) if place.is_dir()}
    return sorted(place for place in found if not os.stat(place).st_mode & 0o001)
