"""Change one thing in `format/` or `crypto/` and see whether the tests notice: `python -m tests.mutation [--most N]`.

Each mutant is one change of the syntax tree: a comparison or `and` turned round, a number one off, a guard that raises
nothing, a `not` taken away, a slice one longer. The package is copied, one mutant at a time is put into the copy, and
vectors, attacks and laws run on it until the first fails: first the tests that pass through the changed line (a first
run under coverage tells which), then all. What survives is listed; `EQUIVALENT` says why some must.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import copy
import json
import os
import py_compile
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Change = Callable[[Any], None]

ROOT = Path(__file__).parents[1]
ROOMS = ("format", "crypto")
TESTS = ("tests/format/test_laws.py", "tests/format", "tests/crypto", "tests/vectors", "tests/attacks", "tests/fuzz")
PYTEST = ("-q", "-p", "no:cacheprovider", "-k", "not the_reader and not ten_seconds")  # coverage makes all slower
NEAR = 12
"""So many of the tests that pass through a line are tried before all are."""
EQUIVALENT = (
    ("crypto/envelope.py", "and <-> or", "elif ours and all(", "chooses the words of one error"),
    ("crypto/locks.py", "1 -> 2", "return preamble_length(", "a bundle has a recipient before this is asked"),
    ("format/segment.py", "12 -> 13", "return TRAILER.pack(", "struct cuts what is too long for its field"),
    ("format/block.py", "+ <-> -", "_fill(rows[place.parity_at:]", "what is filled too far is filled again behind it"),
    ("format/dsse.py", "the guard raises nothing", "if len(document.payload) >", "its length is checked again"),
    ("format/dsse.py", "2 -> 3", "if len(document.payload) >", "its length is checked again"),
    ("format/holes.py", "1 -> 2", "lines = [(number, text)", "the number of a line in an error's words"),
    ("format/preamble.py", "Lt -> LtE", "if len(raw) < at +", "an entry with nothing behind it is refused next"),
    ("crypto/identities.py", "2 -> 3", "near = difflib", "how many words an error suggests"),
    ("crypto/sealed_log.py", "16 -> 17", "DOCUMENT_MAX", "a ceiling of memory"),
    ("format/preamble.py", "LtE -> Lt", "if not _HEAD.size <=", "what is that short or long is refused next (K-6)"),
    ("format/names.py", "200 -> 201", "return FormatError(", "how much of a path an error shows"),
    ("crypto/keyfiles.py", "and <-> or", "if cost and secret", "the two are there together or not at all"),
)
"""Mutants that no test can tell from the original: file, change, how the line begins, and why."""
BUDGETS = ("_SEEN_MAX", "_TRIED_MAX", "_DECODED_MAX", "_SOURCES_MAX", "CANDIDATES_MAX", "CROWD_MAX", "STRAY_SHARE",
           "HASHED_AGAIN_MAX", "HEADERS_ONLY_MAX", "CATALOG_SMALL_BODY", "WITHIN_MAX", "CUSTODY_", "IDENTITY_FILE_MAX",
           "PATCHES_MAX", "MAPFILE_MAX")
"""Ceilings of work and memory in `limits.py`, and what a writer chooses: one more or less is as good for a reader."""

SWAPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}


def mutants(tree: ast.Module) -> Iterator[tuple[int, str, ast.Module]]:
    """Line, what was changed, and the changed tree."""
    nodes = list(ast.walk(tree))
    for at, node in enumerate(nodes):
        for what, change in changes(node):
            mutant = copy.deepcopy(tree)
            change(list(ast.walk(mutant))[at])
            yield getattr(node, "lineno", 0), what, mutant


def changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """What can be changed in one node, as functions that do it."""
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            if type(operator) in SWAPS:
                yield f"{type(operator).__name__} -> {SWAPS[type(operator)].__name__}", _swap(number)
    elif isinstance(node, ast.BoolOp):
        yield "and <-> or", _turn
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not taken away", _bare
    elif isinstance(node, ast.If) and any(isinstance(inner, ast.Raise) for inner in node.body):
        yield "the guard raises nothing", _harmless
    elif isinstance(node, ast.Constant) and type(node.value) is int and node.value < 1 << 40:
        yield f"{node.value} -> {node.value + 1}", _more
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield "+ <-> -", _sign


def _swap(number: int) -> Change:
    def change(node: ast.Compare) -> None:
        node.ops[number] = SWAPS[type(node.ops[number])]()

    return change


def _turn(node: ast.BoolOp) -> None:
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()


def _bare(node: ast.UnaryOp) -> None:
    node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)


def _harmless(node: ast.If) -> None:
    node.body = [ast.Pass()]


def _more(node: ast.Constant) -> None:
    assert isinstance(node.value, int)
    node.value += 1


def _sign(node: ast.BinOp) -> None:
    node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--most", type=int, default=0, help="so many mutants, drawn with the seed; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--again", metavar="FILE", help="only those that survived by this output of an earlier run")
    options = parser.parse_args()
    found = []
    for room in ROOMS:
        for path in sorted((ROOT / "airbundle" / room).glob("*.py")):
            tree = ast.parse(path.read_text())
            found += [(path, line, what, ast.unparse(ast.fix_missing_locations(mutant)))
                      for line, what, mutant in mutants(tree)]
    random.Random(options.seed).shuffle(found)
    if options.again:
        survived = {line.removeprefix("SURVIVED ").partition(" (")[0].strip()
                    for line in Path(options.again).read_text().splitlines()}
        found = [one for one in found if named(*one[:3]) in survived]
    chosen = found[:options.most or None]
    print(f"{len(found)} mutants, {len(chosen)} tried", flush=True)
    until, killed, tried, survivors = time.monotonic() + options.seconds, 0, 0, []
    with tempfile.TemporaryDirectory() as place:
        copied = Path(place) / "tree"
        shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache"))
        compileall.compile_dir(copied, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        through = _tests_through(copied)
        print(f"{sum(map(len, through.values()))} lines are passed through by a test", flush=True)
        for path, line, what, source in chosen:
            if time.monotonic() > until:
                break
            where = copied / path.relative_to(ROOT)
            where.write_text(source)
            tried += 1
            near = through.get(str(path.relative_to(ROOT)), {}).get(line, [])
            noticed = (near and _noticed(copied, near)) or _noticed(copied, _all(copied))
            killed += noticed != ""
            if noticed != "failed":
                name, reason = named(path, line, what), "" if noticed else why(path, line, what)
                print(noticed or "SURVIVED", name, reason and f"({reason})", flush=True)
                survivors += [] if noticed or reason else [name]
            where.write_text(path.read_text())
    print(f"{killed} of {tried} killed, {killed / max(1, tried):.1%}")
    return int(bool(survivors))


def named(path: Path, line: int, what: str) -> str:
    """How a mutant is called in the output."""
    return f"{path.relative_to(ROOT)}:{line}: {what}"


def why(path: Path, line: int, what: str) -> str:
    """Why a mutant may survive; nothing if it may not."""
    text = path.read_text().splitlines()[line - 1].strip()
    if path.name == "limits.py" and any(part in text.partition(":")[0] for part in BUDGETS):
        return "a budget"
    if text.startswith("raise ") and f"[:{what.partition(' ')[0]}]" in text:
        return "the words of an error"
    return next((reason for file, change, begin, reason in EQUIVALENT
                 if path.as_posix().endswith(file) and change == what and text.startswith(begin)), "")


def _all(copied: Path) -> list[str]:
    return [test for test in TESTS if (copied / test).exists()]


def _tests_through(copied: Path) -> dict[str, dict[int, list[str]]]:
    """By file and line, the tests that pass through it, fewest lines first (they are the quickest).

    Raises:
        RuntimeError: the tests fail without any mutant.
    """
    settings = copied / "mutation.cov"
    settings.write_text("[run]\nsource = airbundle\ndynamic_context = test_function\ndata_file = mutation.data\n"
                        "[json]\nshow_contexts = true\n")
    coverage = [sys.executable, "-m", "coverage"]
    if _run(copied, [*coverage, "run", f"--rcfile={settings}", "-m", "pytest", *PYTEST, *_all(copied)]).returncode:
        raise RuntimeError("the tests fail without any mutant")
    _run(copied, [*coverage, "json", f"--rcfile={settings}", "-q", "-o", "mutation.json"])
    listed = _run(copied, [sys.executable, "-m", "pytest", "--collect-only", *PYTEST, *_all(copied)]).stdout
    known = {line.partition("[")[0] for line in listed.splitlines() if "::" in line}
    files = json.loads((copied / "mutation.json").read_text())["files"]
    passed: dict[str, int] = {}
    for report in files.values():
        for names in report["contexts"].values():
            for name in names:
                passed[name] = passed.get(name, 0) + 1
    def nearest(names: list[str]) -> list[str]:
        return [_node(name) for name in sorted(names, key=passed.__getitem__) if _node(name) in known][:NEAR]

    return {file: {int(line): nearest(names) for line, names in report["contexts"].items()}
            for file, report in files.items()}


def _node(name: str) -> str:
    """`tests.format.test_x.test_y` as pytest wants it."""
    module, _, function = name.rpartition(".")
    return f"{module.replace('.', '/')}.py::{function}"


def _noticed(copied: Path, tests: list[str]) -> str:
    """How the tests notice: one failed, they hang, or cannot even be collected; nothing if all pass."""
    try:
        status = _run(copied, [sys.executable, "-m", "pytest", "-x", *PYTEST, *tests]).returncode
    except subprocess.TimeoutExpired:
        return "hangs"
    return {0: "", 1: "failed"}.get(status, f"ended with {status}")


def _run(copied: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=copied, check=False, capture_output=True, text=True, timeout=600, env={
        **os.environ, "PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"})


if __name__ == "__main__":
    sys.exit(main())
