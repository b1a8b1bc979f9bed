"""`kill -9` at any moment of an import: the target is absent or complete, and the same command finishes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle.errors import PolicyError
from airbundle.format.limits import KIB
from airbundle.media.state import AppendLog
from airbundle.transfer import landing
from airbundle.transfer.finding import open_volumes
from airbundle.transfer.landing import Landing
from airbundle.transfer.open import open_bundle
from tests.station.desk import Desk, People, safetensors
from tests.transfer.workshop import PACE, digests, noise

if TYPE_CHECKING:
    from airbundle.transfer.open import Bundle

ROOT = Path(__file__).parents[2]
LAYOUTS = ("plain", "hf-cache")
FILES = {"model.safetensors": safetensors({"a": noise(1200 * KIB, 1), "b": noise(300 * KIB, 2)}),
         "shard.safetensors": safetensors({"c": noise(500 * KIB, 3)}), "config.json": b"{}", "README.md": b"x\n"}


@pytest.fixture(scope="module", params=LAYOUTS)
def ready(request: pytest.FixtureRequest, people: People, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A station that has imported nothing yet, and a bundle for it."""
    desk = Desk(people, tmp_path_factory.mktemp("killed"))
    desk.rule(f'[publish]\nlayout = "{request.param}"\n')
    desk.volumes = desk.pack(files=FILES, sequence=1, meta=[("hf-repo", "o/m")])  # type: ignore[attr-defined]
    return desk


def bundle_of(desk: Desk, volumes: list[str]) -> Bundle:
    return open_bundle(open_volumes(volumes), desk.policy().trust)


def killed_and_finished(ready: Desk, place: Path, seed: int, *, most: int) -> bool:
    """One import that is killed, and one that finishes. Whether the first was killed."""
    draw = random.Random(seed)
    shutil.copytree(ready.high, place / "high", symlinks=True)
    desk = Desk.__new__(Desk)
    desk.people, desk.place, desk.high = ready.people, place, place / "high"
    desk.file = desk.high / "policy.toml"
    volumes: list[str] = ready.volumes  # type: ignore[attr-defined]
    notes = place / "notes"
    words = ["import", *volumes, "--policy", str(desk.file), "--progress", "none", "--jobs", "2"]
    process = subprocess.run(
        [sys.executable, "-m", "tests.station.bomb", str(draw.randrange(1, most)), str(draw.random()), str(notes),
         *words], cwd=ROOT, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.returncode in {0, -signal.SIGKILL}, process.stderr
    source = digests(ready.place / "one" / "source")
    bundle = bundle_of(desk, volumes)
    target = target_of(desk, bundle)
    complete = target.exists()
    assert not complete or digests(target) == source
    left = left_over(desk, bundle, notes)
    if process.returncode == 0:
        return False
    concluded = is_concluded(desk, bundle)
    if concluded:
        desk.refused("replay", 6, volumes)
    else:
        result = desk.take(volumes)
        assert result.target == str(target)
        if not complete:
            assert result.read <= left + sum(bundle.expected(row).place.stored_size for row in bundle.rows
                                             if row.role != "data")
    assert digests(target) == source
    assert not os.listdir(desk.high / "models" / ".airbundle-staging")
    assert [line for line in desk.audit() if line.event == "published"]  # and the log has no fault
    receipts = list((desk.high / "state" / "receipts").glob("*-published.receipt.json"))
    assert len(receipts) == 1
    with pytest.raises(PolicyError):
        desk.take(volumes)
    pointer = target.parent / "current" if target.parent.name != "snapshots" else target.parents[1] / "refs" / "main"
    assert (os.readlink(pointer) if pointer.is_symlink() else pointer.read_text()) == target.name
    return True


def target_of(desk: Desk, bundle: Bundle) -> Path:
    if "hf-cache" in (desk.high / "policy.d" / "00.toml").read_text():
        return desk.high / "models" / "models--o--m" / "snapshots" / (bundle.statement.bundle + "0" * 8)
    return desk.high / "models" / "model" / bundle.statement.bundle


def is_concluded(desk: Desk, bundle: Bundle) -> bool:
    """Whether the ledger says that nothing is left to do. Asked without settling anything."""
    file = desk.high / "state" / "ledger.sqlite"
    if not file.exists():
        return False
    connection = sqlite3.connect(file)
    try:
        rows = connection.execute("SELECT 1 FROM bundles").fetchall()
        left = connection.execute("SELECT 1 FROM intentions").fetchall()
    except sqlite3.OperationalError:
        rows, left = [], []
    connection.close()
    return bool(rows and not left)


def left_over(desk: Desk, bundle: Bundle, notes: Path) -> int:
    """Stored bytes of the segments that have to be read again; of those that were written out, one a worker at most."""
    folders = list((desk.high / "models" / ".airbundle-staging").glob(".*"))
    written = {int(line) for line in notes.read_text().split()} if notes.exists() else set()
    rows = bundle.data_rows
    done: set[int] = set()
    if folders and (folders[0] / "notes").exists():
        with AppendLog(str(folders[0] / "notes")) as log:
            raw = list(log.records)
        if raw:
            reader: Any = Landing.__new__(Landing)
            reader.done, reader.seen, reader.copies, reader.sums = set(), set(), set(), {}
            reader.wrongs, reader.witnesses = {}, []
            reader._fresh, reader._boot = [], boot()
            for record in raw[1:]:
                reader._take(decoded(record))
            done = reader.done
        assert len(written - done) <= PACE.jobs
    return sum(bundle.expected(row).place.stored_size for row in rows if row.number not in done)


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def decoded(record: bytes) -> Any:
    return msgspec.json.decode(record, type=landing._Note)


@pytest.mark.parametrize("seed", range(4))
def test_a_few_moments(ready: Desk, tmp_path: Path, seed: int) -> None:
    killed_and_finished(ready, tmp_path, seed, most=130)


@pytest.mark.campaign
def test_a_hundred_moments(ready: Desk, tmp_path: Path) -> None:
    """50 kills in each layout."""
    killed, seed = 0, 1000
    while killed < 50:
        place = tmp_path / str(seed)
        place.mkdir()
        killed += killed_and_finished(ready, place, seed, most=130)
        shutil.rmtree(place)
        seed += 1
    assert seed < 1100
