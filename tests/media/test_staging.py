from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from airbundle.errors import MediumError, UsageError
from airbundle.format.names import SafePath
from airbundle.media import system
from airbundle.media.staging import StagingTree, require_space

if TYPE_CHECKING:
    from pathlib import Path

P = SafePath.parse


def beside(target: Path) -> list[str]:
    return [name for name in os.listdir(target.parent) if "partial" in name]


def test_files_are_published_at_once(tmp_path: Path, both: str) -> None:
    target = tmp_path / "new/place/model"
    with StagingTree(str(target)) as tree:
        tree.create(P("a/b/weights"), 10)
        tree.create(P("config"), 0)
        tree.create(P("zeros"), 7)
        tree.make_folder(P("a/hollow"))
        tree.write_at(P("a/b/weights"), 5, memoryview(b"world"))
        tree.write_at(P("a/b/weights"), 0, memoryview(b"hello"))
        assert not target.exists()
        (partial,) = beside(target)
        assert partial.startswith(".model.airbundle-partial-")
        assert stat.S_IMODE((target.parent / partial).stat().st_mode) == 0o700
        tree.publish()
    assert (target / "a/b/weights").read_bytes() == b"helloworld"
    assert (target / "config").read_bytes() == b""
    assert (target / "zeros").read_bytes() == bytes(7)
    assert os.listdir(target / "a/hollow") == []
    assert beside(target) == []
    tree.discard()
    assert target.exists()


def test_what_is_published_has_the_modes_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with StagingTree(str(tmp_path / "model")) as tree:
            tree.create(P("d/f"), 1)
            tree.publish()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("model", "model/d", "model/d/f")]
    assert modes == [0o750, 0o750, 0o640]


def test_an_empty_target_is_taken_with_its_mode(tmp_path: Path, both: str) -> None:
    target = tmp_path / "model"
    target.mkdir(mode=0o710)
    with StagingTree(str(target) + "/") as tree:
        tree.create(P("f"), 1)
        tree.publish()
    assert os.listdir(target) == ["f"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o710


def test_a_target_in_use_is_refused(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("absent")
    reasons = {"full": "not empty", "file": "not a folder", "link": "not a folder", tiny.name: "mount point"}
    for name, why in reasons.items():
        with pytest.raises(UsageError, match=why):
            StagingTree(str(tmp_path / name))
    assert beside(tmp_path / "x") == []


@pytest.mark.parametrize("late", ["file", "full folder", "link"])
def test_publishing_never_replaces_anything(tmp_path: Path, late: str, both: str) -> None:
    target = tmp_path / "model"
    with StagingTree(str(target)) as tree:
        tree.create(P("f"), 1)
        if late == "file":
            target.write_text("precious")
        elif late == "link":
            (tmp_path / "elsewhere").mkdir()
            target.symlink_to("elsewhere")
        else:
            target.mkdir()
            (target / "x").write_text("precious")
        with pytest.raises(MediumError):
            tree.publish()
    assert beside(target) == []
    assert target.is_symlink() if late == "link" else True
    assert (target / "x" if late == "full folder" else target).exists()
    if late == "link":
        assert os.listdir(tmp_path / "elsewhere") == []


def test_an_error_discards(tmp_path: Path, both: str) -> None:
    target = tmp_path / "model"
    def fail() -> None:
        with StagingTree(str(target)) as tree:
            tree.create(P("a/f"), 1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []
    with StagingTree(str(target)) as tree:
        tree.create(P("f"), 1)
    assert os.listdir(tmp_path) == []


def test_a_link_in_the_tree_is_not_followed(tmp_path: Path, both: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "victim").write_text("precious")
    with StagingTree(str(tmp_path / "model")) as tree:
        os.symlink(tmp_path / "outside", os.path.join(tree.path, "d"))
        os.symlink(tmp_path / "victim", os.path.join(tree.path, "f"))
        os.symlink(tmp_path / "absent", os.path.join(tree.path, "g"))
        for path in ("d/x", "f", "g"):
            with pytest.raises(MediumError):
                tree.create(P(path), 1)
            with pytest.raises(MediumError):
                tree.write_at(P(path), 0, memoryview(b"!"))
        with pytest.raises(MediumError):
            tree.make_folder(P("d"))
    assert os.listdir(tmp_path / "outside") == []
    assert not (tmp_path / "absent").exists()
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_file_is_made_once(tmp_path: Path, both: str) -> None:
    with StagingTree(str(tmp_path / "model")) as tree:
        tree.create(P("f"), 1)
        with pytest.raises(MediumError, match="exists"):
            tree.create(P("f"), 1)


def test_many_files_by_many_threads_with_few_descriptors(tmp_path: Path, both: str) -> None:
    paths = [P(f"{n % 50:02d}/{n % 7}/{n}") for n in range(1000)]
    with StagingTree(str(tmp_path / "model")) as tree:
        before = len(os.listdir("/proc/self/fd"))

        def work(path: SafePath) -> None:
            tree.create(path, 2 * len(path))
            tree.write_at(path, len(path), memoryview(path.encode()))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, paths))
            list(pool.map(lambda path: tree.write_at(path, 0, memoryview(path.encode())), paths))
        assert len(os.listdir("/proc/self/fd")) - before <= 64 + 32 + 8
        tree.publish()
    assert all((tmp_path / "model" / path).read_text() == path * 2 for path in paths)


def test_publishing_many_files_is_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with StagingTree(str(tmp_path / "model")) as tree:
        for number in range(200):
            tree.create(P(str(number)), 1)
        tree.publish()
    assert len(synced) == 1


def test_everything_is_synced_before_it_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[object] = []
    monkeypatch.setattr(system, "sync_tree", lambda _: steps.append((tmp_path / "model").exists()))
    monkeypatch.setattr(system, "sync_directory", steps.append)
    with StagingTree(str(tmp_path / "model")) as tree:
        tree.create(P("f"), 1)
        tree.publish()
    assert steps == [False, str(tmp_path)]


def test_a_full_disk(tiny: Path, both: str) -> None:
    with StagingTree(str(tiny / "model")) as tree:
        tree.create(P("big"), 2 << 20)
        with pytest.raises(MediumError, match="no space is left") as caught:
            tree.write_at(P("big"), 0, memoryview(bytes(2 << 20)))
    assert caught.value.where == "big"
    assert os.listdir(tiny) == []


def test_space_is_asked_for_before_anything_is_written(tiny: Path, both: str) -> None:
    require_space(str(tiny / "not/there/yet"), 1 << 19)
    with pytest.raises(MediumError, match="2097152 bytes are needed and 1048576 are free") as caught:
        require_space(str(tiny / "not/there/yet"), 2 << 20)
    assert "1048576 bytes more" in caught.value.hint
    assert os.listdir(tiny) == []


def test_a_file_system_without_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT, as it is mounted by default: everybody may read."""
    real = os.mkdir

    def open_to_all(path: str, mode: int = 0o777) -> None:
        real(path)
        os.chmod(path, 0o755)

    monkeypatch.setattr(os, "mkdir", open_to_all)
    with pytest.raises(UsageError, match="cannot keep a folder for you alone") as caught:
        StagingTree(str(tmp_path / "out"), key="abc")
    assert "umask=077" in caught.value.hint
    assert os.listdir(tmp_path) == []
