"""What the README and docs/first-trust.md tell people to type is run, in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle import load_public
from airbundle.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FIRST_TRUST = (ROOT / "docs" / "first-trust.md").read_text()
BLOCK = re.compile(r"^<!-- run -->\n```(\w+)\n(.*?)^```\n(?:^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with `airbundle` on the path; keys, trust and journals stay in it."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "airbundle"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m airbundle "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run(place: Path, *command: str, given: str = "", words: str = "") -> str:
    environment = {
        "PATH": f"{place}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(place), "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(place / "config"), "XDG_STATE_HOME": str(place / "state"),
        "WORDS_BY_TELEPHONE": words, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=place, env=environment, input=given, text=True, check=False,
                          capture_output=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def begins(line: str) -> str:
    """What a line of output begins with, up to the first thing that differs from run to run."""
    label = re.split(r"  |(?:[0-9a-f]{4} ){7}|[0-9]|drive/", line)[0]
    return label.strip()


def test_the_quick_start_and_the_python_example(place: Path) -> None:
    blocks = BLOCK.findall(README)
    assert [language for language, _, _ in blocks] == ["sh"] * 8 + ["python"]
    words = ""
    for language, source, shown in blocks:
        if language == "sh":
            output = run(place, "bash", "-euc", source, words=words)
        else:
            output = run(place, sys.executable, "-W", "error", "-", given=source)
        if (place / "low" / "desk.pub").exists():
            words = load_public(str(place / "low" / "desk.pub")).public.words
        lines = [begins(line) for line in output.splitlines()]
        at = 0
        for line in shown.splitlines():
            if not line.startswith(" "):
                assert begins(line) in lines[at:], f"{line!r} is not in:\n{output}"
                at = lines.index(begins(line), at) + 1


def test_every_fenced_command_is_run_or_is_made_by_a_rule() -> None:
    for language in re.findall(r"^```(\w+)$", README, re.MULTILINE):
        assert language in {"sh", "python", "text"}
    assert len(re.findall(r"^```(?:sh|python)$", README, re.MULTILINE)) == len(BLOCK.findall(README))


def test_every_make_target_exists() -> None:
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= rules


def test_the_table_of_verbs_is_whole(capfd: pytest.CaptureFixture[str]) -> None:
    rows = re.findall(r"^\| `airbundle ([a-z]+)", README, re.MULTILINE)
    assert main(["--help"]) == 0
    listed = re.findall(r"^  ([a-z]+) {2,}", capfd.readouterr().out.split("Commands:")[1], re.MULTILINE)
    assert sorted(rows) == sorted(listed)


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
            assert (ROOT / target).exists(), f"{name}: {target}"


def test_the_commands_of_the_first_trust(place: Path) -> None:
    (place / "SRC").mkdir()
    (place / "SRC" / "config.json").write_text("{}")
    (place / "DRIVE").mkdir()
    (place / "words.txt").write_text("words for the test of this page\n")
    typed = re.findall(r"^(?:low|high)\$ +(airbundle .*?)(?: {3,}.*)?$", FIRST_TRUST, re.MULTILINE)
    assert len(typed) == 7
    typed.sort(key=lambda command: command.startswith("airbundle unpack"))  # after the packer's key is trusted
    run(place, "bash", "-euc", "airbundle keygen desk --no-passphrase")
    for command in typed:
        line, words = command, ""
        if line == "airbundle keygen station":  # asks for a passphrase on a terminal
            line += " --no-passphrase"
        elif line.startswith("airbundle keygen station --passphrase-file"):
            os.unlink(place / "station.key")
            os.unlink(place / "station.pub")
            run(place, "bash", "-euc", "airbundle trust remove station")
        elif line.startswith("airbundle pack") and "--passphrase-file" in line:
            shutil.rmtree(place / "DRIVE")
            (place / "DRIVE").mkdir()
        elif line.startswith("airbundle trust add"):  # asks for the words on a terminal
            words = load_public(str(place / line.split()[-1])).public.words
            line += ' --fingerprint "$WORDS_BY_TELEPHONE"'
        run(place, "bash", "-euc", line, words=words)
    assert (place / "MODEL" / "config.json").read_text() == "{}"
    for verb in re.findall(r"`airbundle (trust (?:list|remove))", FIRST_TRUST):
        run(place, "bash", "-euc", f"airbundle {verb}" + (" desk" if verb.endswith("remove") else ""))
