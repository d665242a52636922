"""RenameObject under races, compaction and crashes: one name or the other, never both."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.commit.change import Change
from gateway.commit.compact import Compacter
from gateway.meta.keyspace import current_row
from gateway.meta.kv import OutcomeUnknown
from gateway.meta.memory import MemoryStore
from gateway.model.errors import (
    ConditionalRequestConflict,
    InvalidRequest,
    NoSuchKey,
)
from gateway.model.layout import Packed
from gateway.model.names import ObjectKey
from gateway.objects.delete import delete_object
from gateway.objects.rename import rename_object
from gateway.objects.values import (
    RenameOptions,
)
from tests.support.cluster import memory_cluster
from tests.support.gateway import BUCKET, Gateway, memory_gateway
from tests.support.log_rig import MemoryHistory, keys_of
from tests.support.object_rig import keys, layout_of, run
from tests.support.rotations import bucket_of

PLAIN = RenameOptions()
SMALL, LARGE = b"small", bytes(range(256)) * 1200


async def rename(gateway: Gateway, source: str, key: str, options: RenameOptions = PLAIN) -> None:
    await rename_object(gateway.ctx(), BUCKET, source, key, options)


def test_a_renamed_small_body_is_still_compacted() -> None:
    """Compaction finds a row by what the stripe of its body says: the body goes along with it."""

    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await asyncio.gather(*(gateway.put(f"k{at}", b"x" * 900) for at in range(60)))
        for at in range(59):
            await delete_object(gateway.ctx(), BUCKET, f"k{at}")
        await rename(gateway, "k59", "elsewhere")
        before = layout_of(gateway, "elsewhere")
        assert isinstance(before, Packed)
        compacter = Compacter(
            log=gateway.log,
            store=services.stripes,
            keys=keys_of(b"root"),
            records=services.records,
            nonces=services.nonces,
            env=services.env,
            floor_sequence=lambda: 1 << 40,
        )
        await gateway.put("another", b"y" * 900)
        while not await compacter.step():
            pass
        after = layout_of(gateway, "elsewhere")
        assert isinstance(after, Packed) and after.stripe != before.stripe
        assert await gateway.get("elsewhere") == b"x" * 900
        assert gateway.live_bytes() == gateway.named_bytes()

    run(test)


def test_a_body_that_moves_while_it_is_fetched() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("old", SMALL)
        read = gateway.services.stripes.read
        turns = 0

        async def slow(*given: object, **more: object) -> object:
            nonlocal turns
            turns += 1
            if turns == 1:
                await gateway.put("old", b"meanwhile")
            return await read(*given, **more)  # type: ignore[arg-type]

        gateway.services.stripes.read = slow  # type: ignore[method-assign,assignment]
        await rename(gateway, "old", "new")
        assert turns == 2
        assert await gateway.get("new") == b"meanwhile"
        assert await keys(gateway) == ["new"]
        assert gateway.live_bytes() == gateway.named_bytes()

    run(test)


def test_a_source_that_always_changes_ends_in_a_conflict() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("old", SMALL)
        read = gateway.services.stripes.read

        async def busy(*given: object, **more: object) -> object:
            await gateway.put("old", SMALL)
            return await read(*given, **more)  # type: ignore[arg-type]

        gateway.services.stripes.read = busy  # type: ignore[method-assign,assignment]
        with pytest.raises(ConditionalRequestConflict):
            await rename(gateway, "old", "new")
        assert await keys(gateway) == ["old"]
        assert len(gateway.services.reads) == 0

    run(test)


def test_renames_that_race_for_one_source_or_one_key() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("old", SMALL)
        found = await asyncio.gather(
            *(rename(gateway, "old", f"new-{at}") for at in range(8)), return_exceptions=True
        )
        assert [isinstance(one, NoSuchKey) for one in found].count(True) == 7
        assert len(await keys(gateway)) == 1
        await asyncio.gather(*(gateway.put(f"s{at}", b"%d" % at) for at in range(8)))
        await asyncio.gather(*(rename(gateway, f"s{at}", "one") for at in range(8)))
        assert await gateway.get("one") in {b"%d" % at for at in range(8)}
        assert len(await keys(gateway)) == 2
        assert gateway.live_bytes() == gateway.named_bytes()

    run(test)


def test_exchanges_and_writers_race_without_a_trace() -> None:
    async def test(gateway: Gateway) -> None:
        names = ["a", "b", "c"]
        for turn in range(12):
            for name in names:
                await gateway.put(name, name.encode() * (1 if turn % 2 else 100_000))

            async def try_rename(source: str, key: str) -> None:
                with suppress(NoSuchKey):
                    await rename(gateway, source, key)

            await asyncio.gather(
                try_rename("a", "b"),
                try_rename("b", "a"),
                gateway.put("a", b"put"),
                try_rename("c", "b"),
                delete_object(gateway.ctx(), BUCKET, "b"),
                try_rename("b", "c"),
            )
            for name in await keys(gateway):
                await gateway.get(name)
            assert gateway.live_bytes() == gateway.named_bytes()
            assert not gateway.services.queues.is_contended(b"")

    run(test)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["packed", "striped"])
@pytest.mark.parametrize("crash", ["before", "after"])
def test_a_crash_leaves_one_name_or_the_other(content: bytes, crash: str) -> None:
    """The gateway dies with the commit under way; what the nodes have decides."""

    async def main() -> None:
        cluster, history = memory_cluster(), MemoryHistory()
        async with memory_gateway(cluster=cluster, history=history) as gateway:
            await gateway.put("old", content)
            await gateway.put("new", b"is replaced")
            commit = gateway.log.commit_change

            async def die(change: Change) -> object:
                if crash == "after":
                    await commit(change)
                raise OutcomeUnknown()

            gateway.log.commit_change = die  # type: ignore[assignment,method-assign]
            once = RenameOptions(client_token="t")
            with pytest.raises(OutcomeUnknown):
                await rename(gateway, "old", "new", once)
        # The index is lost as well: the rows come from the nodes.
        index = MemoryStore(bytes(32))
        async with memory_gateway(
            cluster=cluster, history=history, index=index, with_bucket=False
        ) as again:
            if crash == "before":
                assert await keys(again) == ["new", "old"]
                assert await again.get("new") == b"is replaced"
            else:
                assert await keys(again) == ["new"]
            await rename(again, "old", "new", once)
            assert await keys(again) == ["new"]
            assert await again.get("new") == content
            assert again.live_bytes() == again.named_bytes()

    asyncio.run(main())


def test_a_rename_onto_itself_does_not_wait_behind_itself() -> None:
    """While others queue up for the row it would hold the queue for ever."""

    async def test(gateway: Gateway) -> None:
        await gateway.put("k", SMALL)
        row_key = current_row(bucket_of(gateway).bucket_id, ObjectKey(b"k"))
        async with gateway.services.queues.turn(row_key):
            renaming = asyncio.create_task(rename(gateway, "k", "k"))
            for _ in range(8):
                await asyncio.sleep(0)
        with pytest.raises(InvalidRequest):
            await asyncio.wait_for(renaming, 2)
        assert not gateway.services.queues.is_contended(row_key)
        assert await gateway.get("k") == SMALL

    run(test)
