"""Drives that claim more room than they have: what lies beyond is dropped, or written over what came first."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.errors import MediumError, UnreliableDriveError
from airbundle.transfer.plan import Options
from tests.devices.fuse_image import make_image, sick_drive
from tests.transfer.workshop import MIB, PACE, Keys, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airbundle.transfer.progress import Tick

pytestmark = [pytest.mark.devices, pytest.mark.usefixtures("fuse")]
TOTAL = 24 * MIB
LIES = {
    "wrap": ("--real", str(16 * MIB), "--beyond", "wrap"),
    "wrap to the files": ("--real", str(16 * MIB), "--beyond", "wrap", "--wrap-to", str(MIB)),
    "drop": ("--real", str(16 * MIB), "--beyond", "drop"),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "source", {"weights": noise(TOTAL, 5)})


def refused(work: Callable[[Callable[[Tick], None]], Any], drive: Path, phase: str, lie: str) -> None:
    """It fails, names the drive, well before the end; and there is no bundle on it."""
    ticks: list[Tick] = []
    with pytest.raises(MediumError) as caught:
        work(ticks.append)
    error = caught.value
    assert error.exit_status == 9
    # What wraps around to the tables of the file system is seen by the kernel too, if it has to read them.
    if lie != "wrap" or isinstance(error, UnreliableDriveError):
        assert error.code == "unreliable-drive"
        assert "lies about its size" in error.what
    assert error.where.startswith(f"{drive}/")
    done = max(tick.done for tick in ticks if tick.phase == phase)
    assert done < 0.75 * TOTAL, f"{done / MIB} MiB"
    assert not any(tick.phase == "finishing" for tick in ticks)
    with contextlib.suppress(OSError) if lie == "wrap" else contextlib.nullcontext():
        for volume in drive.glob("*.airbundle"):
            assert not (volume / "statement.json").read_bytes().strip(b"\0")


@pytest.mark.parametrize("read_back", [True, False])
@pytest.mark.parametrize("lie", LIES)
def test_pack(keys: Keys, source: Path, tmp_path: Path, lie: str, *, read_back: bool) -> None:
    image = make_image(tmp_path / "image", 128 * MIB)  # one group of blocks, so that files lie in the order of writing

    def run(progress: Callable[[Tick], None]) -> Any:
        return api.pack(str(source), str(drive.folder), sign=keys.packer, to=[keys.reader.public], pace=PACE,
                        options=Options(segment_size=2 * MIB), read_back=read_back, progress=progress)

    with sick_drive(image, tmp_path, *LIES[lie]) as drive:
        refused(run, drive.folder, "packing", lie)
        (tmp_path / "good").mkdir()
    result = api.pack(str(source), str(tmp_path / "good"), sign=keys.packer, to=[keys.reader.public], pace=PACE,
                      options=Options(segment_size=2 * MIB))  # the same command with another drive makes the bundle
    api.verify(result.volumes, trust=keys.trust, pace=PACE)


@pytest.mark.parametrize("verb", ["copy", "rebuild"])
@pytest.mark.parametrize("lie", LIES)
def test_copy_and_repair_onto_another(keys: Keys, source: Path, tmp_path: Path, lie: str, verb: str) -> None:
    bundle = pack(keys, source, tmp_path / "good", segment_size=2 * MIB)
    before = digests(bundle.volume)
    image = make_image(tmp_path / "image", 128 * MIB)  # one group of blocks, so that files lie in the order of writing

    def run(progress: Callable[[Tick], None]) -> Any:
        if verb == "copy":
            return api.copy(bundle.given, [str(drive.folder)], trust=keys.trust, pace=PACE, progress=progress)
        return api.rebuild(bundle.given, str(drive.folder), trust=keys.trust, pace=PACE, progress=progress)

    with sick_drive(image, tmp_path, *LIES[lie]) as drive:
        if verb == "rebuild":
            bundle.segment(2).unlink()
        refused(run, drive.folder, "copying", lie)
    if verb == "copy":
        assert digests(bundle.volume) == before
