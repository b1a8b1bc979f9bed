"""Known answers: what each step of the format gives for a small input, for whoever writes another reader.

Byte strings are in hexadecimal. `fixtures/vectors/README.md` says what each field means. What is checked against these
is the package; they were made by it, and the reader beside the spec was written without it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from airbundle.codec import planes
from airbundle.codec.engines import best_engine
from airbundle.codec.erasure import Layout, encode_blocks, weights
from airbundle.codec.galois import cauchy
from airbundle.codec.record import encode_record
from airbundle.crypto.envelope import BundleKey, Context, seal_envelope
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.crypto.passphrase import Passphrase
from airbundle.crypto.signing import pae, sign
from airbundle.crypto.suites import SUITES, hash_by_suite, tag
from airbundle.format.cost import PassphraseCost
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.transfer.seal import SealPlan, seal_manifest
from tests.vectors.people import bad_files, person

if TYPE_CHECKING:
    from airbundle.crypto.suites import Suite

BUNDLE, KEY, SALT = bytes(range(16)), bytes(range(100, 132)), bytes(range(200, 216))


def known_answers() -> dict[str, Any]:
    """All of them; signatures and envelopes come from what is frozen."""
    return {
        "suites": {suite.name: _suite(suite) for suite in SUITES},
        "passphrase": _passphrase(),
        "cauchy": [{"k": k, "m": m, "rows": [bytes(row).hex() for row in cauchy(k, m)]}
                   for k, m in ((1, 2), (3, 2), (5, 4), (128, 2))],
        "stripes": [_stripes(n, stripes, m) for n, stripes, m in ((3, 1, 2), (5, 2, 2), (7, 3, 3))],
        "group": _group(),
        "planes": [_planes(width, phase, length) for width in (2, 4) for phase in range(width)
                   for length in (16, 17, 19)],
        "record": _record(),
        "key_files": {suite.name: _key_files(suite) for suite in SUITES},
        "bad_key_files": {name: raw.decode() for name, raw in bad_files().items()},
        "manifest": _manifest(),
    }


def _suite(suite: Suite) -> dict[str, Any]:
    packer, reader = person(f"packer-{suite.name}"), person(f"reader-{suite.name}")
    context = Context(suite, BUNDLE, packer.public.key_id)
    key, payload = BundleKey(KEY), b'{"known":"answer"}'
    signature = sign(packer, STATEMENT_TYPE, payload)
    return {
        "number": suite.number,
        "hash": {"input": tag("key").hex(), "digest": suite.hash(tag("key")).hex()},
        "packer": {"name": f"packer-{suite.name}", "key_id": packer.public.key_id.hex(), "words": packer.public.words},
        "recipient": {"name": f"reader-{suite.name}", "key_id": reader.public.key_id.hex()},
        "bundle": BUNDLE.hex(), "bundle_key": KEY.hex(), "context": context.encoded.hex(),
        "commitment": key.commitment(context).hex(),
        "object_key": {"number": 3, "salt": SALT.hex(), "key": key.object_key(context, 3, SALT).hex()},
        "envelope": {"info": (tag("envelope") + context.encoded).hex(),
                     "sealed": seal_envelope(context, key, reader.public).hex()},
        "signature": {"type": STATEMENT_TYPE, "payload": payload.decode(), "pae": pae(STATEMENT_TYPE, payload).hex(),
                      "value": signature.value.hex()},
    }


def _passphrase() -> dict[str, Any]:
    text, cost = "caf\u00e9 au lait", PassphraseCost(64, 2, 2)
    suite = SUITES[0]
    context = Context(suite, BUNDLE, person("packer-standard").public.key_id)
    stretched = Passphrase(text).stretch(SALT, cost)
    return {"passphrase": text, "also": "cafe\u0301 au lait", "cost": cost.packed().hex(), "salt": SALT.hex(),
            "stretched": stretched.hex(), "key": suite.expand(stretched, tag("passphrase") + context.encoded, 32).hex()}


def _key_files(suite: Suite) -> dict[str, str]:
    """The three kinds of files (K-17), as text: there is nothing in front of it or behind it."""
    name = f"reader-{suite.name}"
    sealed = write_private(name, person(name), passphrase="caf\u00e9 au lait", cost=PassphraseCost(64, 2, 2),
                           entropy=lambda size: SALT[:size])
    return {"passphrase": "caf\u00e9 au lait", "public": write_public(name, person(name).public).decode(),
            "private": write_private(name, person(name), passphrase=None).decode(), "sealed": sealed.decode()}


def _manifest() -> dict[str, Any]:
    """Sealed manifests of one, two and three pieces (chapter 8); the plaintext is so many bytes `m`."""
    suite = SUITES[0]
    context = Context(suite, BUNDLE, person("packer-standard").public.key_id)
    plan = SealPlan(context, BundleKey(KEY), b"", 4096, 8.0, pad=False)
    sealed = {size: seal_manifest(plan, 3, b"m" * size, entropy=lambda count: SALT[:count])[0]
              for size in (100, 1 << 20, (1 << 20) + 1, (2 << 20) + 5)}
    return {"number": 3, "salt": SALT.hex(), "sealed": [
        {"size": size, "sealed_size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        for size, raw in sealed.items()]}


def _noise(name: str, size: int) -> bytes:
    return hashlib.shake_256(f"airbundle known answer {name}".encode()).digest(size)


def _stripes(n: int, stripes: int, m: int) -> dict[str, Any]:
    """Payloads of 8 bytes; all data and then all parity blocks, in order (S-1, S-2, S-4)."""
    layout = Layout(n=n, k=-(-n // stripes), m=m, stripes=stripes)
    blocks = np.zeros((layout.count, 8), np.uint8)
    blocks[:n] = np.frombuffer(_noise(f"stripe {n}", 8 * n), np.uint8).reshape(n, 8)
    encode_blocks(best_engine(), layout, blocks)
    return {"n": n, "k": layout.k, "m": m, "T": stripes, "data": [row.tobytes().hex() for row in blocks[:n]],
            "parity": [row.tobytes().hex() for row in blocks[n:]],
            "stripe_of_parity": [stripe for at in range(m * stripes)
                                 for stripe in range(stripes) if n + at in layout.parity_blocks(stripe)]}


def _group() -> dict[str, Any]:
    """Four data members and two of parity at one block index, and member 1 from the others (G-7)."""
    k, m = 4, 2
    data = np.frombuffer(_noise("group", 8 * k), np.uint8).reshape(k, 8)
    blocks = np.zeros((k + m, 8), np.uint8)
    blocks[:k] = data
    best_engine().combine(cauchy(k, m), blocks, range(k), range(k, k + m))
    given = [0, 2, 3, 5]
    return {"k": k, "L": m, "blocks": [row.tobytes().hex() for row in blocks], "wanted": 1, "given": given,
            "coefficients": bytes(weights(k, m, given, 1)).hex()}


def _planes(width: int, phase: int, length: int) -> dict[str, Any]:
    """A chunk and its packed form with all planes stored as they are."""
    plain = _noise(f"planes {width} {phase} {length}", length)
    count = (length - phase) // width
    words = np.frombuffer(plain, planes.word_type(width), count, phase)
    rows = [np.empty(count, np.uint8) for _ in range(width)]
    planes.split(words, rows, planes.new_scratch())
    packed = (bytes([phase]) + count.to_bytes(4, "little") * width + plain[:phase]
              + b"".join(row.tobytes() for row in rows) + plain[phase + count * width:])
    return {"codec": f"planes-{width}", "chunk": plain.hex(), "packed": packed.hex()}


def _record() -> dict[str, Any]:
    content = b"what a record holds"
    raw = encode_record(content, suite_number=1, hash_by_suite=hash_by_suite, engine=best_engine())
    column = 64
    return {"content": content.decode(), "suite": 1, "sha256": hashlib.sha256(raw).hexdigest(), "column": column,
            "codeword": bytes(raw[row * 513 + column] for row in range(255)).hex()}
