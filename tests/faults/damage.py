"""Damage to the volumes of a bundle, by someone who has read the spec and has neither keys nor this program.

Nothing of airbundle is imported: headers of blocks, the table in the body of the catalog and the statement are read
here a second time, from spec/bundle.md alone. Everything is found from the bytes; names of files carry no meaning.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

MAGIC = bytes.fromhex("89414253 0D0A1A0A".replace(" ", ""))
HEADER = struct.Struct("<8s48sHBBBBHII16sQ16sQII")  # chapter 4
HASH_SIZES = {1: 32, 2: 48}  # chapter 2


@dataclass(frozen=True)
class Segment:
    """A file of blocks: where, and what its first header says (chapters 4 and 5)."""

    path: str
    number: int
    k: int
    m: int
    stripes: int
    block: int
    body: int
    front: int

    @property
    def n(self) -> int:
        """Data blocks."""
        return self.body // (self.block - 128)

    @property
    def coded(self) -> int:
        """Data and parity blocks."""
        return self.n + self.m * self.stripes

    def stripe(self, number: int) -> tuple[list[int], list[int]]:
        """Indices of the data blocks of a stripe and of its parity blocks, both counted from the first data block."""
        data = [i for i in range(self.n) if i % self.stripes == number]
        parity = [self.n + j for j in range(self.m * self.stripes) if (self.n + j) % self.stripes == number]
        return data, parity


@dataclass
class Target:
    """The segments of a bundle by number, its groups, and the folder of each volume."""

    segments: dict[int, Segment]
    groups: list[tuple[list[int], list[int]]]
    volume_of: dict[int, int]
    folders: dict[int, str]
    lose: int
    lost_volumes: set[int] = field(default_factory=set)

    def members(self, group: int) -> list[Segment]:
        """Data members, then parity members, those whose volume is gone left out."""
        data, parity = self.groups[group]
        return [self.segments[number] for number in data + parity if self.volume_of[number] not in self.lost_volumes]

    def spare(self, group: int) -> int:
        """How many more members of a group may lack a block at one index."""
        data, parity = self.groups[group]
        return len(parity) - sum(self.volume_of[number] in self.lost_volumes for number in data + parity)

    def shortest_lost(self, group: int) -> int:
        """Data blocks that each of the members has whose volumes are gone."""
        data, parity = self.groups[group]
        return min((self.segments[number].n for number in data + parity
                    if self.volume_of[number] in self.lost_volumes), default=1 << 32)

    def here(self) -> list[Segment]:
        """All segments whose volume is not gone."""
        return [one for number, one in self.segments.items() if self.volume_of[number] not in self.lost_volumes]


def look(folders: Sequence[str]) -> Target:
    """Read a bundle that is whole, from the folders of its volumes in order of their numbers."""
    statement = read_statement(folders[0])
    preamble = statement["preamble"]["length"]
    files = [os.path.join(folder, name) for folder in folders for name in sorted(os.listdir(folder))]
    found = {(one.number, path): one for path in files if (one := read_segment(path, preamble))}
    catalog = statement["catalog"][0]
    rows = read_table(next(one for (number, _), one in found.items() if number == catalog))
    groups: defaultdict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for number, role, group, _position, *_ in rows:
        groups[group][role == "parity"].append(number)
    segments = {number: one for (number, _), one in found.items() if number != catalog}
    assert sorted(segments) == list(range(len(rows))) == list(range(catalog))
    volume_of = {number: next(at for at, folder in enumerate(folders, 1) if one.path.startswith(folder + "/"))
                 for number, one in segments.items()}
    return Target(segments, [groups[number] for number in sorted(groups)], volume_of, dict(enumerate(folders, 1)),
                  statement["lose"])


def read_statement(folder: str) -> dict[str, Any]:
    """Chapter 9."""
    with open(os.path.join(folder, "statement.json"), "rb") as file:
        envelope = json.load(file)
    payload: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"], validate=True))
    return payload


def read_segment(path: str, preamble: int) -> Segment | None:
    """Chapter 4: the header of the first block, and from chapter 5 where the data blocks begin."""
    with open(path, "rb") as file:
        raw = file.read(HEADER.size)
    if len(raw) < HEADER.size or raw[:8] != MAGIC or raw[59] == 5:
        return None
    _, _, version, suite, kind, k, m, _, stripes, block, _, number, _, body, index, _ = HEADER.unpack(raw)
    assert (version, kind, index, HEADER.size) == (1, 1, 0, 128)
    payload = block - 128
    n = body // payload
    lists = -(-HASH_SIZES[suite] * (n + m * stripes) // payload)
    front = -(-preamble // payload) + lists
    blocks = 2 * front + n + m * stripes
    assert body == n * payload
    assert os.path.getsize(path) == blocks * block
    return Segment(path, number, k, m, stripes, block, body, front)


def read_table(catalog: Segment) -> list[list[Any]]:
    """Chapter 8: the payloads of the data blocks, end to end, begin with the length of the table and the table."""
    with open(catalog.path, "rb") as file:
        raw = file.read()
    first = catalog.front * catalog.block
    blocks = (raw[first + at * catalog.block:first + (at + 1) * catalog.block] for at in range(catalog.n))
    body = b"".join(block[128:] for block in blocks)
    (length,) = struct.unpack_from("<Q", body)
    rows: list[list[Any]] = json.loads(body[8:8 + length])["rows"]
    return rows


def ruin(segment: Segment, coded: Iterable[int], rng: random.Random) -> None:
    """Make coded blocks unusable: zeros, noise, one flipped bit, or another block of the same file."""
    with open(segment.path, "r+b") as file:
        for index in coded:
            at = (segment.front + index) * segment.block
            file.seek(at)
            block = bytearray(file.read(segment.block))
            how = rng.randrange(4)
            if how == 0:
                block = bytearray(segment.block)
            elif how == 1:
                block[:] = rng.randbytes(segment.block)
            elif how == 2:
                block[rng.randrange(segment.block)] ^= 1 << rng.randrange(8)
            else:
                file.seek((segment.front + (index + 1) % segment.coded) * segment.block)
                block[:] = file.read(segment.block)
            file.seek(at)
            file.write(block)


# Damage exactly at the bound. Each returns the numbers of the volumes that are still to be given.


def full_stripes(target: Target, rng: random.Random) -> list[int]:
    """m blocks in every stripe of every segment."""
    for segment in target.here():
        for number in range(segment.stripes):
            data, parity = segment.stripe(number)
            ruin(segment, rng.sample(data + parity, segment.m), rng)
    return sorted(target.folders)


def full_indices(target: Target, rng: random.Random) -> list[int]:
    """L members at every block index of every group, and so that no inner code helps: all its parity blocks as well."""
    for group in range(len(target.groups)):
        members = target.members(group)
        gone: defaultdict[int, list[int]] = defaultdict(list)
        inner = rng.randrange(3)
        for index in range(max(one.n for one in members)):
            for place in rng.sample(range(len(members)), min(target.spare(group), len(members))):
                if index < members[place].n:
                    gone[place].append(index)
        for place, segment in enumerate(members):
            parity = range(segment.n, segment.coded)
            ruin(segment, [*gone[place], *(parity if inner else ())], rng)
    return sorted(target.folders)


def holes(target: Target, rng: random.Random) -> list[int]:
    """m·T blocks in a row, at a random place of each file of the bundle's segments."""
    for segment in target.here():
        length = segment.m * segment.stripes
        blocks = os.path.getsize(segment.path) // segment.block
        first = rng.randrange(blocks - length + 1)
        with open(segment.path, "r+b") as file:
            file.seek(first * segment.block)
            content = rng.randbytes(length * segment.block) if rng.randrange(2) else bytes(length * segment.block)
            file.write(content)
    return sorted(target.folders)


def whole_files(target: Target, rng: random.Random) -> list[int]:
    """L members of every group: deleted, emptied, cut, or overwritten."""
    for group in range(len(target.groups)):
        for segment in rng.sample(target.members(group), target.spare(group)):
            end_file(segment, rng)
    return sorted(target.folders)


def end_file(segment: Segment, rng: random.Random) -> None:
    """One file is as good as gone."""
    how, size = rng.randrange(4), os.path.getsize(segment.path)
    if how == 0:
        os.unlink(segment.path)
        return
    content = (b"", bytes(size), rng.randbytes(size))[how - 1]
    with open(segment.path, "wb") as file:
        file.write(content)


def whole_drives(target: Target, rng: random.Random) -> list[int]:
    """L volumes are not here; of a bundle that may lose none, one group lies on one volume and loses a file instead."""
    if target.lose == 0:
        return whole_files(target, rng)
    lost = rng.sample(sorted(target.folders), target.lose)
    target.lost_volumes.update(lost)
    return [number for number in sorted(target.folders) if number not in lost]


def drives_and_stripes(target: Target, rng: random.Random) -> list[int]:
    """L volumes are not here, and what is here lost m blocks in every stripe."""
    here = whole_drives(target, rng)
    if target.lose:
        full_stripes(target, rng)
    return here


AT_THE_BOUND = {one.__name__: one for one in (
    full_stripes, full_indices, holes, whole_files, whole_drives, drives_and_stripes)}


# One block more than the bound, in one place.


def one_stripe_more(target: Target, rng: random.Random) -> tuple[list[int], set[int]]:
    """m + 1 blocks of one stripe of as many members of one group as may not be missing; the volumes, and which members.

    Everything else of the bundle is at the bound: other stripes have lost m blocks, or L volumes are gone.
    """
    here, group = sorted(target.folders), rng.randrange(len(target.groups))
    if target.lose and rng.randrange(2):
        data, parity = target.groups[group]
        lost = rng.sample(sorted({target.volume_of[number] for number in data + parity}), target.lose)
        target.lost_volumes.update(lost)
        here = [number for number in here if number not in lost]
    members = target.members(group)
    shape = max((one.n, one.stripes, one.m) for one in members)
    alike = [one for one in members if (one.n, one.stripes, one.m) == shape]
    chosen = rng.sample(alike, target.spare(group) + 1)
    number = rng.randrange(min(shape[1], target.shortest_lost(group)))
    for segment in target.here():
        for other in range(segment.stripes):
            if segment not in chosen or other != number:
                data, parity = segment.stripe(other)
                ruin(segment, rng.sample(data + parity, rng.randrange(segment.m + 1)), rng)
    data, parity = chosen[0].stripe(number)
    data = [index for index in data if index < target.shortest_lost(group)]  # beyond its end nobody misses a member
    take = min(len(data), shape[2] + 1)
    places = rng.sample(data, take) + rng.sample(parity, shape[2] + 1 - take)
    for segment in chosen:
        ruin(segment, places, rng)
    return here, {segment.number for segment in chosen}
