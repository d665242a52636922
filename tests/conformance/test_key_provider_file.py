"""The KeyProvider suite on the sealed file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from gateway.data.envelope import KeyProvider
from gateway.data.keyring import FileKeyring
from storaged.base.env import RealEnv
from tests.conformance.key_provider_suite import KeyProviderSuite
from tests.support.softhsm import SealingSecret


class TestFileKeyring(KeyProviderSuite):
    def opened(self, folder: Path) -> AbstractContextManager[KeyProvider]:
        return _opened(folder)


@contextmanager
def _opened(folder: Path) -> Iterator[KeyProvider]:
    env = RealEnv(threads_max=1)
    try:
        yield FileKeyring(folder, SealingSecret(), env)
    finally:
        env.close()
