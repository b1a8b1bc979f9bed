"""Who can open a bundle is changed without packing it again; two revisions of one bundle, and two of one revision."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.crypto.envelope import BundleKey, Context, parse_preamble, write_preamble
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import NamedIdentity, write_private, write_public
from airbundle.crypto.signing import sign
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, DamagedError, StrangerError
from airbundle.format.dsse import Envelope, Signature, parse_envelope, write_envelope
from airbundle.format.manifest import write_manifest
from airbundle.format.preamble import write_preamble_bytes
from airbundle.format.statement import STATEMENT_TYPE, parse_statement
from airbundle.media import volume as names
from airbundle.media.state import state_folder
from tests.transfer.forge import Lies, forge
from tests.transfer.split import FIXED, Split, no_two_disagree, opens, rewrap, split
from tests.transfer.workshop import PACE, Keys, Packed, digests, flip, kill_blocks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory


@pytest.fixture
def two(small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Split:
    """With a state folder of its own: the bundle of the session is rewrapped again in each test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return split(small, tmp_path)


def segments(bundle: Split) -> dict[str, str]:
    return {name: digest for volume in bundle.volumes for name, digest in digests(volume).items()
            if name not in FIXED}


def test_one_is_added_and_one_is_dropped(two: Split, tmp_path: Path) -> None:
    keys = two.keys
    before, old, stored = two.copy_to(tmp_path / "before"), two.opened(), segments(two)
    assert not opens(two, keys.second, tmp_path / "no")
    result = rewrap(two, drop=[keys.reader.public.fingerprint])
    assert (result.revision, len(result.files), result.lost_signatures) == (1, 8, 0)
    assert result.recipients == result.added == (keys.second.public.hex,)
    assert result.dropped == (keys.reader.public.hex,)
    assert segments(two) == stored
    report = two.verify(keys=[keys.second])
    assert (report.revision, report.opened, report.statement_hash) == (1, True, result.statement_hash)
    assert opens(two, keys.second, tmp_path / "second")
    assert not opens(two, keys.reader, tmp_path / "reader")
    assert opens(before, keys.reader, tmp_path / "copy")  # it revokes nothing
    new = two.opened()
    same = {"bundle", "suite", "packer", "created", "expires", "series", "sequence", "label", "marking", "preamble",
            "volumes", "lose", "base", "airbundle"}
    for name in same:
        assert getattr(new.statement, name) == getattr(old.statement, name), name
    assert new.rows == old.rows
    assert new.preamble_raw is not None
    assert old.preamble_raw is not None
    assert new.segments_preamble == old.preamble_raw != new.preamble_raw
    assert parse_preamble(new.preamble_raw).commitment == parse_preamble(old.preamble_raw).commitment
    assert new.statement.catalog.salt != old.statement.catalog.salt
    assert not [path for volume in two.volumes for path in volume.iterdir() if path.name.startswith(".")]


def test_again_and_again(two: Split, tmp_path: Path) -> None:
    keys = two.keys
    assert rewrap(two).revision == 1
    before = [digests(volume) for volume in two.volumes]
    again = rewrap(two)
    assert (again.revision, again.files) == (1, ())
    assert [digests(volume) for volume in two.volumes] == before
    third = generate()
    assert rewrap(two, add=[third.public], drop=[keys.reader.public.key_id]).revision == 2
    assert rewrap(two, add=[], drop=[keys.reader.public.fingerprint], keys=[third]).files == ()  # gone already
    assert rewrap(two, add=[keys.reader.public], keys=[third]).revision == 3
    assert rewrap(two).files == ()  # the first command: what it wants is so
    assert opens(two, keys.reader, tmp_path / "reader")
    assert opens(two, third, tmp_path / "third")
    two.verify()


def test_an_older_copy_of_the_drives_gets_the_same_revision(two: Split, tmp_path: Path) -> None:
    """The same command on a second set of drives: the very bytes, not another statement of the same revision."""
    other = two.copy_to(tmp_path / "other")
    rewrap(two)
    result = rewrap(other)
    assert (result.revision, len(result.files)) == (1, 8)
    assert [digests(volume) for volume in other.volumes] == [digests(volume) for volume in two.volumes]
    rewrap(two, add=[two.keys.stranger.public])
    assert rewrap(other, add=[], drop=[two.keys.second.public.fingerprint]).revision == 3  # not a second 2
    assert opens(other, two.keys.stranger, tmp_path / "stranger")


def test_a_sidecar_of_a_newer_revision(two: Split, tmp_path: Path) -> None:
    """It is a source like any other: the older volumes are brought to it. Without its catalog it says nothing."""
    old = two.copy_to(tmp_path / "old")
    sent = state_folder("sent", rewrap(two).bundle)
    old.verify()
    assert old.refused(11, sidecar=sent).report.revision == 1
    half = shutil.copytree(sent, tmp_path / "half")
    (half / names.CATALOG_NAME).unlink()
    assert old.verify(sidecar=str(half)).revision == 0
    api.repair(old.paths, trust=two.keys.trust, sidecar=sent)
    assert [digests(volume) for volume in old.volumes] == [digests(volume) for volume in two.volumes]


def test_the_senders_own_copy_follows(two: Split) -> None:
    result = rewrap(two)
    sent = state_folder("sent", result.bundle)
    for volume in two.volumes:
        for name in FIXED:
            (volume / name).unlink()
    two.refused(5)
    assert two.refused(11, sidecar=sent).report.revision == 1
    api.repair(two.paths, trust=two.keys.trust, sidecar=sent)
    assert two.verify().statement_hash == result.statement_hash


def test_countersignatures_are_lost_and_counted(two: Split) -> None:
    keys = two.keys
    known = TrustSet([NamedIdentity(name, one.public) for name, one in (
        ("p", keys.packer), ("s", keys.second), ("x", keys.stranger), ("r", keys.reader))])
    for other in (keys.second, keys.stranger):
        api.sign(two.paths, sign=other, trust=keys.trust, pace=PACE)
    for path in two.volumes:  # what nobody knows, and what does not hold, was never worth anything
        envelope = parse_envelope((path / names.STATEMENT_NAME).read_bytes(), STATEMENT_TYPE)
        junk = sign(generate(keys.packer.suite), STATEMENT_TYPE, envelope.payload)
        broken = Signature(keys.reader.public.key_id, sign(keys.reader, STATEMENT_TYPE, b"another").value)
        (path / names.STATEMENT_NAME).write_bytes(write_envelope(
            Envelope(STATEMENT_TYPE, envelope.payload, (*envelope.signatures, junk, broken))))
        (path / names.RECORD_NAME).unlink()
    api.repair(two.paths, trust=keys.trust)
    assert rewrap(two, trust=known).lost_signatures == 2
    assert two.signers() == [{keys.packer.public.key_id}] * 4
    assert rewrap(two, add=[keys.stranger.public]).lost_signatures == 0
    api.sign(two.paths, sign=keys.second, trust=keys.trust, pace=PACE)
    assert rewrap(two, add=[keys.stranger.public]).lost_signatures == 0  # it holds for this revision


def test_no_preamble_is_left_in_the_catalogs(two: Split, tmp_path: Path) -> None:
    """Those of the segments say who could open it before, and are not taken for it."""
    rewrap(two, drop=[two.keys.reader.public.fingerprint])
    opened = two.opened()
    for volume in two.volumes:
        for name in (names.CATALOG_NAME, names.CATALOG_COPY_NAME):
            kill_blocks(volume / name, 4096, opened.expected(opened.statement.catalog).place.preambles_at)
    two.refused(4)
    for key in (two.keys.reader, two.keys.second):
        with pytest.raises(DamagedError) as caught:
            opens(two, key, tmp_path / "back")
        assert caught.value.rule == "K-7"


@pytest.mark.parametrize("left", [None, 0, 1])
def test_one_preamble_is_left_after_a_rewrap(two: Split, tmp_path: Path, left: int | None) -> None:
    """Segments have the old one, catalogs the new one; neither stands in for the other."""
    rewrap(two)
    before, opened = [digests(volume) for volume in two.volumes], two.opened()
    for volume in two.volumes:
        kill_blocks(volume / names.CATALOG_NAME, 4096, [0])
        (volume / names.CATALOG_COPY_NAME).unlink()
    for row in opened.rows:
        first, second = opened.expected(row).place.preambles_at
        kill_blocks(two.volumes[row.number % 2] / names.segment_name(row.number), row.block_size,
                    [first] if row.number == left else [first, second])
    if left is None:
        two.refused(4)
        assert opens(two, two.keys.reader, tmp_path / "back")  # the catalog's is the one that holds
        return
    two.refused(11)
    api.repair(two.paths, trust=two.keys.trust)
    assert [digests(volume) for volume in two.volumes] == before


def test_no_segment_is_written_without_its_preamble(two: Split, tmp_path: Path) -> None:
    """Its group gives what unpack needs, and no root binds the preamble that would have to be made up."""
    rewrap(two)
    opened = two.opened()
    for row in opened.rows:
        kill_blocks(two.volumes[row.number % 2] / names.segment_name(row.number), row.block_size,
                    opened.expected(row).place.preambles_at)
    (two.volumes[0] / names.segment_name(0)).unlink()
    two.refused(4)
    assert opens(two, two.keys.reader, tmp_path / "back")
    with pytest.raises(DamagedError):
        api.repair(two.paths, trust=two.keys.trust)
    for name in ("copy", "rescued"):
        (tmp_path / name).mkdir()
    with pytest.raises(DamagedError):
        api.copy(two.paths, [str(tmp_path / "copy")], trust=two.keys.trust)
    with pytest.raises(DamagedError):
        api.rescue(two.paths, str(tmp_path / "rescued"), trust=two.keys.trust)
    places = (two.volumes[0], tmp_path / "copy", tmp_path / "rescued")
    assert not [path for place in places for path in place.rglob("*0000.abs")]


def test_an_envelope_moved_from_another_bundle(keys: Keys, tmp_path: Path) -> None:
    """Bound to its bundle: it opens nothing here."""
    context = Context(keys.packer.suite, b"x" * 16, keys.packer.public.key_id)
    other = parse_preamble(write_preamble(context, BundleKey(b"k" * 32), [keys.reader.public]))

    def moved(raw: bytes) -> bytes:
        return write_preamble_bytes(replace(parse_preamble(raw), envelopes=other.envelopes))

    bundle = forge(tmp_path / "drive", keys, Lies(preamble=moved))
    assert bundle.refused(8, opened=True).rule == "K-5"


def test_revision_0_with_two_preambles(keys: Keys, tmp_path: Path) -> None:
    lies = Lies(statement=lambda honest: msgspec.structs.replace(
        honest, envelopes=msgspec.structs.replace(honest.envelopes, hash="00" * 32)))
    assert forge(tmp_path / "drive", keys, lies).refused(4).rule == "G-10"


def test_preambles_that_promise_two_keys(two: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog's commitment is another one than that of the segments: known without any key."""
    honest = write_preamble_bytes

    def lying(preamble: Any) -> bytes:
        return honest(replace(preamble, commitment=bytes(32)))

    monkeypatch.setattr("airbundle.transfer.rewrap.write_preamble_bytes", lying)
    monkeypatch.setattr("airbundle.transfer.rewrap.require_preamble",
                        lambda bundle: parse_preamble(bundle.preamble_raw))
    rewrap(two)
    assert two.refused(5).rule == "G-10"


def test_the_manifest_names_whom_the_catalog_is_sealed_to(two: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tuple(recipient.hex() for recipient in [two.keys.reader.public.key_id])
    monkeypatch.setattr("airbundle.transfer.rewrap.write_manifest",
                        lambda manifest: write_manifest(msgspec.structs.replace(manifest, recipients=old)))
    rewrap(two)
    assert two.refused(5, keys=[two.keys.reader]).rule == "G-4"


@pytest.mark.parametrize(("more", "status"), [
    ({"sign": "stranger"}, 5), ({"sign": "second"}, 5), ({"keys": "stranger"}, 8), ({"paths": 1}, 3),
    ({"add": (), "drop": "stranger"}, 2), ({"add": (), "drop": "reader"}, 2), ({"drop": "second"}, 2),
    ({"add": ("reader", "second"), "drop": "reader"}, 2)])
def test_what_is_refused(two: Split, more: dict[str, Any], status: int) -> None:
    keys = two.keys
    before = [digests(volume) for volume in two.volumes]
    words: dict[str, Any] = dict(more)
    if "sign" in words:
        words["sign"] = getattr(keys, words["sign"])
    if "keys" in words:
        words["keys"] = [getattr(keys, words["keys"])]
    if "add" in words:
        words["add"] = [getattr(keys, name).public for name in words["add"]]
    if "drop" in words:
        words["drop"] = [getattr(keys, words["drop"]).public.fingerprint]
    if "paths" in words:
        words["paths"] = two.paths[:1]
    with pytest.raises(AirbundleError) as caught:
        rewrap(two, **words)
    assert caught.value.exit_status == status, repr(caught.value)
    assert isinstance(caught.value, StrangerError) == (status == 5)
    assert ("volume 2 of 2, 'LOW-B'" in caught.value.what) == (status == 3)
    assert [digests(volume) for volume in two.volumes] == before


def test_a_damaged_bundle_is_repaired_first(two: Split) -> None:
    flip(two.volumes[0] / names.segment_name(0), 9000)
    with pytest.raises(AirbundleError) as caught:
        rewrap(two)
    assert caught.value.exit_status == 11
    flip(two.volumes[0] / names.segment_name(0), 9000)
    flip(two.volumes[0] / names.CATALOG_NAME, 9000)
    with pytest.raises(AirbundleError) as caught:
        rewrap(two)
    assert caught.value.exit_status == 11
    assert {parse_statement(envelope.payload).revision for envelope in two.copies().values()} == {0}


def test_a_state_folder_that_is_not_believed(two: Split, tmp_path: Path) -> None:
    """What lies there is judged like any copy; a revision that was made is not made a second time."""
    old = two.copy_to(tmp_path / "old")
    result = rewrap(two)
    place = state_folder("rewrap", result.bundle, "1")
    with open(f"{place}/{names.STATEMENT_NAME}", "wb") as file:
        file.write(b"{}")
    assert rewrap(old).revision == 2
    assert rewrap(two, add=[two.keys.stranger.public]).revision == 3
    for bundle in (old, two):
        no_two_disagree(bundle)
        bundle.verify()


def test_by_the_command_line(two: Split, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    keys = two.keys
    for name in ("packer", "reader", "second"):
        (tmp_path / f"{name}.key").write_bytes(write_private(name, getattr(keys, name), passphrase=None))
        (tmp_path / f"{name}.pub").write_bytes(write_public(name, getattr(keys, name).public))
    words = ["rewrap", *two.paths, "--sign", str(tmp_path / "packer.key"), "--key", str(tmp_path / "reader.key"),
             "--add", str(tmp_path / "second.pub"), "--drop", keys.reader.public.hex]
    assert main(words) == 0
    out, err = capfd.readouterr()
    assert "rewrapped: revision 1" in out
    assert "revokes nothing" in err
    assert main([*words, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["result"]["files"] == []
    assert main([*words[:-1], keys.reader.public.words]) == 0
    assert "nothing to change" in capfd.readouterr().out
    assert main(["inspect", *two.paths, "--trust", str(tmp_path / "packer.pub"), "--key",
                 str(tmp_path / "second.key")]) == 0
    assert keys.second.public.hex in capfd.readouterr().out
