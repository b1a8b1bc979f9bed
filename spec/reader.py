"""A reader of airbundle bundles, version 1, written from bundle.md alone; it shares no code with the package.

    python spec/reader.py verify VOLUME... --trust NAME.pub [--key NAME.key] [--passphrase-file FILE]
    python spec/reader.py unpack VOLUME... -o DIR --trust NAME.pub --key NAME.key (or --passphrase-file FILE)

It reads top to bottom like the specification; only chapter 11 comes early, and 5.1 behind 7. It is plain, not fast.
Exit: 0 whole, 2 usage, 3 more volumes needed, 4 damaged, 5 not believed, 8 no key opens it, 9 machine, 11 repairable.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import os
import re
import struct
import sys
import tempfile
import unicodedata
from collections import defaultdict, namedtuple
from collections.abc import Iterable, Iterator  # noqa: TC003 - this file is read, not only run
from typing import Any

import reedsolo
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

# === 1. Words and notation (-(-a // b) rounds up) ===
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAGIC = bytes.fromhex("894142530d0a1a0a")
USAGE, INCOMPLETE, DAMAGED, NOT_BELIEVED, NO_KEY, MACHINE, REPAIRABLE = 2, 3, 4, 5, 8, 9, 11

class Refusal(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """What the reader will not take: the exit status that says so, the rule, and a text."""

def need(holds: object, rule: str, what: str, status: int = DAMAGED) -> None:
    """Refuse unless the rule holds."""
    if not holds:
        raise Refusal(status, rule, what)

def say(text: str) -> None:
    """A line of the report, without characters that a terminal might obey (E-4)."""
    sys.stderr.write("".join(c if c.isprintable() else "?" for c in text) + "\n")

def tag(name: str) -> bytes:
    """TAG(name)."""
    return f"airbundle/{name}/v1\0".encode()

# === 2. Suites ===
Suite = namedtuple("Suite", "number name h hash kdf hpke halves envelope mldsa opening")  # noqa: PYI024 - the fields at a glance
STANDARD = Suite(1, "standard", 32, lambda data: blake3(data).digest(), hashes.SHA256(),
                 hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
                 {"ed25519": 32, "mldsa": 1952, "mlkem": 1184, "x25519": 32}, 1168, mldsa.MLDSA65PublicKey,
                 lambda seeds: hpke.MLKEM768X25519PrivateKey(mlkem.MLKEM768PrivateKey.from_seed_bytes(seeds[64:128]),
                                                             x25519.X25519PrivateKey.from_private_bytes(seeds[128:])))
CNSA2 = Suite(2, "cnsa2", 48, lambda data: hashlib.sha384(data).digest(), hashes.SHA384(),
              hpke.Suite(hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM),
              {"mldsa": 2592, "mlkem": 1568}, 1616, mldsa.MLDSA87PublicKey,
              lambda seeds: mlkem.MLKEM1024PrivateKey.from_seed_bytes(seeds[32:]))
SUITES = {1: STANDARD, 2: CNSA2}

# === 11. Encoding: the tables of all JSON, and how it is read ===
NUMBER = range(1 << 53)
NO_TEXT = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"}  # categories that public text has not, but for the space (E-4)
PAYLOAD_TYPE = "application/vnd.airbundle.statement.v1+json"

def public(value: str) -> bool:
    """Printable text in NFC of at most 256 bytes (E-4)."""
    printable = all(c == " " or unicodedata.category(c) not in NO_TEXT for c in value)
    return printable and unicodedata.is_normalized("NFC", value) and len(value.encode()) <= 256

def in_base64(value: str) -> bool:
    """Base64 with padding, in its one spelling (chapter 9)."""
    shape = len(value) % 4 == 0 and re.fullmatch("[A-Za-z0-9+/]*={0,2}", value)
    return bool(shape) and base64.b64encode(base64.b64decode(value)).decode() == value

def tables(suite: Suite) -> dict[str, Any]:
    """All tables; a set is one of several, a range a number, a number bytes in hexadecimal, a slice bytes of text."""
    h, maybe = suite.h, {"series": {None, public}, "sequence": {None, NUMBER}}
    preamble = {"length": range(1, 128 * KIB + 1), "hash": h}
    row = (NUMBER, {"data", "parity"}, NUMBER, NUMBER, range(1, 65), *[NUMBER] * 5, 16, h)
    chunk = (range(MIB + 1), range(17, MIB + 17), {"raw", "zstd", "planes-2", "planes-4", "filler"}, h)
    volume = {"number": range(1, 65), "name": public, "size": NUMBER, "serial": {None, public}}
    key = {"version": range(1, 2), "suite": suite.name, "name": public}
    secret = {"protection": {"none", "argon2id"}, "memory": NUMBER, "iterations": NUMBER, "lanes": NUMBER}
    signature = {"keyid": lambda value: re.fullmatch("([0-9a-f]{64}|[0-9a-f]{96})", value), "sig": in_base64}
    files = [(slice(1, KIB), NUMBER, NUMBER)]
    return {
        "public key": {"kind": "airbundle public key"} | key | dict.fromkeys(suite.halves, in_base64) | {"id": h},
        "private key": {"kind": "airbundle private key"} | key | {"id": h} | secret | {
            "salt": in_base64, "seeds": in_base64, "check": h},
        "index": {"start": NUMBER, "length": range(256 * MIB + 1), "chunks": [chunk], "files": files},
        "table": {"rows": [row]},
        "manifest": {"bundle": 16, "packer": h, "recipients": [h]} | maybe | {
            "meta": [(slice(1, 256), slice(0, 4096))], "segments": [(NUMBER, NUMBER, range(256 * MIB + 1))],
            "files": [(slice(1, KIB), NUMBER, 32)], "folders": [slice(1, KIB)]},
        "statement": {"payload": in_base64, "payloadType": PAYLOAD_TYPE, "signatures": [signature]},  # T-1
        "payload": {"airbundle": range(1, 2), "bundle": 16, "suite": suite.name, "packer": h, "revision": NUMBER,
                    "created": NUMBER, "expires": {None, NUMBER}} | maybe | {"label": public, "marking": public,
                    "preamble": preamble, "envelopes": preamble,
                    "catalog": (NUMBER, "catalog", *[range(1)] * 3, *row[5:]), "volumes": [volume],
                    "lose": range(64), "base": None, "writer": public}}

def fits(value: Any, shape: Any) -> bool:
    """Whether a value is as its table says (E-1); no table has floats, truth values or more than 8 levels."""
    if isinstance(shape, set):
        return any(fits(value, each) for each in shape)
    if isinstance(shape, dict):
        return isinstance(value, dict) and [*value] == [*shape] and all(map(fits, value.values(), shape.values()))
    if isinstance(shape, list | tuple):
        shapes = shape * len(value) if isinstance(shape, list) and isinstance(value, list) else shape
        return isinstance(value, list) and len(value) == len(shapes) and all(map(fits, value, shapes))
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if isinstance(shape, slice):
        return isinstance(value, str) and shape.start <= len(value.encode()) <= shape.stop
    right = re.compile(f"[0-9a-f]{{{2 * shape}}}").fullmatch if isinstance(shape, int) else shape
    return isinstance(value, str) and bool(right(value)) if callable(right) else bool(value == shape)

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # Python escapes as E-2 says

def decode(data: bytes, table: str, suite: Any = None, status: int = DAMAGED) -> tuple[Suite, dict[str, Any]]:
    """Strict JSON: as its table says (E-1, K-1), and the same bytes when it is encoded again (E-3)."""
    suite = suite or (CNSA2 if b'"suite":"cnsa2"' in data[:200] else STANDARD)
    try:
        value = json.loads(data.decode())
        right = fits(value, tables(suite)[table]) and encode(value).encode() == data
    except (ValueError, RecursionError):
        right = False
    need(right, "E-3", f"a {table} is not canonical JSON", status)
    return suite, value

# === 3. Volumes ===
def read(path: str, at: int, length: int) -> bytes:
    """Bytes of a file; what cannot be read is not there (B-4). Links are not followed, pipes not waited for (V-1)."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            file.seek(at)
            return file.read(length)
    except OSError:
        return b""

def find_volumes(places: list[str]) -> dict[str, list[str]]:
    """The volumes at or directly in the places given, and their regular files (V-1, L-6)."""
    volumes = {}
    for place in map(os.path.realpath, places):
        need(os.path.isdir(place), "V-1", f"{place} is not a folder", USAGE)
        inner = [e.path for e in os.scandir(place) if e.name.endswith(".airbundle") and e.is_dir(follow_symlinks=False)]
        for volume in [place] if place.endswith(".airbundle") else sorted(inner):
            entries = [*itertools.islice(os.scandir(volume), 300_001)]
            need(len(entries) <= 300_000, "L-6", f"{volume} has too many entries")
            regular = (entry for entry in entries if entry.is_file(follow_symlinks=False))
            volumes[volume] = sorted(e.path for e in regular if e.stat(follow_symlinks=False).st_size < 4 * GIB)
    need(volumes, "V-1", "there is no volume here", USAGE)
    return volumes

# === 4. Blocks ===
GEOMETRY = struct.Struct("<HBBBBHII16sQ16sQ")  # bytes 56 to 119 of the header, with kind 0
PREAMBLE, LIST, DATA, PARITY = 1, 2, 3, 4

class Geometry(namedtuple("Geometry",  # noqa: PYI024, SLOT002
                          "version suite kind k m zero T B bundle number salt body")):
    """What all blocks of a segment say alike."""

    def sound(self) -> bool:
        """B-1, B-2, and B-3 as far as lists and preambles are not needed for it."""
        n, rest = divmod(self.body, max(1, self.B - 128))
        known = (self.version, self.zero) == (1, 0) and self.suite in SUITES and self.B.bit_count() == 1
        code = 1 <= self.k <= 128 and 2 <= self.m <= 128 and self.T >= 1 <= n and self.k == -(-n // self.T)
        return known and code and not rest and 4 * KIB <= self.B <= MIB and (n + self.m * self.T) * self.B <= 288 * MIB

    def digest(self, slot: tuple[int, int], content: bytes) -> bytes:
        """The digest of the block of this kind and index with this content."""
        rest = GEOMETRY.pack(*self._replace(kind=slot[0])) + struct.pack("<II", slot[1], len(content))
        return bytes(SUITES[self.suite].hash(rest + content.ljust(self.B - 128, b"\0")))

class Block(namedtuple("Block", "geometry slot digest path at length held", defaults=[b""])):  # noqa: PYI024, SLOT002
    """A whole block: what it says it is (its slot is kind and index), its digest, and where it is or what it holds."""

    def content(self) -> bytes | None:
        """Its content, if what is read now has its digest (S-7), and zeros behind it (B-7)."""
        data = b"" if self.held else read(self.path, self.at, self.geometry.B)
        whole = len(data) == self.geometry.B and SUITES[self.geometry.suite].hash(data[56:]) == self.digest
        return self.held or (data[128 : 128 + self.length] if whole and not any(data[128 + self.length :]) else None)

def scan(path: str) -> Iterator[Block]:
    """All whole blocks of a file, whatever its name (V-2); behind the largest segment nothing has meaning (S-9)."""
    at, size = 0, min(os.lstat(path).st_size, 288 * MIB)
    while at < size:
        head, step = read(path, at, 128).ljust(128, b"\0"), 4 * KIB
        said = Geometry(*GEOMETRY.unpack_from(head, 56))
        if head.startswith(MAGIC) and said.sound():
            h, (index, length) = SUITES[said.suite].h, struct.unpack_from("<II", head, 120)
            block = Block(said._replace(kind=0), (said.kind, index), head[8 : 8 + h], path, at, length)
            full = length == said.B - 128 or (said.kind in {PREAMBLE, LIST} and length < said.B - 128)
            if full and PREAMBLE <= said.kind <= PARITY and not any(head[8 + h : 56]) and block.content() is not None:
                yield block
                step = said.B
        at += step

# === 5. Segments ===
POWERS = [1]  # of 2 in GF(2^8) with the polynomial 0x11D (S-4)
while len(POWERS) < 255:
    POWERS.append(POWERS[-1] << 1 ^ (POWERS[-1] >> 7) * 0x11D)
LOG = {power: exponent for exponent, power in enumerate(POWERS)}
INVERSE = [0, *(POWERS[-LOG[a] % 255] for a in range(1, 256))]
TIMES = [bytes(POWERS[(LOG[a] + LOG[b]) % 255] if a and b else 0 for b in range(256)) for a in range(256)]

def combine(terms: Iterable[tuple[int, bytes]], size: int) -> bytes:
    """The sum of factor times row, position by position."""
    total = 0
    for factor, row in terms:
        total ^= int.from_bytes(row.translate(TIMES[factor]), "little")
    return total.to_bytes(size, "little")

def restore(k: int, word: dict[int, bytes | None], size: int) -> None:
    """Fill in a codeword of the inner or outer code, if enough is there; None is lost, what is not named is zeros.

    Columns are 0 to k - 1, parity rows from k: the coefficient is the inverse of row XOR column (S-4, G-7). Each square
    part of this matrix has an inverse, so that no pivot is zero.
    """
    data = {c: payload for c, payload in word.items() if c < k and payload is not None}
    lost = [c for c in word if c < k and c not in data]
    rows = [(r, payload) for r, payload in word.items() if r >= k and payload is not None][: len(lost)]
    if len(rows) == len(lost):
        work = [bytes(INVERSE[r ^ c] for c in lost) + combine([(1, row), *((INVERSE[r ^ c], data[c])
                for c in data)], size) for r, row in rows]
        for i in range(len(lost)):
            work[i] = work[i].translate(TIMES[INVERSE[work[i][i]]])
            work = [row if i == j else combine([(1, row), (row[i], work[i])], len(row)) for j, row in enumerate(work)]
        word |= {c: row[len(lost) :] for c, row in zip(lost, work, strict=True)}
        data |= {c: word[c] or b"" for c in lost}
        word |= {r: combine(((INVERSE[r ^ c], data[c]) for c in data), size) for r in word if word[r] is None}

class Segment:
    """What is signed of a segment, and where its leaves, the data and parity blocks, are to be had (B-5, S-5)."""

    def __init__(self, row: list[Any], statement: Statement, preamble: str, found: dict[Geometry, list[Block]]) -> None:
        self.number, self.role, _, _, self.volume, k, m, stripes, size, body, *_ = row
        bundle, salt, self.root = map(bytes.fromhex, (statement.value["bundle"], *row[-2:]))
        self.suite, number = statement.suite, statement.suite.number
        self.geometry = Geometry(1, number, 0, k, m, 0, stripes, size, bundle, self.number, salt, body)
        need(self.geometry.sound(), "B-3", f"geometry of segment {self.number}")
        self.names = {"catalog.abs", "catalog-copy.abs"} if self.role == "catalog" else {f"{self.number:08}.abs"}
        self.P, self.preamble, self.n, parity = size - 128, statement.value[preamble], body // (size - 128), m * stripes
        lengths = {PREAMBLE: self.preamble["length"], LIST: self.suite.h * (self.n + parity)}
        ends = [(kind, -(-length // self.P)) for kind, length in lengths.items()]
        parts = [*ends, (DATA, self.n), (PARITY, parity), *reversed(ends)]
        need(size * sum(count for _, count in parts) <= 288 * MIB, "B-3", f"segment {self.number} is too large")
        self.slots = [(kind, index) for kind, count in parts for index in range(count)]
        self.own: dict[tuple[int, int], list[Block]] = {slot: [] for slot in self.slots}
        for block in found[self.geometry]:  # a block is used in its own place only
            place, rest = divmod(block.at, size)
            if not rest and self.slots[place : place + 1] == [block.slot]:
                self.own[block.slot].append(block)
        self.leaf = [slot for slot in self.slots if slot[0] in {DATA, PARITY}]  # kind and index of each leaf
        digests = b"".join(block.digest for slot in self.leaf for block in self.own[slot][:1])
        leaves = next(filter(self.bears_out, itertools.chain(self.copies(LIST), [digests])), b"")
        self.leaves = [leaves[at : at + self.suite.h] for at in range(0, len(leaves), self.suite.h)]
        self.places: list[Block | None] = [next(iter(self.own[slot]), None) for slot in self.leaf]
        for i, leaf in enumerate(self.leaves):  # a block is what its digest, as a leaf, says it is (S-7)
            self.places[i] = next((block for block in self.own[self.leaf[i]] if block.digest == leaf), None)

    def copies(self, kind: int) -> Iterator[bytes]:
        """What the copies of list or preamble give, block by block; at most 64 combinations are tried (S-7)."""
        options = [[block.content() for block in blocks] for slot, blocks in self.own.items() if slot[0] == kind]
        pages = [dict.fromkeys(page for page in each if page is not None) for each in options]
        return (b"".join(parts) for parts in itertools.islice(itertools.product(*pages), 64))

    def find_preamble(self) -> bytes:
        """The preamble, by its hash in the statement (K-7); nothing if it is lost."""
        right = (copy for copy in self.copies(PREAMBLE) if self.suite.hash(copy).hex() == self.preamble["hash"])
        return next(right, b"")

    def bears_out(self, leaves: bytes) -> bool:
        """Whether these are the leaves of the signed root (S-6)."""
        head = tag("root") + GEOMETRY.pack(*self.geometry) + bytes.fromhex(self.preamble["hash"])
        return bool(self.suite.hash(head + struct.pack("<I", len(self.leaf)) + leaves) == self.root)

    def content(self, i: int) -> bytes | None:
        """The content of leaf i, checked again (S-7)."""
        block = self.places[i]
        return block.content() if block else None

    def accept(self, i: int, content: bytes | None) -> None:
        """Keep what was recovered, if it is the leaf that was signed (S-8); without a list the root will tell (G-9)."""
        digest = self.geometry.digest(self.leaf[i], content or b"")
        if content is not None and (not self.leaves or self.leaves[i] == digest):
            self.places[i] = Block(self.geometry, self.leaf[i], digest, "", 0, self.P, content)

    def lost(self) -> set[int]:
        """The data blocks that are not to be had."""
        return {i for i in range(self.n) if not self.leaves or self.places[i] is None}

    def decode(self) -> None:
        """The inner code, over each stripe with a loss: leaf i is in stripe i mod T (S-1, S-2)."""
        n, k, stripes, before = self.n, self.geometry.k, self.geometry.T, [*self.places]
        for stripe in {i % stripes for i, block in enumerate(before) if block is None}:
            leaves = range(stripe, len(before), stripes)
            word = {i // stripes if i < n else k + (i - n) // stripes: self.content(i) for i in leaves}
            restore(k, word, self.P)
            for i, content in zip(leaves, word.values(), strict=True):
                self.accept(i, content)
        if not self.leaves:  # made of what the outer code gave and its own blocks, and believed by its root (G-9)
            digests = [block.digest for block in self.places if block]
            self.leaves = digests if self.bears_out(b"".join(digests)) else []
            self.places = self.places if self.leaves else before

    def judge(self, path: str, blocks: list[Block], preamble: bytes) -> bool:
        """Whether a file is all of this segment; blocks that nobody signed are counted as altered (B-6)."""
        pages, size = {PREAMBLE: preamble, LIST: b"".join(self.leaves)}, len(self.slots) * self.geometry.B
        right = {(kind, i): self.geometry.digest((kind, i), pages[kind][i * self.P : (i + 1) * self.P])
                 for kind, i in self.own if kind in pages} | dict(zip(self.leaf, self.leaves, strict=True))
        altered = sum(block.geometry == self.geometry and block.digest != right.get(block.slot) for block in blocks)
        if altered or os.lstat(path).st_size > size:
            say(f"{path}: {altered} blocks are altered (B-6), or it is longer than {size} bytes (S-9)")
        there = {block.at // self.geometry.B: block.digest for block in blocks}
        whole = there == dict(enumerate(right[slot] for slot in self.slots)) and os.lstat(path).st_size == size
        return whole and os.path.basename(path) in self.names

# === 5.2 Groups ===
def repair(members: list[Segment]) -> None:
    """Outer and inner code in turns, until nothing changes (G-9); block i of each member is one codeword (G-7)."""
    k, before = sum(member.role != "parity" for member in members), None
    while (lost := [member.lost() for member in members]) != before:
        before = lost
        for i in set().union(*lost):
            word = {c: None if i in lost[c] else member.content(i) for c, member in enumerate(members) if i < member.n}
            restore(k, word, members[0].P)
            for c, content in word.items():
                if i in lost[c]:
                    members[c].accept(i, content)
        for member in members:
            if member.lost():
                member.decode()

# === 6. Codecs ===
def expand_zstd(frame: bytes, size: int) -> bytes:
    """One zstd frame of known content, with nothing behind it; its header is checked before it is expanded (C-2)."""
    try:
        about = zstandard.get_frame_parameters(frame)
        sizes = about.content_size == size and about.window_size <= MIB
        need(frame.startswith(b"\x28\xb5\x2f\xfd") and sizes and about.dict_id == 0, "C-2", "the header of a frame")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Refusal(DAMAGED, "C-2", "a frame does not expand") from None

def expand(codec: str, packed: bytes, length: int) -> bytes:
    """A chunk from its packed form, after its seal was opened (C-1); planes are of words rotated left by one bit."""
    if codec in {"raw", "zstd"}:
        need(codec == "zstd" or len(packed) == length, "C-3", "a raw chunk of another length")
        return packed if codec == "raw" else expand_zstd(packed, length)
    w = int(codec[-1])
    phase, *stored = struct.unpack_from(f"<B{w}I", packed.ljust(1 + 4 * w, b"\0"))
    count, tail = divmod(max(0, length - phase), w)
    ends = [*itertools.accumulate([1 + 4 * w + phase, *stored, tail])]
    need(phase < w and phase <= length and max(stored) <= count and ends[-1] == len(packed), "C-3", "packed planes")
    parts = [packed[a:b] for a, b in itertools.pairwise(ends[:-1])]
    planes = [part if len(part) == count else expand_zstd(part, count) for part in parts]
    words, right, left = bytearray(count * w), bytes(b >> 1 for b in range(256)), bytes(b % 2 << 7 for b in range(256))
    for i in range(w):  # plane 0 is the most significant byte, and its sign came from the bottom of the last plane
        words[w - 1 - i :: w] = combine([(1, planes[i].translate(right)), (1, planes[i - 1].translate(left))], count)
    return packed[1 + 4 * w : ends[0]] + bytes(words) + packed[ends[-2] :]

# === 7. Keys and seals ===
PRIME = (1 << 255) - 19
PublicKey = namedtuple("PublicKey", "suite halves id")  # noqa: PYI024

def read_public(path: str) -> PublicKey:
    """NAME.pub: its halves, each in its one spelling and of no small order (K-3)."""
    suite, value = decode(read(os.path.realpath(path), 0, 64 * KIB), "public key", status=USAGE)
    halves = {name: base64.b64decode(value[name]) for name in suite.halves}
    key = PublicKey(suite, halves, suite.hash(tag("key") + bytes([suite.number]) + b"".join(halves.values())).hex())
    pairs = [int.from_bytes(halves["mlkem"][at : at + 3], "little") for at in range(0, len(halves["mlkem"]) - 32, 3)]
    sound = key.id == value["id"] and all(pair & 0xFFF < 3329 > pair >> 12 for pair in pairs)  # numbers of 12 bits
    u, y = (int.from_bytes(halves.get(name, b"\2"), "little") for name in ("x25519", "ed25519"))
    for x, z in ((u, 1), (1 + y % (1 << 255), 1 - y % (1 << 255))):  # u = x / z, y as on Curve25519 (RFC 7748)
        for _ in range(3):  # a point of small order, doubled three times, is infinity
            x, z = pow(x * x - z * z, 2, PRIME), 4 * x * z * (x * x + 486662 * x * z + z * z) % PRIME  # noqa: PLW2901
        sound = sound and z != 0 and max(u, y % (1 << 255)) < PRIME
    need(sound and {n: len(half) for n, half in halves.items()} == suite.halves, "K-3", f"{path} is not sound", USAGE)
    return key

def argon2id(passphrase: bytes, salt: bytes, memory: int, iterations: int, lanes: int) -> bytes:
    """RFC 9106, with its cost bounded before anything is allocated (K-14)."""
    need(1 <= lanes <= 16 and 1 <= iterations <= 16 and 8 * lanes <= memory <= 512 * KIB, "K-14", "cost of Argon2id")
    return Argon2id(salt=salt, length=32, iterations=iterations, lanes=lanes, memory_cost=memory).derive(passphrase)

def unseal(key: bytes, nonce: int, sealed: bytes, what: str, status: int = DAMAGED, aad: bytes | None = None) -> bytes:
    """AES-256-GCM."""
    try:
        return AESGCM(key).decrypt(nonce.to_bytes(12, "big"), sealed, aad)
    except InvalidTag:
        raise Refusal(status, "S-10", f"{what} does not open") from None

def read_private(path: str, passphrase: bytes | None) -> tuple[Suite, bytes, Any]:
    """NAME.key: the seeds of all halves in their order; an ML-KEM seed has 64 bytes, the others 32."""
    suite, value = decode(read(os.path.realpath(path), 0, 64 * KIB), "private key", status=USAGE)
    check = suite.hash(tag("keyfile") + encode(value | {"check": ""}).encode()).hex()
    seeds, salt = base64.b64decode(value["seeds"]), base64.b64decode(value["salt"])
    if value["protection"] == "argon2id":
        stretched = argon2id(passphrase or b"", salt, value["memory"], value["iterations"], value["lanes"])
        seeds = unseal(stretched, 0, seeds, path, NO_KEY, encode(value | {"seeds": "", "check": ""}).encode())
    sound = check == value["check"] and len(seeds) == (160 if suite is STANDARD else 96)
    need(sound, "K-3", f"{path} is damaged", USAGE)
    return suite, bytes.fromhex(value["id"]), suite.opening(seeds)

class Preamble:
    """The context of 7.3, the commitment and the envelopes: type, recipient, content (K-2, K-6, K-12)."""

    def __init__(self, data: bytes, statement: Statement) -> None:
        self.suite, h, self.envelopes, at = statement.suite, statement.suite.h, [], 20 + 2 * statement.suite.h
        self.context = bytes([self.suite.number]) + bytes.fromhex(statement.value["bundle"] + statement.value["packer"])
        need(data[:1] + data[4 : 20 + h] == self.context, "K-2", "a preamble is of another bundle", NOT_BELIEVED)
        self.commitment = data[20 + h : 20 + 2 * h]
        while at < len(data):
            kind, zero, length = struct.unpack_from("<BBH", data.ljust(at + 4, b"\0"), at)
            need((kind, zero, length) in {(1, 0, self.suite.envelope), (2, 0, 76)}, "K-6", "unknown kind of envelope")
            at += 4 + h + length
            self.envelopes.append((kind, data[at - length - h : at - length], data[at - length : at]))
        recipients = {recipient for _, recipient, _ in self.envelopes}
        length = at == len(data) <= 128 * KIB and data[2:4] == b"\0\0"
        need(length and 1 <= data[1] == len(self.envelopes) == len(recipients) <= 64, "K-6", "a preamble's envelopes")
        alone = self.suite is STANDARD and recipients == {bytes(h)}
        need(alone or all(kind == 1 for kind, _, _ in self.envelopes), "K-12", "a passphrase that is not alone")

    def derive(self, key: bytes, label: str, length: int, more: bytes = b"") -> bytes:
        """HKDF-Expand with the context of 7.3."""
        return HKDFExpand(self.suite.kdf, length, tag(label) + self.context + more).derive(key)

    def open(self, private: Any, passphrase: bytes | None) -> bytes:
        """The bundle key. Whoever calls has checked signature and preamble hash before (K-15)."""
        key = b""
        for kind, recipient, content in self.envelopes:
            if kind == 1 and private and private[:2] == (self.suite, recipient):  # K-5
                try:
                    key = self.suite.hpke.decrypt(content, private[2], tag("envelope") + self.context)
                except (InvalidTag, ValueError):
                    raise Refusal(NO_KEY, "K-5", "the envelope to this key does not open") from None
            if kind == 2 and passphrase is not None:  # K-13
                stretched = argon2id(passphrase, content[12:28], *struct.unpack_from("<III", content))
                key = unseal(self.derive(stretched, "passphrase", 32), 0, content[28:], "the envelope", NO_KEY)
        need(key, "K-5", "no key or passphrase given opens this bundle", NO_KEY)
        committed = self.derive(key, "commit", self.suite.h) == self.commitment
        need(committed, "K-8", "the bundle key is not the committed one", NOT_BELIEVED)
        return key

# === 5.1 Body of a data segment: a nonce is the counter and a byte that is 1 for the trailer ===
def body_of(segment: Segment) -> bytes:
    """The payloads of the data blocks, end to end."""
    payloads = [segment.content(i) or b"" for i in range(segment.n)]
    need(all(payloads), "B-4", f"segment {segment.number} changed while it was read")
    return b"".join(payloads)

def read_body(segment: Segment, key: bytes, manifest: dict[str, Any]) -> Iterator[bytes]:
    """The chunks of a slice; the manifest says which slice and files (G-5)."""
    body, what, at, (_, start, length) = body_of(segment), "segment", 0, manifest["segments"][segment.number]
    place, size, count, zeros = struct.unpack("<QQI12s", unseal(key, 1, body[-48:], what))
    need(not any(zeros) and place <= len(body) - 48 and count <= 65_536 and size <= 32 * MIB, "S-11", "trailer (L-1)")
    plain = unseal(key, count << 8, body[place:-48], what)
    need(size <= len(plain) and not any(plain[size:]), "S-12", "an index and the zeros behind it")
    index = decode(plain[:size], "index", segment.suite)[1]
    need(len(index["chunks"]) == count and len(index["files"]) <= 65_536, "S-15", "too many chunks or files")
    ends = itertools.accumulate(size for _, size, _ in manifest["files"])
    files = [[path, end - size, size] for (path, size, _), end in zip(manifest["files"], ends, strict=True)
             if size and start < end and end - size < start + length]
    need([index["start"], index["length"], index["files"]] == [start, length, files], "G-5", "slice and files")
    need([sum(row[c] for row in index["chunks"]) for c in (0, 1)] == [length, place], "S-13", "lengths of chunks")
    for counter, (plain_length, sealed_length, codec, digest) in enumerate(index["chunks"]):
        sealed, at, filler = body[at : at + sealed_length], at + sealed_length, codec == "filler"
        need((plain_length == 0) == filler, "S-14", "length of a chunk")
        chunk = b"" if filler else expand(codec, unseal(key, counter << 8, sealed, what), plain_length)
        right = bytes(segment.suite.h) if filler else segment.suite.hash(chunk)
        need(right.hex() == digest, "S-13", "digest of a chunk")
        yield chunk

# === 8. Catalog ===
def parse_table(data: bytes, statement: Statement) -> list[list[list[Any]]]:
    """The rows of each group, data before parity (G-1, G-6, L-2)."""
    rows, volumes = decode(data, "table", statement.suite)[1]["rows"], len(statement.value["volumes"])
    groups: dict[int, list[list[Any]]] = defaultdict(list)
    for row in rows:
        groups[row[2]].append(row)
    order, numbers = [row[1:4] for row in rows], [row[0] for row in rows]
    need(len(rows) == statement.value["catalog"][0] <= 262_144 and order == sorted(order), "G-1", "order of rows (L-2)")
    known = all(row[4] <= volumes for row in rows) and [*groups] == [*range(len(groups))]
    need(known and numbers == [*range(len(rows))], "G-6", "numbers of segments, groups or volumes (G-1)")
    for members in groups.values():
        longest = max((row[9] for row in members if row[1] == "data"), default=0)
        placed = [row[3] for row in members] == [*range(len(members))] and len(members) <= 128
        alike = {row[9] for row in members if row[1] == "parity"} == {longest} and len({row[8] for row in members}) == 1
        need(longest and placed and alike, "G-6", "members of a group")
    return [*groups.values()]

def open_manifest(sealed: bytes, key: bytes, statement: Statement, preamble: Preamble) -> dict[str, Any]:
    """The manifest, opened piece by piece and compared with statement and preamble (G-4)."""
    parts = [sealed[at : at + MIB + 16] for at in range(0, len(sealed), MIB + 16)] or [b""]
    pieces = [unseal(key, i << 8 | (i == len(parts) - 1), part, "manifest") for i, part in enumerate(parts)]
    need(pieces[-1] or len(pieces) == 1, "G-4", "an empty piece of the manifest")
    value = decode(b"".join(pieces), "manifest", statement.suite)[1]
    alike = all(value[field] == statement.value[field] for field in ("bundle", "packer", "series", "sequence"))
    recipients = [recipient.hex() for kind, recipient, _ in preamble.envelopes if kind == 1]
    need(alike and value["recipients"] == recipients, "G-4", "the manifest is another bundle's", NOT_BELIEVED)
    keys, most = [key for key, _ in value["meta"]], max(len(value["files"]), len(value["folders"]))
    need(len(keys) <= 256 and keys == sorted(set(keys)) and most <= 524_288, "L-4", "notes, files or folders (L-3)")
    check_paths([path for path, _, _ in value["files"]], value["folders"])
    return value

# === 9. Statement ===
Statement = namedtuple("Statement", "payload value suite signatures")  # noqa: PYI024

def parse_statement(data: bytes) -> Statement:
    """A copy of the statement. Nothing of it is believed yet (T-1)."""
    envelope = decode(data[: 95 * KIB + 1], "statement", STANDARD, NOT_BELIEVED)[1]
    payload, signatures = base64.b64decode(envelope["payload"]), envelope["signatures"]
    keys = {entry["keyid"]: base64.b64decode(entry["sig"]) for entry in signatures}
    sizes = len(data) <= 95 * KIB and len(payload) <= 16 * KIB
    need(sizes and 1 <= len(signatures) == len(keys) <= 10, "T-5", "its length (L-5) or signatures", NOT_BELIEVED)
    suite, value = decode(payload, "payload")
    numbers, count = [volume["number"] for volume in value["volumes"]], len(value["volumes"])
    need((value["series"] is None) == (value["sequence"] is None), "E-1", "series and sequence")
    need(value["lose"] < count <= 64 and numbers == [*range(1, count + 1)], "T-5", "numbers of volumes (T-6)")
    need(value["revision"] or value["preamble"] == value["envelopes"], "G-10", "preambles of revision 0")
    return Statement(payload, value, suite, keys)

def holds(statement: Statement, keyid: str, key: PublicKey) -> bool:
    """Whether a signature holds, every part of it (T-2); keys of another suite count for nothing (K-11)."""
    pae = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(statement.payload)} ".encode() + statement.payload
    message = b"airbundle/sig/v1" + bytes([statement.suite.number]) + bytes.fromhex(keyid) + pae
    signature, at = statement.signatures[keyid], 64 if key.suite is STANDARD else 0
    try:
        if at:
            ed25519.Ed25519PublicKey.from_public_bytes(key.halves["ed25519"]).verify(signature[:at], message)
        key.suite.mldsa.from_public_bytes(key.halves["mldsa"]).verify(signature[at:], message, b"airbundle/sig/v1")
    except (InvalidSignature, ValueError):
        return False
    return bool(key.suite is statement.suite)

def believed(statements: list[Statement], trusted: dict[str, PublicKey]) -> list[tuple[Statement, set[Any]]]:
    """The statements with a valid signature of their packer (T-3), highest revision first (T-7)."""
    valid: dict[bytes, set[Any]] = defaultdict(set)  # equal payloads give the union of their signatures (T-4)
    for statement in statements:
        held = {key for key in statement.signatures if key in trusted and holds(statement, key, trusted[key])}
        valid[statement.payload] |= {(key, statement.signatures[key]) for key in held}
        for key in statement.signatures.keys() - held:
            say(f"T-3: the signature by {key[:32]} fails, or is by a stranger or of another suite (K-11)")
    good = {s.payload: s for s in statements if s.value["packer"] in dict(valid[s.payload])}
    need(good, "T-3", "no signature by a trusted packer holds", NOT_BELIEVED)
    names = {(s.value["bundle"], s.value["packer"]) for s in good.values()}
    one = len(names) == 1 and len({s.value["revision"] for s in good.values()}) == len(good)
    need(one, "T-4", "statements of two bundles, two packers or one revision", NOT_BELIEVED)
    return sorted(((s, valid[s.payload]) for s in good.values()), key=lambda pair: -pair[0].value["revision"])

# === 10. Records ===
COLUMNS, COPY, RECORD = 513, 128 * KIB, 384 * KIB
CODE = reedsolo.RSCodec(64, nsize=255, fcr=0, prim=0x11D, generator=2)  # each column is a codeword

def turn(data: bytes, columns: int) -> bytes:
    """Column after column of what lies row after row."""
    return b"".join(data[column::columns] for column in range(columns))

def read_record(data: bytes) -> bytes:
    """The content of a record: by the digests of its three copies first, then by the code, copy by copy (R-2, R-3)."""
    for correct, at in itertools.product((False, True), range(0, RECORD, COPY)):
        copy = data[at : at + 255 * COLUMNS].ljust(255 * COLUMNS, b"\0")
        try:
            frame = bytes(turn(CODE.decode(turn(copy, COLUMNS))[0], 191) if correct else copy[: 191 * COLUMNS])
        except reedsolo.ReedSolomonError:
            continue
        magic, digest, version, suite, kind, length = struct.unpack_from("<8s48sHBBI", frame)
        sound = (magic, version, kind) == (MAGIC, 1, 5) and suite in SUITES and length <= 95 * KIB
        sound = sound and SUITES[suite].hash(frame[56:]).ljust(48, b"\0") == digest
        if sound and not any(frame[64 + length :]):
            return frame[64 : 64 + length]
    return b""

def make_record(content: bytes, suite: Suite) -> bytes:
    """The exact encoding (T-8)."""
    rest = (struct.pack("<HBBI", 1, suite.number, 5, len(content)) + content).ljust(191 * COLUMNS - 56, b"\0")
    frame = MAGIC + suite.hash(rest).ljust(48, b"\0") + rest
    return turn(bytes(CODE.encode(turn(frame, COLUMNS))), 255).ljust(COPY, b"\0") * 3

# === 12. Paths ===
FORBIDDEN = {*'\\:*?"<>|', *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[1-9\xb9\xb2\xb3]) *", re.IGNORECASE)

def check_paths(files: list[str], folders: list[str]) -> None:
    """P-1 to P-5, for files, for empty folders and for the folders on the way."""
    spelled: dict[str, str] = {}
    for path in (*files, *folders):
        parts, what = path.split("/"), f"path {path!r}"
        need(unicodedata.is_normalized("NFC", path) and not {"", ".", ".."} & {*parts}, "P-1", what)
        kinds = {unicodedata.category(c) for c in path}
        need(not kinds & {"Cc", "Cs", "Zl", "Zp"} and not FORBIDDEN & {*path}, "P-2", what)
        need(not any(part[-1] in ". " or RESERVED.fullmatch(part.split(".")[0]) for part in parts), "P-3", what)
        sizes = len(path.encode()) <= 1024 and max(len(part.encode()) for part in parts) <= 255
        need(sizes and len(parts) <= 64, "P-4", what)
        for way in itertools.accumulate(parts, "{}/{}".format):
            folded = unicodedata.normalize("NFC", way.casefold())
            need(spelled.setdefault(folded, way) == way, "P-5", f"{what} differs from another in case only")
    inner = {path[:i] for path in (*files, *folders) for i, c in enumerate(path) if c == "/"}
    ordered = all(paths == sorted(set(paths), key=str.encode) for paths in (files, folders))
    apart = not inner & {*files, *folders} and not {*files} & {*folders}
    need(ordered and apart, "P-5", "paths are not in order, or one is in another")

# === Reading a bundle ===
def read_statements(paths: Iterable[str]) -> dict[str, tuple[bytes, Statement]]:
    """All copies of statements by name, and of records by content too (V-2)."""
    copies, refused = {}, Refusal(NOT_BELIEVED, "T-1", "there is no statement")
    for path in paths:
        head, name = read(path, 0, 60), os.path.basename(path)
        record = name == "statement.rec" or (head.startswith(MAGIC) and head[59:] == b"\5")
        if record or name == "statement.json":
            data = read_record(read(path, 0, RECORD)) if record else read(path, 0, 95 * KIB + 1)
            try:
                copies[path] = data, parse_statement(data)
            except Refusal as refusal:
                refused = refusal
    if not copies:
        raise refused
    return copies

class Bundle:
    """What the volumes given hold of a bundle, by content (V-2): statement (T-7), catalog, segments and preambles."""

    def __init__(self, places: list[str], trusted: dict[str, PublicKey]) -> None:
        self.volumes, self.beyond, found = find_volumes(places), [], defaultdict(list)
        self.blocks = {path: [*scan(path)] for paths in self.volumes.values() for path in paths}
        for block in itertools.chain(*self.blocks.values()):
            found[block.geometry].append(block)
        self.copies = read_statements(self.blocks)
        self.candidates = believed([statement for _, statement in self.copies.values()], trusted)
        for statement, valid in self.candidates:
            self.statement, self.valid = statement, valid
            self.catalog = Segment(statement.value["catalog"], statement, "envelopes", found)
            repair([self.catalog])
            if not self.catalog.lost():
                break
            self.beyond.append(f"T-7: no catalog of revision {statement.value['revision']}")
        need(not self.catalog.lost(), "T-7", "no catalog can be had", self.status_of_loss({*range(65)}))
        body = body_of(self.catalog)  # its root was checked (G-2)
        table = 8 + int.from_bytes(body[:8], "little")
        end = table + 8 + int.from_bytes(body[table : table + 8], "little")
        sizes = table <= 64 * MIB + 8 and end - table <= 128 * MIB + 16 * 129 + 8 and end <= len(body)
        need(sizes and not any(body[end:]), "L-3", "the parts of a catalog and the zeros behind them (L-2)")
        self.sealed = body[table + 8 : end]
        self.groups = [[Segment(row, self.statement, "preamble", found) for row in rows]
                       for rows in parse_table(body[8:table], self.statement)]
        self.rows = [*itertools.chain(*self.groups)]
        self.preamble = self.catalog.find_preamble()
        self.old = next(filter(None, (segment.find_preamble() for segment in self.rows)), b"")
        if self.statement.value["preamble"] == self.statement.value["envelopes"]:
            self.old = self.preamble = self.old or self.preamble
        self.beyond += [] if self.old or not self.rows else ["G-10: the preamble of the segments is lost"]
        both = {Preamble(data, self.statement).commitment for data in (self.preamble, self.old) if data}
        need(len(both) <= 1, "G-10", "preambles of two commitments", NOT_BELIEVED)

    def status_of_loss(self, wanted: set[int]) -> int:
        """Whether volumes that are not here might help: folders have their numbers in their names."""
        here = {int(found[1]) for path in self.volumes if (found := re.search(r"-(\d+)of\d+\.airbundle$", path))}
        return INCOMPLETE if wanted & ({*range(1, len(self.statement.value["volumes"]) + 1)} - here) else DAMAGED

    def open(self, private: Any, passphrase: bytes | None) -> None:
        """Object keys (K-9), the manifest, and what it says of the segments (G-5)."""
        need(self.preamble, "K-7", "the preamble is lost")
        preamble = Preamble(self.preamble, self.statement)
        key = preamble.open(private, passphrase)
        self.keys = {s.number: preamble.derive(key, "seal", 32, struct.pack("<Q", s.number) + s.geometry.salt)
                     for s in (self.catalog, *self.rows)}
        self.manifest = open_manifest(self.sealed, self.keys[self.catalog.number], self.statement, preamble)
        slices, size = self.manifest["segments"], sum(size for _, size, _ in self.manifest["files"])
        numbers = [segment.number for segment in self.rows if segment.role == "data"]
        ends = [*itertools.accumulate((length for _, _, length in slices), initial=0)]
        need([row[0] for row in slices] == numbers, "G-5", "the manifest has other segments")
        need([row[1] for row in slices] + [size] == ends, "G-5", "the slices have gaps, or are not the files")

    def stream(self, *, opened: bool) -> Iterator[bytes]:
        """Restore group by group; the source stream, if the bundle was opened."""
        lost, status = set(), 0
        for members in self.groups:
            repair(members)
            bad = [segment for segment in members if segment.lost()]
            lost |= {segment.number for segment in bad}
            status = max(status, self.status_of_loss({segment.volume for segment in bad}) if bad else 0)
            for segment in members:
                if opened and not lost and segment.role == "data":
                    yield from read_body(segment, self.keys[segment.number], self.manifest)
                segment.places = []
        need(not lost, "G-9", f"segments {sorted(lost)} cannot be restored from what is here", status)

    def findings(self) -> list[str]:
        """Files that are not as they were written, or are not here; files that are nothing are listed (V-2)."""
        segments, sound = {segment.geometry: segment for segment in (self.catalog, *self.rows)}, set()
        wrong = ["T-7: copies of several revisions"] if len(self.candidates) > 1 else []
        for path, blocks in self.blocks.items():
            segment = next((segments[block.geometry] for block in blocks if block.geometry in segments), None)
            name = os.path.basename(path)
            if segment and segment.judge(path, blocks, self.preamble if segment is self.catalog else self.old):
                sound |= {path, name}
            elif segment or (name.endswith(".abs") and not blocks):
                wrong.append(f"B-4: {path}")
            elif name not in {"README.txt", "statement.json", "statement.rec"}:
                say(f"V-2: {path} is ignored")
        wrong += {name for segment in self.rows for name in segment.names} - sound
        wrong += {os.path.join(volume, name) for volume in self.volumes for name in self.catalog.names} - sound
        for volume in self.volumes:
            data, statement = self.copies.get(os.path.join(volume, "statement.json"), (b"", self.statement))
            record = read(os.path.join(volume, "statement.rec"), 0, RECORD + 1)
            same = statement.payload == self.statement.payload and self.valid <= {*statement.signatures.items()}
            if not data or not same or record != make_record(data, statement.suite):
                wrong.append(f"T-8: statement.json or statement.rec of {volume}")
        return wrong

# === The two verbs ===
def write_files(chunks: Iterator[bytes], files: list[list[Any]], folder: str) -> None:
    """The source stream as files, or nowhere; a SHA-256 that differs is only reported, as it is the packer's word."""
    rest = memoryview(b"")
    for path, size, digest in files:
        target, sha, left = os.path.join(folder, path) if folder else os.devnull, hashlib.sha256(), size
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb" if folder else "wb") as file:
            while left:
                rest = rest or memoryview(next((chunk for chunk in chunks if chunk), b""))
                need(rest, "G-5", "there is less content than files")
                sha.update(rest[:left])
                left, rest = left - file.write(rest[:left]), rest[left:]
        if sha.hexdigest() != digest:
            say(f"G-11: {path} has another SHA-256 than its packer said")
    need(not rest and not any(chunks), "G-5", "there is more content than files")

def run(options: argparse.Namespace) -> int:
    """Both verbs; no two trusted keys share a half (K-4), and a passphrase is text in NFC (K-13)."""
    opened, passphrase = bool(options.key or options.passphrase_file or options.verb == "unpack"), None
    need(options.verb == "verify" or options.o, "usage", "unpack needs -o DIR", USAGE)
    trusted = {key.id: key for key in map(read_public, options.trust)}
    halves = [half for key in trusted.values() for half in key.halves.values()]
    need(len(halves) == len(set(halves)), "K-4", "two trusted keys share a half", USAGE)
    if options.passphrase_file:
        with open(options.passphrase_file, encoding="utf-8") as file:
            passphrase = unicodedata.normalize("NFC", file.read(4 * KIB).rstrip("\r\n")).encode()
    private = read_private(options.key, passphrase) if options.key else None
    bundle = Bundle(options.volumes, trusted)
    if opened:
        bundle.open(private, passphrase)
    if options.verb == "unpack":  # everything is written aside, and gets its name when all of it was verified
        need(not os.path.lexists(options.o), "usage", f"{options.o} exists", USAGE)
        with tempfile.TemporaryDirectory(prefix=".ab-", dir=os.path.dirname(os.path.abspath(options.o))) as aside:
            for path in ("", *bundle.manifest["folders"]):
                os.makedirs(os.path.join(aside, "files", path))
            write_files(bundle.stream(opened=True), bundle.manifest["files"], os.path.join(aside, "files"))
            os.rename(os.path.join(aside, "files"), options.o)
        return 0
    write_files(bundle.stream(opened=opened), bundle.manifest["files"] if opened else [], "")
    findings = bundle.findings()
    for line in [*bundle.beyond, *findings, "repairable" if findings else "whole"]:
        say(line)
    return DAMAGED if bundle.beyond else REPAIRABLE if findings else 0

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["verify", "unpack"])
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--trust", action="append", required=True)
    for option in ("-o", "--key", "--passphrase-file"):
        parser.add_argument(option)
    try:
        sys.exit(run(parser.parse_intermixed_args()))
    except Refusal as refusal:
        say("airbundle-reader: {1}: {2}".format(*refusal.args))
        sys.exit(refusal.args[0])
    except (OSError, MemoryError) as error:
        say(f"airbundle-reader: machine: {error}")
        sys.exit(MACHINE)
