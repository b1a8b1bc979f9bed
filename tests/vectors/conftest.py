from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vectors.people import write_people

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = "/dev/shm"


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with everybody's key files."""
    folder = tmp_path_factory.mktemp("people")
    write_people(folder)
    return folder


@contextlib.contextmanager
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one: some hundred volumes are laid out and thrown away."""
    folder = Path(tempfile.mkdtemp(prefix="vectors-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def spot() -> Iterator[Path]:
    with memory() as folder:
        yield folder
