"""Salvage: what can still be read when verification cannot succeed, and nothing that should not be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.cli import main as command_line
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.locks import RecipientLock
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, NoKeyError, SourceError, StrangerError, UsageError
from airbundle.media import volume as names
from airbundle.media.source import SALVAGE_MARKER
from airbundle.transfer import pack as packing
from airbundle.transfer import salvage as salvaging
from tests.transfer.workshop import (
    KIB,
    MIB,
    Keys,
    Packed,
    block_of,
    digests,
    kill_blocks,
    noise,
    overwrite,
    pack,
    with_digest,
    write_tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = {"a/text": b"text" * 40_000, "big": noise(5 * MIB, 7), "empty": b"", "z": noise(90 * KIB, 8)}


@pytest.fixture(scope="module")
def whole(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    place = tmp_path_factory.mktemp("salvage")
    return pack(keys, write_tree(place / "source", FILES, ("hollow",)), place / "drive", segment_size=2 * MIB)


@pytest.fixture
def sick(whole: Packed, tmp_path: Path) -> Packed:
    return whole.copy_to(tmp_path / "drive")


def salvage(packed: Packed, target: Path, *, unsigned: bool = False, **more: Any) -> Any:
    more.setdefault("keys", [packed.keys.reader])
    return api.salvage(packed.given, str(target), trust=None if unsigned else packed.keys.trust, **more)


def break_group(bundle: Packed) -> tuple[int, int]:
    """One stripe too much in two members of a group, at the same block indices: a data block and where it lies."""
    first, second = bundle.data_rows()[1], bundle.partner(bundle.data_rows()[1])
    place = bundle.place(first)
    stripe = [index for index in range(place.geometry.data_blocks) if index % place.geometry.stripes == 0]
    dead = stripe[:place.geometry.m + 1]
    for row in (first, second):
        kill_blocks(bundle.segment(row.number), row.block_size, [bundle.place(row).data_at + index for index in dead])
    return first.number, dead[0]


def without_statements(bundle: Packed) -> None:
    for name in (names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME, names.CATALOG_COPY_NAME):
        (bundle.volume / name).unlink()


def holds_what_was_packed(target: Path, result: Any, prefix: str = "") -> None:
    """Every byte outside the holes is the source's; inside they are zeros."""
    for file in result.files:
        found, packed = (target / file.name).read_bytes(), FILES[file.path]
        assert len(found) == len(packed) == file.size
        at = 0
        for offset, length in (*file.holes, (file.size, 0)):
            assert found[at:offset] == packed[at:offset]
            assert not any(found[offset:offset + length])
            at = offset + length
        assert file.name == prefix + file.path + (salvaging.INCOMPLETE if file.holes else "")


def test_holes_are_named_and_the_rest_is_right(sick: Packed, tmp_path: Path) -> None:
    break_group(sick)
    sick.refused(4)
    result = salvage(sick, tmp_path / "out")
    holds_what_was_packed(tmp_path / "out", result)
    broken = {file.path: file for file in result.files if file.holes}
    assert set(broken) == {"big"}
    assert 0 < result.bytes_lost <= 2 * MIB
    assert result.signed
    assert (result.complete, result.failed) == (3, 0)
    assert (tmp_path / "out" / "hollow").is_dir()
    marker = (tmp_path / "out" / SALVAGE_MARKER).read_text()
    for offset, length in broken["big"].holes:
        assert f"hole of {length} bytes at {offset}" in marker


def test_a_whole_bundle_comes_out_whole_and_still_is_marked(sick: Packed, tmp_path: Path) -> None:
    result = salvage(sick, tmp_path / "out")
    assert result.complete == len(FILES)
    assert all(file.digest in {True, None} for file in result.files)
    with pytest.raises(SourceError) as caught:
        pack(sick.keys, tmp_path / "out", tmp_path / "again")
    assert SALVAGE_MARKER in caught.value.hint
    (tmp_path / "out" / SALVAGE_MARKER).unlink()
    assert digests(tmp_path / "out") == digests(sick.source)


def test_with_trust_only_signed_blocks_are_opened(sick: Packed, tmp_path: Path) -> None:
    """A block with a digest of its own that is not in the signed list is a hole, however well its seal fits."""
    number, index = break_group(sick)
    row = sick.rows()[number]
    at = sick.place(row).data_at + index
    whole = noise(row.block_size - 128, 5)
    head = block_of(sick.segment(number), at + 50, row.block_size)[:128]
    overwrite(sick.segment(number), at * row.block_size, with_digest(head[:120] + index.to_bytes(4, "little")
                                                                      + head[124:] + whole))
    result = salvage(sick, tmp_path / "out")
    holds_what_was_packed(tmp_path / "out", result)
    assert result.problems == ()  # it was never opened


def test_the_block_with_the_index_is_lost(sick: Packed, tmp_path: Path) -> None:
    """Without it nothing of a segment can be told; the others still come."""
    row = sick.data_rows()[1]
    for member in (row, sick.partner(row)):
        place = sick.place(member)
        last = sick.place(row).geometry.data_blocks - 1
        stripe = last % place.geometry.stripes
        dead = [index for index in range(last, -1, -1) if index % place.geometry.stripes == stripe]
        kill_blocks(sick.segment(member.number), row.block_size, [
            place.data_at + index for index in dead[:place.geometry.m + 1]])
    result = salvage(sick, tmp_path / "out")
    holds_what_was_packed(tmp_path / "out", result)
    assert result.failed == 1
    assert result.bytes_lost == 2 * MIB


def test_segments_alone(sick: Packed, tmp_path: Path) -> None:
    """No statement, no catalog: with --unsigned each segment says which files it has."""
    without_statements(sick)
    with pytest.raises(AirbundleError) as caught:
        salvage(sick, tmp_path / "out")
    assert caught.value.exit_status == 5
    assert "--unsigned" in caught.value.hint
    result = salvage(sick, tmp_path / "out", unsigned=True)
    (folder,) = result.bundles
    holds_what_was_packed(tmp_path / "out", result, f"{folder}/")
    assert {file.path for file in result.files} == {path for path, content in FILES.items() if content}
    assert result.bytes_lost == 0
    assert not any(file.signed for file in result.files)


@pytest.mark.parametrize("part", ["front", "lists", "tail", "stripe"])
def test_a_damaged_segment_alone(sick: Packed, tmp_path: Path, part: str) -> None:
    """Its own parity and either end are enough."""
    without_statements(sick)
    path = sick.segment(1)
    size = path.stat().st_size
    block = 16 * KIB
    if part == "front":
        overwrite(path, 0, bytes(3 * block))
    elif part == "lists":
        overwrite(path, block, bytes(block))
        overwrite(path, size - 2 * block, bytes(block))
    elif part == "tail":
        overwrite(path, size - 3 * block, bytes(3 * block))
    else:
        overwrite(path, 10 * block, bytes(4 * block))
    result = salvage(sick, tmp_path / "out", unsigned=True)
    (folder,) = result.bundles
    holds_what_was_packed(tmp_path / "out", result, f"{folder}/")
    assert result.bytes_lost == 0


def test_two_bundles_in_one_folder(keys: Keys, sick: Packed, tmp_path: Path) -> None:
    """Only the one that was asked for."""
    other = pack(keys, write_tree(tmp_path / "other", {"big": noise(100 * KIB, 9)}), tmp_path / "second")
    ours = sick.statement().bundle
    without_statements(sick)
    shutil.copyfile(other.segment(0), sick.volume / "00000077.abs")
    with pytest.raises(UsageError, match="2 bundles here"):
        salvage(sick, tmp_path / "out", unsigned=True)
    result = salvage(sick, tmp_path / "out", unsigned=True, bundle=ours[:6])
    assert [path.read_bytes() for path in (tmp_path / "out").glob("*/big")] == [FILES["big"]]
    assert len(result.bundles) == 1


def same_bundle_id() -> Callable[[int], bytes]:
    """Randomness that begins alike: a pack draws its bundle id first."""
    drawn = iter([bytes(range(16))])
    return lambda size: next(drawn, None) or os.urandom(size)


def test_two_commitments_are_not_mixed(keys: Keys, tmp_path: Path) -> None:
    """The same bundle id under two bundle keys: what each of them opens goes to a folder of its own."""
    packed = []
    for number, content in enumerate((noise(90 * KIB, 1), noise(90 * KIB, 2))):
        result = packing.pack(str(write_tree(tmp_path / f"source-{number}", {"w": content})),
                              [str(write_tree(tmp_path / f"drive-{number}", {}))], identity=keys.packer,
                              lock=RecipientLock((keys.reader.public,)),
                              entropy=same_bundle_id())
        packed.append((Path(result.volumes[0]), content))
    (first, one), (second, two) = packed
    assert first.name == second.name
    shutil.copyfile(second / "00000000.abs", first / "00000001.abs")
    for name in (names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME, names.CATALOG_COPY_NAME):
        (first / name).unlink()
    salvaged = api.salvage([str(first)], str(tmp_path / "out"), trust=None, keys=[keys.reader])
    assert len(salvaged.bundles) == 2
    assert {path.read_bytes() for path in (tmp_path / "out").glob("*/w")} == {one, two}


def test_a_strangers_bundle(keys: Keys, sick: Packed, tmp_path: Path) -> None:
    """With a catalog that nobody vouches for its groups still help; every file says that it is not signed."""
    (sick.segment(1)).unlink()
    nobody = TrustSet([NamedIdentity("x", keys.stranger.public)])
    with pytest.raises(StrangerError):
        api.salvage(sick.given, str(tmp_path / "out"), trust=nobody, keys=[keys.reader])
    assert not (tmp_path / "out").exists()
    result = salvage(sick, tmp_path / "out", unsigned=True)
    holds_what_was_packed(tmp_path / "out", result)
    assert result.bytes_lost == 0
    assert not result.signed


def test_no_key(keys: Keys, sick: Packed, tmp_path: Path) -> None:
    for unsigned in (False, True):
        with pytest.raises(NoKeyError):
            salvage(sick, tmp_path / "out", unsigned=unsigned, keys=[keys.stranger])
    without_statements(sick)
    with pytest.raises(NoKeyError):
        salvage(sick, tmp_path / "out", unsigned=True, keys=[keys.stranger])
    with pytest.raises(UsageError, match="trusted packer") as caught:
        salvage(sick, tmp_path / "out", unsigned=True, keys=[], passphrase="long enough for it")
    assert caught.value.rule == "K-15"
    assert not (tmp_path / "out").exists()


def test_names_that_are_taken(keys: Keys, tmp_path: Path) -> None:
    """Nothing takes the place of another file."""
    files = {"a": noise(2 * MIB, 1), "a.incomplete": noise(MIB, 2), "b": noise(MIB, 3), "b.incomplete": b"mine"}
    bundle = pack(keys, write_tree(tmp_path / "source", files), tmp_path / "drive", segment_size=MIB)
    for row in bundle.rows():
        if row.number != bundle.data_rows()[-1].number:
            bundle.segment(row.number).unlink()
    result = salvage(bundle, tmp_path / "out")
    assert {file.path: file.name for file in result.files} == {
        "a": "a.incomplete2", "a.incomplete": "a.incomplete.incomplete", "b": "b.incomplete2",
        "b.incomplete": "b.incomplete"}
    assert (tmp_path / "out" / "b.incomplete").read_bytes() == b"mine"


def test_the_group_gives_what_it_can(keys: Keys, tmp_path: Path) -> None:
    """A stripe that nothing gives back does not keep the group from giving back another one."""
    sick = pack(keys, write_tree(tmp_path / "source", {"w": noise(14 * MIB, 1)}), tmp_path / "drive",
                segment_size=7 * MIB)
    number, _ = break_group(sick)
    alone = salvage(sick, tmp_path / "one")
    place = sick.place(sick.rows()[number])
    others = [index for index in range(place.geometry.data_blocks) if index % place.geometry.stripes == 1]
    kill_blocks(sick.segment(number), place.geometry.block_size,
                [place.data_at + index for index in others[-place.geometry.m - 2:-1]])
    assert 0 < alone.bytes_lost <= 4 * MIB
    both = salvage(sick, tmp_path / "two")
    assert both.files == alone.files


def test_the_command_line(sick: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12, with the report; and nothing that nobody signed is parsed as root."""
    (tmp_path / "reader.key").write_bytes(write_private("reader", sick.keys.reader, passphrase=None))
    (tmp_path / "packer.pub").write_bytes(write_public("packer", sick.keys.packer.public))
    break_group(sick)
    command = [sys.executable, "-m", "airbundle", "salvage", str(sick.volume), "-o", str(tmp_path / "out"), "--key",
               str(tmp_path / "reader.key"), "--json"]
    done = subprocess.run([*command, "--trust", str(tmp_path / "packer.pub")], check=False, capture_output=True)
    assert done.returncode == 12, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["exit"], answer["error"]) == (12, "SalvagedError")
    assert answer["report"]["complete"] == 3
    assert b"3 of 4 files complete" in done.stderr
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert command_line.main([*command[3:], "--unsigned"]) == 2


def test_a_member_that_is_denied_takes_no_other_with_it(keys: Keys, tmp_path: Path) -> None:
    """Two members beyond repair do not keep a third one, which has lost its lists, from coming back."""
    sick = pack(keys, write_tree(tmp_path / "source", {"w": noise(4 * MIB, 1)}), tmp_path / "drive", segment_size=MIB)
    rows = sick.data_rows()
    assert len({row.group for row in rows}) == 1

    def beyond_its_own(number: int, index: int) -> None:
        """All its parity, and one data block."""
        place = sick.place(rows[number])
        assert place.geometry.stripes == 1
        kill_blocks(sick.segment(number), rows[number].block_size, [place.data_at + index, *range(
            place.parity_at, place.parity_at + place.geometry.parity_blocks)])

    for number in (0, 2):
        beyond_its_own(number, 0)
    alone = salvage(sick, tmp_path / "alone")
    beyond_its_own(1, 20)
    place = sick.place(rows[1])
    for at in place.lists_at:
        kill_blocks(sick.segment(1), rows[1].block_size, range(at, at + place.geometry.list_blocks))
    assert sick.report(4).restorable == (1,)
    assert salvage(sick, tmp_path / "both").bytes_lost == alone.bytes_lost


def test_long_names_and_folders_that_are_in_the_way(keys: Keys, tmp_path: Path) -> None:
    """A file with holes gets a name that fits and that nothing has, whatever its own is."""
    files = {"n" * 250: noise(2 * MIB, 1), "a": noise(2 * MIB, 2), "a.incomplete/x": b"mine"}
    bundle = pack(keys, write_tree(tmp_path / "source", files), tmp_path / "drive", segment_size=MIB)
    for row in bundle.rows()[1:]:
        if row.number not in {bundle.data_rows()[-1].number, bundle.data_rows()[2].number}:
            bundle.segment(row.number).unlink()
    result = salvage(bundle, tmp_path / "out")
    named = {file.path: file.name for file in result.files if file.holes}
    assert named == {"n" * 250: "n" * 244 + ".incomplete", "a": "a.incomplete2"}
    assert (tmp_path / "out" / "a.incomplete" / "x").read_bytes() == b"mine"


def test_a_list_that_somebody_wrote_hides_nothing(sick: Packed, tmp_path: Path) -> None:
    without_statements(sick)
    path, size = sick.segment(1), 16 * KIB
    block = block_of(path, 1, size)  # the first block of the first list
    overwrite(path, size, with_digest(block[:128] + noise(size - 128, 3)))
    result = salvage(sick, tmp_path / "out", unsigned=True)
    assert result.bytes_lost == 0
    assert result.failed == 0  # nor is parity, which has no index, a failure
    assert result.problems == ()


def test_no_index_is_opened_of_which_a_block_is_lost(
        keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of several blocks, one of them lost for good and forged: its seal is not even tried."""
    files = {f"{number:04}": bytes([number % 251]) * 50 for number in range(600)} | {"w": noise(90 * KIB)}
    bundle = pack(keys, write_tree(tmp_path / "source", files), tmp_path / "drive", segment_size=4 * MIB)
    opened = []
    monkeypatch.setattr(salvaging, "open_index", lambda *given: opened.append(given))
    for row in bundle.rows():
        place = bundle.place(row)
        middle = place.geometry.data_blocks - 3
        stripe = [index for index in range(place.geometry.data_blocks - 2)
                  if (index - middle) % place.geometry.stripes == 0]
        parity = [place.geometry.data_blocks + at for at in range(place.geometry.parity_blocks)
                  if (place.geometry.data_blocks + at - middle) % place.geometry.stripes == 0]
        kill_blocks(bundle.segment(row.number), row.block_size, [
            place.data_at + index for index in [*stripe[-1:], *parity]])
    bundle.refused(4)
    with pytest.raises(AirbundleError):
        salvage(bundle, tmp_path / "out")
    assert opened == []
