"""Checkpoints of a training run, packed, damaged and unpacked, and loaded into a fresh model."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real.conftest import Bench, damage, digests

pytestmark = [pytest.mark.real, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


def training(seed: int, steps: int) -> tuple[Any, Any]:
    """A small model and its optimizer after `steps` steps."""
    import torch
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Embedding(5000, 256), torch.nn.Linear(256, 512), torch.nn.GELU(),
                                torch.nn.Linear(512, 5000))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        tokens = torch.randint(0, 5000, (8, 16))
        loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, optimizer


def equal(one: Any, other: Any) -> bool:
    """Whether two states are the same, tensors bit for bit."""
    import torch
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and bool(torch.equal(one, other))
    return bool(one == other)


def test_a_distributed_checkpoint(bench: Bench) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    model, optimizer = training(1, 3)
    states = get_state_dict(model, optimizer)
    source = bench.place / "step-3"
    dcp.save({"model": states[0], "optimizer": states[1]}, checkpoint_id=source)
    packed = bench.pack(source)
    damage(packed.volumes[0])
    back, unpacked = bench.unpack()
    assert unpacked.repaired > 0
    assert digests(back) == digests(source)

    fresh, fresh_optimizer = training(2, 1)
    own = get_state_dict(fresh, fresh_optimizer)
    assert not equal(own[0], states[0])
    loaded = {"model": own[0], "optimizer": own[1]}
    dcp.load(loaded, checkpoint_id=back)
    set_state_dict(fresh, fresh_optimizer, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])
    assert equal(fresh.state_dict(), model.state_dict())
    assert equal(fresh_optimizer.state_dict()["state"], optimizer.state_dict()["state"])


def test_a_pickled_checkpoint(bench: Bench) -> None:
    import torch
    model, optimizer = training(3, 3)
    source = bench.place / "source"
    source.mkdir()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 3}, source / "state.pt")
    packed = bench.pack(source)
    damage(packed.volumes[0])
    back, unpacked = bench.unpack()
    assert unpacked.repaired > 0
    loaded = torch.load(back / "state.pt", weights_only=True)
    fresh, fresh_optimizer = training(4, 1)
    fresh.load_state_dict(loaded["model"])
    fresh_optimizer.load_state_dict(loaded["optimizer"])
    assert loaded["step"] == 3
    assert equal(fresh.state_dict(), model.state_dict())
    assert equal(fresh_optimizer.state_dict()["state"], optimizer.state_dict()["state"])
