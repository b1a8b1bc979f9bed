"""Imports in which something else happens in the middle: another run, another import, a program, a person."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api, station_api
from airbundle.cli.main import main
from airbundle.errors import AirbundleError, IncompleteError, MediumError, PolicyError, StrangerError, UsageError
from airbundle.media.volume import CATALOGS
from airbundle.station.intake import intake
from airbundle.station.state import Database
from airbundle.station.states import ImportState
from airbundle.station.station import Station
from airbundle.station.waivers import make_waiver
from tests.station.desk import DAY, Desk
from tests.transfer.workshop import PACE, block_of, flip, overwrite, with_digest

if TYPE_CHECKING:
    from collections.abc import Callable


def alter(volume: str) -> None:
    """A block that somebody wrote, with a digest of its own, in a segment of this volume."""
    segment = min(Path(volume).glob("0000000?.abs"))
    size = int.from_bytes(segment.read_bytes()[68:72], "little")
    flip(segment, 5 * size + 300)
    overwrite(segment, 5 * size, with_digest(block_of(segment, 5, size)))


def waiver(desk: Desk, subject: str, *codes: str) -> bytes:
    import time

    return make_waiver(desk.people.admin, subject=subject, allow=codes, reason="x", now=int(time.time()), seconds=DAY)


def test_what_was_altered_on_an_earlier_drive_is_not_forgotten(desk: Desk) -> None:
    volumes = desk.pack(drives=3, sequence=1)
    alter(volumes[0])
    desk.refused("altered-blocks", 6, [volumes[0]])  # before it waits for others
    desk.rule('[bundle]\naltered-blocks = "accept"\n')
    with pytest.raises(IncompleteError) as caught:
        desk.take([volumes[0]])
    report: Any = caught.value.report
    assert desk.receipt(report).blocks.altered == 1
    desk.rule('[bundle]\naltered-blocks = "refuse"\n')
    error: Any = desk.refused("altered-blocks", 6, volumes[1:])
    receipt = desk.receipt(error.report)
    assert receipt.blocks.altered == 1
    assert {drive.volume for drive in receipt.drives} == {1, 2, 3}


def test_a_receipt_names_the_drives_of_all_runs(desk: Desk) -> None:
    volumes = desk.pack(drives=3, sequence=1)
    with pytest.raises(IncompleteError):
        desk.take([volumes[0]])
    result = desk.take(volumes[1:])
    assert sorted(drive.volume for drive in desk.receipt(result).drives) == [1, 2, 3]


def test_a_series_that_moves_on_in_the_middle(desk: Desk) -> None:
    """Refused at the last moment; with a waiver that was not needed before, let in, and nobody waits for ever."""
    older, newer = desk.pack("a", sequence=41), desk.pack("bb", sequence=43)

    def meanwhile(state: ImportState) -> None:
        if state is ImportState.EXAMINED and "bb" not in taken:
            taken.append("bb")
            desk.take(newer)

    taken: list[str] = []
    with pytest.raises(PolicyError) as caught:
        desk.take(older, announce=meanwhile)
    assert caught.value.code == "rollback"
    report: Any = caught.value.report
    taken.clear()
    shutil.rmtree(desk.high)
    desk.__post_init__()
    with Station(desk.policy()) as station:
        result = intake(older, station, pace=PACE, announce=meanwhile, waivers=[waiver(
            desk, report.statement, "rollback")])
    assert result.state == "published"
    assert desk.receipt(result)
    assert [line.code for line in desk.audit() if line.event == "waived"] == ["rollback"]


@pytest.mark.parametrize("deed", ['echo >> "$1/config.json"', 'rm "$1/README.md"', 'touch "$1/new"',
                                  'ln -s /etc "$1/new"'])
def test_a_scanner_cannot_change_what_is_published(desk: Desk, deed: str) -> None:
    program = desk.place / "scanner"
    program.write_text(f"#!/bin/sh\n{deed}\n")
    program.chmod(0o755)
    desk.rule(f'[[gates.scanners]]\nname = "own"\ncommand = ["{program}", "{{folder}}"]\nclean = [0]\nfinding = [1]\n')
    error = desk.refused("gate-error", 7, desk.pack(sequence=1))
    assert "changed what it examined" in str(error)
    assert not os.listdir(desk.high / "models" / ".airbundle-staging")


def test_what_follows_a_publication_can_fail_and_is_done_later(desk: Desk) -> None:
    folder = desk.high / "models" / "model" / "current"
    (folder / "in the way").mkdir(parents=True)
    volumes = desk.pack("a", sequence=1)
    result = desk.take(volumes)
    assert result.state == "published"
    assert any("published, but" in note for note in result.notes)
    other = desk.take(desk.pack("bb", sequence=1, series="other", label="other"))
    assert desk.receipt(other).state == "published"
    shutil.rmtree(folder)
    done = desk.take(volumes)
    assert done.state == "published"
    assert os.readlink(folder) == result.bundle
    assert desk.receipt(done).bundle == result.bundle
    desk.refused("replay", 6, volumes)


def test_what_was_not_published_has_no_receipt_that_says_so(desk: Desk) -> None:
    """The target is taken between the last look and the rename."""
    volumes = desk.pack(sequence=1)
    with pytest.raises(AirbundleError):
        desk.take(volumes, announce=lambda state: (
            (target(desk, volumes) / "x").mkdir(parents=True) if state is ImportState.EXAMINED else None))
    for path in (desk.high / "state").rglob("*.json"):
        receipt, _ = station_api.read_receipt(str(path), trust=None)
        assert receipt.state != "published"
    shutil.rmtree(desk.high / "models" / "model")
    assert desk.take(volumes).state == "published"


def target(desk: Desk, volumes: list[str]) -> Path:
    return desk.high / "models" / "model" / api.inspect(volumes).bundle


def test_the_ledger_forgets_nothing_when_a_waived_replay_fails(desk: Desk) -> None:
    volumes = desk.pack(series=None)
    result = desk.take(volumes)
    error: Any = desk.refused("replay", 6, volumes)
    paper = desk.place / "paper"
    paper.write_bytes(waiver(desk, error.report.statement, "replay"))
    desk.refused("occupied", 6, volumes, waivers=[str(paper)])
    shutil.rmtree(result.target)
    with pytest.raises(AirbundleError):
        desk.take(volumes, waivers=[str(paper)], announce=lambda state: (
            (Path(result.target) / "x").mkdir(parents=True) if state is ImportState.EXAMINED else None))
    shutil.rmtree(result.target)
    desk.refused("replay", 6, volumes)


def test_refusals_before_a_bundle_is_open_leave_a_receipt_too(desk: Desk) -> None:
    volumes = desk.pack("a", sequence=1)
    forged = desk.place / "forged"
    forged.write_bytes(make_waiver(desk.people.mallory, subject="ab" * 32, allow=["replay"], reason="x",
                                   now=0, seconds=1 << 40))
    with pytest.raises(StrangerError) as caught:
        desk.take(volumes, waivers=[str(forged)])
    report: Any = caught.value.report
    assert desk.receipt(report).code == "stranger"
    assert desk.audit()[-1].code == "stranger"
    with pytest.raises(UsageError) as nothing:
        desk.take([str(desk.place)])
    report = nothing.value.report
    assert desk.receipt(report).code == "usage"


def test_an_older_ledger_is_seen_by_audit_verify(desk: Desk) -> None:
    desk.take(desk.pack("a", sequence=1))
    ledger = desk.high / "state" / "ledger.sqlite"
    with Station(desk.policy()):
        pass  # its log is written back into the file
    older = ledger.read_bytes()
    desk.take(desk.pack("bb", sequence=2))
    for path in (desk.high / "state").glob("ledger.sqlite*"):
        path.unlink()
    faults, _ = station_api.check_audit(str(desk.high / "state"))
    assert "no ledger" in faults[0].what
    ledger.write_bytes(older)
    faults, _ = station_api.check_audit(str(desk.high / "state"))
    assert "backup" in faults[0].what
    assert main(["audit", "verify", str(desk.high / "state")]) == 4


def test_a_refused_ledger_stays_refused(desk: Desk) -> None:
    """The line of the refusal does not make the two agree."""
    desk.take(desk.pack("a", sequence=1))
    second = desk.pack("bb", sequence=2)
    with Station(desk.policy()):
        pass
    older = (desk.high / "state" / "ledger.sqlite").read_bytes()
    desk.take(second)
    for path in (desk.high / "state").glob("ledger.sqlite*"):
        path.unlink()
    (desk.high / "state" / "ledger.sqlite").write_bytes(older)
    for _ in range(3):
        with pytest.raises(PolicyError) as caught:
            desk.take(second)
        assert caught.value.code == "ledger-restored"
        report: Any = caught.value.report
        assert desk.receipt(report).code == "ledger-restored"


def test_custody_of_another_volume_proves_nothing(desk: Desk) -> None:
    desk.rule('[custody]\nchain = "refuse"\nrequired = ["handed-over"]\n')
    first, second = desk.pack(drives=2, sequence=1)
    api.add_custody(first, sign=desk.people.alice, kind="handed-over", trust=desk.people.trust())
    shutil.copytree(Path(first) / "custody", Path(second) / "custody")
    error = desk.refused("custody", 6, [first, second])
    assert "handed-over" in str(error)


def test_a_label_belongs_to_one_series(desk: Desk) -> None:
    desk.take(desk.pack("a", sequence=1))
    desk.refused("label", 6, desk.pack("bb", sequence=1, series="other"))
    desk.refused("label", 6, desk.pack("ccc", series=None))
    desk.take(desk.pack("dddd", sequence=1, series="other", label="other"))


def test_an_interrupted_import_goes_on(desk: Desk) -> None:
    """Ctrl-C after everything was unpacked: the next run reads nothing of the segments again."""
    volumes = desk.pack(sequence=1)

    def stop(state: ImportState) -> None:
        if state is ImportState.UNPACKED:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.take(volumes, announce=stop)
    assert desk.audit()[-1].event == "interrupted"
    result = desk.take(volumes)
    assert result.read == sum((Path(volumes[0]) / name).stat().st_size for name in CATALOGS)


@pytest.mark.parametrize("make", [lambda folder: folder.chmod(0o755), lambda folder: folder.chmod(0o770)])
def test_a_state_folder_that_others_can_enter(desk: Desk, make: Callable[[Path], None]) -> None:
    volumes = desk.pack(sequence=1)
    state = desk.high / "state"
    state.mkdir(mode=0o700)
    make(state)
    with pytest.raises(UsageError):
        desk.take(volumes)
    state.chmod(0o700)
    desk.take(volumes)


def test_a_ledger_that_is_none(desk: Desk) -> None:
    path = desk.place / "ledger"
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(MediumError):
        Database(str(path))


def test_files_let_in_unexamined_are_told(desk: Desk) -> None:
    desk.rule('[gates]\nunexamined = ["*.onnx"]\n')
    result = desk.take(desk.pack(sequence=1, files={"a.onnx": bytes(range(256)) * 8}))
    assert any("a.onnx" in note for note in result.notes)
