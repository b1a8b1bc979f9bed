"""The hook that a policy names, and whether all programs that it names are there (`gates/scanning.py` runs those)."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PASSED_ON: Final = ("PATH", "HOME", "LANG")


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a program ended: its exit status, None if it could not be run or took too long, and that in words."""

    status: int | None
    said: str


def require_program(command: Sequence[str], what: str) -> None:
    """Raise UsageError unless the program that a policy names is there, before anything is read for it."""
    if shutil.which(command[0]) is None:
        raise UsageError(f"{what} is not installed: {command[0]}", hint="install it, or take it out of the policy")


def run_command(command: Sequence[str], *, environment: Mapping[str, str], timeout: float) -> CommandEnd:
    """Run a program without a shell, with nothing on its standard input and little in its environment."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        done = subprocess.run(list(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,  # noqa: S603
                              stderr=subprocess.DEVNULL, env={**passed, **environment}, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return CommandEnd(None, f"did not end in {timeout:.0f} s")
    except OSError as error:
        return CommandEnd(None, f"could not be run: {error.strerror}")
    return CommandEnd(done.returncode, f"ended with {done.returncode}")
