"""A rescue into a target that holds something already: what is there is merged, and never made worse."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError, IncompleteError, MediumError, UnsignedError, UsageError
from airbundle.media import volume as names
from airbundle.transfer import strays
from airbundle.transfer.report import Belief
from tests.rescue.disk import lay, only, same
from tests.rescue.test_conflicts import stated_otherwise
from tests.transfer.workshop import KIB, MIB, Keys, Packed, block_of, digests, noise, spread, with_digest, write_tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory


def rescue(bundle: Packed, image: Path, out: Path, error: type[AirbundleError] | None = None) -> Any:
    out.mkdir(exist_ok=True)
    if error is None:
        return api.rescue([str(image)], str(out), trust=bundle.keys.trust)
    with pytest.raises(error) as caught:
        api.rescue([str(image)], str(out), trust=bundle.keys.trust)
    return caught.value.report


def damaged(bundle: Packed, place: Path, *numbers: int, share: tuple[float, float] = (0, 1)) -> Path:
    """An image on which a part of some segments is overwritten."""
    drive = lay(place, bundle.volume.iterdir())
    for number in numbers:
        for _, at, length in drive.spots[bundle.segment(number)]:
            first, end = (int(length * part) for part in share)
            drive.write(at + first, noise(end - first, number))
    return drive.path


def inodes(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in out.rglob("*") if path.is_file()}


def test_worse_sources_make_nothing_worse(large: Packed, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rescue(large, lay(tmp_path / "image", large.volume.iterdir()).path, out)
    before = inodes(out)
    result = rescue(large, damaged(large, tmp_path / "worse", 0, 1, 2, share=(0.1, 0.7)), out)
    assert only(result).exit_status == 0
    same(large, out)
    assert inodes(out) == before  # what is whole there is not written again


def test_what_one_source_gives_after_the_other_is_merged(large: Packed, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rescue(large, damaged(large, tmp_path / "ends", 0, 1, 2, share=(0.2, 0.6)), out, DamagedError)
    before = digests(out)
    result = rescue(large, damaged(large, tmp_path / "third", 0, 1, 2, share=(0.2, 0.6)), out, DamagedError)
    assert digests(out) == before
    result = rescue(large, damaged(large, tmp_path / "middles", 0, 1, 2, share=(0.6, 1)), out)
    assert all(segment.whole and not segment.from_group for segment in only(result).segments)
    same(large, out)


def test_drives_come_one_after_another(keys: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"noise": noise(900 * KIB, 5)})
    bundle = spread(keys, source, [tmp_path / f"drive{n}" for n in range(3)], lose=1)
    out = tmp_path / "out"
    images = {number: lay(tmp_path / f"image{number}", volume.iterdir()) for number, volume in bundle.all.items()}
    assert len(only(rescue(bundle, images[1].path, out, IncompleteError)).absent) == 2
    assert len(only(rescue(bundle, images[3].path, out)).absent) == 1
    lost = next(path for path in images[2].spots if path.name.startswith("0"))
    for _, at, length in images[2].spots[lost]:
        images[2].write(at, bytes(length))
    one = only(rescue(bundle, images[2].path, out))  # its lost segment comes from the volumes that are there
    assert (one.absent, [segment.volume for segment in one.segments if segment.from_group]) == ((), [2])
    for volume in bundle.all.values():
        assert digests(out / volume.name) == digests(volume)


def test_no_revision_is_taken_back(keys: Keys, small: Packed, tmp_path: Path) -> None:
    old = lay(tmp_path / "old", small.volume.iterdir()).path
    api.rewrap(small.given, sign=keys.packer, keys=[keys.reader], add=[keys.second.public])
    out = tmp_path / "out"
    rescue(small, lay(tmp_path / "new", small.volume.iterdir()).path, out)
    assert only(rescue(small, old, out)).revision == 1
    same(small, out)
    for name in names.CATALOGS:  # its catalog may still be on the packer's machine
        (out / small.volume.name / name).write_bytes(bytes(20 * KIB))
    before = digests(out)
    one = only(rescue(small, old, out, DamagedError))
    assert one.problem.endswith("revision 1 lies there, of which no catalog can be put together [T-7]")
    assert digests(out) == before


def test_a_statement_that_nobody_vouches_for_keeps_no_volume_old(small: Packed, keys: Keys, tmp_path: Path) -> None:
    """In the target lies a stranger's statement of a higher revision: it is replaced by the one that is believed."""
    stranger = Keys(keys.stranger, keys.reader, keys.second, keys.stranger)
    false = stated_otherwise(small, tmp_path / "false", stranger, revision=7).parent
    out = tmp_path / "out" / small.volume.name
    out.mkdir(parents=True)
    for name in names.STATEMENTS:
        shutil.copy(false / name, out)
    assert only(rescue(small, lay(tmp_path / "image", small.volume.iterdir()).path, tmp_path / "out")).revision == 0
    same(small, tmp_path / "out")


def without_statement(bundle: Packed, image: Path, files: list[Path]) -> Path:
    return lay(image, [file for file in files if file.name not in names.STATEMENTS]).path


def test_strays_stay_when_others_come(small: Packed, tmp_path: Path) -> None:
    """Without a statement neither another attempt of more blocks nor other contents replace what is there."""
    size, out = small.rows()[0].block_size, tmp_path / "out"
    first, whole = tmp_path / "first", small.segment(0).read_bytes()
    first.write_bytes(whole[:len(whole) * 3 // 4 // size * size])
    (volume,) = only(rescue(small, first, out, UnsignedError)).volumes
    before = digests(out)
    forged = b"".join(with_digest(whole[at:at + 300] + b"forged" + whole[at + 306:at + size])
                      for at in range(0, len(whole), size))
    other = b""
    for at in range(0, len(whole), size):
        block = bytearray(block_of(small.segment(0), at // size, size))
        block[96:112] = b"another salt ..."
        other += with_digest(bytes(block))
    for name, content in (("forged", forged[:len(first.read_bytes())]), ("other", other * 2)):
        (tmp_path / name).write_bytes(content)
        rescue(small, tmp_path / name, out, UnsignedError)
        assert digests(out) == before, name
    (tmp_path / "rest").write_bytes(whole)
    rescue(small, tmp_path / "rest", out, UnsignedError)
    assert os.path.isdir(volume)
    assert (out / os.path.basename(volume) / "00000000.abs").read_bytes() == whole


def test_a_statement_comes_later(small: Packed, tmp_path: Path) -> None:
    """What was written without one lies in a folder of another name, and is found there."""
    out = tmp_path / "out"
    files = sorted(small.volume.iterdir())
    rescue(small, without_statement(small, tmp_path / "blocks", files), out, UnsignedError)
    ends = lay(tmp_path / "ends", [small.volume / names.RECORD_NAME, small.segment(0)]).path
    rescue(small, ends, out)
    (out / small.volume.name / names.segment_name(len(small.rows()))).unlink()  # the catalog, by its number
    same(small, out)


def test_what_is_not_known_better_stays_as_it_is(large: Packed, tmp_path: Path) -> None:
    """Blocks there with a dead sector: with another copy some day they may be joined."""
    out, size = tmp_path / "out", large.rows()[0].block_size
    folder = out / large.volume.name
    folder.mkdir(parents=True)
    place = large.place(large.rows()[0])
    for row in large.rows()[:3]:
        content = bytearray(large.segment(row.number).read_bytes())
        for at in range(place.data_at, place.parity_at):
            content[at * size + 1024:at * size + 1536] = noise(512, at)
        (folder / large.segment(row.number).name).write_bytes(content)
    before = (folder / "00000000.abs").read_bytes()
    rescue(large, damaged(large, tmp_path / "image", 0, 1, 2, share=(0, 0.9)), out, DamagedError)
    assert (folder / "00000000.abs").read_bytes()[:len(before) // 2] == before[:len(before) // 2]


@pytest.mark.parametrize("stated", [True, False])
def test_files_that_changed_their_names_are_not_overwritten(small: Packed, tmp_path: Path, *, stated: bool) -> None:
    out = tmp_path / "out"
    files = sorted(small.volume.iterdir())
    image = lay(tmp_path / "image", files).path if stated else without_statement(small, tmp_path / "image", files)
    rescue(small, image, out, None if stated else UnsignedError)
    (folder,) = out.iterdir()
    (folder / "00000000.abs").rename(folder / "00000001.abs")
    before = digests(out)
    rescue(small, damaged(small, tmp_path / "worse", 0, share=(0.1, 0.8)) if stated else image, out, UsageError)
    assert digests(out) == before


def test_room_that_is_taken_already_is_not_needed_again(
        small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, image = tmp_path / "out", lay(tmp_path / "image", small.volume.iterdir()).path
    largest = max(path.stat().st_size for path in small.volume.glob("0*.abs"))
    monkeypatch.setattr(strays, "free_space", lambda _: 64 * MIB + largest)
    with pytest.raises(MediumError, match=f"bytes are needed, {64 * MIB:,} of them to stay free, and"):
        api.rescue([str(image)], str(tmp_path), trust=small.keys.trust)
    monkeypatch.undo()
    rescue(small, image, out)
    monkeypatch.setattr(strays, "free_space", lambda _: largest)
    rescue(small, image, out)
    monkeypatch.setattr(strays, "free_space", lambda _: largest - 4096)
    rescue(small, image, out, MediumError)


def test_what_is_believed_comes_before_what_takes_its_room(
        keys: Keys, small: Packed, large: Packed, tmp_path: Path) -> None:
    """A stranger's bundle has a statement too, and lies in front."""
    stranger = Keys(keys.stranger, keys.reader, keys.second, keys.stranger)
    record = stated_otherwise(large, tmp_path / "false", stranger)
    files = [file for file in sorted(large.volume.iterdir()) if file.name not in names.STATEMENTS]
    image = lay(tmp_path / "a", [record, *files]).path
    out = tmp_path / "out"
    out.mkdir()
    result = api.rescue([str(image), str(lay(tmp_path / "b", small.volume.iterdir()).path)], str(out), trust=keys.trust)
    assert [one.belief for one in result.bundles] == [Belief.TRUSTED, Belief.STRANGER]


@pytest.mark.parametrize("stated", [True, False], ids=["", "without a catalog"])
def test_signatures_that_are_there_stay_there(keys: Keys, small: Packed, tmp_path: Path, *, stated: bool) -> None:
    """Of a second person, whom nobody here knows (T-8)."""
    files = [file for file in sorted(small.volume.iterdir()) if stated or file.name not in names.CATALOGS]
    drive = lay(tmp_path / "image", files)
    both = TrustSet([NamedIdentity("packer", keys.packer.public), NamedIdentity("second", keys.second.public)])
    api.sign(small.given, sign=keys.second, trust=both)
    out = tmp_path / "out"
    out.mkdir()
    shutil.copytree(small.volume, out / small.volume.name)
    for name in () if stated else names.CATALOGS:
        (out / small.volume.name / name).unlink()
    rescue(small, drive.path, out, None if stated else DamagedError)
    for name in names.STATEMENTS:
        assert (out / small.volume.name / name).read_bytes() == (small.volume / name).read_bytes()
