"""The source stream on its way back into files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airbundle.format.limits import CHUNK_MAX, KIB, MIB
from airbundle.format.names import SafePath
from airbundle.media import system
from airbundle.media.flow import StreamWriter
from airbundle.media.staging import StagingTree
from tests.transfer.workshop import noise

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SIZES = (5, 3 * MIB + 17, 100, 4 * KIB, 20 * MIB, 1)


def test_a_large_file_goes_past_the_page_cache_wherever_it_begins(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = 0
    honest = system.write_all

    def counting(fd: int, view: memoryview, offset: int) -> None:
        nonlocal direct
        direct += len(view) if system.is_direct(fd) else 0
        honest(fd, view, offset)

    paths = [SafePath.parse(f"file{number}") for number in range(len(SIZES))]
    starts = [sum(SIZES[:number]) for number in range(len(SIZES) + 1)]
    stream = noise(starts[-1])
    with StagingTree(str(tmp_path / "target")) as staging:
        monkeypatch.setattr(system, "write_all", counting)
        writer = StreamWriter(staging, paths.__getitem__, starts)
        writer.begin(0)
        at = 0
        while at < len(stream):
            length = min(CHUNK_MAX - 777, len(stream) - at)
            writer.room(length)[:] = stream[at:at + length]
            writer.advance(length)
            at += length
        writer.flush()
        staging.publish()
    for path, start, size in zip(paths, starts, SIZES, strict=False):
        assert (tmp_path / "target" / path).read_bytes() == stream[start:start + size]
    if system.features().direct:
        assert direct > 21 * MIB
