"""The meter's integrals equal what adding up every moment gives; a crash invents nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.meta.hours import hours_between, last_hour, metered_buckets
from gateway.model.billing import ANNOTATIONS, HOUR_MS, LOOSE, Metered, add_to, integrate
from gateway.model.names import BucketId
from gateway.objects.buckets import delete_bucket
from gateway.objects.delete import delete_object
from gateway.objects.metering import kind_of
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.parting import collect_garbage
from gateway.objects.values import CreateUploadOptions, Metadata, PutOptions
from tests.support.gateway import BUCKET, TENANT, BytesBody
from tests.support.metered import Metered as Rig
from tests.support.metered import TurnedEnv, metered_gateway
from tests.support.usage_scan import full_scan

pytestmark = pytest.mark.proves("A-16")

CLASSES = ("STANDARD", "STANDARD_IA")


class Brute:
    """Adds up level × time, from full scans."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.byte_ms: dict[str, int] = {}
        self.at_ms = rig.meter.now_ms()
        self.first_ms = self.at_ms

    def levels(self) -> Mapping[str, int]:
        services = self.rig.gateway.services
        usage = full_scan(self.rig.gateway.log, services.records).get(self.rig.bucket_id)
        if usage is None:
            return {}
        held = {name: one.stored_bytes for name, one in usage.classes.items()}
        return {**held, LOOSE: usage.loose_bytes, ANNOTATIONS: usage.annotation_bytes}

    def turn(self, seconds: float) -> None:
        levels = self.levels()
        self.rig.env.turn(seconds)
        passed_ms = self.rig.meter.now_ms() - self.at_ms
        self.at_ms += passed_ms
        add_to(self.byte_ms, {line: held * passed_ms for line, held in levels.items()})


def metered(rig: Rig, bucket: bytes, first: int, end: int) -> Metered:
    services = rig.gateway.services
    hours = hours_between(rig.gateway.log, services.records, TENANT, BucketId(bucket), first, end)
    return integrate(hours, first=first, end=end, now_ms=rig.meter.now_ms())


async def act(rig: Rig, rng: Random, uploads: list[tuple[str, str]]) -> None:
    gateway, key = rig.gateway, f"key-{rng.randrange(5)}"
    kind = rng.randrange(5)
    if kind < 2:
        options = PutOptions(metadata=Metadata(storage_class=rng.choice(CLASSES)))
        await gateway.put(key, rng.randbytes(rng.choice((1, 700, 200_000))), options)
    elif kind == 2:
        await delete_object(gateway.ctx(), BUCKET, key)
    elif kind == 3:
        made = await create_upload(gateway.ctx(), BUCKET, key, CreateUploadOptions())
        uploads.append((key, made.upload_id))
    elif uploads:
        key, upload_id = rng.choice(uploads)
        body = BytesBody(rng.randbytes(333))
        await upload_part(gateway.ctx(), BUCKET, key, upload_id, rng.randrange(1, 9), body, None)


@pytest.mark.parametrize("seed", range(4))
def test_the_integral_is_what_every_moment_adds_up_to(tmp_path: Path, seed: int) -> None:
    """MET-01."""

    async def main() -> None:
        rng, uploads = Random(seed), []
        async with metered_gateway(tmp_path) as rig:
            brute = Brute(rig)
            for _ in range(50):
                await act(rig, rng, uploads)
                brute.turn(rng.choice((0.25, 30, 1000, 3600, 40_000)))
                if rng.random() < 0.5:
                    await rig.meter.flush()
            await rig.meter.flush()
            first, end = brute.first_ms // HOUR_MS, rig.meter.now_ms() // HOUR_MS + 1
            whole = metered(rig, rig.bucket_id, first, end)
            assert whole.byte_ms == brute.byte_ms
            in_pieces = Metered()
            for number in range(first, end, 7):
                in_pieces.add(metered(rig, rig.bucket_id, number, min(number + 7, end)))
            assert in_pieces.byte_ms == brute.byte_ms

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_loses_no_more_than_what_was_not_flushed_and_invents_nothing(
    tmp_path: Path, seed: int
) -> None:
    """MET-02."""

    async def main() -> None:
        rng, uploads = Random(seed), []
        async with metered_gateway(tmp_path) as rig:
            brute, lost_max = Brute(rig), 0
            for _ in range(8):
                for _ in range(4):
                    await act(rig, rng, uploads)
                    brute.turn(rng.choice((1, 1800)))
                await rig.meter.flush()
                # What falls and rises again is not seen: docs/metering.md.
                grows = rng.random() < 0.5
                for _ in range(3):
                    if grows:
                        await rig.gateway.put(f"new-{rng.random()}", bytes(3000))
                    else:
                        await delete_object(rig.gateway.ctx(), BUCKET, f"key-{rng.randrange(5)}")
                    before = sum(brute.byte_ms.values())
                    brute.turn(rng.choice((5, 20)))
                    lost_max += sum(brute.byte_ms.values()) - before
                rig.lose_meter()
                rig.meter.reconcile((rig.bucket_id,))
                brute.turn(7200)
            await rig.meter.flush()
            end = rig.meter.now_ms() // HOUR_MS + 1
            found = metered(rig, rig.bucket_id, brute.first_ms // HOUR_MS, end)
            for line, held in found.byte_ms.items():
                assert held <= brute.byte_ms[line]
            assert sum(brute.byte_ms.values()) - sum(found.byte_ms.values()) <= lost_max

    asyncio.run(main())


def test_a_bucket_that_went_in_a_crash_is_not_metered_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with metered_gateway(tmp_path) as rig:
            bucket = BucketId(rig.bucket_id)
            await rig.gateway.put("k", bytes(1000))
            rig.env.turn(10)
            await rig.meter.flush()
            await delete_object(rig.gateway.ctx(), BUCKET, "k")
            await delete_bucket(rig.gateway.ctx(), BUCKET)
            rig.lose_meter()
            rig.env.turn(100 * 3600)
            for owner, one in list(metered_buckets(rig.gateway.log)):
                assert (owner, one) == (TENANT, bucket)
                rig.meter.end_of(owner, one)
            await rig.meter.flush()
            records = rig.gateway.services.records
            kept = last_hour(rig.gateway.log, records, TENANT, bucket)
            assert kept is not None and kept.levels == {}
            first = rig.meter.now_ms() // HOUR_MS - 101
            assert metered(rig, bucket, first, first + 200).byte_ms == {"STANDARD": 10_000_000}

    asyncio.run(main())


def test_requests_and_bytes_are_counted_by_kind(tmp_path: Path) -> None:
    async def main() -> None:
        async with metered_gateway(tmp_path) as rig:
            bucket = BucketId(rig.bucket_id)
            first = rig.meter.now_ms() // HOUR_MS
            for hour in range(3):
                rig.meter.request(bucket, "PutObject", 10, 0)
                rig.meter.request(bucket, "GetObject", 0, 500 + hour)
                await rig.meter.flush()
                rig.meter.request(bucket, "ListObjectsV2", 0, 7)
                rig.env.turn(3600)
            await rig.meter.flush()
            found = metered(rig, bucket, first, first + 9)
            assert found.requests == {"write": 3, "read": 3, "list": 3}
            assert (found.in_bytes, found.out_bytes) == (30, 1503 + 21)
            assert found.byte_ms == {}
            assert metered(rig, bucket, first + 1, first + 2).out_bytes == 508

    asyncio.run(main())


def test_a_wall_clock_that_is_set_makes_no_hours(tmp_path: Path) -> None:
    """MET-02."""

    async def main() -> None:
        env = TurnedEnv()
        async with metered_gateway(tmp_path, env) as rig:
            first = rig.meter.now_ms() // HOUR_MS
            await rig.gateway.put("k", bytes(1000))
            env.at_ms += 30 * 24 * HOUR_MS
            env.up_s += 5
            await rig.gateway.put("other", bytes(1))
            env.at_ms -= 60 * 24 * HOUR_MS
            env.up_s += 5
            await rig.meter.flush()
            found = metered(rig, rig.bucket_id, first, first + 5000)
            assert found.byte_ms == {"STANDARD": 1000 * 10_000 + 5000}

    asyncio.run(main())


def test_the_job_flushes_looks_and_recounts(tmp_path: Path) -> None:
    async def main() -> None:
        async with metered_gateway(tmp_path) as rig:
            await rig.gateway.put("k", bytes(1000))
            while not await rig.metering.step():
                pass
            bucket, records = BucketId(rig.bucket_id), rig.gateway.services.records
            kept = last_hour(rig.gateway.log, records, TENANT, bucket)
            assert kept is not None and kept.levels == {"STANDARD": 1000}
            rig.env.turn(25 * 3600)
            await delete_object(rig.gateway.ctx(), BUCKET, "k")
            await collect_garbage(rig.gateway.services, rows_max=10)
            while not await rig.metering.step():
                pass
            kept = last_hour(rig.gateway.log, records, TENANT, bucket)
            assert kept is not None and kept.levels == {}
            first = kept.number - 25
            found = metered(rig, bucket, first, kept.number + 1)
            assert found.byte_ms == {"STANDARD": 1000 * 25 * HOUR_MS}

    asyncio.run(main())


def test_every_operation_has_a_kind() -> None:
    assert kind_of("PutObject") == kind_of("CreateMultipartUpload") == "write"
    assert kind_of("HeadObject") == "read"
    assert kind_of("DeleteObjects") == kind_of("AbortMultipartUpload") == "delete"


def test_a_flush_that_was_cancelled_is_made_up_for(tmp_path: Path) -> None:
    """A gateway that ends stops its jobs first, whatever they are at."""

    async def main() -> None:
        async with metered_gateway(tmp_path) as rig:
            bucket, log = BucketId(rig.bucket_id), rig.gateway.services.log
            await rig.gateway.put("k", bytes(1000))
            rig.env.turn(3600)
            rig.meter.request(bucket, "GetObject", 0, 777)
            commit, begun = log.commit_change, asyncio.Event()

            async def waits(change: Any) -> Any:
                begun.set()
                await asyncio.Event().wait()

            log.commit_change = waits  # type: ignore[method-assign]
            flush = asyncio.create_task(rig.meter.flush())
            await begun.wait()
            flush.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flush
            log.commit_change = commit  # type: ignore[method-assign]
            await rig.metering.finish()
            end = rig.meter.now_ms() // HOUR_MS + 1
            found = metered(rig, bucket, end - 2, end)
            assert found.out_bytes == 777 and found.requests["read"] == 1
            assert found.byte_ms["STANDARD"] == 1000 * HOUR_MS

    asyncio.run(main())
