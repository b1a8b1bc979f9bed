"""Files for the gates, made with the standard library: checkpoints as torch writes them, and what hides in them."""

from __future__ import annotations

import io
import json
import os
import pickle
import runpy
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

from airbundle.station.gates.examine import examine
from airbundle.station.gates.result import Outcome, decide
from airbundle.station.gates.rules import GateRules

TENSORS = GateRules(pickle="tensors")
DENY = GateRules()


@dataclass
class Bytes:
    """Content in memory, which keeps to what the gates may ask for."""

    raw: bytes

    @property
    def size(self) -> int:
        return len(self.raw)

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert 0 < length <= 16 << 20
        return self.raw[offset : offset + length]


def judge(path: str, raw: bytes, rules: GateRules = TENSORS, **beside: bytes) -> Outcome:
    files = {name.replace("__DOT__", "."): Bytes(value) for name, value in beside.items()}
    return decide(examine(path, Bytes(raw), rules, beside=files.get if beside else None))


def why(path: str, raw: bytes, rules: GateRules = TENSORS) -> str:
    return " | ".join(result.detail for result in examine(path, Bytes(raw), rules) if result.outcome != "clean")


class Runs:
    """An object whose pickle calls something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.deed = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.deed


def payloads(canary: str) -> dict[str, bytes]:
    """Pickles that write `canary` when they are loaded, in every protocol."""
    touch = f"open({canary!r}, 'w').close()"
    deeds = {
        "system": Runs(os.system, f"touch {canary}"),
        "eval": Runs(eval, touch),
        "exec": Runs(exec, touch),
        "runpy": Runs(runpy.run_path, canary + ".py"),
        "in a list": [1, {"weights": (2, Runs(eval, touch))}],
    }
    found = {f"{label} {protocol}": pickle.dumps(deed, protocol)
             for label, deed in deeds.items() for protocol in range(6)}
    arguments = f"(S{touch!r}\n".encode()
    return found | {
        "INST": arguments + b"i__builtin__\neval\n.",
        "OBJ": b"(c__builtin__\neval\nS" + repr(touch).encode() + b"\no.",
        "escaped name": b"S'o\\x73'\nS'system'\n\x93(S'touch " + canary.encode() + b"'\ntR.",
        "second of two": b"I1\n." + pickle.dumps(deeds["eval"], 0),
        "behind a long text": b"V" + b"a" * 200_000 + b"\n0" + pickle.dumps(deeds["eval"], 0),
        "behind hexadecimal": b"I0x1f\n0" + pickle.dumps(deeds["eval"], 0),
        "behind a zero": b"F1.0\0ignored\n0" + pickle.dumps(deeds["eval"], 0),
        "behind a gap of the memo": b"Nr\xff\xff\xff\x000" + pickle.dumps(deeds["eval"], 0),
        "behind an empty state": b"K\1Nb0" + pickle.dumps(deeds["eval"], 0),
        "behind a buffer": b"C\1x\x980" + pickle.dumps(deeds["eval"], 0),
        "behind a reference": b"C\1xQ0" + pickle.dumps(deeds["eval"], 0),
        "behind a set item of a list": b"]K\0aK\0K\x01s0" + pickle.dumps(deeds["eval"], 0),
    }


# ---- pickles of torch, by hand ----

OPEN = b"\x80\x02"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str = "0", count: int = 4, kind: str = "FloatStorage", location: str = "cpu",
            tail: bytes = b"") -> bytes:
    return b"(" + text("storage") + name("torch", kind) + text(key) + text(location) + number(count) + tail + b"tQ"


EMPTY_TABLE = name("collections", "OrderedDict") + b")R"


def tensor(reference: bytes = b"", size: tuple[int, ...] = (2, 2), stride: tuple[int, ...] = (2, 1), offset: int = 0,
           hooks: bytes = EMPTY_TABLE) -> bytes:
    return (name("torch._utils", "_rebuild_tensor_v2") + b"(" + (reference or storage()) + number(offset)
            + numbers(size) + numbers(stride) + b"\x89" + hooks + b"tR")


def state(*tensors: bytes) -> bytes:
    """A state dict of the tensors."""
    return (OPEN + b"}(" + b"".join(text(f"w{number}") + one for number, one in enumerate(tensors)) + b"u.")


def zipped(entries: dict[str, bytes], folder: str = "archive") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, raw in entries.items():
            archive.writestr(f"{folder}/{path}" if folder else path, raw)
    return buffer.getvalue()


def torch_zip(pickled: bytes = state(tensor()), storages: dict[str, bytes] | None = None,
              more: dict[str, bytes] | None = None) -> bytes:
    data = {"data/0": bytes(16)} if storages is None else storages
    return zipped({"data.pkl": pickled, "byteorder": b"little", **data, "version": b"3\n", **(more or {})})


def legacy(pickled: bytes = state(tensor(storage(tail=b"N"))), keys: tuple[str, ...] = ("0",),
           storages: bytes = struct.pack("<q", 4) + bytes(16)) -> bytes:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return magic + pickled + pickle.dumps(list(keys), 2) + storages


def metadata(places: list[tuple[str, int, int]], **fields: Any) -> bytes:
    """A `.metadata` that has nothing but places."""
    made = b""
    for path, offset, length in places:
        made += name("torch.distributed.checkpoint.filesystem", "_StorageInfo") + b")\x81}(" + text("relative_path")
        made += text(path) + text("offset") + number(offset) + text("length") + number(length)
        made += b"".join(text(key) + pickle.dumps(value, 2)[2:-1] for key, value in fields.items()) + b"ub"
    return OPEN + name("torch.distributed.checkpoint.metadata", "Metadata") + b")\x81}(" + text("storage_data") + (
        b"(" + made + b"l") + b"ub."


# ---- formats of numbers ----


def safetensors(tensors: dict[str, Any] | None = None, data: bytes = bytes(24), tail: bytes = b"") -> bytes:
    default = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
               "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]}, "__metadata__": {"format": "pt"}}
    return with_header(json.dumps(default if tensors is None else tensors).encode(), data + tail)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def gguf_text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(*, pairs: bytes = b"", pair_count: int = 0, tensors: list[tuple[str, tuple[int, ...], int, int]] | None = None,
         data: bytes | None = None, version: int = 3) -> bytes:
    """Two tensors: 4 numbers of F32 and a block of Q8_0."""
    rows = [("a", (4,), 0, 0), ("b", (32,), 8, 32)] if tensors is None else tensors
    raw = b"GGUF" + struct.pack("<IQQ", version, len(rows), pair_count) + pairs
    for path, shape, kind, offset in rows:
        raw += gguf_text(path) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    raw += bytes(-len(raw) % 32)
    return raw + (bytes(16) + bytes(16) + b"\1" * 34 + bytes(30) if data is None else data)
