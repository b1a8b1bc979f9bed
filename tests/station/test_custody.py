"""Events of custody: chained, signed, named when broken, and the drive that is not the recorded one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.crypto.keyfiles import write_private
from airbundle.errors import FormatError, UsageError
from tests.station.desk import Desk
from tests.transfer.workshop import PACE

if TYPE_CHECKING:
    from airbundle.crypto.identities import PrivateIdentity

KINDS = ("packed", "handed-over", "received")


def add(desk: Desk, volume: str, kind: str, by: PrivateIdentity | None = None, **more: str) -> None:
    api.add_custody(volume, sign=by or desk.people.alice, kind=kind, trust=desk.people.trust(), **more)


def problems(desk: Desk, volume: str) -> tuple[str, ...]:
    return api.read_custody(volume, trust=desk.people.trust()).problems


@pytest.fixture
def handed(desk: Desk) -> tuple[Desk, str]:
    (volume,) = desk.pack(sequence=1)
    for kind in KINDS:
        add(desk, volume, kind, seal="A-17")
    return desk, volume


def test_a_chain_that_holds(handed: tuple[Desk, str]) -> None:
    desk, volume = handed
    chain = api.read_custody(volume, trust=desk.people.trust())
    assert [(link.event.number, link.event.event, link.name, link.problem) for link in chain.links] == [
        (number, kind, "alice", "") for number, kind in enumerate(KINDS, 1)]
    assert not chain.problems
    assert sorted(os.listdir(Path(volume) / "custody")) == [f"{number:04d}-{kind}.json"
                                                            for number, kind in enumerate(KINDS, 1)]
    report = api.verify([volume], trust=desk.people.trust(), pace=PACE)
    assert not report.ignored
    receipt = desk.receipt(desk.take([volume]))
    assert receipt.drives[0].events == tuple(f"{kind} by alice, seal A-17" for kind in KINDS)


def test_what_was_done_to_it_is_named(handed: tuple[Desk, str]) -> None:
    desk, volume = handed
    folder = Path(volume) / "custody"
    honest = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "0002-handed-over.json").unlink()
    assert problems(desk, volume)[0].startswith("event 2 is missing")
    with pytest.raises(UsageError):
        add(desk, volume, "checked")
    (folder / "0002-handed-over.json").write_bytes(honest["0003-received.json"])
    assert any(problem.startswith("event 2 is missing") for problem in problems(desk, volume))
    (folder / "0002-handed-over.json").write_bytes(honest["0002-handed-over.json"])
    (folder / "0001-packed.json").unlink()
    add_alone = Path(volume) / "custody" / "0001-checked.json"
    other = desk.place / "other"
    shutil.copytree(volume, other / os.path.basename(volume))
    shutil.rmtree(other / os.path.basename(volume) / "custody")
    add(desk, str(other), "checked")
    (added,) = (other / os.path.basename(volume) / "custody").iterdir()
    add_alone.write_bytes(added.read_bytes())
    assert "event 2 follows another than the one before it" in problems(desk, volume)


def test_an_event_of_a_stranger_or_of_another_bundle(desk: Desk) -> None:
    (volume,), (other,) = desk.pack("a", sequence=1), desk.pack("bb", sequence=2)
    add(desk, volume, "packed", by=desk.people.mallory, serial="FORGED")
    assert "whom nobody here trusts" in problems(desk, volume)[0]
    assert api.read_custody(volume, trust=desk.people.trust()).serial == ""
    shutil.rmtree(Path(volume) / "custody")
    add(desk, other, "packed")
    shutil.copytree(Path(other) / "custody", Path(volume) / "custody")
    assert problems(desk, volume) == ("event 1: it is of another bundle",)
    path = Path(volume) / "custody" / "0001-packed.json"
    raw = path.read_bytes()
    at = raw.index(b'"sig":"') + 20
    path.write_bytes(raw[:at] + (b"B" if raw[at:at + 1] == b"A" else b"A") + raw[at + 1:])
    assert any("signature" in problem or "base64" in problem for problem in problems(desk, volume))


def test_a_policy_that_wants_a_chain(desk: Desk) -> None:
    desk.rule('[custody]\nchain = "refuse"\nrequired = ["handed-over"]\n')
    (volume,) = desk.pack(sequence=1)
    desk.refused("custody", 6, [volume])
    add(desk, volume, "handed-over", by=desk.people.mallory)
    desk.refused("custody", 6, [volume])
    shutil.rmtree(Path(volume) / "custody")
    add(desk, volume, "handed-over")
    desk.take([volume])


def test_the_drive_is_not_the_recorded_one(desk: Desk) -> None:
    desk.rule('[devices]\nrecorded-serial = "refuse"\n')
    (volume,) = desk.pack(sequence=1)
    add(desk, volume, "packed", serial="WD-4711")
    error = desk.refused("changed-serial", 6, [volume])
    assert "WD-4711" in str(error)


@pytest.mark.parametrize("what", ["folder", "link", "pipe", "large", "many", "garbage"])
def test_hostile_folders(desk: Desk, what: str) -> None:
    (volume,) = desk.pack(sequence=1)
    folder = Path(volume) / "custody"
    folder.mkdir()
    place = folder / "0001-packed.json"
    if what == "folder":
        place.mkdir()
    elif what == "link":
        place.symlink_to("/etc/passwd")
    elif what == "pipe":
        os.mkfifo(place)
    elif what == "large":
        place.write_bytes(b"x" * 70_000)
    elif what == "many":
        for number in range(1001):
            (folder / f"{number:04d}-packed.json").touch()
    else:
        place.write_bytes(b"{}")
    with pytest.raises(FormatError):
        problems(desk, volume)
    assert desk.take([volume]).notes
    assert api.verify([volume], trust=desk.people.trust(), pace=PACE).believed_by


def test_by_command(desk: Desk, tmp_path: Path) -> None:
    (volume,) = desk.pack(sequence=1)
    key = tmp_path / "alice.key"
    key.write_bytes(write_private("alice", desk.people.alice, passphrase=None))
    trust = ["--trust", str(desk.high / "keys" / "alice.pub")]
    words = ["custody", "add", volume, "--sign", str(key), *trust]
    assert main([*words, "--event", "packed", "--seal", "A-17"]) == 0
    assert main([*words, "--event", "lost"]) == 2
    assert main(["custody", "add", volume, "--sign", str(key), "--event", "packed"]) == 5  # whose bundle is it?
    assert main(["custody", "show", volume, *trust]) == 0
    assert main(["custody", "show", volume, *trust, "--json"]) == 0
    assert main([*words, "--event", "handed-over"]) == 0
    (Path(volume) / "custody" / "0001-packed.json").unlink()
    assert main(["custody", "show", volume, *trust]) == 5


@pytest.mark.parametrize("kind", ["file", "link", "pipe", "event"])
def test_what_is_planted_there_keeps_no_bundle_out(desk: Desk, kind: str) -> None:
    """Whoever has the drive can put anything where the events should be: it is reported, as the policy says."""
    volumes = desk.pack(sequence=1)
    folder = Path(volumes[0]) / "custody"
    if kind == "file":
        folder.write_text("x")
    elif kind == "link":
        folder.symlink_to(desk.place)
    elif kind == "pipe":
        os.mkfifo(folder)
    else:
        folder.mkdir()
        os.mkfifo(folder / "0001-packed.json")
    desk.rule('[custody]\nchain = "refuse"\n')
    desk.refused("custody", 6, volumes)
    desk.rule('[custody]\nchain = "report"\n')
    receipt = desk.receipt(desk.take(volumes))
    assert receipt.drives[0].broken


def test_events_of_another_volume(desk: Desk) -> None:
    """The chain of one drive does not vouch for another."""
    first, second = desk.pack(sequence=1, drives=2)
    for volume in (first, second):
        add(desk, volume, "packed")
        assert not problems(desk, volume)
    shutil.rmtree(Path(first) / "custody")
    shutil.copytree(Path(second) / "custody", Path(first) / "custody")
    assert problems(desk, first) == ("event 1: it is of volume 2",)


def test_a_flood_of_events_leaves_a_receipt_that_can_be_read(desk: Desk) -> None:
    (volume,) = desk.pack(sequence=1)
    for _ in range(2):
        add(desk, volume, "packed")
    folder = Path(volume) / "custody"
    raw = (folder / "0002-packed.json").read_bytes()
    for number in range(3, 400):
        (folder / f"{number:04d}-packed.json").write_bytes(raw)
    result = desk.take([volume])
    (drive,) = desk.receipt(result).drives
    assert (len(drive.events), drive.events[-1]) == (201, "and 199 more")
    assert (len(drive.broken), drive.broken[-1]) == (201, "and 197 more")
    assert len(" ".join(result.notes)) < 3000
