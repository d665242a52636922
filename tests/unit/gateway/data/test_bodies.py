"""Bodies in and out: any lengths, any chunks, any ranges, digests, damage."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from random import Random

import pytest

from gateway.data.buffers import BufferPool
from gateway.data.cipher import FrameCorrupt, PartKeys
from gateway.data.digests import OUTSTANDING_BYTES_MAX
from gateway.data.geometry import sealed_bytes
from gateway.data.reader import iterate_body
from gateway.data.stripes import StripeGone, StripeUnreadable
from gateway.limits import FRAME_BYTES, FULL_CELL_BYTES, SMALL_BODY_BYTES_MAX
from gateway.model.encoding import enc
from gateway.model.errors import IncompleteBody
from gateway.model.layout import Geometry, Packed, StripeRow, Tier
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeId
from storaged.node import Buffer
from tests.support.bodies import (
    KEYS,
    LARGE,
    STRIPE_PLAIN,
    ChunkedBody,
    Digest,
    cut,
    get,
    put,
    store_body,
)
from tests.support.cluster import memory_cluster, run_virtual

SIZES = [
    SMALL_BODY_BYTES_MAX + 1,
    10 * FRAME_BYTES,
    STRIPE_PLAIN - 1,
    STRIPE_PLAIN,
    STRIPE_PLAIN + 1,
    2 * STRIPE_PLAIN,
    len(LARGE),
]


@pytest.mark.parametrize("length", SIZES)
def test_any_length_comes_back_whole_and_in_ranges(length: int) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        plain = LARGE[:length]
        stored = await put(cluster, plain)
        assert stored.layout is not None and stored.sealed is None
        assert stored.layout.sealed_bytes == sealed_bytes(length)
        assert stored.layout.stripe_bytes == 4 * FULL_CELL_BYTES
        assert stored.layout.stripe_count == len(stored.stripe_rows)
        assert sum(row.live_bytes for row in stored.stripe_rows) == sealed_bytes(length)
        assert stored.tier is Tier.FULL and stored.commitment == KEYS.commitment
        assert await get(cluster, stored, 0, length) == plain
        rng = Random(length)
        spots = [0, 1, FRAME_BYTES - 1, FRAME_BYTES, STRIPE_PLAIN - 1, STRIPE_PLAIN, length - 1]
        for offset in [spot for spot in spots if spot < length]:
            taken = min(length - offset, rng.choice([0, 1, 4096, FRAME_BYTES + 1, 3_000_000]))
            assert await get(cluster, stored, offset, taken) == plain[offset : offset + taken]
        assert cluster.pool.leased_count == 0 and cluster.damage == []

    run_virtual(main())


@pytest.mark.parametrize("seed", range(6))
def test_any_chunks_give_the_same_stripes(seed: int) -> None:
    async def main() -> list[bytes]:
        cluster = memory_cluster()
        plain = LARGE[: STRIPE_PLAIN + 5 * FRAME_BYTES + 9]
        bytes_max = [100_000, 70_000, 1_000_000, 5_000_000, FRAME_BYTES, 200_000][seed]
        stored = await store_body(
            cluster, ChunkedBody(cut(plain, Random(seed), bytes_max)), len(plain)
        )
        return [
            bytes(await cluster.store.read(row, 0, row.payload_bytes)) for row in stored.stripe_rows
        ]

    whole = run_virtual(main())
    assert whole == run_virtual(main())


@pytest.mark.parametrize("length", [0, 1, 4096, FRAME_BYTES, SMALL_BODY_BYTES_MAX])
def test_small_bodies_are_sealed_whole_and_read_from_where_they_are_packed(length: int) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        digest = Digest()
        body = ChunkedBody(cut(LARGE[:length], Random(2), 50_000))
        stored = await store_body(cluster, body, length, digest)
        assert stored.layout is None and stored.stripe_rows == () and stored.sealed is not None
        assert digest.finished
        assert digest.md5.digest() == hashlib.md5(LARGE[:length]).digest()
        row = await cluster.write(b"x" * 1000 + bytes(stored.sealed) + b"y" * 77)
        layout = Packed(stripe=row.stripe, offset=1000, sealed_bytes=len(stored.sealed))

        async def read(offset: int, taken: int) -> bytes:
            parts = iterate_body(
                cluster.store, {row.stripe: row}.get, layout, KEYS, length, offset, taken
            )
            return b"".join([bytes(part) async for part in parts])

        assert await read(0, length) == LARGE[:length]
        assert await read(length // 2, length // 3) == LARGE[length // 2 :][: length // 3]
        await cluster.nodes[row.nodes[1]].node.close()
        assert await read(0, length) == LARGE[:length]

    run_virtual(main())


@pytest.mark.parametrize("length", [1000, SMALL_BODY_BYTES_MAX + 10, STRIPE_PLAIN + 10])
@pytest.mark.parametrize("delta", [-1, 1])
def test_a_body_of_another_length_is_refused(length: int, delta: int) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        body = ChunkedBody(cut(LARGE[: length + delta], Random(3), 900_000))
        with pytest.raises(IncompleteBody):
            await store_body(cluster, body, length)
        await asyncio.sleep(0.01)
        assert cluster.pool.leased_count == 0 and len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_an_error_at_the_end_of_the_body_stores_nothing_named() -> None:
    class BadSignature(StorageError):
        """The last chunk's signature does not match."""

    async def main() -> None:
        cluster = memory_cluster()
        for length in (1000, len(LARGE)):
            body = ChunkedBody([LARGE[:length]], BadSignature())
            with pytest.raises(BadSignature):
                await store_body(cluster, body, length)
        await asyncio.sleep(0.01)
        assert cluster.pool.leased_count == 0

    run_virtual(main())


def test_digests_see_all_content_in_order() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        digest = Digest()
        body = ChunkedBody(cut(LARGE, Random(4), 200_000))
        await store_body(cluster, body, len(LARGE), digest)
        assert digest.finished and digest.md5.digest() == hashlib.md5(LARGE).digest()
        assert cluster.env.offload_count > 1

    run_virtual(main())


def test_a_slow_digest_holds_the_body_back() -> None:
    class Slow(Digest):
        bytes_seen = 0

    async def main() -> None:
        cluster = memory_cluster()
        gate = asyncio.Event()

        async def offload(function: object) -> object:
            await gate.wait()
            return function()  # type: ignore[operator]

        cluster.env.offload = offload  # type: ignore[method-assign,assignment]
        chunk = 256 * 1024
        body = ChunkedBody([LARGE[i : i + chunk] for i in range(0, len(LARGE), chunk)])
        writing = asyncio.create_task(store_body(cluster, body, len(LARGE), Slow()))
        await asyncio.sleep(1.0)
        assert body.given * chunk <= OUTSTANDING_BYTES_MAX + chunk
        gate.set()
        await writing

    run_virtual(main())


def test_a_failing_digest_is_not_swallowed() -> None:
    class Broken(Digest):
        def update_batch(self, buffers: Sequence[Buffer]) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        cluster = memory_cluster()
        for length in (5 * SMALL_BODY_BYTES_MAX, len(LARGE)):
            body = ChunkedBody(cut(LARGE[:length], Random(1), 100_000))
            with pytest.raises(ZeroDivisionError):
                await store_body(cluster, body, length, Broken())

    run_virtual(main())


@pytest.mark.parametrize("switch", ["corrupt_gets", "truncate_gets", "swap_gets", "deny_shards"])
@pytest.mark.parametrize("count", [1, 2])
def test_evil_nodes_never_give_wrong_plaintext(switch: str, count: int) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        plain = LARGE[: STRIPE_PLAIN + 5 * FRAME_BYTES]
        stored = await put(cluster, plain)
        await put(cluster, memoryview(bytes(plain)[::-1]))
        for number in stored.stripe_rows[0].nodes[:count]:
            setattr(cluster.nodes[number], switch, True)
        assert await get(cluster, stored, 0, len(plain)) == plain
        assert await get(cluster, stored, 70_000, 10) == plain[70_000:70_010]
        assert cluster.damage

    run_virtual(main())


def test_too_much_rot_ends_in_an_error_after_only_right_bytes() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        stored = await put(cluster, LARGE)
        for number in stored.stripe_rows[1].nodes[:3]:
            cluster.nodes[number].corrupt_gets = True
        rows: dict[StripeId, StripeRow] = {row.stripe: row for row in stored.stripe_rows}
        rows[stored.stripe_rows[0].stripe] = stored.stripe_rows[0]
        got = bytearray()
        assert stored.layout is not None
        with pytest.raises((FrameCorrupt, StripeUnreadable)):
            async for part in iterate_body(
                cluster.store, rows.get, stored.layout, KEYS, len(LARGE), 0, len(LARGE)
            ):
                got += part
        assert got == LARGE[: len(got)]

    run_virtual(main())


@pytest.mark.parametrize("lost", ["paris", "lyon", "marseille"])
def test_a_lost_datacenter_while_reading(lost: str) -> None:
    async def main() -> None:
        cluster = memory_cluster(3, 3, 3, geometry=Geometry(5, 4))
        cluster.pool = BufferPool(4, 10 * 1024 * 1024)
        stored = await put(cluster, LARGE)
        for node in cluster.in_datacenter(lost):
            node.down = True
        assert await get(cluster, stored, 0, len(LARGE)) == LARGE

    run_virtual(main())


def test_wrong_key_is_refused_even_without_the_commitment() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        stored = await put(cluster, LARGE[:1_000_000])
        assert stored.layout is not None
        other = PartKeys.derive(b"e" * 32, b"s" * 24, enc("body", b"test"))
        rows = {row.stripe: row for row in stored.stripe_rows}
        with pytest.raises(FrameCorrupt):
            async for _ in iterate_body(
                cluster.store, rows.get, stored.layout, other, 1_000_000, 0, 10
            ):
                pytest.fail("bytes came out")

    run_virtual(main())


def test_a_row_that_lies_about_the_length_is_refused() -> None:
    """CRY-05: a shorter length with a fitting layout meets a frame not marked as the last."""

    async def main() -> None:
        cluster = memory_cluster()
        plain = LARGE[: 10 * FRAME_BYTES]
        stored = await put(cluster, plain)
        layout, rows = stored.layout, {row.stripe: row for row in stored.stripe_rows}
        assert layout is not None
        shorter = 9 * FRAME_BYTES
        lying = type(layout)(
            first=layout.first,
            stripe_count=1,
            stripe_bytes=layout.stripe_bytes,
            sealed_bytes=sealed_bytes(shorter),
        )
        got = 0
        with pytest.raises(FrameCorrupt):
            async for part in iterate_body(
                cluster.store, rows.get, lying, KEYS, shorter, 0, shorter
            ):
                got += len(part)
        assert got < shorter
        with pytest.raises(FrameCorrupt):
            async for _ in iterate_body(cluster.store, rows.get, layout, KEYS, shorter, 0, 1):
                pytest.fail("length and layout contradict each other")

    run_virtual(main())


def test_rows_that_are_gone_or_have_moved() -> None:
    async def main() -> None:
        cluster = memory_cluster(3, 3, 3)
        stored = await put(cluster, LARGE[:1_000_000])
        row = stored.stripe_rows[0]
        assert stored.layout is not None
        placed = await cluster.store.restore(row, [0, 1])
        moved = StripeRow(
            stripe=row.stripe,
            geometry=row.geometry,
            cell_bytes=row.cell_bytes,
            payload_bytes=row.payload_bytes,
            nodes=tuple(placed.get(i, number) for i, number in enumerate(row.nodes)),
            tier=row.tier,
            live_bytes=row.live_bytes,
        )
        stale = StripeRow(
            stripe=row.stripe,
            geometry=row.geometry,
            cell_bytes=row.cell_bytes,
            payload_bytes=row.payload_bytes,
            nodes=tuple(n % 9 + 1 for n in moved.nodes),
            tier=row.tier,
            live_bytes=row.live_bytes,
        )
        answers: list[StripeRow | None] = [stale, stale, moved]  # at hand, waited for, once more
        parts = iterate_body(
            cluster.store, lambda _: answers.pop(0), stored.layout, KEYS, 1_000_000, 0, 5
        )
        assert [bytes(part) async for part in parts] == [LARGE[:5]]
        for known in (None, stale):
            with pytest.raises(StripeGone):
                async for _ in iterate_body(
                    cluster.store, lambda _, r=known: r, stored.layout, KEYS, 1_000_000, 0, 5
                ):
                    pytest.fail("bytes came out")

    run_virtual(main())


def test_cells_at_hand_are_not_waited_for() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        stored = await put(cluster, LARGE)
        for node in cluster.nodes.values():
            node.try_get = node.node.try_get  # type: ignore[attr-defined]
        for offset, length in ((0, len(LARGE)), (70_000, STRIPE_PLAIN), (len(LARGE) - 1, 1)):
            assert await get(cluster, stored, offset, length) == LARGE[offset : offset + length]
        assert not any(node.gets for node in cluster.nodes.values())

    run_virtual(main())


@pytest.mark.parametrize("fault", ["missing", "wrong", "short"])
@pytest.mark.parametrize("length", [LARGE.nbytes, STRIPE_PLAIN // 2 + 4321])
def test_a_cell_that_is_not_at_hand_or_not_right_is_read_the_long_way(
    fault: str, length: int
) -> None:
    async def main() -> None:
        cluster = memory_cluster()
        stored = await put(cluster, LARGE[:length])
        for node in cluster.nodes.values():
            node.try_get = node.node.try_get  # type: ignore[attr-defined]
        liar = cluster.nodes[stored.stripe_rows[0].nodes[2]]
        right = liar.node.try_get  # type: ignore[attr-defined]

        def try_get(shard: ShardId, **wanted: int) -> memoryview | None:
            if fault == "missing":
                return None
            found = bytearray(right(shard, **wanted))
            found[-1] ^= 1
            return memoryview(found)[: -1 if fault == "short" else None]

        liar.try_get = try_get  # type: ignore[attr-defined]
        for offset in (0, 70_000):
            assert await get(cluster, stored, offset, length - offset) == LARGE[offset:length]
        assert liar.gets

    run_virtual(main())


def test_stopping_early_leaves_nothing_running() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        stored = await put(cluster, LARGE)
        rows = {row.stripe: row for row in stored.stripe_rows}
        assert stored.layout is not None
        parts = iterate_body(
            cluster.store, rows.get, stored.layout, KEYS, len(LARGE), 0, len(LARGE)
        )
        async with aclosing(parts):
            async for _ in parts:
                break
        await asyncio.sleep(0.001)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())
