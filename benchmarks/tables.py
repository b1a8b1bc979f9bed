"""Summaries to text: what the terminal shows, `bench.md` beside the numbers, and the headline of the README. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.cases import FILES, FILES_IN_MEMORY, FLAT_BOUND, JOINED, PEAK_BOUND
from benchmarks.summaries import rise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.summaries import GrowthRow, Peak, Row

STAGES_SHOWN = 4
JUDGED = {"bytes", FILES, FILES_IN_MEMORY}  # kinds of growth that have to be flat
MIB = 1 << 20
TOLD_FROM = 0.1  # seconds
HEADLINE = (
    ("pack", "`tar`, `zstd -3`, `age`, `par2 -r10`"),
    ("unpack", "`par2 verify`, `age`, `zstd`, `tar`"),
    ("verify", "`par2 verify`, `sha256sum`"),
    ("pack, not read back, beside cp", "`cp`, `sync`"),
    ("400 MB/s: pack, not read back", "`cp`, `sync`"),
    ("100 MB/s: pack, not read back", "`cp`, `sync`"),
    ("small files: pack", "`tar`, `zstd -3`, `age`"),
)
"""Names of cases that the README shows, and what the peer is called there."""


def cases_table(rows: Iterable[Row]) -> list[str]:
    """Markdown: a line for each case."""
    lines = ["| case | beside | ours | theirs | ratio | bound | | rounds | ours, bytes | theirs, bytes | ours, peak |",
             "| --- | --- | --: | --: | --: | --: | --- | --: | --: | --: | --: |"]
    return lines + [
        f"| {row['name']} | {row['peer']} | {row['ours_seconds']:.2f} s | {row['peer_seconds']:.2f} s "
        f"| {row['ratio']:.2f} ({row['least_ratio']:.2f} to {row['most_ratio']:.2f}) | {bound(row)} | {verdict(row)} "
        f"| {row['rounds']} | {row['ours_bytes']:,} | {row['peer_bytes']:,} | {row['ours_peak_bytes'] // MIB} MiB |"
        for row in rows]


def bound(row: Row) -> str:
    """The bound as it is shown; nothing for a case without."""
    return "" if row["bound"] is None else f"{row['bound']:.2f}"


def verdict(row: Row) -> str:
    """Within its bound, or by how much not."""
    if row["bound"] is None:
        return ""
    return "within" if row["within"] else f"{row['ratio'] / row['bound'] - 1:.0%} over"


def stages_table(rows: Iterable[Row]) -> list[str]:
    """Markdown: airbundle's seconds by stage, summed over its threads, in the order of the work."""
    shown = [row for row in rows if row["stages"]]
    names = list(dict.fromkeys(name for row in shown for name in row["stages"]))
    lines = [f"| case | took | {' | '.join(names)} |", f"| --- | --: |{' --: |' * len(names)}"]
    seen = set()
    for row in shown:
        key = (row["data"], row["ours"], row["step"])
        if key not in seen:
            seen.add(key)
            cells = (f"{row['stages'][name]:.2f}" if name in row["stages"] else "" for name in names)
            lines.append(f"| {row['name']} | {row['ours_seconds']:.2f} | {' | '.join(cells)} |")
    return lines


def misses(rows: Iterable[Row], cores: int) -> list[str]:
    """A line for each case over its bound: by how much, how busy the cores were, and the stages that took most."""
    lines = []
    for row in rows:
        if row["within"] is False:
            most = sorted(row["stages"].items(), key=lambda stage: -stage[1])[:STAGES_SHOWN]
            shown = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in most)
            busy = row["ours_processor_seconds"] / row["ours_seconds"] / cores
            lines.append(f"- {row['name']}: {row['ratio']:.2f} where {bound(row)} was asked for, {verdict(row)}. "
                         f"{row['ours_seconds']:.2f} s, in which airbundle kept {busy:.0%} of {cores} cores busy; "
                         f"over all threads: {shown}.")
    return lines


def peaks_table(peaks: Iterable[Peak]) -> list[str]:
    """Markdown: the largest resident set by group."""
    return [f"| data | largest airbundle | within {PEAK_BOUND // MIB} MiB |", "| --- | --: | --- |",
            *(f"| {peak['data']} | {peak['peak_bytes'] // MIB} MiB | {'yes' if peak['within'] else 'no'} |"
              for peak in peaks)]


def growth_table(rows: Sequence[GrowthRow]) -> list[str]:
    """Markdown: processor time by unit and peak memory as there are more units, and how flat both are."""
    lines = ["| of | step | units | processor | a unit | rise | flat | peak | rise | flat |",
             "| --- | --- | --: | --: | --: | --: | --- | --: | --: | --- |"]
    for kind, step in dict.fromkeys((row["kind"], row["step"]) for row in rows):
        alike = [row for row in rows if (row["kind"], row["step"]) == (kind, step)]
        for row in alike:
            judged = row is alike[-1] and kind in JUDGED
            time = rise(_told(alike)) if judged and len(_told(alike)) > 1 else None
            lines.append(f"| {kind} | {step} | {row['units']:,} | {row['processor_seconds']:.2f} s "
                         f"| {_unit(row['nanoseconds_per_unit'])} | {_flat(time)} | {row['peak_bytes'] // MIB} MiB "
                         f"| {_flat(_more_memory(rows, row) if judged else None)} |")
    return lines


def _told(rows: Sequence[GrowthRow]) -> list[float]:
    """What a unit costs, without the sizes that add too little to tell it from noise."""
    before = [rows[0]["start_seconds"], *(row["processor_seconds"] for row in rows)]
    return [row["nanoseconds_per_unit"] for row, less in zip(rows, before, strict=False)
            if row["processor_seconds"] - less >= TOLD_FROM]


def _more_memory(rows: Sequence[GrowthRow], last: GrowthRow) -> float | None:
    """By how much the peak lies above the one with less units: of files, with the same bytes in fewer."""
    kind = JOINED if last["kind"] in {FILES, FILES_IN_MEMORY} else last["kind"]
    before = [row for row in rows if (row["kind"], row["step"]) == (kind, last["step"]) and row is not last]
    return last["peak_bytes"] / before[-1]["peak_bytes"] - 1 if before else None


def _flat(more: float | None) -> str:
    return " | " if more is None else f"{more:+.0%} | {'yes' if more <= FLAT_BOUND else 'no'}"


def codecs_table(codecs: Mapping[str, object]) -> list[str]:
    """Markdown: the codec alone, one thread each."""
    size = codecs.get("bytes")
    lines = ["| codec | packed to | pack | expand |", "| --- | --: | --: | --: |"]
    for name, found in codecs.items():
        if isinstance(found, dict) and isinstance(size, int):
            lines.append(f"| {name} {found['version']} | {found['packed_bytes'] / size:.1%} "
                         f"| {found['pack_seconds']:.2f} s | {found['expand_seconds']:.2f} s |")
    return lines


def headline(rows: Iterable[Row]) -> list[str]:
    """The table of the README, made of the numbers and nothing else."""
    named = {row["name"]: row for row in rows}
    lines = ["| | airbundle | beside it | | ratio | on the drive |", "| --- | --: | --- | --: | --: | --: |"]
    for name, called in HEADLINE:
        row = named.get(name)
        if row is not None:
            shares = [row["ours_bytes"] / row["source_bytes"], row["peer_bytes"] / row["source_bytes"]]
            stored = f"{shares[0]:.0%} against {shares[1]:.0%}" if row["step"] == "pack" else ""
            lines.append(f"| {name.removesuffix(', beside cp')} | {row['ours_seconds']:.1f} s | {called} "
                         f"| {row['peer_seconds']:.1f} s | {row['ratio']:.2f} | {stored} |")
    return lines


def _unit(nanoseconds: float) -> str:
    if nanoseconds <= 0:
        return ""  # less than what the start differs by from one run to the next
    return f"{nanoseconds:.3f} ns" if nanoseconds < 1000 else f"{nanoseconds / 1000:.1f} us"
