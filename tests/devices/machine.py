"""A virtual machine that is made for tests and thrown away: this machine's programs, a stock kernel, and real USB.

QEMU without any accelerator, so that it runs wherever Python does. Sticks are plugged and pulled from here, as a hand
would do it: the guest gets no warning. What programs in the guest print comes here as lines with the time at which
they came. Whatever happens, leaving the context ends the machine, and the kernel does so when this thread dies.

    with Machine(tmp_path) as machine:
        watcher = machine.start(sys.executable, "-m", "airbundle", "watch")
        machine.plug("a", image, bad_sector=4096)
        watcher.expect("AIRB-a")
        machine.pull("a")
        assert watcher.wait() == 0
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
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
from tests.devices.lines import Command, Exchange, Line, Stream
from tests.devices.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

__all__ = ["SHARED", "Command", "Line", "Machine", "Ran", "Stream"]

SHARE = "mount_tag=shared,security_model=none,multidevs=remap"
DEVICES = ["-accel", "tcg", "-cpu", "max", "-nodefaults", "-no-reboot", "-no-user-config", "-display", "none",
           "-mon", "chardev=monitor,mode=control", "-serial", "chardev:console",
           "-device", "qemu-xhci,id=usb,p2=8,p3=8", "-device", "virtio-serial-pci",
           "-device", "virtserialport,chardev=agent,name=airbundle",
           "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"]
KERNEL_WORDS = "console=ttyS0 panic=-1 quiet mitigations=off usb_storage.delay_use=0 fstab=no net.ifnames=0"
# The device with a property, once udev has finished with it.
FIND = """until for disk in /sys/block/sd*; do
    udevadm info --query=property --path=$disk 2>/dev/null | grep -qxF {0} && echo /dev/${{disk##*/}} && break
    false
done; do udevadm settle; sleep 0.05; done"""
TIDY = """for place in $(grep -o '^/dev/sd[^ ]* [^ ]*' /proc/mounts | cut -d ' ' -f 2 | tac); do umount -l $place; done
until ! ls /sys/block/sd* 2>/dev/null; do sleep 0.05; done; udevadm settle"""
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Ran:
    """The end of a shell command in the guest; its two outputs are one."""

    status: int
    output: str


class Machine:
    """`folder` is shared: writable in the guest, at its own path and at SHARED.

    With `systemd` that is the first process; `units` and `rules` (of udev) are files by their name. `patience` is how
    long the start may take. `lines` are those of all programs and units, in the order in which they came.
    """

    def __init__(self, folder: Path, *, systemd: bool = False, units: Mapping[str, str] | None = None,
                 rules: Mapping[str, str] | None = None, memory: int = 1024, cores: int = 1,
                 patience: float = 120) -> None:
        self.folder = Path(os.path.realpath(folder))
        self.kernel = ""
        self.booted = 0.0  # seconds that the start took
        self._systemd, self._units, self._rules = systemd, units or {}, rules or {}
        self._memory, self._cores, self._patience = memory, cores, patience
        self._exchange = Exchange()
        self._all = Stream(self._exchange, self._exchange.lines)
        self._streams: dict[str, Stream] = {}
        self._answers: dict[int, Ran] = {}
        self._numbers = self._nodes = 0
        self._plugged: dict[str, list[tuple[str, str]]] = {}
        self._serials: dict[str, str] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._boot(stack)
            self._exchange.wait_for(lambda: bool(self.kernel), self._patience, "the machine did not come up")
            self.booted = time.monotonic() - self._started
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the machine at once, as a power cut would; the second time there is nothing to do."""
        self._stack.close()

    def tidy(self) -> None:
        """What one test leaves is not there for the next: no command, no stick, no mounted stick, no line."""
        for stream in self._streams.values():
            if isinstance(stream, Command) and stream.status is None:
                stream.signal(signal.SIGKILL)
                stream.wait()
        for name in list(self._plugged):
            self.pull(name)
        self.output(TIDY)
        self._streams.clear()
        self._exchange.lines.clear()
        self._all = Stream(self._exchange, self._exchange.lines)

    @property
    def lines(self) -> list[Line]:
        return self._all.lines

    def expect(self, wanted: Callable[[Line], object] | str, timeout: float = 30, *, since: int | None = None) -> Line:
        """As `Stream.expect`, among the lines of all programs and units that are followed."""
        return self._all.expect(wanted, timeout, since=since)

    def transcript(self) -> str:
        """The last lines of the guest and of its console, for messages."""
        return self._exchange.transcript()

    def start(self, *command: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Command:
        """Starts a program as root, in a session of its own; `env` is added to what it inherits."""
        number = self._number()
        made = Command(self._exchange, lambda which: self._send("signal", command=number, number=which))
        self._streams[str(number)] = made
        self._send("start", number=number, argv=[str(word) for word in command], cwd=str(cwd or self.folder),
                   env={**ENVIRONMENT, **(env or {})})
        return made

    def follow(self, unit: str) -> Stream:
        """All that systemd's journal has of a unit, and what it gets from now on."""
        made = self._streams[unit] = Stream(self._exchange)
        self._send("follow", unit=unit)
        return made

    def run(self, text: str, timeout: float = 30) -> Ran:
        """A shell command in the guest, as root; waits for its end and for that of all that holds its output."""
        number = self._number()
        self._send("run", number=number, text=text, env=ENVIRONMENT)
        self._exchange.wait_for(lambda: number in self._answers, timeout, f"no answer to {text!r}")
        return self._answers.pop(number)

    def output(self, text: str, timeout: float = 30) -> str:
        """What a shell command prints, which has to succeed."""
        ran = self.run(text, timeout)
        assert ran.status == 0, f"{text!r} ends with {ran.status}: {ran.output}"
        return ran.output

    def python(self, text: str, timeout: float = 30) -> str:
        """What a piece of Python prints, which has to succeed; run by this Python."""
        return self.output(shlex.join([sys.executable, "-c", text]), timeout)

    def put(self, path: str, text: str) -> None:
        """A file in the guest, which is gone with the machine."""
        self.output(f"printf %s {shlex.quote(text)} > {shlex.quote(path)}")

    def device(self, name: str, timeout: float = 30) -> str:
        """The device that a stick has got, once udev has finished with it: `/dev/sda`."""
        return self.output(FIND.format(shlex.quote(f"ID_SERIAL_SHORT={self._serials[name]}")), timeout).strip()

    def plug(self, name: str, image: Path, *, bad_sector: int | Sequence[int] | None = None,
             bytes_per_second: int | None = None, readonly: bool = True, serial: str | None = None,
             vendor_product: tuple[str, str] | None = None) -> None:
        """A stick appears, with `image` in it; its serial number is AIRB- and its name unless one is given.

        Reading a bad sector (of 512 bytes) fails. A vendor and a product have at most 8 and 16 characters. The guest
        sees the stick a second or so later: wait for what it says, or for its `device`.
        """
        assert name not in self._plugged, f"{name} is plugged already"
        serial = f"AIRB-{name}" if serial is None else serial
        made = self._plugged[name] = []
        self._serials[name] = serial
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

    def fill(self, image: Path, content: Path) -> None:
        """Copies what a folder holds into an image, by the guest's own driver for its file system."""
        self.plug("fill", image, readonly=False)
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            shutil.copytree(content, place, dirs_exist_ok=True)
            self.output(f"mkdir -p /mnt/fill && mount {self.device('fill')} /mnt/fill && "
                        f"cp -rT {place} /mnt/fill && umount /mnt/fill && rmdir /mnt/fill", timeout=120)
        self.pull("fill")

    def pull(self, name: str) -> None:
        """The stick is gone, whatever the guest is doing with it."""
        self._monitor.do("device_del", id=name)
        self._monitor.wait_gone(name)
        for command, made in reversed(self._plugged.pop(name)):
            self._monitor.do(command, **{"id" if command == "object-del" else "node_name": made})

    def _node(self, made: list[tuple[str, str]], **what: object) -> str:
        self._nodes += 1
        name = f"node{self._nodes}"
        self._monitor.do("blockdev-add", node_name=name, **what)
        made.append(("blockdev-del", name))
        return name

    def _send(self, do: str, **request: object) -> None:
        assert not self._exchange.gone, f"the machine has ended\n{self.transcript()}"
        self._agent.sendall(json.dumps({"do": do, **request}).encode() + b"\n")

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _boot(self, stack: contextlib.ExitStack) -> None:
        """Starts QEMU with one end of three connections: its monitor, the agent's port and the console."""
        kernel = prepared()
        first = os.memfd_create("first")  # a file with no name: none is left behind
        stack.callback(os.close, first)
        with open(first, "wb", closefd=False) as file:
            file.write(first_files(kernel, self.folder, systemd=self._systemd, units=self._units, rules=self._rules))
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        for end in (*ours, *theirs):
            stack.callback(end.close)
        words = [program("setpriv"), "--pdeathsig", "KILL", program("qemu-system-x86_64"), *DEVICES,
                 "-m", self._memory, "-smp", self._cores, "-kernel", kernel.image, "-initrd", f"/proc/self/fd/{first}",
                 "-append", KERNEL_WORDS, "-virtfs", f"local,path={str(self.folder).replace(',', ',,')},{SHARE}"]
        for name, end in zip(("monitor", "agent", "console"), theirs, strict=True):
            words += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        self._agent, self._started = ours[1], time.monotonic()
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=theirs[2],
                                        stderr=theirs[2], pass_fds=[first, *(end.fileno() for end in theirs)])
        for end in theirs:
            end.close()
        for gather, end in ((self._hear, ours[1]), (self._note, ours[2])):
            thread = threading.Thread(target=gather, args=(end.makefile("rb"),), daemon=True)
            thread.start()
            stack.callback(thread.join)  # it ends with QEMU, which holds the other end
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        try:
            self._monitor = Monitor(ours[0], patience=self._patience)
        except (AssertionError, OSError) as error:
            stack.close()
            raise RuntimeError(f"QEMU did not start\n{self.transcript()}") from error
        stack.callback(self._monitor.close)

    def _hear(self, reader: Any) -> None:
        """All messages of the agent, until QEMU is gone."""
        exchange = self._exchange
        with reader:
            for data in reader:
                with exchange.changed:
                    self._take(json.loads(data))
                    exchange.changed.notify_all()
        with exchange.changed:
            exchange.gone = True
            exchange.changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        if "line" in message:
            line = Line(message["line"])
            line.at, line.source = time.monotonic() - self._started, message["source"]
            self._exchange.lines.append(line)
            if line.source in self._streams:
                self._streams[line.source].lines.append(line)
        elif "ran" in message:
            self._answers[message["ran"]] = Ran(message["status"], message["output"])
        elif "ended" in message:
            if isinstance(stream := self._streams.get(message["ended"]), Command):
                stream.status, stream.ended = message["status"], True
        else:
            self.kernel = message["ready"]

    def _note(self, reader: Any) -> None:
        with reader:
            for data in reader:
                self._exchange.console.append(data.decode(errors="replace").rstrip())


if __name__ == "__main__":  # a shell command in a machine, to try something: python -m tests.devices.machine 'uname -a'
    with tempfile.TemporaryDirectory() as shared, Machine(Path(shared)) as machine:
        ended = machine.run(sys.argv[1], timeout=600)
        sys.stdout.write(ended.output)
    sys.exit(ended.status)
