"""A pack that is killed or stopped at any moment, and the same command again."""

from __future__ import annotations

import base64
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.crypto.envelope import Keyring, open_preamble, parse_preamble
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.crypto.suites import CNSA2
from airbundle.media.volume import SEGMENT_NAME, volume_number
from tests.transfer.workshop import MIB, PACE, Keys, Packed, Spread, block_of, digests, noise, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SEGMENTS = 8


def _hear_interrupts() -> None:
    """A suite that runs in the background of a shell hands down deaf ears."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Site:
    """A source, drives, key files and a state folder of their own. `lock` are the words of the command for it."""

    keys: Keys
    place: Path
    lock: tuple[str, ...] = ()
    drives: tuple[str, ...] = ("drive",)
    lose: int | None = 0
    more: tuple[str, ...] = ()

    @property
    def drive(self) -> Path:
        return self.place / self.drives[0]

    def glob(self, pattern: str) -> list[Path]:
        """What is there now, on all drives."""
        return [path for drive in self.drives for path in (self.place / drive).glob(pattern)]

    @property
    def state(self) -> Path:
        return self.place / "state"

    @property
    def journals(self) -> list[Path]:
        folder = self.state / "airbundle" / "pack"
        return sorted(folder.iterdir()) if folder.exists() else []

    def start(self) -> subprocess.Popen[str]:
        words = ["pack", self.place / "source", "--sign", self.place / "packer.key",
                 *(self.lock or ("--to", self.place / "reader.pub")), "--segment-size", "1M", "--progress", "json",
                 "--jobs", "2", *self.more, *(() if self.lose is None else ("--lose", self.lose))]
        for drive in self.drives:
            words += ["-o", self.place / drive]
        return subprocess.Popen([sys.executable, "-m", "airbundle", *map(str, words)], text=True,
                                env={**os.environ, "XDG_STATE_HOME": str(self.state)},
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                preexec_fn=_hear_interrupts)  # noqa: PLW1509 - one call, in the child

    def finish(self) -> Spread:
        process = self.start()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "safe to unplug" in out
        return self.bundle()

    def bundle(self) -> Spread:
        """The one that was finished, on all drives."""
        folders = [path.parent for path in self.glob("*/statement.json")]
        found = {volume_number(path.name, len(self.drives)): path for path in folders}
        here = tuple(range(1, len(self.drives) + 1))
        assert tuple(sorted(found)) == here
        return Spread(self.keys, self.place / "source", found[1], {number: found[number] for number in here}, here)

    def segments(self) -> dict[str, tuple[int, int]]:
        """Inode and time of each segment that has its final name."""
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
                for path in self.glob("*/*.abs") if SEGMENT_NAME.fullmatch(path.name)}

    def salts(self) -> set[tuple[int, bytes]]:
        """Number and salt of every attempt on the drive, leftovers too."""
        found = set()
        for path in [*self.glob("*/*.abs"), *self.glob("*/.*.part")]:
            head = block_of(path, 0, 128)
            if head[:4] == b"\x89ABS":
                found.add((int.from_bytes(head[88:96], "little"), head[96:112]))
        return found


def make_site(keys: Keys, place: Path, drives: tuple[str, ...] = ("drive",), lose: int = 0) -> Site:
    write_tree(place / "source", {f"w{n}": noise(2 * MIB + n, n) for n in range(SEGMENTS // 2)})
    for name in ("packer", "reader"):
        identity = getattr(keys, name)
        (place / f"{name}.key").write_bytes(write_private(name, identity, passphrase=None))
        (place / f"{name}.pub").write_bytes(write_public(name, identity.public))
    for drive in drives:
        (place / drive).mkdir()
    return Site(keys, place, drives=drives, lose=lose)


@pytest.fixture
def site(keys: Keys, tmp_path: Path) -> Site:
    return make_site(keys, tmp_path)


def busy(site: Site, process: subprocess.Popen[str], random_: random.Random) -> None:
    """Wait for a random event: a number of files on the drive, of names in the journal, or of lines of progress."""
    goal = random_.randrange(4)
    if goal == 0:  # while it starts
        for _ in range(random_.randrange(3000)):
            if process.poll() is not None:
                return
            os.stat(site.place)
        return
    if goal == 1:
        bytes_wanted = random_.randrange(1, 20 * MIB)
        while process.poll() is None:
            if sizes(site.glob("*/*")) >= bytes_wanted:
                return
    elif goal == 2:
        wanted = random_.randrange(1, 40_000)
        while process.poll() is None:
            if sizes(site.journals) >= wanted:
                return
    else:
        count = random_.randrange(1, SEGMENTS + 2)
        while process.poll() is None:
            if len(site.glob("*/[0-9]*.abs")) + len(site.glob("*/statement.rec")) >= count:
                return


def sizes(paths: Iterable[Path]) -> int:
    """Bytes of the files that are there; they come and go."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def no_secret(site: Site, bundle: Packed) -> None:
    """The bundle key stands nowhere in the clear: not on a drive, not in the state folder."""
    row = bundle.rows()[0]
    place = bundle.place(row)
    preamble = block_of(bundle.segment(0), 0, row.block_size)[128:128 + place.preamble_length]
    key = open_preamble(parse_preamble(preamble), Keyring((site.keys.reader,))).secret_bytes()
    spellings = [key, key.hex().encode(), base64.b64encode(key).rstrip(b"="), base64.urlsafe_b64encode(key)[:-2]]
    for root in (site.state, *(site.place / drive for drive in site.drives)):
        for folder, _, names in os.walk(root):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    content = file.read()
                assert not any(spelling in content for spelling in spellings), name


def killed_and_finished(site: Site, random_: random.Random, kills: int) -> bool:
    """Kill `kills` runs, finish, and look at everything; whether any of them was really killed."""
    salts: set[tuple[int, bytes]] = set()
    kept: dict[str, tuple[int, int]] = {}
    hit = False
    for _ in range(kills):
        process = site.start()
        busy(site, process, random_)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        hit = hit or process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            break
        now = site.segments()
        assert {name: now.get(name) for name in kept} == kept
        kept = now
        salts |= site.salts()
    if site.journals or not site.glob("*/statement.rec"):  # else the last run had finished
        site.finish()
    bundle = site.bundle()
    after = site.segments()
    assert {name: after[name] for name in kept} == kept
    report = bundle.verify(opened=True)
    assert report.ignored == ()
    bundle.unpack(site.place / "back")
    assert digests(site.place / "back") == digests(bundle.source)
    salts |= site.salts()
    assert len({salt for _, salt in salts}) == len(salts)
    assert {(row.number, bytes.fromhex(row.salt)) for row in bundle.rows()} <= salts
    assert not site.glob("*/.*")
    assert site.journals == []
    no_secret(site, bundle)
    return hit


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment(site: Site, seed: int) -> None:
    killed_and_finished(site, random.Random(seed), 1 + seed % 3)


@pytest.mark.parametrize("keys", [CNSA2], ids=["cnsa2"], indirect=True, scope="session")
@pytest.mark.parametrize("seed", [12, 13])
def test_killed_at_any_moment_in_cnsa2(site: Site, seed: int) -> None:
    killed_and_finished(site, random.Random(seed), 2)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 150))
def test_killed_more_often(site: Site, seed: int) -> None:
    killed_and_finished(site, random.Random(seed), 1 + seed % 4)


def stopped_after(site: Site, segments: int, number: signal.Signals) -> tuple[int, str, str]:
    process = site.start()
    while process.poll() is None and len(site.segments()) < segments:
        pass
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_the_person(site: Site, number: signal.Signals) -> None:
    status, out, err = stopped_after(site, 1, number)
    assert status == 130, err
    assert "airbundle: error: stopped" in err
    assert "Traceback" not in err
    assert "safe to unplug" not in out + err
    assert len(site.journals) == 1
    kept = site.segments()
    assert kept
    bundle = site.finish()
    after = site.segments()
    assert {name: after[name] for name in kept} == kept
    bundle.verify(opened=True)


@pytest.mark.parametrize("how", ["head", "foreign", "empty", "tail"])
def test_a_journal_that_is_not_believed(site: Site, how: str, tmp_path: Path) -> None:
    """A tampered head gives a fresh bundle with a fresh key; a tampered tail only makes what it told again."""
    stopped_after(site, 2, signal.SIGKILL)
    (journal,) = site.journals
    raw = bytearray(journal.read_bytes())
    (old,) = [folder.name for folder in site.drive.iterdir()]
    if how == "head":
        raw[200] ^= 1
    elif how == "tail":
        raw[-5] ^= 1
    elif how == "empty":
        raw = bytearray()
    else:
        raw = bytearray(len(raw).to_bytes(4, "little") + noise(len(raw)))
    journal.write_bytes(raw)
    process = site.start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    finished = [folder for folder in site.drive.iterdir() if (folder / "statement.rec").exists()]
    (volume,) = finished
    assert (volume.name == old) == (how == "tail")
    bundle = Packed(site.keys, site.place / "source", volume)
    bundle.verify(opened=True)
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(bundle.source)
    assert site.journals == []


def test_a_journal_of_another_plan(site: Site) -> None:
    """The packer's own, and not of this source: nothing of it is used."""
    stopped_after(site, 1, signal.SIGKILL)
    (first,) = site.journals
    (folder,) = [path.name for path in site.drive.iterdir()]
    os.utime(site.place / "source" / "w0")
    process = site.start()
    while process.poll() is None and len(site.journals) < 2:
        pass
    process.kill()
    process.communicate()
    (second,) = [path for path in site.journals if path != first]
    second.write_bytes(first.read_bytes())
    process = site.start()
    process.communicate(timeout=60)
    assert process.returncode == 0
    (statement,) = site.drive.glob("*/statement.rec")
    assert statement.parent.name != folder


def test_killed_again_after_a_torn_end(site: Site) -> None:
    """What is finished after the tear is found again."""
    stopped_after(site, 2, signal.SIGKILL)
    (journal,) = site.journals
    raw = bytearray(journal.read_bytes())
    raw[-5] ^= 1
    journal.write_bytes(raw)
    before = site.segments()  # one of them has lost its entry, and is made again whenever its turn comes
    stopped_after(site, len(before) + 2, signal.SIGKILL)
    kept = {name: file for name, file in site.segments().items() if file != before.get(name)}
    assert kept
    site.finish().verify(opened=True)
    after = site.segments()
    assert {name: after[name] for name in kept} == kept


def opened_with(site: Site, volume: Path, passphrase: str) -> None:
    """The passphrase opens it, and what comes out is the source."""
    back = site.place / "back"
    api.unpack([str(volume)], str(back), passphrase=passphrase, trust=site.keys.trust, pace=PACE)
    assert digests(back) == digests(site.place / "source")


def nowhere(site: Site, secret: str) -> None:
    """Neither on the drive nor in the state folder, in the clear."""
    for root in (site.state, site.drive):
        for path in root.rglob("*"):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path.name


def test_killed_under_a_passphrase(site: Site) -> None:
    """The same command goes on with the same envelope; the passphrase stands nowhere."""
    secret = "a passphrase for this test"
    (site.place / "secret").write_text(secret + "\n")
    site = replace(site, lock=("--passphrase-file", str(site.place / "secret")))
    stopped_after(site, 2, signal.SIGKILL)
    nowhere(site, secret)
    kept, (folder,) = site.segments(), list(site.drive.iterdir())
    bundle = site.finish()
    assert bundle.volume == folder
    after = site.segments()
    assert {name: after[name] for name in kept} == kept
    nowhere(site, secret)
    opened_with(site, folder, secret)
    assert site.journals == []


def test_killed_before_its_words_were_shown(site: Site) -> None:
    """What the last run shows, and no other, opens the envelope that the first one made."""
    site = replace(site, lock=("--new-passphrase",))
    process = site.start()
    while process.poll() is None and len(site.segments()) < 2:
        pass
    process.kill()
    out, err = process.communicate()
    assert "passphrase" not in out + err
    (folder,) = list(site.drive.iterdir())
    process = site.start()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (secret,) = re.findall(r"^ {4}((?:[a-z]+ ){9}[a-z]+)$", err, re.MULTILINE)
    assert secret.split()[0] not in out.split()
    assert [path for path in site.drive.iterdir() if (path / "statement.json").exists()] == [folder]
    nowhere(site, secret)
    opened_with(site, folder, secret)
    assert site.journals == []
