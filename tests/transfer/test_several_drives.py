"""One bundle on several drives: any `--lose` of them missing, given twice, renamed, mixed up."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.errors import DamagedError, IncompleteError, MediumError, RepairableError, UsageError
from airbundle.format.catalog import PARITY
from airbundle.media import volume as names
from airbundle.transfer.plan import Options
from airbundle.transfer.report import Report
from tests.transfer.workshop import KIB, MIB, PACE, Keys, Spread, digests, kill_blocks, noise, spread, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.in_memory

SHAPES = {"three": (3, None), "mirror": (2, 1), "five": (5, 2), "two apart": (2, None), "four": (4, 3)}


@pytest.fixture(scope="module")
def spreads(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spread]:
    place = tmp_path_factory.mktemp("spreads")
    source = write_tree(place / "source", {"a/one": noise(500 * KIB, 1), "two": b"2" * 90_000, "three": noise(77, 2),
                                           "empty": b""}, ("hollow",))
    return {name: spread(keys, source, [place / f"{name}-{number}" for number in range(drives)], lose=lose)
            for name, (drives, lose) in SHAPES.items()}


@pytest.fixture
def three(spreads: dict[str, Spread], tmp_path: Path) -> Spread:
    return spreads["three"].copied(tmp_path)


def unpacks(bundle: Spread, target: Path) -> Any:
    result = bundle.unpack(target)
    assert digests(target) == digests(bundle.source)
    shutil.rmtree(target)
    return result


@pytest.mark.parametrize("name", SHAPES)
def test_whole(spreads: dict[str, Spread], tmp_path: Path, name: str) -> None:
    """T-6: each member of a group on a drive of its own, or all of them on one."""
    bundle = spreads[name]
    drives, lose = SHAPES[name]
    lose = lose if lose is not None else int(drives > 2)
    statement = bundle.statement()
    assert (len(statement.volumes), statement.lose) == (drives, lose)
    for group in {row.group for row in bundle.rows()}:
        members = [row for row in bundle.rows() if row.group == group]
        assert len({row.volume for row in members}) == (len(members) if lose else 1)
        assert sum(row.role == PARITY for row in members) == (lose or 1)
    for row in bundle.rows():
        assert bundle.segment(row.number).is_file()
    assert bundle.verify(opened=True).ignored == ()
    unpacks(bundle, tmp_path / "back")


@pytest.mark.parametrize("name", SHAPES)
def test_any_drives_that_may_be_lost(spreads: dict[str, Spread], tmp_path: Path, name: str) -> None:
    """All that may be: it comes back, and verify says from where. One more: 3, with the volumes to look for."""
    bundle = spreads[name]
    lose, before = bundle.statement().lose, [digests(path) for path in bundle.all.values()]
    for lost in itertools.combinations(bundle.here, lose):
        left = bundle.without(*lost)
        gone = tuple(row.number for row in bundle.rows() if row.volume in lost)
        if lost:
            report = left.report(11)
            assert (report.restorable, report.missing) == (gone, ())
            assert [text[:8] for text in report.absent] == [f"volume {number}" for number in lost]
        assert unpacks(left, tmp_path / "back").report.missing == ()
    for lost in itertools.combinations(bundle.here, lose + 1):
        if len(lost) < len(bundle.here) and {row.volume for row in bundle.rows()} & set(lost):
            left = bundle.without(*lost)
            report = left.report(3)
            assert report.missing
            target = tmp_path / f"back without {lost}"
            with pytest.raises(IncompleteError) as caught:
                left.unpack(target)
            assert f"volume {lost[0]} of {len(bundle.all)}" in caught.value.hint
            assert not target.exists()
    assert [digests(path) for path in bundle.all.values()] == before


def test_a_drive_is_missing_and_the_others_are_damaged(three: Spread, tmp_path: Path) -> None:
    """As much as their own parity gives back; then one block more."""
    random_ = random.Random(1)
    left = three.without(2)
    for row in three.rows():
        if row.volume != 2:
            first = three.place(row).data_at
            coded = range(first, first + three.place(row).geometry.coded_blocks)
            kill_blocks(three.segment(row.number), row.block_size, random_.sample(coded, row.m))
    unpacks(left, tmp_path / "back")
    row = next(row for row in three.rows() if row.volume == 1)
    kill_blocks(three.segment(row.number), row.block_size, range(three.segment(row.number).stat().st_size // 4096))
    assert row.number in left.report(3).missing
    with pytest.raises(IncompleteError):
        left.unpack(tmp_path / "back")
    report = three.report(11)
    assert report.restorable == (row.number,)
    unpacks(three, tmp_path / "back")


def test_two_files_of_a_group_are_gone_and_all_drives_are_here(three: Spread, tmp_path: Path) -> None:
    """No other volume has them: 4. With one volume less they might be there: 3."""
    group = [row.number for row in three.rows() if row.group == 0]
    for number in group[:2]:
        three.segment(number).unlink()
    report = three.report(4)
    assert (report.missing, report.condition) == (tuple(group[:2]), "damaged beyond repair")
    with pytest.raises(DamagedError) as caught:
        three.unpack(tmp_path / "back")
    assert caught.value.rule == "G-9"
    last = three.rows()[group[2]].volume
    assert set(group[:2]) <= set(three.without(last).report(3).missing)
    assert not (tmp_path / "back").exists()


def test_volumes_given_twice(three: Spread, tmp_path: Path) -> None:
    """By another path, and as a copy: what one copy lacks comes from the other one."""
    (tmp_path / "link").symlink_to(three.all[1].parent)
    paths = [*three.given, *three.given, str(tmp_path / "link"), str(three.all[2].parent)]
    assert api.verify(paths, trust=three.keys.trust).volumes_of == 3
    twin = tmp_path / "twin" / three.all[1].name
    shutil.copytree(three.all[1], twin)
    numbers = [row.number for row in three.rows() if row.volume == 1]
    for number in numbers[1:]:
        three.segment(number).unlink()
    (twin / names.segment_name(numbers[0])).unlink()
    left = [*three.without(2).given, str(twin)]
    api.unpack(left, str(tmp_path / "back"), keys=[three.keys.reader], trust=three.keys.trust, pace=PACE)
    assert digests(tmp_path / "back") == digests(three.source)


def test_a_copy_of_a_drive_that_lacks_a_segment(three: Spread, tmp_path: Path) -> None:
    """What the drive has does not stand in for what its copy lacks: verify says so, and repair brings it there."""
    twin = tmp_path / "twin" / three.all[1].name
    shutil.copytree(three.all[1], twin)
    before = digests(twin)
    lost = names.segment_name(next(row.number for row in three.rows() if row.volume == 1))
    (twin / lost).unlink()
    paths = [*three.given, str(twin)]
    with pytest.raises(RepairableError) as caught:
        api.verify(paths, trust=three.keys.trust)
    assert isinstance(caught.value.report, Report)
    (finding,) = caught.value.report.findings
    assert (finding.volume, finding.file, finding.problem) == (str(twin), lost, "segment: is missing")
    api.repair(paths, trust=three.keys.trust)
    assert digests(twin) == before
    api.verify(paths, trust=three.keys.trust)


@pytest.mark.parametrize("stray", ["empty", "torn"])
def test_a_stray_file_hides_no_volume(three: Spread, tmp_path: Path, stray: str) -> None:
    """A file named like a segment of another volume does not make that volume one that is here: 3, not 4."""
    left = three.without(2, 3)
    for row in three.rows():
        if row.volume == 2:
            whole = three.segment(row.number).read_bytes()
            (three.all[1] / names.segment_name(row.number)).write_bytes(whole[:50] if stray == "torn" else b"")
    report = left.report(3)
    assert [line.split(" of ")[0] for line in report.absent] == ["volume 2", "volume 3"]
    with pytest.raises(IncompleteError, match="volume 2 of 3"):
        left.unpack(tmp_path / "back")


def test_all_volumes_in_one_folder(three: Spread, tmp_path: Path) -> None:
    """Somebody dragged all files into one folder: all volumes are here."""
    heap = tmp_path / "heap"
    for path in three.all.values():
        shutil.copytree(path, heap, dirs_exist_ok=True)
    assert api.verify([str(heap)], trust=three.keys.trust).absent == ()
    for number in sorted(row.number for row in three.rows() if row.volume == 2):
        (heap / names.segment_name(number)).unlink()
    with pytest.raises(RepairableError) as caught:
        api.verify([str(heap)], trust=three.keys.trust)
    assert isinstance(caught.value.report, Report)
    assert [line.split(" of ")[0] for line in caught.value.report.absent] == ["volume 2"]


def test_all_drives_as_one_folder_and_in_any_order(three: Spread, tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    for path in three.all.values():
        path.rename(tmp_path / "shelf" / path.name)
    report = api.verify([str(tmp_path / "shelf")], trust=three.keys.trust, keys=[three.keys.reader])
    assert len(report.volumes) == 3
    for order in itertools.permutations(sorted((tmp_path / "shelf").iterdir())):
        api.verify([*map(str, order)], trust=three.keys.trust)


def test_renamed_volumes(three: Spread, tmp_path: Path) -> None:
    """A name is advice: swapped ones do not send anybody looking for drives that are here (G-3)."""
    first, second = three.all[1], three.all[2]
    renamed = [second.parent / first.name, first.parent / second.name, three.all[3].parent / "stick.airbundle"]
    for path, new in zip((second, first, three.all[3]), renamed, strict=True):
        path.rename(new)
    paths = [*map(str, renamed)]
    api.unpack(paths, str(tmp_path / "back"), keys=[three.keys.reader], trust=three.keys.trust, pace=PACE)
    assert digests(tmp_path / "back") == digests(three.source)
    for left in itertools.combinations(paths, 2):
        shutil.rmtree(tmp_path / "back")
        api.unpack(left, str(tmp_path / "back"), keys=[three.keys.reader], trust=three.keys.trust, pace=PACE)
        assert digests(tmp_path / "back") == digests(three.source)


def test_two_bundles_on_the_same_drives(three: Spread, tmp_path: Path) -> None:
    """Which one is meant has to be said, and then one drive of it may still be missing."""
    other = spread(three.keys, write_tree(tmp_path / "other source", {"f": noise(300 * KIB, 9)}),
                   [three.all[number].parent for number in three.here])
    folders = [str(three.all[number].parent) for number in three.here]
    with pytest.raises(UsageError, match="2 bundles"):
        api.verify(folders, trust=three.keys.trust)
    for bundle in (three, other):
        wanted = bundle.statement().bundle
        assert api.verify(folders, trust=bundle.keys.trust, bundle=wanted).bundle == wanted
        api.unpack(folders[:2], str(tmp_path / wanted), keys=[bundle.keys.reader], trust=bundle.keys.trust,
                   bundle=wanted, pace=PACE)
        assert digests(tmp_path / wanted) == digests(bundle.source)


def test_segments_swapped_on_and_between_drives(three: Spread, tmp_path: Path) -> None:
    """A segment is what its blocks say, wherever it lies (V-2, G-3)."""
    pairs = [(one.number, two.number) for one, two in itertools.pairwise(three.rows())][:4]
    for one, two in pairs:
        first, second = three.segment(one), three.segment(two)
        first.rename(tmp_path / "x")
        second.rename(first)
        (tmp_path / "x").rename(second)
        assert three.report(11).missing == ()
        unpacks(three, tmp_path / "back")


def test_a_segment_of_another_bundle_in_its_place(three: Spread, tmp_path: Path) -> None:
    """Of the same source, packed again: it counts as lost, and its group gives it back."""
    other = spread(three.keys, three.source, [tmp_path / f"again-{number}" for number in three.here])
    groups = {row.group for row in three.rows()}
    taken = [next(row.number for row in three.rows() if row.group == group) for group in groups]
    for number in taken:
        shutil.copy(other.all[three.rows()[number].volume] / names.segment_name(number), three.segment(number))
    report = three.report(11)
    assert (report.restorable, report.missing, report.altered) == (tuple(sorted(taken)), (), 0)
    unpacks(three, tmp_path / "back")
    second = next(row.number for row in three.rows() if row.group == 0 and row.number not in taken)
    three.segment(second).unlink()
    assert three.report(4).missing == (0, second)


def test_statements_and_catalogs_of_all_but_one_drive_are_gone(three: Spread, tmp_path: Path) -> None:
    for number in (1, 2):
        for name in names.FIXED_NAMES:
            (three.all[number] / name).unlink(missing_ok=True)
    assert three.report(11).missing == ()
    unpacks(three, tmp_path / "back")
    unpacks(three.without(1), tmp_path / "back")


def test_the_command_line(three: Spread, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Two of three drives do; of one it says which others to look for."""
    (tmp_path / "r.key").write_bytes(write_private("r", three.keys.reader, passphrase=None))
    (tmp_path / "p.pub").write_bytes(write_public("p", three.keys.packer.public))
    trust, key = ("--trust", str(tmp_path / "p.pub")), ("--key", str(tmp_path / "r.key"))

    def run(*words: str) -> tuple[int, Any]:
        status = main([*words, *trust, "--json"])
        return status, json.loads(capfdbinary.readouterr().out)

    status, answer = run("verify", *three.without(3).given)
    assert (status, answer["error"], answer["report"]["volumes_of"]) == (11, "RepairableError", 3)
    status, answer = run("verify", *three.without(1, 3).given)
    assert (status, answer["error"]) == (3, "IncompleteError")
    assert "volume 1 of 3" in answer["hint"]
    assert "volume 3 of 3" in answer["hint"]
    status, answer = run("unpack", *three.without(1, 3).given, "-o", str(tmp_path / "none"), *key)
    assert (status, answer["error"], (tmp_path / "none").exists()) == (3, "IncompleteError", False)
    assert "volume 1 of 3" in answer["hint"]
    status, answer = run("unpack", *three.without(3).given, "-o", str(tmp_path / "back"), *key)
    assert status == 0
    assert digests(tmp_path / "back") == digests(three.source)


@pytest.fixture
def unequal(tmp_path: Path) -> Iterator[list[Path]]:
    """Three drives of 112, 84 and 160 MiB; skipped where nothing may be mounted."""
    made: list[Path] = []
    try:
        for number, size in enumerate((112, 84, 160)):
            place = tmp_path / f"drive{number}"
            place.mkdir()
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "unequal", place], check=False,
                                  capture_output=True)
            if done.returncode:
                pytest.skip(f"mount: {done.stderr.decode().strip()}")
            made.append(place)
        yield made
    finally:
        for place in made:
            subprocess.run(["umount", place], check=True)


def test_drives_of_unequal_room(keys: Keys, unequal: list[Path], tmp_path: Path) -> None:
    """48, 20 and 96 MiB beside the margins: nearly all that the two smaller ones hold together."""
    source = write_tree(tmp_path / "source", {"f": noise(34 * MIB, 4)})
    bundle = spread(keys, source, unequal, segment_size=2 * MIB)
    held = [sum(row.volume == number for row in bundle.rows()) for number in (1, 2, 3)]
    assert held[1] < held[0] <= held[2]
    assert held[1]
    bundle.verify(opened=True)
    for lost in bundle.here:
        unpacks(bundle.without(lost), tmp_path / "back")


def test_more_than_drives_of_unequal_room_hold(
        keys: Keys, unequal: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is written; without `--lose` the same drives would do."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = write_tree(tmp_path / "source", {"f": noise(60 * MIB, 4)})
    with pytest.raises(MediumError, match="does not fit") as caught:
        spread(keys, source, unequal, segment_size=2 * MIB, lose=1)
    assert str(unequal[1]) in caught.value.where
    assert [os.listdir(place) for place in unequal] == [[], [], []]
    answer = api.plan(str(source), [*map(str, unequal)], options=Options(segment_size=2 * MIB), lose=0)
    assert answer.fit != "does not fit"
