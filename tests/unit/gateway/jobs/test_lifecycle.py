"""The lifecycle job over a gateway in memory, with a clock that the test sets."""

from __future__ import annotations

import asyncio

import pytest

from gateway.jobs import lifecycle as job
from gateway.jobs.lifecycle import POSITION_ROW, LifecycleKeeper
from gateway.meta import keyspace
from gateway.meta.documents import open_document
from gateway.model.attributes import COMPLIANCE, Attributes
from gateway.model.bucket import Versioning
from gateway.model.lifecycle import DAY_MS, Act, Filter, Transition
from gateway.model.names import ObjectKey
from gateway.objects import buckets, delete, multipart, versioning
from gateway.objects.lifecycle_acts import apply_current, apply_noncurrent, find_ruled
from gateway.objects.locks import put_lock_configuration
from gateway.objects.values import (
    CreateUploadOptions,
    Metadata,
    PutOptions,
)
from tests.support.gateway import BUCKET, BytesBody, Gateway
from tests.support.lifecycle_rig import Clock, keys, one_pass, rule, ruled, run, versioned


def test_expired_objects_go_and_their_bytes_too() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        for key in ("a/1", "a/2", "b/1"):
            await gateway.put(key, b"x" * 300_000)
        await ruled(gateway, rule(expire_days=2, filter=Filter(prefix="a/")))
        clock.days = 1
        assert await one_pass(gateway) == ""
        clock.days = 4
        assert await one_pass(gateway) == "2 expired"
        assert await keys(gateway) == [("b/1", True, False)]
        assert gateway.live_bytes() == gateway.named_bytes()
        assert await one_pass(gateway) == ""

    run(scene)


def test_pages_and_rules_of_many_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PAGE_ROWS", 3)

    async def scene(gateway: Gateway, clock: Clock) -> None:
        for prefix in "abcd":
            for number in range(5):
                await gateway.put(f"{prefix}/{number}", b"x")
        held = [rule(expire_days=1, filter=Filter(prefix=p)) for p in ("a/", "c/", "c/1", "d/4")]
        await ruled(
            gateway,
            *(rule(rule_id=str(i), expire_days=1, filter=r.filter) for i, r in enumerate(held)),
        )
        clock.days = 3
        assert await one_pass(gateway) == "11 expired"
        left = [key for key, _, _ in await keys(gateway)]
        assert left == [f"b/{n}" for n in range(5)] + [f"d/{n}" for n in range(4)]

    run(scene)


def test_versions_are_hidden_then_removed_then_their_marker() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        await gateway.put("key", b"null version")
        await versioned(gateway)
        await gateway.put("key", b"second")
        await ruled(gateway, rule(expire_days=1, noncurrent_days=3))
        clock.days = 2
        assert await one_pass(gateway) == "1 expired"
        assert await keys(gateway) == [
            ("key", True, True),
            ("key", False, False),
            ("key", False, False),
        ]
        assert await one_pass(gateway) == ""
        clock.days = 4  # the null version was replaced on the first day
        assert await one_pass(gateway) == "1 removed"
        clock.days = 7
        assert await one_pass(gateway) == "1 removed"
        assert await one_pass(gateway) == "1 removed"
        assert await keys(gateway) == []
        assert gateway.rows_of(keyspace.CURRENT) == gateway.rows_of(keyspace.NONCURRENT) == []
        assert gateway.live_bytes() == {}

    run(scene)


def test_a_suspended_bucket_loses_its_null_version() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        await versioned(gateway)
        await gateway.put("key", b"named")
        await versioned(gateway, Versioning.SUSPENDED)
        await gateway.put("key", b"null")
        await ruled(gateway, rule(expire_days=1))
        clock.days = 2
        assert await one_pass(gateway) == "1 expired"
        assert await keys(gateway) == [("key", True, True), ("key", False, False)]

    run(scene)


@pytest.mark.parametrize("page_rows", [2, 250])
def test_the_newest_noncurrent_versions_stay(
    monkeypatch: pytest.MonkeyPatch, page_rows: int
) -> None:
    monkeypatch.setattr(job, "PAGE_ROWS", page_rows)

    async def scene(gateway: Gateway, clock: Clock) -> None:
        await versioned(gateway)
        for key in ("a", "b"):
            for number in range(7):
                await gateway.put(key, b"%d" % number)
        await ruled(gateway, rule(noncurrent_days=1, newer_versions=2))
        clock.days = 3
        assert await one_pass(gateway) == "8 removed"
        assert [key for key, _, _ in await keys(gateway)] == ["a"] * 3 + ["b"] * 3
        assert await gateway.get("a") == b"6"
        assert await one_pass(gateway) == ""

    run(scene)


def test_what_is_locked_stays() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        await buckets.create_bucket(gateway.ctx(), "locked", None)
        ctx = gateway.ctx()
        await versioning.set_versioning(ctx, "locked", Versioning.ENABLED)
        await put_lock_configuration(ctx, "locked", None)
        until_ms = clock.now_ms() + 10 * DAY_MS
        retained = Attributes(retention_mode=COMPLIANCE, retain_until_ms=until_ms)
        held = Attributes(legal_hold=True)
        for attributes in (retained, held, Attributes()):
            options = PutOptions(metadata=Metadata(attributes=attributes))
            await gateway.put("key", b"x", options, bucket="locked")
        await gateway.put("key", b"newest", bucket="locked")
        await ruled(gateway, rule(noncurrent_days=1), bucket="locked")
        clock.days = 3
        assert await one_pass(gateway) == "1 removed, 2 locked"
        clock.days = 12
        assert await one_pass(gateway) == "1 removed, 1 locked"
        assert len(await keys(gateway, "locked")) == 2

    run(scene)


def test_uploads_that_nobody_completes_go() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        for key in ("a/1", "b/1"):
            options = CreateUploadOptions()
            upload = await multipart.create_upload(gateway.ctx(), BUCKET, key, options)
            body = BytesBody(b"x" * 300_000)
            await multipart.upload_part(gateway.ctx(), BUCKET, key, upload.upload_id, 1, body, None)
        await ruled(gateway, rule(abort_days=2, filter=Filter(prefix="a/")))
        assert await one_pass(gateway) == ""
        clock.days = 4
        assert await one_pass(gateway) == "1 uploads aborted"
        assert len(gateway.rows_of(keyspace.UPLOAD)) == len(gateway.rows_of(keyspace.PART)) == 1
        assert gateway.live_bytes() == gateway.named_bytes()

    run(scene)


def test_objects_move_to_another_class() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        await versioned(gateway)
        await gateway.put("large", b"x" * 200_000)
        await gateway.put("small", b"x")
        before = await gateway.open("large")
        moves = (Transition(days=30, storage_class="STANDARD_IA"),)
        await ruled(gateway, rule(transitions=moves))
        clock.days = 32
        assert await one_pass(gateway) == "1 moved"
        after = await gateway.open("large")
        assert after.head.metadata.storage_class == "STANDARD_IA"
        assert after.head.modified_at_ms == before.head.modified_at_ms
        assert after.head.version_id == before.head.version_id
        assert await gateway.get("large") == b"x" * 200_000
        assert await one_pass(gateway) == ""

    run(scene)


def test_a_newer_put_is_never_taken() -> None:
    """The row was due when it was looked at, and is another when it would go."""

    async def scene(gateway: Gateway, clock: Clock) -> None:
        await gateway.put("key", b"old")
        await ruled(gateway, rule(expire_days=1))
        clock.days = 3
        services = gateway.services
        seen = find_ruled(services, services.buckets.find(BUCKET).bucket.bucket_id)  # type: ignore[union-attr]
        assert seen is not None
        acting = [
            asyncio.ensure_future(gateway.put("key", b"new")),
            asyncio.ensure_future(apply_current(services, seen, b"key")),  # type: ignore[arg-type]
        ]
        await asyncio.gather(*acting)
        assert await gateway.get("key") == b"new"

    run(scene)


def test_what_counts_as_newer_is_still_there_when_a_version_goes() -> None:
    """The third newest is due as long as two are newer; one of them is being deleted."""

    async def scene(gateway: Gateway, clock: Clock) -> None:
        await versioned(gateway)
        ids = [(await gateway.put("key", b"%d" % number)).version_id for number in range(4)]
        await ruled(gateway, rule(noncurrent_days=1, newer_versions=2))
        clock.days = 3
        services = gateway.services
        opened = services.buckets.find(BUCKET)
        assert opened is not None
        seen = find_ruled(services, opened.bucket.bucket_id)
        assert seen is not None
        deleting = delete.delete_object(gateway.ctx(), BUCKET, "key", version_id=ids[2])
        oldest = apply_noncurrent(services, seen, ObjectKey(b"key"), 1)
        outcomes = await asyncio.gather(deleting, oldest)
        assert outcomes[1] is Act.KEEP
        assert len(await keys(gateway)) == 3

    run(scene)


def test_rules_that_went_meanwhile_do_nothing() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        await gateway.put("key", b"old")
        await ruled(gateway, rule(expire_days=1))
        clock.days = 3
        services = gateway.services
        opened = services.buckets.find(BUCKET)
        assert opened is not None
        seen = find_ruled(services, opened.bucket.bucket_id)
        assert seen is not None
        await ruled(gateway, rule(expire_days=300))
        await apply_current(services, seen, ObjectKey(b"key"))
        assert await gateway.get("key") == b"old"

    run(scene)


def test_a_pass_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PAGE_ROWS", 4)
    monkeypatch.setattr(job, "SAVE_EVERY_S", -1.0)

    async def scene(gateway: Gateway, clock: Clock) -> None:
        await versioned(gateway)
        for number in range(9):
            await gateway.put("key", b"%d" % number)
        await ruled(gateway, rule(noncurrent_days=1, newer_versions=5))
        first = LifecycleKeeper(gateway.services)
        for _ in range(4):
            assert not await first.step()
        records, log = gateway.services.records, gateway.log
        held = open_document(records, POSITION_ROW, log.read((POSITION_ROW,))[0] or b"")
        assert held["phase"] == job.Phase.NONCURRENT and held["at"]
        clock.days = 3
        second = LifecycleKeeper(gateway.services)
        while not await second.step():
            pass
        assert second.progress().detail == "3 removed"
        assert second.progress().done == 8  # current versions were looked at by the first
        assert log.read((POSITION_ROW,)) == [None]
        await delete.delete_object(gateway.ctx(), BUCKET, "key")

    run(scene)


def test_a_bucket_is_walked_again_after_midnight_and_when_its_rules_change() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        for number in range(5):
            await gateway.put(f"key-{number}", b"x")
        await ruled(gateway, rule(expire_days=3))
        keeper = LifecycleKeeper(gateway.services)

        async def looked_at() -> int:
            while not await keeper.step():
                pass
            return keeper.progress().done

        assert [await looked_at(), await looked_at()] == [5, 0]
        await ruled(gateway, rule(expire_days=4))
        assert [await looked_at(), await looked_at()] == [5, 0]
        clock.days = 1
        assert [await looked_at(), await looked_at()] == [5, 0]
        clock.days = 9
        assert [await looked_at(), await looked_at()] == [5, 0]
        assert await keys(gateway) == []

    run(scene)
