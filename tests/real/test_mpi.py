"""The units run on mpi4py's executor, in processes that `mpiexec` starts, as docs/cluster.md shows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle import api, load_private, load_trust
from airbundle.cli.main import main
from tests.real.conftest import digests

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"^```python\n(?P<text>[^`]*MPIPoolExecutor[^`]*)^```\n", re.MULTILINE)


def test_the_example_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    assert mpiexec, "mpiexec is not there: pip install mpich"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    found = EXAMPLE.search((ROOT / "docs" / "cluster.md").read_text())
    assert found
    (tmp_path / "packing.py").write_text(found["text"])
    for name in ("desk", "station"):
        assert main(["keygen", name, "-o", str(tmp_path), "--no-passphrase"]) == 0
    (tmp_path / "staging").mkdir()
    (tmp_path / "model").mkdir()
    for number in range(4):
        (tmp_path / "model" / f"{number}.bin").write_bytes(os.urandom(20 << 20))
    done = subprocess.run([mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", "packing.py"], cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
                          timeout=100)
    assert done.returncode == 0, done.stderr
    assert "5 segments" in done.stdout
    api.unpack([str(tmp_path / "staging")], str(tmp_path / "back"), keys=[load_private(str(tmp_path / "station.key"))],
               trust=load_trust(str(tmp_path / "desk.pub")))
    assert digests(tmp_path / "back") == digests(tmp_path / "model")
