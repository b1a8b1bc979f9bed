"""Which drives are here, which bundle lies on which, and what is to be done next. Pure: it does nothing itself.

What happens comes in by methods (`plug`, `mounted`, `found`, `ended`, `pull`, `tick`), what is to be done comes out of
`actions`, what a person should hear out of `changes`. Time is a number of seconds that only grows.

Drives come one after another through one port or all at once. An import is given every drive that is here with
something of its bundle, once no other drive is on its way to be one of them; there is one import at a time. Drives
whose bundle waits for more are called back when another of its drives comes. An answer about a drive that was pulled
meanwhile is dropped: tickets tell answers apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airbundle.devices.drive_states import GONE, READ, DriveEvent, DriveState, step
from airbundle.devices.rules import barred, concerns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airbundle.devices.block import BlockDevice
    from airbundle.devices.rules import DeviceRow

SETTLE: Final = 0.5
"""Seconds for which a device is left alone after the last that was heard of it."""
SETTLE_MAX: Final = 10.0
"""Seconds after which it is taken as it is, though news of it never end."""
PATIENCE: Final = 8.0
"""Seconds for which an import waits for drives that are on their way."""
BUNDLES_MAX: Final = 64
"""Bundles on one drive that are looked at."""
REMEMBERED: Final = 24
"""Drives that are gone and still known."""
_WORST_FIRST: Final = (DriveEvent.FAIL, DriveEvent.REFUSE, DriveEvent.INCOMPLETE, DriveEvent.PUBLISHED,
                       DriveEvent.REPLAY)


@dataclass(frozen=True, slots=True)
class HeldBundle:
    """The folders of one bundle on a drive; without an id where nothing tells which bundle it is."""

    bundle: str
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportEnd:
    """How an import ended: exit status, the code of its error, both as of `airbundle import`, and what to tell."""

    exit_status: int
    code: str = ""
    what: str = ""
    hint: str = ""
    receipt: str = ""
    target: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """Set the drive read-only and mount it."""

    key: str
    ticket: int


@dataclass(frozen=True, slots=True)
class Look:
    """Find the volumes on the drive."""

    key: str
    ticket: int


@dataclass(frozen=True, slots=True)
class Import:
    """Import a bundle from the folders of these drives: the key of each, and its folders."""

    bundle: str
    parts: tuple[tuple[str, tuple[str, ...]], ...]
    ticket: int

    @property
    def keys(self) -> tuple[str, ...]:
        """The drives."""
        return tuple(key for key, _ in self.parts)


@dataclass(frozen=True, slots=True)
class Unmount:
    """Let go of what was mounted under this ticket."""

    ticket: int


Action = Mount | Look | Import | Unmount


@dataclass(frozen=True, slots=True)
class Change:
    """A drive came to another state. `end` is the import that led there, if one did."""

    device: BlockDevice
    event: str
    state: DriveState
    detail: str = ""
    bundle: str = ""
    end: ImportEnd | None = None


@dataclass
class AttachedDrive:
    """A drive, where it is, and what is on it: `todo` has still to be imported, `ends` was."""

    device: BlockDevice
    since: float
    first: float
    state: DriveState = DriveState.ATTACHED
    ticket: int = 0
    mounted: bool = False
    detail: str = ""
    todo: list[HeldBundle] = field(default_factory=list)
    held: tuple[HeldBundle, ...] = ()
    ends: dict[str, DriveEvent] = field(default_factory=dict)


class Gathering:
    """All drives at a station. `drives` are by key, in the order in which they came."""

    def __init__(self, rows: Sequence[DeviceRow] = ()) -> None:
        self._rows = tuple(rows)
        self._tickets = 0
        self._job: Import | None = None
        self._now = 0.0
        self.drives: dict[str, AttachedDrive] = {}
        self.actions: list[Action] = []
        self.changes: list[Change] = []

    @property
    def job(self) -> Import | None:
        """The import that is going on."""
        return self._job

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be done until something happens."""
        return not self.actions and self._job is None and all(
            drive.state in GONE or (not drive.mounted and drive.state not in {DriveState.ATTACHED, DriveState.MOUNTING})
            for drive in self.drives.values())

    # ---- what happens ----

    def plug(self, device: BlockDevice, now: float) -> None:
        """A device is there, or something of it changed. The whole of a disk that has parts is none of ours."""
        self._now = now
        known = self.drives.get(device.key)
        if known is not None and known.state not in GONE:
            if known.state is DriveState.ATTACHED:
                known.device, known.since = device, now
                return
            if known.state is not DriveState.UNREADABLE or known.device == device:
                return
            self.pull(device.key, now)  # what had no file system has one now
        if device.parts or not concerns(device, self._rows):
            self.drives.pop(device.key, None)
            return
        self.drives.pop(device.key, None)
        drive = self.drives[device.key] = AttachedDrive(device, now, now)
        self.changes.append(Change(device, "plug", drive.state))
        self._forget()

    def pull(self, key: str, now: float) -> None:
        """A device is gone."""
        self._now = now
        drive = self.drives.get(key)
        if drive is None or drive.state in GONE:
            return
        if drive.mounted:
            self._unmount(drive)
        self._move(drive, DriveEvent.PULL)
        drive.ticket, drive.todo = 0, []

    def mounted(self, key: str, ticket: int) -> None:
        """It is mounted, under this ticket."""
        drive = self._asked(key, ticket, DriveState.MOUNTING)
        if drive is None:
            self.actions.append(Unmount(ticket))
            return
        drive.mounted = True
        self._move(drive, DriveEvent.MOUNTED)
        self.actions.append(Look(key, ticket))

    def not_mounted(self, key: str, ticket: int, why: str, *, sick: bool) -> None:
        """It cannot be mounted: its file system is none that can be, or the device is `sick`, or guards are missing."""
        drive = self._asked(key, ticket, DriveState.MOUNTING)
        if drive is not None:
            self._move(drive, DriveEvent.FAIL if sick or drive.ends else DriveEvent.NOT_MOUNTED, why)

    def found(self, key: str, ticket: int, held: Sequence[HeldBundle]) -> None:
        """What lies on it."""
        drive = self._asked(key, ticket, DriveState.LOOKING)
        if drive is None:
            return
        wanted = {one.bundle for one in drive.todo}  # when it was called back: what it was called for
        drive.todo = [one for one in held if not wanted or one.bundle in wanted]
        drive.held = tuple(held)
        if len(drive.todo) > BUNDLES_MAX:
            self._fail(drive, f"there is something of {len(held)} bundles on it, and at most {BUNDLES_MAX} are read")
        elif not drive.todo:
            self._unmount(drive)
            self._move(drive, DriveEvent.FAIL if wanted else DriveEvent.NOTHING_FOUND)
        else:
            drive.since = self._now
            self._move(drive, DriveEvent.VOLUMES_FOUND)

    def look_failed(self, key: str, ticket: int, why: str) -> None:
        """It could not be found out what lies on it."""
        drive = self._asked(key, ticket, DriveState.LOOKING)
        if drive is not None:
            self._fail(drive, why)

    def ended(self, ticket: int, end: ImportEnd, now: float) -> None:
        """The import with this ticket ended. Drives that are gone must have been pulled before this is said."""
        self._now = now
        job = self._job
        assert job is not None
        assert job.ticket == ticket
        self._job = None
        drives = [self.drives[key] for key in job.keys if key in self.drives]
        here = [drive for drive in drives if drive.state is DriveState.IMPORTING]
        event = event_of(end)
        lost_one = len(here) < len(job.keys) and event in {DriveEvent.FAIL, DriveEvent.INCOMPLETE}
        for drive in drives:
            if drive.state is DriveState.PULLED:
                self.changes.append(Change(drive.device, "receipt", drive.state, end.what, job.bundle, end))
        for drive in here:
            if lost_one:  # what the others hold is tried without the one that was pulled
                self._move(drive, DriveEvent.ANOTHER, "another drive of the bundle was pulled: once more without it",
                           job.bundle)
                drive.since = now
                continue
            drive.ends[job.bundle] = event
            drive.todo = [one for one in drive.todo if one.bundle != job.bundle]
            if drive.todo:
                self._move(drive, DriveEvent.ANOTHER, end.what, job.bundle, end)
            else:
                self._unmount(drive)
                self._move(drive, _worst(drive.ends), end.what, job.bundle, end)

    def tick(self, now: float) -> None:
        """Time has passed: devices settle, and an import may begin."""
        self._now = now
        for drive in list(self.drives.values()):
            if drive.state is DriveState.ATTACHED and now >= _settled_at(drive):
                self._settle(drive)
        self._choose()

    def deadline(self) -> float | None:
        """When `tick` has something to do though nothing happens."""
        waits = [_settled_at(drive) for drive in self.drives.values() if drive.state is DriveState.ATTACHED]
        if self._job is None:
            waits += [drive.since + PATIENCE for drive in self.drives.values() if drive.state is DriveState.READY]
        return min(waits, default=None)

    # ---- what follows ----

    def _settle(self, drive: AttachedDrive) -> None:
        why = barred(drive.device, self._rows)
        if why:
            self._move(drive, DriveEvent.BAR, why)
        elif not drive.device.kind:
            self._move(drive, DriveEvent.NO_FILE_SYSTEM, "there is no file system on it")
        else:
            self._mount(drive, DriveEvent.ADMIT)

    def _choose(self) -> None:
        """Begin an import, or call back what belongs to it."""
        ready = [drive for drive in self.drives.values() if drive.state is DriveState.READY]
        if self._job is not None or not ready:
            return
        coming = any(drive.state in {DriveState.ATTACHED, DriveState.MOUNTING, DriveState.LOOKING}
                     for drive in self.drives.values())
        if coming and self._now < min(drive.since for drive in ready) + PATIENCE:
            return
        bundle = ready[0].todo[0].bundle
        mates = [drive for drive in self.drives.values() if bundle and drive.state in READ
                 and drive.ends.get(bundle) is DriveEvent.INCOMPLETE]
        for drive in mates:
            del drive.ends[bundle]
            drive.todo = [one for one in drive.held if one.bundle == bundle]
            self._mount(drive, DriveEvent.RECALL)
        if mates:
            return
        drives = [drive for drive in ready if any(one.bundle == bundle for one in drive.todo)]
        if not bundle:
            drives = drives[:1]
        parts = tuple((drive.device.key, tuple(folder for one in drive.todo if one.bundle == bundle
                                               for folder in one.folders)) for drive in drives)
        self._job = Import(bundle, parts, self._ticket())
        for drive in drives:
            self._move(drive, DriveEvent.START, bundle=bundle)
        self.actions.append(self._job)

    def _mount(self, drive: AttachedDrive, event: DriveEvent) -> None:
        drive.ticket = self._ticket()
        self._move(drive, event)
        self.actions.append(Mount(drive.device.key, drive.ticket))

    def _unmount(self, drive: AttachedDrive) -> None:
        if drive.mounted:
            drive.mounted = False
            self.actions.append(Unmount(drive.ticket))

    def _fail(self, drive: AttachedDrive, why: str) -> None:
        self._unmount(drive)
        drive.todo = []
        self._move(drive, DriveEvent.FAIL, why)

    def _asked(self, key: str, ticket: int, state: DriveState) -> AttachedDrive | None:
        """The drive that an answer is about, if it is still waiting for that answer."""
        drive = self.drives.get(key)
        return drive if drive is not None and drive.ticket == ticket and drive.state is state else None

    def _move(self, drive: AttachedDrive, event: DriveEvent, detail: str = "", bundle: str = "",
              end: ImportEnd | None = None) -> None:
        drive.state, drive.detail = step(drive.state, event), detail
        self.changes.append(Change(drive.device, event.value, drive.state, detail, bundle, end))

    def _ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def _forget(self) -> None:
        gone = [key for key, drive in self.drives.items() if drive.state in GONE]
        for key in gone[:max(0, len(gone) - REMEMBERED)]:
            del self.drives[key]


def _settled_at(drive: AttachedDrive) -> float:
    return min(drive.since + SETTLE, drive.first + SETTLE_MAX)


def event_of(end: ImportEnd) -> DriveEvent:
    """What the end of an import is for the drives that were read."""
    if end.exit_status == 0:
        return DriveEvent.PUBLISHED
    if end.code == "replay":
        return DriveEvent.REPLAY
    return {3: DriveEvent.INCOMPLETE, 5: DriveEvent.REFUSE, 6: DriveEvent.REFUSE, 7: DriveEvent.REFUSE}.get(
        end.exit_status, DriveEvent.FAIL)


def _worst(ends: Mapping[str, DriveEvent]) -> DriveEvent:
    found = set(ends.values())
    return next(event for event in _WORST_FIRST if event in found)
