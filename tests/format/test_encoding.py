import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import FormatError
from airbundle.format import encoding


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: encoding.Int53
    text: str | None


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    below: "Tree | None"


class Raw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int | float | None


class Loose(msgspec.Struct, frozen=True):
    value: object


class SelfChecking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int

    def __post_init__(self) -> None:
        if self.number == 7:
            raise FormatError("seven", rule="B-1")


def refusal(raw: bytes, kind: Any = Row, limit: int = 10_000) -> str:
    with pytest.raises(FormatError) as caught:
        encoding.decode(raw, kind, limit=limit, rule="L-1")
    return caught.value.rule


def test_round_trip_keeps_field_order() -> None:
    raw = b'{"number":9007199254740991,"text":"\xc3\xa4"}'
    row = encoding.decode(raw, Row, limit=100, rule="L-1")
    assert row == Row(2**53 - 1, "ä")
    assert encoding.encode(row) == raw


def test_size_is_checked_first() -> None:
    assert refusal(b"not even json", limit=12) == "L-1"


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b'{"number":1,"text":null} ', "E-3"),
        (b'{"number": 1,"text":null}', "E-3"),
        (b'{"text":null,"number":1}', "E-3"),
        (b'{"number":1,"number":2,"text":null}', "E-3"),
        (b'{"number":1,"text":"\\u0041"}', "E-3"),
        (b'{"number":1,"text":"\\/"}', "E-3"),
        (b'{"number":1,"text":"\\u001F"}', "E-3"),
        (b'{"number":1,"text":"\\u000a"}', "E-3"),
        (b'{"number":1,"text":"\\u007f"}', "E-3"),
        (b'{"number":1,"te\\u0078t":"a"}', "E-3"),
        (b'{"number":01,"text":null}', "E-1"),
        (b'{"number":1}', "E-1"),
        (b'{"number":1,"text":null,"more":1}', "E-1"),
        (b'{"number":"1","text":null}', "E-1"),
        (b'{"number":true,"text":null}', "E-1"),
        (b'{"number":1,"text":null', "E-1"),
        (b'{"number":1,"text":"a}', "E-1"),
        (b'{"number":1,"text":null}}', "E-1"),
        (b'\xef\xbb\xbf{"number":1,"text":null}', "E-1"),
        (b'{"number":1,"text":"\n"}', "E-1"),
        (b'{"number":1,"text":"\\ud800"}', "E-1"),
        (b"", "E-1"),
        (b'{"number":1,"text":"\xff"}', "E-2"),
        (b'{"number":1,"text":"\xed\xa0\x80"}', "E-2"),
    ],
)
def test_another_spelling_is_refused(raw: bytes, rule: str) -> None:
    assert refusal(raw) == rule


@pytest.mark.parametrize(
    "number",
    [b"9007199254740992", b"-1", b"-0", b"1.0", b"1e2", b"1E2", b"1e-2", b"9" * 17, b"1" + b"0" * 16, b"9" * 5000],
)
def test_numbers_out_of_range_are_refused_whatever_the_type_allows(number: bytes) -> None:
    assert refusal(b'{"number":' + number + b"}", Raw) == "E-1"


def nested(depth: int) -> bytes:
    return b'{"below":' * (depth - 1) + b'{"below":null}' + b"}" * (depth - 1)


def test_depth_of_eight_and_no_more() -> None:
    assert encoding.encode(encoding.decode(nested(8), Tree, limit=1000, rule="L-1")) == nested(8)
    assert refusal(nested(9), Tree) == "E-1"
    assert refusal(nested(100_000), Tree, limit=2_000_000) == "E-1"
    assert refusal(b"[" * 100_000, Loose, limit=2_000_000) == "E-1"


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    raw = encoding.encode(Row(1, '[[[[[[[[[[{{{\\"\\\\[[[ -1.5 1e9 99999999999999999'))
    assert encoding.decode(raw, Row, limit=1000, rule="L-1").number == 1


def test_a_struct_may_refuse_with_its_own_rule() -> None:
    assert refusal(b'{"number":7}', SelfChecking) == "B-1"


def test_encode_refuses_what_the_format_leaves_out() -> None:
    for value in [Raw(1.5), Raw(1e300), Raw(-1), Raw(2**53), Row(1, "\ud800"), [[[[[[[[[]]]]]]]]]]:
        with pytest.raises(FormatError):
            encoding.encode(value)
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(FormatError):
        encoding.encode(loop)


def test_escapes_are_those_of_rule_e2() -> None:
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    for point in [*range(0x100), 0x2028, 0x1F600]:
        character = chr(point)
        expected = short.get(character, f"\\u{point:04x}" if point < 0x20 else character)
        assert encoding.encode(character) == f'"{expected}"'.encode()


def test_refusals_cannot_steer_a_terminal() -> None:
    with pytest.raises(FormatError) as caught:
        encoding.decode('{"\\u001b[2J\u202e":1}'.encode(), Row, limit=100, rule="L-1")
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "size"), [(encoding.Hex16, 32), (encoding.Hex32, 64), (encoding.HexDigest, 64), (encoding.HexDigest, 96)]
)
def test_hex_is_lower_case_of_fixed_length(kind: Any, size: int) -> None:
    def raw(text: str) -> bytes:
        return encoding.encode(text)

    assert encoding.decode(raw("a" * size), kind, limit=200, rule="L-1") == "a" * size
    for text in ["A" * size, "a" * (size - 1), "a" * (size + 1), "g" * size, "a" * size + "\n", "\n" + "a" * size]:
        assert refusal(raw(text), kind) == "E-1"


def test_integers_by_type() -> None:
    assert encoding.decode(b"0", encoding.Int53, limit=10, rule="L-1") == 0


@pytest.mark.parametrize("text", ["YQ", "YQ=", "YQ==\n", "YR==", "Y Q==", "YQ==YQ==", "-_==", "é===", "=", "YWJj===="])
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        encoding.from_base64(text, rule="E-3")
    assert caught.value.rule == "E-3"


@given(st.binary(max_size=200))
def test_base64_round_trip(raw: bytes) -> None:
    assert encoding.from_base64(encoding.to_base64(raw), rule="E-3") == raw


@given(st.integers(0, 2**53 - 1), st.none() | st.text(st.characters(exclude_categories=["Cs"])))
def test_round_trip(number: int, text: str | None) -> None:
    row = Row(number, text)
    assert encoding.decode(encoding.encode(row), Row, limit=10_000_000, rule="L-1") == row


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\0e-.un', max_size=40).map(str.encode))
def test_garbage_gives_a_value_or_a_format_error(raw: bytes) -> None:
    for kind in (Row, Tree, Raw, Loose, list[list[int]]):
        try:
            value = encoding.decode(raw, kind, limit=1000, rule="L-1")
        except FormatError:
            continue
        assert encoding.encode(value) == raw


RACE = """
from __future__ import annotations
import sys, threading, types
from airbundle.format import encoding, segment
sys.setswitchinterval(1e-6)
source = open(segment.__file__).read()
for number in range(60):
    module = sys.modules[f"segment{number}"] = types.ModuleType(f"segment{number}")
    exec(compile(source, module.__name__, "exec"), module.__dict__)
    together = threading.Barrier(8)
    def read():
        together.wait()
        encoding.decode(b'{"start":0,"length":0,"chunks":[],"files":[]}', module.Index, limit=100, rule="E-1")
    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_many_threads_read_a_kind_for_the_first_time() -> None:
    """msgspec crashes where two threads make a decoder for one class at a time."""
    done = subprocess.run([sys.executable, "-c", RACE], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stderr == ""
