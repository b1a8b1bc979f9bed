"""Copies of volumes on other drives, lost volumes made anew, and both killed at any moment, like repair in place."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.crypto.keyfiles import NamedIdentity, write_public
from airbundle.crypto.signing import sign
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError, IncompleteError, StrangerError, UsageError
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from tests.transfer.workshop import (
    KIB,
    PACE,
    Keys,
    Spread,
    digests,
    flip,
    kill_blocks,
    noise,
    overwrite,
    pack,
    spread,
    write_tree,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.in_memory

ROOT = Path(__file__).parents[2]
SIDE = {names.README_NAME}  # says which volume of how many it is


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("copy") / "source",
                      {"one": noise(500 * KIB, 1), "two": b"2" * 90_000, "three": noise(77, 2)})


@pytest.fixture(scope="module")
def packed(keys: Keys, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Spread:
    place = tmp_path_factory.mktemp("packed")
    return spread(keys, source, [place / f"drive-{number}" for number in range(3)])


@pytest.fixture
def three(packed: Spread, tmp_path: Path) -> Spread:
    return packed.copied(tmp_path / "given")


def folders(place: Path, count: int) -> list[str]:
    made = [place / f"target-{number}" for number in range(count)]
    for folder in made:
        folder.mkdir(parents=True)
    return list(map(str, made))


def files(folder: str) -> dict[str, str]:
    return {path: digest for path, digest in digests(Path(folder)).items() if os.path.basename(path) not in SIDE}


def unpacks(keys: Keys, volumes: Sequence[str], source: Path, target: Path) -> None:
    api.unpack(volumes, str(target), keys=[keys.reader], trust=keys.trust, pace=PACE)
    assert digests(target) == digests(source)
    shutil.rmtree(target)


def test_one_to_one(three: Spread, keys: Keys, tmp_path: Path) -> None:
    """Bit for bit; of a damaged volume what was packed."""
    before = [digests(path) for path in three.all.values()]
    flip(three.segment(0), 9000)
    (three.all[2] / names.CATALOG_NAME).unlink()
    damaged = [digests(path) for path in three.all.values()]
    targets = folders(tmp_path, 3)
    result = api.copy(three.given, targets, trust=keys.trust, pace=PACE)
    assert [digests(Path(one.path)) for one in result.volumes] == before
    assert [Path(one.path).name for one in result.volumes] == [path.name for path in three.all.values()]
    assert [digests(path) for path in three.all.values()] == damaged  # what is copied is never changed
    assert api.verify(targets, trust=keys.trust, pace=PACE).ignored == ()


def test_some_of_the_volumes(three: Spread, keys: Keys, tmp_path: Path) -> None:
    targets = folders(tmp_path, 1)
    result = api.copy([str(three.all[2])], targets, trust=keys.trust, pace=PACE)
    assert [one.number for one in result.volumes] == [2]
    assert digests(Path(result.volumes[0].path)) == digests(three.all[2])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_laid_out_anew(three: Spread, keys: Keys, source: Path, tmp_path: Path, count: int) -> None:
    """Nothing of it is damage; members of a group stay apart as far as they can."""
    targets = folders(tmp_path, count)
    result = api.copy(three.given, targets, trust=keys.trust, pace=PACE)
    assert sum(one.segments for one in result.volumes) == len(three.rows())
    report = api.verify(targets, trust=keys.trust, pace=PACE)
    assert (report.absent, report.findings, report.missing) == ((), (), ())
    unpacks(keys, targets, source, tmp_path / "back")
    assert any("--lose 1" in warning and "members" in warning for warning in result.warnings) == (count < 3)
    if count == 5:
        for lost in range(count):
            left = targets[:lost] + targets[lost + 1:]
            unpacks(keys, left, source, tmp_path / "back")


def test_only_these_excuses_nothing_of_a_copy_that_was_laid_out_anew(
        three: Spread, keys: Keys, tmp_path: Path) -> None:
    (target,) = folders(tmp_path, 1)
    api.copy(three.given, [target], trust=keys.trust, pace=PACE)
    for path in sorted(Path(target).glob("*/[0-9]*.abs"))[:8]:  # something of each volume is left
        path.unlink()
    with pytest.raises(AirbundleError) as caught:
        api.verify([target], trust=keys.trust, only_these=True, pace=PACE)
    assert caught.value.exit_status == 4


def test_a_folder_with_the_number_of_another_volume(keys: Keys, source: Path, tmp_path: Path) -> None:
    """Names carry no meaning (V-2): the other volume is asked for, and nothing is called damaged."""
    two = spread(keys, source, [tmp_path / "a", tmp_path / "b"], segment_size=32 * KIB)
    wrong = tmp_path / two.all[1].name
    shutil.copytree(two.all[2], wrong)
    with pytest.raises(IncompleteError):
        api.verify([str(wrong)], trust=keys.trust, pace=PACE)
    with pytest.raises(IncompleteError, match="volume 1 of 2"):
        api.unpack([str(wrong)], str(tmp_path / "back"), keys=[keys.reader], trust=keys.trust, pace=PACE)


def test_swapped_names_are_no_damage(three: Spread, keys: Keys, tmp_path: Path) -> None:
    one, two = three.all[1], three.all[2]
    swapped = [tmp_path / two.name, tmp_path / one.name]
    for path, name in zip((one, two), swapped, strict=True):
        shutil.copytree(path, name)
    given = [*map(str, swapped), str(three.all[3])]
    assert api.verify(given, trust=keys.trust, pace=PACE).findings == ()
    assert api.repair(given, trust=keys.trust).files == ()


def test_one_drive_onto_three(keys: Keys, source: Path, tmp_path: Path) -> None:
    one = pack(keys, source, tmp_path / "drive")
    targets = folders(tmp_path, 3)
    api.copy([str(one.volume)], targets, trust=keys.trust, pace=PACE)
    assert api.verify(targets, trust=keys.trust, pace=PACE).findings == ()
    unpacks(keys, targets, source, tmp_path / "back")
    with pytest.raises(IncompleteError, match="needed"):
        unpacks(keys, targets[:1], source, tmp_path / "back")


def test_a_lost_volume_is_made_anew(three: Spread, keys: Keys, tmp_path: Path) -> None:
    before = {number: digests(path) for number, path in three.all.items()}
    for lost in (1, 2, 3):
        left = three.without(lost)
        (target,) = folders(tmp_path / str(lost), 1)
        result = api.rebuild(left.given, target, trust=keys.trust, pace=PACE)
        assert [one.number for one in result.volumes] == [lost]
        assert digests(Path(result.volumes[0].path)) == before[lost]


def test_a_sick_volume_is_made_anew_elsewhere(three: Spread, keys: Keys, tmp_path: Path) -> None:
    before = digests(three.all[1])
    row = next(row for row in three.rows() if row.volume == 1)
    kill_blocks(three.segment(row.number), row.block_size, range(three.segment(row.number).stat().st_size // 4096))
    sick = digests(three.all[1])
    (target,) = folders(tmp_path, 1)
    result = api.rebuild(three.given, target, trust=keys.trust, pace=PACE)
    assert [(one.number, one.restored) for one in result.volumes] == [(1, 1)]
    assert digests(Path(result.volumes[0].path)) == before
    assert digests(three.all[1]) == sick


def test_what_is_refused(three: Spread, keys: Keys, tmp_path: Path) -> None:
    targets = folders(tmp_path, 3)
    with pytest.raises(StrangerError):
        api.copy(three.given, targets, trust=TrustSet([NamedIdentity("x", keys.stranger.public)]), pace=PACE)
    with pytest.raises(UsageError, match="holds a volume"):
        api.copy(three.given, [str(three.all[1].parent)], trust=keys.trust, pace=PACE)
    with pytest.raises(UsageError, match="not a folder"):
        api.copy(three.given, [str(tmp_path / "nowhere")], trust=keys.trust, pace=PACE)
    with pytest.raises(UsageError, match="all volumes are here and whole"):
        api.rebuild(three.given, targets[0], trust=keys.trust, pace=PACE)
    with pytest.raises(IncompleteError):
        api.rebuild([str(three.all[1])], targets[0], trust=keys.trust, pace=PACE)
    for number in (1, 2, 3):
        row = next(row for row in three.rows() if row.volume == number)
        kill_blocks(three.segment(row.number), row.block_size, range(three.segment(row.number).stat().st_size // 4096))
    with pytest.raises(DamagedError, match="its group"):
        api.copy(three.given, targets, trust=keys.trust, pace=PACE)
    for target in targets:
        for path in Path(target).rglob("statement.json"):
            assert b"payload" not in path.read_bytes()  # there is no volume before it is whole


def test_junk_signatures_are_not_copied(three: Spread, keys: Keys, tmp_path: Path) -> None:
    for path in three.all.values():
        raw = (path / names.STATEMENT_NAME).read_bytes()
        envelope = parse_envelope(raw, STATEMENT_TYPE)
        junk = sign(keys.stranger, STATEMENT_TYPE, envelope.payload)
        (path / names.STATEMENT_NAME).write_bytes(write_envelope(
            Envelope(STATEMENT_TYPE, envelope.payload, (*envelope.signatures, junk))))
        (path / names.RECORD_NAME).unlink()
    targets = folders(tmp_path, 3)
    api.copy(three.given, targets, trust=keys.trust, pace=PACE)
    for target in targets:
        (statement,) = Path(target).rglob("statement.json")
        found = {one.key_id for one in parse_envelope(statement.read_bytes(), STATEMENT_TYPE).signatures}
        assert found == {keys.packer.public.key_id}


class Bombed:
    """A command that is killed at random steps, and then finished."""

    def __init__(self, keys: Keys, place: Path, words: list[str]) -> None:
        (place / "p.pub").write_bytes(write_public("p", keys.packer.public))
        self.words = [*words, "--trust", str(place / "p.pub"), "--progress", "none"]

    def run(self, *front: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", *(front or ("airbundle",)), *self.words], cwd=ROOT, check=False,
                              capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def kill(self, step: int, share: float) -> bool:
        done = self.run("tests.transfer.bomb", str(step), str(share))
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr
        return done.returncode != 0

    def finish(self) -> None:
        done = self.run()
        assert done.returncode == 0, done.stderr


def copy_is_killed(three: Spread, keys: Keys, place: Path, seed: int) -> None:
    random_ = random.Random(seed)
    targets = folders(place, random_.choice([3, 3, 1, 5]))
    command = Bombed(keys, place, ["copy", *three.given, *(word for target in targets for word in ("-o", target))])
    kept: dict[str, tuple[int, int]] = {}
    for _ in range(random_.randrange(1, 4)):
        if not command.kill(random_.randrange(1, 90), random_.random()):
            break
        now = {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for target in targets
               for path in Path(target).glob("*/[0-9]*.abs")}
        assert {name: now.get(name) for name in kept} == kept  # what was finished is not written again
        kept = now
    command.finish()
    assert api.verify(targets, trust=keys.trust, pace=PACE).findings == ()
    assert not [path for target in targets for path in Path(target).rglob(".*.part")]


def repair_is_killed(three: Spread, keys: Keys, place: Path, before: dict[int, dict[str, str]], seed: int) -> None:
    random_ = random.Random(seed)
    group = random_.choice(three.rows()).group
    rows = [row for row in three.rows() if row.group == group]
    gone, holed = random_.sample(rows, 2)
    three.segment(gone.number).unlink()
    overwrite(three.segment(holed.number), random_.randrange(3, 8) * 4096, bytes(3 * 4096))
    (three.all[random_.choice((1, 2, 3))] / random_.choice((names.STATEMENT_NAME, names.CATALOG_NAME))).unlink()
    place.mkdir(parents=True, exist_ok=True)
    command = Bombed(keys, place, ["repair", *three.given])
    for _ in range(random_.randrange(1, 4)):
        if not command.kill(random_.randrange(1, 25), random_.random()):
            break
        unpacks(keys, three.given, three.source, place / "back")  # never less recoverable than before
    command.finish()
    after = {number: digests(path) for number, path in three.all.items()}
    for number, want in before.items():
        assert {name: after[number].get(name) for name in want} == want


@pytest.mark.parametrize("seed", range(6))
def test_copy_is_killed(three: Spread, keys: Keys, tmp_path: Path, seed: int) -> None:
    copy_is_killed(three, keys, tmp_path, seed)


@pytest.mark.parametrize("seed", range(6))
def test_repair_is_killed(packed: Spread, three: Spread, keys: Keys, tmp_path: Path, seed: int) -> None:
    before = {number: digests(path) for number, path in packed.all.items()}
    repair_is_killed(three, keys, tmp_path / "work", before, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(100, 150))
def test_campaign_copy_is_killed(three: Spread, keys: Keys, tmp_path: Path, seed: int) -> None:
    copy_is_killed(three, keys, tmp_path, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(100, 150))
def test_campaign_repair_is_killed(packed: Spread, three: Spread, keys: Keys, tmp_path: Path, seed: int) -> None:
    before = {number: digests(path) for number, path in packed.all.items()}
    repair_is_killed(three, keys, tmp_path / "work", before, seed)
