"""The states of an import and the steps between them: one table for the code, `docs/station.md` and `--json`."""

from __future__ import annotations

import enum
from typing import Final


class ImportState(enum.StrEnum):
    """Where an import is. The last four are ends."""

    FOUND = "found"
    ADMITTED = "admitted"
    OPENED = "opened"
    UNPACKED = "unpacked"
    EXAMINED = "examined"
    PUBLISHED = "published"
    WAITING = "waiting"
    REFUSED = "refused"
    FAILED = "failed"


STEPS: Final = {
    ImportState.FOUND: "volumes of one bundle are here, and its statement was read",
    ImportState.ADMITTED: "signatures, and all that the policy says of what is public, hold",
    ImportState.OPENED: "a key of the station opened the list of files, and the policy lets them in",
    ImportState.UNPACKED: "every byte was verified and lies in the staging folder",
    ImportState.EXAMINED: "the gates found every file clean",
    ImportState.PUBLISHED: "the content is in its place, and the ledger knows it",
    ImportState.WAITING: "more volumes are needed; what was unpacked is kept",
    ImportState.REFUSED: "not trusted, or the policy or a gate does not let it in; nothing was published",
    ImportState.FAILED: "damaged, no key, or the surroundings failed; nothing was published",
}
"""What each state means."""
ENDS: Final = frozenset({ImportState.PUBLISHED, ImportState.WAITING, ImportState.REFUSED, ImportState.FAILED})
_WAY: Final = (ImportState.FOUND, ImportState.ADMITTED, ImportState.OPENED, ImportState.UNPACKED, ImportState.EXAMINED,
               ImportState.PUBLISHED)
NEXT: Final = {
    here: frozenset({_WAY[at + 1], ImportState.REFUSED, ImportState.FAILED}
                    | ({ImportState.WAITING} if here is ImportState.OPENED else set()))
    for at, here in enumerate(_WAY[:-1])}
"""From each state those that may follow it."""
REFUSALS: Final = frozenset({5, 6, 7})
"""Exit statuses that mean: not let in."""


def end_of(exit_status: int) -> ImportState:
    """The end that an error with this exit status is."""
    if exit_status == 3:  # more volumes
        return ImportState.WAITING
    return ImportState.REFUSED if exit_status in REFUSALS else ImportState.FAILED
