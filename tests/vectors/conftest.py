from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places import memory
from tests.vectors.people import write_people

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with everybody's key files."""
    folder = tmp_path_factory.mktemp("people")
    write_people(folder)
    return folder


@pytest.fixture
def spot() -> Iterator[Path]:
    """Some hundred volumes are laid out and thrown away here."""
    with memory() as folder:
        yield folder
