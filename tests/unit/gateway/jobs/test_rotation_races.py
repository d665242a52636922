"""Rotations among requests, and rotations that a crash interrupts at any step (C6, CRY-16).

A run is a seed: the turns that everything takes are drawn from it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from gateway.data.keyring import FileKeyring
from gateway.jobs import rotation as job_module
from gateway.jobs import rotation_pace
from gateway.jobs import rotation_page as page_module
from gateway.jobs.rotation import KeyRotation
from gateway.meta import rotations
from gateway.model.bucket import Versioning
from gateway.model.key_states import KeyState
from gateway.objects import key_epochs
from gateway.objects.bootstrap import restore_keyring
from gateway.objects.buckets import create_bucket
from gateway.objects.key_rotation import RotationUnderWay, rotate_bucket_key, rotate_tenant_key
from gateway.objects.versioning import set_versioning
from tests.support.gateway import BUCKET, TENANT, Gateway, memory_gateway
from tests.support.rotation_rig import VERSIONED, Crash, Process, Worker, crash_at
from tests.support.rotations import (
    bucket_of,
    epochs_of_rows,
    forget_all,
    rotate,
    states_of,
    to_the_end,
)
from tests.support.turn_env import TurnEnv

pytestmark = pytest.mark.proves("K-10", "C6", "CRY-16")

SEEDS = 12


@pytest.mark.parametrize("seed", range(SEEDS))
def test_c6_requests_and_rotations_at_once_lose_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "PAGE_ROWS", 5)
    monkeypatch.setattr(rotation_pace, "PAGE_ROWS", 5)
    monkeypatch.setattr(page_module, "LOOKED_AT_ROWS", 5)
    monkeypatch.setattr(rotation_pace, "TURN_ROWS", 2)
    monkeypatch.setattr(rotation_pace, "CALL_ROWS", 3)

    async def main() -> None:
        rng = Random(seed)
        async with memory_gateway(seed=seed + 1, env=TurnEnv(rng)) as gateway:
            gateway.services.bucket_keys.is_remote = bool(seed % 2)  # as with a key service
            await create_bucket(gateway.ctx(), VERSIONED, None)
            await set_versioning(gateway.ctx(), VERSIONED, Versioning.ENABLED)
            workers = [Worker(gateway, Random(rng.random()), f"w{at}") for at in range(4)]
            for worker in workers:
                await worker.run()
            tasks = [asyncio.ensure_future(worker.run()) for worker in workers]
            rotating = asyncio.ensure_future(_rotate_meanwhile(gateway, rng, tasks))
            await asyncio.gather(*tasks)
            for worker in workers:
                await worker.check()
            await rotating
            await to_the_end(gateway)
            for name in (BUCKET, VERSIONED):
                await _retire(gateway, name)
            forget_all(gateway)
            for worker in workers:
                await worker.check()
            assert gateway.live_bytes() == gateway.named_bytes()

    asyncio.run(asyncio.wait_for(main(), 60))


async def _rotate_meanwhile(
    gateway: Gateway, rng: Random, tasks: list[asyncio.Future[None]]
) -> None:
    """Two who rotate whatever is there and two who run the job, until the requests have ended."""

    async def begin() -> None:
        for _ in range(3):
            for name in rng.sample((BUCKET, VERSIONED), 2):
                with suppress(RotationUnderWay):
                    await rotate(gateway, name)
            with suppress(RotationUnderWay):
                await rotate_tenant_key(gateway.services, TENANT, 0)
            await gateway.services.env.sleep(1)

    async def work() -> None:
        job = KeyRotation(gateway.services)
        while not all(task.done() for task in tasks):
            await job.step()
            await asyncio.sleep(0)

    await asyncio.gather(begin(), begin(), work())


async def _retire(gateway: Gateway, name: str) -> None:
    """Destroy every epoch but the newest, which holds everything."""
    bucket = bucket_of(gateway, name)
    assert set(epochs_of_rows(gateway, name)) <= {bucket.key_epoch}
    assert states_of(gateway, name) == ["DECRYPT_ONLY"] * (bucket.key_epoch - 1) + ["ACTIVE"]
    assert bucket.key_epoch > 1
    for epoch in range(1, bucket.key_epoch):
        await key_epochs.set_bucket_epoch(gateway.services, bucket, epoch, KeyState.DISABLED)
        await key_epochs.destroy_bucket_epoch(gateway.services, bucket, epoch, forced=False)


def test_c6_a_crash_at_every_step_of_a_rotation_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cluster dies one step later, and is started again; the last one comes through."""
    monkeypatch.setattr(job_module, "PAGE_ROWS", 3)
    monkeypatch.setattr(rotation_pace, "PAGE_ROWS", 3)
    content = {f"key-{at}": bytes([at]) * 900 for at in range(5)}

    async def live(process: Process, step: int) -> bool:
        async with process.start() as gateway:
            for key, body in content.items():
                await gateway.put(key, body)
            with monkeypatch.context() as patch:
                crash_at(gateway, step, patch)
                try:
                    await _rotate_both(gateway)
                    await to_the_end(gateway)
                except Crash:
                    return False
        return True

    async def live_on(process: Process) -> None:
        async with process.start() as gateway:
            restore_keyring(gateway.index, gateway.services.records, _ring_of(gateway))
            for key, body in content.items():
                assert await gateway.get(key) == body
            await _rotate_both(gateway)
            await to_the_end(gateway)
            services, newest = gateway.services, bucket_of(gateway).key_epoch
            assert epochs_of_rows(gateway) == {newest: len(content)}
            assert not rotations.scan_rotations(gateway.log, services.records, limit=9)
            await _retire(gateway, BUCKET)
            held = _ring_of(gateway).tenant_epochs(TENANT)
            assert [one.state for one in held[:-1]] == [KeyState.DECRYPT_ONLY] * (len(held) - 1)
            for one in held[:-1]:
                await key_epochs.set_tenant_epoch(services, TENANT, one.epoch, KeyState.DISABLED)
                await key_epochs.destroy_tenant_epoch(services, TENANT, one.epoch, forced=False)

    async def read(process: Process) -> None:
        async with process.start() as gateway:
            for key, body in content.items():
                assert await gateway.get(key) == body

    is_through, step = False, 0
    while not is_through:
        step += 1
        process = Process(tmp_path / str(step))
        is_through = asyncio.run(live(process, step))
        asyncio.run(live_on(process))
        asyncio.run(read(process))
    assert step > 30


async def _rotate_both(gateway: Gateway) -> None:
    with suppress(RotationUnderWay):
        await rotate_tenant_key(gateway.services, TENANT, 0)
    with suppress(RotationUnderWay):
        await rotate_bucket_key(gateway.services, bucket_of(gateway).bucket_id, 0)


def _ring_of(gateway: Gateway) -> FileKeyring:
    ring = gateway.services.bucket_keys.provider
    assert isinstance(ring, FileKeyring)
    return ring
