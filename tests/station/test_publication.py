"""The moment of publication: never said where it was not, never denied where it was, whoever comes in between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import station_api
from airbundle.errors import AirbundleError, MediumError
from airbundle.media.staging import StagingTree
from airbundle.station import publish
from airbundle.station import station as stations
from airbundle.station.ledger import Ledger
from airbundle.station.station import Station
from tests.station.desk import Desk
from tests.transfer.workshop import digests

if TYPE_CHECKING:
    from collections.abc import Sequence

HUB = '[publish]\nlayout = "hf-cache"\n'
HUB_NOTES = (("hf-repo", "o/m"), ("hf-revision", "ab" * 20))


def fail(*_: object, **__: object) -> None:
    raise MediumError("no space is left")


def target_of(desk: Desk, volumes: Sequence[str]) -> Path:
    from airbundle import api

    return desk.high / "models" / "model" / api.inspect(volumes).bundle


def test_a_folder_at_the_target_is_no_publication(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder may be there before. A publication that failed is not taken for one because of it."""
    volumes = desk.pack(sequence=1)
    target = target_of(desk, volumes)
    target.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(StagingTree, "publish", fail)
        patch.setattr(Ledger, "settle", fail)  # as after a kill: the next run finds the intention
        with pytest.raises(MediumError) as caught:
            desk.take(volumes)
    report: Any = caught.value.report
    assert (report.state, report.receipt) == ("examined", "")
    assert "same command" in caught.value.hint
    with Station(desk.policy()) as station:
        assert station.ledger.highest("llama") is None
    assert desk.take(volumes).target == str(target)
    assert digests(target) == digests(desk.place / "one" / "source")


def test_a_transaction_without_room_when_the_content_is_in_its_place(desk: Desk,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """It is settled at once: what is there was published, and a receipt says so."""
    volumes = desk.pack(sequence=1)
    honest = Ledger._enter
    failed: list[bool] = []

    def no_room(self: Ledger, entry: Any, newest: int) -> None:
        if not failed:
            failed.append(True)
            fail()
        honest(self, entry, newest)

    monkeypatch.setattr(Ledger, "_enter", no_room)
    result = desk.take(volumes)
    assert result.state == desk.receipt(result).state == "published"
    assert any("no space is left" in note for note in result.notes)
    desk.refused("replay", 6, volumes)


def test_a_rename_that_fails_is_a_failure_with_a_receipt_that_says_so(desk: Desk,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = desk.pack(sequence=1)
    with monkeypatch.context() as patch:
        patch.setattr(StagingTree, "publish", fail)
        desk.refused("environment", 9, volumes)
    assert not list((desk.high / "state" / "held").iterdir())
    assert desk.take(volumes).state == "published"


def test_the_link_to_the_newest_is_not_turned_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped before the link was set is finished later, behind the next."""
    first, second = desk.pack("a", sequence=1), desk.pack("bb", sequence=2)
    with monkeypatch.context() as patch:
        patch.setattr(stations, "point_at", fail)
        assert any("published, but" in note for note in desk.take(first).notes)
        patch.setattr(stations, "point_at", lambda layout, target: publish.point_at(layout, target)
                      if target_of(desk, second).name in target else fail())
        result = desk.take(second)
    desk.take(desk.pack("ccc", sequence=1, series="c", label="c"))
    assert os.readlink(desk.high / "models" / "model" / "current") == result.bundle
    assert not list((desk.high / "models").rglob("*.part"))


def test_a_state_folder_without_room_is_not_taken_for_a_backup(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log takes a line, the ledger cannot: no second one follows, and later all goes on."""
    volumes = desk.pack(sequence=1)
    with Station(desk.policy()) as station:
        station.settle(())
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_remember", fail)
        for _ in range(3):
            with pytest.raises(AirbundleError) as caught:
                desk.take(volumes)
            assert caught.value.exit_status == 9
    assert len(list(station_api.audit_log(str(desk.high / "state")).lines())) <= 1
    assert desk.take(volumes).state == "published"


@pytest.mark.parametrize("kind", ["link", "pipe", "other"])
def test_what_lies_where_a_blob_belongs(desk: Desk, kind: str) -> None:
    """A link could be turned elsewhere after it was compared, and nobody waits for a pipe."""
    desk.rule(HUB)
    volumes = desk.pack(sequence=1, meta=HUB_NOTES)
    source = desk.place / "one" / "source" / "model.safetensors"
    blob = desk.high / "models" / "models--o--m" / "blobs" / digests(source.parent)[source.name]
    blob.parent.mkdir(parents=True)
    if kind == "link":
        blob.symlink_to(source)
    elif kind == "pipe":
        os.mkfifo(blob)
    else:
        blob.write_bytes(b"x")
    with pytest.raises(MediumError, match="a blob of this name"):
        desk.take(volumes)
    assert not (blob.parents[1] / "snapshots").exists()
    blob.unlink()
    assert digests(Path(desk.take(volumes).target)) == digests(source.parent)


@pytest.mark.parametrize(("layout", "link"), [
    ("plain", "model"), ("plain", ".airbundle-staging"), ("hf-cache", "models--o--m"),
    ("hf-cache", "models--o--m/blobs"), ("hf-cache", "models--o--m/refs"), ("hf-cache", "models--o--m/snapshots")])
def test_links_that_were_planted_under_the_root(desk: Desk, layout: str, link: str) -> None:
    """Nothing is written outside the publish root; that itself may be a link."""
    desk.rule(f'[publish]\nlayout = "{layout}"\n')
    volumes = desk.pack(sequence=1, meta=HUB_NOTES)
    outside, root, planted = desk.place / "outside", desk.place / "root", desk.high / "models" / link
    outside.mkdir()
    root.mkdir()
    (desk.high / "models").symlink_to(root)
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.symlink_to(outside)
    desk.refused("environment", 9, volumes)
    assert not os.listdir(outside)
    planted.unlink()
    desk.take(volumes)
    assert digests(root)


def test_a_bundle_of_a_name_that_is_no_text(desk: Desk) -> None:
    """The drive is mounted under any bytes; log and receipt take them as escapes."""
    (volume,) = desk.pack(sequence=1)
    odd = os.fsencode(desk.place) + b"/odd\xff"
    os.mkdir(odd)
    os.rename(os.fsencode(volume), odd + b"/" + os.path.basename(os.fsencode(volume)))
    receipt = desk.receipt(desk.take([os.fsdecode(odd)]))
    assert "\\udcff" in receipt.drives[0].path


def test_many_events_of_strangers_make_no_receipt_too_long(desk: Desk) -> None:
    (volume,) = desk.pack(sequence=1)
    folder = Path(volume) / "custody"
    folder.mkdir()
    for number in range(900):
        (folder / f"{number:04d}-packed.json").write_bytes(b"{}")
    receipt = desk.receipt(desk.take([volume]))
    assert receipt.drives[0].broken
