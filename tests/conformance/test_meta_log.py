"""The log on in-memory nodes against the suite of the metadata port: what the gateway runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from gateway.commit.forming import CHANGE_BYTES_MAX, ChangeTooLarge
from gateway.commit.log import Log
from gateway.meta.keyspace import STRIPE
from gateway.meta.kv import ROW_KEY_BYTES_MAX, Index
from storaged.base.errors import StorageError
from tests.conformance.meta_suite import Factory, MetaStoreSuite, batch, row_key, row_value
from tests.support.log_rig import LogRig


class TestLog(MetaStoreSuite):
    rows_end = STRIPE  # the log keeps a row for each group

    @pytest.fixture(autouse=True)
    def runner(self) -> Iterator[asyncio.Runner]:
        """One loop for all calls of a test: the log goes on between them."""
        with asyncio.Runner() as runner:
            self.opened: list[Log] = []
            self._runner = runner
            yield runner
            for log in self.opened:
                self.run(log.close())

    @pytest.fixture
    def factory(self) -> Factory:
        def make() -> Log:
            return self.opened_log(LogRig())

        return make

    def opened_log(self, rig: LogRig) -> Log:
        log: Log = self.run(rig.open())
        self.opened.append(log)
        return log

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(coroutine, 10)

        return self._runner.run(bounded())

    def index_of(self, store: Any) -> Index:
        log: Log = store
        return log.index

    def test_what_is_committed_is_on_the_nodes(self) -> None:
        rig = LogRig()
        log = self.run(rig.open())
        pair = row_key(b"a"), row_value(b"1")
        self.run(log.commit(batch(pair)))
        self.run(log.close())
        assert self.run(rig.rebuild()) == []
        assert rig.index.read([pair[0]]) == [pair[1]]

    def test_a_draft_beyond_the_bounds_is_refused_and_the_log_goes_on(self) -> None:
        """In the log it would stop this run and every later one: the index takes no such row."""
        rig = LogRig()
        log = self.opened_log(rig)
        with pytest.raises(ValueError, match="row key"):
            self.run(rig.put("k" * ROW_KEY_BYTES_MAX, b"1", body=b"xyz"))
        self.run(rig.put("k", b"2", body=b"xyz"))
        assert log.serving and log.status().waiting == 0

    def test_a_change_too_large_for_a_group_is_refused_and_the_log_goes_on(self) -> None:
        log = self.opened_log(LogRig())
        with pytest.raises(ChangeTooLarge):
            self.run(log.commit(batch((row_key(b"a"), row_value(bytes(CHANGE_BYTES_MAX))))))
        self.run(log.commit(batch((row_key(b"a"), row_value()))))
        assert log.serving

    def test_a_closed_log_commits_nothing(self) -> None:
        log = self.run(LogRig().open())
        self.run(log.close())
        with pytest.raises(StorageError):
            self.run(log.commit(batch((row_key(b"a"), row_value()))))
        assert log.read([row_key(b"a")]) == [None]
