"""Volumes come back from images without a file system, bit for bit, and nothing is made up."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError, IncompleteError, UnsignedError, UsageError
from airbundle.media import raw
from airbundle.media import volume as names
from tests.rescue.disk import Drive, lay, only, rescued, same
from tests.transfer.workshop import KIB, MIB, Keys, Packed, both_suites, digests, noise, spread, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.transfer.rescued import RescueResult


def failed(error: type[AirbundleError], sources: list[Path], out: Path, trust: TrustSet) -> RescueResult:
    out.mkdir(exist_ok=True)
    with pytest.raises(error) as caught:
        api.rescue([str(source) for source in sources], str(out), trust=trust)
    report = caught.value.report
    assert report is not None
    return report  # type: ignore[return-value]


def overwrite_all(drive: Drive, *files: Path) -> None:
    for file in files:
        for _, place, length in drive.spots[file]:
            drive.write(place, os.urandom(length))


@both_suites
def test_a_drive_without_a_file_system(keys: Keys, small: Packed, tmp_path: Path) -> None:
    drive = lay(tmp_path / "image", sorted(small.volume.iterdir()))
    before = drive.path.read_bytes()
    result = rescued(small, [drive.path], tmp_path)
    one = only(result)
    assert one.statement == f"signed by {keys.packer.public.hex}"
    assert (one.exit_status, one.stale, one.absent) == (0, 0, ())
    assert all(segment.whole and segment.found == segment.blocks for segment in one.segments)
    assert drive.path.read_bytes() == before


def test_windows_cut_blocks_anywhere(large: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "WINDOW", 2 * MIB)
    one = only(rescued(large, [lay(tmp_path / "image", sorted(large.volume.iterdir())).path], tmp_path))
    assert sum(segment.missing + segment.conflicting for segment in one.segments) == 0


def test_nobody_needs_to_be_trusted(small: Packed, tmp_path: Path) -> None:
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    assert only(rescued(small, [image], tmp_path, trust=TrustSet())).statement.startswith("NOT believed")


def test_carved_files_under_any_name_and_in_any_order(small: Packed, tmp_path: Path) -> None:
    for number, file in enumerate(sorted(small.volume.iterdir())):
        folder = tmp_path / "carved" / f"recup_dir.{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number * 7919 % 100:08d}.bin").write_bytes(file.read_bytes() + bytes(SPARE))
    (tmp_path / "carved" / "link").symlink_to(small.volume)
    result = rescued(small, [tmp_path / "carved"], tmp_path)
    assert len(result.sources) == len(list(small.volume.iterdir())) - 1  # README.txt is smaller than a block


SPARE = 3000


def test_two_bundles_on_one_drive(keys: Keys, small: Packed, large: Packed, tmp_path: Path) -> None:
    image = lay(tmp_path / "image", [*small.volume.iterdir(), *large.volume.iterdir()]).path
    result = rescued(small, [image], tmp_path / "both")
    assert len(result.bundles) == 2
    same(large, tmp_path / "both" / "rescued")
    wanted = large.statement().bundle
    result = rescued(large, [image], tmp_path / "one", wanted=wanted[:9].upper())
    assert [one.bundle for one in result.bundles] == [wanted]
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="no block of bundle ffffffffffffff"):
        api.rescue([str(image)], str(tmp_path / "none"), bundle="f" * 20)


def test_a_file_is_gone_and_comes_back_from_its_group(large: Packed, tmp_path: Path) -> None:
    drive = lay(tmp_path / "image", large.volume.iterdir())
    overwrite_all(drive, large.segment(1))
    one = only(rescued(large, [drive.path], tmp_path))
    assert [segment.from_group for segment in one.segments] == [False, True, False, False]
    assert one.segments[1].recovered == one.segments[1].missing == one.segments[1].blocks


def test_more_is_gone_than_comes_back(large: Packed, tmp_path: Path) -> None:
    drive = lay(tmp_path / "image", large.volume.iterdir())
    overwrite_all(drive, large.segment(1))
    for _, place, length in drive.spots[large.segment(2)]:
        drive.write(place + length // 4, bytes(length // 2))
    one = only(failed(DamagedError, [drive.path], tmp_path / "out", large.keys.trust))
    assert (one.exit_status, [segment.whole for segment in one.segments]) == (4, [True, False, False, True])
    assert "2 of 4 segments" in one.problem
    out = tmp_path / "out" / large.volume.name
    assert not (out / "00000001.abs").exists()
    whole = large.segment(2).read_bytes()
    left = (out / "00000002.abs").read_bytes()
    size = large.rows()[2].block_size
    parts = [(left[at:at + size], whole[at:at + size]) for at in range(0, len(whole), size)]
    assert all(part in (right, bytes(size)) for part, right in parts)
    assert 0.3 < sum(part == right for part, right in parts) / len(parts) < 0.7
    # A file from elsewhere, and it is whole again.
    shutil.copy(large.segment(1), out)
    api.repair([str(out)], trust=large.keys.trust)
    same(large, tmp_path / "out")


def test_without_a_list_nothing_is_made_up(striped: Packed, tmp_path: Path) -> None:
    """One stripe has lost too much, and no list says whether what parity gives for the other is right."""
    row, file = striped.rows()[0], striped.segment(0)
    place, size = striped.place(row), row.block_size
    drive = lay(tmp_path / "image", striped.volume.iterdir())
    overwrite_all(drive, striped.segment(1))
    lists = [at + n for at in place.lists_at for n in range(place.geometry.list_blocks)]
    dead = [place.data_at + row.stripes * n for n in range(row.m + 1)] + [place.data_at + 1]
    for at in lists + dead:
        drive.write(drive.at(file, at * size), os.urandom(size))
    one = only(failed(DamagedError, [drive.path], tmp_path / "out", striped.keys.trust))
    assert (one.segments[0].missing, one.segments[0].recovered) == (len(lists) + len(dead), 0)
    left, whole = (tmp_path / "out" / striped.volume.name / file.name).read_bytes(), file.read_bytes()
    for number in range(place.block_count):
        wanted = bytes(size) if number in lists + dead else whole[number * size:][:size]
        assert left[number * size:][:size] == wanted, number


def test_drives_of_a_bundle_that_may_lose_one(keys: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"noise": noise(900 * KIB, 5)})
    bundle = spread(keys, source, [tmp_path / f"drive{n}" for n in range(3)], lose=1)
    images = [lay(tmp_path / f"image{n}", bundle.all[n].iterdir()).path for n in bundle.all]
    (tmp_path / "out").mkdir()
    result = api.rescue([str(images[0]), str(images[2])], str(tmp_path / "out"), trust=keys.trust)
    assert (only(result).exit_status, len(only(result).absent)) == (0, 1)
    assert sorted(os.listdir(tmp_path / "out")) == [bundle.all[1].name, bundle.all[3].name]
    for number in (1, 3):
        assert digests(tmp_path / "out" / bundle.all[number].name) == digests(bundle.all[number])
    one = only(failed(IncompleteError, [images[1]], tmp_path / "alone", keys.trust))
    assert (one.exit_status, len(one.absent)) == (3, 2)
    assert digests(tmp_path / "alone" / bundle.all[2].name) == digests(bundle.all[2])


def test_without_a_statement_what_is_there_is_written_and_the_sidecar_does_the_rest(
        small: Packed, tmp_path: Path) -> None:
    drive = lay(tmp_path / "image", small.volume.iterdir())
    overwrite_all(drive, small.volume / names.RECORD_NAME, small.volume / names.STATEMENT_NAME)
    drive.write(drive.at(small.segment(0), 9 * 4096), bytes(4096))
    one = only(failed(UnsignedError, [drive.path], tmp_path / "out", small.keys.trust))
    assert (one.exit_status, [segment.missing for segment in one.segments[:2]]) == (5, [1, 0])
    (volume,) = one.volumes
    with pytest.raises(UnsignedError):
        api.verify([volume], trust=small.keys.trust)
    sidecar = tmp_path / "sidecar"
    sidecar.mkdir()
    for name in (names.STATEMENT_NAME, names.CATALOG_NAME):
        shutil.copy(small.volume / name, sidecar)
    api.repair([volume], trust=small.keys.trust, sidecar=str(sidecar))
    assert api.verify([volume], trust=small.keys.trust).condition == "whole"


def test_without_a_catalog(small: Packed, tmp_path: Path) -> None:
    drive = lay(tmp_path / "image", small.volume.iterdir())
    overwrite_all(drive, small.volume / names.CATALOG_NAME, small.volume / names.CATALOG_COPY_NAME)
    one = only(failed(DamagedError, [drive.path], tmp_path / "out", small.keys.trust))
    assert (one.exit_status, one.problem[-6:], len(one.segments)) == (4, " [G-2]", len(small.rows()))
    sidecar = tmp_path / "sidecar"
    sidecar.mkdir()
    shutil.copy(small.volume / names.CATALOG_NAME, sidecar)
    api.repair(list(one.volumes), trust=small.keys.trust, sidecar=str(sidecar))


def test_nothing_is_there(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(noise(3 * MIB, 8))
    (tmp_path / "out").mkdir()
    with pytest.raises(DamagedError, match="no block of any bundle"):
        api.rescue([str(tmp_path / "image")], str(tmp_path / "out"))
    assert os.listdir(tmp_path / "out") == []


def test_the_target_is_not_in_a_source(small: Packed, tmp_path: Path) -> None:
    (tmp_path / "carved" / "inside").mkdir(parents=True)
    shutil.copy(small.segment(0), tmp_path / "carved")
    for target in ("carved", "carved/inside"):
        with pytest.raises(UsageError, match="lies in a folder that is to be rescued"):
            api.rescue([str(tmp_path / "carved")], str(tmp_path / target))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no device, no file and no folder"):
        api.rescue([str(tmp_path / "pipe")], str(tmp_path))


def test_what_another_bundle_wrote_is_not_touched(small: Packed, large: Packed, tmp_path: Path) -> None:
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    out = tmp_path / "out" / small.volume.name
    shutil.copytree(large.volume, out)
    with pytest.raises(UsageError) as caught:
        api.rescue([str(image)], str(tmp_path / "out"), trust=small.keys.trust)
    assert caught.value.rule == "V-5"
    assert digests(out) == digests(large.volume)


def test_the_command(small: Packed, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    drive = lay(tmp_path / "image", small.volume.iterdir())
    (tmp_path / "out").mkdir()
    assert main(["rescue", str(drive.path), "-o", str(tmp_path / "out"), "--json", "--progress", "none"]) == 0
    found = json.loads(capfd.readouterr().out)["result"]["bundles"][0]
    assert {row["number"]: (row["found"], row["missing"]) for row in found["segments"]} == {
        row.number: (small.place(row).block_count, 0) for row in small.rows()}
    overwrite_all(drive, small.segment(0), small.segment(1))
    (tmp_path / "less").mkdir()
    assert main(["rescue", str(drive.path), "-o", str(tmp_path / "less"), "--progress", "none"]) == 4
    shown = capfd.readouterr()
    assert "not whole" in shown.out
    assert "2 of 3 segments are not whole" in shown.err


def test_a_bundle_with_envelopes_that_were_changed(keys: Keys, small: Packed, tmp_path: Path) -> None:
    """Two revisions lie on the drive, the older one in free space: the higher holds (T-7)."""
    old = small.copy_to(tmp_path / "old")
    api.rewrap(small.given, sign=keys.packer, keys=[keys.reader], add=[keys.second.public])
    image = lay(tmp_path / "image", [*old.volume.iterdir(), *small.volume.iterdir()]).path
    one = only(rescued(small, [image], tmp_path))
    assert (one.revision, one.stale) == (1, 1)
