from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.identities import generate
from tests.station.desk import Desk, People

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def people() -> People:
    return People(*(generate() for _ in range(6)))


@pytest.fixture
def desk(people: People, tmp_path: Path) -> Desk:
    return Desk(people, tmp_path)
