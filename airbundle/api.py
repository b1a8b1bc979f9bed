"""The Python API, used by the command line itself: paths and keys in, typed results out, errors raised.

Every function takes `progress`, called with `Tick(phase, done, total)` from worker threads. Errors are
`AirbundleError`s with `exit_status`, `hint` and `rule`; those of `verify` and `repair` carry what was found as
`.report`.

What a verb needs is imported when it is asked for, so that a start imports no more than that.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

from airbundle.crypto.envelope import Keyring
from airbundle.crypto.locks import PassphraseLock, RecipientLock, WordsLock
from airbundle.crypto.passphrase import Passphrase
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, UsageError
from airbundle.media import unplug
from airbundle.media.drive import device_serial
from airbundle.media.presence import Presence, pulled_first
from airbundle.media.staging import require_free
from airbundle.transfer import identity_files
from airbundle.transfer.finding import open_sidecar, open_volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from airbundle.crypto.identities import PrivateIdentity, PublicIdentity
    from airbundle.crypto.locks import Lock
    from airbundle.media.volume import VolumeReader
    from airbundle.transfer.copy import CopyResult
    from airbundle.transfer.custody import CustodyChain, CustodyEvent
    from airbundle.transfer.ending import Declared
    from airbundle.transfer.inspect import Inspection
    from airbundle.transfer.job import Segments
    from airbundle.transfer.pack import PackResult
    from airbundle.transfer.plan import Options, Plan
    from airbundle.transfer.progress import Tick
    from airbundle.transfer.repair import RepairResult
    from airbundle.transfer.report import Report
    from airbundle.transfer.rescued import RescueResult
    from airbundle.transfer.rewrap import RewrapResult
    from airbundle.transfer.salvage import SalvageResult
    from airbundle.transfer.sign import SignResult
    from airbundle.transfer.slip import Slip
    from airbundle.transfer.unpack import UnpackResult
    from airbundle.transfer.workspace import Pace

    Progress = Callable[[Tick], None]


load_private = identity_files.load_private
load_public = identity_files.load_public
load_trust = identity_files.load_trust
read_private = identity_files.read_private
settle_drives = unplug.settle_drives


def plan(source: str, output: Sequence[str | int] = (), *, options: Options | None = None,
         lose: int | None = None) -> Plan:
    """What would be written where; `output` are folders or sizes in bytes. Needs no keys."""
    from airbundle.transfer.plan import Options, make_plan

    return make_plan(source, output, options or Options(), lose=lose)


def pack(source: str, output: str | Sequence[str], *, sign: PrivateIdentity, to: Sequence[PublicIdentity] = (),
         passphrase: str | None = None, new_passphrase: Callable[[str], None] | None = None,
         declared: Declared | None = None, options: Options | None = None, lose: int | None = None,
         pace: Pace | None = None, read_back: bool = True, progress: Progress | None = None,
         executor: Executor | None = None) -> PackResult:
    """Pack `source` into a new volume in each folder of `output`, signed by `sign`, whose suite is the bundle's.

    It is sealed to `to`, or under `passphrase`, or under fresh words, which `new_passphrase` hears when the bundle is
    finished: exactly one of the three (UsageError otherwise). Any `lose` of the volumes may be lost; by default one of
    three or more. With an `executor` its workers make the segments, `pace.jobs` at a time (docs/cluster.md).
    """
    from airbundle.transfer.here import segments_here
    from airbundle.transfer.pack import pack as run

    targets = [output] if isinstance(output, str) else output
    segments: Segments = segments_here
    if executor is not None:
        from airbundle.transfer.apart import segments_apart

        segments = partial(segments_apart, executor=executor)
    with pulled_first([Presence.of(path) for path in (source, *targets)]):
        return run(source, targets, identity=sign, lock=_lock(to, passphrase, new_passphrase),
                   declared=declared, options=options, lose=lose, pace=pace, reads_back=read_back,
                   progress=progress, segments=segments)


def _lock(to: Sequence[PublicIdentity], passphrase: str | None, tell: Callable[[str], None] | None) -> Lock:
    if bool(to) + (passphrase is not None) + (tell is not None) != 1:
        raise UsageError("a bundle is sealed to keys, or is under one passphrase", rule="K-12",
                         hint="give recipients, a passphrase, or ask for a new one: exactly one of the three")
    if passphrase is not None:
        return PassphraseLock(Passphrase(passphrase))
    return RecipientLock(tuple(to)) if tell is None else WordsLock(tell)


def verify(volumes: Sequence[str], *, trust: TrustSet | None, keys: Sequence[PrivateIdentity] = (),
           passphrase: str | None = None, bundle: str = "", fast: bool = False, sidecar: str = "",
           only_these: bool = False, pace: Pace | None = None, progress: Progress | None = None) -> Report:
    """Returns only if the bundle is well-formed, whole and believed; raises what is wrong otherwise.

    With `keys` or a `passphrase` it is opened too. `sidecar` is a folder with one more copy of statement and catalog,
    which is used and not judged. With `only_these` the volumes given are judged by themselves; `Report.not_seen` names
    the others.
    """
    from airbundle.transfer.verify import verify as run

    keyring = _keyring(keys, passphrase)
    with opened(volumes, bundle) as readers, _beside(sidecar, readers) as copies:
        return run(readers, trust=trust, keyring=keyring, fast=fast, pace=pace, progress=progress,
                   sidecar=copies, only_these=only_these)


def repair(volumes: Sequence[str], *, trust: TrustSet, bundle: str = "", sidecar: str = "",
           progress: Progress | None = None) -> RepairResult:
    """Repair in place, bit for bit. Raises if something cannot be repaired; the rest then is."""
    from airbundle.transfer.repair import repair as run

    with opened(volumes, bundle, alone=True) as readers, _beside(sidecar, readers) as copies:
        return run(readers, trust=trust, progress=progress, sidecar=copies)


def sign(volumes: Sequence[str], *, sign: PrivateIdentity, trust: TrustSet, bundle: str = "",
         pace: Pace | None = None, progress: Progress | None = None,
         announce: Callable[[Report], None] | None = None) -> SignResult:
    """Verify every byte, then add the signature of `sign` to all copies of the statement.

    `announce` hears what is about to be signed and may raise to stop. Raises what `verify` raises, before anything is
    written.
    """
    from airbundle.transfer.sign import sign as run

    with opened(volumes, bundle, alone=True) as readers:
        return run(readers, identity=sign, trust=trust, pace=pace, progress=progress, announce=announce)


def rewrap(volumes: Sequence[str], *, sign: PrivateIdentity, keys: Sequence[PrivateIdentity],
           add: Sequence[PublicIdentity] = (), drop: Sequence[bytes] = (), trust: TrustSet | None = None,
           bundle: str = "", pace: Pace | None = None, progress: Progress | None = None) -> RewrapResult:
    """Change who can open the bundle: `add` keys, `drop` those with these fingerprints (16 bytes) or key ids.

    `sign` is the packer's key, `keys` hold one of a recipient. Copies of the volumes that were made before are not
    changed by it, and who could open those still can. Of the signatures that are lost those by keys of `trust` are
    counted; the bundle itself is believed by the packer's key alone.
    """
    from airbundle.transfer.rewrap import rewrap as run

    with opened(volumes, bundle, alone=True) as readers:
        return run(readers, identity=sign, openers=keys, add=add, drop=drop, known=trust, pace=pace,
                   progress=progress)


def rebuild(volumes: Sequence[str], output: str, *, trust: TrustSet, bundle: str = "", sidecar: str = "",
            pace: Pace | None = None, progress: Progress | None = None) -> CopyResult:
    """Write whole copies of the volumes that are damaged or lost into the folder `output`; change none."""
    from airbundle.transfer.copy import rebuild as run

    there = pulled_first([Presence.of(output)])
    with there, opened(volumes, bundle) as readers, _beside(sidecar, readers) as copies:
        return run(readers, output, trust=trust, pace=pace, progress=progress, sidecar=copies)


def copy(volumes: Sequence[str], output: Sequence[str], *, trust: TrustSet, bundle: str = "",
         pace: Pace | None = None, progress: Progress | None = None) -> CopyResult:
    """Copy volumes onto other media, verified and read back; onto more or fewer, they are laid out anew."""
    from airbundle.transfer.copy import copy as run

    with pulled_first([Presence.of(path) for path in output]), opened(volumes, bundle) as readers:
        return run(readers, output, trust=trust, pace=pace, progress=progress)


def rescue(sources: Sequence[str], output: str, *, trust: TrustSet | None = None, bundle: str = "",
           progress: Progress | None = None) -> RescueResult:
    """Make volumes in the folder `output` from devices, images (or IMAGE:MAP of ddrescue) and folders of carved files.

    Needs no key. `trust` only says which of several statements is preferred. Returns if everything that the catalogs
    ask for was recovered; raises what is missing otherwise, with the result as `.report`: what was found is written.
    """
    from airbundle.transfer.rescue import rescue as run

    return run(sources, output, trust=trust or TrustSet(), bundle_id=bundle, progress=progress)


def unpack(volumes: Sequence[str], output: str, *, keys: Sequence[PrivateIdentity] = (), trust: TrustSet,
           passphrase: str | None = None, bundle: str = "", include: Sequence[str] = (), sidecar: str = "",
           pace: Pace | None = None, progress: Progress | None = None) -> UnpackResult:
    """Unpack into the new folder `output`; it appears only when everything was verified."""
    from airbundle.transfer.unpack import unpack as run

    keyring = _keyring(keys, passphrase)
    require_free(output)  # P-7: before anything is said of the bundle
    with opened(volumes, bundle) as readers, _beside(sidecar, readers) as copies:
        return run(readers, output, keyring=keyring, trust=trust, include=include, pace=pace,
                   progress=progress, sidecar=copies)


def read_custody(volume: str, *, trust: TrustSet, bundle: str = "") -> CustodyChain:
    """The events of custody on one volume. Raises FormatError where the bundle or an event cannot be read."""
    from airbundle.transfer.custody import read_chain
    from airbundle.transfer.open import open_bundle

    with opened([volume], bundle) as readers:
        return read_chain(open_bundle(readers, trust), readers[0], trust)


def add_custody(volume: str, *, sign: PrivateIdentity, kind: str, trust: TrustSet, seal: str = "", note: str = "",
                serial: str = "", bundle: str = "") -> CustodyEvent:
    """Sign an event of custody (`kind`) and write it onto the volume; the serial number is the drive's by default.

    Raises UntrustedError for a bundle that nobody here vouches for.
    """
    from airbundle.transfer.custody import add_to_chain, read_chain
    from airbundle.transfer.open import open_bundle

    with opened([volume], bundle, alone=True) as readers:
        found, reader = open_bundle(readers, trust), readers[0]
        if found.distrust is not None:
            raise found.distrust
        return add_to_chain(found, reader, read_chain(found, reader, trust), sign, kind=kind, now=int(time.time()),
                            serial=serial or device_serial(reader.path), seal=seal, note=note)


def make_slip(volume: str, *, trust: TrustSet, bundle: str = "") -> Slip:
    """What the slip of one volume says; `believed` says whether a trusted packer signed it."""
    from airbundle.transfer.custody import read_chain
    from airbundle.transfer.open import open_bundle
    from airbundle.transfer.slip import make_slip as run

    with opened([volume], bundle) as readers:
        if len(readers) != 1:
            raise UsageError(f"{len(readers)} volumes here", where=volume, hint="give one: each drive has its slip")
        found = open_bundle(readers, trust)
        return run(found, readers[0], read_chain(found, readers[0], trust), trust)


def salvage(volumes: Sequence[str], output: str, *, keys: Sequence[PrivateIdentity] = (), trust: TrustSet | None,
            passphrase: str | None = None, bundle: str = "", progress: Progress | None = None) -> SalvageResult:
    """Write what can still be read into the new folder `output`, where verification cannot succeed; see its `files`.

    With `trust` only what its packer signed is read; with None also what nobody here vouches for: then do not run it
    with more rights than it needs.
    """
    from airbundle.transfer.salvage import salvage as run

    keyring = _keyring(keys, passphrase)
    with opened(volumes, bundle) as readers:
        return run(readers, output, keyring=keyring, trust=trust, bundle_id=bundle, progress=progress)


def inspect(volumes: Sequence[str], *, trust: TrustSet | None = None, keys: Sequence[PrivateIdentity] = (),
            passphrase: str | None = None, bundle: str = "") -> Inspection:
    """What a bundle says of itself; with a key or passphrase also its files. `belief` says whether it is verified."""
    from airbundle.transfer.inspect import inspect as run

    keyring = _keyring(keys, passphrase)
    with opened(volumes, bundle) as readers:
        return run(readers, trust=trust, keyring=keyring)


def _keyring(keys: Sequence[PrivateIdentity], passphrase: str | None) -> Keyring:
    return Keyring(tuple(keys), Passphrase(passphrase) if passphrase is not None else None)


@contextlib.contextmanager
def opened(volumes: Sequence[str], bundle: str, *, alone: bool = False) -> Iterator[tuple[VolumeReader, ...]]:
    """The volumes; `alone` keeps every other process from writing to them, from before anything of them is judged.

    What goes wrong inside is a PulledError where one of their drives is gone by then.
    """
    presences = [Presence.of(path) for path in volumes]
    with contextlib.ExitStack() as stack, pulled_first(presences):
        readers = open_volumes(volumes, bundle)
        for reader in readers:
            presences.append(reader.presence)
            stack.callback(reader.close)
        try:
            if alone:
                for reader in readers:
                    reader.lock()
            yield readers
        except AirbundleError as error:
            error.where = error.where or readers[0].path
            raise


@contextlib.contextmanager
def _beside(sidecar: str, readers: Sequence[VolumeReader]) -> Iterator[VolumeReader | None]:
    if not sidecar:
        yield None
        return
    with open_sidecar(sidecar, readers) as reader:
        yield reader
