"""What is said of drives that are written to: that one is slow, at once; that one may be unplugged, when it is true."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.cli.output import ProgressView
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.errors import MediumError
from airbundle.media.rate import WriteRate
from airbundle.transfer.progress import Tick
from tests.transfer.workshop import PACE, Packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLOW = "this drive has taken 1.0 MB/s"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def judge(self: WriteRate, count: int, seconds: float, *, finished: bool) -> str:
        told.append(count)
        return SLOW if len(told) == 1 else ""

    monkeypatch.setattr(WriteRate, "judge", judge)


VERBS: dict[str, Callable[[Packed, Path, Any], Any]] = {
    "pack": lambda bundle, place, hear: api.pack(str(bundle.source), str(place), sign=bundle.keys.packer, pace=PACE,
                                                 to=[bundle.keys.reader.public], progress=hear),
    "copy": lambda bundle, place, hear: api.copy(bundle.given, [str(place)], trust=bundle.keys.trust, progress=hear),
    "rebuild": lambda bundle, place, hear: api.rebuild(bundle.given, str(place), trust=bundle.keys.trust,
                                                       progress=hear),
}


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("verb", VERBS)
def test_a_slow_drive_is_told_of_at_once(small: Packed, tmp_path: Path, verb: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    if verb == "rebuild":
        small.segment(0).unlink()
    ticks: list[Tick] = []
    result = VERBS[verb](small, place, ticks.append)
    (warning,) = [tick for tick in ticks if tick.warning]
    assert warning.warning.startswith(f"{place}/")
    assert warning.warning.endswith(SLOW)
    assert warning.phase == ("packing" if verb == "pack" else "copying")
    assert result.warnings[-1] == warning.warning


@pytest.mark.parametrize("style", ["plain", "json", "none"])
def test_how_a_warning_is_shown(capsys: pytest.CaptureFixture[str], style: str) -> None:
    with ProgressView(style) as view:
        view(Tick("packing", 5, 10, "a\x1b drive is slow"))
    lines = capsys.readouterr().err.splitlines()
    if style == "json":
        assert [json.loads(line) for line in lines] == [{"phase": "packing", "warning": "a\x1b drive is slow"}]
        assert "\x1b" not in lines[0]
    else:
        assert [line.replace("\\x1b", "") for line in lines] == (
            ["warning: a drive is slow"] if style == "plain" else [])


@pytest.fixture
def site(small: Packed, tmp_path: Path) -> Path:
    """Key files beside the bundle."""
    for name in ("packer", "reader", "second"):
        (tmp_path / f"{name}.key").write_bytes(write_private(name, getattr(small.keys, name), passphrase=None))
        (tmp_path / f"{name}.pub").write_bytes(write_public(name, getattr(small.keys, name).public))
    return tmp_path


def words_of(verb: str, small: Packed, site: Path) -> list[str]:
    trust = ["--trust", str(site / "packer.pub")]
    (site / "new").mkdir(exist_ok=True)
    new = ["-o", str(site / "new")]
    packing = [str(small.source), *new, "--sign", str(site / "packer.key"), "--to", str(site / "reader.pub")]
    return {
        "pack": ["pack", *packing], "pack unread": ["pack", *packing, "--no-read-back"],
        "copy": ["copy", *small.given, *new, *trust], "repair": ["repair", *small.given, *trust],
        "repair -o": ["repair", *small.given, *new, *trust],
        "sign": ["sign", *small.given, "--sign", str(site / "second.key"), *trust],
        "rewrap": ["rewrap", *small.given, "--sign", str(site / "packer.key"), "--key", str(site / "reader.key"),
                   "--add", str(site / "second.pub")],
    }[verb]


WRITING = ["pack", "copy", "repair", "repair -o", "sign", "rewrap"]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("verb", [*WRITING, "pack unread"])
def test_safe_to_unplug(small: Packed, site: Path, capsys: pytest.CaptureFixture[str], verb: str, *,
                        as_json: bool) -> None:
    if verb.startswith("repair"):
        small.segment(0).unlink()
    assert main([*words_of(verb, small, site), *(["--json"] if as_json else []), "--progress", "none"]) == 0
    out, err = capsys.readouterr()
    where = str(site / "new") if verb in {"pack", "copy", "repair -o", "pack unread"} else str(small.volume)
    if as_json:
        said = [drive["paths"][0] for drive in json.loads(out)["safe_to_unplug"]]
    else:
        said = [line.removeprefix("safe to unplug: ") for line in out.splitlines() if line.startswith("safe to unplug")]
        assert ("verify them before" in err) == (verb == "pack unread")
    assert len(said) == (verb != "pack unread")
    assert all(text.startswith(where) for text in said)
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if
             os.path.exists(f"/proc/self/fd/{fd}")]
    assert not [link for link in links if link.startswith(where)]  # nothing of it is open


@pytest.mark.parametrize("verb", WRITING)
def test_not_said_where_the_system_has_an_error_to_tell(small: Packed, site: Path, capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    def fails(paths: Any) -> None:
        assert list(paths)
        raise MediumError("an I/O error")

    monkeypatch.setattr(api, "settle_drives", fails)
    if verb.startswith("repair"):
        small.segment(0).unlink()
    assert main([*words_of(verb, small, site), "--progress", "none"]) == 9
    out, _ = capsys.readouterr()
    assert "safe" not in out


def test_nothing_to_repair(small: Packed, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words_of("repair", small, site), "--progress", "none"]) == 0
    out, _ = capsys.readouterr()
    assert "nothing to repair" in out
    assert "unplug" not in out
