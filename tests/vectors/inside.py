"""The vectors whose fault is inside of the seals: chunks, index, trailer, manifest, paths."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import zstandard

from airbundle.codec import planes as codec_planes
from airbundle.format.manifest import SliceRow
from airbundle.format.segment import FileSpan
from tests.transfer.forge import Lies
from tests.vectors.lies import (
    Hostile,
    as_json,
    frame,
    manifest,
    named,
    planes,
    put,
    replace,
    row,
    trailer,
)


def sealed_vectors() -> list[Hostile]:
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
        Hostile("S-12", "zeros", "Zeros behind the index that fill a block more: as many as the packer likes.",
                Lies(padded=lambda raw: raw + bytes(3968))),
        Hostile("S-13", "digest", "A chunk's digest is not that of its bytes.", row(digest="00" * 32)),
        Hostile("S-13", "length", "The lengths of the chunks do not add up.",
                Lies(index=lambda i: replace(i, length=i.length - 1))),
        Hostile("S-13", "sealed", "The sealed lengths do not end where the index begins.", row(sealed=415)),
        Hostile("S-14", "codec", "A codec that is none.", Lies(chunk=lambda plain: ("lz4", plain))),
        Hostile("S-14", "filler", "A filler that has a length.", Lies(chunk=lambda plain: ("filler", plain))),
        Hostile("S-14", "empty", "A raw chunk of no bytes.", Lies(index=_and_an_empty_chunk)),
        Hostile("S-14", "filler-first", "Fillers in front of the chunks.", Lies(fillers=2)),
        Hostile("S-14", "filler-digest", "A filler with a digest.", Lies(
            fillers=1, index=lambda i: replace(i, chunks=(replace(i.chunks[0], digest="01" * 32), *i.chunks[1:])))),
        Hostile("S-14", "too-long", "A chunk of more than 1 MiB.", row(length=(1 << 20) + 1)),
        Hostile("S-15", "chunks", "A trailer with 65,537 chunks.", trailer(put(2, 65_537))),
        Hostile("L-1", "index", "A trailer with an index of more than 32 MiB.", trailer(put(1, (32 << 20) + 1))),
        Hostile("E-3", "index", "An index with a space.", Lies(
            index=lambda index: as_json(index, b'"chunks":', b'"chunks" :'))),
        Hostile("C-2", "more", "A frame of more bytes than the index says.", frame(lambda p: zstd(p + b"x"))),
        Hostile("C-2", "less", "A frame of less bytes.", frame(lambda p: zstd(p[:-1]))),
        Hostile("C-2", "bomb", "A frame of 8 MiB.", frame(lambda _: zstd(bytes(8 << 20)))),
        Hostile("C-2", "bomb-declared", "A frame that declares the right size and gives 8 MiB.", frame(_bomb)),
        Hostile("C-2", "two-frames", "A second frame behind the first.", frame(lambda p: zstd(p) + zstd(b"x"))),
        Hostile("C-2", "behind", "A byte behind the frame.", frame(lambda p: zstd(p) + b"x")),
        Hostile("C-2", "skippable", "A skippable frame in front.",
                frame(lambda p: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(p))),
        Hostile("C-2", "cut", "A frame that is cut off.", frame(lambda p: zstd(p)[:-1])),
        Hostile("C-2", "no-size", "A frame that does not declare its size.", frame(_without_size)),
        Hostile("C-2", "window", "A frame that wants a window of 2 MiB.", frame(_with_window)),
        Hostile("C-2", "dictionary", "A frame that names a dictionary.", frame(_with_dictionary)),
        Hostile("C-3", "planes-2", "Planes of words of two bytes, with a phase: as they should be.",
                Lies(chunk=lambda plain: ("planes-2", _planes(plain, 1)))),
        Hostile("C-3", "phase", "A phase that is not below the width, and all else fits.",
                Lies(chunk=lambda plain: ("planes-2", _planes(plain, 2)))),
        Hostile("C-3", "plane-length", "A plane that is stored longer than its words.", planes(tail(0, 201, 199))),
        Hostile("C-3", "lengths", "Planes that do not add up to the packed chunk: a byte is behind them.",
                Lies(chunk=lambda plain: ("planes-2", _planes(plain, 0) + b"x"))),
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


def _bomb(plain: bytes) -> bytes:
    head = b"\x28\xb5\x2f\xfd" + bytes([0x80, 10 << 3]) + len(plain).to_bytes(4, "little")  # a window of 1 MiB
    rows = [((128 << 10) << 3 | 1 << 1 | (at == 63)).to_bytes(3, "little") + b"\0" for at in range(64)]
    return head + b"".join(rows)


def _planes(plain: bytes, phase: int) -> bytes:
    """A chunk as planes of words of two bytes, all stored as they are."""
    count = (len(plain) - phase) // 2
    rows = [np.empty(count, np.uint8) for _ in range(2)]
    codec_planes.split(np.frombuffer(plain, codec_planes.word_type(2), count, phase), rows, codec_planes.new_scratch())
    return struct.pack("<B2I", phase, count, count) + plain[:phase] + b"".join(
        row.tobytes() for row in rows) + plain[phase + 2 * count:]


def _plane_frame(plain: bytes) -> tuple[str, bytes]:
    half = len(plain) // 2
    made = zstandard.compress(bytes(half + 1))
    return "planes-2", struct.pack("<B2I", 0, len(made), half) + made + plain[:half] + plain[2 * half:]


def manifest_vectors() -> list[Hostile]:
    slices = [(0, 0, 589), (0, 1, 590), (1, 0, 590)]
    return [
        *(Hostile("G-4", field, f"The sealed manifest has another {field} than the statement.",
                  manifest(**{field: value})) for field, value in
          {"bundle": "00" * 16, "packer": "00" * 32, "recipients": ("00" * 32,), "series": "other",
           "sequence": 3}.items()),
        Hostile("G-4", "and-path", "Another sequence than the statement's, and a path that is none: a forgery first.",
                manifest(sequence=3, folders=("../up",))),
        Hostile("G-4", "and-meta", "Another sequence, and meta data out of order: malformed first.",
                manifest(sequence=3, meta=(("b", "1"), ("a", "2")))),
        Hostile("G-4", "65-recipients", "More recipients than any preamble has.",
                manifest(recipients=tuple(f"{at:064x}" for at in range(65)))),
        *(Hostile("G-5", f"slice-{at}", "A slice that does not cover the source stream.",
                  manifest(segments=(SliceRow(*one),))) for at, one in enumerate(slices)),
        Hostile("G-5", "no-slices", "No slices at all.", manifest(segments=())),
        Hostile("G-5", "empty-slice", "A segment for a slice of no bytes.", files={"a": b""}),
        Hostile("G-5", "index-name", "An index with another file than the manifest.", Lies(
            index=lambda i: replace(i, files=(i.files[0], FileSpan("c", 240, 350))))),
        Hostile("G-5", "index-size", "An index with another size of a file than the manifest.", Lies(
            index=lambda i: replace(i, files=(FileSpan("a", 0, 239), FileSpan("b", 239, 351))))),
        Hostile("G-5", "index-start", "An index that begins elsewhere than its slice.",
                Lies(index=lambda i: replace(i, start=1))),
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


def path_vectors() -> list[Hostile]:
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
           "folder-file-case": ("A", "a/b"), "fold": ("strasse", "stra\u00dfe"), "folder-case": ("D/y", "d/x")}
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
        Hostile("P-3", "dotless", "A dotless i in a reserved name, which is another letter: allowed.",
                named("con\u0131n$"), files={"a": b"content " * 60}),
        Hostile("P-4", "longest", "A part of 255 bytes: allowed.", named("p" * 255), files={"a": b"content " * 60}),
    ]
