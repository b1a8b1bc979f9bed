import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.errors import FormatError
from airbundle.format.dsse import Envelope, Signature, parse_envelope, write_envelope

TYPE = "application/vnd.airbundle.statement.v1+json"


def signature(i: int) -> Signature:
    return Signature(bytes([i]) * 32, b"s" * 3373)


def refusal(raw: bytes, payload_type: str = TYPE) -> str:
    with pytest.raises(FormatError) as caught:
        parse_envelope(raw, payload_type)
    return caught.value.rule


def document(**changes: object) -> bytes:
    fields = {
        "payload": base64.b64encode(b"{}").decode(),
        "payloadType": TYPE,
        "signatures": [{"keyid": "ab" * 32, "sig": "YQ=="}],
    }
    return json.dumps(fields | changes, separators=(",", ":")).encode()


@pytest.mark.parametrize("count", [1, 10])
def test_round_trip(count: int) -> None:
    envelope = Envelope(TYPE, b'{"a":1}', tuple(signature(i) for i in range(count)))
    raw = write_envelope(envelope)
    assert parse_envelope(raw, TYPE) == envelope
    assert list(json.loads(raw)) == ["payload", "payloadType", "signatures"]


def test_the_bytes_are_what_any_json_library_writes() -> None:
    assert write_envelope(parse_envelope(document(), TYPE)) == document()


def test_a_full_statement_fits_its_limit() -> None:
    for key_id, size in ((32, 3373), (48, 4627)):  # of either suite (T-5)
        signatures = tuple(Signature(bytes([i]) * key_id, b"s" * size) for i in range(10))
        full = Envelope(TYPE, b"p" * 16 * 1024, signatures)
        assert len(write_envelope(full)) <= 95 * 1024
        assert parse_envelope(write_envelope(full), TYPE) == full


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"payloadType": "application/vnd.airbundle.receipt.v1+json"}, "T-1"),
        ({"payload": "e30"}, "E-3"),
        ({"payload": "e31="}, "E-3"),
        ({"payload": "e30=\n"}, "E-3"),
        ({"payload": base64.b64encode(b"p" * (16 * 1024 + 1)).decode()}, "L-5"),
        ({"payload": base64.b64encode(b"p" * (16 * 1024 + 9)).decode()}, "L-5"),
        ({"signatures": []}, "T-5"),
        ({"signatures": [{"keyid": f"{i:064x}", "sig": "YQ=="} for i in range(11)]}, "T-5"),
        ({"signatures": [{"keyid": "ab" * 32, "sig": "YQ=="}, {"keyid": "ab" * 32, "sig": "Yg=="}]}, "T-5"),
        ({"signatures": [{"keyid": "AB" * 32, "sig": "YQ=="}]}, "E-1"),
        ({"signatures": [{"keyid": "ab" * 31, "sig": "YQ=="}]}, "E-1"),
        ({"signatures": [{"keyid": "ab" * 32, "sig": "YR=="}]}, "E-3"),
        ({"signatures": [{"keyid": "ab" * 32, "sig": "YQ==", "cert": ""}]}, "E-1"),
        ({"signatures": [{"sig": "YQ==", "keyid": "ab" * 32}]}, "E-3"),
        ({"more": 1}, "E-1"),
    ],
)
def test_refusals(changes: dict[str, object], rule: str) -> None:
    assert refusal(document(**changes)) == rule


def test_the_type_is_refused_before_the_payload_is_decoded() -> None:
    assert refusal(document(payloadType="x", payload="!")) == "T-1"


def test_size_is_checked_first() -> None:
    assert refusal(b"x" * (95 * 1024 + 1)) == "T-5"


def test_an_envelope_checks_itself() -> None:
    for signatures in [(), (signature(1), signature(1)), tuple(signature(i) for i in range(11))]:
        with pytest.raises(FormatError, match="T-5"):
            Envelope(TYPE, b"", signatures)


@given(st.binary(max_size=80), st.integers(0, 300), st.integers(0, 255))
def test_garbage_gives_a_value_or_a_format_error(noise: bytes, at: int, value: int) -> None:
    flipped = bytearray(document())
    flipped[at % len(flipped)] = value
    for raw in (noise, bytes(flipped)):
        try:
            envelope = parse_envelope(raw, TYPE)
        except FormatError:
            continue
        assert write_envelope(envelope) == raw
