"""The vectors that are validly signed and wrong: bundles by a packer who lies, and statements that were tampered with.

Each is a base with other files over it; the randomness is that of its base, so that little differs.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
from typing import TYPE_CHECKING, Any

import zstandard
from blake3 import blake3

from airbundle.crypto.envelope import BundleKey, Context, parse_preamble, write_preamble
from airbundle.format.cost import PassphraseCost
from airbundle.format.manifest import SliceRow
from airbundle.format.preamble import ENVELOPE_PASSPHRASE, SealedKey, write_preamble_bytes
from airbundle.format.segment import FileSpan
from tests.transfer.forge import Lies
from tests.vectors.bases import PASSPHRASE, forged, stream
from tests.vectors.lies import (
    as_json,
    document,
    envelopes,
    flip,
    frame,
    locked,
    manifest,
    many,
    named,
    off,
    payload,
    planes,
    preamble,
    put,
    replace,
    row,
    rows,
    signature,
    signers,
    statement,
    table,
    trailer,
)
from tests.vectors.people import person
from tests.vectors.volumes import FRAME, record_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One vector with a bundle of its own: `lies` for the forger; `record` changes a record's frame."""

    rule: str
    name: str
    comment: str
    lies: Lies = dataclasses.field(default_factory=Lies)
    base: str = "plain"
    files: dict[str, bytes] | None = None
    more: dict[str, Any] = dataclasses.field(default_factory=dict)
    record: Callable[[bytearray], None] | None = None

    def write(self, place: Path) -> None:
        """The whole bundle, of which only what differs from the base is kept."""
        forged(self.base, place, self.lies, self.files)
        if self.record is not None:
            (volume,) = (place / "1").iterdir()
            frame = bytearray((volume / "statement.rec").read_bytes()[:FRAME])
            self.record(frame)
            (volume / "statement.rec").write_bytes(record_of(bytes(frame)))


ZERO_OUT = [{"do": "write", "file": f"1/0000000{number}.abs", "at": 2 * 4096, "zeros": 4096} for number in (0, 1)]


def hostile_vectors() -> list[Hostile]:
    return [*_blocks(), *_sealed(), *_manifests(), *_keys(), *_statements(), *_paths(), *_records()]


def _records() -> list[Hostile]:
    """Records that fit their own code, and no statement.json beside them; content begins at 64."""
    def put_bytes(at: int, content: bytes, *, digested: bool = True) -> Callable[[bytearray], None]:
        def change(frame: bytearray) -> None:
            frame[at:at + len(content)] = content
            if digested:
                frame[8:56] = blake3(bytes(frame[56:])).digest().ljust(48, b"\0")

        return change

    kinds = {
        ("K-1", "record"): ("A record of suite 9.", put_bytes(58, b"\t")),
        ("R-2", "length"): ("A record of more than 95 KiB.", put_bytes(60, (97_281).to_bytes(4, "little"))),
        ("R-3", "magic"): ("A record with another magic.", put_bytes(0, bytes(8))),
        ("R-3", "version"): ("A record of version 2.", put_bytes(56, b"\2")),
        ("R-3", "kind"): ("A record of another kind.", put_bytes(59, b"\3")),
        ("R-3", "digest"): ("Content that does not match the digest.", put_bytes(40_000, b"\1", digested=False)),
        ("R-3", "behind"): ("A byte behind the content that is not zero.", put_bytes(90_000, b"\1")),
        ("R-3", "digest-padding"): ("A byte behind the short digest that is not zero.",
                                    put_bytes(50, b"\1", digested=False)),
    }
    gone = [{"do": "delete", "file": "1/statement.json"}]
    return [Hostile(rule, name, comment, record=change, more={"splices": gone})
            for (rule, name), (comment, change) in kinds.items()]


def _blocks() -> list[Hostile]:
    one = b'[0,"data",0,0,1,1,2,1,4096,'
    two = b'[1,"parity",0,1,1,1,2,1,4096,'
    return [
        Hostile("B-1", "size", "A signed row with blocks of 6000 bytes.",
                rows(",1,2,1,4096,3968,", ",1,2,1,6000,5872,")),
        Hostile("B-1", "too-small", "A signed row with blocks of 2 KiB.",
                rows(",1,2,1,4096,3968,", ",1,2,1,2048,1920,")),
        Hostile("B-1", "catalog", "The statement's row of the catalog has blocks of 2 MiB.", Lies(
            statement=lambda s: replace(s, catalog=replace(s.catalog, block_size=2 << 20)))),
        Hostile("B-2", "m", "A signed row with one parity block a stripe.",
                table(one, one.replace(b",1,2,1,", b",1,1,1,"))),
        Hostile("B-2", "k", "A signed row whose k is not what its blocks and stripes give.",
                table(one, one.replace(b",1,2,1,", b",2,2,1,"))),
        Hostile("B-2", "stripes", "A signed row with no stripes.", table(one, one.replace(b",1,2,1,", b",1,2,0,"))),
        Hostile("B-2", "body", "A body that is not whole blocks.", rows(",4096,3968,", ",4096,3969,")),
        Hostile("B-3", "large", "A signed row of more than 288 MiB.",
                rows(",1,2,1,4096,3968,", ",128,2,610,4096,309821440,")),
        Hostile("B-3", "catalog", "A catalog of a petabyte.", Lies(
            statement=lambda s: replace(s, catalog=replace(s.catalog, k=128, m=2, stripes=2**32 - 1,
                                                           body=(2**32 - 1) * 128 * 3968)))),
        Hostile("S-6", "root", "A signed root that is not that of the segment, and its group gives no other.",
                Lies(table=_other_root)),
        Hostile("S-8", "parity", "Parity that gives back something else; the block is lost in both members.",
                Lies(parity=lambda _: off()), more={"splices": ZERO_OUT}),
        Hostile("G-9", "outer", "A parity segment of something else; the data segment is gone.",
                Lies(outer=lambda body: body[:-1] + bytes([body[-1] ^ 1])),
                more={"splices": [{"do": "delete", "file": "1/00000000.abs"}]}),
        Hostile("S-8", "whole", "Parity that would give back something else, and nothing is lost: whole.",
                Lies(parity=lambda _: off())),
        Hostile("G-1", "number", "A row out of order.", table(b'[1,"parity"', b'[2,"parity"')),
        Hostile("G-1", "role", "A row of an unknown role.", table(b'"parity"', b'"twin"')),
        Hostile("G-1", "volume", "A row on a volume that the bundle does not have.",
                table(b'"data",0,0,1,', b'"data",0,0,2,')),
        Hostile("G-1", "catalog-group", "The catalog's own row names a group.", Lies(
            statement=lambda s: replace(s, catalog=replace(s.catalog, group=1)))),
        Hostile("G-1", "missing", "A table with a row less than the catalog's number.",
                Lies(table=lambda raw: raw[:raw.index(b',[1,"parity"')] + b"]}")),
        Hostile("G-2", "behind", "A byte behind the sealed manifest that is not zero.",
                Lies(body=lambda raw: raw + b"\1")),
        Hostile("G-6", "no-parity", "A group without a parity segment.", table(two, two.replace(b"parity", b"data"))),
        Hostile("G-6", "position", "A position twice.", table(b'"parity",0,1,', b'"parity",0,0,')),
        Hostile("G-6", "group", "Groups that do not begin at 0.", table(b'"data",0,', b'"data",1,')),
        Hostile("G-6", "body", "A parity segment longer than its data member.",
                table(two + b"3968", two.replace(b",1,2,1,", b",2,2,1,") + b"7936")),
        Hostile("L-2", "length", "A table of more than 64 MiB, by its length field.",
                Lies(body=lambda raw: struct.pack("<Q", (64 << 20) + 1) + raw[8:])),
        Hostile("L-2", "past-the-end", "A table that is longer than the body.",
                Lies(body=lambda raw: struct.pack("<Q", 100_000) + raw[8:])),
        Hostile("L-3", "length", "A sealed manifest of a terabyte, by its length field.", Lies(body=_long_manifest)),
        Hostile("E-1", "table", "A table with white space.", Lies(table=lambda raw: raw.replace(b",", b", ", 1))),
    ]


def _other_root(raw: bytes) -> bytes:
    rows = json.loads(raw)["rows"]
    rows[0][-1] = "00" * 32
    return json.dumps({"rows": rows}, separators=(",", ":")).encode()


def _long_manifest(raw: bytes) -> bytes:
    end = 8 + struct.unpack_from("<Q", raw)[0]
    return raw[:end] + struct.pack("<Q", 1 << 40) + raw[end + 8:]


def _sealed() -> list[Hostile]:
    first = (b"first " * 40 + b"second " * 50)[:400]
    zstd = zstandard.compress
    tail = struct.Struct("<B2I").pack
    return [
        Hostile("K-9", "other-segment", "Sealed with the key of another segment.", Lies(sealed_as=7)),
        Hostile("S-10", "swapped", "Two sealed chunks in each other's place.",
                Lies(parts=lambda p: [p[1], p[0], *p[2:]]), files={"a": b"0123456789" * 80}),
        Hostile("C-1", "bad-seal", "A bomb of a frame in a chunk whose seal does not open.",
                Lies(chunk=lambda _: ("zstd", zstd(bytes(8 << 20))), parts=lambda p: [
                    p[0][:-1] + bytes([p[0][-1] ^ 1]), *p[1:]])),
        Hostile("S-11", "outside", "A trailer that points outside the body.", trailer(put(0, 1 << 40))),
        Hostile("S-11", "zeros", "A trailer whose last bytes are not zero.", trailer(put(3, bytes(11) + b"\1"))),
        Hostile("S-11", "chunks", "A trailer that says a chunk less: the index is sealed under another counter.",
                trailer(put(2, 1))),
        Hostile("S-12", "behind", "A byte behind the index that is not zero.",
                Lies(padded=lambda raw: raw[:-1] + b"\1")),
        Hostile("S-13", "digest", "A chunk's digest is not that of its bytes.", row(digest="00" * 32)),
        Hostile("S-13", "length", "The lengths of the chunks do not add up.",
                Lies(index=lambda i: replace(i, length=i.length - 1))),
        Hostile("S-13", "sealed", "The sealed lengths do not end where the index begins.", row(sealed=415)),
        Hostile("S-14", "codec", "A codec that is none.", Lies(chunk=lambda plain: ("lz4", plain))),
        Hostile("S-14", "filler", "A filler that has a length.", Lies(chunk=lambda plain: ("filler", plain))),
        Hostile("S-14", "empty", "A raw chunk of no bytes.", Lies(index=_and_an_empty_chunk)),
        Hostile("S-14", "too-long", "A chunk of more than 1 MiB.", row(length=(1 << 20) + 1)),
        Hostile("S-15", "chunks", "A trailer with 65,537 chunks.", trailer(put(2, 65_537))),
        Hostile("L-1", "index", "A trailer with an index of more than 32 MiB.", trailer(put(1, (32 << 20) + 1))),
        Hostile("E-3", "index", "An index with a space.", Lies(
            index=lambda index: as_json(index, b'"chunks":', b'"chunks" :'))),
        Hostile("C-2", "more", "A frame of more bytes than the index says.", frame(lambda p: zstd(p + b"x"))),
        Hostile("C-2", "less", "A frame of less bytes.", frame(lambda p: zstd(p[:-1]))),
        Hostile("C-2", "bomb", "A frame of 8 MiB.", frame(lambda _: zstd(bytes(8 << 20)))),
        Hostile("C-2", "two-frames", "A second frame behind the first.", frame(lambda p: zstd(p) + zstd(b"x"))),
        Hostile("C-2", "behind", "A byte behind the frame.", frame(lambda p: zstd(p) + b"x")),
        Hostile("C-2", "skippable", "A skippable frame in front.",
                frame(lambda p: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(p))),
        Hostile("C-2", "cut", "A frame that is cut off.", frame(lambda p: zstd(p)[:-1])),
        Hostile("C-2", "no-size", "A frame that does not declare its size.", frame(_without_size)),
        Hostile("C-2", "window", "A frame that wants a window of 2 MiB.", frame(_with_window)),
        Hostile("C-2", "dictionary", "A frame that names a dictionary.", frame(_with_dictionary)),
        Hostile("C-3", "phase", "A phase that is not below the width.",
                planes(tail(2, 199, 199) + b"xx") if len(first) else Lies()),
        Hostile("C-3", "plane-length", "A plane that is stored longer than its words.", planes(tail(0, 201, 199))),
        Hostile("C-3", "lengths", "Planes that do not add up to the packed chunk.", planes(tail(0, 200, 100))),
        Hostile("C-3", "header", "A packed chunk that ends within its header.", Lies(
            chunk=lambda _: ("planes-4", b"\0\1\2"))),
        Hostile("C-3", "raw", "A raw chunk with a byte more than the index says.",
                Lies(chunk=lambda plain: ("raw", plain + b"x"))),
        Hostile("C-2", "plane-frame", "A plane as a frame of another size than its words.", Lies(chunk=_plane_frame)),
    ]


def _and_an_empty_chunk(index: Any) -> Any:
    rows = (replace(index.chunks[0], length=0), *index.chunks[1:])
    return replace(index, chunks=rows, length=index.length - index.chunks[0].length)


def _raw_frame(plain: bytes, descriptor: int, extra: bytes, size: bytes) -> bytes:
    block = (len(plain) << 3 | 1).to_bytes(3, "little")  # one raw block, the last
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + extra + size + block + plain


def _without_size(plain: bytes) -> bytes:
    return _raw_frame(plain, 0, b"\0", b"")  # a window of 1 KiB, no content size


def _with_window(plain: bytes) -> bytes:
    return _raw_frame(plain, 0x40, bytes([11 << 3]), (len(plain) - 256).to_bytes(2, "little")) \
        if len(plain) >= 256 else _raw_frame(plain, 0x80, bytes([11 << 3]), len(plain).to_bytes(4, "little"))


def _with_dictionary(plain: bytes) -> bytes:
    return _raw_frame(plain, 0xA1, b"\7", len(plain).to_bytes(4, "little"))


def _plane_frame(plain: bytes) -> tuple[str, bytes]:
    half = len(plain) // 2
    made = zstandard.compress(bytes(half + 1))
    return "planes-2", struct.pack("<B2I", 0, len(made), half) + made + plain[:half] + plain[2 * half:]


def _manifests() -> list[Hostile]:
    slices = [(0, 0, 589), (0, 1, 590), (1, 0, 590)]
    return [
        *(Hostile("G-4", field, f"The sealed manifest has another {field} than the statement.",
                  manifest(**{field: value})) for field, value in
          {"bundle": "00" * 16, "packer": "00" * 32, "recipients": ("00" * 32,), "series": "other",
           "sequence": 3}.items()),
        *(Hostile("G-5", f"slice-{at}", "A slice that does not cover the source stream.",
                  manifest(segments=(SliceRow(*one),))) for at, one in enumerate(slices)),
        Hostile("G-5", "no-slices", "No slices at all.", manifest(segments=())),
        Hostile("G-5", "index-name", "An index with another file than the manifest.", Lies(
            index=lambda i: replace(i, files=(i.files[0], FileSpan("c", 240, 350))))),
        Hostile("G-5", "index-size", "An index with another size of a file than the manifest.", Lies(
            index=lambda i: replace(i, files=(FileSpan("a", 0, 239), FileSpan("b", 239, 351))))),
        Hostile("G-5", "index-start", "An index that begins elsewhere than its slice.",
                Lies(index=lambda i: replace(i, start=1, files=(FileSpan("a", 1, 240), FileSpan("b", 241, 350))))),
        Hostile("G-11", "sha256", "The packer's SHA-256 of a file is not that of its bytes: its word.", Lies(
            manifest=lambda m: replace(m, files=(replace(m.files[0], sha256="00" * 32), *m.files[1:])))),
        Hostile("L-4", "order", "Meta data out of order.", manifest(meta=(("b", "1"), ("a", "2")))),
        Hostile("L-4", "twice", "A key of the meta data twice.", manifest(meta=(("a", "1"), ("a", "2")))),
        Hostile("L-4", "pairs", "257 pairs of meta data.", manifest(meta=tuple((f"{at:03}", "") for at in range(257)))),
        Hostile("L-4", "value", "A value of 4097 bytes.", manifest(meta=(("a", "v" * 4097),))),
        Hostile("L-4", "steering", "Meta data that would steer a terminal: allowed, and never shown as it is (E-4).",
                manifest(meta=(("k\x1b[2J", "v\x1b]0;x\x07"),))),
        Hostile("E-1", "manifest", "A manifest with a negative size.", Lies(
            manifest=lambda m: as_json(m, b",350,", b",-350,"))),
        Hostile("E-1", "float", "A manifest with a number that is not an integer.",
                Lies(manifest=lambda m: as_json(m, b",350,", b",350.0,"))),
        Hostile("E-1", "large", "A manifest with a number above 2^53 - 1.",
                Lies(manifest=lambda m: as_json(m, b",350,", b",9007199254740992,"))),
        Hostile("E-1", "unknown-field", "A manifest with a field that is not in the table.",
                Lies(manifest=lambda m: as_json(m, b'"meta":', b'"more":1,"meta":'))),
        Hostile("E-1", "twice", "A manifest with a field twice.",
                Lies(manifest=lambda m: as_json(m, b'"meta":[],', b'"meta":[],"meta":[],'))),
        Hostile("E-1", "missing-field", "A manifest without one of its fields.",
                Lies(manifest=lambda m: as_json(m, b'"series":null,', b""))),
        Hostile("E-1", "order", "A manifest with two fields in the other order.", Lies(
            manifest=lambda m: as_json(m, b'"series":null,"sequence":null', b'"sequence":null,"series":null'))),
        Hostile("E-1", "depth", "A manifest nested deeper than 8.",
                Lies(manifest=lambda m: as_json(m, b'"meta":[]', b'"meta":[[[[[[[[]]]]]]]]'))),
        Hostile("E-2", "escape", "A letter written as an escape.",
                Lies(manifest=lambda m: as_json(m, b'[["a",', b'[["\\u0061",'))),
        Hostile("E-2", "solidus", "A solidus with a backslash in front.",
                Lies(manifest=lambda m: as_json(replace(m, meta=(("a", "/"),)), b'"/"', b'"\\/"'))),
        Hostile("E-2", "utf-8", "A manifest that is not UTF-8.",
                Lies(manifest=lambda m: as_json(replace(m, meta=(("a", "v"),)), b'"v"', b'"\xff"'))),
        Hostile("E-2", "delete", "U+007F as itself, as it has to be.", manifest(meta=(("a", "\x7f"),))),
    ]


def _keys() -> list[Hostile]:
    def twice(honest: Any) -> Any:
        return honest.envelopes * 2

    def other_context(field: str, value: Any) -> Lies:
        return preamble(lambda honest: write_preamble_bytes(dataclasses.replace(honest, **{field: value})))

    passphrase = {"key": "", "passphrase": PASSPHRASE}
    return [
        Hostile("K-2", "packer", "A preamble that names another packer than the statement.",
                other_context("packer_id", person("stranger-standard").public.key_id)),
        Hostile("K-2", "bundle", "A preamble of another bundle.", other_context("bundle_id", bytes(16))),
        Hostile("K-2", "suite", "A preamble of the other suite.", Lies(preamble=_other_suite)),
        Hostile("K-5", "sealed-wrongly", "An envelope for the key that does not open.",
                envelopes(lambda p: (SealedKey(p.envelopes[0].recipient, p.envelopes[0].sealed[:-1] + b"\0"),))),
        Hostile("K-5", "of-another-bundle", "An envelope that was sealed for another bundle.",
                Lies(preamble=_of_another_bundle)),
        Hostile("K-6", "behind", "A byte behind the last envelope.", Lies(preamble=lambda raw: raw + b"\0")),
        Hostile("K-6", "cut", "A preamble that ends inside an envelope.", Lies(preamble=lambda raw: raw[:-1])),
        Hostile("K-6", "none", "A preamble without envelopes.",
                Lies(preamble=lambda raw: raw[:1] + b"\0" + raw[2:84])),
        Hostile("K-6", "twice", "A recipient twice.", envelopes(twice)),
        Hostile("K-6", "type", "An envelope of type 3.", envelopes(
            lambda p: (dataclasses.replace(p.envelopes[0], kind=3),))),
        Hostile("K-6", "size", "An envelope of type 1 with a byte more.", envelopes(
            lambda p: (dataclasses.replace(p.envelopes[0], sealed=p.envelopes[0].sealed + b"\0"),))),
        Hostile("K-6", "zero", "Bytes of the preamble's head that are not zero.",
                Lies(preamble=lambda raw: raw[:2] + b"\1" + raw[3:])),
        Hostile("K-7", "envelopes", "The statement has another hash of the preamble.", Lies(
            statement=lambda s: replace(s, preamble=replace(s.preamble, hash="00" * 32),
                                        envelopes=replace(s.envelopes, hash="00" * 32)))),
        Hostile("K-8", "commitment", "The envelope holds another key than the preamble is committed to.",
                other_context("commitment", bytes(32))),
        Hostile("K-11", "suite", "A statement of the other suite than the key of its packer.", Lies(
            statement=lambda s: replace(s, suite="cnsa2"))),
        Hostile("K-11", "countersignature", "A countersignature of another suite: counts for nothing, is reported.",
                signers("packer-standard", "officer-cnsa2"),
                more={"trust": ["packer-standard", "officer-cnsa2"]}),
        Hostile("K-12", "beside", "An envelope under a passphrase beside one for a key.",
                locked(beside=True), more=passphrase),
        Hostile("K-12", "recipient", "An envelope under a passphrase that names a recipient.",
                locked(recipient=b"\1" + bytes(31)), more=passphrase),
        Hostile("K-12", "suite", "An envelope of type 2 in the suite that has none.", envelopes(
            lambda p: (SealedKey(bytes(48), bytes(76), ENVELOPE_PASSPHRASE),)), base="cnsa2"),
        Hostile("K-13", "opens", "Under a passphrase, as it should be.", locked(), more=passphrase),
        *(Hostile("K-14", name, f"A passphrase that asks for {what}.", locked(cost=struct.pack("<3I", *cost)),
                  more=passphrase) for name, what, cost in (
            ("memory", "a TiB of memory", (1 << 30, 1, 1)), ("iterations", "17 iterations", (64, 17, 1)),
            ("lanes", "17 lanes", (1024, 1, 17)), ("few", "less than 8 KiB for each lane", (15, 1, 2)),
            ("none", "no iterations", (64, 0, 1)))),
        Hostile("K-15", "unsigned", "The largest cost that is allowed, and no signature that counts.",
                dataclasses.replace(locked(cost=PassphraseCost(512 << 10, 16, 16).packed()),
                                    document=signers("stranger-standard").document), more=passphrase),
        Hostile("G-10", "revision-0", "Two preambles in a statement of revision 0.", Lies(
            statement=lambda s: replace(s, envelopes=replace(s.envelopes, hash="00" * 32)))),
    ]


def _other_suite(raw: bytes) -> bytes:
    found = parse_preamble(raw)
    return (struct.pack("<BBH", 2, 1, 0) + found.bundle_id + bytes(48) + bytes(48)
            + struct.pack("<BBH", 1, 0, 1616) + bytes(48) + bytes(1616))


def _of_another_bundle(raw: bytes) -> bytes:
    draw = stream("plain")
    key = (draw(16), BundleKey.generate(entropy=draw))[1]
    packer = person("packer-standard")
    other = parse_preamble(write_preamble(Context(packer.suite, bytes(16), packer.public.key_id), key,
                                          [person("reader-standard").public]))
    return write_preamble_bytes(dataclasses.replace(parse_preamble(raw), envelopes=other.envelopes))


def _statements() -> list[Hostile]:
    volume = b'{"number":1,"name":"","size":1,"serial":null}'

    def volumes(count: int) -> bytes:
        return b",".join(volume.replace(b":1,", b":%d," % number, 1) for number in range(1, count + 1))

    def other_type(fields: dict[str, Any]) -> None:
        fields["payloadType"] = "application/vnd.airbundle.receipt.v1+json"

    def added(fields: dict[str, Any]) -> None:
        fields["more"] = 1

    def another_payload(fields: dict[str, Any]) -> None:
        raw = base64.b64decode(fields["payload"]).replace(b'"forged"', b'"gilded"')
        fields["payload"] = base64.b64encode(raw).decode()

    def loose(fields: dict[str, Any]) -> None:
        text = fields["signatures"][0]["sig"]
        assert text.endswith("=")
        fields["signatures"][0]["sig"] = text.rstrip("=")

    two_tongues = [{"do": "copy", "file": "1/statement.rec", "from": "1/statement.rec", "base": "plain"}]
    return [
        Hostile("T-1", "type", "Signed as a document of another type.",
                signers("packer-standard", payload_type="application/vnd.airbundle.receipt.v1+json")),
        Hostile("T-1", "type-changed", "The type was changed after signing.", document(other_type)),
        Hostile("T-2", "ed25519", "The Ed25519 half of the signature does not hold.", signature(flip(5))),
        Hostile("T-2", "mldsa", "The ML-DSA half of the signature does not hold.", signature(flip(100))),
        Hostile("T-2", "short", "A signature that is cut.", signature(lambda raw: raw.__delitem__(slice(64, None)))),
        Hostile("T-2", "mldsa-87", "The signature of the other suite does not hold.", signature(flip(9)), base="cnsa2",
                more={"trust": ["packer-cnsa2"], "key": "reader-cnsa2"}),
        Hostile("T-2", "payload", "The payload was changed after signing.", document(another_payload)),
        Hostile("T-3", "countersigner", "Signed by a trusted officer and not by the packer.",
                signers("officer-standard"),
                more={"trust": ["packer-standard", "officer-standard"]}),
        Hostile("T-3", "stranger-too", "An unknown key has signed too: counts for nothing.",
                signers("packer-standard", "stranger-standard")),
        Hostile("T-3", "failing-too", "A trusted officer's signature does not hold: counts for nothing, is reported.",
                signers("packer-standard", "officer-standard", spoil=("officer-standard",)),
                more={"trust": ["packer-standard", "officer-standard"]}),
        Hostile("T-4", "two-labels", "Statement and record are two signed payloads of one revision.",
                statement(label="gilded"), more={"splices": two_tongues}),
        Hostile("T-4", "two-bundles", "The record is a statement of another bundle by the same packer.", Lies(),
                more={"splices": [{"do": "copy", "file": "1/statement.rec", "from": "1/statement.rec",
                                   "base": "stripes"}]}),
        Hostile("T-5", "eleven", "Eleven signatures.", many(11)),
        Hostile("T-5", "ten", "Ten signatures, nine of them by nobody: allowed.", many(10)),
        Hostile("T-5", "same-key", "Two signatures by one key.", many(2, same=True)),
        Hostile("T-5", "none", "No signatures.", document(lambda fields: fields.update(signatures=[]))),
        Hostile("T-5", "numbers", "Volumes that are not numbered from 1.",
                payload(volume, volume.replace(b":1,", b":2,", 1))),
        Hostile("T-5", "no-volumes", "No volumes.", payload(volume, b"")),
        Hostile("T-5", "65-volumes", "65 volumes.", payload(volume, volumes(65))),
        Hostile("T-5", "series", "A series without a sequence.", statement(series="nightly")),
        Hostile("T-5", "role", "The catalog's row has another role.", payload(b'"catalog",0', b'"data",0')),
        Hostile("T-6", "lose", "One of one volume may be lost.", statement(lose=1)),
        Hostile("T-10", "revision", "A revision that a writer may have reached: any number is as good.",
                statement(revision=7)),
        Hostile("L-5", "payload", "A payload of more than 16 KiB.", payload(volume, volumes(64).replace(
            b'"name":""', b'"name":"' + b"n" * 250 + b'"'))),
        Hostile("K-1", "name", "A suite that nobody knows.", payload(b'"standard"', b'"cnsa3"')),
        Hostile("E-1", "version", "A payload of version 2.", payload(b'{"airbundle":1', b'{"airbundle":2')),
        Hostile("E-1", "payload-field", "A payload with a field that is not in the table.",
                payload(b'"lose":', b'"more":1,"lose":')),
        Hostile("E-1", "base", "A payload whose base is not null.", payload(b'"base":null', b'"base":1')),
        Hostile("E-3", "payload-space", "A payload with a space.", payload(b'"lose":', b'"lose": ')),
        Hostile("E-3", "envelope-field", "An envelope with a field more.", document(added)),
        Hostile("E-3", "base64", "A signature in base64 without padding.", document(loose), base="cnsa2",
                more={"trust": ["packer-cnsa2"], "key": "reader-cnsa2"}),
        *(Hostile("E-4", name, f"A label {what}.", statement(label=text)) for name, what, text in (
            ("escape", "that steers a terminal", "\x1b[31mred"), ("direction", "that turns the direction", "a\u202eb"),
            ("nfc", "that is not in NFC", "e\u0301"), ("space", "with a space that is none", "a\u00a0b"),
            ("long", "of 257 bytes", "x" * 257), ("private", "with a character of private use", "\ue000"))),
        Hostile("P-6", "label", "A label with a code point that is not assigned: not refused.",
                statement(label="a\u0378")),
    ]


def _paths() -> list[Hostile]:
    one = {
        "P-1": {"up": "../out", "up-inside": "a/../../out", "absolute": "/etc/out", "empty-part": "a//b", "dot": "./a",
                "nfd": "e\u0301", "slash-end": "a/"},
        "P-2": {"nul": "nul\0in", "backslash": "back\\slash", "colon": "C:", "escape": "esc\x1b[31m",
                "direction": "rtl\u202e", "star": "star*", "line": "line\u2028sep"},
        "P-3": {"con": "con", "aux": "Aux.txt", "com1": "sub/COM1", "superscript": "com\u00b9", "dot-end": "dot.",
                "space-end": "space ", "conin": "conin$", "spaces-before-dot": "nul .txt"},
        "P-4": {"part": "p" * 256, "bytes": "\u00e4" * 128, "parts": "/".join("d" * 65),
                "path": "/".join(["p" * 200] * 6)},
    }
    two = {"case": ("A", "a"), "order": ("b", "a"), "twice": ("a", "a"), "folder": ("a", "a/b"),
           "fold": ("stra\u00dfe", "strasse"), "folder-case": ("D/y", "d/x")}
    return [
        *(Hostile(rule, name, f"A file named {path[:40]!a}.", named(path), files={"a": b"content " * 60})
          for rule, paths in one.items() for name, path in paths.items()),
        *(Hostile("P-5", name, f"Files named {pair!a}.", named(*pair)) for name, pair in two.items()),
        *(Hostile("P-1", f"folder-{at}", f"An empty folder named {path!a}.", manifest(folders=(path,)))
          for at, path in enumerate(("../up", "c/"))),
        Hostile("P-5", "folder-order", "Empty folders out of order.", manifest(folders=("y", "x"))),
        Hostile("P-5", "folder-file", "An empty folder with the name of a file.", manifest(folders=("a",))),
        Hostile("P-6", "unassigned", "A path with a code point that is not assigned: not refused.",
                named("a\u0378", "b")),
        Hostile("P-4", "longest", "A part of 255 bytes: allowed.", named("p" * 255), files={"a": b"content " * 60}),
    ]
