"""The watcher and real USB: the kernel's own drivers, sticks that are plugged, pulled and put back, and bad sectors.

One machine and one watcher for all of it, as at a station; each test brings its own sticks and takes them away.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.station.receipts import Receipt, parse_receipt
from tests.devices.equipment import require
from tests.devices.sticks import MIB, make_stick, sector_of
from tests.station.desk import Desk, People, safetensors
from tests.transfer.workshop import KIB, with_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devices.lines import Command
    from tests.devices.machine import Machine

pytestmark = [pytest.mark.devices, pytest.mark.timeout(300)]

ENDS = ("imported", "known", "waiting", "empty", "unreadable", "refused", "failed")
HOME = "/var/station"
RULES = """
[watch]
user = "nobody"

[[devices.allow]]
bus = "usb"
serial = "AIRB-s-*"
"""


class Station:
    """A desk on this machine, its high side in the guest, and the watcher there."""

    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine = machine
        self.desk = Desk(People(*(generate() for _ in range(6))), place)
        self.desk.rule(RULES)
        self.watcher = self.start()

    def start(self) -> Command:
        shutil.copytree(self.desk.high, self.machine.folder / "station")
        self.machine.output(f"cp -r {self.machine.folder}/station {HOME} && chown -R nobody {HOME}")
        return self.machine.start(sys.executable, "-m", "airbundle", "watch", "--json", "--policy",
                                  f"{HOME}/policy.toml")

    def stick(self, name: str, volumes: list[str], kind: str = "vfat", size: int = 32 * MIB) -> Path:
        content = self.desk.place / f"{name}.content"
        content.mkdir()
        for volume in volumes:
            shutil.copytree(volume, content / os.path.basename(volume))
        image = self.desk.place / f"{name}.img"
        if kind == "exfat":
            self.machine.fill(make_stick(image, kind, size=size), content)
            return image
        return make_stick(image, kind, content=content, size=size)

    def plug(self, name: str, image: Path, **more: Any) -> None:
        self.machine.plug(f"s-{name}", image, **more)

    def pull(self, name: str) -> None:
        self.machine.pull(f"s-{name}")

    def verdict(self, name: str, *states: str, timeout: float = 60) -> dict[str, Any]:
        """What the watcher says when the stick comes to one of these states."""
        serial = f"AIRB-s-{name}"

        def fits(line: str) -> bool:
            told = json.loads(line)
            return told.get("drive", {}).get("serial") == serial and told["state"] in states

        found: dict[str, Any] = json.loads(self.watcher.expect(fits, timeout, since=0))
        return found

    def receipt(self, told: dict[str, Any]) -> Receipt:
        """The receipt that this verdict names; its signature holds."""
        raw = self.machine.output(f"cat {told['import']['receipt']}").encode()
        return parse_receipt(raw, TrustSet([NamedIdentity("station", self.desk.people.station.public)]))[0]

    def states(self, name: str) -> list[str]:
        lines = [json.loads(line) for line in self.watcher.lines]
        return [line["state"] for line in lines if line.get("drive", {}).get("serial") == f"AIRB-s-{name}"]


@pytest.fixture(scope="module")
def station(booted: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    require("machine")
    made = Station(booted, tmp_path_factory.mktemp("desk"))
    yield made
    booted.tidy()


def noisy(seed: int, size: int = 2 * MIB) -> dict[str, bytes]:
    noise = random.Random(seed).randbytes(size)
    return {"notes.txt": f"{seed}".encode(), "model.safetensors": safetensors({"w": noise})}


def middle(segment: Path) -> bytes:
    """The block in the middle of a segment."""
    data = segment.read_bytes()
    size = data.index(data[:8], 1)  # each block begins with the same bytes
    at = len(data) // 2 // size * size
    return data[at:at + size]


@pytest.mark.parametrize("kind", ["vfat", "exfat", "ext4"])
def test_a_good_stick_is_imported(station: Station, kind: str) -> None:
    image = station.stick(f"good-{kind}", station.desk.pack(f"good-{kind}", files=noisy(1)), kind)
    station.plug(f"good-{kind}", image)
    told = station.verdict(f"good-{kind}", *ENDS)
    assert (told["state"], told["import"]["exit_status"]) == ("imported", 0)
    assert told["drive"]["file_system"] == kind
    assert station.machine.output(f"cat {told['import']['target']}/notes.txt") == "1"
    assert station.receipt(told).state == "published"
    assert "/dev/sd" not in station.machine.output("cat /proc/mounts")
    station.pull(f"good-{kind}")
    station.verdict(f"good-{kind}", "removed")


def test_bad_sectors_are_repaired_from_the_stick_itself(station: Station) -> None:
    volumes = station.desk.pack("bad", files=noisy(2))
    image = station.stick("bad", volumes)
    segments = sorted(Path(volumes[0]).glob("0*.abs"))
    bad = [sector_of(image, middle(segment)[:512]) for segment in segments[1:4]]
    station.plug("bad", image, bad_sector=bad)
    told = station.verdict("bad", *ENDS)
    assert told["state"] == "imported"
    blocks = station.receipt(told).blocks
    assert blocks.unreadable > 0
    assert station.machine.output(f"sha256sum {told['import']['target']}/model.safetensors").split()[0] == sha256(
        noisy(2)["model.safetensors"]).hexdigest()


def test_pulled_while_it_is_read_and_put_back(station: Station) -> None:
    """It is said to be pulled, nothing else; and what was verified is not read again."""
    size = 12 * MIB
    image = station.stick("pulled", station.desk.pack("pulled", files=noisy(3, size), segment_size=MIB))
    station.plug("pulled", image, bytes_per_second=2 * MIB)
    half = json.loads(station.watcher.expect(lambda line: (json.loads(line).get("done") or 0) > size // 3, 60))
    station.pull("pulled")
    told = station.verdict("pulled", *ENDS, "pulled")
    assert told["state"] == "pulled"
    told = json.loads(station.watcher.expect(lambda line: json.loads(line)["event"] == "receipt", 60))
    assert station.receipt(told).code == told["import"]["code"] == "pulled"
    station.plug("again", image)
    rest = json.loads(station.watcher.expect(lambda line: json.loads(line).get("phase") == "unpacking", 60))
    assert rest["total"] <= half["total"] - half["done"]
    assert station.verdict("again", *ENDS)["state"] == "imported"
    assert "failed" not in station.states("pulled")


def test_three_drives_through_one_port_and_one_never_comes(station: Station) -> None:
    volumes = station.desk.pack("three", files=noisy(4), drives=3, segment_size=256 * KIB)
    images = [station.stick(f"three{number}", [volume]) for number, volume in enumerate(volumes)]
    for turn, number in enumerate((0, 2)):
        station.plug(f"turn{turn}", images[number])
        assert station.verdict(f"turn{turn}", *ENDS)["state"] == "waiting"
        station.pull(f"turn{turn}")
        station.verdict(f"turn{turn}", "removed")
    station.plug("turn2", images[0])
    told = station.verdict("turn2", *ENDS)
    assert told["state"] == "imported"
    assert {drive.volume for drive in station.receipt(told).drives} == {1, 3}


def test_a_strangers_bundle_and_a_tampered_one_and_one_again(station: Station) -> None:
    strange = station.desk.pack("strange", files=noisy(5), by=station.desk.people.mallory, released=False)
    good = station.desk.pack("again", files=noisy(6))
    tampered = station.desk.place / "tampered" / os.path.basename(good[0])
    shutil.copytree(good[0], tampered)
    segment = sorted(tampered.glob("0*.abs"))[1]
    block = middle(segment)
    segment.write_bytes(segment.read_bytes().replace(block, with_digest(block[:1000] + b"evil" + block[1004:])))
    for name, volumes, code in (("strange", strange, "stranger"), ("tampered", [str(tampered)], "altered-blocks"),
                                ("good", good, ""), ("replay", good, "replay")):
        image = station.stick(name, volumes)
        station.plug(name, image)
        told = station.verdict(name, *ENDS)
        assert told["import"]["code"] == code, told
        assert told["state"] == {"": "imported", "replay": "known"}.get(code, "refused")
        assert station.receipt(told).code == code
        station.pull(name)


def test_what_is_not_on_the_list_is_never_mounted(station: Station) -> None:
    image = station.stick("unlisted", station.desk.pack("unlisted", files=noisy(7)))
    station.machine.plug("t-unlisted", image)
    told = json.loads(station.watcher.expect(
        lambda line: json.loads(line)["event"] == "receipt", 60))
    assert (told["state"], told["drive"]["serial"]) == ("barred", "AIRB-t-unlisted")
    receipt = station.receipt(told)
    assert (receipt.code, receipt.exit) == ("unknown-drive", 6)
    lines = [json.loads(line) for line in station.watcher.lines]
    assert [line["state"] for line in lines if line.get("drive", {}).get("serial") == "AIRB-t-unlisted"] == [
        "attached", "barred", "barred"]
