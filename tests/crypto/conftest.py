import pytest

from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.suites import STANDARD


def identity(number: int) -> PrivateIdentity:
    return PrivateIdentity(STANDARD, bytes([number]) * 160)


@pytest.fixture(scope="session")
def alice() -> PrivateIdentity:
    return identity(1)


@pytest.fixture(scope="session")
def bob() -> PrivateIdentity:
    return identity(2)


@pytest.fixture(scope="session")
def carol() -> PrivateIdentity:
    return identity(3)
