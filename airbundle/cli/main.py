"""The command line: verbs, and the one place where an error becomes two lines and an exit status."""

from __future__ import annotations

import contextlib
import gc
import importlib
import keyword
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import typer
from typer.exceptions import TyperException

from airbundle.cli import output
from airbundle.errors import AirbundleError, InterruptedRunError, MediumError, UsageError
from airbundle.media import streams
from airbundle.media.faults import medium_error
from airbundle.version import VERSION

if TYPE_CHECKING:
    from types import FrameType

VERBS: Final = {
    "keygen": "identity", "plan": "packing", "pack": "packing", "inspect": "reading", "verify": "reading",
    "repair": "keeping", "copy": "keeping", "sign": "signing", "rewrap": "signing", "unpack": "reading",
    "salvage": "reading", "rescue": "rescuing", "import": "station", "watch": "watch", "drives": "drives",
    "policy": "station", "waive": "station", "receipt": "evidence", "audit": "evidence", "custody": "custody",
    "slip": "slip", "doctor": "doctor", "demo": "demo", "trust": "identity",
}
"""The module of each verb, in the order of the help. Only the one that is asked for is imported."""
RESUMED: Final = {"pack", "copy", "sign", "rewrap", "import"}
SWITCH_INTERVAL: Final = 0.0005  # seconds; workers hold the interpreter for moments, and should not wait 5 ms for it
MADE_BETWEEN: Final = 50_000  # values; those that name files are kept by the ten thousand, and looked through in vain


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"airbundle {VERSION}")  # noqa: T201 - the command line prints
        raise typer.Exit


def _airbundle(version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True,
                                            help="Show the version.")) -> None:
    """Carry AI checkpoints across an air gap."""


def _app(command: str) -> typer.Typer:
    """The command line with one verb, or with all of them where `command` is none."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                      pretty_exceptions_enable=False, help=_airbundle.__doc__, callback=_airbundle)
    for verb in (command,) if command in VERBS else VERBS:
        found = getattr(importlib.import_module(f"airbundle.cli.{VERBS[verb]}"),
                        f"{verb}_" if keyword.iskeyword(verb) else verb)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=verb)
        else:
            app.command(verb)(found)
    gc.freeze()  # what was imported stays, and is not looked through again and again
    gc.enable()
    return app


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911 - one way out for each kind of end
    """Run one command; gives the exit status (spec of the command line in the README)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in arguments if not word.startswith("-")), "")
    as_json = "--json" in arguments
    try:
        status = int(_app(command)(arguments, prog_name="airbundle", standalone_mode=False) or 0)
    except AirbundleError as error:
        return _fail(command, error, as_json)
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            output.say(error.format_message())
            return UsageError.exit_status
        known = f"{command} " if command in VERBS else ""
        return _fail(command, UsageError(error.format_message(), hint=f"airbundle {known}--help"), as_json)
    except typer.Abort:  # the input ended where an answer was asked for
        return _fail(command, InterruptedRunError("stopped: no answer was given"), as_json)
    except KeyboardInterrupt:
        status = InterruptedRunError.exit_status
    except (OSError, MemoryError, SystemExit) as error:
        return _fail(command, _environment(error), as_json)
    except Exception as error:
        if as_json:
            output.emit_error(command, AirbundleError(f"a bug: {type(error).__name__}: {error}"))
        raise
    if status == InterruptedRunError.exit_status:  # typer turns Ctrl-C into this number and says nothing
        hint = "the same command goes on where this one was" if command in RESUMED else ""
        return _fail(command, InterruptedRunError("stopped", hint=hint), as_json)
    return status


def _environment(error: BaseException) -> MediumError:
    """What the surroundings did, in words."""
    if isinstance(error, OSError):
        return medium_error(error, str(error.filename or ""))
    if isinstance(error, MemoryError):
        return MediumError("out of memory", hint="take fewer --jobs")
    return MediumError("nobody reads standard output")  # SystemExit is typer's way out of that


def _fail(command: str, error: AirbundleError, as_json: bool) -> int:
    # A stream that takes nothing changes nothing in what happened; SystemExit is rich's way out of a broken pipe.
    with contextlib.suppress(OSError, SystemExit):
        if as_json:
            output.emit_error(command, error)
    with contextlib.suppress(OSError, SystemExit):
        output.show_error(error)
    return error.exit_status


def _on_terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def run() -> NoReturn:
    """The console script."""
    streams.replace_closed()
    signal.signal(signal.SIGTERM, _on_terminate)
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(MADE_BETWEEN)
    try:
        status = main()
    except KeyboardInterrupt:  # asked once more to stop, while that was being said
        status = InterruptedRunError.exit_status
    if not streams.flush_output():
        status = status or MediumError.exit_status
    gc.freeze()  # the end of the interpreter need not look through all that is there
    sys.exit(status)
