"""Rotation of named keys, what S3 calls KMS keys (K-10): everything goes under the newest epoch and
stays readable, also what is in flight meanwhile; older epochs can be disabled and destroyed.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.commit.change import Change
from gateway.data.envelope import NamedKeyDisabled, NamedKeyMissing
from gateway.jobs import named_pass
from gateway.jobs.rotation import KeyRotation
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace, rotations
from gateway.meta.kv import Write
from gateway.meta.records import open_version, seal_version
from gateway.model.bucket import Versioning
from gateway.model.key_states import KeyState
from gateway.model.names import BucketName, object_key
from gateway.objects import key_epochs, named_epochs
from gateway.objects.buckets import create_bucket
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object
from gateway.objects.encryption_update import update_encryption
from gateway.objects.key_rotation import RotationUnderWay, commit_rows, rotate_tenant_key
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.named_keys import DEFAULT_KEY_ID, create_named_key
from gateway.objects.put import put_object
from gateway.objects.rename import rename_object
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopyOptions,
    CopySource,
    CreateUploadOptions,
    EncryptionAsked,
    GetOptions,
    PutOptions,
    RenameOptions,
)
from gateway.objects.versioning import set_versioning
from gateway.s3.errors import s3_code_for
from tests.support.gateway import BUCKET, TENANT, BytesBody, Gateway
from tests.support.named_rotations import (
    BY_NAME,
    NAME,
    name_states,
    rotate_name,
    rows_under,
    run_named,
)
from tests.support.rotations import bucket_of, forget_all, rotate, to_the_end
from tests.support.under_keys import BY_CUSTOMER, LARGE, SMALL, WITH_KEY

pytestmark = pytest.mark.proves("K-10", "C6")

PUT = PutOptions(encryption=BY_NAME)
OTHER = PutOptions(encryption=EncryptionAsked(kind="aws:kms"))
DSSE = PutOptions(encryption=EncryptionAsked(kind="aws:kms:dsse", key_id=NAME))
OF_BUCKET = PutOptions(
    encryption=EncryptionAsked(kind="aws:kms", key_id=f"alias/{NAME}", bucket_key="true")
)


async def _retire(gateway: Gateway, epoch: int) -> None:
    services = gateway.services
    await named_epochs.set_named_epoch(services, TENANT, NAME, epoch, KeyState.DISABLED)
    lost = await named_epochs.destroy_named_epoch(services, TENANT, NAME, epoch, forced=False)
    assert lost == {}


@pytest.mark.parametrize("times", [1, 2])
def test_k10_everything_is_read_after_the_old_epoch_was_destroyed(
    tmp_path: Path, times: int
) -> None:
    async def test(gateway: Gateway) -> None:
        ctx = gateway.ctx
        for at, options in enumerate((PUT, DSSE, OF_BUCKET, OTHER, PutOptions())):
            await gateway.put(f"small-{at}", SMALL, options)
            await gateway.put(f"large-{at}", LARGE, options)
        await gateway.put("customer", SMALL, PutOptions(encryption=BY_CUSTOMER))
        await create_bucket(ctx(), "versions", None)
        await set_versioning(ctx(), "versions", Versioning.ENABLED)
        older = (await gateway.put("k", b"one", PUT, bucket="versions")).version_id
        await gateway.put("k", b"two", PUT, bucket="versions")
        await gateway.put("hidden", b"x", bucket="versions")
        await delete_object(ctx(), "versions", "hidden")
        begun = await create_upload(ctx(), BUCKET, "begun", CreateUploadOptions(encryption=BY_NAME))
        part = await upload_part(ctx(), BUCKET, "begun", begun.upload_id, 1, BytesBody(SMALL), None)
        stripes = gateway.named_bytes()
        for epoch in range(1, times + 1):
            assert await rows_under(gateway) == {epoch: 9}
            assert await rotate_name(gateway) == epoch + 1
            assert name_states(gateway)[-2:] == ["ACTIVE", "ACTIVE"]
            await to_the_end(gateway)
            assert await rows_under(gateway) == {epoch + 1: 9}
            assert name_states(gateway)[-2:] == ["DECRYPT_ONLY", "ACTIVE"]
            report = rotations.scan_reports(gateway.log, gateway.services.records, limit=9)[0]
            assert (report.kind, report.name, report.outcome) == ("named-key", NAME, "complete")
            assert report.rewrapped == {"current": 7, "noncurrent": 1, "uploads": 1}
            await _retire(gateway, epoch)
        assert gateway.named_bytes() == stripes, "no shard moves"
        assert await rows_under(gateway, DEFAULT_KEY_ID) == {1: 2}
        forget_all(gateway)
        for at in range(5):
            assert await gateway.get(f"small-{at}") == SMALL
            assert await gateway.get(f"large-{at}") == LARGE
        assert await gateway.get("customer", WITH_KEY) == SMALL
        assert await gateway.get("k", bucket="versions") == b"two"
        asked = GetOptions(version_id=older)
        assert await gateway.get("k", asked, bucket="versions") == b"one"
        chosen = [CompletePart(part_number=1, etag=part.etag)]
        await complete_upload(ctx(), BUCKET, "begun", begun.upload_id, chosen, CompleteOptions())
        assert await gateway.get("begun") == SMALL

    run_named(tmp_path, test)


def test_the_default_key_is_rotated_as_any_other(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        with pytest.raises(NamedKeyMissing):
            await rotate_name(gateway, DEFAULT_KEY_ID)
        await gateway.put("k", SMALL, OTHER)
        assert await rotate_name(gateway, DEFAULT_KEY_ID) == 2
        await to_the_end(gateway)
        assert await rows_under(gateway, DEFAULT_KEY_ID) == {2: 1}
        assert await gateway.get("k") == SMALL

    run_named(tmp_path, test)


class Slow(BytesBody):
    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.gate, self.came = asyncio.Event(), asyncio.Event()

    async def read(self) -> bytes | memoryview:  # type: ignore[override]
        if not self.gate.is_set():
            self.came.set()
            await self.gate.wait()
        return await super().read()  # type: ignore[return-value]


def test_c6_what_is_in_flight_comes_out_under_the_newest(tmp_path: Path) -> None:
    """Bodies that were begun before a rotation, and end after the older epoch is no more."""

    async def test(gateway: Gateway) -> None:
        ctx = gateway.ctx
        made = await create_upload(ctx(), BUCKET, "upload", CreateUploadOptions(encryption=BY_NAME))
        bodies = [Slow(content) for content in (SMALL, LARGE, LARGE)]
        tasks = [
            asyncio.ensure_future(put_object(ctx(), BUCKET, "a", bodies[0], PUT)),
            asyncio.ensure_future(put_object(ctx(), BUCKET, "b", bodies[1], OF_BUCKET)),
            asyncio.ensure_future(
                upload_part(ctx(), BUCKET, "upload", made.upload_id, 1, bodies[2], None)
            ),
        ]
        await asyncio.gather(*(body.came.wait() for body in bodies))
        await rotate_name(gateway)
        await to_the_end(gateway)
        for body in bodies:
            body.gate.set()
        _, _, part = await asyncio.gather(*tasks)
        chosen = [CompletePart(part_number=1, etag=part.etag)]  # type: ignore[union-attr]
        await complete_upload(ctx(), BUCKET, "upload", made.upload_id, chosen, CompleteOptions())
        assert await rows_under(gateway) == {2: 3}
        await _retire(gateway, 1)
        forget_all(gateway)
        contents = [await gateway.get(key) for key in ("a", "b", "upload")]
        assert contents == [SMALL, LARGE, LARGE]

    run_named(tmp_path, test)


@pytest.mark.parametrize("is_destroyed", [False, True])
def test_what_was_wrapped_before_does_not_come_under_a_disabled_epoch(
    tmp_path: Path, is_destroyed: bool
) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        body = Slow(SMALL)
        task = asyncio.ensure_future(put_object(gateway.ctx(), BUCKET, "a", body, PUT))
        await body.came.wait()
        await rotate_name(gateway)
        await to_the_end(gateway)
        await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DISABLED)
        if is_destroyed:
            await named_epochs.destroy_named_epoch(services, TENANT, NAME, 1, forced=False)
        body.gate.set()
        with pytest.raises(NamedKeyDisabled) as refused:
            await task
        assert s3_code_for(refused.value).code == "KMS.DisabledException"
        assert await rows_under(gateway) == {}

    run_named(tmp_path, test)


def test_what_moves_goes_under_the_newest(tmp_path: Path) -> None:
    """A rename, a copy, another key, and a version that becomes the current one again."""

    async def test(gateway: Gateway) -> None:
        ctx = gateway.ctx
        for key in "abc":
            await gateway.put(key, key.encode() * 9, PUT)
        await create_bucket(ctx(), "versions", None)
        await set_versioning(ctx(), "versions", Versioning.ENABLED)
        await gateway.put("k", b"one", PUT, bucket="versions")
        two = (await gateway.put("k", b"two", bucket="versions")).version_id
        await rotate_name(gateway)
        job = KeyRotation(gateway.services)
        await job.step()  # it wraps from here on; no row was looked at yet
        assert await rows_under(gateway) == {1: 4}
        await rename_object(ctx(), BUCKET, "a", "A", RenameOptions())
        source = CopySource(bucket=BUCKET, key="b")
        await copy_object(ctx(), source, BUCKET, "B", CopyOptions(encryption=BY_NAME))
        await update_encryption(ctx(), BUCKET, "c", None, NAME, bucket_key=True)
        await delete_object(ctx(), "versions", "k", version_id=two)
        assert await rows_under(gateway) == {1: 1, 2: 4}
        await to_the_end(gateway, job)
        assert await rows_under(gateway) == {2: 5}
        await _retire(gateway, 1)
        forget_all(gateway)
        for key in ("A", "b", "B", "c"):
            assert await gateway.get(key) == key.lower().encode() * 9
        assert await gateway.get("k", bucket="versions") == b"one"

    run_named(tmp_path, test)


def test_a_disabled_epoch_refuses_at_once_and_the_rotation_waits(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("k", SMALL, PUT)
        assert await gateway.get("k") == SMALL
        with pytest.raises(key_epochs.EpochInUse):
            await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DISABLED)
        await rotate_name(gateway)
        await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DISABLED)
        with pytest.raises(NamedKeyDisabled):
            await gateway.get("k")
        job = await to_the_end(gateway)
        assert "waits" in job.progress().detail
        with pytest.raises(key_epochs.EpochNotEmpty):
            await named_epochs.destroy_named_epoch(services, TENANT, NAME, 1, forced=False)
        await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DECRYPT_ONLY)
        assert await gateway.get("k") == SMALL
        with pytest.raises(key_epochs.EpochNotDisabled):
            await named_epochs.destroy_named_epoch(services, TENANT, NAME, 1, forced=False)
        await to_the_end(gateway)
        assert name_states(gateway) == ["DECRYPT_ONLY", "ACTIVE"]

    run_named(tmp_path, test)


def test_what_is_lost_with_an_epoch_keeps_nothing_else_from_going_on(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        services, ctx = gateway.services, gateway.ctx
        await set_versioning(ctx(), BUCKET, Versioning.ENABLED)
        await gateway.put("k", b"lost", PUT)
        two = (await gateway.put("k", b"two")).version_id
        await rotate_name(gateway)
        await KeyRotation(services).step()
        await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DISABLED)
        lost = await named_epochs.destroy_named_epoch(services, TENANT, NAME, 1, forced=True)
        assert lost == {"under named keys": 1}
        await to_the_end(gateway)
        report = rotations.scan_reports(gateway.log, services.records, limit=9)[0]
        assert (report.outcome, report.unreadable) == ("left", 1)
        await delete_object(ctx(), BUCKET, "k", version_id=two)  # the lost one is current again
        with pytest.raises(NamedKeyDisabled):
            await gateway.get("k")
        await gateway.put("k", b"three", PUT)
        assert await gateway.get("k") == b"three"

    run_named(tmp_path, test)


def test_what_does_not_open_stays_and_keeps_its_epoch_in_use(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        for key in ("whole", "damaged"):
            await gateway.put(key, SMALL, PUT)
        bucket = bucket_of(gateway).bucket_id
        row_key = keyspace.current_row(bucket, object_key(b"damaged"))
        value = gateway.log.read((row_key,))[0]
        assert value is not None
        stored = open_version(services.records, row_key, value)
        wrapped = stored.version.wrapped_dek
        broken = replace(stored.version, wrapped_dek=wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
        sealed = seal_version(services.records, services.nonces, row_key, broken, stored.layout)
        await commit_rows(services, (), (Write(row_key, sealed),), bucket)
        await rotate_name(gateway)
        await to_the_end(gateway)
        report = rotations.scan_reports(gateway.log, services.records, limit=9)[0]
        assert (report.outcome, report.unreadable, report.done) == ("left", 1, 1)
        assert name_states(gateway) == ["ACTIVE", "ACTIVE"]
        assert await rows_under(gateway) == {0: 1, 2: 1}
        await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DISABLED)
        with pytest.raises(key_epochs.EpochNotEmpty):
            await named_epochs.destroy_named_epoch(services, TENANT, NAME, 1, forced=False)
        assert await gateway.get("whole") == SMALL

    run_named(tmp_path, test)


def test_a_bucket_that_is_just_being_deleted_is_waited_for(tmp_path: Path) -> None:
    """It may come back, and with it what has read its row before."""

    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await create_bucket(gateway.ctx(), "going", None)
        stored = bucket_rows.find_bucket(gateway.log, services.records, BucketName("going"))
        assert stored is not None
        request = services.env.random_bytes(16)
        batch = bucket_rows.close_batch(services.records, services.nonces, stored, request)
        await gateway.log.commit_change(Change(batch=batch))
        await rotate_name(gateway)
        job = KeyRotation(services)
        turns = bucket_of(gateway).named_turns
        await rotate(gateway)
        for _ in range(3):
            await to_the_end(gateway, job)  # others go on
            (waiting,) = rotations.scan_rotations(gateway.log, services.records, limit=9)
            assert waiting.rotation.number == 0 and waiting.rotation.kind == rotations.NAMED
            assert bucket_of(gateway).named_turns == turns, "no bucket is turned for nothing"
            await services.env.sleep(named_pass.WAIT_S)
        with pytest.raises(RotationUnderWay):
            await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DISABLED)
            await named_epochs.destroy_named_epoch(services, TENANT, NAME, 1, forced=False)
        await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DECRYPT_ONLY)
        id_ = stored.bucket.bucket_id
        closed = bucket_rows.read_closed_bucket(gateway.log, services.records, id_)
        assert closed is not None
        request = services.env.random_bytes(16)
        batch = bucket_rows.reopen_batch(services.records, services.nonces, closed, request)
        await gateway.log.commit_change(Change(batch=batch))
        await to_the_end(gateway, job)
        assert bucket_of(gateway, "going").named_turns
        assert name_states(gateway) == ["DECRYPT_ONLY", "ACTIVE"]

    run_named(tmp_path, test)


def test_a_key_is_rotated_once_at_a_time_and_beside_others(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        await create_named_key(gateway.services, TENANT, "bills")
        for at in range(9):
            await gateway.put(f"{at}", SMALL, PUT)
        begun = await asyncio.gather(
            rotate_name(gateway), rotate_name(gateway), return_exceptions=True
        )
        assert sorted(str(type(one).__name__) for one in begun) == ["RotationUnderWay", "int"]
        assert await rotate_name(gateway, "bills") == 2
        assert await rotate(gateway) == 2
        await rotate_tenant_key(gateway.services, TENANT, 0)
        with pytest.raises(RotationUnderWay):
            await rotate_name(gateway)
        await to_the_end(gateway)
        assert await rows_under(gateway) == {2: 9}
        assert bucket_of(gateway).key_epoch == 2
        assert name_states(gateway, "bills") == ["DECRYPT_ONLY", "ACTIVE"]
        forget_all(gateway)
        assert await gateway.get("8") == SMALL

    run_named(tmp_path, test)
