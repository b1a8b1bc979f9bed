"""Copies of statement and catalog beside the volumes, and volumes that are judged by themselves."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, UnsignedError
from airbundle.media import volume as names
from airbundle.media.state import state_folder
from tests.transfer.split import Split, split
from tests.transfer.workshop import PACE, Keys, Packed, digests, flip, kill_blocks, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path

COPIES = (names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME, names.CATALOG_COPY_NAME)


@pytest.fixture
def sidecar(small: Packed, tmp_path: Path) -> Path:
    """What pack left with the sender, carried over by itself: as on the volume, which other tests do not rewrap."""
    sent = state_folder("sent", small.statement().bundle)
    assert sorted(os.listdir(sent)) == [names.CATALOG_NAME, names.STATEMENT_NAME]
    (tmp_path / "sidecar").mkdir()
    for name in os.listdir(sent):
        shutil.copy(small.volume / name, tmp_path / "sidecar")
    return tmp_path / "sidecar"


def verify(small: Packed, sidecar: Path, **more: Any) -> Any:
    return api.verify([str(small.volume)], trust=small.keys.trust, sidecar=str(sidecar), pace=PACE, **more)


def refused(small: Packed, sidecar: Path, status: int) -> AirbundleError:
    with pytest.raises(AirbundleError) as caught:
        verify(small, sidecar)
    assert caught.value.exit_status == status, repr(caught.value)
    return caught.value


@pytest.mark.parametrize("gone", [COPIES, COPIES[:2], COPIES[2:]])
def test_all_copies_of_the_volume_are_gone(small: Packed, sidecar: Path, tmp_path: Path, gone: tuple[str, ...]) -> None:
    before, kept = digests(small.volume), digests(sidecar)
    for name in gone:
        (small.volume / name).unlink()
    small.refused(5 if names.STATEMENT_NAME in gone else 4)
    error = refused(small, sidecar, 11)
    assert {(finding.volume, finding.file) for finding in getattr(error.report, "findings", ())} == {
        (str(small.volume), name) for name in gone}
    api.unpack([str(small.volume)], str(tmp_path / "back"), keys=[small.keys.reader], trust=small.keys.trust,
               sidecar=str(sidecar), pace=PACE)
    assert digests(tmp_path / "back") == digests(small.source)
    api.repair([str(small.volume)], trust=small.keys.trust, sidecar=str(sidecar))
    assert digests(small.volume) == before
    assert digests(sidecar) == kept
    small.verify()


@pytest.mark.parametrize("name", [names.CATALOG_NAME, names.STATEMENT_NAME])
@pytest.mark.parametrize("how", ["gone", "noise", "flipped"])
def test_a_sidecar_is_not_judged(small: Packed, sidecar: Path, name: str, how: str) -> None:
    """Whatever is wrong with it: the volume is whole."""
    path = sidecar / name
    if how == "gone":
        path.unlink()
    elif how == "noise":
        path.write_bytes(noise(9000))
    else:
        flip(path, 300)
    report = verify(small, sidecar)
    assert (report.findings, report.volumes) == ((), (str(small.volume),))


def test_a_catalog_from_pieces(keys: Keys, tmp_path: Path) -> None:
    """A third of the blocks is left on the volume, another third in the sidecar; a half is needed."""
    source = write_tree(tmp_path / "source", {f"file-{n:03d}": b"x" for n in range(300)})
    bundle = pack(keys, source, tmp_path / "drive")
    sidecar = shutil.copytree(state_folder("sent", bundle.statement().bundle), tmp_path / "sidecar")
    before, place = digests(bundle.volume), bundle.place(bundle.statement().catalog)
    coded = range(place.data_at, place.data_at + place.geometry.coded_blocks)
    assert len(coded) >= 9
    for left, path in ((0, bundle.volume / names.CATALOG_NAME), (0, bundle.volume / names.CATALOG_COPY_NAME),
                       (1, sidecar / names.CATALOG_NAME)):
        kill_blocks(path, 4096, [number for number in coded if number % 3 != left])
    bundle.refused(4)
    refused(bundle, sidecar, 11)
    api.repair([str(bundle.volume)], trust=keys.trust, sidecar=str(sidecar))
    assert digests(bundle.volume) == before


def test_a_sidecar_that_is_none(small: Packed, keys: Keys, tmp_path: Path, sidecar: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", small.source):
        assert refused(small, path, 2).what == "no statement and no catalog here"
    refused(small, tmp_path / "nowhere", 2)
    another = pack(keys, write_tree(tmp_path / "other", {"f": b"x"}), tmp_path / "otherdrive")
    assert another.statement().bundle in refused(small, another.volume, 2).what
    for name in COPIES[:2]:
        (small.volume / name).unlink()
    assert refused(small, another.volume, 2)
    with open(sidecar / names.STATEMENT_NAME, "r+b") as file:  # nobody vouches for this one
        raw = bytearray(file.read())
        at = raw.index(b'"sig":"') + 50
        raw[at] = ord("A") if raw[at] != ord("A") else ord("B")
        file.seek(0)
        file.write(raw)
    refused(small, sidecar, 5)


def test_a_sidecar_with_a_signature_that_the_volume_lacks(small: Packed, sidecar: Path) -> None:
    signed = small.copy_to(small.volume.parent.parent / "signed")
    keys = small.keys
    api.sign([str(signed.volume)], sign=keys.second, trust=keys.trust, pace=PACE)
    shutil.copy(signed.volume / names.STATEMENT_NAME, sidecar)
    assert verify(small, sidecar).signers == (keys.packer.public.hex,)  # it is nobody's that is trusted
    trust = TrustSet([NamedIdentity("p", keys.packer.public), NamedIdentity("s", keys.second.public)])
    api.repair([str(small.volume)], trust=trust, sidecar=str(sidecar))
    assert api.verify([str(small.volume)], trust=trust).signers == (keys.packer.public.hex, keys.second.public.hex)


@pytest.fixture
def two(small: Packed, tmp_path: Path) -> Split:
    return split(small, tmp_path)


def test_only_these(two: Split, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One volume of two, judged by itself."""
    for number, label in ((0, "LOW-B"), (1, "LOW-A")):
        one = Split(two.keys, two.source, two.volumes[number:number + 1])
        error = one.refused((11, 3)[number])  # the first has two members of the three of its group
        report = one.verify(only_these=True)
        assert report.missing == ()
        (line,) = report.not_seen
        assert line == f"volume {2 - number} of 2, '{label}', {2 - number} GB"
        assert error.report.not_seen == report.not_seen
    (tmp_path / "packer.pub").write_bytes(write_public("packer", two.keys.packer.public))
    assert main(["verify", two.paths[0], "--only-these", "--trust", str(tmp_path / "packer.pub")]) == 0
    (last,) = capfd.readouterr().out.splitlines()[-1:]
    assert "NOT seen: volume 2 of 2, 'LOW-B'" in last
    assert two.verify(only_these=True).not_seen == ()
    assert main(["verify", *two.paths, "--only-these", "--trust", str(tmp_path / "packer.pub")]) == 0
    assert "NOT seen" not in capfd.readouterr().out


def test_only_these_excuses_nothing_of_what_was_given(two: Split) -> None:
    first = Split(two.keys, two.source, two.volumes[:1])
    (first.volumes[0] / names.CATALOG_NAME).unlink()
    first.refused(11, only_these=True)
    (first.volumes[0] / names.segment_name(1)).unlink(missing_ok=True)
    (first.volumes[0] / names.segment_name(0)).unlink()
    first.refused(3, only_these=True)  # which volume it is cannot be told, so nothing is excused
    two.refused(11)
    whole = Split(two.keys, two.source, two.volumes[1:])
    flip(whole.volumes[0] / names.segment_name(1), 9000)
    whole.refused(11, only_these=True)


def test_only_these_of_a_bundle_of_one_volume(small: Packed, keys: Keys, tmp_path: Path) -> None:
    hollow = pack(keys, write_tree(tmp_path / "hollow", {"empty": b""}), tmp_path / "hollowdrive")
    for bundle in (small, hollow):  # also of one that holds no segment
        assert api.verify([str(bundle.volume)], trust=keys.trust, only_these=True).not_seen == ()
    small.segment(1).unlink()
    with pytest.raises(AirbundleError) as caught:
        api.verify([str(small.volume)], trust=small.keys.trust, only_these=True)
    assert caught.value.exit_status == 11


def test_by_the_command_line(small: Packed, sidecar: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = digests(small.volume)
    (tmp_path / "r.key").write_bytes(write_private("r", small.keys.reader, passphrase=None))
    (tmp_path / "p.pub").write_bytes(write_public("p", small.keys.packer.public))
    for name in COPIES:
        (small.volume / name).unlink()
    words = [str(small.volume), "--trust", str(tmp_path / "p.pub")]
    beside = ["--sidecar", str(sidecar)]
    assert main(["verify", *words]) == 5
    assert main(["verify", *words, *beside]) == 11
    assert main(["unpack", *words, *beside, "-o", str(tmp_path / "back"), "--key", str(tmp_path / "r.key")]) == 0
    assert main(["repair", *words, *beside]) == 0
    assert main(["verify", *words]) == 0
    assert digests(small.volume) == before
    capfd.readouterr()


def test_without_a_sidecar_nothing_is_believed(small: Packed) -> None:
    for name in COPIES:
        (small.volume / name).unlink()
    assert isinstance(small.refused(5), UnsignedError)
