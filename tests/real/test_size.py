"""Many files and large ones: the same bytes come back, and memory stays where it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.real.conftest import MIB, Bench, digests

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

FILES = 100_000
LARGE = 3 << 30
MEMORY_MOST = 800 * MIB


def carry(bench: Bench, source: Path) -> dict[str, int]:
    """Pack, verify and unpack by the command line; the peak memory of each in bytes."""
    pack = ("pack", str(source), "-o", "drive", "--sign", "desk.key", "--to", "station.pub", "--progress", "none")
    return {
        "pack": bench.run(*pack),
        "verify": bench.run("verify", "drive", "--trust", "desk.pub", "--progress", "none"),
        "unpack": bench.run("unpack", "drive", "-o", "back", "--key", "station.key", "--trust", "desk.pub",
                            "--progress", "none"),
    }


def check_memory(peaks: dict[str, int]) -> None:
    print({verb: f"{peak / MIB:.0f} MiB" for verb, peak in peaks.items()})
    assert max(peaks.values()) <= MEMORY_MOST, peaks


def test_a_hundred_thousand_files(bench: Bench) -> None:
    source = bench.place / "source"
    random = np.random.default_rng(1)
    lengths = random.integers(0, 400, FILES)
    for number, length in enumerate(lengths):
        if number % 1000 == 0:
            folder = source / f"part-{number // 1000:03d}"
            folder.mkdir(parents=True)
        (folder / f"{number:06d}.json").write_bytes(random.bytes(int(length)))
    peaks = carry(bench, source)
    assert digests(bench.place / "back") == digests(source)
    check_memory(peaks)


def test_a_file_of_three_gibibytes(bench: Bench) -> None:
    source = bench.place / "source"
    source.mkdir()
    random = np.random.default_rng(2)
    floats = random.standard_normal(16 * MIB, dtype=np.float32) * np.float32(0.02)
    piece = (floats.view(np.uint32) >> 16).astype("<u2")
    with (source / "weights.bin").open("wb") as file:
        for number in range(LARGE // (2 * len(piece))):
            file.write((piece ^ np.uint16(number)).tobytes())
    assert os.path.getsize(source / "weights.bin") == LARGE
    peaks = carry(bench, source)
    assert digests(bench.place / "back") == digests(source)
    check_memory(peaks)
