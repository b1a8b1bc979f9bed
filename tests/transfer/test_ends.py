"""The two ends of a volume: no valid statement before everything that it binds is proven to be on the medium."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.errors import MediumError
from airbundle.media import system
from airbundle.media import volume as names
from airbundle.media.writing import VolumeWriter
from airbundle.transfer import ending
from airbundle.transfer.readback import holds_content
from airbundle.transfer.seal import finish_catalog
from tests.transfer.workshop import KIB, MIB, PACE, Keys, Packed, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from airbundle.transfer.seal import Sealed, SealPlan
    from airbundle.transfer.workspace import Workspace

VERBS = ("pack", "copy", "rebuild")


@pytest.fixture
def bundle(keys: Keys, tmp_path: Path) -> Packed:
    return pack(keys, write_tree(tmp_path / "source", {"one": noise(200 * KIB, 5)}), tmp_path / "drive")


def run(verb: str, bundle: Packed, target: Path) -> None:
    """Whole volumes on `target`, from another command for each verb."""
    keys = bundle.keys
    target.mkdir(exist_ok=True)
    if verb == "pack":
        pack(keys, write_tree(target.parent / "other source", {"two": noise(200 * KIB, 6)}), target)
    elif verb == "copy":
        api.copy(bundle.given, [str(target)], trust=keys.trust, pace=PACE)
    else:
        flipped = bundle.segment(0)
        raw = bytearray(flipped.read_bytes())
        raw[9000] ^= 1
        flipped.write_bytes(raw)
        api.rebuild(bundle.given, str(target), trust=keys.trust, pace=PACE)


def harming(monkeypatch: pytest.MonkeyPatch, after: str, harm: Callable[[str], None]) -> None:
    """As soon as the file `after` of a volume was filled, something happens to the volume."""
    honest = VolumeWriter.fill

    def fill(self: VolumeWriter, name: str, data: Any) -> None:
        honest(self, name, data)
        if name == after:
            harm(self.path)

    monkeypatch.setattr(VolumeWriter, "fill", fill)


def statements(target: Path) -> Iterable[Path]:
    """Files of a statement that say anything."""
    return [path for name in names.STATEMENTS for path in target.glob(f"*/{name}") if path.read_bytes().strip(b"\0")]


def flip_in(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(5000)
        byte = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", [*names.CATALOGS, names.segment_name(1)])
def test_no_statement_before_what_it_binds_is_proven(
        bundle: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, name: str) -> None:
    """V-4: a catalog that reads back as something else, a segment that is gone; neither statement is there."""
    target = tmp_path / "target"
    with monkeypatch.context() as patch:
        harming(patch, names.CATALOG_COPY_NAME, lambda path: (
            flip_in if name in names.CATALOGS else os.unlink)(os.path.join(path, name)))
        with pytest.raises(MediumError, match=name) as caught:
            run(verb, bundle, target)
    assert caught.value.exit_status == 9
    assert caught.value.hint
    assert not statements(target)


@pytest.mark.parametrize("wrong", [1, 2, 3])
def test_a_catalog_that_comes_out_in_two_ways_is_not_written(
        keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: int) -> None:
    """Twice before its root is signed, and again to be written: memory may forget a bit in between."""
    source = write_tree(tmp_path / "source", {"one": noise(200 * KIB, 7)})
    made: list[bytes] = []

    def forgetful(plan: SealPlan, number: int, salt: bytes, body: bytes, work: Workspace) -> Sealed:
        made.append(body)
        flipped = bytes([*body[:-1], body[-1] ^ 1])
        return finish_catalog(plan, number, salt, flipped if len(made) == wrong else body, work)

    with monkeypatch.context() as patch:
        patch.setattr(ending, "finish_catalog", forgetful)
        with pytest.raises(MediumError, match="in two ways") as caught:
            pack(keys, source, tmp_path / "drive")
    assert (caught.value.rule, caught.value.exit_status) == ("G-2", 9)
    assert not statements(tmp_path / "drive")
    there = {path: path.stat().st_mtime_ns for path in tmp_path.glob("drive/*/0*.abs")}
    again = pack(keys, source, tmp_path / "drive")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("drive/*/0*.abs")} == there
    again.verify()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", names.STATEMENTS)
def test_the_statements_are_read_back(
        bundle: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, name: str) -> None:
    harming(monkeypatch, name, lambda path: flip_in(os.path.join(path, name)))
    with pytest.raises(MediumError, match=f"{name}: does not hold what was written") as caught:
        run(verb, bundle, tmp_path / "target")
    assert caught.value.exit_status == 9


def test_a_read_back_that_fails_names_the_file(
        bundle: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system is told in words, with the file and a hint."""
    honest = system.read_into

    def failing(fd: int, view: memoryview, offset: int) -> int:
        if os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) == names.RECORD_NAME and "target" in os.readlink(
                f"/proc/self/fd/{fd}"):
            raise OSError(5, "Input/output error")
        return honest(fd, view, offset)

    monkeypatch.setattr(system, "read_into", failing)
    with pytest.raises(MediumError, match="I/O error") as caught:
        run("copy", bundle, tmp_path / "target")
    assert caught.value.where.endswith(names.RECORD_NAME)
    assert caught.value.hint


def test_what_the_system_says_is_told_with_a_hint(
        bundle: Packed, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever nobody put in words on the way."""
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/some/where")

    monkeypatch.setattr(api, "copy", full)
    monkeypatch.setattr(api, "load_trust", lambda *_: bundle.keys.trust)
    assert main(["copy", *bundle.given, "-o", "/x", "--progress", "none"]) == 9
    told = capfd.readouterr().err
    assert "/some/where: no space is left" in told
    assert "make room" in told


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB])
def test_a_small_file_is_compared_to_its_last_byte(tmp_path: Path, size: int) -> None:
    """It is read in windows of 1 MiB; what is longer or shorter than it should be is another file."""
    content = noise(size, 8)
    cases = {"the same": content, "longer": content + b"x"}
    if size:
        cases |= {"shorter": content[:-1], "another end": content[:-1] + bytes([content[-1] ^ 1])}
    with VolumeWriter.reopen(str(tmp_path)) as volume:
        for name, held in cases.items():
            (tmp_path / name).write_bytes(held)
            assert holds_content(volume, name, content) is (name == "the same"), name
            assert holds_content(volume, name, memoryview(content)) is (name == "the same"), name
        assert not holds_content(volume, "absent", content)
