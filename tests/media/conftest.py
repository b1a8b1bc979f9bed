from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from airbundle.media import system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["detected", "portable"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Runs a test with the calls of this system, and with the portable twins."""
    chosen = system.Features.detected() if request.param == "detected" else system.Features.portable()
    if request.param == "portable":
        monkeypatch.setattr(system, "NOFOLLOW", 0)
    with system.use(chosen):
        yield request.param


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB; skipped where nothing may be mounted."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tiny", place], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with room for many names."""
    place = tmp_path / "roomy"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=200000", "roomy", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that `os.open` was called with."""
    paths: list[str] = []
    real = os.open

    def counting(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        paths.append(os.fspath(path))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", counting)
    return paths
