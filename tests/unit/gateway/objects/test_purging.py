"""Rows under destroyed keys are taken away; what can be read stays, and comes up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.meta import keyspace
from gateway.meta.kv import Write
from gateway.model.bucket import Versioning
from gateway.model.key_states import KeyState
from gateway.objects import key_epochs
from gateway.objects.key_rotation import commit_rows
from gateway.objects.list import list_objects
from gateway.objects.purging import count_destroyed, purge_destroyed
from gateway.objects.values import ListOptions
from gateway.objects.versioning import set_versioning
from storaged.base.errors import StorageError
from tests.support.erasure_rig import ErasureRig, run
from tests.support.gateway import BUCKET
from tests.support.rotations import bucket_of, forget_all, rotate, to_the_end

SMALL, LARGE = b"small " * 20, b"large " * 200_000


async def stored(rig: ErasureRig) -> None:
    await rig.gateway.put("small", SMALL)
    await rig.gateway.put("large", LARGE)


def test_what_lies_under_a_destroyed_key_is_purged_and_listings_work_again(
    tmp_path: Path,
) -> None:
    async def scene(rig: ErasureRig) -> None:
        gateway, services = rig.gateway, rig.gateway.services
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        await stored(rig)
        await gateway.put("both", SMALL)
        await rotate(gateway)
        await gateway.put("both", LARGE)
        await gateway.put("new", SMALL)
        bucket = bucket_of(gateway)
        await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
        await key_epochs.destroy_bucket_epoch(services, bucket, 1, forced=True)
        forget_all(gateway)
        with pytest.raises(StorageError):
            await list_objects(gateway.ctx(), BUCKET, ListOptions())
        assert sum((await count_destroyed(services, bucket.bucket_id)).values()) == 3
        assert sum((await purge_destroyed(services, bucket.bucket_id)).values()) == 3
        assert not await count_destroyed(services, bucket.bucket_id)
        page = await list_objects(gateway.ctx(), BUCKET, ListOptions())
        assert [one.key for one in page.entries] == ["both", "new"]
        assert await gateway.get("both") == LARGE
        await rig.work()
        assert gateway.named_bytes() == gateway.live_bytes()

    run(tmp_path, scene)


def test_an_heir_takes_the_place_of_what_was_purged(tmp_path: Path) -> None:
    """An older version that was re-wrapped outlives the current one that was not."""

    async def scene(rig: ErasureRig) -> None:
        gateway, services = rig.gateway, rig.gateway.services
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        await gateway.put("key", SMALL)
        await gateway.put("key", LARGE)
        bucket = bucket_of(gateway)
        rows = gateway.log.scan(*keyspace.family_range(keyspace.CURRENT, bucket.bucket_id), limit=9)
        await rotate(gateway)
        await to_the_end(gateway)
        # Back to how it was before the rotation came to it.
        await commit_rows(services, (), (Write(rows[0].key, rows[0].value),), bucket.bucket_id)
        await key_epochs.set_bucket_epoch(services, bucket_of(gateway), 1, KeyState.DISABLED)
        await key_epochs.destroy_bucket_epoch(services, bucket_of(gateway), 1, forced=True)
        forget_all(gateway)
        assert (await purge_destroyed(services, bucket.bucket_id)) == {"current": 1}
        assert await gateway.get("key") == SMALL
        assert gateway.named_bytes() == gateway.live_bytes()

    run(tmp_path, scene)
