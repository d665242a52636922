"""Counts of buckets equal a full scan after any history, and come back whatever is lost of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from gateway.meta import keyspace
from gateway.meta.kv import Batch, Write
from gateway.meta.lmdb import LmdbIndex
from gateway.meta.sealing import open_row, seal_row
from gateway.meta.usage import open_usage, total_of
from gateway.model.bucket import Versioning
from gateway.objects.annotating import AnnotationOptions, put_annotation
from gateway.objects.complete import complete_upload
from gateway.objects.delete import delete_object
from gateway.objects.multipart import abort_upload, create_upload, upload_part
from gateway.objects.parting import collect_garbage
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CreateUploadOptions,
    Metadata,
    PutOptions,
)
from gateway.objects.versioning import set_versioning
from storaged.base.env import RealEnv
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway
from tests.support.usage_scan import full_scan

CLASSES = ("STANDARD", "STANDARD_IA", "GLACIER")


def open_index(folder: Path) -> LmdbIndex:
    env = RealEnv(threads_max=1)
    return LmdbIndex(folder, map_size_bytes=1 << 28, sums_key=bytes(32), env=env)


def agree(gateway: Gateway, index: LmdbIndex) -> None:
    kept = {bucket: open_usage(entry) for bucket, entry in index.usage_entries().items()}
    assert kept == full_scan(gateway.log, gateway.services.records)


async def _act(gateway: Gateway, rng: Random, uploads: list[tuple[str, str]]) -> None:
    ctx, key = gateway.ctx(), f"key-{rng.randrange(6)}"
    kind = rng.randrange(10)
    if kind < 5:
        metadata = Metadata(storage_class=rng.choice(CLASSES))
        content = rng.randbytes(rng.choice((0, 10, 5000, 300_000)))
        await gateway.put(key, content, PutOptions(metadata=metadata))
    elif kind == 5:
        await delete_object(ctx, BUCKET, key)
    elif kind == 6:
        state = rng.choice((Versioning.ENABLED, Versioning.SUSPENDED))
        await set_versioning(ctx, BUCKET, state)
    elif kind == 7:
        options = CreateUploadOptions(metadata=Metadata(storage_class=rng.choice(CLASSES)))
        made = await create_upload(ctx, BUCKET, key, options)
        uploads.append((key, made.upload_id))
    elif uploads and kind == 8:
        key, upload_id = rng.choice(uploads)
        number = rng.randrange(1, 4)
        await upload_part(ctx, BUCKET, key, upload_id, number, BytesBody(rng.randbytes(900)), None)
    elif uploads:
        await _end(gateway, rng, *uploads.pop(rng.randrange(len(uploads))))


async def _end(gateway: Gateway, rng: Random, key: str, upload_id: str) -> None:
    ctx = gateway.ctx()
    if rng.random() < 0.3:
        await abort_upload(ctx, BUCKET, key, upload_id)
        return
    held = []
    for number in (1, 2):
        part = await upload_part(
            ctx, BUCKET, key, upload_id, number, BytesBody(bytes(5 << 20)), None
        )
        held.append(CompletePart(part_number=number, etag=part.etag))
    listed = held[: rng.randrange(1, 3)]
    await complete_upload(ctx, BUCKET, key, upload_id, listed, CompleteOptions())


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_a_full_scan_after_any_history(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        index, rng = open_index(tmp_path), Random(seed)
        uploads: list[tuple[str, str]] = []
        async with memory_gateway(index=index) as gateway:
            index.keep_usage(gateway.services.records)
            for _ in range(60):
                await _act(gateway, rng, uploads)
                agree(gateway, index)
            await gateway.put("annotated", b"x" * 50)
            body = BytesBody(b"y" * 77)
            options = AnnotationOptions()
            await put_annotation(gateway.ctx(), BUCKET, "annotated", "note", body, None, options)
            agree(gateway, index)
            while await collect_garbage(gateway.services, rows_max=100):
                agree(gateway, index)
            total = total_of(index.usage_entries().values())
            assert total.stored_bytes > 0 and total.annotation_bytes == 77
            assert index.recount_usage() == []
        index.close()

    asyncio.run(main())


def test_counts_that_were_not_kept_are_made_at_the_next_start(tmp_path: Path) -> None:
    """A program that knows no counts has written to the index."""

    async def main() -> None:
        index = open_index(tmp_path)
        async with memory_gateway(index=index) as gateway:
            usage = index.keep_usage(gateway.services.records)
            await gateway.put("first", b"x" * 100)
            index._usage = None
            await gateway.put("second", b"x" * 1000)
            again = index.keep_usage(gateway.services.records)
            assert again is not usage
            agree(gateway, index)
            assert open_usage(index.usage_entry(_bucket(gateway))).stored_bytes == 1100
        index.close()

    asyncio.run(main())


def test_a_recount_finds_what_is_wrong_and_the_next_commit_mends_it(tmp_path: Path) -> None:
    async def main() -> None:
        index = open_index(tmp_path)
        async with memory_gateway(index=index) as gateway:
            index.keep_usage(gateway.services.records)
            await gateway.put("key", b"x" * 100)
            bucket = _bucket(gateway)
            with index._lmdb.begin(write=True) as txn:
                txn.delete(bucket, db=index._counts)
            assert index.recount_usage() == [bucket]
            await gateway.put("other", b"x" * 10)
            agree(gateway, index)
            assert index.recount_usage() == []
        index.close()

    asyncio.run(main())


def test_a_rotten_row_counts_for_nothing_and_stops_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        index = open_index(tmp_path)
        async with memory_gateway(index=index) as gateway:
            index.keep_usage(gateway.services.records)
            bucket = _bucket(gateway)
            row_key = keyspace.CURRENT + bucket + b"rotten"
            for value in (b"\x01" + bytes(99), None):
                batch = Batch(
                    partition=bucket,
                    request_id=gateway.services.env.random_bytes(16),
                    checks=(),
                    writes=(Write(row_key, value),),
                )
                await index.commit(batch)
                assert open_usage(index.usage_entry(bucket)).stored_bytes == 0
        index.close()

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(20))
def test_writes_that_keep_counts_among_others_of_one_transaction(tmp_path: Path, seed: int) -> None:
    """A rotation puts a row under another key while requests replace and delete it."""

    async def main() -> None:
        index, rng = open_index(tmp_path), Random(seed)
        async with memory_gateway(index=index) as gateway:
            records, nonces = gateway.services.records, gateway.services.nonces
            index.keep_usage(records)
            for at in range(3):
                await gateway.put(f"key-{at}", b"x" * 10**at)
            bucket = _bucket(gateway)
            rows = dict(index.scan(*keyspace.family_range(keyspace.CURRENT, bucket), limit=9))
            parts = {key: open_row(records, key, value) for key, value in rows.items()}
            several = list(parts.values())
            batches = []
            for _ in range(8):
                key = rng.choice(list(rows))
                held = parts.get(key)
                kind = rng.choice(("keep", "replace", "delete"))
                if held is None or kind == "replace":
                    held = rng.choice(several)
                value = None
                if kind != "delete":
                    value = seal_row(records, nonces, key, held[0], tenant=held[1], key_epoch=1)
                write = Write(key, value, keeps_counts=kind == "keep" and key in parts)
                parts = (
                    {**parts, key: held} if value else {k: v for k, v in parts.items() if k != key}
                )
                random = gateway.services.env.random_bytes(16)
                batches.append(
                    Batch(partition=bucket, request_id=random, checks=(), writes=(write,))
                )
            await asyncio.gather(*(index.commit(batch) for batch in batches))
            agree(gateway, index)
            assert index.recount_usage() == []
            assert index.verify_sums() == []
        index.close()

    asyncio.run(main())


def _bucket(gateway: Gateway) -> bytes:
    opened = gateway.services.buckets.find(BUCKET)
    assert opened is not None
    return opened.bucket.bucket_id
