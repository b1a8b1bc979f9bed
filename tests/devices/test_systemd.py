"""The services that are printed: clean for systemd's own checker, and at work with systemd as first process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.identities import generate
from tests.devices.equipment import require
from tests.devices.machine import Machine
from tests.devices.post import ROOT
from tests.devices.sticks import MIB, make_stick
from tests.station.desk import Desk, People

if TYPE_CHECKING:
    from pathlib import Path

HOME = "/srv/station"
# Tidies the folders of this machine, which the guest sees, and takes minutes.
NOTHING = {"systemd-tmpfiles-setup.service": "[Service]\nType=oneshot\nExecStart=true\n"}
# Where this program and its libraries lie, which may be below /tmp.
OURS = f"Environment=PYTHONPATH={ROOT}\nBindReadOnlyPaths={sys.prefix} {ROOT}\n"
EXPOSURE = {"airbundle-watch.service": 2.9, "airbundle-watch-mounts.service": 0.6}
"""As `docs/watching.md` has them, of systemd 252. Others count more things, and come to more."""


def printed(policy: str = "") -> dict[str, str]:
    """The files by their paths."""
    words = ["--policy", policy] if policy else []
    done = subprocess.run([sys.executable, "-m", "airbundle", "watch", "--print-units", *words], check=True,
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    found = {}
    for part in re.split(r"(?m)^(?=# file: )", done.stdout):
        if part:
            found[part.split("\n", 1)[0].removeprefix("# file: ")] = part
    return found


def test_what_is_printed() -> None:
    assert sorted(printed()) == [
        "/etc/systemd/system/airbundle-watch-mounts.service", "/etc/systemd/system/airbundle-watch.service",
        "/etc/udev/rules.d/90-airbundle.rules", "/etc/usbguard/rules.d/90-airbundle.conf"]
    rule = printed()["/etc/udev/rules.d/90-airbundle.rules"]
    given = re.findall(r"(\w+(?:\{\w+\})?)(?:\+=|=)\"", rule)
    assert set(given) == {"TAG", "ENV{SYSTEMD_WANTS}"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    for path, text in printed().items():
        if path.endswith(".service"):
            unit = tmp_path / os.path.basename(path)
            unit.write_text(re.sub(r"(?m)^User=.*$", "User=games", text))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], check=False, capture_output=True,
                                  text=True)
            assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])
            done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit], check=False,
                                  capture_output=True, text=True)
            level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
            assert level is not None, done.stdout + done.stderr
            assert float(level[1]) <= EXPOSURE[unit.name] + 0.5


@pytest.mark.devices
@pytest.mark.timeout(300)
def test_a_stick_starts_the_service_and_is_imported(tmp_path: Path) -> None:
    require("systemd")
    desk = Desk(People(*(generate() for _ in range(6))), tmp_path / "desk")
    desk.rule('[watch]\nuser = "nobody"\n')
    content = tmp_path / "content"
    content.mkdir()
    volume, = desk.pack()
    shutil.copytree(volume, content / os.path.basename(volume))
    image = make_stick(tmp_path / "stick.img", content=content, size=32 * MIB)
    files = printed()
    shared = tmp_path / "shared"
    shutil.copytree(desk.high, shared / "station")
    with Machine(shared, systemd=True, units=NOTHING | {
            os.path.basename(path): text.replace("[Service]\n", f"[Service]\n{OURS}")
            for path, text in files.items() if path.endswith("watch.service")},
            rules={os.path.basename(path): text for path, text in files.items() if path.endswith(".rules")}) as machine:
        machine.output(f"cp -r {shared}/station {HOME} && chown -R nobody {HOME}")
        journal = machine.follow("airbundle-watch.service")
        machine.plug("a", image)
        journal.expect("IMPORTED", timeout=120)
        assert machine.output(f"find {HOME}/models -name config.json").strip()
        assert machine.output(f"ls {HOME}/state/receipts/*published.receipt.json").strip()
        assert machine.output("cat /proc/1/comm").strip() == "systemd"
        machine.pull("a")
        journal.expect("removed")
        machine.output("systemctl stop airbundle-watch.service")
        journal.expect("Deactivated successfully")
    assert not os.path.exists(f"/proc/{machine.process.pid}")
    with pytest.raises(AssertionError, match="the machine has ended"):
        machine.run("true")
