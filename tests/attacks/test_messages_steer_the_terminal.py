"""Names and texts of strangers on a terminal and in JSON; streams that are closed; one object on stdout, always."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.cli import doctor
from airbundle.cli.main import main
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.errors import UsageError
from airbundle.transfer.ending import Declared
from tests.transfer.forge import Lies, forge
from tests.transfer.workshop import Keys, Packed

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = ["\\[/x]", "[/x]", "\\[link=http://evil]click", "\\\\[/]", ":thumbs_up: [blink]"]


@pytest.fixture
def pub(keys: Keys, tmp_path: Path) -> str:
    path = tmp_path / "packer.pub"
    path.write_bytes(write_public("packer", keys.packer.public))
    return str(path)


def command(*arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "airbundle", *arguments], check=False, timeout=60, **more)


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_a_marking(
        keys: Keys, tmp_path: Path, pub: str, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = forge(tmp_path / "drive", keys, Lies(statement=lambda s: msgspec.structs.replace(s, marking=text)))
    assert main(["verify", str(bundle.volume), "--trust", pub]) == 0
    assert f"{text} " in capfd.readouterr().out


def test_markup_in_the_name_of_a_volume(small: Packed, pub: str, capfd: pytest.CaptureFixture[str]) -> None:
    place = small.volume.parent / "\\[bold]x.airbundle"
    small.volume.rename(place)
    (place / "statement.rec").unlink()
    assert main(["verify", str(place), "--trust", pub]) == 11
    assert "\\[bold]x.airbundle" in capfd.readouterr().err


@pytest.mark.parametrize("name", [b"x\xff\x1b[31m", "c1 \x9b31m".encode(), "rtl \u202e".encode(), b"\x07bell"])
def test_names_of_any_bytes(small: Packed, pub: str, name: bytes, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with open(os.path.join(os.fsencode(small.volume), name), "wb"):
        pass
    for extra in ([], ["--json"]):
        assert main(["verify", str(small.volume), "--trust", pub, *extra]) == 0
        shown = capfdbinary.readouterr().out
        assert all(c.isprintable() or c == "\n" for c in shown.decode())
    (line,) = json.loads(shown)["result"]["ignored"]
    assert "no file of this bundle" in line


def test_a_target_of_any_bytes(keys: Keys, tmp_path: Path, pub: str, capfd: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "packer.key"
    key.write_bytes(write_private("packer", keys.packer, passphrase=None))
    (tmp_path / "source").write_bytes(b"content")
    drive = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(drive)
    packing = ["pack", str(tmp_path / "source"), "-o", drive, "--sign", str(key), "--to", pub, "--json"]
    assert main(packing) == 0
    assert json.loads(capfd.readouterr().out)["exit"] == 0
    assert main(packing) == 2
    assert "finished" in json.loads(capfd.readouterr().out)["what"]


def test_one_object_where_it_does_not_fit(small: Packed, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(small.source), "-o", "1K", "--json"]) == 9
    answer = json.loads(capfd.readouterr().out)
    assert (answer["exit"], answer["report"]["segments"]) == (9, 1)


def test_one_object_where_a_primitive_is_wrong(
        monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "_blake3", lambda: False)
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["report"]["known_answers"]["BLAKE3"] == "WRONG"


def test_one_object_for_a_bug(small: Packed, pub: str, monkeypatch: pytest.MonkeyPatch,
                              capfd: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(api, "verify", broken)
    with pytest.raises(ZeroDivisionError):
        main(["verify", str(small.volume), "--trust", pub, "--json"])
    assert json.loads(capfd.readouterr().out)["exit"] == 1


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_closed_streams(small: Packed, pub: str, number: int, extra: list[str]) -> None:
    """No file of the drive may get the number of a standard stream, and nothing may end in a traceback."""
    done = command("verify", str(small.volume), "--trust", pub, *extra, capture_output=True,
                   preexec_fn=lambda: os.close(number))
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_no_terminal_to_ask_on_and_no_input(tmp_path: Path) -> None:
    done = command("keygen", "k", "-o", str(tmp_path), stderr=subprocess.PIPE, preexec_fn=lambda: os.close(0))
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_nobody_reads_what_is_printed(small: Packed, pub: str, extra: list[str], stream: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    done = command("verify", str(small.volume), "--trust", pub, *extra, **streams)
    os.close(writing)
    assert (done.returncode, b"Traceback" in (done.stderr or b"")) == (9, False)


@pytest.mark.parametrize("arguments", [
    ["plan", "SOURCE", "-o", "9" * 400], ["keygen", "../k"], ["keygen", ".k"], ["keygen", "a/k"], ["keygen", "con"]])
def test_mistakes_of_the_command(small: Packed, arguments: list[str]) -> None:
    assert main([str(small.source) if word == "SOURCE" else word for word in arguments]) == 2


@pytest.mark.parametrize("declared", [
    Declared(meta=(("\udcff", ""),)), Declared(meta=(("k", "\udcff"),)), Declared(series="s", sequence=1 << 53),
    Declared(series="s", sequence=-1), Declared(expires=1 << 60)])
def test_what_no_statement_can_say_is_refused_before_the_work(
        small: Packed, tmp_path: Path, declared: Declared) -> None:
    with pytest.raises(UsageError):
        api.pack(str(small.source), str(tmp_path), sign=small.keys.packer, to=[small.keys.reader.public],
                 declared=declared)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".airbundle"]
