"""The machine, and how busy it is: what stands with the numbers."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from typing import TypedDict


class Machine(TypedDict):
    """What is worth knowing of it."""

    system: str
    python: str
    airbundle: str
    cores: int
    processor: str
    memory_bytes: int
    disk: str


def machine(place: str, version: str) -> Machine:
    """This one; `place` is where the work is done."""
    return {"system": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
            "airbundle": version, "cores": os.cpu_count() or 1, "processor": _processor(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "disk": _disk(place)}


def load() -> list[float]:
    """Load average of 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _disk(place: str) -> str:
    if shutil.which("df") is None:
        return "unknown"
    done = subprocess.run(["df", "--output=fstype", place], check=False, capture_output=True, text=True)
    return done.stdout.splitlines()[-1].strip() if done.returncode == 0 else "unknown"
