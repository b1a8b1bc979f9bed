"""`drives` and what `doctor` says of watching; and the source that reads what others mounted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.devices.post import ROOT, Post, verdicts
from tests.devices.sticks import make_stick

if TYPE_CHECKING:

    from tests.devices.hostlab import HostLab

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def airbundle(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "airbundle", *words], check=False, capture_output=True, text=True,
                          env=ENVIRONMENT, timeout=60)


def listed(*words: str) -> dict[str, Any]:
    done = airbundle("drives", "--json", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["result"]
    return {one["label"]: one for one in found["drives"]}


def test_what_is_there_and_what_it_holds(post: Post) -> None:
    post.mount("full", *post.pack())
    post.mount("empty")
    found = listed("--mounts", str(post.mnt))
    assert found["empty"]["holds"] == []
    (held,) = found["full"]["holds"]
    assert held.startswith("model-")
    assert found["full"]["let_in"] == "yes"
    assert not (post.high / "state").exists()


def test_one_that_the_policy_bars_is_not_looked_at(post: Post) -> None:
    post.mount("full", *post.pack())
    post.rule('[[devices.allow]]\nserial = "4711"\n')
    found = listed("--mounts", str(post.mnt), "--policy", str(post.file))
    assert found["full"]["let_in"].startswith("no: ")
    assert found["full"]["holds"] == []


def test_for_a_person(post: Post) -> None:
    post.mount("full", *post.pack())
    done = airbundle("drives", "--mounts", str(post.mnt))
    assert "full" in done.stdout
    assert "1 drive by folder" in done.stderr
    (post.mnt / "full").rename(post.place / "elsewhere")
    assert "no drive is attached" in airbundle("drives", "--mounts", str(post.mnt)).stderr


def test_doctor_says_what_watching_has_here() -> None:
    said = json.loads(airbundle("doctor", "--json").stdout)["result"]["machine"]["watching"]
    assert ("may mount" in said) == (os.geteuid() == 0)
    assert "landlock" in said
    assert "seccomp" in said


@pytest.mark.devices
def test_a_stick_that_nobody_mounted_is_mounted_for_a_moment(post: Post, host: HostLab) -> None:
    volume, = post.pack()
    node = host.plug("one", make_stick(post.place / "one.img", "ext4", content=post.place / "one" / "drive-0"))
    found = listed("--source", "udev")["AIRSTICK"]
    assert (found["node"], found["kind"], found["serial"]) == (node, "ext4", "AIRB-one")
    assert found["holds"][0].startswith(os.path.basename(volume))
    os.close(os.open(node, os.O_RDONLY | os.O_EXCL))


@pytest.mark.devices
def test_what_somebody_else_mounted_is_read_where_it_is(post: Post, host: HostLab) -> None:
    post.pack()
    post.rule('[[devices.allow]]\nbus = "virtual"\n')
    node = host.plug("one", make_stick(post.place / "one.img", "ext4", content=post.place / "one" / "drive-0"))
    place = post.place / "mounted"
    place.mkdir()
    subprocess.run(["mount", "-o", "ro", node, place], check=True)
    try:
        done = subprocess.run(post.command("--source", "mounts", "--once", "--json"), check=False, capture_output=True,
                              text=True, env=ENVIRONMENT, timeout=60)
        assert os.path.ismount(place)
    finally:
        subprocess.run(["umount", place], check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [*verdicts(lines).values()]) == (0, ["imported"]), lines
