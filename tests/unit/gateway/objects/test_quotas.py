"""Limits of bytes, objects and buckets hold, at their edge and with many writers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.meta.usage import open_usage
from gateway.model.errors import QuotaExceeded, TooManyBuckets
from gateway.model.quota import NO_QUOTA, Quota, QuotaInvalid, Subject, quota_of
from gateway.objects.buckets import create_bucket
from gateway.objects.complete import complete_upload
from gateway.objects.delete import delete_object
from gateway.objects.limits_set import set_limits, stored_limits
from gateway.objects.multipart import abort_upload, create_upload, upload_part
from gateway.objects.put import put_object
from gateway.objects.tenancy import IdentityLimit
from gateway.objects.users import create_access_key, create_user
from gateway.objects.values import CompleteOptions, CompletePart, CreateUploadOptions, PutOptions
from tests.support.gateway import BUCKET, TENANT, BytesBody
from tests.support.metered import Metered, metered_gateway
from tests.unit.gateway.objects.test_log_delivery import delivered_lines, route_to

WRITERS = 16


def run(folder: Path, test: Callable[[Metered], Awaitable[None]]) -> None:
    async def main() -> None:
        async with metered_gateway(folder) as metered:
            await test(metered)

    asyncio.run(main())


def tenant_id() -> str:
    return TENANT.hex()


@pytest.mark.parametrize("subject", [Subject.TENANT, Subject.BUCKET])
@pytest.mark.parametrize("body_bytes", [1000, 200_000])
def test_sixteen_writers_at_the_edge_never_overshoot(
    tmp_path: Path, subject: Subject, body_bytes: int
) -> None:
    """Each writer tries until he is refused: what is stored is the limit to the last object."""

    async def main(metered: Metered) -> None:
        gateway, services = metered.gateway, metered.gateway.services
        name = tenant_id() if subject is Subject.TENANT else metered.bucket_id.hex()
        await gateway.put("there", b"x" * body_bytes)
        await set_limits(services, subject, name, Quota(stored_bytes=21 * body_bytes + 17))
        refused = 0

        async def write(number: int) -> None:
            nonlocal refused
            for attempt in range(4):
                body = BytesBody(bytes(body_bytes))
                try:
                    await put_object(
                        gateway.ctx(), BUCKET, f"{number}-{attempt}", body, PutOptions()
                    )
                except QuotaExceeded:
                    refused += 1
                    assert not body._at, "not a byte of a refused body is read"

        await asyncio.gather(*(write(number) for number in range(WRITERS)))
        held = open_usage(metered.index.usage_entry(metered.bucket_id))
        assert held.stored_bytes == 21 * body_bytes and held.objects == 21
        assert refused == 4 * WRITERS - 20

    run(tmp_path, main)


def test_room_comes_back_with_deletes_and_failed_writes(tmp_path: Path) -> None:
    async def main(metered: Metered) -> None:
        gateway, services = metered.gateway, metered.gateway.services
        await set_limits(services, Subject.TENANT, tenant_id(), Quota(stored_bytes=1000))
        await gateway.put("a", bytes(600))
        with pytest.raises(QuotaExceeded):
            await gateway.put("b", bytes(401))
        broken = BytesBody(bytes(400), fails_at=100)
        with pytest.raises(Exception, match="Storage error"):
            await put_object(gateway.ctx(), BUCKET, "b", broken, PutOptions())
        await gateway.put("b", bytes(400))
        await delete_object(gateway.ctx(), BUCKET, "a")
        await gateway.put("c", bytes(600))
        await set_limits(services, Subject.TENANT, tenant_id(), NO_QUOTA)
        assert not services.quotas.is_set and stored_limits(services) == []
        await gateway.put("d", bytes(6000))

    run(tmp_path, main)


def test_uploads_count_as_objects_and_parts_as_bytes(tmp_path: Path) -> None:
    async def main(metered: Metered) -> None:
        gateway, services = metered.gateway, metered.gateway.services
        ctx, bucket = gateway.ctx(), metered.bucket_id.hex()
        await set_limits(services, Subject.BUCKET, bucket, Quota(objects=2, stored_bytes=900))
        first = await create_upload(ctx, BUCKET, "a", CreateUploadOptions())
        second = await create_upload(ctx, BUCKET, "b", CreateUploadOptions())
        with pytest.raises(QuotaExceeded):
            await create_upload(ctx, BUCKET, "c", CreateUploadOptions())
        with pytest.raises(QuotaExceeded):
            await gateway.put("c", b"")
        part = await upload_part(ctx, BUCKET, "a", first.upload_id, 1, BytesBody(bytes(900)), None)
        with pytest.raises(QuotaExceeded):
            await upload_part(ctx, BUCKET, "a", first.upload_id, 2, BytesBody(b"x"), None)
        listed = [CompletePart(part_number=1, etag=part.etag)]
        await complete_upload(ctx, BUCKET, "a", first.upload_id, listed, CompleteOptions())
        await abort_upload(ctx, BUCKET, "b", second.upload_id)
        await gateway.put("c", b"")
        with pytest.raises(QuotaExceeded):
            await gateway.put("d", b"")

    run(tmp_path, main)


def test_a_tenant_has_so_many_buckets(tmp_path: Path) -> None:
    async def main(metered: Metered) -> None:
        gateway, services = metered.gateway, metered.gateway.services
        await set_limits(services, Subject.TENANT, tenant_id(), Quota(buckets=2, stored_bytes=100))
        await create_bucket(gateway.ctx(), "second", None)
        with pytest.raises(TooManyBuckets):
            await create_bucket(gateway.ctx(), "third", None)
        body = BytesBody(bytes(60))
        await put_object(gateway.ctx(), "second", "k", body, PutOptions())
        with pytest.raises(QuotaExceeded):
            await gateway.put("k", bytes(60))

    run(tmp_path, main)


def test_a_user_has_so_many_access_keys(tmp_path: Path) -> None:
    async def main(metered: Metered) -> None:
        services = metered.gateway.services
        await set_limits(services, Subject.TENANT, tenant_id(), Quota(access_keys=1))
        await create_user(services, TENANT, "ana")
        await create_access_key(services, TENANT, "ana")
        with pytest.raises(IdentityLimit):
            await create_access_key(services, TENANT, "ana")
        await set_limits(services, Subject.TENANT, tenant_id(), NO_QUOTA)
        await create_access_key(services, TENANT, "ana")

    run(tmp_path, main)


def test_an_access_log_into_a_full_bucket_holds_up_no_other(tmp_path: Path) -> None:
    async def main(metered: Metered) -> None:
        gateway, services = metered.gateway, metered.gateway.services
        full, roomy = await route_to(gateway, "full-logs"), await route_to(gateway, "logs")
        name = full.target.hex()
        await set_limits(services, Subject.BUCKET, name, Quota(stored_bytes=3))
        services.log_spool.add(full, "one line\n")
        await services.log_spool.flush()
        assert await delivered_lines(gateway, "full-logs") == 0
        services.log_spool.add(roomy, "another\n")
        await services.log_spool.flush()
        assert await delivered_lines(gateway, "logs") == 1

    run(tmp_path, main)


def test_limits_of_another_kind_are_refused() -> None:
    for subject, limits in (
        (Subject.BUCKET, {"buckets": 1}),
        (Subject.SOURCE, {"stored_bytes": 1}),
        (Subject.TENANT, {"stored_bytes": -1}),
        (Subject.TENANT, {"stored_bytes": True}),
        (Subject.ACCESS_KEY, {"requests_per_s": 0}),
        (Subject.TENANT, {"nonsense": 1}),
    ):
        with pytest.raises(QuotaInvalid):
            quota_of(subject, limits)
