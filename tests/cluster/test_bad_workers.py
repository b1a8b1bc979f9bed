"""Workers that lie, break or read something else. They have the keys; nothing they say makes a bundle that is wrong."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airbundle import api
from airbundle.codec.galois import cauchy
from airbundle.errors import (
    AirbundleError,
    DamagedError,
    FormatError,
    MediumError,
    SourceChangedError,
    UnreliableDriveError,
    UsageError,
)
from airbundle.media.source_files import identity_of
from airbundle.media.writing import temporary_name
from airbundle.transfer import orders, units
from airbundle.transfer.crew import ASKED_MAX
from airbundle.transfer.orders import Answer, CombineOrder, Done, Order, SealOrder
from airbundle.transfer.progress import Tick
from airbundle.version import VERSION
from tests.cluster.crews import Given, Liar, with_produced
from tests.transfer.workshop import flip

if TYPE_CHECKING:
    from tests.cluster.conftest import Site


def refused(site: Site, executor: Given, kind: type[AirbundleError], match: str, **how: Any) -> AirbundleError:
    """Packing raises this, leaves no statement, and goes on with honest workers."""
    with pytest.raises(kind, match=match) as caught:
        site.pack(executor, **how)
    assert not list(site.place.glob("drive*/*/statement.rec"))
    return caught.value


def goes_on(site: Site, **how: Any) -> None:
    site.comes_back(site.pack(Given(), **how))


def written(order: Order, answer: Answer) -> Path:
    """The file that an answer is about."""
    assert isinstance(answer, Done), answer
    made = answer.made[0]
    folder = order.volume if isinstance(order, SealOrder) else order.targets[0].volume
    return Path(os.fsdecode(folder)) / temporary_name(f"{made.number:08}.abs", made.salt.hex())


class Flips(Liar):
    """Its disk, or its memory, changes a bit after it has said what it wrote."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def answer(self, order: Order, answer: Answer) -> Answer:
        if isinstance(order, self.kind):
            path = written(order, answer)
            flip(path, path.stat().st_size // 2)
        return answer


@pytest.mark.parametrize("kind", [SealOrder, CombineOrder])
def test_another_file_than_it_says(site: Site, kind: type) -> None:
    error = refused(site, Given(Flips(kind)), MediumError, "of the worker .* is not what the worker says that it wrote")
    assert error.exit_status == 9
    goes_on(site)


@pytest.mark.parametrize("kind", [SealOrder, CombineOrder])
def test_a_file_that_is_cut_without_reading_back(site: Site, kind: type) -> None:
    class Cuts(Liar):
        def answer(self, order: Order, answer: Answer) -> Answer:
            if isinstance(order, kind):
                path = written(order, answer)
                os.truncate(path, path.stat().st_size - 1)
            return answer

    refused(site, Given(Cuts()), MediumError, "has another size than it has to have", read_back=False)


class SealsSomethingElse(Liar):
    """It seals other bytes, in a segment that is sound, and says the digests that it should have got."""

    def __init__(self, folder: Path, *, admits: bool = False) -> None:
        super().__init__()
        self.folder, self.admits = folder, admits

    def order(self, order: Order) -> Order:
        if not isinstance(order, SealOrder) or order.number != 3:
            return order
        files = []
        for file in order.files:
            other = self.folder / Path(file.path).name
            content = bytearray(Path(os.fsdecode(file.location)).read_bytes())
            content[order.start - order.base + 5] ^= 1
            other.write_bytes(content)
            files.append(msgspec.structs.replace(file, location=os.fsencode(other), identity=identity_of(other.stat())))
        return msgspec.structs.replace(order, files=tuple(files))

    def answer(self, order: Order, answer: Answer) -> Answer:
        if self.admits or not isinstance(order, SealOrder) or order.number != 3:
            return answer
        honest = units._carried_out(units._Desk(_suite(order), b""), order)
        assert isinstance(honest, Done), honest
        written(order, honest).unlink()
        return with_produced(answer, content=honest.made[0].content)


def _suite(order: Order) -> Any:
    return order.terms.plan().context.suite


def test_other_bytes_than_this_machine_reads(site: Site, tmp_path: Path) -> None:
    refused(site, Given(SealsSomethingElse(tmp_path, admits=True)), SourceChangedError, "read other bytes than")
    goes_on(site)


def test_other_bytes_than_this_machine_reads_without_reading_back(site: Site, tmp_path: Path) -> None:
    refused(site, Given(SealsSomethingElse(tmp_path, admits=True)), SourceChangedError, "read other bytes than",
            read_back=False)


def test_a_sound_segment_of_other_bytes(site: Site, tmp_path: Path) -> None:
    liar = SealsSomethingElse(tmp_path)
    refused(site, Given(liar), MediumError, "00000003.abs of the worker .* has another content than it has to have")
    assert liar.lied
    goes_on(site)


class SealsWithAnotherKey(Liar):
    """Its segments are sound, and nobody can open them."""

    def order(self, order: Order) -> Order:
        return msgspec.structs.replace(order, terms=msgspec.structs.replace(order.terms, key=bytes(32)))


def test_a_segment_that_nobody_can_open(site: Site) -> None:
    refused(site, Given(SealsWithAnotherKey()), MediumError, "does not open")
    goes_on(site)


class CombinesOtherwise(Liar):
    """Its parity is sound, and brings nothing back."""

    def order(self, order: Order) -> Order:
        if not isinstance(order, CombineOrder):
            return order
        wrong = bytes(cauchy(len(order.members), 2)[1])
        first, *rest = order.targets
        assert first.coefficients != wrong
        return msgspec.structs.replace(order, targets=(msgspec.structs.replace(first, coefficients=wrong), *rest))


def test_parity_of_something_else(site: Site) -> None:
    refused(site, Given(CombinesOtherwise()), MediumError, "is not the parity of its group")
    goes_on(site)


@pytest.mark.parametrize(("changed", "kind", "match"), [
    ({"root": b"short"}, MediumError, "a root of 5 bytes"),
    ({"salt": bytes(16)}, MediumError, "is not here"),
    ({"salt": bytes(15)}, MediumError, "says what cannot be"),
    ({"body": 1 << 50}, MediumError, "cannot be"),
    ({"body": -1}, MediumError, "cannot be"),
    ({"number": 7}, MediumError, "answers something else"),
    ({"content": bytes(32)}, SourceChangedError, "other bytes"),
])
@pytest.mark.parametrize("read_back", [True, False])
def test_a_claim_that_cannot_be(site: Site, changed: dict[str, Any], kind: Any, match: str, read_back: bool) -> None:
    class Says(Liar):
        def answer(self, order: Order, answer: Answer) -> Answer:
            return with_produced(answer, **changed) if isinstance(order, SealOrder) and order.number == 2 else answer

    refused(site, Given(Says()), kind, match, read_back=read_back)


class NamesAnotherRoot(Liar):
    """Of one segment, which nobody will be able to check; it makes the parity all the same if it is `consistent`."""

    def __init__(self, number: int, *, consistent: bool = False) -> None:
        super().__init__()
        self.number, self.consistent = number, consistent
        self.root = b""

    def order(self, order: Order) -> Order:
        if not isinstance(order, CombineOrder) or not self.consistent:
            return order
        members = tuple(msgspec.structs.replace(member, row=msgspec.structs.replace(member.row, root=self.root.hex()))
                        if member.row.number == self.number else member for member in order.members)
        return msgspec.structs.replace(order, members=members)

    def answer(self, order: Order, answer: Answer) -> Answer:
        if isinstance(order, SealOrder) and order.number == self.number:
            assert isinstance(answer, Done), answer
            self.root = answer.made[0].root
            return with_produced(answer, root=bytes(32))
        return answer


def test_another_root(site: Site) -> None:
    refused(site, Given(NamesAnotherRoot(2)), MediumError, "00000002.abs .* is not what the worker")
    goes_on(site)


def test_another_root_is_believed_without_reading_back(site: Site) -> None:
    """That is what it means, unless another worker needs the segment for parity. Who verifies afterwards finds it."""
    refused(site, Given(NamesAnotherRoot(1)), UnreliableDriveError, "00000001.abs: does not hold any more",
            read_back=False, memory=1)
    for folder in site.place.glob("drive0/*"):
        shutil.rmtree(folder)
    packed = site.pack(Given(NamesAnotherRoot(1, consistent=True)), read_back=False, memory=1)
    with pytest.raises(DamagedError):
        api.verify(packed.volumes, trust=site.keys.trust)


def test_the_first_segment_of_a_volume_is_checked_also_without_reading_back(site: Site) -> None:
    """By it a drive that lies about its size is found."""
    refused(site, Given(NamesAnotherRoot(0)), MediumError, "00000000.abs .* is not what the worker", read_back=False,
            memory=1)


def test_times_that_cannot_be(site: Site) -> None:
    class Boasts(Liar):
        def answer(self, _order: Order, answer: Answer) -> Answer:
            return msgspec.structs.replace(answer, stages={"planes": math.nan, "zstd": -1e9, "compare": math.inf,
                                                           "nothing": 7.0, "parity": 1.7e308, "write": 1e-4})

    packed = site.pack(Given(Boasts()))
    assert not packed.stages.keys() & {"compare", "nothing"}
    assert all(0 <= seconds < 60 for seconds in packed.stages.values()), "of this machine"
    assert packed.stages["write"] >= 1e-4 * packed.segments


def test_parity_that_is_shorter_than_its_group(site: Site) -> None:
    class Shortens(Liar):
        def order(self, order: Order) -> Order:
            if isinstance(order, CombineOrder):
                short = tuple(member for member in order.members
                              if member.row.body != max(other.row.body for other in order.members))
                targets = tuple(msgspec.structs.replace(target, coefficients=target.coefficients[:len(short)])
                                for target in order.targets)
                return msgspec.structs.replace(order, members=short, targets=targets)
            return order

    liar = Shortens()
    refused(site, Given(liar), MediumError, "is not as long as its group")
    assert liar.lied


def test_a_worker_that_does_not_pad(site: Site) -> None:
    """How well the content compresses would show."""
    class Shows(Liar):
        def order(self, order: Order) -> Order:
            return msgspec.structs.replace(order, terms=msgspec.structs.replace(order.terms, pad=False))

    refused(site, Given(Shows()), MediumError, "length that cannot be", pad=True)
    site.comes_back(site.pack(Given(), pad=True))


def test_what_comes_from_somewhere_in_between(site: Site) -> None:
    """Whoever has the wire, but not the key: answers that are changed, swapped, made up, or no bytes at all."""
    seen: list[bytes] = []

    def swapped(raw: bytes) -> bytes:
        reply = units.run_unit(raw)
        if isinstance(orders.parse_reply(reply), orders.Answered):
            seen.append(reply)
            return seen[0]
        return reply

    def changed(raw: bytes) -> bytes:
        reply = units.run_unit(raw)
        return reply[:-1] + bytes([reply[-1] ^ 1]) if isinstance(orders.parse_reply(reply), orders.Answered) else reply

    for carry, match in ((swapped, "not of this answer"), (changed, "damaged or not of this answer"),
                         (lambda _: orders.write_version() + b"rubbish", "cannot be read"),
                         (lambda _: None, "gave back NoneType")):
        refused(site, Given(carry), FormatError, match)
    goes_on(site)


def test_a_worker_takes_no_orders_from_somebody_without_the_key(site: Site) -> None:
    taken: list[str] = []

    def changed(raw: bytes) -> bytes:
        letter = orders.parse_letter(raw)
        if letter.keys:
            with pytest.raises(FormatError) as caught:
                units.run_unit(orders.write_letter(msgspec.structs.replace(letter, serial=letter.serial + 1)))
            taken.append(caught.value.what)
        return units.run_unit(raw)

    site.comes_back(site.pack(Given(changed)))
    assert taken
    assert all("not of this order" in what for what in taken)


def test_a_worker_that_asks_for_the_key_again_and_again(site: Site) -> None:
    def forgetful(raw: bytes) -> bytes:
        units.forget_jobs()
        return units.run_unit(raw)

    executor = Given(forgetful)
    with pytest.raises(MediumError, match="ask for the key of this job again and again"):
        site.pack_drawn(executor, asked_max=5)
    assert len(executor.replies) <= 26 * 6
    assert ASKED_MAX > 50


def test_keys_of_a_worker_that_are_none(site: Site) -> None:
    refused(site, Given(lambda _: orders.write_letter(orders.KeyWanted(b"no key"))), FormatError, "6 bytes")


def test_a_source_that_changes_under_a_worker(site: Site) -> None:
    def touches(raw: bytes) -> bytes:
        os.utime(site.source / "noise", ns=(1, 1))
        return units.run_unit(raw)

    error = refused(site, Given(touches), SourceChangedError, "changed after the source was scanned")
    assert error.exit_status == 9


def test_another_version(site: Site) -> None:
    def newer(raw: bytes) -> bytes:
        return b"9.9.9" + units.run_unit(raw)[raw.index(b"\0"):]

    error = refused(site, Given(newer), UsageError, "a worker runs airbundle 9.9.9, this is")
    assert error.exit_status == 2
    assert units.run_unit(b"9.9.9\0whatever") == orders.write_version()  # it does not even look at what it says
    older = refused(site, Given(lambda _: units.run_unit(b"9.9.9\0").replace(VERSION.encode(), b"0.0.1")), UsageError,
                    "a worker runs airbundle 0.0.1, this is")
    assert older.exit_status == 2


def test_no_airbundle_at_the_workers(site: Site) -> None:
    def lacks(_raw: bytes) -> bytes:
        raise ModuleNotFoundError("No module named 'airbundle'")

    error = refused(site, Given(lacks), UsageError, "cannot load airbundle")
    assert error.exit_status == 2


def test_parity_that_an_earlier_run_made_of_other_members_is_made_again(site: Site) -> None:
    """A segment that was lost since is sealed anew, with another salt; the old parity would bring back nothing."""
    with pytest.raises(AirbundleError, match="the last group"):
        site.pack_drawn(Given(FailsAtTheLastGroup()), drives=3)
    there = {int(path.name[:8]) for path in site.place.glob("drive*/*/0*.abs")}
    assert {0, 1, 26, 27} <= there, "two groups with their parity"
    min(site.place.glob("drive*/*/00000000.abs")).unlink()
    honest = Liar()
    packed = site.pack_drawn(Given(honest), drives=3)
    again = {target.number for order in honest.orders if isinstance(order, CombineOrder) for target in order.targets}
    assert 26 in again
    assert not again & (there - {26})
    site.comes_back(packed)


class FailsAtTheLastGroup(Liar):
    def order(self, order: Order) -> Order:
        if isinstance(order, CombineOrder) and order.targets[0].number == 26 + 12:
            raise ModuleNotFoundError("the last group")
        return order


def _stop_at_the_end(tick: Tick) -> None:
    if tick.phase == "finishing":
        raise KeyboardInterrupt


def test_what_a_statement_was_made_of_is_never_made_again(site: Site) -> None:
    """Once there is a statement in the journal a segment is there, or the bundle is given up."""
    with pytest.raises(KeyboardInterrupt):
        site.pack(Given(), progress=_stop_at_the_end)
    executor = Given()
    with pytest.raises(KeyboardInterrupt):
        site.pack(executor, progress=_stop_at_the_end)
    assert not executor.letters
    min(site.place.glob("drive*/*/00000003.abs")).unlink()
    with pytest.raises(MediumError, match=r"00000003\.abs, which was packed here before, is damaged or gone"):
        site.pack(executor)
    assert not executor.letters
