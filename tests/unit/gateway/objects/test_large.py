"""Bodies beyond what rides in a commit stripe."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from gateway.limits import SMALL_BODY_BYTES_MAX
from gateway.model.errors import BadDigest, IncompleteBody
from gateway.objects.copy import copy_object
from gateway.objects.put import put_object
from gateway.objects.values import CopyOptions, CopySource, GetOptions, PutOptions
from tests.support.gateway import BUCKET, BytesBody, Gateway, content_of, memory_gateway, right

LENGTH = 9 * 1024 * 1024 + 12_345  # three stripes of 4+2, the last one short
CONTENT = Random(7).randbytes(LENGTH)


def test_large_bodies_come_back_whole_in_ranges_and_as_copies() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            head = await gateway.put("big", CONTENT, piece_bytes=100_001)
            assert head.length == LENGTH
            assert await gateway.get("big") == CONTENT
            for first, last in ((0, 0), (4_194_303, 4_194_400), (LENGTH - 5, LENGTH - 1)):
                options = GetOptions(range_header=f"bytes={first}-{last}")
                assert await gateway.get("big", options) == CONTENT[first : last + 1]
            rows = gateway.live_bytes()
            copied, _ = await copy_object(
                gateway.ctx(), CopySource(bucket=BUCKET, key="big"), BUCKET, "copy", CopyOptions()
            )
            assert copied.etag == head.etag
            assert await gateway.get("copy") == CONTENT
            added = {name: n for name, n in gateway.live_bytes().items() if name not in rows}
            assert sum(added.values()) == sum(rows.values()), "a copy shares nothing"
            assert gateway.log.reservations.open_count == 0
            await gateway.put("big", b"")
            await gateway.put("copy", b"")
            assert sorted(gateway.live_bytes().values()) == [16, 16]

    asyncio.run(main())


def test_just_above_the_bound_is_striped() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            for length in (SMALL_BODY_BYTES_MAX, SMALL_BODY_BYTES_MAX + 1):
                await gateway.put("key", CONTENT[:length])
                striped = any(name.startswith("data") for name in gateway.live_bytes())
                assert striped == (length > SMALL_BODY_BYTES_MAX)
                assert await gateway.get("key") == CONTENT[:length]

    asyncio.run(main())


def test_refused_large_bodies_leave_nothing_that_is_named() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            bodies = (
                BytesBody(CONTENT, fails_at=6_000_000, error=IncompleteBody),
                BytesBody(CONTENT, length=LENGTH + 1),
                BytesBody(CONTENT, length=LENGTH - 1),
                BytesBody(CONTENT, expected=(right("MD5", b"", BadDigest),)),
            )
            for body in bodies:
                with pytest.raises((IncompleteBody, BadDigest)):
                    await put_object(gateway.ctx(), BUCKET, "big", body, PutOptions())
            assert gateway.rows_of(b"O") == []
            assert gateway.live_bytes() == {}
            assert gateway.log.reservations.open_count == 0

    asyncio.run(main())


def test_a_large_object_survives_a_datacenter() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await gateway.put("big", CONTENT)
            for node in gateway.cluster.in_datacenter("lyon"):
                node.down = True
            assert await gateway.get("big") == CONTENT

    asyncio.run(main())


def test_a_read_that_is_given_up_is_closed() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await gateway.put("big", CONTENT)
            read: Gateway | object = await gateway.open("big")
            del read
            assert len(gateway.services.reads) == 0
            found = await gateway.open("big")
            assert len(gateway.services.reads) == 1
            assert await content_of(found) == CONTENT
            assert len(gateway.services.reads) == 0
            closed = await gateway.open("big")
            assert closed.body is not None
            await closed.body.aclose()
            assert len(gateway.services.reads) == 0

    asyncio.run(main())
