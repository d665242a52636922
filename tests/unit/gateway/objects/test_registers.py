"""The registers beside the use cases: damage, open reads, queues, bucket keys; the garbage job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.commit.change import Change, LogUnavailable
from gateway.jobs.garbage import GarbageCollector
from gateway.meta.kv import BatchConflict, OutcomeUnknown
from gateway.model.errors import ConditionalRequestConflict
from gateway.objects.bucket_keys import KEY_TTL_S
from gateway.objects.contention import RowQueues
from gateway.objects.copy import copy_object
from gateway.objects.damage import REPORTS_MAX, DamageQueue
from gateway.objects.multipart import abort_upload, create_upload, upload_part
from gateway.objects.open_reads import OpenReads
from gateway.objects.publish import TRIES_MAX
from gateway.objects.put import put_object
from gateway.objects.values import CopyOptions, CopySource, CreateUploadOptions, PutOptions
from storaged.base.ids import StripeFamily, StripeId
from tests.support.cluster import run_virtual
from tests.support.gateway import BUCKET, BytesBody, memory_gateway

STRIPE = StripeId(StripeFamily.DATA, 1, 1)


def test_damage_is_reported_once_and_bounded() -> None:
    queue = DamageQueue()
    for _ in range(3):
        queue.report(STRIPE, 4, "tag")
    for counter in range(REPORTS_MAX):
        queue.report(StripeId(StripeFamily.DATA, 2, counter), 0, "tag")
    assert len(queue) == REPORTS_MAX and queue.dropped == 1
    assert queue.take(1) == [(STRIPE, 4, "tag")]
    assert len(queue.take(REPORTS_MAX)) == REPORTS_MAX - 1
    assert queue.take(1) == []


def test_the_oldest_read_is_known() -> None:
    reads = OpenReads()
    assert reads.oldest_s() is None
    first, second = reads.begin(1.0), reads.begin(2.0)
    assert reads.oldest_s() == 1.0
    reads.end(first)
    reads.end(first)
    assert reads.oldest_s() == 2.0
    reads.end(second)
    assert len(reads) == 0


def test_turns_come_in_order_and_leave_nothing() -> None:
    async def main() -> list[int]:
        queues, order = RowQueues(), []

        async def enter(number: int) -> None:
            async with queues.turn(b"row"):
                assert queues.is_contended(b"row")
                await asyncio.sleep(0)
                order.append(number)

        given_up = asyncio.create_task(enter(99))
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(enter(number)) for number in range(5)]
        given_up.cancel()
        await asyncio.gather(given_up, *tasks, return_exceptions=True)
        assert not queues.is_contended(b"row")
        return order

    assert asyncio.run(main()) == list(range(5))


def test_endless_conflicts_end() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            tries = 0

            async def refuse(change: Change) -> None:
                nonlocal tries
                tries += 1
                raise BatchConflict(check=1)

            gateway.log.commit_change = refuse  # type: ignore[assignment,method-assign]
            with pytest.raises(ConditionalRequestConflict):
                await gateway.put("key", b"x")
            assert tries == 1 + TRIES_MAX
            assert not gateway.services.queues.is_contended(b"")

    asyncio.run(main())


def test_stripes_of_an_unknown_outcome_stay_reserved() -> None:
    """The batch may still be committed: the sweep must not take what it would name."""

    async def main() -> None:
        async with memory_gateway() as gateway:

            async def unknown(change: Change) -> None:
                raise OutcomeUnknown()

            gateway.log.commit_change = unknown  # type: ignore[assignment,method-assign]
            with pytest.raises(OutcomeUnknown):
                await gateway.put("key", bytes(200_000))
            assert gateway.log.reservations.open_count == 1

    asyncio.run(main())


@pytest.mark.parametrize("what", ["put", "part", "copy"])
@pytest.mark.parametrize("at", ["queue", "answer"])
def test_who_is_cancelled_between_two_tries_leaves_no_id_reserved(what: str, at: str) -> None:
    """In the queue of a contended row, or as the answer comes: the log will never hear of it."""

    async def main() -> None:
        async with memory_gateway() as gateway:
            await gateway.put("source", bytes(200_000))
            upload = await create_upload(gateway.ctx(), BUCKET, "key", CreateUploadOptions())
            refused = asyncio.Event()

            async def refuse(change: Change) -> None:
                refused.set()
                if at == "answer":
                    writing.cancel()
                    await asyncio.sleep(0)
                raise BatchConflict(check=1)

            @asynccontextmanager
            async def wait_for_ever(row_key: bytes) -> AsyncIterator[None]:
                await asyncio.Event().wait()
                yield

            async def write() -> None:
                if what == "put":
                    await gateway.put("key", bytes(200_000))
                elif what == "copy":
                    source = CopySource(bucket=BUCKET, key="source")
                    await copy_object(gateway.ctx(), source, BUCKET, "key", CopyOptions())
                else:
                    body = BytesBody(bytes(200_000))
                    await upload_part(gateway.ctx(), BUCKET, "key", upload.upload_id, 1, body, None)

            gateway.log.commit_change = refuse  # type: ignore[assignment,method-assign]
            gateway.services.queues.turn = wait_for_ever  # type: ignore[method-assign]
            writing = asyncio.create_task(write())
            await refused.wait()
            if at == "queue":
                await asyncio.sleep(0.1)
                assert gateway.log.reservations.open_count == 1
                writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert gateway.log.reservations.open_count == 0

    run_virtual(main())


def test_ids_of_a_put_that_the_log_holds_stay_reserved_until_it_knows() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            putting = asyncio.create_task(gateway.put("key", bytes(200_000)))
            while not gateway.log.status().waiting:
                await asyncio.sleep(0)
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)
            assert gateway.log.reservations.open_count == 1
            await gateway.put("other", b"x")
            assert gateway.log.reservations.open_count == 0
            assert await gateway.get("key") == bytes(200_000)

    run_virtual(main())


def test_a_body_that_policy_refuses_is_not_read() -> None:
    class UnreadBody(BytesBody):
        async def read(self) -> bytes:
            raise AssertionError("the body is read")

    def refuse() -> None:
        raise LogUnavailable(reason="policy")

    async def main() -> None:
        async with memory_gateway() as gateway:
            gateway.log.check_reach = refuse  # type: ignore[method-assign]
            for length in (1, 200_000):
                body = UnreadBody(bytes(length))
                with pytest.raises(LogUnavailable):
                    await put_object(gateway.ctx(), BUCKET, "key", body, PutOptions())

    asyncio.run(main())


def test_bucket_keys_are_kept_for_a_while() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            keys = gateway.services.bucket_keys
            await gateway.put("key", b"x")
            row = gateway.rows_of(b"K")[0]
            bucket, epoch = row[1:17], int.from_bytes(row[17:], "big")
            key = keys.sealer(bucket, epoch)  # type: ignore[arg-type]
            assert len(key.record_key) == 32 and key.record_key.hex() not in repr(key)
            provider = keys.provider
            keys.provider = None  # type: ignore[assignment]
            assert keys.sealer(bucket, epoch) is key  # type: ignore[arg-type]
            await asyncio.sleep(KEY_TTL_S + 1)
            with pytest.raises(AttributeError):
                keys.sealer(bucket, epoch)  # type: ignore[arg-type]
            keys.provider = provider
            assert keys.sealer(bucket, epoch).record_key == key.record_key  # type: ignore[arg-type]

    run_virtual(main())


def test_the_garbage_job_takes_what_an_abort_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.objects.parting.INLINE_STRIPES_MAX", 3)

    async def main() -> None:
        async with memory_gateway() as gateway:
            made = await create_upload(gateway.ctx(), BUCKET, "key", CreateUploadOptions())
            for number in range(1, 11):
                await upload_part(
                    gateway.ctx(), BUCKET, "key", made.upload_id, number, BytesBody(b"x"), None
                )
            await abort_upload(gateway.ctx(), BUCKET, "key", made.upload_id)
            assert gateway.rows_of(b"P")
            job = GarbageCollector(gateway.services)
            while not await job.step():
                pass
            assert gateway.rows_of(b"P") == gateway.rows_of(b"G") == []
            assert gateway.live_bytes() == {}
            assert job.progress().done > 0

    asyncio.run(main())
