"""The watcher as it is run, with drives that somebody mounted: what becomes of each, and what is left behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.devices.sandbox import landlock_version
from airbundle.devices.sources import probe
from tests.devices.post import ROOT, Post, verdicts
from tests.station.desk import People
from tests.transfer.workshop import overwrite

if TYPE_CHECKING:
    from pathlib import Path


def end_of(lines: list[dict[str, Any]], label: str) -> dict[str, Any]:
    ends: list[dict[str, Any]] = [line["import"] for line in lines
                                  if "import" in line and line["drive"]["label"] == label]
    return ends[-1]


def test_good_and_strange_and_nothing_side_by_side(post: Post) -> None:
    good = post.pack("good")
    strange = post.pack("strange", by=post.people.mallory, released=False)
    post.mount("good", *good)
    post.mount("strange", *strange)
    post.mount("empty")
    status, lines, _ = post.watch_once()
    assert verdicts(lines) == {"good": "imported", "strange": "refused", "empty": "empty"}
    assert status == 5
    ended = end_of(lines, "good")
    assert os.path.isdir(ended["target"])
    assert os.path.relpath(ended["target"], post.high) in post.published()
    for name in ("good", "strange"):
        assert os.path.exists(end_of(lines, name)["receipt"])
    assert end_of(lines, "strange")["code"] == "stranger"


def test_what_was_imported_is_said_to_be_so(post: Post) -> None:
    post.mount("stick", *post.pack())
    assert post.watch_once()[0] == 0
    status, lines, _ = post.watch_once()
    assert (status, verdicts(lines)) == (0, {"stick": "known"})
    assert end_of(lines, "stick")["code"] == "replay"


def test_the_exit_status_of_several_bundles(post: Post) -> None:
    """Each counts: the first on a drive as the last, and one that waits while another comes in."""
    good, strange = post.pack("good"), post.pack("strange", by=post.people.mallory, released=False)
    first, *_ = post.pack("three", drives=3)
    post.mount("both", *good, *strange)
    status, lines, _ = post.watch_once()
    assert (status, verdicts(lines)) == (5, {"both": "refused"})
    shutil.rmtree(post.mnt / "both")
    post.mount("a", first)
    post.mount("b", *post.pack("another"))
    status, lines, _ = post.watch_once()
    assert (status, verdicts(lines)) == (3, {"a": "waiting", "b": "imported"})


def test_three_drives_together_and_one_after_another(post: Post) -> None:
    volumes = post.pack(drives=3)
    post.mount("a", volumes[0])
    status, lines, _ = post.watch_once()
    assert (status, verdicts(lines)) == (3, {"a": "waiting"})
    shutil.rmtree(post.mnt / "a")
    post.mount("b", volumes[1])
    post.mount("c", volumes[2])
    status, lines, _ = post.watch_once()
    assert (status, verdicts(lines)) == (0, {"b": "imported", "c": "imported"})


def test_several_bundles_on_one_drive_and_none_is_lost_from_sight(post: Post) -> None:
    strange = post.pack("strange", by=post.people.mallory, released=False)
    post.mount("stick", *post.pack("good"), *strange, *post.pack("other"))
    status, lines, _ = post.watch_once()
    assert (status, verdicts(lines)) == (5, {"stick": "refused"})
    assert sorted(line["import"]["exit_status"] for line in lines if "import" in line) == [0, 0, 5]
    shutil.rmtree(post.high / "state")
    shutil.rmtree(post.high / "models")
    done = subprocess.run(post.command("--mounts", str(post.mnt), "--once"), check=False, capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)
    words = [line.split()[1] for line in done.stdout.splitlines() if line[:2].isdigit()]
    assert words.count("IMPORTED:") == 2
    assert words.count("REFUSED:") == 1


@pytest.mark.parametrize(("share", "status", "verdict"), [(1000, 0, "imported"), (1, 4, "failed")])
def test_damage_is_repaired_in_memory_or_is_beyond_it(post: Post, share: int, status: int, verdict: str) -> None:
    drive = post.mount("stick", *post.pack())
    for segment in drive.rglob("0*.abs"):
        size = segment.stat().st_size
        overwrite(segment, 4096, bytes(max(4096, (size - 4096) // share)))
    found, lines, _ = post.watch_once()
    assert (found, verdicts(lines)) == (status, {"stick": verdict})
    assert bool(post.published()) == (verdict == "imported")


def test_a_hostile_medium_is_no_more_than_a_verdict(post: Post) -> None:
    drive = post.mount("hostile")
    (drive / "._model-1of1.airbundle").mkdir()
    (drive / ".Trash-1000").mkdir()
    (drive / "x-1of1.airbundle").symlink_to("/etc")
    (drive / "\x1b[31m-1of1.airbundle").mkdir()
    os.mkfifo(drive / "\x1b[31m-1of1.airbundle" / "statement.json")
    status, lines, _ = post.watch_once()
    assert (status, verdicts(lines), end_of(lines, "hostile")["code"]) == (5, {"hostile": "refused"}, "unsigned")
    assert not post.published()


def test_litter_beside_a_bundle_is_none(post: Post) -> None:
    """What desktops leave on sticks, with names that end as those of volumes do."""
    drive = post.mount("stick", *post.pack())
    for name in ("._model-1of1.airbundle", ".Trash-1000", "System Volume Information"):
        (drive / name / "inside-1of1.airbundle").mkdir(parents=True)
        (drive / name / "00000000.abs").write_bytes(bytes(4096))
    (drive / "._.DS_Store").write_bytes(bytes(100))
    status, lines, _ = post.watch_once()
    assert (status, verdicts(lines)) == (0, {"stick": "imported"})


def test_the_hook_is_told(post: Post) -> None:
    told = post.high / "told"
    hook = post.high / "hook"
    words = "$AIRBUNDLE_STATE $AIRBUNDLE_EXIT $AIRBUNDLE_DRIVE"
    hook.write_text(f'#!/bin/sh\necho "{words}" >> {told}\nid -un >> {told}\n')
    hook.chmod(0o755)
    post.rule(f'[watch]\nhook = ["{hook}"]\n')
    post.give()
    post.mount("stick", *post.pack())
    assert post.watch_once()[0] == 0
    lines = told.read_text().splitlines()
    assert [line.split()[0] for line in lines[::2]] == [
        "attached", "mounting", "looking", "ready", "importing", "imported"]
    assert lines[-2] == "imported 0 stick"
    assert set(lines[1::2]) == {"nobody" if os.geteuid() == 0 else os.environ.get("USER", lines[1])}


def test_only_one_watcher_at_a_time(post: Post) -> None:
    post.mount("stick", *post.pack())
    with subprocess.Popen(post.command("--mounts", str(post.mnt), "--json"), stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}) as first:
        assert first.stdout is not None
        first.stdout.readline()
        post.file.write_bytes(post.file.read_bytes())
        status, lines, said = post.watch_once()
        first.terminate()
        assert first.wait(30) == 0
    assert (status, lines) == (2, [])
    assert "another watcher" in said
    with post.file.open() as held:  # anybody can do that
        fcntl.flock(held, fcntl.LOCK_EX)
        assert post.watch_once()[0] == 0


def test_it_ends_when_it_is_told_to_and_leaves_nothing(post: Post) -> None:
    post.mount("stick", *post.pack())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(post.place)}
    with subprocess.Popen(post.command("--mounts", str(post.mnt), "--json"), stdout=subprocess.PIPE, text=True,
                          env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["state"] == "imported":
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not [name for name in os.listdir(post.place) if name.startswith("airbundle-")]


def test_the_reader_dies_and_the_watcher_goes_on(post: Post) -> None:
    """What kills the process that reads a drive is a verdict on that drive; the next one is read by another."""
    second = post.pack("second")
    post.mount("first", *post.pack("first"))
    with subprocess.Popen(post.command("--mounts", str(post.mnt), "--json"), stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout is not None
        states = []
        for line in process.stdout:
            told = json.loads(line)
            if "drive" not in told:
                continue
            states.append((told["drive"]["label"], told["state"]))
            if told["event"] == "plug" and told["drive"]["label"] == "first":
                readers = readers_of(process.pid)
                signal_all(readers, signal.SIGSTOP)  # so that nothing is answered
            if states[-1] == ("first", "looking"):
                signal_all(readers, signal.SIGKILL)
            if states[-1] == ("first", "failed"):
                post.mount("second", *second)
            if states[-1][0] == "second" and states[-1][1] in {"imported", "failed"}:
                break
        process.terminate()
        process.wait(30)
    assert states[-1] == ("second", "imported")
    assert ("first", "failed") in states


def signal_all(processes: list[int], number: int) -> None:
    for process in processes:
        os.kill(process, number)


def readers_of(parent: int) -> list[int]:
    with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
        return [int(number) for number in file.read().split()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
def test_root_does_not_read_drives(people: People, tmp_path: Path) -> None:
    post = Post(people, tmp_path)
    for drop_in in (post.high / "policy.d").iterdir():
        drop_in.unlink()
    for path in (post.high, post.file):
        os.chown(path, 0, 0)
    status, lines, said = post.watch_once()
    assert (status, lines) == (2, [])
    assert "read as root" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
def test_what_reads_drives_has_no_privileges_and_no_network(post: Post) -> None:
    """As the kernel says it of the process that imports, while it does."""
    hook = post.high / "look"
    found = post.high / "models" / "found"
    lines = "^(Uid|CapEff|CapPrm|NoNewPrivs|Seccomp):"
    hook.write_text(f"#!/bin/sh\ngrep -h -E '{lines}' /proc/self/status > {found}\n")
    hook.chmod(0o755)
    post.rule(f'[publish]\nhook = ["{hook}"]\n')
    post.give()
    post.mount("stick", *post.pack())
    assert post.watch_once()[0] == 0
    status = dict(line.split(":\t") for line in found.read_text().splitlines())
    assert set(status["Uid"].split()) == {"65534"}
    assert status["CapEff"].strip("0") == status["CapPrm"].strip("0") == ""
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_what_lies_where_it_is_started_is_not_run(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may stand in anybody's folder, such as on a drive."""
    place = post.place / "anybodys"
    place.mkdir()
    for name in ("msgspec", "ctypes"):
        (place / f"{name}.py").write_text(f"open({str(place / 'was-run')!r}, 'w')\n")
    post.mount("stick", *post.pack())
    command = [sys.executable, "-P", *post.command("--mounts", str(post.mnt), "--once")[1:]]
    subprocess.run(command, check=True, cwd=place, stdout=subprocess.DEVNULL,
                   env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)
    monkeypatch.chdir(place)
    probe("/dev/null")
    assert not (place / "was-run").exists()


@pytest.mark.skipif(not landlock_version(), reason="no Landlock here")
def test_what_reads_drives_reads_nothing_else_wherever_it_is_started(post: Post) -> None:
    """A service starts in `/`, and all lies below that."""
    secret = post.place / "secret"
    hook = post.high / "look"
    found = post.high / "models" / "found"
    hook.write_text(f"#!/bin/sh\ncat {secret}.txt >> {found}; echo $? >> {found}\n")
    hook.chmod(0o755)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as other:  # /tmp is open to what a policy runs
        os.chmod(other, 0o755)
        secret.with_suffix(".txt").symlink_to(os.path.join(other, "secret"))
        with open(os.path.join(other, "secret"), "w", encoding="ascii") as file:
            file.write("secret")
        post.rule(f'[publish]\nhook = ["{hook}"]\n')
        post.give()
        post.mount("stick", *post.pack())
        assert post.watch_once(cwd="/")[0] == 0
    assert found.read_text() == "1\n"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("verb", ["watch", "drives"])
def test_no_socket_leads_out_of_this_machine(post: Post, verb: str) -> None:
    post.mount("stick", *post.pack())
    words = post.command("--once") if verb == "watch" else [sys.executable, "-m", "airbundle", "drives"]
    calls = post.place / "calls"
    subprocess.run(["strace", "-f", "-e", "trace=socket,connect,bind", "-o", calls, *words, "--mounts", post.mnt],
                   check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)
    assert "exited with 0" in calls.read_text()
    assert not [line for line in calls.read_text().splitlines() if "AF_" in line and "AF_UNIX" not in line]
