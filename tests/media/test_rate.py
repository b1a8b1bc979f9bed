"""A drive that takes much less than it did is told of at once, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.format.limits import MIB
from airbundle.media import system
from airbundle.media.rate import WriteRate
from airbundle.media.writing import VolumeWriter

if TYPE_CHECKING:
    from pathlib import Path


def fed(*speeds: float, size: int = 16 * MIB) -> list[str]:
    """What is told after files of `size` bytes at so many bytes a second."""
    rate = WriteRate()
    return [rate.judge(size, size / speed, finished=True) for speed in speeds]


FAST = [30 * MIB] * 8


def test_a_collapse_is_told_once_and_with_figures() -> None:
    told = fed(*FAST, *[2 * MIB] * 8)
    assert [bool(text) for text in told] == [False] * 9 + [True] + [False] * 6
    assert told[9] == ("this drive has taken 2.1 MB/s for 16 seconds, and took 31.5 before: "
                       "it is hot, its cache is full, or it is failing")


@pytest.mark.parametrize("speeds", [
    [*FAST, *[7 * MIB] * 30],                                  # a stick whose cache is full
    [*FAST, 2 * MIB, 30 * MIB, 2 * MIB, 30 * MIB, 2 * MIB],    # pauses, each shorter than that
    [2 * MIB] * 30,                                            # slow from the start: that is how it is
    [30 * MIB] * 3 + [MIB] * 2,                                # too little is known of it
])
def test_what_is_no_collapse(speeds: list[float]) -> None:
    assert not any(fed(*speeds))


def test_small_files_say_nothing() -> None:
    assert not any(fed(*FAST, *[1000] * 30, size=100_000))


class Clock:
    """Time passes with each piece that is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.seconds, self.sync = 0.0, 0.1, 0.0
        write, sync = system.write_all, system.sync_file

        def slow_write(fd: int, view: memoryview, offset: int) -> None:
            self.now += self.seconds
            write(fd, view, offset)

        def slow_sync(fd: int) -> None:
            self.now += self.sync
            sync(fd)

        monkeypatch.setattr(system, "write_all", slow_write)
        monkeypatch.setattr(system, "sync_file", slow_sync)

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("where", ["write", "sync"])
def test_a_writer_tells_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    clock = Clock(monkeypatch)
    told: list[tuple[str, float]] = []
    with VolumeWriter(str(tmp_path / "v"), bundle_id=bytes(16), clock=clock,
                      tell=lambda text: told.append((text, clock.now))) as volume, \
            memoryview(system.huge_buffer(5 * system.CALL)) as view:
        for number in range(6):
            volume.write(f"{number:08d}.abs", [view], suffix="0a")
        assert not told
        began = clock.now
        clock.seconds, clock.sync = (6.0, 0.1) if where == "write" else (0.1, 30.0)
        volume.write("00000006.abs", [view], suffix="0a")
    assert len(told) == 1
    assert told[0][0].startswith(f"{volume.path}")
    assert "this drive has taken" in told[0][0]
    assert told[0][1] - began == pytest.approx(12.0 if where == "write" else 30.5)
