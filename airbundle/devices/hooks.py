"""What a hook is told of a drive: its environment, and a queue so that a slow hook holds nothing up."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airbundle.devices.gathering import Change

HOOK_TIMEOUT: Final = 60.0
"""Seconds that one run of a hook may take."""
_QUEUED_MAX: Final = 1024
_AFTERWARDS: Final = 5.0  # seconds for what still waits when the watcher ends


def hook_environment(change: Change) -> dict[str, str]:
    """What happened, as variables. All texts fit to be shown, and none is of any use as a path on the drive."""
    device, end = change.device, change.end
    told = {"EVENT": change.event, "STATE": change.state.value, "DETAIL": change.detail, "BUNDLE": change.bundle,
            "DRIVE": device.title, "NODE": device.node, "SERIAL": device.serial, "PORT": device.port}
    if end is not None:
        told |= {"EXIT": str(end.exit_status), "CODE": end.code, "WHAT": end.what, "RECEIPT": end.receipt,
                 "TARGET": end.target, "LABEL": end.label}
    return {f"AIRBUNDLE_{name}": value.replace("\0", "") for name, value in told.items()}


class HookRunner:
    """Runs a hook for each change, one after another, in a thread. Use as a context; leaving it waits, not for long."""

    def __init__(self, run: Callable[[Mapping[str, str]], None]) -> None:
        self._run = run
        self._waiting: queue.Queue[Mapping[str, str] | None] = queue.Queue(_QUEUED_MAX)
        self._until = float("inf")
        self._thread = threading.Thread(target=self._work, name="hook", daemon=True)

    def tell(self, change: Change) -> None:
        """One more change. Where far too many wait already, the oldest is left out."""
        try:
            self._waiting.put_nowait(hook_environment(change))
        except queue.Full:
            self._waiting.get_nowait()
            self._waiting.put_nowait(hook_environment(change))

    def _work(self) -> None:
        while (told := self._waiting.get()) is not None:
            if time.monotonic() < self._until:
                self._run(told)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._until = time.monotonic() + _AFTERWARDS
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_AFTERWARDS)
        self._thread.join(2 * _AFTERWARDS)
