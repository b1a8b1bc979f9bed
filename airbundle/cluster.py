"""Workers of an existing Dask cluster as an executor. The only place of the package that knows a network.

What goes over that network is sealed, both ways (`transfer/orders.py`), but an executor sends functions, and both sides
load what the other one has pickled. So whoever controls the scheduler can run code in the workers and in this process:
the cluster has to be trusted like this machine. Without TLS everybody on the network could be that one, so only a
scheduler on this machine may be without.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import TYPE_CHECKING, Any, Final

from airbundle.errors import MediumError, UsageError
from airbundle.format.names import shown
from airbundle.transfer.units import forget_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client

_ADDRESS: Final = re.compile(r"(?P<way>tcp|tls)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+):(?P<port>[0-9]{1,5})")
_TIMEOUT: Final = 10.0
_LOOK_AGAIN: Final = 1.0
_PATIENCE: Final = 30.0
_FORGETTING: Final = 2.0  # seconds for workers to let go of the keys


@contextlib.contextmanager
def workers_of(address: str, *, timeout: float = _TIMEOUT, patience: float = _PATIENCE,
               look_again: float = _LOOK_AGAIN) -> Iterator[Executor]:
    """The workers of the scheduler at `tcp://HOST:PORT` or `tls://HOST:PORT`, for a `with` block.

    All in seconds: `timeout` until a scheduler that does not answer is not there; `patience` as long as a cluster may
    be without workers, or without its scheduler, which is looked at every `look_again`.
    Raises UsageError for an address that is none or not safe, or without Dask; MediumError where nobody answers.
    """
    require_safe(address)
    client = _connected(address, timeout)
    try:
        lack = lacking(client, address, timeout)
        if lack:
            raise MediumError(lack, where=shown(address), hint=f"start scheduler and workers: dask worker {address}")
        with DaskWorkers(client, address, patience=patience, look_again=look_again) as executor:
            yield executor
    finally:
        client.close(timeout=timeout)


class DaskWorkers(Executor):
    """The executor of a client, which waits for ever for what is gone; here that ends with BrokenExecutor."""

    def __init__(self, client: Client, address: str, *, patience: float = _PATIENCE,
                 look_again: float = _LOOK_AGAIN) -> None:
        self._patience, self._look_again, self._address = patience, look_again, address
        self._client, self._inner = client, client.get_executor(pure=False)
        self._pending: set[Future[Any]] = set()
        self._broken = ""
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="airbundle-cluster", daemon=True)
        self._watcher.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`. Raises BrokenExecutor when the cluster is gone."""
        outer: Future[Any] = Future()
        with self._lock:
            if self._broken:
                raise BrokenExecutor(self._broken)
            self._pending.add(outer)
        inner = self._inner.submit(fn, *args, **kwargs)
        inner.add_done_callback(lambda done: self._pass_on(done, outer))
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as above it
        """What is still under way is given up: whoever waits for it has stopped."""
        del wait, cancel_futures
        self._closed.set()
        self._watcher.join(_FORGETTING)
        if not self._broken:
            forgetting = threading.Thread(target=self._forget, daemon=True)  # a worker may hang, and is not waited for
            forgetting.start()
            forgetting.join(_FORGETTING)

    def _forget(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that has gone just now has forgotten everything
            self._inner.shutdown(wait=False)
            self._client.run(forget_jobs)

    def _pass_on(self, inner: Future[Any], outer: Future[Any]) -> None:
        with self._lock:
            if outer not in self._pending:
                return
            self._pending.discard(outer)
        if not outer.set_running_or_notify_cancel():
            return
        if inner.cancelled():
            outer.set_exception(CancelledError("lost by the scheduler"))
        elif error := inner.exception():
            outer.set_exception(error)
        else:
            outer.set_result(inner.result())

    def _watch(self) -> None:
        """Until it is closed look whether scheduler and workers are there; a while without them is the end."""
        missing_since = None
        while not self._closed.wait(self._look_again):
            asked = time.monotonic()
            try:
                lack = lacking(self._client, self._address, self._patience)
            except UsageError as error:
                self._break(error.what)
                return
            missing_since = (missing_since or asked) if lack else None
            if missing_since is not None and time.monotonic() - missing_since >= self._patience:
                self._break(lack)
                return

    def _break(self, why: str) -> None:
        with self._lock:
            self._broken = why
            left, self._pending = self._pending, set()
        for outer in left:
            if outer.set_running_or_notify_cancel():
                outer.set_exception(BrokenExecutor(why))


def lacking(client: Client, address: str, timeout: float) -> str:
    """What a cluster lacks; empty for nothing. Who does not answer within `timeout` seconds does not answer.

    Raises UsageError where others than this machine could take part without TLS.
    """
    try:
        found = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=timeout)
    except Exception:  # noqa: BLE001 - whatever it is: nobody answered
        return "the scheduler does not answer"
    if not address.startswith("tls:"):
        for member in (found["address"], *found["workers"]):
            _require_here(member)
    return "" if found["workers"] else "no worker is there"


def _require_here(member: str) -> None:
    """Returns for a scheduler or worker that only this machine can reach."""
    found = _ADDRESS.fullmatch(member)
    if found is None or not _is_here(found["host"].strip("[]")):
        raise UsageError("a member of this cluster can be reached from the network, without TLS", where=shown(member),
                         hint="start scheduler and workers with --host 127.0.0.1, or take TLS (docs/cluster.md)")


def require_safe(address: str) -> None:
    """Returns for TLS, and for a scheduler on this machine. Raises UsageError."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise UsageError(f"'{shown(address)}' is not the address of a Dask scheduler",
                         hint="write it like tls://HOST:8786, or tcp://127.0.0.1:8786 on this machine")
    if found["way"] != "tls" and not _is_here(found["host"].strip("[]")):
        raise UsageError("without TLS everybody on the network could run programs on this machine and the workers",
                         where=shown(address), hint="give the cluster certificates and take tls://HOST:PORT "
                         "(docs/cluster.md), or pack on the machine of the scheduler")


def _is_here(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _connected(address: str, timeout: float) -> Client:
    try:
        from distributed import Client  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError("Dask is not installed", hint="pip install 'airbundle[cluster]'") from error
    made: Future[Client] = Future()

    def connect() -> None:
        try:
            made.set_result(Client(address, timeout=timeout, set_as_default=False))
        except BaseException as error:  # noqa: BLE001 - raised below
            made.set_exception(error)

    threading.Thread(target=connect, daemon=True).start()  # Dask waits for ever for what speaks another language
    try:
        return made.result(2 * timeout)
    except Exception as error:
        raise MediumError(f"the scheduler cannot be reached: {error}", where=shown(address),
                          hint="look whether it runs, and whether its certificates are those of Dask's configuration "
                          "here") from error
