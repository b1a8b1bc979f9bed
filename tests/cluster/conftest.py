from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from airbundle import api
from airbundle.crypto.envelope import Keyring, open_preamble, parse_preamble
from airbundle.crypto.identities import generate
from airbundle.crypto.locks import RecipientLock
from airbundle.transfer import pack as packing
from airbundle.transfer.apart import segments_apart
from airbundle.transfer.crew import ASKED_MAX
from airbundle.transfer.pack import PackResult
from airbundle.transfer.plan import Options
from airbundle.transfer.workspace import MEMORY_DEFAULT, Pace
from tests.transfer.workshop import KIB, MIB, Keys, digests, noise, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor


def weights(count: int) -> bytes:
    """A safetensors file of bf16."""
    words = (np.random.default_rng(7).standard_normal(count, dtype=np.float32).view(np.uint32) >> 16).astype("<u2")
    header = json.dumps({"w": {"dtype": "BF16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
    return struct.pack("<Q", len(header)) + header + words.tobytes()


@dataclass(frozen=True)
class Site:
    """A source, some drives, and keys. `drawn` are the secrets that packing drew."""

    place: Path
    keys: Keys
    drawn: list[bytes]

    @property
    def source(self) -> Path:
        return self.place / "source"

    def drives(self, count: int) -> list[str]:
        folders = [self.place / f"drive{number}" for number in range(count)]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        return [str(folder) for folder in folders]

    def entropy(self, size: int) -> bytes:
        drawn = noise(size, seed=len(self.drawn) + 1000)
        self.drawn.append(drawn)
        return drawn

    def pack(self, executor: Executor | None, *, drives: int = 1, progress: Callable[[Any], None] | None = None,
             read_back: bool = True, pad: bool = False, ahead: int = 0, memory: int = MEMORY_DEFAULT) -> PackResult:
        """With the API; at most `ahead` orders are under way, 0 for its own number; `memory` 1 is one thread."""
        return api.pack(str(self.source), self.drives(drives), sign=self.keys.packer, to=[self.keys.reader.public],
                        options=_options(pad=pad), progress=progress, read_back=read_back, executor=executor,
                        pace=Pace(jobs=ahead, memory=memory))

    def pack_drawn(self, executor: Executor, *, drives: int = 1, progress: Callable[[Any], None] | None = None,
                   ahead: int = 0, asked_max: int = ASKED_MAX) -> PackResult:
        """With the functions below the API: `drawn` keeps what the machine that packs draws."""
        return packing.pack(str(self.source), self.drives(drives), identity=self.keys.packer,
                            lock=RecipientLock((self.keys.reader.public,)), options=_options(pad=False),
                            progress=progress, entropy=self.entropy, pace=Pace(jobs=ahead),
                            segments=partial(segments_apart, executor=executor, asked_max=asked_max))

    def comes_back(self, packed: PackResult) -> None:
        """Every byte is verified, opened, and the same as in the source; also without any one of several drives."""
        api.verify(packed.volumes, trust=self.keys.trust, keys=[self.keys.reader])
        lost = range(len(packed.volumes)) if packed.lose else [len(packed.volumes)]
        for number in lost:
            left = [volume for at, volume in enumerate(packed.volumes) if at != number]
            target = self.place / f"back-{packed.bundle[:8]}-{number}"
            api.unpack(left, str(target), keys=[self.keys.reader], trust=self.keys.trust)
            assert digests(target) == digests(self.source)
        for volume in packed.volumes:
            assert not list(Path(volume).glob(".*")), "what was left by attempts"

    def bundle_key(self, packed: PackResult) -> bytes:
        raw = (next(Path(packed.volumes[0]).glob("0*.abs"))).read_bytes()
        size = int.from_bytes(raw[68:72], "little")
        statement = api.inspect(packed.volumes, trust=self.keys.trust)
        assert statement
        preamble = parse_preamble(raw[128:128 + preamble_size(packed)])
        assert size
        return open_preamble(preamble, Keyring((self.keys.reader,))).secret_bytes()


def _options(*, pad: bool) -> Options:
    return Options(segment_size=128 * KIB, pad=pad)


def preamble_size(packed: PackResult) -> int:
    import base64

    envelope = json.loads((Path(packed.volumes[0]) / "statement.json").read_text())
    return int(json.loads(base64.b64decode(envelope["payload"]))["preamble"]["length"])


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys(generate(), generate(), generate(), generate())


@pytest.fixture
def site(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Floats, small files and noise, 3 MiB; a state folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    files = {"a/model.safetensors": weights(MIB // 2), "noise": noise(2 * MIB - 77, 1), "empty": b"",
             **{f"small/{number:03}": noise(number * 7, number) for number in range(200)}}
    write_tree(tmp_path / "source", files, ("hollow",))
    return Site(tmp_path, keys, [])
