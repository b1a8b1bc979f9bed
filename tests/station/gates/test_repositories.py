"""What model repositories hold beside the numbers: texts, JSON, code, programs, and what nobody knows."""

from __future__ import annotations

import json
import marshal

import pytest

from airbundle.station.gates.result import Outcome
from airbundle.station.gates.rules import GateRules
from tests.station.gates.examples import DENY, judge, why

CLEAN = {
    "README.md": "---\nlicense: apache-2.0\n---\n# Modell 模型 🎉\r\n\tx\n".encode(),
    "LICENSE": b"Apache License\n\x0cVersion 2.0\n",
    ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
    "vocab.txt": "[PAD]\n[unused0]\nthe\n##ing\n的\n".encode(),
    "merges.txt": "#version: 0.2\nĠ t\nĠ a\n".encode(),
    "vocab without a suffix": b"cat\n",
    "requirements.txt": b"certifi==2024.1\nnumpy\n",
    "words.txt": b"cat\ndog\nbird\n",
    "chat_template.jinja": b"{% for m in messages %}{{ m }}{% endfor %}",
    "config.json": b'{"model_type": "bert", "eps": 1e-12, "x": [1, null, true]}',
    "tokenizer_config.json": b'{"model_max_length": 1000000000000000019884624838656}',
    "trainer_state.json": b'{"loss": NaN, "best": Infinity}',
    "data.jsonl": b'{"a": 1}\n\n{"a": 2}\n',
    "configuration.yaml": b"a: 1\n",
    "__init__.txt": b"",
}
FINDINGS = {
    "modeling.py": b"import os\n",
    "run": b"#!/bin/sh\necho\n",
    "notes.txt": b"#!/usr/bin/env python\n",
    "notebook.ipynb": b"{}",
    "index.html": b"<html>",
    "Makefile": b"all:\n",
    "x.so": b"just a name",
    "libx.so.1": b"just a name",
    "weights": b"\x7fELF" + bytes(60),
    "model.bin": b"MZ\x90\0" + bytes(60),
    "tokenizer.model": b"\xcf\xfa\xed\xfe" + bytes(60),
    "module": b"\xa7\r\r\n" + bytes(12) + marshal.dumps((1, "x")),
    "x.txt": b"a\0b",
    "escape.md": b"\x1b[2J",
    "latin.txt": b"\xe4",
    "cut.txt": "ä".encode()[:1],
    "x.yaml": b"!!python/object/apply:os.system [ls]\n",
    "x.yml": b"a: !<tag:yaml.org,2002:python/object:x>\n",
    "unknown.conf": b"!!python/name:os.system\n",
    "a.json": b"{",
    "b.json": b'{"a": 1, "a": 2}',
    "c.json": b'[{"a": {"b": 1, "b": 2}}]',
    "d.json": b'"\xff"',
    "e.json": b"\xef\xbb\xbf{}",
    "f.json": b"[" * 200 + b"]" * 200,
    "g.json": b"[" * 100_000,
    "h.json": b"just text",
    "i.json": b"{} {}",
    "j.json": b"1" * 5000,
    "k.jsonl": b'{"a": 1}\n{"a"\n',
    "x.pt": b"text\n",
    "x.ckpt": b"",
    ".metadata": b"{}",
    "path.pth": b"import os; os.system('x')\n",
}
UNKNOWN = {
    "tokenizer.model": b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\2",
    "spiece.model": b"\n\x12" + bytes(100),
    "model.onnx": b"\x08\x07\x12\x07pytorch",
    "x.npy": b"\x93NUMPY\1\0v\0{'descr': '|O'}",
    "x.png": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "x.tar.gz": b"\x1f\x8b\x08" + bytes(20),
    "events.out.tfevents": b"\x18\0\0\0\0\0\0\0",
    "model.bin": b"\xff\xfe\xfd\xfc" * 20,
    "latin": b"\xe4",
    "unknown": b"\0",
}


@pytest.mark.parametrize("path", CLEAN)
def test_ordinary_files(path: str) -> None:
    assert judge(path, CLEAN[path], DENY) is Outcome.CLEAN, why(path, CLEAN[path])


@pytest.mark.parametrize("path", FINDINGS)
def test_what_may_not_come_in(path: str) -> None:
    assert judge(path, FINDINGS[path], DENY) is Outcome.FINDING
    assert judge("sub/" + path, FINDINGS[path], DENY) is Outcome.FINDING


@pytest.mark.parametrize("path", UNKNOWN)
def test_what_no_gate_knows(path: str) -> None:
    assert judge(path, UNKNOWN[path], DENY) is Outcome.NOT_EXAMINED
    assert judge(path, UNKNOWN[path], GateRules(pickle="tensors", formats=("code", "text"))) is Outcome.NOT_EXAMINED


def test_code_has_to_be_named_by_the_policy() -> None:
    rules = GateRules(formats=("text", "code"))
    assert judge("modeling.py", b"import os\n", rules) is Outcome.CLEAN
    assert judge("run", b"#!/bin/sh\n", rules) is Outcome.CLEAN
    assert judge("modeling.py", b"\0\1\2", rules) is Outcome.FINDING
    assert judge("x.so", b"\x7fELF" + bytes(60), rules) is Outcome.FINDING
    assert judge("config.json", b"{}", rules) is Outcome.FINDING


def test_sizes_have_limits() -> None:
    assert judge("a.txt", b"x" * 100, GateRules(text_bytes=100)) is Outcome.CLEAN
    assert judge("a.txt", b"x" * 101, GateRules(text_bytes=100)) is Outcome.FINDING
    assert judge("noname", b"x" * 101, GateRules(text_bytes=100)) is Outcome.NOT_EXAMINED
    raw = json.dumps(list(range(100))).encode()
    assert judge("a.json", raw, GateRules(json_bytes=len(raw), json_values=100)) is Outcome.CLEAN
    assert judge("a.json", raw, GateRules(json_bytes=len(raw) - 1)) is Outcome.FINDING
    assert judge("a.json", raw, GateRules(json_values=99)) is Outcome.FINDING
    assert judge("a.json", b'{"a": 1, "b": 2}', GateRules(json_values=4)) is Outcome.CLEAN
    assert judge("a.json", b'{"a": 1, "b": 2}', GateRules(json_values=3)) is Outcome.FINDING
    assert judge("a.jsonl", b"[1]\n" * 100, GateRules(json_values=99)) is Outcome.FINDING
    assert judge("a.json", b"[[[1]]]", GateRules(json_depth=3)) is Outcome.CLEAN
    assert judge("a.json", b"[[[1]]]", GateRules(json_depth=2)) is Outcome.FINDING


def test_a_character_over_the_border_of_two_pieces() -> None:
    raw = b"x" * ((1 << 20) - 1) + "ä".encode() + b"y" * 10
    assert judge("a.txt", raw) is Outcome.CLEAN
    tagged = b"x" * ((1 << 20) - 5) + b"!!python/name"
    assert judge("a.txt", tagged) is Outcome.FINDING


def test_many_quotes_and_brackets_take_no_time() -> None:
    for raw in (b'"' * 3_000_000, b"[" * 3_000_000, b'"\\' * 1_500_000, b"[{" * 1_500_000, b"\\" * 3_000_000):
        assert judge("a.json", raw) is Outcome.FINDING
