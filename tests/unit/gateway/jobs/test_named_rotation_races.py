"""Rotations of named keys among requests, and such that a crash interrupts at any step (C6).

A run is a seed: the turns that everything takes are drawn from it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from gateway.data.keyring import FileKeyring
from gateway.jobs import named_pass, rotation_pace
from gateway.jobs.rotation import KeyRotation
from gateway.meta import rotations
from gateway.model.action import Action
from gateway.model.attributes import KMS
from gateway.model.bucket import Versioning
from gateway.model.key_states import KeyState
from gateway.objects import named_epochs
from gateway.objects.bootstrap import restore_keyring
from gateway.objects.bucket_config import put_document
from gateway.objects.buckets import create_bucket
from gateway.objects.key_rotation import RotationUnderWay
from gateway.objects.named_keys import create_named_key
from gateway.objects.values import PutOptions
from gateway.objects.versioning import set_versioning
from tests.support.gateway import BUCKET, TENANT, Gateway, memory_gateway
from tests.support.named_rotations import BY_NAME, NAME, name_states, rotate_name, rows_under
from tests.support.rotation_rig import VERSIONED, Crash, Process, Worker, crash_at
from tests.support.rotations import forget_all, rotate, to_the_end
from tests.support.turn_env import TurnEnv

pytestmark = pytest.mark.proves("K-10", "C6", "CRY-16")

SEEDS = 12
PUT = PutOptions(encryption=BY_NAME)


async def _all_by_name(gateway: Gateway, bucket: str) -> None:
    document = {"kind": KMS, "key_id": NAME, "bucket_key": bucket == VERSIONED}
    await put_document(
        gateway.ctx(), bucket, "encryption", document, Action.PUT_ENCRYPTION_CONFIGURATION
    )


async def _retire(gateway: Gateway) -> None:
    """Destroy every epoch but the newest, which holds everything."""
    services = gateway.services
    held = services.bucket_keys.provider.named_epochs(TENANT, NAME)
    assert set(await rows_under(gateway)) <= {held[-1].epoch}
    for about in held[:-1]:
        if about.state is not KeyState.DESTROYED:
            assert about.state is KeyState.DECRYPT_ONLY
            await named_epochs.set_named_epoch(
                services, TENANT, NAME, about.epoch, KeyState.DISABLED
            )
            await named_epochs.destroy_named_epoch(
                services, TENANT, NAME, about.epoch, forced=False
            )


@pytest.mark.parametrize("seed", range(SEEDS))
def test_c6_requests_and_rotations_at_once_lose_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_pass, "PAGE_ROWS", 4)
    monkeypatch.setattr(rotation_pace, "TURN_ROWS", 2)

    async def main() -> None:
        rng = Random(seed)
        async with memory_gateway(seed=seed + 1, env=TurnEnv(rng)) as gateway:
            gateway.services.bucket_keys.is_remote = bool(seed % 2)  # as with a key service
            await create_named_key(gateway.services, TENANT, NAME)
            await create_bucket(gateway.ctx(), VERSIONED, None)
            await set_versioning(gateway.ctx(), VERSIONED, Versioning.ENABLED)
            for bucket in (BUCKET, VERSIONED):
                await _all_by_name(gateway, bucket)
            workers = [Worker(gateway, Random(rng.random()), f"w{at}") for at in range(4)]
            for worker in workers:
                await worker.run()
            tasks = [asyncio.ensure_future(worker.run()) for worker in workers]
            rotating = asyncio.ensure_future(_rotate_meanwhile(gateway, tasks))
            await asyncio.gather(*tasks)
            for worker in workers:
                await worker.check()
            await rotating
            await to_the_end(gateway)
            assert len(name_states(gateway)) > 1
            await _retire(gateway)
            forget_all(gateway)
            for worker in workers:
                await worker.check()
            assert gateway.live_bytes() == gateway.named_bytes()

    asyncio.run(asyncio.wait_for(main(), 60))


async def _rotate_meanwhile(gateway: Gateway, tasks: list[asyncio.Future[None]]) -> None:
    """Two who rotate, one who runs the job and destroys what it has done with, until the requests
    have ended.
    """

    async def begin() -> None:
        for _ in range(3):
            with suppress(RotationUnderWay):
                await rotate_name(gateway)
            with suppress(RotationUnderWay):
                await rotate(gateway)
            await gateway.services.env.sleep(1)

    async def work() -> None:
        job = KeyRotation(gateway.services)
        while not all(task.done() for task in tasks):
            await job.step()
            await asyncio.sleep(0)

    await asyncio.gather(begin(), begin(), work())


def test_c6_a_crash_at_every_step_of_a_rotation_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cluster dies one step later, and is started again; the last one comes through."""
    monkeypatch.setattr(named_pass, "PAGE_ROWS", 2)
    content = {f"key-{at}": bytes([at]) * 900 for at in range(5)}

    async def live(process: Process, step: int) -> bool:
        async with process.start() as gateway:
            await create_named_key(gateway.services, TENANT, NAME)
            for key, body in content.items():
                await gateway.put(key, body, PUT)
            with monkeypatch.context() as patch:
                crash_at(gateway, step, patch)
                try:
                    await rotate_name(gateway)
                    await to_the_end(gateway)
                except Crash:
                    return False
        return True

    async def live_on(process: Process) -> None:
        async with process.start() as gateway:
            services = gateway.services
            ring = services.bucket_keys.provider
            assert isinstance(ring, FileKeyring)
            restore_keyring(gateway.index, services.records, ring)
            for key, body in content.items():
                assert await gateway.get(key) == body
            with suppress(RotationUnderWay):
                await rotate_name(gateway)
            await to_the_end(gateway)
            assert (await rows_under(gateway)).total() == len(content)
            assert not rotations.scan_rotations(gateway.log, services.records, limit=9)
            await _retire(gateway)
            assert set(name_states(gateway)[:-1]) == {"DESTROYED"}

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
    assert step > 20
