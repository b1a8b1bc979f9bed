"""All tables as one page of Markdown, from the numbers alone: what the terminal shows and `bench.md` keeps. Pure."""

from __future__ import annotations

from typing import Any

from benchmarks import tables

GIB = 1 << 30


def report(found: dict[str, Any]) -> str:
    """The page; `found` is what `bench.json` holds."""
    parts = [*_head(found), "## Headline", "", *tables.headline(found["cases"]), ""]
    parts += ["## Cases", "", *tables.cases_table(found["cases"]), "", "## Over their bound", ""]
    parts += tables.misses(found["cases"], found["machine"]["cores"]) or ["None."]
    parts += ["", "## Where airbundle's time goes", "",
             "Seconds by stage, summed over the threads that spent them.", "", *tables.stages_table(found["cases"]), "",
             "## Memory", "", *tables.peaks_table(found["peaks"])]
    if found.get("growth"):
        parts += ["", "## Growth", ""]
        parts += ["Processor time of all threads; all sizes in turns, medians. A unit is a byte, a file or a segment,",
                  "and costs what it adds to the size before. In the smallest that is mostly noise of the start: the",
                  "rise counts from the next, and leaves out what adds less than 0.1 s. Files lie on the disk, and",
                  "then, where there is one, on a file system in memory. Memory of files is held against the same",
                  "bytes in a hundredth as many (joined).",
                  ""]
        parts += tables.growth_table(found["growth"])
    if found.get("ten_terabytes"):
        parts += ["", "## 10 TB, by arithmetic", ""]
        parts += [f"- {name.replace('_', ' ')}: {value:,}" for name, value in found["ten_terabytes"].items()]
    if found.get("codecs"):
        parts += ["", "## The codec alone", "", "bf16 in memory, one thread.", ""]
        parts += tables.codecs_table(found["codecs"])
    return "\n".join(parts) + "\n"


def _head(found: dict[str, Any]) -> list[str]:
    machine = found["machine"]
    loads = ", ".join(f"{name} {load['before'][0]:.1f} to {load['after'][0]:.1f}"
                      for name, load in found["loads"].items())
    described = ", ".join([
        machine["processor"], f"{machine['cores']} cores", f"{machine['memory_bytes'] / GIB:.1f} GiB", machine["disk"],
        machine["system"], f"Python {machine['python']}", f"airbundle {machine['airbundle']}"])
    how = ("Made by `make bench`; all numbers are in `bench.json`. A ratio is our seconds over theirs, the median of "
           "the ratios of each round (least to most); less is better. Each side ends when its bytes are on the medium. "
           "It finds its source in the page cache, memory for that and a GiB more that was touched just before, and "
           "its programs run once on a small file.")
    peers = "; ".join(f"{name}: {version}" for name, version in found["peers"].items())
    parts = ["# Airbundle beside its peers", "", how, "", f"{described}; {found['made']}.", "", f"Peers: {peers}.", "",
             f"Load average of one minute, before and after: {loads}.", ""]
    for name, reason in found["not_run"].items():
        parts += [f"Not run: {name}, {reason}.", ""]
    return parts
