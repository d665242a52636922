"""Objects of a whole gateway in this process: what tests of several use cases ask and make."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.meta import keyspace
from gateway.meta.records import open_version
from gateway.model.layout import Layout
from gateway.model.names import ObjectKey
from gateway.objects.append import append_object
from gateway.objects.complete import complete_upload
from gateway.objects.list import list_objects
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CreateUploadOptions,
    GetOptions,
    ListOptions,
    ObjectHead,
    PutOptions,
)
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway

PLAIN = PutOptions()


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await test(gateway)

    asyncio.run(main())


async def keys(gateway: Gateway) -> list[str]:
    return [one.key for one in (await list_objects(gateway.ctx(), BUCKET, ListOptions())).entries]


def layout_of(gateway: Gateway, key: str) -> Layout | None:
    opened = gateway.services.buckets.find(BUCKET)
    assert opened is not None
    row_key = keyspace.current_row(opened.bucket.bucket_id, ObjectKey(key.encode()))
    value = gateway.log.read((row_key,))[0]
    assert value is not None
    return open_version(gateway.services.records, row_key, value).layout


async def put_parts(gateway: Gateway, key: str, *parts: bytes, listed: int | None = None) -> str:
    """The ETag of an object of the first `listed` parts; None: of all."""
    made = await create_upload(gateway.ctx(), BUCKET, key, CreateUploadOptions())
    held = []
    for number, content in enumerate(parts, 1):
        head = await upload_part(
            gateway.ctx(), BUCKET, key, made.upload_id, number, BytesBody(content), None
        )
        held.append(CompletePart(part_number=number, etag=head.etag))
    done = await complete_upload(
        gateway.ctx(), BUCKET, key, made.upload_id, held[:listed], CompleteOptions()
    )
    return done.etag


async def add(
    gateway: Gateway,
    offset: int,
    content: bytes,
    options: PutOptions = PLAIN,
    *,
    key: str = "key",
) -> ObjectHead:
    body = BytesBody(content)
    return await append_object(gateway.ctx(), BUCKET, key, body, options, offset)


async def is_whole(gateway: Gateway, content: bytes, key: str = "key") -> None:
    """The object, ranges over its borders, and the counts of its stripes are right."""
    assert await gateway.get(key) == content
    for first in range(0, len(content), max(1, len(content) // 23)):
        last = min(len(content), first + 70_000) - 1
        options = GetOptions(range_header=f"bytes={first}-{last}")
        assert await gateway.get(key, options) == content[first : last + 1]
    assert gateway.live_bytes() == gateway.named_bytes()
    assert gateway.log.reservations.open_count == 0
