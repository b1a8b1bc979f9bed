"""One tree of errors: what happened, what to do, which rule of the spec, and the exit status.

Damage, a wrong key, a missing signature and a stranger's signature are four different answers and have four
different classes. `what` names the thing and the fact, `hint` the next step, `where` what the person holds
(a drive, volume 2, a segment, a file), `rule` the id in `spec/bundle.md`.
"""

from __future__ import annotations

from typing import ClassVar


class AirbundleError(Exception):
    """Base of all errors that airbundle raises on purpose."""

    exit_status: ClassVar[int] = 1
    code: str = "bug"
    """One word for the kind of refusal, in receipts and for machines."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", rule: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.rule = rule
        self.report: object | None = None

    def __str__(self) -> str:
        """`WHERE: WHAT [RULE]`, the first line that a person sees."""
        place = f"{self.where}: " if self.where else ""
        rule = f" [{self.rule}]" if self.rule else ""
        return f"{place}{self.what}{rule}"


class UsageError(AirbundleError):
    """The command or its configuration is off."""

    exit_status = 2
    code = "usage"


class SourceError(UsageError):
    """The source cannot be carried as it is: a name, a link, a special file. `problems` lists all of them."""

    def __init__(
        self, what: str, *, problems: tuple[str, ...] = (), where: str = "", hint: str = "", rule: str = ""
    ) -> None:
        super().__init__(what, where=where, hint=hint, rule=rule)
        self.problems = problems


class IncompleteError(AirbundleError):
    """More volumes are needed."""

    exit_status = 3
    code = "incomplete"


class DamagedError(AirbundleError):
    """Damaged beyond repair."""

    exit_status = 4
    code = "damaged"


class FormatError(DamagedError):
    """Bytes that are not what the spec says. Every parser raises this and nothing else."""

    code = "malformed"


class UntrustedError(AirbundleError):
    """Not trusted; the subclasses say why."""

    exit_status = 5
    code = "untrusted"


class UnsignedError(UntrustedError):
    """No signature by the packer that the statement names."""

    code = "unsigned"


class StrangerError(UntrustedError):
    """Signed by a key that nobody here trusts."""

    code = "stranger"


class ForgedError(UntrustedError):
    """A signature of a trusted key does not hold, or two signed documents disagree."""

    code = "forged"


class ThresholdError(UntrustedError):
    """Fewer keys of a role have signed than the policy asks for."""

    code = "missing-signature"


class PolicyError(AirbundleError):
    """Refused by the policy of a station, for the reason `code`."""

    exit_status = 6
    code = "policy"

    def __init__(self, code: str, what: str, *, where: str = "", hint: str = "", rule: str = "") -> None:
        super().__init__(what, where=where, hint=hint, rule=rule)
        self.code = code


class GateError(AirbundleError):
    """A gate found something in a file, could not examine it, or failed."""

    exit_status = 7
    code = "gate"


class NoKeyError(AirbundleError):
    """No key here opens it."""

    exit_status = 8
    code = "no-key"


class MediumError(AirbundleError):
    """The environment: space, permission, an I/O error of a whole device, a medium that is gone."""

    exit_status = 9
    code = "environment"


class PulledError(MediumError):
    """A drive was pulled, or nothing on it can be read any more: what then seems damaged or missing may be neither."""

    code = "pulled"


class UnreliableDriveError(MediumError):
    """A drive does not hold what was written to it: it lies about its size, or it is failing."""

    code = "unreliable-drive"


class SourceChangedError(MediumError):
    """A file of the source changed while it was read."""

    code = "source-changed"


class UncheckedError(AirbundleError):
    """Checked in part only; nothing wrong was found in that part."""

    exit_status = 10
    code = "unchecked"


class RepairableError(AirbundleError):
    """Damaged, and what is here can repair it."""

    exit_status = 11
    code = "repairable"


class SalvagedError(AirbundleError):
    """Something was salvaged from a bundle; none of it was verified as a whole."""

    exit_status = 12
    code = "salvaged"


class InterruptedRunError(AirbundleError):
    """Stopped by the person; the journal is kept."""

    exit_status = 130
    code = "interrupted"
