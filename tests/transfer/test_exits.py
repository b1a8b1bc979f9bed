"""Exit statuses of the real command line, one object with --json, and messages that name the place."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.crypto.signing import sign
from airbundle.errors import MediumError, NoKeyError, SourceError, StrangerError, UnsignedError, UsageError
from airbundle.format.cost import PassphraseCost
from airbundle.format.dsse import Envelope, Signature, parse_envelope, write_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from airbundle.transfer.plan import Options
from tests.transfer.workshop import (
    KIB,
    MIB,
    PACE,
    Keys,
    Packed,
    digests,
    flip,
    kill_blocks,
    noise,
    pack,
    write_tree,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHEAP = PassphraseCost(memory_kib=64, iterations=1, lanes=1)


@pytest.fixture
def files(keys: Keys, tmp_path: Path) -> Path:
    """Key files of everybody."""
    place = tmp_path / "keys"
    place.mkdir()
    for name in ("packer", "reader", "second", "stranger"):
        identity = getattr(keys, name)
        (place / f"{name}.key").write_bytes(write_private(name, identity, passphrase=None))
        (place / f"{name}.pub").write_bytes(write_public(name, identity.public))
    return place


def run(capfdbinary: pytest.CaptureFixture[bytes], *words: object) -> tuple[int, dict[str, Any], str]:
    """A command with --json: status, the one object on stdout, and stderr."""
    status = main([*map(str, words), "--json"])
    out, err = capfdbinary.readouterr()
    answer = json.loads(out)  # fails for none and for two
    assert answer["exit"] == status
    assert b"\x1b" not in out + err
    text = err.decode()
    assert ("airbundle: error:" in text) == (status != 0)
    return status, answer, text


def test_all_is_well(small: Packed, files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    trust = ("--trust", files / "packer.pub")
    for words in (("verify", small.volume, *trust), ("inspect", small.volume, *trust),
                  ("verify", small.volume, *trust, "--key", files / "reader.key"),
                  ("unpack", small.volume, "-o", tmp_path / "back", "--key", files / "reader.key", *trust),
                  ("repair", small.volume, *trust)):
        status, answer, _ = run(capfdbinary, *words)
        assert (status, answer["command"]) == (0, words[0])
        assert "error" not in answer
    assert digests(tmp_path / "back") == digests(small.source)


def test_pack_by_the_command_line(files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    source = write_tree(tmp_path / "source", {"f": noise(100_000)})
    (tmp_path / "drive").mkdir()
    status, answer, _ = run(capfdbinary, "pack", source, "-o", tmp_path / "drive", "--sign", files / "packer.key",
                            "--to", files / "reader.pub", "--segment-size", "64K", "--progress", "json")
    assert (status, answer["result"]["segments"], answer["result"]["read_back"]) == (0, 2, True)
    assert os.path.isdir(answer["result"]["volumes"][0])


def test_wrong_key(small: Packed, files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    trust = ("--trust", files / "packer.pub")
    for words in (("unpack", small.volume, "-o", tmp_path / "back", *trust), ("verify", small.volume, *trust),
                  ("inspect", small.volume, *trust)):
        status, answer, _ = run(capfdbinary, *words, "--key", files / "second.key")
        assert (status, answer["error"]) == (8, "NoKeyError")
        assert small.keys.reader.public.hex in answer["hint"]
    assert not (tmp_path / "back").exists()
    with pytest.raises(NoKeyError):
        api.unpack([str(small.volume)], str(tmp_path / "b"), keys=[small.keys.second], trust=small.keys.trust)


def test_keys_are_opened_before_the_bundle_is_looked_at(small: Packed, files: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capfdbinary: Any) -> None:
    """K-17, K-13: a locked key is, whoever packed the bundle and whatever else would open it."""
    (files / "locked.key").write_bytes(write_private("l", small.keys.second, passphrase="correct horse", cost=CHEAP))
    for name, text in (("right", "correct horse"), ("wrong", "correct house"), ("empty", "")):
        (files / name).write_text(text)
    both = ("--key", files / "locked.key", "--key", files / "reader.key", "--key-passphrase-file")
    for packer, name, expected in (("packer", "right", 0), ("stranger", "right", 5), ("packer", "wrong", 8),
                                   ("stranger", "wrong", 8), ("stranger", "empty", 2)):
        assert run(capfdbinary, "verify", small.volume, "--trust", files / f"{packer}.pub", *both,
                   files / name)[0] == expected
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda _: "")  # typed
    assert run(capfdbinary, "verify", small.volume, "--trust", files / "packer.pub", *both[:4])[0] == 2


def statement_with(bundle: Packed, *signatures: Signature) -> None:
    """Other signatures over the same payload; no record that says otherwise."""
    path = bundle.volume / names.STATEMENT_NAME
    payload = parse_envelope(path.read_bytes(), STATEMENT_TYPE).payload
    path.write_bytes(write_envelope(Envelope(STATEMENT_TYPE, payload, signatures)))
    (bundle.volume / names.RECORD_NAME).unlink()


def test_unsigned(small: Packed, files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    """The packer's signature is replaced by another trusted one, then stripped."""
    payload = parse_envelope((small.volume / names.STATEMENT_NAME).read_bytes(), STATEMENT_TYPE).payload
    statement_with(small, sign(small.keys.second, STATEMENT_TYPE, payload))
    trust = ("--trust", files / "packer.pub", "--trust", files / "second.pub")
    key = ("--key", files / "reader.key")
    for words in (("verify",), ("repair",), ("unpack", "-o", tmp_path / "back", *key)):
        status, answer, _ = run(capfdbinary, words[0], small.volume, *words[1:], *trust)
        assert (status, answer["error"], answer["rule"]) == (5, "UnsignedError", "T-3")
    assert not (tmp_path / "back").exists()
    path = small.volume / names.STATEMENT_NAME
    raw = path.read_bytes()
    path.write_bytes(raw[:raw.index(b'"signatures":[') + 14] + b"]}")
    assert isinstance(small.refused(5), UnsignedError)


def test_stranger(small: Packed, files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    key = ("--key", files / "reader.key")
    before = digests(small.volume)
    flip(small.segment(0), 9000)
    for words in (("verify",), ("repair",), ("unpack", "-o", tmp_path / "back", *key)):
        status, answer, err = run(capfdbinary, words[0], small.volume, *words[1:], "--trust", files / "stranger.pub")
        assert (status, answer["error"]) == (5, "StrangerError")
        assert small.keys.packer.public.hex in err
    flip(small.segment(0), 9000)
    assert digests(small.volume) == before  # nobody repairs for a stranger
    assert not (tmp_path / "back").exists()
    with pytest.raises(StrangerError):
        api.verify([str(small.volume)], trust=None)


def test_a_signature_that_does_not_hold(small: Packed, files: Path, capfdbinary: Any) -> None:
    good = parse_envelope((small.volume / names.STATEMENT_NAME).read_bytes(), STATEMENT_TYPE).signatures[0]
    for at in (5, 1000):
        value = bytearray(good.value)
        value[at] ^= 1
        (small.volume / names.RECORD_NAME).touch()
        statement_with(small, Signature(good.key_id, bytes(value)))
        status, answer, _ = run(capfdbinary, "verify", small.volume, "--trust", files / "packer.pub")
        assert (status, answer["error"]) == (5, "ForgedError")


def test_damage(small: Packed, files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    trust, key = ("--trust", files / "packer.pub"), ("--key", files / "reader.key")
    row = small.rows()[0]
    at = small.place(row).data_at
    kill_blocks(small.segment(0), 4096, range(at, at + row.m))
    status, answer, _ = run(capfdbinary, "verify", small.volume, *trust)
    assert (status, answer["error"]) == (11, "RepairableError")
    assert str(small.volume) in answer["where"]
    assert answer["report"]["findings"][0]["file"] == "00000000.abs"
    kill_blocks(small.segment(0), 4096, [at + row.m])
    status, answer, err = run(capfdbinary, "verify", small.volume, *trust)
    assert (status, answer["error"]) == (11, "RepairableError")
    assert (answer["report"]["restorable"], answer["report"]["missing"]) == ([0], [])
    assert "1 segment to be had from the others of its group" in err
    kill_blocks(small.segment(2), 4096, range(at, at + row.m + 1))
    status, answer, _ = run(capfdbinary, "verify", small.volume, *trust)
    assert (status, answer["error"]) == (4, "DamagedError")
    assert answer["report"]["findings"][0]["file"] == "00000000.abs"
    assert answer["report"]["missing"] == [0, 2]
    status, answer, _ = run(capfdbinary, "unpack", small.volume, "-o", tmp_path / "back", *trust, *key)
    assert (status, answer["error"]) == (4, "DamagedError")
    assert "00000000.abs" in answer["where"]
    assert not (tmp_path / "back").exists()
    status, answer, _ = run(capfdbinary, "repair", small.volume, *trust)
    assert status == 4
    status, answer, _ = run(capfdbinary, "verify", small.volume, "--fast", "--trust", files / "packer.pub")
    assert (status, answer["error"]) == (10, "UncheckedError")


USAGE = [["verify"], ["nonsense"], ["verify", "nowhere.airbundle"], ["pack", "nowhere"], ["unpack", "x"],
         ["verify", "--jobs", "x", "y"], ["verify", "--no-such-option", "y"]]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_usage(words: list[str], capfdbinary: Any) -> None:
    status, answer, _ = run(capfdbinary, *words)
    assert (status, answer["error"]) == (2, "UsageError")


def test_names_that_cannot_be_carried_are_all_listed(keys: Keys, files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    bad = ["con", "a:b", "dot.", "b\\c", "e\u0301", "Twin", "twin", "new\nline"]
    source = write_tree(tmp_path / "source", dict.fromkeys(["good", *bad], b"x"))
    os.mkfifo(source / "pipe")
    (source / "out").symlink_to("/etc/passwd")
    (source / b"\xff\xfe".decode("utf-8", "surrogateescape")).write_bytes(b"")
    (tmp_path / "drive").mkdir()
    status, answer, err = run(capfdbinary, "pack", source, "-o", tmp_path / "drive", "--sign", files / "packer.key",
                              "--to", files / "reader.pub")
    assert (status, answer["error"]) == (2, "SourceError")
    for name in ("con", "a:b", "dot.", "b\\c", "e\u0301", "win", "new\\nline", "pipe", "out",
                 "\\udcff"):
        assert name in answer["hint"], name
    assert "good" not in err
    assert os.listdir(tmp_path / "drive") == []
    with pytest.raises(SourceError) as caught:
        pack(keys, source, tmp_path / "other")
    assert len(caught.value.problems) == 10


def test_no_secret_in_the_open_when_it_fails(small: Packed, files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    status, answer, _ = run(capfdbinary, "unpack", small.volume, "-o", tmp_path / "full", "--key", files / "reader.key",
                            "--trust", files / "packer.pub")
    assert (status, answer["error"]) == (2, "UsageError")
    assert os.listdir(tmp_path / "full") == ["x"]
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A drive of 80 MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tiny", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_drive_that_is_too_small(keys: Keys, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is written, here or in the state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = write_tree(tmp_path / "source", {"f": noise(20 * MIB)})
    with pytest.raises(MediumError, match="does not fit") as caught:
        api.pack(str(source), str(tiny), sign=keys.packer, to=[keys.reader.public])
    assert str(tiny) in str(caught.value)
    assert os.listdir(tiny) == []
    assert os.listdir(tmp_path / "state/airbundle/pack") == []


def test_a_drive_that_fills_up(keys: Keys, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone else takes the room meanwhile; when they give it back the same command goes on."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = write_tree(tmp_path / "source", {"f": noise(5 * MIB)})
    eaten = tiny / "eaten"

    def eat(tick: Any) -> None:
        if list(tiny.glob("*/00000000.abs")) and not eaten.exists():
            with contextlib.suppress(OSError), open(eaten, "wb", buffering=0) as file:
                while file.write(bytes(MIB)):
                    pass

    def again(progress: Any = None) -> Any:
        return api.pack(str(source), str(tiny), sign=keys.packer, to=[keys.reader.public], pace=PACE,
                        options=Options(segment_size=2 * MIB), progress=progress)

    with pytest.raises(MediumError, match="no space is left") as caught:
        again(eat)
    assert str(tiny) in str(caught.value)
    assert len(list((tmp_path / "state/airbundle/pack").iterdir())) == 1
    with pytest.raises(MediumError):
        again()
    eaten.unlink()
    result = again()
    assert result.kept_segments >= 1
    bundle = Packed(keys, source, tiny / os.path.basename(result.volumes[0]))
    bundle.verify(opened=True)
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source)
    assert not list((tmp_path / "state/airbundle/pack").iterdir())


def test_no_room_to_unpack(small: Packed, tmp_path: Path, tiny: Path) -> None:
    (tiny / "eaten").write_bytes(bytes(shutil.disk_usage(tiny).free - 64 * KIB))
    with pytest.raises(MediumError):
        small.unpack(tiny / "back")
    assert os.listdir(tiny) == ["eaten"]


def test_base64_is_what_it_should_be(small: Packed) -> None:
    """The spelling of the payload counts: the same content in another spelling is damage, not another statement."""
    path = small.volume / names.STATEMENT_NAME
    document = json.loads(path.read_bytes())
    assert base64.b64decode(document["payload"])
    path.write_bytes(json.dumps(document, indent=1).encode())
    small.report(11)


def test_the_same_command_after_it_has_finished(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written a second time, until the volume was removed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = write_tree(tmp_path / "source", {"f": noise(1000)})
    drive = tmp_path / "drive"
    drive.mkdir()

    def again() -> str:
        return api.pack(str(source), str(drive), sign=keys.packer, to=[keys.reader.public]).volumes[0]

    first = again()
    with pytest.raises(UsageError, match="finished") as caught:
        again()
    assert caught.value.where == first
    assert os.listdir(drive) == [os.path.basename(first)]
    shutil.rmtree(first)
    assert again() != first


def test_what_a_stopped_pack_left_is_no_bundle(small: Packed, tmp_path: Path) -> None:
    """Beside a finished bundle it does not make people say which one they mean."""
    drive = small.volume.parent
    source = write_tree(tmp_path / "other", {"f": noise(1000)})
    left = api.pack(str(source), str(drive), sign=small.keys.packer, to=[small.keys.reader.public]).volumes[0]
    with pytest.raises(UsageError, match="2 bundles"):
        api.verify([str(drive)], trust=small.keys.trust)
    for name in ("statement.json", "statement.rec"):
        os.unlink(os.path.join(left, name))
    assert api.verify([str(drive)], trust=small.keys.trust).volumes == (str(small.volume),)


def test_without_a_command_the_help_is_shown(capfdbinary: Any) -> None:
    for words in ([], ["trust"]):
        assert main(words) == 2
        shown = capfdbinary.readouterr().err.decode()
        assert shown.startswith("Usage: airbundle")
        assert "\nCommands:\n" in shown


def test_an_unknown_command_leads_to_the_list(capfdbinary: Any) -> None:
    assert main(["sing"]) == 2
    assert capfdbinary.readouterr().err.decode().endswith("hint: airbundle --help\n")


def test_an_answer_that_does_not_come(files: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(EOFError))
    assert main(["trust", "add", str(files / "packer.pub")]) == 130
    assert b"Traceback" not in capfdbinary.readouterr().err


def test_json_of_names_that_are_no_text(small: Packed, files: Path, capfdbinary: Any) -> None:
    with open(os.fsencode(small.volume) + b"/\xff\xc2\x9b1m", "wb") as file:
        file.write(b"x")
    assert main(["verify", str(small.volume), "--trust", str(files / "packer.pub"), "--json"]) == 0
    out = capfdbinary.readouterr().out
    assert out.isascii()
    assert any("udcff" in line for line in json.loads(out)["result"]["ignored"])


def test_what_to_rename_stands_line_by_line(files: Path, tmp_path: Path, capfdbinary: Any) -> None:
    (tmp_path / "source").mkdir()
    for name in ("a:b", "con"):
        (tmp_path / "source" / name).touch()
    (tmp_path / "drive").mkdir()
    assert main(["pack", str(tmp_path / "source"), "-o", str(tmp_path / "drive"), "--sign",
                 str(files / "packer.key"), "--to", str(files / "reader.pub")]) == 2
    lines = capfdbinary.readouterr().err.decode().splitlines()
    assert [line.split(" has ")[0] for line in lines[2:]] == ["  'a:b'", "  'con'"]


def test_a_folder_that_is_not_there(tmp_path: Path, capfdbinary: Any) -> None:
    (tmp_path / "source").write_text("x")
    for words in (["plan", str(tmp_path / "source"), "-o", str(tmp_path / "none")],
                  ["keygen", "desk", "-o", str(tmp_path / "none"), "--no-passphrase"]):
        assert main(words) == 2
        assert b"none: is not a folder\nairbundle: hint:" in capfdbinary.readouterr().err
