"""Rotation of bucket and tenant keys (K-10, C6): everything goes under the newest epoch and stays
readable, also when it is written meanwhile; the older epochs can be disabled and destroyed.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.data.envelope import TenantKeyDisabled
from gateway.jobs.rotation import KeyRotation
from gateway.meta import bucket_key_rows, keyspace, rotations
from gateway.meta.records import open_version
from gateway.model.bucket import Versioning
from gateway.model.errors import KmsKeyDestroyed, KmsKeyDisabled
from gateway.model.key_states import KeyState
from gateway.model.names import ObjectKey
from gateway.objects import key_epochs
from gateway.objects.buckets import create_bucket, delete_bucket
from gateway.objects.complete import complete_upload
from gateway.objects.delete import delete_object
from gateway.objects.key_rotation import (
    RotationUnderWay,
    commit_rows,
    rotate_bucket_key,
    rotate_tenant_key,
)
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.put import put_object
from gateway.objects.rename import rename_object
from gateway.objects.tagging import put_object_tags
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CreateUploadOptions,
    PutOptions,
    RenameOptions,
)
from gateway.objects.versioning import set_versioning
from gateway.s3.errors import s3_code_for
from storaged.base.errors import StorageError
from tests.support.annotations import annotate
from tests.support.gateway import BUCKET, TENANT, BytesBody, Gateway
from tests.support.object_rig import keys
from tests.support.rotations import (
    bucket_of,
    epochs_of_rows,
    forget_all,
    rotate,
    run,
    states_of,
    to_the_end,
)
from tests.support.under_keys import BY_CUSTOMER, LARGE, SMALL, WITH_KEY, Everything

pytestmark = pytest.mark.proves("K-10", "C6")


@pytest.mark.parametrize("times", [1, 3])
def test_k10_everything_is_read_after_the_old_key_was_destroyed(times: int) -> None:
    async def test(gateway: Gateway) -> None:
        everything = Everything(gateway)
        await everything.store()
        for epoch in range(1, times + 1):
            before = epochs_of_rows(gateway)
            assert set(before) == {epoch}
            stripes = gateway.named_bytes()
            assert await rotate(gateway) == epoch + 1
            await to_the_end(gateway)
            assert epochs_of_rows(gateway) == {epoch + 1: before.total()}
            assert gateway.named_bytes() == stripes, "no shard moves"
            assert states_of(gateway)[-2:] == ["DECRYPT_ONLY", "ACTIVE"]
            report = rotations.scan_reports(gateway.log, gateway.services.records, limit=9)[0]
            assert (report.outcome, report.epoch) == ("complete", epoch + 1)
            assert report.done == report.total == before.total()
            bucket = bucket_of(gateway)
            await key_epochs.set_bucket_epoch(gateway.services, bucket, epoch, KeyState.DISABLED)
            lost = await key_epochs.destroy_bucket_epoch(
                gateway.services, bucket, epoch, forced=False
            )
            assert lost == {}
            forget_all(gateway)
        await everything.read()
        assert states_of(gateway) == ["DESTROYED"] * times + ["ACTIVE"]

    run(test)


def test_c6_what_is_in_flight_when_the_key_is_rotated_comes_out_under_the_newest() -> None:
    """Bodies, parts and a completed upload that began before, beside an annotation."""

    class Slow(BytesBody):
        async def read(self) -> bytes | memoryview:  # type: ignore[override]
            if not self.gate.is_set():
                self.came.set()
                await self.gate.wait()
            return await super().read()  # type: ignore[return-value]

    async def test(gateway: Gateway) -> None:
        ctx = gateway.ctx
        await gateway.put("k", SMALL)
        await annotate(gateway, "note", b"a text")
        made = await create_upload(ctx(), BUCKET, "upload", CreateUploadOptions())
        bodies = [Slow(content) for content in (SMALL, LARGE, LARGE, b"c" * 900)]
        for body in bodies:
            body.gate, body.came = asyncio.Event(), asyncio.Event()
        asked = PutOptions(encryption=BY_CUSTOMER)
        tasks = [
            asyncio.ensure_future(put_object(ctx(), BUCKET, "a", bodies[0], PutOptions())),
            asyncio.ensure_future(put_object(ctx(), BUCKET, "b", bodies[1], PutOptions())),
            asyncio.ensure_future(
                upload_part(ctx(), BUCKET, "upload", made.upload_id, 1, bodies[2], None)
            ),
            asyncio.ensure_future(put_object(ctx(), BUCKET, "c", bodies[3], asked)),
        ]
        await asyncio.gather(*(body.came.wait() for body in bodies))
        await rotate(gateway)
        await to_the_end(gateway)
        assert states_of(gateway) == ["DECRYPT_ONLY", "ACTIVE"]
        for body in bodies:
            body.gate.set()
        *_, part, _ = await asyncio.gather(*tasks)
        assert set(epochs_of_rows(gateway)) == {2}, "nothing is written under a retired epoch"
        bucket = bucket_of(gateway)
        await key_epochs.set_bucket_epoch(gateway.services, bucket, 1, KeyState.DISABLED)
        await key_epochs.destroy_bucket_epoch(gateway.services, bucket, 1, forced=False)
        forget_all(gateway)
        done = [CompletePart(part_number=1, etag=part.etag)]
        await complete_upload(ctx(), BUCKET, "upload", made.upload_id, done, CompleteOptions())
        for key, content in (("a", SMALL), ("b", LARGE), ("upload", LARGE), ("k", SMALL)):
            assert await gateway.get(key) == content
        assert await gateway.get("c", WITH_KEY) == b"c" * 900

    run(test)


def test_c6_rows_that_move_behind_the_job_are_put_under_the_newest_epoch() -> None:
    """A version that becomes current again, and an object that is renamed, change their rows."""

    async def test(gateway: Gateway) -> None:
        await gateway.put("old", SMALL)
        await rotate(gateway)
        await rename_object(gateway.ctx(), BUCKET, "old", "a-new", RenameOptions())
        assert epochs_of_rows(gateway) == {2: 1}
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        await gateway.put("k", b"one")
        hiding = (await gateway.put("k", b"two")).version_id
        await rotate_on(gateway)
        await delete_object(gateway.ctx(), BUCKET, "k", version_id=hiding)
        assert _epoch_of(gateway, "k") == 3
        assert await gateway.get("k") == b"one"

    async def rotate_on(gateway: Gateway) -> None:
        await to_the_end(gateway)
        assert await rotate(gateway) == 3

    run(test)


def _epoch_of(gateway: Gateway, key: str) -> int:
    row_key = keyspace.current_row(bucket_of(gateway).bucket_id, ObjectKey(key.encode()))
    value = gateway.log.read((row_key,))[0]
    assert value is not None
    return open_version(gateway.services.records, row_key, value).version.key_epoch


def test_c6_of_two_rotations_at_once_one_is_refused() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", SMALL)
        bucket = bucket_of(gateway).bucket_id
        outcomes = await asyncio.gather(
            *(rotate_bucket_key(gateway.services, bucket, 0) for _ in range(5)),
            return_exceptions=True,
        )
        refused = [one for one in outcomes if isinstance(one, RotationUnderWay)]
        assert len(refused) == 4
        # Two processes of the job would do no harm either.
        jobs = (KeyRotation(gateway.services), KeyRotation(gateway.services))
        await asyncio.gather(*(to_the_end(gateway, job) for job in jobs))
        assert states_of(gateway) == ["DECRYPT_ONLY", "ACTIVE"]
        assert await gateway.get("key") == SMALL

    run(test)


def test_a_disabled_epoch_refuses_until_it_is_enabled() -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("key", SMALL)
        await gateway.put("parts", LARGE)
        bucket = bucket_of(gateway)
        for refused in (1, 2):
            with pytest.raises(key_epochs.EpochInUse):
                await key_epochs.set_bucket_epoch(services, bucket, refused, KeyState.DISABLED)
        await rotate(gateway)
        await gateway.put("next", SMALL)
        assert await gateway.get("key") == SMALL
        await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
        for key in ("key", "parts"):
            with pytest.raises(KmsKeyDisabled):
                await gateway.get(key)
            with pytest.raises(KmsKeyDisabled):
                await put_object_tags(gateway.ctx(), BUCKET, key, None, (("a", "b"),))
        with pytest.raises(KmsKeyDisabled):
            await keys(gateway)
        assert await gateway.get("next") == SMALL
        job = await to_the_end(gateway)
        assert "waits" in job.progress().detail and epochs_of_rows(gateway) == {1: 2, 2: 1}
        with pytest.raises(key_epochs.EpochNotEmpty):
            await key_epochs.destroy_bucket_epoch(services, bucket, 1, forced=False)
        about = await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DECRYPT_ONLY)
        assert about.state is KeyState.ACTIVE, "what it was before: the rotation goes on"
        with pytest.raises(key_epochs.EpochNotDisabled):
            await key_epochs.destroy_bucket_epoch(services, bucket, 1, forced=True)
        assert await gateway.get("key") == SMALL
        await to_the_end(gateway)
        assert states_of(gateway) == ["DECRYPT_ONLY", "ACTIVE"]

    run(test)


def test_a_destroyed_epoch_is_gone_with_what_was_left_under_it() -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("key", SMALL)
        await rotate(gateway)
        bucket = bucket_of(gateway)
        await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
        lost = await key_epochs.destroy_bucket_epoch(services, bucket, 1, forced=True)
        assert lost == {"current": 1}
        with pytest.raises(KmsKeyDestroyed):
            await gateway.get("key")
        with pytest.raises(key_epochs.NoSuchEpoch):
            await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DECRYPT_ONLY)

    run(test)


def test_a_rotation_ends_without_what_is_under_a_destroyed_epoch() -> None:
    """Else the key could never be rotated again."""

    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("lost", SMALL)
        await rotate(gateway)
        bucket = bucket_of(gateway)
        await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
        await key_epochs.destroy_bucket_epoch(services, bucket, 1, forced=True)
        await gateway.put("kept", SMALL)
        await to_the_end(gateway)
        report = rotations.scan_reports(gateway.log, services.records, limit=9)[0]
        assert (report.outcome, report.unreadable) == ("left", 1)
        assert await rotate(gateway) == 3
        await to_the_end(gateway)
        assert epochs_of_rows(gateway) == {1: 1, 3: 1}
        assert await gateway.get("kept") == SMALL

    run(test)


def test_a_tenants_rotation_ends_without_what_is_under_a_destroyed_epoch() -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await rotate_tenant_key(services, TENANT, 0)
        await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.DISABLED)
        lost = await key_epochs.destroy_tenant_epoch(services, TENANT, 1, forced=True)
        assert lost == {"bucket keys": 1}
        await create_bucket(gateway.ctx(), "other", None)
        await gateway.put("kept", SMALL, bucket="other")
        await to_the_end(gateway)
        await rotate_tenant_key(services, TENANT, 0)
        await to_the_end(gateway)
        assert not rotations.scan_rotations(gateway.log, services.records, limit=9)
        assert await gateway.get("kept", bucket="other") == SMALL

    run(test)


def test_a_bucket_that_goes_takes_its_rotation_along() -> None:
    async def test(gateway: Gateway) -> None:
        await create_bucket(gateway.ctx(), "other", None)
        await rotate(gateway, "other")
        await delete_bucket(gateway.ctx(), "other")
        await to_the_end(gateway)
        found = rotations.scan_rotations(gateway.log, gateway.services.records, limit=9)
        report = rotations.scan_reports(gateway.log, gateway.services.records, limit=9)[0]
        assert not found and report.outcome == "gone"

    run(test)


def test_k10_a_tenants_key_is_rotated_with_what_is_under_it() -> None:
    async def test(gateway: Gateway) -> None:
        services, provider = gateway.services, gateway.services.bucket_keys.provider
        await gateway.put("key", SMALL)
        for name in ("b-one", "b-two"):
            await create_bucket(gateway.ctx(), name, None)
        await rotate(gateway, "b-one")
        await rotate_tenant_key(services, TENANT, 0)
        with pytest.raises(RotationUnderWay):
            await rotate_tenant_key(services, TENANT, 0)
        await create_bucket(gateway.ctx(), "b-three", None)
        await to_the_end(gateway)
        assert [one.state for one in provider.tenant_epochs(TENANT)] == [
            KeyState.DECRYPT_ONLY,
            KeyState.ACTIVE,
        ]
        report = rotations.scan_reports(gateway.log, services.records, limit=9)
        assert {(one.kind, one.done) for one in report} == {("tenant", 4), ("bucket", 0)}
        with pytest.raises(key_epochs.EpochInUse):
            await key_epochs.set_tenant_epoch(services, TENANT, 2, KeyState.DISABLED)
        await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.DISABLED)
        assert await key_epochs.destroy_tenant_epoch(services, TENANT, 1, forced=False) == {}
        forget_all(gateway)
        assert await gateway.get("key") == SMALL
        await gateway.put("next", SMALL, bucket="b-three")

    run(test)


def test_a_damaged_key_of_a_bucket_holds_no_rotation_of_its_tenants_key() -> None:
    async def test(gateway: Gateway) -> None:
        services, provider = gateway.services, gateway.services.bucket_keys.provider
        await gateway.put("key", SMALL)
        await create_bucket(gateway.ctx(), "b-two", None)
        bucket = bucket_of(gateway, "b-two").bucket_id
        (held,) = bucket_key_rows.scan_bucket_keys(gateway.log, services.records, bucket)
        for wrapped in (bytes(len(held.wrapped)), held.wrapped):
            key = held._replace(wrapped=wrapped)
            write = bucket_key_rows.set_bucket_key(services.records, services.nonces, bucket, key)
            await commit_rows(services, (), (write,), bucket)
            await rotate_tenant_key(services, TENANT, 0)
            await to_the_end(gateway)
            report = rotations.scan_reports(gateway.log, services.records, limit=9)[0]
            states = [one.state for one in provider.tenant_epochs(TENANT)]
            if wrapped != held.wrapped:
                assert (report.outcome, report.unreadable, report.done) == ("left", 1, 1)
                assert states == [KeyState.ACTIVE] * 2
                await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.DISABLED)
                with pytest.raises(key_epochs.EpochNotEmpty):
                    await key_epochs.destroy_tenant_epoch(services, TENANT, 1, forced=False)
                await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.ACTIVE)
        assert (report.outcome, report.unreadable) == ("complete", 0)
        assert states == [KeyState.DECRYPT_ONLY] * 2 + [KeyState.ACTIVE]
        forget_all(gateway)
        assert await gateway.get("key") == SMALL
        await gateway.put("key", SMALL, bucket="b-two")

    run(test)


def test_a_tenants_disabled_epoch_refuses_what_is_under_it() -> None:
    async def test(gateway: Gateway) -> None:
        services, provider = gateway.services, gateway.services.bucket_keys.provider
        await gateway.put("key", SMALL)
        await rotate_tenant_key(services, TENANT, 0)
        await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.DISABLED)
        with pytest.raises(TenantKeyDisabled):
            await gateway.get("key")
        with pytest.raises(key_epochs.EpochNotEmpty):
            await key_epochs.destroy_tenant_epoch(services, TENANT, 1, forced=False)
        assert "waits" in (await to_the_end(gateway)).progress().detail
        await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.DECRYPT_ONLY)
        assert await gateway.get("key") == SMALL
        await to_the_end(gateway)
        assert provider.tenant_epochs(TENANT)[0].state is KeyState.DECRYPT_ONLY

    run(test)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KmsKeyDisabled(), "KMS.DisabledException"),
        (TenantKeyDisabled(), "KMS.DisabledException"),
        (KmsKeyDestroyed(), "KMS.KMSInvalidStateException"),
    ],
)
def test_s3_tells_of_a_refusing_key_as_its_own_does(error: StorageError, code: str) -> None:
    answer = s3_code_for(error)
    assert (answer.status, answer.code) == (400, code)
