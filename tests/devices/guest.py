"""The agent inside the virtual machine: it starts what the host asks for and sends back what that prints.

Run as a file by the guest's Python, with nothing but the standard library. It talks in lines of JSON over one virtio
port, so that an end is never told before the last line that was printed. When the host goes away, so does the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

PORT = "airbundle"


def open_port() -> int:
    """The port by its name in sysfs; udev's links may not be there yet."""
    folder = "/sys/class/virtio-ports"
    for entry in os.listdir(folder):
        with open(f"{folder}/{entry}/name") as file:
            if file.read().strip() == PORT:
                return os.open(f"/dev/{entry}", os.O_RDWR | os.O_CLOEXEC)
    raise SystemExit(f"no port is named {PORT}")


class Agent:
    def __init__(self) -> None:
        self._port = open_port()
        self._lock = threading.Lock()
        self._commands: dict[int, subprocess.Popen[bytes]] = {}

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._port, data):]

    def start(self, number: int, argv: list[str], cwd: str, env: dict[str, str]) -> None:
        """A command that goes on; it gets a session of its own, and its end is told."""
        source = str(number)
        try:
            command = self._commands[number] = _popen(argv, cwd, env)
        except OSError as error:
            self.send({"line": f"{argv[0]}: {error}", "source": source})
            self.send({"ended": source, "status": 127})
            return
        threading.Thread(target=self._watch, args=(command, source), daemon=True).start()

    def _watch(self, command: subprocess.Popen[bytes], source: str) -> None:
        self._forward(command, source)
        self.send({"ended": source, "status": command.wait()})

    def follow(self, unit: str) -> None:
        """All that the journal has of a unit, and what it gets from now on."""
        words = ["journalctl", "--quiet", "--follow", "--lines=all", "--output=cat", f"--unit={unit}"]
        threading.Thread(target=self._forward, args=(_popen(words, "/", {}), unit), daemon=True).start()

    def _forward(self, process: subprocess.Popen[bytes], source: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.send({"line": line.decode(errors="replace").rstrip("\n"), "source": source})

    def run(self, number: int, text: str, env: dict[str, str]) -> None:
        """A shell command beside it all; answered when it has ended and nothing holds its output any more."""
        def work() -> None:
            with _popen(["bash", "-c", text], "/", env) as process:
                output, _ = process.communicate()
            self.send({"ran": number, "status": process.returncode, "output": output.decode(errors="replace")})
        threading.Thread(target=work, daemon=True).start()

    def signal(self, command: int, number: int) -> None:
        """To the whole group, also when its first process has ended and others have not."""
        with contextlib.suppress(KeyError, ProcessLookupError):
            os.killpg(self._commands[command].pid, number)

    def serve(self) -> None:
        self.send({"ready": os.uname().release})
        waiting = b""
        while part := os.read(self._port, 65536):
            *lines, waiting = (waiting + part).split(b"\n")
            for line in lines:
                request = json.loads(line)
                getattr(self, request.pop("do"))(**request)


def _popen(words: list[str], cwd: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        Agent().serve()
    finally:
        sys.stderr.flush()
        subprocess.run(["busybox", "poweroff", "-f"], check=False)
