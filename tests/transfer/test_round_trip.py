"""The main job: pack, verify, inspect, unpack give back every byte, whatever the source looks like."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from airbundle import api
from airbundle.media import system
from tests.transfer.workshop import KIB, MIB, PACE, Keys, Packed, both_suites, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def nested(root: Path) -> None:
    write_tree(root, {"a/b/c/deep": noise(70_000, 1), "a/b/side": b"x" * 200_000, "a-b": b"order", "z": noise(3, 2),
                      "ünï/cödé": "ä".encode() * 999, "a/ b": b"space"}, ("hollow/inner", "a/b/void"))


def empty_files(root: Path) -> None:
    write_tree(root, {"first": b"", "m/x": noise(5, 3), "m/y": b"", "z/last": b""})


def nothing_but_empty(root: Path) -> None:
    write_tree(root, {"only": b""}, ("and", "or/not"))


def many(root: Path) -> None:
    random_ = random.Random(4)
    write_tree(root, {f"d{n % 37}/f{n:05d}": random_.randbytes(random_.randrange(300)) for n in range(2000)})


def cached_model(root: Path) -> None:
    model = root / "models--org--name"
    blobs, snapshot = model / "blobs", model / "snapshots" / "0123abc"
    write_tree(blobs, {"b1": noise(90_000, 5), "b2": b'{"a": 1}', "not-linked": b"other revision"})
    (snapshot / "sub").mkdir(parents=True)
    (snapshot / "model.bin").symlink_to("../../blobs/b1")
    (snapshot / "sub" / "config.json").symlink_to("../../../blobs/b2")


def tensors(root: Path) -> None:
    root.mkdir()
    random_ = np.random.default_rng(6)
    kinds = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "I64": 8, "BOOL": 1, "U8": 1}
    header, content = {}, b""
    for number in range(28):
        dtype = list(kinds)[number % len(kinds)]
        count = 1000 + 977 * number
        floats = random_.standard_normal(count).astype(np.float32) * np.float32(0.02)
        raw = {"BF16": (floats.view(np.uint32) >> 16).astype("<u2").tobytes(), "F16": floats.astype("<f2").tobytes(),
               "F32": floats.tobytes()}.get(dtype, random_.bytes(count * kinds[dtype]))
        header[f"t{number}"] = {"dtype": dtype, "shape": [count], "data_offsets": [len(content),
                                                                                 len(content) + len(raw)]}
        content += raw
    head = json.dumps(header).encode()
    (root / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + content)
    (root / "config.json").write_text("{}")


SHAPES: dict[str, Callable[[Path], None]] = {
    "nested": nested, "empty files": empty_files, "nothing but empty": nothing_but_empty, "many small": many,
    "tensors": tensors}


@both_suites
@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back(keys: Keys, tmp_path: Path, shape: str) -> None:
    SHAPES[shape](tmp_path / "source")
    bundle = pack(keys, tmp_path / "source", tmp_path / "drive")
    report = bundle.verify(opened=True)
    assert (report.condition, report.believed_by) == ("whole", keys.packer.public.hex)
    assert report.opened
    assert not report.findings
    found = api.inspect([str(bundle.volume)], trust=keys.trust, keys=[keys.reader])
    wanted = digests(bundle.source)
    assert {file.path: file.sha256 for file in found.files} == {name: d for name, d in wanted.items() if d}
    assert set(found.folders) == {name for name, digest in wanted.items() if not digest}
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == wanted


def test_one_file(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(noise(300_001, 7))
    bundle = pack(keys, source, tmp_path / "drive")
    bundle.unpack(tmp_path / "back")
    assert (tmp_path / "back" / "model.bin").read_bytes() == source.read_bytes()


def test_a_source_may_lie_below_a_name_that_is_no_text(keys: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "rs\udcff" / "source", {"model.bin": noise(3000, 7)})
    bundle = pack(keys, source, tmp_path / "drive")
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source)


def test_snapshot_of_the_cache(keys: Keys, tmp_path: Path) -> None:
    cached_model(tmp_path)
    bundle = pack(keys, tmp_path / "models--org--name" / "snapshots" / "0123abc", tmp_path / "drive")
    bundle.unpack(tmp_path / "back")
    assert (tmp_path / "back" / "model.bin").read_bytes() == noise(90_000, 5)
    assert set(digests(tmp_path / "back")) == {"model.bin", "sub/config.json"}


@pytest.mark.parametrize("segment_size", [64 * KIB, MIB])
@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("times", [1, 2])
def test_sizes_around_the_borders(keys: Keys, tmp_path: Path, segment_size: int, off: int, times: int) -> None:
    source = write_tree(tmp_path / "source", {"f": noise(times * segment_size + off, 8)})
    bundle = pack(keys, source, tmp_path / "drive", segment_size=segment_size)
    assert len(bundle.data_rows()) == times + (off > 0)
    assert len(bundle.rows()) == len(bundle.data_rows()) + 1
    bundle.verify(opened=True)
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source)


def test_a_chunk_ends_where_a_segment_ends(keys: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {f"f{n}": noise(MIB + n - 2, n) for n in range(5)})
    bundle = pack(keys, source, tmp_path / "drive", segment_size=MIB + 17)
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source)


@both_suites
@pytest.mark.parametrize(("size", "segment_size"), [(200_000, 64 * KIB), (3 * MIB + 1, MIB), (5, MIB)])
def test_padded_sizes_say_nothing_of_the_content(keys: Keys, tmp_path: Path, size: int, segment_size: int) -> None:
    stored = []
    for name, content in (("zeros", bytes(size)), ("random", noise(size, 9))):
        source = write_tree(tmp_path / name / "source", {"f": content})
        bundle = pack(keys, source, tmp_path / name / "drive", segment_size=segment_size, pad=True)
        stored.append([bundle.segment(row.number).stat().st_size for row in bundle.rows()])
        bundle.unpack(tmp_path / name / "back")
        assert digests(tmp_path / name / "back") == digests(source)
    assert stored[0] == stored[1]
    plain = pack(keys, tmp_path / "zeros" / "source", tmp_path / "plain", segment_size=segment_size)
    if size > KIB:
        assert plain.segment(0).stat().st_size < stored[0][0]


@both_suites
def test_each_recipient_can_open_it(keys: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"f": noise(999, 10)})
    bundle = pack(keys, source, tmp_path / "drive", to=[keys.reader.public, keys.second.public])
    for name, identity in (("one", keys.reader), ("two", keys.second)):
        api.unpack([str(bundle.volume)], str(tmp_path / name), keys=[identity], trust=keys.trust, pace=PACE)
        assert digests(tmp_path / name) == digests(source)


def test_a_whole_bundle_needs_no_repair(small: Packed) -> None:
    before = digests(small.volume)
    assert small.repair().files == ()
    assert digests(small.volume) == before


def test_with_the_portable_twins(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested(tmp_path / "source")
    monkeypatch.setattr(system, "NOFOLLOW", 0)
    with system.use(system.Features.portable()):
        bundle = pack(keys, tmp_path / "source", tmp_path / "drive")
        bundle.verify(opened=True)
        bundle.unpack(tmp_path / "back")
        assert digests(tmp_path / "back") == digests(bundle.source)
    bundle.verify(opened=True)
