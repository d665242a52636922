"""Bytes at the end of an object under races, crashes and compaction: all of them or none."""

from __future__ import annotations

import asyncio

import pytest

from gateway.commit.change import Change
from gateway.commit.compact import Compacter
from gateway.meta.kv import OutcomeUnknown
from gateway.meta.memory import MemoryStore
from gateway.model.errors import (
    ConditionalRequestConflict,
    InvalidWriteOffset,
)
from gateway.objects.append import append_object
from gateway.objects.delete import delete_object
from gateway.objects.rename import rename_object
from gateway.objects.values import (
    ObjectHead,
    PutOptions,
    RenameOptions,
)
from tests.support.annotations import annotate, names_of
from tests.support.cluster import memory_cluster
from tests.support.gateway import (
    BUCKET,
    BytesBody,
    Gateway,
    content_of,
    memory_gateway,
)
from tests.support.log_rig import MemoryHistory, keys_of
from tests.support.object_rig import add, is_whole, keys, run

SMALL, LARGE = b"small", bytes(range(256)) * 1200
PLAIN = PutOptions()


@pytest.mark.parametrize("base", [None, b"", SMALL, LARGE], ids=["absent", "empty", "5", "large"])
@pytest.mark.parametrize("added", [b"+", LARGE], ids=["small", "large"])
def test_of_many_at_one_offset_one_wins(base: bytes | None, added: bytes) -> None:
    async def test(gateway: Gateway) -> None:
        if base is not None:
            await gateway.put("key", base)
        before = base or b""
        pieces = [bytes([48 + at]) + added for at in range(6)]
        found = await asyncio.gather(
            *(add(gateway, len(before), piece) for piece in pieces), return_exceptions=True
        )
        won = [
            piece for piece, one in zip(pieces, found, strict=True) if isinstance(one, ObjectHead)
        ]
        lost = [one for one in found if not isinstance(one, ObjectHead)]
        assert len(won) == 1
        assert {type(one) for one in lost} <= {InvalidWriteOffset, ConditionalRequestConflict}
        await is_whole(gateway, before + won[0])

    run(test)


@pytest.mark.parametrize("base", [SMALL, LARGE], ids=["packed", "striped"])
@pytest.mark.parametrize("other", [SMALL, LARGE], ids=["a small put", "a large put"])
@pytest.mark.parametrize("turn", [1, -1], ids=["put first", "piece first"])
def test_a_put_and_a_piece_at_once(base: bytes, other: bytes, turn: int) -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", base)
        calls = [gateway.put("key", other), add(gateway, len(base), b"+")]
        await asyncio.gather(*calls[::turn], return_exceptions=True)
        assert await gateway.get("key") in (other, other + b"+")
        assert gateway.live_bytes() == gateway.named_bytes()

    run(test)


def test_writers_of_one_key_race_without_a_trace() -> None:
    async def test(gateway: Gateway) -> None:
        for turn in range(12):
            base = LARGE if turn % 2 else SMALL
            await gateway.put("key", base)
            await asyncio.gather(
                gateway.put("key", base[::-1]),
                add(gateway, len(base), b"+"),
                rename_object(gateway.ctx(), BUCKET, "key", f"else-{turn}", RenameOptions()),
                add(gateway, len(base), LARGE),
                delete_object(gateway.ctx(), BUCKET, "key"),
                return_exceptions=True,
            )
            for key in await keys(gateway):
                found = await gateway.get(key)
                ends = (b"", b"+", LARGE)
                assert found in [whole + end for whole in (base, base[::-1]) for end in ends] or (
                    key != f"else-{turn}"
                )
            assert gateway.live_bytes() == gateway.named_bytes()
            assert gateway.log.reservations.open_count == 0

    run(test)


def test_what_happens_while_the_body_comes() -> None:
    """Another object of the same length takes the place, or the object changes its tags or name."""

    async def test(gateway: Gateway) -> None:
        async def meanwhile(gateway: Gateway, what: str) -> None:
            if what == "put":
                await gateway.put("key", SMALL)
            elif what == "delete":
                await delete_object(gateway.ctx(), BUCKET, "key")
            elif what == "rename":
                await rename_object(gateway.ctx(), BUCKET, "key", "else", RenameOptions())
            elif what == "append":
                await add(gateway, len(SMALL), b"x")
            else:
                await annotate(gateway, "note", key="key")

        class Slow(BytesBody):
            def __init__(self, what: str) -> None:
                super().__init__(LARGE)
                self.what = what

            async def read(self) -> bytes | bytearray | memoryview:
                what, self.what = self.what, ""
                if what:
                    await meanwhile(gateway, what)
                return await super().read()

        for what, error in (
            ("put", ConditionalRequestConflict),
            ("delete", ConditionalRequestConflict),
            ("rename", ConditionalRequestConflict),
            ("append", InvalidWriteOffset),
        ):
            await gateway.put("key", SMALL)
            with pytest.raises(error):
                await append_object(gateway.ctx(), BUCKET, "key", Slow(what), PLAIN, len(SMALL))
            assert gateway.live_bytes() == gateway.named_bytes()
            assert gateway.log.reservations.open_count == 0
        await gateway.put("key", SMALL)
        await append_object(gateway.ctx(), BUCKET, "key", Slow("note"), PLAIN, len(SMALL))
        await is_whole(gateway, SMALL + LARGE)
        assert await names_of(gateway, key="key") == ["note"]

    run(test)


def test_a_read_that_has_begun_is_of_what_was_there() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", LARGE)
        reading = await gateway.open("key")
        await add(gateway, len(LARGE), SMALL)
        assert await content_of(reading) == LARGE
        await is_whole(gateway, LARGE + SMALL)

    run(test)


def test_an_appended_object_is_renamed_and_appended_to() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", SMALL)
        await add(gateway, 5, LARGE)
        await rename_object(gateway.ctx(), BUCKET, "key", "other", RenameOptions(client_token="t"))
        await add(gateway, 5 + len(LARGE), b"end", key="other")
        await is_whole(gateway, SMALL + LARGE + b"end", "other")
        assert await keys(gateway) == ["other"]

    run(test)


@pytest.mark.parametrize("base", [SMALL, LARGE], ids=["packed", "striped"])
@pytest.mark.parametrize("added", [b"+", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("crash", ["before", "after"])
def test_a_crash_leaves_the_object_old_or_new(base: bytes, added: bytes, crash: str) -> None:
    """The gateway dies with the commit under way, the index with it; the nodes know."""

    async def main() -> None:
        cluster, history = memory_cluster(), MemoryHistory()
        async with memory_gateway(cluster=cluster, history=history) as gateway:
            await gateway.put("key", base)
            commit = gateway.log.commit_change

            async def die(change: Change) -> object:
                if crash == "after":
                    await commit(change)
                raise OutcomeUnknown()

            gateway.log.commit_change = die  # type: ignore[assignment,method-assign]
            with pytest.raises(OutcomeUnknown):
                await add(gateway, len(base), added)
        index = MemoryStore(bytes(32))
        async with memory_gateway(
            cluster=cluster, history=history, index=index, with_bucket=False
        ) as again:
            whole = base if crash == "before" else base + added
            await is_whole(again, whole)
            await add(again, len(whole), b"end")
            await is_whole(again, whole + b"end")

    asyncio.run(main())


def test_small_parts_are_compacted_and_what_they_left_is_freed() -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await asyncio.gather(*(gateway.put(f"k{at}", b"x" * 900) for at in range(40)))
        for at in range(3):
            await add(gateway, 900 + at, b"+", key="k0")
        await rename_object(gateway.ctx(), BUCKET, "k0", "key", RenameOptions())
        for at in range(1, 40):
            await delete_object(gateway.ctx(), BUCKET, f"k{at}")
        before = gateway.live_bytes()
        compacter = Compacter(
            log=gateway.log,
            store=services.stripes,
            keys=keys_of(b"root"),
            records=services.records,
            nonces=services.nonces,
            env=services.env,
            floor_sequence=lambda: 1 << 40,
        )
        while not await compacter.step():
            pass
        assert (len(before), len(gateway.live_bytes())) == (3, 1), "the parts have moved together"
        await is_whole(gateway, b"x" * 900 + b"+++")

    run(test)
