"""Annotations follow their version: copied, moved, rebuilt, and gone when it goes."""

from __future__ import annotations

import asyncio

import pytest

from gateway.commit.compact import Compacter
from gateway.meta import keyspace
from gateway.model.errors import (
    NoSuchKey,
    OperationAborted,
)
from gateway.objects import copy, parting
from gateway.objects.append import append_object
from gateway.objects.buckets import create_bucket, delete_bucket
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object, delete_objects
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.parting import collect_garbage
from gateway.objects.rename import rename_object
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopyOptions,
    CopySource,
    CreateUploadOptions,
    DeleteKey,
    Metadata,
    PutOptions,
    RenameOptions,
)
from storaged.base.errors import StorageError
from tests.support.annotations import (
    LARGE,
    SMALL,
    annotate,
    content_of,
    drop,
    is_clean,
    names_of,
    run,
)
from tests.support.cluster import memory_cluster
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway
from tests.support.log_rig import MemoryHistory, keys_of


def test_overwriting_takes_them_away() -> None:
    async def test(gateway: Gateway) -> None:
        for content in (b"small", bytes(3_000_000)):
            await gateway.put("k", content)
            await annotate(gateway, "small")
            await annotate(gateway, "large", LARGE)
            await gateway.put("k", b"next")
            assert await names_of(gateway) == []
            assert is_clean(gateway)
        await annotate(gateway, "name")
        await gateway.put("other", b"o")
        await annotate(gateway, "name", key="other")
        both = [DeleteKey(key="k"), DeleteKey(key="other")]
        await delete_objects(gateway.ctx(), BUCKET, both)
        assert is_clean(gateway)
        assert gateway.live_bytes() == {}

    run(test)


def test_garbage_of_parts_leaves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: Gateway) -> None:
        monkeypatch.setattr(parting, "INLINE_STRIPES_MAX", 1)
        await _multipart(gateway)
        assert gateway.rows_of(keyspace.GARBAGE), "a part that none lists"
        await annotate(gateway, "name")
        while await collect_garbage(gateway.services, rows_max=100):
            pass
        assert await names_of(gateway) == ["name"]
        assert await content_of(gateway, "name") == SMALL
        assert gateway.live_bytes() == gateway.named_bytes()

    run(test)


async def _multipart(gateway: Gateway) -> None:
    ctx = gateway.ctx()
    upload = await create_upload(ctx, BUCKET, "k", CreateUploadOptions(metadata=Metadata()))
    parts = []
    for number in (1, 2, 3):
        body = BytesBody(bytes(5 << 20))
        part = await upload_part(ctx, BUCKET, "k", upload.upload_id, number, body, None)
        parts.append(CompletePart(part_number=number, etag=part.etag))
    await complete_upload(ctx, BUCKET, "k", upload.upload_id, parts[:2], CompleteOptions())


@pytest.mark.parametrize("inline", [2048, 3])
def test_those_of_a_multipart_object_go_with_its_parts_at_once_or_later(
    inline: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        await _multipart(gateway)
        for name in ("a", "b", "c"):
            await annotate(gateway, name)
        await collect_garbage(gateway.services, rows_max=1000)  # the third part, which none lists
        assert await names_of(gateway) == ["a", "b", "c"]
        monkeypatch.setattr(parting, "INLINE_STRIPES_MAX", inline)
        await delete_object(gateway.ctx(), BUCKET, "k")
        assert (inline == 3) == bool(gateway.rows_of(keyspace.GARBAGE))
        await gateway.put("k", b"next")
        await annotate(gateway, "a")
        while await collect_garbage(gateway.services, rows_max=2):
            pass
        assert await names_of(gateway) == ["a"]
        await delete_object(gateway.ctx(), BUCKET, "k")
        assert is_clean(gateway)
        assert gateway.live_bytes() == {}

    run(test)


def _from(key: str, version_id: str | None = None) -> CopySource:
    return CopySource(bucket=BUCKET, key=key, version_id=version_id)


def test_a_copy_brings_them_along() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        await annotate(gateway, "small")
        await annotate(gateway, "large", LARGE)
        await copy_object(gateway.ctx(), _from("k"), BUCKET, "copy", CopyOptions())
        bare = CopyOptions(with_annotations=False)
        await copy_object(gateway.ctx(), _from("k"), BUCKET, "bare", bare)
        onto_itself = CopyOptions(metadata=Metadata(user=(("a", "b"),)))
        await copy_object(gateway.ctx(), _from("k"), BUCKET, "k", onto_itself)
        assert await names_of(gateway, key="bare") == []
        for key in ("copy", "k"):
            assert await names_of(gateway, key=key) == ["large", "small"]
            assert await content_of(gateway, "large", key=key) == LARGE
            assert await content_of(gateway, "small", key=key) == SMALL
        assert not gateway.rows_of(keyspace.GARBAGE)
        assert gateway.live_bytes() == gateway.named_bytes()
        await drop(gateway, "large")
        assert await content_of(gateway, "large", key="copy") == LARGE
        for key in ("k", "copy", "bare"):
            await delete_object(gateway.ctx(), BUCKET, key)
        assert is_clean(gateway)

    run(test)


def test_a_copy_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(StorageError):
        """A test's."""

    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        for at in range(20):
            await annotate(gateway, f"n{at}")
        commit, left = gateway.log.commit_change, 12

        async def failing(change: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                # What is being written is no garbage, whatever the garbage row says.
                assert gateway.services.in_the_making
                assert await collect_garbage(gateway.services, rows_max=100) == 0
                raise Broken
            return await commit(change)  # type: ignore[arg-type]

        monkeypatch.setattr(gateway.log, "commit_change", failing)
        with pytest.raises(Broken):
            await copy_object(gateway.ctx(), _from("k"), BUCKET, "copy", CopyOptions())
        assert len(gateway.rows_of(keyspace.ANNOTATION)) > 20
        with pytest.raises(NoSuchKey):
            await gateway.get("copy")
        while await collect_garbage(gateway.services, rows_max=5):
            pass
        assert len(gateway.rows_of(keyspace.ANNOTATION)) == 20
        assert not gateway.rows_of(keyspace.GARBAGE)
        assert gateway.live_bytes() == gateway.named_bytes()
        assert not gateway.services.in_the_making
        assert gateway.services.log.reservations.open_count == 0

    run(test)


def test_a_bucket_with_what_a_broken_copy_left_can_be_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(gateway: Gateway) -> None:
        await create_bucket(gateway.ctx(), "target", None)
        await gateway.put("k", b"object")
        await annotate(gateway, "name", LARGE)

        async def broken(*_: object) -> None:
            raise OperationAborted

        monkeypatch.setattr(copy, "publish_object", broken)
        with pytest.raises(OperationAborted):
            await copy_object(gateway.ctx(), _from("k"), "target", "k", CopyOptions())
        assert len(gateway.rows_of(keyspace.GARBAGE)) == 1
        await delete_bucket(gateway.ctx(), "target")
        await delete_object(gateway.ctx(), BUCKET, "k")
        assert len(gateway.rows_of(keyspace.ANNOTATION)) == 1
        while await collect_garbage(gateway.services, rows_max=100):
            pass
        assert is_clean(gateway)
        assert gateway.live_bytes() == {}

    run(test)


def test_they_come_back_from_the_log_alone() -> None:
    async def main() -> None:
        cluster, history = memory_cluster(), MemoryHistory()
        async with memory_gateway(cluster=cluster, history=history) as gateway:
            await gateway.put("k", b"object")
            await annotate(gateway, "small")
            await annotate(gateway, "large", LARGE)
            await annotate(gateway, "gone")
            await drop(gateway, "gone")
            before = gateway.rows_of(keyspace.ANNOTATION)
        async with memory_gateway(cluster=cluster, history=history, with_bucket=False) as again:
            assert again.rows_of(keyspace.ANNOTATION) == before
            assert await names_of(again) == ["large", "small"]
            assert await content_of(again, "small") == SMALL
            assert await content_of(again, "large") == LARGE
            await annotate(again, "more")
            assert again.live_bytes() == again.named_bytes()
            await delete_object(again.ctx(), BUCKET, "k")
            assert is_clean(again)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_compaction_moves_them() -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("k", b"object")
        for at in range(5):
            await annotate(gateway, f"n{at}", b"%d" % at * 100)
        before = gateway.named_bytes()
        compacter = Compacter(
            log=gateway.log,
            store=services.stripes,
            keys=keys_of(b"root"),
            records=services.records,
            nonces=services.nonces,
            env=services.env,
            floor_sequence=lambda: 10**9,
        )
        while not await compacter.step():
            pass
        assert before.keys().isdisjoint(gateway.named_bytes())
        assert len(gateway.named_bytes()) == 1
        assert gateway.live_bytes() == gateway.named_bytes()
        for at in range(5):
            assert await content_of(gateway, f"n{at}") == b"%d" % at * 100
        await delete_object(gateway.ctx(), BUCKET, "k")
        assert is_clean(gateway)

    run(test)


def test_a_rename_keeps_them() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        await gateway.put("other", b"o")
        for key in ("k", "other"):
            await annotate(gateway, "name", key.encode(), key=key)
        await rename_object(gateway.ctx(), BUCKET, "k", "other", RenameOptions())
        assert await content_of(gateway, "name", key="other") == b"k"
        await annotate(gateway, "more", LARGE, key="other")
        assert gateway.live_bytes() == gateway.named_bytes()
        await delete_object(gateway.ctx(), BUCKET, "other")
        assert is_clean(gateway)
        assert gateway.live_bytes() == {}

    run(test)


def test_appending_keeps_them() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        await annotate(gateway, "name")
        for _ in range(3):
            offset = (await gateway.open("k")).head.length
            body, options = BytesBody(b" and more"), PutOptions()
            await append_object(gateway.ctx(), BUCKET, "k", body, options, offset)
        assert await gateway.get("k") == b"object" + b" and more" * 3
        assert await content_of(gateway, "name") == SMALL
        await annotate(gateway, "later")
        assert await names_of(gateway) == ["later", "name"]
        assert gateway.live_bytes() == gateway.named_bytes()
        await delete_object(gateway.ctx(), BUCKET, "k")
        assert is_clean(gateway)
        assert gateway.live_bytes() == {}

    run(test)
