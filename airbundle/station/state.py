"""The station's folders: the only module of this room that opens anything.

The state folder, mode 0700, holds `ledger.sqlite`, `audit/000001.jsonl` and so on, and `receipts/`. One lock, taken for
moments, orders what changes ledger and audit log; another, for each bundle, is held as long as it is imported.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from airbundle.errors import MediumError, UsageError
from airbundle.format import limits
from airbundle.format.names import shown
from airbundle.media import system
from airbundle.media.faults import medium_error, reporting
from airbundle.media.state import save_document
from airbundle.media.streams import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY_MAX: Final = limits.MIB
RECEIPT_MAX: Final = 16 * limits.MIB
BUSY_TIMEOUT: Final = 30.0  # seconds
LEDGER_NAME: Final = "ledger.sqlite"
AUDIT_SUFFIX: Final = ".jsonl"
_AUDIT_NAME: Final = re.compile(r"([0-9]{6,9})\.jsonl")
RECEIPT_SUFFIX: Final = ".receipt.json"
PAGE_SUFFIX: Final = ".receipt.txt"


def policy_documents(path: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the policy and of its drop-ins, in the order in which they are read. Raises UsageError."""
    yield path, read_bounded(path, POLICY_MAX)
    folder = f"{os.path.splitext(path)[0]}.d"
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(folder)):
            if name.endswith(".toml") and not name.startswith("."):
                yield os.path.join(folder, name), read_bounded(os.path.join(folder, name), POLICY_MAX)


def read_bounded(path: str, limit: int) -> bytes:
    """All of a file of at most `limit` bytes. Raises UsageError where there is none, or it is larger; MediumError."""
    try:
        descriptor = system.open_file(path, os.O_RDONLY | system.NONBLOCK)
    except FileNotFoundError:
        raise UsageError("there is no such file", where=shown(path), hint="check the path") from None
    except OSError as error:
        raise medium_error(error, path) from error
    with reporting(path), open(descriptor, "rb", buffering=0) as file:
        raw = b"".join(iter(lambda: file.read(limit + 1), b"")) if system.is_regular(descriptor) else None
    if raw is None or len(raw) > limit:
        raise UsageError("is not a file, or a very large one", where=shown(path))
    return raw


class StationState:
    """The state folder, opened. Use as a context; `publishing` orders what must not happen twice at a time."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        with reporting(self.folder):
            make_private(self.folder)
            _require_ours(self.folder)
            for name in ("audit", "receipts", "held", "locks"):
                make_private(os.path.join(self.folder, name))
        self.audit = AuditFiles(os.path.join(self.folder, "audit"))
        with self.publishing():  # two that make it at once would lock each other out
            self.database = Database(os.path.join(self.folder, LEDGER_NAME))

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Nobody else changes ledger or audit log meanwhile. Waits for whoever does."""
        with self._locked("lock", wait=True):
            yield

    @contextlib.contextmanager
    def importing(self, bundle: str, *, required: bool = False) -> Iterator[bool]:
        """Whether nobody else imports this bundle meanwhile; where it is `required`, else raises UsageError."""
        with self._locked(os.path.join("locks", bundle), wait=False) as ours:
            if required and not ours:
                raise UsageError("another process is importing this bundle", where=self.folder,
                                 hint="wait until it has ended")
            yield ours

    @contextlib.contextmanager
    def _locked(self, name: str, *, wait: bool) -> Iterator[bool]:
        path = os.path.join(self.folder, name)
        with reporting(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield system.try_lock(descriptor, wait=wait)
        finally:
            os.close(descriptor)

    def save_receipt(self, name: str, content: bytes) -> str:
        """Write a receipt; gives its path. Raises MediumError."""
        path = os.path.join(self._receipts, name)
        save_document(path, content)
        return path

    def hold_payload(self, bundle: str, payload: bytes) -> None:
        """Keep what the receipt of a publication will say; it is none before it is signed."""
        save_document(self._held(bundle), payload)

    def held_payload(self, bundle: str) -> bytes:
        """What was held; nothing if nothing is."""
        path = self._held(bundle)
        return read_bounded(path, RECEIPT_MAX) if os.path.exists(path) else b""

    def drop_payload(self, bundle: str) -> None:
        """Nothing is held any more."""
        with reporting(self._receipts), contextlib.suppress(FileNotFoundError):
            os.unlink(self._held(bundle))

    def receipt_path(self, ending: str) -> str:
        """The newest receipt whose name ends so; nothing if there is none."""
        with reporting(self._receipts):
            names = sorted(name for name in os.listdir(self._receipts) if name.endswith(ending))
        return os.path.join(self._receipts, names[-1]) if names else ""

    def copy_receipt(self, path: str, folder: str) -> None:
        """Put a receipt and its page into another folder too, such as one on a drive. Raises MediumError."""
        folder = os.path.abspath(folder)
        for each in (path, path.removesuffix(RECEIPT_SUFFIX) + PAGE_SUFFIX):
            save_document(os.path.join(folder, os.path.basename(each)), read_bounded(each, RECEIPT_MAX))

    @property
    def _receipts(self) -> str:
        return os.path.join(self.folder, "receipts")

    def _held(self, bundle: str) -> str:
        return os.path.join(self.folder, "held", bundle)

    def close(self) -> None:
        """Close the ledger."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Database:
    """The ledger's file. Its errors are MediumErrors."""

    def __init__(self, path: str) -> None:
        """Open it, or make it. Raises MediumError, also for one that is damaged."""
        self._path = path
        with self._reporting():
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            if self._connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("quick_check finds it damaged")

    def script(self, commands: str) -> None:
        """Run several commands without values. Raises MediumError."""
        with self._reporting():
            self._connection.executescript(commands)

    def run(self, command: str, *values: str | int | None) -> list[tuple[Any, ...]]:
        """Run one command; gives its rows. Raises MediumError."""
        with self._reporting():
            return self._connection.execute(command, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything that is run inside happens, or nothing of it. Raises MediumError."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise MediumError(f"the ledger cannot be used: {error}", where=self._path,
                              hint="look for room and permissions; if it is damaged, restore the state folder from "
                              "its backup") from error


def recorded_head(folder: str) -> tuple[int, str] | None:
    """What the ledger in a state folder knows of the audit log, read without changing it; None if there is none."""
    path = os.path.join(os.path.abspath(folder), LEDGER_NAME)
    if not os.path.exists(path):
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT number, hash FROM heads").fetchone()
    except sqlite3.Error as error:
        raise MediumError(f"the ledger cannot be read: {error}", where=path) from error
    return (int(row[0]), str(row[1])) if row else None


def _require_ours(folder: str) -> None:
    """Raise UsageError if others than this user can enter the state folder."""
    found = os.stat(folder)
    if os.name != "nt" and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
        raise UsageError("others can enter the state folder", where=shown(folder),
                         hint="it has to belong to the station's user, with mode 0700")


def to_syslog(line: str) -> None:
    """Give a line to the system's log, which passes it to the journal."""
    import syslog  # noqa: PLC0415 - not on every system

    syslog.openlog("airbundle", 0, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_NOTICE, line)


class AuditFiles:
    """The files of the audit log, in order: lines are appended to the last."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """File name and content of each line, with its end; a torn last line has none. Raises MediumError."""
        for name in self.names():
            with reporting(os.path.join(self.folder, name)), open(os.path.join(self.folder, name), "rb") as file:
                for line in file:
                    yield name, line

    def names(self) -> list[str]:
        """The files, the oldest first; what else lies there is none of the log's."""
        with reporting(self.folder):
            found = [match for name in os.listdir(self.folder) if (match := _AUDIT_NAME.fullmatch(name))]
        return [match[0] for match in sorted(found, key=lambda match: int(match[1]))]

    def tail(self) -> bytes:
        """The last whole line, with its end; nothing where there is none."""
        for name in reversed(self.names()):
            with reporting(name), open(os.path.join(self.folder, name), "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - limits.MIB))
                whole = file.read(limits.MIB).rpartition(b"\n")[0]
            if whole:
                return whole.rpartition(b"\n")[2] + b"\n"
        return b""

    def append(self, line: bytes, *, rotate: int) -> None:
        """Append a line with its end; durable on return. A file of `rotate` bytes is followed by a new one."""
        names = self.names() or ["000001" + AUDIT_SUFFIX]
        path = os.path.join(self.folder, names[-1])
        with reporting(path):
            if os.path.exists(path) and os.path.getsize(path) >= rotate:
                # Not by their count: older ones may have been moved to where they are kept.
                path = os.path.join(self.folder, f"{int(names[-1].removesuffix(AUDIT_SUFFIX)) + 1:06d}{AUDIT_SUFFIX}")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                end = _whole_lines(descriptor)
                os.ftruncate(descriptor, end)
                system.write_all(descriptor, memoryview(line), end)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            system.sync_directory(self.folder)


def _whole_lines(descriptor: int) -> int:
    """Bytes up to the end of the last whole line: a torn one behind it was never promised to anybody."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - limits.MIB)
    tail = os.pread(descriptor, limits.MIB, start)
    return start + tail.rfind(b"\n") + 1 if tail else 0
