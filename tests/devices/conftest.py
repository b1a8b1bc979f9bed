"""Machines that several tests share: one start for a module, and for each test as if it were its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.identities import generate
from airbundle.crypto.suites import STANDARD
from tests.devices.equipment import PATH, require
from tests.devices.hostlab import HostLab
from tests.devices.machine import Machine
from tests.devices.post import Post
from tests.station.conftest import desk as desk  # noqa: PLC0414 - a fixture is found by its name here
from tests.station.conftest import people as people  # noqa: PLC0414
from tests.transfer.workshop import Keys

os.environ["PATH"] = PATH  # what makes file systems lies where the path of an ordinary user does not lead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.station.desk import People


@pytest.fixture
def post(people: People) -> Iterator[Post]:
    """In a folder of its own: each pytest that starts shuts those of `tmp_path` for whom drives are read as."""
    with tempfile.TemporaryDirectory(prefix="post-") as place:
        yield Post(people, Path(place))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostLab]:
    """The laboratory on this machine."""
    require("host")
    with HostLab(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine of a module; a module that wants another one says so in MACHINE, the words of `Machine`."""
    words = getattr(request.module, "MACHINE", {})
    require("systemd" if words.get("systemd") else "machine")
    with Machine(tmp_path_factory.mktemp("shared"), **words) as made:
        yield made


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    """The machine of the module; what a test leaves in it is taken away."""
    yield booted
    booted.tidy()


@pytest.fixture(scope="session")
def fuse() -> None:
    """Images behind FUSE under loop devices."""
    require("host")


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys(*(generate(STANDARD) for _ in range(4)))
