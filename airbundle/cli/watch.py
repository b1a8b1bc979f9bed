"""watch: verify and import what is plugged in."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
from typing import TYPE_CHECKING, Annotated, Final

import typer

from airbundle.cli import output
from airbundle.cli.live import WatchView
from airbundle.cli.station import POLICY_ENVIRONMENT, load_tightened
from airbundle.devices.drive_states import DriveEvent, DriveState
from airbundle.devices.gathering import Gathering, event_of
from airbundle.devices.hooks import HOOK_TIMEOUT, HookRunner
from airbundle.devices.mounting import own_mounts
from airbundle.devices.sources import SOURCES, DeviceSource, open_drive_source
from airbundle.devices.units import POLICY, units
from airbundle.devices.watcher import Watcher, stopping
from airbundle.devices.workers import Reader, ReadingWorker, reader_of
from airbundle.errors import UsageError
from airbundle.media.faults import reporting
from airbundle.media.streams import make_private
from airbundle.station.commands import require_program, run_command
from airbundle.transfer.verdict import PRECEDENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airbundle.devices.gathering import Change
    from airbundle.devices.sources import DriveSource
    from airbundle.station.policy import LoadedPolicy

_LOCKS: Final = "/run/airbundle"
_OF_STATES: Final = {DriveState.BARRED: 6, DriveState.UNREADABLE: 9, DriveState.PULLED: 9, DriveState.FAILED: 9}
"""Exit status of a verdict that no import led to."""

SourceName = Annotated[str, typer.Option("--source", metavar="|".join(SOURCES), help="Where to hear of drives.")]
MountsAt = Annotated[str, typer.Option(
    "--mounts", metavar="DIR", help="Take each folder in DIR for a drive that somebody mounted.")]


def watch(policy_file: Annotated[str, typer.Option("--policy", metavar="FILE", envvar=POLICY_ENVIRONMENT,
                                                   help="What this station lets in.")] = "",
          source: SourceName = "auto", mounts_at: MountsAt = "",
          once: Annotated[bool, typer.Option("--once", help="End when all that is attached has its verdict.")] = False,
          print_units: Annotated[bool, typer.Option(
              "--print-units", help="Print services and rules for systemd, udev and usbguard.")] = False,
          as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False) -> int:
    """Verify and import what is plugged in, by itself: one line, green or red, and a receipt for each bundle.

    Run as root it mounts drives read-only and reads them as the owner of the policy. Anybody else gives
    --source mounts or --mounts DIR: then it reads what others mounted.
    """
    if print_units:
        output.tell(_units(policy_file))
        return 0
    if not policy_file:
        raise UsageError("no policy", hint="--policy FILE; airbundle policy init writes one")
    policy = load_tightened(policy_file)
    with _alone(policy), contextlib.ExitStack() as stack:
        reader = reader_of(policy.rules.watch.user, policy.path)
        heard = _opened(source, mounts_at)
        gathering = Gathering(policy.rules.devices.allow)
        ends = _Ends()
        view = WatchView(gathering, as_json=as_json, title=_title(policy, heard, reader),
                         mounted_by_others=not isinstance(heard, DeviceSource))
        listeners = [view.tell, *([ends.take] if once else [])]
        if hook := policy.rules.watch.hook:
            require_program(hook, "the hook of [watch]")
            listeners.append(stack.enter_context(HookRunner(_hook(hook, reader))).tell)
        looker, importer = (ReadingWorker(reader, policy.path, policy.tighter) for _ in range(2))
        watcher = stack.enter_context(Watcher(
            heard, gathering, looker, importer,
            hear=lambda change: _tell_all(listeners, change), progress=view.advance))
        stack.enter_context(view)
        with stopping(watcher):
            watcher.run(once=once, tick=view.draw)
    return ends.status if once else 0


def _units(policy_file: str) -> str:
    """For this policy, or for where one ought to lie."""
    if not policy_file:
        return units(POLICY, [os.path.dirname(POLICY)], "station")
    policy = load_tightened(policy_file)
    others = [f"-{path}" for path in (policy.state, policy.root, policy.receipts_to)
              if path and not os.path.realpath(path).startswith(os.path.realpath(policy.folder) + os.sep)]
    with contextlib.suppress(KeyError):
        return units(policy.path, [policy.folder, *others], policy.rules.watch.user or pwd.getpwuid(
            os.stat(policy.path).st_uid).pw_name)
    raise UsageError("its owner has no name here", where=policy.path, hint="name a user by [watch] user")


def _tell_all(listeners: Sequence[Callable[[Change], None]], change: Change) -> None:
    for listener in listeners:
        listener(change)


class _Ends:
    """The worst of what came of the drives and of each bundle on them."""

    def __init__(self) -> None:
        self._of_drives: dict[str, int] = {}
        self._of_bundles: dict[str, set[int]] = {}

    @property
    def status(self) -> int:
        found = set(self._of_drives.values()).union(*self._of_bundles.values())
        return next((status for status in PRECEDENCE if status in found), 0)

    def take(self, change: Change) -> None:
        if change.event == "receipt":
            if change.end is not None and change.end.exit_status == 0:  # it was pulled when all of it had been read
                self._of_drives.pop(change.device.key, None)
            return
        if change.end is not None:
            ends = self._of_bundles.setdefault(change.bundle, set())
            ends.discard(3)  # a later drive may have completed what waited; if not, this one says so too
            ends.add(0 if event_of(change.end) is DriveEvent.REPLAY else change.end.exit_status)
        elif change.state in _OF_STATES:
            self._of_drives[change.device.key] = _OF_STATES[change.state]


@contextlib.contextmanager
def _alone(policy: LoadedPolicy) -> Iterator[None]:
    """One watcher to a policy, by a lock that nobody else may open, so that nobody else can hold it."""
    if os.geteuid() == 0:
        os.makedirs(_LOCKS, mode=0o755, exist_ok=True)
        name = hashlib.sha256(os.fsencode(os.path.realpath(policy.path))).hexdigest()[:16]
        path = os.path.join(_LOCKS, f"{name}.lock")
    else:
        path = os.path.join(make_private(policy.state), "watch.lock")
    with reporting(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError("another watcher is running with it", where=policy.path,
                             hint="end that one first, or look at it: systemctl status airbundle-watch") from None
        yield
    finally:
        os.close(descriptor)


def _opened(source: str, mounts_at: str) -> DriveSource:
    """The source; where it mounts drives itself, in mounts of this process alone."""
    if source not in SOURCES:
        raise UsageError(f"--source {source}", hint=f"give {', '.join(SOURCES)}")
    if not mounts_at and source != "mounts":
        if os.geteuid() != 0:
            raise UsageError("mounting needs root", hint="run it as root, or give --source mounts or --mounts DIR")
        own_mounts()
    return open_drive_source(source, mounts_at)


def _title(policy: LoadedPolicy, source: DriveSource, reader: Reader | None) -> str:
    who = f", read as {reader.name}" if reader is not None else ""
    return f"{policy.rules.station.name}: watching drives ({source.name}{who})"


def _hook(command: Sequence[str], reader: Reader | None) -> Callable[[Mapping[str, str]], None]:
    def run(environment: Mapping[str, str]) -> None:
        end = run_command(command, environment=environment, timeout=HOOK_TIMEOUT, reader=reader)
        if end.status != 0:
            output.warn(f"the hook {end.said}")
    return run
