"""A reader of airbundle bundles, version 1, written from bundle.md alone; it shares no code with the package.

    python spec/reader.py verify VOLUME... --trust NAME.pub [--key NAME.key] [--passphrase-file FILE]
    python spec/reader.py unpack VOLUME... -o DIR --trust NAME.pub --key NAME.key (or --passphrase-file FILE)

It reads top to bottom like the specification, whose chapters are the headings here; only chapter 11 comes early, and
5.1 behind 7. Each rule that a reader has to enforce is named where it is enforced. It is plain, not fast.
Exit: 0 whole, 2 usage, 3 more volumes needed, 4 damaged, 5 not believed, 8 no key opens it, 9 machine, 11 repairable.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import stat
import struct
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import reedsolo
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

# === 1. Words and notation ===

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAGIC = bytes.fromhex("894142530d0a1a0a")
USAGE, INCOMPLETE, DAMAGED, NOT_BELIEVED, NO_KEY, MACHINE, REPAIRABLE = 2, 3, 4, 5, 8, 9, 11

class Refusal(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """What the reader will not take, by which rule, and the exit code that says so."""

    def __init__(self, rule: str, what: str, code: int = DAMAGED) -> None:
        super().__init__(f"{rule}: {what}")
        self.code = code

def need(holds: object, rule: str, what: str, code: int = DAMAGED) -> None:
    """Refuse unless the rule holds."""
    if not holds:
        raise Refusal(rule, what, code)

def tag(name: str) -> bytes:
    """TAG(name)."""
    return f"airbundle/{name}/v1\0".encode()

def ceil_div(a: int, b: int) -> int:
    """The quotient, rounded up."""
    return -(-a // b)

def shown(text: str) -> str:
    """Text that a terminal may be given (E-4)."""
    return "".join(c if c.isprintable() else "?" for c in text)

# === 2. Suites ===

@dataclass(frozen=True, eq=False)
class Suite:
    """One set of algorithms."""

    number: int
    name: str
    h: int
    hash: Callable[[bytes], bytes]
    kdf: hashes.HashAlgorithm
    hpke: hpke.Suite
    signing: dict[str, int]  # halves for signing and their bytes, in the order of the key id (7.1)
    opening: dict[str, int]
    envelope: int  # bytes of an envelope of type 1 (K-6)

    def expand(self, key: bytes, info: bytes, length: int) -> bytes:
        """HKDF-Expand over the suite's hash for KDFs (7.3)."""
        return HKDFExpand(self.kdf, length, info).derive(key)

STANDARD = Suite(1, "standard", 32, lambda data: blake3(data).digest(), hashes.SHA256(),
                 hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
                 {"ed25519": 32, "mldsa": 1952}, {"mlkem": 1184, "x25519": 32}, 1168)
CNSA2 = Suite(2, "cnsa2", 48, lambda data: hashlib.sha384(data).digest(), hashes.SHA384(),
              hpke.Suite(hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM),
              {"mldsa": 2592}, {"mlkem": 1568}, 1616)
SUITES = {1: STANDARD, 2: CNSA2}

def suite_in(document: bytes) -> Suite:
    """The suite whose name is in the first fields of a document; there is no other (K-1)."""
    for suite in SUITES.values():
        if f'"suite":"{suite.name}"'.encode() in document[:200]:
            return suite
    raise Refusal("K-1", "unknown suite")

# === 11. Encoding ===

SHORT = {ord(c): f"\\{e}" for c, e in zip('"\\\b\t\n\f\r', '"\\btnfr', strict=True)}
ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)} | SHORT
Shape = Any  # a predicate, {field: shape} in order, [shape] for a list, or a tuple of shapes for a row
Check = Callable[[Any], bool]

def encode(value: Any, depth: int = 1) -> str:
    """Canonical JSON (E-1, E-2)."""
    need(depth <= 8, "E-1", "JSON is nested too deep")
    if value is None:
        return "null"
    if type(value) is int:
        need(0 <= value < 1 << 53, "E-1", "an integer is out of range")
        return str(value)
    if isinstance(value, str):
        return f'"{value.translate(ESCAPES)}"'
    if isinstance(value, list):
        return "[" + ",".join(encode(item, depth + 1) for item in value) + "]"
    need(isinstance(value, dict), "E-1", "neither floats nor truth values are in this format")
    return "{" + ",".join(f"{encode(name)}:{encode(item, depth + 1)}" for name, item in value.items()) + "}"

def fits(value: Any, shape: Shape) -> bool:
    """Whether a value has the fields of its table, in order, and values of their kinds (E-1)."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and [*value] == [*shape] and all(fits(value[f], s) for f, s in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, tuple):
        return isinstance(value, list) and len(value) == len(shape) and all(map(fits, value, shape))
    return bool(shape(value))

def decode(data: bytes, shape: Shape, what: str) -> Any:
    """Strict JSON: what was decoded has to encode to the same bytes (E-3)."""
    try:
        value = json.loads(data.decode())
        need(encode(value).encode() == data, "E-3", f"{what} is not canonical JSON")
    except (ValueError, RecursionError):
        raise Refusal("E-3", f"{what} is not JSON") from None
    need(fits(value, shape), "E-1", f"{what} has other fields than its table")
    return value

def is_number(low: int = 0, high: int = (1 << 53) - 1) -> Check:
    """The shape of an integer (E-1)."""
    return lambda value: type(value) is int and low <= value <= high

def is_hex(*lengths: int) -> Check:
    """The shape of so many bytes in lower-case hexadecimal."""
    return lambda value: isinstance(value, str) and any(re.fullmatch(f"[0-9a-f]{{{2 * h}}}", value) for h in lengths)

def is_text(limit: int) -> Check:
    """The shape of any text of so many bytes."""
    return lambda value: isinstance(value, str) and len(value.encode()) <= limit

def is_nfc(text: str) -> bool:
    """Whether text is in Normalization Form C."""
    return unicodedata.is_normalized("NFC", text)

def printable(value: Any) -> bool:
    """The shape of public text (E-4)."""
    return is_text(256)(value) and value.isprintable() and is_nfc(value)

def one_of(*names: str) -> Check:
    """The shape of a name."""
    return lambda value: isinstance(value, str) and value in names

def or_null(shape: Shape) -> Check:
    """The shape of a field that may be null."""
    return lambda value: value is None or fits(value, shape)

def from_base64(text: str, what: str) -> bytes:
    """Base64 with padding, in its one spelling (chapter 9)."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refusal("E-3", f"{what} is not base64") from None
    need(base64.b64encode(data).decode() == text, "E-3", f"{what} is not canonical base64")
    return data

# === 3. Volumes ===

class File(NamedTuple):
    """A regular file of a volume."""

    volume: str
    name: str
    size: int

    def read(self, at: int, length: int) -> bytes:
        """Bytes of the file; what cannot be read is not there (B-4). Links, devices and pipes stay closed (V-1)."""
        data = b""
        try:
            handle = os.open(os.path.join(self.volume, self.name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(handle, "rb", buffering=0) as file:
                if stat.S_ISREG(os.fstat(handle).st_mode):
                    file.seek(at)
                    while len(data) < length and (part := file.read(length - len(data))):
                        data += part
        except OSError:
            pass
        return data

def find_volumes(places: list[str]) -> list[str]:
    """The folders of volumes at or directly in the places given; no link is followed on a medium (V-1)."""
    found = []
    for place in places:
        need(os.path.isdir(place), "V-1", f"{shown(place)} is not a folder", USAGE)
        with os.scandir(place) as entries:
            inner = [e.path for e in entries if e.name.endswith(".airbundle") and e.is_dir(follow_symlinks=False)]
        named = place.rstrip("/").endswith(".airbundle")
        need(named or os.listdir(place), "V-1", f"there is no volume in {shown(place)}", USAGE)
        found += [place] if named or not inner else sorted(inner)
    return [*dict.fromkeys(os.path.realpath(path) for path in found)]

def list_files(volume: str, notes: list[str]) -> list[File]:
    """The regular files of a volume's folder (V-1)."""
    with os.scandir(volume) as entries:
        status = [(entry.name, entry.stat(follow_symlinks=False)) for entry in itertools.islice(entries, 300_001)]
    need(len(status) <= 300_000, "L-6", f"{shown(volume)} has too many entries")
    fine = [File(volume, name, s.st_size) for name, s in status if stat.S_ISREG(s.st_mode) and s.st_size < 4 * GIB]
    names = {file.name for file in fine}
    notes += [f"V-1: {shown(name)} is no regular file of less than 4 GiB" for name, _ in status if name not in names]
    return sorted(fine)

# === 4. Blocks ===

GEOMETRY = struct.Struct("<HBBBBHII16sQ16sQ")  # bytes 56 to 119 of the header, with kind 0
PREAMBLE, LIST, DATA, PARITY = 1, 2, 3, 4

class Geometry(NamedTuple):
    """What all blocks of a segment say alike."""

    version: int
    suite: int
    kind: int
    k: int
    m: int
    zero: int
    T: int
    B: int
    bundle: bytes
    number: int
    salt: bytes
    body: int

    @property
    def payload(self) -> int:
        """P, the bytes of a payload."""
        return self.B - 128

    @property
    def n(self) -> int:
        """Data blocks."""
        return self.body // self.payload

    def check(self) -> None:
        """B-1, B-2, and B-3 as far as the preamble's length is not needed for it."""
        need(self.version == 1 and self.suite in SUITES and self.zero == 0, "K-1", "unknown version or suite")
        need(self.B in {1 << e for e in range(12, 21)}, "B-1", "block size")
        need(0 < self.k <= 128 and 2 <= self.m <= 128 and self.T >= 1, "B-2", "geometry out of range")
        need(self.body > 0 and self.body % self.payload == 0, "B-2", "the body is not whole blocks")
        need(ceil_div(self.n, 128) <= self.T and ceil_div(self.n, self.T) == self.k, "B-2", "k, T and n disagree")
        need((self.n + self.m * self.T) * self.B <= 288 * MIB, "B-3", "the segment is too large")

    def digest(self, kind: int, index: int, content: bytes) -> bytes:
        """The digest of the block with this content."""
        rest = GEOMETRY.pack(*self._replace(kind=kind)) + struct.pack("<II", index, len(content))
        return SUITES[self.suite].hash(rest + content.ljust(self.payload, b"\0"))

class Block(NamedTuple):
    """A block that was found: where, and what it says it is."""

    file: File
    at: int
    geometry: Geometry
    kind: int
    place: int  # its index
    length: int
    digest: bytes

    def payload(self) -> bytes | None:
        """Its payload, if what is read now has its digest (S-7)."""
        data = self.file.read(self.at, self.geometry.B)
        whole = len(data) == self.geometry.B and SUITES[self.geometry.suite].hash(data[56:]) == self.digest
        return data[128 : 128 + self.length] if whole else None

def block_at(file: File, at: int) -> Block | None:
    """The block that begins here, if it is one and whole (B-4)."""
    head = file.read(at, 128)
    if len(head) < 128 or not head.startswith(MAGIC):
        return None
    geometry = Geometry(*GEOMETRY.unpack_from(head, 56))
    kind, geometry = geometry.kind, geometry._replace(kind=0)
    try:
        geometry.check()
    except Refusal:
        return None
    h = SUITES[geometry.suite].h
    place, length = struct.unpack_from("<II", head, 120)
    block = Block(file, at, geometry, kind, place, length, head[8 : 8 + h])
    full = block.length == geometry.payload or (kind in {PREAMBLE, LIST} and block.length < geometry.payload)  # B-7
    if not full or not PREAMBLE <= kind <= PARITY or any(head[8 + h : 56]):
        return None
    payload = block._replace(length=geometry.payload).payload()
    return block if payload is not None and not any(payload[block.length :]) else None  # B-7

def scan(file: File) -> list[Block]:
    """All whole blocks of a file, whatever its name (V-2); nothing behind the largest segment has meaning (S-9)."""
    blocks, at = [], 0
    while at < min(file.size, 288 * MIB):
        block = block_at(file, at)
        blocks += [block] if block else []
        at += block.geometry.B if block else 4 * KIB
    return blocks

# === 5. Segments ===

Found = dict[tuple[Geometry, int, int], list[Block]]  # whole blocks by geometry, kind and index
Codeword = dict[int, bytes | None]  # payloads by column or by row; None is lost, columns not named are zeros (S-1)

def field_tables() -> tuple[list[int], list[int]]:
    """Powers of 2 and logarithms in GF(2^8) with the polynomial 0x11D (S-4)."""
    power, log, value = [], [0] * 256, 1
    for exponent in range(255):
        power.append(value)
        log[value] = exponent
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return power, log

POWER, LOG = field_tables()

def multiply(a: int, b: int) -> int:
    """The product in the field."""
    return POWER[(LOG[a] + LOG[b]) % 255] if a and b else 0

def inverse(a: int) -> int:
    """The inverse in the field."""
    return POWER[-LOG[a] % 255]

@cache
def times(factor: int) -> bytes:
    """The table that multiplies a byte by the factor."""
    return bytes(multiply(factor, value) for value in range(256))

def combine(terms: Iterable[tuple[int, bytes]], size: int) -> bytes:
    """The sum of factor times row, position by position."""
    total = 0
    for factor, row in terms:
        total ^= int.from_bytes(row.translate(times(factor)), "little")
    return total.to_bytes(size, "little")

def invert(matrix: list[list[int]]) -> list[list[int]]:
    """The inverse matrix, by Gauss and Jordan."""
    size = len(matrix)
    work = [[*line, *(int(i == j) for j in range(size))] for i, line in enumerate(matrix)]
    for i in range(size):
        pivot = next(j for j in range(i, size) if work[j][i])
        work[i], work[pivot] = work[pivot], work[i]
        work[i] = [multiply(inverse(work[i][i]), value) for value in work[i]]
        for j in range(size):
            if j != i and (factor := work[j][i]):
                work[j] = [value ^ multiply(factor, above) for value, above in zip(work[j], work[i], strict=True)]
    return [line[size:] for line in work]

def parity_of(k: int, row: int, data: Codeword, size: int) -> bytes:
    """What the known columns add to a parity row (S-4, G-7)."""
    return combine(((inverse((k + row) ^ c), payload) for c, payload in data.items() if payload is not None), size)

def restore(k: int, data: Codeword, parity: Codeword, size: int) -> bool:
    """Fill in what is lost of one codeword of the inner or outer code, if as many parity rows are there (S-4, G-7)."""
    lost = [column for column, payload in data.items() if payload is None]
    rows = [(row, payload) for row, payload in parity.items() if payload is not None][: len(lost)]
    if len(rows) < len(lost):
        return False
    sums = [combine([(1, payload), (1, parity_of(k, row, data, size))], size) for row, payload in rows]
    solution = invert([[inverse((k + row) ^ column) for column in lost] for row, _ in rows])
    for column, factors in zip(lost, solution, strict=True):
        data[column] = combine(zip(factors, sums, strict=True), size)
    parity |= {row: parity_of(k, row, data, size) for row, payload in parity.items() if payload is None}
    return True

class Segment:
    """A segment: what is signed of it, and where its data and parity blocks are to be had."""

    def __init__(self, row: list[Any], suite: Suite, bundle: bytes, preamble: dict[str, Any], found: Found) -> None:
        """The geometry is the one of the row (B-5); its limits are checked before anything is allocated (B-3)."""
        self.number, self.role, _, _, self.volume, k, m, T, B, body, salt, root = row  # noqa: N806 - names of the spec
        self.suite, self.found, self.root = suite, found, bytes.fromhex(root)
        self.geometry = Geometry(1, suite.number, 0, k, m, 0, T, B, bundle, self.number, bytes.fromhex(salt), body)
        self.geometry.check()
        self.preamble_length, self.preamble_hash = preamble["length"], bytes.fromhex(preamble["hash"])
        self.n, self.total, self.P = self.geometry.n, self.geometry.n + m * T, self.geometry.payload
        ends = [(PREAMBLE, ceil_div(self.preamble_length, self.P)), (LIST, ceil_div(suite.h * self.total, self.P))]
        row_of_blocks = [*ends, (DATA, self.n), (PARITY, m * T), *reversed(ends)]
        self.size = B * sum(count for _, count in row_of_blocks)
        need(self.size <= 288 * MIB, "B-3", "the segment is too large")
        self.slots = [(kind, index) for kind, count in row_of_blocks for index in range(count)]
        self.guesses: Codeword = {}  # data blocks from the outer code, of a segment without a list (G-9)
        self.leaves = self.find_leaves()
        self.places: list[Block | bytes | None] = [None] * self.total
        if self.leaves:  # a block is what its digest, as a leaf of the signed list, says it is (S-7)
            for i, leaf in enumerate(self.leaves):
                self.places[i] = next((block for block in self.own(i) if block.digest == leaf), None)

    def slot(self, i: int) -> tuple[int, int]:
        """Kind and index of leaf i (S-5)."""
        return (DATA, i) if i < self.n else (PARITY, i - self.n)

    def own(self, i: int) -> list[Block]:
        """Blocks that say they are the one of leaf i, with the geometry of the row (B-5)."""
        return self.found.get((self.geometry, *self.slot(i)), [])

    def bears_out(self, leaves: bytes) -> bool:
        """S-6."""
        head = tag("root") + GEOMETRY.pack(*self.geometry) + self.preamble_hash + struct.pack("<I", self.total)
        return self.suite.hash(head + leaves) == self.root

    def find_leaves(self) -> list[bytes] | None:
        """The list of the signed root: from its copies, mixed block by block, or from the blocks themselves (S-7)."""
        h, unknown = self.suite.h, b""
        own = [next((block.digest for block in self.own(i)), unknown) for i in range(self.total)]
        options = self.pages(LIST, h * self.total)
        for index, page in enumerate(options):
            low, high = index * self.P, min((index + 1) * self.P, h * self.total)
            digests = own[low // h : ceil_div(high, h)]
            if unknown not in digests:
                page.append(b"".join(digests)[low % h :][: high - low])
        leaves = assemble(options, self.bears_out)
        return None if leaves is None else [leaves[at : at + h] for at in range(0, len(leaves), h)]

    def pages(self, kind: int, length: int) -> list[list[bytes]]:
        """For each block of a list or a preamble of this length, the payloads that were found."""
        options: list[list[bytes]] = []
        for index in range(ceil_div(length, self.P)):
            blocks = self.found.get((self.geometry, kind, index), [])
            right = {block.digest: block for block in blocks if block.length == min(self.P, length - index * self.P)}
            payloads = (block.payload() for block in right.values())
            options.append([payload for payload in payloads if payload is not None])
        return options

    def payload(self, i: int) -> bytes | None:
        """The payload of leaf i, read and checked again; None if it is lost."""
        place = self.places[i]
        if isinstance(place, Block):
            place = place.payload()
            self.places[i] = self.places[i] if place is not None else None
        return place

    def accept(self, i: int, payload: bytes | None) -> None:
        """Keep a block that was recovered, if it is the one that was signed (S-8)."""
        if self.leaves and self.places[i] is None and payload is not None:
            self.places[i] = payload if self.geometry.digest(*self.slot(i), payload) == self.leaves[i] else None

    def lost(self) -> list[int]:
        """Data blocks that are not to be had."""
        return [i for i in range(self.n) if self.places[i] is None]

    def stripe(self, payloads: Callable[[int], bytes | None], s: int) -> Codeword:
        """One stripe by the inner code: its payloads by leaf, restored where that can be done (S-1, S-2)."""
        k, m, T = self.geometry.k, self.geometry.m, self.geometry.T  # noqa: N806 - names of the spec
        columns = {i // T: i for i in range(s, self.n, T)}
        rows = {j // T: self.n + j for j in range((s - self.n) % T, m * T, T)}
        data, parity = {c: payloads(i) for c, i in columns.items()}, {r: payloads(i) for r, i in rows.items()}
        restore(k, data, parity, self.P)
        return {i: data[c] for c, i in columns.items()} | {i: parity[r] for r, i in rows.items()}

    def inner(self) -> None:
        """The inner code, over each stripe with a loss."""
        if self.leaves is None:
            self.rebuild()
        for s in {i % self.geometry.T for i in self.lost()} if self.leaves else ():
            for i, payload in self.stripe(self.payload, s).items():
                self.accept(i, payload)

    def rebuild(self) -> None:
        """Without a list: from what the outer code gave and the segment's own blocks, believed by the root (G-9)."""
        own = {i: next((block.payload() for block in self.own(i)), None) for i in range(self.total)}
        known = own | self.guesses
        for s in range(self.geometry.T):
            known |= self.stripe(known.get, s)
        payloads = [payload for i in range(self.total) if (payload := known[i]) is not None]
        leaves = [self.geometry.digest(*self.slot(i), payload) for i, payload in enumerate(payloads)]
        if len(leaves) == self.total and self.bears_out(b"".join(leaves)):
            self.leaves, self.places = leaves, [*payloads]

    def body(self) -> bytes:
        """The payloads of the data blocks, end to end (5.1)."""
        payloads = [self.payload(i) or b"" for i in range(self.n)]
        need(all(payloads), "B-4", f"segment {self.number} changed while it was read")
        return b"".join(payloads)

    def wrong_blocks(self, blocks: list[Block], preamble: bytes) -> tuple[int, int]:
        """How many blocks of a file are not what was signed, and how many of those are altered (B-6)."""
        here = {block.at // self.geometry.B: block for block in blocks}
        pages = {LIST: b"".join(self.leaves or []), PREAMBLE: preamble}
        wrong = altered = 0
        for position, (kind, index) in enumerate(self.slots):
            block = here.get(position)
            if kind in pages:
                right = self.geometry.digest(kind, index, pages[kind][index * self.P : (index + 1) * self.P])
            else:
                right = self.leaves[index + self.n * (kind == PARITY)] if self.leaves else b""
            same = block and block[2:5] == (self.geometry, kind, index)
            wrong += not (block and same and block.digest == right)
            altered += bool(block and same and block.digest != right)
        return wrong, altered

def assemble(options: list[list[bytes]], right: Callable[[bytes], bool]) -> bytes | None:
    """The combination that is right, of at most 64 (S-7)."""
    joined = (b"".join(parts) for parts in itertools.islice(itertools.product(*options), 64))
    return next((whole for whole in joined if right(whole)), None)

# === 5.2 Groups ===

def repair(k: int, members: list[Segment]) -> None:
    """Outer and inner code in turns, until nothing changes (G-9)."""
    before = -1
    while (lost := sum(len(member.lost()) for member in members)) not in {0, before}:
        before = lost
        outer(k, members)
        for member in members:
            if member.lost():
                member.inner()

def outer(k: int, members: list[Segment]) -> None:
    """Block i of each member is one codeword; what is behind a member's end counts as zeros (G-7)."""
    for i in range(max(member.n for member in members)):
        lacking = [s for s in members if i < s.n and (s.leaves is None or s.places[i] is None)]
        if lacking and len(lacking) <= len(members) - k:
            payloads = [None if s in lacking or i >= s.n else s.payload(i) for s in members]
            data: Codeword = {c: payloads[c] for c, s in enumerate(members[:k]) if i < s.n}
            parity: Codeword = dict(enumerate(payloads[k:]))
            if restore(k, data, parity, members[0].P):
                for position, member in enumerate(members):
                    if member in lacking:
                        payload = data[position] if position < k else parity[position - k]
                        member.guesses |= {} if member.leaves else {i: payload}
                        member.accept(i, payload)

# === 6. Codecs ===

def expand_zstd(frame: bytes, size: int) -> bytes:
    """One zstd frame of known content; its header and the row of its blocks are checked before it is expanded (C-2)."""
    try:
        about, at, last = zstandard.get_frame_parameters(frame), zstandard.frame_header_size(frame), 0
        need(frame.startswith(b"\x28\xb5\x2f\xfd") and about.dict_id == 0, "C-2", "not a frame, or it has a dictionary")
        need(about.content_size == size and about.window_size <= MIB, "C-2", "a frame's content or window")
        while not last:
            need(at + 3 <= len(frame), "C-2", "a frame is cut short")
            head = int.from_bytes(frame[at : at + 3], "little")
            last, kind = head & 1, head >> 1 & 3
            at += 3 + (1 if kind == 1 else head >> 3)  # a run of one byte stores that byte only
        need(at + 4 * about.has_checksum == len(frame), "C-2", "not one whole frame")
        content = zstandard.ZstdDecompressor(max_window_size=MIB).decompress(frame, max_output_size=size)
    except zstandard.ZstdError:
        raise Refusal("C-2", "a frame does not expand") from None
    need(len(content) == size, "C-2", "a frame expands to another length")
    return content

def expand_planes(packed: bytes, length: int, w: int) -> bytes:
    """Byte planes of words of w bytes, each rotated left by one bit."""
    at = 1 + 4 * w
    need(len(packed) >= at, "C-3", "packed planes are cut short")
    phase, stored = packed[0], struct.unpack_from(f"<{w}I", packed, 1)
    count, rest = divmod(length - phase, w)
    need(phase < min(w, length + 1) and max(stored) <= count, "C-3", "phase or length of planes")
    need(at + phase + sum(stored) + rest == len(packed), "C-3", "the lengths of planes do not add up")
    head, at, planes = packed[at : at + phase], at + phase, []
    for size in stored:
        plane = packed[at : at + size]
        planes.append(plane if size == count else expand_zstd(plane, count))
        at += size
    right, carry = bytes(b >> 1 for b in range(256)), bytes((b & 1) << 7 for b in range(256))
    words = bytearray(count * w)
    for i in range(w):  # plane 0 is the most significant byte, and its sign came from the bottom of the last plane
        both = [(1, planes[i].translate(right)), (1, planes[i - 1].translate(carry))]
        words[w - 1 - i :: w] = combine(both, count)
    return head + bytes(words) + packed[at:]

def expand(codec: str, packed: bytes, length: int) -> bytes:
    """A chunk from its packed form, after its seal was opened (C-1)."""
    if codec == "zstd":
        return expand_zstd(packed, length)
    if codec != "raw":
        return expand_planes(packed, length, {"planes-2": 2, "planes-4": 4}[codec])
    need(len(packed) == length, "C-3", "a raw chunk of another length")
    return packed

# === 7. Keys and seals ===

PRIME = (1 << 255) - 19

def has_small_order(u: int) -> bool:
    """Whether 8 times this point of Curve25519 is zero: X25519 multiplies by multiples of 8 only, and says so."""
    try:
        point = x25519.X25519PublicKey.from_public_bytes(u.to_bytes(32, "little"))
        x25519.X25519PrivateKey.generate().exchange(point)
    except ValueError:
        return True
    return False

class PublicKey(NamedTuple):
    """An identity's public halves and their key id."""

    suite: Suite
    halves: dict[str, bytes]
    id: bytes

    def check(self) -> None:
        """K-3: one spelling of each key, and no point of small order."""
        vector = self.halves["mlkem"][:-32]  # numbers of 12 bits, two in three bytes
        pairs = (int.from_bytes(vector[at : at + 3], "little") for at in range(0, len(vector), 3))
        need(all(pair & 0xFFF < 3329 > pair >> 12 for pair in pairs), "K-3", "an ML-KEM key is not canonical", USAGE)
        if self.suite is STANDARD:
            y = int.from_bytes(self.halves["ed25519"], "little") % (1 << 255)
            u = int.from_bytes(self.halves["x25519"], "little")
            need(max(u, y) < PRIME, "K-3", "a key is not canonical", USAGE)
            of_y = (1 + y) * pow(1 - y, -1, PRIME) % PRIME if y != 1 else 0  # the same point on Curve25519 (RFC 7748)
            need(not any(map(has_small_order, (u, of_y))), "K-3", "a key has small order", USAGE)

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature holds, every part of it (T-2)."""
        context = b"airbundle/sig/v1"
        try:
            if self.suite is STANDARD:
                ed25519.Ed25519PublicKey.from_public_bytes(self.halves["ed25519"]).verify(signature[:64], message)
                mldsa.MLDSA65PublicKey.from_public_bytes(self.halves["mldsa"]).verify(signature[64:], message, context)
            else:
                mldsa.MLDSA87PublicKey.from_public_bytes(self.halves["mldsa"]).verify(signature, message, context)
        except (InvalidSignature, ValueError):
            return False
        return True

def read_key_file(path: str, kind: str, fields: Callable[[Suite], dict[str, Shape]]) -> tuple[Suite, dict[str, Any]]:
    """A key file: canonical JSON of the common fields and those of its kind."""
    with open(path, "rb") as file:
        data = file.read(64 * KIB)
    suite = suite_in(data)
    common = {"kind": one_of(kind), "version": is_number(1, 1), "suite": one_of(suite.name), "name": printable}
    return suite, decode(data, common | fields(suite), shown(path))

def public_fields(suite: Suite) -> dict[str, Shape]:
    """The fields of NAME.pub behind the common ones; the halves are in base64."""
    return dict.fromkeys(suite.signing | suite.opening, is_text(4 * KIB)) | {"id": is_hex(suite.h)}

def read_public(path: str) -> PublicKey:
    """NAME.pub."""
    suite, value = read_key_file(path, "airbundle public key", public_fields)
    lengths = suite.signing | suite.opening
    halves = {name: from_base64(value[name], name) for name in lengths}
    need({name: len(half) for name, half in halves.items()} == lengths, "K-3", f"{shown(path)}: length of a key", USAGE)
    key = PublicKey(suite, halves, suite.hash(tag("key") + bytes([suite.number]) + b"".join(halves.values())))
    need(key.id.hex() == value["id"], "K-3", f"{shown(path)} has another key id", USAGE)
    key.check()
    return key

def read_trusted(paths: list[str]) -> dict[str, PublicKey]:
    """The keys that are believed, by key id; no two share a half (K-4)."""
    keys = {key.id.hex(): key for key in map(read_public, paths)}
    halves = Counter(half for key in keys.values() for half in key.halves.values())
    need(all(count == 1 for count in halves.values()), "K-4", "two trusted keys share a half", USAGE)
    return keys

def argon2id(passphrase: bytes, memory: int, iterations: int, lanes: int, salt: bytes) -> bytes:
    """RFC 9106, with its cost bounded before anything is allocated (K-14)."""
    bounded = 1 <= lanes <= 16 and 1 <= iterations <= 16 and 8 * lanes <= memory <= 512 * KIB
    need(bounded, "K-14", "the cost of Argon2id is out of range")
    return Argon2id(salt=salt, length=32, iterations=iterations, lanes=lanes, memory_cost=memory).derive(passphrase)

def unseal(key: bytes, nonce: bytes, sealed: bytes, aad: bytes | None = None) -> bytes | None:
    """AES-256-GCM."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        return None

class PrivateKey(NamedTuple):
    """What opens envelopes to one identity."""

    suite: Suite
    id: bytes
    key: Any

def private_fields(suite: Suite) -> dict[str, Shape]:
    """The fields of NAME.key behind the common ones; salt and seeds are in base64."""
    cost = dict.fromkeys(("memory", "iterations", "lanes"), is_number())
    ends = {"salt": is_text(64), "seeds": is_text(KIB), "check": is_hex(suite.h)}
    return {"id": is_hex(suite.h), "protection": one_of("none", "argon2id")} | cost | ends

def read_private(path: str, passphrase: bytes | None) -> PrivateKey:
    """NAME.key: the seeds of all halves in their order; an ML-KEM seed has 64 bytes, the others 32."""
    suite, value = read_key_file(path, "airbundle private key", private_fields)
    check = suite.hash(tag("keyfile") + encode(value | {"check": ""}).encode()).hex()
    need(check == value["check"], "K-3", f"{shown(path)} is damaged", USAGE)
    seeds = from_base64(value["seeds"], "seeds")
    if value["protection"] == "argon2id":
        need(passphrase is not None, "K-3", f"{shown(path)} needs its passphrase", NO_KEY)
        cost = value["memory"], value["iterations"], value["lanes"]
        stretched = argon2id(passphrase or b"", *cost, from_base64(value["salt"], "salt"))
        seeds = unseal(stretched, bytes(12), seeds, encode(value | {"seeds": "", "check": ""}).encode()) or b""
    need(len(seeds) == (160 if suite is STANDARD else 96), "K-3", f"{shown(path)} does not open", NO_KEY)
    if suite is CNSA2:
        return PrivateKey(suite, bytes.fromhex(value["id"]), mlkem.MLKEM1024PrivateKey.from_seed_bytes(seeds[32:]))
    kem, curve = mlkem.MLKEM768PrivateKey.from_seed_bytes(seeds[64:128]), x25519.X25519PrivateKey
    both = hpke.MLKEM768X25519PrivateKey(kem, curve.from_private_bytes(seeds[128:]))
    return PrivateKey(suite, bytes.fromhex(value["id"]), both)

class Preamble(NamedTuple):
    """Suite, ids, commitment, and the envelopes: type, recipient, content (7.2)."""

    suite: Suite
    bundle: bytes
    packer: bytes
    commitment: bytes
    envelopes: list[tuple[int, bytes, bytes]]

    @property
    def context(self) -> bytes:
        """The context of 7.3."""
        return bytes([self.suite.number]) + self.bundle + self.packer

def parse_preamble(data: bytes, suite: Suite) -> Preamble:
    """K-6, K-12."""
    h, envelopes, at = suite.h, [], 20 + 2 * suite.h
    need(at <= len(data) <= 128 * KIB and data[0] == suite.number and data[2:4] == b"\0\0", "K-6", "preamble")
    for _ in range(data[1]):
        need(at + 4 + h <= len(data), "K-6", "an envelope is cut short")
        kind, zero, length = struct.unpack_from("<BBH", data, at)
        need((kind, length) in {(1, suite.envelope), (2, 76)} and not zero, "K-6", "unknown kind of envelope")
        envelopes.append((kind, data[at + 4 : at + 4 + h], data[at + 4 + h : at + 4 + h + length]))
        at += 4 + h + length
    need(at == len(data) and 1 <= len(envelopes) <= 64, "K-6", "the preamble has another length")
    need(len({recipient for _, recipient, _ in envelopes}) == len(envelopes), "K-6", "a recipient stands twice")
    if any(kind == 2 for kind, _, _ in envelopes):
        alone = len(envelopes) == 1 and suite is STANDARD and not any(envelopes[0][1])
        need(alone, "K-12", "a passphrase beside other envelopes, in another suite, or with a recipient")
    return Preamble(suite, data[4:20], data[20 : 20 + h], data[20 + h : 20 + 2 * h], envelopes)

def open_envelope(preamble: Preamble, private: PrivateKey | None, passphrase: bytes | None) -> bytes:
    """The bundle key. Whoever calls has checked signature and preamble hash before (K-15)."""
    key = None
    for kind, recipient, content in preamble.envelopes:
        if kind == 1 and private and (private.suite, private.id) == (preamble.suite, recipient):
            try:
                key = preamble.suite.hpke.decrypt(content, private.key, tag("envelope") + preamble.context)  # K-5
            except (InvalidTag, ValueError):
                raise Refusal("K-5", "the envelope to this key does not open", NO_KEY) from None
        if kind == 2 and passphrase is not None:  # K-13
            memory, iterations, lanes = struct.unpack_from("<III", content)
            stretched = argon2id(passphrase, memory, iterations, lanes, content[12:28])
            wrapping = preamble.suite.expand(stretched, tag("passphrase") + preamble.context, 32)
            key = unseal(wrapping, bytes(12), content[28:])
    if key is None:
        raise Refusal("K-5", "no key or passphrase given opens this bundle", NO_KEY)
    commitment = preamble.suite.expand(key, tag("commit") + preamble.context, preamble.suite.h)
    need(commitment == preamble.commitment, "K-8", "the bundle key is not the committed one", NOT_BELIEVED)
    return key

def object_key(preamble: Preamble, bundle_key: bytes, segment: Segment) -> AESGCM:
    """K-9."""
    info = tag("seal") + preamble.context + struct.pack("<Q", segment.number) + segment.geometry.salt
    return AESGCM(preamble.suite.expand(bundle_key, info, 32))

def open_part(key: AESGCM, counter: int, sealed: bytes, what: str, *, last: bool = False) -> bytes:
    """One sealed part of a segment (5.1) or of the manifest (8)."""
    try:
        return key.decrypt(counter.to_bytes(11, "big") + bytes([last]), sealed, None)
    except InvalidTag:
        raise Refusal("S-10", f"{what} does not open") from None

# === 5.1 Body of a data segment ===

CODECS = one_of("raw", "zstd", "planes-2", "planes-4", "filler")
CHUNK = (is_number(0, MIB), is_number(0, 288 * MIB), CODECS, is_hex(32, 48))
INDEX = {"start": is_number(), "length": is_number(0, 256 * MIB), "chunks": [CHUNK],
         "files": [(is_text(KIB), is_number(), is_number())]}

def read_body(segment: Segment, key: AESGCM, start: int, length: int, files: list[list[Any]]) -> Iterator[bytes]:
    """The chunks of a slice; the manifest says which slice and files (G-5)."""
    body, what = segment.body(), f"segment {segment.number}"
    trailer = open_part(key, 0, body[-48:], what, last=True)
    place, size, count, zeros = struct.unpack("<QQI12s", trailer)
    need(not any(zeros) and place <= len(body) - 48 and count <= 65_536, "S-11", f"trailer of {what}")
    need(16 < len(body) - 48 - place <= 32 * MIB + MIB and size <= 32 * MIB, "L-1", f"index of {what} is too long")
    plain = open_part(key, count, body[place:-48], what)
    need(size <= len(plain) and not any(plain[size:]), "S-12", f"index of {what}")
    index = decode(plain[:size], INDEX, f"index of {what}")
    chunks = index["chunks"]
    need(len(chunks) == count and len(index["files"]) <= 65_536, "S-15", f"{what} has too many chunks or files")
    need([index["start"], index["length"], index["files"]] == [start, length, files], "G-5", f"slice of {what}")
    sums = [sum(row[column] for row in chunks) for column in (0, 1)]
    need(sums == [length, place], "S-13", f"lengths of the chunks of {what}")
    at = 0
    for counter, (plain_length, sealed_length, codec, digest) in enumerate(chunks):
        need((plain_length == 0) == (codec == "filler"), "S-14", f"length of a chunk of {what}")
        if codec != "filler":
            packed = open_part(key, counter, body[at : at + sealed_length], what)
            chunk = expand(codec, packed, plain_length)
            need(segment.suite.hash(chunk).hex() == digest, "S-13", f"digest of a chunk of {what}")
            yield chunk
        at += sealed_length

# === 8. Catalog ===

def row_shape(h: int) -> Shape:
    """The shape of a row of the table: number, role, group, position, volume, k, m, T, B, body length, salt, root."""
    place = is_number(0, 262_144), one_of("data", "parity", "catalog"), is_number(), is_number(0, 127), is_number()
    code = is_number(1, 128), is_number(2, 128), is_number(1, 288 * MIB), is_number(4 * KIB, MIB)
    return (*place, *code, is_number(1, 288 * MIB), is_hex(16), is_hex(h))

def parse_table(data: bytes, statement: Statement) -> list[list[list[Any]]]:
    """The rows of each group, data before parity."""
    rows = decode(data, {"rows": [row_shape(statement.suite.h)]}, "table")["rows"]
    need(len(rows) <= 262_144, "L-2", "too many rows")
    need([row[0] for row in rows] == [*range(statement.value["catalog"][0])], "G-1", "numbers of segments")
    need(all(row[1] != "catalog" and row[4] >= 1 for row in rows), "G-1", "role or volume of a row")
    places = [row[1:4] for row in rows]
    need(places == sorted(places), "G-1", "data and parity, groups or positions are not in order (G-6)")
    groups: dict[int, list[list[Any]]] = defaultdict(list)
    for row in rows:
        groups[row[2]].append(row)
    need([*groups] == [*range(len(groups))], "G-6", "numbers of groups")
    for members in groups.values():
        need([row[3] for row in members] == [*range(len(members))], "G-6", "positions in a group")
        need(len(members) <= 128, "G-6", "too many members of a group")
        need({row[1] for row in members} == {"data", "parity"}, "G-6", "a group lacks data or parity")
        longest = max(row[9] for row in members if row[1] == "data")
        need(all(row[9] == longest for row in members if row[1] == "parity"), "G-6", "length of parity")
        need(len({row[8] for row in members}) == 1, "G-6", "block sizes in a group")
    return [*groups.values()]

def split_catalog(body: bytes) -> tuple[bytes, bytes]:
    """Table and sealed manifest."""
    parts, at = [], 0
    for limit, rule in ((64 * MIB, "L-2"), (128 * MIB + 16 * 129, "L-3")):
        length = int.from_bytes(body[at : at + 8], "little")
        need(length <= min(limit, len(body) - at - 8), rule, "a part of the catalog is too long")
        parts.append(body[at + 8 : at + 8 + length])
        at += 8 + length
    need(not any(body[at:]), "G-2", "bytes behind the manifest are not zero")
    return parts[0], parts[1]

def manifest_shape(h: int) -> Shape:
    """The fields of the manifest."""
    return {"bundle": is_hex(16), "packer": is_hex(h), "recipients": [is_hex(h)],
            "series": or_null(printable), "sequence": or_null(is_number()), "meta": [(is_text(256), is_text(4096))],
            "segments": [(is_number(), is_number(), is_number(0, 256 * MIB))],
            "files": [(is_text(1024), is_number(), is_hex(32))], "folders": [is_text(1024)]}

def open_manifest(sealed: bytes, key: AESGCM, statement: Statement, preamble: Preamble) -> dict[str, Any]:
    """The manifest, opened piece by piece and compared with statement and preamble (G-4)."""
    step = MIB + 16
    count = max(1, ceil_div(len(sealed), step))
    parts = [sealed[at : at + step] for at in range(0, count * step, step)]
    pieces = [open_part(key, i, part, "manifest", last=i == count - 1) for i, part in enumerate(parts)]
    need(count == 1 or pieces[-1], "G-4", "an empty piece of the manifest")
    value: dict[str, Any] = decode(b"".join(pieces), manifest_shape(statement.suite.h), "manifest")
    alike = all(value[f] == statement.value[f] for f in ("bundle", "packer", "series", "sequence"))
    recipients = [recipient.hex() for kind, recipient, _ in preamble.envelopes if kind == 1]
    need(alike and value["recipients"] == recipients, "G-4", "the manifest is another bundle's", NOT_BELIEVED)
    keys = [pair[0] for pair in value["meta"]]
    need(len(keys) <= 256 and keys == sorted(set(keys), key=str.encode), "L-4", "notes are too many or not in order")
    need(max(len(value["files"]), len(value["folders"])) <= 524_288, "L-3", "too many files or folders")
    check_paths([row[0] for row in value["files"]], value["folders"])
    return value

# === 9. Statement ===

PAYLOAD_TYPE = "application/vnd.airbundle.statement.v1+json"
ENVELOPE = {"payload": is_text(95 * KIB), "payloadType": is_text(256),
            "signatures": [{"keyid": is_hex(32, 48), "sig": is_text(8 * KIB)}]}

class Statement(NamedTuple):
    """A statement's payload, and its signatures by key id."""

    payload: bytes
    value: dict[str, Any]
    suite: Suite
    signatures: dict[str, bytes]

    @property
    def bundle(self) -> bytes:
        """The bundle's id."""
        return bytes.fromhex(self.value["bundle"])

def statement_shape(suite: Suite) -> Shape:
    """The fields of the payload; public text is printable (E-4)."""
    h = suite.h
    preamble = {"length": is_number(1, 128 * KIB), "hash": is_hex(h)}
    volume = {"number": is_number(1, 64), "name": printable, "size": is_number(), "serial": or_null(printable)}
    return {"airbundle": is_number(1, 1), "bundle": is_hex(16), "suite": one_of(suite.name), "packer": is_hex(h),
            "revision": is_number(), "created": is_number(), "expires": or_null(is_number()),
            "series": or_null(printable), "sequence": or_null(is_number()), "label": printable, "marking": printable,
            "preamble": preamble, "envelopes": preamble, "catalog": row_shape(h), "volumes": [volume],
            "lose": is_number(0, 63), "base": or_null(one_of()), "writer": printable}

def parse_envelope(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Payload and signatures by key id, by DSSE; the type is checked before the payload is decoded (T-1)."""
    need(len(data) <= 95 * KIB, "T-5", "a statement is too long")
    envelope = decode(data, ENVELOPE, "statement")
    need(envelope["payloadType"] == PAYLOAD_TYPE, "T-1", "another payload type")
    payload = from_base64(envelope["payload"], "payload")
    need(len(payload) <= 16 * KIB, "L-5", "a payload is too long")
    signatures = {entry["keyid"]: from_base64(entry["sig"], "signature") for entry in envelope["signatures"]}
    need(1 <= len(envelope["signatures"]) == len(signatures) <= 10, "T-5", "signatures are too many, or two of one key")
    return payload, signatures

def parse_statement(data: bytes) -> Statement:
    """A copy of the statement. Nothing of it is believed yet (T-1)."""
    try:
        payload, signatures = parse_envelope(data)
    except Refusal as refusal:
        raise Refusal("T-1", f"no statement: {refusal}", NOT_BELIEVED) from None
    suite = suite_in(payload)
    value = decode(payload, statement_shape(suite), "payload of a statement")
    need((value["series"] is None) == (value["sequence"] is None), "E-1", "series and sequence")
    volumes = [volume["number"] for volume in value["volumes"]]
    need(1 <= len(volumes) <= 64 and volumes == [*range(1, len(volumes) + 1)], "T-5", "numbers of volumes")
    need(value["lose"] < len(volumes), "T-6", "more volumes may be lost than there are")
    need(value["catalog"][1:5] == ["catalog", 0, 0, 0], "G-1", "the catalog's row")
    need(value["revision"] or value["preamble"] == value["envelopes"], "G-10", "preambles of revision 0")
    return Statement(payload, value, suite, signatures)

def valid_signatures(statement: Statement, trusted: dict[str, PublicKey], notes: list[str]) -> dict[str, bytes]:
    """The signatures that hold and are by trusted keys (T-2, T-3), of the statement's suite (K-11)."""
    valid: dict[str, bytes] = {}
    packer = trusted.get(statement.value["packer"])
    if packer and packer.suite is not statement.suite:
        notes.append("K-11: a statement is of another suite than its packer")
        return valid
    pae = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(statement.payload)} ".encode() + statement.payload
    for keyid, signature in statement.signatures.items():
        key = trusted.get(keyid)
        message = b"airbundle/sig/v1" + bytes([statement.suite.number]) + bytes.fromhex(keyid) + pae
        if key and key.suite is not statement.suite:
            notes.append(f"K-11: the signature by {keyid[:32]} is of another suite and counts for nothing")
        elif key and key.signed(signature, message):
            valid[keyid] = signature
        else:
            notes.append(f"T-3: the signature by {keyid[:32]} {'fails' if key else 'is by a stranger'}")
    return valid

# === 10. Records ===

COLUMNS, COPY, RECORD = 513, 128 * KIB, 384 * KIB
CODE = reedsolo.RSCodec(64, nsize=255, fcr=0, prim=0x11D, generator=2)
FRAME = struct.Struct("<8s48sHBBI")

def frame_content(frame: bytes) -> bytes | None:
    """The content of a frame whose digest is right (R-3)."""
    magic, digest, version, suite, kind, length = FRAME.unpack_from(frame)
    if (magic, version, kind) != (MAGIC, 1, 5) or suite not in SUITES or length > 95 * KIB:
        return None
    right = SUITES[suite].hash(frame[56:]).ljust(48, b"\0") == digest
    return frame[64 : 64 + length] if right and not any(frame[64 + length :]) else None

def read_record(data: bytes) -> bytes | None:
    """The content of a record: by digest of a copy, else by the code, column by column over the copies (R-2)."""
    copies = [data[at : at + 255 * COLUMNS].ljust(255 * COLUMNS, b"\0") for at in range(0, RECORD, COPY)]
    copies.append(bytes(sorted(three)[1] for three in zip(*copies, strict=True)))  # the byte that two of three have
    content = next((c for copy in copies if (c := frame_content(copy[: 191 * COLUMNS])) is not None), None)
    if content is not None or not any(data):
        return content
    frame = bytearray(191 * COLUMNS)
    for column in range(COLUMNS):
        for copy in copies:
            try:
                frame[column::COLUMNS] = CODE.decode(copy[column::COLUMNS])[0]
                break
            except reedsolo.ReedSolomonError:
                continue
    return frame_content(bytes(frame))

@cache
def make_record(content: bytes, suite: Suite) -> bytes:
    """The exact encoding (T-8)."""
    rest = (struct.pack("<HBBI", 1, suite.number, 5, len(content)) + content).ljust(191 * COLUMNS - 56, b"\0")
    frame = MAGIC + suite.hash(rest).ljust(48, b"\0") + rest
    copy = bytearray(255 * COLUMNS)
    for column in range(COLUMNS):
        copy[column::COLUMNS] = CODE.encode(frame[column::COLUMNS])
    return bytes(copy).ljust(COPY, b"\0") * 3

# === 12. Paths ===

TURNING = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # change direction
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[1-9\xb9\xb2\xb3])", re.IGNORECASE)

def check_paths(files: list[str], folders: list[str]) -> None:
    """P-1 to P-5, for files, for empty folders and for the folders on the way."""
    spelled: dict[str, str] = {}
    for paths in (files, folders):
        need(paths == sorted(set(paths), key=lambda path: path.encode()), "P-5", "paths are not in order")
    leaves, inner = {*files, *folders}, set()
    for path in (*files, *folders):
        parts = path.split("/")
        need(is_nfc(path) and not {"", ".", ".."} & {*parts}, "P-1", f"path {shown(path)!r}")
        forbidden = {*'\\:*?"<>|'} | TURNING | {c for c in path if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}}
        need(not forbidden & {*path}, "P-2", f"characters of {shown(path)!r}")
        usable = all(part[-1] not in ". " and not RESERVED.fullmatch(part.split(".")[0]) for part in parts)
        need(usable, "P-3", f"name in {shown(path)!r}")
        short = len(path.encode()) <= 1024 and len(parts) <= 64 and all(len(part.encode()) <= 255 for part in parts)
        need(short, "P-4", f"length of {shown(path)!r}")
        for depth in range(1, len(parts) + 1):
            way = "/".join(parts[:depth])
            folded = unicodedata.normalize("NFC", way.casefold())
            need(spelled.setdefault(folded, way) == way, "P-5", f"{shown(way)!r} differs from another in case only")
            if depth < len(parts):
                inner.add(way)
    need(not leaves & inner and len(leaves) == len(files) + len(folders), "P-5", "a path is a folder of another")

# === Reading a bundle: which statement, which catalog, which blocks ===

class Bundle:
    """What the volumes given hold of one bundle."""

    def __init__(self, volumes: list[str], trusted: dict[str, PublicKey]) -> None:
        """Find everything by content (V-2), choose the statement (T-7), read the catalog and place the segments."""
        self.findings: list[str] = []  # what makes a bundle less than whole
        self.beyond: list[str] = []  # what no repair can make again, though the content can be had
        self.notes: list[str] = []  # what is only reported
        self.volumes, self.found = volumes, defaultdict(list)
        self.blocks = {file: scan(file) for volume in volumes for file in list_files(volume, self.notes)}
        for block in itertools.chain(*self.blocks.values()):
            self.found[block.geometry, block.kind, block.place].append(block)
        self.refused: Refusal | None = None  # of a copy of the statement
        self.copies = self.read_statements()
        self.rows: list[Segment] = []
        candidates = self.believed(trusted)
        for self.statement, self.valid in candidates:
            self.catalog = self.segment(self.statement.value["catalog"], "envelopes")
            self.catalog.inner()
            if not self.catalog.lost():
                break
            self.beyond.append(f"T-7: no catalog of revision {self.statement.value['revision']} can be had")
        else:
            raise Refusal("T-7", "no catalog can be had", self.code_of_loss({*range(1, 65)}))
        self.findings += ["T-7: there are copies of several revisions"] if len(candidates) > 1 else []
        table, self.sealed = split_catalog(self.catalog.body())  # its root was checked (G-2)
        self.groups = [[self.segment(row, "preamble") for row in rows] for rows in parse_table(table, self.statement)]
        self.rows = [*itertools.chain(*self.groups)]
        self.check_preambles()

    def segment(self, row: list[Any], preamble: str) -> Segment:
        """The segment of a row."""
        value = self.statement.value[preamble]
        return Segment(row, self.statement.suite, self.statement.bundle, value, self.found)

    def check_preambles(self) -> None:
        """The catalog's envelopes are the ones that hold (K-7); for the rest the preambles are alike (G-10)."""
        self.old = self.find_preamble(self.rows)
        same = self.statement.value["preamble"] == self.statement.value["envelopes"]
        self.preamble = self.find_preamble([self.catalog]) or (self.old if same else b"")
        self.old = self.old or (self.preamble if same else b"")
        ids = self.statement.suite, self.statement.bundle, bytes.fromhex(self.statement.value["packer"])
        both = [parse_preamble(data, self.statement.suite) for data in (self.preamble, self.old) if data]
        need(all(each[:3] == ids for each in both), "K-2", "a preamble is of another bundle or packer", NOT_BELIEVED)
        self.beyond += [] if self.old or not self.rows else ["G-10: the preamble of the segments is lost"]
        need(len({each.commitment for each in both}) <= 1, "G-10", "preambles of two commitments", NOT_BELIEVED)

    def find_preamble(self, segments: list[Segment]) -> bytes:
        """The preamble of these segments, by its hash in the statement (K-7); nothing if it is lost."""
        joined: dict[int, dict[bytes, None]] = defaultdict(dict)
        for segment in segments:
            for index, options in enumerate(segment.pages(PREAMBLE, segment.preamble_length)):
                joined[index] |= dict.fromkeys(options)
        right = assemble([[*options] for options in joined.values()], lambda data: bool(segments) and
                         segments[0].suite.hash(data) == segments[0].preamble_hash)
        return right or b""

    def read_statements(self) -> dict[File, tuple[bytes | None, Statement | None]]:
        """All copies of statements: by name, and records by content too (V-2)."""
        copies = {}
        for file in self.blocks:
            head = file.read(0, 60)
            record = file.name == "statement.rec" or (head.startswith(MAGIC) and head[59:] == b"\5")
            if record or file.name == "statement.json":
                data = read_record(file.read(0, RECORD)) if record else file.read(0, 95 * KIB + 1)
                try:
                    copies[file] = data, parse_statement(data) if data is not None else None
                except Refusal as refusal:
                    copies[file], self.refused = (data, None), refusal
                    self.findings.append(f"{refusal} ({shown(file.name)})")
        return copies

    def believed(self, trusted: dict[str, PublicKey]) -> list[tuple[Statement, dict[str, bytes]]]:
        """The statements with a valid signature of their packer (T-3), highest revision first (T-7)."""
        payloads: dict[bytes, tuple[Statement, dict[str, bytes]]] = {}
        statements = [statement for _, statement in self.copies.values() if statement]
        if self.refused and not statements:
            raise self.refused
        need(statements, "T-1", "no copy of the statement can be read", NOT_BELIEVED)
        for statement in statements:  # equal payloads give the union of their signatures (T-4)
            valid = valid_signatures(statement, trusted, self.notes)
            payloads.setdefault(statement.payload, (statement, {}))[1].update(valid)
        good = [(s, valid) for s, valid in payloads.values() if s.value["packer"] in valid]
        need(good, "T-3", "no signature by a trusted packer holds", NOT_BELIEVED)
        revisions = [s.value["revision"] for s, _ in good]
        need(len({s.bundle for s, _ in good}) == 1, "T-4", "statements of two bundles", USAGE)
        need(len({s.value["packer"] for s, _ in good}) == 1, "T-4", "statements of two packers", NOT_BELIEVED)
        need(len({*revisions}) == len(revisions), "T-4", "two statements of one revision", NOT_BELIEVED)
        return sorted(good, key=lambda pair: -pair[0].value["revision"])

    def code_of_loss(self, wanted: set[int]) -> int:
        """Whether volumes that are not here might help."""
        count = len(self.statement.value["volumes"])
        absent = {*range(1, count + 1)} - self.seen() if len(self.volumes) < count else set()
        return INCOMPLETE if absent & wanted else DAMAGED

    def seen(self) -> set[int]:
        """The numbers of the volumes given, by what most of each belongs to (G-3)."""
        volume_of = {segment.geometry: segment.volume for segment in self.rows}
        votes: dict[str, Counter[int]] = defaultdict(Counter)
        for file, blocks in self.blocks.items():
            votes[file.volume].update(volume_of[block.geometry] for block in blocks if block.geometry in volume_of)
        return {count.most_common(1)[0][0] for count in votes.values() if count}

    def open(self, private: PrivateKey | None, passphrase: bytes | None) -> None:
        """Bundle key and manifest, and what the manifest says of the segments (G-5)."""
        need(self.preamble, "K-7", "the preamble is lost")
        self.opened = parse_preamble(self.preamble, self.statement.suite)
        self.key = open_envelope(self.opened, private, passphrase)
        key = object_key(self.opened, self.key, self.catalog)
        self.manifest = open_manifest(self.sealed, key, self.statement, self.opened)
        slices = self.manifest["segments"]
        data = sorted(segment.number for segment in self.rows if segment.role == "data")
        need([row[0] for row in slices] == data, "G-5", "the manifest has other segments")
        ends = [0, *itertools.accumulate(row[2] for row in slices)]
        size = sum(row[1] for row in self.manifest["files"])
        need([row[1] for row in slices] + [size] == ends, "G-5", "the slices leave gaps, or are not the files")

    def files_in(self, start: int, length: int) -> list[list[Any]]:
        """The files that have bytes in a slice, as the index of its segment has to name them (5.1)."""
        ends = [*itertools.accumulate(row[1] for row in self.manifest["files"])]
        first = bisect.bisect_right(ends, start)
        rows = zip(self.manifest["files"][first:], ends[first:], strict=True)
        inside = itertools.takewhile(lambda pair: pair[1] - pair[0][1] < start + length, rows)
        return [[row[0], end - row[1], row[1]] for row, end in inside if row[1]]

    def run(self, output: Output | None) -> None:
        """Restore group by group; give the source stream to the output, if there is one."""
        lost: set[int] = set()
        codes = set()
        for members in self.groups:
            k = sum(segment.role == "data" for segment in members)
            repair(k, members)
            bad = [segment for segment in members if segment.lost()]
            lost |= {segment.number for segment in bad}
            codes |= {self.code_of_loss({segment.volume for segment in bad})} if bad else set()
            for segment in members[:k]:
                if output is None or lost:
                    break
                _, start, length = self.manifest["segments"][segment.number]
                key = object_key(self.opened, self.key, segment)
                for chunk in read_body(segment, key, start, length, self.files_in(start, length)):
                    output.write(chunk)
            for segment in members:
                segment.places = []
        need(not lost, "G-9", f"segments {sorted(lost)} cannot be restored from what is here", max(codes, default=0))
        if output:
            output.finish()

    def judge(self) -> None:
        """Findings: each file that is not as the packer wrote it, or is not here."""
        segments = {s.geometry: (f"{s.number:08}.abs", s) for s in self.rows}
        segments[self.catalog.geometry] = ("", self.catalog)
        whole: set[Any] = set()
        for file, blocks in self.blocks.items():
            known = [segments[block.geometry] for block in blocks if block.geometry in segments]
            if not known:
                if blocks or file.name.endswith(".abs"):
                    self.findings.append(f"B-4: {shown(file.name)} is no segment of this bundle")
                elif file not in self.copies and file.name != "README.txt":
                    self.notes.append(f"V-2: {shown(file.name)} is ignored")
                continue
            name, segment = known[0]
            wrong, altered = segment.wrong_blocks(blocks, self.old if name else self.preamble)
            names = {name} if name else {"catalog.abs", "catalog-copy.abs"}
            if wrong or file.name not in names or file.size != segment.size:
                self.findings.append(f"B-4: {shown(file.name)}: {wrong} blocks wrong, {altered} of them altered (B-6); "
                                     f"{file.size} of {segment.size} bytes (S-9)")
            else:
                whole |= {file.name, (file.volume, file.name)}
        missing = {name for name, _ in segments.values() if name} - whole
        wanted = {(volume, name) for volume in self.volumes for name in ("catalog.abs", "catalog-copy.abs")} - whole
        self.findings += [f"B-4: {name} is nowhere whole" for name in sorted(missing)]
        self.findings += [f"V-3: {shown(volume)} lacks a whole {name}" for volume, name in sorted(wanted)]
        for volume in self.volumes:
            self.judge_statement(volume)

    def judge_statement(self, volume: str) -> None:
        """T-8: each copy has all valid signatures, and the record is the exact encoding of the file beside it."""
        here = {file.name: file for file in self.copies if file.volume == volume}
        data, statement = self.copies[here["statement.json"]] if "statement.json" in here else (None, None)
        alike = statement is not None and statement.payload == self.statement.payload
        if statement is None or not alike or not self.valid.items() <= statement.signatures.items():
            self.findings.append(f"T-8: {shown(volume)}: statement.json is lost, or another's, or lacks signatures")
        record = here["statement.rec"].read(0, RECORD + 1) if "statement.rec" in here else b""
        if data is None or record != make_record(data, self.statement.suite):
            self.findings.append(f"T-8: {shown(volume)}: statement.rec is not the encoding of the file beside it")

# === Output ===

class Output:
    """Writes the source stream as files into a new folder, or nowhere, and compares the SHA-256 of each (chapter 8)."""

    def __init__(self, folder: str | None, files: list[list[Any]], folders: list[str]) -> None:
        """The paths were checked by chapter 12."""
        self.folder, self.files, self.handle = folder, iter(files), -1
        self.row: list[Any] | None = None
        for path in folders if folder else []:
            os.makedirs(os.path.join(folder or "", path), exist_ok=True)
        self.sha, self.left = hashlib.sha256(), 0
        self.advance()

    def advance(self) -> None:
        """Close a file that is complete and begin the next, past those that are empty."""
        while self.left == 0:
            if self.row:
                need(self.sha.hexdigest() == self.row[2], "G-5", f"SHA-256 of {shown(self.row[0])}", NOT_BELIEVED)
            if self.handle >= 0:
                os.close(self.handle)
                self.handle = -1
            self.row = next(self.files, None)
            if self.row is None:
                return
            self.sha, self.left = hashlib.sha256(), self.row[1]
            if self.folder:
                path = os.path.join(self.folder, self.row[0])
                os.makedirs(os.path.dirname(path), exist_ok=True)
                self.handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)

    def write(self, data: bytes) -> None:
        """More of the source stream."""
        while data:
            part = data[: self.left]
            need(part, "G-5", "there is more content than files")
            self.sha.update(part)
            rest = part
            while self.handle >= 0 and rest:
                rest = rest[os.write(self.handle, rest) :]
            self.left -= len(part)
            data = data[len(part) :]
            self.advance()

    def finish(self) -> None:
        """All files are there."""
        need(self.row is None, "G-5", "there is less content than files")

# === The two verbs ===

def say(text: str) -> None:
    """A line of the report."""
    sys.stdout.write(text + "\n")

def verify(bundle: Bundle, *, opened: bool) -> int:
    """Whole, repairable, or a refusal."""
    bundle.run(Output(None, bundle.manifest["files"], []) if opened else None)
    bundle.judge()
    for line in dict.fromkeys(bundle.notes + bundle.findings + bundle.beyond):
        say(line)
    need(not bundle.beyond, "G-9", "the content can be had, but no repair makes the volumes whole again")
    say("repairable" if bundle.findings else "whole")
    return REPAIRABLE if bundle.findings else 0

def unpack(bundle: Bundle, folder: str) -> int:
    """Everything is written aside, and gets its name when all of it was verified."""
    folder = os.path.abspath(folder)
    need(not os.path.lexists(folder), "usage", f"{shown(folder)} exists", USAGE)
    aside = os.path.join(os.path.dirname(folder), f".{os.path.basename(folder)}.{secrets.token_hex(8)}")
    os.mkdir(aside, 0o700)
    try:
        bundle.run(Output(aside, bundle.manifest["files"], bundle.manifest["folders"]))
        os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return 0

def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["verify", "unpack"])
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("-o", "--output")
    parser.add_argument("--trust", action="append", required=True)
    parser.add_argument("--key")
    parser.add_argument("--passphrase-file")
    options = parser.parse_intermixed_args()
    try:
        trusted, passphrase = read_trusted(options.trust), None
        if options.passphrase_file:
            with open(options.passphrase_file, encoding="utf-8") as file:
                passphrase = unicodedata.normalize("NFC", file.read(4 * KIB).rstrip("\r\n")).encode()
        private = read_private(options.key, passphrase) if options.key else None
        need(options.verb == "verify" or options.output, "usage", "unpack needs -o DIR", USAGE)
        bundle = Bundle(find_volumes(options.volumes), trusted)
        opened = bool(private or passphrase is not None or options.verb == "unpack")
        if opened:
            bundle.open(private, passphrase)
        return verify(bundle, opened=opened) if options.verb == "verify" else unpack(bundle, options.output)
    except Refusal as refusal:
        sys.stderr.write(f"airbundle-reader: {refusal}\n")
        return refusal.code
    except (OSError, MemoryError) as error:
        sys.stderr.write(f"airbundle-reader: machine: {shown(str(error))}\n")
        return MACHINE

if __name__ == "__main__":
    sys.exit(main())
