"""Unpack takes the drives one after another, in any order; what a lost drive leaves open is added up from others."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.errors import IncompleteError, MediumError, UsageError
from airbundle.format.catalog import DATA
from tests.transfer.workshop import KIB, PACE, Keys, Spread, digests, kill_blocks, noise, spread, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def three(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Spread:
    place = tmp_path_factory.mktemp("port")
    source = write_tree(place / "source", {"a/one": noise(500 * KIB, 1), "b/two": b"2" * 90_000, "three": noise(77, 2),
                                           "empty": b""}, ("hollow",))
    return spread(keys, source, [place / f"drive-{number}" for number in range(3)])


@pytest.fixture(scope="module")
def five(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Spread:
    place = tmp_path_factory.mktemp("ports")
    source = write_tree(place / "source", {"a/one": noise(700 * KIB, 1), "b/two": b"2" * 90_000})
    return spread(keys, source, [place / f"drive-{number}" for number in range(5)], lose=2)


def visit(bundle: Spread, number: int, target: Path, **more: Any) -> IncompleteError | None:
    """One drive in the one port; what unpack still asks for."""
    try:
        api.unpack([str(bundle.all[number])], str(target), keys=[bundle.keys.reader], trust=bundle.keys.trust,
                   pace=PACE, **more)
    except IncompleteError as error:
        return error
    return None


def last_volume(bundle: Spread) -> int:
    """Where the end of the source stream lies."""
    return [row.volume for row in bundle.rows() if row.role == DATA][-1]


def comes(bundle: Spread, target: Path, order: Iterable[int]) -> int:
    """How many visits it took."""
    for visits, number in enumerate(order, 1):
        assert not target.exists()
        error = visit(bundle, number, target)
        if error is None:
            assert digests(target) == digests(bundle.source)
            assert not list(target.parent.glob(f".{target.name}.*"))
            return visits
        assert error.exit_status == 3
    pytest.fail("it never came")


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_any_order(three: Spread, tmp_path: Path, order: tuple[int, ...]) -> None:
    """Parity lies on the last volume: with both others there it need not come, and it never takes a fourth visit."""
    data_seen = max(order.index(1), order.index(2)) + 1
    assert comes(three, tmp_path / "back", order) == min(data_seen, 3)


@pytest.mark.parametrize(("order", "visits"), [((1, 3, 1), 3), ((3, 1, 3), 3), ((2, 3, 2), 3), ((3, 2, 3), 3)])
def test_one_drive_never_comes(three: Spread, tmp_path: Path, order: tuple[int, ...], visits: int) -> None:
    assert comes(three, tmp_path / "back", order) == visits


def test_the_drive_is_found_after_all(three: Spread, tmp_path: Path) -> None:
    assert comes(three, tmp_path / "back", (1, 3, 2)) == 3


def test_two_of_five_never_come(five: Spread, tmp_path: Path) -> None:
    assert comes(five, tmp_path / "back", (1, 4, 5, 1, 4, 5)) <= 6


def test_it_says_what_it_needs_and_asks_for_the_others_once_more(three: Spread, tmp_path: Path) -> None:
    first = visit(three, 1, tmp_path / "back")
    assert first is not None
    assert "volume 2 of 3" in str(first)
    assert "volume 1 of 3" not in first.hint
    second = visit(three, 3, tmp_path / "back")
    assert second is not None
    assert "volume 2 of 3" in str(second)
    assert "volume 1 of 3" in second.hint


def test_a_sick_drive_leaves_something_open(three: Spread, tmp_path: Path) -> None:
    """A segment on the first drive is beyond its own parity: the others are asked for, and then it comes back."""
    sick = three.copied(tmp_path)
    row = next(row for row in sick.rows() if row.volume == 1)
    kill_blocks(sick.segment(row.number), row.block_size, range(sick.segment(row.number).stat().st_size // 4096))
    assert comes(sick, tmp_path / "back", (1, 2, 3, 2, 3)) == 4


def test_a_sum_that_rots_gives_nothing_wrong(three: Spread, tmp_path: Path) -> None:
    target = tmp_path / "back"
    for number in (1, 3):
        assert visit(three, number, target) is not None
    for path in tmp_path.glob(".back.*/sum-*"):
        raw = bytearray(path.read_bytes())
        raw[200] ^= 1
        path.write_bytes(raw)
    assert visit(three, 1, target) is not None
    for path in tmp_path.glob(".back.*/sum-*"):
        os.truncate(path, 100)
    assert comes(three, target, (3, 1, 3, 1)) <= 4


def test_a_staging_folder_that_is_in_use_stays_as_it_is(three: Spread, tmp_path: Path) -> None:
    assert visit(three, 1, tmp_path / "back") is not None
    (notes,) = tmp_path.glob(".back.*/notes")
    before = digests(notes.parent)
    with open(notes, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process"):
            visit(three, 2, tmp_path / "back")
    assert digests(notes.parent) == before
    assert comes(three, tmp_path / "back", (2,)) == 1


@pytest.mark.parametrize("how", ["removed", "cut", "all removed", "a file more", "a link"])
def test_what_was_staged_is_not_published_changed(three: Spread, tmp_path: Path, how: str) -> None:
    assert visit(three, 1, tmp_path / "back") is not None
    (tree,) = tmp_path.glob(".back.*/tree")
    if how == "removed":
        (tree / "a/one").unlink()
    elif how == "cut":
        os.truncate(tree / "a/one", 100)
    elif how == "all removed":
        shutil.rmtree(tree)
    elif how == "a file more":
        (tree / "evil.py").write_text("evil")
    else:
        (tree / "link").symlink_to("/etc")
    with pytest.raises(MediumError, match="earlier run"):
        visit(three, 2, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert comes(three, tmp_path / "back", (1, 2)) == 2


def test_what_was_staged_for_another_bundle_or_another_part_is_not_used(
        three: Spread, keys: Keys, tmp_path: Path) -> None:
    assert visit(three, 1, tmp_path / "back") is not None
    assert visit(three, last_volume(three), tmp_path / "back", include=["three"]) is None
    assert sorted(digests(tmp_path / "back")) == ["three"]
    other = spread(keys, write_tree(tmp_path / "other", {"x": noise(300 * KIB, 9)}),
                   [tmp_path / f"other-{number}" for number in range(3)])
    assert visit(other, 1, tmp_path / "again") is not None
    assert visit(three, 1, tmp_path / "again") is not None
    assert visit(other, 2, tmp_path / "again") is None
    assert digests(tmp_path / "again") == digests(other.source)


def test_a_staging_folder_of_somebody_else(three: Spread, tmp_path: Path) -> None:
    place = tmp_path / f".back.airbundle-partial-{three.statement().bundle[:12]}"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(UsageError, match="yours alone"):
        visit(three, 1, tmp_path / "back")
    place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="yours alone"):
        visit(three, 1, tmp_path / "back")


@pytest.mark.parametrize("seed", range(6))
def test_killed_between_and_during_visits(three: Spread, tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    (tmp_path / "r.key").write_bytes(write_private("r", three.keys.reader, passphrase=None))
    (tmp_path / "p.pub").write_bytes(write_public("p", three.keys.packer.public))
    target = tmp_path / "back"
    for number in (1, 3, 1):
        words = ["unpack", str(three.all[number]), "-o", str(target), "--key", str(tmp_path / "r.key"), "--trust",
                 str(tmp_path / "p.pub"), "--progress", "none"]
        process = subprocess.run([sys.executable, "-m", "tests.transfer.bomb", str(random_.randrange(1, 30)),
                                  str(random_.random()), *words], cwd=ROOT, check=False, capture_output=True, text=True,
                                 env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert process.returncode in {0, 3, -signal.SIGKILL}, process.stderr
        if process.returncode == 0 or target.exists():  # killed after it was renamed
            break
        if visit(three, number, target) is None:
            break
    else:
        assert comes(three, target, (2, 3, 1)) <= 3
    assert digests(target) == digests(three.source)


class TestInclude:
    """Only what matches is read and written."""

    def test_a_part(self, three: Spread, tmp_path: Path) -> None:
        result = api.unpack(three.given, str(tmp_path / "back"), keys=[three.keys.reader], trust=three.keys.trust,
                            include=["b/*", "e*"], pace=PACE)
        assert (result.files, result.folders) == (2, 0)
        want = digests(three.source)
        assert digests(tmp_path / "back") == {name: want[name] for name in ("b/two", "empty")}

    def test_only_the_volumes_that_hold_it_are_needed(self, three: Spread, tmp_path: Path) -> None:
        assert visit(three, last_volume(three), tmp_path / "back", include=["three"]) is None
        assert sorted(digests(tmp_path / "back")) == ["three"]

    def test_nothing(self, three: Spread, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no file matches"):
            visit(three, 1, tmp_path / "back", include=["nowhere"])
        with pytest.raises(UsageError, match=r"no file matches nowhere$"):
            visit(three, last_volume(three), tmp_path / "back", include=["three", "nowhere"])
        assert not list(tmp_path.iterdir())




def test_copies_that_were_laid_out_anew_come_one_by_one(three: Spread, tmp_path: Path) -> None:
    """It asks for those that were not given yet, and for no other."""
    targets = [tmp_path / f"copy-{number}" for number in range(5)]
    for target in targets:
        target.mkdir()
    api.copy(three.given, [str(target) for target in targets], trust=three.keys.trust, pace=PACE)
    asked = []
    for target in targets:
        try:
            api.unpack([str(target)], str(tmp_path / "back"), keys=[three.keys.reader], trust=three.keys.trust,
                       pace=PACE)
        except IncompleteError as error:
            asked.append(error.hint)
        else:
            break
    assert digests(tmp_path / "back") == digests(three.source)
    assert asked
    for given, hint in enumerate(asked, 1):
        assert [number for number in range(1, 6) if f"copy {number} of 5" in hint] == list(range(given + 1, 6)), hint
