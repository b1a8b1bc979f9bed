"""What somebody put on a drive to be found: it costs its own bytes, and keeps nothing out."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.suites import suite_by_number
from airbundle.format import limits
from airbundle.format.block import MAGIC, Kind
from airbundle.format.geometry import Geometry
from airbundle.media.raw import RawSources
from airbundle.transfer import scan
from airbundle.transfer.progress import Meter
from tests.rescue.disk import lay, rescued
from tests.transfer.workshop import MIB, Packed, with_digest

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.transfer.scan import Sightings


def geometry(**fields: object) -> Geometry:
    usual: dict[str, object] = {"suite": 1, "digest_size": 32, "k": 3, "m": 2, "stripes": 1, "block_size": 4096,
                                "bundle": b"junk" * 4, "number": 0, "salt": b"salt" * 4, "body": 3 * 3968}
    return Geometry(**(usual | fields))  # type: ignore[arg-type]


def block(of: Geometry, *, kind: Kind = Kind.DATA, index: int = 0, length: int | None = None) -> bytes:
    """A block with its own digest."""
    tail = index.to_bytes(4, "little") + (of.payload_size if length is None else length).to_bytes(4, "little")
    return with_digest(MAGIC + bytes(48) + of.packed(kind) + tail + random.Random(index).randbytes(of.payload_size))


LARGEST = geometry(block_size=MIB, body=3 * (MIB - 128))


def looked_over(path: Path) -> Sightings:
    with RawSources([str(path)]) as sources:
        return scan.look_over(sources, Meter())


def test_a_header_in_every_sector_costs_its_sector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    real = suite_by_number

    class Counting:
        def __init__(self, number: int) -> None:
            self.suite = real(number)

        def new_hash(self, view: memoryview) -> object:
            hashed.append(len(view))
            return self.suite.new_hash(view)

    monkeypatch.setattr(scan, "suite_by_number", Counting)
    header = (MAGIC + bytes(48) + LARGEST.packed(Kind.DATA) + bytes(8)).ljust(512, b"x")
    (tmp_path / "image").write_bytes(header * (8 * MIB // 512))
    found = looked_over(tmp_path / "image")
    assert sum(hashed) <= 4 * 8 * MIB
    assert (found.sound, found.unsound) == (0, len(hashed)) == (0, 32)
    assert found.crowded == 7 * MIB // 512 + 1 - 32


def test_what_lies_in_a_sound_block_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airbundle.media import raw

    monkeypatch.setattr(raw, "WINDOW", 2 * MIB)
    small = block(geometry())
    outer = bytearray(block(LARGEST))
    outer[128 * 512:-4096] = (small * 300)[:len(outer) - 128 * 512 - 4096]
    (tmp_path / "image").write_bytes(bytes(MIB + 512) + with_digest(bytes(outer)) + small)  # over a window's end
    found = looked_over(tmp_path / "image")
    assert (found.sound, found.unsound, found.crowded, len(found.groups)) == (2, 0, 0, 2)


@pytest.mark.parametrize("ceiling", ["BLOCKS_SEEN_MAX", "RUNS_SEEN_MAX"])
def test_what_is_remembered_has_a_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ceiling: str) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"".join(block(geometry(), index=2 - n % 3) for n in range(20)))  # none joins its neighbour
    monkeypatch.setattr(limits, ceiling, 7)
    found = looked_over(image)
    assert (found.sound, len(found.runs), len(found.tags), found.crowded) == (7, 7, 7, 13)
    (tmp_path / "more").write_bytes(image.read_bytes()[:3 * 4096])
    with RawSources([str(tmp_path / "more"), str(image)]) as sources:
        found = scan.look_over(sources, Meter())
    assert (len(found.runs), found.crowded) == (7, 16)


def test_headers_that_claim_much_do_not_hide_a_bundle(small: Packed, tmp_path: Path) -> None:
    header = (MAGIC + bytes(48) + LARGEST.packed(Kind.DATA) + bytes(8)).ljust(512, b"x")
    (tmp_path / "junk").write_bytes(header * (2 * MIB // 512))
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    rescued(small, [tmp_path / "junk", image], tmp_path)
