"""A pack onto several drives that is killed at any moment; and another drive in place of one, or one more."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.format.catalog import PARITY
from airbundle.media.volume import segment_name
from airbundle.transfer import here
from airbundle.transfer.plan import Options
from tests.transfer.test_resume import SEGMENTS, killed_and_finished, make_site, stopped_after
from tests.transfer.workshop import MIB, PACE, digests, noise, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.format.catalog import Row
    from airbundle.transfer.job import Job
    from airbundle.transfer.journal import Finished
    from airbundle.transfer.layout import Team
    from airbundle.transfer.seal import Sealed
    from airbundle.transfer.slices import Slice
    from airbundle.transfer.workspace import Workspace
    from tests.transfer.test_resume import Site
    from tests.transfer.workshop import Keys, Spread

DRIVES = ("one", "two", "three")


@pytest.fixture
def fleet(keys: Keys, tmp_path: Path) -> Site:
    """Three folders, any one of which may be lost."""
    return make_site(keys, tmp_path, DRIVES, 1)


def survives(site: Site, bundle: Spread) -> None:
    """Whole; each group on drives of its own; the loss of any one drive."""
    bundle.verify(opened=True)
    for group in {row.group for row in bundle.rows()}:
        held = [row.volume for row in bundle.rows() if row.group == group]
        assert len(set(held)) == len(held)
    for number in bundle.here:
        bundle.without(number).unpack(site.place / "back")
        assert digests(site.place / "back") == digests(bundle.source)
        shutil.rmtree(site.place / "back")


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment(fleet: Site, seed: int) -> None:
    killed_and_finished(fleet, random.Random(200 + seed), 1 + seed % 3)
    shutil.rmtree(fleet.place / "back")
    survives(fleet, fleet.bundle())


def test_parity_is_put_when_all_members_have_their_names(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a member that is killed on its way is sealed anew, and finished parity is written again."""
    others_done, put, take = threading.Event(), here._put, here._Here.take_slice
    parity: list[list[int]] = []

    def put_late(job: Job, space: Workspace, sealed: Sealed, role: str, team: Team, position: int) -> Finished:
        if role == PARITY:
            named = {path.name for path in tmp_path.glob("*/*/*") if path.is_file()}
            parity.append([number for number in range(team.count) if segment_name(team.first + number) not in named])
        elif sealed.geometry.number == 0:
            assert others_done.wait(10)
        return put(job, space, sealed, role, team, position)

    def taken(run: here._Here, part: Slice) -> tuple[list[Row], bool]:
        made = take(run, part)
        if part.number == 1:
            others_done.set()
        return made

    monkeypatch.setattr(here, "_put", put_late)
    monkeypatch.setattr(here._Here, "take_slice", taken)
    source = write_tree(tmp_path / "source", {"weights": noise(2 * MIB, 5)})
    drives = [str(tmp_path / name) for name in DRIVES]
    for drive in drives:
        os.mkdir(drive)
    made = api.pack(str(source), drives, sign=keys.packer, to=[keys.reader.public], lose=1, pace=PACE,
                    options=Options(segment_size=MIB))
    assert (made.segments, parity) == (2, [[]])


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(300, 350))
def test_killed_more_often(fleet: Site, seed: int) -> None:
    killed_and_finished(fleet, random.Random(seed), 1 + seed % 4)
    shutil.rmtree(fleet.place / "back")
    survives(fleet, fleet.bundle())


@pytest.mark.parametrize("at", range(3))
def test_another_drive_in_place_of_a_lost_one(fleet: Site, at: int) -> None:
    """What was on it is made anew, under salts that were never used; what the others hold of the source stays."""
    stopped_after(fleet, 5, signal.SIGKILL)
    kept, salts = fleet.segments(), fleet.salts()
    parity = {f"{number:08d}.abs" for number in range(SEGMENTS, 2 * SEGMENTS)}  # those of other data are others
    lost = {path.name for path in (fleet.place / DRIVES[at]).glob("*/*.abs")} | parity
    assert kept.keys() - lost
    shutil.rmtree(fleet.place / DRIVES[at])
    (fleet.place / "spare").mkdir()
    drives = list(DRIVES)
    drives[at] = "spare"
    again = dataclasses.replace(fleet, drives=tuple(drives))
    bundle = again.finish()
    after = again.segments()
    assert {name: after[name] for name in kept if name not in lost} == {
        name: where for name, where in kept.items() if name not in lost}
    assert bundle.all[at + 1].parent.name == "spare"
    assert not {salt for _, salt in again.salts() - salts} & {salt for _, salt in salts}
    survives(again, bundle)


def test_the_drive_that_was_replaced_turns_up_again(fleet: Site) -> None:
    """It holds segments of the same bundle and numbers, from another attempt: they are not those that were signed."""
    stopped_after(fleet, 6, signal.SIGKILL)
    (fleet.place / "one").rename(fleet.place / "old")
    (fleet.place / "spare").mkdir()
    bundle = dataclasses.replace(fleet, drives=("spare", "two", "three")).finish()
    (old,) = (fleet.place / "old").iterdir()
    stale = dataclasses.replace(bundle, all={**bundle.all, 1: old})
    report = stale.report(11)
    assert report.missing == ()
    assert report.misplaced
    assert report.altered == 0
    stale.unpack(fleet.place / "back")
    assert digests(fleet.place / "back") == digests(bundle.source)


def assert_kept(kept: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], bundle: Spread) -> None:
    """No finished segment was written again. Parity may be: one worker had noted a member and was killed before it was
    renamed, the other had made the parity of it; what has no file is made anew, with another salt."""
    parity = {segment_name(row.number) for row in bundle.rows() if row.role == PARITY}
    changed = {name for name in kept if after[name] != kept[name]}
    assert changed <= parity
    assert len(changed) <= 1


@pytest.mark.parametrize("order", [("three", "one", "two"), ("two", "three", "one")])
def test_the_same_drives_in_another_order(fleet: Site, order: tuple[str, ...]) -> None:
    """A drive keeps the number that it was given."""
    stopped_after(fleet, 4, signal.SIGKILL)
    kept = fleet.segments()
    bundle = dataclasses.replace(fleet, drives=order).finish()
    after = fleet.segments()
    assert_kept(kept, after, bundle)
    assert [path.parent.name for path in bundle.all.values()] == list(DRIVES)
    survives(fleet, bundle)


def test_one_drive_more(fleet: Site) -> None:
    """Groups that were begun stay on three drives; the others have four."""
    stopped_after(fleet, 3, signal.SIGKILL)
    kept = fleet.segments()
    (fleet.place / "four").mkdir()
    again = dataclasses.replace(fleet, drives=(*DRIVES, "four"))
    bundle = again.finish()
    after = again.segments()
    assert_kept(kept, after, bundle)
    assert [path.name.split("of")[-1] for path in bundle.all.values()] == ["4.airbundle"] * 4
    assert any(row.volume == 4 for row in bundle.rows())
    survives(again, bundle)
    assert not fleet.glob("*of3.airbundle")


def test_fewer_drives_than_it_was_begun_with(fleet: Site) -> None:
    """Refused, and nothing is touched; with as many as before it goes on."""
    stopped_after(fleet, 4, signal.SIGKILL)
    kept = fleet.segments()
    fewer = dataclasses.replace(fleet, drives=DRIVES[:2])
    process = fewer.start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "fewer drives than when this pack was begun" in err
    assert fleet.segments() == kept
    survives(fleet, fleet.finish())


def test_what_may_be_lost_stays_as_it_was_begun(fleet: Site) -> None:
    """Without --lose the first run chose 1 of three; with two drives that is the same pack, not a new one."""
    by_default = dataclasses.replace(fleet, lose=None)
    stopped_after(by_default, 4, signal.SIGKILL)
    kept = fleet.segments()
    process = dataclasses.replace(by_default, drives=DRIVES[:2]).start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "fewer drives than when this pack was begun" in err
    bundle = by_default.finish()
    assert bundle.statement().lose == 1
    assert_kept(kept, fleet.segments(), bundle)


def test_it_expires_so_many_days_after_it_was_begun(fleet: Site) -> None:
    """The same command a second later is the same command."""
    site = dataclasses.replace(fleet, more=("--expires", "+90d"))
    stopped_after(site, 4, signal.SIGKILL)
    kept = site.segments()
    bundle = site.finish()
    assert {name: site.segments()[name] for name in kept} == kept
    statement = bundle.statement()
    assert statement.expires == statement.created + 90 * 86_400


@pytest.mark.parametrize("segments", [1, 4])
def test_a_drive_that_was_wiped(fleet: Site, segments: int) -> None:
    """The same folder, empty: as a new drive."""
    stopped_after(fleet, segments, signal.SIGKILL)
    shutil.rmtree(fleet.place / "two")
    (fleet.place / "two").mkdir()
    survives(fleet, fleet.finish())


def test_an_interrupt(fleet: Site) -> None:
    status, out, err = stopped_after(fleet, 2, signal.SIGINT)
    assert status == 130, err
    assert "safe to unplug" not in out + err
    assert not fleet.glob("*/statement.rec")
    survives(fleet, fleet.finish())


def test_a_drive_that_is_not_mounted_any_more(fleet: Site) -> None:
    """The same command does not go on in the folder below its mount point, on the system's own disk."""
    two = fleet.place / "two"
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "none", str(two)], check=False,
                                           capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        stopped_after(fleet, 4, signal.SIGKILL)
    finally:
        subprocess.run(["umount", str(two)], check=True)
    process = fleet.start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 9
    assert f"no drive is mounted at {two} any more" in err
    assert list(two.iterdir()) == []
    (fleet.place / "spare").mkdir()
    survives(fleet, dataclasses.replace(fleet, drives=("one", "spare", "three")).finish())
