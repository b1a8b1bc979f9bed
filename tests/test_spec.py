"""The ring from the spec to the code and back, and the tree of errors."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import io
import json
import pkgutil
import re
import tokenize
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
STATUSES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 130}


VECTORS = [json.loads(line) for path in sorted((ROOT / "fixtures" / "vectors").glob("*.jsonl"))
           for line in path.read_text().splitlines()]
# Rules that bind only who writes: no bundle shows that they were broken. Each with the test that keeps it.
WRITERS = {
    "V-3": "transfer/test_blocks.py::test_a_hole_of_a_mebibyte_anywhere_on_the_medium",
    "V-4": "transfer/test_ends.py::test_no_statement_before_what_it_binds_is_proven",
    "V-5": "media/test_writing.py::test_nothing_is_written_beside_another_bundle",
    "S-3": "transfer/test_blocks.py::test_a_hole_of_a_mebibyte_anywhere_on_the_medium",
    "C-4": "codec/test_compress.py::test_a_packed_chunk_that_does_not_come_back_is_stored_raw",
    "K-10": "crypto/test_seal.py::test_each_sealer_draws_a_fresh_salt",
    "K-16": "crypto/test_passphrase.py::test_short_empty_and_broken_passphrases",
    "T-9": "transfer/test_killed_signing.py::test_killed_at_any_moment",
}
# What lies where a reader writes is no matter of the bundle.
NO_VECTOR = {
    "P-7": "media/test_staging.py::test_a_link_in_the_tree_is_not_followed",
}
# Rules for readers that no error names, and why.
NOT_RAISED = {
    **dict.fromkeys(("V-2", "V-6", "B-5", "B-6", "S-5", "S-9", "T-8", "G-11"), "found and reported"),
    **dict.fromkeys(("S-1", "S-2", "S-4", "S-6", "S-8", "S-16", "G-3", "G-7", "G-8", "R-1"), "how bytes are had"),
    "C-1": "an order of steps", "D-2": "a word of the report", "D-5": "no error at all", "D-6": "advice",
}


def ids(path: Path) -> dict[str, str]:
    """Rule ids that a file names, each with one place."""
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for rule in re.findall(rf"(?<![\w-])[{CHAPTERS}]-[0-9]+(?![\w-])", line):
            found[rule] = f"{path.relative_to(ROOT)}:{number}"
    return found


def used(folder: str) -> dict[str, str]:
    """Rule ids that the Python files of `folder` name, each with one place."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        found |= ids(path)
    return found


def commented() -> set[str]:
    """Rules that a comment or docstring of the package names."""
    found: set[str] = set()
    for path in sorted((ROOT / "airbundle").rglob("*.py")):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and '"""' in token.string):
                found |= set(re.findall(rf"(?<![\w-])[{CHAPTERS}]-[0-9]+(?![\w-])", token.string))
                for chapter, first, last in re.findall(rf"([{CHAPTERS}])-([0-9]+) to [{CHAPTERS}]-([0-9]+)",
                                                       token.string):
                    found |= {f"{chapter}-{number}" for number in range(int(first), int(last) + 1)}
    return found


def carried() -> set[str]:
    """Rules that an error of the package carries: a text that is a rule id and nothing else, outside of comparisons."""
    found: set[str] = set()
    for path in sorted((ROOT / "airbundle").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                values = [*node.args, *(word.value for word in node.keywords if word.arg == "rule")]
                found |= {str(value.value) for value in values
                          if isinstance(value, ast.Constant) and value.value in RULES}
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


def test_every_rule_is_in_a_comment_of_the_code() -> None:
    assert not RULES - commented()


def test_every_rule_for_readers_is_on_an_error() -> None:
    assert RULES - carried() - WRITERS.keys() == NOT_RAISED.keys()


def test_every_rule_for_readers_has_a_vector() -> None:
    assert {vector["rule"] for vector in VECTORS} == RULES - WRITERS.keys() - NO_VECTOR.keys()
    assert {vector["shows"] for vector in VECTORS} - {""} <= RULES


def test_every_rule_without_a_vector_has_a_test() -> None:
    for place in (WRITERS | NO_VECTOR).values():
        path, _, name = place.partition("::")
        assert f"\ndef {name}(" in (ROOT / "tests" / path).read_text(), place


def test_every_id_in_the_code_and_the_tests_is_a_rule() -> None:
    for folder in ("airbundle", "tests", "fixtures", "spec"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".md", ".jsonl", ".json"}:
                unknown = {rule: place for rule, place in ids(path).items() if rule not in RULES}
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
