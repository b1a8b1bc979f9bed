"""Where the time goes is said, and adds up to no more than there was."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.cli.output import spent
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.stages import OF_MEDIA, STAGES, Stages, bound_by
from airbundle.transfer.progress import Tick
from airbundle.transfer.workspace import Pace
from tests.speed.counted import MIB, make_source

if TYPE_CHECKING:
    from pathlib import Path

OF_PACK = set(STAGES)
OF_VERIFY = {"read", "digest"}
OF_UNPACK = {"read", "digest", "seal", "zstd", "planes", "write", "sync"}


def test_each_verb_says_its_stages(tmp_path: Path) -> None:
    make_source(tmp_path / "source", 8 * MIB)
    (tmp_path / "drive").mkdir()
    identity, ticks = generate(), list[Tick]()
    began = time.perf_counter()
    packed = api.pack(str(tmp_path / "source"), [str(tmp_path / "drive")], sign=identity, to=[identity.public],
                      pace=Pace(jobs=1), progress=ticks.append)
    passed = time.perf_counter() - began
    assert set(packed.stages) == OF_PACK
    assert 0 < sum(packed.stages.values()) < 2 * passed  # one computes, another writes
    assert ticks[-2].bound_by in {"drive", "processor"}
    trust = TrustSet([NamedIdentity("me", identity.public)])
    assert set(api.verify(packed.volumes, trust=trust).stages) == OF_VERIFY
    back = api.unpack(packed.volumes, str(tmp_path / "back"), keys=[identity], trust=trust)
    assert set(back.stages) == OF_UNPACK


def test_what_a_person_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_source(tmp_path / "source", MIB)
    for name in ("desk", "station"):
        assert main(["keygen", name, "-o", str(tmp_path), "--no-passphrase"]) == 0
    words = ["--sign", str(tmp_path / "desk.key"), "--to", str(tmp_path / "station.pub")]
    (tmp_path / "one").mkdir()
    assert main(["pack", str(tmp_path / "source"), "-o", str(tmp_path / "one"), *words]) == 0
    assert "bounds it" in capsys.readouterr().out
    (tmp_path / "two").mkdir()
    assert main(["pack", str(tmp_path / "source"), "-o", str(tmp_path / "two"), *words, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["result"]["stages"]) <= OF_PACK


def test_what_bounds_it() -> None:
    assert bound_by({}) == ""
    assert bound_by({"zstd": 2.0, "write": 1.0}) == "processor"
    assert bound_by({"zstd": 1.0, "write": 1.0, "sync": 0.5}) == "drive"
    assert set(STAGES) >= OF_MEDIA
    assert spent({}) == "-"
    assert spent({"zstd": 3.0, "write": 1.0}) == "zstd 75%, write 25%; the processor bounds it"


def test_a_stage_that_fails_counts_too() -> None:
    stages = Stages()
    with pytest.raises(KeyError), stages("read"):
        raise KeyError
    assert set(stages.seconds()) <= {"read"}
    stages.add("read", 1.0)
    assert stages.seconds()["read"] >= 1.0
