"""Which two are compared, on what, and the bound of their ratio, which is ours over theirs: less is better.

A group is a data set on a medium with the recipes that go over it in turns. A case names two recipes of its group and
one step. A case without a bound is shown for the sake of comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.recipes import (
    AIRBUNDLE,
    AIRBUNDLE_UNREAD,
    BORG,
    BY_HAND,
    CNSA2,
    CNSA2_UNREAD,
    COPY,
    PACK,
    RESTIC,
    SEALED_TAR,
    SEVEN_ZIP,
    UNPACK,
    VERIFY,
    Recipe,
)

PEAK_BOUND = 600 << 20
FLAT_BOUND = 0.15
FILES, FILES_IN_MEMORY = "files", "files in memory"  # kinds of growth: on the disk, and on a file system in memory
JOINED = "joined"  # the kind that has the bytes of many files in few
MB = 1_000_000


@dataclass(frozen=True)
class Group:
    """`bytes_per_second` of the medium, 0 for the disk as it is."""

    name: str
    data: str
    recipes: tuple[Recipe, ...]
    bytes_per_second: int = 0


@dataclass(frozen=True)
class Case:
    """`ours` and `peer` are tools of recipes."""

    name: str
    group: str
    step: str
    ours: str
    peer: str
    bound: float | None = None


GROUPS = (
    Group("model", "model", (AIRBUNDLE, AIRBUNDLE_UNREAD, BY_HAND, COPY, CNSA2, CNSA2_UNREAD)),
    Group("noise", "incompressible", (AIRBUNDLE, AIRBUNDLE_UNREAD, COPY)),
    Group("files", "files", (AIRBUNDLE, AIRBUNDLE_UNREAD, SEALED_TAR, COPY)),
    Group("400 MB/s", "part", (AIRBUNDLE, AIRBUNDLE_UNREAD, COPY), 400 * MB),
    Group("100 MB/s", "part", (AIRBUNDLE, AIRBUNDLE_UNREAD, COPY), 100 * MB),
    Group("fp32", "fp32", (AIRBUNDLE, BY_HAND, COPY)),
    Group("bf16", "bf16", (AIRBUNDLE, BY_HAND, COPY)),
    Group("fp16", "fp16", (AIRBUNDLE, BY_HAND, COPY)),
    Group("archivers", "part", (AIRBUNDLE, SEVEN_ZIP, RESTIC, BORG)),
)

_OURS, _UNREAD = AIRBUNDLE.tool, AIRBUNDLE_UNREAD.tool
CASES = (
    Case("pack", "model", PACK, _OURS, BY_HAND.tool, 0.30),
    Case("pack, not read back", "model", PACK, _UNREAD, BY_HAND.tool, 0.22),
    Case("unpack", "model", UNPACK, _OURS, BY_HAND.tool, 0.20),
    Case("verify", "model", VERIFY, _OURS, BY_HAND.tool, 0.35),
    Case("pack, not read back, beside cp", "model", PACK, _UNREAD, COPY.tool, 1.5),
    Case("cnsa2: pack", "model", PACK, CNSA2.tool, BY_HAND.tool, 0.50),
    Case("cnsa2: pack, not read back", "model", PACK, CNSA2_UNREAD.tool, BY_HAND.tool, 0.35),
    Case("cnsa2: unpack", "model", UNPACK, CNSA2.tool, BY_HAND.tool, 0.35),
    Case("cnsa2: verify", "model", VERIFY, CNSA2.tool, BY_HAND.tool),
    Case("400 MB/s: pack, not read back", "400 MB/s", PACK, _UNREAD, COPY.tool, 0.85),
    Case("400 MB/s: pack", "400 MB/s", PACK, _OURS, COPY.tool, 1.65),
    Case("100 MB/s: pack, not read back", "100 MB/s", PACK, _UNREAD, COPY.tool, 0.80),
    Case("100 MB/s: pack", "100 MB/s", PACK, _OURS, COPY.tool, 1.65),
    Case("incompressible: pack, not read back", "noise", PACK, _UNREAD, COPY.tool, 2.0),
    Case("incompressible: pack", "noise", PACK, _OURS, COPY.tool),
    Case("small files: pack", "files", PACK, _OURS, SEALED_TAR.tool, 1.0),
    Case("small files: pack, not read back", "files", PACK, _UNREAD, SEALED_TAR.tool, 1.0),
    Case("small files: pack, beside cp", "files", PACK, _OURS, COPY.tool),
    *(Case(f"MiniLM {dtype}: {step}", dtype, step, _OURS, BY_HAND.tool)
      for dtype in ("fp32", "bf16", "fp16") for step in (PACK, UNPACK)),
    Case("pack, beside 7z -mx1", "archivers", PACK, _OURS, SEVEN_ZIP.tool),
    Case("pack, beside restic", "archivers", PACK, _OURS, RESTIC.tool),
    Case("pack, beside borg", "archivers", PACK, _OURS, BORG.tool),
)
