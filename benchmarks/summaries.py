"""Samples to medians and ratios, and measured parts to 10 TB. Pure: no files, no clock.

A ratio is ours over theirs, the median of the ratios of each round; less is better.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, TypedDict

from benchmarks.cases import CASES, PEAK_BOUND, Case
from benchmarks.recipes import AIRBUNDLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.growth import Grown
    from benchmarks.rounds import Sample

TERABYTE = 10**12


class Row(TypedDict):
    """A case as it was measured."""

    name: str
    data: str
    step: str
    ours: str
    peer: str
    rounds: int
    ours_seconds: float
    ours_processor_seconds: float
    peer_seconds: float
    ratio: float
    least_ratio: float
    most_ratio: float
    bound: float | None
    within: bool | None
    source_bytes: int
    ours_bytes: int
    peer_bytes: int
    ours_peak_bytes: int
    peer_peak_bytes: int
    stages: dict[str, float]


class Peak(TypedDict):
    """The largest resident set of any airbundle of a group."""

    data: str
    peak_bytes: int
    within: bool


class GrowthRow(TypedDict):
    """What a unit costs that comes on top of the size before, or, of the smallest size, of the program's start."""

    kind: str
    step: str
    units: int
    processor_seconds: float
    start_seconds: float
    nanoseconds_per_unit: float
    seconds: float
    peak_bytes: int


def summarize(samples: Sequence[Sample], sizes: Mapping[str, int]) -> list[Row]:
    """A row for each case with samples of both sides; `sizes` are the bytes of the source of each group."""
    return [row for case in CASES if (row := _row(case, samples, sizes)) is not None]


def peaks(samples: Iterable[Sample]) -> list[Peak]:
    """Of each group."""
    largest: dict[str, int] = {}
    for sample in samples:
        if sample.tool.startswith(AIRBUNDLE.tool):
            largest[sample.group] = max(largest.get(sample.group, 0), sample.cost.peak_bytes)
    return [{"data": group, "peak_bytes": peak, "within": peak <= PEAK_BOUND} for group, peak in largest.items()]


def growth_rows(grown: Iterable[Grown], start: Mapping[str, float]) -> list[GrowthRow]:
    """Processor time by unit; `start` is the processor time of each step with nearly nothing to do."""
    rows: list[GrowthRow] = []
    before: dict[tuple[str, str], tuple[int, float]] = {}
    for one in grown:
        units, seconds = before.get((one.kind, one.step), (0, start[one.step]))
        before[one.kind, one.step] = one.units, one.cost.processor_seconds
        added = (one.cost.processor_seconds - seconds) / (one.units - units)
        rows.append({"kind": one.kind, "step": one.step, "units": one.units,
                     "processor_seconds": round(one.cost.processor_seconds, 3),
                     "start_seconds": round(start[one.step], 3), "nanoseconds_per_unit": round(added * 1e9, 4),
                     "seconds": round(one.cost.seconds, 3), "peak_bytes": one.cost.peak_bytes})
    return rows


def rise(values: Sequence[float]) -> float:
    """How far the most of what comes later lies above the first, 0.15 for 15 %; below 0 where all are less.

    Of three or more the very first is left out: in the smallest size there is more of the start than of units.
    """
    first, *later = values[1:] if len(values) > 2 else values
    return max(later) / first - 1 if later and first > 0 else float("inf")


def slope(units: Sequence[int], values: Sequence[float]) -> float:
    """What one unit more costs, between the first and the last."""
    return (values[-1] - values[0]) / (units[-1] - units[0])


def ten_terabytes(row: GrowthRow, *, cores: int, stored_share: float, segment_bytes: int,
                  bytes_per_segment: float) -> dict[str, float]:
    """10 TB from the cost of a byte of the largest pack; on this disk, and with media that are the bound."""
    size = 10 * TERABYTE
    processor = row["nanoseconds_per_unit"] / 1e9 * size
    segments = size / segment_bytes
    hours = {"processor_hours": processor / 3600, "hours_by_processor": processor / cores / 3600,
             "hours_as_measured": row["seconds"] / row["units"] * size / 3600,
             "hours_at_400_mb_s": size * stored_share / 400e6 / 3600,
             "hours_at_100_mb_s": size * stored_share / 100e6 / 3600}
    return {**{name: round(value, 2) for name, value in hours.items()}, "segments": round(segments),
            "bytes_per_segment": round(bytes_per_segment),
            "peak_bytes": round(row["peak_bytes"] + segments * bytes_per_segment)}


def _row(case: Case, samples: Sequence[Sample], sizes: Mapping[str, int]) -> Row | None:
    ours, peer = ({sample.round: sample for sample in samples
                   if (sample.group, sample.tool, sample.step) == (case.group, tool, case.step)}
                  for tool in (case.ours, case.peer))
    both = sorted(ours.keys() & peer.keys())
    if not both:
        return None
    ratios = [ours[number].cost.seconds / peer[number].cost.seconds for number in both]
    ratio = statistics.median(ratios)
    return {
        "name": case.name, "data": case.group, "step": case.step, "ours": case.ours, "peer": case.peer,
        "rounds": len(both), "ours_seconds": _median(ours[number].cost.seconds for number in both),
        "ours_processor_seconds": _median(ours[number].cost.processor_seconds for number in both),
        "peer_seconds": _median(peer[number].cost.seconds for number in both), "ratio": round(ratio, 3),
        "least_ratio": round(min(ratios), 3), "most_ratio": round(max(ratios), 3), "bound": case.bound,
        "within": None if case.bound is None else ratio <= case.bound, "source_bytes": sizes[case.group],
        "ours_bytes": ours[both[0]].written_bytes, "peer_bytes": peer[both[0]].written_bytes,
        "ours_peak_bytes": max(ours[number].cost.peak_bytes for number in both),
        "peer_peak_bytes": max(peer[number].cost.peak_bytes for number in both),
        "stages": _stages([ours[number].cost.stages for number in both]),
    }


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


def _stages(taken: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for stages in taken for name in stages)
    return {name: _median(stages.get(name, 0.0) for stages in taken) for name in names}
