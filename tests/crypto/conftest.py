import pytest

from airbundle.crypto.identities import PrivateIdentity
from airbundle.crypto.suites import STANDARD, Suite
from tests.crypto.people import identity


@pytest.fixture
def suite(request: pytest.FixtureRequest) -> Suite:
    return getattr(request, "param", STANDARD)


@pytest.fixture
def alice(suite: Suite) -> PrivateIdentity:
    return identity(1, suite)


@pytest.fixture
def bob(suite: Suite) -> PrivateIdentity:
    return identity(2, suite)


@pytest.fixture
def carol(suite: Suite) -> PrivateIdentity:
    return identity(3, suite)
