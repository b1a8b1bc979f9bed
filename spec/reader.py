"""A reader of airbundle bundles, version 1, written from bundle.md alone; it shares no code with the package.

    python spec/reader.py {verify | unpack -o DIR} VOLUME... --trust NAME.pub [--key NAME.key | --passphrase-file FILE]
Exit: 0 whole, 2 usage, 3 more volumes needed, 4 damaged, 5 not believed, 8 no key opens it, 9 machine, 11 repairable.
"""
from __future__ import annotations

import base64
import contextlib
import getopt
import hashlib
import itertools
import json
import os
import re
import struct
import sys
import tempfile
import unicodedata
from collections import ChainMap, abc, defaultdict, namedtuple
from typing import Any

import reedsolo
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf import argon2, hkdf

# === 1. Words and notation (-(-a // b) rounds up) ===
KIB, MIB, GIB, COLUMNS, COPY, RECORD = 1 << 10, 1 << 20, 1 << 30, 513, 128 << 10, 384 << 10  # of a record: chapter 10
USAGE, INCOMPLETE, DAMAGED, NOT_BELIEVED, NO_KEY, MACHINE, REPAIRABLE = 2, 3, 4, 5, 8, 9, 11
TAG, MAGIC, FRONT = "airbundle/{}/v1\0".format, b"\x89ABS\r\n\x1a\n", b"\x89ABS\r\n\x1a\n" + bytes(48)  # B-4
class Refusal(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """What the reader will not take: the exit status that says so, the rule, and a text."""
def need(holds: object, rule: str, what: str, status: int = DAMAGED) -> None:  # or it is refused
    if not holds:
        raise Refusal(status, rule, what)
def attempt(status: int, rule: str, what: str, function: abc.Callable[..., Any], *data: Any) -> Any:  # of a library
    try:
        return function(*data)
    except (InvalidTag, ValueError, RecursionError, zstandard.ZstdError):
        raise Refusal(status, rule, what) from None
def say(text: str) -> None:  # to standard error, without characters that a terminal might obey (E-4)
    sys.stderr.write("".join(c if c.isprintable() else "?" for c in text) + "\n")
# === 2. Suites: the classes of their public halves, and the private ones from the seeds of a key file ===
Suite = namedtuple("Suite", "number name h hash kdf envelope hpke halves private")
STANDARD = Suite(1, "standard", 32, lambda data: blake3(data).digest(), hashes.SHA256(), 1168, hpke.Suite(
        hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM), {"ed25519": ed25519.Ed25519PublicKey,
        "mldsa": mldsa.MLDSA65PublicKey, "mlkem": mlkem.MLKEM768PublicKey, "x25519": x25519.X25519PublicKey},
    lambda s: [ed25519.Ed25519PrivateKey.from_private_bytes(s[:32]), mldsa.MLDSA65PrivateKey.from_seed_bytes(s[32:64]),
              mlkem.MLKEM768PrivateKey.from_seed_bytes(s[64:-32]), x25519.X25519PrivateKey.from_private_bytes(s[-32:])])
CNSA2 = Suite(2, "cnsa2", 48, lambda data: hashlib.sha384(data).digest(), hashes.SHA384(), 1616, hpke.Suite(
        hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM), {
        "mldsa": mldsa.MLDSA87PublicKey, "mlkem": mlkem.MLKEM1024PublicKey},
    lambda s: [mldsa.MLDSA87PrivateKey.from_seed_bytes(s[:32]), mlkem.MLKEM1024PrivateKey.from_seed_bytes(s[32:])])
SUITES = {1: STANDARD, 2: CNSA2}
# === 11. Encoding: the tables of all JSON, and how it is read ===
NUMBER, PAYLOAD_TYPE = range(1 << 53), "application/vnd.airbundle.statement.v1+json"
in_base64 = re.compile("([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]([AQgw]=|[A-Za-z0-9+/][AEIMQUYcgkosw048])=)?").fullmatch
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # Python escapes as E-2 says
def public(value: str) -> bool:  # printable text in NFC of at most 256 bytes (E-4)
    printable = not {unicodedata.category(c) for c in value if c != " "} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"}
    return printable and unicodedata.is_normalized("NFC", value) and len(value.encode()) <= 256
def tables(suite: Suite) -> dict[str, Any]:  # a number is bytes in hexadecimal, a slice bytes of text
    h, maybe = {32, 48}, {"series": {None, public}, "sequence": {None, NUMBER}}
    key, one = {"version": range(1, 2), "suite": suite.name, "name": public}, {"keyid": {32, 48}, "sig": in_base64}
    row = (NUMBER, {"data", "parity"}, NUMBER, NUMBER, range(1, 65), *[NUMBER] * 5, 16, h)
    preamble, span = {"length": range(1, 128 * KIB + 1), "hash": h}, range(1, 256 * MIB + 1)
    return {"public key": {"kind": "airbundle public key"} | key | dict.fromkeys(suite.halves, in_base64) | {"id": h},
        "private key": {"kind": "airbundle private key"} | key | {"id": h, "protection": "none", "memory": range(1),
            "iterations": range(1), "lanes": range(1), "salt": "", "seeds": in_base64, "check": h},
        "index": {"start": NUMBER, "length": span, "chunks": [(range(MIB + 1), range(17, MIB + 17), {
            "raw", "zstd", "planes-2", "planes-4", "filler"}, h)], "files": [(slice(1, KIB), NUMBER, NUMBER)]},
        "manifest": {"bundle": 16, "packer": h, "recipients": [h]} | maybe | {"meta": [(slice(1, 256), slice(0, 4096))],
            "segments": [(NUMBER, NUMBER, span)], "files": [(slice(1, KIB), NUMBER, 32)], "folders": [slice(1, KIB)]},
        "table": {"rows": [row]}, "statement": {"payload": in_base64, "payloadType": PAYLOAD_TYPE, "signatures": [one]},
        "payload": {"airbundle": range(1, 2), "bundle": 16, "suite": suite.name, "packer": {32, 48}, "revision": NUMBER,
            "created": NUMBER, "expires": {None, NUMBER}} | maybe | {"label": public, "marking": public,
            "preamble": preamble, "envelopes": preamble, "catalog": (NUMBER, "catalog", *[range(1)] * 3, *row[5:]),
            "volumes": [{"number": range(1, 65), "name": public, "size": NUMBER, "serial": {None, public}}],
            "lose": range(64), "base": None, "writer": public}}
def fits(value: Any, shape: Any) -> bool:  # E-1; no table has floats, truth values or more than 8 levels
    rules: dict[type, abc.Callable[[], Any]] = {
        dict: lambda: type(value) is dict and [*value] == [*shape] and all(map(fits, value.values(), shape.values())),
        set: lambda: any(fits(value, each) for each in shape), range: lambda: type(value) is int and value in shape,
        list: lambda: isinstance(value, list) and all(fits(each, shape[0]) for each in value),
        tuple: lambda: isinstance(value, list) and len(value) == len(shape) and all(map(fits, value, shape)),
        slice: lambda: isinstance(value, str) and shape.start <= len(value.encode()) <= shape.stop,
        int: lambda: isinstance(value, str) and len(value) == 2 * shape and not {*value} - {*"0123456789abcdef"},
        object: lambda: (isinstance(value, str) and shape(value)) if callable(shape) else value == shape}
    return bool(rules.get(type(shape), rules[object])())
def decode(data: bytes, table: str, suite: Any = None, status: int = DAMAGED) -> tuple[Suite, dict[str, Any]]:
    suite = suite or (CNSA2 if b'"suite":"cnsa2"' in data[:200] else STANDARD)
    value, right, again = attempt(status, "E-3", f"a {table} is not JSON", lambda: (
        value := json.loads(data.decode()), fits(value, tables(suite)[table]), encode(value).encode()))
    need(right and again == data, "E-3", f"a {table} is not canonical, or not as its table says (E-1)", status)
    return suite, value
# === 3. Volumes ===
def read(path: str, at: int, length: int) -> bytes:  # what cannot be read is not there (B-4); no links (V-1)
    with contextlib.suppress(OSError), open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return os.pread(file.fileno(), length, at)
    return b""
def entries_of(folder: str) -> list[os.DirEntry[str]]:  # as far as a damaged folder can be listed (V-1)
    found = list[os.DirEntry[str]]()
    with os.scandir(folder) as entries, contextlib.suppress(OSError):
        found.extend(itertools.islice(entries, 300_001))
    need(len(found) <= 300_000, "L-6", f"{folder} has too many entries")
    return found
def find_volumes(places: list[str]) -> dict[str, list[str]]:  # by folder its files (D-7)
    volumes, named = dict[str, list[str]](), re.compile(r"(?is).*\.airbundle/*").fullmatch
    for place in places:
        need(os.path.isdir(place) and not (named(place) and os.path.islink(place.rstrip("/"))), "V-1", place, USAGE)
    for place in map(os.path.realpath, places):
        inner = [e.path for e in entries_of(place) if named(e.name) and not (e.name[0] == "." or e.is_symlink())]
        own = [place for e in entries_of(place) if e.is_file(follow_symlinks=False) and FILE_NAME.fullmatch(e.name)]
        for volume in [place] if named(place) else sorted(filter(os.path.isdir, inner), key=os.fsencode) or own[:1]:
            volumes[volume] = sorted((e.path for e in entries_of(volume) if e.is_file(follow_symlinks=False)
                                      and e.stat(follow_symlinks=False).st_size < 4 * GIB), key=os.fsencode)
    need(volumes, "D-7", "there is no volume here", USAGE)
    need(all(os.access(p, os.R_OK) for own in volumes.values() for p in own), "V-1", "not to be opened", MACHINE)
    return volumes
# === 4. Blocks ===
GEOMETRY, PREAMBLE, LIST, DATA, PARITY = struct.Struct("<HBBBBHII16sQ16sQ"), 1, 2, 3, 4  # bytes 56 to 119, with kind 0
Block = namedtuple("Block", "geometry slot digest content at")  # a whole one; its slot is kind, index and length
class Geometry(namedtuple("Geometry", "version suite kind k m zero T B bundle number salt body")):
    def sound(self) -> bool:  # B-1, B-2, and B-3 without the preambles (V-2)
        n, rest = divmod(self.body, max(1, self.B - 128))
        known = (self.version, self.zero) == (1, 0) and self.suite in SUITES and self.B.bit_count() == 1  # B-4, K-1
        code = 1 <= self.k <= 128 and 2 <= self.m <= 128 and 1 <= self.T <= n and self.k == -(-n // self.T)
        leaves = (n + self.m * self.T) * SUITES.get(self.suite, CNSA2).h
        size = (n + self.m * self.T + 2 * -(-leaves // max(1, self.B - 128))) * self.B
        return known and code and not rest and self.number in NUMBER and 4 * KIB <= self.B <= MIB and size <= 288 * MIB
    def digest(self, slot: tuple[int, int, int], content: bytes) -> bytes:  # of the block of this kind and index
        head = FRONT + GEOMETRY.pack(*self._replace(kind=slot[0])) + struct.pack("<II", slot[1], len(content))
        return bytes(SUITES[self.suite].hash(head + content.ljust(self.B - 128, b"\0")))
def block_at(path: str, at: int) -> Block | None:  # with right magic, version and digest (B-4)
    head = read(path, at, 128).ljust(128, b"\0")
    said, (index, length) = Geometry(*GEOMETRY.unpack_from(head, 56)), struct.unpack_from("<II", head, 120)
    if head.startswith(MAGIC) and said.sound() and PREAMBLE <= said.kind <= PARITY and length <= said.B - 128:
        digest = SUITES[said.suite].hash(FRONT + head[56:] + (data := read(path, at, said.B))[128:])
        if len(data) == said.B and head[8:56] == digest.ljust(48, b"\0") and not any(data[128 + length :]):  # B-7
            return Block(said._replace(kind=0), (said.kind, index, length), digest, data[128 : 128 + length], at)
    return None
def scan(path: str) -> abc.Iterator[Block]:  # all of a file, but for what is behind a segment (S-9)
    at, size = 0, min(os.lstat(path).st_size, 288 * MIB)
    while at < size:
        if block := block_at(path, at):
            yield block
        at += block.geometry.B if block else 4 * KIB
def ends_of(path: str) -> set[Geometry]:  # what the blocks at its ends say a file is (V-2)
    last = [b for i in range(12, 21) if (b := block_at(path, os.lstat(path).st_size - 2**i)) and b.geometry.B >> i == 1]
    return {block.geometry for block in (block_at(path, 0), *last[:1]) if block}
# === 5. Segments, in the field GF(2^8) with the polynomial 0x11D (S-4) ===
CODE = reedsolo.RSCodec(64, nsize=255, fcr=0, prim=0x11D, generator=2)  # R-1, and the tables of the field
INVERSE = [0, *map(reedsolo.gf_inverse, range(1, 256))]
TIMES = [bytes(reedsolo.gf_mul(a, b) for b in range(256)) for a in range(256)]
def combine(terms: abc.Iterable[tuple[int, bytes]], size: int) -> bytes:  # the sum of factor times row
    total = 0
    for factor, row in terms:
        total ^= int.from_bytes(row.translate(TIMES[factor]), "little")
    return total.to_bytes(size, "little")
def restore(k: int, word: dict[int, bytes | None], size: int) -> None:  # None is lost; no pivot is zero (S-4)
    data = {c: payload for c, payload in word.items() if c < k and payload is not None}
    lost = [c for c in word if c < k and c not in data]
    rows = [(r, payload) for r, payload in word.items() if r >= k and payload is not None][: len(lost)]
    if len(rows) == len(lost):
        work = [bytes(INVERSE[r ^ c] for c in lost) + combine([(1, row), *((INVERSE[r ^ c], data[c])
                for c in data)], size) for r, row in rows]
        for i in range(len(lost)):
            work[i] = work[i].translate(TIMES[INVERSE[work[i][i]]])
            work = [row if i == j else combine([(1, row), (row[i], work[i])], len(row)) for j, row in enumerate(work)]
        word |= (data := data | {c: row[len(lost) :] for c, row in zip(lost, work, strict=True)})
        word |= {r: combine(((INVERSE[r ^ c], data[c]) for c in data), size) for r in word if word[r] is None}
def readings(pages: abc.Mapping[Any, bytes], instead: list[bytes]) -> abc.Iterator[bytes]:  # by copy and index (S-7)
    choices = [[*dict.fromkeys(pages[c, i] for c in (0, 1) if (c, i) in pages)] or [b] for i, b in enumerate(instead)]
    return (b"".join(parts) for parts in itertools.islice(itertools.product(*choices), 64))
def find_preamble(said: dict[str, Any], segments: list[Segment]) -> bytes:  # or nothing, if it is lost (K-7)
    alone = [(s.P, s.pages(PREAMBLE, own)) for s in segments for own in s.files]
    together = [(P, dict(ChainMap(*(pages for size, pages in alone if size == P)))) for P, _ in alone]
    found = (c for P, pages in (*alone, *together) for c in readings(pages, [b""] * -(-said["length"] // P)))
    return next((content for content in found if segments[0].suite.hash(content).hex() == said["hash"]), b"")
class Segment:  # its leaves are the contents of its data and parity blocks, as far as they are here (B-5, S-5)
    def __init__(self, row: list[Any], statement: Statement, preamble: str, bundle: Bundle) -> None:
        self.number, self.role, _, _, self.volume, k, m, stripes, size, body, *_ = row
        of, salt, self.root = map(bytes.fromhex, (statement.value["bundle"], *row[-2:]))
        self.suite, self.preamble, self.P = statement.suite, statement.value[preamble], size - 128
        self.geometry = Geometry(1, self.suite.number, 0, k, m, 0, stripes, size, of, self.number, salt, body)
        need(self.geometry.sound(), "B-3", f"geometry of segment {self.number}")
        self.names = {"catalog.abs", "catalog-copy.abs"} if self.role == "catalog" else {f"{self.number:08}.abs"}
        self.n, par = body // self.P, m * stripes
        ends = [(PREAMBLE, self.preamble["length"]), (LIST, self.suite.h * (self.n + par))]
        parts = [*ends, (DATA, body), (PARITY, par * self.P), *reversed(ends)]
        self.slots = [(kind, at // self.P, min(self.P, length - at)) for kind, length in parts
                      for at in range(0, length, self.P)]
        need(size * len(self.slots) <= 288 * MIB, "B-3", f"segment {self.number} is too large")
        self.at = self.slots.index((DATA, 0, self.P))
        self.leaf = self.slots[self.at : self.at + self.n + par]  # the slot of each leaf (S-5)
        self.files, self.trial = [self.in_place(blocks) for blocks in bundle.files_of(self)], False
        for own in (*self.files, ChainMap(*self.files)):  # each by itself, then all as one file (S-7)
            first = [own.get(self.at + i) for i in range(len(self.leaf))]
            digests = b"".join(block.digest if block else bytes(self.suite.h) for block in first)
            self.places = [block.content if block else None for block in first]
            stand_in = [digests[at : at + self.P] for at in range(0, len(digests), self.P)]
            leaves = next(filter(self.bears_out, (digests, *readings(self.pages(LIST, own), stand_in))), b"")
            self.leaves = [leaves[at : at + self.suite.h] for at in range(0, len(leaves), self.suite.h)]
            if self.leaves or self.decode():  # on trial for itself (G-9)
                known = {(at, block.digest): block.content for each in self.files for at, block in each.items()}
                self.places = [known.get((at, leaf)) for at, leaf in enumerate(self.leaves, self.at)]
                break
        self.first = [*self.places]
    def in_place(self, blocks: list[Block]) -> dict[int, Block]:  # B-5, B-7
        mine = {divmod(block.at, self.P + 128): block for block in blocks if block.geometry == self.geometry}
        return {at: block for (at, rest), block in mine.items() if not rest and self.slots[at : at + 1] == [block.slot]}
    def pages(self, kind: int, own: abc.Mapping[int, Block]) -> dict[tuple[bool, int], bytes]:
        return {(at > self.at, block.slot[1]): block.content for at, block in own.items() if block.slot[0] == kind}
    def bears_out(self, leaves: bytes) -> bool:  # whether these are the leaves of the signed root (S-6)
        head = TAG("root").encode() + GEOMETRY.pack(*self.geometry) + bytes.fromhex(self.preamble["hash"])
        return bool(self.suite.hash(head + struct.pack("<I", len(self.leaf)) + leaves) == self.root)
    def accept(self, i: int, content: bytes | None) -> None:  # what was recovered (S-8, G-9)
        if content and (not self.leaves or self.leaves[i] == self.geometry.digest(self.leaf[i], content)):
            self.places[i] = content
    def lost(self) -> set[int]:  # the data blocks that are not to be had
        return {i for i in range(self.n) if not (self.leaves or self.trial) or self.places[i] is None}
    def decode(self) -> list[bytes]:  # inner code, over stripes with a loss: leaf i is in stripe i mod T (S-1, S-2)
        k, stripes, before = self.geometry.k, self.geometry.T, [*self.places]
        for stripe in {i % stripes for i, content in enumerate(before) if content is None}:
            leaves = range(stripe, len(before), stripes)
            word = {i // stripes if i < self.n else k + (i - self.n) // stripes: self.places[i] for i in leaves}
            restore(k, word, self.P)
            for i, content in zip(leaves, word.values(), strict=True):
                self.accept(i, content)
        if not self.leaves:  # made of what the outer code gave and its own blocks, and believed by its root (G-9)
            digests = [self.geometry.digest(slot, self.places[i] or b"") for i, slot in enumerate(self.leaf)]
            self.leaves = digests if self.bears_out(b"".join(digests)) else []
            self.places = self.places if self.leaves or self.trial else before
        return self.leaves
    def whole(self, path: str, blocks: list[Block], preamble: bytes) -> bool:  # all of it (B-6, V-6, S-9)
        pages, known = {PREAMBLE: preamble, LIST: b"".join(self.leaves)}, dict(zip(self.leaf, self.leaves, strict=True))
        right = [known.get(slot) or self.geometry.digest(slot, pages[slot[0]][slot[1] * self.P :][: slot[2]])
                 for slot in self.slots]
        there = {block.at // self.geometry.B: block.digest for block in blocks} == dict(enumerate(right))
        return there and os.lstat(path).st_size == len(right) * self.geometry.B
def repair(members: list[Segment]) -> None:  # 5.2: outer and inner code in turns, until nothing changes (G-9)
    k = sum(member.role != "parity" for member in members)
    for trial in (True, False):  # with what members without leaves have for the others, and then without
        for one in members:
            one.trial, one.places = trial, one.places if one.leaves else [c if trial else None for c in one.first]
        lost = None
        while lost != (lost := [member.lost() for member in members]):
            for i in set().union(*lost):
                word = {c: None if i in lost[c] else one.places[i] for c, one in enumerate(members) if i < one.n}
                restore(k, word, members[0].P)
                for c in (c for c in word if i in lost[c]):
                    members[c].accept(i, word[c])
            for member in (member for member in members if member.lost() or None in member.places):
                member.decode()
# === 6. Codecs ===
def expand_zstd(frame: bytes, size: int) -> bytes:  # C-2, before it is expanded
    about = attempt(DAMAGED, "C-2", "the header of a frame", zstandard.get_frame_parameters, frame)
    sizes = about.content_size == size and about.window_size <= MIB and about.dict_id == 0
    need(frame.startswith(b"\x28\xb5\x2f\xfd") and sizes, "C-2", "the header of a frame")
    return bytes(attempt(DAMAGED, "C-2", "a frame does not expand", lambda: zstandard.ZstdDecompressor().decompress(
        frame, max_output_size=size, allow_extra_data=False)))
def expand(codec: str, packed: bytes, length: int) -> bytes:  # its seal was opened (C-1)
    if codec in {"raw", "zstd"}:
        need(codec == "zstd" or len(packed) == length, "C-3", "a raw chunk of another length")
        return packed if codec == "raw" else expand_zstd(packed, length)
    w, (phase, *stored) = int(codec[-1]), struct.unpack_from(f"<B{codec[-1]}I", packed.ljust(17, b"\0"))
    count, tail = divmod(max(0, length - phase), w)
    ends = [*itertools.accumulate([1 + 4 * w + phase, *stored, tail])]
    need(phase < w and phase <= length and max(stored) <= count and ends[-1] == len(packed), "C-3", "packed planes")
    planes = [p if len(p := packed[a:b]) == count else expand_zstd(p, count) for a, b in itertools.pairwise(ends[:-1])]
    words, right, left = bytearray(count * w), bytes(b >> 1 for b in range(256)), bytes(b % 2 << 7 for b in range(256))
    for i in range(w):  # plane 0 is the most significant byte, and its sign came from the bottom of the last plane
        words[w - 1 - i :: w] = combine([(1, planes[i].translate(right)), (1, planes[i - 1].translate(left))], count)
    return packed[1 + 4 * w : ends[0]] + bytes(words) + packed[ends[-2] :]
# === 7. Keys and seals ===
PublicKey = namedtuple("PublicKey", "suite id halves loaded")
def key_id(suite: Suite, halves: abc.Iterable[bytes]) -> Any:
    return suite.hash(TAG("key").encode() + bytes([suite.number]) + b"".join(halves)).hex()
def read_public(path: str) -> PublicKey:  # K-3
    suite, value = decode(read(os.path.realpath(path), 0, 64 * KIB), "public key", status=USAGE)
    halves = {name: base64.b64decode(value[name]) for name in suite.halves}
    loaded = {name: attempt(USAGE, "K-3", path, suite.halves[name].from_public_bytes, halves[name]) for name in halves}
    u, y = (int.from_bytes(halves.get(name, b"\2"), "little") for name in ("x25519", "ed25519"))
    sound = key_id(suite, halves.values()) == value["id"] and max(u, y % 2**255) < 2**255 - 19
    for a, b in ((y % 2**255, 1), (u - 1, u + 1)):  # a / b is the y of a point; five of them are of small order
        order = a * b * (a * a - b * b) * (121665 * a**4 - 121666 * b * b * (2 * a * a - b * b))
        sound = sound and order % (2**255 - 19) != 0
    need(sound, "K-3", f"{path} is not sound", USAGE)
    return PublicKey(suite, value["id"], [*halves.values()], loaded)
def unseal(key: bytes, nonce: int, sealed: bytes, what: str, status: int = DAMAGED) -> bytes:  # AES-256-GCM
    return bytes(attempt(status, "S-10", f"{what} not opened", AESGCM(key).decrypt, nonce.to_bytes(12), sealed, None))
def read_private(path: str) -> tuple[str, Any]:  # the key id, and what opens envelopes (K-17)
    suite, value = decode(read(os.path.realpath(path), 0, 64 * KIB), "private key", status=USAGE)
    right = suite.hash(TAG("keyfile").encode() + encode(value | {"check": ""}).encode()).hex() == value["check"]
    keys = attempt(USAGE, "K-17", f"{path} is damaged", suite.private, base64.b64decode(value["seeds"]))
    same = key_id(suite, (key.public_key().public_bytes_raw() for key in keys)) == value["id"]
    need(right and same, "K-17", f"{path} is damaged", USAGE)
    return value["id"], hpke.MLKEM768X25519PrivateKey(*keys[2:]) if suite is STANDARD else keys[1]
class Preamble:  # the context of 7.3, the commitment and the envelopes (K-2, K-6, K-12)
    def __init__(self, data: bytes, statement: Statement) -> None:
        self.suite, h, self.envelopes, at = statement.suite, statement.suite.h, [], 20 + 2 * statement.suite.h
        self.context = bytes([self.suite.number]) + bytes.fromhex(statement.value["bundle"] + statement.value["packer"])
        need(data[:1] + data[4 : 20 + h] == self.context, "K-2", "a preamble is of another bundle", NOT_BELIEVED)
        self.commitment = data[20 + h : 20 + 2 * h]
        while at < len(data):
            kind, zero, length = struct.unpack_from("<BBH", data.ljust(at + 4, b"\0"), at)
            need((kind, zero, length) in {(1, 0, self.suite.envelope), (2, 0, 76)}, "K-6", "unknown kind of envelope")
            at += 4 + h + length
            self.envelopes.append((kind, data[at - length - h : at - length].hex(), data[at - length : at]))
        recipients, length = {recipient for _, recipient, _ in self.envelopes}, at == len(data) and data[2:4] == b"\0\0"
        need(length and 1 <= data[1] == len(self.envelopes) == len(recipients) <= 64, "K-6", "a preamble's envelopes")
        need({e[0] for e in self.envelopes} == {1} or (h == 32 and recipients == {"00" * h}), "K-12", "not alone")
        self.cost = memory, time, lanes = struct.unpack_from("<III", self.envelopes[0][2])
        need(kind == 1 or (1 <= lanes <= 16 >= time >= 1 and 8 * lanes <= memory <= 512 * KIB), "K-14", "its cost")
    def derive(self, key: bytes, label: str, length: int, more: bytes = b"") -> bytes:  # with the context of 7.3
        return hkdf.HKDFExpand(self.suite.kdf, length, TAG(label).encode() + self.context + more).derive(key)
    def open(self, private: Any, passphrase: bytes | None) -> bytes:  # signature and hash were checked (K-15)
        key, what, info = b"", "the envelope to this key does not open", TAG("envelope").encode() + self.context
        for kind, recipient, content in self.envelopes:
            if kind == 1 and private and private[0] == recipient:  # K-5
                key = attempt(NO_KEY, "K-8", what, self.suite.hpke.decrypt, content, private[1], info)
            if kind == 2 and passphrase is not None:  # K-13
                memory, time, lanes = self.cost
                cost = argon2.Argon2id(salt=content[12:28], length=32, iterations=time, lanes=lanes, memory_cost=memory)
                key = unseal(self.derive(cost.derive(passphrase), "passphrase", 32), 0, content[28:], "a key", NO_KEY)
        need(key, "K-5", "no key or passphrase given opens this bundle", NO_KEY)
        need(self.derive(key, "commit", self.suite.h) == self.commitment, "K-8", "another commitment", NOT_BELIEVED)
        return key
# === 5.1 Body of a data segment: a nonce is the counter and a byte that is 1 for the trailer ===
def read_body(segment: Segment, key: bytes, manifest: dict[str, Any]) -> abc.Iterator[bytes]:  # its chunks (G-5)
    what, at, (_, start, length) = "segment", 0, manifest["segments"][segment.number]
    body = b"".join(filter(None, segment.places[: segment.n]))  # the payloads of the data blocks, end to end
    place, size, count, zeros = struct.unpack("<QQI12s", unseal(key, 1, body[-48:], what))
    need(not any(zeros) and place <= len(body) - 48 and count <= 65_536 and size <= 32 * MIB, "S-11", "trailer (L-1)")
    plain = unseal(key, count << 8, body[place:-48], what)
    index = decode(plain[:size], "index", segment.suite)[1]
    need(size <= len(plain) and not any(plain[size:]), "S-12", "an index and the zeros behind it")
    need(len(index["chunks"]) == count and len(index["files"]) <= 65_536, "S-15", "too many chunks or files")
    ends = itertools.accumulate(size for _, size, _ in manifest["files"])
    files = [[path, end - size, size] for (path, size, _), end in zip(manifest["files"], ends, strict=True)
             if size and start < end and end - size < start + length]
    need([index["start"], index["length"], index["files"]] == [start, length, files], "G-5", "slice and files")
    need([sum(row[c] for row in index["chunks"]) for c in (0, 1)] == [length, place], "S-13", "lengths of chunks")
    for counter, (plain_length, sealed_length, codec, digest) in enumerate(index["chunks"]):
        sealed, at = body[at : at + sealed_length], at + sealed_length
        need((plain_length == 0) == (codec == "filler"), "S-14", "length of a chunk")
        chunk = b"" if codec == "filler" else expand(codec, unseal(key, counter << 8, sealed, what), plain_length)
        need((segment.suite.hash(chunk) if chunk else bytes(segment.suite.h)).hex() == digest, "S-13", "chunk's digest")
        yield chunk
# === 8. Catalog, and what paths must not have (P-2, P-3) ===
FORBIDDEN = {*'\\:*?"<>|', *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[1-9\xb9\xb2\xb3]) *", re.IGNORECASE | re.ASCII)
def rows_of(data: bytes, statement: Statement) -> list[list[list[Any]]]:  # by group (L-2)
    rows = decode(data, "table", statement.suite)[1]["rows"]
    groups = [[*group] for _, group in itertools.groupby(sorted(rows, key=lambda row: row[2]), lambda row: row[2])]
    order = [row[1:4] for row in rows]
    need(len(rows) == statement.value["catalog"][0] <= 262_144 and order == sorted(order), "G-1", "order of rows (L-2)")
    numbers = all(i == group[0][2] for i, group in enumerate(groups)) and all(i == row[0] for i, row in enumerate(rows))
    need(numbers and all(row[4] <= len(statement.value["volumes"]) for row in rows), "G-6", "numbers (G-1)")
    for members in groups:
        longest = max((row[9] for row in members if row[1] == "data"), default=0)
        placed = [row[3] for row in members] == [*range(len(members))] and len(members) <= 128
        alike = {row[9] for row in members if row[1] == "parity"} == {longest} and len({row[8] for row in members}) == 1
        need(longest and placed and alike, "G-6", "members of a group")
    return groups
def open_manifest(sealed: bytes, key: bytes, statement: Statement, preamble: Preamble) -> dict[str, Any]:
    parts = [sealed[at : at + MIB + 16] for at in range(0, len(sealed), MIB + 16)] or [b""]
    pieces = [unseal(key, i << 8 | (i == len(parts) - 1), part, "manifest") for i, part in enumerate(parts)]
    value = decode(b"".join(pieces) if pieces[-1] else b"", "manifest", statement.suite)[1]  # no piece is empty
    keys, files, folders = [row[0] for row in value["meta"]], [row[0] for row in value["files"]], value["folders"]
    few, spelled = len(keys) <= 256 and max(len(files), len(folders)) <= 524_288, dict[str, str]()
    need(few and keys == sorted(set(keys)), "L-4", "notes, files or folders (L-3)")
    said = statement.value | {"recipients": [recipient for kind, recipient, _ in preamble.envelopes if kind == 1]}
    need(all(value[f] == said[f] for f in [*value][:5]), "G-4", "the manifest is another bundle's", NOT_BELIEVED)
    for path in (*files, *folders):
        parts, kinds = path.split("/"), {unicodedata.category(c) for c in path}
        need(unicodedata.is_normalized("NFC", path) and not {"", ".", ".."} & {*parts}, "P-1", path)
        need(not kinds & {"Cc", "Cs", "Zl", "Zp"} and not FORBIDDEN & {*path}, "P-2", path)
        need(not any(part[-1] in ". " or RESERVED.fullmatch(part.split(".")[0]) for part in parts), "P-3", path)
        need(max(len(part.encode()) for part in parts) <= 255 and len(parts) <= 64, "P-4", path)
        for way in itertools.accumulate(parts, "{}/{}".format):
            need(spelled.setdefault(unicodedata.normalize("NFC", way.casefold()), way) == way, "P-5", f"case of {path}")
    inner = {path[:i] for path in (*files, *folders) for i, c in enumerate(path) if c == "/"}
    ordered = all(paths == sorted(set(paths), key=str.encode) for paths in (files, folders))
    need(ordered and not inner & {*files, *folders} and not {*files} & {*folders}, "P-5", "order, or one in another")
    return value
# === 9. Statement, 10. Records ===
Statement = namedtuple("Statement", "payload value suite signatures data")
def in_name(place: str) -> tuple[bool, int, int]:  # advice: whether it is a copy, number and count (D-6)
    copy, number, of = (*re.findall(r"(?ai)-(copy)?([1-9]\d?)of([1-9]\d?)\.airbundle\Z", place), ("", 0, 0))[0]
    return (bool(copy), int(number), int(of)) if int(number) <= int(of) else (False, 0, 0)
FILE_NAME = re.compile(r"statement\.(json|rec)|catalog(-copy)?\.abs|[0-9]{8}\.abs", re.ASCII)  # chapter 3
REVISED, NAMES = {"revision", "envelopes", "catalog", "writer"}, {"statement.json", "statement.rec"}  # T-10
def is_stray(path: str) -> bool:  # a record under another name, by what one of its copies says
    head = (read(path, at, 8) + read(path, at + 59, 1) for at in range(0, RECORD, COPY))
    return os.path.basename(path) not in NAMES and MAGIC + b"\5" in head
def read_statement(path: str) -> Statement:  # not yet believed (T-1)
    pieces = (read(path, at, 4 * KIB).ljust(4 * KIB, b"\0") for at in range(0, RECORD, 4 * KIB))
    data = read(path, 0, 95 * KIB + 1) if path.endswith("/statement.json") else read_record(b"".join(pieces))
    envelope = decode(data, "statement", STANDARD, NOT_BELIEVED)[1]
    payload = base64.b64decode(envelope["payload"])
    keys = {entry["keyid"]: base64.b64decode(entry["sig"]) for entry in envelope["signatures"]}
    sizes = len(data) <= 95 * KIB and len(payload) <= 16 * KIB and 1 <= len(keys) == len(envelope["signatures"]) <= 10
    need(sizes, "T-5", "its length (L-5) or signatures", NOT_BELIEVED)
    suite, value = decode(payload, "payload")
    numbers, old, new = [one["number"] for one in value["volumes"]], value["preamble"], value["envelopes"]
    need((value["series"] is None) == (value["sequence"] is None), "T-5", "series and sequence")
    need(value["lose"] < len(numbers) <= 64 and numbers == [*range(1, len(numbers) + 1)], "T-5", "volumes (T-6)")
    need(old == new or (value["revision"] and old["hash"] != new["hash"]), "G-10", "its two preambles")
    return Statement(payload, value, suite, keys, data)
def holds(statement: Statement, keyid: str, key: PublicKey) -> Any:  # every part of a signature (T-2)
    pae = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(statement.payload)} ".encode() + statement.payload
    message = b"airbundle/sig/v1" + bytes([statement.suite.number]) + bytes.fromhex(keyid) + pae
    signature, at = statement.signatures[keyid], 64 if key.suite is STANDARD else 0
    with contextlib.suppress(InvalidSignature, ValueError):
        if at:
            key.loaded["ed25519"].verify(signature[:at], message)
        key.loaded["mldsa"].verify(signature[at:], message, b"airbundle/sig/v1")
        return key.suite is statement.suite  # K-11
def believed(statements: list[Statement], trusted: dict[str, PublicKey]) -> list[tuple[Statement, set[Any]]]:
    valid: dict[bytes, set[Any]] = defaultdict(set)  # equal payloads give the union of their signatures (T-4)
    for s in statements:
        held = {(key, sig) for key, sig in s.signatures.items() if key in trusted and holds(s, key, trusted[key])}
        valid[s.payload] |= held
        if len(held) < len(s.signatures):
            say("T-3: a signature fails, or is by a stranger or by a key of another suite (K-11)")
    good = {s.payload: s for s in statements if s.value["packer"] in dict(valid[s.payload])}  # T-3
    kept = {encode([v for f, v in s.value.items() if f not in REVISED]) for s in good.values()}
    need(len(kept) < 2 and len({s.value["revision"] for s in good.values()}) == len(good), "T-4", "two", NOT_BELIEVED)
    return sorted(((s, valid[s.payload]) for s in good.values()), key=lambda pair: -pair[0].value["revision"])
def find_statements(volumes: dict[str, list[str]], trusted: Any, ends: Any) -> tuple[dict[str, Statement], Any]:
    copies, refused = dict[str, Statement](), Refusal(NOT_BELIEVED, "T-1", "there is no statement")
    for wanted in (lambda path: os.path.basename(path) in NAMES, is_stray):  # strays if none is believed (V-2, L-6)
        for path in (p for paths in volumes.values() for p in itertools.islice(filter(wanted, paths), 16)):
            try:
                copies[path] = read_statement(path)
            except Refusal as refusal:  # this copy is lost (T-5)
                refused = min(refusal, refused, key=lambda each: each.args[0])
        if wanted is not is_stray:  # which bundle is meant has to be clear (D-7)
            stated = [{copies[p].value["bundle"] for p in paths if p in copies} for paths in volumes.values()]
            held = {geometry.bundle for said in ends.values() for geometry in said}
            need(set.intersection(*filter(None, stated)) if copies else len(held) < 2, "D-7", "several bundles", USAGE)
        if found := believed([*copies.values()], trusted):
            return copies, found
    raise Refusal(NOT_BELIEVED, "T-3", "no signature by a trusted packer holds") if copies else refused
def coded(frame: bytes) -> bytes:  # and the remainder by the generator, of all columns at once
    rest, factors = b"", [TIMES[factor] for factor in CODE.gen[64][1:]]
    for at in range(0, 191 * COLUMNS, COLUMNS):
        first = combine([(1, frame[at : at + COLUMNS]), (1, rest[:COLUMNS])], COLUMNS)
        rest = combine([(1, rest[COLUMNS:]), (1, b"".join(map(first.translate, factors)))], 64 * COLUMNS)
    return frame[: 191 * COLUMNS] + rest
def corrected(copy: bytes) -> bytes:  # a column is decoded where it is no codeword
    right, columns, words = coded(copy), [copy[c::COLUMNS] for c in range(COLUMNS)], [bytes(255)] * COLUMNS
    with contextlib.suppress(reedsolo.ReedSolomonError):  # then nothing fits
        words = [c if c == right[i::COLUMNS] else CODE.decode(c)[1] for i, c in enumerate(columns)]
    return bytes(itertools.chain(*zip(*words, strict=True)))
def read_record(data: bytes) -> bytes:  # by digests first, then by the code, copy by copy
    copies = [data[at : at + 255 * COLUMNS].ljust(255 * COLUMNS, b"\0") for at in range(0, RECORD, COPY)]
    agreed = (bytes(b if b == c else a for a, b, c in zip(*each, strict=True)) for each in [copies])  # two of the three
    for frame in itertools.chain(copies, map(corrected, itertools.chain(copies, agreed))):
        magic, digest, version, suite, kind, length = struct.unpack_from("<8s48sHBBI", frame := frame[: 191 * COLUMNS])
        right = (magic, version, kind) == (MAGIC, 1, 5) and suite in SUITES and not any(frame[64 + length :])
        if right and length <= 95 * KIB and digest == SUITES[suite].hash(FRONT + frame[56:]).ljust(48, b"\0"):
            return frame[64 : 64 + length]
    return b""
def make_record(content: bytes, suite: Suite) -> bytes:  # the exact encoding (T-8)
    rest = (struct.pack("<HBBI", 1, suite.number, 5, len(content)) + content).ljust(191 * COLUMNS - 56, b"\0")
    return coded(MAGIC + suite.hash(FRONT + rest).ljust(48, b"\0") + rest).ljust(COPY, b"\0") * 3
class Bundle:  # what the volumes given hold of one, by content (V-2, T-7)
    def __init__(self, places: list[str], trusted: dict[str, PublicKey]) -> None:
        self.volumes, self.keys = find_volumes(places), dict[int, bytes]()
        self.rows, self.beyond, self.manifest = list[Segment](), list[str](), dict[str, Any](files=[])
        self.ends = {path: ends_of(path) for paths in self.volumes.values() for path in paths}
        self.copies, self.candidates = find_statements(self.volumes, trusted, self.ends)
        bundle = self.candidates[0][0].value["bundle"]  # without the folders in which nothing of it lies (D-7)
        mine = {path for path, said in self.ends.items() if bundle in {g.bundle.hex() for g in said} or (
            path in self.copies and bundle == self.copies[path].value["bundle"])}
        self.volumes = {v: paths for v, paths in self.volumes.items() if mine & {*paths}}
        self.blocks = {path: [*scan(path)] for paths in self.volumes.values() for path in paths}
        for statement, valid in self.candidates:
            self.statement, self.valid = statement, valid
            self.catalog = Segment(statement.value["catalog"], statement, "envelopes", self)
            repair([self.catalog])
            if not self.catalog.lost() and None not in self.catalog.places:  # parity too (D-2)
                break
            self.beyond.append(f"T-7: no catalog of revision {statement.value['revision']}")
        need(len(self.beyond) < len(self.candidates), "T-7", "no catalog can be had", self.status_of_loss())
        body = b"".join(filter(None, self.catalog.places[: self.catalog.n]))  # its root was checked (G-2)
        table = 8 + int.from_bytes(body[:8], "little")
        end = table + 8 + int.from_bytes(body[table : table + 8], "little")
        sizes = table <= 64 * MIB + 8 and end - table <= 128 * MIB + 16 * 128 + 8 and end <= len(body)
        need(sizes and not any(body[end:]), "L-3", "the parts of a catalog and the zeros behind them (L-2)")
        self.groups = [[Segment(r, statement, "preamble", self) for r in g] for g in rows_of(body[8:table], statement)]
        self.rows, self.sealed = [*itertools.chain(*self.groups)], body[table + 8 : end]
        one = statement.value["preamble"] == statement.value["envelopes"]
        self.preamble = find_preamble(statement.value["envelopes"], [self.catalog, *(self.rows if one else [])])
        self.old = self.preamble if one else find_preamble(statement.value["preamble"], self.rows)
        self.beyond += ["K-7: a preamble is lost"] if not self.preamble or (self.rows and not self.old) else []
        both = {Preamble(data, statement).commitment for data in (self.preamble, self.old) if data}
        need(len(both) <= 1, "G-10", "preambles of two commitments", NOT_BELIEVED)
    def files_of(self, segment: Segment) -> list[list[Block]]:  # under its own name, and so many others (V-2, L-6)
        own = [path for path in self.blocks if os.path.basename(path) in segment.names]
        said = [path for path, all_of in self.ends.items() if segment.geometry[8:10] in {g[8:10] for g in all_of}]
        return [self.blocks[p] for p in (*own, *[p for p in said if p in self.blocks and p not in own][:64])]
    def stands_for(self, place: str) -> set[int]:  # the volumes that a folder is, 0 for one without a number (D-6)
        count, (anew, number, of), mine = len(self.statement.value["volumes"]), in_name(place), self.volumes[place]
        held = set[Geometry]().union(*(self.ends[path] for path in mine))
        there, rows = [s.volume for s in self.rows if s.geometry in held], [s.volume for s in self.rows]
        number = number if of == count and not anew else int(count == 1)
        number = max(sorted(there), key=there.count) if there and number not in there else number
        whole = {volume for volume in there if anew or there.count(volume) == rows.count(volume)}
        return whole if anew else whole | {number}
    def status_of_loss(self) -> int:  # whether other volumes might help (D-3)
        here = [number for place in self.volumes for number in self.stands_for(place)]
        copies = {(number, of) for copy, number, of in map(in_name, self.volumes) if copy}
        told = copies or len({*here} - {0}) + here.count(0) >= len(self.statement.value["volumes"])  # without a table
        told = {s.volume for s in self.rows} <= {*here} if hasattr(self, "groups") else told
        return DAMAGED if told and {(n, of) for _, of in copies for n in range(1, of + 1)} <= copies else INCOMPLETE
    def open(self, private: Any, passphrase: bytes | None) -> None:  # object keys (K-9), manifest and slices
        need(self.preamble, "K-7", "the preamble is lost", self.status_of_loss())
        key = (preamble := Preamble(self.preamble, self.statement)).open(private, passphrase)
        self.keys = {s.number: preamble.derive(key, "seal", 32, struct.pack("<Q", s.number) + s.geometry.salt)
                     for s in (self.catalog, *self.rows)}
        self.manifest = open_manifest(self.sealed, self.keys[self.catalog.number], self.statement, preamble)
        ends = [*itertools.accumulate((row[2] for row in self.manifest["segments"]), initial=0)]
        starts = [row[1] for row in self.manifest["segments"]] + [sum(row[1] for row in self.manifest["files"])]
        numbers = [row[0] for row in self.manifest["segments"]] == [s.number for s in self.rows if s.role == "data"]
        need(numbers and starts == ends, "G-5", "the slices have gaps, or are not the files or segments")
    def restore(self, folder: str) -> None:  # group by group (D-2); the source stream, if there are keys and a folder
        for members in self.groups:
            repair(members)
        self.beyond += [f"S-8: parity of segment {s.number}" for s in self.rows if s.lost() or None in s.places]
        lost, had = ([s for s in self.rows if s.role == "data" and bool(s.lost()) == gone] for gone in (True, False))
        stream, at = b"".join(c for s in had if self.keys for c in read_body(s, self.keys[s.number], self.manifest)), 0
        need(not lost, "G-9", f"{len(lost)} segments cannot be restored from what is here", self.status_of_loss())
        for path, size, digest in self.manifest["files"]:
            content, at = stream[at : at + size], at + size
            if hashlib.sha256(content).hexdigest() != digest:
                say(f"G-11: {path} has another SHA-256 than its packer said")
            if folder:
                with open(os.path.join(folder, path), "wb") as file:
                    file.write(content)
    def findings(self) -> list[str]:  # what is not as it was written, or is not here (D-4, D-5)
        segments = {segment.geometry: segment for segment in (self.catalog, *self.rows)}
        wrong = ["T-7: copies of several revisions"] if len(self.candidates) > 1 else []
        named = {name: segment for segment in segments.values() for name in segment.names}
        ours = {path: named[os.path.basename(path)] for path in self.blocks if os.path.basename(path) in named}
        sound = {path for path, one in ours.items() if one.leaves and one.whole(  # it has to be what it is named (D-4)
            path, self.blocks[path], self.preamble if one is self.catalog else self.old)}
        wrong += [f"B-4: {path}" for path in ours.keys() - sound]
        wrong += [f"V-6: {path}" for path in self.blocks.keys() - ours for said in self.ends[path] & segments.keys()
                  if not {os.path.join(os.path.dirname(path), name) for name in segments[said].names} & ours.keys()]
        wrong += {os.path.join(volume, name) for volume in self.volumes for name in self.catalog.names} - sound
        for segment in self.rows:  # wherever it lies, but also where a copy of its volume has it (D-4)
            having = {v for v in self.volumes for name in segment.names if os.path.join(v, name) in sound}
            wrong += [f"D-4: segment {segment.number} is missing"] * (not having or having < {
                v for v in self.volumes if not in_name(v)[0] and segment.volume in self.stands_for(v)})
        for volume in self.volumes:
            copy, record = self.copies.get(f"{volume}/statement.json"), read(f"{volume}/statement.rec", 0, RECORD + 1)
            held = dict(self.valid & {*copy.signatures.items()} if copy else ()).keys() == dict(self.valid).keys()
            exact = copy and copy.payload == self.statement.payload and record == make_record(copy.data, copy.suite)
            wrong += [] if held and exact else [f"T-8: statement.json or statement.rec of {volume}"]
        return wrong
def run(argv: list[str]) -> int:  # the two verbs; no two trusted keys share a half (K-4); passphrases are in NFC (K-13)
    pairs, (verb, *places) = getopt.gnu_getopt([*argv, ""], "o:", ["trust=", "key=", "passphrase-file="])
    options, passphrase, target = dict(pairs), None, os.path.abspath(dict(pairs).get("-o", ""))
    free = not os.path.lexists(target) or (os.path.isdir(target) and not (os.path.islink(target) or os.listdir(target)))
    need(verb == "verify" or (verb == "unpack" and free), "P-7", "verify, or unpack with -o and a new DIR", USAGE)
    trusted = {key.id: key for key in (read_public(path) for name, path in pairs if name == "--trust")}
    for one, other in itertools.combinations(trusted.values(), 2):
        need(not {*one.halves} & {*other.halves}, "K-4", "two trusted keys share a half", USAGE)
    if name := options.get("--passphrase-file"):
        passphrase = unicodedata.normalize("NFC", read(name, 0, MIB).split(b"\n")[0].rstrip(b"\r").decode()).encode()
        need(passphrase, "K-13", "the passphrase is empty", USAGE)
    private, bundle = read_private(options["--key"]) if "--key" in options else None, Bundle(places[:-1], trusted)
    if verb == "unpack" or private or passphrase is not None:
        bundle.open(private, passphrase)
    if verb == "unpack":  # everything is written aside, and gets its name when all of it was verified
        with tempfile.TemporaryDirectory(prefix=".ab-", dir=os.path.dirname(target)) as aside:
            for path in ("", *bundle.manifest["folders"], *(os.path.dirname(p) for p, *_ in bundle.manifest["files"])):
                os.makedirs(os.path.join(aside, "files", path), exist_ok=True)
            bundle.restore(os.path.join(aside, "files"))
            os.rename(os.path.join(aside, "files"), target)
        return 0
    bundle.restore("")
    say("; ".join([*bundle.beyond, *(findings := bundle.findings()), "repairable" if findings else "whole"]))
    return bundle.status_of_loss() if bundle.beyond else REPAIRABLE if findings else 0
def main(argv: list[str]) -> int:  # the exit status; errors are printed to standard error
    try:
        return run(argv)
    except (Refusal, getopt.GetoptError, OSError, UnicodeError) as error:
        say(f"airbundle-reader: {error}")
        return int(error.args[0]) if isinstance(error, Refusal) else MACHINE if isinstance(error, OSError) else USAGE
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
