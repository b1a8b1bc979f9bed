"""Sticks on this machine, without a virtual one: udev, loop devices, and images that FUSE serves.

As quick as the kernel of this machine, and as poor: a stick is a loop device that udev believes to be on USB, a pull is
the end of the process that serves its bytes, and only file systems of this kernel can be mounted. One laboratory at a
time has the machine. Whatever happens, leaving the context unmounts and detaches all of it, and ends the udevd that it
started.

    with HostLab(tmp_path) as host:
        device = host.plug("a", image, bad_sector=4096)
        folder = host.mount("a")
        host.pull("a")
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.devices.equipment import PATH, UDEVD, program
from tests.devices.fuse_image import NAME, READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

ENVIRONMENT = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
LOCK = "/dev/loop-control"  # a file that is there anyway
RULES = Path("/run/udev/rules.d/90-airbundle-tests.rules")
# An event with the argument FAKEUSB makes a stick of a loop device; it stays one until the event `remove`.
RULE = """
SUBSYSTEM!="block", GOTO="airbundle_end"
ENV{SYNTH_ARG_FAKEUSB}=="", IMPORT{db}="ID_BUS", IMPORT{db}="ID_USB_DRIVER", IMPORT{db}="ID_SERIAL_SHORT"
ENV{SYNTH_ARG_FAKEUSB}=="?*", ENV{ID_BUS}="usb", ENV{ID_USB_DRIVER}="usb-storage", \
ENV{ID_SERIAL_SHORT}="AIRB-$env{SYNTH_ARG_FAKEUSB}"
LABEL="airbundle_end"
"""
REPOSITORY = Path(__file__).parents[2]
PATIENCE = 20.0
SAFE = "ro,nosuid,nodev,noexec,nosymfollow"


class Stick:
    """A loop device over an image that a process serves."""

    def __init__(self, name: str, image: Path, folder: Path, words: Sequence[str], *, readonly: bool) -> None:
        self.name = name
        self.stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            served = folder / "served"
            served.mkdir(parents=True)
            self.server = stack.enter_context(_serving(image, served, words))
            self.device = _run("losetup", "--find", "--show", *(["--read-only"] if readonly else []), served / NAME)
            stack.callback(_detach, self.device)
            stack.callback(self.server.kill)  # nothing waits for a server that is stopped
            self.stack = stack.pop_all()

    def tell(self, action: str) -> None:
        """An event of the kernel, and udev's answer to it."""
        argument = f" FAKEUSB={self.name}" if action != "remove" else ""
        (Path("/sys/block") / os.path.basename(self.device) / "uevent").write_text(f"{action} {uuid.uuid4()}{argument}")
        settle()


class HostLab:
    """`folder` takes what is served and mounted; udevd runs while the context lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sticks: dict[str, Stick] = {}
        self._numbers = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_alone())
            stack.enter_context(udevd())
            stack.enter_context(_rules())
            stack.callback(settle)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stack.close()

    def plug(self, name: str, image: Path, *, bad_sector: int | Sequence[int] | None = None,
             bytes_per_second: int = 0, readonly: bool = True) -> str:
        """A stick appears, its serial number is AIRB- and its name; gives the device. Names are letters and digits."""
        assert name.isalnum(), name
        assert name not in self._sticks, f"{name} is plugged already"
        bad = [bad_sector] if isinstance(bad_sector, int) else list(bad_sector or ())
        self._numbers += 1
        words = [str(bytes_per_second), *(f"{sector}-{sector + 1}" for sector in bad)]
        stick = Stick(name, image, self._folder / f"{self._numbers}-{name}", words, readonly=readonly)
        self._stack.callback(stick.stack.close)
        self._sticks[name] = stick
        settle()
        stick.tell("add")
        return stick.device

    def mount(self, name: str, options: str = SAFE) -> Path:
        """The folder where the stick is mounted now; unmounted at the latest with the stick."""
        place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        _run("mount", "-o", options, self._sticks[name].device, place)
        return place

    def pull(self, name: str) -> None:
        """From now on reads and writes fail; udev says that the device is removed. What is mounted stays so."""
        stick = self._sticks.pop(name)
        stick.server.kill()
        stick.server.wait()
        stick.tell("remove")

    def stall(self, name: str) -> None:
        """From now on nothing that is read comes, until it is resumed."""
        self._sticks[name].server.send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._sticks[name].server.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def udevd() -> Iterator[int | None]:
    """A udevd, started where none answers and then ended; gives its number where it was started."""
    if _answers():
        yield None
        return
    made = [place for place in ("/run/udev", "/dev/disk", "/dev/block") if not os.path.exists(place)]
    owners = {path: path.stat() for path in Path("/dev").glob("loop*")}
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(PATIENCE)
        listener.bind(f"{folder}/notify")
        process = subprocess.Popen([UDEVD], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL,
                                   env={**ENVIRONMENT, "NOTIFY_SOCKET": f"{folder}/notify"})
        try:
            while b"READY=1" not in listener.recv(4096):
                pass
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()
                Path("/run/udev/control").unlink(missing_ok=True)
                for place in made:
                    shutil.rmtree(place, ignore_errors=True)
                for path, status in owners.items():
                    os.chown(path, status.st_uid, status.st_gid)
                    path.chmod(stat.S_IMODE(status.st_mode))


def settle() -> None:
    """Until udev has nothing left to do."""
    _run("udevadm", "settle", f"--timeout={PATIENCE:.0f}")


def properties(device: str) -> dict[str, str]:
    """What udev knows of a device."""
    text = _run("udevadm", "info", "--query=property", f"--name={device}")
    return dict(line.split("=", maxsplit=1) for line in text.splitlines())


def loops() -> set[str]:
    """The loop devices with something in them."""
    return {f"/dev/{path.parent.name}" for path in Path("/sys/block").glob("loop*/loop")}


def mounts(source: str) -> list[str]:
    """Where something is mounted, the last one first."""
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [row[1].encode().decode("unicode_escape") for row in rows if row[0] == source][::-1]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with open(LOCK, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _rules() -> Iterator[None]:
    RULES.parent.mkdir(parents=True, exist_ok=True)
    RULES.write_text(RULE)
    try:
        _run("udevadm", "control", "--reload")
        yield
    finally:
        RULES.unlink(missing_ok=True)
        _run("udevadm", "control", "--reload")


@contextlib.contextmanager
def _serving(image: Path, served: Path, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen([program("setpriv"), "--pdeathsig", "KILL", sys.executable, "-m",
                               "tests.devices.paced_image", image, served, *words], stdout=subprocess.PIPE,
                              cwd=REPOSITORY, env=ENVIRONMENT)
    try:
        assert server.stdout is not None
        with server.stdout as output:
            assert output.readline() == READY, "the image is not served"
        yield server
    finally:
        server.kill()
        server.wait()
        if str(served) in Path("/proc/self/mounts").read_text():
            _run("umount", "--lazy", served)


def _detach(device: str) -> None:
    """Unmounts it wherever it is mounted, and waits until nothing holds it."""
    for place in mounts(device):
        _run("umount", "--lazy", place)
    settle()
    _run("blockdev", "--setrw", device)  # what the watcher sets outlives what lies under the loop
    _run("losetup", "--detach", device)
    _wait(lambda: device not in loops(), f"something holds {device}")


def _answers() -> bool:
    return subprocess.run([program("udevadm"), "control", "--ping", "--timeout=2"], check=False, env=ENVIRONMENT,
                          stderr=subprocess.DEVNULL).returncode == 0


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    """The kernel tells nobody when a loop device is free again."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def _run(name: str, *words: object) -> str:
    done = subprocess.run([program(name), *map(str, words)], check=False, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, env=ENVIRONMENT)
    assert done.returncode == 0, f"{name} {words} ends with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.strip()
