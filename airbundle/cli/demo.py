"""demo: the whole way of a checkpoint, on a folder that stands for a drive, with damage in the middle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer

from airbundle import api
from airbundle.cli import output, words
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.suites import STANDARD
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError, RepairableError, UsageError
from airbundle.format import limits
from airbundle.media.volume import CATALOG_NAME, STATEMENT_NAME, segment_name
from airbundle.transfer.plan import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED: Final = 2026
HOLE: Final = limits.MIB


def demo(
    size: Annotated[str, typer.Option(help="Size of the checkpoint that is made up.")] = "256M",
    keep: Annotated[str | None, typer.Option(metavar="DIR", help="Work in DIR and leave everything there.")] = None,
) -> None:
    """Pack a checkpoint, damage the drive, verify, repair, unpack and compare; says in plain words what it does."""
    with _workplace(keep) as place:
        _run(place, words.parse_size(size))


@contextmanager
def _workplace(keep: str | None) -> Iterator[str]:
    if keep is not None:
        if os.path.lexists(keep):
            raise UsageError("is there already", where=keep, hint="give a folder that does not exist yet")
        os.makedirs(keep)
        yield keep
        return
    place = tempfile.mkdtemp(prefix="airbundle-demo-")
    try:
        yield place
    finally:
        shutil.rmtree(place)


def _run(place: str, size: int) -> None:
    model, drive, back = (os.path.join(place, name) for name in ("model", "drive", "back"))
    os.mkdir(drive)
    began = time.monotonic()
    rows: list[tuple[str, str, str]] = []

    def done(step: str, what: str, since: float) -> None:
        rows.append((step, what, f"{time.monotonic() - since:.1f} s"))
        output.say(f"  {what}")

    output.say("1. On the low side there is a checkpoint: weights in bf16, a tokenizer, a config.")
    at = time.monotonic()
    make_checkpoint(model, size)
    done("make up a checkpoint", f"{len(os.listdir(model))} files, {output.human(_size(model))}", at)

    output.say("2. Sender and receiver each make a key; only the public halves travel.")
    at = time.monotonic()
    sender, receiver = generate(), generate()
    trust = TrustSet([NamedIdentity("sender", sender.public)])
    done("make two keys", f"sender: {sender.public.words}", at)

    output.say("3. Pack it onto a folder that stands for a drive, and read every byte back.")
    at = time.monotonic()
    several = Options(segment_size=min(64 * limits.MIB, max(limits.KIB * 256, size // 4)))
    packed = api.pack(model, drive, sign=sender, to=[receiver.public], options=several)
    volume = packed.volumes[0]
    done("pack", f"{output.human(packed.stored_bytes)} on the drive, the content at "
                 f"{packed.sealed_bytes / packed.source_bytes:.0%} of its size, parity and all copies on top", at)

    output.say("4. The drive has a bad day: a hole in a segment, flipped bits, a lost statement, a broken catalog.")
    at = time.monotonic()
    before = _digests(volume)
    harm = _damage(volume)
    done("damage the drive", harm, at)

    output.say("5. The courier desk, which has no key to read it, verifies.")
    at = time.monotonic()
    done("verify", _expect_damage(volume, trust), at)

    output.say("6. It repairs the drive, still without any key, and every file is what it was, bit for bit.")
    at = time.monotonic()
    fixed = api.repair([volume], trust=trust)
    if _digests(volume) != before:
        raise DamagedError("repair did not give back the bytes that were packed", where=volume)
    done("repair", f"{fixed.blocks} blocks written, all {len(before)} files as they were packed", at)

    output.say("7. Somebody changes one block on purpose and makes its checksum fit. That is not taken for bit rot.")
    at = time.monotonic()
    _tamper(volume)
    done("tamper", _expect_damage(volume, trust), at)

    output.say("8. The high side unpacks: verified whole, repaired in memory, opened, published in one step.")
    at = time.monotonic()
    api.unpack([volume], back, keys=[receiver], trust=trust)
    if _digests(back) != _digests(model):
        raise DamagedError("what came out is not what went in", where=back)
    done("unpack and compare", "every file has the SHA-256 that it had on the low side", at)

    output.table(rows, head=("step", "what happened", "took"))
    output.good(f"There and back in {time.monotonic() - began:.1f} s.")


def make_checkpoint(folder: str, size: int) -> None:
    """A made-up checkpoint of about `size` bytes: two safetensors files of bf16 with layer-wise scales, and texts."""
    os.mkdir(folder)
    random = np.random.default_rng(SEED)
    for part in range(2):
        layers = max(1, size // 2 // (4 * limits.MIB))
        count = max(1024, size // 2 // layers // 2)
        header = {f"layers.{layer}.weight": {"dtype": "BF16", "shape": [count],
                                              "data_offsets": [layer * count * 2, (layer + 1) * count * 2]}
                  for layer in range(layers)}
        raw = json.dumps(header).encode()
        raw = raw.ljust(-(-len(raw) // 8) * 8)
        with open(os.path.join(folder, f"model-{part + 1:05d}-of-00002.safetensors"), "wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            for layer in range(layers):
                weights = random.standard_normal(count, dtype=np.float32) * np.float32(0.02 * (1 + layer % 7))
                file.write((weights.view(np.uint32) >> 16).astype("<u2").tobytes())
    texts = {"config.json": {"hidden_size": 512, "model_type": "demo"},
             "tokenizer.json": {"vocab": {f"token{n}": n for n in range(20_000)}}}
    for name, value in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as text:
            json.dump(value, text)


def _damage(volume: str) -> str:
    segment = os.path.join(volume, segment_name(0))
    with open(segment, "r+b") as file:
        block_size, blocks = _blocks(segment)
        hole = min(HOLE // block_size, blocks // 4) * block_size
        file.seek(blocks // 3 * block_size)  # a hole that starts inside a block costs that block too
        file.write(bytes(hole))
    for name in (segment_name(1), CATALOG_NAME):
        with open(os.path.join(volume, name), "r+b") as file:
            at = os.path.getsize(file.name) // 3
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x40]))
    os.unlink(os.path.join(volume, STATEMENT_NAME))
    return f"a hole of {output.human(hole)}, two flipped bits, one file deleted"


def _tamper(volume: str) -> None:
    """Change a block of a segment and store a digest that fits, as someone with the drive could."""
    path = os.path.join(volume, segment_name(1))
    block_size, blocks = _blocks(path)
    at = blocks // 2 * block_size
    with open(path, "r+b") as file:
        file.seek(at)
        block = bytearray(file.read(block_size))
        block[2000] ^= 1
        block[8:40] = STANDARD.hash(block[56:])
        file.seek(at)
        file.write(block)


def _blocks(path: str) -> tuple[int, int]:
    """The size of the blocks of a segment, from its first header, and their number."""
    with open(path, "rb") as file:
        block_size = int.from_bytes(file.read(72)[68:], "little")
    return block_size, os.path.getsize(path) // block_size


def _expect_damage(volume: str, trust: TrustSet) -> str:
    try:
        api.verify([volume], trust=trust)
    except RepairableError as error:
        return f"exit {error.exit_status}: {error.what}"
    except AirbundleError:
        raise
    raise DamagedError("verify found nothing wrong with a damaged drive", where=volume)


def _digests(folder: str) -> dict[str, str]:
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _size(folder: str) -> int:
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
