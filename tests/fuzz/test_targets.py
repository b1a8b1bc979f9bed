"""A short seeded run of each target, and every finding of the past again. `make fuzz` runs long."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest

from airbundle.format.limits import MIB
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import FOUND, TARGETS, feed

ROUNDS = {"record": 3, "claims": 60, "image": 60, "journal head": 60, "private key": 80}
SECONDS_MOST = {"record": 60.0}  # three copies of 513 codewords, each with its errors
BYTES_MOST = 64 * MIB


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_valid(name: str) -> None:
    for seed in TARGETS[name].seeds()[:1]:
        assert feed(TARGETS[name], seed), name


@pytest.mark.parametrize("name", TARGETS)
def test_a_value_or_a_format_error(name: str) -> None:
    """Bounded in time and memory, whatever the bytes say."""
    target, random_ = TARGETS[name], random.Random(name)
    seeds = target.seeds()
    tracemalloc.start()
    try:
        for _ in range(ROUNDS.get(name, 250)):
            raw = mutated(random_, random_.choice(seeds), seeds)
            tracemalloc.reset_peak()
            before, began = tracemalloc.get_traced_memory()[0], time.process_time()
            feed(target, raw)
            assert time.process_time() - began < SECONDS_MOST.get(name, 2.0)
            assert tracemalloc.get_traced_memory()[1] - before < BYTES_MOST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", sorted(FOUND.glob("*-*")), ids=lambda path: path.name)
def test_what_was_found_once(path: object) -> None:
    from pathlib import Path

    assert isinstance(path, Path)
    feed(TARGETS[path.name.rpartition("-")[0].replace("_", " ")], path.read_bytes())
