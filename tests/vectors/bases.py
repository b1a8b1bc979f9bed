"""The base bundles: most made by `pack` itself, with its randomness given; two by the packer who may lie."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec
import numpy as np

from airbundle import api
from airbundle.crypto.envelope import parse_preamble
from airbundle.crypto.locks import PassphraseLock, RecipientLock
from airbundle.crypto.passphrase import Passphrase
from airbundle.format.cost import PassphraseCost
from airbundle.format.preamble import SealedKey, write_preamble_bytes
from airbundle.format.statement import VolumeRow
from airbundle.media import volume as names
from airbundle.transfer import ending, finding, plan, rewrap
from airbundle.transfer.drives import Drives
from airbundle.transfer.ending import Declared
from airbundle.transfer.pack import pack
from airbundle.transfer.plan import Options
from airbundle.transfer.workspace import Pace
from tests.transfer.forge import Lies, forge
from tests.transfer.workshop import KIB, noise, write_tree
from tests.vectors.people import keys_of, person, trust_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airbundle.crypto.locks import Lock

WRITER = "airbundle test vectors"
NOW = 1_700_000_000
PASSPHRASE = "caf\u00e9 au lait, s'il vous pla\u00eet"
COST = PassphraseCost(memory_kib=64, iterations=1, lanes=1)
FILES = {"a": b"first " * 40, "b": b"second " * 50}
STRIPED = {"a": noise(17_000), "b": b"end"}
LONG = {"a": noise(24_000), "b": b"end"}
BASES = ("plain", "cnsa2", "stripes", "wide", "drive", "drives", "lose-two", "hollow", "passphrase", "rewrapped",
         "countersigned", "padded")


def stream(name: str) -> Callable[[int], bytes]:
    """Bytes that are drawn one after another, the same for the same name."""
    drawn = 0

    def draw(size: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(f"airbundle test randomness {name} {drawn}".encode()).digest(size)

    return draw


def source(place: Path) -> Path:
    floats = np.random.default_rng(7).normal(0, 0.02, 3000).astype("<f4")
    return write_tree(place, {
        "config.json": b'{"layers": 2, "width": 64}\n' * 40, "empty": b"", "noise.bin": noise(9 * KIB, 1),
        "sub/readme.txt": "Gr\u00fc\u00dfe\n".encode() * 50, "sub/weights.bin": floats.tobytes()}, ("hollow",))


def packed(name: str, place: Path, lock: Lock, *, drives: int = 1, lose: int | None = None, hollow: bool = False,
           pad: bool = False, **declared: Any) -> None:
    """A bundle by `pack`, on folders `1`, `2` and so on below `place`; nothing in it says where it was made."""
    targets = []
    for number in range(1, drives + 1):
        (place / str(number)).mkdir(parents=True)
        targets.append(str(place / str(number)))

    def rows(one: Drives, *, serials: bool) -> tuple[VolumeRow, ...]:
        return tuple(VolumeRow(number, f"STICK{number}", 8 << 30, None) for number in range(1, len(one) + 1))

    with mock.patch.object(Drives, "rows", rows), mock.patch.object(ending, "WRITER", WRITER), \
            mock.patch.object(plan, "free_space", return_value=1 << 40), \
            mock.patch.object(Pace, "buffers", return_value=1):  # one after another: randomness is drawn in order
        made = write_tree(place / "source", {"empty": b""}, ("hollow",)) if hollow else source(place / "source")
        pack(str(made), targets, identity=person("packer-standard"), lock=lock,
             declared=Declared(**declared), options=Options(segment_size=8 * KIB, pad=pad), lose=lose,
             pace=Pace(jobs=1), now=lambda: NOW, entropy=stream(name))
    shutil.rmtree(place / "source")


def to(*names: str) -> RecipientLock:
    return RecipientLock(tuple(person(name).public for name in names))


def forged(name: str, place: Path, lies: Lies, files: dict[str, bytes] | None = None) -> None:
    """A bundle by the packer who may lie, with the randomness of the base `name`."""
    (place / "1").mkdir(parents=True)
    made = forge(place / "1", keys_of("cnsa2" if name == "cnsa2" else "standard"), truthful(lies, files),
                 files or FILES, entropy=stream(name))
    made.volume.rename(place / "1" / names.volume_name("forged", stream(name)(16), 1, 1))


def twice(geometry: Any) -> Any:
    """More stripes than the blocks need, which B-2 lets a writer do."""
    stripes = min(2, geometry.data_blocks)
    k = -(-geometry.data_blocks // stripes)
    return dataclasses.replace(geometry, stripes=stripes, k=k, m=2)


def thrice(geometry: Any) -> Any:
    """Three stripes, of which the last has a column less."""
    stripes = min(3, geometry.data_blocks)
    return dataclasses.replace(geometry, stripes=stripes, k=-(-geometry.data_blocks // stripes), m=2)


def crowded(raw: bytes) -> bytes:
    """A preamble with three recipients more, for whom nobody has a key: it takes two blocks."""
    found, draw = parse_preamble(raw), stream("crowd")
    more = tuple(SealedKey(draw(32), draw(len(found.envelopes[0].sealed))) for _ in range(3))
    return write_preamble_bytes(dataclasses.replace(found, envelopes=found.envelopes + more))


def wide() -> Lies:
    """Two blocks a preamble; a catalog of so many blocks, most of them zeros, that its list takes two as well."""
    draw = stream("crowd")
    crowd = tuple((draw(32), draw(1168))[0].hex() for _ in range(3))
    return Lies(shape=thrice, preamble=crowded, body=lambda raw: raw + bytes(64 * 3968),
                manifest=lambda honest: msgspec.structs.replace(honest, recipients=honest.recipients + crowd))


def make_base(name: str, place: Path) -> None:
    """One of `BASES` below `place`."""
    match name:
        case "plain" | "cnsa2":
            forged(name, place, Lies())
        case "stripes":
            forged(name, place, Lies(shape=twice), STRIPED)
        case "wide":
            forged(name, place, wide(), LONG)
        case "drive":
            packed(name, place, to("reader-standard"), label="drive", marking="TEST", series="nightly", sequence=4,
                   meta=(("origin", "test"),))
        case "drives":
            packed(name, place, to("reader-standard"), drives=3, label="drives")
        case "lose-two":
            packed(name, place, to("reader-standard"), drives=4, lose=2, label="lose-two")
        case "hollow":
            packed(name, place, to("reader-standard"), hollow=True)
        case "padded":
            packed(name, place, to("reader-standard"), pad=True)
        case "passphrase":
            packed(name, place, PassphraseLock(Passphrase(PASSPHRASE), COST))
        case "rewrapped":
            packed(name, place, to("reader-standard", "second-standard"))
            (volume,) = (place / "1").iterdir()
            shutil.copytree(place / "1", place / "2")  # a copy that was made before
            with finding.open_volumes([str(volume)])[0] as reader, mock.patch.object(rewrap, "WRITER", WRITER):
                rewrap.rewrap((reader,), identity=person("packer-standard"), openers=[person("reader-standard")],
                              drop=[person("second-standard").public.key_id], entropy=stream(f"{name} again"))
        case "countersigned":
            packed(name, place, to("reader-standard"))
            (volume,) = (place / "1").iterdir()
            shutil.copytree(place / "1", place / "2")  # as it was before
            api.sign([str(volume)], sign=person("officer-standard"), trust=trust_of(["packer-standard"]))


def truthful(lies: Lies, files: dict[str, bytes] | None = None) -> Lies:
    """The lies, and no others: the SHA-256 of the files are those that they have."""
    known = {name: hashlib.sha256(content).hexdigest() for name, content in (files or FILES).items()}

    def manifest(honest: Any) -> Any:
        rows = tuple(msgspec.structs.replace(row, sha256=known.get(row.path, row.sha256)) for row in honest.files)
        return lies.manifest(msgspec.structs.replace(honest, files=rows))

    def statement(honest: Any) -> Any:
        return lies.statement(msgspec.structs.replace(honest, writer=WRITER))

    return dataclasses.replace(lies, manifest=manifest, statement=statement)
