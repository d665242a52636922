"""B-15: somebody has stolen an access key and encrypts a bucket under a key that only he has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.admin.alarms import Alarms
from gateway.model.action import Action
from gateway.model.attributes import AES256, CUSTOMER, Attributes
from gateway.model.bucket import Versioning
from gateway.model.errors import AccessDenied, InvalidRequest
from gateway.objects.bucket_config import put_document
from gateway.objects.buckets import create_bucket
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object
from gateway.objects.encryption import DOCUMENT
from gateway.objects.lock_clock import DAY_MS
from gateway.objects.locks import COMPLIANCE
from gateway.objects.multipart import create_upload
from gateway.objects.put import put_object
from gateway.objects.values import (
    CopyOptions,
    CopySource,
    CreateUploadOptions,
    EncryptionAsked,
    Metadata,
    PutOptions,
)
from gateway.objects.versioning import set_versioning
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway
from tests.support.rotations import CUSTOMER_KEY

KEYS = [f"file-{number}" for number in range(1000)]
BY_THIEF = EncryptionAsked(customer=CUSTOMER_KEY)
RANSOM = PutOptions(encryption=BY_THIEF)


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            gateway.services.sse_over_http = True
            await test(gateway)

    asyncio.run(main())


def alarm(gateway: Gateway) -> float:
    families = {family.name: family for family in Alarms(gateway.services).collect()}
    return families["hexagone_customer_key_writes"].samples[0].value


@pytest.mark.proves("B-15", "CRY-19", "A-11", "L-09")
def test_what_was_overwritten_under_a_thiefs_key_is_brought_back() -> None:
    """With versioning; and the number of such writes is a metric at once."""

    async def check(gateway: Gateway) -> None:
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        before = {key: (await gateway.put(key, key.encode())).version_id for key in KEYS}
        assert alarm(gateway) == 0
        for key in KEYS:
            await gateway.put(key, b"pay", RANSOM)
        assert alarm(gateway) == len(KEYS)
        for key in KEYS:
            with pytest.raises(InvalidRequest):
                await gateway.get(key)
            source = CopySource(bucket=BUCKET, key=key, version_id=before[key])
            await copy_object(gateway.ctx(), source, BUCKET, key, CopyOptions())
            assert await gateway.get(key) == key.encode()

    run(check)


@pytest.mark.proves("B-15", "CRY-19")
def test_a_bucket_can_refuse_keys_of_clients_on_every_way_of_writing() -> None:
    async def check(gateway: Gateway) -> None:
        ctx = gateway.ctx()
        await gateway.put("k", b"mine")
        document = {"kind": AES256, "blocked": [CUSTOMER]}
        right = Action.PUT_ENCRYPTION_CONFIGURATION
        await put_document(ctx, BUCKET, DOCUMENT, document, right)
        upload = CreateUploadOptions(encryption=BY_THIEF)
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: gateway.put("k", b"pay", RANSOM),
            lambda: copy_object(
                ctx,
                CopySource(bucket=BUCKET, key="k"),
                BUCKET,
                "k",
                CopyOptions(encryption=BY_THIEF),
            ),
            lambda: create_upload(ctx, BUCKET, "k", upload),
        ]
        for way in ways:
            with pytest.raises(AccessDenied):
                await way()
        assert await gateway.get("k") == b"mine" and alarm(gateway) == 0

    run(check)


@pytest.mark.proves("B-15", "LCK-02", "A-11")
def test_a_thief_with_every_right_cannot_take_a_locked_version_away() -> None:
    async def check(gateway: Gateway) -> None:
        ctx = gateway.ctx()
        await create_bucket(ctx, "locked", None, object_lock=True)
        until_ms = gateway.services.env.now_ms() + DAY_MS
        locked = Attributes(retention_mode=COMPLIANCE, retain_until_ms=until_ms)
        options = PutOptions(metadata=Metadata(attributes=locked))
        head = await put_object(ctx, "locked", "k", BytesBody(b"mine"), options)
        await put_object(ctx, "locked", "k", BytesBody(b"pay"), RANSOM)
        await delete_object(ctx, "locked", "k")
        with pytest.raises(AccessDenied):
            await delete_object(ctx, "locked", "k", version_id=head.version_id)
        source = CopySource(bucket="locked", key="k", version_id=head.version_id)
        await copy_object(ctx, source, BUCKET, "back", CopyOptions())
        assert await gateway.get("back") == b"mine"

    run(check)
