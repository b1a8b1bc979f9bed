"""Two revisions of one bundle, mixed in every way; two statements of one revision, of two packers, of two bundles."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from airbundle import api
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.errors import AirbundleError, ForgedError, RepairableError
from airbundle.format import encoding
from airbundle.media import volume as names
from airbundle.transfer.replace import Writers
from tests.transfer.forge import write_statement
from tests.transfer.split import FIXED, Split, opens, rewrap, split
from tests.transfer.workshop import PACE, Keys, Packed, digests, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.media.volume import VolumeReader
    from airbundle.media.writing import VolumeWriter


@pytest.fixture
def two(small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Split:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return split(small, tmp_path)


def mixed(two: Split, old: Split, kept: tuple[str, ...]) -> None:
    """Put the older files of these names back on every volume."""
    for new, before in zip(two.volumes, old.volumes, strict=True):
        for name in kept:
            shutil.copy(before / name, new / name)


@pytest.mark.parametrize(("kept", "revision"), [
    ((names.STATEMENT_NAME,), 1), ((names.RECORD_NAME,), 1), ((names.CATALOG_NAME,), 1),
    ((names.CATALOG_NAME, names.STATEMENT_NAME), 1), ((names.CATALOG_COPY_NAME, names.STATEMENT_NAME), 1),
    ((names.CATALOG_NAME, names.STATEMENT_NAME, names.RECORD_NAME), 0)])
def test_an_old_revision_among_the_new(two: Split, tmp_path: Path, kept: tuple[str, ...], revision: int) -> None:
    """The newest that can be read holds; the rest is put right."""
    old = two.copy_to(tmp_path / "old")
    rewrap(two)
    new = [digests(volume) for volume in two.volumes]
    mixed(two, old, kept)
    error = two.refused(11)
    assert error.report.revision == revision
    assert {finding.file for finding in error.report.findings} == (
        set(kept) if revision else {names.CATALOG_COPY_NAME})
    assert opens(two, two.keys.reader, tmp_path / "back")
    with pytest.raises(RepairableError):  # nobody signs a mixture
        api.sign(two.paths, sign=two.keys.second, trust=two.keys.trust, pace=PACE)
    api.repair(two.paths, trust=two.keys.trust)
    assert two.verify().revision == revision
    if revision:
        assert [digests(volume) for volume in two.volumes] == new


@pytest.mark.parametrize("order", [1, -1])
def test_an_old_volume_beside_a_new_one(two: Split, tmp_path: Path, order: int) -> None:
    """A reader that sees the old one alone cannot know; with both the new one holds."""
    old = two.copy_to(tmp_path / "old")
    rewrap(two)
    after = [digests(volume) for volume in two.volumes]
    both = Split(two.keys, two.source, (old.volumes[0], two.volumes[1])[::order])
    error = both.refused(11)
    assert error.report.revision == 1
    assert {finding.volume for finding in error.report.findings} == {str(old.volumes[0])}
    assert any("revision 0 where 1 holds" in finding.problem for finding in error.report.findings)
    assert old.verify(only_these=True).revision == 0
    api.repair(both.paths, trust=two.keys.trust)
    assert both.verify().revision == 1
    assert [digests(volume) for volume in both.volumes[::order]] == after


def test_repair_never_takes_a_volume_back(two: Split, tmp_path: Path) -> None:
    """The new statement is here, and its catalog is not: the older revision is used, and nothing is overwritten."""
    old = two.copy_to(tmp_path / "old")
    rewrap(two)
    new = two.copy_to(tmp_path / "new")
    mixed(two, old, (names.CATALOG_NAME, names.CATALOG_COPY_NAME, names.STATEMENT_NAME))
    before = [digests(volume) for volume in two.volumes]
    error = two.refused(4)
    assert error.report.revision == 0
    assert any("revision 1 where 0 holds" in finding.problem for finding in error.report.findings)
    with pytest.raises(AirbundleError) as caught:
        api.repair(two.paths, trust=two.keys.trust)
    assert caught.value.exit_status == 4
    assert [digests(volume) for volume in two.volumes] == before
    assert opens(two, two.keys.reader, tmp_path / "back")
    one = Split(two.keys, two.source, two.volumes[:1])
    one.refused(3, only_these=True)  # another volume may have it
    api.repair([*one.paths, str(new.volumes[1])], trust=two.keys.trust)
    api.repair(two.paths, trust=two.keys.trust)
    assert two.verify().revision == 1


@pytest.mark.parametrize("catalog", [names.CATALOG_NAME, names.CATALOG_COPY_NAME])
@pytest.mark.parametrize("statement", [names.STATEMENT_NAME, names.RECORD_NAME])
def test_repair_keeps_what_fits_together(two: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: str,
                                         statement: str) -> None:
    """An old volume has one catalog and one statement left, perhaps crossed: never neither revision."""
    old = two.copy_to(tmp_path / "old").volumes[0]
    rewrap(two)
    for name in {*FIXED} - {catalog, statement}:
        (old / name).write_bytes(b"")
    both = Split(two.keys, two.source, (old, two.volumes[1]))
    seen: list[int] = []
    honest = Writers.__call__

    def watched(self: Writers, reader: VolumeReader) -> VolumeWriter:
        seen.append(both.opened((0,)).statement.revision)
        return honest(self, reader)

    with monkeypatch.context() as patch:
        patch.setattr(Writers, "__call__", watched)
        api.repair(both.paths, trust=two.keys.trust)
    assert (seen[0], len(seen)) == (0, 4)
    assert both.verify().revision == 1


def test_two_statements_of_one_revision(two: Split, tmp_path: Path) -> None:
    """Both the packer's: made on two machines, or to deceive."""
    other = two.copy_to(tmp_path / "other")
    rewrap(two)
    payload = encoding.encode(msgspec.structs.replace(two.opened().statement, label="another"))
    write_statement(other.volumes[0], two.keys, payload)
    both = Split(two.keys, two.source, (other.volumes[0], two.volumes[1]))
    assert both.refused(5).rule == "T-4"
    for verb in (lambda: api.repair(both.paths, trust=two.keys.trust),
                 lambda: rewrap(both), lambda: opens(both, two.keys.reader, tmp_path / "back")):
        with pytest.raises(ForgedError) as caught:
            verb()
        assert caught.value.rule == "T-4"


def test_a_statement_moved_from_another_bundle(two: Split, keys: Keys, tmp_path: Path) -> None:
    """The same packer's, validly signed, and about other blocks."""
    another = pack(keys, write_tree(tmp_path / "other", {"f": b"other"}), tmp_path / "otherdrive")
    shutil.copy(another.volume / names.STATEMENT_NAME, two.volumes[0] / names.STATEMENT_NAME)
    assert two.refused(5).rule == "T-4"


def test_two_packers_and_one_bundle_id(two: Split) -> None:
    """Another trusted packer says a higher revision of it is theirs."""
    keys = two.keys
    theirs = msgspec.structs.replace(two.opened().statement, packer=keys.stranger.public.key_id.hex())
    payload = encoding.encode(msgspec.structs.replace(theirs, revision=1))
    write_statement(two.volumes[0], Keys(keys.stranger, keys.reader, keys.second, keys.packer), payload)
    trust = TrustSet([NamedIdentity("packer", keys.packer.public), NamedIdentity("other", keys.stranger.public)])
    assert two.refused(5, trust).rule == "T-4"
    two.refused(11)  # whoever does not trust them has a damaged copy
