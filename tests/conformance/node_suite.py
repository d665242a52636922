"""What every implementation of the Node port must do; one test or more per sentence of the port.

An implementation subclasses `NodeSuite` and gives `open_node`, an async context manager that yields
a fresh node. `capacity_bytes` bounds what the node stores. The clock of a node is real or stands at
0: dates used here are far ahead or in the past for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from storaged.base.errors import Kind, StorageError
from storaged.base.ids import LogId, ShardId, StripeFamily, StripeId
from storaged.base.limits import (
    ATTRIBUTES_BYTES_MAX,
    CONTENT_BYTES_MAX,
    LARGE_PAGE_BYTES,
    LARGE_SHARD_BYTES,
    SMALL_PAGE_BYTES,
)
from storaged.node import (
    DriveFull,
    Fence,
    FencedOut,
    Node,
    Promise,
    RangeOutside,
    ShardConflict,
    ShardMissing,
    ShardRetained,
    ShardTooLarge,
)

CAPACITY_BYTES = 64 * 1024 * 1024
FAR_MS = 1 << 45  # in the year 3084
LOG = LogId(b"L" * 16)
OTHER_LOG = LogId(b"M" * 16)
ONE, TWO = b"1" * 16, b"2" * 16
FIRST = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)


def shard(counter: int, index: int = 0, family: StripeFamily = StripeFamily.DATA) -> ShardId:
    return ShardId(StripeId(family, 7, counter), index)


def pattern(length: int, seed: int = 1) -> bytes:
    """Bytes in which a shifted, swapped or stale page shows."""
    unit = b"".join(((seed << 40) + n).to_bytes(8, "big") for n in range(-(-length // 8)))
    return unit[:length]


async def put(
    node: Node,
    target: ShardId,
    content: bytes = b"content",
    *,
    attributes: bytes = b"attributes",
    fence: Fence | None = None,
    retain_until_ms: int = 0,
) -> None:
    await node.put(target, attributes, content, fence=fence, retain_until_ms=retain_until_ms)


async def content_of(node: Node, target: ShardId) -> bytes:
    length = (await node.stat(target)).content_bytes
    return bytes((await node.get(target, offset=0, length=length)).content)


class NodeSuite:
    """Subclass it and give `open_node`.

    Attributes:
        reads_in_place: the node must serve short reads at once, not only be allowed to.
    """

    reads_in_place = False

    def open_node(
        self, *, capacity_bytes: int = CAPACITY_BYTES
    ) -> AbstractAsyncContextManager[Node]:
        raise NotImplementedError

    def run(
        self,
        story: Callable[[Node], Awaitable[None]],
        *,
        capacity_bytes: int = CAPACITY_BYTES,
    ) -> None:
        async def within() -> None:
            async with self.open_node(capacity_bytes=capacity_bytes) as node:
                await story(node)

        asyncio.run(within())

    # -- put and get

    @pytest.mark.parametrize(
        "length",
        [
            *(0, 1, 3703, 3704, 3705, SMALL_PAGE_BYTES - 1, SMALL_PAGE_BYTES, SMALL_PAGE_BYTES + 1),
            *(65_000, LARGE_PAGE_BYTES, LARGE_SHARD_BYTES - 1, LARGE_SHARD_BYTES),
            *(LARGE_SHARD_BYTES + LARGE_PAGE_BYTES + 1, 1 << 20, CONTENT_BYTES_MAX),
        ],
    )
    def test_what_was_put_is_got(self, length: int) -> None:
        async def story(node: Node) -> None:
            content, attributes = pattern(length), pattern(300, 2)
            await put(node, shard(1), content, attributes=attributes)
            got = await node.get(shard(1), offset=0, length=length)
            assert got.content == content
            assert (got.attributes, got.content_bytes) == (attributes, length)
            assert (await node.verify(shard(1))).content_bytes == length

        self.run(story)

    @pytest.mark.parametrize("length", [10_000, LARGE_SHARD_BYTES + 100_001])
    def test_any_range(self, length: int) -> None:
        async def story(node: Node) -> None:
            content = pattern(length)
            await put(node, shard(1), content)
            page = SMALL_PAGE_BYTES if length < LARGE_SHARD_BYTES else LARGE_PAGE_BYTES
            edges = sorted({0, 1, page - 1, page, page + 1, 2 * page, length - 1, length})
            for start in edges:
                for end in edges:
                    if start <= end:
                        got = await node.get(shard(1), offset=start, length=end - start)
                        assert got.content == content[start:end], (start, end)
                        assert got.content_bytes == length

        self.run(story)

    @pytest.mark.parametrize("length", [9_000, LARGE_SHARD_BYTES + 5])
    def test_reads_in_place_where_they_are_offered(self, length: int) -> None:
        async def story(node: Node) -> None:
            try_get = getattr(node, "try_get", None)
            if try_get is None:
                return  # an optional capability; who lacks it is read through `get`
            content, served = pattern(length), 0
            await put(node, shard(1), content)
            await put(node, shard(2), pattern(length, 2))
            await node.get(shard(1), offset=0, length=length)  # what was read before is at hand
            edges = (0, 1, SMALL_PAGE_BYTES - 1, SMALL_PAGE_BYTES, 8_999, length - 1, length)
            for start in edges:
                for end in (end for end in edges if end >= start):
                    got = try_get(shard(1), offset=start, length=end - start)
                    served += got is not None
                    assert got is None or got == content[start:end], (start, end)
                    got = try_get(shard(1), offset=start, length=end - start, checked=False)
                    assert got is None or got == content[start:end], (start, end)
            for offset, taken in ((-1, 1), (0, -1), (0, length + 1), (length, 1)):
                for checked in (True, False):
                    got = try_get(shard(1), offset=offset, length=taken, checked=checked)
                    assert got is None
            assert try_get(shard(3), offset=0, length=1) is None
            await node.delete([shard(1)])
            assert try_get(shard(1), offset=0, length=10) is None
            assert try_get(shard(1), offset=0, length=10, checked=False) is None
            await put(node, shard(1), pattern(length, 3))
            assert try_get(shard(1), offset=0, length=10) in (None, pattern(10, 3))
            assert served or not self.reads_in_place

        self.run(story)

    def test_length_zero_gives_attributes(self) -> None:
        async def story(node: Node) -> None:
            await put(node, shard(1), pattern(500_000), attributes=b"a" * ATTRIBUTES_BYTES_MAX)
            for offset in (0, 77, 500_000):
                got = await node.get(shard(1), offset=offset, length=0)
                assert (got.attributes, bytes(got.content)) == (b"a" * ATTRIBUTES_BYTES_MAX, b"")

        self.run(story)

    @pytest.mark.parametrize("span", [(0, 8), (7, 1), (-1, 1), (8, 0), (0, -1), (3, 5)])
    def test_range_outside(self, span: tuple[int, int]) -> None:
        async def story(node: Node) -> None:
            await put(node, shard(1), b"7 bytes")
            with pytest.raises(RangeOutside):
                await node.get(shard(1), offset=span[0], length=span[1])

        self.run(story)

    def test_missing(self) -> None:
        async def story(node: Node) -> None:
            await put(node, shard(1))
            for target in (shard(2), shard(1, 1), shard(1, family=StripeFamily.PACK)):
                with pytest.raises(ShardMissing):
                    await node.get(target, offset=0, length=0)
                with pytest.raises(ShardMissing):
                    await node.stat(target)
                with pytest.raises(ShardMissing):
                    await node.verify(target)

        self.run(story)

    def test_too_large(self) -> None:
        async def story(node: Node) -> None:
            with pytest.raises(ShardTooLarge):
                await put(node, shard(1), attributes=bytes(ATTRIBUTES_BYTES_MAX + 1))
            with pytest.raises(ShardTooLarge):
                await put(node, shard(1), bytes(CONTENT_BYTES_MAX + 1))
            with pytest.raises(ShardMissing):
                await node.stat(shard(1))

        self.run(story)

    def test_buffers_of_every_kind(self) -> None:
        async def story(node: Node) -> None:
            whole = bytearray(pattern(100_000))
            buffers = (bytes(whole), whole, memoryview(whole)[10:90_000], memoryview(bytes(whole)))
            for counter, buffer in enumerate(buffers):
                await node.put(shard(counter), b"", buffer, fence=None, retain_until_ms=0)
                assert await content_of(node, shard(counter)) == bytes(buffer)

        self.run(story)

    def test_content_is_not_kept_after_return(self) -> None:
        async def story(node: Node) -> None:
            buffer = bytearray(pattern(9000))
            await node.put(shard(1), b"", buffer, fence=None, retain_until_ms=0)
            buffer[:] = bytes(9000)
            assert await content_of(node, shard(1)) == pattern(9000)

        self.run(story)

    def test_put_is_idempotent(self) -> None:
        async def story(node: Node) -> None:
            content = pattern(20_000)
            await asyncio.gather(*(put(node, shard(1), content) for _ in range(8)))
            await put(node, shard(1), content)
            assert (await node.status()).shard_count == 1
            assert await content_of(node, shard(1)) == content

        self.run(story)

    def test_other_bytes_conflict(self) -> None:
        async def story(node: Node) -> None:
            await put(node, shard(1), b"first")
            for content, attributes in ((b"other", b"attributes"), (b"first", b"other")):
                with pytest.raises(ShardConflict):
                    await put(node, shard(1), content, attributes=attributes)
            with pytest.raises(ShardConflict):
                await put(node, shard(1), b"first and more")
            assert await content_of(node, shard(1)) == b"first"

        self.run(story)

    def test_of_two_at_once_one_wins_whole(self) -> None:
        async def story(node: Node) -> None:
            contents = [pattern(5000, seed) for seed in range(6)]
            outcomes = await asyncio.gather(
                *(put(node, shard(1), content) for content in contents), return_exceptions=True
            )
            assert sum(outcome is None for outcome in outcomes) == 1
            assert sum(isinstance(outcome, ShardConflict) for outcome in outcomes) == 5
            assert await content_of(node, shard(1)) == contents[outcomes.index(None)]

        self.run(story)

    def test_many_at_once(self) -> None:
        async def story(node: Node) -> None:
            count = 300
            await asyncio.gather(*(put(node, shard(n), pattern(n * 37, n)) for n in range(count)))
            got = await asyncio.gather(*(content_of(node, shard(n)) for n in range(count)))
            assert got == [pattern(n * 37, n) for n in range(count)]
            assert (await node.status()).shard_count == count

        self.run(story)

    def test_a_cancelled_put_is_whole_or_absent(self) -> None:
        async def story(node: Node) -> None:
            content = pattern(300_000)
            tasks = [asyncio.ensure_future(put(node, shard(n), content)) for n in range(6)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for n in range(6):
                try:
                    assert await content_of(node, shard(n)) == content
                except ShardMissing:
                    assert n % 2 == 0

        self.run(story)

    # -- stat and list

    def test_stat(self) -> None:
        async def story(node: Node) -> None:
            await put(node, shard(1), pattern(100), retain_until_ms=55)
            found = await node.stat(shard(1))
            assert (found.shard, found.attributes) == (shard(1), b"attributes")
            assert (found.content_bytes, found.retain_until_ms) == (100, 55)
            assert found.stored_bytes >= 100

        self.run(story)

    def test_list_pages_in_byte_order(self) -> None:
        async def story(node: Node) -> None:
            ids = [
                ShardId(StripeId(family, epoch, counter), index)
                for family in StripeFamily
                for epoch in (0, 255, 1 << 40)
                for counter in (0, 256, (1 << 64) - 1)
                for index in (0, 31)
            ]
            await asyncio.gather(*(put(node, target, str(target).encode()) for target in ids))
            expected = sorted(ids, key=ShardId.encode)
            for limit in (1, 7, len(ids), 1000):
                found: list[ShardId] = []
                at: ShardId | None = FIRST
                while at is not None:
                    page = await node.list(at, None, limit=limit)
                    assert len(page.shards) <= limit
                    found += [held.shard for held in page.shards]
                    at = page.next
                assert found == expected, limit

        self.run(story)

    def test_list_bounds_and_content(self) -> None:
        async def story(node: Node) -> None:
            for n in range(10):
                await put(node, shard(n), bytes(n), attributes=bytes([n]))
            page = await node.list(shard(3), shard(6), limit=100)
            assert [held.shard for held in page.shards] == [shard(3), shard(4), shard(5)]
            assert [held.attributes for held in page.shards] == [b"\3", b"\4", b"\5"]
            assert [held.content_bytes for held in page.shards] == [3, 4, 5]
            assert page.next is None
            assert (await node.list(shard(3), shard(6), limit=3)).next is None
            assert (await node.list(shard(3), shard(6), limit=2)).next == shard(5)
            assert (await node.list(shard(6), shard(3), limit=2)).shards == ()
            assert (await node.list(shard(5), shard(5), limit=2)).shards == ()
            assert (await node.list(shard(10), None, limit=2)).shards == ()
            assert [s.shard for s in (await node.list(shard(9), None, limit=2)).shards] == [
                shard(9)
            ]

        self.run(story)

    def test_list_limit(self) -> None:
        async def story(node: Node) -> None:
            for limit in (0, 1001):
                with pytest.raises(StorageError) as caught:
                    await node.list(FIRST, None, limit=limit)
                assert caught.value.kind == Kind.INVALID

        self.run(story)

    # -- delete

    def test_deleted_is_gone_and_repeats_are_harmless(self) -> None:
        async def story(node: Node) -> None:
            for n in range(5):
                await put(node, shard(n))
            gone = [shard(1), shard(3), shard(99), shard(1)]
            assert await node.delete(gone) == (None,) * 4
            assert await node.delete(gone) == (None,) * 4
            assert await node.delete([]) == ()
            left = await node.list(FIRST, None, limit=100)
            assert [held.shard for held in left.shards] == [shard(0), shard(2), shard(4)]
            with pytest.raises(ShardMissing):
                await node.get(shard(1), offset=0, length=1)
            assert (await node.status()).shard_count == 3

        self.run(story)

    def test_a_later_put_is_a_fresh_one(self) -> None:
        async def story(node: Node) -> None:
            for seed in range(4):
                await put(node, shard(1), pattern(5000, seed))
                assert await content_of(node, shard(1)) == pattern(5000, seed)
                assert await node.delete([shard(1)]) == (None,)

        self.run(story)

    def test_delete_of_a_full_batch(self) -> None:
        async def story(node: Node) -> None:
            ids = [shard(n) for n in range(1000)]
            await asyncio.gather(*(put(node, target) for target in ids))
            assert await node.delete(ids) == (None,) * 1000
            assert (await node.list(FIRST, None, limit=10)).shards == ()
            with pytest.raises(StorageError) as caught:
                await node.delete([*ids, shard(1000)])
            assert caught.value.kind == Kind.INVALID

        self.run(story)

    @pytest.mark.proves("LCK-04")
    def test_retained_shards_stay(self) -> None:
        async def story(node: Node) -> None:
            await put(node, shard(1), retain_until_ms=FAR_MS)
            await put(node, shard(2))
            outcomes = await node.delete([shard(1), shard(2)])
            assert isinstance(outcomes[0], ShardRetained)
            assert outcomes[1] is None
            assert await content_of(node, shard(1)) == b"content"
            with pytest.raises(ShardMissing):
                await node.stat(shard(2))

        self.run(story)

    # -- space

    def test_full_drive_takes_deletes_and_gives_space_back(self) -> None:
        async def story(node: Node) -> None:
            content = pattern(400_000)
            stored = 0
            with pytest.raises(DriveFull):
                for n in range(100):
                    await put(node, shard(n), content)
                    stored += 1
            assert stored >= 3
            assert await content_of(node, shard(0)) == content
            assert await node.delete([shard(n) for n in range(stored)]) == (None,) * stored
            for _ in range(200):
                try:
                    await put(node, shard(1000), content)
                    break
                except DriveFull:
                    await asyncio.sleep(0.05)
            assert await content_of(node, shard(1000)) == content

        self.run(story, capacity_bytes=2_000_000)

    def test_status(self) -> None:
        async def story(node: Node) -> None:
            before = await node.status()
            assert (before.in_service, before.writable, before.shard_count) == (True, True, 0)
            assert before.identity == node.identity
            await put(node, shard(1), pattern(100_000))
            after = await node.status()
            assert after.shard_count == 1
            assert after.stored_bytes - before.stored_bytes >= 100_000
            assert after.free_bytes <= before.free_bytes - 100_000
            assert after.capacity_bytes == CAPACITY_BYTES
            assert after.corrupt_shards == ()

        self.run(story)

    # -- fence

    def test_promises(self) -> None:
        async def story(node: Node) -> None:
            assert await node.fence(LOG, 0, b"") == Promise(epoch=0, granted=False)
            assert await node.fence(LOG, 5, ONE) == Promise(epoch=5, granted=True)
            assert await node.fence(LOG, 5, ONE) == Promise(epoch=5, granted=True)
            assert await node.fence(LOG, 5, TWO) == Promise(epoch=5, granted=False)
            assert await node.fence(LOG, 4, ONE) == Promise(epoch=5, granted=False)
            assert await node.fence(LOG, 0, ONE) == Promise(epoch=5, granted=False)
            assert await node.fence(OTHER_LOG, 1, TWO) == Promise(epoch=1, granted=True)
            assert await node.fence(LOG, 6, TWO) == Promise(epoch=6, granted=True)
            assert await node.fence(LOG, 5, ONE) == Promise(epoch=6, granted=False)

        self.run(story)

    def test_an_epoch_is_granted_once(self) -> None:
        async def story(node: Node) -> None:
            instances = [bytes([n]) * 16 for n in range(8)]
            promises = await asyncio.gather(*(node.fence(LOG, 3, one) for one in instances))
            assert sum(promise.granted for promise in promises) == 1
            assert {promise.epoch for promise in promises} == {3}

        self.run(story)

    def test_puts_below_the_promise_are_refused(self) -> None:
        async def story(node: Node) -> None:
            await put(node, shard(1), fence=Fence(log=LOG, epoch=4))
            await node.fence(LOG, 5, ONE)
            with pytest.raises(FencedOut):
                await put(node, shard(2), fence=Fence(log=LOG, epoch=4))
            with pytest.raises(ShardMissing):
                await node.stat(shard(2))
            await put(node, shard(3), fence=Fence(log=LOG, epoch=5))
            await put(node, shard(4), fence=Fence(log=LOG, epoch=6))
            await put(node, shard(5), fence=Fence(log=OTHER_LOG, epoch=1))
            await put(node, shard(6), fence=None)

        self.run(story)

    def test_a_put_not_answered_before_the_promise_stays_out(self) -> None:
        async def story(node: Node) -> None:
            for epoch in range(2, 30):
                old = Fence(log=LOG, epoch=epoch - 1)
                puts = [
                    asyncio.ensure_future(put(node, shard(epoch, n), fence=old)) for n in range(8)
                ]
                for _ in range(epoch % 4):
                    await asyncio.sleep(0)
                promise = await node.fence(LOG, epoch, ONE)
                assert promise.granted
                answered = {n for n in range(8) if puts[n].done() and not puts[n].exception()}
                held = {n for n in range(8) if await _holds(node, shard(epoch, n))}
                await asyncio.gather(*puts, return_exceptions=True)
                late = {n for n in range(8) if await _holds(node, shard(epoch, n))}
                assert answered <= held
                assert late == held

        self.run(story)

    @pytest.mark.parametrize(("epoch", "instance"), [(-1, ONE), (1 << 56, ONE), (1, b"short")])
    def test_nonsense_promises(self, epoch: int, instance: bytes) -> None:
        async def story(node: Node) -> None:
            with pytest.raises(StorageError) as caught:
                await node.fence(LOG, epoch, instance)
            assert caught.value.kind == Kind.INVALID

        self.run(story)

    # -- close

    def test_close_is_idempotent_and_final(self) -> None:
        async def story(node: Node) -> None:
            await put(node, shard(1))
            await node.close()
            await node.close()
            for call in (node.get(shard(1), offset=0, length=1), put(node, shard(2))):
                with pytest.raises(StorageError) as caught:
                    await call
                assert caught.value.kind == Kind.UNAVAILABLE

        self.run(story)


async def _holds(node: Node, target: ShardId) -> bool:
    try:
        await node.stat(target)
    except ShardMissing:
        return False
    return True
