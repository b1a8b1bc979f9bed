"""What the tests of transfer share: sources with a fixed seed, base bundles to copy, damage, digests."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.suites import STANDARD, SUITES, suite_by_name
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError
from airbundle.format.block import FRONT
from airbundle.format.catalog import DATA, Row, parse_body, parse_table
from airbundle.format.dsse import parse_envelope
from airbundle.format.geometry import Placement
from airbundle.format.statement import STATEMENT_TYPE, Statement, parse_statement
from airbundle.media import volume as names
from airbundle.transfer.plan import Options
from airbundle.transfer.workspace import Pace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.transfer.report import Report

KIB = 1 << 10
MIB = 1 << 20
PACE = Pace(jobs=2)
both_suites = pytest.mark.parametrize("keys", SUITES, ids=lambda suite: suite.name, indirect=True, scope="session")
"""Runs a test with bundles and keys of each suite."""
LAID_DOWN = (names.STATEMENT_NAME, names.CATALOG_NAME, "segments", names.RECORD_NAME, names.CATALOG_COPY_NAME)


@dataclass(frozen=True)
class Keys:
    """A packer, two recipients, and someone who is neither."""

    packer: PrivateIdentity
    reader: PrivateIdentity
    second: PrivateIdentity
    stranger: PrivateIdentity

    @property
    def trust(self) -> TrustSet:
        return TrustSet([NamedIdentity("packer", self.packer.public)])


@dataclass(frozen=True)
class Packed:
    """A bundle on a folder that stands for a drive, and the source that it was made of."""

    keys: Keys
    source: Path
    volume: Path

    def copy_to(self, drive: Path) -> Packed:
        drive.mkdir(exist_ok=True)
        copy = drive / self.volume.name
        shutil.copytree(self.volume, copy)
        return Packed(self.keys, self.source, copy)

    @property
    def given(self) -> list[str]:
        """The volumes as a verb takes them."""
        return [str(self.volume)]

    def verify(self, *, opened: bool = False) -> Report:
        return api.verify(self.given, trust=self.keys.trust, keys=[self.keys.reader] if opened else [], pace=PACE)

    def repair(self) -> Any:
        return api.repair(self.given, trust=self.keys.trust)

    def unpack(self, target: Path) -> Any:
        return api.unpack(self.given, str(target), keys=[self.keys.reader], trust=self.keys.trust, pace=PACE)

    def refused(self, status: int, *, opened: bool = False) -> AirbundleError:
        """What verify raises; its exit status has to be `status`."""
        with pytest.raises(AirbundleError) as caught:
            self.verify(opened=opened)
        assert caught.value.exit_status == status, repr(caught.value)
        return caught.value

    def report(self, status: int = 11) -> Report:
        report: Any = self.refused(status).report
        return report  # type: ignore[no-any-return]

    def statement(self) -> Statement:
        raw = (self.volume / names.STATEMENT_NAME).read_bytes()
        return parse_statement(parse_envelope(raw, STATEMENT_TYPE).payload)

    def rows(self) -> tuple[Row, ...]:
        """The table of segments, from a bundle that is whole."""
        row = self.statement().catalog
        place = self.place(row)
        raw = (self.volume / names.CATALOG_NAME).read_bytes()
        size, first = row.block_size, place.data_at
        body = b"".join(raw[at * size + 128:(at + 1) * size]
                        for at in range(first, first + place.geometry.data_blocks))
        return parse_table(parse_body(body)[0], catalog_number=row.number)

    def data_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows() if row.role == DATA)

    def partner(self, row: Row) -> Row:
        """Another member of the same group, as long as the longest of them."""
        return max((other for other in self.rows() if other.group == row.group and other.number != row.number),
                   key=lambda other: other.body)

    def place(self, row: Row) -> Placement:
        statement = self.statement()
        suite = suite_by_name(statement.suite)
        geometry = row.geometry(suite=suite.number, digest_size=suite.digest_size,
                                bundle=bytes.fromhex(statement.bundle))
        return Placement(geometry, statement.preamble.length)

    def segment(self, number: int) -> Path:
        return self.volume / names.segment_name(number)

    def image(self) -> list[Path]:
        """The files in the order in which they are laid down on the medium (V-3)."""
        found: list[Path] = []
        for name in LAID_DOWN:
            found += sorted(self.volume.glob("[0-9]*.abs")) if name == "segments" else [self.volume / name]
        return found

    def comes_back(self, target: Path, *restorable: int) -> Report:
        """11; the segments `restorable`, and no others, need their group; unpacks as it is."""
        report = self.report(11)
        assert (report.restorable, report.missing) == (restorable, ())
        self.unpack(target)
        assert digests(target) == digests(self.source)
        shutil.rmtree(target)
        return report

    def is_beyond(self, target: Path, *missing: int) -> Report:
        """4 from verify, unpack and repair; the segments `missing` are named and nothing is published."""
        report = self.report(4)
        assert (report.missing, report.condition) == (missing, "damaged beyond repair")
        with pytest.raises(DamagedError, match=r"volume 1 of 1, 0000000\d\.abs") as caught:
            self.unpack(target)
        assert caught.value.rule == "G-9"
        assert not target.exists()
        with pytest.raises(DamagedError):
            self.repair()
        return report

    def heals(self, target: Path, *restorable: int, before: Mapping[str, str]) -> Report:
        """As `comes_back`; repair gives every byte back; then whole."""
        report = self.comes_back(target, *restorable)
        self.repair()
        after = digests(self.volume)
        assert {name: after.get(name) for name in before} == dict(before)
        self.verify()
        return report


def pack(keys: Keys, source: Path, drive: Path, *, segment_size: int = 64 * KIB, **more: Any) -> Packed:
    """Pack with the API. `more` are fields of Options, or `to`."""
    to = more.pop("to", [keys.reader.public])
    progress = more.pop("progress", None)
    drive.mkdir(exist_ok=True)
    result = api.pack(str(source), str(drive), sign=keys.packer, to=to, pace=PACE, progress=progress,
                      options=Options(segment_size=segment_size, **more))
    (volume,) = result.volumes
    return Packed(keys, source, drive / os.path.basename(volume))


@dataclass(frozen=True)
class Spread(Packed):
    """A bundle on several folders; `volume` is the first of those that are given, `all` has every one by number."""

    all: dict[int, Path]
    here: tuple[int, ...]

    @property
    def given(self) -> list[str]:
        return [str(self.all[number]) for number in self.here]

    def without(self, *numbers: int) -> Spread:
        here = tuple(number for number in self.here if number not in numbers)
        return replace(self, here=here, volume=self.all[here[0]])

    def segment(self, number: int) -> Path:
        return self.all[self.rows()[number].volume] / names.segment_name(number)

    def copied(self, place: Path) -> Spread:
        """The same on folders of their own."""
        copies = {number: place / path.parent.name / path.name for number, path in self.all.items()}
        for number, path in self.all.items():
            shutil.copytree(path, copies[number])
        return replace(self, all=copies, volume=copies[self.here[0]])


def spread(keys: Keys, source: Path, drives: Sequence[Path], *, segment_size: int = 64 * KIB, lose: int | None = None,
           **more: Any) -> Spread:
    """Pack onto several folders with the API."""
    for drive in drives:
        drive.mkdir(exist_ok=True)
    result = api.pack(str(source), [str(drive) for drive in drives], sign=keys.packer, to=[keys.reader.public],
                      pace=PACE, lose=lose, options=Options(segment_size=segment_size, **more))
    found = {number: Path(path) for number, path in enumerate(result.volumes, 1)}
    return Spread(keys, source, found[1], found, tuple(found))


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def write_tree(root: Path, files: Mapping[str, bytes], folders: tuple[str, ...] = ()) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in folders:
        (root / name).mkdir(parents=True)
    return root


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder by its path; an empty folder counts with the digest ''."""
    found: dict[str, str] = {}
    for place, inner, files in os.walk(folder):
        relative = os.path.relpath(place, folder)
        for name in files:
            with open(os.path.join(place, name), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[os.path.normpath(os.path.join(relative, name))] = digest
        if not inner and not files:
            found[relative] = ""
    return found


def flip(path: Path, at: int, mask: int = 1) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def overwrite(path: Path, at: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)


def block_of(path: Path, number: int, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(number * size)
        return file.read(size)


def kill_blocks(path: Path, size: int, numbers: Any) -> None:
    """Make blocks unreadable for a checker: zeros."""
    for number in numbers:
        overwrite(path, int(number) * size, bytes(size))


def with_digest(block: bytes) -> bytes:
    """The block with a digest that fits, as anyone with the drive could store it."""
    suite = next((suite for suite in SUITES if suite.number == block[58]), STANDARD)
    return block[:8] + suite.hash(FRONT, block[56:]).ljust(48, b"\0") + block[56:]


def hole(files: list[Path], at: int, length: int) -> None:
    """Zeros over `length` bytes of the concatenation of `files`."""
    start = 0
    for path in files:
        size = path.stat().st_size
        first, last = max(at, start), min(at + length, start + size)
        if first < last:
            overwrite(path, first - start, bytes(last - first))
        start += size
