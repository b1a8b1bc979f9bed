from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airbundle.crypto.identities import generate
from airbundle.crypto.suites import STANDARD
from tests.transfer.workshop import KIB, MIB, Keys, Packed, noise, pack, write_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def keys(request: pytest.FixtureRequest) -> Keys:
    """Of `standard`; `both_suites` asks for those of the other suite too."""
    suite = getattr(request, "param", STANDARD)
    return Keys(generate(suite), generate(suite), generate(suite), generate(suite))


@pytest.fixture(scope="session")
def _small(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    place = tmp_path_factory.mktemp("small")
    source = write_tree(place / "source", {"a/one": noise(100 * KIB, 1), "a/two": b"two" * 9000, "three": noise(50, 2),
                                           "empty": b""}, ("hollow",))
    return pack(keys, source, place / "drive")


@pytest.fixture
def small(_small: Packed, tmp_path: Path) -> Packed:
    """Two segments with blocks of 4 KiB and one stripe each; copied for each test."""
    return _small.copy_to(tmp_path / "drive")


@pytest.fixture(scope="session")
def _striped(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    place = tmp_path_factory.mktemp("striped")
    source = write_tree(place / "source", {"weights": noise(900 * KIB, 3)})
    return pack(keys, source, place / "drive", segment_size=4 * MIB)


@pytest.fixture
def striped(_striped: Packed, tmp_path: Path) -> Packed:
    """One segment with blocks of 4 KiB in two stripes."""
    return _striped.copy_to(tmp_path / "drive")


@pytest.fixture(scope="session")
def _large(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    place = tmp_path_factory.mktemp("large")
    source = write_tree(place / "source", {"weights": noise(12 * MIB - 5, 4)})
    return pack(keys, source, place / "drive", segment_size=4 * MIB)


@pytest.fixture
def large(_large: Packed, tmp_path: Path) -> Packed:
    """Three segments of more than 4 MiB with blocks of 16 KiB."""
    return _large.copy_to(tmp_path / "drive")
