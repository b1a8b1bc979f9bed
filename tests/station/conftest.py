from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.identities import generate
from tests.station.desk import Desk, People

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Journals and the trust store stay out of the person's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("COLUMNS", "200")
        yield


@pytest.fixture(scope="session")
def people() -> People:
    return People(*(generate() for _ in range(6)))


@pytest.fixture
def desk(people: People, tmp_path: Path) -> Desk:
    return Desk(people, tmp_path)
