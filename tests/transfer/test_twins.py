"""The calls of this system and their portable twins, ISA-L and numpy: the same bytes."""

from __future__ import annotations

import hashlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest

from airbundle.codec.engines import Engine, IsalEngine, NumpyEngine
from airbundle.crypto.envelope import BundleKey, Context, write_preamble
from airbundle.media import system
from airbundle.transfer.plan import Options, open_stream
from airbundle.transfer.seal import SealPlan, capacity, finish_catalog, seal_manifest, seal_slice
from airbundle.transfer.workspace import Workspace
from tests.transfer.test_round_trip import nested, tensors
from tests.transfer.workshop import KIB, MIB, Keys, Packed, both_suites, digests, flip, kill_blocks, pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def counted() -> Callable[[int], bytes]:
    """Entropy that is the same in every run."""
    counter = itertools.count()
    return lambda size: hashlib.shake_256(b"%d" % next(counter)).digest(size)


def stored(source: Path, plan: SealPlan, engine: Engine) -> list[bytes]:
    """All segments and a catalog, in the order in which they are made."""
    entropy = counted()
    _, stream, reader = open_stream(str(source), Options(segment_size=64 * KIB))
    found = []
    with reader:
        work = Workspace(capacity(plan, stream), engine)
        for part in stream.slices:
            content = memoryview(bytearray(part.length))
            reader.read(part.start, content)
            sealed = seal_slice(work, plan, stream, part, content, entropy=entropy)
            found.append(sealed.image.blocks.tobytes() + sealed.root)
    raw, salt = seal_manifest(plan, len(found), b"manifest" * 9000, entropy=entropy)
    catalog = finish_catalog(plan, len(found), salt, raw, Workspace(4 * MIB, engine))
    return [*found, catalog.image.blocks.tobytes() + catalog.root]


@both_suites
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("shape", [nested, tensors])
def test_segments(keys: Keys, tmp_path: Path, shape: Callable[[Path], None], *, pad: bool) -> None:
    shape(tmp_path / "source")
    context = Context(keys.packer.suite, b"b" * 16, keys.packer.public.key_id)
    key = BundleKey(b"k" * 32)
    plan = SealPlan(context, key, write_preamble(context, key, [keys.reader.public]), 4096, 8.0, pad)
    ours = stored(tmp_path / "source", plan, IsalEngine())
    assert len(ours) > 2
    assert stored(tmp_path / "source", plan, NumpyEngine()) == ours
    with system.use(system.Features.portable()):
        assert stored(tmp_path / "source", plan, NumpyEngine()) == ours


@pytest.fixture
def numpy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in sorted(sys.modules.items()):
        if name.startswith("airbundle.transfer.") and hasattr(module, "best_engine"):
            monkeypatch.setattr(module, "best_engine", NumpyEngine)


@pytest.mark.usefixtures("numpy_only")
def test_the_whole_way_under_the_twins(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested(tmp_path / "source")
    monkeypatch.setattr(system, "NOFOLLOW", 0)
    with system.use(system.Features.portable()):
        bundle = pack(keys, tmp_path / "source", tmp_path / "drive")
        before = digests(bundle.volume)
        bundle.verify(opened=True)
        flip(bundle.segment(0), 9000)
        kill_blocks(bundle.segment(1), 4096, [0, 1])
        bundle.heals(tmp_path / "back", before=before)


@pytest.mark.usefixtures("numpy_only")
def test_repair_by_the_other_engine(small: Packed, tmp_path: Path) -> None:
    """What ISA-L coded, numpy gives back, bit for bit."""
    before = digests(small.volume)
    for row in small.rows():
        at = small.place(row).data_at
        kill_blocks(small.segment(row.number), 4096, range(at, at + row.m))
    report: Any = small.heals(tmp_path / "back", before=before)
    assert report.damaged == sum(row.m for row in small.rows())
