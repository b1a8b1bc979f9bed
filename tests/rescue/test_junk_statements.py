"""Statements that anyone can write: they keep the genuine one out neither by their number nor by what they claim."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from airbundle import api
from airbundle.crypto.trust import TrustSet
from airbundle.errors import FormatError
from airbundle.format import encoding, limits
from airbundle.format.block import KIND_AT, MAGIC, Kind
from airbundle.format.catalog import write_table
from airbundle.format.dsse import Envelope, Signature, write_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from airbundle.media.raw import RawSources
from airbundle.transfer import scan, stated
from airbundle.transfer.progress import Meter
from tests.rescue.disk import lay, only, rescued
from tests.rescue.test_conflicts import stated_otherwise
from tests.transfer.forge import Lies, forge
from tests.transfer.workshop import MIB, Keys, Packed

if TYPE_CHECKING:
    from pathlib import Path

COUNT = limits.STATEMENTS_SEEN_MAX + 4


def junk(bundle: Packed, path: Path) -> Path:
    """Texts of statements of the same bundle, each with another label and a catalog that is nowhere."""
    honest, texts = bundle.statement(), b""
    for number in range(COUNT):
        payload = encoding.encode(replace(honest, revision=9, label=f"junk{number}",
                                          catalog=replace(honest.catalog, salt="ee" * 16)))
        text = write_envelope(Envelope(STATEMENT_TYPE, payload, (Signature(bytes.fromhex(honest.packer), b"s" * 99),)))
        texts += text + bytes(-len(text) % 512 + 512)
    path.write_bytes(texts.ljust(4096, b"\0"))
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_many_texts_before_the_genuine_one(small: Packed, tmp_path: Path, *, trusted: bool) -> None:
    image = lay(tmp_path / "image", set(small.volume.iterdir()) - {small.volume / names.RECORD_NAME}).path
    trust = small.keys.trust if trusted else TrustSet()
    one = only(rescued(small, [junk(small, tmp_path / "junk"), image], tmp_path, trust=trust))
    assert (one.revision, one.passed_over) == (0, COUNT)


def test_texts_do_not_keep_a_hurt_record_from_its_code(small: Packed, tmp_path: Path) -> None:
    whole = small.copy_to(tmp_path / "whole")
    record = small.volume / names.RECORD_NAME
    raw = bytearray(record.read_bytes())
    for at in range(2000, len(raw), 1 << 17):
        raw[at] ^= 1  # no copy is intact
    record.write_bytes(raw)
    (small.volume / names.STATEMENT_NAME).unlink()
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    one = only(rescued(whole, [junk(whole, tmp_path / "junk"), image], tmp_path))
    assert (one.revision, one.passed_over) == (0, COUNT)


def test_without_trust_the_roots_decide(keys: Keys, tmp_path: Path) -> None:
    """A catalog of the same geometries and salts, with roots of its own and a higher revision."""
    true = forge(tmp_path / "true", keys, Lies())
    wanted = true.statement().bundle
    false = forge(tmp_path / "false", keys, Lies(
        table=lambda _: write_table(tuple(replace(row, root="ab" * 32) for row in true.rows())),
        statement=lambda honest: replace(honest, revision=7)),
        entropy=lambda size: bytes.fromhex(wanted)[:size].ljust(size, b"+"))
    assert false.statement().bundle == wanted
    ends = [false.volume / name for name in (*names.STATEMENTS, *names.CATALOGS)]
    image = lay(tmp_path / "image", [*ends, *true.volume.iterdir()]).path
    (tmp_path / "out").mkdir()
    one = only(api.rescue([str(image)], str(tmp_path / "out")))
    assert (one.revision, one.passed_over) == (0, 1)


@pytest.mark.parametrize("left", [names.RECORD_NAME, names.STATEMENT_NAME])
def test_beginnings_of_statements_keep_the_genuine_one_out_of_nothing(
        small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """More of them than are remembered; none of them goes through the code of records, which takes its time."""
    monkeypatch.setattr(stated, "recover_record", None)
    monkeypatch.setattr(limits, "RECORDS_SEEN_MAX", 40)
    monkeypatch.setattr(limits, "TEXTS_SEEN_MAX", 40)
    record = bytearray(MAGIC.ljust(512, b"\0"))
    record[KIND_AT] = Kind.RECORD
    (tmp_path / "junk").write_bytes(bytes(record) * 50 + (b'{"payload":"'.ljust(510, b"A") + b"]}") * 50)
    gone = {small.volume / name for name in names.STATEMENTS} - {small.volume / left}
    image = lay(tmp_path / "image", set(small.volume.iterdir()) - gone).path
    rescued(small, [tmp_path / "junk", image], tmp_path)


def test_records_in_front_cost_four_times_their_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, tried = bytearray(MAGIC.ljust(512, b"\0")), []
    record[KIND_AT] = Kind.RECORD
    (tmp_path / "junk").write_bytes(bytes(record) * 4096)

    def intact(copy: memoryview, **_: object) -> bytes:
        tried.append(len(copy))
        raise FormatError("not one")

    monkeypatch.setattr(scan, "intact_copy", intact)
    with RawSources([str(tmp_path / "junk")]) as sources:
        found = scan.look_over(sources, Meter())
    assert sum(tried) <= 4 * 2 * MIB
    assert (len(tried), len(found.hurt_records), found.crowded) == (64, 4096, 0)


@pytest.mark.parametrize("label", ["a/b", "x" * 250, ".."])
def test_a_label_that_is_no_name_ends_nothing(keys: Keys, small: Packed, tmp_path: Path, label: str) -> None:
    """Over the genuine catalog anyone can state another label, and where nobody is trusted nothing tells them apart."""
    stranger = Keys(keys.stranger, keys.reader, keys.second, keys.stranger)
    record = stated_otherwise(small, tmp_path / "false", stranger, revision=7, label=label)
    image = lay(tmp_path / "image", [record, *small.volume.iterdir()]).path
    (tmp_path / "out").mkdir()
    one = only(api.rescue([str(image)], str(tmp_path / "out")))
    assert one.exit_status == 0
    (volume,) = one.volumes
    assert os.path.dirname(volume) == str(tmp_path / "out")
    for row in small.rows():
        path = small.segment(row.number)
        assert (tmp_path / "out" / os.path.basename(volume) / path.name).read_bytes() == path.read_bytes()
