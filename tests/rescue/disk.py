"""Drives without a file system: files laid onto an image by hand, and what a rescue has to make of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airbundle import api
from airbundle.crypto.trust import TrustSet
from tests.transfer.workshop import MIB, Packed, digests

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from airbundle.transfer.rescued import RescuedBundle, RescueResult

SECTOR = 512


@dataclass
class Drive:
    """An image; `spots` says by path where the pieces of a file lie: offset in the file, place on the image, length."""

    path: Path
    spots: dict[Path, list[tuple[int, int, int]]] = field(default_factory=dict)

    def at(self, file: Path, offset: int) -> int:
        """Where byte `offset` of a file lies."""
        for first, place, length in self.spots[file]:
            if first <= offset < first + length:
                return place + offset - first
        raise AssertionError(offset)

    def write(self, place: int, content: bytes) -> None:
        with open(self.path, "r+b") as image:
            image.seek(place)
            image.write(content)

    def copy(self, path: Path) -> Drive:
        path.write_bytes(self.path.read_bytes())
        return Drive(path, self.spots)


def lay(path: Path, files: Iterable[Path], *, seed: int = 0, piece: int = MIB << 10, front: int = 7 * SECTOR) -> Drive:
    """Files on an image, in pieces of `piece` bytes that lie in any order, with other bytes before and between them."""
    rng, drive = random.Random(seed), Drive(path)
    parts = [(file, at) for file in sorted(files)
             for at in range(0, file.stat().st_size, piece)]
    if piece < MIB << 10:
        rng.shuffle(parts)
    with open(path, "wb") as image:
        image.write(rng.randbytes(front))
        for file, at in parts:
            with open(file, "rb") as content:
                content.seek(at)
                raw = content.read(min(piece, file.stat().st_size))
            drive.spots.setdefault(file, []).append((at, image.tell(), len(raw)))
            image.write(raw)
            image.write(rng.randbytes(-len(raw) % SECTOR + SECTOR * rng.randrange(3)))
    return drive


def write_map(path: Path, size: int, holes: Iterable[tuple[int, int]]) -> None:
    """The map file of ddrescue for an image of `size` bytes with holes (start, end)."""
    lines, at = ["# Mapfile. Created by GNU ddrescue version 1.27", "# current_pos  current_status  current_pass",
                 f"0x{size:08X}     +               1", "#      pos        size  status"], 0
    for start, end in sorted(holes):
        if at < start:
            lines.append(f"0x{at:08X}  0x{start - at:08X}  +")
        lines.append(f"0x{start:08X}  0x{end - start:08X}  -")
        at = end
    if at < size:
        lines.append(f"0x{at:08X}  0x{size - at:08X}  +")
    path.write_text("\n".join(lines) + "\n")


def rescued(bundle: Packed, sources: Iterable[Path | str], place: Path, *, trust: TrustSet | None = None,
            wanted: str = "") -> RescueResult:
    """Rescue; every file of the volume has to be as it was packed, and to unpack."""
    out = place / "rescued"
    out.mkdir(parents=True)
    trust = bundle.keys.trust if trust is None else trust
    result = api.rescue([str(source) for source in sources], str(out), trust=trust, bundle=wanted)
    same(bundle, out)
    api.unpack([str(out)], str(place / "back"), keys=[bundle.keys.reader], trust=bundle.keys.trust,
               bundle=bundle.statement().bundle)
    assert digests(place / "back") == digests(bundle.source)
    return result


def same(bundle: Packed, out: Path) -> None:
    assert digests(out / bundle.volume.name) == digests(bundle.volume)


def only(result: RescueResult) -> RescuedBundle:
    (one,) = result.bundles
    return one
