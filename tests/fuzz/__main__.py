"""Fuzz for a time: `python -m tests.fuzz [--seconds N] [--seed N] [--atheris] [TARGET...]`.

With atheris coverage guides the inputs; without it they are drawn as in the tests. Findings are kept in `found/`, and
are run with the tests from then on. The exit status says whether there was any.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import FOUND, TARGETS, feed

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true", help="guided by coverage")
    options = parser.parse_args(arguments)
    names = options.targets or list(TARGETS)
    bad = 0
    for name in names:
        seconds = options.seconds / len(names)
        bad += (_guided if options.atheris else _drawn)(name, seconds, options.seed)
    print(f"{bad} findings")
    return int(bad > 0)


def _drawn(name: str, seconds: float, seed: int) -> int:
    """Run one target for so long; inputs that gave a value become seeds too."""
    target, random_ = TARGETS[name], random.Random(f"{name}{seed}")
    seeds, found, rounds = target.seeds(), 0, 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        raw = mutated(random_, random_.choice(seeds), seeds)
        rounds += 1
        try:
            if feed(target, raw) and len(seeds) < 200:
                seeds.append(raw)
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            found += 1
            _keep(name, raw)
    print(f"{name}: {rounds:,} inputs in {seconds:.0f} s, {found} findings", flush=True)
    return int(found > 0)


def _keep(name: str, raw: bytes) -> None:
    FOUND.mkdir(exist_ok=True)
    (FOUND / f"{name.replace(' ', '_')}-{hashlib.sha256(raw).hexdigest()[:12]}").write_bytes(raw)
    traceback.print_exc()


def _guided(name: str, seconds: float, seed: int) -> int:
    """The same with atheris, in a process of its own, since it does not return."""
    code = f"from tests.fuzz.__main__ import guide; guide({name!r}, {seconds!r}, {seed!r})"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    print(f"{name}: atheris, {seconds:.0f} s, status {done.returncode}", flush=True)
    return int(done.returncode != 0)


def guide(name: str, seconds: float, seed: int) -> None:
    """Never returns. A finding is kept and ends the process with a status."""
    import atheris

    target = TARGETS[name]
    for module in [module for key, module in sys.modules.items() if key.startswith("airbundle.")]:
        for value in vars(module).values():
            if callable(value) and getattr(value, "__module__", "").startswith("airbundle.") and hasattr(
                    value, "__code__"):
                setattr(module, value.__name__, atheris.instrument_func(value))
    random_, seeds = random.Random(seed), target.seeds()

    def one(raw: bytes) -> None:
        try:
            feed(target, raw)
        except Exception:
            _keep(name, raw)
            raise

    def custom(raw: bytes, size: int, number: int) -> bytes:
        random_.seed(number)
        return mutated(random_, raw or random_.choice(seeds), seeds)[:size]

    largest = max(map(len, seeds)) + 1000
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", f"-seed={seed}", f"-max_len={largest}",
                   "-print_final_stats=1", "-verbosity=0"], one, custom_mutator=custom)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
