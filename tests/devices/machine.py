"""A virtual machine that is made for one test and thrown away: this machine's programs, a stock kernel, and real USB.

QEMU without any accelerator, so that it runs wherever Python does. Sticks are plugged and pulled from here, as a hand
would do it: the guest gets no warning. What the command in the guest prints comes here as lines with the time at which
they came. Whatever happens, leaving the context ends the machine, and the kernel does so when this process dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal as signals
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.devices.boot import REPOSITORY, SHARED, first_files
from tests.devices.equipment import program
from tests.devices.kernel import prepared
from tests.devices.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

__all__ = ["SHARED", "Line", "Machine", "Ran"]

TAIL = 40
SHARE = "mount_tag=shared,security_model=none,multidevs=remap"
DEVICES = ["-accel", "tcg", "-cpu", "max", "-nodefaults", "-no-reboot", "-no-user-config", "-display", "none",
           "-mon", "chardev=monitor,mode=control", "-serial", "chardev:console",
           "-device", "qemu-xhci,id=usb,p2=8,p3=8", "-device", "virtio-serial-pci",
           "-device", "virtserialport,chardev=agent,name=airbundle",
           "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"]
KERNEL_WORDS = "console=ttyS0 panic=-1 quiet mitigations=off fstab=no net.ifnames=0"


class Line(str):
    """A line that the guest printed: where it came from, and when it came, in seconds since the machine was started."""

    __slots__ = ("at", "source")
    at: float
    source: str


@dataclass(frozen=True)
class Ran:
    """The end of a shell command in the guest; its two outputs are one."""

    status: int
    output: str


class Machine:
    """`folder` is shared: writable in the guest, at its own path and at SHARED.

    `command` runs as root once devices have settled; `env` is added to what it inherits. With `systemd` it is the
    first process; `units` and `rules` (of udev) are files by their name, `follow` names units whose journal comes as
    lines, and `start` names units to be started then. `patience` is how long the start and each answer may take.
    """

    def __init__(self, folder: Path, command: Sequence[object] = (), *, cwd: Path | None = None,
                 env: Mapping[str, str] | None = None, systemd: bool = False, units: Mapping[str, str] | None = None,
                 rules: Mapping[str, str] | None = None, follow: Sequence[str] = (), start: Sequence[str] = (),
                 memory: int = 1024, cores: int = 1, patience: float = 120) -> None:
        self.folder = Path(os.path.realpath(folder))
        self.lines: list[Line] = []
        self.console: list[str] = []
        self.kernel = ""
        self.status: int | None = None
        self._command = [str(word) for word in command]
        self._cwd, self._systemd, self._units, self._rules = cwd or self.folder, systemd, units or {}, rules or {}
        self._env = {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1",
                     **(env or {})}
        self._follow, self._start, self._memory, self._cores = follow, start, memory, cores
        self._patience = patience
        self._changed = threading.Condition()
        self._answers: dict[int, Ran] = {}
        self._runs = self._seen = self._nodes = 0
        self._gone = False
        self._plugged: dict[str, list[tuple[str, str]]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._boot(stack)
            self._await(lambda: bool(self.kernel), self._patience, "the machine did not come up")
            for unit in self._follow:
                self._send("follow", unit=unit)
            for unit in self._start:
                started = self.run(f"systemctl start {unit}", timeout=self._patience)
                assert started.status == 0, f"{unit}: {started.output}\n{self.transcript()}"
            if self._command:
                self._send("start", argv=self._command, cwd=str(self._cwd), env=self._env)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the machine at once, as a power cut would; the second time there is nothing to do."""
        self._stack.close()

    def plug(self, name: str, image: Path, *, bad_sector: int | Sequence[int] | None = None,
             bytes_per_second: int | None = None, readonly: bool = True, serial: str | None = None,
             vendor_product: tuple[str, str] | None = None) -> None:
        """A stick appears, with `image` in it; its serial number is AIRB- and its name unless one is given.

        Reading a bad sector (of 512 bytes) fails. A vendor and a product have at most 8 and 16 characters. The guest
        sees the stick a second or so later: wait for what it says.
        """
        assert name not in self._plugged, f"{name} is plugged already"
        serial = f"AIRB-{name}" if serial is None else serial
        made = self._plugged[name] = []
        node = self._node(made, driver="file", filename=os.path.abspath(image), read_only=readonly, locking="off")
        if bad_sector is not None:
            bad = [bad_sector] if isinstance(bad_sector, int) else list(bad_sector)
            node = self._node(made, driver="blkdebug", image=node, read_only=readonly, inject_error=[
                {"event": "none", "iotype": "read", "errno": 5, "once": False, "sector": sector} for sector in bad])
        if bytes_per_second is not None:
            self._monitor.do("object-add", qom_type="throttle-group", id=f"pace-{name}",
                             limits={"bps-total": bytes_per_second})
            made.append(("object-del", f"pace-{name}"))
            node = self._node(made, driver="throttle", file=node, throttle_group=f"pace-{name}", read_only=readonly)
        node = self._node(made, driver="raw", file=node, read_only=readonly)
        if vendor_product is None:
            self._monitor.do("device_add", driver="usb-storage", id=name, bus="usb.0", drive=node, removable=True,
                             serial=serial)
            return
        self._monitor.do("device_add", driver="usb-bot", id=name, bus="usb.0", serial=serial, attached=False)
        self._monitor.do("device_add", driver="scsi-hd", id=f"{name}-disk", bus=f"{name}.0", drive=node, removable=True,
                         serial=serial, vendor=vendor_product[0], product=vendor_product[1])
        self._monitor.do("qom-set", path=f"/machine/peripheral/{name}", property="attached", value=True)

    def pull(self, name: str) -> None:
        """The stick is gone, whatever the guest is doing with it."""
        self._monitor.do("device_del", id=name)
        self._monitor.wait_gone(name)
        for command, made in reversed(self._plugged.pop(name)):
            self._monitor.do(command, **{"id" if command == "object-del" else "node_name": made})

    def expect(self, wanted: Callable[[Line], object], timeout: float = 30, *, since: int | None = None) -> Line:
        """The next line that `wanted` says yes to, among those after the line that was found before.

        `since` names another place to look from, as an index of `lines`. Fails with the last lines when the time is
        over, and at once when no line can come any more.
        """
        looked = self._seen if since is None else since

        def found() -> bool:
            nonlocal looked
            while looked < len(self.lines):
                looked += 1
                if wanted(self.lines[looked - 1]):
                    return True
            assert self.status is None or self._follow, f"the command has ended\n{self.transcript()}"
            return False

        self._await(found, timeout, "no such line came")
        self._seen = looked
        return self.lines[looked - 1]

    def run(self, text: str, timeout: float = 30) -> Ran:
        """A shell command in the guest, as root, beside the command; waits for its end."""
        self._runs += 1
        number = self._runs
        self._send("run", number=number, text=text, env=self._env)
        self._await(lambda: number in self._answers, timeout, f"no answer to {text!r}")
        return self._answers.pop(number)

    def signal(self, number: int = signals.SIGTERM) -> None:
        """Sends a signal to the command and all that it started in its session's first group."""
        self._send("signal", number=int(number))

    def wait(self, timeout: float = 30) -> int:
        """Waits for the end of the command and gives its status, negative for a signal; all its lines are here then."""
        self._await(lambda: self.status is not None, timeout, "the command has not ended")
        assert self.status is not None
        return self.status

    def transcript(self, last: int = TAIL) -> str:
        """The last lines of the guest and of its console, for messages."""
        return "\n".join(["--- console", *self.console[-last:], "--- lines",
                          *(f"{line.at:7.2f} {line.source}: {line}" for line in self.lines[-last:])])

    def _node(self, made: list[tuple[str, str]], **what: object) -> str:
        self._nodes += 1
        name = f"node{self._nodes}"
        self._monitor.do("blockdev-add", node_name=name, **what)
        made.append(("blockdev-del", name))
        return name

    def _send(self, do: str, **request: object) -> None:
        self._agent.sendall(json.dumps({"do": do, **request}).encode() + b"\n")

    def _await(self, done: Callable[[], bool], timeout: float, otherwise: str) -> None:
        with self._changed:
            end = time.monotonic() + timeout
            while not done():
                assert not self._gone, f"the machine has ended: {otherwise}\n{self.transcript()}"
                if not self._changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    raise TimeoutError(f"{otherwise} in {timeout} s\n{self.transcript()}")

    def _boot(self, stack: contextlib.ExitStack) -> None:
        """Starts QEMU with one end of three connections: its monitor, the agent's port and the console."""
        kernel = prepared()
        start = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="machine-"))) / "start"
        start.write_bytes(first_files(kernel, self.folder, systemd=self._systemd, units=self._units, rules=self._rules))
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        for end in (*ours, *theirs):
            stack.callback(end.close)
        words = [program("setpriv"), "--pdeathsig", "KILL", program("qemu-system-x86_64"), *DEVICES,
                 "-m", self._memory, "-smp", self._cores, "-kernel", kernel.image, "-initrd", start,
                 "-append", KERNEL_WORDS, "-virtfs", f"local,path={str(self.folder).replace(',', ',,')},{SHARE}"]
        for name, end in zip(("monitor", "agent", "console"), theirs, strict=True):
            words += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        self._agent, self._started = ours[1], time.monotonic()
        process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=theirs[2],
                                   stderr=theirs[2], pass_fds=[end.fileno() for end in theirs])
        for end in theirs:
            end.close()
        for gather, end in ((self._hear, ours[1]), (self._note, ours[2])):
            thread = threading.Thread(target=gather, args=(end.makefile("rb"),), daemon=True)
            thread.start()
            stack.callback(thread.join)  # it ends with QEMU, which holds the other end
        stack.callback(process.wait)
        stack.callback(process.kill)
        try:
            self._monitor = Monitor(ours[0], patience=self._patience)
        except (AssertionError, OSError) as error:
            stack.close()
            raise RuntimeError(f"QEMU did not start\n{self.transcript()}") from error
        stack.callback(self._monitor.close)

    def _hear(self, reader: Any) -> None:
        """All messages of the agent, until QEMU is gone."""
        with reader:
            for data in reader:
                message = json.loads(data)
                with self._changed:
                    if "line" in message:
                        line = Line(message["line"])
                        line.at, line.source = time.monotonic() - self._started, message["source"]
                        self.lines.append(line)
                    elif "ran" in message:
                        self._answers[message["ran"]] = Ran(message["status"], message["output"])
                    elif "ended" in message:
                        self.status = message["ended"]
                    else:
                        self.kernel = message["ready"]
                    self._changed.notify_all()
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _note(self, reader: Any) -> None:
        with reader:
            for data in reader:
                self.console.append(data.decode(errors="replace").rstrip())


if __name__ == "__main__":  # a shell command in a machine, to try something: python -m tests.devices.machine 'uname -a'
    with tempfile.TemporaryDirectory() as shared, Machine(Path(shared)) as machine:
        ended = machine.run(sys.argv[1], timeout=600)
        sys.stdout.write(ended.output)
    sys.exit(ended.status)
