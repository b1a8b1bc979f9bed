"""A drive that fills up, or becomes read-only, while a pack is running; the same command with another one goes on."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.errors import MediumError
from airbundle.transfer.plan import Options
from tests.transfer.workshop import KIB, MIB, PACE, Keys, digests, noise, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airbundle.transfer.progress import Tick


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "small", place], check=False,
                             capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def make_read_only(place: Path) -> None:
    """At the first moment at which no file is open for writing: until then mount answers that the place is busy."""
    for _attempt in range(1000):
        asked = subprocess.run(["mount", "-o", "remount,ro", place], check=False, capture_output=True)
        if asked.returncode == 0:
            return
        assert b"busy" in asked.stderr
    raise AssertionError(place)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_drive_stops_taking_bytes_and_another_takes_its_place(
        keys: Keys, small: Path, tmp_path: Path, how: str) -> None:
    source = write_tree(tmp_path / "source", {"one": noise(12 * MIB, 1), "two": noise(3 * MIB, 2)})
    drives = [tmp_path / "a", small, tmp_path / "c", tmp_path / "d"]
    for drive in drives:
        drive.mkdir(exist_ok=True)
    struck = False

    def strike(tick: Tick) -> None:
        nonlocal struck
        if tick.phase == "packing" and tick.done > 5 * MIB and not struck:
            struck = True
            if how == "full":
                with open(small / "somebody else's", "wb", buffering=0) as file:
                    try:
                        while file.write(bytes(MIB)):
                            pass
                    except OSError:
                        pass
            else:
                make_read_only(small)

    def run(targets: list[Path], *, progress: bool) -> tuple[str, ...]:
        return api.pack(str(source), list(map(str, targets)), sign=keys.packer, to=[keys.reader.public], pace=PACE,
                        options=Options(segment_size=256 * KIB), progress=strike if progress else None).volumes

    with pytest.raises(MediumError) as caught:
        run(drives[:3], progress=True)
    assert caught.value.exit_status == 9
    assert str(small) in caught.value.where
    kept = {path: path.stat().st_ino for path in drives[0].glob("*/[0-9]*.abs")}
    assert kept
    volumes = run([drives[0], drives[3], drives[2]], progress=False)
    assert {path: path.stat().st_ino for path in kept} == kept  # its data is not written again; parity is
    report = api.verify(volumes, trust=keys.trust, pace=PACE)
    assert report.findings == ()
    api.unpack(volumes[1:], str(tmp_path / "back"), keys=[keys.reader], trust=keys.trust, pace=PACE)
    assert digests(tmp_path / "back") == digests(source)
