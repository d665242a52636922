"""The memory store against the suite of the port."""

from __future__ import annotations

import pytest

from gateway.meta.kv import MetaUnavailable
from gateway.meta.memory import MemoryStore
from tests.conformance.meta_suite import Factory, MetaSuite


class TestMemoryStore(MetaSuite):
    @pytest.fixture
    def factory(self) -> Factory:
        return MemoryStore

    def test_closed_store_answers_nothing(self) -> None:
        store = MemoryStore()
        store.close()
        with pytest.raises(MetaUnavailable):
            store.read([b"O" + bytes(17)])
