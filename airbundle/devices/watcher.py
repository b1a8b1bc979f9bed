"""The watcher: listens to a source, does what `gathering` asks, and tells what happened. One thread, and one a mount.

It may have privileges, and parses nothing of a medium: mounting is the kernel's, finding and importing are done by
processes that have none (`workers.py`). What they say decides no path and no command here.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import tempfile
import time
from concurrent.futures import TimeoutError as NotInTime
from typing import TYPE_CHECKING, Final, Self

from airbundle.devices.background import Background
from airbundle.devices.drive_states import DriveState
from airbundle.devices.gathering import Change, HeldBundle, Import, ImportEnd, Look, Mount, Unmount
from airbundle.devices.messages import (
    NODE_MAX,
    BarredRequest,
    EndedAnswer,
    FoundAnswer,
    ImportRequest,
    LookRequest,
    ProgressAnswer,
    from_hex,
    to_hex,
)
from airbundle.devices.sources import Plugged
from airbundle.devices.workers import stop_workers
from airbundle.errors import AirbundleError, MediumError, PulledError, UsageError
from airbundle.format.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from airbundle.devices.block import BlockDevice
    from airbundle.devices.gathering import Gathering
    from airbundle.devices.messages import Answer
    from airbundle.devices.sources import DriveSource
    from airbundle.devices.workers import ReadingWorker

_ANSWERS_IN: Final = 3.0
"""Seconds in which a device that is there gives a sector."""
_LOOK_ENDS_IN, _IMPORT_ENDS_IN = 5.0, 20.0
"""Seconds that a reader has to note that its drives are gone."""
_MOUNTS_END_IN: Final = 2.0
_OF_BARRED: Final = 0
"""The ticket of what is asked of a drive that was not mounted; those of `gathering` begin behind it."""


class Watcher:
    """Use as a context. `hear` is told each change, `progress` how far the import is."""

    def __init__(self, source: DriveSource, gathering: Gathering, looker: ReadingWorker, importer: ReadingWorker, *,
                 hear: Callable[[Change], None], progress: Callable[[ProgressAnswer], None]) -> None:
        self.gathering, self._source = gathering, source
        self._looker, self._importer = looker, importer
        self._hear, self._progress = hear, progress
        self._points: dict[int, str] = {}
        self._looks: list[Look] = []
        self._barred: list[BlockDevice] = []
        self._next_import: Import | None = None
        self._mounting: dict[Future[str], Mount] = {}
        self._background = Background()
        self._idle_since: dict[int, float] = {}
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._base = ""
        self._stopped = False

    def stop(self) -> None:
        """End the run soon. May be called by a signal handler."""
        self._stopped = True
        os.eventfd_write(self._bell, 1)

    def run(self, *, once: bool, tick: Callable[[], None] = lambda: None) -> None:
        """Watch until `stop`, or with `once` until all that is attached has its verdict. `tick` is called between.

        Raises UsageError or MediumError where the source ends.
        """
        for worker in (self._looker, self._importer):
            worker.start()
        for device in self._source.attached():
            self.gathering.plug(device, time.monotonic())
        while not self._stopped:
            self._step()
            tick()
            if once and self._is_idle():
                return
            self._wait()

    def _step(self) -> None:
        self._listen()
        self._abandon(time.monotonic())
        self.gathering.tick(time.monotonic())
        while self.gathering.actions:
            self._do(self.gathering.actions.pop(0))
        self._ask_next()
        for change in self._taken_changes():
            if change.state is DriveState.BARRED:
                self._barred.append(change.device)
            self._hear(change)

    def _is_idle(self) -> bool:
        return self.gathering.idle and not (self._barred or self._mounting or self._importer.busy or self._looker.busy)

    def _taken_changes(self) -> list[Change]:
        changes, self.gathering.changes = self.gathering.changes, []
        return changes

    def _wait(self) -> None:
        """Until something happens, or time is up."""
        poll = select.poll()
        for descriptor, events in self._source.descriptors():
            poll.register(descriptor, events)
        poll.register(self._bell, select.POLLIN)
        for worker in (self._looker, self._importer):
            if worker.descriptor() >= 0:
                poll.register(worker.descriptor(), select.POLLIN)
        waits = [1.0]  # the view has clocks
        if self._source.interval is not None:
            waits.append(self._source.interval)
        deadline = self.gathering.deadline()
        if deadline is not None:
            waits.append(max(deadline - time.monotonic(), 0.0))
        poll.poll(min(waits) * 1000 + 1)

    # ---- what comes in ----

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        for event in self._source.heard():
            now = time.monotonic()
            if isinstance(event, Plugged):
                self._pull(event.device.name, now, but=event.device.key)
                self.gathering.plug(event.device, now)
            else:
                self._pull(event.name, now)
        for worker in (self._looker, self._importer):
            for answer in worker.answers():
                self._take(answer)
        for future in [one for one in self._mounting if one.done()]:
            self._mounted(self._mounting.pop(future), future)

    def _pull(self, name: str, now: float, but: str = "") -> None:
        for key, drive in list(self.gathering.drives.items()):
            if drive.device.name == name and key != but:
                self.gathering.pull(key, now)

    def _take(self, answer: Answer) -> None:
        job = self.gathering.job
        if isinstance(answer, ProgressAnswer):
            if job is not None and answer.ticket == job.ticket:
                self._progress(answer)
        elif answer.ticket == _OF_BARRED:
            if isinstance(answer, EndedAnswer):
                device = self._barred.pop(0)
                self._hear(Change(device, "receipt", DriveState.BARRED, answer.what, end=self._end(answer)))
        elif job is not None and answer.ticket == job.ticket:
            if isinstance(answer, EndedAnswer):
                self._import_ended(job, answer)
        else:
            self._looked(answer)

    def _import_ended(self, job: Import, answer: EndedAnswer) -> None:
        """Before a failure is believed, it is looked whether the drives are there: a pulled one looks damaged."""
        if answer.exit_status != 0:
            gone = [key for key in job.keys if key in self.gathering.drives
                    and not self._is_there(self.gathering.drives[key].device)]
            if not gone and answer.code == PulledError.code and len(job.keys) == 1:
                gone = list(job.keys)  # as the reader saw it: a folder may stay when its drive is gone
            for key in gone:
                self.gathering.pull(key, time.monotonic())
        self.gathering.ended(job.ticket, self._end(answer), time.monotonic())

    def _is_there(self, device: BlockDevice) -> bool:
        return self._background.ask(lambda: self._source.is_there(device), _ANSWERS_IN, otherwise=False)

    def _abandon(self, now: float) -> None:
        """A reader that is busy with drives that are gone does not keep the next ones waiting for ever."""
        for worker, patience in ((self._looker, _LOOK_ENDS_IN), (self._importer, _IMPORT_ENDS_IN)):
            ticket = worker.busy.ticket if worker.busy is not None else None
            if ticket is None or self._is_wanted(ticket):
                self._idle_since.pop(id(worker), None)
            elif now > self._idle_since.setdefault(id(worker), now) + patience:
                worker.abandon()
                if self.gathering.job is not None and self.gathering.job.ticket == ticket:
                    self.gathering.ended(ticket, ImportEnd(
                        PulledError.exit_status, PulledError.code, "its drives were pulled"), now)

    def _is_wanted(self, ticket: int) -> bool:
        job, drives = self.gathering.job, self.gathering.drives
        if job is not None and job.ticket == ticket:
            return any(drives[key].state is DriveState.IMPORTING for key in job.keys if key in drives)
        return ticket == _OF_BARRED or any(
            drive.ticket == ticket and drive.state is DriveState.LOOKING for drive in drives.values())

    def _end(self, answer: EndedAnswer) -> ImportEnd:
        """What a person should hear: volumes by their names alone, since where they were mounted is gone with that.

        Who read the drive may be in a stranger's hands, so all of it is made fit to be shown.
        """
        point = re.compile(re.escape(self._base + os.sep) + r"[0-9]+/")
        what, hint = (shown(point.sub("", text)) for text in (answer.what, answer.hint))
        return ImportEnd(answer.exit_status, shown(answer.code), what, hint, shown(answer.receipt),
                         shown(answer.target), shown(answer.label))

    def _looked(self, answer: FoundAnswer | EndedAnswer) -> None:
        key = next((key for key, drive in self.gathering.drives.items() if drive.ticket == answer.ticket), "")
        if not key:
            return
        if isinstance(answer, FoundAnswer):
            self.gathering.found(key, answer.ticket, tuple(
                HeldBundle(one.bundle, tuple(map(from_hex, one.folders))) for one in answer.held))
        elif answer.exit_status:
            device = self.gathering.drives[key].device
            if not self._is_there(device):
                self.gathering.pull(key, time.monotonic())
            self.gathering.look_failed(key, answer.ticket, answer.what)
        else:  # of no effect where it was said before what lies there
            self.gathering.look_failed(key, answer.ticket, "what reads drives did not say what lies on it")

    def _mounted(self, asked: Mount, future: Future[str]) -> None:
        try:
            self._points[asked.ticket] = future.result()
        except AirbundleError as error:
            drive = self.gathering.drives.get(asked.key)
            if drive is not None and not self._is_there(drive.device):
                self.gathering.pull(asked.key, time.monotonic())
            self.gathering.not_mounted(asked.key, asked.ticket, str(error), sick=not isinstance(error, UsageError))
            self._clear(self._point(asked.ticket))
        else:
            self.gathering.mounted(asked.key, asked.ticket)

    # ---- what is done ----

    def _do(self, action: Mount | Look | Import | Unmount) -> None:
        if isinstance(action, Mount):
            self._mount(action)
        elif isinstance(action, Look):
            self._looks.append(action)
        elif isinstance(action, Unmount):
            self._unmount(action)
        else:
            self._next_import = action

    def _ask_next(self) -> None:
        """A reader answers one question at a time."""
        while self._looks and self._looker.busy is None:
            look = self._looks.pop(0)
            if look.ticket in self._points:
                self._looker.ask(LookRequest(ticket=look.ticket, point=to_hex(self._points[look.ticket])))
        if self._importer.busy is not None:
            return
        if self._next_import is not None:
            action, self._next_import = self._next_import, None
            self._import(action)
        elif self._barred:
            device = self._barred[0]
            self._importer.ask(BarredRequest(ticket=_OF_BARRED, node=shown(device.node)[:NODE_MAX],
                                             serial=device.serial,
                                             what=f"the policy names no drive like {device.title}"))

    def _import(self, action: Import) -> None:
        """Ask for an import, from the drives that were not pulled since."""
        here = {key: self._points[drive.ticket] for key in action.keys
                if (drive := self.gathering.drives.get(key)) is not None and drive.state is DriveState.IMPORTING}
        if not here:
            self.gathering.ended(action.ticket, ImportEnd(9, "pulled", "the drive was pulled"), time.monotonic())
            return
        self._importer.ask(ImportRequest(
            ticket=action.ticket, bundle=action.bundle, places=tuple(map(to_hex, here.values())),
            folders=tuple(to_hex(folder) for key, folders in action.parts if key in here for folder in folders)))

    def _mount(self, action: Mount) -> None:
        device, point = self.gathering.drives[action.key].device, self._point(action.ticket)
        os.makedirs(point, exist_ok=True)
        future = self._background.begin(lambda: self._source.mount(device, point), self._ring)
        self._mounting[future] = action

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it came back when all was over
            os.eventfd_write(self._bell, 1)

    def _unmount(self, action: Unmount) -> None:
        self._looks = [look for look in self._looks if look.ticket != action.ticket]
        point = self._points.pop(action.ticket, "")
        if point:
            with contextlib.suppress(MediumError):  # gone with its device
                self._source.unmount(point)
        self._clear(self._point(action.ticket))

    def _point(self, ticket: int) -> str:
        return os.path.join(self._base, str(ticket))

    def _clear(self, point: str) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(point)

    def __enter__(self) -> Self:
        place = os.environ.get("RUNTIME_DIRECTORY") or ("/run" if os.access("/run", os.W_OK) else None)
        self._base = tempfile.mkdtemp(prefix="airbundle-", dir=place)
        os.chmod(self._base, 0o755)  # noqa: S103 - who reads the drives has to get there, and nothing else is there
        return self

    def __exit__(self, *_: object) -> None:
        stop_workers((self._looker, self._importer))
        for future, asked in self._mounting.items():  # what hangs is not waited for: it ends with this process
            with contextlib.suppress(AirbundleError, NotInTime):
                self._points[asked.ticket] = future.result(_MOUNTS_END_IN)
        for ticket in list(self._points):
            self._unmount(Unmount(ticket))
        self._clear(self._base)
        os.close(self._bell)


@contextlib.contextmanager
def stopping(watcher: Watcher) -> Iterator[None]:
    """While inside, Ctrl-C and the system's request to end stop the watcher; asked again, it ends where it stands."""
    asked = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        watcher.stop()

    kept = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
