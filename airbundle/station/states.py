"""The states of an import and the steps between them: one table for the code, `docs/station.md` and `--json`."""

from __future__ import annotations

import enum
from typing import Final


class ImportState(enum.StrEnum):
    """Where an import is. The last four are ends."""

    BEGUN = "begun"
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
    ImportState.BEGUN: "the station is open, and what an earlier run left is settled",
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
_WAY: Final = (ImportState.BEGUN, ImportState.FOUND, ImportState.ADMITTED, ImportState.OPENED, ImportState.UNPACKED,
               ImportState.EXAMINED, ImportState.PUBLISHED)
_MAY_WAIT: Final = frozenset({ImportState.BEGUN, ImportState.OPENED})
NEXT: Final = {
    here: frozenset({_WAY[at + 1], ImportState.REFUSED, ImportState.FAILED}
                    | ({ImportState.WAITING} if here in _MAY_WAIT else set()))
    for at, here in enumerate(_WAY[:-1])}
"""From each state those that may follow it."""
REFUSALS: Final = frozenset({5, 6, 7})
"""Exit statuses that mean: not let in."""


def end_of(exit_status: int) -> ImportState:
    """The end that an error with this exit status is."""
    if exit_status == 3:  # more volumes
        return ImportState.WAITING
    return ImportState.REFUSED if exit_status in REFUSALS else ImportState.FAILED


MEANING: Final = {
    "stranger": "the packer's key is not in the policy",
    "unsigned": "the packer that the statement names did not sign it",
    "forged": "a signature of a trusted key does not hold, or two signed documents disagree",
    "untrusted": "not trusted for another reason",
    "missing-signature": "fewer keys of a role have signed than the policy asks for",
    "weaker-suite": "the suite is weaker than the policy's",
    "replay": "this bundle was imported already",
    "rollback": "the series is further on than this bundle",
    "step": "the number is further on than the policy lets a series step",
    "series": "no series, one that is not taken here, or packed by somebody else",
    "marking": "its marking is not one that the policy takes",
    "future-dated": "made later than the station's clock and the skew allow",
    "expired": "expired, by the later of the clock and the newest signed time published here",
    "no-expiry": "it never expires, and the policy wants it to",
    "long-life": "it lives longer than the policy allows",
    "too-large": "too many bytes",
    "too-many-files": "too many files",
    "unknown-drive": "the policy does not name this drive",
    "changed-serial": "this is not the drive that was written to",
    "custody": "events of custody are missing or broken",
    "altered-blocks": "somebody wrote blocks with digests of their own; chance does not make that",
    "label": "the link or reference that it would move belongs to another series here",
    "occupied": "there is something in its place already",
    "salvaged": "it holds what was salvaged and never verified",
    "repository": "it names no repository of the hub to be published as",
    "ledger-restored": "the ledger was put back from a backup and does not know what was published since",
    "gate-finding": "a gate found something in a file",
    "gate-not-examined": "no gate knows a file, and the policy does not name it",
    "gate-error": "a gate or a scanner failed",
    "no-key": "no key of the station opens it",
    "incomplete": "more volumes are needed",
    "damaged": "damaged beyond repair",
    "malformed": "bytes that are not what the spec says",
    "environment": "space, permission, an I/O error",
    "pulled": "a drive was pulled while it was read, or nothing on it can be read any more",
    "usage": "the command or the policy is off",
}
"""Why an import was not let in, by the code of its error: the words of `docs/station.md`."""
