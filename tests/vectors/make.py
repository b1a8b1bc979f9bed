"""Make fixtures/vectors/ anew: `python -m tests.vectors.make [--refreeze]`. The same bytes each time.

What each vector is expected to give stands in its line and is not touched: a new vector gets what the package says,
and whoever adds it reads that line. `--refreeze` makes signatures, envelopes and frames anew; `--expect` all answers.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from tests.vectors import bases, damage, hostile, run, several, volumes
from tests.vectors.frozen import Frozen
from tests.vectors.known import known_answers
from tests.vectors.people import write_people
from tests.vectors.volumes import ROOT, Vector

DERIVED = ("statement.rec", "catalog-copy.abs")
GIVEN = {"drives": ("1", "2", "3"), "lose-two": ("1", "2", "3", "4")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refreeze", action="store_true")
    parser.add_argument("--expect", action="store_true")
    options = parser.parse_args()
    known = {} if options.refreeze or not (ROOT / "frozen.tar.xz").exists() else _read(ROOT / "frozen.tar.xz")
    frozen = Frozen(known)
    with tempfile.TemporaryDirectory(prefix="vectors-") as place, \
            mock.patch.dict(os.environ, XDG_STATE_HOME=f"{place}/state", XDG_CONFIG_HOME=f"{place}/config"):
        with frozen.applied():
            lines = _bundles(Path(place), frozen)
            answers = known_answers()
        _expectations(lines, Path(place), anew=options.expect)
    (ROOT / "known-answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    write_archive(ROOT / "frozen.tar.xz", frozen.used)


def _bundles(place: Path, frozen: Frozen) -> list[Vector]:
    """Bases and own bundles into their archives; all vectors, with nothing expected yet."""
    made: dict[str, damage.Base] = {}
    for name in bases.BASES:
        bases.make_base(name, place / name)
        files = _stored(place / name)
        write_archive(ROOT / "bundles" / f"{name}.tar.xz", files)
        full = volumes.with_derived(files)
        made[name] = damage.Base(name, {_short(path): raw for path, raw in full.items()})
    lines = [_line(base="plain", **one) for one in damage.plain_vectors(made["plain"])]
    lines += [_line(**one) for one in (*damage.other_vectors(made), *several.several_vectors(made))]
    own: dict[str, dict[str, bytes]] = {}
    for one in hostile.hostile_vectors():
        target = place / "hostile" / f"{one.rule}-{one.name}"
        one.write(target)
        stored = _read(ROOT / "bundles" / f"{one.base}.tar.xz")
        differing = {path: raw for path, raw in _stored(target, honest=one.record is None).items()
                     if stored.get(path) != raw}
        line = _line(base=one.base, rule=one.rule, name=one.name, comment=one.comment, own=bool(differing), **one.more)
        own.setdefault(one.rule[0], {}).update({f"{line.name}/{path}": raw for path, raw in differing.items()})
        lines.append(line)
    for chapter, files in own.items():
        write_archive(ROOT / "hostile" / f"{chapter}.tar.xz", files)
    volumes.read_archive.cache_clear()
    return lines


def _line(*, base: str, rule: str, name: str, comment: str, splices: Any = (), given: Any = (), trust: Any = None,
          key: str | None = None, passphrase: str | None = None, own: bool = False, result: str = "") -> Vector:
    suite = "cnsa2" if base == "cnsa2" else "standard"
    under = base == "passphrase"
    return Vector(
        name=f"{rule}-{name}", base=base, rule=rule, comment=comment, expect={}, result=result, own=own,
        splices=tuple(splices), given=tuple(given) or GIVEN.get(base, ("1",)),
        trust=tuple(trust) if trust is not None else (f"packer-{suite}",),
        key=("" if under else f"reader-{suite}") if key is None else key,
        passphrase=(bases.PASSPHRASE if under else "") if passphrase is None else passphrase, shows="", tree="")


def _expectations(lines: list[Vector], place: Path, *, anew: bool) -> None:
    before = {} if anew else {vector.name: vector for vector in volumes.read_vectors()}
    people = place / "people"
    people.mkdir()
    write_people(people)
    chapters: dict[str, list[str]] = {}
    names = [vector.name for vector in lines]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    for vector in sorted(lines, key=lambda one: (one.rule[0], int(one.rule[2:]), one.name)):
        old = before.get(vector.name)
        fields = {name: getattr(vector, name) for name in vector.__dataclass_fields__}
        if old is None:
            spot = place / "ask" / vector.name
            volumes.lay_out(vector, spot)
            found = run.ask_package(vector, spot, people)
            shutil.rmtree(spot)
            fields |= {"expect": found.expect, "result": found.result,
                       "shows": found.rule if found.rule not in {"", vector.rule} else "", "tree": found.tree}
            print(vector.name, found.expect, found.result, found.rule, found.said if fields["shows"] else "")
        else:
            fields |= {"expect": old.expect, "result": old.result, "shows": old.shows, "tree": old.tree}
        chapters.setdefault(vector.rule[0], []).append(Vector(**fields).line())
    for chapter, texts in chapters.items():
        (ROOT / f"{chapter}.jsonl").write_text("".join(f"{text}\n" for text in texts))


def _stored(place: Path, *, honest: bool = True) -> dict[str, bytes]:
    """The files of a bundle without what is derived of the others."""
    found = {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.glob("[0-9]/*/*"))}
    stored = {name: raw for name, raw in found.items() if not name.endswith(DERIVED)}
    assert {**volumes.with_derived(stored), **found}.keys() == found.keys()
    return stored if honest else stored | {
        name: raw for name, raw in found.items() if volumes.with_derived(stored)[name] != raw}


def _short(path: str) -> str:
    number, _, file = path.split("/")
    return f"{number}/{file}"


def _read(path: Path) -> dict[str, bytes]:
    volumes.read_archive.cache_clear()
    return volumes.read_archive(path)


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    """Written only where what is in it differs: another release of xz may pack it otherwise."""
    if path.exists() and _read(path) == files:
        return
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, raw in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(out.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
