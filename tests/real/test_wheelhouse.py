"""What `make wheelhouse` gathers installs where there is no network, and only as it was gathered."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
ALONE = ["unshare", "-rn"]


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheelhouse")
    subprocess.run([sys.executable, ROOT / "tools" / "wheelhouse.py", "-o", folder], check=True, cwd=ROOT)
    return folder


def install(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ALONE, "sh", folder / "install.sh", target], check=False, capture_output=True, text=True,
                          env={"PATH": "/usr/bin:/bin", "HOME": str(target.parent), "PYTHON": sys.executable})


def test_it_installs_and_runs_without_a_network(wheelhouse: Path, tmp_path: Path) -> None:
    done = install(wheelhouse, tmp_path / "there")
    assert done.returncode == 0, done.stderr
    program = tmp_path / "there" / "bin" / "airbundle"
    for words in (["doctor"], ["demo", "--size", "4M"], ["policy", "init", str(tmp_path / "policy.toml")]):
        run = subprocess.run([*ALONE, program, *words], check=False, capture_output=True, text=True, cwd=tmp_path,
                             env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
        assert run.returncode == 0, run.stderr


def test_a_wheel_that_was_exchanged_is_refused(wheelhouse: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(wheelhouse, changed)
    (wheel,) = changed.glob("typer-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    done = install(changed, tmp_path / "there")
    assert done.returncode != 0
    assert "HASHES" in done.stderr
    assert not (tmp_path / "there" / "bin" / "airbundle").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("x")
    done = subprocess.run([sys.executable, ROOT / "tools" / "wheelhouse.py", "-o", tmp_path], check=False,
                          capture_output=True)
    assert done.returncode == 2
    assert (tmp_path / "thesis").exists()


def test_every_wheel_is_in_the_list_with_its_hash(wheelhouse: Path) -> None:
    text = (wheelhouse / "requirements.txt").read_text()
    listed = dict(re.findall(r"^(\S+)==\S+ --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE))
    assert len(listed) == len(list(wheelhouse.glob("*.whl"))) > 10
    check = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], check=False, cwd=wheelhouse,
                           capture_output=True, text=True)
    assert check.returncode == 0
    assert len(check.stdout.splitlines()) == len(list(wheelhouse.iterdir())) - 1
    document = json.loads((wheelhouse / "sbom.cdx.json").read_text())
    assert document["specVersion"] == "1.6"
    assert {part["name"]: part["hashes"][0]["content"] for part in document["components"]} == listed
    assert not [part["name"] for part in document["components"] if part["licenses"][0]["license"]["name"] == "unknown"]
