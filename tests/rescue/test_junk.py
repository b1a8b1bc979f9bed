"""What somebody put on a drive to be found: it costs its own bytes, and keeps nothing out."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.cli.main import main
from airbundle.crypto.suites import suite_by_number
from airbundle.errors import AirbundleError, DamagedError, FormatError, MediumError, UnsignedError, UsageError
from airbundle.format import limits
from airbundle.format.block import MAGIC, Kind
from airbundle.format.geometry import Geometry, Placement
from airbundle.media import volume as names
from airbundle.media.raw import RawSources
from airbundle.media.writing import VolumeWriter
from airbundle.transfer import scan, strays
from airbundle.transfer.progress import Meter
from airbundle.transfer.report import Belief
from tests.rescue.disk import lay, rescued, same
from tests.transfer.workshop import MIB, Packed, block_of, with_digest

if TYPE_CHECKING:
    from pathlib import Path

    from airbundle.transfer.scan import Sightings


def geometry(**fields: object) -> Geometry:
    usual: dict[str, object] = {"suite": 1, "digest_size": 32, "k": 3, "m": 2, "stripes": 1, "block_size": 4096,
                                "bundle": b"junk" * 4, "number": 0, "salt": b"salt" * 4, "body": 3 * 3968}
    return Geometry(**(usual | fields))  # type: ignore[arg-type]


def block(of: Geometry, *, kind: Kind = Kind.DATA, index: int = 0, length: int | None = None) -> bytes:
    """A block with its own digest."""
    tail = index.to_bytes(4, "little") + (of.payload_size if length is None else length).to_bytes(4, "little")
    return with_digest(MAGIC + bytes(48) + of.packed(kind) + tail + random.Random(index).randbytes(of.payload_size))


LARGEST = geometry(block_size=MIB, body=3 * (MIB - 128))


def looked_over(path: Path) -> Sightings:
    with RawSources([str(path)]) as sources:
        return scan.look_over(sources, Meter())


def test_a_header_in_every_sector_costs_its_sector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    real = suite_by_number

    class Counting:
        def __init__(self, number: int) -> None:
            self.suite = real(number)

        def hash(self, front: bytes, view: memoryview) -> bytes:
            hashed.append(len(view))
            return self.suite.hash(front, view)

    monkeypatch.setattr(scan, "suite_by_number", Counting)
    header = (MAGIC + bytes(48) + LARGEST.packed(Kind.DATA) + bytes(8)).ljust(512, b"x")
    (tmp_path / "image").write_bytes(header * (8 * MIB // 512))
    found = looked_over(tmp_path / "image")
    assert sum(hashed) <= 4 * 8 * MIB
    assert (found.sound, found.unsound) == (0, len(hashed)) == (0, 32)
    assert found.crowded == 7 * MIB // 512 + 1 - 32


def test_headers_alone_crowd_no_sound_block_out(small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CROWD_MAX", 2)
    size, whole = small.rows()[0].block_size, small.segment(0).read_bytes()
    heads = b"".join(whole[at:at + 256].ljust(size, b"x") for at in range(0, len(whole), size))
    (tmp_path / "junk").write_bytes(heads * 3)
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    result = rescued(small, [tmp_path / "junk", image], tmp_path)
    assert result.bundles[0].segments[0].missing == 0


def test_headers_of_no_segment_crowd_no_segment_out(
        small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of another attempt, and more of them than are remembered; what is damaged is still put together."""
    monkeypatch.setattr(limits, "HEADERS_ONLY_MAX", 20)
    monkeypatch.setattr(limits, "SEGMENTS_SEEN_MAX", 20 + len(small.rows()) + 1)
    headers = [(MAGIC + bytes(48) + geometry(number=number).packed(Kind.DATA) + bytes(8)).ljust(1024, b"x")
               for number in range(61)]
    first = block_of(small.segment(0), 0, small.rows()[0].block_size)
    (tmp_path / "junk").write_bytes(first[:-1] + b"?" + b"".join(headers[:60]) + bytes(4096))
    (tmp_path / "late").write_bytes(headers[60] + bytes(4096))  # there is room again: of that attempt more was found
    drive = lay(tmp_path / "image", small.volume.iterdir())
    drive.write(drive.at(small.segment(0), 1000), b"damaged")
    result = rescued(small, [tmp_path / "junk", drive.path, tmp_path / "late"], tmp_path)
    assert (result.damaged_blocks, result.not_looked_at) == (20 + 1 + 1, 60 - 19)


def test_what_lies_in_a_sound_block_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airbundle.media import raw

    monkeypatch.setattr(raw, "WINDOW", 2 * MIB)
    small = block(geometry())
    outer = bytearray(block(LARGEST))
    outer[128 * 512:-4096] = (small * 300)[:len(outer) - 128 * 512 - 4096]
    (tmp_path / "image").write_bytes(bytes(MIB + 512) + with_digest(bytes(outer)) + small)  # over a window's end
    found = looked_over(tmp_path / "image")
    assert (found.sound, found.unsound, found.crowded, len(found.groups)) == (2, 0, 0, 2)


@pytest.mark.parametrize("ceiling", ["BLOCKS_SEEN_MAX", "RUNS_SEEN_MAX"])
def test_what_is_remembered_has_a_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ceiling: str) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"".join(block(geometry(), index=2 - n % 3) for n in range(20)))  # none joins its neighbour
    monkeypatch.setattr(limits, ceiling, 7)
    found = looked_over(image)
    assert (found.sound, len(found.runs), len(found.tags), found.crowded) == (7, 7, 7, 13)
    (tmp_path / "more").write_bytes(image.read_bytes()[:3 * 4096])
    with RawSources([str(tmp_path / "more"), str(image)]) as sources:
        found = scan.look_over(sources, Meter())
    assert (len(found.runs), found.crowded) == (7, 16)


def test_headers_that_claim_much_do_not_hide_a_bundle(small: Packed, tmp_path: Path) -> None:
    header = (MAGIC + bytes(48) + LARGEST.packed(Kind.DATA) + bytes(8)).ljust(512, b"x")
    (tmp_path / "junk").write_bytes(header * (2 * MIB // 512))
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    rescued(small, [tmp_path / "junk", image], tmp_path)


def test_a_lonely_block_makes_no_file(small: Packed, tmp_path: Path) -> None:
    """One block claims a file of 200 MB, one a file that with its preamble is larger than B-3 allows."""
    large = geometry(block_size=4096, k=128, stripes=400, body=128 * 400 * 3968)
    most = geometry(bundle=b"most" * 4, block_size=4096, m=2, k=128, stripes=558, body=128 * 558 * 3968)
    assert 250 * MIB < (most.coded_blocks + 2 * most.list_blocks) * 4096 <= limits.SEGMENT_STORED_MAX
    (tmp_path / "a").write_bytes(block(large) + block(most))
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    (tmp_path / "out").mkdir()
    with pytest.raises(UnsignedError) as caught:
        api.rescue([str(tmp_path / "a"), str(image)], str(tmp_path / "out"), trust=small.keys.trust)
    report: Any = caught.value.report
    assert [one.exit_status for one in report.bundles] == [0, 5, 5]  # the stated one first
    assert [one.volumes == () for one in report.bundles] == [False, True, True]
    assert os.listdir(tmp_path / "out") == [small.volume.name]
    same(small, tmp_path / "out")


def test_an_attempt_that_no_file_can_be_ends_nothing(
        small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STRAY_SHARE", 1 << 20)
    blocks = limits.SEGMENT_STORED_MAX // 4096
    data = next(n for n in range(blocks - 2, 0, -1) if n + 2 + 2 * -(-(n + 2) * 32 // 3968) <= blocks) - 2 * 560
    most = geometry(k=-(-data // 561), stripes=561, body=data * 3968)
    with pytest.raises(FormatError):
        Placement(most, 1)
    (tmp_path / "a").write_bytes(block(most) + block(geometry(number=1)))
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    (tmp_path / "out").mkdir()
    with pytest.raises(UnsignedError) as caught:
        api.rescue([str(tmp_path / "a"), str(image)], str(tmp_path / "out"), trust=small.keys.trust)
    report: Any = caught.value.report
    assert [[segment.number for segment in one.segments] for one in report.bundles] == [[0, 1, 2], [1]]
    same(small, tmp_path / "out")


def test_strays_need_room(small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(block(geometry()))
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(strays, "free_space", lambda _: 65 * MIB)
    with pytest.raises(AirbundleError) as caught:
        api.rescue([str(tmp_path / "a")], str(tmp_path / "out"))
    monkeypatch.setattr(strays, "free_space", lambda _: 64 * MIB)
    assert len(os.listdir(tmp_path / "out")) == 1
    (tmp_path / "none").mkdir()
    with pytest.raises(MediumError, match="bytes are needed"):
        api.rescue([str(tmp_path / "a")], str(tmp_path / "none"))
    assert os.listdir(tmp_path / "none") == []
    assert caught.value.exit_status == 5


def test_one_bundle_fails_and_the_others_come_back(
        small: Packed, large: Packed, tmp_path: Path) -> None:
    image = lay(tmp_path / "image", [*small.volume.iterdir(), *large.volume.iterdir()]).path
    for taken, free in ((small, large), (large, small)):
        out = tmp_path / taken.volume.name
        (out / taken.volume.name).mkdir(parents=True)
        (out / taken.volume.name / "mine.txt").write_text("mine")
        with pytest.raises(UsageError) as caught:
            api.rescue([str(image)], str(out), trust=small.keys.trust)
        report: Any = caught.value.report
        assert {one.bundle: one.exit_status for one in report.bundles} == {
            taken.statement().bundle: 2, free.statement().bundle: 0}
        same(free, out)
        assert os.listdir(out / taken.volume.name) == ["mine.txt"]


def test_the_record_is_of_the_suite_of_its_statement(small: Packed, tmp_path: Path) -> None:
    """A block of another suite under the least number (K-2)."""
    bundle = bytes.fromhex(small.statement().bundle)
    other = geometry(suite=2, digest_size=48, bundle=bundle)
    (tmp_path / "a").write_bytes(block(other) + block(other, index=1) + block(other, index=2))
    files = [small.volume / name for name in (names.RECORD_NAME, names.STATEMENT_NAME)]
    image = lay(tmp_path / "image", files).path
    (tmp_path / "out").mkdir()
    with pytest.raises(DamagedError):
        api.rescue([str(tmp_path / "a"), str(image)], str(tmp_path / "out"), trust=small.keys.trust)
    (name,) = os.listdir(tmp_path / "out")
    assert (tmp_path / "out" / name / names.RECORD_NAME).read_bytes() == files[0].read_bytes()


@pytest.mark.parametrize("lost", [names.STATEMENT_NAME, names.RECORD_NAME, names.CATALOG_NAME])
def test_a_second_rescue_fills_nothing_in_place(
        small: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    out = tmp_path / "out"
    out.mkdir()
    api.rescue([str(image)], str(out), trust=small.keys.trust)
    (out / small.volume.name / lost).write_bytes(b"damaged")
    filled: list[str] = []
    real = VolumeWriter.fill

    def fill(volume: VolumeWriter, name: str, data: bytes | memoryview) -> None:
        filled.append(name)
        real(volume, name, data)

    monkeypatch.setattr(VolumeWriter, "fill", fill)
    api.rescue([str(image)], str(out), trust=small.keys.trust)
    assert filled == [names.README_NAME]
    same(small, out)


def test_what_nobody_vouches_for_is_not_called_as_packed(
        small: Packed, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = lay(tmp_path / "image", small.volume.iterdir()).path
    (tmp_path / "out").mkdir()
    assert main(["rescue", str(image), "-o", str(tmp_path / "out"), "--progress", "none"]) == 0
    shown = capfd.readouterr()
    assert "as it was packed" not in shown.out
    assert "which nobody here vouches for" in " ".join(shown.err.split())
    (tmp_path / "more").mkdir()
    assert main(["rescue", str(image), "-o", str(tmp_path / "more"), "--progress", "none", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["result"]["bundles"][0]["belief"] == "signed by a stranger"
    (tmp_path / "third").mkdir()
    result = api.rescue([str(image)], str(tmp_path / "third"), trust=small.keys.trust)
    assert result.bundles[0].belief is Belief.TRUSTED


def test_a_header_whose_block_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(4096) + block(geometry())[:2048])
    found = looked_over(tmp_path / "image")
    assert (len(found.groups), len(found.of(geometry())), found.bundles()) == (0, 0, [])
