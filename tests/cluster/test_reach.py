"""Clusters that others can reach, that hang, and ports where something else listens."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from airbundle.cluster import workers_of
from airbundle.errors import MediumError, UsageError
from tests.cluster.test_dask import Cluster, once, require_dask, start, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.conftest import Site


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler that listens on all addresses of this machine, and has no workers."""
    found = start(tmp_path, workers=0, host="0.0.0.0")
    try:
        yield found
    finally:
        stop(found)


def test_a_scheduler_that_the_network_can_reach(alone: Cluster) -> None:
    port = alone.address.rpartition(":")[2]
    if alone.address.startswith("tcp://127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(UsageError, match="can be reached from the network, without TLS"), \
            workers_of(f"tcp://127.0.0.1:{port}"):
        pass


def test_a_scheduler_that_hangs(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It is there, holds its connections, and says nothing any more."""
    cluster = start(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.wait()
        began = []

        def stop_it() -> None:
            began.append(time.monotonic())
            os.kill(cluster.scheduler.pid, signal.SIGSTOP)

        with pytest.raises(MediumError, match="the scheduler does not answer"), \
                workers_of(cluster.address, timeout=2, patience=1, look_again=0.1) as executor:
            site.pack_drawn(executor, progress=once(3, stop_it), ahead=2)
        assert time.monotonic() - began[0] < 20
    finally:
        stop(cluster)


def test_something_that_is_no_scheduler() -> None:
    require_dask()
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, and says nothing
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(MediumError, match="cannot be reached"), workers_of(address, timeout=0.5):
            pass
