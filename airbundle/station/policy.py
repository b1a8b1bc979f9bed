"""The policy of a station: what it lets in. TOML, typed, and an unknown key is an error.

`policy.toml` is read first, then `policy.d/*.toml` beside it in order of their names: tables are merged, lists are
appended to, other values are replaced. What flags and environment say afterwards can only make it stricter
(`tightened`). Paths are relative to the policy's folder.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from airbundle.crypto.trust import TrustSet
from airbundle.devices.rules import DeviceRow, require_rows
from airbundle.errors import UsageError
from airbundle.format import limits
from airbundle.format.names import shown
from airbundle.format.quantities import parse_size, parse_span
from airbundle.station.gates.rules import GateRules
from airbundle.station.state import policy_documents
from airbundle.transfer.identity_files import load_private, load_public

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.keyfiles import NamedIdentity

Role = Literal["packer", "releaser", "administrator", "courier"]
PACKER: Final = "packer"
ADMINISTRATOR: Final = "administrator"
SUITE_ORDER: Final = ("standard", "cnsa2")
"""From the weaker to the stronger."""
Count = Annotated[int, msgspec.Meta(ge=0, le=limits.SIGNATURES_MAX)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """A table of the file; its keys are written with hyphens."""


class StationTable(_Table, frozen=True):
    """Who the station is: `key` opens bundles and signs receipts, `open_with` are more keys that open bundles."""

    name: str = "station"
    key: str = "station.key"
    open_with: tuple[str, ...] = ()
    state: str = "state"


class KeyTable(_Table, frozen=True):
    """One trusted key, and what its signature counts as."""

    file: str
    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)]


class ThresholdTable(_Table, frozen=True):
    """How many different keys of each role have to sign; a key counts for one role only."""

    packer: Annotated[int, msgspec.Meta(ge=1, le=limits.SIGNATURES_MAX)] = 1
    releaser: Count = 0
    administrator: Annotated[int, msgspec.Meta(ge=1, le=limits.SIGNATURES_MAX)] = 1


class BundleTable(_Table, frozen=True):
    """What a bundle has to be. `markings` are patterns; sizes like `2T`, spans like `400d`, empty: no bound."""

    suite: Literal["standard", "cnsa2"] = "standard"
    series_required: bool = False
    marking_required: bool = False
    markings: tuple[str, ...] = ()
    expiry_required: bool = False
    longest_life: str = ""
    largest_size: str = "16T"
    most_files: int = 500_000
    altered_blocks: Literal["refuse", "accept"] = "refuse"


class ClockTable(_Table, frozen=True):
    """How far the packer's clock may be ahead of the station's."""

    skew: str = "1d"


class SeriesTable(_Table, frozen=True):
    """A series, or a pattern of them: whose key packs it, and how far its number may step at a time (0: any)."""

    name: str
    packers: tuple[str, ...] = ()
    largest_step: int = 0


class DeviceTable(_Table, frozen=True):
    """Drives: those let in by serial number (none: all), and what follows if one is not the recorded one.

    `allow` are those that `watch` mounts (none: what can be taken out, or is on USB).
    """

    serials: tuple[str, ...] = ()
    allow: tuple[DeviceRow, ...] = ()
    recorded_serial: Literal["ignore", "report", "refuse"] = "report"


class WatchTable(_Table, frozen=True):
    """The watcher: as whom it reads drives (empty: the owner of the policy), and a command for what happens to one."""

    user: str = ""
    hook: tuple[str, ...] = ()


class CustodyTable(_Table, frozen=True):
    """Events of custody on the drives: what follows if their chain is broken, and which have to be there."""

    chain: Literal["ignore", "report", "refuse"] = "report"
    required: tuple[str, ...] = ()


class PublishTable(_Table, frozen=True):
    """Where content goes, how it is laid out there, and a command that is run afterwards."""

    root: str = "models"
    layout: Literal["plain", "hf-cache"] = "plain"
    hook: tuple[str, ...] = ()


class ReceiptTable(_Table, frozen=True):
    """Receipts: a folder that gets a copy of each, such as one on another machine's share (none: no copy)."""

    copy_to: str = ""


class AuditTable(_Table, frozen=True):
    """The audit log: also to the system's log, and when a new file is begun."""

    syslog: bool = False
    rotate: str = "16M"


class Policy(_Table, frozen=True):
    """All of it, as the file says it."""

    version: Literal[1] = 1
    station: StationTable = StationTable()
    keys: tuple[KeyTable, ...] = ()
    thresholds: ThresholdTable = ThresholdTable()
    bundle: BundleTable = BundleTable()
    clock: ClockTable = ClockTable()
    series: tuple[SeriesTable, ...] = ()
    devices: DeviceTable = DeviceTable()
    watch: WatchTable = WatchTable()
    custody: CustodyTable = CustodyTable()
    gates: GateRules = GateRules()
    publish: PublishTable = PublishTable()
    receipts: ReceiptTable = ReceiptTable()
    audit: AuditTable = AuditTable()

    def series_of(self, name: str) -> SeriesTable | None:
        """The first table whose pattern fits."""
        return next((table for table in self.series if fnmatch.fnmatchcase(name, table.name)), None)


@dataclass(frozen=True, slots=True)
class RoleHolder:
    """A trusted key and its roles."""

    identity: NamedIdentity
    roles: tuple[Role, ...]

    @property
    def key_id(self) -> bytes:
        """What its signatures are found by."""
        return self.identity.public.key_id


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy with the keys that it names. Paths are absolute; `digest` is SHA-256 over all that decides.

    `tighter` is what flags and environment added.
    """

    rules: Policy
    path: str
    holders: tuple[RoleHolder, ...]
    trust: TrustSet
    digest: str
    tighter: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> str:
        """What the paths of the policy are relative to."""
        return os.path.dirname(self.path)

    @property
    def state(self) -> str:
        """The state folder."""
        return os.path.join(self.folder, self.rules.station.state)

    @property
    def root(self) -> str:
        """Where content is published."""
        return os.path.join(self.folder, self.rules.publish.root)

    @property
    def receipts_to(self) -> str:
        """The folder that gets a copy of each receipt; nothing if there is none."""
        folder = self.rules.receipts.copy_to
        return os.path.join(self.folder, folder) if folder else ""

    def holders_of(self, role: str) -> tuple[RoleHolder, ...]:
        """The keys of one role."""
        return tuple(holder for holder in self.holders if role in holder.roles)

    def station_key(self) -> PrivateIdentity:
        """The key that signs receipts. Raises UsageError, NoKeyError."""
        return load_private(os.path.join(self.folder, self.rules.station.key))

    def opening_keys(self) -> tuple[PrivateIdentity, ...]:
        """The keys that open bundles here. Raises UsageError, NoKeyError."""
        return (self.station_key(), *(load_private(os.path.join(self.folder, path))
                                      for path in self.rules.station.open_with))


def load_policy(path: str, tighter: Iterable[tuple[str, str]] = ()) -> LoadedPolicy:
    """The policy in `path` and its drop-ins, made stricter by `tighter` (see `tightened`). Raises UsageError."""
    path = os.path.abspath(path)
    merged: dict[str, Any] = {}
    rules = Policy()
    for name, raw in policy_documents(path):
        _merge(merged, _parsed(name, raw))
        _require_text(merged, name)
        try:
            rules = msgspec.convert(merged, Policy, strict=True)
        except msgspec.ValidationError as error:
            raise UsageError(shown(str(error)), where=name,
                             hint="airbundle policy init writes one with every key") from None
    tighter = tuple(tighter)
    rules = tightened(_checked(rules, path), tighter)
    holders = tuple(RoleHolder(load_public(os.path.join(os.path.dirname(path), key.file)), key.roles)
                    for key in rules.keys)
    if len({holder.key_id for holder in holders}) != len(holders):
        raise UsageError("a key stands in it twice", where=path, hint="give all its roles in one place")
    if len({holder.identity.name for holder in holders}) != len(holders):
        raise UsageError("two keys in it have the same name", where=path,
                         hint="series are bound to names: make one of the keys anew under another name")
    _require_known_packers(rules, holders, path)
    document = {"policy": rules, "keys": [(holder.key_id.hex(), holder.roles) for holder in holders]}
    digest = hashlib.sha256(msgspec.json.encode(document, order="deterministic")).hexdigest()
    return LoadedPolicy(rules, path, holders, TrustSet(holder.identity for holder in holders), digest, tuple(tighter))


def tightened(rules: Policy, tighter: Iterable[tuple[str, str]]) -> Policy:
    """`rules` with the stricter of each value: suite, largest-size, series, altered-blocks. Raises UsageError."""
    bundle, series = rules.bundle, rules.series
    for name, value in tighter:
        if name == "suite" and value in SUITE_ORDER:
            stronger = max(bundle.suite, value, key=SUITE_ORDER.index)
            bundle = msgspec.structs.replace(bundle, suite=stronger)
        elif name == "largest-size":
            smaller = min(bundle.largest_size, value, key=parse_size)
            bundle = msgspec.structs.replace(bundle, largest_size=smaller)
        elif name == "series":
            found = next((table for table in series if fnmatch.fnmatchcase(value, table.name)), None)
            if series and found is None:
                raise UsageError(f"the policy knows no series '{shown(value)}'",
                                 hint="airbundle policy check shows them")
            series = (msgspec.structs.replace(found or SeriesTable(name=value), name=_literal(value)),)
            bundle = msgspec.structs.replace(bundle, series_required=True)
        elif name == "altered-blocks" and value == "refuse":
            bundle = msgspec.structs.replace(bundle, altered_blocks="refuse")
        else:
            raise UsageError(f"{name} = '{shown(value)}' does not make a policy stricter")
    return msgspec.structs.replace(rules, bundle=bundle, series=series)


def _literal(text: str) -> str:
    """A pattern that only `text` fits."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _parsed(name: str, raw: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"is not TOML: {shown(str(error))}", where=name) from None


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            known.extend(value)
        else:
            into[key] = value


def _require_text(value: Any, path: str) -> None:
    """Paths and commands go to the system, which takes no NUL, and into documents, which take Unicode alone."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError("its path is no Unicode text", where=shown(path), hint="rename the folder") from None
    if isinstance(value, str) and "\0" in value:
        raise UsageError(f"'{shown(value)}' has a NUL", where=path)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _require_text(item, path)


def _checked(rules: Policy, path: str) -> Policy:
    """Sizes and spans have to be some, whether they will be needed or not; a row for devices has to ask something."""
    try:
        require_rows(rules.devices.allow)
        parse_size(rules.bundle.largest_size)
        parse_size(rules.audit.rotate)
        parse_span(rules.clock.skew)
        if rules.bundle.longest_life:
            parse_span(rules.bundle.longest_life)
    except UsageError as error:
        error.where = path
        raise
    return rules


def _require_known_packers(rules: Policy, holders: Sequence[RoleHolder], path: str) -> None:
    packers = {holder.identity.name for holder in holders if PACKER in holder.roles}
    for table in rules.series:
        for name in table.packers:
            if name not in packers:
                raise UsageError(f"series '{shown(table.name)}' is bound to '{shown(name)}', which is no packer here",
                                 where=path, hint="write the name that is in the packer's key file")
