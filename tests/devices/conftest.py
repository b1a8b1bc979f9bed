from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.identities import generate
from airbundle.crypto.suites import STANDARD
from tests.devices import fuse_image
from tests.station.desk import Desk, People
from tests.transfer.workshop import Keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def fuse() -> None:
    """Images behind FUSE under loop devices. Who asks for these tests wants them run, so nothing is skipped."""
    why = fuse_image.missing()
    assert not why, why


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys(*(generate(STANDARD) for _ in range(4)))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(People(*(generate() for _ in range(6))), tmp_path)
