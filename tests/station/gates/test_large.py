"""Files larger than memory: 64-bit sizes and offsets as torch writes them, and no reading of what is only numbers."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

import pytest

from airbundle.station.gates.examine import examine
from airbundle.station.gates.result import Outcome, decide
from tests.station.gates.examples import TENSORS, state, storage, tensor

LARGE = 5 << 30


@dataclass
class Sparse:
    """Pieces of bytes, and numbers that stand for so many zeros; counts what is read."""

    pieces: list[bytes | int] = field(default_factory=list)
    taken: int = 0

    @property
    def size(self) -> int:
        return sum(piece if isinstance(piece, int) else len(piece) for piece in self.pieces)

    def read_at(self, offset: int, length: int) -> bytes:
        assert 0 < length <= 16 << 20
        parts = []
        for piece in self.pieces:
            size = piece if isinstance(piece, int) else len(piece)
            first, last = max(offset, 0), min(offset + length, size)
            if first < last:
                parts.append(bytes(last - first) if isinstance(piece, int) else piece[first:last])
            offset -= size
        read = b"".join(parts)[:length]
        self.taken += len(read)
        return read


def large_archive(*, wrong: int = 0, padding: bytes = b"Z" * 9, wide: int = LARGE) -> Sparse:
    pickled = state(tensor(storage("0", LARGE // 4), (LARGE // 4,), (1,)), tensor(storage("1", 1), (1,), (1,)))
    made = Sparse()
    directory = b""
    for path, raw in (("a/data.pkl", pickled), ("a/data/0", LARGE), ("a/data/1", bytes(4))):
        size, at, name = raw if isinstance(raw, int) else len(raw), made.size, path.encode()
        extra = struct.pack("<2H2Q", 1, 16, wide, 0) if size == LARGE else b""
        extra += b"FB" + struct.pack("<H", len(padding)) + padding
        header = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0x808, 0, 0, 0, 0, 0, 0, len(name), len(extra))
        made.pieces += [header + name + extra,
                        raw, b"PK\7\10" + struct.pack("<IQQ", 7, size, size + (wrong if size == LARGE else 0))]
        more = struct.pack("<2Q", size, size) if size == LARGE else b""
        more += struct.pack("<Q", at) if at > LARGE else b""
        more = struct.pack("<2H", 1, len(more)) + more if more else b""
        short = 0xFFFFFFFF if size == LARGE else size
        row = (b"PK\1\2", 0, 0, 0x808, 0, 0, 0, 7, short, short, len(name), len(more), 0, 0, 0, 0)
        directory += struct.pack("<4s6H3I5H2I", *row, min(at, 0xFFFFFFFF)) + name + more
    begin = made.size
    made.pieces += [
        directory,
        struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x31E, 0x2D, 0, 0, 3, 3, len(directory), begin),
        struct.pack("<4sIQI", b"PK\6\7", 0, begin + len(directory), 1),
        struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 3, 3, len(directory), 0xFFFFFFFF, 0)]
    return made


def test_an_archive_of_5_gib() -> None:
    content = large_archive()
    assert decide(examine("x.pt", content, TENSORS)) is Outcome.CLEAN
    assert content.taken < 1 << 20
    for bad in (large_archive(wrong=1), large_archive(padding=b"Zx"), large_archive(wide=LARGE - 1)):
        assert decide(examine("x.pt", bad, TENSORS)) is Outcome.FINDING


@pytest.mark.parametrize("tail", [0, 1])
def test_safetensors_of_5_gib(tail: int) -> None:
    header = json.dumps({"a": {"dtype": "BF16", "shape": [LARGE // 2], "data_offsets": [0, LARGE]}}).encode()
    content = Sparse([struct.pack("<Q", len(header)) + header, LARGE, bytes(tail)])
    assert decide(examine("x.safetensors", content, TENSORS)) is (Outcome.FINDING if tail else Outcome.CLEAN)
    assert content.taken < 1 << 20
