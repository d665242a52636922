"""Rotation of a named key in a gateway of this process: what is under which of its epochs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.data.keyring import FileKeyring, RootKey
from gateway.model.attributes import KMS
from gateway.objects.named_keys import create_named_key
from gateway.objects.named_rotation import rotate_named_key, rows_by_epoch
from gateway.objects.values import EncryptionAsked
from tests.support.cluster import TestEnv
from tests.support.gateway import TENANT, Gateway, memory_gateway

NAME = "letters"
BY_NAME = EncryptionAsked(kind=KMS, key_id=NAME)


def run_named(tmp_path: Path, test: Callable[[Gateway], Awaitable[None]], seed: int = 0) -> None:
    """Run a test over a gateway whose keys are in a file, and that has a named key."""

    async def main() -> None:
        ring = FileKeyring(tmp_path / "keys", RootKey(b"r" * 32), TestEnv(seed + 1))
        ring.create_tenant_key(TENANT)
        async with memory_gateway(seed=seed, keyring=ring) as gateway:
            await create_named_key(gateway.services, TENANT, NAME)
            await test(gateway)

    asyncio.run(asyncio.wait_for(main(), 60))


async def rotate_name(gateway: Gateway, name: str = NAME) -> int:
    """Begin a rotation of a named key; its epoch."""
    return (await rotate_named_key(gateway.services, TENANT, name, 0)).epoch


async def rows_under(gateway: Gateway, name: str = NAME) -> Counter[int]:
    """Rows by the epoch of the named key that wraps their DEK."""
    return await rows_by_epoch(gateway.services, TENANT, name)


def name_states(gateway: Gateway, name: str = NAME) -> list[str]:
    """States of the epochs of a named key, the oldest first."""
    held = gateway.services.bucket_keys.provider.named_epochs(TENANT, name)
    return [about.state.value for about in held]
