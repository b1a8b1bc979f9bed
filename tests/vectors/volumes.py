"""From a vector to volumes: unpack its base, put its own files over it, add what is derived, then splice.

What a volume holds twice is stored once: `statement.rec` is made of `statement.json` (chapter 10), `catalog-copy.abs`
is `catalog.abs`. This page needs the standard library and BLAKE3 and nothing of airbundle, so that it can serve for
testing any other reader.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

ROOT = Path(__file__).parents[2] / "fixtures" / "vectors"
MAGIC = bytes.fromhex("894142530d0a1a0a")
WIDTH, ROWS, PARITY, COPY_SIZE = 513, 255, 64, 128 << 10
FRAME = (ROWS - PARITY) * WIDTH


@dataclass(frozen=True)
class Vector:
    """One line of a chapter's file; README.md says what each field means."""

    name: str
    base: str
    rule: str
    comment: str
    expect: dict[str, int]
    result: str
    own: bool
    splices: tuple[dict[str, Any], ...]
    given: tuple[str, ...]
    trust: tuple[str, ...]
    key: str
    passphrase: str
    shows: str
    tree: str

    @property
    def chapter(self) -> str:
        return self.rule[0]

    @classmethod
    def parse(cls, line: str) -> Vector:
        fields = json.loads(line)
        fields["result"] = fields.pop("class")
        for name in ("splices", "given", "trust"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    def line(self) -> str:
        fields = {"class" if name == "result" else name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(fields, ensure_ascii=True)


def read_vectors() -> list[Vector]:
    return [Vector.parse(line) for path in sorted(ROOT.glob("[A-Z].jsonl")) for line in path.read_text().splitlines()]


@functools.cache
def read_archive(path: Path) -> dict[str, bytes]:
    """The files in an archive by their names; not to be changed."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive.getmembers()}


def files_of(vector: Vector) -> dict[str, bytes]:
    """Volume number / folder / file: what was stored for the base and for the vector."""
    if not vector.own:
        return files_of_base(vector.base)
    prefix = f"{vector.name}/"
    stored = read_archive(ROOT / "hostile" / f"{vector.chapter}.tar.xz")
    own = {name.removeprefix(prefix): raw for name, raw in stored.items() if name.startswith(prefix)}
    return with_derived(read_archive(ROOT / "bundles" / f"{vector.base}.tar.xz") | own)


@functools.cache
def files_of_base(base: str) -> dict[str, bytes]:
    """The same of a base alone; not to be changed."""
    return with_derived(read_archive(ROOT / "bundles" / f"{base}.tar.xz"))


def with_derived(files: dict[str, bytes]) -> dict[str, bytes]:
    found = dict(files)
    for name, raw in files.items():
        folder, _, file = name.rpartition("/")
        if file == "statement.json":
            found.setdefault(f"{folder}/statement.rec", record(raw))
        elif file == "catalog.abs":
            found.setdefault(f"{folder}/catalog-copy.abs", raw)
    return found


def lay_out(vector: Vector, place: Path) -> dict[str, Path]:
    """Write the volumes of a vector below `place`; gives their folders by number."""
    folders: dict[str, Path] = {}
    for name, raw in files_of(vector).items():
        number, folder, _ = name.split("/")
        folders[number] = place / number / folder
        folders[number].mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(raw)
    for one in vector.splices:
        _splice(one, folders)
    return folders


def _splice(one: dict[str, Any], folders: dict[str, Path]) -> None:
    def path_of(name: str) -> Path:
        number, _, file = name.partition("/")
        return folders[number] / file

    path = path_of(one["file"])
    match one["do"]:
        case "write":
            content = bytes.fromhex(one["bytes"]) if "bytes" in one else bytes(one["zeros"])
            _write(path, one["at"], content)
        case "copy":
            if "base" in one:
                number, _, file = one["from"].partition("/")
                (content,) = (raw for name, raw in files_of_base(one["base"]).items()
                              if name.startswith(f"{number}/") and name.endswith(f"/{file}"))
            else:
                content = path_of(one["from"]).read_bytes()
            if "length" in one:
                _write(path, one["at"], content[one["skip"]:one["skip"] + one["length"]])
            else:
                path.write_bytes(content)
        case "truncate":
            os.truncate(path, one["size"])
        case "delete":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        case "rename":
            path.rename(path_of(one["to"]))
        case "link":
            path.symlink_to(one["to"])
        case "pipe":
            os.mkfifo(path)
        case verb:
            raise ValueError(verb)


def _write(path: Path, at: int, content: bytes) -> None:
    with open(path, "r+b" if path.exists() else "x+b") as file:
        file.seek(at)
        file.write(content)


def record(content: bytes) -> bytes:
    """`statement.rec` of a statement; its suite is the one that the payload names (chapter 10)."""
    suite = 2 if _suite_of(content) == "cnsa2" else 1
    rest = (b"\1\0" + bytes([suite, 5]) + len(content).to_bytes(4, "little") + content)
    rest = rest.ljust(FRAME - 56, b"\0")
    digested = MAGIC + bytes(48) + rest
    digest = hashlib.sha384(digested).digest() if suite == 2 else blake3(digested).digest()
    return record_of(MAGIC + digest.ljust(48, b"\0") + rest)


@functools.cache
def record_of(frame: bytes) -> bytes:
    """A frame and its parity, three times (R-1)."""
    parity = [0] * PARITY
    for row, weights in enumerate(_weights()):
        part = frame[row * WIDTH:(row + 1) * WIDTH]
        if any(part):
            for place, weight in enumerate(weights):
                parity[place] ^= int.from_bytes(part.translate(_times(weight)), "big")
    return (frame + b"".join(row.to_bytes(WIDTH, "big") for row in parity)).ljust(COPY_SIZE, b"\0") * 3


def _suite_of(document: bytes) -> str:
    try:
        return str(json.loads(base64.b64decode(json.loads(document)["payload"]))["suite"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _double(value: int) -> int:
    return value << 1 ^ (0x11D if value & 0x80 else 0)


@functools.cache
def _times(factor: int) -> bytes:
    """The products of all bytes with one, as a table for `translate`."""
    table = []
    for value in range(256):
        product, power = 0, value
        for bit in range(8):
            product ^= power if factor >> bit & 1 else 0
            power = _double(power)
        table.append(product)
    return bytes(table)


@functools.cache
def _weights() -> tuple[bytes, ...]:
    """What each of the 191 rows of content adds to each of the 64 rows of parity (R-1)."""
    generator, root = [1], 1
    for _ in range(PARITY):  # times (x - root); from the highest power down
        product = [*generator, 0]
        for place, value in enumerate(generator):
            product[place + 1] ^= _times(root)[value]
        generator, root = product, _double(root)
    found, rest = [], generator[1:]  # of x^64, then of each higher power
    for _ in range(ROWS - PARITY):
        found.append(bytes(rest))
        first, rest = rest[0], [*rest[1:], 0]
        rest = [value ^ _times(first)[part] for value, part in zip(rest, generator[1:], strict=True)]
    return tuple(reversed(found))
