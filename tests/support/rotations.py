"""Rotation of keys in a gateway of this process: move it on, and see what is under which epoch."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import md5

from gateway.jobs.rotation import IDLE_S, KeyRotation
from gateway.meta import bucket_key_rows, keyspace
from gateway.meta.sealing import key_epoch_of
from gateway.model.bucket import Bucket
from gateway.objects.key_rotation import rotate_bucket_key
from gateway.objects.rewrapping import FAMILIES
from gateway.objects.values import CustomerKey
from tests.support.gateway import BUCKET, Gateway, memory_gateway

SECRET_KEY = b"customer-key-of-thirty-two-bytes"
CUSTOMER_KEY = CustomerKey(
    header="x-amz-server-side-encryption-customer",
    algorithm="AES256",
    key=base64.b64encode(SECRET_KEY).decode(),
    key_md5=base64.b64encode(md5(SECRET_KEY).digest()).decode(),
)


def bucket_of(gateway: Gateway, name: str = BUCKET) -> Bucket:
    """The bucket as it is."""
    gateway.services.buckets.forget(name)
    opened = gateway.services.buckets.find(name)
    assert opened is not None
    return opened.bucket


async def rotate(gateway: Gateway, name: str = BUCKET) -> int:
    """Begin a rotation of a bucket's key; its epoch."""
    begun = await rotate_bucket_key(gateway.services, bucket_of(gateway, name).bucket_id, 0)
    return begun.epoch


async def to_the_end(gateway: Gateway, job: KeyRotation | None = None) -> KeyRotation:
    """Step until nothing is left to do."""
    job = job or KeyRotation(gateway.services)
    while await job.step() != IDLE_S:
        pass
    return job


def epochs_of_rows(gateway: Gateway, name: str = BUCKET) -> Counter[int]:
    """Rows by the epoch of the bucket's key that they are under."""
    bucket = bucket_of(gateway, name).bucket_id
    return Counter(
        key_epoch_of(row.value)
        for family in FAMILIES
        for row in gateway.log.scan(*keyspace.family_range(family, bucket), limit=10_000)
    )


def states_of(gateway: Gateway, name: str = BUCKET) -> list[str]:
    """States of the epochs of a bucket's key, the oldest first."""
    bucket = bucket_of(gateway, name).bucket_id
    held = bucket_key_rows.scan_bucket_keys(gateway.log, gateway.services.records, bucket)
    return [key.about.state.value for key in held]


def forget_all(gateway: Gateway) -> None:
    """Drop every key that is held in the clear, and every version that was opened."""
    gateway.services.bucket_keys.forget_all()
    gateway.services.opened = type(gateway.services.opened)(
        gateway.services.records, gateway.services.bucket_keys
    )


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    """Run a test over a gateway in memory."""

    async def main() -> None:
        async with memory_gateway() as gateway:
            await test(gateway)

    asyncio.run(asyncio.wait_for(main(), 60))
