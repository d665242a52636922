"""What a limited account holds is what the index counts, whenever its bucket is counted in."""

from __future__ import annotations

import asyncio

import pytest

from gateway.meta.memory import MemoryStore
from gateway.meta.usage import Moves, moved_usage
from gateway.model.errors import QuotaExceeded
from gateway.model.quota import Quota, Subject
from gateway.objects.quotas import Quotas
from tests.support.gateway import memory_gateway
from tests.support.rotations import bucket_of


class Index:
    """The entry of one bucket."""

    def __init__(self) -> None:
        self.entry: bytes | None = None

    def move(self, count: int) -> tuple[Moves, bytes | None]:
        """As a transaction tells it."""
        moves: Moves = {0: [count, 100 * count]}
        self.entry = moved_usage(self.entry, moves)
        return moves, self.entry

    def usage_entry(self, bucket: bytes) -> bytes | None:
        return self.entry

    def usage_entries(self) -> dict[bytes, bytes]:
        return {} if self.entry is None else {b"": self.entry}


def test_a_bucket_that_is_counted_in_while_a_commit_is_told_is_counted_once() -> None:
    """The commit is seen in the index before the listener hears of it."""

    async def scenario() -> None:
        async with memory_gateway() as gateway:
            bucket = bucket_of(gateway)
            quotas, index = Quotas(), Index()
            quotas.usage = index
            limits = {(Subject.BUCKET, bytes(bucket.bucket_id)): Quota(objects=2)}
            quotas.load(limits, MemoryStore(), gateway.services.records)
            for count, is_full in ((1, False), (1, True), (-1, False), (-1, False)):
                told = index.move(count)
                if count == 1:
                    quotas.load(limits, MemoryStore(), gateway.services.records)
                if is_full:
                    with pytest.raises(QuotaExceeded):
                        quotas.room(bucket, 100, 1)
                else:
                    with quotas.room(bucket, 100, 1 if count == 1 else 0):
                        pass
                quotas.follow({bucket.bucket_id: told})
            with quotas.room(bucket, 200, 2), pytest.raises(QuotaExceeded):
                quotas.room(bucket, 100, 1)

    asyncio.run(scenario())
