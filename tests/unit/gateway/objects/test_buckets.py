"""Buckets, and the credentials that lead to their owner."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable

import pytest

from gateway.commit.change import Change, Committed
from gateway.jobs import garbage
from gateway.meta import accounts
from gateway.meta import buckets as bucket_rows
from gateway.meta.kv import Batch
from gateway.model.errors import (
    AccessDenied,
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    InvalidArgument,
    InvalidBucketName,
    InvalidLocationConstraint,
    NoSuchBucket,
    TooManyBuckets,
)
from gateway.model.names import bucket_name
from gateway.objects import buckets
from gateway.objects.credentials import SIGNING_KEY_TTL_S
from gateway.objects.delete import delete_object
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.parting import collect_garbage
from gateway.objects.values import CreateUploadOptions
from storaged.base.errors import StorageError
from tests.support.cluster import run_virtual
from tests.support.gateway import (
    ACCESS_KEY,
    BUCKET,
    ROOT,
    SECRET,
    STRANGER,
    TENANT,
    BytesBody,
    Gateway,
    memory_gateway,
)


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await test(gateway)

    asyncio.run(main())


def test_making_and_finding() -> None:
    async def test(gateway: Gateway) -> None:
        made = await buckets.create_bucket(gateway.ctx(), "second", "eu")
        assert await buckets.head_bucket(gateway.ctx(), "second") == made
        assert made.location == "eu"
        assert (await buckets.head_bucket(gateway.ctx(), BUCKET)).location == ""
        with pytest.raises(BucketAlreadyOwnedByYou):
            await buckets.create_bucket(gateway.ctx(), "second", None)
        with pytest.raises(BucketAlreadyExists):
            await buckets.create_bucket(gateway.ctx(STRANGER), "second", None)
        with pytest.raises(InvalidBucketName):
            await buckets.create_bucket(gateway.ctx(), "Second", None)
        with pytest.raises(InvalidLocationConstraint):
            await buckets.create_bucket(gateway.ctx(), "third", "mars-1")
        with pytest.raises(AccessDenied):
            await buckets.create_bucket(gateway.ctx(None), "third", None)
        for principal in (None, STRANGER):
            with pytest.raises(AccessDenied):
                await buckets.head_bucket(gateway.ctx(principal), BUCKET)
        with pytest.raises(NoSuchBucket):
            await buckets.head_bucket(gateway.ctx(), "third")

    run(test)


def test_listing() -> None:
    async def test(gateway: Gateway) -> None:
        for name in ("b-1", "b-2", "b-3", "c-1"):
            await buckets.create_bucket(gateway.ctx(), name, None)
        await buckets.create_bucket(gateway.ctx(STRANGER), "b-foreign", None)
        first = await buckets.list_buckets(gateway.ctx(), prefix="b", buckets_max=2)
        assert [held.name for held in first.buckets] == ["b-1", "b-2"]
        second = await buckets.list_buckets(gateway.ctx(), prefix="b", token=first.next_token)
        assert [held.name for held in second.buckets] == ["b-3", BUCKET]
        assert second.next_token is None
        with pytest.raises(InvalidArgument):
            await buckets.list_buckets(gateway.ctx(STRANGER), token=first.next_token)
        with pytest.raises(AccessDenied):
            await buckets.list_buckets(gateway.ctx(None))

    run(test)


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.objects.buckets.BUCKETS_PER_ACCOUNT_MAX", 2)

    async def test(gateway: Gateway) -> None:
        await buckets.create_bucket(gateway.ctx(), "second", None)
        with pytest.raises(TooManyBuckets):
            await buckets.create_bucket(gateway.ctx(), "third", None)

    run(test)


def test_deleting() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", b"x")
        with pytest.raises(BucketNotEmpty):
            await buckets.delete_bucket(gateway.ctx(), BUCKET)
        with pytest.raises(AccessDenied):
            await buckets.delete_bucket(gateway.ctx(STRANGER), BUCKET)
        await delete_object(gateway.ctx(), BUCKET, "key")
        upload = await create_upload(gateway.ctx(), BUCKET, "key", CreateUploadOptions())
        await upload_part(
            gateway.ctx(), BUCKET, "key", upload.upload_id, 1, BytesBody(b"part"), None
        )
        await buckets.delete_bucket(gateway.ctx(), BUCKET)
        with pytest.raises(NoSuchBucket):
            await buckets.delete_bucket(gateway.ctx(), BUCKET)
        with pytest.raises(NoSuchBucket):
            await gateway.get("key")
        with pytest.raises(NoSuchBucket):
            await gateway.put("key", b"")
        while await collect_garbage(gateway.services, rows_max=100):
            pass
        assert gateway.live_bytes() == {}
        await buckets.create_bucket(gateway.ctx(), BUCKET, None)
        await gateway.put("key", b"another bucket")
        assert await gateway.get("key") == b"another bucket"
        assert gateway.rows_of(b"K").__len__() == 1

    run(test)


def test_a_bucket_is_deleted_or_written_never_both() -> None:
    async def test(gateway: Gateway) -> None:
        for turn in range(10):
            name = f"bucket-{turn}"
            await buckets.create_bucket(gateway.ctx(), name, None)
            outcomes = await asyncio.gather(
                *(gateway.put(f"k{at}", b"x", bucket=name) for at in range(turn)),
                buckets.delete_bucket(gateway.ctx(), name),
                *(gateway.put(f"l{at}", b"x", bucket=name) for at in range(3)),
                return_exceptions=True,
            )
            errors = [found for found in outcomes if isinstance(found, BaseException)]
            assert all(isinstance(found, StorageError) for found in errors)
            is_there = bucket_rows.find_bucket(
                gateway.log, gateway.services.records, bucket_name(name)
            )
            written = len(outcomes) - len(errors) - (0 if is_there else 1)
            rows = [key for key in gateway.rows_of(b"O") if key[1:17] in _ids(gateway, name)]
            assert len(rows) == (written if is_there else 0)
            assert is_there or not written

    def _ids(gateway: Gateway, name: str) -> set[bytes]:
        found = bucket_rows.find_bucket(gateway.log, gateway.services.records, bucket_name(name))
        return set() if found is None else {bytes(found.bucket.bucket_id)}

    run(test)


def test_an_interrupted_deletion_is_finished() -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await buckets.create_bucket(gateway.ctx(), "empty-one", None)
        await gateway.put("key", b"x")
        for name in ("empty-one", BUCKET):
            stored = bucket_rows.find_bucket(gateway.log, services.records, bucket_name(name))
            assert stored is not None
            await gateway.log.commit(
                bucket_rows.close_batch(
                    services.records, services.nonces, stored, services.env.random_bytes(16)
                )
            )
        with pytest.raises(NoSuchBucket):
            await gateway.get("key")
        assert await buckets.finish_deletions(services) == 2
        assert await gateway.get("key") == b"x"
        await buckets.create_bucket(gateway.ctx(), "empty-one", None)

    run(test)


def test_a_deletion_that_its_caller_left_is_finished_by_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closed, an object in it all the same, and nobody there: it opens again without a restart."""
    monkeypatch.setattr(garbage, "DELETIONS_EVERY_S", 0.0)

    async def test(gateway: Gateway) -> None:
        services = gateway.services
        job = garbage.GarbageCollector(services)
        await job.step()
        await gateway.put("key", b"x")
        stored = bucket_rows.find_bucket(gateway.log, services.records, bucket_name(BUCKET))
        assert stored is not None
        await gateway.log.commit(
            bucket_rows.close_batch(
                services.records, services.nonces, stored, services.env.random_bytes(16)
            )
        )
        await job.step()
        assert await gateway.get("key") == b"x"

    run(test)


def test_a_deletion_whose_bucket_somebody_opened_again_does_not_say_that_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        commit_change = services.log.commit_change

        async def commit_and_be_overtaken(change: Change) -> Committed:
            monkeypatch.setattr(services.log, "commit_change", commit_change)
            await gateway.put("key", b"x")  # just before the bucket is closed
            done = await commit_change(change)
            await buckets.finish_deletions(services)
            return done

        monkeypatch.setattr(services.log, "commit_change", commit_and_be_overtaken)
        with pytest.raises(BucketNotEmpty):
            await buckets.delete_bucket(gateway.ctx(), BUCKET)
        assert await gateway.get("key") == b"x"

    run(test)


def test_signing_keys() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            credentials, services = gateway.services.credentials, gateway.services
            key = b"AWS4" + SECRET.encode()
            for step in ("20260101", "fr", "s3", "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            assert credentials.signing_key(ACCESS_KEY, "20260101", "fr") == (ROOT, key)
            for unknown in ("", "HXUNKNOWN", "x" * 500, "é"):
                assert credentials.signing_key(unknown, "20260101", "fr") is None
            stored = accounts.read_access_key(gateway.log, services.records, ACCESS_KEY)
            assert stored is not None
            off = accounts.AccessKey(
                access_key_id=ACCESS_KEY,
                secret=SECRET,
                tenant=TENANT,
                user="root",
                created_at_ms=1,
                enabled=False,
            )
            write = accounts.set_access_key(services.records, services.nonces, off)
            await gateway.log.commit(
                Batch(partition=bytes(16), request_id=b"r" * 16, checks=(), writes=(write,))
            )
            await asyncio.sleep(SIGNING_KEY_TTL_S + 0.1)
            assert credentials.signing_key(ACCESS_KEY, "20260101", "fr") is None
            assert SECRET not in repr(credentials) + repr(off)

    run_virtual(main())
