"""The package, and the reader that was written from the spec alone, say of each vector what stands in its line."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record
from airbundle.crypto.suites import hash_by_suite
from tests.places import memory
from tests.vectors import run
from tests.vectors.bases import BASES
from tests.vectors.volumes import ROOT, Vector, files_of_base, lay_out, read_vectors, record

if TYPE_CHECKING:
    from pathlib import Path

VECTORS = read_vectors()
CHAPTERS = sorted({vector.chapter for vector in VECTORS})
SIZE_MAX, FILE_MAX, SECONDS_MAX = 4 << 20, 1 << 20, 10


def of(chapter: str) -> list[Vector]:
    return [vector for vector in VECTORS if vector.chapter == chapter]


@pytest.fixture(scope="module")
def answers(people: Path) -> tuple[list[tuple[object, ...]], float]:
    """What the package says otherwise than the vectors, and the processor seconds that all of them took."""
    began = time.process_time()
    with memory() as spot:
        return ask_for_all(people, spot), time.process_time() - began


def ask_for_all(people: Path, spot: Path) -> list[tuple[object, ...]]:
    wrong: list[tuple[object, ...]] = []
    for vector in VECTORS:
        place = spot / vector.name
        lay_out(vector, place)
        found = run.ask_package(vector, place, people)
        if (found.expect, found.result, found.tree) != (vector.expect, vector.result, vector.tree):
            wrong.append((vector.name, found.expect, vector.expect, found.said))
        elif found.rule != (vector.shows or vector.rule) and found.result != "verified":
            wrong.append((vector.name, found.rule, vector.shows or vector.rule, found.said))
    return wrong


def test_the_package(answers: tuple[list[tuple[object, ...]], float]) -> None:
    """An error names the rule that was broken, or the rule that noticed it."""
    assert not answers[0]


def test_the_package_takes_ten_seconds_at_most(answers: tuple[list[tuple[object, ...]], float]) -> None:
    assert answers[1] < SECONDS_MAX


@pytest.mark.skipif(not run.READER.exists(), reason="spec/reader.py is not there yet")
@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.timeout(300)
def test_the_reader_of_the_spec(people: Path, spot: Path, chapter: str) -> None:
    wrong = []
    for vector in of(chapter):
        place = spot / vector.name
        lay_out(vector, place)
        found = run.ask_reader(vector, place, people)
        if (found.expect, found.result, found.tree) != (vector.expect, vector.result, vector.tree):
            wrong.append((vector.name, found.expect, vector.expect, found.said))
    assert not wrong


def test_there_are_enough_and_no_two_are_one() -> None:
    assert len(VECTORS) >= 120
    assert [name for name, count in Counter(vector.name for vector in VECTORS).items() if count > 1] == []
    for vector in VECTORS:
        assert vector.name.startswith(f"{vector.rule}-")
        assert vector.comment.endswith(".")
        assert vector.base in BASES
        assert vector.result == run.CLASSES[vector.expect["unpack"] or vector.expect["verify"]]
    assert {vector.result for vector in VECTORS} == set(run.CLASSES.values())


def test_they_are_small() -> None:
    sizes = {path: path.stat().st_size for path in ROOT.parent.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < SIZE_MAX
    assert max(sizes.values()) < FILE_MAX


def test_what_is_derived_is_what_the_package_writes() -> None:
    for base in BASES:
        files = files_of_base(base)
        for name, raw in files.items():
            if name.endswith("/statement.json"):
                suite = 2 if base == "cnsa2" else 1
                made = encode_record(raw, suite_number=suite, hash_by_suite=hash_by_suite, engine=best_engine())
                assert files[name.replace(".json", ".rec")] == record(raw) == made
