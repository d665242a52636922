"""Versions that wait for a bucket elsewhere: within bounds, over a crash, in order, all of them."""

from __future__ import annotations

import asyncio

import pytest

from gateway.jobs import replica_catch_up, replica_versions, replication
from gateway.jobs.replication import Replicator
from gateway.meta import keyspace
from gateway.model.bucket import Versioning
from gateway.model.key_states import KeyState
from gateway.objects import key_epochs
from gateway.objects.annotating import AnnotationOptions, put_annotation
from gateway.objects.buckets import create_bucket, delete_bucket
from gateway.objects.delete import delete_object
from gateway.objects.key_rotation import rotate_bucket_key
from gateway.objects.replication import put_replication
from gateway.objects.tagging import put_object_tags
from gateway.objects.versioning import set_versioning
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway
from tests.support.lifecycle_rig import Clock, one_pass, rule, ruled, run
from tests.support.replica_there import LIMIT, RULE, There, bound, replicate, settle, status
from tests.support.rotations import bucket_of


def test_what_has_no_room_waits_and_is_found_after_a_crash() -> None:
    async def scenario() -> None:
        there = There()
        there.is_away = True
        written: dict[str, list[bytes | None]] = {}
        async with memory_gateway() as gateway:
            await replicate(gateway)
            for number in range(12):
                key, content = f"k{number % 3}", b"%d" % number
                await gateway.put(key, content)
                written.setdefault(key, []).append(content)
            await delete_object(gateway.ctx(), BUCKET, "k1")
            written["k1"].append(None)
            rows = gateway.rows_of(keyspace.REPLICA)
            assert len(rows) == LIMIT + 1  # and the mark
            backlog = gateway.services.replica_backlog
            assert (backlog.waiting, len(backlog.behind)) == (LIMIT, 1)
            await settle(gateway, there, 5)
            assert await status(gateway, "k0") == "PENDING"
            cluster, index = gateway.cluster, gateway.index
        async with memory_gateway(cluster=cluster, index=index, with_bucket=False) as again:
            bound(again)
            job = Replicator(again.services, {"there": there})
            assert job.progress().waiting == LIMIT
            assert "more in 1 buckets" in job.progress().detail
            await again.put("k2", b"after")  # is not refused, nor does it push anything out
            written["k2"].append(b"after")
            there.is_away = False
            await settle(again, there)
            assert there.history == written
            for key in ("k0", "k2"):
                assert await status(again, key) == "COMPLETED"
            assert (await again.get("k2")) == b"after"
            backlog = again.services.replica_backlog
            assert (backlog.waiting, backlog.behind) == (0, set())

    asyncio.run(scenario())


def test_what_waits_without_a_row_goes_before_what_is_newer_and_has_one() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway, 1)
            there = There()
            await gateway.put("other", b"x")
            for content in (b"1", b"2"):
                await gateway.put("k", content)
            assert gateway.services.replica_backlog.behind
            bound(gateway, 10)
            await gateway.put("k", b"3")
            job = Replicator(gateway.services, {"there": there})
            await job.step()
            assert there.history["k"] == [b"1", b"2", b"3"]
            await settle(gateway, there)
            assert there.history == {"other": [b"x"], "k": [b"1", b"2", b"3"]}

    asyncio.run(scenario())


def test_what_is_left_out_during_a_look_is_found_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica_catch_up, "PAGE_ROWS", 1)

    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway, 2)
            there = There()
            for number in range(6):
                await gateway.put(f"k{number}", b"x")
            job = Replicator(gateway.services, {"there": there})
            while not any(look.after[-2:] >= b"k4" for look in job._catch_up._looks.values()):
                await job.step()
            bound(gateway, 0)
            await gateway.put("a", b"late")  # behind what was looked at
            bound(gateway, 2)
            await settle(gateway, there, job=job)
            assert there.history == {"a": [b"late"], **{f"k{n}": [b"x"] for n in range(6)}}

    asyncio.run(scenario())


def test_changes_of_what_was_replicated_wait_as_well() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway)
            there = There()
            for key in ("noted", "tagged"):
                await gateway.put(key, b"x")
            await settle(gateway, there)
            bound(gateway, 0)
            await put_object_tags(gateway.ctx(), BUCKET, "tagged", None, (("a", "b"),))
            for name in ("one", "two"):
                await put_annotation(
                    gateway.ctx(), BUCKET, "noted", name, BytesBody(b"t"), None, AnnotationOptions()
                )
            for key in ("noted", "tagged"):
                assert await status(gateway, key) == "PENDING"
            bound(gateway)
            await settle(gateway, there)
            for key in ("noted", "tagged"):
                assert await status(gateway, key) == "COMPLETED"
            assert there.tags_of == {"tagged-1": frozenset({("a", "b")})}
            assert there.annotations == ["one", "two"]
            assert there.history == {"noted": [b"x"], "tagged": [b"x"]}

    asyncio.run(scenario())


def test_a_change_while_the_object_is_sent_is_sent_too() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway)
            there = There()
            there.on_put = asyncio.Event()
            await gateway.put("k", b"x")
            job = Replicator(gateway.services, {"there": there})
            sending = asyncio.create_task(job.step())
            await there.on_put.wait()
            await put_object_tags(gateway.ctx(), BUCKET, "k", None, (("a", "b"),))
            there.go_on.set()
            await sending
            assert await status(gateway, "k") == "PENDING"
            await settle(gateway, there)
            assert await status(gateway, "k") == "COMPLETED"
            assert there.tags_of == {"k-1": frozenset({("a", "b")})}
            assert there.history == {"k": [b"x"]}

    asyncio.run(scenario())


def test_a_long_run_of_versions_is_sent_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_versions, "RUN_MAX", 3)
    monkeypatch.setattr(replica_versions, "PAGE_ROWS", 2)

    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway, 0)
            there = There()
            contents = [b"%d" % number for number in range(11)]
            for content in contents[:-1]:
                await gateway.put("k", content)
            bound(gateway, 1)
            await gateway.put("k", contents[-1])
            await settle(gateway, there)
            assert there.history == {"k": contents}

    asyncio.run(scenario())


def test_no_bucket_takes_the_room_of_all() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway)
            backlog = gateway.services.replica_backlog
            backlog.rows_max = LIMIT + 1
            for number in range(LIMIT + 3):
                await gateway.put(f"k{number}", b"x")
            assert backlog.waiting == LIMIT
            (bucket,) = backlog.rows
            assert backlog.room(bucket) == 0
            assert backlog.room(type(bucket)(bytes(16))) == 1
            backlog.rows_max = 0
            backlog.bucket_rows_least = LIMIT + 2
            assert backlog.room(bucket) == 2
            assert backlog.room(type(bucket)(bytes(16))) == LIMIT + 2

    asyncio.run(scenario())


def test_a_long_queue_of_a_target_that_is_away_is_looked_over_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replication, "HELD_ROW_S", 7.0)

    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway)
            there = There()
            there.is_away = True
            for number in range(3):
                await gateway.put(f"k{number}", b"x")
            job = Replicator(gateway.services, {"there": there})
            assert await job.step() == 3 * 7.0

    asyncio.run(scenario())


def test_what_a_lifecycle_hides_stays_at_the_destination() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        await replicate(gateway)
        there = There()
        await gateway.put("k", b"x")
        await ruled(gateway, rule(expire_days=1))
        clock.days = 3
        assert await one_pass(gateway) == ""  # it waits for its replica
        await settle(gateway, there)
        assert await one_pass(gateway) == "1 expired"
        assert not gateway.rows_of(keyspace.REPLICA)
        await settle(gateway, there)
        assert there.history == {"k": [b"x"]}

    run(scene)


def test_changes_that_do_not_commit_do_not_fill_the_queue() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway)
            backlog = gateway.services.replica_backlog
            await gateway.put("k", b"x")
            (bucket,) = backlog.rows
            for _ in range(LIMIT - 1):
                backlog.left(bucket, {})  # and nobody commits it
            assert backlog.room(bucket) == 0
            there = There()
            there.is_away = True
            job = Replicator(gateway.services, {"there": there})
            for _ in range(2):
                await job.step()
            assert (backlog.waiting, backlog.room(bucket)) == (1, LIMIT - 1)
            there.is_away = False
            await settle(gateway, there)
            assert (backlog.waiting, backlog.room(bucket)) == (0, LIMIT)

    asyncio.run(scenario())


def test_a_destination_that_is_away_holds_up_its_own_buckets_only() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            services, away, there = gateway.services, There(), There()
            away.is_away = True
            await replicate(gateway)
            services.replication_targets = {"there": frozenset(), "away": frozenset()}
            for name in ("aaa", "zzz"):  # on both sides of the other one, whatever its id is
                await create_bucket(gateway.ctx(), name, None)
                await set_versioning(gateway.ctx(), name, Versioning.ENABLED)
                elsewhere = {**RULE, "Destination": {"Bucket": "arn:aws:s3:::away"}}
                document = {"role": "any", "rules": [elsewhere]}
                await put_replication(gateway.ctx(), name, document)
                for number in range(LIMIT):
                    await gateway.put(f"k{number}", b"x", bucket=name)
            services.replica_backlog.bucket_rows_least = 1
            for number in range(6):
                await gateway.put(f"k{number}", b"x")
            assert len(services.replica_backlog.behind) == 2  # one has had all the room there was
            job = Replicator(services, {"there": there, "away": away})
            for _ in range(60):
                await job.step()
            assert there.history == {f"k{number}": [b"x"] for number in range(6)}

    asyncio.run(scenario())


def test_what_no_rule_covers_any_more_has_failed_and_a_bucket_that_has_gone_is_forgotten() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway, 0)
            there = There()
            head = await gateway.put("k", b"x")
            assert gateway.services.replica_backlog.behind
            bound(gateway)
            await put_replication(gateway.ctx(), BUCKET, None)
            await settle(gateway, there)
            assert await status(gateway, "k") == "FAILED"
            await replicate(gateway, 0)
            other = await gateway.put("k", b"y")
            for made in (head, other):
                await delete_object(gateway.ctx(), BUCKET, "k", version_id=made.version_id)
            await delete_bucket(gateway.ctx(), BUCKET)
            bound(gateway)
            await settle(gateway, there)
            assert not there.history
            assert not gateway.services.replica_backlog.behind

    asyncio.run(scenario())


@pytest.mark.parametrize("limit", [8, 2])  # with rows for all, and without
def test_what_is_under_a_disabled_key_waits_until_that_is_enabled_again(limit: int) -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway, limit)
            there = There()
            for number in range(4):
                await gateway.put(f"k{number}", b"old")
            services, bucket = gateway.services, bucket_of(gateway)
            await rotate_bucket_key(services, bucket.bucket_id, 0)
            await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
            job = Replicator(services, {"there": there})
            for _ in range(6):
                await job.step()
            assert there.history == {}
            bound(gateway, 9)
            await gateway.put("new", b"new")
            for _ in range(3):
                await job.step()
            assert there.history == {"new": [b"new"]}, "nothing else waits for it"
            await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DECRYPT_ONLY)
            await settle(gateway, there, job=job)
            assert there.history == {"new": [b"new"], **{f"k{n}": [b"old"] for n in range(4)}}
            assert await status(gateway, "k3") == "COMPLETED"

    asyncio.run(scenario())


def test_a_version_under_a_destroyed_key_holds_up_none_that_is_newer() -> None:
    async def scenario() -> None:
        async with memory_gateway() as gateway:
            await replicate(gateway)
            there = There()
            await gateway.put("k", b"lost")
            services, bucket = gateway.services, bucket_of(gateway)
            await rotate_bucket_key(services, bucket.bucket_id, 0)
            await gateway.put("k", b"kept")
            await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
            await key_epochs.destroy_bucket_epoch(services, bucket, 1, forced=True)
            await settle(gateway, there)
            assert there.history == {"k": [b"kept"]}
            assert await status(gateway, "k") == "COMPLETED"

    asyncio.run(scenario())
