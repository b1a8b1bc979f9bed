from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from airbundle.errors import MediumError, SourceChangedError, SourceError, UsageError
from airbundle.format import limits
from airbundle.media.reading import SourceReader
from airbundle.media.source import check_unchanged, open_source, scan

if TYPE_CHECKING:
    from pathlib import Path


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(SourceError) as caught:
        scan(str(path))
    assert caught.value.exit_status == 2
    return caught.value.problems


def whole(reader: SourceReader, step: int = 1000) -> bytes:
    out = bytearray(reader.total)
    for start in range(0, reader.total, step):
        reader.read(start, memoryview(out)[start : start + step])
    return bytes(out)


def test_a_folder_in_order_of_bytes_with_its_empty_folders(tmp_path: Path, both: str) -> None:
    for name in ("b", "a/z", "a.txt", "é", "Z", "a/empty file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name if "empty" not in name else "")
    (tmp_path / "hollow/deep").mkdir(parents=True)
    source = scan(str(tmp_path))
    assert [f.path for f in source.files] == ["Z", "a.txt", "a/empty file", "a/z", "b", "é"]
    assert source.folders == ("hollow/deep",)
    assert source.total == sum(f.size for f in source.files)
    with SourceReader(source) as reader:
        assert whole(reader, 3) == "Za.txta/zbé".encode()


def test_one_file_is_a_source_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("abc")
    (tmp_path / "latest").symlink_to("model.gguf")
    assert [(f.path, f.size) for f in scan(str(tmp_path / "model.gguf")).files] == [("model.gguf", 3)]
    assert [(f.path, f.size) for f in scan(str(tmp_path / "latest")).files] == [("latest", 3)]
    with pytest.raises(UsageError, match="no such"):
        scan(str(tmp_path / "absent"))
    os.mkfifo(tmp_path / "pipe")
    assert problems(tmp_path / "pipe") == ("'pipe' is a pipe, a socket or a device",)


def snapshot(place: Path) -> Path:
    cache = place / "hub/models--acme--tiny"
    (cache / "blobs").mkdir(parents=True)
    (cache / "blobs/0abc").write_text("weights")
    (cache / "blobs/0def").write_text("config")
    revision = cache / "snapshots/0123"
    (revision / "unet").mkdir(parents=True)
    (revision / "config.json").symlink_to("../../blobs/0def")
    (revision / "unet/model.safetensors").symlink_to("../../../blobs/0abc")
    return revision


def test_a_snapshot_of_the_model_cache_is_followed_to_its_blobs(tmp_path: Path) -> None:
    revision = snapshot(tmp_path)
    expected = {revision: ["config.json", "unet/model.safetensors"], revision / "unet": ["model.safetensors"]}
    for place, names in expected.items():
        source = scan(str(place))
        assert [f.path for f in source.files] == names
        with SourceReader(source) as reader:
            assert whole(reader).endswith(b"weights")
    (tmp_path / "hub/models--acme--other/blobs").mkdir(parents=True)
    (tmp_path / "hub/models--acme--other/blobs/0abc").write_text("theirs")
    (revision / "stray").symlink_to("../../../models--acme--other/blobs/0abc")
    assert problems(revision) == ("'stray' is a link that leads out of the source",)


def test_every_problem_is_listed(tmp_path: Path) -> None:
    inside = tmp_path / "src"
    inside.mkdir()
    (tmp_path / "src-beside").write_text("out")
    (inside / "file").write_text("x")
    (inside / "good").symlink_to("file")
    (inside / "beside").symlink_to("../src-beside")
    (inside / "dangling").symlink_to("nowhere")
    (inside / "loop").symlink_to("loop")
    (inside / "folder").mkdir()
    (inside / "to folder").symlink_to("folder")
    os.mkfifo(inside / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(inside / "socket"))
    (inside / "device").symlink_to("/dev/null")
    (inside / "CON").write_text("")
    (inside / "dot.").mkdir()
    (inside / "dot./below").write_text("")
    (inside / "Case").mkdir()
    (inside / "Case/x").write_text("")
    (inside / "case").mkdir()
    (inside / "case/y").write_text("")
    (inside / "UP").write_text("")
    (inside / "up").write_text("")
    with open(os.fsencode(inside) + b"/\xff\x1b[31m", "wb"):
        pass
    found = problems(inside)
    text = "\n".join(found)
    assert len(found) == 12, text
    for part in (
        "'beside' is a link that leads out of the source",
        "'dangling' is a link that leads nowhere",
        "'loop' is a link that leads nowhere",
        "'to folder' is a link to a folder",
        "'fifo' is a pipe",
        "'socket' is a pipe",
        "'device' is a link that leads out of the source",
        "'CON' has a part that is a device name on Windows [P-3]",
        "'dot.' has a part that ends in a dot",
        "'case' collides with 'Case'",
        "'up' collides with 'UP'",
    ):
        assert part in text
    assert "\x1b" not in text
    assert "not Unicode" in text


def test_a_long_list_is_cut_for_the_eye_only(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number:02d}?").write_text("")
    with pytest.raises(SourceError) as caught:
        scan(str(tmp_path))
    assert len(caught.value.problems) == 50
    assert "and 30 more" in caught.value.hint
    assert len(caught.value.hint.splitlines()) == 22


@pytest.mark.parametrize("place", ["AIRBUNDLE-SALVAGED.txt", "deep/er/AIRBUNDLE-SALVAGED.txt"])
def test_what_was_salvaged_is_not_packed(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("")
    (tmp_path / "model").write_text("x")
    assert "salvage" in problems(tmp_path)[0]
    if "/" not in place:
        assert "salvage" in problems(tmp_path / "model")[0]


def test_the_number_of_files_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FILES_MAX", 10)
    for number in range(11):
        (tmp_path / str(number)).write_text("")
    with pytest.raises(SourceError, match="L-3"):
        scan(str(tmp_path))


def test_pieces_cover_a_range(tmp_path: Path) -> None:
    for name, size in (("a", 10), ("b", 0), ("c", 5), ("d", 20)):
        (tmp_path / name).write_bytes(bytes(size))
    reader = SourceReader(scan(str(tmp_path)))
    shown = [(p.file.path, p.offset, p.length) for p in reader.pieces(8, 10)]
    assert shown == [("a", 8, 2), ("c", 0, 5), ("d", 0, 3)]
    assert list(reader.pieces(10, 0)) == []
    assert list(reader.pieces(35, 0)) == []
    with pytest.raises(AssertionError):
        list(reader.pieces(30, 6))


def test_an_empty_source(tmp_path: Path) -> None:
    source = scan(str(tmp_path))
    assert (list(source.files), source.folders, source.total) == ([], (), 0)
    with SourceReader(source) as reader:
        reader.read(0, memoryview(b""))


@pytest.mark.parametrize("change", ["grow", "shrink", "touch", "replace", "remove", "link"])
def test_a_changed_file_is_an_error_that_names_it(tmp_path: Path, change: str) -> None:
    file = tmp_path / "model"
    file.write_bytes(bytes(100))
    os.utime(file, ns=(0, 0))
    source = scan(str(tmp_path))
    if change in {"replace", "remove", "link"}:
        file.rename(tmp_path.parent / "moved")
    if change == "grow":
        file.write_bytes(bytes(101))
    elif change == "shrink":
        os.truncate(file, 50)
    elif change in {"touch", "replace"}:
        file.write_bytes(bytes(100))
    elif change == "link":
        file.symlink_to(tmp_path.parent / "moved")
    with SourceReader(source) as reader, pytest.raises(SourceChangedError) as caught:
        reader.read(0, memoryview(bytearray(100)))
    assert caught.value.where == "model"
    assert isinstance(caught.value, MediumError)


def test_a_file_that_changes_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(bytes(100))
    os.utime(file, ns=(0, 0))
    source = scan(str(tmp_path))
    fd = open_source(source.files[0])
    with SourceReader(source) as reader:
        reader.read(0, memoryview(bytearray(50)))
        file.write_bytes(bytes(100))
        with pytest.raises(SourceChangedError):
            reader.read(50, memoryview(bytearray(50)))
    with pytest.raises(SourceChangedError):
        check_unchanged(fd, source.files[0])
    os.close(fd)


def test_a_hundred_thousand_files_are_opened_once_each(roomy: Path, opened: list[str]) -> None:
    expected = []
    for folder in range(100):
        # A thousand names of one file in each folder: as many entries, a hundredth of the work to make them.
        place = roomy / f"{folder:03d}"
        place.mkdir()
        (place / "0000").write_bytes(text := b"%d;" % folder)
        for number in range(1, 1000):
            os.link(place / "0000", place / f"{number:04d}")
        expected.append(text * 1000)
    opened.clear()
    source = scan(str(roomy))
    assert opened == []
    assert [f.path for f in source.files] == [f"{n // 1000:03d}/{n % 1000:04d}" for n in range(100_000)]
    with SourceReader(source) as reader:
        assert whole(reader, 10_007) == b"".join(expected)
    assert len(opened) == 100_000


def test_one_large_file_is_opened_once_by_many_threads(tmp_path: Path, opened: list[str], both: str) -> None:
    data = np.random.default_rng(2).integers(0, 256, 6_000_001, np.uint8).tobytes()
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "a").write_text("before")
    with SourceReader(scan(str(tmp_path)), descriptors=1) as reader:
        out = bytearray(reader.total)

        def part(start: int) -> None:
            reader.read(start, memoryview(out)[start : start + 10_000])

        part(0)  # from here on one file is enough
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(part, range(10_000, reader.total, 10_000)))
        assert out == b"before" + data
    assert len(opened) == 2


def test_a_name_that_unicode_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "a\u0378").write_bytes(b"x")
    with pytest.raises(SourceError) as caught:
        scan(str(tmp_path))
    assert "P-6" in caught.value.hint
