"""Drives with a real file system on which something happened; each volume comes back bit for bit, and unpacks."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.identities import generate
from airbundle.crypto.suites import CNSA2, STANDARD
from tests.rescue.disk import rescued, write_map
from tests.rescue.filesystems import KINDS, Whereabouts, format_image, make_image, require
from tests.transfer.workshop import KIB, MIB, Keys, Packed, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airbundle.transfer.rescued import RescueResult

SIZE, SIZE_IN_PIECES = 48 * MIB, 72 * MIB
SEEDS = 10
BUNDLES = {"small blocks": (STANDARD, 400 * KIB, 6 * MIB), "large blocks": (STANDARD, 4 * MIB, 15 * MIB),
           "cnsa2": (CNSA2, 4 * MIB, 15 * MIB)}
LEAD = {"small blocks": 4200 * KIB}
"""What lies on the drive before: a tenth of the drive is more than a group of many small segments may lose."""


@dataclass
class Scene:
    """One image to be damaged; `sources` are what rescue is given afterwards."""

    bundle: Packed
    kind: str
    image: Path
    place: Path
    rng: random.Random
    pieces: int = 0

    def look(self) -> Whereabouts:
        return Whereabouts(self.image, self.bundle.volume)


def front(scene: Scene) -> list[str]:
    """The first tenth is zeros."""
    with open(scene.image, "r+b") as image:
        image.write(bytes(SIZE // 10))
    return [str(scene.image)]


def wiped(scene: Scene) -> list[str]:
    """Nothing is left but the content of the files."""
    where = scene.look()
    where.wipe()
    return [str(where.write(scene.image))]


def formatted(scene: Scene) -> list[str]:
    """Made anew, as the same file system or another."""
    format_image(scene.image, scene.kind)
    if scene.rng.randrange(2):
        kinds = [kind for kind in KINDS if kind != scene.kind]
        format_image(scene.image, scene.rng.choice(kinds))
    return [str(scene.image)]


def garbage(scene: Scene) -> list[str]:
    """4 KiB of noise in as many blocks of each stripe as its parity gives back, and nobody says where."""
    where = scene.look()
    for row in scene.bundle.rows():
        place = scene.bundle.place(row)
        for stripe in range(row.stripes):
            data = list(range(stripe, place.geometry.data_blocks, row.stripes))
            parity = list(range(place.geometry.data_blocks
                                + (stripe - place.geometry.data_blocks) % row.stripes,
                                place.geometry.coded_blocks, row.stripes))
            for block in scene.rng.sample(data + parity, row.m):
                offset = scene.rng.randrange(row.block_size // 4096) * 4096
                at = where.at(f"{row.number:08d}.abs", (place.data_at + block) * row.block_size + offset)
                where.raw[at:at + 4096] = scene.rng.randbytes(4096)
    where.wipe()
    return [str(where.write(scene.image))]


def holes(scene: Scene) -> list[str]:
    """Known holes of 4 KiB: at each position as many as parity gives back, so of the blocks far more."""
    where = scene.look()
    known = set()
    for row in scene.bundle.rows():
        place = scene.bundle.place(row)
        for stripe in range(row.stripes):
            data = list(range(stripe, place.geometry.data_blocks, row.stripes))
            parity = list(range(place.geometry.data_blocks
                                + (stripe - place.geometry.data_blocks) % row.stripes,
                                place.geometry.coded_blocks, row.stripes))
            for offset in range(0, row.block_size, 4096):
                for block in scene.rng.sample(data + parity, row.m):
                    at = where.at(f"{row.number:08d}.abs", (place.data_at + block) * row.block_size + offset)
                    where.raw[at:at + 4096] = scene.rng.randbytes(4096)
                    known.add((at, at + 4096))
    where.write(scene.image)
    write_map(scene.place / "ddrescue.map", SIZE, known)
    return [f"{scene.image}:{scene.place / 'ddrescue.map'}"]


def fragments(scene: Scene) -> list[str]:
    """In pieces that cut blocks; and nothing leads from one to the next."""
    where = scene.look()
    scene.pieces = where.fragments()
    where.wipe()
    return [str(where.write(scene.image))]


def halves(scene: Scene) -> list[str]:
    """Two copies; of each stretch one of them has lost what was there."""
    copies = [bytearray(scene.image.read_bytes()) for _ in range(2)]
    at = 0
    while at < SIZE:
        length = scene.rng.randrange(1, 200) * 4096
        end = min(SIZE, at + length)
        scene.rng.choice(copies)[at:end] = scene.rng.randbytes(end - at)
        at = end
    images = [scene.place / "first", scene.place / "second"]
    for image, copy in zip(images, copies, strict=True):
        image.write_bytes(copy)
    return list(map(str, images))


BEFALLS: dict[str, Callable[[Scene], list[str]]] = {
    one.__name__: one for one in (front, wiped, formatted, garbage, holes, fragments, halves)}


@dataclass
class Shelf:
    place: Path
    keys: dict[str, Keys]
    made: dict[tuple[str, ...], Path]
    bundles: dict[str, Packed]

    def bundle(self, name: str) -> Packed:
        if name not in self.bundles:
            suite, segment_size, size = BUNDLES[name]
            place = self.place / name.replace(" ", "_")
            keys = self.keys.setdefault(suite.name, Keys(*(generate(suite) for _ in range(4))))
            tree = write_tree(place / "source", {"noise": noise(size, 3), "text": b"text " * 9999})
            self.bundles[name] = pack(keys, tree, place / "drive", segment_size=segment_size)
        return self.bundles[name]

    def scene(self, name: str, kind: str, how: str, place: Path, seed: int) -> Scene:
        """A fresh copy of an image, which is made once for each kind."""
        require(kind)
        bundle, pieces = self.bundle(name), how == "fragments"
        key = (name, kind, str(pieces), str(seed % 4 if pieces else 0))
        if key not in self.made:
            image = self.place / "-".join(key).replace(" ", "_")
            make_image(image, kind, bundle.volume, SIZE_IN_PIECES if pieces else SIZE, pieces=pieces, seed=seed % 4,
                       lead=LEAD.get(name, 0))
            self.made[key] = image
        place.mkdir()
        shutil.copy(self.made[key], place / "image")
        return Scene(bundle, kind, place / "image", place,
                     random.Random(f"{name} {kind} {how} {seed}"))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    place = tmp_path_factory.mktemp("shelf")
    yield Shelf(place, {}, {}, {})
    shutil.rmtree(place)


def comes_back(scene: Scene, how: str) -> RescueResult:
    result = rescued(scene.bundle, BEFALLS[how](scene), scene.place)
    assert how != "fragments" or scene.pieces > 20
    return result


@pytest.mark.parametrize("how", BEFALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_befalls_a_drive(shelf: Shelf, tmp_path: Path, kind: str, how: str) -> None:
    name = "small blocks" if how in {"wiped", "halves"} else "large blocks"
    comes_back(shelf.scene(name, kind, how, tmp_path / "scene", 0), how)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_campaign_of_rescue(shelf: Shelf, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    table: Counter[tuple[str, str]] = Counter()
    began = time.monotonic()
    missing = recovered = grouped = 0
    for seed in range(SEEDS):
        for how in BEFALLS:
            name = list(BUNDLES)[seed % len(BUNDLES)]
            place = tmp_path / f"{how}{seed}"
            result = comes_back(shelf.scene(name, kind, how, place, seed), how)
            for segment in result.bundles[0].segments:
                missing, recovered = missing + segment.missing, recovered + segment.recovered
                grouped += segment.from_group
            table[how, name] += 1
            shutil.rmtree(place)
    with capsys.disabled():
        print(f"\n{kind}: {missing} blocks missing, {recovered} recovered, {grouped} segments from their groups, "
              f"{time.monotonic() - began:.0f} s; came back:")
        for how in BEFALLS:
            print(f"  {how:12}" + "".join(f"{table[how, name]:>4} {name}" for name in BUNDLES))
    assert sum(table.values()) == SEEDS * len(BEFALLS)
