"""Where an object is recorded: packed, striped, multipart, after losses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from gateway.admin import where
from gateway.limits import PART_BYTES_MIN
from gateway.meta import keyspace
from gateway.meta.stripes import scan_stripes
from gateway.model.errors import InvalidArgument, InvalidBucketName, NoSuchBucket, NoSuchKey
from gateway.objects import parting
from gateway.objects.complete import complete_upload
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.values import CompleteOptions, CompletePart, CreateUploadOptions
from tests.support.admin_rig import AdminRig, admin_rig
from tests.support.annotations import LARGE as TEXT
from tests.support.annotations import annotate
from tests.support.gateway import BUCKET, BytesBody

LARGE = Random(5).randbytes(5 * 1024 * 1024)


def run(test: Callable[[AdminRig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with admin_rig() as rig:
            await test(rig)

    asyncio.run(main())


def test_a_small_body_is_in_one_commit_stripe() -> None:
    async def check(rig: AdminRig) -> None:
        head = await rig.gateway.put("a/key", b"body")
        found = await rig.view.where(BUCKET, "a/key")
        assert (found["kind"], found["content_bytes"], found["stripe_count"]) == ("whole", 4, 1)
        assert found["parts"][0]["layout"] == "packed"
        stripe = found["stripes"][0]
        assert stripe["stripe"].startswith("commit-") and stripe["tier"] == "FULL"
        rows = scan_stripes(rig.gateway.log, rig.view.records, None, limit=1000)
        row = next(held.row for held in rows if str(held.row.stripe) == stripe["stripe"])
        assert [shard["number"] for shard in stripe["shards"]] == list(row.nodes)
        assert {place["datacenter"]: place["shards"] for place in found["datacenters"]} == {
            "paris": 2,
            "lyon": 2,
            "marseille": 2,
        }
        assert found["countries"] == ["fr"] and found["recorded"].startswith("Recorded, not proved")
        assert head.etag not in json.dumps(found)

    run(check)


def test_annotations_are_of_the_object_too() -> None:
    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("k", b"body")
        before = await rig.view.where(BUCKET, "k")
        await annotate(rig.gateway, "small")
        await annotate(rig.gateway, "large", TEXT)
        found = await rig.view.where(BUCKET, "k")
        assert (before["annotation_count"], found["annotation_count"]) == (0, 2)
        assert (found["part_count"], found["stripe_count"]) == (1, 3)
        assert [stripe["part"] for stripe in found["stripes"]] == [1, 0, 0]
        shards = sum(place["shards"] for place in found["datacenters"])
        assert shards == 3 * sum(place["shards"] for place in before["datacenters"])

    run(check)


def test_a_large_body_has_stripes_of_its_own_and_margins_after_a_loss() -> None:
    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("large", LARGE)
        found = await rig.view.where(BUCKET, "large")
        assert found["parts"][0]["layout"] == "striped"
        assert found["stripe_count"] == len(found["stripes"]) == found["stripes_counted"] == 2
        assert found["lowest_margin"] == 2
        await rig.lose("lyon")
        after = await rig.view.where(BUCKET, "large")
        assert after["lowest_margin"] == 0
        away = [shard for stripe in after["stripes"] for shard in stripe["shards"]]
        assert {shard["datacenter"] for shard in away if not shard["reachable"]} == {"lyon"}

    run(check)


def test_listing_and_counting_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("large", LARGE * 3)
        monkeypatch.setattr(where, "PAGE_ROWS", 2)
        whole = await rig.view.where(BUCKET, "large")
        counters = [stripe["stripe"] for stripe in whole["stripes"]]
        assert len(set(counters)) == whole["stripe_count"] == whole["stripes_counted"] == 4
        assert sum(place["shards"] for place in whole["datacenters"]) == 24
        monkeypatch.setattr(where, "STRIPES_LISTED_MAX", 1)
        monkeypatch.setattr(where, "STRIPES_COUNTED_MAX", 3)
        part = await rig.view.where(BUCKET, "large")
        assert (len(part["stripes"]), part["stripes_counted"], part["stripe_count"]) == (1, 3, 4)
        assert sum(place["shards"] for place in part["datacenters"]) == 18

    run(check)


@pytest.mark.parametrize("inline", [True, False])
def test_a_multipart_object_is_its_own_parts_only(
    inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(rig: AdminRig) -> None:
        gateway = rig.gateway
        ctx = gateway.ctx()
        upload = (await create_upload(ctx, BUCKET, "multi", CreateUploadOptions())).upload_id
        listed = []
        for number, content in ((1, LARGE[:PART_BYTES_MIN]), (2, b"end"), (9, b"not listed")):
            made = await upload_part(
                gateway.ctx(), BUCKET, "multi", upload, number, BytesBody(content), None
            )
            listed.append(CompletePart(part_number=number, etag=made.etag))
        await complete_upload(gateway.ctx(), BUCKET, "multi", upload, listed[:2], CompleteOptions())
        assert len(gateway.rows_of(keyspace.GARBAGE)) == (0 if inline else 1)
        found = await rig.view.where(BUCKET, "multi")
        assert found["kind"] == "multipart"
        assert [part["part"] for part in found["parts"]] == [1, 2]
        assert {stripe["part"] for stripe in found["stripes"]} == {1, 2}

    if not inline:
        monkeypatch.setattr(parting, "INLINE_STRIPES_MAX", 0)

    run(check)


def test_what_is_not_there_has_its_own_error() -> None:
    async def check(rig: AdminRig) -> None:
        for bucket, key, error in (
            (BUCKET, "nothing", NoSuchKey),
            ("no-such-bucket", "key", NoSuchBucket),
            ("NO", "key", InvalidBucketName),
            (BUCKET, "\udcff", InvalidArgument),
        ):
            with pytest.raises(error):
                await rig.view.where(bucket, key)

    run(check)
