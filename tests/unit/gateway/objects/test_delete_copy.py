"""DeleteObject, DeleteObjects, CopyObject."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.meta.batches import REQUEST_ID_BYTES
from gateway.meta.keyspace import current_row
from gateway.meta.kv import Batch, RowCorrupt, Write
from gateway.model.errors import (
    AccessDenied,
    InvalidRequest,
    KeyTooLong,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
)
from gateway.model.names import ObjectKey
from gateway.objects import buckets
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object, delete_objects
from gateway.objects.publish import batch_id
from gateway.objects.values import (
    CopyOptions,
    CopySource,
    DeleteKey,
    Metadata,
    PutOptions,
    ReadConditions,
    WriteConditions,
)
from tests.support.gateway import BUCKET, STRANGER, Gateway, memory_gateway


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await test(gateway)

    asyncio.run(main())


def test_deleting() -> None:
    async def test(gateway: Gateway) -> None:
        head = await gateway.put("key", b"x")
        before = gateway.log.position.sequence
        await delete_object(gateway.ctx(), BUCKET, "missing")
        assert gateway.log.position.sequence == before, "nothing to commit"
        for wrong in (WriteConditions(if_match='"other"'),):
            with pytest.raises(PreconditionFailed):
                await delete_object(gateway.ctx(), BUCKET, "key", conditions=wrong)
        with pytest.raises(AccessDenied):
            await delete_object(gateway.ctx(STRANGER), BUCKET, "key")
        await delete_object(gateway.ctx(), BUCKET, "key", version_id="1" * 32)
        await delete_object(gateway.ctx(), BUCKET, "key", version_id="odd")
        assert await gateway.get("key") == b"x"
        right = WriteConditions(if_match=head.etag)
        await delete_object(gateway.ctx(), BUCKET, "key", conditions=right)
        with pytest.raises(NoSuchKey):
            await gateway.get("key")
        with pytest.raises(NoSuchKey):
            await delete_object(gateway.ctx(), BUCKET, "key", conditions=right)
        assert gateway.live_bytes() == {}
        await gateway.put("key", b"y")
        await delete_object(gateway.ctx(), BUCKET, "key", version_id="null")
        assert gateway.rows_of(b"O") == []

    run(test)


def test_ids_of_batches_are_used_once() -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        made = {batch_id(services) for _ in range(1000)}
        made |= {services.nonces.next() for _ in range(1000)}
        assert len(made) == 2000 and sum(len(one) == REQUEST_ID_BYTES for one in made) == 1000
        await asyncio.gather(*(gateway.put(f"k{at}", b"x") for at in range(50)))
        deletes = (delete_object(gateway.ctx(), BUCKET, f"k{at}") for at in range(50))
        await asyncio.gather(*deletes)  # a repeated id would be taken for a repeated request
        assert gateway.rows_of(b"O") == [] and gateway.live_bytes() == {}

    run(test)


def test_a_row_that_was_altered_is_not_deleted() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", b"x")
        services = gateway.services
        opened = services.buckets.find(BUCKET)
        assert opened is not None
        bucket_id = opened.bucket.bucket_id
        row_key = current_row(bucket_id, ObjectKey(b"key"))
        value = services.log.read((row_key,))[0]
        assert value is not None
        for at in (40, len(value) - 1):  # in what is sealed for the cluster, and for the tenant
            altered = bytearray(value)
            altered[at] ^= 1
            write = Write(row_key, bytes(altered))
            await services.log.commit(
                Batch(
                    partition=bucket_id,
                    request_id=batch_id(services),
                    checks=(),
                    writes=(write,),
                )
            )
            with pytest.raises(RowCorrupt):
                await delete_object(gateway.ctx(), BUCKET, "key")
        assert len(gateway.live_bytes()) == 1

    run(test)


def test_deleting_many() -> None:
    async def test(gateway: Gateway) -> None:
        keys = [f"k{at}" for at in range(300)]
        await asyncio.gather(*(gateway.put(key, b"x") for key in keys))
        etag = (await gateway.open("k0")).head.etag
        before = gateway.log.position.sequence
        outcomes = await delete_objects(
            gateway.ctx(),
            BUCKET,
            [
                *(DeleteKey(key=key) for key in keys[2:]),
                DeleteKey(key=keys[2]),
                DeleteKey(key="missing"),
                DeleteKey(key="k" * 2000),
                DeleteKey(key="k0", if_match='"other"'),
                DeleteKey(key="k1", if_match=etag),
            ],
        )
        assert gateway.log.position.sequence == before + 1
        assert [outcome.key for outcome in outcomes[:298]] == keys[2:]
        assert all(outcome.error is None for outcome in outcomes[:300])
        assert isinstance(outcomes[300].error, KeyTooLong)
        assert isinstance(outcomes[301].error, PreconditionFailed)
        assert outcomes[302].error is None
        assert gateway.rows_of(b"O")[0].endswith(b"k0")
        assert len(gateway.rows_of(b"O")) == len(gateway.live_bytes()) == 1
        with pytest.raises(NoSuchBucket):
            await delete_objects(gateway.ctx(), "missing", [])

    run(test)


def test_deletes_racing_with_writers_count_down_once() -> None:
    async def test(gateway: Gateway) -> None:
        keys = [f"k{at}" for at in range(20)]
        await asyncio.gather(*(gateway.put(key, b"x") for key in keys))
        wanted = [DeleteKey(key=key) for key in keys]
        await asyncio.gather(
            delete_objects(gateway.ctx(), BUCKET, wanted),
            *(gateway.put(key, b"yy") for key in keys[:5]),
            delete_objects(gateway.ctx(), BUCKET, wanted),
            *(delete_object(gateway.ctx(), BUCKET, key) for key in keys[3:9]),
        )
        left = len(gateway.rows_of(b"O"))
        assert sum(gateway.live_bytes().values()) == left * (2 + 16)

    run(test)


METADATA = Metadata(headers=(("content-type", "a/b"),), user=(("one", "1"),))


def test_copying() -> None:
    async def test(gateway: Gateway) -> None:
        await buckets.create_bucket(gateway.ctx(), "other-bucket", None)
        options = PutOptions(metadata=METADATA, checksum_algorithm="CRC64NVME")
        head = await gateway.put("src", b"content", options)
        source = CopySource(bucket=BUCKET, key="src")

        async def copy(to: str, options: CopyOptions | None = None, key: str = "dst") -> None:
            await copy_object(gateway.ctx(), source, to, key, options or CopyOptions())

        await copy("other-bucket")
        copied = (await gateway.open("dst", bucket="other-bucket")).head
        assert (copied.etag, copied.metadata, copied.checksum) == (
            head.etag,
            METADATA,
            head.checksum,
        )
        assert await gateway.get("dst", bucket="other-bucket") == b"content"
        with pytest.raises(InvalidRequest):
            await copy(BUCKET, key="src")
        replaced = Metadata(user=(("two", "2"),))
        await copy(BUCKET, CopyOptions(metadata=replaced), key="src")
        assert (await gateway.open("src")).head.metadata == replaced
        await copy(BUCKET, CopyOptions(storage_class="STANDARD_IA"), key="src")
        assert (await gateway.open("src")).head.metadata.storage_class == "STANDARD_IA"
        assert await gateway.get("src") == b"content"

    run(test)


def test_conditions_of_copies() -> None:
    async def test(gateway: Gateway) -> None:
        head = await gateway.put("src", b"content")
        await gateway.put("dst", b"there")

        async def copy(conditions: ReadConditions, target: WriteConditions) -> None:
            source = CopySource(bucket=BUCKET, key="src", conditions=conditions)
            options = CopyOptions(conditions=target)
            await copy_object(gateway.ctx(), source, BUCKET, "dst", options)

        for conditions in (
            ReadConditions(if_match='"other"'),
            ReadConditions(if_none_match=f'"{head.etag}"'),
            ReadConditions(if_unmodified_since_ms=1),
        ):
            with pytest.raises(PreconditionFailed):
                await copy(conditions, WriteConditions())
        with pytest.raises(PreconditionFailed):
            await copy(ReadConditions(), WriteConditions(if_none_match="*"))
        assert await gateway.get("dst") == b"there"
        await copy(ReadConditions(if_match=head.etag), WriteConditions())
        assert await gateway.get("dst") == b"content"
        with pytest.raises(NoSuchKey):
            await copy_object(
                gateway.ctx(), CopySource(bucket=BUCKET, key="no"), BUCKET, "dst", CopyOptions()
            )
        with pytest.raises(AccessDenied):
            await copy_object(
                gateway.ctx(STRANGER),
                CopySource(bucket=BUCKET, key="src"),
                BUCKET,
                "dst",
                CopyOptions(),
            )

    run(test)
