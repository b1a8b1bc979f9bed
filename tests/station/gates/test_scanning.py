"""Scanners as real processes: exit codes, time, output, environment."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.station.gates.result import Outcome
from airbundle.station.gates.rules import PRESETS, Scanner
from airbundle.station.gates.scanning import scan_with
from tests.station.gates.examples import payloads, safetensors

if TYPE_CHECKING:
    from pathlib import Path


def python(script: str, **changes: Any) -> Scanner:
    """A scanner that is a line of Python; its first argument is the folder."""
    given = {"name": "own", "command": (sys.executable, "-c", script, "{folder}"), "clean": (0,), "finding": (1, 7)}
    return Scanner(**given | changes)


@pytest.mark.parametrize(("code", "outcome"), [
    (0, Outcome.CLEAN), (1, Outcome.FINDING), (7, Outcome.FINDING), (3, Outcome.NOT_EXAMINED), (2, Outcome.ERROR),
    (255, Outcome.ERROR),
])
def test_exit_codes(code: int, outcome: Outcome, tmp_path: Path) -> None:
    result = scan_with(python(f"print('said'); raise SystemExit({code})", not_examined=(3,)), str(tmp_path))
    assert (result.outcome, result.gate, result.path, result.detail) == (outcome, "own", "", f"exit {code}: said")


def test_a_scanner_that_dies_by_a_signal(tmp_path: Path) -> None:
    result = scan_with(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), str(tmp_path))
    assert result.outcome is Outcome.ERROR


def test_a_scanner_that_says_it_looked_at_nothing(tmp_path: Path) -> None:
    quiet = python("print('x\\n  Scanned files: 0')", skipped_line="Scanned files: 0")
    assert scan_with(quiet, str(tmp_path)).outcome is Outcome.NOT_EXAMINED
    busy = python("print('Scanned files: 01')", skipped_line="Scanned files: 0")
    assert scan_with(busy, str(tmp_path)).outcome is Outcome.CLEAN
    found = python("print('Scanned files: 0'); raise SystemExit(1)", skipped_line="Scanned files: 0")
    assert scan_with(found, str(tmp_path)).outcome is Outcome.FINDING


def test_a_scanner_that_is_not_there(tmp_path: Path) -> None:
    result = scan_with(Scanner(name="x", command=("/nowhere/x", "{folder}"), clean=(0,), finding=(1,)), str(tmp_path))
    assert result.outcome is Outcome.ERROR
    assert "could not be started" in result.detail


def test_time_is_up_for_it_and_what_it_started(tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    begin = time.monotonic()
    result = scan_with(python(script, timeout=1), str(tmp_path))
    assert result.outcome is Outcome.ERROR
    assert result.detail.endswith("not finished after 1 s")
    assert time.monotonic() - begin < 60


def test_what_it_leaves_behind_does_not_hold_the_import(tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    begin = time.monotonic()
    assert scan_with(python(script), str(tmp_path)).outcome is Outcome.CLEAN
    assert time.monotonic() - begin < 60


def test_endless_output_is_not_kept(tmp_path: Path) -> None:
    script = "import sys\nfor _ in range(300): sys.stdout.write('a' * 100_000)\nprint(); print('Scanned files: 0')"
    result = scan_with(python(script, skipped_line="Scanned files: 0"), str(tmp_path))
    assert result.outcome is Outcome.NOT_EXAMINED
    assert len(result.detail) <= 400


def test_no_input_no_shell_and_little_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    folder = tmp_path / "a b; touch $(canary)"
    folder.mkdir()
    script = ("import os, sys; assert sys.stdin.read() == ''; assert 'SECRET' not in os.environ; "
              "assert os.environ['MINE'] == '1'; assert os.getcwd() == os.environ['HOME'] != sys.argv[1]; "
              f"assert not os.listdir('.'); print(sys.argv[1] == {str(folder)!r})")
    result = scan_with(python(script, environment={"MINE": "1"}), str(folder))
    assert result.detail == "exit 0: True"
    assert os.listdir(tmp_path) == [folder.name]


def test_one_file_and_a_version(tmp_path: Path) -> None:
    told = Scanner(name="own", command=(sys.executable, "-c", "import sys; print(sys.argv[1])", "--at={path}"),
                   clean=(0,), finding=(1,), version=(sys.executable, "-c", "print('own 1.0\\nmore')"))
    result = scan_with(told, str(tmp_path), path="a/b.bin")
    assert (result.version, result.path) == ("own 1.0", "a/b.bin")
    assert result.detail == f"exit 0: --at={tmp_path}/a/b.bin"


def test_output_is_told_in_printable_words(tmp_path: Path) -> None:
    result = scan_with(python("print('\\x1b[31mred\\x1b[0m plain \\u202e\\ncode')"), str(tmp_path))
    assert result.detail.isprintable()
    assert "plain" in result.detail


@pytest.mark.parametrize("name", PRESETS)
def test_presets_where_they_are_installed(name: str, tmp_path: Path) -> None:
    if shutil.which(PRESETS[name].command[0]) is None:
        pytest.skip(f"{name} is not here")
    (tmp_path / "evil").mkdir()
    (tmp_path / "good").mkdir()
    (tmp_path / "evil" / "model.pkl").write_bytes(payloads("nowhere")["system 2"])
    (tmp_path / "good" / "model.safetensors").write_bytes(safetensors())
    evil, good = (scan_with(PRESETS[name], str(tmp_path / side)).outcome for side in ("evil", "good"))
    expected = {"picklescan": (Outcome.FINDING, Outcome.NOT_EXAMINED),
                "modelscan": (Outcome.FINDING, Outcome.NOT_EXAMINED), "modelaudit": (Outcome.FINDING, Outcome.CLEAN)}
    # An installation of ClamAV without its database examines nothing; with it, a pickle is no malware to it.
    assert (evil, good) == expected.get(name, (evil, good))
    assert scan_with(PRESETS[name], str(tmp_path / "nowhere")).outcome is Outcome.ERROR
