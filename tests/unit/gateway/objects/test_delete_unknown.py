"""Nothing comes back behind a DELETE: also not a PUT whose caller was told that nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.commit.change import LogUnavailable
from gateway.objects.delete import delete_object, delete_objects
from gateway.objects.values import DeleteKey
from tests.support.gateway import BUCKET, Gateway, memory_gateway
from tests.support.object_rig import keys

Delete = Callable[[Gateway], Awaitable[None]]


async def alone(gateway: Gateway) -> None:
    await delete_object(gateway.ctx(), BUCKET, "k")


async def of_a_version(gateway: Gateway) -> None:
    await delete_object(gateway.ctx(), BUCKET, "k", version_id="null")


async def together(gateway: Gateway) -> None:
    (outcome,) = await delete_objects(gateway.ctx(), BUCKET, [DeleteKey(key="k")])
    if outcome.error is not None:
        raise outcome.error


each_way = pytest.mark.parametrize("delete", [alone, of_a_version, together])


def over_a_gateway(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await test(gateway)

    asyncio.run(asyncio.wait_for(main(), 60))


@each_way
def test_where_the_log_has_stopped_nothing_is_said_to_be_deleted(delete: Delete) -> None:
    """The next run may find that what was put last is in the log."""

    async def test(gateway: Gateway) -> None:
        gateway.log._die(LogUnavailable(reason="the index has failed"))
        with pytest.raises(LogUnavailable):
            await delete(gateway)

    over_a_gateway(test)


@each_way
def test_a_put_that_nobody_waits_for_comes_before_the_delete(
    delete: Delete, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        pipeline = gateway.log._pipeline
        push, may_go = pipeline.push, asyncio.Event()

        async def slow(*args: Any) -> None:
            await may_go.wait()
            await push(*args)

        monkeypatch.setattr(pipeline, "push", slow)
        putting = asyncio.ensure_future(gateway.put("k", b"late"))
        while not gateway.log._callers._pending:
            await asyncio.sleep(0)
        for waiter in gateway.log._callers._pending.values():
            waiter.future.cancel()  # as when its client has gone, or its deadline has passed
        with pytest.raises(asyncio.CancelledError):
            await putting
        deleting = asyncio.ensure_future(delete(gateway))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not deleting.done()
        may_go.set()
        await deleting
        assert await keys(gateway) == []
        assert not gateway.log.has_unknown

    over_a_gateway(test)


def test_a_delete_of_nothing_commits_nothing() -> None:
    async def test(gateway: Gateway) -> None:
        before = gateway.log.position
        await alone(gateway)
        await together(gateway)
        assert gateway.log.position == before

    over_a_gateway(test)
