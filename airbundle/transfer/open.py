"""Open a bundle from volumes: statement, catalog, preamble and, with a key, the manifest (spec chapters 8 and 9).

The steps, in order; nothing is parsed before the step that authenticates it, except the statement's own envelope:

1. find volumes of one bundle (`transfer/finding.py`) and say of each file what its headers claim
2. read every copy of every statement
3. judge the signatures; a valid one by the packer named in the statement is needed; the highest revision comes first
4. check the catalog against its signed row, from either copy, merged if need be; parse the table
5. take the preambles that have the signed hashes
6. with a key: open envelope, commitment and manifest, and compare what they repeat
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from airbundle.crypto.envelope import BundleKey, Context, Keyring, open_preamble, parse_preamble
from airbundle.crypto.seal import Opener
from airbundle.crypto.signing import Judgement
from airbundle.crypto.suites import Suite, suite_by_name
from airbundle.crypto.trust import TrustSet
from airbundle.errors import (
    AirbundleError,
    DamagedError,
    ForgedError,
    FormatError,
    IncompleteError,
)
from airbundle.format import limits
from airbundle.format.catalog import CATALOG, DATA, Group, Row, groups_of, parse_body, parse_table
from airbundle.format.manifest import Manifest, parse_manifest
from airbundle.format.preamble import BUNDLE_ID_AT
from airbundle.format.segment import TAG_SIZE
from airbundle.format.statement import Statement
from airbundle.media import system
from airbundle.media import volume as volumes
from airbundle.transfer.check import Expected, Findings, check_file, check_files
from airbundle.transfer.claims import claims_of
from airbundle.transfer.finding import holds_some
from airbundle.transfer.image import Image
from airbundle.transfer.preambles import search_preamble
from airbundle.transfer.signers import documents_of
from airbundle.transfer.statements import (
    StatementCopy,
    choose_statements,
    find_statements,
    hash_of_payload,
    read_statements,
)
from airbundle.transfer.whose import all_given, copies_absent, volumes_absent
from airbundle.transfer.workspace import Workspace

if TYPE_CHECKING:
    from airbundle.format.geometry import Geometry
    from airbundle.format.preamble import Preamble
    from airbundle.media.volume import Listing, VolumeReader

@dataclass(slots=True)
class Bundle:
    """An opened bundle. Where `distrust` says why nobody here vouches for it, `judgement` is None.

    `statement_raw` is the signed payload, `documents` the whole of it by path of the volume, as both files there should
    hold it. `older` are statements of lower revisions that are believed, `unread` are higher revisions on these volumes
    whose catalog cannot be had. `preamble_raw` is the catalog's, which holds, `segments_preamble` that of the data
    segments. `sidecar` is a folder beside the volumes whose copies are used and not judged.

    `segments` are the files that may hold a segment, `untried` those that L-6 leaves out; `held`, by path of the
    volume, what its files claim with a sound block at one of their ends; `stands_for` is what `transfer/whose.py` makes
    of that.
    """

    volumes: tuple[VolumeReader, ...]
    suite: Suite
    statement: Statement
    statement_raw: bytes
    documents: dict[str, bytes]
    judgement: Judgement | None
    distrust: AirbundleError | None
    copies: tuple[StatementCopy, ...]
    older: tuple[Statement, ...] = ()
    unread: tuple[int, ...] = ()
    sidecar: VolumeReader | None = None
    rows: tuple[Row, ...] = ()
    groups: tuple[Group, ...] = ()
    catalog_body: bytes | None = None
    catalog_findings: list[tuple[VolumeReader, str, Findings]] = field(default_factory=list)
    preamble_raw: bytes | None = None
    segments_preamble: bytes | None = None
    segments: dict[int, list[tuple[VolumeReader, str]]] = field(default_factory=dict)
    untried: dict[int, list[tuple[VolumeReader, str]]] = field(default_factory=dict)
    held: dict[str, set[tuple[str, Geometry]]] = field(default_factory=dict)
    stands_for: dict[str, frozenset[int]] = field(default_factory=dict)
    used: set[tuple[str, str]] = field(default_factory=set)
    listings: dict[str, Listing] = field(default_factory=dict)

    @property
    def id(self) -> bytes:
        """The 16-byte bundle id."""
        return bytes.fromhex(self.statement.bundle)

    @property
    def data_rows(self) -> tuple[Row, ...]:
        """The rows of the segments that hold the source."""
        return tuple(row for row in self.rows if row.role == DATA)

    @property
    def context(self) -> Context:
        """What the keys are bound to."""
        return Context(self.suite, self.id, bytes.fromhex(self.statement.packer))

    @property
    def statement_hash(self) -> str:
        """`H` over the PAE of the statement: what receipts and slips name it by."""
        return hash_of_payload(self.statement_raw, self.suite)

    @property
    def believed_by(self) -> str:
        """Fingerprint of the trusted packer, or nothing."""
        return self.judgement.require_packer().hex if self.judgement else ""

    def forget_body(self) -> None:
        """Let the catalog's body go: nobody will open its sealed list again, and that has 110 bytes for each file."""
        large = len(self.catalog_body or b"") > limits.MIB
        self.catalog_body = None
        if large:
            system.return_memory()

    def require_body(self) -> bytes:
        """The body of the catalog, which gave the signed root, where it was not let go."""
        assert self.catalog_body is not None
        return self.catalog_body

    def number_by_name(self, name: str) -> int | None:
        """Which segment a file of this name should hold; the catalog has names of its own and no other."""
        if name in volumes.CATALOGS:
            return self.statement.catalog.number
        number = volumes.segment_number(name)
        return number if number is not None and number < self.statement.catalog.number else None

    def expected(self, row: Row) -> Expected:
        """What is signed about the segment of `row`."""
        preamble, known = self.statement.preamble, self.segments_preamble
        if row.role == CATALOG:
            preamble, known = self.statement.envelopes, self.preamble_raw
        return Expected(
            suite=self.suite,
            geometry=row.geometry(suite=self.suite.number, digest_size=self.suite.digest_size, bundle=self.id),
            root=bytes.fromhex(row.root), preamble_length=preamble.length,
            preamble_hash=bytes.fromhex(preamble.hash), preamble=known)

    def as_stated(self, older: Statement) -> Bundle:
        """The same files, expected to be what an older statement says of them."""
        return replace(self, statement=older, preamble_raw=None, segments_preamble=None)

    def largest_segment(self) -> int:
        """Stored bytes of the largest segment, from the signed rows."""
        return max(self.expected(row).place.stored_size for row in (*self.rows, self.statement.catalog))


def open_bundle(readers: tuple[VolumeReader, ...], trust: TrustSet | None, work: Workspace | None = None, *,
                sidecar: VolumeReader | None = None) -> Bundle:
    """Steps 2 to 5. `trust` None or without the packer leaves `distrust` set; the caller decides what to do with it.

    Raises UnsignedError without any statement, ForgedError where two valid ones disagree (T-4), DamagedError or
    IncompleteError without a catalog, FormatError where one is malformed.
    """
    failure: AirbundleError | None = None
    for bundle in _open_statements(readers, trust or TrustSet(), sidecar):
        try:
            _map_files(bundle)
            _open_catalog(bundle, work)
        except FormatError as error:  # what is there and malformed gives way to no lower revision (T-7)
            raise (bundle.distrust or error) from None
        except (DamagedError, IncompleteError) as error:
            failure = failure or bundle.distrust or error  # whether to believe it comes first
        else:
            return bundle
    assert failure is not None
    raise failure from None


def _open_statements(readers: tuple[VolumeReader, ...], trust: TrustSet, sidecar: VolumeReader | None) -> list[Bundle]:
    """(3) The statements that all copies on all volumes give; the first whose catalog can be had holds (T-7)."""
    beside = tuple(read_statements(sidecar)) if sidecar is not None else ()
    copies, candidates = find_statements(readers, beside, trust)
    chosen = choose_statements(candidates, readers[0].path)
    readers = tuple(one for one in readers if holds_some(one, copies, chosen[0].statement.bundle)) or readers  # D-7
    copies = tuple(copy for copy in copies if copy.volume in readers)
    here = {copy.envelope.payload for copy in copies if copy.envelope is not None}
    bundles = []
    for at, one in enumerate(chosen):
        suite = suite_by_name(one.statement.suite)
        documents = documents_of(readers, (*copies, *beside), one.payload, trust, suite,
                                 bytes.fromhex(one.statement.packer))
        bundles.append(Bundle(
            volumes=readers, suite=suite, statement=one.statement, statement_raw=one.payload, documents=documents,
            judgement=one.judgement, distrust=one.distrust, copies=copies, sidecar=sidecar,
            older=tuple(other.statement for other in chosen[at + 1:]),
            unread=tuple(other.statement.revision for other in chosen[:at] if other.payload in here)))
    return bundles


def _map_files(bundle: Bundle) -> None:
    """Which files may hold which segment: by their names, and by what the blocks at their ends say (V-2, G-3).

    The files under its own name come first, all in order of the folders as given and of the bytes of their names. Of
    the others so many are tried as L-6 says: anyone can store files that claim a segment, and each is read whole.
    """
    strange: dict[int, list[tuple[VolumeReader, str]]] = {}
    for reader in bundle.volumes:
        listing = reader.listing()
        bundle.listings[reader.path] = listing
        for name in listing.files:
            by_name = bundle.number_by_name(name)
            if by_name is not None:
                bundle.segments.setdefault(by_name, []).append((reader, name))
            held = {claim.geometry for claim in claims_of(reader, name)
                    if claim.sound and claim.geometry.bundle == bundle.id}
            bundle.held.setdefault(reader.path, set()).update((name, geometry) for geometry in held)
            for number in {geometry.number for geometry in held} - {by_name}:
                strange.setdefault(number, []).append((reader, name))
    for number, places in strange.items():
        bundle.segments.setdefault(number, []).extend(places[:limits.CLAIMANTS_MAX])
        bundle.untried[number] = places[limits.CLAIMANTS_MAX:]


def _open_catalog(bundle: Bundle, work: Workspace | None) -> None:
    """(4) and (5): check the catalog from any copy; merge copies block by block if none is whole alone."""
    row = bundle.statement.catalog
    expected = bundle.expected(row)
    place = expected.place
    work = work or Workspace(place.stored_size)
    copies = [*bundle.segments.get(row.number, []), *_catalogs_beside(bundle)]
    body: bytes | None = None
    for reader, name in copies:
        findings, image = check_file(work, reader, name, expected)
        if reader is not bundle.sidecar:
            bundle.catalog_findings.append((reader, name, findings))
        bundle.preamble_raw = bundle.preamble_raw or findings.preamble
        if findings.lost == 0 and body is None:
            body = body_of(image)
    if body is None and len(copies) > 1:
        body = _merged_catalog(expected, work, copies)
    if body is None:
        kind = DamagedError if all_given(bundle) else IncompleteError  # D-3
        raise kind("no copy of the catalog can be repaired", where=bundle.volumes[0].path, rule="G-2",
                   hint="fetch another copy of the bundle")
    take_catalog(bundle, body)
    same = bundle.statement.envelopes == bundle.statement.preamble
    if bundle.preamble_raw is None:
        bundle.preamble_raw = _search_preamble(bundle, (row, *bundle.rows) if same else (row,))
    bundle.segments_preamble = bundle.preamble_raw if same else _search_preamble(bundle, bundle.rows)


def take_catalog(bundle: Bundle, body: bytes) -> None:
    """Take the table from a body that gave the signed root (G-2). Raises FormatError."""
    table, _ = parse_body(body)
    bundle.catalog_body = body
    bundle.rows = parse_table(table, catalog_number=bundle.statement.catalog.number,
                              volumes=len(bundle.statement.volumes))
    bundle.groups = groups_of(bundle.rows)
    for each in bundle.rows:
        _ = bundle.expected(each).place  # B-1 to B-3 before anything is allocated


def _search_preamble(bundle: Bundle, rows: tuple[Row, ...]) -> bytes | None:
    return search_preamble((bundle.expected(each), reader, name) for each in rows
                           for reader, name in bundle.segments.get(each.number, []))


def _catalogs_beside(bundle: Bundle) -> list[tuple[VolumeReader, str]]:
    if bundle.sidecar is None:
        return []
    names = bundle.sidecar.listing().files
    return [(bundle.sidecar, name) for name in (volumes.CATALOG_NAME, volumes.CATALOG_COPY_NAME) if name in names]


def _merged_catalog(expected: Expected, work: Workspace, copies: list[tuple[VolumeReader, str]]) -> bytes | None:
    """Blocks that carry their own digest from all copies, put together and judged as one."""
    findings, image = check_files(work, copies, expected)
    return body_of(image) if findings.lost == 0 else None


def body_of(image: Image) -> bytes:
    """The body that the data blocks of a segment are, end to end."""
    geometry = image.place.geometry
    return image.payloads[:geometry.data_blocks].tobytes()


@dataclass(frozen=True, slots=True)
class Opened:
    """What a recipient sees in addition: the bundle key and the manifest."""

    key: BundleKey
    preamble: Preamble
    manifest: Manifest


def check_preambles(bundle: Bundle) -> Preamble | None:
    """(5) Those that are there name the packer in clear: nobody needs a key to see a second name over a bundle.

    Gives the catalog's, if it is there. Raises FormatError or ForgedError (K-2, G-10).
    """
    here = [_parsed_preamble(bundle, raw, rule) for raw, rule in (
        (bundle.preamble_raw, "K-2"), (bundle.segments_preamble, "G-10")) if raw is not None]
    if len({preamble.commitment for preamble in here}) > 1:  # G-10
        raise ForgedError("the preambles of catalog and segments promise different keys", rule="G-10",
                          hint="do not use this bundle: its packer gave different recipients different keys")
    return here[0] if bundle.preamble_raw is not None else None


def require_preamble(bundle: Bundle) -> Preamble:
    """The catalog's. Raises DamagedError or IncompleteError (K-7), and what `check_preambles` raises."""
    preamble = check_preambles(bundle)
    if preamble is None:
        kind = IncompleteError if volumes_absent(bundle) or copies_absent(bundle) else DamagedError  # D-3
        raise kind("no copy of the preamble can be repaired", where=bundle.volumes[0].path, rule="K-7")
    return preamble


def _parsed_preamble(bundle: Bundle, raw: bytes, rule: str) -> Preamble:
    """A preamble of this bundle. What it says of suite, bundle and packer is looked at before all else of it (K-2)."""
    named = bundle.context.encoded
    if raw[:1] + raw[BUNDLE_ID_AT:BUNDLE_ID_AT + len(named) - 1] != named:
        raise ForgedError("preamble and statement name different bundles or packers", rule=rule,
                          hint="someone put a signature over ciphertext that is not theirs")
    return parse_preamble(raw)


def open_manifest(bundle: Bundle, keyring: Keyring) -> Opened:
    """(6) Raises NoKeyError, ForgedError (K-8, G-4), FormatError; under a passphrase what `distrust` says (K-15)."""
    preamble = require_preamble(bundle)
    if preamble.under_passphrase and bundle.distrust is not None:  # K-15: a stranger does not set the cost
        raise bundle.distrust
    key = open_preamble(preamble, keyring)
    _, sealed = parse_body(bundle.require_body())
    row = bundle.statement.catalog
    opener = Opener(bundle.context, key, row.number, bytes.fromhex(row.salt))
    return Opened(key, preamble, parse_manifest(_open_pieces(opener, sealed), partial(_require_same, bundle, preamble)))


def _require_same(bundle: Bundle, preamble: Preamble, manifest: Manifest) -> None:
    """G-4, before paths and slices are looked at."""
    statement = bundle.statement
    same = (manifest.bundle == statement.bundle and manifest.packer == statement.packer
            and manifest.series == statement.series and manifest.sequence == statement.sequence
            and manifest.recipients == tuple(recipient.hex() for recipient in preamble.recipients))
    if not same:
        raise ForgedError("the sealed manifest was made for another statement", rule="G-4",
                          hint="someone put a signature over ciphertext that is not theirs")


def _open_pieces(opener: Opener, sealed: memoryview) -> bytes:
    """Open the sealed manifest piece by piece."""
    step = limits.SEALED_PIECE + TAG_SIZE
    count = max(1, -(-len(sealed) // step))
    plain = bytearray(max(0, len(sealed) - count * TAG_SIZE))
    view, out = sealed, memoryview(plain)
    for number in range(count):
        part = view[number * step:(number + 1) * step]
        if len(part) <= TAG_SIZE:
            raise FormatError("the sealed manifest ends in a piece of nothing", rule="L-3")
        opener.open_into(number, part, out[number * limits.SEALED_PIECE:], last=number == count - 1)
    return bytes(plain)

