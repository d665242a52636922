"""The KeyProvider suite on a key service, over its socket: once as it is, once as one whose
provider is slow, where calls wait for a thread of their own.

Only here may bucket keys be asked for in the clear; that a service refuses it is
`tests/unit/gateway/keyd/test_service.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from gateway.data.envelope import KeyProvider
from tests.conformance.key_provider_suite import KeyProviderSuite
from tests.support.keyd_rig import CLUSTER, keyd


class TestOverASocket(KeyProviderSuite):
    step = 11
    cluster_id = CLUSTER

    def opened(self, folder: Path) -> AbstractContextManager[KeyProvider]:
        return _opened(folder, is_slow=False)


class TestASlowProviderOverASocket(KeyProviderSuite):
    step = 37
    cluster_id = CLUSTER

    def opened(self, folder: Path) -> AbstractContextManager[KeyProvider]:
        return _opened(folder, is_slow=True)


@contextmanager
def _opened(folder: Path, *, is_slow: bool) -> Iterator[KeyProvider]:
    with keyd(folder, keys_leave=True, is_slow=is_slow) as (_, keys):
        yield keys
