"""A second person vouches for a bundle: what is signed, what is counted, and what is not believed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.codec.engines import best_engine
from airbundle.codec.record import encode_record
from airbundle.crypto.identities import PrivateIdentity, generate
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.signing import sign
from airbundle.crypto.suites import STANDARD, hash_by_suite
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, MediumError, UnsignedError
from airbundle.format import encoding, limits
from airbundle.format.dsse import Envelope, Signature, write_envelope
from airbundle.format.statement import STATEMENT_TYPE
from airbundle.media import volume as names
from airbundle.media.writing import VolumeWriter
from airbundle.transfer.verify import OTHER_SIGNATURES, verify
from tests.transfer.forge import write_statement
from tests.transfer.split import Split, envelope_of, holds, split
from tests.transfer.workshop import PACE, Keys, Packed, digests, flip, kill_blocks, noise

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory


@pytest.fixture
def two(small: Packed, tmp_path: Path) -> Split:
    return split(small, tmp_path)


def trusting(keys: Keys, *others: PrivateIdentity) -> TrustSet:
    return TrustSet([NamedIdentity(str(at), one.public) for at, one in enumerate((keys.packer, *others))])


def countersign(bundle: Split, who: PrivateIdentity, **more: Any) -> Any:
    trust = more.pop("trust", bundle.keys.trust)
    return api.sign(bundle.paths, sign=who, trust=trust, pace=PACE, **more)


def put(path: Path, envelope: Envelope) -> None:
    """Write a copy of a statement as anyone with the drive could."""
    raw = write_envelope(envelope)
    if path.name == names.RECORD_NAME:
        raw = encode_record(raw, suite_number=1, hash_by_suite=hash_by_suite, engine=best_engine())
    path.write_bytes(raw)


def with_signatures(envelope: Envelope, *more: Signature) -> Envelope:
    return Envelope(envelope.payload_type, envelope.payload, (*envelope.signatures, *more))


def junk(number: int, size: int = 3373) -> Signature:
    return Signature(noise(32, 100 + number), noise(size, number))


def ids(*identities: PrivateIdentity) -> set[bytes]:
    return {identity.public.key_id for identity in identities}


def test_a_false_signature_of_somebody_trusted_gets_to_no_other_copy(small: Packed) -> None:
    """It is on one copy alone: that copy is reported, and repair takes it away instead of spreading it."""
    somebody, before = generate(STANDARD), digests(small.volume)
    trust, path = trusting(small.keys, somebody), small.volume / names.STATEMENT_NAME
    put(path, with_signatures(envelope_of(path), Signature(somebody.public.key_id, noise(3373, 1))))
    with pytest.raises(AirbundleError) as caught:
        api.verify(small.given, trust=trust, pace=PACE)
    assert caught.value.exit_status == 11
    api.repair(small.given, trust=trust)
    assert digests(small.volume) == before


def test_a_second_person_signs(two: Split) -> None:
    keys = two.keys
    shown: list[Any] = []
    payloads = {envelope.payload for envelope in two.copies().values()}
    result = countersign(two, keys.second, announce=shown.append)
    assert (result.made, len(result.files), result.left_out) == (True, 4, 0)
    assert result.signers == (keys.packer.public.hex, keys.second.public.hex)
    assert (shown[0].bundle, shown[0].statement_hash) == (result.report.bundle, result.report.statement_hash)
    assert {envelope.payload for envelope in two.copies().values()} == payloads
    assert two.signers() == [ids(keys.packer, keys.second)] * 4
    assert all(holds(keys.second, envelope) for envelope in two.copies().values())
    report = two.verify(trusting(keys, keys.second))
    assert report.signers == (keys.packer.public.hex, keys.second.public.hex)
    assert not [path for volume in two.volumes for path in volume.iterdir() if path.name.startswith(".")]
    assert two.verify().signers == (keys.packer.public.hex,)  # whoever trusts the packer alone counts one
    third = countersign(two, keys.stranger)
    assert third.signers == (keys.packer.public.hex, keys.stranger.public.hex)
    assert two.signers() == [ids(keys.packer, keys.second, keys.stranger)] * 4
    two.verify(trusting(keys, keys.second, keys.stranger))


@pytest.mark.parametrize("trusted", [True, False])
def test_one_person_counts_once(two: Split, *, trusted: bool) -> None:
    keys = two.keys
    trust = trusting(keys, keys.second) if trusted else keys.trust
    countersign(two, keys.second, trust=trust)
    before = [digests(volume) for volume in two.volumes]
    again = countersign(two, keys.second, trust=trust)
    assert (again.made, again.files) == (False, ())
    assert countersign(two, keys.packer, trust=trust).files == ()
    assert [digests(volume) for volume in two.volumes] == before
    assert len(two.verify(trusting(keys, keys.second)).signers) == 2


def test_nothing_is_shown_or_written_that_is_not_whole_and_believed(two: Split) -> None:
    keys = two.keys
    shown: list[Any] = []

    def refused(status: int, trust: TrustSet = keys.trust, paths: list[str] | None = None) -> None:
        before = [digests(volume) for volume in two.volumes]
        with pytest.raises(AirbundleError) as caught:
            api.sign(paths or two.paths, sign=keys.second, trust=trust, pace=PACE, announce=shown.append)
        assert caught.value.exit_status == status, repr(caught.value)
        assert [digests(volume) for volume in two.volumes] == before
        assert shown == []

    refused(5, TrustSet([NamedIdentity("second", keys.second.public)]))
    refused(11, paths=two.paths[:1])
    flip(two.volumes[0] / names.segment_name(0), 9000)
    refused(11)
    for volume, number in ((1, 1), (0, 2)):  # two of the three members of their group
        kill_blocks(two.volumes[volume] / names.segment_name(number), 4096, range(2, 36))
    refused(4)


def test_a_key_of_another_suite(two: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    other = generate()
    monkeypatch.setattr(type(other), "suite", replace(STANDARD, number=9, name="other"))
    with pytest.raises(AirbundleError) as caught:
        countersign(two, other)
    assert (caught.value.exit_status, caught.value.rule) == (2, "K-2")


def test_a_trusted_signature_of_another_suite_counts_for_nothing(two: Split) -> None:
    """It is over the same payload, and holds under its own suite."""
    identity = PrivateIdentity(replace(STANDARD, number=9, name="other"), noise(160))
    signature = sign(identity, STATEMENT_TYPE, two.opened().statement_raw)
    for name in (names.STATEMENT_NAME, names.RECORD_NAME):  # nor does the other volume lack anything
        path = two.volumes[0] / name
        put(path, with_signatures(envelope_of(path), signature))
    report = two.verify(trusting(two.keys, identity))
    assert report.signers == (two.keys.packer.public.hex,)


def test_only_ten_signatures(two: Split) -> None:
    """Ten people are trusted: no room. Nine are, and a stranger's junk has taken the tenth place: it makes room."""
    keys = two.keys
    others = [generate() for _ in range(9)]
    everybody = trusting(keys, *others)
    for volume in two.volumes:
        for name in (names.STATEMENT_NAME, names.RECORD_NAME):
            envelope = envelope_of(volume / name)
            more = [sign(other, STATEMENT_TYPE, envelope.payload) for other in others[:8]]
            put(volume / name, with_signatures(envelope, *more, junk(1)))
        put(volume / names.RECORD_NAME, envelope_of(volume / names.STATEMENT_NAME))
    result = countersign(two, others[8], trust=everybody)
    assert (len(result.signers), result.left_out) == (10, 2)
    assert two.signers() == [ids(keys.packer, *others)] * 4
    before = [digests(volume) for volume in two.volumes]
    with pytest.raises(AirbundleError) as caught:
        countersign(two, keys.second, trust=everybody)
    assert (caught.value.exit_status, caught.value.rule) == (2, "T-5")
    assert [digests(volume) for volume in two.volumes] == before


@pytest.mark.parametrize("left", [0, 1])
def test_signatures_that_differ_from_volume_to_volume(two: Split, tmp_path: Path, left: int) -> None:
    """A trusted one that a volume lacks is brought there; for whoever does not trust it nothing is wrong."""
    keys = two.keys
    alone = two.copy_to(tmp_path / "alone")
    countersign(two, keys.second)
    for name in (names.STATEMENT_NAME, names.RECORD_NAME):
        shutil.copy(alone.volumes[left] / name, two.volumes[left] / name)
    trust = trusting(keys, keys.second)
    error = two.refused(11, trust)
    assert {(finding.volume, finding.problem) for finding in error.report.findings} == {
        (two.paths[left], OTHER_SIGNATURES)}
    assert len(error.report.signers) == 2
    two.verify()
    assert api.repair(two.paths, trust=keys.trust).files == ()
    assert len(api.repair(two.paths, trust=trust).files) == 2
    assert two.signers() == [ids(keys.packer, keys.second)] * 4
    two.verify(trust)


@pytest.mark.parametrize("which", [names.STATEMENT_NAME, names.RECORD_NAME, "both"])
def test_junk_goes_nowhere(two: Split, which: str) -> None:
    """A stranger's signature on one volume: at most one repair, and never on the other volume."""
    keys = two.keys
    more = junk(1), sign(keys.stranger, STATEMENT_TYPE, b"something else")
    for name in (names.STATEMENT_NAME, names.RECORD_NAME) if which == "both" else (which,):
        path = two.volumes[0] / name
        put(path, with_signatures(envelope_of(path), *more))
    if which == "both":
        report = two.verify()
        assert sum("nobody here trusts" in line for line in report.ignored) == 2
    else:
        two.refused(11)
    api.repair(two.paths, trust=keys.trust)
    two.verify()
    assert two.signers()[2:] == [ids(keys.packer)] * 2
    kept = two.signers()[0]
    assert (kept == ids(keys.packer)) == (which == names.STATEMENT_NAME)  # the record's stay
    assert two.signers()[1] == kept


def test_junk_cannot_keep_repair_busy(two: Split) -> None:
    """Nine places are taken by junk on the record, none is left for a trusted signature; some are of any size."""
    keys = two.keys
    trust = trusting(keys, keys.second)
    countersign(two, keys.second)
    payload = envelope_of(two.volumes[0] / names.STATEMENT_NAME).payload
    packers = sign(keys.packer, STATEMENT_TYPE, payload)
    put(two.volumes[0] / names.RECORD_NAME,
        Envelope(STATEMENT_TYPE, payload, (packers, *(junk(at, 6000) for at in range(9)))))
    two.refused(11, trust)
    api.repair(two.paths, trust=trust)
    two.verify(trust)
    assert ids(keys.packer, keys.second) <= two.signers()[0] == two.signers()[1]
    assert two.signers()[2:] == [ids(keys.packer, keys.second)] * 2
    put(two.volumes[0] / names.RECORD_NAME, Envelope(STATEMENT_TYPE, payload, (packers, junk(1, 66_000))))
    api.repair(two.paths, trust=trust)
    assert (two.volumes[0] / names.STATEMENT_NAME).stat().st_size <= limits.STATEMENT_MAX
    two.verify(trust)


def test_a_trusted_signature_that_was_damaged(two: Split) -> None:
    """One flipped bit in the text of a signature: the other copies' one takes its place."""
    keys = two.keys
    trust = trusting(keys, keys.second)
    countersign(two, keys.second)
    path = two.volumes[0] / names.STATEMENT_NAME
    envelope = envelope_of(path)
    first, second = envelope.signatures
    bad = Signature(second.key_id, second.value[:100] + bytes([second.value[100] ^ 1]) + second.value[101:])
    put(path, Envelope(STATEMENT_TYPE, envelope.payload, (first, bad)))
    two.refused(11, trust)
    api.repair(two.paths, trust=trust)
    two.verify(trust)
    assert envelope_of(path) == envelope


def test_the_packers_signature_is_stripped(two: Split) -> None:
    """Whoever else signed: nothing is believed without the packer."""
    keys = two.keys
    countersign(two, keys.second)
    for volume in two.volumes:
        for name in (names.STATEMENT_NAME, names.RECORD_NAME):
            envelope = envelope_of(volume / name)
            put(volume / name, Envelope(STATEMENT_TYPE, envelope.payload, envelope.signatures[1:]))
    trust = trusting(keys, keys.second)
    assert isinstance(two.refused(5, trust), UnsignedError)
    for verb in (lambda: countersign(two, keys.second, trust=trust), lambda: api.repair(two.paths, trust=trust)):
        with pytest.raises(UnsignedError):
            verb()


@pytest.mark.parametrize("change", [{"expires": 4_000_000_000}, {"series": "s", "sequence": 9}, {"revision": 7}])
def test_a_countersigner_signs_another_payload(two: Split, change: dict[str, Any]) -> None:
    """It is another statement, and not its packer's: it counts for nothing, and repair puts the packer's back."""
    keys = two.keys
    trust = trusting(keys, keys.second)
    countersign(two, keys.second)
    before = [digests(volume) for volume in two.volumes]
    statement = two.opened().statement
    payload = encoding.encode(msgspec.structs.replace(statement, **change))
    for volume in two.volumes:
        put(volume / names.STATEMENT_NAME, Envelope(STATEMENT_TYPE, payload, (
            sign(keys.second, STATEMENT_TYPE, payload), *envelope_of(volume / names.RECORD_NAME).signatures[:1])))
    error = two.refused(11, trust)
    assert error.report.revision == 0
    assert error.report.expires is None
    assert error.report.sequence is None
    api.repair(two.paths, trust=trust)
    assert [digests(volume) for volume in two.volumes] == before
    for volume in two.volumes:
        (volume / names.RECORD_NAME).unlink()
        put(volume / names.STATEMENT_NAME,
            Envelope(STATEMENT_TYPE, payload, (sign(keys.second, STATEMENT_TYPE, payload),)))
    assert isinstance(two.refused(5, trust), UnsignedError)


def test_a_drive_that_takes_a_copy_and_gives_back_another(two: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before the old copy is gone."""
    before = [digests(volume) for volume in two.volumes]
    honest = VolumeWriter.write

    def sick(self: VolumeWriter, name: str, views: Any, *, suffix: str) -> str:
        temporary = honest(self, name, views, suffix=suffix)
        flip(two.volumes[0] / temporary, 100)
        return temporary

    monkeypatch.setattr(VolumeWriter, "write", sick)
    with pytest.raises(MediumError, match="does not hold"):
        countersign(two, two.keys.second)
    assert [digests(volume) for volume in two.volumes] == before


def test_somebody_changes_the_statement_meanwhile(two: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is signed is what was verified, or nothing."""
    keys = two.keys
    other = encoding.encode(msgspec.structs.replace(two.opened().statement, marking="other"))

    def swapped(*arguments: Any, **more: Any) -> Any:
        for volume in two.volumes:
            write_statement(volume, keys, other)
        return verify(*arguments, **more)

    monkeypatch.setattr("airbundle.transfer.sign.verify", swapped)
    with pytest.raises(AirbundleError) as caught:
        countersign(two, keys.second)
    assert caught.value.exit_status == 5
    assert two.signers() == [ids(keys.packer)] * 4


def test_by_the_command_line(two: Split, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    keys = two.keys
    for name in ("packer", "second"):
        (tmp_path / f"{name}.key").write_bytes(write_private(name, getattr(keys, name), passphrase=None))
        (tmp_path / f"{name}.pub").write_bytes(write_public(name, getattr(keys, name).public))
    words = ["sign", *two.paths, "--sign", str(tmp_path / "second.key"), "--trust", str(tmp_path / "packer.pub")]
    assert main(words) == 0
    out = capfd.readouterr().out
    assert two.opened().statement_hash in out
    assert f"signed: {keys.second.public.hex}, on 2 volumes" in out
    assert main([*words, "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert (answer["command"], answer["result"]["made"], answer["result"]["files"]) == ("sign", False, [])
    assert main(words) == 0
    assert "nothing added" in capfd.readouterr().out
    assert main(["verify", *two.paths, "--trust", str(tmp_path / "packer.pub"), "--trust",
                 str(tmp_path / "second.pub")]) == 0
    out = capfd.readouterr().out
    assert out.count("signed by") == 3
    flip(two.volumes[0] / names.segment_name(0), 9000)
    assert main(words) == 11
    assert "repair" in capfd.readouterr().err
