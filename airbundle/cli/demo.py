"""demo: the whole way of a checkpoint, on folders that stand for drives, with loss and damage in the middle."""

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
from airbundle.cli import output
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.suites import STANDARD
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError, RepairableError, UsageError
from airbundle.format import limits
from airbundle.format.quantities import parse_size
from airbundle.media.volume import CATALOG_NAME, STATEMENT_NAME, segment_number
from airbundle.transfer.plan import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbundle.crypto.identities import PrivateIdentity

SEED: Final = 2026
HOLE: Final = limits.MIB


def demo(
    size: Annotated[str, typer.Option(help="Size of the checkpoint that is made up.")] = "256M",
    keep: Annotated[str | None, typer.Option(metavar="DIR", help="Work in DIR and leave everything there.")] = None,
) -> None:
    """Pack a checkpoint onto three drives, lose one, damage two, repair, unpack, compare; says in plain words what."""
    with _workplace(keep) as place:
        _run(place, parse_size(size))


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


class _Story:
    """What was done, told as it happens and in a table at the end."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []
        self._began = self._at = time.monotonic()

    def chapter(self, text: str) -> None:
        output.say(text)
        self._at = time.monotonic()

    def done(self, step: str, what: str) -> None:
        self._rows.append((step, what, f"{time.monotonic() - self._at:.1f} s"))
        output.say(f"  {what}")

    def end(self) -> None:
        output.table(self._rows, head=("step", "what happened", "took"))
        output.good(f"There and back in {time.monotonic() - self._began:.1f} s.")


def _run(place: str, size: int) -> None:
    story = _Story()
    model = os.path.join(place, "model")
    sender, receiver = generate(), generate()
    trust = TrustSet([NamedIdentity("sender", sender.public)])
    volumes = _low_side(story, place, model, size, sender, receiver)
    left, again = _journey(story, place, volumes, trust)

    story.chapter("7. Somebody changes one block on purpose and makes its checksum fit. That is not taken for bit rot.")
    _tamper(volumes[0])
    story.done("tamper", _expect_damage(again, trust))

    story.chapter("8. The high side has only drives a and c, and unpacks: verified, restored, opened, published.")
    back = os.path.join(place, "back")
    api.unpack(left, back, keys=[receiver], trust=trust)
    if _digests(back) != _digests(model):
        raise DamagedError("what came out is not what went in", where=back)
    story.done("unpack and compare", "every file has the SHA-256 that it had on the low side")
    story.end()


def _low_side(story: _Story, place: str, model: str, size: int, sender: PrivateIdentity,
              receiver: PrivateIdentity) -> list[str]:
    """Steps 1 to 3; gives the volumes."""
    story.chapter("1. On the low side there is a checkpoint: weights in bf16, a tokenizer, a config.")
    make_checkpoint(model, size)
    story.done("make up a checkpoint", f"{len(os.listdir(model))} files, {output.human(_size(model))}")

    story.chapter("2. Sender and receiver each make a key; only the public halves travel.")
    story.done("make two keys", f"sender: {sender.public.words}")

    story.chapter("3. Pack it onto three folders that stand for drives, so that any one of them may be lost.")
    drives = [os.path.join(place, f"drive-{letter}") for letter in "abc"]
    for folder in drives:
        os.mkdir(folder)
    several = Options(segment_size=min(64 * limits.MIB, max(limits.KIB * 256, size // 8)))
    packed = api.pack(model, drives, sign=sender, to=[receiver.public], options=several, lose=1)
    share = packed.sealed_bytes / packed.source_bytes
    story.done("pack", f"{output.human(packed.stored_bytes)} on three drives: {packed.segments} segments, the content "
                       f"at {share:.0%} of its size, and {packed.parity_segments} of parity")
    return list(packed.volumes)


def _journey(story: _Story, place: str, volumes: list[str], trust: TrustSet) -> tuple[list[str], list[str]]:
    """Steps 4 to 6; gives the volumes that are left, and all three after the lost one was made anew."""
    story.chapter("4. Drive b is lost on the way. The others have a bad day: holes, flipped bits, a lost statement.")
    before = {volume: _digests(volume) for volume in volumes}
    shutil.rmtree(volumes[1])
    left = [volumes[0], volumes[2]]
    story.done("lose one drive, damage two", "; ".join(_damage(volume) for volume in left))

    story.chapter("5. The courier desk, which has no key to read it, verifies what is left.")
    story.done("verify", _expect_damage(left, trust))

    story.chapter("6. It repairs both drives and makes the lost one anew, without any key, bit for bit.")
    fixed = api.repair(left, trust=trust)
    spare = os.path.join(place, "drive-d")
    os.mkdir(spare)
    rebuilt = api.rebuild(left, spare, trust=trust)
    again = [volumes[0], rebuilt.volumes[0].path, volumes[2]]
    for volume, new in zip(volumes, again, strict=True):
        if _digests(new) != before[volume]:
            raise DamagedError("repair did not give back the bytes that were packed", where=new)
    story.done("repair", f"{fixed.blocks} blocks written, drive b made anew from {rebuilt.volumes[0].restored} groups; "
                         f"all {sum(map(len, before.values()))} files as they were packed")
    return left, again


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
    first, second = _segments(volume)[:2]
    block_size, blocks = _blocks(first)
    hole = min(HOLE // block_size, blocks // 8) * block_size
    with open(first, "r+b") as file:
        file.seek(blocks // 3 * block_size)  # a hole that starts inside a block costs that block too
        file.write(bytes(hole))
    for path in (second, os.path.join(volume, CATALOG_NAME)):
        with open(path, "r+b") as file:
            at = os.path.getsize(path) // 3
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x40]))
    os.unlink(os.path.join(volume, STATEMENT_NAME))
    return f"a hole of {output.human(hole)}, two flipped bits, one file deleted"


def _segments(volume: str) -> list[str]:
    return sorted(os.path.join(volume, name) for name in os.listdir(volume) if segment_number(name) is not None)


def _tamper(volume: str) -> None:
    """Change a block of a segment and store a digest that fits, as someone with the drive could."""
    path = _segments(volume)[0]
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


def _expect_damage(volumes: list[str], trust: TrustSet) -> str:
    try:
        api.verify(volumes, trust=trust)
    except RepairableError as error:
        return f"exit {error.exit_status}: {error.what}"
    except AirbundleError:
        raise
    raise DamagedError("verify found nothing wrong with damaged drives", where=", ".join(volumes))


def _digests(folder: str) -> dict[str, str]:
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _size(folder: str) -> int:
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
