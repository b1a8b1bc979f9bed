"""QEMU's own protocol, as far as plugging and pulling needs it: one command, one answer, and events in between."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket


class Monitor:
    """The control of one virtual machine over a connected socket; used by one thread."""

    def __init__(self, connection: socket.socket, *, patience: float = 60) -> None:
        self._connection = connection
        connection.settimeout(patience)
        self._reader = connection.makefile("rb")
        self._events: list[dict[str, Any]] = []
        greeting = self._read()
        assert "QMP" in greeting, greeting
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: object) -> Any:
        """Waits for the answer; an error of QEMU is one here."""
        words = {name.replace("_", "-"): value for name, value in arguments.items()}
        self._connection.sendall(json.dumps({"execute": command, "arguments": words}).encode() + b"\n")
        while True:
            message = self._read()
            if "event" in message:
                self._events.append(message)
                continue
            assert "return" in message, f"{command} {words}: {message}"
            return message["return"]

    def wait_gone(self, device: str) -> None:
        """Until QEMU says that a device is deleted; answers to earlier deletions are kept for their own call."""
        while True:
            for event in self._events:
                if event["event"] == "DEVICE_DELETED" and event["data"].get("device") == device:
                    self._events.remove(event)
                    return
            message = self._read()
            assert "event" in message, message
            self._events.append(message)

    def _read(self) -> dict[str, Any]:
        line = self._reader.readline()
        assert line, "QEMU has closed its monitor"
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        self._reader.close()
        self._connection.close()
