"""The pure parts of the benchmarks: medians and ratios, tables, the picture, the order of rounds, what is carried."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import datasets, page, picture, recipes, summaries, tables
from benchmarks.cases import CASES, FLAT_BOUND, GROUPS, JOINED, PEAK_BOUND
from benchmarks.growth import Grown, middle, room_in_memory
from benchmarks.measuring import Cost, measure, stages_in
from benchmarks.recipes import AIRBUNDLE, BY_HAND, PACK, Recipe, Step
from benchmarks.rounds import MANY, Sample, Workshop, discard, in_turn, rehearse

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"


def sample(tool: str, number: int, seconds: float, **stages: float) -> Sample:
    return Sample("model", tool, PACK, number, Cost(seconds, seconds, 100 << 20, stages), 700)


def paired(*pairs: tuple[float, float]) -> list[Sample]:
    return [one for number, (ours, theirs) in enumerate(pairs)
            for one in (sample(AIRBUNDLE.tool, number, ours, zstd=ours / 2), sample(BY_HAND.tool, number, theirs))]


def rows(*pairs: tuple[float, float]) -> list[summaries.Row]:
    return summaries.summarize(paired(*pairs), {"model": 1000})


def grown(units: int, seconds: float, kind: str = "files") -> Grown:
    return Grown(kind, PACK, units, Cost(seconds, seconds, units))


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds_and_not_of_the_medians() -> None:
    (row,) = rows((1, 10), (2, 4), (3, 10))
    assert (row["ratio"], row["least_ratio"], row["most_ratio"]) == (0.3, 0.1, 0.5)
    assert (row["ours_seconds"], row["peer_seconds"], row["rounds"]) == (2, 10, 3)
    assert row["stages"] == {"zstd": 1.0}


@pytest.mark.parametrize(("ours", "within"), [(3.0, True), (3.1, False)])
def test_a_case_is_within_its_bound_up_to_the_bound_itself(ours: float, within: bool) -> None:
    (row,) = rows((ours, 10))
    assert row["bound"] == 0.30
    assert row["within"] is within
    assert bool(tables.misses([row], 2)) is not within


def test_a_round_without_its_peer_does_not_count() -> None:
    (row,) = summaries.summarize([*paired((1, 10)), sample(AIRBUNDLE.tool, 1, 9)], {"model": 1})
    assert (row["rounds"], row["ratio"]) == (1, 0.1)
    assert not summaries.summarize([sample(AIRBUNDLE.tool, 0, 1)], {"model": 1})


def test_every_case_names_two_recipes_of_its_group_and_a_step_of_both() -> None:
    groups = {group.name: {recipe.tool: {step.name for step in recipe.steps} for recipe in group.recipes}
              for group in GROUPS}
    for case in CASES:
        assert case.step in groups[case.group][case.ours] & groups[case.group][case.peer], case
    assert len({case.name for case in CASES}) == len(CASES)
    assert {name for name, _ in tables.HEADLINE} <= {case.name for case in CASES}


def test_every_recipe_can_be_filled_in_and_waits_for_its_medium() -> None:
    for recipe in {recipe for group in GROUPS for recipe in group.recipes}:
        for step in recipe.steps:
            script = step.script.format_map(dict.fromkeys(("source", "drive", "back", "keys"), "/x"))
            assert "{" not in script
            assert not step.writes or script.startswith("airbundle ") or "sync -f" in script, script


def test_memory_is_that_of_the_largest_airbundle() -> None:
    large = Sample("model", "airbundle cnsa2", PACK, 0, Cost(1, 1, PEAK_BOUND + 1), 0)
    assert summaries.peaks(paired((1, 1)))[0]["within"]
    assert summaries.peaks([*paired((1, 1)), large]) == [
        {"data": "model", "peak_bytes": PEAK_BOUND + 1, "within": False}]


def test_growth_takes_the_start_off_and_says_whether_it_is_flat() -> None:
    found = summaries.growth_rows([grown(1000, 1.5), grown(10_000, 10.5), grown(100_000, 109.5)], {PACK: 0.5})
    assert [row["nanoseconds_per_unit"] for row in found] == [1e6, 1e6, 1.1e6]
    assert summaries.rise([1e6, 1.1e6]) == pytest.approx(0.1)
    assert summaries.rise([9.0, 2.0, 1.0, 1.5]) == pytest.approx(-0.25)
    assert "| +10% | yes |" in tables.growth_table(found)[-1]
    found[2]["nanoseconds_per_unit"] = 1e6 * (1.001 + FLAT_BOUND)
    assert "| +15% | no |" in tables.growth_table(found)[-1]


def test_of_many_runs_each_figure_is_the_median_of_its_own() -> None:
    least, most = Cost(1, 30, 300), Cost(3, 10, 100)
    assert middle([least, Cost(2, 20, 200), most]) == Cost(2, 20, 200)
    assert middle([least, most, Cost(2, 40, 400), Cost(4, 20, 200)]) == Cost(2.5, 25, 300)


def test_what_adds_too_little_is_not_held_against_anything() -> None:
    found = summaries.growth_rows([grown(1000, 0.55), grown(10_000, 0.56), grown(100_000, 9.56)], {PACK: 0.5})
    assert [cell.strip() for cell in tables.growth_table(found)[-1].split("|")][6:8] == ["", ""]
    found = summaries.growth_rows([grown(1000, 0.55), grown(10_000, 1.45), grown(100_000, 12.25)], {PACK: 0.5})
    assert "| +20% | no |" in tables.growth_table(found)[-1]


def test_a_cost_below_that_of_the_start_is_not_shown() -> None:
    lines = tables.growth_table(summaries.growth_rows([grown(1000, 0.49), grown(2000, 0.51)], {PACK: 0.5}))[2:]
    assert [line.split("|")[5].strip() for line in lines] == ["", "20.0 us"]


@pytest.mark.parametrize(("peak", "answer"), [(115, "| +15% | yes |"), (116, "| +16% | no |"), (90, "| -10% | yes |")])
def test_memory_is_flat_in_files_if_the_same_bytes_take_as_much_in_few(peak: int, answer: str) -> None:
    costs = [("files", 1000, 10), ("files", 100_000, peak), (JOINED, 1000, 100), ("bytes", 10, 100),
             ("bytes", 20, peak)]
    found = summaries.growth_rows([Grown(kind, PACK, units, Cost(units, units, size)) for kind, units, size in costs],
                                  {PACK: 0.0})
    lines = tables.growth_table(found)[2:]
    assert [line.endswith(answer) for line in lines] == [False, True, False, False, True]


def test_ten_terabytes_are_the_measured_parts_times_their_number() -> None:
    row = summaries.growth_rows([grown(10**9, 2.0, "bytes")], {PACK: 0.0})[0]
    found = summaries.ten_terabytes(row, cores=2, stored_share=0.5, segment_bytes=10**8, bytes_per_segment=1000)
    assert found["processor_hours"] == pytest.approx(20_000 / 3600, abs=0.01)
    assert found["hours_by_processor"] == pytest.approx(10_000 / 3600, abs=0.01)
    assert found["hours_at_100_mb_s"] == pytest.approx(50_000 / 3600, abs=0.01)
    assert (found["segments"], found["peak_bytes"]) == (10**5, 10**9 + 10**8)


def test_slope_and_rise() -> None:
    assert summaries.slope([1, 11], [5, 25]) == 2
    assert summaries.rise([1.0]) == float("inf")


def test_the_picture_has_a_bar_and_a_number_for_each_bound() -> None:
    (within,), (over,), (far,) = rows((1, 10)), rows((4, 10)), rows((40, 10))
    free = {**within, "name": "free", "bound": None, "within": None}
    over["name"] = "a < b & c"
    drawn = ET.fromstring(picture.draw([within, over, far, free], "somewhere"))  # type: ignore[list-item]
    bars = [one for one in drawn.iter(f"{SVG}rect") if one.get("height") == str(picture.LINE - 6)]
    assert [one.get("fill") for one in bars] == [picture.WITHIN, picture.OVER, picture.OVER]
    widths = [float(one.get("width") or 0) for one in bars]
    assert widths[1] == pytest.approx(4 * widths[0], abs=0.2)
    assert picture.LEFT + widths[2] <= picture.WIDTH - picture.RIGHT + 0.1
    texts = [one.text for one in drawn.iter(f"{SVG}text")]
    assert {"a < b & c", "0.10, bound 0.30", "4.00, bound 0.30 (cut)", "somewhere"} <= set(texts)
    assert "free" not in texts


def test_the_page_has_a_section_for_everything_that_was_found() -> None:
    found: dict[str, Any] = {
        "cases": rows((4, 10)), "peaks": summaries.peaks(paired((4, 10))), "made": "2026-11-21",
        "loads": {"model": {"before": [1.0, 1, 1], "after": [2.0, 1, 1]}}, "not_run": {"fp32": "needs weights"},
        "peers": {"age": "1.1.1"}, "growth": summaries.growth_rows([grown(1000, 1), grown(2000, 2)], {PACK: 0.0}),
        "machine": {"system": "Linux", "python": "3", "airbundle": "0", "cores": 2, "processor": "P",
                    "memory_bytes": 1 << 30, "disk": "ext4"},
        "ten_terabytes": {"segments": 5}, "codecs": {"bytes": 10, "runs": 1, "airbundle": {
            "version": "0", "packed_bytes": 5, "pack_seconds": 1.0, "expand_seconds": 1.0}}}
    text = page.report(json.loads(json.dumps(found)))
    for part in ("33% over", "model 1.0 to 2.0", "Not run: fp32", "## Growth", "- segments: 5", "50.0%",
                 "50% of 2 cores", "zstd 2.00 s"):
        assert part in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_each_recipe_has_every_place_in_the_order_of_rounds() -> None:
    turns = [in_turn([AIRBUNDLE, BY_HAND], number) for number in range(4)]
    assert [turn[0].tool for turn in turns] == [AIRBUNDLE.tool, BY_HAND.tool, BY_HAND.tool, AIRBUNDLE.tool]


def test_a_recipe_is_rehearsed_up_to_its_step_on_a_small_file(tmp_path: Path) -> None:
    told = tmp_path / "told"
    steps = tuple(Step(name, f"stat -c '{name} %n %s' {{source}}/* >> {told}; ls {{drive}} {{back}} >> {told}; "
                             f"touch {{drive}}/{name}", "source") for name in ("one", "two", "three"))
    rehearse(Workshop(str(tmp_path)), Recipe("none", steps, ()), steps[1])
    said = told.read_text()
    assert re.findall(r"^(one|two|three) .*small\.bin 1048576$", said, re.MULTILINE) == ["one", "two"]
    assert said.count("\none\n") == 1  # the second step finds what the first one wrote
    assert list(tmp_path.iterdir()) == [told]


def test_a_folder_with_many_files_is_put_aside_and_not_removed_before_others_make_files(tmp_path: Path) -> None:
    for name, count in (("few", MANY), ("many", MANY + 1)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / str(number)).touch()
        discard(Workshop(str(tmp_path)), str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["aside"]
    assert len(list((tmp_path / "aside" / "0").iterdir())) == MANY + 1
    discard(Workshop(str(tmp_path), aside=False), str(tmp_path / "aside" / "0"))
    assert not list((tmp_path / "aside").iterdir())


def test_a_place_in_memory_has_the_keys_and_is_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "one.key").touch()
    with room_in_memory(Workshop(str(tmp_path)), 1 << 62) as none:
        assert none is None
    with room_in_memory(Workshop(str(tmp_path)), 0) as memory:
        if memory is None:
            pytest.skip("no file system in memory")
        assert not memory.aside
        assert Path(memory.at("keys", "one.key")).exists()
    assert not Path(memory.place).exists()
    assert (tmp_path / "keys" / "one.key").exists()


def test_stages_are_found_in_what_airbundle_prints_and_in_nothing_else() -> None:
    assert stages_in('{"result": {"stages": {"zstd": 1.5}}}') == {"zstd": 1.5}
    for text in ("", "5", "[]", '{"result": null}', "12 files"):
        assert stages_in(text) == {}


def test_a_command_is_measured_with_its_children_and_a_failure_ends_the_run(tmp_path: Path) -> None:
    cost = measure("echo one | cat; true", str(tmp_path))
    assert cost.printed == "one\n"
    assert cost.seconds > 0
    assert cost.peak_bytes > 1 << 20
    with pytest.raises(SystemExit, match="failed with 3"):
        measure("exit 3", str(tmp_path))
    with pytest.raises(SystemExit, match="failed with 1"):
        measure("false | cat", str(tmp_path))


def test_data_are_the_same_each_time_and_of_the_size_asked_for(tmp_path: Path) -> None:
    for name in ("a", "b"):
        datasets.make_model(str(tmp_path / name), 1 << 20)
        datasets.make_small_files(str(tmp_path / name / "small"), 501)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 4 + 501
    datasets.make_joined_files(str(tmp_path / "joined"), 501, 5)
    joined, small = (sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
                     for name in ("joined", "a/small"))
    assert len(joined) == len(list(tmp_path.glob("joined*/*"))) == 5
    assert b"".join(path.read_bytes() for path in joined) == b"".join(path.read_bytes() for path in small)
    assert sum((tmp_path / "a" / path).stat().st_size for path in files[:4]) > 0
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files)


def test_real_weights_are_cast_as_their_users_would(tmp_path: Path) -> None:
    plain = np.array([1.0, -2.5, 3.1415927, 65504.0, 1e-30], "<f4")
    header = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]},
              "ids": {"dtype": "I64", "shape": [1], "data_offsets": [20, 28]}}
    text = json.dumps(header).encode()
    source = tmp_path / "model.safetensors"
    source.write_bytes(len(text).to_bytes(8, "little") + text + plain.tobytes() + bytes(range(8)))
    for dtype, width in (("F32", 4), ("BF16", 2), ("F16", 2)):
        datasets.make_real(str(tmp_path / dtype), str(source), dtype)
        made = (tmp_path / dtype / "model.safetensors").read_bytes()
        size = int.from_bytes(made[:8], "little")
        tensors, content = json.loads(made[8:8 + size]), made[8 + size:]
        assert tensors["w"]["dtype"] == dtype
        assert len(content) == 5 * width + 8
        assert content[-8:] == bytes(range(8))
        if dtype == "BF16":
            back = (np.frombuffer(content[:10], "<u2").astype("<u4") << 16).view("<f4")
            assert np.allclose(back, plain, rtol=1 / 256)
            assert back[2] == np.float32(3.140625)


def test_a_peer_that_is_not_here_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "PATH", "")
    assert recipes.peers_here()["restic"] == "not here (Debian restic)"
    assert recipes.lacking(BY_HAND) == list(BY_HAND.needs)


def test_the_readme_shows_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "bench.json").read_text())
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert " ".join(" ".join(tables.headline(found["cases"])).split()) in readme
    largest = max(peak["peak_bytes"] for peak in found["peaks"])
    assert f"took more than {-(-largest // (1 << 20))} MiB" in readme
    met = [row["within"] for row in found["cases"] if row["bound"] is not None]
    assert f"Of {len(met)} bounds {sum(met)} are met" in readme
    assert page.report(found) == (ROOT / "benchmarks" / "results" / "bench.md").read_text()
    drawn = (ROOT / "benchmarks" / "results" / "bench.svg").read_text()
    for row in found["cases"]:
        if row["bound"] is not None:
            assert f"{row['ratio']:.2f}, bound {row['bound']:.2f}" in drawn
