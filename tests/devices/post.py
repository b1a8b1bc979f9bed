"""A station with a watcher in front of it: its folders belong to whom drives are read as, and the real program runs."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.station.receipts import Receipt, parse_receipt
from tests.station.desk import Desk, People

ROOT = Path(__file__).parents[2]
READER = "nobody"


class Post(Desk):
    """A desk with a place for drives; `mnt/NAME` is a drive that somebody mounted."""

    def __init__(self, people: People, place: Path) -> None:
        super().__init__(people, place)
        self.mnt = place / "mnt"
        self.mnt.mkdir()
        if os.geteuid() == 0:
            self.rule(f'[watch]\nuser = "{READER}"\n')
            for parent in (place, *place.parents):
                if not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o001)
            self.give()

    def give(self) -> None:
        """All of the station belongs to the reader."""
        if os.geteuid() == 0:
            entry = pwd.getpwnam(READER)
            for folder, _, files in os.walk(self.high):
                for path in (folder, *(os.path.join(folder, name) for name in files)):
                    os.chown(path, entry.pw_uid, entry.pw_gid)

    def receipt_at(self, path: str) -> Receipt:
        """A receipt whose signature holds."""
        return parse_receipt(Path(path).read_bytes(), TrustSet([NamedIdentity(
            "station", self.people.station.public)]))[0]

    def mount(self, name: str, *volumes: str) -> Path:
        """A drive with copies of these volumes appears."""
        drive = self.place / f"{name}.coming"
        drive.mkdir()
        for volume in volumes:
            shutil.copytree(volume, drive / os.path.basename(volume))
        subprocess.run(["chmod", "-R", "a+rX", drive], check=True)
        return drive.rename(self.mnt / name)

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "airbundle", "watch", "--policy", str(self.file), *more]

    def watch_once(self, *more: str, **options: Any) -> tuple[int, list[dict[str, Any]], str]:
        """Exit status, the lines of --json, and what was said beside them."""
        done = subprocess.run(self.command("--mounts", str(self.mnt), "--once", "--json", *more), check=False,
                              capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
                              **options)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"event')]
        return done.returncode, lines, done.stderr


def verdicts(lines: list[dict[str, Any]]) -> dict[str, str]:
    """The last state of each drive by its label."""
    return {line["drive"]["label"]: line["state"] for line in lines if "drive" in line}
