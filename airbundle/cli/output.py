"""What a person sees: tables, sizes, progress, errors. `--json` prints one object on stdout; the rest is on stderr."""

from __future__ import annotations

import functools
import json
import os
import sys
import textwrap
import threading
import time
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Self

import msgspec

from airbundle.errors import UsageError
from airbundle.format.names import shown
from airbundle.stages import bound_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from airbundle.errors import AirbundleError
    from airbundle.media.unplug import SettledDrive
    from airbundle.transfer.progress import Tick

_SURE_AFTER = 5.0  # seconds after which it is said what bounds a run
_TERMINAL_SIGNS = {"FORCE_COLOR", "TTY_COMPATIBLE"}  # by which rich takes for a terminal what is none


@functools.cache
def _console(*, stderr: bool) -> Console:
    """Rich is imported when it is needed: off a terminal it may never be."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)


def out() -> Console:
    """Standard output for a person."""
    return _console(stderr=False)


def err() -> Console:
    """Standard error, likewise."""
    return _console(stderr=True)


def _on_terminal() -> bool:
    """Whether standard error is one, or is said to be one; what it is worth is for rich to say."""
    return (sys.stderr.isatty() or not _TERMINAL_SIGNS.isdisjoint(os.environ)) and err().is_terminal


def _text(words: str, style: str = "") -> Text:
    """Text and not markup: what a stranger wrote in a bundle is shown as it is."""
    from rich.text import Text

    return Text(words, style=style)


def human(size: int) -> str:
    """A size with a binary suffix."""
    amount = float(size)
    for suffix in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{size} B" if suffix == "B" else f"{amount:.1f} {suffix}"
        amount /= 1024
    return f"{amount:.2f} TiB"


def duration(seconds: float) -> str:
    """A span of time for a person."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def spent(stages: dict[str, float]) -> str:
    """Where the time of a run went, the largest stages first, and what a faster run would need."""
    total = sum(stages.values())
    if not total:
        return "-"
    largest = sorted(stages.items(), key=lambda item: -item[1])[:5]
    shares = ", ".join(f"{stage} {share / total:.0%}" for stage, share in largest)
    return f"{shares}; the {bound_by(stages)} bounds it"


def moment(seconds: int | None) -> str:
    """A time of the format (seconds since 1970) for a person, in UTC."""
    if seconds is None:
        return "never"
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"


def table(rows: Iterable[Sequence[object]], *, head: Sequence[str] = (), title: str = "") -> None:
    """A plain table on stdout, made for 80 columns."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, show_header=bool(head), title=title or None, title_justify="left", pad_edge=False,
                 title_style="bold")
    rows = [list(row) for row in rows]
    for number in range(max((len(row) for row in rows), default=len(head))):
        grid.add_column(head[number] if number < len(head) else "", overflow="fold",
                        style="dim" if not head and number == 0 else "", no_wrap=not head and number == 0)
    for row in rows:
        grid.add_row(*(_text(shown(str(cell)) if cell is not None else "-") for cell in row))
    # Off a terminal nothing is folded: a program, or grep, reads the lines.
    Console(highlight=False, emoji=False, width=None if out().is_terminal else 1000).print(grid)


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def say(text: str) -> None:
    """A line for the person, on stderr."""
    err().print(_folded(text), markup=False)


def tell(text: str) -> None:
    """Lines of an answer, on stdout."""
    for line in text.splitlines():
        out().print(_text(shown(line)))


def _print_line(text: str) -> None:
    """A line of our own numbers, on stderr: rich has nothing to add to it."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def good(text: str) -> None:
    """The green line, on stdout."""
    out().print(_text(shown(text), style="bold green"))


def warn(text: str) -> None:
    """A yellow line, on stderr."""
    err().print(_text(_folded(f"warning: {shown(text)}"), style="yellow"))


def unplug(drives: Iterable[SettledDrive]) -> None:
    """A green line for each drive on which everything is that was written."""
    for drive in drives:
        good(f"safe to unplug: {drive}")


def emit(command: str, value: object, drives: Iterable[SettledDrive] | None = None) -> None:
    """The one JSON object of a command that was done, with the `drives` that may be unplugged."""
    beside = {} if drives is None else {"safe_to_unplug": [plain(drive) for drive in drives]}
    _print_json({"command": command, "exit": 0, "result": plain(value), **beside})


def emit_error(command: str, error: AirbundleError) -> None:
    """The one JSON object of a command that was not."""
    _print_json({"command": command, "exit": error.exit_status, "error": type(error).__name__,
                 "code": error.code, "where": error.where,
                 "what": error.what, "hint": error.hint, "rule": error.rule,
                 "report": plain(error.report) if error.report is not None else None})


def _print_json(value: object) -> None:
    # ASCII alone, so that no text of a stranger's steers a terminal (E-4).
    sys.stdout.buffer.write(json.dumps(_encodable(value), indent=2).encode() + b"\n")
    sys.stdout.buffer.flush()


def _encodable(value: Any) -> Any:
    """`value` with the bytes of names on a medium that are no Unicode text written as escapes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list | tuple) else value


def plain(value: object) -> Any:
    """Dataclasses and structs as dictionaries."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return msgspec.to_builtins(value)


def show_error(error: AirbundleError) -> None:
    """The two lines of an error."""
    head = "airbundle: error:"
    line = _text(_folded(f"{head} {shown(str(error))}"))
    line.stylize("bold red", 0, len(head))
    err().print(line)
    for number, hint in enumerate(error.hint.splitlines()):
        say(f"  {shown(hint)}" if number else f"airbundle: hint: {shown(hint)}")


def _folded(text: str) -> str:
    """On a terminal lines are folded between words, never inside one, so that a path can be copied."""
    if not _on_terminal():
        return text
    return "\n".join(textwrap.fill(line, max(err().width, 20), break_long_words=False, break_on_hyphens=False)
                     for line in text.splitlines())


class ProgressView:
    """Progress on a terminal, plain lines elsewhere, JSON lines when asked. Use as a context; call with ticks."""

    def __init__(self, style: str, *, quiet: bool = False) -> None:
        if style not in {"auto", "plain", "json", "none"}:
            raise UsageError(f"--progress {style}", hint="give auto, plain, json or none")
        self._style = "none" if quiet else style
        if self._style == "auto":
            self._style = "fancy" if _on_terminal() else "plain"
        self._lock = threading.Lock()
        self._bar: Progress | None = None
        self._task: Any = None
        self._phase = ""
        self._began = self._last = 0.0

    def __enter__(self) -> Self:
        if self._style == "fancy":
            from rich.progress import (  # takes a while, and only a terminal needs it
                BarColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn(
                "{task.fields[amount]}"), TimeRemainingColumn(), console=err(), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Take the bar away, so that lines can be shown; the next tick brings it back."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()

    def __call__(self, tick: Tick) -> None:
        """Take a tick from any thread."""
        with self._lock:
            if tick.warning:
                self._show_warning(tick)
            elif self._bar is not None:
                self._show_bar(tick)
            elif self._style in {"plain", "json"}:
                self._show_line(tick)

    def _show_warning(self, tick: Tick) -> None:
        if self._style == "json":
            err().print(msgspec.json.encode({"phase": tick.phase, "warning": tick.warning}).decode(), markup=False)
        elif self._style != "none":  # above the bar, if there is one; the result says it too
            warn(tick.warning)

    def _show_bar(self, tick: Tick) -> None:
        assert self._bar is not None
        self._bar.start()
        if tick.phase != self._phase:
            self._phase, self._began = tick.phase, time.monotonic()
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(tick.phase, total=tick.total or None, amount="")
        passed = time.monotonic() - self._began
        rate = f", {human(round(tick.done / passed))}/s" if passed > 0 and tick.done else ""
        bound = f", the {tick.bound_by} bounds it" if tick.bound_by and passed > _SURE_AFTER else ""
        amount = f"{human(tick.done)} of {human(tick.total)}{rate}{bound}" if tick.total else ""
        self._bar.update(self._task, completed=tick.done, amount=amount)

    def _show_line(self, tick: Tick) -> None:
        now = time.monotonic()
        if tick.phase != self._phase:
            self._phase, self._began = tick.phase, now
        elif now - self._last < 1.0 and tick.done < tick.total:
            return
        self._last = now
        rate = tick.done / (now - self._began) if now > self._began else 0.0
        left = round((tick.total - tick.done) / rate) if rate else None
        if self._style == "json":
            line = msgspec.json.encode({"phase": tick.phase, "done": tick.done, "total": tick.total,
                                        "rate": round(rate), "eta": left, "bound_by": tick.bound_by})
            _print_line(line.decode())
        elif tick.total and tick.done:
            _print_line(f"{tick.phase}: {human(tick.done)} of {human(tick.total)}, {human(round(rate))}/s, "
                        f"{left if left is not None else '?'} s left")
