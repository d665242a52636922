"""Objects of a whole gateway in this process: what tests of several use cases ask and make."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.meta import keyspace
from gateway.meta.records import open_version
from gateway.model.layout import Layout
from gateway.model.names import ObjectKey
from gateway.objects.complete import complete_upload
from gateway.objects.list import list_objects
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CreateUploadOptions,
    ListOptions,
)
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway


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


async def put_parts(gateway: Gateway, key: str, *parts: bytes) -> str:
    made = await create_upload(gateway.ctx(), BUCKET, key, CreateUploadOptions())
    listed = []
    for number, content in enumerate(parts, 1):
        head = await upload_part(
            gateway.ctx(), BUCKET, key, made.upload_id, number, BytesBody(content), None
        )
        listed.append(CompletePart(part_number=number, etag=head.etag))
    done = await complete_upload(
        gateway.ctx(), BUCKET, key, made.upload_id, listed, CompleteOptions()
    )
    return done.etag
