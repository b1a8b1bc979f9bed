"""Validly signed and not true: names that must not be carried, and documents that do not fit each other."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import zstandard

from airbundle import api
from airbundle.cli.main import main
from airbundle.codec.engines import best_engine
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.signing import sign
from airbundle.crypto.suites import STANDARD
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError, ForgedError, FormatError
from airbundle.format import encoding
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.segment import FileSpan
from airbundle.format.statement import STATEMENT_TYPE, parse_statement
from airbundle.media import volume as names
from airbundle.transfer.ending import Declared
from tests.transfer.forge import Lies, forge, write_statement
from tests.transfer.workshop import Keys, Packed, digests, kill_blocks, noise, write_tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory

replace = msgspec.structs.replace

PATHS = {
    "../out": "P-1", "a/../../out": "P-1", "/etc/out": "P-1", "a//b": "P-1", "./a": "P-1", "a/": "P-1", "": "P-1",
    "..": "P-1", "e\u0301": "P-1",
    "nul\0in": "P-2", "back\\slash": "P-2", "C:": "P-2", "esc\x1b[31m": "P-2", "rtl\u202e": "P-2", "new\nline": "P-2",
    "star*": "P-2", "line\u2028sep": "P-2", "del\x7f": "P-2",
    "con": "P-3", "Aux.txt": "P-3", "sub/COM1": "P-3", "lpt9.tar.gz": "P-3", "com\u00b9": "P-3", "dot.": "P-3",
    "space ": "P-3", "a./b": "P-3", "conin$": "P-3",
    "p" * 256: "P-4", "p" * 300: "P-4", "\u00e4" * 128: "P-4", "/".join("d" * 65): "P-4",
    "/".join(["p" * 200] * 6): "P-4",
}
SETS = {
    ("a", "A"): "P-5", ("A", "a"): "P-5", ("b", "a"): "P-5", ("a", "a"): "P-5", ("a", "a/b"): "P-5",
    ("stra\u00dfe", "strasse"): "P-5", ("d/x", "D/y"): "P-5", ("D", "d/y"): "P-5",
}


def refused(bundle: Packed, target: Path, status: int = 4) -> AirbundleError:
    """The same refusal from verify with a key, inspect and unpack; nothing is there afterwards, nor beside it."""
    around = target.parent
    before = sorted(os.listdir(around))
    error = bundle.refused(status, opened=True)
    with pytest.raises(type(error)) as caught:
        bundle.unpack(target)
    assert caught.value.rule == error.rule
    assert sorted(os.listdir(around)) == before
    return error


def named(*paths: str) -> Lies:
    """The same names in manifest and index, in the order given."""
    def manifest(honest: Any) -> Any:
        return replace(honest, files=tuple(replace(file, path=path) for file, path in zip(honest.files, paths,
                                                                                        strict=True)))

    def index(honest: Any) -> Any:
        return replace(honest, files=tuple(FileSpan(path, span.start, span.size) for span, path in zip(
            honest.files, paths, strict=True)))

    return Lies(manifest=manifest, index=index)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ascii(path)[:30])
def test_paths(keys: Keys, tmp_path: Path, path: str) -> None:
    bundle = forge(tmp_path / "drive", keys, named(path), {"a": noise(500)})
    (tmp_path / "place").mkdir()
    error = refused(bundle, tmp_path / "place" / "back")
    assert isinstance(error, FormatError)
    assert error.rule == PATHS[path]
    assert not any(ord(c) < 32 or c in "\x7f\u202e\u2028" for c in str(error))
    with pytest.raises(FormatError):
        api.inspect([str(bundle.volume)], trust=keys.trust, keys=[keys.reader])


@pytest.mark.parametrize("paths", SETS, ids=" ".join)
def test_paths_that_do_not_go_together(keys: Keys, tmp_path: Path, paths: tuple[str, str]) -> None:
    error = refused(forge(tmp_path / "drive", keys, named(*paths)), tmp_path / "back")
    assert error.rule == SETS[paths]


@pytest.mark.parametrize("folders", [("../up",), ("a",), ("A",), ("x", "x"), ("y", "x"), ("c/", ), ("con",)])
def test_folders(keys: Keys, tmp_path: Path, folders: tuple[str, ...]) -> None:
    lies = Lies(manifest=lambda honest: replace(honest, folders=folders))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule in {"P-1", "P-3", "P-5"}


G4 = {"bundle": "00" * 16, "packer": "00" * 32, "recipients": ("00" * 32,), "series": "other", "sequence": 3}


@pytest.mark.parametrize("field", G4)
def test_a_manifest_made_for_another_statement(keys: Keys, tmp_path: Path, field: str) -> None:
    bundle = forge(tmp_path / "drive", keys, Lies(manifest=lambda honest: replace(honest, **{field: G4[field]})))
    error = refused(bundle, tmp_path / "back", 5)
    assert isinstance(error, ForgedError)
    assert error.rule == "G-4"


def test_recipients_left_out_and_added(keys: Keys, tmp_path: Path) -> None:
    for recipients in ((), (keys.reader.public.key_id.hex(), "11" * 32)):
        def manifest(honest: Any, others: tuple[str, ...] = recipients) -> Any:
            return replace(honest, recipients=others)

        bundle = forge(tmp_path / f"drive{len(recipients)}", keys, Lies(manifest=manifest))
        assert refused(bundle, tmp_path / "back", 5).rule == "G-4"


def test_ciphertext_of_another_packer(keys: Keys, small: Packed, tmp_path: Path) -> None:
    """The stranger signs someone's bundle as their own; whoever trusts both is not fooled."""
    def statement(raw: bytes) -> bytes:
        honest = parse_statement(raw)
        return encoding.encode(replace(honest, packer=keys.stranger.public.key_id.hex()))

    payload = statement(parse_envelope((small.volume / names.STATEMENT_NAME).read_bytes(), STATEMENT_TYPE).payload)
    document = write_envelope(Envelope(STATEMENT_TYPE, payload, (sign(keys.stranger, STATEMENT_TYPE, payload),)))
    (small.volume / names.STATEMENT_NAME).write_bytes(document)
    (small.volume / names.RECORD_NAME).unlink()
    trust = TrustSet([NamedIdentity("both", keys.packer.public), NamedIdentity("s", keys.stranger.public)])
    with pytest.raises(ForgedError) as caught:
        api.unpack([str(small.volume)], str(tmp_path / "back"), keys=[keys.reader], trust=trust)
    assert caught.value.rule in {"K-2", "G-4"}


@pytest.mark.parametrize("rows", [
    [(0, 0, 589)], [(0, 1, 590)], [(0, 0, 591)], [], [(0, 0, 590), (1, 590, 1)], [(1, 0, 590)],
    [(0, 0, 295), (1, 295, 295)], [(0, 0, 0), (1, 0, 590)]])
def test_slices_that_do_not_cover(keys: Keys, tmp_path: Path, rows: list[tuple[int, int, int]]) -> None:
    def manifest(honest: Any) -> Any:
        return replace(honest, segments=tuple(type(honest.segments[0])(*row) for row in rows))

    assert refused(forge(tmp_path / "drive", keys, Lies(manifest=manifest)), tmp_path / "back").rule == "G-5"


@pytest.mark.parametrize("files", [
    (FileSpan("a", 0, 240), FileSpan("c", 240, 350)), (FileSpan("a", 0, 590),), (FileSpan("a", 0, 239),
                                                                             FileSpan("b", 239, 351))])
def test_an_index_that_says_something_else(keys: Keys, tmp_path: Path, files: tuple[FileSpan, ...]) -> None:
    lies = Lies(index=lambda honest: replace(honest, files=files))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "G-5"


def test_an_index_that_ends_early(keys: Keys, tmp_path: Path) -> None:
    """All of it fits together but its length: the last file would end in a zero that nobody packed."""
    short = (b"first " * 40 + b"second " * 50)[400:-1]
    digest = STANDARD.hash(short).hex()
    lies = Lies(chunk=lambda plain: ("raw", short if len(plain) == 190 else plain),
                row=lambda row: replace(row, length=189, digest=digest) if row.length == 190 else row,
                index=lambda honest: replace(honest, length=589))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "G-5"


def test_a_chunk_that_is_not_what_its_digest_says(keys: Keys, tmp_path: Path) -> None:
    lies = Lies(row=lambda row: replace(row, digest="00" * 32))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "S-13"


def test_parity_that_gives_back_something_else(keys: Keys, tmp_path: Path) -> None:
    """Signed as it is: whole until a block is lost, and what would be recovered is not believed (S-8).

    The other member of the group lacks the same block; nobody may count on a stripe that has given wrong bytes.
    """
    class Off:
        name = "off"

        def combine(self, coefficients: Any, blocks: Any, sources: Any, targets: Any) -> None:
            best_engine().combine(coefficients, blocks, sources, targets)
            blocks[targets, 100] ^= 1

    bundle = forge(tmp_path / "drive", keys, Lies(parity=lambda _: Off()))
    bundle.verify(opened=True)
    place = bundle.place(bundle.rows()[0])
    for number in (0, 1):
        kill_blocks(bundle.segment(number), 4096, [place.data_at])
    assert bundle.refused(4).report.missing == (0, 1)  # type: ignore[attr-defined]
    with pytest.raises(DamagedError, match=r"volume 1 of 1, 00000000\.abs") as caught:
        bundle.unpack(tmp_path / "back")
    assert caught.value.rule == "G-9"
    assert not (tmp_path / "back").exists()


def test_a_group_whose_parity_is_of_something_else(keys: Keys, tmp_path: Path) -> None:
    """Signed as it is, and whole; what comes back of a lost member is held against its leaves or its root (G-9)."""
    bundle = forge(tmp_path / "drive", keys, Lies(outer=lambda body: body[:-1] + bytes([body[-1] ^ 1])))
    bundle.verify(opened=True)
    place, whole = bundle.place(bundle.rows()[0]), bundle.segment(0).read_bytes()
    last = place.data_at + place.geometry.data_blocks - 1
    for damage in ("the file", "the block", "all but the list"):
        bundle.segment(0).write_bytes(whole)
        if damage == "the file":
            bundle.segment(0).unlink()
        else:
            kill_blocks(bundle.segment(0), 4096, [last, *range(place.parity_at, place.parity_at + place.geometry.m)])
        if damage == "all but the list":
            kill_blocks(bundle.segment(0), 4096, range(place.data_at, last))
        assert bundle.report(4).missing == (0,), damage  # it was tried, not only counted
        with pytest.raises(DamagedError, match=r"00000000\.abs") as caught:
            bundle.unpack(tmp_path / "back")
        assert caught.value.rule == "G-9", damage
        assert not (tmp_path / "back").exists()


def test_one_block_of_a_group_is_a_lie_and_the_segment_puts_it_right(keys: Keys, tmp_path: Path) -> None:
    """What the group gives is held against its leaf block by block, so that one wrong block spoils no other (S-8)."""
    files = {"a": noise(14_000), "b": b"end"}
    bundle = forge(tmp_path / "drive", keys, Lies(outer=lambda body: body[:-1] + bytes([body[-1] ^ 1])), files)
    row = bundle.rows()[0]
    place = bundle.place(row)
    data = place.geometry.data_blocks
    assert 4 <= data <= row.m
    kill_blocks(bundle.segment(0), 4096, range(place.data_at, place.data_at + row.m + 1))
    assert bundle.report().restorable == (0,)
    bundle.unpack(tmp_path / "back")
    assert {name: (tmp_path / "back" / name).read_bytes() for name in files} == files


@pytest.mark.parametrize("field", ["group", "position", "volume"])
def test_the_catalogs_own_row_is_in_no_group(keys: Keys, tmp_path: Path, field: str) -> None:
    lies = Lies(statement=lambda honest: replace(honest, catalog=replace(honest.catalog, **{field: 1})))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "G-1"


def test_a_row_on_a_volume_that_the_bundle_does_not_have(keys: Keys, tmp_path: Path) -> None:
    lies = Lies(table=lambda raw: raw.replace(b'"data",0,0,1,', b'"data",0,0,2,'))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "G-1"


FRAMES = {
    "says more": lambda plain: zstandard.ZstdCompressor().compress(plain + b"x"),
    "says less": lambda plain: zstandard.ZstdCompressor().compress(plain[:-1]),
    "says a lot": lambda plain: zstandard.ZstdCompressor().compress(bytes(300 << 20)),
    "says nothing": lambda plain: zstandard.ZstdCompressor(write_content_size=False).compress(plain),
    "two frames": lambda plain: zstandard.ZstdCompressor().compress(plain) + zstandard.ZstdCompressor().compress(b"x"),
    "bytes behind": lambda plain: zstandard.ZstdCompressor().compress(plain) + b"x",
    "a skippable frame": lambda plain: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.ZstdCompressor().compress(plain),
    "cut": lambda plain: zstandard.ZstdCompressor().compress(plain)[:-1],
    "no frame": lambda plain: bytes(30),
}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_that_lies(keys: Keys, tmp_path: Path, frame: str) -> None:
    lies = Lies(chunk=lambda plain: ("zstd", FRAMES[frame](plain)))
    assert refused(forge(tmp_path / "drive", keys, lies), tmp_path / "back").rule == "C-2"


@pytest.mark.parametrize("codec", ["lz4", "filler", "planes-3", ""])
def test_codecs_that_are_none(keys: Keys, tmp_path: Path, codec: str) -> None:
    bundle = forge(tmp_path / "drive", keys, Lies(chunk=lambda plain: (codec, plain)))
    assert refused(bundle, tmp_path / "back").rule == "S-14"


def payload_of(bundle: Packed) -> bytes:
    return parse_envelope((bundle.volume / names.STATEMENT_NAME).read_bytes(), STATEMENT_TYPE).payload


def test_two_statements_that_disagree(small: Packed, tmp_path: Path) -> None:
    """Both validly signed by the trusted packer: in one volume, and in two."""
    twin = small.copy_to(tmp_path / "twin")
    honest = parse_statement(payload_of(small))
    record = (small.volume / names.RECORD_NAME).read_bytes()
    write_statement(small.volume, small.keys, encoding.encode(replace(honest, label="another")))
    with pytest.raises(ForgedError) as caught:
        api.verify([str(small.volume), str(twin.volume)], trust=small.keys.trust)
    assert caught.value.rule == "T-4"
    (small.volume / names.RECORD_NAME).write_bytes(record)
    assert small.refused(5).rule == "T-4"
    with pytest.raises(ForgedError):
        small.unpack(tmp_path / "back")
    with pytest.raises(ForgedError):
        small.repair()


def test_a_statement_of_another_bundle(small: Packed, tmp_path: Path) -> None:
    """Validly signed, and not about these blocks."""
    honest = parse_statement(payload_of(small))
    write_statement(small.volume, small.keys, encoding.encode(replace(honest, bundle="ab" * 16)))
    error = small.refused(4)
    assert error.rule in {"G-2", "S-7"}
    other = forge(tmp_path / "other", small.keys, Lies())
    for name in (names.STATEMENT_NAME, names.RECORD_NAME):
        shutil.copy(other.volume / name, small.volume / name)
    small.refused(4)


ESCAPES = ["\x1b[31mred", "bell\x07", "a\u202eb", "two\nlines", "\x9b31m", "x" * 257, "e\u0301"]


@pytest.mark.parametrize("text", ESCAPES, ids=ascii)
@pytest.mark.parametrize("field", ["label", "marking", "series"])
def test_pack_refuses_what_steers_a_terminal(keys: Keys, tmp_path: Path, field: str, text: str) -> None:
    source = write_tree(tmp_path / "source", {"f": b"x"})
    (tmp_path / "drive").mkdir()
    declared: dict[str, Any] = {field: text, "sequence": 1 if field == "series" else None}
    with pytest.raises(AirbundleError) as caught:
        api.pack(str(source), str(tmp_path / "drive"), sign=keys.packer, to=[keys.reader.public],
                 declared=Declared(**declared))
    assert (caught.value.exit_status, caught.value.rule) == (2, "E-4")
    assert "\x1b" not in str(caught.value)
    assert os.listdir(tmp_path / "drive") == []


@pytest.mark.parametrize("text", ESCAPES[:5], ids=ascii)
@pytest.mark.parametrize("field", ["label", "marking", "writer"])
def test_a_statement_that_steers_a_terminal(
    keys: Keys, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], field: str, text: str
) -> None:
    """Refused, by every verb; and whatever is said about it, nothing raw comes out."""
    bundle = forge(tmp_path / "drive", keys, Lies(statement=lambda honest: replace(honest, **{field: text})))
    assert bundle.refused(4).rule == "E-4"
    (tmp_path / "r.key").write_bytes(write_private("r", keys.reader, passphrase=None))
    (tmp_path / "p.pub").write_bytes(write_public("p", keys.packer.public))
    trust = ["--trust", str(tmp_path / "p.pub")]
    key = ["--key", str(tmp_path / "r.key")]
    for words in (["verify", *trust], ["inspect", *trust, *key], ["unpack", "-o", str(tmp_path / "b"), *trust, *key],
                  ["verify", "--json", *trust]):
        assert main([words[0], str(bundle.volume), *words[1:]]) == 4
    out, err = capfdbinary.readouterr()
    for raw in ("\x1b", "\x07", "\u202e", "\x9b"):
        assert raw.encode() not in out + err


def test_notes_that_steer_a_terminal(keys: Keys, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Sealed notes may hold any text; on a terminal it is shown escaped."""
    bundle = forge(tmp_path / "drive", keys, Lies(
        manifest=lambda honest: replace(honest, meta=(("k\x1b[2J", "v\x1b]0;x\x07[red]"),))))
    (tmp_path / "r.key").write_bytes(write_private("r", keys.reader, passphrase=None))
    (tmp_path / "p.pub").write_bytes(write_public("p", keys.packer.public))
    assert main(["inspect", str(bundle.volume), "--trust", str(tmp_path / "p.pub"), "--key",
                 str(tmp_path / "r.key")]) == 0
    out, err = capfdbinary.readouterr()
    assert b"\x1b" not in out + err
    assert b"\x07" not in out + err
    assert rb"\x1b[2J" in out
    bundle.unpack(tmp_path / "back")
    assert set(digests(tmp_path / "back")) == {"a", "b"}


def test_a_salvage_of_a_group_that_was_signed_wrong_ends(keys: Keys, tmp_path: Path) -> None:
    """Its parity never gives the signed leaves, however often it is tried; what lies in whole blocks is there."""
    files = {"a": noise(14_000), "b": b"end"}
    bundle = forge(tmp_path / "drive", keys, Lies(outer=lambda body: bytes(len(body))), files)
    row = bundle.rows()[0]
    place = bundle.place(row)
    whole = bundle.segment(0).read_bytes()
    kill_blocks(bundle.segment(0), 4096, [place.data_at, *range(
        place.parity_at, place.parity_at + place.geometry.parity_blocks)])
    result = api.salvage(bundle.given, str(tmp_path / "out"), keys=[keys.reader], trust=keys.trust)
    assert 0 < result.bytes_lost < 14_003
    bundle.segment(0).write_bytes(whole)
    kill_blocks(bundle.segment(0), 4096, [at for at in range(place.block_count) if not
                place.data_at < at < place.data_at + place.geometry.data_blocks])  # no list, and too little of it
    with pytest.raises(DamagedError):
        api.salvage(bundle.given, str(tmp_path / "none"), keys=[keys.reader], trust=keys.trust)
