"""No payload passes, whatever it is called, wherever it lies and whatever is behind it; and none is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from airbundle.station.gates.result import Outcome
from airbundle.station.gates.rules import GateRules
from tests.station.gates.examples import (
    DENY,
    OPEN,
    TENSORS,
    judge,
    legacy,
    metadata,
    payloads,
    state,
    storage,
    tensor,
    text,
    torch_zip,
    why,
    with_header,
    zipped,
)

NAMES = ("model.safetensors", "__0_0.distcp", ".metadata", "weights", "model.bin", "model.pt", "x.pkl", "model.gguf",
         "config.json", "README.md", "vocab.txt", "tokenizer.model", "deep/er/LICENSE")
LABELS = sorted(payloads("c"))
both = pytest.mark.parametrize("rules", [DENY, TENSORS, GateRules(pickle="tensors", allow_globals=("my.thing",))],
                               ids=["deny", "tensors", "allow"])


@pytest.fixture
def canary(tmp_path: Path) -> str:
    """A path that no test may find: payloads write it."""
    (tmp_path / "canary.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()")
    return str(tmp_path / "canary")


def test_the_payloads_do_write_their_canary(canary: str) -> None:
    for label, raw in payloads(canary).items():
        if label.startswith(("second", "behind a gap", "behind a reference")):
            continue  # for readers of several, with a memo of 16 million places, or with references
        Path(canary).unlink(missing_ok=True)
        pickle.loads(raw)
        assert os.path.exists(canary), label


@both
@pytest.mark.parametrize("label", LABELS)
def test_a_payload_under_any_name(label: str, rules: GateRules, canary: str) -> None:
    raw = payloads(canary)[label]
    for path in NAMES:
        assert judge(path, raw, rules) is Outcome.FINDING, (path, why(path, raw, rules))
    assert not os.path.exists(canary)


@both
@pytest.mark.parametrize("label", LABELS)
def test_a_payload_that_is_cut_off_behind_its_call(label: str, rules: GateRules, canary: str) -> None:
    raw = payloads(canary)[label]
    for path in NAMES:
        for tail in (b"", b"\0", b"R", b"\xff" * 40):
            cut = raw[:-1] + tail
            assert judge(path, cut, rules) is Outcome.FINDING, (path, tail, why(path, cut, rules))
    assert not os.path.exists(canary)


@both
@pytest.mark.parametrize("label", LABELS)
def test_a_payload_inside_of_what_torch_writes(label: str, rules: GateRules, canary: str) -> None:
    raw = payloads(canary)[label]
    inside = {
        "data.pkl": torch_zip(raw, {}),
        "behind a state dict": torch_zip(state(tensor()) + raw),
        "another pickle": torch_zip(more={"extra.pkl": raw}),
        "in a storage": torch_zip(state(), {"data/0": raw}),
        "constants": torch_zip(more={"constants.pkl": raw}),
        "deeper": zipped({"a/data.pkl": raw}),
        "without a folder": zipped({"data.pkl": raw}, folder=""),
        "nested": torch_zip(more={"inner.pt": torch_zip(raw, {})}),
        "two archives": torch_zip(raw, {}) + torch_zip(),
        "two archives, the last one": torch_zip() + torch_zip(raw, {}),
        "before 1.6": legacy(raw),
        "before 1.6, as its keys": legacy()[: -24 - len(pickle.dumps(["0"], 2))] + raw,
    }
    for where, outer in inside.items():
        for path in NAMES:
            assert judge(path, outer, rules) is Outcome.FINDING, (where, path, why(path, outer, rules))
    assert not os.path.exists(canary)


@both
def test_a_zip_in_a_zip(rules: GateRules, canary: str) -> None:
    outer = zipped({"model.zip": torch_zip(payloads(canary)["system 2"], {})})
    for path in ("model.zip", "weights", "model.bin"):
        assert judge(path, outer, rules) is Outcome.NOT_EXAMINED
    for path in ("model.pt", "__0_0.distcp", "model.safetensors"):
        assert judge(path, outer, rules) is not Outcome.CLEAN


@both
def test_a_payload_in_metadata(rules: GateRules, canary: str) -> None:
    whole = metadata([])
    for raw in payloads(canary).values():
        # A value among the others, in front of the end.
        assert judge(".metadata", whole[:-1] + raw, rules, x=b"") is Outcome.FINDING
        assert judge(".metadata", raw + whole, rules, x=b"") is Outcome.FINDING


def test_what_torch_would_load_from_the_midst_of_a_shard(canary: str) -> None:
    """DCP loads the slice that `.metadata` names, and entries that are no tensors without any list."""
    hidden = torch_zip(payloads(canary)["system 2"], {})
    padded = hidden + bytes(-len(hidden) % 4)
    shard = torch_zip(state(tensor(storage(count=len(padded) // 4), size=(1,), stride=(1,))), {"data/0": padded})
    assert judge("__0_0.distcp", shard) is Outcome.CLEAN  # bytes of numbers are just that
    begin = shard.index(hidden)
    good, bad = metadata([("__0_0.distcp", 0, len(shard))]), metadata([("__0_0.distcp", begin, len(hidden))])
    assert judge(".metadata", good, __0_0__DOT__distcp=shard) is Outcome.CLEAN
    assert judge(".metadata", bad, __0_0__DOT__distcp=shard) is Outcome.FINDING
    assert judge(".metadata", good) is Outcome.NOT_EXAMINED
    assert judge(".metadata", good, other=shard) is Outcome.FINDING


@pytest.mark.parametrize("path", ["../x", "/x", "a//x", "..", "", "a\\x"])
def test_metadata_does_not_lead_out_of_its_folder(path: str) -> None:
    assert judge(".metadata", metadata([(path, 0, 1)]), x=b"") is Outcome.FINDING


def test_shards_that_are_transformed_are_not_examined() -> None:
    raw = metadata([("s", 0, 1)], transform_descriptors=["zstd"])
    assert judge(".metadata", raw, s=b"") is Outcome.NOT_EXAMINED


@both
def test_a_safetensors_file_that_is_also_a_pickle(rules: GateRules) -> None:
    """The length of the header is `U`, a text of 32 bytes, and the opcodes behind it are a text of JSON."""
    begin = b'{"__metadata__":{"x":"'
    for last, outcome in ((b"q\xc2\x93", Outcome.FINDING), (b"q\xc2\x92", Outcome.CLEAN)):
        opcodes = b"U!" + b"m" * 33 + b"U!" + b"n" * 33 + last
        header = begin + b"y" * (32 - 6 - len(begin)) + opcodes
        header += b"y" * (0x2055 - len(header) - 3) + b'"}}'
        raw = with_header(header)
        assert raw[:2] == b"U\x20"
        assert judge("model.safetensors", raw, rules) is outcome


def test_a_tar_archive_in_front_of_a_pickle() -> None:
    """Torch tries tar first; the checksum of a header counts, not its magic."""
    plain = state(tensor(storage(tail=b"N")))
    raw = bytearray(legacy(plain.replace(OPEN + b"}(", OPEN + b"}(" + text("x" * 600) + b"K\1")))
    assert judge("model.bin", bytes(raw)) is Outcome.CLEAN
    at = 148
    raw[at : at + 8] = b"        "
    raw[at : at + 8] = b"%06o\0 " % sum(raw[:512])
    assert "tar" in why("model.bin", bytes(raw))
    raw[at : at + 8] = b"xxxxxxxx"
    assert judge("model.bin", bytes(raw)) is Outcome.CLEAN
    raw[257:262] = b"ustar"
    assert "tar" in why("model.bin", bytes(raw))


FORMATS = "torch.distributed.checkpoint.metadata"


@pytest.mark.parametrize(("names", "outcome"), [
    ((FORMATS, "_MEM_FORMAT_ENCODING", "TORCH_CONTIGUOUS_FORMAT"), Outcome.CLEAN),
    ((FORMATS, "_MEM_FORMAT_ENCODING", "__class__"), Outcome.FINDING),
    ((FORMATS, "Metadata", "TORCH_CONTIGUOUS_FORMAT"), Outcome.FINDING),
    (("builtins", "dict", "TORCH_CONTIGUOUS_FORMAT"), Outcome.FINDING),
    (("os", "system", "TORCH_CONTIGUOUS_FORMAT"), Outcome.FINDING)])
def test_getattr_only_gives_a_member_of_one_enumeration(names: tuple[str, str, str], outcome: Outcome) -> None:
    """As Python before 3.11.4 writes members of enumerations."""
    module, kind, member = (name.encode() for name in names)
    raw = b"".join((b"\x80\x02c__builtin__\ngetattr\nc", module, b"\n", kind, b"\nX", len(member).to_bytes(4, "little"),
                    member, b"\x86R."))
    assert judge("x.pkl", raw) is outcome
