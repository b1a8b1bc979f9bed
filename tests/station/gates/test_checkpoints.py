"""What torch writes passes under `tensors` and not under `deny`; each way in which it is off is a finding."""

from __future__ import annotations

import _compat_pickle
import io
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict, defaultdict
from typing import Any

import pytest

from airbundle.station.gates.allowed import ALLOWED_GLOBALS
from airbundle.station.gates.result import Outcome
from airbundle.station.gates.rules import GateRules
from tests.station.gates.examples import (
    DENY,
    EMPTY_TABLE,
    OPEN,
    judge,
    legacy,
    metadata,
    name,
    number,
    numbers,
    state,
    storage,
    tensor,
    text,
    torch_zip,
    why,
    zipped,
)

GOOD: dict[str, tuple[str, bytes]] = {
    "zip": ("model.pt", torch_zip()),
    "no name": ("weights", torch_zip()),
    "no tensors": ("rest.bin", torch_zip(state(), {})),
    "two views": ("model.bin", torch_zip(state(tensor(), tensor(size=(2,), stride=(1,), offset=2)))),
    "empty": ("model.pth", torch_zip(state(tensor(storage(count=0), size=(0,), stride=(1,))), {"data/0": b""})),
    "shard": ("__0_0.distcp", torch_zip() * 3),
    "before 1.6": ("model.bin", legacy()),
    "plain": ("random.pkl", pickle.dumps({"a": [1, 2.5, None, True, b"x", {3, 4}, (1, "x")], 7: 1 << 70})),
    **{f"containers {protocol}": ("extra.pkl", pickle.dumps(
        [bytearray(b"ab"), bytearray(), b"\xff", b"", 1 + 2j, OrderedDict(a=1), defaultdict(list, a=[1]),
         Counter("aab"), {1, "a"}, frozenset({1}), {(1, "a"): 1}], protocol)) for protocol in range(2, 6)},
    "parameter": ("model.pt", torch_zip(state(name("torch._utils", "_rebuild_parameter") + b"(" + tensor() + b"\x88"
                                              + EMPTY_TABLE + b"tR"))),
    "attributes": ("model.pt", torch_zip(state(
        name("torch._tensor", "_rebuild_from_type_v2") + b"(" + name("torch._utils", "_rebuild_parameter")
        + name("torch", "Tensor") + b"(" + tensor() + b"\x88" + EMPTY_TABLE + b"t}" + text("mark") + b"K\1stR"))),
    "old plain": ("random.pkl", pickle.dumps({"a": [1, 2.5, None, True, {3, 4}, (1, "x")]}, 2)),
}


@pytest.mark.parametrize("label", GOOD)
def test_what_torch_writes(label: str) -> None:
    path, raw = GOOD[label]
    assert judge(path, raw) is Outcome.CLEAN, why(path, raw)
    assert judge(path, raw, DENY) is Outcome.FINDING
    assert judge(path + ".safetensors", raw) is Outcome.FINDING


@pytest.mark.parametrize("label", GOOD)
def test_every_byte_less_is_noticed(label: str) -> None:
    path, raw = GOOD[label]
    for length in range(3, len(raw)):  # fewer are a text
        if not (label == "shard" and length % len(torch_zip()) == 0):
            assert judge(path, raw[:length]) is not Outcome.CLEAN, length


@pytest.mark.parametrize("label", GOOD)
@pytest.mark.parametrize("tail", [b"\0", b"\n", b"PK\3\4", bytes(64)])
def test_every_byte_more_is_noticed(label: str, tail: bytes) -> None:
    path, raw = GOOD[label]
    assert judge(path, raw + tail) is Outcome.FINDING
    assert judge(path, tail + raw) is not Outcome.CLEAN


def off(**parts: Any) -> bytes:
    return torch_zip(state(tensor(**parts)))


def rebuilt(function: str, *arguments: bytes) -> bytes:
    module, _, attribute = function.rpartition(".")
    return torch_zip(state(name(module, attribute) + b"(" + b"".join(arguments) + b"tR"))


HUGE = 1 << 59
HOOKED = EMPTY_TABLE + text("k") + number(1) + b"s"
OFF = {
    "storage is missing": torch_zip(storages={}),
    "storage is short": torch_zip(storages={"data/0": bytes(15)}),
    "storage is long": torch_zip(storages={"data/0": bytes(17)}),
    "storage that nothing refers to": torch_zip(storages={"data/0": bytes(16), "data/1": b""}),
    "storage of 8 PB": off(reference=storage(count=HUGE)),
    "negative storage": off(reference=storage(count=-4)),
    "storage of an unknown type": off(reference=storage(kind="FileStorage")),
    "storage elsewhere": off(reference=storage(location="/dev/mem")),
    "storage under a path": off(reference=storage(key="../0")),
    "two sizes": torch_zip(state(tensor(), tensor(storage(count=3), size=(1,), stride=(1,)))),
    "view of a storage": off(reference=storage(tail=text("v"))),
    "module": torch_zip(OPEN + b"(" + text("module") + name("torch", "Tensor") + text("") * 3 + b"tQ."),
    "tensor beyond its storage": off(size=(5,), stride=(1,)),
    "offset beyond": off(offset=1),
    "stride beyond": off(stride=(2, 3)),
    "negative size": off(size=(-1,), stride=(1,)),
    "size and stride": off(size=(1, 1), stride=(1,)),
    "size of no numbers": rebuilt("torch._utils._rebuild_tensor", storage(), number(0), b"(" + text("x") + b"t",
                                  numbers((1,))),
    "hooks": off(hooks=HOOKED),
    "a storage is called": rebuilt("torch.FloatStorage", number(HUGE)),
    "a list is called": rebuilt("__builtin__.list", number(1)),
    "bytes by number": rebuilt("__builtin__.bytearray", number(HUGE)),
    "bytes of a text in another code": rebuilt("__builtin__.bytearray", text("x"), text("utf-7")),
    "bytes of a number and a text": rebuilt("__builtin__.bytearray", number(HUGE), text("latin-1")),
    "complex of a text": rebuilt("__builtin__.complex", text("1"), text("2")),
    "complex of one": rebuilt("__builtin__.complex", number(1)),
    "no such rebuild": rebuilt("torch._tensor._rebuild_from_type_v2", name("torch", "Size"), name("torch", "Tensor"),
                               b"((tt", b"}"),
    "attributes of a class": rebuilt("torch._tensor._rebuild_from_type_v2", name("torch._utils", "_rebuild_parameter"),
                                     name("torch", "Tensor"), b"(" + tensor() + b"\x88" + EMPTY_TABLE + b"t",
                                     b"}" + text("__class__") + b"K\1s"),
    "type of no tensor": rebuilt("torch._tensor._rebuild_from_type_v2", name("torch._utils", "_rebuild_parameter"),
                                 name("torch", "Size"), b"(" + tensor() + b"\x88" + EMPTY_TABLE + b"t", b"}"),
    "parameter of no tensor": rebuilt("torch._utils._rebuild_parameter", storage(), b"\x88", EMPTY_TABLE),
    "a codec": rebuilt("_codecs.encode", text("x"), text("zip")),
    "a nested set": rebuilt("__builtin__.set", b"((K\1tt"),
    "a factory": rebuilt("collections.defaultdict", name("torch", "device")),
    "sizes by text": rebuilt("torch.Size", text("x")),
    "type that is none": rebuilt("torch._tensor._rebuild_from_type_v2", name("torch", "device"),
                                 name("torch", "Tensor"), b")", b"}"),
    "type that calls itself": rebuilt("torch._tensor._rebuild_from_type_v2",
                                      name("torch._tensor", "_rebuild_from_type_v2"), name("torch", "Tensor"), b")",
                                      b"}"),
    "class of a tensor": rebuilt("torch._utils._rebuild_parameter_with_state", tensor(), b"\x89", EMPTY_TABLE,
                                 b"}" + text("__class__") + b"K\1s"),
    "class of a table": torch_zip(OPEN + EMPTY_TABLE + b"}" + text("__class__") + b"K\1sb.", {}),
    "state of a list": torch_zip(OPEN + b"]}b.", {}),
    "state of a tensor": torch_zip(OPEN + tensor() + b"}b."),
    "appends to a tensor": torch_zip(OPEN + tensor() + b"K\1a."),
    "sets an item of a storage": torch_zip(OPEN + storage() + b"K\0K\1s."),
    "appends to a name": torch_zip(OPEN + name("torch", "Tensor") + b"K\1a.", {}),
    "nested key": torch_zip(OPEN + b"}K\1\x85\x85K\1s.", {}),
    "object with keywords": torch_zip(OPEN + name("torch", "Size") + b")}" + text("a") + b"K\1s\x92.", {}),
    "by number": torch_zip(OPEN + b"\x82\1.", {}),
    "memo with a gap": torch_zip(OPEN + b"Nr\xff\xff\xff\x7f.", {}),
    "attribute of an allowed name": torch_zip(OPEN + text("torch") + text("Size.__init__") + b"\x93.", {}),
    "joined name": torch_zip(OPEN + text("torch._utils._rebuild_tensor_v2"[:5]) + text("_utils._rebuild_tensor_v2")
                             + b"\x93.", {}),
    "a pickle that goes on": torch_zip(state(tensor()) + b"N."),
    "an empty pickle": torch_zip(b"", {}),
    "another entry": torch_zip(more={"readme": b"x"}),
    "code": torch_zip(more={"code/__torch__.py": b"x"}),
    "a long version": torch_zip(more={".format_version": bytes(2000)}),
    "upper case": zipped({"DATA.PKL": state(), "data.pkl": state()}),
    "two folders": torch_zip(state(), {}) + zipped({"a/data.pkl": state(), "b/version": b"3"}, folder=""),
}


@pytest.mark.parametrize("label", OFF)
def test_what_is_off(label: str) -> None:
    for path in ("model.pt", "__0_0.distcp", "weights"):
        assert judge(path, OFF[label]) is Outcome.FINDING, why(path, OFF[label])


OLD = {
    "keys of nothing": legacy(keys=("0", "1")),
    "no keys": legacy(keys=()),
    "a key twice": legacy(keys=("0", "0"), storages=(struct.pack("<q", 4) + bytes(16)) * 2),
    "other elements": legacy(storages=struct.pack("<q", 2) + bytes(16)),
    "a negative number": legacy(storages=struct.pack("<q", -1) + bytes(16)),
    "one byte less": legacy()[:-1],
    "one byte more": legacy() + b"\0",
    "other protocol": legacy().replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)),
    "keys that are no texts": legacy().replace(pickle.dumps(["0"], 2), pickle.dumps([["0"]], 2)),
}


@pytest.mark.parametrize("label", OLD)
def test_what_is_off_in_files_before_1_6(label: str) -> None:
    assert judge("model.bin", OLD[label]) is Outcome.FINDING


def test_what_the_policy_allows_besides() -> None:
    raw = torch_zip(OPEN + name("mine.sub", "Thing") + b")\x81}" + text("a") + b"K\1sb.", {})
    assert judge("x.pt", raw) is Outcome.FINDING
    assert judge("x.pt", raw, GateRules(pickle="tensors", allow_globals=("mine.sub.Thing",))) is Outcome.CLEAN
    assert judge("x.pt", raw, GateRules(pickle="tensors", allow_globals=("mine.sub.Thin",))) is Outcome.FINDING


def test_readers_of_old_protocols_give_allowed_names_no_other_meaning() -> None:
    for full in ALLOWED_GLOBALS:
        module, _, attribute = full.rpartition(".")
        renamed = _compat_pickle.NAME_MAPPING.get((module, attribute),
                                                  (_compat_pickle.IMPORT_MAPPING.get(module, module), attribute))
        assert ".".join(renamed) in ALLOWED_GLOBALS


def test_a_pickle_has_so_many_opcodes() -> None:
    raw = OPEN + b"N0" * 1000 + b"N."
    assert judge("x.pkl", raw, GateRules(pickle="tensors", pickle_steps=2003)) is Outcome.CLEAN
    assert judge("x.pkl", raw, GateRules(pickle="tensors", pickle_steps=2002)) is Outcome.FINDING
    shard = torch_zip(state(), {}) * 3  # 3 times 4 opcodes
    assert judge("x.distcp", shard, GateRules(pickle="tensors", pickle_steps=15)) is Outcome.CLEAN
    assert judge("x.distcp", shard, GateRules(pickle="tensors", pickle_steps=11)) is Outcome.FINDING


# ---- archives ----


def patched(raw: bytes, old: bytes, new: bytes, *, last: bool = False) -> bytes:
    at = raw.rindex(old) if last else raw.index(old)
    return raw[:at] + new + raw[at + len(old) :]


def compressed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", state())
    return buffer.getvalue()


def linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a/data.pkl")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, state())
    return buffer.getvalue()


def commented() -> bytes:
    buffer = io.BytesIO(torch_zip())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"x"
    return buffer.getvalue()


def duplicated() -> bytes:
    return patched(torch_zip(more={"versiom": b"3"}), b"versiom", b"version", last=True).replace(b"versiom", b"version")


PLAIN = torch_zip(state(), {})
ENDS = PLAIN.rindex(b"PK\5\6")
ARCHIVES = {
    "compressed": compressed(),
    "link": linked(),
    "comment": commented(),
    "two entries of one name": duplicated(),
    "prefix": b"\x00" * 8 + PLAIN,
    "encrypted": patched(PLAIN, b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
    "encrypted in its header": patched(PLAIN, b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0"),
    "another name in its header": patched(PLAIN, b"archive/data.pkl", b"archive/data.pkm"),
    "another size in its header": patched(PLAIN, struct.pack("<II", len(state()), len(state())),
                                          struct.pack("<II", len(state()), len(state()) + 1)),
    "another size in the directory": patched(PLAIN, struct.pack("<II", len(state()), len(state())),
                                             struct.pack("<II", len(state()) + 1, len(state()) + 1), last=True),
    "a gap": patched(PLAIN, b"PK\1\2", b"gap!PK\1\2"),
    "fewer entries": PLAIN[: ENDS + 8] + struct.pack("<HH", 2, 2) + PLAIN[ENDS + 12 :],
    "more entries": PLAIN[: ENDS + 8] + struct.pack("<HH", 4, 4) + PLAIN[ENDS + 12 :],
    "other disk": PLAIN[: ENDS + 4] + struct.pack("<HH", 1, 0) + PLAIN[ENDS + 8 :],
    "64 bits that are not there": PLAIN[: ENDS + 8] + b"\xff\xff\xff\xff" + PLAIN[ENDS + 12 :],
    "up": zipped({"../data.pkl": state()}),
    "absolute": zipped({"/data.pkl": state()}, folder=""),
    "backslash": PLAIN.replace(b"archive/version", b"archive\\version"),
    "nothing": PLAIN[ENDS : ENDS + 4] + bytes(18),
}


@pytest.mark.parametrize("label", ARCHIVES)
def test_archives_that_two_readers_may_take_differently(label: str) -> None:
    assert judge("x.pt", PLAIN) is Outcome.CLEAN
    for rules in (DENY, GateRules(pickle="tensors")):
        assert judge("model.pt", ARCHIVES[label], rules) is not Outcome.CLEAN
    if label != "nothing":
        assert judge("weights", ARCHIVES[label]) is not Outcome.CLEAN


def described(raw: bytes = state(), *, crc: int = 1234, wide: bool = False, says: int | None = None) -> bytes:
    """As torch writes it: sizes behind the entry, and a directory with an end of 64 bits."""
    path, size = b"archive/data.pkl", len(raw)
    padding = b"FB" + struct.pack("<H", 9) + b"Z" * 9
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0x808, 0, 0, 0, 0, 0, 0, len(path), len(padding))
    told = size if says is None else says
    descriptor = b"PK\7\10" + struct.pack("<IQQ" if wide else "<III", crc, told, told)
    body = header + path + padding + raw + descriptor
    row = struct.pack("<4s6H3I5H2I", b"PK\1\2", 0, 0, 0x808, 0, 0, 0, crc, size, size, len(path), 0, 0, 0, 0, 0, 0)
    directory = row + path
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x31E, 0x2D, 0, 0, 1, 1, len(directory), len(body))
    end += struct.pack("<4sIQI", b"PK\6\7", 0, len(body) + len(directory), 1)
    return body + directory + end + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(body), 0)


def test_archives_as_torch_writes_them() -> None:
    assert judge("x.pt", described()) is Outcome.CLEAN
    assert judge("x.pt", described(wide=True)) is Outcome.CLEAN
    assert judge("x.distcp", described() * 3) is Outcome.CLEAN
    assert judge("x.pt", described(says=3)) is Outcome.FINDING
    full = described()
    for at in range(full.index(b"PK\1\2"), len(full)):
        for flip in (1, 0x80):
            changed = full[:at] + bytes([full[at] ^ flip]) + full[at + 1 :]
            if judge("x.pt", changed) is Outcome.CLEAN:  # versions, dates, inner attributes and the like
                assert zipfile.ZipFile(io.BytesIO(changed)).infolist()[0].header_offset == 0
                assert at - full.index(b"PK\1\2") in {*range(4, 8), *range(12, 16), *range(36, 42)} or (
                    at - full.index(b"PK\6\6") in range(12, 16)), at


def test_metadata_of_a_distributed_checkpoint() -> None:
    raw = metadata([("__0_0.distcp", 0, len(PLAIN)), ("__0_0.distcp", len(PLAIN), len(PLAIN))])
    assert judge(".metadata", raw, __0_0__DOT__distcp=PLAIN * 2) is Outcome.CLEAN
    assert judge(".metadata", raw, DENY, __0_0__DOT__distcp=PLAIN * 2) is Outcome.FINDING
    assert judge(".metadata", raw, __0_0__DOT__distcp=PLAIN) is Outcome.FINDING
    inside = metadata([("__0_0.distcp", 1, len(PLAIN) - 1)])
    assert judge(".metadata", inside, __0_0__DOT__distcp=PLAIN) is Outcome.FINDING
