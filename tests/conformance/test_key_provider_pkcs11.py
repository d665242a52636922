"""The KeyProvider suite on a token of SoftHSM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from gateway.data.envelope import KeyProvider
from storaged.base.env import RealEnv
from tests.conformance.key_provider_suite import KeyProviderSuite
from tests.support.softhsm import SoftToken, keyring, suite_token


@pytest.fixture(scope="module")
def soft_token() -> SoftToken:
    return suite_token()


@pytest.mark.proves("K-05")
class TestPkcs11Keyring(KeyProviderSuite):
    """All folders of one test are of one token."""

    copies_stay_whole = False  # they know too few wraps

    @pytest.fixture(autouse=True)
    def _keep(self, soft_token: SoftToken) -> None:
        self.soft_token = soft_token

    def opened(self, folder: Path) -> AbstractContextManager[KeyProvider]:
        return _opened(self.soft_token, folder)


@contextmanager
def _opened(token: SoftToken, folder: Path) -> Iterator[KeyProvider]:
    env = RealEnv(threads_max=1)
    try:
        yield keyring(token, folder, env)
    finally:
        env.close()
