"""A station that is open: its policy, key, ledger and audit log, and what follows a publication."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from airbundle.errors import AirbundleError
from airbundle.format.quantities import parse_size, parse_span
from airbundle.media.staged import folder_id
from airbundle.media.staging import remove_left
from airbundle.station.admission import Clock
from airbundle.station.audit import AuditLog
from airbundle.station.hook import run_hook
from airbundle.station.ledger import LEDGER_RESTORED, Ledger
from airbundle.station.publish import point_at, staging_place
from airbundle.station.receipts import published_name, receipt_documents
from airbundle.station.state import PAGE_SUFFIX, RECEIPT_SUFFIX, StationState, to_syslog
from airbundle.station.waivers import read_waiver
from airbundle.transfer.unpack import staging_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airbundle.station.ledger import Entry
    from airbundle.station.policy import LoadedPolicy
    from airbundle.station.waivers import Waiver


class Station:
    """Use as a context, one for each thread. `settle` finished the statements `finished`; `notes` are to be told."""

    def __init__(self, policy: LoadedPolicy, *, clock: int | None = None) -> None:
        """Only opens. Raises UsageError, NoKeyError, MediumError."""
        self.policy = policy
        self._clock = clock
        self.finished: set[str] = set()
        self.notes: tuple[str, ...] = ()
        self.key = policy.station_key()
        self.state = StationState(policy.state)
        try:
            rules = policy.rules.audit
            log = AuditLog(self.state.audit, rotate=parse_size(rules.rotate),
                           forward=to_syslog if rules.syslog else None)
            self.ledger = Ledger(self.state, log)
        except BaseException:
            self.state.close()
            raise

    def clock(self) -> Clock:
        """The time that counts now."""
        now = int(time.time()) if self._clock is None else self._clock
        return Clock(now, self.ledger.newest(), parse_span(self.policy.rules.clock.skew))

    def newest(self, statement_created: int) -> int:
        """What of a signed time may count from now on: a date ahead of the clock moves nothing."""
        clock = self.clock()
        return statement_created if statement_created <= clock.clock + clock.skew else 0

    def read_waivers(self, documents: Sequence[bytes]) -> tuple[Waiver, ...]:
        """Waivers that hold here and now. Raises what `read_waiver` does."""
        return tuple(read_waiver(raw, self.policy, self.clock().now) for raw in documents)

    def settle(self, waivers: Sequence[Waiver]) -> None:
        """Finish or drop what was stopped, of bundles that nobody is importing just now.

        Raises DamagedError or PolicyError if ledger and audit log do not know of each other.
        """
        self.ledger.require_told(catch_up=lambda line: next((
            waiver.reason for waiver in waivers if waiver.subject == line and LEDGER_RESTORED in waiver.allow), None))
        for entry in self.ledger.stopped():
            with self.state.importing(entry.bundle) as ours:
                if not ours:
                    continue
                if self.settle_one(entry):
                    self.notes += tuple(f"bundle {entry.bundle}: {note}" for note in self.finish(entry))
                    self.finished.add(entry.statement)

    def settle_one(self, entry: Entry) -> bool:
        """Whether a publication that was stopped was one. Raises MediumError; then that is not known yet."""
        if self.ledger.settle(entry, folder=folder_id(entry.target), newest=self.newest(entry.created)):
            return True
        self.state.drop_payload(entry.bundle)
        return False

    def finish(self, entry: Entry) -> tuple[str, ...]:
        """What follows a publication: links, receipt, hook. Gives what went wrong: the content is in its place anyway.

        What could not be done is tried again by the next run.
        """
        rules = self.policy.rules.publish
        try:
            if self.ledger.is_newest(entry.target):
                point_at(rules.layout, entry.target)
            remove_left(entry.target, staging_key(entry.bundle), staging_place(self.policy.root))
            self._sign_held(entry.bundle)
        except AirbundleError as error:
            return (f"published, but: {error}",)
        notes = run_hook(rules.hook, entry)
        for note in notes:
            self.ledger.note("hook failed", bundle=entry.bundle, detail=note)
        self.ledger.conclude(entry.bundle)
        return notes

    def receipt_of(self, bundle: str) -> str:
        """Path of the receipt of a publication; nothing if there is none."""
        return self.state.receipt_path(published_name(bundle) + RECEIPT_SUFFIX)

    def _sign_held(self, bundle: str) -> None:
        """Only now, when the content is in its place, what was held becomes a receipt."""
        payload = self.state.held_payload(bundle)
        if payload:
            name, document, page = receipt_documents(payload, self.key)
            self.state.save_receipt(name + PAGE_SUFFIX, page.encode())
            self.state.save_receipt(name + RECEIPT_SUFFIX, document)
            self.state.drop_payload(bundle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.state.close()
