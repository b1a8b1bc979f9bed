"""sign and rewrap that are killed at any moment: never two statements that disagree, never less recoverable."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.crypto.envelope import Keyring
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.trust import TrustSet
from airbundle.errors import RepairableError
from airbundle.format.statement import parse_statement
from airbundle.media.volume import STATEMENT_NAME, VolumeReader
from airbundle.transfer.open import open_bundle, open_manifest, require_preamble
from airbundle.transfer.verify import OTHER_SIGNATURES
from tests.transfer.split import Split, holds, no_two_disagree, split
from tests.transfer.workshop import PACE, Packed, digests

if TYPE_CHECKING:
    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.format.dsse import Envelope

ROOT = Path(__file__).parents[2]
STEPS = {"sign": 20, "rewrap": 55}  # on two volumes, if nothing was done before
FILES = {"sign": 4, "rewrap": 8}


@dataclass
class Site:
    """Two volumes, key files, a state folder, and the command that is killed."""

    bundle: Split
    place: Path
    verb: str
    statements: dict[int, Envelope] = field(default_factory=dict)

    def words(self) -> list[str]:
        key = {name: str(self.place / f"{name}.key") for name in ("packer", "reader", "second")}
        pub = {name: str(self.place / f"{name}.pub") for name in ("packer", "second")}
        if self.verb == "sign":
            return ["sign", *self.bundle.paths, "--sign", key["second"], "--trust", pub["packer"]]
        return ["rewrap", *self.bundle.paths, "--sign", key["packer"], "--key", key["reader"], "--add", pub["second"],
                "--drop", self.bundle.keys.stranger.public.hex]

    def start(self, *front: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", *(front or ("airbundle",)), *self.words(), "--progress", "none"]
        return subprocess.Popen(words, text=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={**os.environ, "PYTHONPATH": str(ROOT)})

    def kill(self, random_: random.Random, *, first: bool) -> bool:
        """At a random step, or when a number of new files has shown up; whether it was before the end."""
        if first or random_.randrange(4):
            step, share = random_.randrange(1, STEPS[self.verb] + 1), random_.random()
            process = self.start("tests.transfer.bomb", str(step), str(share))
        else:
            process, wanted = self.start(), random_.randrange(1, FILES[self.verb] + 1)
            seen: set[str] = set()
            while process.poll() is None and len(seen) < wanted:
                seen |= {path.name for volume in self.bundle.volumes for path in volume.glob(".*.part")}
            process.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode in {0, -signal.SIGKILL}, err
        return process.returncode != 0

    def finish(self) -> str:
        process = self.start()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    def require_sound(self) -> None:
        """What has to hold at every moment, of each volume by itself and of both together."""
        keys = self.bundle.keys
        no_two_disagree(self.bundle)
        second = set()
        for path, envelope in self.bundle.copies().items():
            assert holds(keys.packer, envelope), path
            second |= {one for one in envelope.signatures if one.key_id == keys.second.public.key_id}
            if self.verb == "rewrap":  # the very same document each time one is seen
                revision = parse_statement(envelope.payload).revision
                assert self.statements.setdefault(revision, envelope) == envelope
        assert len(second) <= 1
        for volume in self.bundle.paths:
            with VolumeReader(volume) as reader:
                bundle = open_bundle((reader,), keys.trust)
                assert bundle.unread == ()
                open_manifest(bundle, Keyring((keys.reader,)))
        try:
            self.bundle.verify()
        except RepairableError as error:
            for finding in getattr(error.report, "findings", ()):
                assert self.verb == "rewrap" or finding.problem == OTHER_SIGNATURES


@pytest.fixture
def place(small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("packer", "reader", "second"):
        identity: PrivateIdentity = getattr(small.keys, name)
        (tmp_path / f"{name}.key").write_bytes(write_private(name, identity, passphrase=None))
        (tmp_path / f"{name}.pub").write_bytes(write_public(name, identity.public))
    return tmp_path


def killed_and_finished(small: Packed, place: Path, verb: str, seed: int, kills: int) -> None:
    random_, keys = random.Random(f"{verb} {seed}"), small.keys
    site = Site(split(small, place), place, verb)
    if verb == "rewrap":  # somebody who can be dropped again
        api.rewrap(site.bundle.paths, sign=keys.packer, keys=[keys.reader], add=[keys.stranger.public], pace=PACE)
    for number in range(kills):
        killed = site.kill(random_, first=number == 0)
        assert killed or number
        site.require_sound()
        if not random_.randrange(4):
            api.repair(site.bundle.paths, trust=keys.trust)
            site.require_sound()
    site.finish()
    site.require_sound()
    trust = TrustSet([NamedIdentity("packer", keys.packer.public), NamedIdentity("second", keys.second.public)])
    report = site.bundle.verify(trust, keys=[keys.reader])
    assert report.ignored == ()
    assert len(report.signers) == (2 if verb == "sign" else 1)
    assert report.revision == (0 if verb == "sign" else 2)
    after = [digests(volume) for volume in site.bundle.volumes]
    assert after[0][STATEMENT_NAME] == after[1][STATEMENT_NAME] or verb == "sign"
    assert "nothing" in site.finish()
    assert [digests(volume) for volume in site.bundle.volumes] == after
    if verb == "rewrap":
        (recipients,) = {require_preamble(site.bundle.opened((at,))).recipients for at in range(2)}
        assert set(recipients) == {keys.reader.public.key_id, keys.second.public.key_id}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("verb", ["sign", "rewrap"])
def test_killed_at_any_moment(small: Packed, place: Path, verb: str, seed: int) -> None:
    killed_and_finished(small, place, verb, seed, 1)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 150))
@pytest.mark.parametrize("verb", ["sign", "rewrap"])
def test_killed_more_often(small: Packed, place: Path, verb: str, seed: int) -> None:
    killed_and_finished(small, place, verb, seed, 1 + seed % 4)
