"""Images with real file systems, made without mounting where that can be, and what befalls them.

vfat by mkfs.vfat and mtools, ext4 by mke2fs and debugfs, exfat by mkfs.exfat and its FUSE driver, which needs root.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.transfer.workshop import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = ("vfat", "exfat", "ext4")
TOOLS = {"vfat": ("mkfs.vfat", "mcopy", "mdel"), "exfat": ("mkfs.exfat", "mount.exfat-fuse"),
         "ext4": ("mke2fs", "debugfs")}
SECTOR = 512
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def run(*words: object, given: str = "") -> None:
    done = subprocess.run([str(word) for word in words], input=given, text=True, capture_output=True, check=False,
                          env={**os.environ, "PATH": PATH, "MTOOLS_SKIP_CHECK": "1"})
    assert done.returncode == 0, (words, done.stdout[-2000:] + done.stderr[-2000:])


def tool(name: str) -> str:
    """Where a program is, also where the path of an ordinary user does not lead; the test is skipped without it."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def require(kind: str) -> None:
    for name in TOOLS[kind]:
        tool(name)
    if kind == "exfat" and (os.geteuid() != 0 or not os.path.exists("/dev/fuse")):
        pytest.skip("exfat is mounted by FUSE, which needs root and /dev/fuse")


def format_image(image: Path, kind: str) -> None:
    """mkfs, over whatever is there; ext4 as the kernel likes it, which leaves journal and inodes to be cleared later.

    Cleared at once, the journal of 4 MiB takes more of a drive this small than a group may lose.
    """
    words: dict[str, tuple[object, ...]] = {
        "vfat": ("mkfs.vfat", "-F", 16, "-s", 8, "-r", 1024, image), "exfat": ("mkfs.exfat", "-c", "4K", image),
        "ext4": ("mke2fs", "-q", "-F", "-t", "ext4", "-b", 4096, "-E",
                 "nodiscard,lazy_itable_init=1,lazy_journal_init=1", image)}
    run(*words[kind])


def make_image(image: Path, kind: str, volume: Path, size: int, *, pieces: bool, seed: int = 0,
               lead: int = 0) -> None:
    """`lead` bytes of something else, and one volume; with `pieces` in gaps that others left, or written in turns."""
    with open(image, "wb") as file:
        file.truncate(size)
    format_image(image, kind)
    fillers = image.parent / "fillers"
    shutil.rmtree(fillers, ignore_errors=True)
    fillers.mkdir()
    rng = random.Random(seed)
    (fillers / "a_lead").write_bytes(rng.randbytes(lead))
    left, count = size if pieces and kind != "exfat" else 0, 0
    while left > 0:
        length = rng.randrange(33, 80) * 4 * KIB
        (fillers / f"f{count:04d}").write_bytes(rng.randbytes(16) * (length // 16))
        left, count = left - length, count + 1
    {"vfat": _vfat, "ext4": _ext4, "exfat": _exfat}[kind](image, volume, fillers, pieces)
    shutil.rmtree(fillers)


def _vfat(image: Path, volume: Path, fillers: Path, _pieces: bool) -> None:
    names = sorted(os.listdir(fillers))
    subprocess.run([tool("mcopy"), "-i", image, *(fillers / name for name in names), "::/"], check=False,
                   capture_output=True, env={**os.environ, "MTOOLS_SKIP_CHECK": "1"})  # until it is full
    if len(names) > 1:
        there = subprocess.run(["mdir", "-b", "-i", image, "::/"], check=True, capture_output=True, text=True).stdout
        run("mdel", "-i", image, *[f"::/{name}" for name in names if f"::/{name}" in there.split()][1::2])
    run("mmd", "-i", image, f"::/{volume.name}")
    run("mcopy", "-i", image, *sorted(volume.iterdir()), f"::/{volume.name}/")


def _ext4(image: Path, volume: Path, fillers: Path, _pieces: bool) -> None:
    names = sorted(os.listdir(fillers))
    lines = [f"write {fillers / name} {name}" for name in names] + [f"rm {name}" for name in names[1::2]]
    lines += [f"mkdir {volume.name}", f"cd {volume.name}"]
    lines += [f"write {file} {file.name}" for file in sorted(volume.iterdir())]
    run("debugfs", "-w", "-f", "-", image, given="\n".join(lines) + "\n")


def _exfat(image: Path, volume: Path, fillers: Path, pieces: bool) -> None:
    with mounted_exfat(image) as place, contextlib.ExitStack() as stack:
        (place / "a_lead").write_bytes((fillers / "a_lead").read_bytes())
        folder = place / volume.name
        folder.mkdir()
        files = [(stack.enter_context(open(file, "rb")), stack.enter_context(open(folder / file.name, "wb")))
                 for file in sorted(volume.iterdir())]
        length = 37 * 4 * KIB if pieces else 64 * MIB
        while files:  # in turns
            for pair in list(files):
                part = pair[0].read(length)
                pair[1].write(part)
                pair[1].flush()
                if not part:
                    files.remove(pair)


@contextlib.contextmanager
def mounted_exfat(image: Path) -> Iterator[Path]:
    place = image.parent / "mounted"
    place.mkdir(exist_ok=True)
    tried = subprocess.run([tool("losetup"), "-f", "--show", image], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"losetup: {tried.stderr.strip()}")
    loop = tried.stdout.strip()
    subprocess.run([tool("blockdev"), "--setrw", loop], check=True)  # it may have been set for who was there before
    driver = subprocess.Popen([tool("mount.exfat-fuse"), "-d", loop, place], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, env={**os.environ, "PATH": PATH})
    try:
        while not os.path.ismount(place):
            assert driver.poll() is None, "mount.exfat-fuse"
            time.sleep(0.01)
        yield place
    finally:
        if os.path.ismount(place):
            subprocess.run(["umount", place], check=True)
        driver.wait()  # it writes what it holds
        subprocess.run([tool("losetup"), "-d", loop], check=True)


class Whereabouts:
    """Where the sectors of a volume's files lie on an image, found by their content."""

    def __init__(self, image: Path, volume: Path) -> None:
        self.raw = bytearray(image.read_bytes())
        places: dict[bytes, set[int]] = {}
        for at in range(0, len(self.raw), SECTOR):
            places.setdefault(bytes(self.raw[at:at + SECTOR]), set()).add(at)
        self.files: dict[str, list[int]] = {}
        self.used: set[int] = set()
        for file in sorted((*volume.glob("*.abs"), *volume.glob("*.rec"))):
            content = file.read_bytes()
            found = self.files[file.name] = []
            for at in range(0, len(content), SECTOR):
                here = places[content[at:at + SECTOR]]  # several where copies are equal
                found.append(found[-1] + SECTOR if found and found[-1] + SECTOR in here else min(here))
                if any(content[at:at + SECTOR]):
                    self.used |= here

        content = (volume / "statement.json").read_bytes()
        self.files["statement.json"] = [min(places[content[at:at + SECTOR]])
                                        for at in range(0, len(content) - SECTOR, SECTOR)]
        self.used |= {at + more for at in self.files["statement.json"] for more in (0, SECTOR)}  # and its tail

    def fragments(self) -> int:
        """In how many pieces the segments lie."""
        return sum(1 + sum(after != before + SECTOR for before, after in itertools.pairwise(found))
                   for name, found in self.files.items() if name.startswith("0"))

    def at(self, name: str, offset: int) -> int:
        return self.files[name][offset // SECTOR]

    def wipe(self) -> None:
        """Every sector that is not of a file's content: directories, tables, inodes, journals."""
        for at in range(0, len(self.raw), SECTOR):
            if at not in self.used:
                self.raw[at:at + SECTOR] = bytes(SECTOR)

    def write(self, image: Path) -> Path:
        image.write_bytes(self.raw)
        return image
