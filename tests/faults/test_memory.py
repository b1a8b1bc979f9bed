"""Memory while members of large groups come back: not more than is said, whatever the group and the machine."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.keyfiles import write_private, write_public
from tests.transfer.workshop import MIB, Keys, Spread, digests, spread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST = 800 * MIB
SEGMENT = 64 * MIB
SCRIPT = """
import sys
from airbundle.cli.main import main
from airbundle.media import system
system.cpu_count = lambda: int(sys.argv[1])
status = main(sys.argv[2:])
with open("/proc/self/status") as file:
    print(*[int(line.split()[1]) for line in file if line.startswith("VmHWM")])
raise SystemExit(status)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """1 GiB of noise."""
    place = tmp_path_factory.mktemp("noise")
    random_ = random.Random(1)
    (place / "source").mkdir()
    with open(place / "source" / "f", "wb") as file:
        file.writelines(random_.randbytes(MIB) for _ in range(16 * SEGMENT // MIB))
    yield place / "source"
    shutil.rmtree(place)


def peak(bundle: Spread, place: Path, verb: str, cores: int, wanted: int) -> int:
    """The most memory that a process took for a verb, in bytes.

    Of its own address space: what `getrusage` says begins with the peak of the process that started it.
    """
    (place / "reader.key").write_bytes(write_private("reader", bundle.keys.reader, passphrase=None))
    (place / "packer.pub").write_bytes(write_public("packer", bundle.keys.packer.public))
    words = [verb, *bundle.given, "--trust", str(place / "packer.pub")]
    if verb == "unpack":
        words += ["-o", str(place / "back"), "--key", str(place / "reader.key")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(cores), *words], check=False, capture_output=True,
                          text=True)
    assert done.returncode == wanted, done.stderr
    return int(done.stdout.split()[-1]) * 1024


@pytest.mark.campaign
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("drives", [1, 5])
def test_a_lost_member_of_large_segments(
        keys: Keys, source: Path, tmp_path: Path, drives: int, capsys: pytest.CaptureFixture[str]) -> None:
    """One drive: a file of a group of 17. Five drives: one of them."""
    bundle = spread(keys, source, [tmp_path / f"drive{number}" for number in range(drives)], segment_size=SEGMENT)
    assert len({row.group for row in bundle.rows()}) == (1 if drives == 1 else 4)
    if drives == 1:
        os.unlink(bundle.segment(7))
        left = bundle
    else:
        shutil.rmtree(bundle.all[3])
        left = bundle.without(3)
    figures = {}
    for verb, wanted in (("verify", 11), ("unpack", 0)):
        for cores in (2, 16):
            figures[verb, cores] = peak(left, tmp_path, verb, cores, wanted)
            if verb == "unpack":
                assert digests(tmp_path / "back") == digests(source)
                shutil.rmtree(tmp_path / "back")
    with capsys.disabled():
        for (verb, cores), most in figures.items():
            print(f"\n{drives} drives, {verb}, {cores} cores: {most // MIB} MiB", end="")
    shutil.rmtree(tmp_path)
    assert max(figures.values()) <= MOST
