"""Exceptions: signed by administrators, for one bundle, some refusals and a time; and logged."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.cli.main import main
from airbundle.crypto.keyfiles import write_private
from airbundle.errors import AirbundleError, FormatError, StrangerError, ThresholdError, UsageError
from airbundle.station.waivers import add_signature, make_waiver, read_waiver
from tests.station.desk import DAY, Desk

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.crypto.identities import PrivateIdentity

NOW = 1_800_000_000
SUBJECT = "ab" * 32


def waiver(desk: Desk, subject: str, *codes: str, by: PrivateIdentity | None = None) -> str:
    path = desk.place / f"waiver-{'-'.join(codes)}"
    path.write_bytes(make_waiver(by or desk.people.admin, subject=subject, allow=codes, reason="asked for by phone",
                                 now=int(time.time()), seconds=DAY))
    return str(path)


def test_a_refusal_is_lifted_for_one_bundle_and_logged(desk: Desk) -> None:
    desk.take(desk.pack("a", sequence=43))
    older, other = desk.pack("bb", sequence=41), desk.pack("ccc", sequence=40)
    error: Any = desk.refused("rollback", 6, older)
    paper = waiver(desk, error.report.statement, "rollback")
    desk.refused("rollback", 6, other, waivers=[paper])
    result = desk.take(older, waivers=[paper])
    receipt = desk.receipt(result)
    assert receipt.waivers == ("rollback: asked for by phone",)
    assert [check.outcome for check in receipt.checks if check.name == "sequence"] == ["waived"]
    assert any("waived" in note for note in result.notes)
    lines = [line for line in desk.audit() if line.event == "waived"]
    assert [(line.code, line.detail, line.bundle) for line in lines] == [
        ("rollback", "asked for by phone", result.bundle)]
    desk.refused("rollback", 6, other)  # and the series stays where it was


def test_another_code_is_not_lifted(desk: Desk) -> None:
    desk.take(desk.pack("a", sequence=43))
    older = desk.pack("bb", sequence=41)
    error: Any = desk.refused("rollback", 6, older)
    desk.refused("rollback", 6, older, waivers=[waiver(desk, error.report.statement, "replay", "expired")])


def test_a_replay_where_the_content_was_removed(desk: Desk) -> None:
    volumes = desk.pack(sequence=1)
    result = desk.take(volumes)
    shutil.rmtree(result.target)
    paper = waiver(desk, result.statement, "replay", "rollback")
    assert desk.take(volumes, waivers=[paper]).target == result.target


@pytest.mark.parametrize("code", ["missing-signature", "stranger", "weaker-suite", "future-dated", "gate-finding", ""])
def test_what_nobody_can_waive(desk: Desk, code: str) -> None:
    with pytest.raises(UsageError):
        make_waiver(desk.people.admin, subject=SUBJECT, allow=[code] if code else [], reason="x", now=NOW, seconds=DAY)


def test_who_may_sign_and_when(desk: Desk) -> None:
    policy = desk.policy()

    def raw(by: PrivateIdentity) -> bytes:
        return make_waiver(by, subject=SUBJECT, allow=["replay"], reason="x", now=NOW, seconds=DAY)

    assert read_waiver(raw(desk.people.admin), policy, NOW).allow == ("replay",)
    for name in ("alice", "rita", "mallory"):
        with pytest.raises(StrangerError):
            read_waiver(raw(getattr(desk.people, name)), policy, NOW)
    for now in (NOW + DAY, NOW - 2 * DAY):
        with pytest.raises(UsageError):
            read_waiver(raw(desk.people.admin), policy, now)
    tampered = raw(desk.people.admin).replace(b'"sig":"A', b'"sig":"B').replace(b'"sig":"', b'"sig":"AAAA', 1)
    with pytest.raises(AirbundleError):
        read_waiver(tampered, policy, NOW)
    with pytest.raises(FormatError):
        read_waiver(b"{}", policy, NOW)


def test_two_administrators(desk: Desk) -> None:
    desk.rule('[thresholds]\nadministrator = 2\n[[keys]]\nfile = "keys/mallory.pub"\nroles = ["administrator"]\n')
    policy = desk.policy()
    raw = make_waiver(desk.people.admin, subject=SUBJECT, allow=["replay"], reason="x", now=NOW, seconds=DAY)
    with pytest.raises(ThresholdError):
        read_waiver(raw, policy, NOW)
    with pytest.raises(FormatError):
        read_waiver(add_signature(raw, desk.people.admin, subject=SUBJECT), policy, NOW)  # the same key twice
    with pytest.raises(UsageError):
        add_signature(raw, desk.people.mallory, subject="cd" * 32)
    assert read_waiver(add_signature(raw, desk.people.mallory, subject=SUBJECT), policy, NOW).subject == SUBJECT


def test_by_command(desk: Desk, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    desk.take(desk.pack("a", sequence=43))
    older = desk.pack("bb", sequence=41)
    key = tmp_path / "admin.key"
    key.write_bytes(write_private("admin", desk.people.admin, passphrase=None))
    words = ["import", *older, "--policy", str(desk.file), "--progress", "none"]
    assert main(words) == 6
    said = capfdbinary.readouterr().err.decode()
    command = said.split("airbundle waive ")[1].split()
    out = str(tmp_path / "paper")
    assert main(["waive", command[0], "--allow", command[2], "--reason", "phone", "--sign", str(key), "-o", out]) == 0
    capfdbinary.readouterr()
    assert main([*words, "--waiver", out, "--json"]) == 0
    shown = json.loads(capfdbinary.readouterr().out)
    assert (shown["command"], shown["exit"], shown["result"]["state"]) == ("import", 0, "published")
