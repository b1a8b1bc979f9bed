"""What the person at the station sees of the watcher: each drive, where it is, and a line for what came of it.

On a terminal the drives are a table that changes in place, and lines that stay run through above it. Elsewhere there
are lines alone, and with `--json` one object a line.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any, Final, Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from airbundle.cli import output
from airbundle.devices.drive_states import GONE, MEANING, NEXT, VERDICTS, DriveState
from airbundle.devices.gathering import event_of
from airbundle.format.names import shown

if TYPE_CHECKING:
    from airbundle.devices.gathering import AttachedDrive, Change, Gathering
    from airbundle.devices.messages import ProgressAnswer

GOOD: Final = frozenset({DriveState.IMPORTED, DriveState.KNOWN})
BAD: Final = frozenset({DriveState.REFUSED, DriveState.FAILED, DriveState.BARRED, DriveState.UNREADABLE,
                        DriveState.PULLED})
_INDENT: Final = len("00:00:00 ")
_BUSY: Final = frozenset({DriveState.MOUNTING, DriveState.LOOKING, DriveState.IMPORTING})
_SPOKEN: Final = frozenset({*GOOD, *BAD, DriveState.ATTACHED, DriveState.WAITING, DriveState.EMPTY, DriveState.REMOVED})
"""States that are worth a line of their own beside the table."""
_WORDS: Final = {
    DriveState.IMPORTED: "IMPORTED", DriveState.KNOWN: "IMPORTED BEFORE", DriveState.REFUSED: "REFUSED",
    DriveState.FAILED: "FAILED", DriveState.BARRED: "NOT LET IN", DriveState.WAITING: "needs another drive",
    DriveState.PULLED: "PULLED TOO SOON", DriveState.UNREADABLE: "not readable", DriveState.EMPTY: "holds no bundle",
    DriveState.REMOVED: "removed", DriveState.ATTACHED: "plugged in"}


class WatchView:
    """Use as a context. `tell` takes changes, `advance` progress, `draw` is called now and then."""

    def __init__(self, gathering: Gathering, *, title: str, as_json: bool,
                 mounted_by_others: bool = False) -> None:
        self._gathering, self._title, self._json = gathering, title, as_json
        self._live: Live | None = None
        self._at: ProgressAnswer | None = None
        self._phase, self._began, self._behind = "", 0.0, 0
        self._told = ""
        self._done = "done; unmount it" if mounted_by_others else "may be unplugged"

    def __enter__(self) -> Self:
        if not self._json and output.out().is_terminal:
            self._live = Live(console=output.out(), auto_refresh=False, transient=True)
            self._live.start()
        elif not self._json:
            output.tell(self._title)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, change: Change) -> None:
        """A drive came to another state."""
        if self._json:
            print_line(change_line(change))
        elif change.event == "receipt":
            self._afterwards(change)
        elif change.end is not None or change.state in _SPOKEN or (self._live is None and change.state in _BUSY):
            self._verdict(change)

    def advance(self, progress: ProgressAnswer) -> None:
        """How far the import is."""
        name = progress.phase or progress.state
        if name != self._phase:
            self._phase, self._began, self._behind = name, time.monotonic(), progress.done
            if self._live is None and not self._json:
                self._line(f"  {_said(progress)}")
        self._at = progress
        if self._json:
            print_line({"event": "progress", "state": progress.state, "phase": progress.phase, "done": progress.done,
                        "total": progress.total})

    def draw(self) -> None:
        """The table, as it is now."""
        if self._gathering.job is None:
            self._at, self._phase = None, ""
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def _verdict(self, change: Change) -> None:
        state, end = change.state, change.end
        if end is not None:  # of one bundle; the drive may hold others
            state = NEXT[DriveState.IMPORTING][event_of(end)]
        style = "bold green" if state in GOOD else "bold red" if state in BAD else "yellow" if (
            state is DriveState.WAITING) else ""
        self._line(f"{_WORDS.get(state, state.value)}: {change.device.title}", style)
        if state in {DriveState.ATTACHED, DriveState.REMOVED}:
            return
        if end is None or not end.receipt:
            self._line(f"  {change.detail or (end.what if end else '') or MEANING[state]}")
            self._line(f"  {end.hint}" if end is not None else "")
            return
        if end.receipt == self._told:  # of another of the drives that were read together
            return
        self._told = end.receipt
        hint = "plug in another of its drives; what was read is kept" if state is DriveState.WAITING else end.hint
        for line in (f"'{end.label}' is in {end.target}" if end.target else "", end.what, *hint.splitlines(),
                     f"receipt {_short(end.receipt)}"):
            self._line(f"  {line}" if line else "")

    def _afterwards(self, change: Change) -> None:
        """Of a drive that was not mounted, or that was gone when its import ended."""
        end = change.end
        if end is None:
            return
        if end.exit_status == 0:
            self._line(f"IMPORTED: {change.device.title}, pulled when all of it had been read", "bold green")
            self._line(f"  '{end.label}' is in {end.target}")
        self._line(f"receipt for {change.device.title}: {_short(end.receipt)}" if end.receipt else
                   f"no receipt for {change.device.title}: {end.what}")

    def _line(self, text: str, style: str = "") -> None:
        """One line with the time, or one below it, which begins with a space; folded between words on a terminal."""
        if not text.strip():
            return
        first = " " * _INDENT if text.startswith(" ") else time.strftime("%H:%M:%S ")
        text = first + shown(text.strip())
        if self._live is not None:
            text = textwrap.fill(text, max(output.out().width, 40), subsequent_indent=" " * _INDENT,
                                 break_long_words=False, break_on_hyphens=False, drop_whitespace=True)
        output.out().print(Text(text, style=style))

    def _table(self) -> Table:
        grid = Table(box=None, title=Text(self._title), title_justify="left", title_style="bold", pad_edge=False,
                     expand=True, show_header=False)
        grid.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        grid.add_column(ratio=4, no_wrap=True, overflow="ellipsis")
        drives = [drive for drive in self._gathering.drives.values() if drive.state not in GONE]
        if not drives:
            grid.add_row(Text("plug in a drive", style="dim"))
        for drive in drives:
            grid.add_row(Text(drive.device.title), self._cell(drive))
        return grid

    def _cell(self, drive: AttachedDrive) -> Text:
        state = drive.state
        if state is DriveState.IMPORTING and self._at is not None:
            return Text(self._progress(self._at), style="cyan")
        style = "green" if state in GOOD else "red" if state in BAD else "cyan" if state in _BUSY else "yellow" if (
            state is DriveState.WAITING) else ""
        if state is DriveState.ATTACHED:
            return Text("plugged in")
        rest = self._done if state in VERDICTS else "leave it in"
        return Text(f"{_WORDS.get(state, state.value).lower()} - {rest}", style=style)

    def _progress(self, at: ProgressAnswer) -> str:
        if not at.total:
            return f"{at.phase or f'importing: {at.state}'} - leave it in"
        passed = time.monotonic() - self._began
        rate = (at.done - self._behind) / passed if passed > 0 else 0.0
        left = f", {output.duration((at.total - at.done) / rate)} left" if rate > 0 else ""
        return f"{at.phase} {at.done * 100 // at.total} %, {output.human(int(rate))}/s{left}"


def _short(receipt: str) -> str:
    """The name of a receipt, as a pattern that finds it in `state/receipts`."""
    name = os.path.basename(receipt)
    parts = name.split("-", 3)
    return f"{parts[0]}-{parts[1]}-*-{parts[3].partition('.')[0]}" if len(parts) == 4 else name


def _said(at: ProgressAnswer) -> str:
    return at.phase or at.state


def change_line(change: Change) -> dict[str, Any]:
    """A change of a drive for a machine, the words as in `docs/watching.md`."""
    end, device = change.end, change.device
    line: dict[str, Any] = {
        "event": change.event, "state": change.state.value, "at": int(time.time()), "detail": change.detail,
        "bundle": change.bundle, "drive": {
            "key": device.key, "node": device.node, "size": device.size, "file_system": device.kind,
            "label": device.label, "serial": device.serial, "vendor": device.vendor, "model": device.model,
            "bus": device.bus, "port": device.port}}
    if end is not None:
        line["import"] = output.plain(end)
    return line


def print_line(value: object) -> None:
    """One object on one line."""
    sys.stdout.buffer.write(json.dumps(value).encode() + b"\n")
    sys.stdout.buffer.flush()
