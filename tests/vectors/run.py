"""What a reader says of a vector: the package in process, or the reader beside the spec through its command line."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle import api
from airbundle.errors import AirbundleError
from airbundle.media import system
from airbundle.transfer.workspace import Pace
from tests.transfer.workshop import digests

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.trust import TrustSet
    from tests.vectors.volumes import Vector

READER = Path(__file__).parents[2] / "spec" / "reader.py"
CLASSES = {0: "verified", 2: "usage", 3: "incomplete", 4: "damaged", 5: "not trusted", 8: "no key", 11: "repairable"}
PACE = Pace(jobs=1)


@dataclass
class Outcome:
    """Exit statuses of `verify` without a key and of `unpack`, what the errors said, and the files that came out."""

    verify: int = 0
    unpack: int = 0
    rules: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    tree: str = ""

    @property
    def expect(self) -> dict[str, int]:
        return {"verify": self.verify, "unpack": self.unpack}

    @property
    def result(self) -> str:
        """The class: what unpack says if it refuses, else what verify says."""
        return CLASSES[self.unpack or self.verify]

    @property
    def rule(self) -> str:
        return self.rules["unpack" if self.unpack else "verify"] if self.unpack or self.verify else ""


def tree_of(folder: Path) -> str:
    """One digest over what came out: SHA-256 of `PATH, zero byte, SHA-256 of the content, line feed`, in order."""
    if not folder.exists():
        return ""
    lines = [f"{path}\0{digest}\n" for path, digest in sorted(digests(folder).items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def given(vector: Vector, place: Path) -> list[str]:
    """The folders of the volumes that the vector gives, whatever they are called by now."""
    return [str(next(path for path in (place / number).iterdir() if path.is_dir())) for number in vector.given]


@functools.cache
def _trust(*paths: str) -> TrustSet:
    return api.load_trust(*paths)


@functools.cache
def _key(path: str) -> PrivateIdentity:
    return api.load_private(path)


def ask_package(vector: Vector, place: Path, people: Path) -> Outcome:
    """`people` has the key files by name."""
    volumes, found = given(vector, place), Outcome()
    files = [str(people / f"{name}.pub") for name in vector.trust]
    passphrase = vector.passphrase or None

    def keys() -> list[PrivateIdentity]:
        return [_key(str(people / f"{vector.key}.key"))] if vector.key else []

    target = place / "unpacked"
    # Of buffers of 2 MiB some KiB are used here: in small pages no more is cleared.
    with system.use(replace(system.features(), huge_pages=False)):
        found.verify = _caught(found, "verify", lambda: api.verify(volumes, trust=_trust(*files), pace=PACE))
        found.unpack = _caught(found, "unpack", lambda: api.unpack(
            volumes, str(target), trust=_trust(*files), keys=keys(), passphrase=passphrase, pace=PACE))
    found.tree = tree_of(target)
    return found


def _caught(found: Outcome, verb: str, ask: Callable[[], object]) -> int:
    found.rules[verb] = ""
    try:
        ask()
    except AirbundleError as error:
        found.rules[verb], found.said[verb] = error.rule, repr(error)
        return error.exit_status
    return 0


@functools.cache
def _reader() -> CodeType:
    return compile(READER.read_text(), str(READER), "exec")


def ask_reader(vector: Vector, place: Path, people: Path) -> Outcome:
    """The same through the command line of spec/reader.py.

    It is plain and not fast, so `verify` is not asked where the fault is inside of the seals and only a key shows it.
    """
    volumes, found, target = given(vector, place), Outcome(), place / "unpacked-by-reader"
    options = [word for name in vector.trust for word in ("--trust", str(people / f"{name}.pub"))]
    opens = ["--key", str(people / f"{vector.key}.key")] if vector.key else []
    if vector.passphrase:
        (place / "passphrase").write_text(vector.passphrase + "\n")
        opens = ["--passphrase-file", str(place / "passphrase")]
    if vector.expect["verify"] or not vector.expect["unpack"]:
        found.verify = _run(found, "verify", [*volumes, *options])
    found.unpack = _run(found, "unpack", [*volumes, "-o", str(target), *options, *opens])
    found.tree = tree_of(target)
    return found


def _run(found: Outcome, verb: str, words: list[str]) -> int:
    """As `python spec/reader.py` does it, without starting Python and making its tables each time."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = _main(_reader())([verb, *words])
    found.said[verb] = said.getvalue()
    return status


@functools.cache
def _main(reader: CodeType) -> Callable[[list[str]], int]:
    """What the reader does with the words of a command line; it keeps nothing from one time to the next."""
    names: dict[str, Any] = {"__name__": "reader", "__doc__": ""}
    exec(reader, names)
    return names["main"]  # type: ignore[no-any-return]
