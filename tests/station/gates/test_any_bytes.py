"""Whatever the bytes and the name are, there is a result, and a reader that disagrees with `clean` is found."""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from airbundle.station.gates.examine import examine
from airbundle.station.gates.machine import _STEPS
from airbundle.station.gates.result import Outcome, decide
from airbundle.station.gates.rules import FORMATS, GateRules
from tests.station.gates.examples import (
    DENY,
    TENSORS,
    Bytes,
    gguf,
    judge,
    legacy,
    metadata,
    payloads,
    safetensors,
    state,
    tensor,
    torch_zip,
)

NAMES = ("a.safetensors", "a.gguf", "a.pt", "a.bin", "a.distcp", ".metadata", "a.json", "a.jsonl", "a.txt", "a.py",
         "a", "")
SEEDS = [safetensors(), gguf(), torch_zip(), torch_zip() * 2, legacy(), state(tensor()), metadata([("s", 0, 9)]),
         b'{"a": [1, 2.5, "x"]}', "# ä\n".encode(), *payloads("nowhere").values()]
OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
rules = st.sampled_from([DENY, TENSORS, GateRules(pickle="tensors", formats=FORMATS)])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        match draw(st.integers(0, 4)):
            case 0:
                raw[at:] = b""
            case 1:
                raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 2:
                raw[at:at] = draw(st.binary(max_size=9))
            case 3:
                raw[at : at + 8] = draw(st.sampled_from([b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7]))
            case _:
                raw += draw(st.sampled_from(SEEDS))
    return bytes(raw)


parts = st.one_of(st.sampled_from(OPCODES), st.binary(max_size=4), st.sampled_from([b"os\nsystem\n", b"1\n"]))
opcodes = st.lists(parts, max_size=40).map(b"".join)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(NAMES), st.one_of(damaged(), st.binary(max_size=200), opcodes), rules)
def test_there_is_a_result(path: str, raw: bytes, chosen: GateRules) -> None:
    results = examine(path, Bytes(raw), chosen, beside=lambda _: Bytes(raw))
    assert 1 <= len(results) <= 2
    assert all(isinstance(result.outcome, Outcome) and result.path == path for result in results)
    assert not any("gate broke" in result.detail for result in results), results


class Imports:
    """For Python's two readers: notes that one would import what can have the name, and imports nothing."""

    imported = False

    def find_class(self, module: str, name: str) -> object:
        Imports.imported = all(part.isidentifier() for part in [*module.split("."), name])
        raise pickle.UnpicklingError

    def persistent_load(self, reference: object) -> object:
        return reference


class InC(Imports, pickle.Unpickler):
    pass


class InPython(Imports, pickle._Unpickler):
    pass


@settings(max_examples=400, deadline=None)
@given(st.one_of(opcodes, damaged()), st.sampled_from(("a.bin", "a", "model.safetensors")))
def test_what_python_imports_is_never_clean(raw: bytes, path: str) -> None:
    require_seen(raw, path)


@pytest.mark.campaign
@pytest.mark.timeout(1200)
@seed(1)
@settings(max_examples=30_000, deadline=None)
@given(st.one_of(opcodes, damaged()), st.sampled_from(("a.bin", "a", "model.safetensors")))
def test_what_python_imports_is_never_clean_for_long(raw: bytes, path: str) -> None:
    require_seen(raw, path)


def require_seen(raw: bytes, path: str) -> None:
    for reader in (InC, InPython):
        Imports.imported = False
        with contextlib.suppress(Exception):  # of bytes that are no pickle Python says a lot
            reader(io.BytesIO(raw)).load()
        if Imports.imported and raw[:1] not in {b"c", b"i"}:  # two words in two lines are a text as well
            assert judge(path, raw, DENY) is not Outcome.CLEAN


@pytest.mark.parametrize("path", ["a.bin", "a.txt", "a", "a.json"])
def test_the_last_line_of_a_pickle_need_not_end(path: str) -> None:
    """Python's own reader takes it without its last byte, and has called what it names before it misses the rest."""
    raw = b"(S'nothing'\ni__builtin__\nlenX"
    Imports.imported = False
    with contextlib.suppress(pickle.UnpicklingError):
        InPython(io.BytesIO(raw)).load()
    assert Imports.imported
    assert judge(path, raw, DENY) is Outcome.FINDING


def test_an_escape_that_means_nothing() -> None:
    results = examine("a.pkl", Bytes(b"S'o\\\x0073'\n."), DENY, beside=lambda _: None)
    assert not any("gate broke" in result.detail for result in results), results


plain = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
                     lambda inner: st.one_of(st.lists(inner), st.tuples(inner, inner), st.sets(st.integers()),
                                             st.dictionaries(st.text(), inner), st.frozensets(st.text())),
                     max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(plain, st.integers(2, 5))
def test_plain_values_pass(value: object, protocol: int) -> None:
    raw = pickle.dumps(value, protocol)
    results = examine("a.pkl", Bytes(raw), TENSORS)
    assert decide(results) is Outcome.CLEAN, results


def test_every_opcode_is_known() -> None:
    assert {op.code for op in pickletools.opcodes} == {chr(code) for code in _STEPS} | {"."}


@pytest.mark.parametrize("raw", [b"(" * 300_000, b"]" * 300_000, b"}" * 300_000, b"N" + b"2" * 300_000,
                                 b"N" + b"\x94" * 300_000, b"(" * 150_000 + b"1" * 150_000, b"I1\n" * 100_000,
                                 b"N" + b"\x85" * 300_000, b"]" + b"2a" * 150_000, b"V" + b"a" * 9_000_000,
                                 b"V\n" * 150_000, b"\x8b\xff\xff\x2f\0" + bytes(0x2fffff) + b"I" + b"9" * 2_000_000],
                         ids=range(12))
def test_work_is_bounded(raw: bytes) -> None:
    """Each of these takes a minute where anything is quadratic."""
    for head in (b"", b"\x80\x04"):
        assert judge("x.pkl", head + raw) is Outcome.FINDING
