"""The command that a policy runs after a publication. What it needs is in its environment; its output is not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airbundle.station.commands import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.station.ledger import Entry

HOOK_TIMEOUT: Final = 3600  # seconds


def run_hook(command: Sequence[str], entry: Entry) -> tuple[str, ...]:
    """Run it, if there is one; gives a line for what went wrong. The content is published whatever it does.

    After a kill it may be run a second time for the same bundle.
    """
    if not command:
        return ()
    done = run_command(command, timeout=HOOK_TIMEOUT, environment={
        "AIRBUNDLE_BUNDLE": entry.bundle, "AIRBUNDLE_STATEMENT": entry.statement, "AIRBUNDLE_TARGET": entry.target,
        "AIRBUNDLE_SERIES": entry.series or "", "AIRBUNDLE_SEQUENCE": str(entry.sequence or "")})
    return () if done.status == 0 else (f"the hook {command[0]} {done.said}",)
