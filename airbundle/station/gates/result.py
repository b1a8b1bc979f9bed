"""What a gate says of a file: one of four results, and which of several counts.

A scanner that says nothing has not scanned: `NOT_EXAMINED` is a result of its own and stops an import like a finding,
unless the policy names the file. A gate that could not finish is an `ERROR`. Nothing here returns a boolean.
"""

from __future__ import annotations

import enum
import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class Outcome(enum.StrEnum):
    """The four results."""

    CLEAN = "clean"
    FINDING = "finding"
    NOT_EXAMINED = "not-examined"
    ERROR = "error"


_SEVERITY: Final = (Outcome.CLEAN, Outcome.NOT_EXAMINED, Outcome.ERROR, Outcome.FINDING)
DETAIL_MAX: Final = 400
"""Characters of a detail; what a stranger chose in it is shown as `ascii` shows it."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate said of one file. `path` is the file's path in the bundle, empty for the whole folder."""

    gate: str
    version: str
    path: str
    outcome: Outcome
    detail: str


class Content(Protocol):
    """The bytes of one staged file; `read_at` is never asked for more than 16 MiB."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, fewer only at the end of the file."""


class RefusalError(Exception):
    """A gate stops here: the result of the file and why. It never leaves `examine`."""

    def __init__(self, detail: str, outcome: Outcome = Outcome.FINDING) -> None:
        super().__init__(detail)
        self.detail = detail[:DETAIL_MAX]
        self.outcome = outcome


def decide(results: Iterable[GateResult], *, unexamined: Iterable[str] = ()) -> Outcome:
    """The worst of all results; `NOT_EXAMINED` of a file that a pattern in `unexamined` names is let through.

    No result at all is `NOT_EXAMINED`. What is let through keeps its result, so that a receipt can tell it.
    """
    patterns = tuple(unexamined)
    worst = None
    for result in results:
        named = result.outcome is Outcome.NOT_EXAMINED and result.path and is_named(result.path, patterns)
        outcome = Outcome.CLEAN if named else result.outcome
        worst = outcome if worst is None else max(worst, outcome, key=_SEVERITY.index)
    return Outcome.NOT_EXAMINED if worst is None else worst


def is_named(path: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern names `path`: part by part, `**` for any number of parts; one without `/` is for the name.

    Case counts, and `*` does not cross a `/`.
    """
    parts = path.split("/")
    return any(_fits(parts[-1:] if "/" not in pattern else parts, pattern.split("/")) for pattern in patterns)


def _fits(parts: list[str], pattern: list[str]) -> bool:
    """Parts against parts; the set of places that the pattern may have reached stands for all ways at once."""
    places = {0}
    for wanted in pattern:
        if wanted == "**":
            places = set(range(min(places), len(parts) + 1))
        else:
            places = {at + 1 for at in places if at < len(parts) and fnmatch.fnmatchcase(parts[at], wanted)}
        if not places:
            return False
    return len(parts) in places
