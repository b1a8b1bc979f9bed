"""A medium of so many bytes a second: a loop device over a file in memory, held back by the kernel (blkio, cgroup v1).

The kernel does the waiting, so the medium takes no processor time from whoever writes to it, as a FUSE server would.
Reading is held to the same rate. Needs root, loop devices, ext4 and the `blkio` controller with this machine's root
group in it: page cache is written back in the name of that group.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BLKIO = "/sys/fs/cgroup/blkio"
LIMITS = ("blkio.throttle.write_bps_device", "blkio.throttle.read_bps_device")
MEMORY = "/dev/shm"
FORMAT = ("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard")


def why_not() -> str:
    """What is missing here for a slow medium, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if not all(os.path.exists(os.path.join(BLKIO, limit)) for limit in LIMITS):
        return "needs the blkio controller of cgroup v1, with limits for the root group"
    if not os.path.exists("/dev/loop-control") or not os.path.isdir(MEMORY):
        return "needs loop devices and a file system in memory"
    tools = [tool for tool in ("losetup", "mkfs.ext4", "mount", "umount") if _program(tool) is None]
    return f"needs {', '.join(tools)}" if tools else ""


@contextlib.contextmanager
def slow_medium(folder: str, size: int, bytes_per_second: int) -> Iterator[None]:
    """`folder`, which is empty, is on such a medium of `size` bytes until the context ends."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="airbundle-bench-", dir=MEMORY))
        image = os.path.join(place, "medium.img")
        with open(image, "wb") as file:
            file.truncate(size)
        device = _run("losetup", "--find", "--show", image)
        stack.callback(_run, "losetup", "--detach", device)
        _run(*FORMAT, device)
        _run("mount", device, folder)
        stack.callback(_run, "umount", folder)
        with open(f"/sys/block/{os.path.basename(device)}/dev", encoding="ascii") as file:
            number = file.read().strip()
        for limit in LIMITS:
            stack.callback(_hold, limit, number, 0)
            _hold(limit, number, bytes_per_second)
        yield


def _hold(limit: str, number: str, bytes_per_second: int) -> None:
    with open(os.path.join(BLKIO, limit), "w", encoding="ascii") as file:
        file.write(f"{number} {bytes_per_second}\n")


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _run(*command: str) -> str:
    done = subprocess.run([_program(command[0]) or command[0], *command[1:]], check=True, capture_output=True,
                          text=True)
    return done.stdout.strip()
