"""Multipart uploads: parts, complete, abort, listings."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import md5
from random import Random
from typing import Any

import pytest

from gateway.limits import PART_BYTES_MIN
from gateway.model.checksums import composite_digest, digest_of
from gateway.model.errors import (
    BadDigest,
    EntityTooSmall,
    InvalidArgument,
    InvalidPart,
    InvalidPartNumber,
    InvalidPartOrder,
    InvalidRange,
    InvalidRequest,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
)
from gateway.objects import assembly
from gateway.objects.complete import complete_upload
from gateway.objects.multipart import abort_upload, create_upload, upload_part, upload_part_copy
from gateway.objects.parting import collect_garbage
from gateway.objects.uploads import list_parts, list_uploads
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopySource,
    CreateUploadOptions,
    GetOptions,
    ListUploadsOptions,
    Metadata,
    ObjectHead,
    PartHead,
    WriteConditions,
)
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway

BIG = Random(3).randbytes(PART_BYTES_MIN + 77)
SMALL = b"the last part may be small"


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await test(gateway)

    asyncio.run(main())


async def begin(gateway: Gateway, key: str = "key", **options: Any) -> str:
    made = await create_upload(gateway.ctx(), BUCKET, key, CreateUploadOptions(**options))
    return made.upload_id


async def part(
    gateway: Gateway,
    upload: str,
    number: int,
    content: bytes,
    *,
    key: str = "key",
    algorithm: str | None = None,
) -> PartHead:
    return await upload_part(
        gateway.ctx(), BUCKET, key, upload, number, BytesBody(content), algorithm
    )


async def complete(
    gateway: Gateway,
    upload: str,
    *parts: PartHead | CompletePart,
    key: str = "key",
    options: CompleteOptions | None = None,
) -> ObjectHead:
    listed = [made if isinstance(made, CompletePart) else _listed(made) for made in parts]
    return await complete_upload(
        gateway.ctx(), BUCKET, key, upload, listed, options or CompleteOptions()
    )


def _listed(made: PartHead) -> CompletePart:
    kept = made.checksum
    stated = () if kept is None else ((kept.algorithm, kept.value),)
    return CompletePart(part_number=made.part_number, etag=made.etag, checksums=stated)


def test_parts_become_an_object() -> None:
    async def test(gateway: Gateway) -> None:
        metadata = Metadata(headers=(("content-type", "x/y"),), user=(("a", "b"),))
        upload = await begin(gateway, metadata=metadata)
        await part(gateway, upload, 2, b"to be replaced")
        one, seven, two = await asyncio.gather(
            part(gateway, upload, 1, BIG),
            part(gateway, upload, 7, SMALL),
            part(gateway, upload, 2, BIG[::-1]),
        )
        await part(gateway, upload, 9, b"not listed")
        with pytest.raises(NoSuchKey):
            await gateway.get("key")
        head = await complete(gateway, upload, one, two, seven)
        whole = BIG + BIG[::-1] + SMALL
        raw = b"".join(md5(x).digest() for x in (BIG, BIG[::-1], SMALL))
        assert head.etag == f"{md5(raw).hexdigest()}-3"
        assert (head.length, head.part_count, head.metadata) == (len(whole), 3, metadata)
        assert await gateway.get("key") == whole
        edge = len(BIG)
        wanted = GetOptions(range_header=f"bytes={edge - 3}-{edge + 2}")
        assert await gateway.get("key", wanted) == whole[edge - 3 : edge + 3]
        assert await gateway.get("key", GetOptions(part_number=3)) == SMALL
        with pytest.raises(InvalidPartNumber):
            await gateway.get("key", GetOptions(part_number=4))
        assert len(gateway.rows_of(b"P")) == 3, "what is not listed goes"
        assert gateway.rows_of(b"U") == []
        await gateway.put("key", b"")
        assert list(gateway.live_bytes().values()) == [16]
        assert gateway.rows_of(b"P") == []

    run(test)


def test_completing_again() -> None:
    async def test(gateway: Gateway) -> None:
        upload = await begin(gateway)
        one = await part(gateway, upload, 1, SMALL)
        first = await complete(gateway, upload, one)
        assert await complete(gateway, upload, one) == first
        other = CompletePart(part_number=1, etag="0" * 32)
        odd = CompletePart(part_number=1, etag="no hexadecimal")
        for wrong in (other, odd):
            with pytest.raises(NoSuchUpload):
                await complete(gateway, upload, wrong)
        with pytest.raises(NoSuchUpload):
            await part(gateway, upload, 1, SMALL)
        await gateway.put("key", b"")
        with pytest.raises(NoSuchUpload):
            await complete(gateway, upload, one)

    run(test)


def test_a_part_sent_twice_and_listed_twice_is_the_later_one() -> None:
    async def test(gateway: Gateway) -> None:
        upload = await begin(gateway)
        before = await part(gateway, upload, 1, b"before")
        after = await part(gateway, upload, 1, b"after")
        with pytest.raises(InvalidPart):
            await complete(gateway, upload, after, before)
        await complete(gateway, upload, before, after)
        assert await gateway.get("key") == b"after"

    run(test)


@pytest.mark.proves("NOD-07")
def test_lists_that_make_no_object() -> None:
    async def test(gateway: Gateway) -> None:
        upload = await begin(gateway)
        one, two = await part(gateway, upload, 1, SMALL), await part(gateway, upload, 2, SMALL)
        with pytest.raises(InvalidPartOrder):
            await complete(gateway, upload, two, one)
        with pytest.raises(InvalidPartOrder):
            await complete(gateway, upload, one, one)
        with pytest.raises(InvalidPart):
            await complete(gateway, upload, one, CompletePart(part_number=3, etag=one.etag))
        with pytest.raises(InvalidPart):
            await complete(gateway, upload, CompletePart(part_number=1, etag="0" * 32))
        with pytest.raises(EntityTooSmall):
            await complete(gateway, upload, one, two)
        with pytest.raises(InvalidRequest):
            await complete(gateway, upload)
        with pytest.raises(InvalidRequest):
            await complete(gateway, upload, one, options=CompleteOptions(length=1))
        with pytest.raises(NoSuchUpload):
            await complete(gateway, "0" * 32, one)
        with pytest.raises(NoSuchUpload):
            await complete(gateway, upload, one, key="another key")
        for number in (0, 10_001):
            with pytest.raises(InvalidArgument):
                await part(gateway, upload, number, b"")
        await complete(gateway, upload, one)

    run(test)


def test_conditions_of_complete() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", b"there")
        upload = await begin(gateway)
        one = await part(gateway, upload, 1, SMALL)
        with pytest.raises(PreconditionFailed):
            await complete(
                gateway,
                upload,
                one,
                options=CompleteOptions(conditions=WriteConditions(if_none_match="*")),
            )
        etag = md5(b"there", usedforsecurity=False).hexdigest()
        await complete(
            gateway,
            upload,
            one,
            options=CompleteOptions(conditions=WriteConditions(if_match=f'"{etag}"')),
        )
        assert await gateway.get("key") == SMALL

    run(test)


@pytest.mark.parametrize("composite", [True, False])
def test_checksums_of_parts_make_that_of_the_object(composite: bool) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await begin(gateway, checksum_algorithm="CRC32C", checksum_composite=composite)
        one = await part(gateway, upload, 1, BIG, algorithm="CRC32C")
        two = await part(gateway, upload, 2, SMALL)
        assert two.checksum is not None, "computed where the client sent none"
        with pytest.raises(InvalidRequest):
            await part(gateway, upload, 2, SMALL, algorithm="SHA256")
        wrong = CompletePart(part_number=1, etag=one.etag, checksums=(("CRC32C", "AAAAAA=="),))
        with pytest.raises(InvalidPart):
            await complete(gateway, upload, wrong, two)
        with pytest.raises(BadDigest):
            await complete(
                gateway,
                upload,
                one,
                two,
                options=CompleteOptions(checksum=("CRC32C", "AAAAAA==")),
            )
        head = await complete(gateway, upload, one, two)
        if composite:
            digests = [digest_of("CRC32C", BIG), digest_of("CRC32C", SMALL)]
            value = b64encode(composite_digest("CRC32C", digests)).decode() + "-2"
        else:
            value = b64encode(digest_of("CRC32C", BIG + SMALL)).decode()
        assert head.checksum is not None
        assert head.checksum.value == value
        assert head.checksum.type == (assembly.COMPOSITE if composite else assembly.FULL_OBJECT)

    run(test)


def test_aborting_takes_the_parts_along() -> None:
    async def test(gateway: Gateway) -> None:
        upload = await begin(gateway)
        await part(gateway, upload, 1, BIG)
        await part(gateway, upload, 2, SMALL)
        await abort_upload(gateway.ctx(), BUCKET, "key", upload)
        assert gateway.live_bytes() == {}
        for family in (b"U", b"P", b"G"):
            assert gateway.rows_of(family) == []
        with pytest.raises(NoSuchUpload):
            await abort_upload(gateway.ctx(), BUCKET, "key", upload)
        with pytest.raises(NoSuchUpload):
            await part(gateway, upload, 1, b"")

    run(test)


def test_more_parts_than_one_batch_takes_go_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.objects.parting.INLINE_STRIPES_MAX", 6)

    async def test(gateway: Gateway) -> None:
        monkeypatch.setattr("gateway.objects.assembly.PART_BYTES_MIN", 0)
        upload = await begin(gateway)
        made = [await part(gateway, upload, number, SMALL) for number in range(1, 21)]
        await complete(gateway, upload, *made[:11])
        assert len(gateway.rows_of(b"G")) == 1
        while await collect_garbage(gateway.services, rows_max=4):
            assert await gateway.get("key") == SMALL * 11
        assert len(gateway.rows_of(b"P")) == 11
        await gateway.put("key", b"")
        assert await collect_garbage(gateway.services, rows_max=1000) == 12
        assert gateway.rows_of(b"P") == gateway.rows_of(b"G") == []
        assert list(gateway.live_bytes().values()) == [16]

    run(test)


def test_parts_from_objects() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("source", BIG)
        upload = await begin(gateway)
        source = CopySource(bucket=BUCKET, key="source")

        async def copy(number: int, header: str | None) -> PartHead:
            return await upload_part_copy(
                gateway.ctx(), BUCKET, "key", upload, number, source, header
            )

        one = await copy(1, None)
        two = await copy(2, "bytes=10-19")
        for header, error in (
            (f"bytes=0-{len(BIG)}", InvalidRange),
            ("bytes=5-", InvalidArgument),
            ("bytes=-5", InvalidArgument),
            ("0-5", InvalidArgument),
        ):
            with pytest.raises(error):
                await copy(3, header)
        await complete(gateway, upload, one, two)
        assert await gateway.get("key") == BIG + BIG[10:20]

    run(test)


def test_listings_of_parts_and_uploads() -> None:
    async def test(gateway: Gateway) -> None:
        ids = {key: await begin(gateway, key) for key in ("a/1", "a/2", "b", "c/1")}
        again = await begin(gateway, "b")
        for number in (1, 3, 5):
            await part(gateway, ids["b"], number, b"x" * number, key="b")
        page = await list_parts(gateway.ctx(), BUCKET, "b", ids["b"], parts_max=2)
        assert [held.part_number for held in page.parts] == [1, 3]
        assert page.next_part_number == 3
        rest = await list_parts(gateway.ctx(), BUCKET, "b", ids["b"], after_part_number=3)
        assert [held.length for held in rest.parts] == [5]
        assert rest.next_part_number is None

        found: list[tuple[str, str]] = []
        options = ListUploadsOptions(uploads_max=2)
        while True:
            uploads = await list_uploads(gateway.ctx(), BUCKET, options)
            found += [(held.key, held.upload_id) for held in uploads.uploads]
            if not uploads.is_truncated:
                break
            assert uploads.next_key is not None and uploads.next_upload_id is not None
            options = ListUploadsOptions(
                uploads_max=2, after_key=uploads.next_key, after_upload_id=uploads.next_upload_id
            )
        assert found == sorted([*ids.items(), ("b", again)])
        rolled = await list_uploads(gateway.ctx(), BUCKET, ListUploadsOptions(delimiter="/"))
        assert rolled.common_prefixes == ("a/", "c/")
        assert [held.key for held in rolled.uploads] == ["b", "b"]
        first = await list_uploads(
            gateway.ctx(), BUCKET, ListUploadsOptions(delimiter="/", uploads_max=1)
        )
        assert (first.next_key, first.common_prefixes) == ("a/", ("a/",))
        second = await list_uploads(
            gateway.ctx(),
            BUCKET,
            ListUploadsOptions(delimiter="/", uploads_max=5, after_key="a/"),
        )
        assert second.common_prefixes == ("c/",)

    run(test)


def test_parts_racing_with_complete_and_abort_leave_nothing() -> None:
    async def test(gateway: Gateway) -> None:
        for ending in ("complete", "abort"):
            upload = await begin(gateway)
            one = await part(gateway, upload, 1, SMALL)
            racing = [part(gateway, upload, n, b"%d" % n) for n in (1, 1, 2, 3, 4, 5)]
            if ending == "complete":
                end: Any = complete(gateway, upload, one)
            else:
                end = abort_upload(gateway.ctx(), BUCKET, "key", upload)
            await asyncio.gather(*racing[:3], end, *racing[3:], return_exceptions=True)
            if gateway.rows_of(b"U"):
                await abort_upload(gateway.ctx(), BUCKET, "key", upload)
            if ending == "complete" and gateway.rows_of(b"O"):
                content = await gateway.get("key")
                assert content == SMALL
            await gateway.put("key", b"")
            while await collect_garbage(gateway.services, rows_max=1000):
                pass
            assert gateway.rows_of(b"P") == []
            assert list(gateway.live_bytes().values()) == [16]

    run(test)
