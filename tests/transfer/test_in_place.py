"""A segment grows into the buffer that its source slice still lies in: nothing is overwritten before it is sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.transfer.workshop import KIB, MIB, Keys, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory


@pytest.mark.parametrize("parity", [0, 8, 100])
@pytest.mark.parametrize("size", [64 * KIB, 256 * KIB, MIB, 3 * MIB + 4097])
@pytest.mark.parametrize("kind", ["noise", "zeros", "mixed", "many files"])
def test_what_is_packed_comes_back(keys: Keys, tmp_path: Path, kind: str, size: int, parity: int) -> None:
    files = {
        "noise": {"f": noise(2 * size + 1)},
        "zeros": {"f": bytes(2 * size + 1)},
        "mixed": {"a": bytes(size // 2), "b": noise(size), "c": bytes(size), "d": noise(size // 3)},
        "many files": {f"{n:04d}": noise(size // 200, n) for n in range(300)},
    }[kind]
    source = write_tree(tmp_path / "source", files)
    bundle = pack(keys, source, tmp_path / "drive", segment_size=size, parity=parity)
    bundle.verify(opened=True)
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(source)
