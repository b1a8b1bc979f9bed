"""Passphrases of bundles on the command line, at the cost that people pay."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.cli.main import main
from airbundle.crypto.keyfiles import write_private, write_public
from tests.transfer.workshop import Keys, digests, noise, write_tree

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "correct horse battery"


@pytest.fixture
def site(keys: Keys, tmp_path: Path) -> Path:
    for name in ("packer", "reader"):
        (tmp_path / f"{name}.key").write_bytes(write_private(name, getattr(keys, name), passphrase=None))
        (tmp_path / f"{name}.pub").write_bytes(write_public(name, getattr(keys, name).public))
    write_tree(tmp_path / "source", {"f": noise(70_000, 8)})
    (tmp_path / "secret").write_text(SECRET + "\nnot this line\n")
    (tmp_path / "drive").mkdir()
    return tmp_path


def command(site: Path, verb: str, *words: object) -> int:
    sign = ("--sign", site / "packer.key") if verb == "pack" else ("--trust", site / "packer.pub")
    where = (site / "source", "-o", site / "drive") if verb == "pack" else (site / "drive",)
    target = ("-o", site / "back") if verb == "unpack" else ()
    return main([verb, *map(str, (*where, *target, *sign, *words))])


def test_by_the_command_line(site: Path, capfdbinary: Any) -> None:
    under, key = ("--passphrase-file", site / "secret"), ("--key", site / "reader.key")
    assert command(site, "pack", *under) == 0
    for verb in ("verify", "inspect", "unpack"):
        assert command(site, verb, *under) == 0
    assert digests(site / "back") == digests(site / "source")
    out, err = capfdbinary.readouterr()
    assert SECRET.encode() not in out + err
    assert b"a passphrase" in out
    assert command(site, "inspect") == 0
    assert b"give --passphrase-file to see them" in capfdbinary.readouterr().err
    shutil.rmtree(site / "back")  # what is in the way would be said first (P-7)
    for words, what in ((key, b"not sealed to keys"), ((), b"under a passphrase")):
        assert command(site, "unpack", *words) == 8
        err = capfdbinary.readouterr().err
        assert what in err
        assert b"--passphrase-file" in err
    for verb in ("verify", "inspect", "unpack"):
        assert command(site, verb, *under, *key) == 2


def test_from_standard_input(site: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> None:
    for verb in ("pack", "verify"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SECRET.encode() + b"\r\n")))
        assert command(site, verb, "--passphrase-file", "-") == 0, capfdbinary.readouterr().err


@pytest.mark.parametrize("words", [(), ("--to", "reader.pub", "--new-passphrase"), ("--to", "reader.pub",
                         "--passphrase-file", "secret"), ("--passphrase-file", "secret", "--new-passphrase")])
def test_three_options_of_which_one_is_given(site: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...],
                                             capfdbinary: Any) -> None:
    monkeypatch.chdir(site)
    assert command(site, "pack", *words) == 2
    assert b"only one of them" in capfdbinary.readouterr().err
    assert list((site / "drive").iterdir()) == []


def test_short_and_empty_ones_on_the_command_line(site: Path, capfdbinary: Any) -> None:
    for text in ("", "\n", "seven77\n"):
        (site / "secret").write_text(text)
        assert command(site, "pack", "--passphrase-file", site / "secret") == 2
        assert b"passphrase" in capfdbinary.readouterr().err
    assert list((site / "drive").iterdir()) == []


def test_new_words_are_on_standard_error_alone(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capfdbinary: Any) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert command(site, "pack", "--new-passphrase", "--json", "--progress", "none") == 0
    out, err = capfdbinary.readouterr()
    (words,) = re.findall(r"^ {4}((?:[a-z]+ ){9}[a-z]+)$", err.decode(), re.MULTILINE)
    assert json.loads(out)["exit"] == 0
    assert words.encode() not in out
    for root in (tmp_path / "state", site / "drive"):
        for path in root.rglob("*"):
            assert path.is_dir() or words.encode() not in path.read_bytes()
    (site / "secret").write_text(words + "\n")
    assert command(site, "verify", "--passphrase-file", site / "secret") == 0
