"""The states of a drive at a station, and what leads from one to the next: one table.

The code moves a drive by it and by nothing else, `docs/watching.md` shows it, and the words are those of `--json`.
Every drive ends in a verdict, and a drive that is pulled has one too.
"""

from __future__ import annotations

import enum
from typing import Final


class DriveState(enum.StrEnum):
    """Where a drive is. Those behind `importing` are verdicts."""

    ATTACHED = "attached"
    MOUNTING = "mounting"
    LOOKING = "looking"
    READY = "ready"
    IMPORTING = "importing"
    IMPORTED = "imported"
    KNOWN = "known"
    WAITING = "waiting"
    EMPTY = "empty"
    BARRED = "barred"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    FAILED = "failed"
    PULLED = "pulled"
    REMOVED = "removed"


class DriveEvent(enum.StrEnum):
    """What happens to a drive."""

    ADMIT = "admit"
    BAR = "bar"
    NO_FILE_SYSTEM = "no-file-system"
    MOUNTED = "mounted"
    NOT_MOUNTED = "not-mounted"
    VOLUMES_FOUND = "volumes-found"
    NOTHING_FOUND = "nothing-found"
    START = "start"
    ANOTHER = "another"
    PUBLISHED = "published"
    REPLAY = "replay"
    INCOMPLETE = "incomplete"
    REFUSE = "refuse"
    FAIL = "fail"
    RECALL = "recall"
    PULL = "pull"


MEANING: Final = {
    DriveState.ATTACHED: "it was plugged in, and its description is being gathered",
    DriveState.MOUNTING: "the policy lets it in; it is set read-only and mounted",
    DriveState.LOOKING: "its volumes are being found",
    DriveState.READY: "it holds volumes and waits for its turn",
    DriveState.IMPORTING: "it is being read: leave it in",
    DriveState.IMPORTED: "what it holds was imported",
    DriveState.KNOWN: "what it holds had been imported before",
    DriveState.WAITING: "what it holds was taken; the bundle needs another of its drives",
    DriveState.EMPTY: "there is no volume on it",
    DriveState.BARRED: "the policy does not let it in; it was not mounted",
    DriveState.UNREADABLE: "it has no file system that can be mounted here",
    DriveState.REFUSED: "what it holds was not let in",
    DriveState.FAILED: "it could not be read, or what it holds is damaged, or the station failed",
    DriveState.PULLED: "it was pulled before it was done: plug it in again, and it goes on",
    DriveState.REMOVED: "it was taken out after its verdict",
}
"""What each state means to the person at the station."""

READ: Final = (DriveState.IMPORTED, DriveState.KNOWN, DriveState.WAITING, DriveState.REFUSED, DriveState.FAILED)
"""Verdicts on what was read; from the best to the worst but for `waiting`, which is open."""
VERDICTS: Final = frozenset({*READ, DriveState.EMPTY, DriveState.BARRED, DriveState.UNREADABLE, DriveState.PULLED,
                             DriveState.REMOVED})
"""States in which a drive may be taken out: nothing of it is in use."""
GONE: Final = frozenset({DriveState.PULLED, DriveState.REMOVED})
"""States of a drive that is not there any more. Nothing leads out of them: the next plug is another drive."""

_STATE, _EVENT = DriveState, DriveEvent
NEXT: Final[dict[DriveState, dict[DriveEvent, DriveState]]] = {
    _STATE.ATTACHED: {_EVENT.ADMIT: _STATE.MOUNTING, _EVENT.BAR: _STATE.BARRED,
                      _EVENT.NO_FILE_SYSTEM: _STATE.UNREADABLE, _EVENT.PULL: _STATE.PULLED},
    _STATE.MOUNTING: {_EVENT.MOUNTED: _STATE.LOOKING, _EVENT.NOT_MOUNTED: _STATE.UNREADABLE,
                      _EVENT.FAIL: _STATE.FAILED, _EVENT.PULL: _STATE.PULLED},
    _STATE.LOOKING: {_EVENT.VOLUMES_FOUND: _STATE.READY, _EVENT.NOTHING_FOUND: _STATE.EMPTY,
                     _EVENT.FAIL: _STATE.FAILED, _EVENT.PULL: _STATE.PULLED},
    _STATE.READY: {_EVENT.START: _STATE.IMPORTING, _EVENT.PULL: _STATE.PULLED},
    _STATE.IMPORTING: {_EVENT.ANOTHER: _STATE.READY, _EVENT.PUBLISHED: _STATE.IMPORTED, _EVENT.REPLAY: _STATE.KNOWN,
                       _EVENT.INCOMPLETE: _STATE.WAITING, _EVENT.REFUSE: _STATE.REFUSED, _EVENT.FAIL: _STATE.FAILED,
                       _EVENT.PULL: _STATE.PULLED},
    **{verdict: {_EVENT.RECALL: _STATE.MOUNTING, _EVENT.PULL: _STATE.REMOVED}
       for verdict in (_STATE.WAITING, _STATE.REFUSED, _STATE.FAILED)},  # one of its bundles may still be waiting
    **{verdict: {_EVENT.PULL: _STATE.REMOVED} for verdict in (
        _STATE.IMPORTED, _STATE.KNOWN, _STATE.EMPTY, _STATE.BARRED, _STATE.UNREADABLE)},
    _STATE.PULLED: {},
    _STATE.REMOVED: {},
}
"""From each state, by what happens, the one that follows. What is not here cannot happen."""


def step(state: DriveState, event: DriveEvent) -> DriveState:
    """The state that follows. An event that a state does not know is a bug of the watcher."""
    following = NEXT[state].get(event)
    assert following is not None, f"a drive that is {state} knows no {event}"
    return following
