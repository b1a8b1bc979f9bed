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
from typing import TYPE_CHECKING, Final

from airbundle.errors import MediumError, UsageError
from airbundle.format.names import shown
from airbundle.transfer.units import forget_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from distributed import Client

_ADDRESS: Final = re.compile(r"(?P<way>tcp|tls)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+):(?P<port>[0-9]{1,5})")
_TIMEOUT: Final = 10  # seconds until a scheduler that does not answer is not there


@contextlib.contextmanager
def workers_of(address: str) -> Iterator[Executor]:
    """The workers of the scheduler at `tcp://HOST:PORT` or `tls://HOST:PORT`, for a `with` block.

    Raises UsageError for an address that is none or not safe, or without Dask; MediumError where nobody answers.
    """
    require_safe(address)
    client = _connected(address)
    try:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise MediumError("this cluster has no workers", where=shown(address), hint="start some: dask worker "
                              f"{address}")
        with client.get_executor() as executor:
            yield executor
    finally:
        with contextlib.suppress(Exception):  # a cluster that is gone has forgotten everything
            client.run(forget_jobs)
        client.close()


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


def _connected(address: str) -> Client:
    try:
        from distributed import Client  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError("Dask is not installed", hint="pip install 'airbundle[cluster]'") from error
    try:
        return Client(address, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        raise MediumError(f"the scheduler cannot be reached: {error}", where=shown(address),
                          hint="look whether it runs, and whether its certificates are those of Dask's configuration "
                          "here") from error
