"""Completing an upload of thousands of parts lets others run in between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.commit.change import Change, Committed
from gateway.meta import uploads as upload_rows
from gateway.objects import assembly, complete
from gateway.objects.complete import complete_upload
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.values import CompleteOptions, CompletePart, CreateUploadOptions
from gateway.s3 import xml
from gateway.s3.call import Call
from gateway.s3.operations import multipart as operations
from gateway.s3.xml_reader import STEP_BYTES
from tests.support.cluster import TestEnv
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway

PARTS = 600
PAGE = 100


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def _upload(gateway: Gateway) -> tuple[str, list[CompletePart]]:
    upload = await create_upload(
        gateway.ctx(), BUCKET, "key", CreateUploadOptions(checksum_algorithm="CRC32")
    )
    heads = await asyncio.gather(
        *(
            upload_part(
                gateway.ctx(), BUCKET, "key", upload.upload_id, number, BytesBody(b"x"), None
            )
            for number in range(1, PARTS + 1)
        )
    )
    return upload.upload_id, [
        CompletePart(part_number=head.part_number, etag=head.etag) for head in heads
    ]


def test_a_long_complete_yields_at_each_page_and_before_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "PART_BYTES_MIN", 1)
    monkeypatch.setattr(complete, "PAGE_PARTS", PAGE)

    async def main() -> None:
        async with memory_gateway() as gateway:
            upload_id, parts = await _upload(gateway)
            turns, at_commit = Turns(), 0
            commit = gateway.log.commit_change

            async def noting(change: Change) -> Committed:
                nonlocal at_commit
                at_commit = turns.count
                return await commit(change)

            gateway.log.commit_change = noting  # type: ignore[method-assign]
            turning = asyncio.create_task(turns.run())
            head = await complete_upload(
                gateway.ctx(), BUCKET, "key", upload_id, parts, CompleteOptions()
            )
            turning.cancel()
            assert head.length == PARTS
            # One for each page, one while the parts are assembled, one before they are checked.
            assert at_commit >= PARTS // PAGE + 2
            assert await gateway.get("key") == b"x" * PARTS

    asyncio.run(main())


def test_a_part_that_is_replaced_between_two_pages_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "PART_BYTES_MIN", 1)
    monkeypatch.setattr(complete, "PAGE_PARTS", PAGE)

    async def main() -> None:
        async with memory_gateway() as gateway:
            upload_id, parts = await _upload(gateway)
            scan, pages = upload_rows.scan_parts, 0

            def replacing(*arguments: Any, **more: Any) -> Any:
                nonlocal pages
                pages += 1
                found = scan(*arguments, **more)
                if pages == 2:  # the first page has been read
                    body = BytesBody(b"x")
                    put = upload_part(gateway.ctx(), BUCKET, "key", upload_id, 1, body, None)
                    replaced.append(asyncio.ensure_future(put))
                return found

            replaced: list[asyncio.Future[Any]] = []
            monkeypatch.setattr(upload_rows, "scan_parts", replacing)
            await complete_upload(gateway.ctx(), BUCKET, "key", upload_id, parts, CompleteOptions())
            await asyncio.gather(*replaced, return_exceptions=True)
            assert await gateway.get("key") == b"x" * PARTS
            assert gateway.live_bytes() == gateway.named_bytes()

    asyncio.run(main())


def test_ten_thousand_listed_parts_are_read_in_steps() -> None:
    etag = "d41d8cd98f00b204e9800998ecf8427e"
    inside = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number in range(1, xml.PARTS_MAX + 1)
    )
    document = f"<CompleteMultipartUpload>{inside}</CompleteMultipartUpload>".encode()
    sizes = [len(step) for step in xml.complete_steps(document)]
    assert max(sizes) <= xml.STEP_PARTS and sum(sizes) == xml.PARTS_MAX
    reading = -(-len(document) // STEP_BYTES)
    assert sizes[:reading] == [0] * reading

    async def read_document(bytes_max: int) -> bytes:
        return document

    async def main() -> int:
        call = SimpleNamespace(
            body=SimpleNamespace(read_document=read_document),
            context=SimpleNamespace(services=SimpleNamespace(env=TestEnv())),
        )
        turns = Turns()
        turning = asyncio.create_task(turns.run())
        listed = await operations._listed_parts(cast(Call, call))
        turning.cancel()
        assert [part.part_number for part in listed] == list(range(1, xml.PARTS_MAX + 1))
        return turns.count

    assert asyncio.run(main()) >= len(sizes) - 1
