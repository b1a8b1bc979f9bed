"""The worked examples of spec/bundle.md, computed: `python -m tests.examples` prints them; a test compares.

Each is a text as it stands in the spec. Inputs are small and fixed; nothing is drawn.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airbundle.codec import galois, planes
from airbundle.codec.engines import best_engine
from airbundle.codec.erasure import Layout
from airbundle.codec.record import encode_record
from airbundle.crypto.envelope import BundleKey, Context
from airbundle.crypto.passphrase import Passphrase
from airbundle.crypto.seal import Opener
from airbundle.crypto.signing import pae
from airbundle.crypto.suites import STANDARD, hash_by_suite, tag
from airbundle.format import encoding
from airbundle.format.catalog import Row, Table
from airbundle.format.cost import PassphraseCost
from airbundle.format.geometry import Geometry, Placement
from airbundle.format.segment import ChunkRow, FileSpan, Index, Trailer, root_parts
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.transfer.image import Image, finish

BUNDLE, SALT, PACKER, KEY = bytes(range(16)), bytes([0xAA] * 16), bytes([0xBB] * 32), bytes(range(32))
PREAMBLE = b"p" * 100


def _hex(raw: bytes, width: int = 32) -> list[str]:
    return [" ".join(f"{byte:02x}" for byte in raw[at:at + width]) for at in range(0, len(raw), width)]


def _segment() -> tuple[Geometry, Image, bytes]:
    """Three data blocks of 4 KiB in one stripe, filled with 00, 01 and 02."""
    geometry = Geometry(suite=1, digest_size=32, k=3, m=2, stripes=1, block_size=4096, bundle=BUNDLE, number=7,
                        salt=SALT, body=3 * 3968)
    place = Placement(geometry, len(PREAMBLE))
    image = Image(place, np.zeros((place.block_count, 4096), np.uint8))
    for number in range(3):
        image.payloads[number] = number
    return geometry, image, finish(image, STANDARD, best_engine(), PREAMBLE)


def block() -> str:
    """Chapter 4."""
    _, image, _ = _segment()
    raw = image.blocks[image.place.data_at + 1].tobytes()
    return "\n".join(["data block 1 of segment 7: B = 4096, k = 3, m = 2, T = 1, payload of 3968 bytes 01",
                      *_hex(raw[:128])])


def places() -> str:
    """Chapter 5, S-1 and S-2."""
    layout = Layout(n=5, k=3, m=2, stripes=2)
    lines = ["n = 5, T = 2, k = 3, m = 2: blocks in the file are data 0 to 4, then parity 0 to 3"]
    for stripe in range(2):
        data, parity = layout.data_blocks(stripe).tolist(), [at - 5 for at in layout.parity_blocks(stripe).tolist()]
        lines.append(f"stripe {stripe}: data {', '.join(map(str, data))}; "
                     f"parity {', '.join(map(str, parity))}, as rows 0, 1")
    return "\n".join(lines)


def matrix() -> str:
    """Chapter 5, S-4 to S-6."""
    geometry, image, root = _segment()
    rows = galois.cauchy(3, 2)
    lines = ["k = 3, m = 2; of the segment of which chapter 4 shows data block 1: leaf 0 is of its data block 0",
             *(f"row {number}: {' '.join(f'{value:02x}' for value in row)}" for number, row in enumerate(rows))]
    parity = [int(image.payloads[3 + number][0]) for number in range(2)]
    lines.append(f"each byte of the parity of blocks of 00, 01, 02: {parity[0]:02x} and {parity[1]:02x}")
    leaves = b"".join(image.coded[at, 8:40].tobytes() for at in range(5))
    parts = root_parts(tag("root"), geometry.packed(), STANDARD.hash(PREAMBLE), leaves, 32)
    lines += ["preamble: 100 bytes 'p'", f"preamble hash: {STANDARD.hash(PREAMBLE).hex()}",
              f"leaf 0:        {leaves[:32].hex()}", f"input of the root: {len(b''.join(parts))} bytes",
              f"root:          {root.hex()}"]
    return "\n".join(lines)


def group() -> str:
    """Chapter 5.2."""
    rows = galois.cauchy(3, 1)
    total = int(galois.multiply(rows, np.array([[0x10], [0x20], [0x30]], np.uint8))[0, 0])
    return (f"k = 3, L = 1, coefficients {' '.join(f'{value:02x}' for value in rows[0])}: "
            f"members with 10, 20, 30 (hexadecimal) at a place give {total:02x} there")


def body() -> str:
    """Chapter 5.1."""
    digest = STANDARD.hash(b"x").hex()
    index = encoding.encode(Index(0, 1, (ChunkRow(1, 17, "raw", digest),), (FileSpan("a", 0, 1),)))
    trailer = Trailer(17, len(index), 1).packed()
    context = Context(STANDARD, BUNDLE, PACKER)
    nonces = {"chunk 0": (0, 0), "index": (1, 0), "trailer": (0, 1)}
    lines = [f"object key:    {BundleKey(KEY).object_key(context, 7, SALT).hex()}"]
    lines += [f"nonce {name:<8} {(counter.to_bytes(11, 'big') + bytes([last])).hex()}" for name, (counter, last) in
              nonces.items()]
    sealed = _seal(context, b"x")
    return "\n".join([*lines, f"chunk 'x':     {sealed.hex()}", f"index:         {index.decode()}",
                      f"trailer:       {trailer.hex()}"])


def _seal(context: Context, plain: bytes) -> bytes:
    key = BundleKey(KEY).object_key(context, 7, SALT)
    sealed = AESGCM(key).encrypt(bytes(12), plain, None)
    out = bytearray(len(plain))
    Opener(context, BundleKey(KEY), 7, SALT).open_into(0, sealed, memoryview(out), last=False)
    assert out == plain
    return sealed


def codec() -> str:
    """Chapter 6."""
    lines = []
    for width, words in ((2, "803f 00c0 3412"), (4, "0000803f 000000c0 78563412")):
        raw = np.frombuffer(bytes.fromhex(words), planes.word_type(width))
        out = np.zeros((width, raw.size), np.uint8)
        planes.split(raw, out, planes.new_scratch())
        lines.append(f"planes-{width} of {words}: " + ", ".join(row.tobytes().hex() for row in out))
    return "\n".join(lines)


def keys() -> str:
    """Chapter 7."""
    context = Context(STANDARD, BUNDLE, PACKER)
    halves = [bytes([number]) * half.public_size for number, half in enumerate(STANDARD.halves)]
    key_id = STANDARD.hash(tag("key"), bytes([1]), *halves)
    stretched = Passphrase("correct horse battery").stretch(SALT, PassphraseCost(memory_kib=64, iterations=1, lanes=1))
    return "\n".join([
        "suite 1, bundle id 000102...0f, packer's key id 32 bytes bb, bundle key 000102...1f, salt 16 bytes aa",
        f"key id of halves of bytes 00, 01, 02, 03: {key_id.hex()}",
        f"commitment:              {BundleKey(KEY).commitment(context).hex()}",
        f"object key, segment 7:   {BundleKey(KEY).object_key(context, 7, SALT).hex()}",
        "Argon2id of 'correct horse battery', 64 KiB, 1 iteration, 1 lane:",
        f"stretched:               {stretched.hex()}",
        f"key of the envelope:     {STANDARD.expand(stretched, tag('passphrase') + context.encoded, 32).hex()}"])


def table() -> str:
    """Chapter 8."""
    rows: list[Any] = [Row(0, "data", 0, 0, 1, 3, 2, 1, 4096, 11904, SALT.hex(), "cc" * 32),
                       Row(1, "parity", 0, 1, 1, 3, 2, 1, 4096, 11904, SALT.hex(), "dd" * 32)]
    raw = encoding.encode(Table(tuple(rows))).decode()
    return raw.replace("cc" * 32, "cc...cc").replace("dd" * 32, "dd...dd").replace("aa" * 16, "aa...aa")


def signed() -> str:
    """Chapter 9."""
    message = b"airbundle/sig/v1" + bytes([1]) + PACKER + pae(STATEMENT_TYPE, b"{}")
    return (f"payload {{}}, key id 32 bytes bb: {len(message)} bytes, that is (| between the parts)\n"
            f"airbundle/sig/v1|01|bb...bb|{pae(STATEMENT_TYPE, b'{}').decode()}")


def record() -> str:
    """Chapter 10."""
    raw = encode_record(b"{}", suite_number=1, hash_by_suite=hash_by_suite, engine=best_engine())
    frame = raw[:191 * 513]
    assert raw[56:97_983 + 0] == frame[56:]
    column = bytes(raw[row * 513] for row in range(255))
    return "\n".join(["content {}: the first 68 bytes of the frame, and the parity of column 0", *_hex(raw[:68]),
                      "column 0: " + column[:4].hex(" ") + " ... parity " + column[191:199].hex() + "..."
                      + column[-8:].hex()])


def text() -> str:
    """Chapter 11."""
    content = base64.b64decode("YSJcCgkBfw==").decode() + "\u00e9"
    return f"the characters 61 22 5c 0a 09 01 7f e9: {encoding.encode(content).hex(' ')}"


EXAMPLES = {example.__name__: example for example in (block, places, matrix, body, group, codec, keys, table, signed,
                                                       record, text)}

if __name__ == "__main__":
    for name, example in EXAMPLES.items():
        print(f"--- {name}\n{example()}")
