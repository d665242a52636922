"""Short ways to the use cases of annotations, of the object "k" unless another is named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.limits import ANNOTATION_BYTES_MAX
from gateway.meta import keyspace
from gateway.objects.annotating import (
    AnnotationOptions,
    delete_annotation,
    put_annotation,
)
from gateway.objects.annotation_reads import get_annotation, list_annotations
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway

SMALL, LARGE = b"a text", b"0123456789abcdef" * (ANNOTATION_BYTES_MAX // 16)
NOTHING = AnnotationOptions()


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await test(gateway)

    asyncio.run(asyncio.wait_for(main(), 60))


async def annotate(
    gateway: Gateway,
    name: str,
    content: bytes = SMALL,
    *,
    key: str = "k",
    version_id: str | None = None,
    bucket: str = BUCKET,
    options: AnnotationOptions = NOTHING,
) -> None:
    options = replace(options, version_id=version_id)
    body = BytesBody(content)
    await put_annotation(gateway.ctx(), bucket, key, name, body, None, options)


async def content_of(
    gateway: Gateway, name: str, *, key: str = "k", version_id: str | None = None
) -> bytes:
    found = await get_annotation(gateway.ctx(), BUCKET, key, name, version_id)
    return found.content


async def names_of(gateway: Gateway, *, key: str = "k", version_id: str | None = None) -> list[str]:
    page = await list_annotations(
        gateway.ctx(), BUCKET, key, version_id, prefix="", token=None, entries_max=1000
    )
    return [name for name, _ in page.entries]


async def drop(gateway: Gateway, name: str, options: AnnotationOptions = NOTHING) -> None:
    await delete_annotation(gateway.ctx(), BUCKET, "k", name, options)


def is_clean(gateway: Gateway) -> bool:
    """Nothing of annotations is there, and live bytes are what rows name."""
    assert gateway.live_bytes() == gateway.named_bytes()
    return not gateway.rows_of(keyspace.ANNOTATION) and not gateway.rows_of(keyspace.GARBAGE)
