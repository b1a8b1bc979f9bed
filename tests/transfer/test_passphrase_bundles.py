"""Bundles under a passphrase: who opens them, who pays for Argon2id and when, and words that nobody chose."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.crypto.envelope import BundleKey, parse_preamble, preamble_context, write_passphrase_preamble
from airbundle.crypto.identities import generate
from airbundle.crypto.locks import Lock, PassphraseLock, RecipientLock, WordsLock
from airbundle.crypto.passphrase import Passphrase
from airbundle.crypto.suites import CNSA2
from airbundle.errors import AirbundleError, FormatError, NoKeyError, StrangerError, UnsignedError, UsageError
from airbundle.format.cost import PassphraseCost
from airbundle.format.preamble import Preamble, SealedKey, write_preamble_bytes
from airbundle.media import volume as names
from airbundle.transfer import pack as packing
from airbundle.transfer.plan import Options
from tests.transfer.forge import Lies, forge, little_memory
from tests.transfer.workshop import KIB, PACE, Keys, Packed, digests, flip, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path

CHEAP = PassphraseCost(memory_kib=64, iterations=1, lanes=1)
SECRET = "correct horse battery"


def lock_of(text: str = SECRET) -> PassphraseLock:
    return PassphraseLock(Passphrase(text), CHEAP)


def packed(keys: Keys, source: Path, drive: Path, lock: Lock, **more: Any) -> Packed:
    """Pack with the smallest cost that there is."""
    drive.mkdir(exist_ok=True)
    result = packing.pack(str(source), [str(drive)], identity=keys.packer, lock=lock, pace=PACE,
                          options=Options(segment_size=64 * KIB), **more)
    return Packed(keys, source, drive / result.volumes[0].rsplit("/", 1)[1])


@pytest.fixture
def protected(keys: Keys, tmp_path: Path) -> Packed:
    source = write_tree(tmp_path / "source", {"a/one": noise(100 * KIB, 1), "empty": b""}, ("hollow",))
    return packed(keys, source, tmp_path / "drive", lock_of())


@pytest.fixture
def stretched(monkeypatch: pytest.MonkeyPatch) -> list[PassphraseCost]:
    """The costs that were paid."""
    paid: list[PassphraseCost] = []
    honest = Passphrase.stretch

    def counting(self: Passphrase, salt: bytes, cost: PassphraseCost) -> bytes:
        paid.append(cost)
        return honest(self, salt, cost)

    monkeypatch.setattr(Passphrase, "stretch", counting)
    return paid


def test_there_and_back(protected: Packed, tmp_path: Path, stretched: list[PassphraseCost]) -> None:
    volume, trust = [str(protected.volume)], protected.keys.trust
    assert api.verify(volume, trust=trust, passphrase=SECRET).opened
    found = api.inspect(volume, trust=trust, passphrase=SECRET)
    assert (found.opened, found.under_passphrase, found.recipients) == (True, True, ())
    assert found.files[0].path == "a/one"
    api.unpack(volume, str(tmp_path / "back"), passphrase=SECRET, trust=trust, pace=PACE)
    assert digests(tmp_path / "back") == digests(protected.source)
    assert stretched == [CHEAP] * 3
    protected.verify()  # the courier desk needs none
    flip(protected.segment(0), 9000)
    protected.repair()
    assert len(stretched) == 3


def test_one_preamble_is_left(protected: Packed, tmp_path: Path) -> None:
    before = digests(protected.volume)
    for row in protected.rows():
        for at in protected.place(row).preambles_at:
            flip(protected.segment(row.number), at * 4096 + 200)
    for name in (names.CATALOG_NAME, names.CATALOG_COPY_NAME):
        flip(protected.volume / name, 200)
    protected.repair()
    assert digests(protected.volume) == before
    api.unpack([str(protected.volume)], str(tmp_path / "back"), passphrase=SECRET, trust=protected.keys.trust)


def test_the_answers_when_it_does_not_open(protected: Packed, small: Packed, tmp_path: Path) -> None:
    trust, reader, target = protected.keys.trust, protected.keys.reader, str(tmp_path / "back")
    cases: list[tuple[Packed, dict[str, Any], str, str]] = [
        (protected, {"passphrase": SECRET + "!"}, "passphrase does not open", "capitals"),
        (protected, {}, "under a passphrase", "--passphrase-file"),
        (protected, {"keys": [reader]}, "not sealed to keys", "--passphrase-file"),
        (small, {"passphrase": SECRET}, "sealed to keys, not under a passphrase", reader.public.hex)]
    for bundle, given, what, hint in cases:
        with pytest.raises(NoKeyError) as caught:
            api.unpack([str(bundle.volume)], target, trust=trust, **given)
        assert caught.value.exit_status == 8
        assert what in caught.value.what
        assert hint in caught.value.hint
        if given:
            for verb in (api.verify, api.inspect):
                with pytest.raises(NoKeyError, match=what):
                    verb([str(bundle.volume)], trust=trust, **given)
    assert not (tmp_path / "back").exists()


def test_argon2id_is_not_run_for_a_stranger(protected: Packed, tmp_path: Path, keys: Keys,
                                            stretched: list[PassphraseCost]) -> None:
    """K-15: nobody here trusts the packer, so nobody pays what the drive asks for."""
    volume, target = [str(protected.volume)], str(tmp_path / "back")
    stranger = Keys(keys.stranger, keys.reader, keys.second, keys.packer).trust
    with pytest.raises(StrangerError):
        api.unpack(volume, target, trust=stranger, passphrase=SECRET)
    for trust in (stranger, None):
        for verb in (api.verify, api.inspect):
            with pytest.raises(StrangerError):
                verb(volume, trust=trust, passphrase=SECRET)
    for name in (names.STATEMENT_NAME, names.RECORD_NAME):
        (protected.volume / name).unlink()
    with pytest.raises(UnsignedError):
        api.unpack(volume, target, trust=keys.trust, passphrase=SECRET)
    assert not stretched


def test_argon2id_is_not_run_for_a_preamble_that_was_not_signed(keys: Keys, tmp_path: Path,
                                                                stretched: list[PassphraseCost]) -> None:
    """K-7: the signed hash is of another preamble than the one that is there."""
    def reseal(honest: bytes) -> bytes:
        return write_passphrase_preamble(preamble_context(parse_preamble(honest)), BundleKey(bytes(32)),
                                         Passphrase(SECRET), cost=CHEAP)

    def statement(honest: Any) -> Any:
        return msgspec.structs.replace(honest, preamble=msgspec.structs.replace(honest.preamble, hash="00" * 32))

    forged = forge(tmp_path / "drive", keys, Lies(preamble=reseal, statement=statement))
    stretched.clear()
    with pytest.raises(AirbundleError) as caught:
        api.unpack([str(forged.volume)], str(tmp_path / "back"), trust=keys.trust, passphrase=SECRET)
    assert caught.value.exit_status == 4
    assert not stretched


def hostile(honest: bytes, envelopes: tuple[SealedKey, ...]) -> bytes:
    """The preamble of the forger's bundle with other envelopes."""
    own = parse_preamble(honest)
    return write_preamble_bytes(Preamble(own.suite_number, own.bundle_id, own.packer_id, own.commitment, envelopes))


@pytest.mark.parametrize("cost", [(2**30, 3, 4), (2**32 - 1, 1, 1), (2**19, 1, 2**24 - 1), (64, 0, 1), (64, 1, 0),
                                  (64, 2**32 - 1, 1)])
def test_a_hostile_cost_is_refused_before_anything_is_allocated(keys: Keys, tmp_path: Path, cost: tuple[int, int, int],
                                                                stretched: list[PassphraseCost]) -> None:
    """Signed by a trusted packer, and still: 2^30 KiB are 1 TiB."""
    envelope = SealedKey(bytes(32), struct.pack("<III", *cost) + bytes(64), 2)
    forged = forge(tmp_path / "drive", keys, Lies(preamble=lambda honest: hostile(honest, (envelope,))))
    with little_memory(), pytest.raises(FormatError) as caught:
        api.unpack([str(forged.volume)], str(tmp_path / "back"), trust=keys.trust, passphrase=SECRET)
    assert caught.value.rule == "K-14"
    assert forged.refused(4).rule == "K-14"  # also for who has no passphrase
    assert not stretched


def test_other_envelopes_beside_a_passphrase(keys: Keys, tmp_path: Path) -> None:
    of_passphrase = SealedKey(bytes(32), CHEAP.packed() + bytes(64), 2)
    another = SealedKey(bytes(32), CHEAP.packed() + bytes([1]) * 64, 2)
    of_key = SealedKey(keys.reader.public.key_id, bytes(1168))
    for number, envelopes in enumerate([(of_passphrase, another), (of_passphrase, of_passphrase),
                                        (of_passphrase, of_key), (of_key, of_passphrase)]):
        forged = forge(tmp_path / f"{number}", keys, Lies(preamble=partial(hostile, envelopes=envelopes)))
        assert forged.refused(4).rule == "K-12"
        with pytest.raises(FormatError, match="K-12"):
            api.unpack([str(forged.volume)], str(tmp_path / "back"), trust=keys.trust, passphrase=SECRET)


def test_an_envelope_of_another_bundle(protected: Packed, tmp_path: Path) -> None:
    """With its salt, its cost and the right passphrase: bundle id and packer are bound (K-13)."""
    raw = (protected.volume / names.CATALOG_NAME).read_bytes()
    (envelope,) = parse_preamble(raw[128:128 + 196]).envelopes
    forged = forge(tmp_path / "forged", protected.keys, Lies(preamble=lambda honest: hostile(honest, (envelope,))))
    with pytest.raises(NoKeyError) as caught:
        api.unpack([str(forged.volume)], str(tmp_path / "back"), trust=protected.keys.trust, passphrase=SECRET)
    assert caught.value.rule == "K-13"


def test_recipients_in_the_manifest_of_a_passphrase_bundle(keys: Keys, tmp_path: Path) -> None:
    """G-4: the manifest has to say that there are none."""
    key = BundleKey(b"k" * 32)

    def reseal(honest: bytes) -> bytes:
        context = preamble_context(parse_preamble(honest))
        return write_passphrase_preamble(context, key, Passphrase(SECRET), cost=CHEAP)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BundleKey, "generate", lambda **_: key)
        forged = forge(tmp_path / "said", keys, Lies(preamble=reseal))
        honest = forge(tmp_path / "unsaid", keys, Lies(preamble=reseal, manifest=lambda manifest: (
            msgspec.structs.replace(manifest, recipients=()))))
    with pytest.raises(AirbundleError) as caught:
        api.unpack([str(forged.volume)], str(tmp_path / "back"), trust=keys.trust, passphrase=SECRET)
    assert caught.value.rule == "G-4"
    api.unpack([str(honest.volume)], str(tmp_path / "back"), trust=keys.trust, passphrase=SECRET)


def test_a_passphrase_in_cnsa2(tmp_path: Path, stretched: list[PassphraseCost]) -> None:
    packer, others = generate(CNSA2), generate(CNSA2)
    source = write_tree(tmp_path / "source", {"f": b"x"})
    (tmp_path / "drive").mkdir()
    given: list[dict[str, Any]] = [{"passphrase": SECRET}, {"new_passphrase": print}]
    for lock in given:
        with pytest.raises(UsageError) as caught:
            api.pack(str(source), str(tmp_path / "drive"), sign=packer, **lock)
        assert caught.value.rule == "K-12"
    assert list((tmp_path / "drive").iterdir()) == []
    envelope = SealedKey(bytes(48), CHEAP.packed() + bytes(64), 2)
    people = Keys(packer, others, others, others)
    forged = forge(tmp_path / "forged", people, Lies(preamble=lambda honest: hostile(honest, (envelope,))))
    assert forged.refused(4).rule == "K-12"
    assert not stretched


def test_exactly_one_way_to_open(keys: Keys, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"f": b"x"})
    ways: list[dict[str, Any]] = [{}, {"to": [keys.reader.public], "passphrase": SECRET},
                                  {"passphrase": SECRET, "new_passphrase": print},
                                  {"to": [keys.reader.public], "new_passphrase": print}]
    for way in ways:
        with pytest.raises(UsageError, match="K-12"):
            api.pack(str(source), str(tmp_path), sign=keys.packer, **way)
    for text in ("", "seven77"):
        with pytest.raises(UsageError):
            api.pack(str(source), str(tmp_path), sign=keys.packer, passphrase=text)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


class StoppedError(Exception):
    pass


def stop_after_one(drive: Path) -> Any:
    """A callback for progress that stops the run once a segment is finished."""
    def tick(_: object) -> None:
        if list(drive.glob("*/0*.abs")):
            raise StoppedError

    return tick


def test_another_passphrase_makes_another_bundle(keys: Keys, tmp_path: Path, stretched: list[PassphraseCost]) -> None:
    """The plan's hash says nothing of it, so the envelope of the journal is tried."""
    source, drive = write_tree(tmp_path / "source", {"f": noise(500 * KIB, 5)}), tmp_path / "drive"
    with pytest.raises(StoppedError):
        packed(keys, source, drive, lock_of(), progress=stop_after_one(drive))
    (first,) = drive.iterdir()
    again = packed(keys, source, drive, lock_of("another passphrase"))
    assert again.volume != first
    assert not (first / names.RECORD_NAME).exists()
    api.verify([str(again.volume)], trust=keys.trust, passphrase="another passphrase")
    with pytest.raises(NoKeyError):
        api.verify([str(again.volume)], trust=keys.trust, passphrase=SECRET)
    assert len(stretched) == 5  # written, tried, written, verified, refused


def test_stopped_twice_after_another_passphrase(keys: Keys, tmp_path: Path) -> None:
    """What was begun anew is begun whole: its journal is good for a third run."""
    source, drive = write_tree(tmp_path / "source", {"f": noise(500 * KIB, 5)}), tmp_path / "drive"
    with pytest.raises(StoppedError):
        packed(keys, source, drive, lock_of(), progress=stop_after_one(drive))
    (first,) = drive.iterdir()

    def in_another_folder(_: object) -> None:
        if any(path.parent != first for path in drive.glob("*/0*.abs")):
            raise StoppedError

    with pytest.raises(StoppedError):
        packed(keys, source, drive, lock_of("another passphrase"), progress=in_another_folder)
    (second,) = set(drive.iterdir()) - {first}
    assert (second / names.README_NAME).exists()
    kept = {path.name: path.stat().st_ino for path in second.glob("0*.abs")}
    assert kept
    assert packed(keys, source, drive, lock_of("another passphrase")).volume == second
    assert {name: (second / name).stat().st_ino for name in kept} == kept


def test_another_lock_is_another_command(keys: Keys, tmp_path: Path) -> None:
    """Nobody is told words that do not open it, or is left without an envelope, by going on with another lock."""
    source, drive = write_tree(tmp_path / "source", {"f": noise(500 * KIB, 9)}), tmp_path / "drive"
    shown: list[str] = []
    locks: list[Lock] = [lock_of(), WordsLock(shown.append, CHEAP), RecipientLock((keys.reader.public,)),
                         RecipientLock((keys.second.public,))]
    folders: set[Path] = set()

    def tick(_: object) -> None:
        if any(path.parent not in folders for path in drive.glob("*/0*.abs")):
            raise StoppedError

    for lock in locks:
        with pytest.raises(StoppedError):
            packed(keys, source, drive, lock, progress=tick)
        folders = set(drive.iterdir())
    assert len(folders) == len(locks)
    volumes = [packed(keys, source, drive, lock).volume for lock in locks]
    assert set(volumes) == folders
    (words,) = shown
    opens: list[dict[str, Any]] = [{"passphrase": SECRET}, {"passphrase": words}, {"keys": [keys.reader]},
                                   {"keys": [keys.second]}]
    for volume, way in zip(volumes, opens, strict=True):
        assert api.verify([str(volume)], trust=keys.trust, **way).opened


def test_the_same_passphrase_goes_on(keys: Keys, tmp_path: Path) -> None:
    source, drive = write_tree(tmp_path / "source", {"f": noise(500 * KIB, 6)}), tmp_path / "drive"
    with pytest.raises(StoppedError):
        packed(keys, source, drive, lock_of("pa\u0308ssword"), progress=stop_after_one(drive))
    (first,) = drive.iterdir()
    again = packed(keys, source, drive, lock_of("p\u00e4ssword"))
    assert again.volume == first
    api.verify([str(first)], trust=keys.trust, passphrase="p\u00e4ssword")


def test_words_are_shown_when_the_bundle_is_finished_and_not_before(keys: Keys, tmp_path: Path) -> None:
    """Each run brings words of its own; those of the first are in its journal, and they count."""
    source, drive = write_tree(tmp_path / "source", {"f": noise(500 * KIB, 7)}), tmp_path / "drive"
    shown: list[str] = []

    def deaf(words: str) -> None:
        shown.append(words)
        raise StoppedError

    first = WordsLock(shown.append, CHEAP)
    with pytest.raises(StoppedError):
        packed(keys, source, drive, first, progress=stop_after_one(drive))
    assert shown == []
    with pytest.raises(StoppedError):  # nobody could read them: the journal is kept
        packed(keys, source, drive, WordsLock(deaf, CHEAP))
    assert shown == [first.words]
    bundle = packed(keys, source, drive, WordsLock(shown.append, CHEAP))
    assert shown == [first.words] * 2
    assert len(list(drive.iterdir())) == 1
    api.verify([str(bundle.volume)], trust=keys.trust, passphrase=first.words)
    with pytest.raises(UsageError, match="finished"):
        packed(keys, source, drive, WordsLock(shown.append, CHEAP))
    assert len(shown) == 2


def test_pack_to_keys_needs_no_argon2id(keys: Keys, tmp_path: Path, stretched: list[PassphraseCost]) -> None:
    source = write_tree(tmp_path / "source", {"f": b"x"})
    pack(keys, source, tmp_path / "drive").verify(opened=True)
    assert not stretched
