"""The built-in gates over one file. Nothing is loaded, imported or run, and every file gets at least one result.

Each file goes through two gates: `content` is that of what it is, and `hidden` looks for what else it could be read
as: whatever is no pickle is walked as if it were one, and what is no archive may not end like one. Whatever goes
wrong in a gate is an error of the file, and an error stops an import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airbundle.station.gates.archive import archives, require_no_archive
from airbundle.station.gates.checkpoints import check_pickle, check_torch_zip, walk_hidden
from airbundle.station.gates.gguf import check_gguf
from airbundle.station.gates.guards import HiddenGuard
from airbundle.station.gates.opcodes import MalformedError
from airbundle.station.gates.recognise import FileKind, expected_of, is_named_as_text, recognise, suffix_of
from airbundle.station.gates.result import DETAIL_MAX, GateResult, Outcome, RefusalError
from airbundle.station.gates.safetensors import check_safetensors
from airbundle.station.gates.strict_json import check_json
from airbundle.station.gates.texts import NoTextError, check_text
from airbundle.station.gates.window import Window
from airbundle.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from airbundle.station.gates.checkpoints import Beside
    from airbundle.station.gates.result import Content
    from airbundle.station.gates.rules import GateRules

_FORMATS: Final = {FileKind.SAFETENSORS: "safetensors", FileKind.GGUF: "gguf", FileKind.JSON: "json",
                   FileKind.JSON_LINES: "json", FileKind.TEXT: "text", FileKind.CODE: "code"}
_TEXTS: Final = frozenset({FileKind.TEXT, FileKind.CODE, FileKind.JSON, FileKind.JSON_LINES})
_PICKLES: Final = frozenset({FileKind.ZIP, FileKind.PICKLE})


def examine(path: str, content: Content, rules: GateRules, *, beside: Beside | None = None) -> list[GateResult]:
    """What the built-in gates say of the file at `path` of the bundle. Raises nothing.

    `beside` gives the content at another path of the bundle, or None: the `.metadata` of a distributed checkpoint
    is held against its shards, and is not examined without them.
    """
    kind = FileKind.UNKNOWN
    results: list[GateResult] = []

    def run(gate: str, check: Callable[[Window], str]) -> None:
        try:
            outcome, detail = Outcome.CLEAN, check(Window(content))
        except RefusalError as refusal:
            outcome, detail = refusal.outcome, refusal.detail
        except Exception as error:  # noqa: BLE001 - a gate that breaks must not let through; nor must a broken disk
            outcome, detail = Outcome.ERROR, f"the gate broke: {error!a}"[:DETAIL_MAX]
        results.append(GateResult(gate, VERSION, path, outcome, detail))

    def content_gate(window: Window) -> str:
        nonlocal kind
        kind = recognise(path, window)
        return _check(path, kind, window, rules, beside)

    def hidden_gate(window: Window) -> str:
        if kind is not FileKind.ZIP:
            require_no_archive(window)
        if kind is FileKind.PICKLE:
            return "no archive"
        word = kind in _TEXTS and window.read(0, min(1, window.size)) in {b"c", b"i"}
        walk_hidden(window, HiddenGuard(begins_with_name=word), steps=rules.pickle_steps)
        return "no archive, and no pickle that imports"

    run("content", content_gate)
    run("hidden", hidden_gate)
    return results


def _check(path: str, kind: FileKind, window: Window, rules: GateRules, beside: Beside | None) -> str:
    expected = expected_of(path)
    if kind in _PICKLES and rules.pickle == "deny":
        _deny(kind, window, expected)
    if expected and kind not in expected:
        _mismatch(kind, expected, window)
    if kind in _FORMATS and _FORMATS[kind] not in rules.formats:
        raise RefusalError(f"{kind.value}, which the policy does not take")
    if kind is FileKind.PROGRAM:
        raise RefusalError("a program")
    if kind in _PICKLES:
        return _pickled(kind, path, window, rules, beside)
    if kind in {FileKind.TEXT, FileKind.CODE}:
        return _text(kind, path, window, rules)
    return _structured(kind, window, rules)


def _structured(kind: FileKind, window: Window, rules: GateRules) -> str:
    if kind is FileKind.SAFETENSORS:
        return check_safetensors(window, rules)
    if kind is FileKind.GGUF:
        return check_gguf(window, rules)
    if kind in {FileKind.JSON, FileKind.JSON_LINES}:
        return check_json(window, rules, lines=kind is FileKind.JSON_LINES)
    if kind is FileKind.EMPTY:
        return "empty"
    raise RefusalError("no gate knows this format", Outcome.NOT_EXAMINED)


def _deny(kind: FileKind, window: Window, expected: frozenset[FileKind]) -> None:
    """Refuse pickles where the policy takes none; a zip archive without one is merely unknown."""
    if kind is FileKind.PICKLE or expected:
        raise RefusalError(f"{kind.value} of pickled objects, which the policy denies")
    for archive in archives(window):
        if any(entry.name.lower().endswith((".pkl", ".pickle")) for entry in archive.entries):
            raise RefusalError("a zip archive with pickled objects, which the policy denies")
    raise RefusalError("a zip archive that no gate knows", Outcome.NOT_EXAMINED)


def _mismatch(kind: FileKind, expected: frozenset[FileKind], window: Window) -> None:
    names = " or ".join(sorted(wanted.value for wanted in expected))
    if window.read(0, min(40, window.size)).startswith(b"version https://git-lfs"):
        raise RefusalError(f"a pointer of Git LFS where {names} should be: the file was never fetched")
    raise RefusalError(f"named like {names}, but it is {kind.value}")


def _pickled(kind: FileKind, path: str, window: Window, rules: GateRules, beside: Beside | None) -> str:
    try:
        if kind is FileKind.ZIP:
            return check_torch_zip(window, rules, several=suffix_of(path) == "distcp")
        return check_pickle(window, rules, path=path, beside=beside)
    except MalformedError as error:
        raise RefusalError(f"a broken pickle: {error}") from None


def _text(kind: FileKind, path: str, window: Window, rules: GateRules) -> str:
    try:
        return check_text(window, rules)
    except NoTextError as error:
        if kind is FileKind.CODE or is_named_as_text(path):
            raise
        raise RefusalError(f"no gate knows this format; {error.detail}", Outcome.NOT_EXAMINED) from None
