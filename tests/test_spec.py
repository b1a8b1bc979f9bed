"""The ring from the spec to the code and back, and the tree of errors."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import airbundle
from airbundle.errors import AirbundleError
from tests.examples import EXAMPLES

ROOT = Path(__file__).parents[1]
SPEC = (ROOT / "spec" / "bundle.md").read_text()
RULES = set(re.findall(r"\*\*([A-Z]-[0-9]+)\*\*", SPEC))
CHAPTERS = "".join(sorted({rule[0] for rule in RULES}))
STATUSES = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 130}
RESERVED = {6, 7}


def used(folder: str) -> dict[str, str]:
    """Rule ids that the Python files of `folder` name, each with one place."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for rule in re.findall(rf"(?<![\w-])[{CHAPTERS}]-[0-9]+(?![\w-])", line):
                found[rule] = f"{path.relative_to(ROOT)}:{number}"
    return found


def error_classes() -> list[type[AirbundleError]]:
    """The whole tree, of all modules of the package."""
    for module in pkgutil.walk_packages(airbundle.__path__, "airbundle."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [AirbundleError]
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub.__module__.startswith("airbundle.")]
    return found


def test_ids_are_given_once_and_in_order() -> None:
    marked = re.findall(r"\*\*([A-Z]-[0-9]+)\*\*", SPEC)
    assert not [rule for rule, count in Counter(marked).items() if count > 1]
    for chapter in CHAPTERS:
        numbers = [int(rule[2:]) for rule in marked if rule[0] == chapter]
        assert set(numbers) == set(range(1, len(numbers) + 1)), chapter


def test_every_rule_is_in_the_code() -> None:
    assert not RULES - used("airbundle").keys()


def test_every_id_in_the_code_and_the_tests_is_a_rule() -> None:
    for folder in ("airbundle", "tests"):
        unknown = {rule: place for rule, place in used(folder).items() if rule not in RULES}
        assert not unknown


def test_every_reference_in_the_spec_is_a_rule() -> None:
    assert set(re.findall(rf"(?<![\w-])[{CHAPTERS}]-[0-9]+(?![\w-])", SPEC)) == RULES


def test_each_error_class_says_what_it_is() -> None:
    classes = error_classes()
    assert len(classes) > 15
    texts = Counter(kind.__dict__.get("__doc__") for kind in classes)
    assert None not in texts
    assert not [text for text, count in texts.items() if count > 1]
    names = Counter(kind.__name__ for kind in classes)
    assert max(names.values()) == 1
    for kind in classes:
        assert kind.__name__.endswith("Error"), kind
        assert kind.exit_status in STATUSES - {0}, kind
        assert "where" in inspect.signature(kind).parameters, kind


def test_the_readme_gives_the_exit_codes() -> None:
    readme = (ROOT / "README.md").read_text()
    given = {int(code) for code in re.findall(r"^\| *([0-9]+) \|", readme, re.MULTILINE)}
    assert given == STATUSES
    assert given == {kind.exit_status for kind in error_classes()} | {0}
    reserved = re.search(r"reserved: ([0-9, ]+)", readme)
    assert reserved is not None
    assert {int(code) for code in reserved[1].split(",")} == RESERVED


def test_the_odds_are_those_that_the_script_computes() -> None:
    spec = importlib.util.spec_from_file_location("odds", ROOT / "spec" / "odds.py")
    assert spec is not None
    assert spec.loader is not None
    odds = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(odds)
    rationale = (ROOT / "spec" / "rationale.md").read_text()
    for table in odds.tables().split("\n\n"):
        assert table in rationale
    random_ = np.random.default_rng(5)  # and the script computes what happens
    dead = (random_.random((20_000, odds.ONE_DRIVE.stripe)) < 0.08).sum(axis=1) > odds.ONE_DRIVE.m
    assert abs(dead.mean() - odds.stripe_is_lost(odds.ONE_DRIVE, 0.08)) < 0.015


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_what_the_program_computes(name: str) -> None:
    assert f"```\n{EXAMPLES[name]()}\n```" in SPEC
