"""Work for each GiB that is packed, verified and unpacked, counted: a guard against slowing down that no noise fools.

`WORK` is what was counted when it was written down. A fifth more fails, and so does a fifth less: then write down the
new figure, so that the guard keeps its edge.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL, LARGE = 64, 128  # MiB; the difference of the two has no start in it
WORK = {"python": 435_000, "native": 303_000, "system calls": 8_200}
"""Calls of Python functions, of native ones, and of the system without futex, for one GiB there and back in segments
of 16 MiB."""
FAULTS_MAX = 8_000
"""Pages of 4 KiB touched for the first time for one GiB more: buffers are used again."""
SLACK = 0.2


def counted(folder: Path, size: int, *before: str, profiled: bool = False) -> dict[str, int]:
    folder.mkdir()
    try:
        done = subprocess.run(
            [*before, sys.executable, "-m", "tests.speed.counted", str(folder), str(size),
             *(["profiled"] if profiled else [])],
            cwd=ROOT, check=True, capture_output=True, text=True,
            env={**os.environ, "XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)})
    finally:
        shutil.rmtree(folder)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def growth(small: int, large: int, mebibytes: int = LARGE - SMALL) -> float:
    """For one GiB."""
    return (large - small) * 1024 / mebibytes


def require_near(name: str, found: float) -> None:
    assert found <= WORK[name] * (1 + SLACK), f"{name}: {found:,.0f} for each GiB, {WORK[name]:,} were written down"
    assert found >= WORK[name] * (1 - SLACK), f"{name}: only {found:,.0f} now: write that down"


def test_calls(tmp_path: Path) -> None:
    small, large = (counted(tmp_path / "w", size, profiled=True) for size in (SMALL, LARGE))
    for name in ("python", "native"):
        require_near(name, growth(small[name], large[name]))


def test_memory_is_used_again(tmp_path: Path) -> None:
    """From twice the size on: once more 2 MiB are taken at some time, or not.

    Now and then the system has no large page to give, and gives small ones; then it is asked again.
    """
    for _ in range(3):
        small, large = (counted(tmp_path / "w", size)["faults"] for size in (LARGE, 2 * LARGE))
        if growth(small, large, LARGE) <= FAULTS_MAX:
            return
    pytest.fail(f"{growth(small, large, LARGE):,.0f} pages for each GiB, three times")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_system_calls(tmp_path: Path) -> None:
    totals = []
    for size in (SMALL, LARGE):
        counted(tmp_path / "w", size, "strace", "-f", "-c", "-o", str(tmp_path / "calls"))
        rows = re.findall(r"^ *[0-9.]+ +[0-9.]+ +[0-9]+ +([0-9]+) +(?:[0-9]+ +)?(\w+)$",
                          (tmp_path / "calls").read_text(), re.MULTILINE)
        totals.append(sum(int(calls) for calls, name in rows if name not in {"futex", "total", "sched_yield"}))
    require_near("system calls", growth(*totals))
