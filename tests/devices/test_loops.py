"""The watcher on this machine's kernel: a real udevd, loop devices that it takes for sticks, and FUSE behind them."""

from __future__ import annotations

import errno
import json
import os
import random
import signal as signals
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.devices.post import ROOT, Post
from tests.devices.sticks import MIB, make_stick, sector_of
from tests.station.desk import safetensors
from tests.transfer.workshop import KIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.devices.hostlab import HostLab

pytestmark = [pytest.mark.devices, pytest.mark.timeout(120)]
ENDS = {"imported", "known", "waiting", "empty", "unreadable", "refused", "failed", "pulled"}


class Watching:
    """The watcher while it runs, and what it says."""

    def __init__(self, post: Post, *more: str) -> None:
        self.process = subprocess.Popen(post.command("--json", *more), stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.told: list[dict[str, Any]] = []

    def end(self, signal: int = signals.SIGTERM) -> int:
        """Its exit status."""
        with self.process as process:
            process.send_signal(signal)
            return process.wait(30)

    def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))
            if wanted(self.told[-1]):
                return self.told[-1]
        raise AssertionError(self.told)

    def verdict(self, node: str) -> dict[str, Any]:
        return self.until(lambda told: told.get("drive", {}).get("node") == node and told["state"] in ENDS)


@pytest.fixture(params=["udev", "kernel"])
def watching(request: pytest.FixtureRequest, host: HostLab, post: Post) -> Iterator[Watching]:
    post.rule('[[devices.allow]]\nbus = "virtual"\n[[devices.allow]]\nbus = "usb"\n')
    made = Watching(post, "--source", request.param)
    yield made
    assert made.end() == 0
    for node in {told["drive"]["node"] for told in made.told if "drive" in told}:
        require_free(node)


def require_free(node: str) -> None:
    """Nobody has it mounted any more, at the latest when what was killed has ended."""
    end = time.monotonic() + 20
    while is_used(node):
        assert time.monotonic() < end, f"{node} is in use"
        os.sched_yield()


def is_used(node: str) -> bool:
    try:
        os.close(os.open(node, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


def stick(post: Post, name: str, size: int = 2 * MIB) -> tuple[Path, Path]:
    """An image with a volume on it, and the volume."""
    noise = safetensors({"w": random.Random(size).randbytes(size)})
    volume = Path(post.pack(name, files={"model.safetensors": noise}, segment_size=MIB)[0])
    return make_stick(post.place / f"{name}.img", "ext4", content=volume.parent, size=64 * MIB), volume


def test_a_good_one_is_imported(post: Post, host: HostLab, watching: Watching) -> None:
    image, _ = stick(post, "good")
    node = host.plug("good", image, readonly=False)
    told = watching.verdict(node)
    assert (told["state"], told["drive"]["file_system"]) == ("imported", "ext4")
    assert Path(f"/sys/block/{node[5:]}/ro").read_text() == "1\n"
    host.pull("good")
    assert watching.until(lambda told: told["state"] == "removed")


def test_bad_sectors_cost_what_they_cover(post: Post, host: HostLab, watching: Watching) -> None:
    image, volume = stick(post, "bad")
    bad = [sector_of(image, segment.read_bytes()[place:place + 512])
           for segment in sorted(volume.glob("0*.abs"))[:2] for place in (300 * KIB, 600 * KIB)]
    node = host.plug("bad", image, bad_sector=bad)
    told = watching.verdict(node)
    assert told["state"] == "imported", told
    receipt = post.receipt_at(told["import"]["receipt"])
    assert receipt.blocks.unreadable >= len(bad) // 2
    assert (receipt.blocks.damaged, receipt.blocks.altered) == (0, 0)


@pytest.mark.parametrize("watching", ["udev"], indirect=True)
def test_one_that_is_pulled_while_it_is_read(post: Post, host: HostLab, watching: Watching) -> None:
    image, _ = stick(post, "slow", 12 * MIB)
    node = host.plug("slow", image, bytes_per_second=4 * MIB)
    half = watching.until(lambda told: (told.get("done") or 0) >= 4 * MIB)
    host.pull("slow")
    assert watching.verdict(node)["state"] == "pulled"
    host.plug("again", image)
    rest = watching.until(lambda told: told.get("phase") == "unpacking" and told["total"] != half["total"])
    assert rest["total"] <= half["total"] - half["done"]
    assert watching.until(lambda told: told["state"] in ENDS - {"pulled"})["state"] == "imported"
    assert not {"failed", "refused"} & {told["state"] for told in watching.told if "drive" in told}


def test_what_somebody_else_uses_is_left_alone(post: Post, host: HostLab, tmp_path: Path) -> None:
    """It is not set read-only under his writes."""
    image, _ = stick(post, "used")
    node = host.plug("used", image, readonly=False)
    place = tmp_path / "elsewhere"
    place.mkdir()
    subprocess.run(["blockdev", "--setrw", node], check=True)  # it may have been set by who had this number before
    subprocess.run(["mount", node, place], check=True)
    try:
        post.rule('[[devices.allow]]\nbus = "virtual"\n[[devices.allow]]\nbus = "usb"\n')
        watching = Watching(post, "--source", "kernel", "--once")
        told = watching.verdict(node)
        assert (told["state"], "in use" in told["detail"]) == ("failed", True)
        with watching.process as process:
            assert process.wait(30) == 9
        (place / "written").write_text("x")
    finally:
        subprocess.run(["umount", place], check=True)
