"""Which result counts, what a policy may say, and that everything that goes wrong stops."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import msgspec
import pytest

from airbundle.errors import UsageError
from airbundle.station.gates.examine import examine
from airbundle.station.gates.result import GateResult, Outcome, decide, is_named
from airbundle.station.gates.rules import PRESETS, GateRules, Scanner, resolve_scanner
from airbundle.version import VERSION
from tests.station.gates.examples import Bytes, judge, payloads, safetensors


def results(*outcomes: Outcome, path: str = "a/b.model") -> list[GateResult]:
    return [GateResult("gate", "1", path, outcome, "") for outcome in outcomes]


def test_the_worst_counts() -> None:
    order = (Outcome.CLEAN, Outcome.NOT_EXAMINED, Outcome.ERROR, Outcome.FINDING)
    for one, other in itertools.product(order, repeat=2):
        assert decide(results(one, other)) is max(one, other, key=order.index)
    assert decide([]) is Outcome.NOT_EXAMINED


def test_a_policy_excuses_only_what_was_not_examined() -> None:
    named = ("*.model",)
    assert decide(results(Outcome.NOT_EXAMINED, Outcome.CLEAN), unexamined=named) is Outcome.CLEAN
    assert decide(results(Outcome.NOT_EXAMINED), unexamined=("*.onnx",)) is Outcome.NOT_EXAMINED
    assert decide(results(Outcome.NOT_EXAMINED, path=""), unexamined=("*", "**")) is Outcome.NOT_EXAMINED
    assert decide(results(Outcome.FINDING), unexamined=named) is Outcome.FINDING
    assert decide(results(Outcome.ERROR), unexamined=named) is Outcome.ERROR
    assert decide(results(Outcome.NOT_EXAMINED, Outcome.FINDING), unexamined=named) is Outcome.FINDING


@pytest.mark.parametrize(("path", "pattern", "named"), [
    ("tokenizer.model", "*.model", True), ("a/b/tokenizer.model", "*.model", True), ("a/b", "a", False),
    ("a/b.x", "a/*.x", True), ("a/c/b.x", "a/*.x", False), ("a/c/b.x", "a/**/*.x", True), ("a/b.x", "a/**/*.x", True),
    ("a/b/c", "**", True), ("a/b/c", "a/**", True), ("b/c", "a/**", False), ("A.model", "*.MODEL", False),
    ("x", "", False), ("a/b/b/c", "**/b/c", True), ("a" * 40, "*a" * 40 + "b", False), ("a", "[", False),
])
def test_patterns(path: str, pattern: str, named: bool) -> None:
    assert is_named(path, (pattern,)) is named


def test_patterns_of_many_stars_take_no_time() -> None:
    assert not is_named("/".join("a" * 60), ("/".join(["**", "a"] * 40) + "/b",))


@pytest.mark.parametrize("changes", [
    {"formats": ("exe",)}, {"allow_globals": ("os.system",)}, {"allow_globals": ("eval",)},
    {"allow_globals": ("builtins.getattr",)}, {"scanners": ("norton",)}, {"json_bytes": 0}, {"pickle_steps": -1},
    {"header_bytes": 1 << 40}, {"json_depth": 1000},
])
def test_rules_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        GateRules(**changes)


def scanner(**changes: Any) -> Scanner:
    return Scanner(**{"name": "x", "command": ("x", "{folder}"), "clean": (0,), "finding": (1,)} | changes)


@pytest.mark.parametrize("changes", [
    {"name": ""}, {"command": ()}, {"command": ("x",)}, {"command": ("{folder}",)}, {"clean": ()}, {"finding": ()},
    {"finding": (0,)}, {"not_examined": (1,)}, {"timeout": 0}, {"timeout": 1 << 30},
])
def test_scanners_that_cannot_be(changes: dict[str, Any]) -> None:
    scanner()
    with pytest.raises(UsageError):
        scanner(**changes)


def test_rules_are_read_from_a_policy() -> None:
    own = {"name": "own", "command": ["own", "{path}"], "clean": [0], "finding": [3]}
    read = msgspec.convert({"pickle": "tensors", "scanners": ["picklescan", own], "unexamined": ["*.model"]}, GateRules)
    assert [resolve_scanner(one).name for one in read.scanners] == ["picklescan", "own"]
    assert read.pickle == "tensors"
    for broken in ({"pickle": "yes"}, {"unknown": 1}, {"scanners": [{"name": "x"}]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(broken, GateRules)
    assert all(resolve_scanner(name).name == name for name in PRESETS)


class Broken:
    """A disk that goes away after some reads; or that gives less than it has."""

    def __init__(self, raw: bytes, error: Exception | None, reads: int) -> None:
        self.raw, self.error, self.reads = raw, error, reads

    @property
    def size(self) -> int:
        return len(self.raw) + (0 if self.error else 5)

    def read_at(self, offset: int, length: int) -> bytes:
        self.reads -= 1
        if self.error and self.reads < 0:
            raise self.error
        return self.raw[offset : offset + length]


@pytest.mark.parametrize("path", ["a.safetensors", "a.txt", "a.json", "a.gguf", "a.pt", "a"])
def test_a_disk_that_fails_is_an_error(path: str) -> None:
    for error in (OSError("gone"), ValueError("x"), MemoryError(), RecursionError()):
        for reads in range(2):
            found = examine(path, Broken(safetensors(), error, reads), GateRules())
            assert decide(found) in {Outcome.ERROR, Outcome.FINDING}
            assert Outcome.ERROR in {result.outcome for result in found}
    assert decide(examine(path, Broken(safetensors(), None, 0), GateRules())) in {Outcome.ERROR, Outcome.FINDING}


def test_results_say_which_gate_and_file() -> None:
    found = examine("a/b.safetensors", Bytes(safetensors()), GateRules())
    assert [(result.gate, result.version, result.path, result.outcome) for result in found] == [
        ("content", VERSION, "a/b.safetensors", Outcome.CLEAN),
        ("hidden", VERSION, "a/b.safetensors", Outcome.CLEAN)]


def test_details_are_printable_and_short() -> None:
    hostile = b"\x80\x02c" + "\u202e\x1b[2J".encode() * 100 + b"\n" + b"x" * 5000 + b"\n."
    for path in ("x.pkl", "x.safetensors", "x"):
        for rules in (GateRules(), GateRules(pickle="tensors")):
            for result in examine(path, Bytes(hostile), rules):
                assert result.detail.isascii()
                assert result.detail.isprintable()
                assert len(result.detail) <= 400


def test_many_threads() -> None:
    raw = list(payloads("nowhere").values())
    seen: list[Outcome] = []

    def work() -> None:
        seen.extend(judge("x.bin", one) for one in raw)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {Outcome.FINDING}
