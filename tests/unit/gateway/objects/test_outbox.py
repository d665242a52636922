"""What a change leaves to be done: with the change or not at all, over restarts, within bounds."""

from __future__ import annotations

import asyncio

import pytest

from gateway.jobs.events import EventSender
from gateway.meta import keyspace
from gateway.model.errors import PreconditionFailed
from gateway.objects.notifications import put_notifications
from gateway.objects.outbox import EVENTS_MAX
from gateway.objects.values import PutOptions, WriteConditions
from tests.support.gateway import BUCKET, Gateway, memory_gateway

ARN = "arn:aws:sns:fr:0:hook"
DOCUMENT = {"rules": [{"id": "r", "kind": "x", "arn": ARN, "events": ["s3:ObjectCreated:*"]}]}


async def watch(gateway: Gateway) -> None:
    gateway.services.event_targets = {"hook": frozenset()}
    await put_notifications(gateway.ctx(), BUCKET, DOCUMENT, skips_validation=True)


class Taker:
    """Takes every message."""

    def __init__(self) -> None:
        self.count = 0

    async def send(self, message: bytes) -> None:
        self.count += 1

    async def close(self) -> None:
        """Nothing to do."""


def test_nothing_is_left_where_nobody_asks() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await gateway.put("k", b"x")
            assert not gateway.rows_of(keyspace.EVENT)

    asyncio.run(scenario())


def test_what_did_not_happen_is_not_told() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await watch(gateway)
            await gateway.put("k", b"x")
            once = PutOptions(conditions=WriteConditions(if_none_match="*"))
            with pytest.raises(PreconditionFailed):
                await gateway.put("k", b"y", once)
            assert len(gateway.rows_of(keyspace.EVENT)) == 1

    asyncio.run(scenario())


def test_what_happened_is_told_after_a_restart() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await watch(gateway)
            await gateway.put("k", b"x")
            cluster, index = gateway.cluster, gateway.index
        async with memory_gateway(cluster=cluster, index=index, with_bucket=False) as again:
            taker = Taker()
            sender = EventSender(again.services, {"hook": taker})
            await sender.step()
            assert taker.count == 1
            assert not again.rows_of(keyspace.EVENT)
            await sender.step()
            assert taker.count == 1

    asyncio.run(scenario())


def test_the_queue_is_bounded() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await watch(gateway)
            gateway.services.events_waiting.count = EVENTS_MAX
            await gateway.put("k", b"x")
            assert not gateway.rows_of(keyspace.EVENT)
            assert gateway.services.events_waiting.dropped == 1

    asyncio.run(scenario())


def test_the_bound_counts_what_an_earlier_process_has_left() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await watch(gateway)
            for number in range(3):
                await gateway.put(f"k{number}", b"x")
            cluster, index = gateway.cluster, gateway.index
        async with memory_gateway(cluster=cluster, index=index, with_bucket=False) as again:
            again.services.event_targets = {"hook": frozenset()}
            sender = EventSender(again.services, {"hook": Taker()})
            waiting = again.services.events_waiting
            assert sender.progress().waiting == 3
            waiting.count += EVENTS_MAX - 3
            await again.put("k", b"x")
            assert waiting.dropped == 1
            await sender.step()
            assert waiting.count == 0

    asyncio.run(scenario())


def test_a_destination_of_other_accounts_is_told_nothing() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await watch(gateway)
            gateway.services.event_targets = {"hook": frozenset({"somebody else"})}
            await gateway.put("k", b"x")
            assert not gateway.rows_of(keyspace.EVENT)

    asyncio.run(scenario())


def test_an_unknown_destination_does_not_stop_the_queue() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await watch(gateway)
            await gateway.put("k", b"x")
            await EventSender(gateway.services, {}).step()
            assert not gateway.rows_of(keyspace.EVENT)

    asyncio.run(scenario())
