"""One byte flipped anywhere: 11, unpacks as it is, and repair gives every byte back."""

from __future__ import annotations

import base64
import itertools
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from airbundle.format.dsse import parse_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from tests.transfer.workshop import Packed, both_suites, digests, flip

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory

NAMES = ("00000000.abs", "00000001.abs", "catalog.abs", "catalog-copy.abs")
FIELDS = {"magic": (0, 8), "digest": (8, 40), "zeros behind the digest": (40, 56), "version": (56, 58),
          "suite": (58, 59), "kind": (59, 60), "k": (60, 61), "m": (61, 62), "zero": (62, 64), "T": (64, 68),
          "B": (68, 72), "bundle": (72, 88), "number": (88, 96), "salt": (96, 112), "body": (112, 120),
          "index": (120, 124), "payload length": (124, 128), "payload": (128, 4096)}


def flipped(bundle: Packed, path: Path, at: int, mask: int, target: Path, before: dict[str, str], *,
            unpack: bool = True) -> None:
    """Flip, look, repair; the bundle is whole again afterwards."""
    flip(path, at, mask)
    what = f"{path.name} at {at} ^ {mask:#x}"
    report = bundle.report(11)
    assert report.altered == 0, what
    assert any(finding.file == path.name for finding in report.findings), what
    if unpack:
        bundle.unpack(target)
        assert digests(target) == digests(bundle.source), what
        shutil.rmtree(target)
    bundle.repair()
    assert digests(bundle.volume) == before, what


def blocks_of(bundle: Packed, path: Path) -> dict[str, int]:
    """One block of each kind and copy by its place in the file."""
    row = bundle.statement().catalog if path.name.startswith("catalog") else bundle.rows()[int(path.stem)]
    place = bundle.place(row)
    return {"first preamble": 0, "first list": place.lists_at[0], "data": place.data_at + 1,
            "parity": place.parity_at + 1, "second list": place.lists_at[1], "last preamble": place.block_count - 1}


@both_suites
@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_every_kind_of_block(small: Packed, tmp_path: Path, name: str) -> None:
    """Each field of each kind in both suites, in every second file by turns; what all bytes give is a campaign."""
    before, random_ = digests(small.volume), random.Random(name)
    turn = small.keys.packer.suite.number + NAMES.index(name)
    path = small.volume / name
    blocks = enumerate(blocks_of(small, path).values())
    for (one, block), (field, (start, end)) in itertools.product(blocks, enumerate(FIELDS.values())):
        if (one + field + turn) % 2:
            continue
        at, unpack = block * 4096 + random_.randrange(start, end), (field + turn) % 6 == one
        flipped(small, path, at, random_.randrange(1, 256), tmp_path / "back", before, unpack=unpack)


def test_each_number_that_a_first_header_may_claim(small: Packed, tmp_path: Path) -> None:
    """The number of another segment, of the catalog, of none: the file still is what the rest of it says."""
    before = digests(small.volume)
    for name in NAMES:
        for mask in range(1, 8):
            flipped(small, small.volume / name, 88, mask, tmp_path / "back", before)


@both_suites
def test_statement_in_all_its_regions(small: Packed, tmp_path: Path) -> None:
    before, random_ = digests(small.volume), random.Random(5)
    path = small.volume / names.STATEMENT_NAME
    raw = path.read_bytes()
    words = (b'"payload"', b'"payloadType"', b'"signatures"', b'"keyid"', b'"sig"')
    borders = [0, *sorted(raw.index(word) for word in words), len(raw)]
    places = {random_.randrange(*pair) for pair in itertools.pairwise(borders) for _ in range(25)}
    for at in sorted({0, len(raw) - 1, *places}):
        flipped(small, path, at, 1 << random_.randrange(8), tmp_path / "back", before, unpack=at % 7 == 0)


def test_a_statement_that_claims_another_bundle(small: Packed, tmp_path: Path) -> None:
    """Flips that leave a well-formed statement, with another id, packer, label or time."""
    before = digests(small.volume)
    path = small.volume / names.STATEMENT_NAME
    raw = path.read_bytes()
    payload = bytearray(parse_envelope(raw, STATEMENT_TYPE).payload)
    for word in (b'"bundle":"', b'"packer":"', b'"created":', b'"label":"', b'"hash":"'):
        changed = bytearray(payload)
        at = changed.index(word) + len(word)
        changed[at] = changed[at] ^ 1 if changed[at:at + 1].isdigit() else ord("c" if changed[at] == ord("b") else "b")
        damaged = raw.replace(base64.b64encode(payload), base64.b64encode(changed))
        assert damaged != raw
        path.write_bytes(damaged)
        assert small.report(11).findings[0].file == path.name, word
        small.unpack(tmp_path / "back")
        shutil.rmtree(tmp_path / "back")
        small.repair()
        assert digests(small.volume) == before, word


@both_suites
def test_record_in_all_its_regions(small: Packed, tmp_path: Path) -> None:
    before, random_ = digests(small.volume), random.Random(6)
    copy, frame, width = 131072, 97983 + 56, 513
    assert frame < 191 * width + 60
    regions = [(0, 8), (8, 40), (40, 56), (56, 60), (60, 64), (64, 5000), (20_000, 191 * width),
               (191 * width, 255 * width), (255 * width, copy)]
    for start in (0, copy, 2 * copy):
        for first, last in regions:
            at = start + random_.randrange(first, last)
            flipped(small, small.volume / names.RECORD_NAME, at, random_.randrange(1, 256), tmp_path / "back", before,
                    unpack=start == 0)


def test_anywhere(small: Packed, striped: Packed, tmp_path: Path) -> None:
    random_ = random.Random(7)
    for bundle in (small, striped):
        before, files = digests(bundle.volume), bundle.image()
        for number in range(60):
            path = files[random_.randrange(len(files))]
            at = random_.randrange(path.stat().st_size)
            flipped(bundle, path, at, random_.randrange(1, 256), tmp_path / "back", before, unpack=number % 5 == 0)


def test_a_note_for_people_means_nothing(small: Packed) -> None:
    flip(small.volume / names.README_NAME, 5)
    small.verify()


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_every_byte_at_stride(small: Packed, tmp_path: Path) -> None:
    """Every byte of statement and headers, every 61st of the rest."""
    before, random_ = digests(small.volume), random.Random(8)
    for path in small.image():
        dense = path.name == names.STATEMENT_NAME
        for at in range(path.stat().st_size):
            if dense or (path.suffix == ".abs" and at % 4096 < 128) or at % 61 == 0:
                flipped(small, path, at, random_.randrange(1, 256), tmp_path / "back", before, unpack=at % 100 == 0)
