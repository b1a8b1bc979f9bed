"""What verify, repair and unpack found, as values: for the person, for `--json`, for whoever calls the API."""

from __future__ import annotations

import enum

import msgspec


class Belief(enum.StrEnum):
    """The answer to the third question: is it to be believed."""

    TRUSTED = "trusted"
    STRANGER = "signed by a stranger"
    UNSIGNED = "not signed by its packer"
    FORGED = "signature does not hold"


class Condition(enum.StrEnum):
    """The answer to the first and second question: well-formed and whole."""

    WHOLE = "whole"
    UNCHECKED = "not known, not everything was read"
    REPAIRABLE = "repairable"
    DAMAGED = "damaged beyond repair"
    INCOMPLETE = "incomplete"


class FileFindings(msgspec.Struct, frozen=True):
    """One file of a volume that is not as it was written. Counts are blocks, `surplus` is bytes past the end."""

    volume: str
    file: str
    segment: int | None
    problem: str
    unreadable: int = 0
    damaged: int = 0
    misplaced: int = 0
    altered: int = 0
    surplus: int = 0
    whole: bool = True


class Report(msgspec.Struct, frozen=True):
    """The three answers and what they rest on. Sizes in bytes, times in seconds since 1970."""

    bundle: str
    label: str
    marking: str
    suite: str
    packer: str
    created: int
    expires: int | None
    series: str | None
    sequence: int | None
    revision: int
    volumes: tuple[str, ...]
    volumes_of: int
    not_seen: tuple[str, ...]
    condition: Condition
    belief: Belief
    believed_by: str
    signers: tuple[str, ...]
    opened: bool
    segments: int
    blocks: int
    bytes_read: int
    bytes_not_read: int
    unreadable: int
    damaged: int
    misplaced: int
    altered: int
    findings: tuple[FileFindings, ...]
    missing: tuple[int, ...]
    restorable: tuple[int, ...]
    absent: tuple[str, ...]
    ignored: tuple[str, ...]
    statement_hash: str
    seconds: float
    stages: dict[str, float]
