"""What no line of a vector can say: how folders, keys and targets are given, and media that fail; of both readers.

Where one of these fails, the two differ, or the sentence of the spec that it names is not what is done.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.cli.words import read_passphrase
from airbundle.errors import AirbundleError, ForgedError, UnsignedError, UsageError
from airbundle.format import limits
from airbundle.transfer import finding
from tests.vectors import run
from tests.vectors.bases import PASSPHRASE
from tests.vectors.volumes import lay_out, read_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VECTORS = {vector.name: vector for vector in read_vectors()}


@pytest.fixture
def volume(spot: Path) -> Iterator[Path]:
    """A whole bundle of one volume, in a folder of its own."""
    (found,) = lay_out(VECTORS["D-5-whole"], spot / "given").values()
    yield found
    shutil.rmtree(spot / "given")


def verified(people: Path, *places: object, trust: str = "packer-standard") -> tuple[int, int]:
    """The exit statuses of the package and of the reader."""
    words, found = [str(place) for place in places], run.Outcome()
    keys = str(people / f"{trust}.pub")
    package = run._caught(found, "verify", lambda: api.verify(words, trust=api.load_trust(keys), pace=run.PACE))
    return package, run._run(found, "verify", [*words, "--trust", keys])


def test_one_level_below(people: Path, volume: Path) -> None:
    """D-7: before the folder itself, whatever lies there; what begins with a dot is not looked for."""
    stick = volume.parent
    (stick / "catalog.abs").write_bytes(b"of a file system's repair")
    shutil.copytree(volume, stick / ".hidden-1of1.airbundle")
    (stick / ".hidden-1of1.airbundle" / "00000000.abs").unlink()
    assert verified(people, stick) == (0, 0)
    assert verified(people, stick, volume) == (0, 0)
    assert verified(people, stick / ".hidden-1of1.airbundle") == (11, 11)
    renamed = volume.rename(stick / "BACKUP")
    assert verified(people, renamed) == (0, 0)
    assert verified(people, stick) == (5, 5)
    (stick / "catalog.abs").unlink()
    assert verified(people, stick) == (2, 2)


def test_links(people: Path, volume: Path) -> None:
    """D-7: somebody's own link is followed, to the folder and its name; one that may come from a medium is not."""
    (volume.parent / "way").symlink_to(volume)
    (volume.parent / "link.airbundle").symlink_to(volume)
    assert verified(people, volume.parent / "way") == (0, 0)
    assert verified(people, f"{volume.parent / 'way'}/") == (0, 0)
    assert verified(people, volume.parent / "way", volume) == (0, 0)
    assert verified(people, volume.parent / "link.airbundle") == (2, 2)
    assert verified(people, volume.parent) == (0, 0)
    assert verified(people, volume, volume.parent / "nowhere") == (2, 2)
    (volume.parent / "place").mkdir()
    (volume.parent / "place" / "usb").symlink_to(volume)
    assert verified(people, volume.parent / "place") == (2, 2)
    assert verified(people, volume, volume.parent / "place") == (0, 0)


@pytest.mark.parametrize(("number", "answer"), [(errno.EIO, 11), (errno.EACCES, 9)])
def test_a_file_that_cannot_be_opened(people: Path, volume: Path, monkeypatch: pytest.MonkeyPatch, *, number: int,
                                      answer: int) -> None:
    """V-1: by a sick medium all of it is lost; that somebody has no right to open it says nothing of the bundle."""
    real, access = os.open, os.access

    def sick(path: Any, *more: Any, **by: Any) -> int:
        if str(path).endswith("00000000.abs"):
            raise OSError(number, os.strerror(number))
        return real(path, *more, **by)

    monkeypatch.setattr(os, "open", sick)
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and not (
        number == errno.EACCES and str(path).endswith("00000000.abs")))
    assert verified(people, volume) == (answer, answer)


def test_to_say_which_bundle_is_meant(people: Path, spot: Path) -> None:
    """D-7: it takes folders away that name others alone, and nothing else: T-4 holds for what is left."""
    mine, other = lay_out(VECTORS["D-7-two-bundles"], spot / "meant").values()
    trust = api.load_trust(str(people / "packer-standard.pub"))
    (bundle,) = finding.bundles_at(str(mine))
    assert api.verify([str(mine), str(other)], trust=trust, bundle=bundle, pace=run.PACE).believed_by
    shutil.copy(other / "statement.rec", mine / "statement.rec")
    with pytest.raises(ForgedError) as caught:
        api.verify([str(mine)], trust=trust, bundle=bundle, pace=run.PACE)
    assert caught.value.rule == "T-4"
    with pytest.raises(UsageError):
        api.verify([str(mine), str(other)], trust=trust, bundle="00" * 16, pace=run.PACE)
    for name in ("statement.json", "statement.rec"):
        (mine / name).write_bytes(b"")
    with pytest.raises(UnsignedError):  # its blocks say it, where no statement can be read
        api.verify([str(mine), str(other)], trust=trust, bundle=bundle, pace=run.PACE)
    shutil.rmtree(spot / "meant")


@pytest.mark.parametrize("place", ["nowhere.pub", "nowhere/nowhere.pub", ""])
def test_keys_that_are_not_there(people: Path, volume: Path, tmp_path: Path, place: str) -> None:
    """K-17: what was named and is no file cannot be used."""
    (tmp_path / "nowhere").write_text("a file")
    words = [str(volume), "--trust", str(tmp_path / place)]
    assert run._run(run.Outcome(), "verify", words) == 2
    with pytest.raises(UsageError):
        api.load_private(str(tmp_path / place))


def test_too_many_entries(people: Path, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L-6: nothing in such a folder is read, so whom the reader trusts does not matter; only 2 comes before it."""
    monkeypatch.setattr(limits, "VOLUME_ENTRIES_MAX", 5)
    text = run.READER.read_text().replace("300_001", "6").replace("300_000", "5")
    monkeypatch.setattr(run, "_reader", lambda: compile(text, str(run.READER), "exec"))
    assert verified(people, volume) == (4, 4)
    assert verified(people, volume, trust="officer-standard") == (4, 4)
    assert verified(people, volume, volume.parent / "nowhere") == (2, 2)
    for name in ("00000001.abs", "catalog-copy.abs", "statement.rec"):  # and so in one that only holds the volume
        (volume / name).unlink()
    assert verified(people, volume.parent) == (11, 11)
    for at in range(5):
        (volume.parent / f"file {at}").touch()
    assert verified(people, volume.parent) == (4, 4)


@pytest.mark.parametrize(("whole", "answer"), [(True, 0), (False, 11)])
def test_a_listing_that_fails_midway(people: Path, volume: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool,
                                     answer: int) -> None:
    """V-1: what is not listed counts as not there, and the reader goes on."""
    real = os.scandir

    def until(found: list[Any]) -> Iterator[Any]:
        yield from (entry for entry in found if whole or entry.name != "00000000.abs")
        raise OSError(errno.EIO, "x")

    @contextlib.contextmanager
    def sick(place: Any) -> Iterator[Iterator[Any]]:
        with real(place) as found:
            yield until(list(found))

    monkeypatch.setattr(os, "scandir", sick)
    assert verified(people, volume) == (answer, answer)


def test_sectors_of_a_record_that_cannot_be_read(people: Path, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-3: they cost their 4 KiB, which the code of the only copy that is left makes good."""
    path = volume / "statement.rec"
    path.write_bytes(path.read_bytes()[:128 << 10].ljust(384 << 10, b"\0"))
    (volume / "statement.json").unlink()

    def sick(real: Callable[..., Any], size: Callable[[Any], int]) -> Callable[..., Any]:
        def read(fd: int, what: Any, offset: int, *more: Any) -> Any:
            if os.readlink(f"/proc/self/fd/{fd}") == str(path) and offset < 45_056 and offset + size(what) > 40_960:
                raise OSError(errno.EIO, "x")
            return real(fd, what, offset, *more)

        return read

    monkeypatch.setattr(os, "pread", sick(os.pread, int))
    monkeypatch.setattr(os, "preadv", sick(os.preadv, lambda what: sum(map(len, what))))
    assert verified(people, volume) == (11, 11)


def test_where_it_is_unpacked(people: Path, volume: Path, tmp_path: Path) -> None:
    """P-7: an empty folder will do; where something is, nothing is said of the bundle, and it stays."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    key, trust = str(people / "reader-standard.key"), str(people / "packer-standard.pub")

    def unpacked(target: Path) -> tuple[int, int]:
        found, words = run.Outcome(), [str(volume), "--trust", trust, "--key", key, "-o", str(target)]
        package = run._caught(found, "unpack", lambda: api.unpack(
            [str(volume)], str(target), trust=api.load_trust(trust), keys=[api.load_private(key)], pace=run.PACE))
        if not any(target.glob("mine")):
            shutil.rmtree(target)
            target.mkdir()
        return package, run._run(found, "unpack", words)

    assert unpacked(tmp_path / "empty") == (0, 0)
    (volume / "statement.json").unlink()
    (volume / "statement.rec").unlink()
    assert unpacked(tmp_path / "full") == (2, 2)
    assert os.listdir(tmp_path / "full") == ["mine"]


@pytest.mark.parametrize(("content", "answer"), [
    (PASSPHRASE.encode() + b"\r\r\nmore", 0), (b"", 2), (b"\r\n" + PASSPHRASE.encode(), 2), (b"\xff\xfe", 2)])
def test_files_with_a_passphrase(people: Path, spot: Path, tmp_path: Path, content: bytes, answer: int) -> None:
    """K-13: the first line, which has to be text and not empty."""
    (volume,) = lay_out(VECTORS["D-5-whole-passphrase"], spot / f"given{answer}{len(content)}").values()
    (tmp_path / "passphrase").write_bytes(content)
    words = [str(volume), "--trust", str(people / "packer-standard.pub"),
             "--passphrase-file", str(tmp_path / "passphrase")]
    assert run._run(run.Outcome(), "verify", words) == answer
    if answer:
        with pytest.raises(UsageError):
            read_passphrase(str(tmp_path / "passphrase"))
    else:
        assert read_passphrase(str(tmp_path / "passphrase")) == PASSPHRASE


@pytest.mark.parametrize(("gone", "answer"), [(0, 10), (1, 11), (2, 4)])
def test_not_everything_is_read(people: Path, volume: Path, gone: int, answer: int) -> None:
    """What spec/verify.md says of 10: a segment without a file is lost whole, any other counts as it was written."""
    (volume / "00000001.abs").write_bytes(b"")
    for number in range(gone):
        (volume / f"0000000{number}.abs").unlink()
    trust = api.load_trust(str(people / "packer-standard.pub"))
    assert run._caught(run.Outcome(), "verify", lambda: api.verify(
        [str(volume)], trust=trust, fast=True, pace=run.PACE)) == answer


@pytest.mark.parametrize("way", [".", "inner/..", "../{name}"])
def test_a_folder_has_the_name_that_its_parent_lists(people: Path, volume: Path, monkeypatch: pytest.MonkeyPatch,
                                                     way: str) -> None:
    """D-7: with nothing left but its README it is still given, and no statement can be read."""
    (volume / "inner").mkdir()
    monkeypatch.chdir(volume)
    assert verified(people, way.format(name=volume.name)) == (0, 0)
    for file in volume.iterdir():
        if file.is_file() and file.name != "README.txt":
            file.unlink()
    assert verified(people, way.format(name=volume.name)) == (5, 5)


@pytest.mark.parametrize(("name", "status"), [
    ("V-6-renamed", 10), ("V-6-elsewhere", 10), ("D-4-lacks", 10), ("D-4-record", 11), ("D-4-drive-lost", 11)])
def test_who_reads_a_part_takes_segments_as_written(people: Path, spot: Path, name: str, status: int) -> None:
    """verify.md: wherever and under whatever name they lie."""
    vector = VECTORS[name]
    place = spot / f"in-part-{name}"
    lay_out(vector, place)
    trust = api.load_trust(*(str(people / f"{one}.pub") for one in vector.trust))
    try:
        found = 10
        api.verify(run.given(vector, place), trust=trust, pace=run.PACE, fast=True)
    except AirbundleError as error:
        found = error.exit_status
    assert found == status


def test_a_segment_in_the_readme(people: Path, spot: Path) -> None:
    """D-5: what `README.txt` says does not count, but a segment in it lies under another name (V-6)."""
    vector = replace(VECTORS["G-7-two-of-four"], given=("1", "2", "3", "4"))
    one, other, *more = lay_out(vector, spot / "given").values()
    assert verified(people, one, other, *more) == (0, 0)
    (other / "README.txt").write_text("something else")
    assert verified(people, one, other, *more) == (0, 0)
    shutil.copy(min(one.glob("0*.abs")), other / "README.txt")
    assert verified(people, one, other, *more) == (11, 11)
    shutil.rmtree(spot / "given")
