"""The known answers: computed again, opened, verified, and put together again."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airbundle.codec.compress import Codec, Expander
from airbundle.codec.engines import best_engine
from airbundle.codec.galois import multiply
from airbundle.codec.record import RECORD_SIZE, recover_record
from airbundle.crypto.envelope import BundleKey, Context, open_envelope
from airbundle.crypto.keyfiles import parse_private, parse_public
from airbundle.crypto.passphrase import Passphrase
from airbundle.crypto.signing import check
from airbundle.crypto.suites import hash_by_suite, suite_by_name
from airbundle.errors import ForgedError, FormatError
from airbundle.format.cost import parse_cost
from airbundle.format.dsse import Signature
from tests.vectors.frozen import Frozen
from tests.vectors.known import known_answers
from tests.vectors.people import person
from tests.vectors.volumes import ROOT, read_archive, record

KNOWN: dict[str, Any] = json.loads((ROOT / "known-answers.json").read_text())


def test_the_package_gives_them_again() -> None:
    frozen = Frozen(read_archive(ROOT / "frozen.tar.xz"))
    with frozen.applied():
        assert known_answers() == KNOWN
    assert set(frozen.used) <= set(frozen.known)


@pytest.mark.parametrize("name", KNOWN["suites"])
def test_envelope_and_signature(name: str) -> None:
    known, suite = KNOWN["suites"][name], suite_by_name(name)
    packer, reader = person(f"packer-{name}"), person(f"reader-{name}")
    context = Context(suite, bytes.fromhex(known["bundle"]), packer.public.key_id)
    key = open_envelope(context, bytes.fromhex(known["envelope"]["sealed"]), reader)
    assert key.secret_bytes().hex() == known["bundle_key"]
    value = bytes.fromhex(known["signature"]["value"])
    payload, kind = known["signature"]["payload"].encode(), known["signature"]["type"]
    check(packer.public, Signature(packer.public.key_id, value), kind, payload)
    for at in (0, len(value) - 1):
        wrong = value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]
        with pytest.raises(ForgedError):
            check(packer.public, Signature(packer.public.key_id, wrong), kind, payload)


def test_both_spellings_of_a_passphrase_stretch_alike() -> None:
    known = KNOWN["passphrase"]
    cost, salt = parse_cost(bytes.fromhex(known["cost"])), bytes.fromhex(known["salt"])
    for text in (known["passphrase"], known["also"]):
        assert Passphrase(text).stretch(salt, cost).hex() == known["stretched"]


@pytest.mark.parametrize("name", KNOWN["suites"])
def test_key_files_open(name: str) -> None:
    known, reader = KNOWN["key_files"][name], person(f"reader-{name}")
    assert parse_public(known["public"].encode()).public == reader.public
    for kind, passphrase in (("private", None), ("sealed", known["passphrase"])):
        found = parse_private(known[kind].encode()).unlock(passphrase)
        assert found.secret_bytes() == reader.secret_bytes()
    with pytest.raises(FormatError, match="E-3"):
        parse_public(known["public"].encode() + b"\n")


def test_a_manifest_is_sealed_in_pieces() -> None:
    """A MiB of plaintext each; the last byte of the nonce is 1 for the last one, which is not empty."""
    known, suite = KNOWN["manifest"], KNOWN["suites"]["standard"]
    packer = person("packer-standard").public.key_id
    context = Context(suite_by_name("standard"), bytes.fromhex(suite["bundle"]), packer)
    key = AESGCM(BundleKey(bytes.fromhex(suite["bundle_key"])).object_key(
        context, known["number"], bytes.fromhex(known["salt"])))
    for one in known["sealed"]:
        plain = b"m" * one["size"]
        pieces = [plain[at:at + (1 << 20)] for at in range(0, len(plain), 1 << 20)]
        sealed = b"".join(key.encrypt(at.to_bytes(11, "big") + bytes([at == len(pieces) - 1]), piece, None)
                          for at, piece in enumerate(pieces))
        assert (len(sealed), hashlib.sha256(sealed).hexdigest()) == (one["sealed_size"], one["sha256"])


def test_the_group_gives_its_member_back() -> None:
    known = KNOWN["group"]
    blocks = np.array([list(bytes.fromhex(row)) for row in known["blocks"]], np.uint8)
    coefficients = np.frombuffer(bytes.fromhex(known["coefficients"]), np.uint8)[None]
    assert multiply(coefficients, blocks[known["given"]])[0].tobytes().hex() == known["blocks"][known["wanted"]]


def test_planes_expand() -> None:
    for known in KNOWN["planes"]:
        chunk, packed = bytes.fromhex(known["chunk"]), bytes.fromhex(known["packed"])
        out = bytearray(len(chunk))
        Expander().expand(Codec(known["codec"]), memoryview(packed), memoryview(out))
        assert out == chunk
        width = int(known["codec"][-1])
        phase, *stored = struct.unpack_from(f"<B{width}I", packed)
        assert set(stored) == {(len(chunk) - phase) // width}


def test_the_record_is_read_and_its_column_is_put_right() -> None:
    known = KNOWN["record"]
    raw = bytearray(RECORD_SIZE)
    whole = record_of_known()
    raw[:] = whole
    column = bytes(raw[row * 513 + known["column"]] for row in range(255))
    assert column.hex() == known["codeword"]
    for copy in range(3):
        for row in range(32):
            raw[copy * (128 << 10) + row * 513 + known["column"]] ^= 0xFF
    found = recover_record(raw, hash_by_suite=hash_by_suite, engine=best_engine())
    assert found.content.decode() == known["content"]


def record_of_known() -> bytes:
    """By the few lines that the vectors are laid out with, which are not the package's."""
    return record(KNOWN["record"]["content"].encode())
