"""HPKE as the spec names it, done by hand: whoever has no library for it can still open an envelope (K-5)."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from airbundle.crypto.identities import generate
from airbundle.crypto.suites import CNSA2, STANDARD, Suite

LABEL = bytes.fromhex("5c2e2f2f5e5c")  # X-Wing
KEMS = {STANDARD.number: 0x647A, CNSA2.number: 0x0042}
KDFS = {STANDARD.number: (0x0001, "sha256"), CNSA2.number: (0x0002, "sha384")}


def shared_secret(suite: Suite, seeds: bytes, encapsulated: bytes) -> bytes:
    """What the KEM gives the holder of the seeds: the last 96 bytes of `standard`, 64 of `cnsa2`."""
    if suite == CNSA2:
        return MLKEM1024PrivateKey.from_seed_bytes(seeds[-64:]).decapsulate(encapsulated)
    of_mlkem = MLKEM768PrivateKey.from_seed_bytes(seeds[-96:-32]).decapsulate(encapsulated[:1088])
    key = X25519PrivateKey.from_private_bytes(seeds[-32:])
    of_x25519 = key.exchange(X25519PublicKey.from_public_bytes(encapsulated[1088:]))
    return hashlib.sha3_256(of_mlkem + of_x25519 + encapsulated[1088:] + key.public_key().public_bytes_raw()
                            + LABEL).digest()


def open_by_hand(suite: Suite, secret: bytes, info: bytes, sealed: bytes) -> bytes:
    """RFC 9180: the key schedule of base mode, then AES-256-GCM with the first nonce and no AAD."""
    kdf, name = KDFS[suite.number]
    suite_id = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (KEMS[suite.number], kdf, 0x0002))
    algorithm: hashes.HashAlgorithm = hashes.SHA256() if name == "sha256" else hashes.SHA384()

    def extract(salt: bytes, label: bytes, content: bytes) -> bytes:
        return hmac.new(salt, b"HPKE-v1" + suite_id + label + content, name).digest()

    def expand(key: bytes, label: bytes, content: bytes, length: int) -> bytes:
        labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + content
        return HKDFExpand(algorithm, length, labeled).derive(key)

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    key = extract(secret, b"secret", b"")
    return AESGCM(expand(key, b"key", context, 32)).decrypt(expand(key, b"base_nonce", context, 12), sealed, None)


@pytest.mark.parametrize("suite", [STANDARD, CNSA2], ids=lambda suite: suite.name)
def test_an_envelope_opened_by_hand(suite: Suite) -> None:
    identity = generate(suite)
    publics = identity.public.keys[len(suite.signers):]
    sealed = suite.kem.seal(publics, b"k" * 32, b"info")
    size = suite.kem.encapsulated_size
    secret = shared_secret(suite, identity.secret_bytes(), sealed[:size])
    assert open_by_hand(suite, secret, b"info", sealed[size:]) == b"k" * 32
