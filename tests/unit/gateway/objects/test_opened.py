"""Reads at once, and rows that are opened once: what they may remember, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.data.cipher import KeyMaterial, WrongKey
from gateway.data.envelope import TenantKeyMissing
from gateway.meta import records
from gateway.meta.kv import Batch, Write
from gateway.model.attributes import CUSTOMER, Encryption
from gateway.model.errors import NoSuchKey
from gateway.objects import fetch
from gateway.objects import opened as opened_rows
from gateway.objects.get import head_object, read_version
from gateway.objects.tagging import put_object_tags
from gateway.objects.values import GetOptions
from storaged.base.env import Env, RealEnv
from storaged.base.ids import ShardId
from tests.support.gateway import BUCKET, Gateway, memory_gateway
from tests.support.rotations import epochs_of_rows, rotate, to_the_end

CONTENT = bytes(range(256)) * 300  # two frames


def run(
    test: Callable[[Gateway], Awaitable[None]], *, in_place: bool = True, env: Env | None = None
) -> None:
    async def main() -> None:
        async with memory_gateway(env=env) as gateway:
            for node in gateway.cluster.nodes.values() if in_place else ():
                offer(node, node.node.try_get)  # type: ignore[attr-defined]
            await test(gateway)

    asyncio.run(main())


def offer(node: Any, try_get: Callable[..., memoryview | None]) -> None:
    """Give a node reads in place; without it the fault switches stand before all reads."""
    node.try_get = try_get


def gets_of(gateway: Gateway) -> int:
    return sum(node.gets for node in gateway.cluster.nodes.values())


def test_reads_at_once_are_the_same_reads() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", CONTENT)
        before = gets_of(gateway)
        edges = (0, 1, 65_535, 65_536, 65_537, len(CONTENT) - 1)
        for first in edges:
            for last in (last for last in edges if last >= first):
                options = GetOptions(range_header=f"bytes={first}-{last}")
                assert await gateway.get("key", options) == CONTENT[first : last + 1]
        assert await gateway.get("key") == CONTENT
        assert gets_of(gateway) == before, "nobody had to be waited for"

    run(test)


def test_a_node_that_gives_other_bytes_is_read_around() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", CONTENT)
        for node in gateway.cluster.nodes.values():
            right = node.node.try_get  # type: ignore[attr-defined]

            def wrong(shard: ShardId, *, right: Any = right, **wanted: Any) -> Any:
                found = bytearray(right(shard, **wanted))
                found[len(found) // 2] ^= 1
                return memoryview(found)

            offer(node, wrong)
        assert await gateway.get("key") == CONTENT
        assert gets_of(gateway) > 0

    run(test)


def test_a_row_is_opened_once_until_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []

    def counting(keys: records.RecordKeys, row_key: bytes, row: bytes) -> records.StoredVersion:
        opened.append(row)
        return records.open_version(keys, row_key, row)

    monkeypatch.setattr(opened_rows, "open_version", counting)

    async def test(gateway: Gateway) -> None:
        for content in (CONTENT, CONTENT[::-1]):
            await gateway.put("key", content)
            opened.clear()
            for _ in range(3):
                assert await gateway.get("key") == content
                found = await head_object(gateway.ctx(), BUCKET, "key", GetOptions())
                assert found.head.length == len(content)
            assert len(opened) == 1
        (row_key,) = gateway.rows_of(b"O")
        await gateway.log.commit(
            Batch(
                partition=row_key[1:17],
                request_id=b"r" * 16,
                checks=(),
                writes=(Write(row_key, None),),
            )
        )
        with pytest.raises(NoSuchKey):
            await gateway.get("key")

    run(test)


def test_commitments_are_checked_on_every_read() -> None:
    """CRY-02: neither another row under the same name nor other material passes unseen."""

    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("key", CONTENT)
        assert await gateway.get("key") == CONTENT
        target, opened = read_version(gateway.ctx(), BUCKET, "key", None)
        good, opened.material = opened.material, KeyMaterial.derive(b"k" * 32, b"s" * 24, b"c")
        with pytest.raises(WrongKey):
            await gateway.get("key")
        opened.material = good
        assert await gateway.get("key") == CONTENT

        stored = opened.stored
        assert stored.version.seal is not None
        seal = replace(stored.version.seal, commitment=b"x" * 32)
        row = records.seal_version(
            services.records,
            services.nonces,
            target.row_key,
            replace(stored.version, seal=seal),
            stored.layout,
        )
        other = services.opened.open(target, row)
        assert other is not opened and other.material is None
        await gateway.log.commit(
            Batch(
                partition=target.bucket_id,
                request_id=b"r" * 16,
                checks=(),
                writes=(Write(target.row_key, row),),
            )
        )
        with pytest.raises(WrongKey):
            await gateway.get("key")

    run(test)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_version_whose_row_is_written_anew_is_read_with_the_keys_that_are_there(
    monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    """A rotation and tags leave the body as it is: nobody is asked for its DEK again."""

    async def test(gateway: Gateway) -> None:
        deks: list[object] = []
        version_dek = fetch.version_dek

        def counting(*given: Any) -> bytes:
            deks.append(given[2])
            return version_dek(*given)

        monkeypatch.setattr(fetch, "version_dek", counting)
        for name in ("key", "other"):
            await gateway.put(name, name.encode() + CONTENT)
        assert await gateway.get("key") == b"key" + CONTENT
        assert deks == [b"key"]
        await rotate(gateway)
        await to_the_end(gateway)
        assert set(epochs_of_rows(gateway)) == {2}
        assert await gateway.get("key") == b"key" + CONTENT
        await put_object_tags(gateway.ctx(), BUCKET, "key", None, (("a", "b"),))
        assert await gateway.get("key") == b"key" + CONTENT
        assert deks == [b"key"]
        assert await gateway.get("other") == b"other" + CONTENT
        assert deks == [b"key", b"other"], "it had not been read before"
        await gateway.put("key", CONTENT[::-1])
        assert await gateway.get("key") == CONTENT[::-1]
        assert deks == [b"key", b"other", b"key"], "another version has another DEK"

    env = RealEnv()  # another draw of the same bytes could be a key here and an id elsewhere
    run(test, in_place=in_place, env=env)
    env.close()


def test_keys_are_not_kept_where_another_encryption_is_asked_for() -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("key", CONTENT)
        assert await gateway.get("key") == CONTENT
        target, opened = read_version(gateway.ctx(), BUCKET, "key", None)
        version, layout = opened.stored.version, opened.stored.layout
        assert opened.material is not None
        changes: list[dict[str, Any]] = [
            {"attributes": replace(version.attributes, encryption=Encryption(kind=CUSTOMER))},
            {"object_uuid": type(version.object_uuid)(b"u" * 16)},
            {"owner": type(version.owner)(b"t" * 16)},
        ]
        for change in changes:
            services.opened._held[target.row_key] = opened
            row = records.seal_version(
                services.records,
                services.nonces,
                target.row_key,
                replace(version, **change),
                layout,
            )
            assert services.opened.open(target, row).material is None
        services.opened._held[target.row_key] = opened
        row = records.seal_version(
            services.records, services.nonces, target.row_key, version, layout
        )
        assert services.opened.open(target, row).material is opened.material

    run(test)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_disabled_key_takes_effect_when_the_bucket_key_is_dropped(
    monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("key", CONTENT)
        assert await gateway.get("key") == CONTENT
        bucket = services.buckets.find(BUCKET)
        assert bucket is not None and len(services.opened) == 1

        def disabled(*_: object) -> bytes:
            raise TenantKeyMissing

        monkeypatch.setattr(services.bucket_keys.provider, "unwrap_bucket_key", disabled)
        assert await gateway.get("key") == CONTENT
        services.bucket_keys.forget(bucket.bucket.bucket_id)
        for read in (gateway.get("key"), head_object(gateway.ctx(), BUCKET, "key", GetOptions())):
            with pytest.raises(TenantKeyMissing):
                await read
        assert len(services.opened) == 0

    run(test, in_place=in_place)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened_rows, "ROWS_MAX", 2)

    async def test(gateway: Gateway) -> None:
        for name in ("a", "b", "c"):
            await gateway.put(name, CONTENT)
            assert await gateway.get(name) == CONTENT
        assert len(gateway.services.opened) == 2
        monkeypatch.setattr(opened_rows, "ROW_BYTES_MAX", 10)
        await gateway.put("b", CONTENT)
        await gateway.put("d", CONTENT)
        for name in ("b", "d"):
            assert await gateway.get(name) == CONTENT
        assert len(gateway.services.opened) == 2

    run(test)
