"""One command: wall time around its processes, their processor time and the largest resident set of one of them.

A source is read once before the clock starts, so that everybody finds a warm page cache, and what is still being
written from before is waited for. So that everybody finds memory too, for the page cache above all, it is touched and
given back: a virtual machine may hand its free memory to the host after a second or two, and to touch 400 MiB of that
takes 0.8 s instead of 0.02. Such a machine also drops from its page cache what nobody has used for three seconds: the
source is read last, and `rounds.rehearse` then runs the programs on a small file.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import subprocess
import sys
from dataclasses import dataclass, field

# A small process stands between: a child starts with the resident set of its parent, and numpy is in this one.
MEASURE = """
import json, os, resource, sys, time
began = time.perf_counter()
status = os.spawnvp(os.P_WAIT, "bash", ["bash", "-euo", "pipefail", "-c", sys.argv[1]])
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stderr.write("\\n" + json.dumps([status, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""
PIECE = 8 << 20
SPARE = 1 << 30


@dataclass(frozen=True)
class Cost:
    """What a command took; `stages` are the seconds of airbundle's stages, summed over its threads."""

    seconds: float
    processor_seconds: float
    peak_bytes: int
    stages: dict[str, float] = field(default_factory=dict)
    printed: str = ""


def measure(script: str, cwd: str) -> Cost:
    """Run a script of bash; ends the program where it fails."""
    # Python keeps what it compiled, as it does for everybody who does not forbid it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, script], cwd=cwd, check=False, capture_output=True,
                          text=True, errors="replace", env=environment)
    try:
        status, seconds, processor, peak = json.loads(done.stderr.splitlines()[-1])
    except (ValueError, IndexError):
        status, seconds, processor, peak = done.returncode or 1, 0.0, 0.0, 0
    if status != 0:
        sys.exit(f"failed with {status}: {script}\n{done.stdout}{done.stderr}")
    return Cost(seconds, processor, peak, stages_in(done.stdout), done.stdout)


def stages_in(printed: str) -> dict[str, float]:
    """The stages in what `airbundle --json` printed; none in what another program did."""
    try:
        result = json.loads(printed)
        return {str(stage): float(seconds) for stage, seconds in result["result"]["stages"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def bytes_in(folder: str) -> int:
    """Bytes of all files below a folder."""
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(folder) for name in names)


def warm(folder: str) -> None:
    """Wait for what is still being written, have the machine's memory at hand, and then read everything once."""
    os.sync()
    memory = min(bytes_in(folder) + SPARE, os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE // 2) // mmap.PAGESIZE
    with mmap.mmap(-1, memory * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as touched:
        with contextlib.suppress(OSError):  # a kernel without
            touched.madvise(mmap.MADV_HUGEPAGE)
        touched[::mmap.PAGESIZE] = b"x" * memory
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError), open(os.path.join(root, name), "rb", buffering=0) as file:
                while file.read(PIECE):
                    pass
