"""rescue: whoever holds a drive without a file system, an image of it, or what a carver made of it."""

from __future__ import annotations

from typing import Annotated

import typer

from airbundle import api
from airbundle.cli import output
from airbundle.cli.choices import BundleId, Json, ProgressStyle, Trust
from airbundle.cli.reading import LINES_MAX
from airbundle.errors import AirbundleError
from airbundle.transfer.report import Belief
from airbundle.transfer.rescued import RescuedBundle, RescueResult


def rescue(
    sources: Annotated[list[str], typer.Argument(
        metavar="SOURCE", help="A device, an image (IMAGE:MAP, or beside IMAGE.map of ddrescue), or carved files.")],
    target: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Where the volumes go: another drive.")],
    trust: Trust = None,
    bundle: BundleId = "",
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Make volumes again from drives without a file system, bit for bit, without a key. Never writes to a SOURCE.

    Several sources are merged, with what is in DIR already: give all half-dead copies of a drive and all drives of a
    bundle, at once or one after another.
    """
    try:
        with output.ProgressView(progress) as view:
            result = api.rescue(sources, target, trust=api.load_trust(*trust or ()), bundle=bundle, progress=view)
    except AirbundleError as error:
        if isinstance(error.report, RescueResult) and not as_json:
            _show(error.report)
        raise
    if as_json:
        output.emit("rescue", result)
        return
    _show(result)
    if all(one.belief is Belief.TRUSTED for one in result.bundles):
        output.good("rescued: every block is as it was packed")
    else:
        output.warn("rescued: every block is as its statement says, which nobody here vouches for")


def _show(result: RescueResult) -> None:
    size = sum(source.size for source in result.sources)
    holes = sum(source.unreadable for source in result.sources)
    output.table([
        ("read", f"{output.counted(len(result.sources), 'source')}, {output.human(size)} in {result.seconds:.1f} s"),
        ("holes", output.human(holes) if holes else "none"),
        ("blocks", f"{result.sound_blocks} found, {result.damaged_blocks} damaged")])
    for one in result.bundles:
        _show_bundle(one)
    if result.not_looked_at:
        output.warn(f"{result.not_looked_at} headers were not looked at: more than any drive of bundles holds")


def _show_bundle(one: RescuedBundle) -> None:
    segments = one.segments
    sums = {noun: sum(getattr(segment, noun) for segment in segments)
            for noun in ("found", "missing", "recovered", "conflicting")}
    grouped = sum(segment.from_group for segment in segments)
    output.table([
        ("bundle", one.bundle),
        ("statement", one.statement + (f", revision {one.revision}" if one.revision is not None else "")),
        *((("passed over", output.counted(one.passed_over, "other statement")),) if one.passed_over else ()),
        ("whole", f"{sum(segment.whole for segment in segments)} of {output.counted(len(segments), 'segment')}"
         + (f", {grouped} of them from their groups" if grouped else "")),
        ("blocks", ", ".join(f"{count} {noun}" for noun, count in sums.items())),
        *((("stale", f"{output.counted(one.stale, 'attempt')} of {output.counted(one.stale_blocks, 'block')}"),)
          if one.stale else ()),
        *(("not here", volume) for volume in one.absent),
        *(("written", path) for path in one.volumes)])
    short = [segment for segment in segments if not segment.whole]
    if short:
        output.table([(segment.number, segment.volume, segment.found, segment.missing, segment.recovered,
                       segment.conflicting) for segment in short[:LINES_MAX]],
                     head=("segment", "volume", "found", "missing", "recovered", "conflicting"), title="not whole")
    if one.absent and not one.problem:
        output.warn(f"not here: {'; '.join(one.absent)}; repair -o DIR makes it anew, if it is lost")
