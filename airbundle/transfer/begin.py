"""Begin a pack, or find the one that it goes on with: what makes it the same command, and what it needs first.

The targets are not part of that: the same command with another `-o` goes on where a drive was full, lost or pulled.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from airbundle.crypto.envelope import BundleKey, Context
from airbundle.errors import FormatError, MediumError, UsageError
from airbundle.format import limits
from airbundle.format.manifest import check_meta
from airbundle.format.names import check_public_text, require_assigned, shown
from airbundle.media import volume as volumes
from airbundle.media.drive import mount_point
from airbundle.media.state import read_document, save_document, state_folder
from airbundle.transfer.drives import begun, in_order
from airbundle.transfer.journal import Journal, LaidOut, Mounted
from airbundle.transfer.layout import Team, default_lose, require_lose
from airbundle.transfer.plan import Fit, Needs, Options, Room, fitting, overall, require_folders_hold, sample
from airbundle.transfer.seal import SealPlan
from airbundle.version import WRITER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airbundle.crypto.identities import PrivateIdentity
    from airbundle.crypto.locks import Lock
    from airbundle.crypto.suites import Suite
    from airbundle.media.reading import SourceReader
    from airbundle.media.source import Source
    from airbundle.transfer.ending import Declared
    from airbundle.transfer.slices import Stream


def check_declared(declared: Declared) -> None:
    """What a reader would refuse is a mistake of the command here. Raises UsageError."""
    try:
        for text in (declared.label, declared.marking, declared.series or ""):
            check_public_text(require_assigned(text))
        check_meta(declared.meta)
    except FormatError as error:  # what a reader would refuse is a mistake of the command here
        raise UsageError(error.what, rule=error.rule) from error
    volumes.volume_name(declared.label, bytes(16), 1, 1)
    if (declared.series is None) != (declared.sequence is None):
        raise UsageError("--series and --sequence go together")
    if declared.expires is not None and declared.expires_after is not None:
        raise UsageError("two times at which it expires")
    for number in (declared.sequence, declared.expires, declared.expires_after):
        if number is not None and not 0 <= number <= limits.INTEGER_MAX:
            raise UsageError(f"{number} is not from 0 to 2^53 - 1", rule="E-1")


def plan_hash(found: Source, identity: PrivateIdentity, lock: Lock, declared: Declared,
              options: Options, lose: int | None) -> str:
    """What makes it the same command: source as scanned, keys, and everything that is written.

    A `lose` that was not given is whatever the first run took.
    """
    suite = identity.public.suite
    facts = {
        "root": os.fsencode(found.root).hex(), "files": suite.hash(found.files.identities).hex(),
        "paths": suite.hash("\0".join((*found.files.paths, "", *found.folders)).encode()).hex(),
        "packer": identity.public.key_id.hex(),
        "lock": lock.facts,
        "declared": repr(declared), "options": repr(options), "lose": lose, "writer": WRITER,
    }
    return suite.hash(msgspec.json.encode(facts, order="sorted")).hex()


def require_lock(journal: Journal, lock: Lock, targets: Sequence[str], label: str) -> tuple[str, ...]:
    """Another passphrase makes another bundle. Which it was is not in the plan's hash, so the envelope is tried.

    Gives warnings of folders that the earlier run has left on `targets`.
    """
    head = journal.head
    if head is None or lock.fits(head.preamble_bytes, BundleKey(head.key_bytes)):
        return ()
    journal.restart()
    left = [path for target in targets if (path := begun(target, label, bytes.fromhex(head.bundle))[1])]
    return tuple(f"{path} was begun under another passphrase and is of no use: remove it" for path in left)


def choose_lose(journal: Journal, wanted: int | None, drives: int) -> int:
    """How many drives may be lost: as it was wanted, else as it was begun, else by the number of drives."""
    if wanted is not None:
        return wanted
    return journal.head.lose if journal.head is not None else default_lose(drives)


def refuse_finished(digest: str, targets: Sequence[str], identity: PrivateIdentity,
                    entropy: Callable[[int], bytes]) -> None:
    """The same command again, after it has finished, would only write the same content a second time."""
    places = {os.path.realpath(target) for target in targets}
    for volume in _finished(digest):
        if os.path.dirname(os.path.realpath(volume)) in places:
            with Journal(identity, digest, entropy) as journal:
                if journal.head is not None:  # killed between the last word and the end: the bundle key is not kept
                    journal.erase()
            raise UsageError("holds this bundle already, finished", where=volume,
                             hint="verify it, or remove it to pack again")


def remember_finished(digest: str, paths: Sequence[str]) -> None:
    """Say where a finished bundle lies, beside those of the same command that are still there."""
    known = dict.fromkeys([*_finished(digest), *map(os.path.abspath, paths)])
    save_document(_finished_file(digest), b"\0".join(map(os.fsencode, list(known)[-limits.VOLUMES_MAX:])))


def _finished(digest: str) -> list[str]:
    places = [os.fsdecode(place) for place in read_document(_finished_file(digest)).split(b"\0") if place]
    return [place for place in places if os.path.exists(os.path.join(place, volumes.STATEMENT_NAME))]


def _finished_file(digest: str) -> str:
    return os.path.join(state_folder("finished"), digest[:32])


def place_targets(targets: Sequence[str], stream: Stream, declared: Declared, journal: Journal) -> tuple[str, ...]:
    """The targets by volume number. Raises UsageError for one that lies inside the source, or is no folder."""
    root = os.path.realpath(stream.source.root)
    for target in targets:
        if os.path.commonpath([root, os.path.realpath(target)]) == root:
            raise UsageError("lies inside the source", where=target, hint="pack onto another drive or folder")
        if not os.path.isdir(target):
            raise UsageError("is not a folder", where=target, hint="mount the drive, or make the folder")
    before = journal.mounted
    for target, point in _mount_points(targets).items():
        if point != before.get(target, point):
            there = shown(os.fsdecode(bytes.fromhex(before[target])))
            raise MediumError(f"no drive is mounted at {there} any more, where this pack was begun",
                              where=os.fsdecode(bytes.fromhex(target)),
                              hint="mount it again, or give another -o in its place")
    return in_order(targets, declared.label, bytes.fromhex(journal.head.bundle) if journal.head else None)


def choose_teams(targets: Sequence[str], stream: Stream, reader: SourceReader, options: Options, lose: int,
                 suite: Suite, lock: Lock, declared: Declared, journal: Journal) -> tuple[Team, ...]:
    """(1) Refuse before anything is written; sample only if the worst case would not fit.

    Teams of which something was packed by an earlier run stay as they are; the others are laid out over the targets.
    """
    require_lose(lose, len(targets))
    kept = _begun_teams(journal, len(targets))
    bundle = bytes.fromhex(journal.head.bundle) if journal.head else None
    rooms = [Room.of(target, targets, volumes.bytes_in(begun(target, declared.label, bundle)[1]) if bundle else 0)
             for target in targets]
    preamble = lock.preamble_size(suite)
    needs = Needs(stream, options, suite, preamble, None)
    try:
        _, teams = fitting(needs, rooms, lose, kept)
    except MediumError:
        if options.pad:
            raise
        needs = Needs(stream, options, suite, preamble, overall(stream, sample(stream, reader.read)[0]))
        fit, teams = fitting(needs, rooms, lose, kept)
        assert fit is Fit.SAMPLED
    require_folders_hold(targets, teams)
    return teams


def _begun_teams(journal: Journal, drives: int) -> tuple[Team, ...]:
    packed = {finished.row.group for finished in journal.finished.values()}
    teams = tuple(team for team in journal.teams or () if team.number <= max(packed, default=-1))
    if any(max(team.volumes) > drives for team in teams):
        raise UsageError("fewer drives than when this pack was begun", rule="T-6",
                         hint="give as many -o as before; another drive may take the place of a lost one")
    return teams


def seal_plan(journal: Journal, found: Source, identity: PrivateIdentity, lock: Lock, options: Options, lose: int,
              now: Callable[[], float], entropy: Callable[[int], bytes]) -> tuple[SealPlan, int]:
    """(2) From the journal, or drawn and written into it."""
    public = identity.public
    head = journal.head
    if head is None:
        bundle, key = entropy(16), BundleKey.generate(entropy=entropy)
        context = Context(public.suite, bundle, public.key_id)
        preamble = lock.write(context, key, entropy=entropy)
        head = journal.begin(bundle=bundle, key=key.secret_bytes(), preamble=preamble, created=int(now()),
                             words=lock.words, lose=lose)
    context = Context(public.suite, bytes.fromhex(head.bundle), public.key_id)
    plan = SealPlan(context=context, key=BundleKey(head.key_bytes), preamble=head.preamble_bytes,
                    block_size=options.block_size(found.total), parity=options.parity, pad=options.pad)
    return plan, head.created


def keep_places(journal: Journal, teams: Sequence[Team], targets: Sequence[str]) -> None:
    """Write the layout, and where the targets are mounted, into the journal where that is new."""
    points = _mount_points(targets)
    if journal.mounted != points:
        journal.add(Mounted(points))
    if journal.teams != tuple(teams) and journal.ending is None:
        journal.add(LaidOut.of(teams))


def _mount_points(targets: Sequence[str]) -> dict[str, str]:
    """Where each target is mounted; both paths as bytes in hexadecimal, since names may be any bytes."""
    return {os.fsencode(os.path.realpath(target)).hex(): os.fsencode(mount_point(target)).hex() for target in targets}
