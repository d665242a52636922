"""Named keys: what their ids mean, and that none is used before the log has its copy."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.commit.change import Change
from gateway.data.keyring import TENANTS_FILE, FileKeyring, RootKey
from gateway.meta import keyspace
from gateway.meta.records import open_document
from gateway.model.errors import KmsKeyNotFound, SlowDown
from gateway.model.key_states import KeyState
from gateway.objects import buckets, key_epochs, key_rotation, named_keys
from gateway.objects.values import EncryptionAsked, PutOptions
from tests.support.cluster import TestEnv
from tests.support.gateway import TENANT, Gateway, memory_gateway

KMS = PutOptions(encryption=EncryptionAsked(kind="aws:kms"))
PLACE = "papers"


@pytest.mark.parametrize(
    ("key_id", "name"),
    [
        ("name", "name"),
        ("alias/name", "name"),
        ("alias/aws/s3", "aws/s3"),
        ("arn:aws:kms:fr:123456789012:key/name", "name"),
        ("arn:aws:kms:fr:123456789012:alias/aws/s3", "aws/s3"),
        ("arn:", ""),
    ],
)
def test_ids_of_keys_name_them(key_id: str, name: str) -> None:
    assert named_keys.name_of(key_id) == name


def keyring(folder: Path, seed: int) -> FileKeyring:
    return FileKeyring(folder, RootKey(b"r" * 32), TestEnv(seed))


def with_gateway(tmp_path: Path, test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            ring = keyring(tmp_path / "keys", 1)
            ring.create_tenant_key(TENANT)
            gateway.services.bucket_keys.provider = ring
            await buckets.create_bucket(gateway.ctx(), PLACE, None)
            await test(gateway)

    asyncio.run(main())


def copy_of(gateway: Gateway, folder: Path) -> FileKeyring:
    """A keyring from nothing but the root key and the row in the log."""
    row_key = keyspace.keyring_row()
    value = gateway.log.read((row_key,))[0]
    assert value is not None
    held = open_document(gateway.services.records, row_key, value)
    ring = keyring(folder, 2)
    ring.import_sealed(base64.b64decode(held["sealed"]))
    return ring


def test_the_log_has_a_named_key_before_it_is_used(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        puts = [gateway.put(f"k{n}", b"content", KMS, bucket=PLACE) for n in range(4)]
        heads = await asyncio.gather(*puts)
        assert {head.encryption.key_id for head in heads if head.encryption} == {"aws/s3"}
        rebuilt = copy_of(gateway, tmp_path / "rebuilt")
        assert rebuilt.has_named_key(TENANT, "aws/s3")
        services = gateway.services
        services.bucket_keys.provider = rebuilt
        services.bucket_keys.forget(services.buckets.find(PLACE).bucket.bucket_id)  # type: ignore[union-attr]
        services.opened._held.clear()
        assert await gateway.get("k3", bucket=PLACE) == b"content"

    with_gateway(tmp_path, test)


def test_a_key_whose_copy_could_not_be_kept_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        commit = gateway.log.commit_change

        async def busy(change: Change) -> Any:
            if change.batch.partition == keyspace.CLUSTER_PARTITION:
                raise SlowDown()
            return await commit(change)

        monkeypatch.setattr(gateway.log, "commit_change", busy)
        for _ in range(2):  # the second finds the key in the keyring's file
            with pytest.raises(SlowDown):
                await gateway.put("k", b"content", KMS, bucket=PLACE)
        monkeypatch.undo()
        await gateway.put("k", b"content", KMS, bucket=PLACE)
        assert copy_of(gateway, tmp_path / "rebuilt").has_named_key(TENANT, "aws/s3")

    with_gateway(tmp_path, test)


def test_only_keys_that_exist_are_used(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        asked = EncryptionAsked(kind="aws:kms", key_id="alias/mine")
        options = PutOptions(encryption=asked)
        with pytest.raises(KmsKeyNotFound):
            await gateway.put("k", b"content", options, bucket=PLACE)
        await named_keys.create_named_key(gateway.services, TENANT, "mine")
        await gateway.put("k", b"content", options, bucket=PLACE)
        assert await gateway.get("k", bucket=PLACE) == b"content"
        await named_keys.create_named_key(gateway.services, TENANT, "mine")
        gateway.services.opened._held.clear()
        assert await gateway.get("k", bucket=PLACE) == b"content"

    with_gateway(tmp_path, test)


@pytest.mark.proves("K-05")
def test_an_older_keyring_gets_back_what_the_log_knows_and_replaces_nothing(tmp_path: Path) -> None:
    """As a key service that was started again on a folder from a backup, under a running gateway:
    no key is made a second time, and the copy in the log loses none.
    """

    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await named_keys.create_named_key(services, TENANT, "other")
        older = (tmp_path / "keys" / TENANTS_FILE).read_bytes()
        await gateway.put("k", b"content", KMS, bucket=PLACE)
        for number, again in enumerate(("aws/s3", "later")):
            folder = tmp_path / f"restored-{number}"
            folder.mkdir()
            (folder / TENANTS_FILE).write_bytes(older)
            services.bucket_keys.provider = keyring(folder, 9 + number)
            await named_keys.create_named_key(services, TENANT, again)
            services.opened._held.clear()
            assert await gateway.get("k", bucket=PLACE) == b"content"
        names = copy_of(gateway, tmp_path / "rebuilt").named_keys(TENANT)
        assert names == ["aws/s3", "later", "other"]

    with_gateway(tmp_path, test)


def test_no_copy_is_replaced_by_one_that_has_less(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        older = (tmp_path / "keys" / TENANTS_FILE).read_bytes()
        await gateway.put("k", b"content", KMS, bucket=PLACE)
        (tmp_path / "restored").mkdir()
        (tmp_path / "restored" / TENANTS_FILE).write_bytes(older)
        ring = keyring(tmp_path / "restored", 9)
        ring.create_tenant_key(b"another tenant's")
        parts = (services.log, services.records, services.nonces, ring, services.env)
        await named_keys.keep_keyring_copy(*parts)
        rebuilt = copy_of(gateway, tmp_path / "rebuilt")
        assert rebuilt.named_keys(TENANT) == ["aws/s3"]
        assert rebuilt.active_epoch(b"another tenant's") == 1

    with_gateway(tmp_path, test)


def test_a_rotation_on_an_older_keyring_goes_on_from_what_the_log_knows(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        older = (tmp_path / "keys" / TENANTS_FILE).read_bytes()
        ring = services.bucket_keys.provider
        ring.set_tenant_epoch(TENANT, ring.add_tenant_epoch(TENANT), KeyState.ACTIVE)
        parts = (services.log, services.records, services.nonces)
        await named_keys.keep_keyring_copy(*parts, ring, services.env)
        wrapped = ring.wrap_bucket_key(TENANT, b"b" * 16, 1, b"k" * 32, 2)
        (tmp_path / "restored").mkdir()
        (tmp_path / "restored" / TENANTS_FILE).write_bytes(older)
        services.bucket_keys.provider = restored = keyring(tmp_path / "restored", 9)
        rotation = await key_rotation.rotate_tenant_key(services, TENANT, 0)
        assert rotation.epoch == 3
        assert restored.unwrap_bucket_key(TENANT, b"b" * 16, 1, wrapped, 2) == b"k" * 32

    with_gateway(tmp_path, test)


def test_an_enabled_key_is_not_disabled_by_an_older_copy(tmp_path: Path) -> None:
    ring = keyring(tmp_path / "keys", 1)
    ring.create_tenant_key(TENANT)
    enabled = ring.export_sealed()
    ring.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
    disabled = ring.export_sealed()
    ring.import_sealed(enabled)
    assert ring.tenant_epochs(TENANT)[0].state is KeyState.DISABLED
    ring.set_tenant_epoch(TENANT, 1, KeyState.ACTIVE)
    ring.import_sealed(disabled)
    assert ring.active_epoch(TENANT) == 1
    ring.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
    ring.set_tenant_epoch(TENANT, 1, KeyState.DESTROYED)
    for copy in (enabled, disabled):
        ring.import_sealed(copy)
        assert ring.tenant_epochs(TENANT)[0].state is KeyState.DESTROYED


def test_an_end_of_a_key_whose_answer_was_lost_is_one(tmp_path: Path) -> None:
    """The key service had destroyed it, was cut off, and was asked once more."""

    class Again(FileKeyring):
        def set_tenant_epoch(self, tenant_id: bytes, epoch: int, *more: Any) -> None:
            super().set_tenant_epoch(tenant_id, epoch, *more)
            super().set_tenant_epoch(tenant_id, epoch, *more)

    async def test(gateway: Gateway) -> None:
        services = gateway.services
        services.bucket_keys.provider = ring = Again(
            tmp_path / "keys", RootKey(b"r" * 32), TestEnv(3)
        )
        await gateway.put("k", b"content", bucket=PLACE)
        ring.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
        await key_epochs.destroy_tenant_epoch(services, TENANT, 1, forced=True)
        states = copy_of(gateway, tmp_path / "rebuilt").tenant_epochs(TENANT)
        assert [about.state for about in states] == [KeyState.DESTROYED]
        assert repr(services.bucket_keys) == "BucketKeys(0 held)"

    with_gateway(tmp_path, test)
