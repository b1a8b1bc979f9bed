"""Images of sticks, made without mounting anything: FAT by mkfs.vfat and mtools, ext4 by mke2fs, exFAT by mkfs.exfat.

Nothing but a kernel or a FUSE driver writes into an exFAT: `Machine.fill` does so in the guest.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.devices.equipment import program

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
KINDS = ("vfat", "exfat", "ext4")
SECTOR = 512


def make_stick(image: Path, kind: str = "vfat", *, content: Path | None = None, label: str = "AIRSTICK",
               size: int = 32 * MIB, fat: int = 16) -> Path:
    """An image with a file system, and in it what the folder `content` holds; not for exFAT."""
    with open(image, "wb") as file:
        file.truncate(size)
    if kind == "vfat":
        _run("mkfs.vfat", "-F", fat, "-s", 8 if fat == 16 else 1, "-n", label, image)
        if content is not None and (names := sorted(content.iterdir())):
            _run("mcopy", "-s", "-Q", "-i", image, *names, "::/")
    elif kind == "ext4":
        _run("mke2fs", "-q", "-F", "-t", "ext4", "-b", 4096, "-L", label, "-E", "lazy_itable_init=0,nodiscard",
             *(["-d", content] if content is not None else []), image)
    else:
        assert kind == "exfat", kind
        assert content is None, "nothing here writes into an exFAT"
        _run("mkfs.exfat", "-c", "4K", "-L", label, image)
    return image


def sector_of(image: Path, piece: bytes) -> int:
    """The sector where `piece` begins; it has to be there exactly once, at the start of a sector."""
    data = image.read_bytes()
    place = data.find(piece)
    assert place >= 0, "there is no such piece"
    assert data.find(piece, place + 1) < 0, "there are several such pieces"
    assert place % SECTOR == 0, "the piece begins within a sector"
    return place // SECTOR


def _run(name: str, *words: object) -> None:
    subprocess.run([program(name), *map(str, words)], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   env={**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"})
