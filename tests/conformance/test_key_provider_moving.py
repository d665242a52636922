"""The KeyProvider suite on a keyring that is on its way from a file to a token of SoftHSM: tenants'
first epochs are in the file, all that is made later is in the token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from gateway.data.envelope import KeyProvider
from gateway.keyd.moving import MovingKeyring
from storaged.base.env import RealEnv
from tests.conformance.key_provider_suite import KeyProviderSuite
from tests.support.moving_keys import moving
from tests.support.softhsm import SoftToken, suite_token


class BegunInFile(MovingKeyring):
    """As if each tenant had been there before."""

    def create_tenant_key(self, tenant_id: bytes) -> None:
        if not self.tenant_epochs(tenant_id):
            self._old.create_tenant_key(tenant_id)


@pytest.fixture(scope="module")
def soft_token() -> SoftToken:
    return suite_token()


@pytest.mark.proves("K-05", "K-10")
class TestMovingKeyring(KeyProviderSuite):
    """All folders of one test are of one token."""

    copies_stay_whole = False  # as those of the token

    @pytest.fixture(autouse=True)
    def _keep(self, soft_token: SoftToken) -> None:
        self.soft_token = soft_token

    def opened(self, folder: Path) -> AbstractContextManager[KeyProvider]:
        return _opened(self.soft_token, folder)


@contextmanager
def _opened(token: SoftToken, folder: Path) -> Iterator[KeyProvider]:
    env = RealEnv(threads_max=1)
    try:
        found = moving(token, folder, env)
        found.__class__ = BegunInFile
        yield found
    finally:
        env.close()
