"""Change who can open a bundle: new envelopes, a new catalog, a new revision of the statement (spec T-10, G-10).

1. open with the packer's public key alone as trust; every volume has to be here
2. verify every byte, as sign does
3. go on with what the state folder holds of this command, or make catalog and statement of the next revision and keep
   their bytes there, before anything is written to a volume
4. bring them to every volume, one file at a time (`transfer/replace.py`)

Data segments stay as they are, with the preamble that was packed into them, and so do bundle key and commitment. So
nothing is revoked: who could open a copy of the volumes that was made before still can. The state folder has a folder
for each revision that was made of a bundle: none is made twice, and the same command ends with the same bytes.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from airbundle.crypto.envelope import Keyring, parse_preamble, seal_envelope
from airbundle.crypto.identities import FINGERPRINT_SIZE, fingerprint_hex
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.signing import sign as make_signature
from airbundle.crypto.trust import TrustSet
from airbundle.errors import ForgedError, IncompleteError, RepairableError, StrangerError, UsageError
from airbundle.format import limits
from airbundle.format.catalog import CATALOG, parse_body, row_of, write_body
from airbundle.format.dsse import Envelope, write_envelope
from airbundle.format.manifest import write_manifest
from airbundle.format.preamble import SealedKey, write_preamble_bytes
from airbundle.format.statement import STATEMENT_TYPE, PreambleRef, write_statement
from airbundle.media import volume as volumes
from airbundle.media.state import AppendLog, read_document, save_document, state_folder
from airbundle.media.volume import VolumeReader
from airbundle.transfer.open import Bundle, open_bundle, open_manifest, require_preamble
from airbundle.transfer.replace import Writers, replace_copies
from airbundle.transfer.report import Report
from airbundle.transfer.seal import SealPlan, finish_catalog, seal_manifest
from airbundle.transfer.signers import valid_signatures
from airbundle.transfer.verdict import describe_volumes
from airbundle.transfer.verify import verify
from airbundle.transfer.whose import volumes_not_seen
from airbundle.transfer.workspace import Workspace
from airbundle.version import WRITER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.identities import PrivateIdentity, PublicIdentity
    from airbundle.format.preamble import Preamble
    from airbundle.transfer.open import Opened
    from airbundle.transfer.progress import Tick
    from airbundle.transfer.workspace import Pace

PLAN_NAME: Final = "plan"


@dataclass(frozen=True, slots=True)
class RewrapResult:
    """What `rewrap` did. `files` are the copies that were replaced; none where nothing was to be changed.

    Fingerprints: `recipients` who can open it now, `added` and `dropped` as asked for. `lost_signatures` are the valid
    countersignatures of known keys over the older revision, which do not hold for this one.
    """

    report: Report
    bundle: str
    revision: int
    recipients: tuple[str, ...]
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    lost_signatures: int
    files: tuple[str, ...]
    statement_hash: str
    seconds: float


@dataclass(frozen=True, slots=True)
class _Kept:
    """A revision in the state folder: which command made it, and where its bytes are."""

    number: int
    plan: bytes
    folder: str


def rewrap(readers: tuple[VolumeReader, ...], *, identity: PrivateIdentity, openers: Sequence[PrivateIdentity],
           add: Sequence[PublicIdentity] = (), drop: Sequence[bytes] = (), known: TrustSet | None = None,
           pace: Pace | None = None, progress: Callable[[Tick], None] | None = None,
           entropy: Callable[[int], bytes] = secrets.token_bytes) -> RewrapResult:
    """All steps. `drop` are fingerprints (16 bytes) or whole key ids; `known` whose signatures can be judged.

    Raises what `verify` raises, StrangerError for another key than the packer's, NoKeyError if no key of `openers`
    opens it, UsageError for recipients that cannot be added or dropped.
    """
    began = time.monotonic()
    trust = TrustSet([NamedIdentity("the packer", identity.public)])
    bundle = _open(readers, trust, identity)  # (1)
    with AppendLog(os.path.join(state_folder("rewrap", bundle.statement.bundle), "lock")):
        kept = _newest_kept(bundle.statement.bundle)
        report = _verified(bundle, trust, kept, pace, progress)  # (2)
        newest = _open_beside(readers, trust, kept) if kept else bundle
        plan = _plan(identity, add, drop)
        if kept is None or (kept.number, kept.plan) != (newest.statement.revision, plan):  # (3)
            changed = _changed_envelopes(newest, openers, add, drop)
            if changed is not None:
                revision = max(newest.statement.revision, kept.number if kept else 0) + 1
                kept = _make(newest, identity, *changed, revision=revision, plan=plan, entropy=entropy)
                newest = _open_beside(readers, trust, kept)
        with Writers() as writer:  # (4)
            files = tuple(replace_copies(newest, writer))
            writer.discard_leftovers(readers)
        if kept is not None and kept.number == newest.statement.revision:
            _keep_sent(newest, kept)
    return RewrapResult(
        report=report, bundle=newest.statement.bundle, revision=newest.statement.revision,
        recipients=tuple(fingerprint_hex(recipient) for recipient in require_preamble(newest).recipients),
        added=tuple(public.hex for public in add), dropped=tuple(fingerprint_hex(key_id) for key_id in drop),
        lost_signatures=_lost(bundle, newest, known or TrustSet()), files=files, statement_hash=newest.statement_hash,
        seconds=time.monotonic() - began)


def _open(readers: tuple[VolumeReader, ...], trust: TrustSet, identity: PrivateIdentity) -> Bundle:
    """(1) What the packer signed, and nobody else's; all of its volumes."""
    bundle = open_bundle(readers, trust)
    if isinstance(bundle.distrust, StrangerError):
        packer = fingerprint_hex(bytes.fromhex(bundle.statement.packer))
        raise StrangerError(f"only its packer can rewrap a bundle: it names {packer}, the key given is "
                            f"{identity.public.hex}", where=readers[0].path, rule="T-10",
                            hint="give the packer's private key with --sign")
    if bundle.distrust is not None:
        raise bundle.distrust
    unseen = describe_volumes(bundle, volumes_not_seen(bundle))
    if unseen:
        names = "; ".join(unseen)
        raise IncompleteError(f"not here: {names}", where=readers[0].path, rule="T-10",
                              hint="all volumes change together: connect the others and run the same command again")
    return bundle


def _verified(bundle: Bundle, trust: TrustSet, kept: _Kept | None, pace: Pace | None,
              progress: Callable[[Tick], None] | None) -> Report:
    """(2) The report of a bundle that is whole, but for the copies that a rewrap before this may have left behind."""
    try:
        report = verify(bundle.volumes, trust=trust, pace=pace, progress=progress)
    except RepairableError as error:
        found, catalog = error.report, bundle.statement.catalog.number
        if kept is None or not isinstance(found, Report) or found.restorable or any(
                finding.file not in volumes.FIXED_NAMES and finding.segment != catalog for finding in found.findings):
            raise
        report = found
    if report.statement_hash != bundle.statement_hash:
        raise ForgedError("the statement changed while the bundle was being verified", where=bundle.volumes[0].path,
                          hint="do not go on: somebody else writes to the drive")
    return report


def _newest_kept(bundle: str) -> _Kept | None:
    """The highest revision of a bundle that was made on this machine; its statement was the last to be written."""
    place = state_folder("rewrap", bundle)
    numbers = [int(name) for name in os.listdir(place) if name.isdecimal()
               and os.path.exists(os.path.join(place, name, volumes.STATEMENT_NAME))]
    if not numbers:
        return None
    folder = state_folder("rewrap", bundle, str(max(numbers)))
    return _Kept(max(numbers), read_document(os.path.join(folder, PLAN_NAME)), folder)


def _open_beside(readers: tuple[VolumeReader, ...], trust: TrustSet, kept: _Kept) -> Bundle:
    """The bundle with a kept revision as one more source of copies."""
    with VolumeReader(kept.folder) as beside:
        return open_bundle(readers, trust, sidecar=beside)


def _plan(identity: PrivateIdentity, add: Sequence[PublicIdentity], drop: Sequence[bytes]) -> bytes:
    """What makes it the same command."""
    facts = {"packer": identity.public.key_id.hex(), "add": sorted(public.key_id.hex() for public in add),
             "drop": sorted(key_id.hex() for key_id in drop)}
    return identity.suite.hash(json.dumps(facts, sort_keys=True).encode()).hex().encode()


def _changed_envelopes(bundle: Bundle, openers: Sequence[PrivateIdentity], add: Sequence[PublicIdentity],
                       drop: Sequence[bytes]) -> tuple[Opened, Preamble] | None:
    """The opened bundle, and its preamble with other envelopes; None if they are as they are wanted already."""
    current = require_preamble(bundle)
    if current.under_passphrase:
        raise UsageError("it is under a passphrase, and has no recipients to change", where=bundle.volumes[0].path,
                         hint="pack it again", rule="K-12")
    known = [*current.recipients]
    if bundle.segments_preamble is not None:  # dropped before, and named again
        known += parse_preamble(bundle.segments_preamble).recipients
    dropped = {_resolve(key_id, known, bundle) for key_id in drop}
    fresh = {public.key_id: public for public in add if public.key_id not in current.recipients}
    both = dropped & {public.key_id for public in add}
    if both:
        raise UsageError(f"{fingerprint_hex(min(both))} is to be added and to be dropped")
    left = [envelope for envelope in current.envelopes if envelope.recipient not in dropped]
    if len(left) == len(current.envelopes) and not fresh:
        return None
    if not 1 <= len(left) + len(fresh) <= limits.ENVELOPES_MAX:  # K-6
        raise UsageError(f"a bundle has 1 to {limits.ENVELOPES_MAX} recipients, not {len(left) + len(fresh)}",
                         rule="K-6")
    opened = open_manifest(bundle, Keyring(tuple(openers)))
    new = [SealedKey(key_id, seal_envelope(bundle.context, opened.key, public)) for key_id, public in fresh.items()]
    return opened, replace(current, envelopes=(*left, *new))


def _resolve(wanted: bytes, known: Sequence[bytes], bundle: Bundle) -> bytes:
    """The recipient with this fingerprint or key id."""
    for recipient in known:
        if wanted in {recipient, recipient[:FINGERPRINT_SIZE]}:
            return recipient
    sealed_to = ", ".join(fingerprint_hex(recipient) for recipient in known)
    raise UsageError(f"it is not sealed to {fingerprint_hex(wanted)}", where=bundle.volumes[0].path,
                     hint=f"it is sealed to {sealed_to}")


def _make(bundle: Bundle, identity: PrivateIdentity, opened: Opened, preamble: Preamble, *, revision: int, plan: bytes,
          entropy: Callable[[int], bytes]) -> _Kept:
    """(3) Catalog and statement of the next revision, kept before a volume sees them; the statement comes last."""
    raw = write_preamble_bytes(preamble)
    number = bundle.statement.catalog.number
    sealing = SealPlan(bundle.context, opened.key, raw, limits.BLOCK_MIN, 0.0, pad=False)
    manifest = msgspec.structs.replace(  # G-4
        opened.manifest, recipients=tuple(recipient.hex() for recipient in preamble.recipients))
    sealed, salt = seal_manifest(sealing, number, write_manifest(manifest), entropy=entropy)  # K-10
    body = write_body(parse_body(bundle.require_body())[0], sealed)
    catalog = finish_catalog(sealing, number, salt, body, Workspace(3 * len(body) + 4 * limits.MIB))
    payload = write_statement(msgspec.structs.replace(
        bundle.statement, revision=revision, envelopes=PreambleRef(len(raw), bundle.suite.hash(raw).hex()),
        catalog=row_of(catalog.geometry, role=CATALOG, volume=0, root=catalog.root), writer=WRITER))
    document = write_envelope(Envelope(STATEMENT_TYPE, payload, (make_signature(identity, STATEMENT_TYPE, payload),)))
    folder = state_folder("rewrap", bundle.statement.bundle, str(revision))
    save_document(os.path.join(folder, PLAN_NAME), plan)
    save_document(os.path.join(folder, volumes.CATALOG_NAME), catalog.image.blocks.tobytes())
    save_document(os.path.join(folder, volumes.STATEMENT_NAME), document)
    return _Kept(revision, plan, folder)


def _keep_sent(bundle: Bundle, kept: _Kept) -> None:
    """The packer's own copy, which `--sidecar` can give back, is of the newest revision."""
    sent = state_folder("sent", bundle.statement.bundle)
    with VolumeReader(kept.folder) as reader:
        for name in (volumes.CATALOG_NAME, volumes.STATEMENT_NAME):
            save_document(os.path.join(sent, name), reader.read_small(name, limits.SEGMENT_STORED_MAX))


def _lost(before: Bundle, after: Bundle, known: TrustSet) -> int:
    """How many others have signed what is now an older revision. What nobody here can judge may be junk (T-3)."""
    packer = bytes.fromhex(after.statement.packer)
    older = [copy.envelope for copy in before.copies
             if copy.envelope is not None and copy.envelope.payload != after.statement_raw]
    return len(valid_signatures(older, known, before.suite, packer).keys() - {packer})
