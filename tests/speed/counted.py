"""Counts the work of one pack, one verify and one unpack of a made-up checkpoint, and prints it as JSON.

What is counted does not depend on how fast or how busy the machine is: calls of Python and from Python into C, and page
faults, which are memory touched for the first time. Whoever runs this under strace counts system calls. There is one
worker, so that nothing depends on who comes first.

    python -m tests.speed.counted FOLDER MEBIBYTES [profiled]
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import threading
from pathlib import Path

import numpy as np

from airbundle import api
from airbundle.crypto.identities import PrivateIdentity, generate
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.transfer.plan import Options
from airbundle.transfer.workspace import Pace

PACE = Pace(jobs=1)
MIB = 1 << 20
FILES = 4


class Calls:
    """Counts what every thread that is started from now on calls."""

    def __init__(self) -> None:
        self.python = self.native = 0

    def __call__(self, frame: object, event: str, argument: object) -> None:
        if event == "call":
            self.python += 1
        elif event == "c_call":
            self.native += 1


def make_source(folder: Path, size: int) -> None:
    """`size` bytes of bf16 in four files."""
    folder.mkdir()
    random = np.random.default_rng(7)
    for part in range(FILES):
        count = size // FILES // 2
        words = (random.standard_normal(count, dtype=np.float32).view(np.uint32) >> 16).astype("<u2")
        header = json.dumps({"w": {"dtype": "BF16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
        (folder / f"{part}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + words.tobytes())


def carry(folder: Path, source: str, name: str, identity: PrivateIdentity) -> None:
    """There and back."""
    (folder / name).mkdir()
    trust = TrustSet([NamedIdentity("me", identity.public)])
    packed = api.pack(str(folder / source), [str(folder / name)], sign=identity, to=[identity.public], pace=PACE,
                      options=Options(segment_size=16 * MIB))
    api.verify(packed.volumes, trust=trust, pace=PACE)
    api.unpack(packed.volumes, str(folder / f"{name}-back"), keys=[identity], trust=trust, pace=PACE)


def main(folder: Path, size: int, *, profiled: bool) -> None:
    identity = generate()
    make_source(folder / "source", size)
    make_source(folder / "little", MIB)
    carry(folder, "little", "warm", identity)  # what is made only once is made here
    calls, before = Calls(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    if profiled:
        threading.setprofile(calls)
        sys.setprofile(calls)
    carry(folder, "source", "drive", identity)
    if profiled:
        threading.setprofile(None)
        sys.setprofile(None)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(json.dumps({"python": calls.python, "native": calls.native, "faults": faults}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) * MIB, profiled="profiled" in sys.argv)
