"""Bundles of both suites side by side: which keys they take, which signatures count, how much room they need."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record
from airbundle.crypto.envelope import BundleKey, Context, write_preamble
from airbundle.crypto.identities import PrivateIdentity, generate
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.signing import sign
from airbundle.crypto.suites import CNSA2, STANDARD, SUITES, Suite, hash_by_suite
from airbundle.crypto.trust import TrustSet
from airbundle.errors import ForgedError, NoKeyError, StrangerError, UsageError
from airbundle.format import encoding
from airbundle.format.catalog import parse_body
from airbundle.format.dsse import Envelope, Signature, parse_envelope, write_envelope
from airbundle.format.geometry import stripe_shape
from airbundle.format.segment import ChunkRow
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from airbundle.transfer import plan as planning
from airbundle.transfer.plan import DriveEstimate, Needs, Options, Room, open_stream
from airbundle.transfer.slices import CHUNK_ROW_MAX
from tests.transfer.forge import Lies, forge
from tests.transfer.test_round_trip import tensors
from tests.transfer.workshop import KIB, MIB, PACE, Keys, Packed, both_suites, digests, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def others() -> Keys:
    """People whose keys are of `cnsa2`; those of `keys` are of `standard`."""
    return Keys(generate(CNSA2), generate(CNSA2), generate(CNSA2), generate(CNSA2))


def sign_again(bundle: Packed, *signatures: Signature, payload: bytes | None = None) -> None:
    """Other signatures over the payload, or over another one, in both places."""
    path = bundle.volume / names.STATEMENT_NAME
    payload = payload or parse_envelope(path.read_bytes(), STATEMENT_TYPE).payload
    document = write_envelope(Envelope(STATEMENT_TYPE, payload, signatures))
    path.write_bytes(document)
    (bundle.volume / names.RECORD_NAME).write_bytes(encode_record(
        document, suite_number=bundle.keys.packer.suite.number, hash_by_suite=hash_by_suite, engine=best_engine()))


def signed_payload(bundle: Packed) -> tuple[bytes, Signature]:
    envelope = parse_envelope((bundle.volume / names.STATEMENT_NAME).read_bytes(), STATEMENT_TYPE)
    return envelope.payload, envelope.signatures[0]


@both_suites
def test_the_suite_of_a_bundle_is_its_packers(small: Packed) -> None:
    suite = small.keys.packer.suite
    statement, block = small.statement(), small.segment(0).read_bytes()[:4096]
    assert statement.suite == suite.name
    assert len(statement.packer) == len(statement.preamble.hash) == len(statement.catalog.root) == 2 * suite.digest_size
    assert block[58] == suite.number
    new_hash = hashlib.sha384 if suite is CNSA2 else suite.new_hash
    assert block[8:56] == new_hash(block[:8] + bytes(48) + block[56:]).digest().ljust(48, b"\0")
    assert small.verify(opened=True).suite == suite.name


@both_suites
def test_all_verbs_by_the_command_line(keys: Keys, tmp_path: Path, capfdbinary: Any) -> None:
    suite = keys.packer.suite.name
    source = write_tree(tmp_path / "source", {"f": noise(100_000, 1)})
    drive, back = tmp_path / "drive", tmp_path / "back"
    drive.mkdir()

    def done(*words: object) -> dict[str, Any]:
        status = main([*map(str, words), "--json"])
        out, err = capfdbinary.readouterr()
        assert status == 0, err
        result: dict[str, Any] = json.loads(out)["result"]
        return result

    (tmp_path / "secret").write_text("a passphrase of a key\n")
    assert done("keygen", "desk", "-o", tmp_path, "--suite", suite, "--no-passphrase")["suite"] == suite
    done("keygen", "station", "-o", tmp_path, "--suite", suite, "--passphrase-file", tmp_path / "secret")
    trust = ("--trust", tmp_path / "desk.pub")
    key = ("--key", tmp_path / "station.key", "--key-passphrase-file", tmp_path / "secret")
    done("pack", source, "-o", drive, "--sign", tmp_path / "desk.key", "--to", tmp_path / "station.pub")
    assert done("verify", drive, *trust, *key)["opened"]
    found = done("inspect", drive, *trust, *key)
    assert (found["suite"], found["opened"], found["under_passphrase"]) == (suite, True, False)
    done("repair", drive, *trust)
    done("unpack", drive, "-o", back, *trust, *key)
    assert digests(back) == digests(source)


def test_an_unknown_suite(tmp_path: Path, capfdbinary: Any) -> None:
    assert main(["keygen", "desk", "-o", str(tmp_path), "--suite", "cnsa3", "--no-passphrase"]) == 2
    err = capfdbinary.readouterr().err
    assert b"K-1" in err
    assert b"standard, cnsa2" in err
    assert list(tmp_path.iterdir()) == []


def test_a_recipient_of_another_suite(keys: Keys, others: Keys, tmp_path: Path, capfdbinary: Any) -> None:
    source = write_tree(tmp_path / "source", {"f": b"x"})
    (tmp_path / "drive").mkdir()
    for packer, recipient in ((keys.packer, others.reader), (others.packer, keys.reader)):
        with pytest.raises(UsageError) as caught:
            api.pack(str(source), str(tmp_path / "drive"), sign=packer, to=[packer.public, recipient.public])
        assert caught.value.rule == "K-2"
        assert recipient.suite.name in caught.value.what
        assert packer.suite.name in caught.value.hint
    for name, identity in (("desk", others.packer), ("station", keys.reader)):
        (tmp_path / f"{name}.key").write_bytes(write_private(name, identity, passphrase=None))
        (tmp_path / f"{name}.pub").write_bytes(write_public(name, identity.public))
    assert main(["pack", str(source), "-o", str(tmp_path / "drive"), "--sign", str(tmp_path / "desk.key"), "--to",
                 str(tmp_path / "station.pub")]) == 2
    assert b"K-2" in capfdbinary.readouterr().err
    assert list((tmp_path / "drive").iterdir()) == []


def test_a_key_of_another_suite(small: Packed, others: Keys, tmp_path: Path) -> None:
    with pytest.raises(NoKeyError, match="standard"):
        api.unpack([str(small.volume)], str(tmp_path / "back"), keys=[others.reader], trust=small.keys.trust)


def trusting(*identities: PrivateIdentity) -> TrustSet:
    return TrustSet(NamedIdentity(f"key {n}", identity.public) for n, identity in enumerate(identities))


def test_a_second_signature_of_another_suite_is_reported_and_counts_for_nothing(small: Packed, others: Keys) -> None:
    payload, own = signed_payload(small)
    sign_again(small, own, sign(others.second, STATEMENT_TYPE, payload))
    report = api.verify([str(small.volume)], trust=trusting(small.keys.packer, others.second))
    assert report.signers == (small.keys.packer.public.hex,)
    (line,) = [line for line in report.ignored if "another suite" in line]
    assert others.second.public.hex in line


def test_a_packer_of_another_suite(small: Packed, others: Keys) -> None:
    """A statement that names a cnsa2 key as the packer of a standard bundle, validly signed by it, and trusted."""
    payload = encoding.encode(msgspec.structs.replace(small.statement(), packer=others.packer.public.key_id.hex()))
    sign_again(small, sign(others.packer, STATEMENT_TYPE, payload), payload=payload)
    with pytest.raises(ForgedError) as caught:
        api.verify([str(small.volume)], trust=trusting(small.keys.packer, others.packer))
    assert caught.value.rule == "K-11"
    with pytest.raises(StrangerError):
        small.verify()


def test_a_signature_of_the_other_suite_under_the_packers_id(small: Packed, others: Keys) -> None:
    payload, _ = signed_payload(small)
    borrowed = sign(others.packer, STATEMENT_TYPE, payload).value
    sign_again(small, Signature(small.keys.packer.public.key_id, borrowed))
    with pytest.raises(ForgedError) as caught:
        api.verify([str(small.volume)], trust=trusting(small.keys.packer, others.packer))
    assert caught.value.rule == "T-3"


def test_a_suite_that_the_statement_does_not_have(keys: Keys, others: Keys, tmp_path: Path) -> None:
    """The blocks are of one suite, the statement says the other, and the packer signs that."""
    for people, suite in ((keys, "cnsa2"), (others, "standard")):
        forged = forge(tmp_path / suite, people, Lies(statement=partial(msgspec.structs.replace, suite=suite)))
        with pytest.raises(ForgedError) as caught:
            api.verify([str(forged.volume)], trust=people.trust)
        assert caught.value.rule == "K-11"


@both_suites
def test_ten_signatures_fit_a_statement_and_its_record(small: Packed) -> None:
    suite = small.keys.packer.suite
    payload, own = signed_payload(small)
    more = [generate(suite) for _ in range(9)]
    sign_again(small, own, *(sign(identity, STATEMENT_TYPE, payload) for identity in more))
    size = (small.volume / names.STATEMENT_NAME).stat().st_size
    assert 10 * suite.signature_size < size <= 95 * KIB
    report = api.verify([str(small.volume)], trust=trusting(small.keys.packer, *more))
    assert len(report.signers) == 10
    (small.volume / names.STATEMENT_NAME).unlink()
    small.repair()
    assert (small.volume / names.STATEMENT_NAME).stat().st_size == size


@both_suites
def test_sixty_four_recipients(keys: Keys, tmp_path: Path) -> None:
    suite = keys.packer.suite
    recipients = [generate(suite) for _ in range(64)]
    source = write_tree(tmp_path / "source", {"f": noise(70_000, 2)})
    bundle = pack(keys, source, tmp_path / "drive", to=[identity.public for identity in recipients])
    assert bundle.statement().preamble.length <= 128 * KIB
    bundle.verify()
    for number in (0, 63):
        back = tmp_path / f"back-{number}"
        api.unpack([str(bundle.volume)], str(back), keys=[recipients[number]], trust=keys.trust, pace=PACE)
        assert digests(back) == digests(source)


def estimated(needs: Needs) -> DriveEstimate:
    (drive,), _ = planning._drive_estimates(needs, [Room("drive", 1 << 40, 32 * KIB)], 0)
    return drive


@both_suites
@pytest.mark.parametrize("recipients", [1, 64])
def test_no_bundle_is_larger_than_its_estimate(keys: Keys, tmp_path: Path, recipients: int) -> None:
    """Incompressible, and many segments: digests and envelopes of the suite are counted."""
    suite = keys.packer.suite
    people = [keys.reader.public, *(generate(suite).public for _ in range(recipients - 1))]
    source = write_tree(tmp_path / "source", {f"f{n:03d}": noise(20_000, n) for n in range(200)})
    bundle = pack(keys, source, tmp_path / "drive", segment_size=64 * KIB, to=people)
    stored = sum(-(-path.stat().st_size // 4096) * 4096 for path in bundle.volume.iterdir())
    options = Options(segment_size=64 * KIB)
    _, stream, reader = open_stream(str(source), options)
    with reader:
        need = estimated(Needs(stream, options, suite, bundle.statement().preamble.length, None))
    assert stored <= need.need_at_most <= stored + 64 * 32 * KIB + MIB
    length = bundle.statement().preamble.length
    for row in bundle.rows():  # to the byte, where the body is known
        assert planning._stored(row.body, row.block_size, 8.0, suite, length) == (
            bundle.segment(row.number).stat().st_size)
    place = bundle.place(bundle.statement().catalog)
    blocks = (bundle.volume / names.CATALOG_NAME).read_bytes()[place.data_at * 4096:place.parity_at * 4096]
    body = b"".join(blocks[at + 128:at + 4096] for at in range(0, len(blocks), 4096))
    table, manifest = parse_body(body)
    assert len(table) + len(manifest) < planning.catalog_body(stream, suite) + 100 * recipients
    longer = planning.catalog_body(stream, CNSA2) - planning.catalog_body(stream, STANDARD)
    # A root is 16 bytes longer, in hexadecimal; for each segment one of parity is counted.
    assert longer == 2 * 16 * 2 * len(stream.slices)


def test_a_plan_without_keys_counts_with_the_larger_suite(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"f": noise(20_000, 1)})
    options = Options()
    _, stream, reader = open_stream(str(source), options)
    with reader:
        need = estimated(Needs(stream, options, CNSA2, 4 + 16 + 96 + 64 * (4 + 48 + 1616), None))
    assert planning.make_plan(str(source), [1 << 40], options, recipients=64).drives[0].need_at_most == (
        need.need_at_most)
    assert api.plan(str(source), [1 << 40]).drives[0].need_at_most < need.need_at_most


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("blocks", [1, 100, 1000, 20_000])
def test_what_is_stored_of_a_body(suite: Suite, blocks: int) -> None:
    """By the formula of spec chapter 5: digests of the suite fill the lists."""
    preamble = 4 + 16 + 2 * suite.digest_size + 5000
    _, m, stripes = stripe_shape(blocks, 4096, 8.0)
    coded = blocks + m * stripes
    lists = -(-suite.digest_size * coded // 3968)
    assert planning._stored(blocks * 3968, 4096, 8.0, suite, preamble) == (2 * 2 + 2 * lists + coded) * 4096


def test_a_preamble_of_the_other_suite(keys: Keys, others: Keys, tmp_path: Path) -> None:
    """Whole by its hash, signed by a trusted packer, and of another suite than everything around it."""
    for people, strangers in ((keys, others), (others, keys)):
        suite = strangers.packer.suite

        def other(honest: bytes, suite: Suite = suite, strangers: Keys = strangers) -> bytes:
            context = Context(suite, honest[4:20], strangers.packer.public.key_id)
            return write_preamble(context, BundleKey(bytes(32)), [strangers.reader.public])

        forged = forge(tmp_path / suite.name, people, Lies(preamble=other))
        assert forged.refused(5).rule == "K-2"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_no_row_of_a_chunk_is_longer_than_is_counted_with(suite: Suite) -> None:
    """What the buffers of a segment are cut for; the digest is the longest of its fields."""
    row = ChunkRow(MIB, MIB + 16, "planes-4", "f" * 2 * suite.digest_size)
    assert len(encoding.encode(row)) + 1 <= CHUNK_ROW_MAX


@both_suites
def test_floats_of_every_kind_in_padded_segments(keys: Keys, tmp_path: Path) -> None:
    tensors(tmp_path / "source")
    bundle = pack(keys, tmp_path / "source", tmp_path / "drive", pad=True)
    bundle.verify(opened=True)
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(bundle.source)


def test_the_hash_of_files_is_sha_256_in_both(keys: Keys, others: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"f": noise(999, 3)})
    for people in (keys, others):
        bundle = pack(people, source, tmp_path / people.packer.suite.name)
        found = api.inspect([str(bundle.volume)], trust=people.trust, keys=[people.reader])
        assert found.files[0].sha256 == hashlib.sha256(noise(999, 3)).hexdigest()
        assert found.suite == {STANDARD.number: "standard", CNSA2.number: "cnsa2"}[people.packer.suite.number]
