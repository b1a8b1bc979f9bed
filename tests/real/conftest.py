"""What the tests with real weights share: keys, a volume that is damaged, and a process whose memory is measured."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airbundle import api, load_private, load_public, load_trust
from airbundle.cli.main import main
from airbundle.transfer.pack import PackResult
from airbundle.transfer.unpack import UnpackResult

ROOT = Path(__file__).parents[2]
MIB = 1 << 20

# ru_maxrss of a child begins with what its parent had when it forked, so a small process stands between.
MEASURE = """
import json, os, resource, sys
done = os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-m", "airbundle", *sys.argv[2:]])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[1], "w") as file: json.dump([done, peak * 1024], file)
"""


@dataclass(frozen=True)
class Bench:
    """Two sides and a folder that stands for a drive."""

    place: Path

    def pack(self, source: Path, **options: Any) -> PackResult:
        return api.pack(str(source), str(self.place / "drive"), sign=load_private(self.key("desk")),
                        to=[load_public(str(self.place / "station.pub")).public], **options)

    def unpack(self, name: str = "back") -> tuple[Path, UnpackResult]:
        back = self.place / name
        return back, api.unpack([str(self.place / "drive")], str(back), keys=[load_private(self.key("station"))],
                                trust=load_trust(str(self.place / "desk.pub")))

    def key(self, name: str) -> str:
        return str(self.place / f"{name}.key")

    def run(self, *arguments: str) -> int:
        """Run the command line in a process of its own; its peak memory in bytes."""
        result = self.place / "measured.json"
        subprocess.run([sys.executable, "-c", MEASURE, result, *arguments], check=True, cwd=self.place,
                       env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
        status, peak = json.loads(result.read_text())
        assert status == 0, arguments
        return int(peak)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "drive").mkdir()
    for name in ("desk", "station"):
        assert main(["keygen", name, "-o", str(tmp_path), "--no-passphrase"]) == 0
    return Bench(tmp_path)


def damage(volume: str) -> int:
    """A hole in each segment, a flipped bit in catalog and record, no statement; gives the bytes of the holes."""
    hit = 0
    segments = sorted(name for name in os.listdir(volume) if name[:8].isdigit())
    for name in segments:
        path = os.path.join(volume, name)
        size = os.path.getsize(path)
        with open(path, "r+b") as file:
            block_size = int.from_bytes(file.read(72)[68:], "little")
            hole = min(MIB // block_size, size // block_size // 5) * block_size
            file.seek(size // block_size // 3 * block_size)
            file.write(bytes(hole))
            hit += hole
    for name in ("catalog.abs", "statement.rec"):
        with open(os.path.join(volume, name), "r+b") as file:
            file.seek(3000)
            byte = file.read(1)[0]
            file.seek(3000)
            file.write(bytes([byte ^ 1]))
    os.unlink(os.path.join(volume, "statement.json"))
    assert hit
    return hit


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
