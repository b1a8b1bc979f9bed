"""Any executor: the same content as without one, whatever dies; and nothing secret passes through it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airbundle import api
from airbundle.crypto.handover import Receiver
from airbundle.crypto.identities import generate
from airbundle.crypto.suites import CNSA2, STANDARD
from airbundle.errors import MediumError, NoKeyError
from airbundle.transfer import orders, units
from airbundle.transfer.plan import Options
from airbundle.transfer.progress import Tick
from tests.cluster.crews import Given, keys_held, require_absent
from tests.transfer.workshop import KIB, MIB, Keys, Packed, noise

if TYPE_CHECKING:
    from tests.cluster.conftest import Site

ROOT = Path(__file__).parents[2]
PATIENCE = 20


def processes(count: int = 2) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.parametrize("drives", [1, 3])
@pytest.mark.parametrize("make", [lambda: ThreadPoolExecutor(3), processes], ids=["threads", "processes"])
def test_it_packs_what_is_packed_without(site: Site, make: Any, drives: int) -> None:
    with make() as executor:
        packed = site.pack(executor, drives=drives)
    assert packed.segments == 26
    assert packed.stages["write"] > 0  # of the workers
    site.comes_back(packed)
    other = api.pack(str(site.source), [os.path.dirname(path) for path in packed.volumes], sign=site.keys.second,
                     to=[site.keys.reader.public], options=Options(segment_size=128 * KIB))
    shapes = [[(row.number, row.role, row.group, row.position, row.volume, row.k, row.m, row.stripes, row.body)
               for row in Packed(site.keys, site.source, Path(found.volumes[0])).rows()] for found in (packed, other)]
    assert shapes[0] == shapes[1]


def test_the_other_suite(site: Site) -> None:
    keys = Keys(*(generate(CNSA2) for _ in range(4)))
    with processes() as executor:
        packed = replace(site, keys=keys).pack(executor)
    replace(site, keys=keys).comes_back(packed)


def test_a_unit_that_came_back_for_a_key_does_not_wait_for_its_turn(site: Site) -> None:
    """All orders are with the executor, keys and all, while the first one is still being carried out."""
    others = threading.Event()
    carried: list[int] = []

    def slow_first(raw: bytes) -> bytes:
        letter = orders.parse_letter(raw)
        if letter.keys and letter.serial == first[0]:
            assert others.wait(PATIENCE), "nothing else was carried out"
        reply = units.run_unit(raw)
        if isinstance(orders.parse_reply(reply), orders.KeyWanted):
            first[:] = first or [26]  # the first 26 letters go out without keys
        elif letter.serial != first[0]:
            carried.append(letter.serial)
            if len(carried) == 20:
                others.set()
        return reply

    first: list[int] = []
    site.comes_back(site.pack(Given(slow_first)))


def test_only_what_came_back_for_a_key_goes_out_with_keys(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker, here, asks for each of the first orders; what is known of it is no worker too many."""
    monkeypatch.setattr("airbundle.transfer.crew._WORKERS_MAX", 1)
    executor = Given()
    site.comes_back(site.pack(executor))
    asked = sum(isinstance(orders.parse_reply(reply), orders.KeyWanted) for reply in executor.replies)
    with_keys = [letter for raw in executor.letters if (letter := orders.parse_letter(raw)).keys]
    assert len(with_keys) == asked > 1
    assert len(executor.letters) > 2 * asked, "and the orders to combine"


def test_a_worker_too_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.transfer.crew._WORKERS_MAX", 1)
    keys = [Receiver(STANDARD, b"j" * 16).public for _ in range(2)]

    def two(raw: bytes) -> bytes:
        return orders.write_letter(orders.KeyWanted(keys[orders.parse_letter(raw).serial % 2]))

    with pytest.raises(MediumError, match="ask for the key of this job again and again"):
        site.pack(Given(two))


@pytest.mark.parametrize("choice", ["no read-back", "padded", "one at a time"])
def test_other_ways_to_pack(site: Site, choice: str) -> None:
    with ThreadPoolExecutor(2) as executor:
        packed = site.pack(executor, read_back=choice != "no read-back", pad=choice == "padded", drives=3,
                           ahead=1 if choice == "one at a time" else 0)
    site.comes_back(packed)


def test_a_file_and_nothing_at_all(site: Site) -> None:
    (site.place / "one").write_bytes(noise(1000))
    (site.place / "none").mkdir()
    for name in ("one", "none"):
        drive = site.place / f"for-{name}"
        drive.mkdir()
        with ThreadPoolExecutor(2) as executor:
            packed = api.pack(str(site.place / name), str(drive), sign=site.keys.packer, to=[site.keys.reader.public],
                              executor=executor)
        api.unpack(packed.volumes, str(site.place / f"{name}-back"), keys=[site.keys.reader], trust=site.keys.trust)
    assert (site.place / "one-back" / "one").read_bytes() == noise(1000)


def test_who_can_change_what_passes_gets_the_key_and_nothing_notices(site: Site) -> None:
    """The limit that docs/cluster.md names: nobody vouches for the keys that a worker shows."""
    own: list[Receiver] = []
    keys: list[bytes] = []

    def between(raw: bytes) -> bytes:
        letter = orders.parse_letter(raw)
        if not own:
            own.append(Receiver(STANDARD, letter.job))
            return orders.write_letter(orders.KeyWanted(own[0].public))
        for sealed in letter.keys.values() if not keys else ():
            with suppress(NoKeyError):
                keys.append(own[0].open(sealed))
        return units.run_unit(raw)

    executor = Given(between)
    packed = site.pack_drawn(executor)
    letter = orders.parse_letter(executor.letters[-1])
    order = orders.open_order(keys[0], letter.serial, letter.sealed, STANDARD)
    assert order.terms.key == site.bundle_key(packed)
    site.comes_back(packed)


def test_nothing_secret_passes_through_an_executor(site: Site) -> None:
    executor = Given()
    packed = site.pack_drawn(executor, drives=3)
    secrets = [drawn for drawn in site.drawn if len(drawn) == 32]  # keys of the bundle, the journal and the job
    assert site.bundle_key(packed) in secrets
    assert len(secrets) == 3
    names = [b"model.safetensors", b"small/", str(site.place).encode(), site.keys.reader.public.key_id]
    plain = [noise(2 * MIB - 77, 1)[at * 4000:][:24] for at in range(100)]
    traffic = b"".join(executor.letters + executor.replies)
    require_absent([*secrets, *names, *plain], traffic)
    assert len(executor.replies) > packed.segments + packed.parity_segments


def events(goal: int, act: Any) -> Any:
    """A progress callback that acts once, when so many segments are finished."""
    seen, once = [0], threading.Event()

    def progress(tick: Tick) -> None:
        seen[0] += tick.done > 0
        if seen[0] >= goal and not once.is_set():
            once.set()
            act()

    return progress


def test_a_pool_that_breaks_is_told_of_and_another_one_goes_on(site: Site) -> None:
    with processes() as executor:
        victim: Any = lambda: os.kill(next(iter(executor._processes)), signal.SIGKILL)  # noqa: E731
        with pytest.raises(MediumError, match="workers are gone") as caught:
            site.pack_drawn(executor, progress=events(4, victim), ahead=2)
    assert caught.value.exit_status == 9
    assert "same command" in caught.value.hint
    with processes() as executor:
        packed = site.pack_drawn(executor)
    assert 4 <= packed.kept_segments < packed.segments
    site.comes_back(packed)


def test_a_unit_that_is_lost_goes_out_again_but_not_for_ever(site: Site) -> None:
    from airbundle.transfer.units import run_unit

    lost: list[bytes] = []

    def lose(letter: bytes) -> bytes:
        if len(lost) < 2:
            lost.append(letter)
            raise TimeoutError("lost")
        return run_unit(letter)

    site.comes_back(site.pack(Given(lose)))
    assert len(lost) == 2
    for path in site.place.glob("drive0/*/*"):
        path.unlink()

    def never(_letter: bytes) -> bytes:
        raise TimeoutError("lost")

    with pytest.raises(MediumError, match="lost 3 times: TimeoutError"):
        site.pack(Given(never))


PACKING = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from airbundle import api
from airbundle.transfer.plan import Options
def halt(tick, seen=[]):
    seen.append(tick.done > 0)
    if sum(seen) == 8:
        print("killed here", flush=True)
        sys.stdin.read()
def main(place, apart):
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) if apart == "apart" else None
    api.pack(f"{place}/source", f"{place}/drive0", sign=api.load_private(f"{place}/packer.key"), executor=pool,
             to=[api.load_public(f"{place}/reader.pub").public], options=Options(segment_size=128 << 10),
             progress=halt)
if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize(("first", "then"), [("apart", "apart"), ("apart", "alone"), ("alone", "apart")])
def test_a_machine_that_packs_and_is_killed_goes_on(site: Site, first: str, then: str) -> None:
    from airbundle.crypto.keyfiles import write_private, write_public

    (site.place / "packer.key").write_bytes(write_private("packer", site.keys.packer, passphrase=None))
    (site.place / "reader.pub").write_bytes(write_public("reader", site.keys.reader.public))
    (site.place / "packing.py").write_text(PACKING)
    site.drives(1)
    with subprocess.Popen([sys.executable, site.place / "packing.py", str(site.place), first], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
                          start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"killed here\n"
        os.killpg(process.pid, signal.SIGKILL)
    pool: Any = processes() if then == "apart" else nullcontext()
    with pool as executor:
        packed = site.pack(executor)
    assert packed.kept_segments > 0
    site.comes_back(packed)


def test_a_forked_process_has_keys_of_its_own() -> None:
    """Two processes with the same keys would be one to the machine that packs."""
    own = units._desks.of(STANDARD, b"j" * 16).receiver.public
    read, write = os.pipe()
    with units._desks._lock:  # as another thread may have it
        child = os.fork()
        if not child:
            status = 1
            try:
                os.write(write, units._desks.of(STANDARD, b"j" * 16).receiver.public)
                status = 0
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read() not in {own, b""}
    units.forget_jobs()
    assert units._desks.of(STANDARD, b"j" * 16).receiver.public != own


def test_keys_do_not_stay_when_it_is_done(site: Site) -> None:
    """In this process: those of this pack, and of no other one."""
    other = units._desks.of(STANDARD, b"j" * 16)
    with ThreadPoolExecutor(2) as executor:
        site.pack(executor)
    assert list(units._desks._desks.values()) == [other]
    units.forget_jobs()
    assert not units._desks._desks


def test_a_worker_process_has_the_key_until_four_more_jobs_have_come(site: Site) -> None:
    with processes(1) as executor:
        site.pack(executor)
        assert executor.submit(keys_held).result(PATIENCE) == 1
        assert executor.submit(keys_held, 3).result(PATIENCE) == 1
        assert executor.submit(keys_held, 4).result(PATIENCE) == 0
