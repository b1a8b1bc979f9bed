"""What somebody with the drive, or the trust store, can try: each idea once, and where the others are tried."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.errors import AirbundleError, FormatError, UsageError
from airbundle.transfer import unpack as unpacking
from tests.transfer.workshop import (
    KIB,
    Keys,
    Packed,
    block_of,
    digests,
    noise,
    overwrite,
    pack,
    with_digest,
    write_tree,
)

if TYPE_CHECKING:
    from airbundle.format.catalog import Row

TESTS = Path(__file__).parents[1]
IDEAS = {
    "a path leaves the target": "transfer/test_lies.py::test_paths",
    "two paths are one where case does not count, or after NFC":
        "transfer/test_lies.py::test_paths_that_do_not_go_together",
    "a name is a device on Windows": "format/test_names.py::test_paths_that_are_refused",
    "a segment is a link, a pipe or a device": "transfer/test_surroundings.py::test_a_segment_that_is_no_file",
    "a file of ours is a link or a pipe":
        "attacks/test_repair_destroys_what_is_good.py::test_a_link_or_a_pipe_in_the_place_of_a_file",
    "a file of ours is a folder": "attacks/test_a_folder_where_a_file_belongs.py::test_repair_puts_it_aside",
    "a frame lies about its size": "transfer/test_lies.py::test_a_frame_that_lies",
    "an envelope is moved to another bundle":
        "crypto/test_envelope.py::test_an_envelope_does_not_open_in_another_context",
    "the packer's signature is stripped": "transfer/test_sign.py::test_the_packers_signature_is_stripped",
    "a stranger signs the bundle": "transfer/test_exits.py::test_stranger",
    "a countersigner signs another payload": "transfer/test_sign.py::test_a_countersigner_signs_another_payload",
    "a recipient passes it on as another packer": "transfer/test_lies.py::test_ciphertext_of_another_packer",
    "recipients are left out or added": "transfer/test_lies.py::test_recipients_left_out_and_added",
    "the catalog is that of an older revision": "transfer/test_revisions.py::test_an_old_revision_among_the_new",
    "two statements": "transfer/test_lies.py::test_two_statements_that_disagree",
    "two statements of one revision": "transfer/test_revisions.py::test_two_statements_of_one_revision",
    "a key opens and does not commit": "crypto/test_envelope.py::test_an_envelope_that_opens_to_another_key_is_forged",
    "halves of two signatures": "crypto/test_signing.py::test_halves_of_two_keys_do_not_make_a_third",
    "one person counts twice": "transfer/test_sign.py::test_one_person_counts_once",
    "junk signatures take the places": "transfer/test_sign.py::test_junk_goes_nowhere",
    "blocks with digests of their own": "attacks/test_hostile_media.py::test_forged_blocks_up_to_the_bound_and_past_it",
    "lists that go with changed blocks": "transfer/test_repair_from_groups.py::test_both_lists_changed_on_purpose",
    "headers promise large blocks": "attacks/test_many_and_large.py::test_headers_that_promise_large_blocks",
    "geometry asks for more memory than there is": "transfer/test_hostile_sizes.py::test_row_of_the_table",
    "files by the thousand claim a segment": "attacks/test_many_and_large.py::test_files_that_claim_a_segment",
    "the medium answers differently on second read":
        "attacks/test_hostile_media.py::test_a_medium_that_answers_differently_on_second_read",
    "JSON is deep, large, doubled or spelled otherwise": "format/test_laws.py::test_what_is_read_is_written_as_it_was",
    "a forged journal": "transfer/test_resume.py::test_a_journal_that_is_not_believed",
    "a journal of another plan": "transfer/test_resume.py::test_a_journal_of_another_plan",
    "names in the trust store": "attacks/test_hostile_media.py::test_a_poisoned_trust_store",
    "text steers the terminal": "transfer/test_lies.py::test_a_statement_that_steers_a_terminal",
    "a cost of 1 TiB":
        "transfer/test_passphrase_bundles.py::test_a_hostile_cost_is_refused_before_anything_is_allocated",
    "two write at once": "attacks/test_two_at_once.py::test_who_comes_second_writes_nothing",
}


@pytest.mark.parametrize("idea", IDEAS)
def test_each_idea_has_its_test(idea: str) -> None:
    path, _, name = IDEAS[idea].partition("::")
    tree = ast.parse((TESTS / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.fixture
def bundle(keys: Keys, tmp_path: Path) -> Packed:
    source = write_tree(tmp_path / "source", {"w": noise(150 * KIB), "v": noise(70 * KIB, 2)})
    return pack(keys, source, tmp_path / "drive", segment_size=96 * KIB)


def forge_blocks(bundle: Packed, row: Row, indices: list[int]) -> None:
    """Other content, with the right header and a digest that fits."""
    place = bundle.place(row)
    for index in indices:
        at = place.data_at + index
        block = block_of(bundle.segment(row.number), at, row.block_size)
        forged = block[:128] + noise(len(block) - 128, index)
        overwrite(bundle.segment(row.number), at * row.block_size, with_digest(forged))


def test_forged_blocks_up_to_the_bound_and_past_it(bundle: Packed, tmp_path: Path) -> None:
    """m in each stripe come back, and are counted as altered; one more in two members of a group is the end."""
    first, second = bundle.rows()[0], bundle.partner(bundle.rows()[0])
    one_stripe = list(range(0, first.m * first.stripes, first.stripes))
    forge_blocks(bundle, first, one_stripe)
    report = bundle.report(11)
    assert (report.altered, report.damaged, report.missing) == (len(one_stripe), 0, ())
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(bundle.source)
    shutil.rmtree(tmp_path / "back")
    for row in (first, second):
        forge_blocks(bundle, row, list(range(0, (row.m + 1) * row.stripes, row.stripes)))
    assert bundle.place(first).geometry.stripes == bundle.place(second).geometry.stripes == 1
    bundle.refused(4)
    with pytest.raises(AirbundleError):
        bundle.unpack(tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_medium_that_answers_differently_on_second_read(
        bundle: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was verified is what is opened: the same bytes in memory. Nothing is read again from the drive."""
    write_out = unpacking._write_out

    def then_it_changes(work: Any, row: Row, space: Any) -> None:
        path = bundle.segment(row.number)
        overwrite(path, 0, noise(path.stat().st_size, 99))
        write_out(work, row, space)

    monkeypatch.setattr(unpacking, "_write_out", then_it_changes)
    bundle.unpack(tmp_path / "back")
    assert digests(tmp_path / "back") == digests(bundle.source)


@pytest.mark.parametrize("what", ["escape", "private", "twice", "half shared", "empty", "folder"])
def test_a_poisoned_trust_store(keys: Keys, tmp_path: Path, what: str) -> None:
    """A folder of public keys with something else in it is refused as a whole, or not followed; never believed."""
    store = tmp_path / "trust"
    store.mkdir()
    good = write_public("packer", keys.packer.public)
    (store / "packer.pub").write_bytes(good)
    if what == "escape":
        (store / "x.pub").write_bytes(good.replace(b'"packer"', b'"\\u001b[2J"'))
    elif what == "private":
        (store / "x.pub").write_bytes(write_private("x", keys.stranger, passphrase=None))
    elif what == "twice":
        (store / "x.pub").write_bytes(good)
        assert len(list(api.load_trust(str(store)))) == 1
        return
    elif what == "half shared":
        stranger = write_public("x", keys.stranger.public).decode()
        half = good.decode().split('"x25519":"')[1].split('"')[0]
        (store / "x.pub").write_text(stranger.replace(stranger.split('"x25519":"')[1].split('"')[0], half))
    elif what == "empty":
        (store / "x.pub").write_bytes(b"")
    else:
        (store / "x.pub").mkdir()
    with pytest.raises((FormatError, UsageError)) as caught:
        api.load_trust(str(store))
    assert "x.pub" in caught.value.where or caught.value.rule == "K-4"
