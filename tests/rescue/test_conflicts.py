"""Several contents for one place, attempts that were given up, and records that are hurt: the signed leaves decide."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from airbundle import api
from airbundle.crypto.trust import TrustSet
from airbundle.errors import ForgedError
from airbundle.format import encoding, limits
from airbundle.media import volume as names
from airbundle.media.raw import RawSources
from airbundle.transfer import scan
from airbundle.transfer.progress import Meter
from tests.rescue.disk import lay, only, rescued
from tests.transfer.forge import Lies, forge, write_statement
from tests.transfer.workshop import KIB, Keys, Packed, block_of, with_digest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.in_memory


def forged(bundle: Packed, number: int, places: list[int], seed: int) -> bytes:
    """Blocks of a segment with other payloads and digests that fit."""
    rng, size = random.Random(seed), bundle.rows()[number].block_size
    found = b""
    for at in places:
        block = block_of(bundle.segment(number), at, size)
        found += with_digest(block[:200] + rng.randbytes(50) + block[250:])
    return found


@pytest.mark.parametrize("count", [1, limits.CANDIDATES_MAX + 3])
def test_forged_blocks_before_the_true_ones(small: Packed, tmp_path: Path, count: int) -> None:
    place = small.place(small.rows()[0])
    places = [*range(place.lists_at[0], place.lists_at[1])]  # the list too, of which only so many can be tried
    coded = places[place.geometry.list_blocks:]
    for seed in range(count):
        (tmp_path / f"forged{seed}").write_bytes(forged(small, 0, places if seed < 3 else coded[:20], seed))
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    sources = [*(tmp_path / f"forged{seed}" for seed in range(count)), image]
    one = only(rescued(small, sources, tmp_path))
    assert one.segments[0].conflicting == len(places)
    assert not any(segment.from_group for segment in one.segments)
    assert one.segments[0].missing == 0
    assert [segment.conflicting for segment in one.segments[1:]] == [0, 0]


def test_an_attempt_that_was_given_up(small: Packed, tmp_path: Path) -> None:
    """Blocks of the same bundle and segment, with another salt and other content, and more of them."""
    size = small.rows()[0].block_size
    stale = b""
    for at in range(small.place(small.rows()[0]).block_count):
        block = bytearray(block_of(small.segment(0), at, size))
        block[96:112] = b"another salt ..."
        block[300:400] = bytes(100)
        stale += with_digest(bytes(block))
    (tmp_path / "stale").write_bytes(stale * 2)
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    one = only(rescued(small, [tmp_path / "stale", image], tmp_path))
    assert (one.stale, one.stale_blocks, one.segments[0].conflicting) == (1, 2 * len(stale) // size, 0)


def test_copies_are_no_conflict(small: Packed, tmp_path: Path) -> None:
    images = [lay(tmp_path / f"image{n}", small.volume.iterdir(), seed=n).path for n in range(5)]
    one = only(rescued(small, images, tmp_path))
    assert sum(segment.conflicting for segment in one.segments) == 0


@pytest.mark.parametrize("kept", range(3))
def test_a_record_of_which_no_copy_is_intact(small: Packed, tmp_path: Path, kept: int) -> None:
    """One magic is left, of a copy that is beyond its code; from where it is, the code does the rest in another."""
    whole = small.copy_to(tmp_path / "whole")
    rng = random.Random(kept)
    raw = bytearray((small.volume / names.RECORD_NAME).read_bytes())
    for at in rng.sample(range(200, len(raw)), len(raw) // 100):
        raw[at] ^= 1 + rng.randrange(255)
    for copy in range(3):
        at = copy * 128 * KIB
        raw[at:at + 512] = rng.randbytes(512) if copy != kept else raw[at:at + 64] + rng.randbytes(448)
        if copy == kept:
            raw[at + 2000:at + 60_000] = rng.randbytes(58_000)
    (small.volume / names.RECORD_NAME).write_bytes(raw)
    (small.volume / names.STATEMENT_NAME).unlink()
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    rescued(whole, [image], tmp_path)


def stated_otherwise(bundle: Packed, place: Path, keys: Keys, **fields: Any) -> Path:
    """A record over the same catalog whose statement says something else, signed by the packer of `keys`."""
    copy = bundle.copy_to(place)
    honest = bundle.statement()
    packer = keys.packer.public.key_id.hex()
    write_statement(copy.volume, keys, encoding.encode(replace(honest, packer=packer, **fields)))
    return copy.volume / names.RECORD_NAME


def test_the_text_of_the_statement_where_the_record_is_in_pieces(small: Packed, tmp_path: Path) -> None:
    record = lay(tmp_path / "record", [small.volume / names.RECORD_NAME], piece=4096).path
    others = lay(tmp_path / "others", set(small.volume.iterdir()) - {small.volume / names.RECORD_NAME}).path
    rescued(small, [record, others], tmp_path)


def test_a_strangers_statement_does_not_come_first(keys: Keys, small: Packed, tmp_path: Path) -> None:
    stranger = Keys(keys.stranger, keys.reader, keys.second, keys.stranger)
    false = stated_otherwise(small, tmp_path / "false", stranger, revision=7, label="false")
    image = lay(tmp_path / "image", [false, *small.volume.iterdir()]).path
    one = only(rescued(small, [image], tmp_path))
    assert (one.revision, one.statement) == (0, f"signed by {keys.packer.public.hex}")


def test_without_trust_the_statement_counts_whose_rows_are_there(
        keys: Keys, small: Packed, tmp_path: Path) -> None:
    """Of a higher revision, with a catalog of its own under the same bundle id, which names less of what is here."""
    wanted = small.statement().bundle
    false = forge(tmp_path / "other", keys, Lies(statement=lambda honest: replace(honest, revision=7)),
                  entropy=lambda size: bytes.fromhex(wanted)[:size].ljust(size, b"+"))
    assert (false.statement().bundle, false.statement().revision) == (wanted, 7)
    image = lay(tmp_path / "image", [*false.volume.iterdir(), *small.volume.iterdir()]).path
    assert only(rescued(small, [image], tmp_path / "here", trust=TrustSet())).revision == 0


def test_two_trusted_statements_that_disagree(keys: Keys, small: Packed, tmp_path: Path) -> None:
    false = stated_otherwise(small, tmp_path / "false", keys, label="another")
    image = lay(tmp_path / "image", [false, *small.volume.iterdir()]).path
    (tmp_path / "out").mkdir()
    with pytest.raises(ForgedError) as caught:
        api.rescue([str(image)], str(tmp_path / "out"), trust=keys.trust)
    assert caught.value.rule == "T-4"
    (name,) = os.listdir(tmp_path / "out")
    assert {one for one in os.listdir(tmp_path / "out" / name) if not one.startswith("0")} == set()


def test_memory_of_a_large_drive(small: Packed, tmp_path: Path) -> None:
    """34 bytes a run and 4 a block: 16 million blocks of 64 KiB for each TB."""
    assert scan.RUN.itemsize == 34
    with RawSources([str(small.segment(0))]) as sources:
        found = scan.look_over(sources, Meter())
    assert len(found.runs) == 6  # preamble, list, data, parity, list, preamble
    assert found.tags.nbytes == 4 * found.sound == 4 * small.place(small.rows()[0]).block_count

