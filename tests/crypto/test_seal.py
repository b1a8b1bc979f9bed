import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from airbundle.crypto.envelope import BundleKey, Context
from airbundle.crypto.seal import Opener, Sealer
from airbundle.crypto.suites import STANDARD
from airbundle.errors import AirbundleError, DamagedError, FormatError

CONTEXT = Context(STANDARD, b"b" * 16, b"p" * 32)
KEY = BundleKey(b"k" * 32)


def sealed_part(sealer: Sealer, counter: int, plain: bytes, *, last: bool = False) -> bytes:
    out = bytearray(len(plain) + 16)
    assert sealer.seal_into(counter, plain, memoryview(out), last=last) == len(out)
    return bytes(out)


def opened(opener: Opener, counter: int, sealed: bytes, *, last: bool = False) -> bytes:
    out = bytearray(b"\xee" * len(sealed))
    size = opener.open_into(counter, sealed, memoryview(out), last=last)
    assert out[size:] == b"\xee" * (len(out) - size)
    return bytes(out[:size])


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_round_trip(parts: list[bytes]) -> None:
    sealer = Sealer(CONTEXT, KEY, 3)
    opener = Opener(CONTEXT, KEY, 3, sealer.salt)
    sealed = [sealed_part(sealer, i, part, last=i == len(parts) - 1) for i, part in enumerate(parts)]
    for i in reversed(range(len(parts))):
        assert opened(opener, i, sealed[i], last=i == len(parts) - 1) == parts[i]


def test_the_bytes_are_what_the_spec_says() -> None:
    sealer = Sealer(CONTEXT, KEY, 3, entropy=lambda n: b"s" * n)
    assert sealer.salt == b"s" * 16
    info = b"airbundle/seal/v1\0\x01" + b"b" * 16 + b"p" * 32 + (3).to_bytes(8, "little") + b"s" * 16
    object_key = hmac.new(b"k" * 32, info + b"\x01", hashlib.sha256).digest()
    aead = AESGCM(object_key)
    assert sealed_part(sealer, 258, b"chunk") == aead.encrypt(bytes(9) + b"\x01\x02\x00", b"chunk", None)
    assert sealed_part(sealer, 0, b"trailer", last=True) == aead.encrypt(bytes(11) + b"\x01", b"trailer", None)


def test_each_sealer_draws_a_fresh_salt() -> None:
    salts = {Sealer(CONTEXT, KEY, 0).salt for _ in range(4)}
    assert len(salts) == 4
    assert {len(salt) for salt in salts} == {16}
    one, other = Sealer(CONTEXT, KEY, 0), Sealer(CONTEXT, KEY, 0)
    assert sealed_part(one, 0, b"same") != sealed_part(other, 0, b"same")


def test_no_nonce_is_used_twice() -> None:
    sealer = Sealer(CONTEXT, KEY, 0)
    sealed_part(sealer, 0, b"a")
    sealed_part(sealer, 2, b"b")  # a filler had 1
    for counter in (2, 1, 0):
        with pytest.raises(AirbundleError, match="S-10"):
            sealed_part(sealer, counter, b"again")
    sealed_part(sealer, 0, b"trailer", last=True)
    for counter, last in [(0, True), (5, True), (3, False)]:
        with pytest.raises(AirbundleError, match="S-10"):
            sealed_part(sealer, counter, b"after the end", last=last)


def test_a_part_that_failed_to_fit_has_used_up_its_nonce() -> None:
    sealer = Sealer(CONTEXT, KEY, 0)
    with pytest.raises(ValueError, match="buffer"):
        sealer.seal_into(0, b"abc", memoryview(bytearray(18)), last=False)
    with pytest.raises(AirbundleError, match="S-10"):
        sealed_part(sealer, 0, b"abc")


def test_buffers_of_any_kind_and_longer_ones() -> None:
    sealer = Sealer(CONTEXT, KEY, 0)
    out = bytearray(b"\xee" * 40)
    assert sealer.seal_into(0, memoryview(bytearray(b"abc")), memoryview(out), last=False) == 19
    assert out[19:] == b"\xee" * 21
    assert opened(Opener(CONTEXT, KEY, 0, sealer.salt), 0, bytes(out[:19])) == b"abc"


def test_a_broken_seal_leaves_nothing_behind() -> None:
    sealer = Sealer(CONTEXT, KEY, 0)
    sealed = bytearray(sealed_part(sealer, 0, b"secret text"))
    for at in range(len(sealed)):
        sealed[at] ^= 1
        out = bytearray(b"\xee" * 20)
        with pytest.raises(DamagedError) as caught:
            Opener(CONTEXT, KEY, 0, sealer.salt).open_into(0, sealed, memoryview(out), last=False)
        sealed[at] ^= 1
        assert caught.value.rule == "S-10"
        assert out == bytes(11) + b"\xee" * 9


def test_order_end_object_salt_and_context_are_bound() -> None:
    sealer = Sealer(CONTEXT, KEY, 0)
    sealed = sealed_part(sealer, 1, b"part")
    salt = sealer.salt
    assert opened(Opener(CONTEXT, KEY, 0, salt), 1, sealed) == b"part"
    for opener, counter, last in [
        (Opener(CONTEXT, KEY, 0, salt), 0, False),
        (Opener(CONTEXT, KEY, 0, salt), 1, True),
        (Opener(CONTEXT, KEY, 1, salt), 1, False),
        (Opener(CONTEXT, KEY, 0, bytes(16)), 1, False),
        (Opener(Context(STANDARD, b"c" * 16, b"p" * 32), KEY, 0, salt), 1, False),
        (Opener(CONTEXT, BundleKey(b"x" * 32), 0, salt), 1, False),
    ]:
        with pytest.raises(DamagedError, match="S-10"):
            opened(opener, counter, sealed, last=last)


def test_short_parts_and_salts_are_refused() -> None:
    for size in range(16):
        with pytest.raises(DamagedError):
            opened(Opener(CONTEXT, KEY, 0, bytes(16)), 0, bytes(size))
    with pytest.raises(FormatError):
        Opener(CONTEXT, KEY, 0, bytes(15))
