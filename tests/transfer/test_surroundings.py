"""What else may lie on a drive, and what a file may be instead of a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.crypto.signing import sign
from airbundle.errors import FormatError, MediumError, UsageError
from airbundle.format.dsse import Envelope, parse_envelope, write_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from airbundle.transfer import finding, statements
from tests.transfer.workshop import PACE, Packed, block_of, digests, kill_blocks, overwrite, pack

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.transfer.statements import StatementCopy

pytestmark = pytest.mark.in_memory


def test_litter_is_ignored_and_listed(small: Packed, tmp_path: Path) -> None:
    (small.volume / "._00000000.abs").write_bytes(b"\0" * 4096)
    (small.volume / ".Trash-1000").mkdir()
    (small.volume / "System Volume Information").mkdir()
    (small.volume / "a folder").mkdir()
    (small.volume / "a folder" / "00000000.abs").write_bytes(b"x")
    (small.volume / "notes.txt").write_text("from somebody else")
    (small.volume / "link.abs").symlink_to("00000000.abs")
    report = small.verify()
    listed = "\n".join(report.ignored)
    for name in ("._00000000.abs", ".Trash-1000", "System Volume Information", "a folder", "link.abs"):
        assert name in listed
    before = digests(small.volume)
    small.repair()
    assert digests(small.volume) == before
    small.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(small.source)


def test_unknown_files_are_listed(small: Packed) -> None:
    (small.volume / "notes.txt").write_text("from somebody else")
    assert any("notes.txt" in line for line in small.verify().ignored)


def test_a_file_of_a_segment_that_is_not_there_is_listed(small: Packed) -> None:
    """It is neither the bundle's nor damage: nothing could repair it (V-2)."""
    (small.volume / names.segment_name(99)).write_bytes(b"from somebody else")
    assert any("claims segment 99" in line for line in small.verify().ignored)


def test_a_record_under_another_name_is_found(small: Packed, tmp_path: Path) -> None:
    before = digests(small.volume)
    (small.volume / names.RECORD_NAME).rename(small.volume / "renamed")
    (small.volume / names.STATEMENT_NAME).unlink()
    kill_blocks(small.volume / "renamed", 64 << 10, [0])
    report = small.heals(tmp_path / "back", before=before)
    assert {finding.file for finding in report.findings} == {names.STATEMENT_NAME, names.RECORD_NAME}
    assert not any("renamed" in line for line in report.ignored)


def test_signatures_that_count_for_nothing_are_listed(small: Packed) -> None:
    """T-3: one by a stranger beside that of the packer."""
    path = small.volume / names.STATEMENT_NAME
    envelope = parse_envelope(path.read_bytes(), STATEMENT_TYPE)
    stranger = small.keys.stranger
    both = (*envelope.signatures, sign(stranger, STATEMENT_TYPE, envelope.payload))
    path.write_bytes(write_envelope(Envelope(STATEMENT_TYPE, envelope.payload, both)))
    assert any(stranger.public.hex in line for line in small.report(11).ignored)


def in_place_of(path: Path, kind: str, elsewhere: Path) -> None:
    if kind == "link":
        shutil.move(path, elsewhere)
        path.symlink_to(elsewhere)
        return
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    elif kind == "dangling":
        path.symlink_to("/nowhere")
    elif kind == "folder":
        path.mkdir()
    else:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket is short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)


KINDS = ["link", "dangling", "fifo", "device", "socket", "folder"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_that_is_no_file(small: Packed, tmp_path: Path, kind: str) -> None:
    in_place_of(small.segment(0), kind, tmp_path / "elsewhere")
    small.comes_back(tmp_path / "back", 0)
    in_place_of(small.segment(1), kind, tmp_path / "elsewhere too")
    small.is_beyond(tmp_path / "back", 0, 1)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME,
                                  names.CATALOG_COPY_NAME])
def test_another_file_that_is_no_file(small: Packed, tmp_path: Path, kind: str, name: str) -> None:
    """The copy is used; what stands in the way is neither opened nor written through."""
    in_place_of(small.volume / name, kind, tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes() if kind == "link" else b""
    small.report(11)
    small.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(small.source)
    # A folder of that name stands in the way of a repair; what else is there may make room for the copy.
    with contextlib.suppress(UsageError, FormatError, MediumError):
        small.repair()
    if kind == "link":
        assert (tmp_path / "elsewhere").read_bytes() == before


def test_swapped_names(small: Packed, tmp_path: Path) -> None:
    before = digests(small.volume)
    for one, two in (("00000000.abs", "00000001.abs"), ("00000000.abs", "catalog.abs"),
                     ("00000001.abs", "catalog-copy.abs"), ("00000001.abs", "statement.rec"),
                     ("00000001.abs", "statement.json")):
        os.rename(small.volume / one, small.volume / "x")
        os.rename(small.volume / two, small.volume / one)
        os.rename(small.volume / "x", small.volume / two)
        small.heals(tmp_path / "back", before=before)


@pytest.mark.parametrize("name", ["weights.abs", "99999999.abs", "0.abs", "README", "ünï.abs", ".hidden"])
@pytest.mark.parametrize("old", ["00000000.abs", "catalog.abs", "catalog-copy.abs"])
def test_any_name(small: Packed, tmp_path: Path, name: str, old: str) -> None:
    before = digests(small.volume)
    os.rename(small.volume / old, small.volume / name)
    small.heals(tmp_path / "back", before=before)
    assert not (small.volume / name).exists()


def test_any_name_and_damage_at_its_ends(small: Packed, tmp_path: Path) -> None:
    before = digests(small.volume)
    os.rename(small.segment(0), small.volume / "x.abs")
    kill_blocks(small.volume / "x.abs", 4096, [0, 1, 2, 3])
    small.heals(tmp_path / "back", before=before)
    os.rename(small.segment(0), small.volume / "x.abs")
    size = (small.volume / "x.abs").stat().st_size
    kill_blocks(small.volume / "x.abs", 4096, [size // 4096 - 1])
    small.heals(tmp_path / "back", before=before)


def test_a_renamed_volume(small: Packed, tmp_path: Path) -> None:
    for name in ("from-alice", "X.AIRBUNDLE", "other.airbundle"):
        renamed = small.volume.rename(tmp_path / name)
        small = Packed(small.keys, small.source, renamed)
        small.verify()
        small.unpack(tmp_path / f"back-{name}")
        assert digests(tmp_path / f"back-{name}") == digests(small.source)


def test_a_link_to_a_volume_is_not_followed(small: Packed, tmp_path: Path) -> None:
    (tmp_path / "link.airbundle").symlink_to(small.volume)
    with pytest.raises(UsageError, match="link") as caught:
        api.verify([str(tmp_path / "link.airbundle")], trust=small.keys.trust)
    assert caught.value.rule == "V-1"


def test_two_bundles_in_one_place(small: Packed, tmp_path: Path) -> None:
    other = pack(small.keys, small.source, small.volume.parent)
    ids = [small.statement().bundle, other.statement().bundle]
    with pytest.raises(UsageError) as caught:
        api.verify([str(small.volume.parent)], trust=small.keys.trust)
    assert all(bundle in caught.value.hint for bundle in ids)
    for bundle in ids:
        assert api.verify([str(small.volume.parent)], trust=small.keys.trust, bundle=bundle).bundle == bundle
        api.unpack([str(small.volume.parent)], str(tmp_path / bundle), keys=[small.keys.reader],
                   trust=small.keys.trust, bundle=bundle[:8], pace=PACE)
    with pytest.raises(UsageError, match="no volume of bundle"):
        api.verify([str(small.volume.parent)], trust=small.keys.trust, bundle="00ff00ff00")


def test_files_of_another_bundle_among_them(small: Packed, tmp_path: Path) -> None:
    """They are no part of it and are left alone."""
    other = pack(small.keys, small.source, tmp_path / "other")
    for number in (0, 1):
        shutil.copy(other.segment(number), small.volume / f"foreign{number}.abs")
    before = digests(small.volume)
    small.verify()
    small.repair()
    assert digests(small.volume) == before


def test_a_record_is_not_read_to_tell_which_bundle_a_single_folder_is_of(
        small: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless nothing else tells: a damaged one may take seconds."""
    read: list[str] = []
    honest = statements.read_statement

    def counting(reader: names.VolumeReader, name: str) -> StatementCopy:
        read.append(name)
        return honest(reader, name)

    monkeypatch.setattr(finding, "read_statement", counting)
    for expected in ([names.STATEMENT_NAME], [*names.STATEMENTS]):
        read.clear()
        for reader in finding.open_volumes(small.given):
            reader.close()
        assert read == expected
        (small.volume / names.STATEMENT_NAME).unlink(missing_ok=True)


def test_nothing_here(tmp_path: Path, small: Packed) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no volume here"):
        api.verify([str(tmp_path / "empty")], trust=small.keys.trust)
    with pytest.raises(UsageError):
        api.verify([str(tmp_path / "none")], trust=small.keys.trust)


def test_a_segment_that_is_gone_and_a_block_that_says_it_is_here(small: Packed, tmp_path: Path) -> None:
    """Its first block leads another file; that one keeps its name."""
    block = block_of(small.segment(1), 0, 4096)
    small.segment(1).unlink()
    overwrite(small.segment(0), 0, block)
    small.comes_back(tmp_path / "back", 1)
    small.segment(2).unlink()
    small.is_beyond(tmp_path / "back", 1, 2)
    assert small.segment(0).exists()
    assert not small.segment(1).exists()
