"""The vectors that are a base bundle and what became of its files: whoever has the drive could do it, or chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airbundle.crypto.suites import STANDARD
from airbundle.format.block import FRONT
from tests.vectors.bases import PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Iterable

B = 4096
Splices = list[dict[str, Any]]


@dataclass(frozen=True)
class Base:
    """A base as the vectors see it: files by `volume/name`."""

    name: str
    files: dict[str, bytes]

    def block(self, file: str, number: int) -> bytes:
        return self.files[file][number * B:(number + 1) * B]

    def flipped(self, file: str, at: int) -> dict[str, Any]:
        return write(file, at, bytes([self.files[file][at] ^ 1]))

    def resealed(self, file: str, number: int, at: int, content: bytes) -> Splices:
        """Change a block and give it a digest that fits, as anyone can."""
        block = bytearray(self.block(file, number))
        block[at:at + len(content)] = content
        digest = STANDARD.hash(FRONT, bytes(block[56:])).ljust(48, b"\0")
        return [write(file, number * B + 8, digest), write(file, number * B + at, content)]


def write(file: str, at: int, content: bytes) -> dict[str, Any]:
    return {"do": "write", "file": file, "at": at, "bytes": content.hex()}


def zeros(file: str, first: int, count: int = 1) -> dict[str, Any]:
    """Blocks that are gone."""
    return {"do": "write", "file": file, "at": first * B, "zeros": count * B}


def delete(*files: str) -> Splices:
    return [{"do": "delete", "file": file} for file in files]


def copy_block(file: str, number: int, source: str, other: int, **more: str) -> dict[str, Any]:
    return {"do": "copy", "file": file, "at": number * B, "from": source, "skip": other * B, "length": B, **more}


def plain_vectors(base: Base) -> list[dict[str, Any]]:
    """One data segment of 7 blocks: preamble, list, data, 2 of parity, list, preamble."""
    seg = "1/00000000.abs"
    found: list[dict[str, Any]] = []

    def add(rule: str, name: str, comment: str, splices: Splices, **more: Any) -> None:
        found.append({"rule": rule, "name": name, "comment": comment, "splices": splices, **more})

    for name, at, what in (("magic", 0, "magic"), ("digest", 8, "digest"), ("version", 56, "version"),
                           ("reserved", 62, "bytes 62 and 63"), ("payload", 128, "payload")):
        add("B-4", name, f"A data block whose {what} is wrong is lost; its stripe gives it back.",
            [base.flipped(seg, 2 * B + at)])
    add("B-4", "version-digested", "Version 2 under a digest that fits: lost all the same.",
        base.resealed(seg, 2, 56, b"\2\0"))
    add("B-4", "reserved-digested", "Bytes 62 and 63 not zero under a digest that fits: lost.",
        base.resealed(seg, 2, 62, b"\1"))
    add("B-5", "geometry", "A block that says another number of parity rows than the catalog's row.",
        base.resealed(seg, 2, 61, b"\3"))
    add("B-5", "swapped", "Two parity blocks in each other's place.",
        [write(seg, 3 * B, base.block(seg, 4)), write(seg, 4 * B, base.block(seg, 3))])
    add("B-5", "of-its-partner", "The data block of the other member of the group.",
        [copy_block(seg, 2, "1/00000001.abs", 2)])
    add("B-5", "of-another-bundle", "A data block of another bundle.",
        [copy_block(seg, 2, "1/00000000.abs", 2, base="drive")])
    add("B-6", "data", "A data block with other content and a digest that fits: altered.",
        base.resealed(seg, 2, 700, b"\0\1\2\3"))
    add("B-6", "parity", "A parity block with other content and a digest that fits: altered.",
        base.resealed(seg, 3, 700, b"\0\1\2\3"))
    add("B-7", "list-padding", "A list block with a byte behind its payload length that is not zero, digest fitting.",
        base.resealed(seg, 1, B - 1, b"\1"))
    add("B-7", "digest-padding", "A digest field whose bytes past h are not zero.", [write(seg, 2 * B + 55, b"\1")])
    add("B-7", "payload-length", "A data block that says one byte less of payload.",
        base.resealed(seg, 2, 124, (B - 129).to_bytes(4, "little")))
    add("K-1", "block", "A block of suite 9: lost.", base.resealed(seg, 2, 58, b"\t"))
    add("K-2", "block", "A block of the other suite: lost.", base.resealed(seg, 2, 58, b"\2"))
    add("S-5", "one-list", "One copy of the list is gone.", [zeros(seg, 1)])
    add("S-5", "both-lists", "Both copies of the list are gone: the digests of the blocks stand in.",
        [zeros(seg, 1), zeros(seg, 5)])
    add("S-6", "preambles", "Both copies of a segment's preamble are gone; the other segment has it.",
        [zeros(seg, 0), zeros(seg, 6)])
    add("S-7", "forged-list", "A list that names the digest of an altered block, both with digests that fit.",
        [*base.resealed(seg, 2, 700, b"\0\1\2\3"),
         *base.resealed(seg, 1, 128, leaf(base, seg, 2, 700, b"\0\1\2\3"))])
    add("S-7", "both-lists-forged", "The same in both copies of the list: the root decides, the group helps.",
        [*base.resealed(seg, 2, 700, b"\0\1\2\3"),
         *(part for at in (1, 5) for part in base.resealed(seg, at, 128, leaf(base, seg, 2, 700, b"\0\1\2\3")))])
    add("S-9", "surplus", "Bytes past the end of a segment: reported, without meaning.", [write(seg, 7 * B, b"more")])
    add("S-9", "cut", "A segment cut off behind its data.", [{"do": "truncate", "file": seg, "size": 3 * B}])
    add("G-7", "segment", "The data segment is gone: its group gives it back.", delete(seg))
    add("G-8", "parity", "The parity segment of the group is gone: made again, without a key.",
        delete("1/00000001.abs"))
    add("G-9", "both", "The data segment and the parity segment are gone.", delete(seg, "1/00000001.abs"))
    add("G-9", "by-blocks", "Of one member the list and the data are left, of the other the parity.",
        [zeros(seg, 3, 2), zeros(seg, 2), zeros("1/00000001.abs", 2), zeros("1/00000001.abs", 3)])
    add("G-9", "no-list", "No list of a member is left, and of its blocks one of parity.",
        [zeros(seg, 0, 4), zeros(seg, 5, 2)])
    add("G-9", "trial-denied-parity", "Without lists and data, and a parity block altered: off trial that is lost too.",
        [zeros(seg, 1, 3), zeros(seg, 5), *base.resealed(seg, 4, 700, b"\0\1\2\3")])
    add("G-2", "both-catalogs", "Both copies of the catalog are gone.", delete("1/catalog.abs", "1/catalog-copy.abs"))
    add("G-2", "merged", "Each copy of the catalog lacks what the other has; together they give it.",
        [zeros("1/catalog.abs", 1, 3), zeros("1/catalog-copy.abs", 4, 3)])
    add("G-2", "altered", "A block of both catalogs with other content and a digest that fits.",
        [part for file in ("1/catalog.abs", "1/catalog-copy.abs")
         for part in base.resealed(file, 2, 200, b"\0\1\2\3")])
    add("B-7", "list-length", "A list block that says a byte more than it has, digest fitting.",
        base.resealed(seg, 1, 124, (3 * 32 + 1).to_bytes(4, "little")))
    add("G-9", "trial-catalog", "Of both catalogs lists and data are gone: the root decides on what parity gives.",
        [zeros(file, at) for file in ("1/catalog.abs", "1/catalog-copy.abs") for at in (1, 2, 5)])
    add("G-9", "trial-catalog-forged-lists", "Of both catalogs parity is gone, and lists are forged.",
        [part for file in ("1/catalog.abs", "1/catalog-copy.abs") for part in (
            zeros(file, 3, 2), *(one for at in (1, 5) for one in base.resealed(file, at, 128, bytes(32))))])
    return found + _files(base) + _statements(base)


def leaf(base: Base, file: str, number: int, at: int, content: bytes) -> bytes:
    block = bytearray(base.block(file, number))
    block[at:at + len(content)] = content
    return STANDARD.hash(FRONT, bytes(block[56:]))


def _files(base: Base) -> list[dict[str, Any]]:
    seg = "1/00000000.abs"
    found: list[dict[str, Any]] = []

    def add(rule: str, name: str, comment: str, splices: Splices, **more: Any) -> None:
        found.append({"rule": rule, "name": name, "comment": comment, "splices": splices, **more})

    link = {"do": "link", "file": seg, "to": "00000001.abs"}
    add("V-1", "link", "A segment is a link to another file of the volume: not followed.", [*delete(seg), link])
    add("V-1", "link-outside", "A segment is a link to a file of the station.",
        [*delete(seg), {**link, "to": "/etc/hostname"}])
    add("V-1", "pipe", "A segment is a pipe: not opened.", [*delete(seg), {"do": "pipe", "file": seg}])
    add("V-1", "statement-link", "statement.json is a link to the record.",
        [*delete("1/statement.json"), {"do": "link", "file": "1/statement.json", "to": "statement.rec"}])
    add("V-1", "four-gib", "A segment of 4 GiB, most of it a hole.", [{"do": "truncate", "file": seg, "size": 1 << 32}])
    add("V-1", "stray-pipe", "A pipe that is none of the bundle's.", [{"do": "pipe", "file": "1/notes"}],
        result="verified")
    add("V-2", "stray", "A file that is none of the bundle's: ignored.", [write("1/notes.txt", 0, b"hello")])
    add("V-2", "record-name", "The record under another name, and no statement.json.",
        [*delete("1/statement.json"), {"do": "rename", "file": "1/statement.rec", "to": "1/FILE0001.CHK"}])
    add("V-2", "catalog-name", "Both catalogs under other names.",
        [{"do": "rename", "file": "1/catalog.abs", "to": "1/a"},
         {"do": "rename", "file": "1/catalog-copy.abs", "to": "1/b"}])
    add("V-6", "renamed", "A segment under a strange name: used, and reported.",
        [{"do": "rename", "file": seg, "to": "1/FILE0000.CHK"}])
    add("V-6", "swapped", "Two segments under each other's name.",
        [{"do": "rename", "file": seg, "to": "1/x"}, {"do": "rename", "file": "1/00000001.abs", "to": seg},
         {"do": "rename", "file": "1/x", "to": "1/00000001.abs"}])
    stray, ruined = "1/FILE0000.CHK", zeros("1/00000001.abs", 2, 3)
    add("V-2", "both-ends", "A strange file whose ends name either segment, and the other one is ruined.",
        [{"do": "rename", "file": seg, "to": stray}, copy_block(stray, 0, "1/00000001.abs", 0), ruined])
    add("V-2", "front-of-another", "The first block of a segment is another bundle's, the last is gone: by its name.",
        [copy_block(seg, 0, "1/00000000.abs", 0, base="drive"), zeros(seg, 6), ruined])
    add("V-2", "stray-record", "A record of another bundle of the same packer, under a strange name: not looked at.",
        [{"do": "copy", "file": stray, "from": "1/statement.rec", "base": "stripes"}])
    add("V-2", "stray-statement", "The record under a strange name, a stranger's statement under the right ones.",
        [{"do": "rename", "file": "1/statement.rec", "to": stray},
         *({"do": "copy", "file": f"1/{name}", "from": f"1/{name}", "base": "cnsa2"}
           for name in ("statement.rec", "statement.json"))])
    add("D-1", "stranger", "Nobody here trusts the packer.", [], trust=["officer-standard"])
    add("D-1", "no-key", "A key that no envelope is for.", [], key="second-standard")
    add("D-1", "no-key-of-suite", "A key of another suite.", [], key="reader-cnsa2")
    add("D-1", "damage-and-stranger", "Damaged and not believed: not believed.", [*delete(seg)],
        trust=["officer-standard"])
    add("D-2", "catalog", "One copy of the catalog is gone.", delete("1/catalog.abs"))
    add("D-6", "two-of-one", "Both segments are gone, and the folder's name says volume 2 of 1, which is no number.",
        [*delete(seg, "1/00000001.abs"), {"do": "rename", "file": "1", "to": "1/../forged-2of1.airbundle"}])
    add("D-3", "all-given", "Nothing is left to restore from, and all volumes are here.",
        [zeros(seg, 0, 7), zeros("1/00000001.abs", 0, 7)])
    add("D-4", "statement", "statement.json is gone.", delete("1/statement.json"))
    add("D-4", "record", "The record is gone.", delete("1/statement.rec"))
    add("D-4", "catalog-copy", "The second copy of the catalog is gone.", delete("1/catalog-copy.abs"))
    add("D-5", "whole", "As it was packed.", [])
    add("D-5", "readme", "README.txt says something else.", [write("1/README.txt", 0, b"changed")])
    add("D-5", "further-files", "A ruined copy of a segment beside it, and the name of a segment that does not exist.",
        [{"do": "copy", "file": "1/copy of 00000000.abs", "from": seg}, zeros("1/copy of 00000000.abs", 1, 4),
         write("1/00000009.abs", 0, b"no segment"), write("1/000000000.abs", 0, b"nine digits")])
    add("D-5", "further-catalog", "A third copy of the catalog, damaged, beside the two that are whole.",
        [{"do": "copy", "file": "1/old.abs", "from": "1/catalog.abs"}, zeros("1/old.abs", 2)])
    add("D-5", "catalog-number", "The catalog's number in eight digits is no name of it.",
        [write("1/00000002.abs", 0, b"no catalog")])
    add("V-2", "dead-ends", "A file under another name, its end blocks dead: nothing says what it is.",
        [{"do": "rename", "file": seg, "to": stray}, *delete("1/00000001.abs"),
         *(write(stray, at * B + 200, b"\1\2\3\4") for at in (0, 6))])
    for name, comment, spoilt in (
            ("end-of-kind-9", "The same; one has a right digest, and a kind that no block has.",
             base.resealed(seg, 0, 59, b"\t")),
            ("end-digest-padding", "The same; one has a right digest, and a byte behind it.", [write(seg, 55, b"\1")])):
        add("V-2", name, comment, [*spoilt, zeros(seg, 6), {"do": "rename", "file": seg, "to": stray},
                                   *delete("1/00000001.abs")])
    add("V-2", "other-case", "A name in capitals is another name.",
        [{"do": "rename", "file": "1/statement.json", "to": "1/STATEMENT.JSON"}])
    add("V-2", "record-as-readme", "The record under the name of the README, and no statement under its own.",
        [*delete("1/statement.json"), {"do": "rename", "file": "1/statement.rec", "to": "1/README.txt"}])
    for name, count, comment in (("sixteenth-record", 15, "Records of others under other names: the 16th is believed."),
                                 ("seventeenth-record", 16, "The 17th, which nobody looks at.")):
        add("L-6", name, comment, [
            *({"do": "copy", "file": f"1/{at:02}", "from": "1/statement.rec", "base": "cnsa2"} for at in range(count)),
            {"do": "rename", "file": "1/statement.rec", "to": "1/z.rec"}, *delete("1/statement.json")])
    add("D-7", "twice", "The same folder given twice: once.", [], given=["1", "1"])
    add("D-7", "capitals", "The folder's name in capitals.",
        [{"do": "rename", "file": "1", "to": "1/../FORGED-1OF1.AIRBUNDLE"}])
    add("D-6", "folder-name", "The volume's folder has a name of its own.",
        [{"do": "rename", "file": "1", "to": "1/../BACKUP"}])
    ends = [zeros(file, at) for file in (seg, "1/00000001.abs", "1/catalog.abs", "1/catalog-copy.abs") for at in (0, 6)]
    add("K-7", "lost", "Every copy of the preamble is gone.", ends)
    add("B-4", "preamble-magic", "Every copy of the preamble begins with another magic, digests as before.",
        [{"do": "write", "file": one["file"], "at": one["at"], "bytes": "58"} for one in ends])
    add("B-7", "preamble-length", "Every copy of the preamble says another payload length under a digest that fits.",
        [splice for one in ends for splice in base.resealed(one["file"], one["at"] // B, 124, b"\1")])
    add("K-7", "one-left", "Every copy of the preamble is gone but one.", ends[1:])
    add("K-3", "trust-low-order", "A public key file whose X25519 point has small order.", [],
        trust=["low-order"], result="usage")
    add("K-3", "trust-not-canonical", "A public key file whose X25519 key is not below 2^255 - 19.", [],
        trust=["not-canonical"], result="usage")
    add("K-3", "trust-other-id", "A public key file whose id is not that of its halves.", [],
        trust=["other-id"], result="usage")
    add("K-17", "line-feed", "A public key file that ends in a line feed.", [], trust=["line-feed"], result="usage")
    add("K-4", "same-key", "The same key file given twice: one key.", [], trust=["packer-standard", "packer-standard"])
    add("K-4", "shared-half", "Two trusted keys that share their ML-DSA half.", [],
        trust=["packer-standard", "shares-half"], result="usage")
    add("K-17", "check", "A private key file whose check is wrong.", [], key="bad-check", result="usage")
    add("K-17", "seeds", "A private key file whose seeds give another id.", [], key="bad-seeds", result="usage")
    return found


def _statements(base: Base) -> list[dict[str, Any]]:
    rec = "1/statement.rec"
    found: list[dict[str, Any]] = []

    def add(rule: str, name: str, comment: str, splices: Splices, **more: Any) -> None:
        found.append({"rule": rule, "name": name, "comment": comment, "splices": splices, **more})

    def hit(copy: int, rows: Iterable[int], column: int = 100) -> Splices:
        return [write(rec, copy * (128 << 10) + row * 513 + column,
                      bytes([base.files[rec][row * 513 + column] ^ 0x55])) for row in rows]

    gone = delete("1/statement.json")
    add("R-1", "32-wrong", "32 wrong bytes in a column of every copy, and no statement.json.",
        [*gone, *(one for copy in range(3) for one in hit(copy, range(10, 42)))])
    add("R-1", "33-wrong", "33 wrong bytes in the same column of every copy: nothing can be read.",
        [*gone, *(one for copy in range(3) for one in hit(copy, range(10, 43)))])
    add("R-1", "hole", "64 KiB of a copy are gone.", [{"do": "write", "file": rec, "at": 65536, "zeros": 65536}])
    add("R-1", "parity-beyond", "33 wrong bytes of parity in a column of every copy, and one of content in another.",
        [*gone, *(one for copy in range(3) for one in (*hit(copy, range(200, 233)), *hit(copy, [10], 101)))])
    add("R-2", "two-of-three", "33 wrong bytes in a column of every copy, other rows each: two of three say each byte.",
        [*gone, *(one for copy in range(3) for one in hit(copy, range(10 + 40 * copy, 43 + 40 * copy)))])
    add("R-3", "agreed-parity", "33 wrong bytes of parity in a column, other content each: two of three do not count.",
        [*gone, *(one for copy in range(3) for one in (*hit(copy, range(200, 233)), *hit(copy, [10 + copy], 101)))])
    add("R-2", "second-copy", "The first copy is gone, the second has the right digest.",
        [{"do": "write", "file": rec, "at": 0, "zeros": 131072}, *gone])
    add("R-1", "magic", "The magic of all copies is gone: the code puts it right. No statement.json.",
        [*gone, *(write(rec, copy * (128 << 10) + at, b"\0") for copy in range(3) for at in range(8))])
    add("R-2", "first-counts", "The first copy of the record holds a stranger's statement: it counts.",
        [*gone, {"do": "copy", "file": rec, "at": 0, "from": "1/statement.rec", "skip": 0, "length": 131072,
                 "base": "cnsa2"}])
    add("R-2", "as-it-lies",
        "The first copy has a wrong byte in its magic, the second is a stranger's and fits as it lies.",
        [*gone, base.flipped(rec, 0), {"do": "copy", "file": rec, "at": 131072, "from": "1/statement.rec",
                                       "skip": 131072, "length": 131072, "base": "cnsa2"}])
    add("R-3", "surplus", "Bytes behind the third copy: the record is read, and reported (T-8).",
        [write(rec, 384 << 10, b"more")])
    add("R-3", "cut", "The record ends within its second copy.", [{"do": "truncate", "file": rec, "size": 200_000}])
    add("T-1", "nothing", "No copy of the statement is left.", [*gone, *delete(rec)])
    add("T-1", "nothing-renamed", "The same, and by its name the folder is no volume: by what lies there it is one.",
        [*gone, *delete(rec), {"do": "rename", "file": "1", "to": "1/../BACKUP"}])
    add("T-8", "record-of-another", "The record is not the exact encoding: a byte of its parity differs.",
        [base.flipped(rec, 200 * 513)])
    add("T-8", "statement-cut", "statement.json is cut off; the record has it.",
        [{"do": "truncate", "file": "1/statement.json", "size": 1000}])
    add("E-3", "line-feed", "statement.json ends in a line feed: that copy is lost.",
        [write("1/statement.json", len(base.files["1/statement.json"]), b"\n")])
    return found


def other_vectors(bases: dict[str, Base]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def add(base: str, rule: str, name: str, comment: str, splices: Splices, **more: Any) -> None:
        found.append({"base": base, "rule": rule, "name": name, "comment": comment, "splices": splices, **more})

    for name in bases:
        if name != "plain":
            add(name, "D-5", f"whole-{name}", "As it was made.", [])
    add("padded", "S-16", "fillers", "Fillers behind the chunks, which are not opened.", [])
    seg = "1/00000000.abs"
    add("stripes", "S-1", "first-stripe", "All data of stripe 0 but one is gone (blocks 0 and 2 of 6).",
        [zeros(seg, 2), zeros(seg, 4)])
    add("stripes", "S-1", "row", "m times T blocks in a row are gone.", [zeros(seg, 3, 4)])
    add("stripes", "S-2", "parity", "Parity blocks 0 and 2 are of one stripe: with a data block of the other.",
        [zeros(seg, 7), zeros(seg, 9), zeros(seg, 3)])
    add("stripes", "S-4", "other-row", "One data block of each stripe and the first parity row of both.",
        [zeros(seg, 2, 2), zeros(seg, 7, 2)])
    add("stripes", "S-8", "beyond", "Three blocks of a stripe: more than its parity gives back; the group does.",
        [zeros(seg, 2), zeros(seg, 4), zeros(seg, 6)])
    add("stripes", "G-9", "alternate", "Both members lack blocks at different indexes, more than their stripes give.",
        [zeros(seg, 2), zeros(seg, 4), zeros(seg, 8), zeros(seg, 10),
         zeros("1/00000001.abs", 3), zeros("1/00000001.abs", 5), zeros("1/00000001.abs", 7),
         zeros("1/00000001.abs", 9)])
    add("drive", "G-9", "two-of-a-group", "Two segments of a group with one parity segment are gone.",
        delete("1/00000000.abs", "1/00000001.abs"))
    add("drive", "G-7", "one-of-three", "One of several data segments is gone.", delete("1/00000001.abs"))
    add("drive", "D-2", "restorable", "A segment is there in part, and its group gives the rest.",
        [zeros("1/00000002.abs", 1, 4), zeros("1/00000002.abs", 6)])
    add("drives", "D-4", "drive-lost", "One of three drives is not here: what it held comes from the others.", [],
        given=["1", "2"])
    add("drives", "D-4", "other-drive-lost", "Another one.", [], given=["2", "3"])
    add("drives", "D-3", "two-lost", "Two of three drives are not here.", [], given=["3"])
    add("drives", "D-3", "one-lost-and-damaged", "A drive is not here, and a segment of its group neither.",
        delete("1/00000000.abs"), given=["1", "3"])
    add("drives", "G-3", "moved", "A segment lies on another volume than its row says.",
        [{"do": "copy", "file": "2/00000000.abs", "from": "1/00000000.abs"}, *delete("1/00000000.abs")])
    add("drives", "T-6", "placed", "As laid out for one lost drive: each member of a group on a volume of its own.", [])
    add("drives", "D-6", "numbers", "The folders of two volumes have each other's number in their names.",
        [{"do": "rename", "file": "1", "to": "1/../drives-q7e5x3-2of3.airbundle"}], given=["1", "2", "3"])
    add("drives", "T-8", "one-copy", "One volume has no statement at all.",
        delete("3/statement.json", "3/statement.rec"))
    add("cnsa2", "B-7", "digest-48", "A byte of a 48-byte digest is wrong.", [bases["cnsa2"].flipped(seg, 2 * B + 50)])
    add("cnsa2", "K-1", "of-the-other", "A segment of the other suite in its place.",
        [{"do": "copy", "file": seg, "from": "1/00000000.abs", "base": "plain"}])
    add("passphrase", "K-13", "composed", "The passphrase in another form of Unicode: NFC makes them one.", [],
        key="", passphrase=PASSPHRASE.replace("\u00e9", "e\u0301").replace("\u00ee", "i\u0302"))
    add("passphrase", "K-13", "wrong", "Another passphrase.", [], key="", passphrase="cafe au lait", result="no key")
    add("passphrase", "K-13", "byte-order-mark", "A byte order mark before the passphrase: it is part of it.", [],
        key="", passphrase="\ufeff" + PASSPHRASE)
    add("passphrase", "K-15", "stranger", "A stranger's bundle under a passphrase.", [], key="", passphrase=PASSPHRASE,
        trust=["officer-standard"])
    add("plain", "D-1", "nothing-given", "Neither a key nor a passphrase to unpack with.", [], key="")
    add("passphrase", "K-12", "with-a-key", "A key for a bundle that is under a passphrase.", [],
        key="reader-standard", passphrase="")
    add("rewrapped", "T-7", "both-revisions", "The volume and a copy of it from before: the higher revision holds.", [],
        given=["1", "2"])
    add("rewrapped", "T-7", "old-statement", "statement.json is of the revision before: reported.",
        [{"do": "copy", "file": "1/statement.json", "from": "2/statement.json"}])
    add("rewrapped", "T-7", "old-catalogs", "The catalogs are of the revision before, the statement is not.",
        [{"do": "copy", "file": f"1/{name}", "from": "2/catalog.abs"} for name in ("catalog.abs", "catalog-copy.abs")])
    add("rewrapped", "T-7", "old-alone", "The revision before, alone: nobody can know of the newer one.", [],
        given=["2"])
    add("rewrapped", "T-7", "catalog-of-the-higher-lost",
        "The catalogs of the higher revision are gone: the highest whose catalog can be had holds.",
        delete("1/catalog.abs", "1/catalog-copy.abs"), given=["1", "2"])
    add("rewrapped", "K-7", "dropped-recipient", "Who was dropped has no envelope in the catalog, which holds.", [],
        key="second-standard")
    add("rewrapped", "G-10", "two-preambles", "Preambles of catalog and segments differ in their envelopes alone.", [])
    segments = [name for name in bases["rewrapped"].files if name.startswith("1/0")]
    add("rewrapped", "K-7", "catalog-preamble", "The later revision's preamble is lost, that of the segments is not.",
        no_preambles(bases["rewrapped"], ["1/catalog.abs", "1/catalog-copy.abs"]))
    add("rewrapped", "K-7", "segments-preamble", "The preamble of the segments is lost, the catalog's is not.",
        no_preambles(bases["rewrapped"], segments))
    add("rewrapped", "D-3", "without-preamble", "The same, and a segment is gone: its group gives what unpack needs.",
        [*no_preambles(bases["rewrapped"], segments[1:]), *delete(segments[0])])
    add("rewrapped", "K-7", "older-catalog",
        "The preamble of the segments is lost but for catalogs of the revision before, which are not asked.",
        no_preambles(bases["rewrapped"], [name for name in bases["rewrapped"].files if "/0" in name]), given=["1", "2"])
    add("rewrapped", "T-7", "preamble-of-the-higher-lost", "It gives way to no lower revision, whose preamble is here.",
        no_preambles(bases["rewrapped"], ["1/catalog.abs", "1/catalog-copy.abs"]), given=["1", "2"])
    add("lose-two", "G-7", "two-of-four", "Two of four drives are not here: two members of each group come back.", [],
        given=["3", "4"])
    add("countersigned", "D-4", "lacks", "Two copies of a volume are here, and one of them lacks a segment.",
        delete("2/00000000.abs"), given=["1", "2"])
    second = [name for name in bases["countersigned"].files if name.startswith("2/")]
    add("countersigned", "D-4", "copy-has-it", "A volume lacks a segment that a copy laid out otherwise has.",
        [*delete("1/00000000.abs"), {"do": "rename", "file": "2", "to": "2/../x-copy1of1.airbundle"}], given=["1", "2"])
    add("countersigned", "D-7", "empty-beside", "A volume, and a folder with nothing in it: left out.", delete(*second),
        given=["1", "2"])
    add("countersigned", "D-7", "unrelated", "A volume and a folder, both with segments of another bundle.",
        [*delete(*second), *({"do": "copy", "file": file, "from": "1/00000000.abs", "base": "drive"}
                             for file in ("1/FILE0000.CHK", "2/00000000.abs", "2/00000001.abs"))], given=["1", "2"])
    add("countersigned", "D-7", "two-bundles", "Volumes of two bundles: somebody has to say which is meant.",
        [{"do": "copy", "file": f"2/{name}", "from": f"1/{name}", "base": "stripes"}
         for name in ("statement.json", "statement.rec")], given=["1", "2"])
    add("countersigned", "T-8", "signature-lost", "The record carries no countersignature, statement.json does.",
        [{"do": "copy", "file": "1/statement.rec", "from": "2/statement.rec"}],
        trust=["packer-standard", "officer-standard"])
    add("countersigned", "T-4", "officer-trusted", "Two trusted signatures.", [],
        trust=["packer-standard", "officer-standard"])
    add("countersigned", "T-3", "only-officer", "The officer is trusted and the packer is not.", [],
        trust=["officer-standard"])
    return found


def no_preambles(base: Base, files: Iterable[str]) -> Splices:
    """Both copies of the preamble, of one block each, are gone."""
    return [zeros(file, at) for file in files for at in (0, len(base.files[file]) // B - 1)]
