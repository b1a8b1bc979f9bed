"""A confined process, for real: each thing that it must not be able to do is tried in a child."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from airbundle.devices.sandbox import landlock_version

ROOT = Path(__file__).parents[2]
HAS_FILTER = platform.machine() in {"x86_64", "aarch64"}
CHILD = """
import errno, os, socket, subprocess, sys
from airbundle.devices.sandbox import become, confine
place = {place!r}
user = {user!r}
if user: become(user, user)
held = confine(readable=["/etc", "/proc", sys.prefix, sys.base_prefix, place + "/in"],
               runnable=["/usr", "/lib", "/lib64", "/bin"], writable=[place + "/out"])
def tried(what):
    try: what()
    except OSError as error: return errno.errorcode[error.errno]
    return "done"
open_it = lambda path, mode: lambda: open(path, mode).close()
print(held.landlock > 0, held.seccomp, held.user)
print(tried(open_it(place + "/in/file", "r")), tried(open_it(place + "/in/file", "r+")),
      tried(open_it(place + "/out/new", "w")), tried(open_it(place + "/secret", "r")),
      tried(lambda: os.mkdir(place + "/in/new")), tried(lambda: os.unlink(place + "/in/file")),
      tried(lambda: os.rename(place + "/out/new", place + "/in/moved")))
print(tried(lambda: socket.socket(socket.AF_INET)), tried(lambda: socket.socket(socket.AF_INET6)),
      tried(lambda: socket.socket(socket.AF_UNIX)), tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
      tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)))
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.mount(b"none", place.encode(), b"tmpfs", 0, None), errno.errorcode[ctypes.get_errno()],
      libc.unshare(0x10000000), errno.errorcode[ctypes.get_errno()])
open(place + "/out/tool", "w").write("#!/bin/sh\\n"); os.chmod(place + "/out/tool", 0o755)
print(tried(lambda: subprocess.run([place + "/out/tool"])))
print(subprocess.run(["/bin/sh", "-c", "echo x > " + place + "/in/file"], stderr=subprocess.DEVNULL).returncode)
"""


def run(place: Path, user: int | None) -> list[list[str]]:
    (place / "in").mkdir()
    (place / "out").mkdir()
    (place / "in" / "file").write_text("x")
    (place / "secret").write_text("x")
    for path in (place, place / "in", place / "out", place / "in" / "file"):
        path.chmod(0o777)
    done = subprocess.run([sys.executable, "-c", CHILD.format(place=str(place), user=user)], check=False,
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.skipif(not landlock_version(), reason="no Landlock here")
@pytest.mark.skipif(not HAS_FILTER, reason="no filter for this machine")
def test_what_it_cannot_do_any_more(tmp_path: Path) -> None:
    held, files, sockets, mounting, brought, started = run(tmp_path, None)
    assert held[:2] == ["True", "True"]
    assert files[:3] == ["done", "EACCES", "done"]
    assert files[3:] == ["EACCES", "EACCES", "EACCES", "EACCES"]
    assert sockets == ["EPERM", "EPERM", "EPERM", "EPERM", "EPERM"]
    assert mounting == ["-1", "EPERM", "-1", "EPERM"]
    assert brought == ["EACCES"]
    assert started != ["0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
@pytest.mark.skipif(not HAS_FILTER, reason="no filter for this machine")
def test_it_becomes_somebody_else(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    held, files, *_ = run(tmp_path, 65534)
    assert held[2] == "65534"
    assert files[0] == "done"
