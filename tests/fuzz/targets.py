"""One target a parser: bytes of a stranger go in; a value or FormatError comes out, and nothing else.

A target has seeds, from which mutations are made, and a function. It returns for a value, and for the errors that the
parser's docstring names; anything else is a finding.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from airbundle.codec import dtypes
from airbundle.codec.compress import Codec, Compressor, Expander
from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record, recover_record
from airbundle.crypto.envelope import BundleKey, Context, parse_preamble, write_preamble
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import parse_private, parse_public, write_private, write_public
from airbundle.crypto.sealed_log import open_entry, open_from_self, seal_entry, seal_to_self
from airbundle.crypto.suites import CNSA2, STANDARD, hash_by_suite
from airbundle.errors import DamagedError, FormatError, NoKeyError, UntrustedError
from airbundle.format import encoding
from airbundle.format.block import parse_header
from airbundle.format.catalog import Row, Table, parse_body, parse_table, write_body
from airbundle.format.cost import parse_cost
from airbundle.format.dsse import Envelope, Signature, parse_envelope, write_envelope
from airbundle.format.holes import parse_mapfile
from airbundle.format.manifest import FileRow, Manifest, SliceRow, parse_manifest
from airbundle.format.names import SafePath, shown
from airbundle.format.segment import ChunkRow, FileSpan, Index, Trailer, parse_index, parse_trailer
from airbundle.format.statement import STATEMENT_TYPE, PreambleRef, Statement, VolumeRow, parse_statement
from airbundle.media.raw import RawSources
from airbundle.media.volume import VolumeReader
from airbundle.transfer.claims import claims_of, holds_record
from airbundle.transfer.progress import Meter
from airbundle.transfer.scan import look_over
from airbundle.transfer.stated import _text
from tests.examples import BUNDLE, KEY, PACKER, SALT

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.crypto.identities import PrivateIdentity

FOUND = Path(__file__).parent / "found"
"""Inputs that were findings once, `<target>-<digest>`; each is run again with every run."""


@dataclass(frozen=True)
class Target:
    """`run` takes the bytes; `seeds` makes the valid inputs when they are wanted."""

    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]


@cache
def _person() -> PrivateIdentity:
    return generate(STANDARD)


@cache
def _context() -> Context:
    return Context(STANDARD, BUNDLE, PACKER)


def _row(number: int, role: str) -> Row:
    return Row(number, role, 0, number, 1, 3, 2, 1, 4096, 11904, SALT.hex(), "cc" * 32)


def _statement() -> bytes:
    reference = PreambleRef(1200, "ab" * 32)
    return encoding.encode(Statement(
        airbundle=1, bundle=BUNDLE.hex(), suite="standard", packer=PACKER.hex(), revision=0, created=1_700_000_000,
        expires=None, series="s", sequence=3, label="label", marking='\u00e9 "quoted" \\', preamble=reference,
        envelopes=reference, catalog=Row(2, "catalog", 0, 0, 0, 3, 3, 1, 4096, 11904, SALT.hex(), "dd" * 32),
        volumes=(VolumeRow(1, "NAME", 10**12, None), VolumeRow(2, "", 1, "serial")), lose=1, base=None, writer="fuzz"))


def _envelope() -> bytes:
    return write_envelope(Envelope(STATEMENT_TYPE, _statement(), (Signature(PACKER, b"s" * 100),)))


def _manifest() -> bytes:
    return encoding.encode(Manifest(
        bundle=BUNDLE.hex(), packer=PACKER.hex(), recipients=("ab" * 32,), series=None, sequence=None,
        meta=(("key", "value"),), segments=(SliceRow(0, 0, 7),),
        files=(FileRow("a/b", 3, "00" * 32), FileRow("c", 4, "11" * 32)), folders=("d",)))


def _index() -> bytes:
    return encoding.encode(Index(0, 7, (ChunkRow(7, 23, "raw", "ab" * 32), ChunkRow(0, 30, "filler", "00" * 32)),
                                 (FileSpan("a/b", 0, 3), FileSpan("c", 3, 4))))


def _read_index(raw: bytes) -> object:
    return parse_index(raw, Trailer(53, len(raw), 2))


def _read_body(raw: bytes) -> object:
    table, sealed = parse_body(raw)
    return table, bytes(sealed)


def _header() -> bytes:
    from tests.examples import _segment

    return bytes(_segment()[1].blocks[0][:128])


def _packed(codec: Codec) -> bytes:
    content = b"".join(value.to_bytes(4, "little") for value in range(0x3F800000, 0x3F800000 + 2000))
    kinds = {Codec.PLANES4: dtypes.Dtype.FLOAT32, Codec.PLANES2: dtypes.Dtype.FLOAT16}
    found, packed = Compressor().compress(memoryview(content), kinds.get(codec, dtypes.Dtype.UNKNOWN))
    return bytes([list(Codec).index(found)]) + bytes(packed)


_EXPANDER = Expander()
_OUT = memoryview(bytearray(8000))


def _expand(raw: bytes) -> None:
    codec = list(Codec)[raw[0] % len(Codec)] if raw else Codec.RAW
    _EXPANDER.expand(codec, memoryview(raw[1:]), _OUT)


def _dtypes(raw: bytes) -> object:
    found = dtypes.runs(len(raw), lambda offset, length: raw[offset:offset + length])
    at = 0
    for run in found:
        assert run.start == at
        at += run.length
    assert at == len(raw)
    return found


def _record() -> bytes:
    return encode_record(_statement(), suite_number=1, hash_by_suite=hash_by_suite, engine=best_engine())


def _recover(raw: bytes) -> None:
    with contextlib.suppress(DamagedError):
        recover_record(raw, hash_by_suite=hash_by_suite, engine=best_engine())


def _unlock(raw: bytes) -> None:
    found = parse_private(raw)
    if not found.is_protected:
        found.unlock()


def _open_journal(raw: bytes) -> None:
    with contextlib.suppress(NoKeyError, UntrustedError):
        open_from_self(_person(), raw, "journal")


def _open_entry(raw: bytes) -> None:
    with contextlib.suppress(UntrustedError):
        open_entry(KEY, 0, raw, "journal", suite=STANDARD)


def _path(raw: bytes) -> object:
    text = raw.decode("utf-8", "surrogateescape")
    shown(text)
    return SafePath.parse(text)


def _claims(raw: bytes) -> None:
    """A file of a volume, as its first and last block and as a record."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        (Path(place) / "x").write_bytes(raw)
        with VolumeReader(place) as reader:
            claims_of(reader, "x")
            holds_record(reader, "x")


def _look_over(raw: bytes) -> None:
    """An image without a file system."""
    import tempfile

    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as image:
        image.write(raw)
        image.flush()
        with RawSources([image.name]) as sources:
            found = look_over(sources, Meter())
    sound = [count for bundle in found.bundles() for _, count in found.attempts(bundle)]
    assert sum(sound) == found.sound
    assert int(found.runs["count"].sum()) == found.sound + found.unsound == len(found.tags)
    for geometry in found.groups:
        runs = found.of(geometry)
        assert (runs["position"] + runs["count"].astype("u8") * geometry.block_size <= len(raw)).all()


def _text_on_a_drive(raw: bytes) -> object:
    text = _text(raw)
    assert raw.startswith(text)
    return parse_envelope(text, STATEMENT_TYPE)


def _image() -> bytes:
    """A whole segment between other bytes, an envelope, and the head of a record."""
    from tests.examples import _segment

    blocks = bytes(_segment()[1].blocks.reshape(-1))
    return bytes(512) + blocks + bytes(1024) + _envelope().ljust(4096, b"\0") + _record()[:5000]


def _whole_block() -> bytes:
    from tests.examples import _segment

    return bytes(_segment()[1].blocks[:2].reshape(-1))


SAFETENSORS = b'{"a":{"dtype":"BF16","shape":[2,8],"data_offsets":[0,32]},"__metadata__":{"k":"v"}}'

TARGETS: dict[str, Target] = {
    "envelope": Target(lambda raw: parse_envelope(raw, STATEMENT_TYPE), lambda: [_envelope()]),
    "statement": Target(parse_statement, lambda: [_statement()]),
    "table": Target(lambda raw: parse_table(raw, catalog_number=2), lambda: [encoding.encode(Table((
        _row(0, "data"), _row(1, "parity"))))]),
    "catalog body": Target(_read_body, lambda: [write_body(b"t" * 100, b"m" * 50) + bytes(20)]),
    "manifest": Target(parse_manifest, lambda: [_manifest()]),
    "trailer": Target(lambda raw: parse_trailer(raw[:32].ljust(32, b"\0"), 5000), lambda: [Trailer(
        17, 200, 1).packed()]),
    "index": Target(_read_index, lambda: [_index(), _index() + bytes(30)]),
    "preamble": Target(parse_preamble, lambda: [write_preamble(Context(
        suite, BUNDLE, b"p" * suite.digest_size), BundleKey(KEY), [generate(suite).public]) for suite in
        (STANDARD, CNSA2)]),
    "cost": Target(lambda raw: parse_cost(raw[:12].ljust(12, b"\0")), lambda: [
        (65536).to_bytes(4, "little") + (3).to_bytes(4, "little") * 2]),
    "block header": Target(lambda raw: parse_header(raw[:128].ljust(128, b"\0"), {1: 32, 2: 48}), lambda: [_header()]),
    "claims": Target(_claims, lambda: [_whole_block(), _record()[:5000]]),
    "record": Target(_recover, lambda: [_record()]),
    "public key": Target(parse_public, lambda: [write_public("name", _person().public)]),
    "private key": Target(_unlock, lambda: [write_private("name", _person(), passphrase=None)]),
    "journal head": Target(_open_journal, lambda: [seal_to_self(_person(), b"{}", "journal")]),
    "journal entry": Target(_open_entry, lambda: [seal_entry(KEY, 0, b"{}", "journal", suite=STANDARD)]),
    "chunk": Target(_expand, lambda: [_packed(codec) for codec in (Codec.ZSTD, Codec.PLANES2, Codec.PLANES4)]),
    "tensor headers": Target(_dtypes, lambda: [
        len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS + bytes(32),
        b"GGUF" + (3).to_bytes(4, "little") + (1).to_bytes(8, "little") + (0).to_bytes(8, "little") + (1).to_bytes(
            8, "little") + b"t" + (1).to_bytes(4, "little") + (16).to_bytes(8, "little") + bytes(12) + bytes(64)]),
    "map file": Target(lambda raw: parse_mapfile(raw, 1 << 20), lambda: [
        b"# Mapfile\n0x0012     ?               1\n0x0 0x1000 +\n0x1000 0x0E00 /\n7680 4096 -\n0x2E00 0x99999 *\n"]),
    "image": Target(_look_over, lambda: [_image(), _image()[:9000]]),
    "text on a drive": Target(_text_on_a_drive, lambda: [_envelope() + b"]}" + bytes(50), _envelope()]),
    "path": Target(_path, lambda: [b"a/b.txt", "\u00e9/CON .x".encode(), b"a" * 300]),
}


def feed(target: Target, raw: bytes) -> bool:
    """Run a target; whether it gave a value. Everything but FormatError comes through."""
    try:
        target.run(raw)
    except FormatError:
        return False
    return True
