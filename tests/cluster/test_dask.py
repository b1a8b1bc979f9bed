"""A real Dask cluster of processes on this machine: one is killed, all it knows is searched for keys."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import ipaddress
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airbundle.cli.main import main
from airbundle.cluster import require_safe, workers_of
from airbundle.crypto.keyfiles import write_private, write_public
from airbundle.errors import FormatError, MediumError, UsageError
from airbundle.transfer.progress import Tick
from airbundle.transfer.units import run_unit
from tests.cluster.crews import require_absent
from tests.transfer.workshop import digests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.conftest import Site

ROOT = Path(__file__).parents[2]
PATIENCE = 60


def require_dask() -> Any:
    """The package, or the test is skipped; in CI that is a failure."""
    if os.environ.get("CI", "").lower() in {"", "0", "false"}:
        return pytest.importorskip("distributed", reason="Dask is not installed: pip install 'airbundle[cluster]'")
    import distributed

    return distributed


@dataclass(frozen=True)
class Cluster:
    """A scheduler and its workers, each a process; `logs` are their files."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]
    logs: list[Path]

    @contextlib.contextmanager
    def client(self, security: Any = None) -> Iterator[Any]:
        with require_dask().Client(self.address, set_as_default=False, timeout=PATIENCE, security=security) as client:
            yield client

    def wait(self, security: Any = None) -> None:
        """Until all workers are there."""
        with self.client(security) as client:
            client.wait_for_workers(len(self.workers), timeout=PATIENCE)


def start(place: Path, workers: int = 2, environment: dict[str, str] | None = None, host: str = "127.0.0.1") -> Cluster:
    require_dask()
    note = place / "scheduler.json"
    os.mkfifo(note)  # read as soon as the scheduler writes where it is
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", **(environment or {})}
    way = "tls" if environment else "tcp"
    logs: list[Path] = []

    def process(module: str, *words: str) -> subprocess.Popen[bytes]:
        logs.append(place / f"{module}-{len(logs)}.log")
        with logs[-1].open("wb") as log:
            return subprocess.Popen([sys.executable, "-m", f"distributed.cli.{module}", "--host", f"{way}://{host}",
                                     "--dashboard-address", "127.0.0.1:0", *words],
                                    stdout=log, stderr=log, env=env)

    scheduler = process("dask_scheduler", "--port", "0", "--scheduler-file", str(note))
    address = json.loads(note.read_text())["address"]
    started = [process("dask_worker", address, "--nthreads", "1", "--no-nanny",
                       "--local-directory", str(place / "scratch"))
               for _ in range(workers)]
    return Cluster(address, scheduler, started, logs)


def stop(cluster: Cluster) -> None:
    for process in [*cluster.workers, cluster.scheduler]:
        process.kill()  # asked to end, a scheduler waits for whoever still looks at its pages
        process.wait(PATIENCE)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = start(tmp_path_factory.mktemp("cluster"))
    try:
        found.wait()
        yield found
    finally:
        stop(found)


def once(goal: int, act: Any) -> Any:
    """A progress callback that acts when so many segments are finished."""
    seen: list[bool] = []

    def progress(tick: Tick) -> None:
        seen.append(tick.done > 0)
        if sum(seen) == goal and tick.done:
            act()

    return progress


_taken: list[bytes] = []


def dies_at_its_third(victim: int, letter: bytes) -> bytes:
    """In a worker: that one is killed while it carries out an order."""
    _taken.append(letter)
    if os.getpid() == victim and len(_taken) == 3:
        os.kill(victim, signal.SIGKILL)
    return run_unit(letter)


class Fatal(Executor):
    """Hands letters on to a cluster, where one worker dies of its third."""

    def __init__(self, executor: Executor, victim: int) -> None:
        self._executor, self._victim = executor, victim

    def submit(self, _fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self._executor.submit(dies_at_its_third, self._victim, *args, **kwargs)


def test_a_worker_is_killed_and_the_bundle_verifies(site: Site, cluster: Cluster) -> None:
    victim = cluster.workers[0]
    with workers_of(cluster.address) as executor:
        packed = site.pack_drawn(Fatal(executor, victim.pid), drives=3, ahead=2)
    assert victim.wait(PATIENCE) == -signal.SIGKILL
    assert packed.segments == 26
    site.comes_back(packed)
    with cluster.client() as client:
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 1


@pytest.mark.parametrize(("gone", "match"), [("workers", "no worker is there"),
                                             ("scheduler", "the scheduler does not answer")])
def test_all_are_killed_and_new_ones_go_on(site: Site, cluster: Cluster, tmp_path: Path, gone: str, match: str) -> None:
    def kill() -> None:
        for process in cluster.workers if gone == "workers" else [cluster.scheduler]:
            process.kill()

    workers = workers_of(cluster.address, timeout=2, patience=1, look_again=0.1)
    with pytest.raises(MediumError, match=f"the workers are gone: .*{match}") as caught, workers as executor:
        site.pack_drawn(executor, progress=once(5, kill), ahead=2)
    assert caught.value.exit_status == 9
    assert "same command" in caught.value.hint
    (tmp_path / "other").mkdir()
    other = start(tmp_path / "other")
    try:
        other.wait()
        with workers_of(other.address) as executor:
            packed = site.pack_drawn(executor)
    finally:
        stop(other)
    assert packed.kept_segments >= 4
    site.comes_back(packed)


def pages(cluster: Cluster, *, pictures: bool) -> list[bytes]:
    """What the web servers of scheduler and workers show, page by page; the `pictures` of the dashboard are slow."""
    with cluster.client() as client:
        info = client.scheduler_info(n_workers=-1)
        ports = [info["services"]["dashboard"], *(one["services"]["dashboard"] for one in info["workers"].values())]
        tasks = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
    names = {"/", "/metrics", "/statistics", "/individual-plots.json", "/json/counts.json", "/json/identity.json",
             "/info/main/workers.html", "/info/main/exceptions.html", "/info/main/logs.html"}
    names |= {f"/info/{kind}/{quote(worker, safe='')}.html" for kind in ("worker", "logs", "call-stacks")
              for worker in info["workers"]}
    names |= {f"/info/{kind}/{quote(task, safe='')}.html" for kind in ("task", "call-stack") for task in tasks}
    found = [_page(port, name) for port in ports for name in names]
    assert any(b"run_unit" in page for page in found)
    if pictures:
        with contextlib.suppress(ImportError):  # they are there where bokeh is
            from distributed.dashboard.scheduler import applications

            found += [_page(ports[0], name) for name in applications]
    return found


def _page(port: int, name: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{name}", timeout=PATIENCE) as page:
            return bytes(page.read())
    except urllib.error.HTTPError as error:
        with error:
            return bytes(error.read())


def insides(cluster: Cluster, place: Path) -> list[bytes]:
    """The whole state of scheduler and workers: tasks with their arguments, results, events, logs; as they are now."""
    def of_scheduler(dask_scheduler: Any) -> bytes:
        tasks = {key: (repr(task), pickle.dumps(task.run_spec), task.annotations)
                 for key, task in dask_scheduler.tasks.items()}
        events = {name: list(topic.events) for name, topic in dask_scheduler._broker._topics.items()}
        return pickle.dumps((tasks, repr(events), repr(list(dask_scheduler.transition_log))))

    def of_worker(dask_worker: Any) -> bytes:
        tasks = {key: (repr(task), pickle.dumps(task.run_spec)) for key, task in dask_worker.state.tasks.items()}
        return pickle.dumps((tasks, dict(dask_worker.data), repr(list(dask_worker.state.log))))

    with cluster.client() as client:
        client.dump_cluster_state(str(place / "dump"), exclude=(), write_from_scheduler=False)
        return [client.run_on_scheduler(of_scheduler), *client.run(of_worker).values(),
                repr(client.get_scheduler_logs(n=10**6)).encode(), repr(client.get_worker_logs(n=10**6)).encode(),
                repr(client.get_events()).encode(),
                *(gzip.decompress(path.read_bytes()) for path in place.glob("dump*"))]


class Relay(Executor):
    """Hands letters on to a cluster, keeps them, and acts when there are ten."""

    def __init__(self, executor: Executor, act: Callable[[], None]) -> None:
        self._executor, self._act = executor, act
        self.letters: list[bytes] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.letters += args
        sent = self._executor.submit(fn, *args, **kwargs)
        if len(self.letters) == 10:
            self._act()
        return sent


def hold_worker() -> bool:
    """Keeps the one thread of a worker busy, so that orders wait."""
    return bool(require_dask().Event("go").wait(PATIENCE))


def test_nothing_of_the_cluster_has_a_key(site: Site, cluster: Cluster, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def look() -> None:
        deadline = time.monotonic() + PATIENCE
        with cluster.client() as client:
            while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) < 12:  # waiting
                assert time.monotonic() < deadline
        seen.extend(insides(cluster, tmp_path))
        seen.extend(pages(cluster, pictures=True))
        with cluster.client() as client:
            require_dask().Event("go", client=client).set()

    with workers_of(cluster.address) as executor:
        held = [executor.submit(hold_worker) for _ in cluster.workers]
        relay = Relay(executor, look)
        packed = site.pack_drawn(relay)
        assert all(future.result() for future in held)
        # What fails is logged with its arguments by Dask: an order that cannot be carried out is among them.
        failed = executor.submit(run_unit, relay.letters[-1][:-1] + b"x")
        with pytest.raises(FormatError, match="is damaged or not of this order"):
            failed.result()
        seen.extend(insides(cluster, tmp_path))
        seen.extend(pages(cluster, pictures=False))
    stop(cluster)
    logs = b"".join(log.read_bytes() for log in cluster.logs)
    text = b"\n".join([*seen, logs])
    # The search finds what is there: the arguments of what waited.
    assert sum(letter[-40:] in text for letter in relay.letters) >= 10
    assert logs.count(b"Compute Failed") == 1
    secrets = [drawn for drawn in site.drawn if len(drawn) == 32]
    assert site.bundle_key(packed) in secrets
    require_absent([*secrets, b"model.safetensors", b"small/001", str(site.source).encode()], text)
    site.comes_back(packed)


def keygen(site: Site) -> list[str]:
    (site.place / "packer.key").write_bytes(write_private("packer", site.keys.packer, passphrase=None))
    (site.place / "packer.pub").write_bytes(write_public("packer", site.keys.packer.public))
    (site.place / "reader.pub").write_bytes(write_public("reader", site.keys.reader.public))
    return ["--sign", str(site.place / "packer.key"), "--to", str(site.place / "reader.pub"), "-o", *site.drives(1),
            "--segment-size", "1M"]


def test_the_command(site: Site, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pack", str(site.source), *keygen(site), "--cluster", cluster.address]
    assert main([*words, "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)["result"]
    assert packed["segments"] == 4
    assert packed["kept_segments"] == 0
    cluster.workers[0].terminate()
    cluster.workers[1].terminate()
    for worker in cluster.workers:
        worker.wait(PATIENCE)
    assert main(words) == 9
    assert "no worker is there" in capsys.readouterr().err


def certificates(place: Path) -> dict[str, str]:
    """An authority and one certificate for all, and the settings of Dask that name them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster")])
    now = dt.datetime.now(dt.UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                           critical=False)
            .sign(key, hashes.SHA256()))
    (place / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (place / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    settings = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(place / "cert.pem"),
                "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
    for side in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"DASK_DISTRIBUTED__COMM__TLS__{side}__CERT": str(place / "cert.pem"),
                     f"DASK_DISTRIBUTED__COMM__TLS__{side}__KEY": str(place / "key.pem")}
    return settings


def test_a_cluster_with_tls(site: Site, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    settings = certificates(tmp_path / "tls")
    cluster = start(tmp_path / "tls", 1, settings)
    command = [sys.executable, "-m", "airbundle", "pack", str(site.source), *keygen(site), "--cluster", cluster.address]
    try:
        assert cluster.address.startswith("tls://")
        without = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=PATIENCE)
        assert without.returncode == 9
        assert "the scheduler cannot be reached" in without.stderr
        assert "certificates" in without.stderr
        cluster.wait(require_dask().Security(
            require_encryption=True, tls_ca_file=str(tmp_path / "tls" / "cert.pem"),
            tls_client_cert=str(tmp_path / "tls" / "cert.pem"), tls_client_key=str(tmp_path / "tls" / "key.pem")))
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=PATIENCE,
                              env={**os.environ, **settings})
        assert done.returncode == 0, done.stderr
    finally:
        stop(cluster)
    back = site.place / "back"
    (site.place / "reader.key").write_bytes(write_private("reader", site.keys.reader, passphrase=None))
    assert main(["unpack", str(site.place / "drive0"), "-o", str(back), "--key", str(site.place / "reader.key"),
                 "--trust", str(site.place / "packer.pub")]) == 0
    assert digests(back) == digests(site.source)


def test_nobody_answers() -> None:
    require_dask()
    with pytest.raises(MediumError, match="the scheduler cannot be reached") as caught, \
            workers_of("tcp://127.0.0.1:9", timeout=1):
        pass
    assert caught.value.exit_status == 9
    assert caught.value.where == "tcp://127.0.0.1:9"
    assert "look whether it runs" in caught.value.hint


@pytest.mark.parametrize(("address", "match"), [
    ("tcp://192.0.2.1:8786", "without TLS everybody on the network"), ("tcp://scheduler:8786", "without TLS"),
    ("tcp://127.0.0.1.example:1", "without TLS"), ("127.0.0.1:8786", "is not the address of a Dask scheduler"),
    ("ucx://127.0.0.1:1", "is not the address"), ("tcp://127.0.0.1@192.0.2.1:1", "is not the address"), ("", "is not")])
def test_addresses_that_are_not_safe(address: str, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught, workers_of(address):
        pass
    assert caught.value.exit_status == 2
    assert caught.value.hint


def test_addresses_that_are() -> None:
    for address in ("tcp://127.0.0.1:8786", "tcp://127.9.9.9:1", "tcp://[::1]:8786", "tcp://localhost:1",
                    "tls://192.0.2.1:8786", "tls://scheduler.example:8786"):
        require_safe(address)


def test_without_dask(site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)  # as Python does where there is none
    assert main(["pack", str(site.source), *keygen(site), "--cluster", "tcp://127.0.0.1:8786"]) == 2
    said = capsys.readouterr().err
    assert "Dask is not installed" in said
    assert "airbundle[cluster]" in said
    assert not list(site.place.glob("drive0/*"))
