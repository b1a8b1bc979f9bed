"""Programs that a policy names: the hook and scanners, run for real; and the system's log."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from tests.station.desk import Desk

LOG = "/dev/log"


def script(desk: Desk, name: str, text: str) -> str:
    path = desk.place / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_hook_gets_what_it_needs_and_nothing_else(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_STATION", "x")
    said = desk.place / "said"
    desk.rule(f'[publish]\nhook = ["{script(desk, "hook", f"env > {said}; cat >> {said}")}"]\n')
    result = desk.take(desk.pack(sequence=7))
    found = dict(line.split("=", 1) for line in said.read_text().splitlines())
    assert (found["AIRBUNDLE_TARGET"], found["AIRBUNDLE_BUNDLE"], found["AIRBUNDLE_SEQUENCE"]) == (
        result.target, result.bundle, "7")
    assert "SECRET_OF_THE_STATION" not in found
    assert not result.notes


def test_a_hook_that_fails_changes_nothing_in_what_was_published(desk: Desk) -> None:
    desk.rule(f'[publish]\nhook = ["{script(desk, "hook", "exit 3")}"]\n')
    volumes = desk.pack(sequence=1)
    result = desk.take(volumes)
    assert "ended with 3" in result.notes[0]
    assert Path(result.target).exists()
    assert [line.event for line in desk.audit()][-2:] == ["published", "hook failed"]
    desk.refused("replay", 6, volumes)


@pytest.mark.parametrize("rule", ['[publish]\nhook = ["not-there"]\n', '[gates]\nscanners = ["picklescan"]\n'])
def test_what_is_not_installed_is_said_before_the_bulk_is_read(desk: Desk, rule: str,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    desk.rule(rule)
    desk.refused("usage", 2, desk.pack(sequence=1))
    assert "unpacked" not in {line.event for line in desk.audit()}


@pytest.mark.parametrize(("status", "code"), [(0, ""), (1, "gate-finding"), (3, ""), (7, "gate-error")])
def test_each_end_of_a_scanner_is_an_answer(desk: Desk, status: int, code: str) -> None:
    program = script(desk, "scanner", f'test -f "$1/model.safetensors" || exit 9; exit {status}')
    desk.rule(f'[[gates.scanners]]\nname = "own"\ncommand = ["{program}", "{{folder}}"]\nclean = [0]\nfinding = [1]\n'
              "not-examined = [3]\n")
    volumes = desk.pack(sequence=1)
    if code:
        desk.refused(code, 7, volumes)
        kept = os.listdir(desk.high / "models" / ".airbundle-staging")
        assert bool(kept) == (code == "gate-error")  # which may be another answer the next time
    else:
        assert "own" in {gate.gate for gate in desk.receipt(desk.take(volumes)).gates}


def test_what_a_gate_finds_is_refused(desk: Desk) -> None:
    pickle = b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00cposix\nsystem\n\x8c\x04true\x85R."
    error = desk.refused("gate-finding", 7, desk.pack("a", sequence=1, files={"model.safetensors": pickle}))
    assert "model.safetensors" in str(error)
    unknown = {"a.onnx": bytes(range(256)) * 8}
    desk.refused("gate-not-examined", 7, desk.pack("bb", sequence=1, files=unknown))
    desk.rule('[gates]\nunexamined = ["*.onnx"]\n')
    desk.refused("gate-finding", 7, desk.pack("ccc", sequence=1, files={"a.onnx": pickle}))
    receipt = desk.receipt(desk.take(desk.pack("dddd", sequence=1, files=unknown)))
    assert [(one.path, one.outcome) for one in receipt.gate_findings if one.gate == "content"] == [
        ("a.onnx", "not-examined")]


@pytest.mark.skipif(os.path.lexists(LOG) or os.geteuid() != 0, reason="the log is somebody else's")
def test_lines_go_to_the_system_s_log_when_asked(desk: Desk) -> None:
    desk.rule("[audit]\nsyslog = true\n")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as log:
        log.bind(LOG)
        log.settimeout(10)
        try:
            desk.take(desk.pack(sequence=1))
            lines = [log.recv(65536).decode() for _ in desk.audit()]
        finally:
            os.unlink(LOG)
    assert all("airbundle" in line for line in lines)
    assert '"event":"published"' in lines[-1]


def test_a_hook_that_hangs_is_killed_with_what_it_started(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.station.hook.HOOK_TIMEOUT", 1)
    pid = desk.place / "pid"
    desk.rule(f'[publish]\nhook = ["{script(desk, "hook", f"sleep 600 & echo $! > {pid}; wait")}"]\n')
    result = desk.take(desk.pack(sequence=1))
    assert "not finished after 1 s" in result.notes[0]
    status = Path(f"/proc/{int(pid.read_text())}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()
