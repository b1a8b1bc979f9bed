"""The vectors of which no one file, copy, member or drive is enough, or of which one too many is there."""

from __future__ import annotations

import base64
import json
from typing import Any

from airbundle.format.statement import STATEMENT_TYPE
from tests.vectors.damage import B, Base, Splices, copy_block, delete, leaf, no_preambles, write, zeros


def several_vectors(bases: dict[str, Base]) -> list[dict[str, Any]]:
    return [*_together(bases["stripes"]), *_wide(bases["wide"]), *_drives(bases["drives"]),
            *_beside(bases["countersigned"]), _without_preamble(bases["plain"])]


def _together(base: Base) -> list[dict[str, Any]]:
    """Blocks of several files, or of several members, of which no one is enough: 6 data and 4 parity blocks each."""
    seg, other, more = "1/00000000.abs", "1/00000001.abs", "1/copy of 00000000.abs"
    found: list[dict[str, Any]] = []

    def add(rule: str, name: str, comment: str, splices: Splices) -> None:
        found.append({"base": "stripes", "rule": rule, "name": name, "comment": comment, "splices": splices})

    twin = [{"do": "copy", "file": more, "from": seg}, *delete(other)]
    add("D-2", "two-files", "Two files of a segment, each beyond its own code: together they give it.",
        [*twin, *(zeros(seg, at) for at in (2, 4, 6)), *(zeros(more, at) for at in (3, 5, 7))])
    add("D-2", "two-files-altered", "The same, but one has blocks with other content and digests that fit.",
        [*twin, *(part for at in (2, 4, 6) for part in base.resealed(seg, at, 700, b"\0\1\2\3")),
         *(zeros(more, at) for at in (3, 5, 7))])
    lists = [zeros(file, at) for file in (seg, other) for at in (1, 12)]
    add("G-9", "trial", "A segment without lists lacks a block, and its group is gone: the root decides.",
        [*lists[:2], zeros(seg, 3), *delete(other)])
    add("G-9", "trial-of-both", "Members without lists lack blocks at different indexes: each counts for the other.",
        [*lists, *(zeros(seg, at) for at in (2, 4, 8, 10)), *(zeros(other, at) for at in (3, 5, 7, 9))])
    add("G-9", "trial-after-inner", "A member without lists lacks a data block, and parity in both stripes.",
        [*lists[2:], *(zeros(other, at) for at in (6, 8, 9, 10))])
    add("G-9", "trial-forged-lists", "The same, and the lists are there, forged with digests that fit: they are none.",
        [*(part for at in (1, 12) for part in base.resealed(seg, at, 160, bytes(32))), zeros(seg, 3), *delete(other)])
    add("D-2", "two-files-forged-list", "One of the two files has forged lists that fit an altered block of it.",
        [*twin, *base.resealed(seg, 2, 700, b"\0\1\2\3"), *(zeros(more, at) for at in (3, 5, 7)),
         *(part for at in (1, 12) for part in base.resealed(seg, at, 128, leaf(base, seg, 2, 700, b"\0\1\2\3")))])
    lists_gone = [zeros(file, at) for file in (seg, more) for at in (1, 12)]
    add("S-7", "first-file", "Two files without lists, together as one: where they differ that under its name counts.",
        [*twin, *lists_gone, *(zeros(seg, at) for at in (3, 5, 7)), *(zeros(more, at) for at in (4, 6)),
         *({**part, "file": more} for part in base.resealed(seg, 2, 700, b"\0\1\2\3"))])
    add("S-7", "first-file-altered", "The same, and it is the altered one.",
        [*twin, *lists_gone, *(zeros(seg, at) for at in (4, 6)), *(zeros(more, at) for at in (3, 5, 7)),
         *base.resealed(seg, 2, 700, b"\0\1\2\3")])
    add("G-9", "trial-denied", "A segment without lists, a block altered: nothing fits until it is off trial.",
        [*lists[:2], *base.resealed(seg, 2, 700, b"\0\1\2\3")])
    ruined = [*delete(other), *(zeros(seg, at) for at in (2, 4, 6))]
    for name, count, comment in (("sixty-fourth-file", 63, "Files that claim a segment: the 64th gives what it lacks."),
                                 ("sixty-fifth-file", 64, "The 65th, which nobody looks at.")):
        add("L-6", name, comment, [
            {"do": "copy", "file": "1/z", "from": seg}, *ruined,
            *(copy_block(f"1/f{at:02}", 0, seg, 0) for at in range(count))])
    return found


def _wide(base: Base) -> list[dict[str, Any]]:
    """A catalog whose preamble and list have two blocks each: 0 1 | 2 3 | data and parity | list | preamble."""
    files = ("1/catalog.abs", "1/catalog-copy.abs")
    size = len(base.files[files[0]]) // B
    again = size - 4  # where the second list begins
    found: list[dict[str, Any]] = []

    def add(rule: str, name: str, comment: str, splices: Splices) -> None:
        found.append({"base": "wide", "rule": rule, "name": name, "comment": comment, "splices": splices})

    def altered(file: str) -> Splices:
        return base.resealed(file, 4, 700, b"\0\1\2\3")

    def forged(file: str, number: int) -> Splices:
        return base.resealed(file, number, 128, leaf(base, file, 4, 700, b"\0\1\2\3"))

    add("S-7", "halves", "Of a list of two blocks each copy lacks one, and a data block is gone.",
        [zeros(file, at) for file in files for at in (2, again + 1, 4)])
    add("S-7", "crosswise", "Each copy of the list has a forged block, another one each; a data block is altered.",
        [one for file in files for part in (
            altered(file), forged(file, 2), base.resealed(file, again + 1, 160, bytes(32)))
         for one in part])
    add("S-7", "stand-in", "One block of the list is gone, of the other a copy is forged; a data block is altered.",
        [one for file in files for part in (altered(file), forged(file, 2), [zeros(file, 3), zeros(file, again + 1)])
         for one in part])
    add("G-9", "trial-asks-no-list", "Without a list block, and a block of it; another is altered: no list is asked.",
        [one for file in files for part in (
            altered(file), [zeros(file, 3), zeros(file, again + 1), zeros(file, 4 + 126)]) for one in part])
    add("S-7", "stand-in-lost", "The same, but the magic of that block is wrong: it is lost, and has no digest.",
        [one for file in files for part in (
            altered(file), [zeros(file, 3), zeros(file, again + 1), base.flipped(file, (4 + 126) * B)])
         for one in part])
    add("K-7", "halves", "Of a preamble of two blocks each copy lacks one, in every file.",
        [zeros(file, at) for file in base.files if file.endswith(".abs")
         for at in (0, len(base.files[file]) // B - 1)])
    last = {file: len(content) // B - 1 for file, content in base.files.items()}
    add("K-7", "two-catalogs", "The preamble is only in the catalog's two files, one block of it in each.",
        [zeros(file, at) for nth, file in enumerate(files) for at in (nth, last[file] - 1 + nth)]
        + [zeros(file, at, 2) for file in last if file.endswith(".abs") and file not in files
           for at in (0, last[file] - 1)])
    seg, more = "1/00000000.abs", "1/copy of 00000000.abs"
    ends = {file: (0, 1, len(base.files[file]) // B - 2, len(base.files[file]) // B - 1) for file in (*files, seg)}
    add("K-7", "hidden", "Forged preambles with digests that fit in four files, more than 64 together; a fifth has it.",
        [{"do": "copy", "file": more, "from": seg},
         *(part for nth, file in enumerate((*files, seg)) for at in ends[file]
           for part in base.resealed(file, at, 700, bytes([nth, at % 256]))),
         *({**part, "file": more} for at in ends[seg] for part in base.resealed(seg, at, 700, bytes([9, at])))])
    add("S-1", "short-stripe", "Three stripes, of which one has a column less: two blocks of each are gone.",
        [zeros(seg, 4, 6)])
    return found


def _drives(base: Base) -> list[dict[str, Any]]:
    """Three drives, of which one may be lost."""
    found: list[dict[str, Any]] = []

    def add(rule: str, name: str, comment: str, splices: Splices, **more: Any) -> None:
        found.append({"base": "drives", "rule": rule, "name": name, "comment": comment, "splices": splices, **more})

    def of(number: str, *names: str) -> list[str]:
        return [file for file in base.files if file.startswith(f"{number}/") and file.endswith(names)]

    catalogs = [file for number in "123" for file in of(number, "catalog.abs", "catalog-copy.abs")]
    add("V-2", "stray-record-alone", "A drive has no statement, but a record of another bundle: not used.",
        [*delete("3/statement.json", "3/statement.rec"),
         {"do": "copy", "file": "3/old.rec", "from": "1/statement.rec", "base": "stripes"}])
    add("D-3", "catalogs", "No catalog is left on the drive that is here, and there are others.",
        delete("1/catalog.abs", "1/catalog-copy.abs"), given=["1"])
    add("D-3", "all-catalogs", "No catalog is left on any drive.", delete(*catalogs))
    add("D-3", "all-catalogs-renamed", "The same, and the folders have names that say no number.",
        [*delete(*catalogs), *({"do": "rename", "file": at, "to": f"{at}/../BACKUP"} for at in "123")])
    add("D-3", "preambles", "No preamble is left on the drives that are here, and there is another.",
        no_preambles(base, [*of("1", ".abs"), *of("2", ".abs")]), given=["1", "2"])
    gone = delete("1/00000000.abs", "2/00000001.abs")
    add("D-3", "copies-counted", "Beyond repair, and by the names of the folders a fourth copy of them is elsewhere.",
        [*gone, *({"do": "rename", "file": at, "to": f"{at}/../drives-copy{at}of4.airbundle"}
                               for at in "123")])
    add("D-3", "copies-all", "The same, and there are three copies: all of them are here.",
        [*gone, *({"do": "rename", "file": at, "to": f"{at}/../drives-copy{at}of3.airbundle"}
                               for at in "123")])
    def copied(*names: str) -> Splices:
        return [{"do": "rename", "file": at, "to": f"{at}/../drives-{name}.airbundle"}
                for at, name in zip("123", names, strict=True)]

    add("D-4", "copies", "Copies that are laid out otherwise, all of them here and whole.",
        copied("copy1of3", "copy2of3", "copy3of3"))
    add("D-4", "copies-lack", "The same, and a segment lies in none of them: its group gives it.",
        [*delete("1/00000000.abs"), *copied("copy1of3", "copy2of3", "copy3of3")])
    add("D-3", "copies-of-two-counts", "Beyond repair; two copies of two are here, and of three others one.",
        [*gone, *copied("copy1of2", "copy2of2", "COPY1OF3")])
    add("D-3", "copies-empty", "Beyond repair; a copy's folder has nothing in it, so that one is not here.",
        [*gone, *delete(*of("3", "")), *copied("copy1of3", "copy2of3", "copy3of3")])
    add("D-6", "ends-gone", "Beyond repair; a folder without a number has a segment that no block at its ends names.",
        [*delete("1/00000000.abs"), *(zeros("3/00000003.abs", at) for at in (0, 2, 3, 4, 7)),
         {"do": "rename", "file": "3", "to": "3/../BACKUP"}])
    add("D-6", "ends-of-another-attempt", "The same, and its ends are of an attempt that the catalog does not know.",
        [*delete("1/00000000.abs"), *(zeros("3/00000003.abs", at) for at in (2, 3, 4)),
         *(part for at in (0, 7) for part in base.resealed("3/00000003.abs", at, 96, bytes(16))),
         {"do": "rename", "file": "3", "to": "3/../BACKUP"}])
    add("D-4", "further-file", "A further copy of a segment under its name on another volume, a block dead.",
        [{"do": "copy", "file": "2/00000000.abs", "from": "1/00000000.abs"}, zeros("2/00000000.abs", 2)])
    add("V-6", "elsewhere", "A further copy of a segment under another name on another volume.",
        [{"do": "copy", "file": "2/FILE0000.CHK", "from": "1/00000000.abs"}])
    add("L-6", "elsewhere", "64 files begin with a block of a segment, a further one lies elsewhere: reported.", [
        *(copy_block(f"1/f{at:02}", 0, "1/00000000.abs", 0) for at in range(64)),
        copy_block("2/FILE0000.CHK", 0, "1/00000000.abs", 0)])
    add("D-5", "ends-gone-elsewhere", "The same, and no block at its ends says what it is: none of the bundle's.",
        [{"do": "copy", "file": "2/FILE0000.CHK", "from": "1/00000000.abs"},
         *(zeros("2/FILE0000.CHK", at) for at in (0, 7))])
    add("D-5", "other-attempt", "A file on another volume, its ends of an attempt that the catalog does not know.",
        [{"do": "copy", "file": "2/FILE0000.CHK", "from": "1/00000000.abs"},
         *({**part, "file": "2/FILE0000.CHK"} for at in (0, 7)
           for part in base.resealed("1/00000000.abs", at, 96, bytes(16)))])
    add("D-6", "five-of-three", "No catalog is left; the names of two folders say volume 5 of 3, which is no number.",
        [*delete(*catalogs), {"do": "rename", "file": "3", "to": "3/../drives-5of3.airbundle"},
         {"do": "rename", "file": "2", "to": "2/../drives-5of3.airbundle"}])
    add("D-6", "of-four", "No catalog is left; a folder's name says volume 1 of 4, which is no number of this bundle.",
        [*delete(*catalogs), {"do": "rename", "file": "3", "to": "3/../drives-1of4.airbundle"}])
    add("D-6", "only-catalogs", "Beyond repair; on a drive there are catalogs and no segments: its name says which.",
        [*delete("1/00000000.abs", *of("3", "3.abs")), zeros("2/00000001.abs", 0, 7)])
    add("D-6", "no-numbers", "No catalog is left; two of the folders have names that only look as if they had numbers.",
        [*delete(*catalogs), {"do": "rename", "file": "2", "to": "2/../drives-01of03.airbundle"},
         {"do": "rename", "file": "3", "to": "3/../drives-1of3 (2).airbundle"}])
    add("D-6", "empty-folders", "The folders of two drives are here and nothing is in them: those drives are not here.",
        delete(*of("2", ""), *of("3", "")))
    return found


def _beside(base: Base) -> list[dict[str, Any]]:
    """A volume, and a folder with statements that say nothing."""
    names = ("statement.json", "statement.rec")
    second = [file for file in base.files if file.startswith("2/")]
    both = {"base": "countersigned", "rule": "D-7", "given": ["1", "2"]}
    return [
        both | {"name": "malformed-beside", "comment": "Its statement names the bundle and is malformed.", "splices": [
            *delete(*second), write("2/statement.json", 0, _malformed(base.files["2/statement.json"]))]},
        both | {"name": "unreadable-beside", "comment": "Two copies of a volume; one has no statement to be read.",
                "splices": [{"do": "truncate", "file": f"2/{name}", "size": 1000} for name in names]},
        both | {"rule": "T-1", "name": "beside-malformed",
                "comment": "One statement is of another type, the other one malformed: none of them says anything.",
                "splices": [*delete(*(f"{at}/{name}" for at in "12" for name in names)),
                            write("1/statement.json", 0, base.files["1/statement.json"].replace(
                                b"airbundle.statement", b"airbundle.receipt")),
                            write("2/statement.json", 0, _malformed(base.files["2/statement.json"]))]}]


def _without_preamble(base: Base) -> dict[str, Any]:
    return {"base": "plain", "rule": "D-1", "name": "nothing-given-no-preamble", "key": "",
            "comment": "Nothing to unpack with, and the preamble is lost everywhere: that comes first.",
            "splices": no_preambles(base, [file for file in base.files if file.endswith(".abs")])}


def _malformed(raw: bytes) -> bytes:
    """A statement of which all volumes may be lost, and nobody's signature."""
    payload = base64.b64decode(json.loads(raw)["payload"]).replace(b'"lose":0', b'"lose":1')
    fields = {"payload": base64.b64encode(payload).decode(), "payloadType": STATEMENT_TYPE,
              "signatures": [{"keyid": "00" * 32, "sig": ""}]}
    return json.dumps(fields, separators=(",", ":")).encode()
