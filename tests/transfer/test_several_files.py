"""Several files that say they are one thing: segments that are put together, records that nobody asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from airbundle import api
from airbundle.errors import AirbundleError, DamagedError, IncompleteError, RepairableError, UnsignedError
from airbundle.format import limits
from airbundle.media import volume as names
from tests.vectors.people import trust_of
from tests.vectors.run import PACE
from tests.vectors.volumes import lay_out, read_vectors

TRUST = trust_of(["packer-standard"])


def laid(name: str, place: Path) -> list[str]:
    (vector,) = (one for one in read_vectors() if one.name == name)
    folders = lay_out(vector, place)
    return [str(folders[number]) for number in vector.given]


@pytest.mark.parametrize("name", ["D-2-two-files", "D-2-two-files-altered"])
def test_a_segment_of_two_files_is_repaired(name: str, tmp_path: Path) -> None:
    """Neither file is enough, and the group is gone: the blocks of both together are the segment (D-2)."""
    volumes = laid(name, tmp_path)
    with pytest.raises(RepairableError):
        api.verify(volumes, trust=TRUST, pace=PACE)
    api.repair(volumes, trust=TRUST)
    Path(volumes[0], "copy of 00000000.abs").unlink()
    api.verify(volumes, trust=TRUST, pace=PACE)


def test_a_record_under_another_name_is_not_looked_at(tmp_path: Path) -> None:
    """A drive that lost its statement, and a record of another bundle of the packer (V-2): repaired from the others."""
    volumes = laid("V-2-stray-record-alone", tmp_path)
    with pytest.raises(RepairableError):
        api.verify(volumes, trust=TRUST, pace=PACE)
    api.repair(volumes, trust=TRUST)
    assert "old.rec: no file of this bundle" in api.verify(volumes, trust=TRUST, pace=PACE).ignored
    assert Path(volumes[2], "old.rec").exists()


@pytest.mark.parametrize("room", [0, 1])
def test_so_many_records_are_looked_at(tmp_path: Path, room: int) -> None:
    """L-6: each may take 10 s, and anyone can store 300,000."""
    (volume,) = map(Path, laid("D-5-whole", tmp_path))
    (volume / names.STATEMENT_NAME).unlink()
    record = (volume / names.RECORD_NAME).rename(volume / "zz.rec").read_bytes()
    for number in range(limits.STRAY_RECORDS_MAX - room):
        (volume / f"{number:02}.rec").write_bytes(record[:64] + bytes(len(record) - 64))
    with pytest.raises(RepairableError if room else UnsignedError):
        api.verify([str(volume)], trust=TRUST, pace=PACE)


@pytest.mark.parametrize(("renamed", "answer"), [(0, IncompleteError), (1, IncompleteError), (2, DamagedError)])
def test_which_drives_are_here_where_no_table_tells(tmp_path: Path, renamed: int, answer: type[AirbundleError]) -> None:
    """Two of three folders, or more under names without a number: each of those may be any drive that is left (D-6)."""
    volumes = [Path(path) for path in laid("D-3-all-catalogs", tmp_path)]
    given = [str(volumes[0])]
    for number, volume in enumerate(volumes[1:1 + renamed]):
        given.append(str(volume.rename(tmp_path / f"backup {number}")))
    with pytest.raises(answer, match="catalog"):
        api.verify(given, trust=TRUST, pace=PACE)


def test_a_segment_on_another_drive_is_said(tmp_path: Path) -> None:
    """It is valid wherever it lies (G-3), but two members of a group now go with one drive."""
    report = api.verify(laid("G-3-moved", tmp_path), trust=TRUST, pace=PACE)
    assert [line for line in report.ignored if line.startswith("00000000.abs: lies on another volume than volume 1")]
    whole = api.verify(laid("D-5-whole-drives", tmp_path / "whole"), trust=TRUST, pace=PACE)
    assert whole.ignored == ()


def test_two_copies_of_a_drive_are_one_drive(tmp_path: Path) -> None:
    """Three folders of three drives, and no catalog: one drive is there twice, so another one may have it (D-3)."""
    volumes = [Path(path) for path in laid("D-3-all-catalogs", tmp_path)]
    again = shutil.copytree(volumes[0], tmp_path / "again" / volumes[0].name)
    with pytest.raises(IncompleteError, match="catalog"):
        api.verify([str(path) for path in (volumes[0], again, volumes[1])], trust=TRUST, pace=PACE)
