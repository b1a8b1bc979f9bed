"""Media that cost nothing to make and much to read."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

from airbundle.crypto.suites import STANDARD
from airbundle.format.block import Kind, headers_of
from airbundle.format.geometry import Placement
from airbundle.media import volume as names
from airbundle.media.volume import Cache, VolumeReader
from airbundle.transfer import preambles
from airbundle.transfer.check import Expected
from airbundle.transfer.claims import claims_of
from tests.transfer.workshop import Packed, kill_blocks, with_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def test_files_that_claim_a_segment(small: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hard links cost nothing; only so many strange ones are read, and the right one always is."""
    kill_blocks(small.segment(0), 4096, [0, small.segment(0).stat().st_size // 4096 - 1])
    twin = small.volume / "twin"
    twin.write_bytes(small.segment(1).read_bytes()[:8192])
    for number in range(500):
        os.link(twin, small.volume / f"x{number}")
    for catalog in (names.CATALOG_NAME, names.CATALOG_COPY_NAME):
        content = (small.volume / catalog).read_bytes()
        (small.volume / catalog).write_bytes(content[:4096] + bytes(4096) + content[8192:])
    (small.volume / "y").write_bytes((small.volume / names.CATALOG_NAME).read_bytes()[:8192])
    for number in range(500):
        os.link(small.volume / "y", small.volume / f"y{number}")
    opened = []
    honest = VolumeReader.open

    def counting(self: VolumeReader, name: str, *, cache: Cache = Cache.USED) -> int:
        opened.append((name, cache is Cache.PASSED))
        return honest(self, name, cache=cache)

    monkeypatch.setattr(VolumeReader, "open", counting)
    report = small.report(11)
    assert report.damaged
    assert sum(direct for _, direct in opened) < 500


def test_headers_that_promise_large_blocks(small: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that says 1 MiB at each place where a last block may begin: nothing that large is read for it."""
    raw = bytearray(2 << 20)
    geometry = small.place(small.rows()[0]).geometry
    large = type(geometry)(suite=1, digest_size=32, k=1, m=2, stripes=1, block_size=1 << 20, bundle=geometry.bundle,
                           number=0, salt=geometry.salt, body=(1 << 20) - 128)
    header = b"\x89ABS\r\n\x1a\n" + bytes(48) + large.packed(Kind.DATA) + bytes(8)
    for power in range(9):
        at = len(raw) - (4096 << power)
        raw[at:at + 128] = header
    (small.volume / "x").write_bytes(raw)
    asked = []
    honest = names._peek

    def counting(fd: int, start: int, length: int) -> bytes:
        asked.append(length)
        return honest(fd, start, length)

    monkeypatch.setattr(names, "_peek", counting)
    with VolumeReader(str(small.volume)) as reader:
        assert claims_of(reader, "x")
    assert sum(asked) < 2 << 20


def test_preambles_that_are_not_the_one(small: Packed) -> None:
    """Any number of sound blocks for one place: they are not all kept in memory."""
    row = small.rows()[0]
    place = small.place(row)
    expected = Expected(STANDARD, place.geometry, bytes(32), place.preamble_length, bytes(32))
    header = headers_of(Placement(place.geometry, place.preamble_length))[0].tobytes()

    class Endless:
        reads = 0

        @contextlib.contextmanager
        def peeking(self, _name: str) -> Iterator[names.Peek]:
            yield self.peek

        def peek(self, _offset: int, length: int) -> bytes:
            self.reads += 1
            body = header + self.reads.to_bytes(8, "little")
            return with_digest(b"\x89ABS\r\n\x1a\n" + bytes(48) + body.ljust(length - 56, b"\0"))

    endless: Any = Endless()
    tracemalloc.start()
    try:
        assert preambles.search_preamble([(expected, endless, "")] * 1000) is None
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    assert endless.reads == 2000
