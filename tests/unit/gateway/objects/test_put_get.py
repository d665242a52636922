"""PutObject, GetObject, HeadObject."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import md5

import pytest

from gateway.model.errors import (
    AccessDenied,
    BadDigest,
    EntityTooLarge,
    IncompleteBody,
    InvalidPartNumber,
    InvalidRange,
    InvalidRequest,
    InvalidStorageClass,
    KeyTooLong,
    MetadataTooLarge,
    NoSuchBucket,
    NoSuchKey,
    NoSuchVersion,
    NotModified,
    PreconditionFailed,
)
from gateway.objects.get import get_object, head_object
from gateway.objects.put import put_object
from gateway.objects.values import (
    GetOptions,
    Metadata,
    PutOptions,
    ReadConditions,
    WriteConditions,
)
from storaged.base.errors import StorageError
from tests.support.gateway import (
    BUCKET,
    STRANGER,
    BytesBody,
    Gateway,
    content_of,
    memory_gateway,
    right,
)

CONTENT = bytes(range(256)) * 20


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await test(gateway)

    asyncio.run(main())


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 65_537, 131_072])
def test_small_bodies_come_back(length: int) -> None:
    content = (CONTENT * 30)[:length]

    async def test(gateway: Gateway) -> None:
        head = await gateway.put("key", content)
        assert head.etag == md5(content).hexdigest()
        assert head.length == length
        assert await gateway.get("key") == content
        assert sum(gateway.live_bytes().values()) == length + 16 * max(1, -(-length // 65_536))

    run(test)


def test_everything_said_of_an_object_comes_back() -> None:
    metadata = Metadata(
        headers=(("content-type", "text/plain"), ("expires", "never")),
        user=(("colour", "é"), ("empty", "")),
        storage_class="STANDARD_IA",
    )

    async def test(gateway: Gateway) -> None:
        options = PutOptions(metadata=metadata, checksum_algorithm="CRC32C")
        put = await gateway.put("a//../ü", CONTENT, options)
        read = await head_object(gateway.ctx(), BUCKET, "a//../ü", GetOptions())
        assert read.head == put
        assert read.body is None
        assert put.metadata == metadata
        assert put.checksum is not None and put.checksum.algorithm == "CRC32C"
        assert put.version_id is None and put.part_count == 0

    run(test)


def test_ranges() -> None:
    async def test(gateway: Gateway) -> None:
        content = CONTENT * 25
        await gateway.put("key", content)
        for header, wanted in (
            ("bytes=0-0", content[:1]),
            ("bytes=65530-65540", content[65_530:65_541]),
            ("bytes=-7", content[-7:]),
            ("bytes=127990-", content[127_990:]),
        ):
            read = await gateway.open("key", GetOptions(range_header=header))
            assert read.is_range
            assert await content_of(read) == wanted
        whole = await gateway.open("key", GetOptions(range_header="bytes=nonsense"))
        assert not whole.is_range and whole.length == len(content)
        with pytest.raises(InvalidRange):
            await gateway.open("key", GetOptions(range_header=f"bytes={len(content)}-"))
        part = await gateway.open("key", GetOptions(part_number=1))
        assert part.length == len(content)
        with pytest.raises(InvalidPartNumber):
            await gateway.open("key", GetOptions(part_number=2))
        with pytest.raises(InvalidRequest):
            await gateway.open("key", GetOptions(part_number=1, range_header="bytes=0-1"))

    run(test)


def test_overwriting_releases_what_was_there_and_dates_grow() -> None:
    async def test(gateway: Gateway) -> None:
        first = await gateway.put("key", CONTENT)
        second = await gateway.put("key", b"short")
        assert second.modified_at_ms > first.modified_at_ms
        assert list(gateway.live_bytes().values()) == [5 + 16]
        assert await gateway.get("key") == b"short"

    run(test)


def test_nothing_is_found_where_nothing_is() -> None:
    async def test(gateway: Gateway) -> None:
        with pytest.raises(NoSuchKey):
            await gateway.get("missing")
        with pytest.raises(NoSuchBucket):
            await gateway.get("key", bucket="missing")
        with pytest.raises(NoSuchBucket):
            await gateway.put("key", b"", bucket="NOT_A_NAME")
        await gateway.put("key", b"")
        assert (await gateway.open("key", GetOptions(version_id="null"))).length == 0
        with pytest.raises(NoSuchVersion):
            await gateway.get("key", GetOptions(version_id="0" * 31 + "1"))

    run(test)


def test_no_one_but_the_owner() -> None:
    """The answer to those without rights is the same whatever is there and whatever they ask."""

    async def test(gateway: Gateway) -> None:
        await gateway.put("key", CONTENT)
        for principal in (None, STRANGER):
            for key in ("key", "missing"):
                for conditions in (ReadConditions(), ReadConditions(if_none_match="*")):
                    with pytest.raises(AccessDenied):
                        await get_object(
                            gateway.ctx(principal), BUCKET, key, GetOptions(conditions=conditions)
                        )
                with pytest.raises(AccessDenied):
                    await put_object(
                        gateway.ctx(principal),
                        BUCKET,
                        key,
                        BytesBody(b""),
                        PutOptions(conditions=WriteConditions(if_none_match="*")),
                    )
        with pytest.raises(NoSuchBucket):
            await get_object(gateway.ctx(None), "missing", "key", GetOptions())

    run(test)


def test_read_conditions() -> None:
    async def test(gateway: Gateway) -> None:
        head = await gateway.put("key", CONTENT)
        with pytest.raises(NotModified) as caught:
            await gateway.get(
                "key", GetOptions(conditions=ReadConditions(if_none_match=f'"{head.etag}"'))
            )
        assert caught.value.fields["head"] == head
        with pytest.raises(PreconditionFailed):
            await gateway.get("key", GetOptions(conditions=ReadConditions(if_match='"other"')))
        matching = GetOptions(conditions=ReadConditions(if_match=f'"{head.etag}"'))
        assert await gateway.get("key", matching) == CONTENT

    run(test)


def refused_bodies() -> list[tuple[BytesBody, type[StorageError]]]:
    return [
        (BytesBody(CONTENT, length=len(CONTENT) + 1), IncompleteBody),
        (BytesBody(CONTENT, length=len(CONTENT) - 1), IncompleteBody),
        (BytesBody(CONTENT, piece_bytes=100, fails_at=1000, error=IncompleteBody), IncompleteBody),
        (
            BytesBody(CONTENT, expected=(right("MD5", b"other", BadDigest),)),
            BadDigest,
        ),
        (
            BytesBody(
                CONTENT, digests=("SHA256",), expected=(right("SHA256", b"other", BadDigest),)
            ),
            BadDigest,
        ),
    ]


def test_a_refused_body_leaves_nothing() -> None:
    async def test(gateway: Gateway) -> None:
        for body, error in refused_bodies():
            with pytest.raises(error):
                await put_object(gateway.ctx(), BUCKET, "key", body, PutOptions())
        assert gateway.rows_of(b"O") == []
        assert gateway.live_bytes() == {}

    run(test)


def test_digests_that_hold_are_accepted() -> None:
    async def test(gateway: Gateway) -> None:
        algorithms = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
        expected = [right(algorithm, CONTENT, BadDigest) for algorithm in (*algorithms, "MD5")]
        body = BytesBody(CONTENT, piece_bytes=7, digests=algorithms, expected=expected)
        head = await put_object(
            gateway.ctx(), BUCKET, "key", body, PutOptions(checksum_algorithm="SHA1")
        )
        assert head.checksum is not None and head.checksum.algorithm == "SHA1"
        assert await gateway.get("key") == CONTENT

    run(test)


def test_bounds_are_refused_before_the_body_is_read() -> None:
    async def test(gateway: Gateway) -> None:
        def unread() -> BytesBody:
            return BytesBody(b"", fails_at=0, error=AssertionError)  # type: ignore[arg-type]

        huge = unread()
        huge.length = 5 * 1024**3 + 1
        cases: list[tuple[str, BytesBody, PutOptions, type[StorageError]]] = [
            ("k" * 1025, unread(), PutOptions(), KeyTooLong),
            ("key", huge, PutOptions(), EntityTooLarge),
            (
                "key",
                unread(),
                PutOptions(metadata=Metadata(user=(("a", "x" * 2048),))),
                MetadataTooLarge,
            ),
            (
                "key",
                unread(),
                PutOptions(metadata=Metadata(storage_class="COLD")),
                InvalidStorageClass,
            ),
            (
                "key",
                unread(),
                PutOptions(conditions=WriteConditions(if_match='"x"')),
                NoSuchKey,
            ),
        ]
        for key, body, options, error in cases:
            with pytest.raises(error):
                await put_object(gateway.ctx(), BUCKET, key, body, options)
        await gateway.put("k" * 1024, b"longest")
        assert await gateway.get("k" * 1024) == b"longest"

    run(test)


def test_one_of_sixteen_creators_wins() -> None:
    async def test(gateway: Gateway) -> None:
        options = PutOptions(conditions=WriteConditions(if_none_match="*"))
        outcomes = await asyncio.gather(
            *(gateway.put("key", b"%d" % at, options) for at in range(16)), return_exceptions=True
        )
        winners = [at for at, found in enumerate(outcomes) if not isinstance(found, Exception)]
        assert len(winners) == 1
        assert await gateway.get("key") == b"%d" % winners[0]
        losers = [found for found in outcomes if isinstance(found, Exception)]
        assert all(isinstance(found, PreconditionFailed) for found in losers)

    run(test)


def test_a_chain_of_compare_and_swap_has_no_fork() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("counter", b"0")

        async def add_one() -> None:
            while True:
                read = await gateway.open("counter")
                value = int(await content_of(read))
                options = PutOptions(conditions=WriteConditions(if_match=read.head.etag))
                try:
                    await gateway.put("counter", b"%d" % (value + 1), options)
                except PreconditionFailed:
                    continue
                return

        await asyncio.gather(*(add_one() for _ in range(12)))
        assert await gateway.get("counter") == b"12"

    run(test)


def test_writers_of_one_key_count_each_version_down_once() -> None:
    async def test(gateway: Gateway) -> None:
        await asyncio.gather(*(gateway.put("key", b"x" * (100 + at)) for at in range(40)))
        last = await gateway.get("key")
        assert list(gateway.live_bytes().values()) == [len(last) + 16]

    run(test)


def test_a_moved_body_is_found_again() -> None:
    """The stripe goes between reading the row and reading the shards: the row is read again."""

    async def test(gateway: Gateway) -> None:
        await gateway.put("key", b"first")
        before = gateway.services.log.stripe_row
        gone: list[object] = []

        def once_gone(stripe: object) -> object:
            if not gone:
                gone.append(stripe)
                return None
            return before(stripe)  # type: ignore[arg-type]

        gateway.log.stripe_row = once_gone  # type: ignore[assignment,method-assign]
        assert await gateway.get("key") == b"first"
        assert gone

    run(test)


def test_a_corrupt_shard_is_decoded_around() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", CONTENT * 20)
        for node in gateway.cluster.in_datacenter("paris"):
            node.corrupt_gets = True
        assert await gateway.get("key") == CONTENT * 20
        assert len(gateway.services.reads) == 0

    run(test)
