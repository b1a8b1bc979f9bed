"""What a rescue found and wrote, as values, and the one error that outranks the others."""

from __future__ import annotations

from dataclasses import dataclass

from airbundle.errors import AirbundleError
from airbundle.transfer.report import Belief
from airbundle.transfer.verdict import PRECEDENCE


@dataclass(frozen=True, slots=True)
class ReadSource:
    """One device, image or carved file: its bytes, and how many of them are holes."""

    path: str
    size: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class RescuedSegment:
    """One segment; counts are blocks of its file.

    `found` on the sources, `missing` there, `recovered` by parity, joining, columns or group, `conflicting` with more
    than one content for their place. `whole` says that what was written is bit for bit what was packed.
    """

    number: int
    volume: int
    blocks: int
    found: int
    missing: int
    recovered: int
    conflicting: int
    whole: bool
    from_group: bool = False


@dataclass(frozen=True, slots=True)
class RescuedBundle:
    """One bundle, and where it was written. `belief` is None where no statement could be used.

    `passed_over` are other statements of it that were found, of older revisions or by whomever.

    `stale` are attempts at segments that no row of its catalog names, `absent` volumes of which nothing was found.
    `problem` says why it is not all there, empty if it is; `exit_status` goes with that.
    """

    bundle: str
    statement: str
    revision: int | None
    volumes: tuple[str, ...]
    segments: tuple[RescuedSegment, ...]
    stale: int
    stale_blocks: int
    absent: tuple[str, ...]
    problem: str
    exit_status: int
    belief: Belief | None = None
    passed_over: int = 0


@dataclass(frozen=True, slots=True)
class RescueResult:
    """What a rescue read, and the bundles that it wrote. `damaged_blocks` had a header but not their digest."""

    sources: tuple[ReadSource, ...]
    sound_blocks: int
    damaged_blocks: int
    not_looked_at: int
    bundles: tuple[RescuedBundle, ...]
    seconds: float


def raise_worst(result: RescueResult, problems: list[AirbundleError]) -> None:
    """Raise what outranks the rest, with the result as its report."""
    if problems:
        first = min(problems, key=lambda error: PRECEDENCE.index(error.exit_status))
        first.report = result
        raise first
