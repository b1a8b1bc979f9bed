"""What a copy writes where: all that was given, onto targets that are empty, begun, finished, or none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.errors import DamagedError, IncompleteError, MediumError, UsageError
from airbundle.format.dsse import parse_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from airbundle.media.writing import VolumeWriter
from airbundle.transfer.drives import begun
from tests.transfer.workshop import KIB, PACE, Keys, Spread, digests, noise, overwrite, spread, write_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.transfer.copy import CopyResult

pytestmark = pytest.mark.in_memory

Files = dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def packed(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Spread:
    place = tmp_path_factory.mktemp("packed")
    source = write_tree(place / "source", {"one": noise(700 * KIB, 1), "two": noise(77, 2)})
    return spread(keys, source, [place / f"drive-{number}" for number in range(3)])


@pytest.fixture
def three(packed: Spread, tmp_path: Path) -> Spread:
    return packed.copied(tmp_path / "given")


@pytest.fixture
def targets(tmp_path: Path) -> list[str]:
    for number in range(5):
        (tmp_path / f"target-{number}").mkdir()
    return [str(tmp_path / f"target-{number}") for number in range(5)]


def copied(given: Sequence[str], targets: Sequence[str], keys: Keys) -> CopyResult:
    return api.copy(given, targets, trust=keys.trust, pace=PACE)


def whole(three: Spread, targets: Sequence[str], place: Path) -> None:
    """One volume on each target, each segment once, nothing found, nothing beside, and it unpacks."""
    assert [len(os.listdir(target)) for target in targets] == [1] * len(targets)
    found = sorted(path.name for target in targets for path in Path(target).glob("*/[0-9]*"))
    assert found == [names.segment_name(row.number) for row in three.rows()]
    report = api.verify(targets, trust=three.keys.trust, pace=PACE)
    assert (report.findings, report.ignored, report.absent) == ((), (), ())
    api.unpack(targets, str(place / "back"), keys=[three.keys.reader], trust=three.keys.trust, pace=PACE)
    assert digests(place / "back") == digests(three.source)
    shutil.rmtree(place / "back")


def stamps(targets: Sequence[str], pattern: str = "*/*") -> Files:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for target in targets
            for path in Path(target).glob(pattern)}


def stopped(monkeypatch: pytest.MonkeyPatch, three: Spread, targets: Sequence[str], after: int) -> None:
    """A copy that is stopped when so many segments have their names."""
    honest, left = VolumeWriter.settle, [after]

    def settle(self: VolumeWriter, temporary: str, name: str) -> None:
        if not left[0]:
            raise MediumError("pulled")
        left[0] -= 1
        honest(self, temporary, name)

    with monkeypatch.context() as patch:
        patch.setattr(VolumeWriter, "settle", settle)
        with pytest.raises(MediumError, match="pulled"):
            copied(three.given, targets, three.keys)


# ---- what is copied ----


@pytest.mark.parametrize("count", [2, 3])
def test_a_segment_that_is_gone_is_brought_back(three: Spread, targets: list[str], tmp_path: Path, count: int) -> None:
    number = three.rows()[1].number
    three.segment(number).unlink()
    result = copied(three.given, targets[:count], three.keys)
    assert sum(one.restored for one in result.volumes) == 1
    whole(three, targets[:count], tmp_path)


@pytest.mark.parametrize("count", [2, 3])
def test_all_segments_of_a_volume_that_is_here_are_gone(
        three: Spread, targets: list[str], tmp_path: Path, count: int) -> None:
    gone = [row.number for row in three.rows() if row.volume == 2]
    for number in gone:
        three.segment(number).unlink()
    result = copied(three.given, targets[:count], three.keys)
    assert sum(one.restored for one in result.volumes) == len(gone)
    whole(three, targets[:count], tmp_path)


@pytest.mark.parametrize("count", [2, 3])
def test_a_segment_that_strayed(three: Spread, targets: list[str], tmp_path: Path, count: int) -> None:
    """It comes once, and where its own volume is not here, with the one that has it."""
    row = next(row for row in three.rows() if row.volume == 2)
    name = names.segment_name(row.number)
    three.segment(row.number).rename(three.all[1] / name)
    copied(three.given, targets[:count], three.keys)
    whole(three, targets[:count], tmp_path)
    (one,) = copied([str(three.all[1])], targets[4:], three.keys).volumes
    assert (Path(one.path).name, one.number) == (three.all[1].name, 1)
    assert (Path(one.path) / name).exists()


def test_a_volume_without_segments(keys: Keys, targets: list[str], tmp_path: Path) -> None:
    """It is a volume all the same: two drives, two copies."""
    source = write_tree(tmp_path / "source", {"one": noise(777, 1)})
    two = spread(keys, source, [tmp_path / "a", tmp_path / "b"], lose=0)
    assert {row.volume for row in two.rows()} == {1}
    result = copied(two.given, targets[:2], keys)
    assert [one.segments for one in result.volumes] == [len(two.rows()), 0]
    assert [digests(Path(one.path)) for one in result.volumes] == [digests(path) for path in two.all.values()]


@pytest.mark.parametrize("count", [1, 2])
def test_a_segment_that_cannot_be_had_is_named(three: Spread, targets: list[str], count: int) -> None:
    row = next(row for row in three.rows() if row.volume == 1)
    three.segment(row.number).unlink()
    with pytest.raises(IncompleteError, match=names.segment_name(row.number)) as caught:
        copied(three.without(3).given, targets[:count], three.keys)
    assert "volume 3 of 3" in caught.value.hint
    assert caught.value.exit_status == 3
    other = next(other for other in three.rows() if other.group == row.group and other.volume == 2)
    three.segment(other.number).unlink()
    with pytest.raises(DamagedError, match=names.segment_name(row.number)):
        copied(three.given, targets[:count], three.keys)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_not_here_is_left_out_and_named(three: Spread, targets: list[str], count: int) -> None:
    """With one volume less nothing more may be lost; on one target even what is here does not cover it."""
    result = copied(three.without(2).given, targets[:count], three.keys)
    assert sum(one.segments for one in result.volumes) == sum(row.volume != 2 for row in three.rows())
    (left_out,) = [warning for warning in result.warnings if "not copied" in warning]
    assert "volume 2 of 3" in left_out
    assert "without that the copies do not cover --lose 1" in left_out
    assert any("lie on one target" in warning for warning in result.warnings) == (count == 1)


def test_nothing_is_left_out(three: Spread, targets: list[str]) -> None:
    result = copied(three.given, targets[:3], three.keys)
    assert not [warning for warning in result.warnings if "not copied" in warning or "lie on one" in warning]


# ---- copies that were laid out anew ----


def test_a_copy_of_a_copy_that_was_laid_out_anew(three: Spread, targets: list[str], tmp_path: Path) -> None:
    """What it holds is what is copied, under its name, and its place among the others can be taken."""
    made = copied(three.given, targets, three.keys).volumes
    (tmp_path / "again").mkdir()
    result = copied([made[1].path], [str(tmp_path / "again")], three.keys)
    (again,) = result.volumes
    assert (Path(again.path).name, again.number) == (Path(made[1].path).name, 2)
    assert digests(Path(again.path)) == digests(Path(made[1].path))
    assert any("copy 1 of 5" in warning for warning in result.warnings)
    shutil.rmtree(targets[1])
    (tmp_path / "again").rename(targets[1])
    whole(three, targets, tmp_path)


def test_all_copies_of_a_layout_and_a_segment_that_is_gone(three: Spread, targets: list[str], tmp_path: Path) -> None:
    made = [one.path for one in copied(three.given, targets[:2], three.keys).volumes]
    next(iter(Path(made[0]).glob("[0-9]*"))).unlink()
    result = copied(made, targets[2:4], three.keys)
    assert [one.restored for one in result.volumes] == [1, 0]
    assert [Path(one.path).name for one in result.volumes] == [Path(path).name for path in made]
    whole(three, targets[2:4], tmp_path)
    copied(made, [targets[4]], three.keys)
    whole(three, [targets[4]], tmp_path)


def test_the_readme_of_a_copy_that_was_laid_out_anew(three: Spread, targets: list[str]) -> None:
    for one in copied(three.given, targets, three.keys).volumes:
        assert f"volume {one.number} of 5 " in (Path(one.path) / names.README_NAME).read_text()


# ---- targets on which a copy was begun ----


@pytest.mark.parametrize(("first", "then"), [
    ((0, 1), (1, 0)), ((0, 1, 2), (2, 0, 1)), ((0, 1, 2, 3), (3, 1, 0, 2)),
    ((0, 1), (0, 1, 2)), ((0, 1, 2), (0, 1)), ((0,), (0, 1)), ((0, 1), (0,)), ((0, 1, 2), (0, 1, 2, 3, 4)),
    ((0, 1, 2, 3, 4), (0, 1, 2)), ((0,), (0, 1, 2, 3)), ((0, 1), (1, 2))])
@pytest.mark.parametrize("after", [0, 3, 7])
def test_it_goes_on_in_what_was_begun(three: Spread, targets: list[str], tmp_path: Path, first: tuple[int, ...],
                                      then: tuple[int, ...], after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another order, or on another number of targets: one volume on each, and what is whole stays."""
    stopped(monkeypatch, three, [targets[at] for at in first], after)
    now = [targets[at] for at in then]
    finished = [path.parent.name for target in now for path in Path(target).glob(f"*/{names.STATEMENT_NAME}")
                if b"payload" in path.read_bytes()]
    if finished and len(first) != len(then):  # it is one of another layout
        with pytest.raises(UsageError, match=finished[0]):
            copied(three.given, now, three.keys)
        return
    before = {(Path(path).parent.parent, Path(path).name): found
              for path, found in stamps(now, "*/[0-9]*").items()}
    result = copied(three.given, now, three.keys)
    whole(three, now, tmp_path)
    after_it = {(Path(path).parent.parent, Path(path).name): found for path, found in stamps(now, "*/[0-9]*").items()}
    kept = [key for key, found in before.items() if after_it.get(key) == found]
    assert sum(one.kept for one in result.volumes) == len(kept)
    if sorted(first) == sorted(then) or (len(now) != 3 and len(then) < len(first)):
        assert len(kept) == len(before)


def test_what_is_kept_does_not_hold_a_group_together(
        three: Spread, targets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun on one target and gone on with on four: members of a group part all the same."""
    stopped(monkeypatch, three, targets[:1], 7)
    result = copied(three.given, targets[:4], three.keys)
    assert not [warning for warning in result.warnings if "lie on one target" in warning]
    assert sum(one.kept for one in result.volumes) > 0
    whole(three, targets[:4], tmp_path)


def test_a_pack_does_not_take_a_copy_for_its_own(three: Spread, targets: list[str]) -> None:
    copied(three.given, targets[:2], three.keys)
    statement = three.statement()
    names_of = statement.label, bytes.fromhex(statement.bundle)
    assert [begun(target, *names_of) for target in targets[:2]] == [(0, "")] * 2
    assert begun(os.path.dirname(three.given[1]), *names_of) == (2, three.given[1])


def test_a_file_of_another_bundle_is_not_removed(
        three: Spread, keys: Keys, targets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(monkeypatch, three, targets[:2], 3)
    other = spread(keys, write_tree(tmp_path / "other", {"x": noise(100 * KIB, 7)}), [tmp_path / "else"])
    (folder,) = [path for path in Path(targets[0]).iterdir() if list(path.glob("[0-9]*"))]
    strange = folder / "00000077.abs"
    shutil.copy(other.segment(0), strange)
    with pytest.raises(UsageError, match="another bundle"):
        copied(three.given, targets[:3], keys)
    assert strange.exists()
    strange.write_bytes(b"of no bundle" * 999)
    copied(three.given, targets[:4], keys)
    assert list(Path(targets[0]).glob("*/00000077.abs"))


# ---- targets with a finished volume ----


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_same_copy_again(three: Spread, targets: list[str], count: int) -> None:
    """Everything is kept: not a byte is written."""
    copied(three.given, targets[:count], three.keys)
    before = stamps(targets)
    for order in (targets[:count], targets[:count][::-1]):
        result = copied(three.given, order, three.keys)
        assert all(one.kept == one.segments for one in result.volumes)
        assert stamps(targets) == before


def test_another_volume_of_the_bundle_is_there(three: Spread, targets: list[str], tmp_path: Path) -> None:
    """Refused with its name, before anything is written."""
    copied([str(three.all[1])], targets[:1], three.keys)
    copied(three.given, targets[1:3], three.keys)
    before = stamps(targets)
    for given, onto, name in (([str(three.all[2])], targets[:1], three.all[1].name),
                              (three.given, targets[:1], three.all[1].name),
                              (three.given, targets[1:4], "-copy1of2.airbundle"),
                              (three.given, [targets[2], *targets[3:]], "-copy2of2.airbundle"),
                              (three.given, targets[2:4], None)):
        if name is None:  # one of as many is part of the same layout: the other one is laid down again
            copied(given, onto, three.keys)
            whole(three, onto, tmp_path)
            continue
        with pytest.raises(UsageError, match=name) as caught:
            copied(given, onto, three.keys)
        assert caught.value.where in onto
        assert stamps(targets) == before


def test_two_volumes_of_the_bundle_are_there(three: Spread, targets: list[str]) -> None:
    for number in (1, 2):
        shutil.copytree(three.all[number], Path(targets[0]) / three.all[number].name)
    with pytest.raises(UsageError, match="several volumes"):
        copied(three.given, targets[:3], three.keys)


def test_a_finished_copy_that_is_damaged_is_put_right(three: Spread, targets: list[str], tmp_path: Path) -> None:
    """Killed between record and statement it is finished too."""
    result = copied(three.given, targets[:3], three.keys)
    first, second, third = (Path(one.path) for one in result.volumes)
    overwrite(next(iter(first.glob("[0-9]*"))), 9000, b"damage")
    (second / names.STATEMENT_NAME).write_bytes(bytes(16 * KIB))
    next(iter(third.glob("[0-9]*"))).unlink()
    (third / names.CATALOG_NAME).unlink()
    result = copied(three.given, targets[:3], three.keys)
    assert [one.segments - one.kept for one in result.volumes] == [1, 0, 1]
    whole(three, targets[:3], tmp_path)


def test_signatures_of_a_finished_copy_stay(three: Spread, keys: Keys, targets: list[str]) -> None:
    """T-8: those that the given volumes carry are added, those that the copy carries are not taken away."""
    copied(three.given, targets[:3], keys)
    api.sign(targets[:3], sign=keys.second, trust=keys.trust, pace=PACE)
    api.sign(three.given, sign=keys.stranger, trust=keys.trust, pace=PACE)
    trust = TrustSet([NamedIdentity(name, one.public) for name, one in (("p", keys.packer), ("s", keys.stranger))])
    api.copy(three.given, targets[:3], trust=trust, pace=PACE)
    for target in targets[:3]:
        (path,) = Path(target).glob(f"*/{names.STATEMENT_NAME}")
        found = {one.key_id for one in parse_envelope(path.read_bytes(), STATEMENT_TYPE).signatures}
        assert found == {one.public.key_id for one in (keys.packer, keys.second, keys.stranger)}


def test_another_revision_is_there(three: Spread, keys: Keys, targets: list[str]) -> None:
    copied([str(three.all[1])], targets[:1], keys)
    api.rewrap(three.given, sign=keys.packer, keys=[keys.reader], add=[keys.second.public], pace=PACE)
    before = stamps(targets)
    with pytest.raises(UsageError, match="another revision"):
        copied([str(three.all[1])], targets[:1], keys)
    assert stamps(targets) == before


# ---- targets that are none ----


def test_the_same_target_twice(three: Spread, targets: list[str]) -> None:
    with pytest.raises(UsageError, match="the same -o twice"):
        copied(three.given, [targets[0], targets[1], f"{targets[0]}/."], three.keys)
    assert not os.listdir(targets[0])


@pytest.mark.parametrize("read_only", [True, False])
def test_a_target_that_cannot_be_written(
        three: Spread, targets: list[str], monkeypatch: pytest.MonkeyPatch, read_only: bool) -> None:
    """A disc has no room free; that is not what to say of it."""
    honest = os.statvfs(targets[0])
    monkeypatch.setattr(os, "access", lambda path, _mode: path != targets[1])

    class Status:
        f_flag = os.ST_RDONLY if read_only else 0
        f_frsize = honest.f_frsize

    monkeypatch.setattr(os, "statvfs", lambda _path: Status)
    with pytest.raises(MediumError, match="read-only" if read_only else "permission denied") as caught:
        copied(three.given, targets[:2], three.keys)
    assert (caught.value.exit_status, caught.value.where) == (9, targets[1])
    assert caught.value.hint


def test_too_little_room_is_told_with_the_margin(
        three: Spread, targets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.transfer.plan.free_space", lambda _path: 3 * 60_000_000)
    monkeypatch.setattr("airbundle.transfer.plan.cluster_size", lambda _path: 4096)
    with pytest.raises(MediumError, match="67,108,864 of them to stay free, and 60,000,000 are free") as caught:
        copied(three.given, targets[:3], three.keys)
    needed = int(caught.value.what.split(" ", maxsplit=1)[0].replace(",", ""))
    assert needed > 67_108_864
    assert caught.value.exit_status == 9


# ---- names that mislead ----


def test_a_folder_with_the_name_of_another_volume_is_told(three: Spread, targets: list[str], tmp_path: Path) -> None:
    wrong = tmp_path / three.all[1].name
    shutil.copytree(three.all[2], wrong)
    given = [str(wrong), str(three.all[3])]
    result = api.rebuild(given, targets[0], trust=three.keys.trust, pace=PACE)
    assert [one.number for one in result.volumes] == [1]
    (warning,) = result.warnings
    assert warning == f"{wrong}: its name says volume 1, it holds segments of volume 2"
    result = copied(given, targets[1:3], three.keys)
    assert [one.number for one in result.volumes] == [2, 3]
    assert warning in result.warnings


@pytest.mark.parametrize("lost", [[*names.STATEMENTS, *names.CATALOGS], [names.RECORD_NAME], [names.CATALOG_NAME]])
def test_a_volume_whose_ends_are_gone_is_made_anew(three: Spread, tmp_path: Path, lost: list[str]) -> None:
    """It is damaged though all its segments are whole."""
    before = digests(three.all[2])
    for name in lost:
        (three.all[2] / name).unlink()
    (tmp_path / "new").mkdir()
    result = api.rebuild(three.given, str(tmp_path / "new"), trust=three.keys.trust, pace=PACE)
    (laid,) = result.volumes
    assert digests(Path(laid.path)) == before
