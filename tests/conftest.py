from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from tests.places import memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Journals, sent statements and the trust store stay out of the person's own; one home for all tests of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("COLUMNS", "200")
        yield


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A new folder: on the disk, as pytest makes it, or in memory for a test that is marked so."""
    if request.node.get_closest_marker("in_memory") is None:
        yield tmp_path
        return
    with memory() as folder:
        yield folder


def pytest_collection_finish() -> None:
    """Some thousand tests and all modules stay to the end: the garbage collector need not look at them again."""
    gc.collect()
    gc.freeze()
