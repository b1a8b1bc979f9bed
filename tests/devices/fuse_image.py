"""Drives that are sick, lie about their size or are pulled: an image behind FUSE, under a loop device, with ext4 on it.

`python -m tests.devices.fuse_image IMAGE FOLDER` serves one file, `disk.img`, with the faults that are asked for. It is
a process of its own, so that a test can kill it: the loop device over that file is then a drive that was pulled.
Needs the library mfusepy, and the right to mount. What is read and written reaches the image each time: direct I/O.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import mfusepy
except (ImportError, OSError):  # without the library, or without libfuse: `missing` says so
    mfusepy = None

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "disk.img"
SECTOR = 512
READY = b"ready\n"
# All that the file system writes for itself lies in front, as on FAT: what wraps around hits that, and then files.
FORMAT = ("mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^has_journal,^resize_inode", "-N", "1024", "-E",
          "packed_meta_blocks=1,lazy_itable_init=0,nodiscard")


class SickImage(mfusepy.Operations if mfusepy else object):  # type: ignore[misc]
    """`bad` are ranges of bytes that give `number` when they are read; of what it tells, `real` bytes are kept."""

    use_ns = True

    def __init__(self, image: str, bad: Sequence[tuple[int, int]], number: int, real: int, beyond: str,
                 wrap_to: int = 0) -> None:
        self.fd = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.fd).st_size
        self.bad, self.number, self.real, self.beyond = bad, number, real or self.size, beyond
        self.wrap_to = wrap_to

    def init(self, path: str) -> None:
        os.write(1, READY)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path == f"/{NAME}":
            return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": self.size}
        raise mfusepy.FuseOSError(errno.ENOENT)

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", NAME]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        if any(offset < end and offset + size > start for start, end in self.bad):
            raise mfusepy.FuseOSError(self.number)
        return b"".join(bytes(length) if at < 0 else os.pread(self.fd, length, at)
                        for at, _, length in self._places(offset, min(size, self.size - offset)))

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        for at, done, length in self._places(offset, len(data)):
            if at >= 0:
                os.pwrite(self.fd, data[done:done + length], at)
        return len(data)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        return 0

    def _places(self, offset: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Where a stretch really lies: place in the image, or -1 for nowhere; how much came before it; its length."""
        done = 0
        while done < size:
            here = offset + done
            at = here if here < self.real else self.wrap_to + (here - self.real) % (self.real - self.wrap_to)
            length = min(size - done, self.real - at)
            yield (at if here < self.real or self.beyond == "wrap" else -1), done, length
            done += length


@dataclass
class SickDrive:
    """A mounted drive: its `device`, the `folder` where it is mounted, and the process that gives its bytes."""

    device: str
    folder: Path
    server: subprocess.Popen[bytes]

    def pull(self) -> None:
        """From now on every read and write of the device fails."""
        self.server.kill()
        self.server.wait()


def make_image(path: Path, size: int) -> Path:
    """An image of `size` bytes with an empty ext4."""
    path.touch()
    os.truncate(path, size)
    subprocess.run([*FORMAT, path], check=True)
    return path


@contextlib.contextmanager
def mounted(image: Path, folder: Path, *, read_only: bool = False) -> Iterator[str]:
    """The file system of an image, mounted at `folder` over a loop device, which is given."""
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        device = subprocess.run(["losetup", "--find", "--show", *(["--read-only"] if read_only else []), image],
                                check=True, capture_output=True, text=True).stdout.strip()
        stack.callback(_run, "losetup", "--detach", device)
        if not read_only:  # what somebody set before with --setro outlives the last image
            _run("blockdev", "--setrw", device)
        _run("mount", "-o", "ro" if read_only else "rw", device, folder)
        stack.callback(_run, "umount", "-l", folder)
        yield device


@contextlib.contextmanager
def sick_drive(image: Path, place: Path, *faults: str, read_only: bool = False) -> Iterator[SickDrive]:
    """The image as a drive with `faults`, the options of this program, mounted below the folder `place`."""
    served = place / "served"
    served.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        server = subprocess.Popen([sys.executable, "-m", "tests.devices.fuse_image", image, served, *faults],
                                  stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        stack.callback(_run, "umount", "-l", served)
        stack.callback(server.wait)
        stack.callback(server.kill)
        assert server.stdout is not None
        stack.callback(server.stdout.close)
        assert server.stdout.readline() == READY
        folder = place / "drive"
        device = stack.enter_context(mounted(served / NAME, folder, read_only=read_only))
        yield SickDrive(device, folder, server)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def missing() -> str:
    """Why none of this works here, or nothing."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
        return "needs root, /dev/fuse and loop devices"
    tools = [tool for tool in ("losetup", "mkfs.ext4", "fusermount3") if shutil.which(tool) is None]
    return f"needs {', '.join(tools)}" if tools else "" if mfusepy else "needs mfusepy and libfuse"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("folder")
    parser.add_argument("--bad", action="append", default=[], help="sectors FIRST-END that cannot be read; END can")
    parser.add_argument("--errno", default="EIO")
    parser.add_argument("--real", type=int, default=0, help="bytes that are really there")
    parser.add_argument("--beyond", choices=["wrap", "drop"], default="wrap", help="what happens to the others")
    parser.add_argument("--wrap-to", type=int, default=0, help="where the first byte beyond goes")
    given = parser.parse_args()
    bad = [(int(first) * SECTOR, int(end) * SECTOR) for first, end in (part.split("-") for part in given.bad)]
    mfusepy.FUSE(SickImage(given.image, bad, getattr(errno, given.errno), given.real, given.beyond, given.wrap_to),
                 given.folder, foreground=True, direct_io=True, nothreads=True)


if __name__ == "__main__":
    main()
