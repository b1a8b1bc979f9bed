"""Every limit from both sides: what is just allowed is read, what is one more is refused by its rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from airbundle.errors import FormatError
from airbundle.format import encoding, limits
from airbundle.format.block import MAGIC, Kind, parse_header, write_digests
from airbundle.format.catalog import Row, parse_body, write_body
from airbundle.format.dsse import Envelope, Signature, parse_envelope, write_envelope
from airbundle.format.geometry import GEOMETRY, HEADER_SIZE, Geometry, Placement, stripe_shape
from airbundle.format.limits import GIB, KIB, MIB
from airbundle.format.manifest import FileRow, Manifest, SliceRow, parse_manifest, write_manifest
from airbundle.format.names import SafePath, check_public_text
from airbundle.format.segment import ChunkRow, FileSpan, Index, Trailer, parse_index, parse_trailer
from airbundle.format.statement import PreambleRef, Statement, VolumeRow, parse_statement, shortened, write_statement

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = (Path(__file__).parents[2] / "spec" / "bundle.md").read_text()

# Each limit with the words of the spec that say it.
WRITTEN = {
    "BLOCK_MIN": ("power of two from 4 KiB to 1 MiB", 4 * KIB), "BLOCK_MAX": ("power of two from 4 KiB to 1 MiB", MIB),
    "COLUMNS_MAX": ("`1 <= k <= 128`", 128), "PARITY_ROWS_MIN": ("`2 <= m <= 128`", 2),
    "PARITY_ROWS_MAX": ("`2 <= m <= 128`", 128), "SEGMENT_STORED_MAX": ("| stored segment | 288 MiB", 288 * MIB),
    "SLICE_MAX": ("| source slice of a segment | 256 MiB", 256 * MIB), "CHUNK_MAX": ("1 byte to 1 MiB", MIB),
    "CHUNKS_MAX": ("at most 65,536 chunks", 65_536), "SEGMENT_FILES_MAX": ("at most 65,536 files", 65_536),
    "LIST_COMBINATIONS_MAX": ("more than 64\ncombinations (S-7)", 64),
    "PREAMBLE_MAX": ("preamble has at most 128 KiB", 128 * KIB),
    "ARGON2_KIB_MAX": ("| Argon2id | 512 MiB, 16 iterations, 16 lanes", 512 * KIB),
    "ARGON2_ITERATIONS_MAX": ("16 iterations", 16), "ARGON2_LANES_MAX": ("16 lanes", 16),
    "PASSPHRASE_MIN": ("passphrase of less than 8 bytes", 8),
    "INDEX_MAX": ("| index of a segment (its JSON) | 32 MiB", 32 * MIB),
    "TABLE_MAX": ("| catalog table | 64 MiB", 64 * MIB), "ROWS_MAX": ("262,144 rows", 262_144),
    "MANIFEST_MAX": ("| manifest (its JSON) | 128 MiB", 128 * MIB), "FILES_MAX": ("524,288 files", 524_288),
    "FOLDERS_MAX": ("524,288 folders", 524_288), "META_PAIRS_MAX": ("| meta | 256 pairs", 256),
    "META_KEY_MAX": ("1 to 256 bytes a key", 256), "META_VALUE_MAX": ("at most 4096 a value", 4096),
    "SIGNATURES_MAX": ("1 to 10 signatures", 10), "VOLUMES_MAX": ("1 to 64 volumes", 64),
    "STATEMENT_PAYLOAD_MAX": ("payload 16 KiB", 16 * KIB), "STATEMENT_MAX": ("| statement | 95 KiB", 95 * KIB),
    "VOLUME_ENTRIES_MAX": ("folder | 300,000", 300_000), "VOLUME_FILE_MAX": ("less than 4 GiB", 4 * GIB - 1),
    "INTEGER_MAX": ("2^53 - 1", 2**53 - 1), "PUBLIC_TEXT_MAX": ("at most 256", 256),
    "PATH_PART_MAX": ("A part has at most 255 bytes", 255), "PATH_MAX": ("a path at most 1024 bytes", 1024),
    "PATH_PARTS_MAX": ("at most 64 parts", 64),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_spec_says_each_limit(name: str) -> None:
    words, value = WRITTEN[name]
    assert getattr(limits, name) == value
    assert re.sub(r"\s+", " ", words) in re.sub(r"\s+", " ", SPEC)


def geometry(**changes: Any) -> Geometry:
    size = changes.get("block_size", 4 * KIB)
    plain = {"suite": 1, "digest_size": 32, "k": 4, "m": 2, "stripes": 2, "block_size": size, "bundle": bytes(16),
             "number": 0, "salt": bytes(16), "body": 8 * (size - HEADER_SIZE)}
    return Geometry(**{**plain, **changes})


def blocks(k: int, stripes: int, count: int, **more: Any) -> Geometry:
    return geometry(k=k, stripes=stripes, body=count * (more.get("block_size", 4 * KIB) - HEADER_SIZE), **more)


ALLOWED: dict[str, Callable[[], object]] = {
    "the smallest block": lambda: geometry(block_size=4 * KIB),
    "the largest block": lambda: blocks(1, 1, 1, block_size=MIB),
    "one column": lambda: blocks(1, 1, 1), "128 columns": lambda: blocks(128, 1, 128), "2 rows": lambda: geometry(m=2),
    "128 rows": lambda: geometry(m=128), "as many stripes as blocks": lambda: blocks(1, 8, 8),
    "a stripe that is not full": lambda: blocks(4, 2, 7), "the last number": lambda: geometry(number=2**53 - 1),
    "288 MiB": lambda: Placement(blocks(99, 2, 198, m=43, block_size=MIB), 1),
    "288 MiB without a preamble": lambda: blocks(100, 2, 200, m=43, block_size=MIB),
    "a preamble of one byte": lambda: Placement(geometry(), 1),
    "the longest preamble": lambda: Placement(geometry(), 128 * KIB),
}
REFUSED: dict[str, tuple[str, Callable[[], object]]] = {
    "a block of 2 KiB": ("B-1", lambda: geometry(block_size=2 * KIB)),
    "a block of 2 MiB": ("B-1", lambda: blocks(1, 1, 1, block_size=2 * MIB)),
    "a block of 5000": ("B-1", lambda: geometry(block_size=5000)), "no column": ("B-2", lambda: blocks(0, 1, 1)),
    "129 columns": ("B-2", lambda: blocks(129, 1, 129)), "1 row": ("B-2", lambda: geometry(m=1)),
    "129 rows": ("B-2", lambda: geometry(m=129)), "an empty body": ("B-2", lambda: geometry(k=0, stripes=0, body=0)),
    "half a block": ("B-2", lambda: geometry(body=8 * (4 * KIB - HEADER_SIZE) + 1)),
    "less than a block": ("B-2", lambda: geometry(k=1, stripes=1, body=100)),
    "no stripe": ("B-2", lambda: geometry(stripes=0)), "more stripes than blocks": ("B-2", lambda: blocks(1, 9, 8)),
    "columns for more blocks": ("B-2", lambda: blocks(5, 2, 8)), "columns for fewer": ("B-2", lambda: blocks(3, 2, 8)),
    "a number too large": ("B-2", lambda: geometry(number=2**53)),
    "a negative number": ("B-2", lambda: geometry(number=-1)),
    "a short bundle id": ("B-2", lambda: geometry(bundle=bytes(15))),
    "a long salt": ("B-2", lambda: geometry(salt=bytes(17))),
    "289 MiB": ("B-3", lambda: Placement(blocks(100, 2, 199, m=43, block_size=MIB), 1)),
    "289 MiB without a preamble": ("B-3", lambda: blocks(101, 2, 201, m=43, block_size=MIB)),
    "no preamble": ("K-6", lambda: Placement(geometry(), 0)),
    "a preamble too long": ("K-6", lambda: Placement(geometry(), 128 * KIB + 1)),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_a_geometry_just_inside(what: str) -> None:
    ALLOWED[what]()


@pytest.mark.parametrize("what", REFUSED)
def test_a_geometry_just_outside(what: str) -> None:
    rule, make = REFUSED[what]
    with pytest.raises(FormatError) as caught:
        make()
    assert caught.value.rule == rule


def test_a_placement_counts_both_lists_and_both_preambles() -> None:
    place = Placement(blocks(99, 2, 198, m=43, block_size=MIB), 1)
    assert (place.block_count, place.stored_size) == (288, 288 * MIB)
    assert (place.preambles_at, place.lists_at, place.data_at, place.parity_at) == ((0, 287), (1, 286), 2, 200)


@pytest.mark.parametrize(("count", "size", "percent"), [
    (1, 4 * KIB, 0.0), (128, 64 * KIB, 5.0), (129, 64 * KIB, 5.0), (4000, 64 * KIB, 6.25), (300, 4 * KIB, 0.0),
    (128, 64 * KIB, 100.0), (2000, 64 * KIB, 0.0)])
def test_the_shape_of_stripes_is_that_of_the_rule(count: int, size: int, percent: float) -> None:
    """S-3 in other words: the fewest stripes, columns that fit, rows for percent, for two, and for a hole of 1 MiB."""
    k, m, stripes = stripe_shape(count, size, percent)
    assert stripes == -(-count // 128)
    assert (k - 1) * stripes < count <= k * stripes
    hole = min(MIB + size, count * size)
    wanted = [2, -(-hole // (stripes * size)), next(rows for rows in range(1000) if rows * 100 >= percent * k)]
    assert m == min(128, max(wanted))


def header(**changes: int) -> bytes:
    fields = {"version": 1, "suite": 1, "kind": int(Kind.DATA), "k": 4, "m": 2, "zero": 0, "stripes": 2,
              "block_size": 4096, "index": 0, "payload_length": 3968, **changes}
    packed = GEOMETRY.pack(fields["version"], fields["suite"], fields["kind"], fields["k"], fields["m"], fields["zero"],
                           fields["stripes"], fields["block_size"], bytes(16), 0, bytes(16), 8 * 3968)
    return MAGIC + bytes(48) + packed + fields["index"].to_bytes(4, "little") + fields["payload_length"].to_bytes(
        4, "little")


def test_headers_at_their_bounds() -> None:
    digests = {1: 32, 2: 48}
    for kind in Kind:
        if kind in (Kind.PREAMBLE, Kind.LIST, Kind.DATA, Kind.PARITY):
            assert parse_header(header(kind=int(kind)), digests).kind is kind
    assert len(header()) == HEADER_SIZE
    for raw, rule in ((header()[:-1], "B-4"), (b"", "B-4"), (b"x" + header()[1:], "B-4"), (header(version=2), "B-4"),
                      (header(version=0), "B-4"), (header(suite=3), "K-1"), (header(suite=0), "K-1"),
                      (header(kind=0), "B-4"), (header(kind=5), "B-4"), (header(zero=1), "B-4"),
                      (header(payload_length=3969), "B-7"), (header(k=5), "B-2")):
        with pytest.raises(FormatError) as caught:
            parse_header(raw, digests)
        assert caught.value.rule == rule, raw


def index(*chunks: ChunkRow, files: tuple[FileSpan, ...] = (FileSpan("a", 0, 10),), start: int = 0,
          length: int = 10) -> tuple[bytes, Trailer]:
    raw = encoding.encode(Index(start, length, chunks, files))
    return raw, Trailer(sum(chunk.sealed for chunk in chunks), len(raw), len(chunks))


def chunk(length: int, sealed: int, codec: str = "raw") -> ChunkRow:
    return ChunkRow(codec=codec, length=length, sealed=sealed, digest="0" * 64)


INDEXES: dict[str, tuple[str, Callable[[], tuple[bytes, Trailer]]]] = {
    "": ("", lambda: index(chunk(10, 26))),
    "the smallest seal": ("", lambda: index(chunk(10, 17))),
    "the largest chunk": ("", lambda: index(chunk(MIB, MIB + 16), files=(FileSpan("a", 0, MIB),), length=MIB)),
    "two files": ("", lambda: index(chunk(10, 26), files=(FileSpan("a", 0, 4), FileSpan("b", 4, 6)))),
    "a file that began before and goes on": ("", lambda: index(
        chunk(10, 26), files=(FileSpan("a", 0, 100),), start=50)),
    "a filler": ("", lambda: index(chunk(10, 26), chunk(0, 17, "filler"))),
    "nothing sealed": ("S-14", lambda: index(chunk(10, 16))),
    "sealed too long": ("S-14", lambda: index(chunk(MIB, MIB + 17), files=(FileSpan("a", 0, MIB),), length=MIB)),
    "a chunk too long": ("S-14", lambda: index(
        chunk(MIB + 1, 26), files=(FileSpan("a", 0, MIB + 1),), length=MIB + 1)),
    "an empty chunk": ("S-14", lambda: index(chunk(10, 26), chunk(0, 17))),
    "a filler with content": ("S-14", lambda: index(chunk(10, 26, "filler"))),
    "an unknown codec": ("S-14", lambda: index(chunk(10, 26, "lz4"))),
    "chunks too short": ("S-13", lambda: index(chunk(9, 26))),
    "a file behind a gap": ("S-13", lambda: index(chunk(10, 26), files=(FileSpan("a", 0, 4), FileSpan("b", 5, 5)))),
    "a file that begins too late": ("S-13", lambda: index(chunk(10, 26), files=(FileSpan("a", 1, 9),))),
    "an empty file": ("S-13", lambda: index(chunk(10, 26), files=(FileSpan("a", 0, 0), FileSpan("b", 0, 10)))),
    "a file that ends before": ("S-13", lambda: index(chunk(10, 26), files=(FileSpan("a", 0, 50),), start=50)),
    "files too short": ("S-13", lambda: index(chunk(10, 26), files=(FileSpan("a", 0, 9),))),
    "a path that is none": ("P-1", lambda: index(chunk(10, 26), files=(FileSpan("../a", 0, 10),))),
}


@pytest.mark.parametrize("what", INDEXES)
def test_indexes(what: str) -> None:
    rule, make = INDEXES[what]
    raw, trailer = make()
    if not rule:
        assert parse_index(raw + bytes(5), trailer).chunks
        return
    with pytest.raises(FormatError) as caught:
        parse_index(raw, trailer)
    assert caught.value.rule == rule


def test_trailers() -> None:
    body = 100_000_000
    room = body - 48 - 16  # behind it lie the sealed trailer and the index' own tag
    assert parse_trailer(Trailer(room - 5, 5, 65_536).packed(), body) == Trailer(room - 5, 5, 65_536)
    assert parse_trailer(Trailer(0, 32 * MIB, 0).packed(), body).index_length == 32 * MIB
    for trailer, rule in ((Trailer(room - 4, 5, 1), "S-11"), (Trailer(0, 32 * MIB + 1, 1), "L-1"),
                          (Trailer(0, 5, 65_537), "S-15")):
        with pytest.raises(FormatError) as caught:
            parse_trailer(trailer.packed(), body)
        assert caught.value.rule == rule
    for at in range(20, 32):
        raw = bytearray(Trailer(0, 5, 1).packed())
        raw[at] = 1
        with pytest.raises(FormatError):
            parse_trailer(bytes(raw), body)


def manifest(**changes: Any) -> Manifest:
    plain: dict[str, Any] = {"bundle": "0" * 32, "packer": "0" * 64, "recipients": (), "series": None, "sequence": None,
                             "meta": (), "segments": (SliceRow(0, 0, 10),), "files": (FileRow("a", 10, "0" * 64),),
                             "folders": ()}
    return Manifest(**{**plain, **changes})


def meta(count: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"{number:03d}", "") for number in range(count))


MANIFESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("", {}), "256 pairs": ("", {"meta": meta(256)}), "the longest key": ("", {"meta": (("k" * 256, ""),)}),
    "the longest value": ("", {"meta": (("k", "v" * 4096),)}), "the shortest key": ("", {"meta": (("k", ""),)}),
    "beside the surrogates": ("", {"meta": (("\ud7ff", "\ue000"),)}),
    "the largest slice": ("", {"segments": (SliceRow(0, 0, 256 * MIB),),
    "files": (FileRow("a", 256 * MIB, "0" * 64),)}),
    "257 pairs": ("L-4", {"meta": meta(257)}), "a key too long": ("L-4", {"meta": (("k" * 257, ""),)}),
    "a key too long in bytes": ("L-4", {"meta": (("ä" * 129, ""),)}),
    "a value too long": ("L-4", {"meta": (("k", "v" * 4097),)}), "no key": ("L-4", {"meta": (("", ""),)}),
    "keys out of order": ("L-4", {"meta": (("b", ""), ("a", ""))}), "a key twice": ("L-4", {"meta": (("a", ""), ("a",
    ""))}),
    "the first surrogate": ("E-2", {"meta": (("k", "\ud800"),)}), "the last surrogate": ("E-2", {"meta": (("k",
    "\udfff"),)}),
    "a slice too large": ("G-5", {"segments": (SliceRow(0, 0, 256 * MIB + 1),),
                                  "files": (FileRow("a", 256 * MIB + 1, "0" * 64),)}),
    "an empty slice": ("G-5", {"segments": (SliceRow(0, 0, 0), SliceRow(1, 0, 10))}),
    "a gap": ("G-5", {"segments": (SliceRow(0, 1, 9),)}), "too little": ("G-5", {"segments": (SliceRow(0, 0, 9),)}),
    "too much": ("G-5", {"segments": (SliceRow(0, 0, 11),)}),
    "numbers off": ("G-5", {"segments": (SliceRow(1, 0, 10),)}),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_manifests(what: str) -> None:
    rule, changes = MANIFESTS[what]
    if not rule:
        raw = write_manifest(manifest(**changes))
        assert parse_manifest(raw) == manifest(**changes)
        return
    with pytest.raises(FormatError) as caught:
        write_manifest(manifest(**changes))
    assert caught.value.rule == rule


def test_files_that_come_one_by_one_give_the_same_manifest() -> None:
    rows = (FileRow("a", 4, "0" * 64), FileRow("b", 6, "1" * 64))
    whole = manifest(files=rows)
    assert write_manifest(manifest(), iter(rows)) == write_manifest(whole)
    empty = manifest(files=(), segments=())
    assert write_manifest(manifest(files=rows, segments=()), iter(())) == write_manifest(empty)
    for wrong, rule in (((rows[1], rows[0]), "P-5"), ((rows[0],), "G-5"), ((FileRow("con", 10, "0" * 64),), "P-3")):
        with pytest.raises(FormatError) as caught:
            write_manifest(whole, iter(wrong))
        assert caught.value.rule == rule


def test_sizes_of_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit and one byte over, with limits that a test can reach."""
    raw = write_manifest(manifest())
    monkeypatch.setattr(limits, "MANIFEST_MAX", len(raw))
    assert parse_manifest(write_manifest(manifest())) == manifest()
    monkeypatch.setattr(limits, "MANIFEST_MAX", len(raw) - 1)
    for attempt in (lambda: write_manifest(manifest()), lambda: parse_manifest(raw)):
        with pytest.raises(FormatError) as caught:
            attempt()
        assert caught.value.rule == "L-3"


def test_bodies_of_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    body = write_body(b"table", b"sealed")
    assert parse_body(body + bytes(3)) == (b"table", memoryview(b"sealed"))
    monkeypatch.setattr(limits, "TABLE_MAX", 5)
    monkeypatch.setattr(limits, "MANIFEST_MAX", 6)
    assert parse_body(body)[0] == b"table"
    monkeypatch.setattr(limits, "TABLE_MAX", 4)
    with pytest.raises(FormatError, match="5 bytes"):
        parse_body(body)
    monkeypatch.setattr(limits, "TABLE_MAX", 5)
    monkeypatch.setattr(limits, "MANIFEST_MAX", 5)
    with pytest.raises(FormatError, match="6 bytes"):
        parse_body(body)
    monkeypatch.setattr(limits, "MANIFEST_MAX", 4096)
    monkeypatch.setattr(limits, "SEALED_PIECE", 1024)  # four, each with a tag of 16 bytes
    assert len(parse_body(write_body(b"t", bytes(4160)))[1]) == 4160
    with pytest.raises(FormatError):
        parse_body(write_body(b"t", bytes(4161)))
    for short in (b"", body[:7], body[:12], body[:20], body[:-1]):
        with pytest.raises(FormatError):
            parse_body(short)


def test_envelopes() -> None:
    def envelope(size: int, signatures: int = 1) -> bytes:
        return write_envelope(Envelope("t", bytes(size), tuple(
            Signature(bytes([number]) * 32, b"s") for number in range(signatures))))

    assert len(parse_envelope(envelope(30), "t", payload_limit=30).payload) == 30
    assert len(parse_envelope(envelope(3, 10), "t").signatures) == 10
    for size in (31, 32, 33, 36):
        with pytest.raises(FormatError) as caught:
            parse_envelope(envelope(size), "t", payload_limit=30)
        assert caught.value.rule == "L-5"
    raw = envelope(30)
    assert parse_envelope(raw, "t", limit=len(raw))
    with pytest.raises(FormatError) as caught:
        parse_envelope(raw, "t", limit=len(raw) - 1)
    assert caught.value.rule == "T-5"


def test_names_and_texts() -> None:
    for good in ("a" * 255, "/".join(["ab"] * 64), "/".join(["x" * 204] * 5)):
        SafePath.parse(good)
    assert len("/".join(["x" * 204] * 5)) == 1024
    for bad in ("a" * 256, "/".join(["a"] * 65), "/".join(["x" * 204] * 4 + ["x" * 205])):
        with pytest.raises(FormatError) as caught:
            SafePath.parse(bad)
        assert caught.value.rule == "P-4"
    check_public_text("t" * 256)
    with pytest.raises(FormatError):
        check_public_text("t" * 257)


def test_what_a_writer_takes_by_default() -> None:
    assert (limits.BLOCK_DEFAULT, limits.SLICE_LEAST, limits.SLICE_DEFAULT) == (64 * KIB, 16 * MIB, 64 * MIB)


def test_the_field_of_a_digest_is_written_whole() -> None:
    """What lay in the buffer before does not stay behind a shorter digest (B-7)."""
    blocks = np.full((4, 256), 0xEE, np.uint8)
    write_digests(blocks, 1, bytes(range(64)), 32)
    assert blocks[1, 8:40].tobytes() == bytes(range(32))
    assert blocks[2, 8:40].tobytes() == bytes(range(32, 64))
    assert not blocks[1:3, 40:56].any()
    assert (blocks[[0, 3]] == 0xEE).all()
    assert (blocks[1:3, 56:] == 0xEE).all()


def test_a_path_twice_is_refused_and_a_folder_inside_one_is_seen() -> None:
    def files(*paths: str) -> tuple[FileRow, ...]:
        return tuple(FileRow(path, 0, "0" * 64) for path in paths)

    for paths in (("a", "a"), ("a/b/c", "a/b/c")):
        with pytest.raises(FormatError) as caught:
            write_manifest(manifest(files=files(*paths), segments=()))
        assert caught.value.rule == "P-5"
    for paths in (("a/b/c", "a/b"), ("a/b/c", "A/b/d"), ("a/x/c", "a/X/d")):
        with pytest.raises(FormatError) as caught:
            write_manifest(manifest(files=files(*sorted(paths)), segments=()))
        assert caught.value.rule == "P-5"


@pytest.mark.parametrize(("count", "name", "serial"), [
    *((64, text, text) for text in ("x" * 256, "\U0001f600" * 64, "ä" * 128)),
    (64, "x", "x" * 256), (64, "x" * 256, None), (3, "x" * 256, "x" * 256)])
def test_a_statement_of_many_media_with_long_names_fits(count: int, name: str, serial: str | None) -> None:
    media = tuple(VolumeRow(number, name, 2**53 - 1, serial) for number in range(1, count + 1))
    digest = "f" * 96
    ref = PreambleRef(128 * KIB, digest)
    row = Row(262_144, "catalog", 0, 0, 0, 128, 128, 2**31, MIB, 2**40, "f" * 32, digest)
    statement = Statement(
        airbundle=1, bundle="f" * 32, suite="cnsa2", packer=digest, revision=0, created=2**53 - 1, expires=2**53 - 1,
        series="s" * 256, sequence=2**53 - 1, label="l" * 256, marking="m" * 256, preamble=ref, envelopes=ref,
        catalog=row, volumes=shortened(media), lose=0, base=None, writer="w" * 256)
    assert parse_statement(write_statement(statement)) == statement
    if count == 3:
        assert shortened(media) == media
        return
    with pytest.raises(FormatError):
        write_statement(msgspec.structs.replace(statement, volumes=media))
