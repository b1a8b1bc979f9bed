import base64
import contextlib
import hashlib
import json
import time

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.keyfiles import parse_private, parse_public, write_private, write_public
from airbundle.crypto.suites import CNSA2, STANDARD
from airbundle.errors import FormatError, NoKeyError, UsageError
from airbundle.format.cost import PassphraseCost

CHEAP = PassphraseCost(memory_kib=64, iterations=1, lanes=1)
SAMPLE = PrivateIdentity(STANDARD, bytes(range(160)))
PUBLIC = write_public("desk", SAMPLE.public)
CLEAR = write_private("desk", SAMPLE, passphrase=None)
SEALED = write_private("desk", SAMPLE, passphrase="correct horse", cost=CHEAP)
OTHER = PrivateIdentity(CNSA2, bytes(range(96)))
OTHER_PUBLIC = write_public("desk", OTHER.public)
OTHER_CLEAR = write_private("desk", OTHER, passphrase=None)
OTHER_SEALED = write_private("desk", OTHER, passphrase="correct horse", cost=CHEAP)


def changed(raw: bytes, **changes: object) -> bytes:
    """The file with other fields; the check is made to fit again, as someone with intent would."""
    fields = json.loads(raw) | changes
    if "check" in fields and "check" not in changes:
        fields["check"] = ""
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
        new_hash = hashlib.sha384 if fields["suite"] == "cnsa2" else blake3
        fields["check"] = new_hash(b"airbundle/keyfile/v1\0" + text).hexdigest()
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def test_public_round_trip() -> None:
    read = parse_public(PUBLIC)
    assert (read.name, read.public) == ("desk", SAMPLE.public)
    assert list(json.loads(PUBLIC)) == [
        *("kind", "version", "suite", "name", "ed25519", "mldsa", "mlkem", "x25519", "id")
    ]


def test_files_of_cnsa2_hold_what_it_has() -> None:
    read = parse_public(OTHER_PUBLIC)
    assert (read.name, read.public) == ("desk", OTHER.public)
    assert list(json.loads(OTHER_PUBLIC)) == ["kind", "version", "suite", "name", "mldsa", "mlkem", "id"]
    for raw in (OTHER_CLEAR, OTHER_SEALED):
        file = parse_private(raw)
        assert (file.name, file.key_id, file.suite) == ("desk", OTHER.public.key_id, CNSA2)
        assert file.unlock("correct horse").secret_bytes() == OTHER.secret_bytes()
    with pytest.raises(NoKeyError):
        parse_private(OTHER_SEALED).unlock("correct house")


@pytest.mark.parametrize(
    ("raw", "change"),
    [
        (OTHER_PUBLIC, {"suite": "standard"}),
        (PUBLIC, {"suite": "cnsa2"}),
        (OTHER_CLEAR, {"suite": "standard"}),
        (CLEAR, {"suite": "cnsa2"}),
        (OTHER_PUBLIC, {"ed25519": base64.b64encode(SAMPLE.public.keys[0]).decode()}),
        (PUBLIC, {"x25519": None}),
        (PUBLIC, {"ed25519": None, "x25519": None}),
    ],
)
def test_a_file_of_one_suite_is_none_of_the_other(raw: bytes, change: dict[str, object]) -> None:
    fields = json.loads(raw) | change
    if "ed25519" in change and "x25519" not in json.loads(raw):  # in the place that the struct gives it
        fields = {**{name: fields[name] for name in ("kind", "version", "suite", "name", "ed25519")}, **fields}
    text = json.dumps({name: value for name, value in fields.items() if value is not None}, separators=(",", ":"))
    for parse in (parse_public, parse_private):
        with pytest.raises(FormatError):
            parse(changed(text.encode()))
    if "kind" in fields and "public" in str(fields["kind"]):
        with pytest.raises(FormatError, match="K-3"):
            parse_public(text.encode())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"kind": "airbundle private key"}, "E-1"),
        ({"version": 2}, "E-1"),
        ({"suite": "cnsa3"}, "K-1"),
        ({"suite": "cnsa2"}, "K-3"),
        ({"name": "a\x1b[2J"}, "E-4"),
        ({"name": "a\u202eb"}, "E-4"),
        ({"name": "n" * 257}, "E-4"),
        ({"id": "ab" * 32}, "K-3"),
        ({"id": "ab" * 48}, "K-3"),
        ({"ed25519": ""}, "K-3"),
        ({"ed25519": "AAAA"}, "K-3"),
        ({"x25519": base64.b64encode(bytes(32)).decode()}, "K-3"),
        ({"mldsa": "!"}, "E-3"),
        ({"more": 1}, "E-1"),
    ],
)
def test_public_refusals(change: dict[str, object], rule: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_public(changed(PUBLIC, **change))
    assert caught.value.rule == rule


def test_halves_of_two_files_do_not_mix(alice: PrivateIdentity) -> None:
    other = json.loads(write_public("desk", alice.public))
    for half in ("ed25519", "mldsa", "mlkem", "x25519"):
        with pytest.raises(FormatError, match="K-3"):
            parse_public(changed(PUBLIC, **{half: other[half]}))


def test_names_are_public_text() -> None:
    for name in ["a\nb", "e\u0301", "n" * 257]:
        with pytest.raises(FormatError, match="E-4"):
            write_public(name, SAMPLE.public)
        with pytest.raises(FormatError, match="E-4"):
            write_private(name, SAMPLE, passphrase=None)


def test_private_round_trip_in_clear() -> None:
    file = parse_private(CLEAR)
    assert (file.name, file.key_id, file.is_protected) == ("desk", SAMPLE.public.key_id, False)
    assert file.unlock().secret_bytes() == SAMPLE.secret_bytes()
    assert file.unlock("has no effect").public == SAMPLE.public


def test_private_round_trip_under_a_passphrase() -> None:
    file = parse_private(SEALED)
    assert (file.name, file.key_id, file.is_protected) == ("desk", SAMPLE.public.key_id, True)
    assert file.unlock("correct horse").secret_bytes() == SAMPLE.secret_bytes()
    for piece in (SAMPLE.secret_bytes(), SAMPLE.secret_bytes()[:32]):
        assert base64.b64encode(piece)[:32] not in SEALED


def test_composed_and_decomposed_letters_are_one_passphrase() -> None:
    raw = write_private("desk", SAMPLE, passphrase="p\u00e4ssword", cost=CHEAP)
    assert parse_private(raw).unlock("pa\u0308ssword").public == SAMPLE.public


def test_each_writing_has_a_fresh_salt() -> None:
    salts = {json.loads(write_private("d", SAMPLE, passphrase="x" * 8, cost=CHEAP))["salt"] for _ in range(3)}
    assert len(salts) == 3
    fixed = json.loads(write_private("d", SAMPLE, passphrase="x" * 8, cost=CHEAP, entropy=lambda n: b"s" * n))
    assert base64.b64decode(fixed["salt"]) == b"s" * 16


def test_a_wrong_passphrase_and_a_damaged_file_are_two_answers() -> None:
    file = parse_private(SEALED)
    for passphrase in ["Correct horse", "correct horse ", None]:
        with pytest.raises(NoKeyError) as caught:
            file.unlock(passphrase)
        assert caught.value.exit_status == 8
    with pytest.raises(FormatError, match="damaged"):
        parse_private(SEALED.replace(b'"desk"', b'"dusk"'))
    for unusable in ("", "\ud800"):  # K-13
        with pytest.raises(UsageError):
            file.unlock(unusable)


@pytest.mark.parametrize("raw", [CLEAR, SEALED, OTHER_CLEAR, OTHER_SEALED])
def test_a_flip_anywhere_in_a_private_file_is_a_format_error(raw: bytes) -> None:
    for at in range(len(raw)):
        for mask in (1, 0x20, 0x80):
            flipped = bytearray(raw)
            flipped[at] ^= mask
            with pytest.raises(FormatError):
                parse_private(bytes(flipped))


@pytest.mark.parametrize("raw", [PUBLIC, OTHER_PUBLIC])
def test_a_flip_anywhere_in_a_public_file_changes_at_most_the_name(raw: bytes) -> None:
    survivors, public = 0, parse_public(raw).public
    for at in range(len(raw)):
        flipped = bytearray(raw)
        flipped[at] ^= 1
        try:
            read = parse_public(bytes(flipped))
        except FormatError:
            continue
        survivors += 1
        assert read.public == public
        assert read.name != "desk"
    assert survivors <= 4


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_cut_file_is_a_format_error(size: int) -> None:
    for raw in (CLEAR, SEALED):
        with pytest.raises(FormatError):
            parse_private(raw[:size])
    with pytest.raises(FormatError):
        parse_public(PUBLIC[:size])


@pytest.mark.parametrize(
    "change",
    [
        {"memory": 512 * 1024 + 1},
        {"memory": 2**32 + 64},
        {"memory": 2**53 - 1},
        {"memory": 7},
        {"memory": 0},
        {"iterations": 17},
        {"iterations": 0},
        {"iterations": 2**40},
        {"lanes": 17, "memory": 1024},
        {"lanes": 0},
        {"lanes": 9},
    ],
)
def test_a_hostile_cost_is_refused_before_it_is_paid(change: dict[str, object]) -> None:
    start = time.monotonic()
    with pytest.raises(FormatError, match="asks for"):
        parse_private(changed(SEALED, **change))
    assert time.monotonic() - start < 1


def test_no_one_can_write_what_no_one_would_read() -> None:
    for cost in [(512 * 1024 + 1, 3, 4), (64, 17, 1), (64, 1, 17), (31, 1, 4), (64, 0, 1), (64, 1, 0)]:
        with pytest.raises(FormatError):
            PassphraseCost(*cost)
    assert PassphraseCost() == PassphraseCost(256 * 1024, 3, 4)
    assert PassphraseCost(512 * 1024, 16, 16)


def test_every_field_of_the_header_is_bound_to_the_sealed_seeds(alice: PrivateIdentity) -> None:
    changes: list[dict[str, object]] = [
        {"name": "dusk"},
        {"id": alice.public.key_id.hex()},
        {"iterations": 2},
        {"lanes": 2},
    ]
    for change in changes:
        file = parse_private(changed(SEALED, **change))
        with pytest.raises(NoKeyError):
            file.unlock("correct horse")


@pytest.mark.parametrize(
    "change",
    [
        {"salt": "AAAA"},
        {"salt": ""},
        {"seeds": base64.b64encode(bytes(160)).decode()},
        {"seeds": ""},
        {"protection": "none"},
        {"protection": "none", "memory": 0, "iterations": 0, "lanes": 0},
        {"protection": "rot13"},
        {"check": ""},
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        parse_private(changed(SEALED, **change))


@pytest.mark.parametrize("raw", [CLEAR, SEALED])
def test_the_name_in_a_private_file_cannot_steer_a_terminal(raw: bytes) -> None:
    for name in ("a\x1b[2J", "a\u202eb", "n" * 257):
        with pytest.raises(FormatError) as caught:
            parse_private(changed(raw, name=name))
        assert caught.value.rule == "E-4"


def test_a_clear_file_has_no_cost() -> None:
    changes: list[dict[str, object]] = [{"memory": 64}, {"iterations": 1}, {"lanes": 1}, {"salt": "AAAA"}]
    for change in changes:
        with pytest.raises(FormatError):
            parse_private(changed(CLEAR, **change))


def test_seeds_must_give_the_id(alice: PrivateIdentity) -> None:
    file = parse_private(changed(CLEAR, id=alice.public.key_id.hex()))
    with pytest.raises(FormatError, match="K-3"):
        file.unlock()


def test_an_empty_or_short_passphrase_protects_nothing() -> None:
    with pytest.raises(UsageError):
        write_private("desk", SAMPLE, passphrase="", cost=CHEAP)
    for short in ("seven77", "a\u0308" * 3):  # 9 bytes as typed, 6 in NFC
        with pytest.raises(UsageError) as caught:
            write_private("desk", SAMPLE, passphrase=short, cost=CHEAP)
        assert caught.value.rule == "K-16"
    assert parse_private(write_private("desk", SAMPLE, passphrase="a\u0308" * 4, cost=CHEAP)).unlock("\u00e4" * 4)


def test_no_secret_is_shown() -> None:
    for raw in (CLEAR, SEALED):
        file = parse_private(raw)
        assert repr(file) == f"PrivateFile('desk', {SAMPLE.public.hex})"
    with pytest.raises(NoKeyError) as caught:
        parse_private(SEALED).unlock("wrong passphrase")
    assert "wrong passphrase" not in str(caught.value) + caught.value.hint


@settings(max_examples=150)
@given(st.binary(max_size=100), st.integers(0, 10_000), st.binary(max_size=3))
def test_garbage_gives_a_value_or_a_format_error(noise: bytes, at: int, patch: bytes) -> None:
    for raw in (noise, PUBLIC, CLEAR, SEALED, OTHER_PUBLIC, OTHER_SEALED):
        place = at % max(len(raw), 1)
        damaged = raw[:place] + patch + raw[place + len(patch) :]
        for parse in (parse_public, parse_private):
            with contextlib.suppress(FormatError):
                parse(damaged)
