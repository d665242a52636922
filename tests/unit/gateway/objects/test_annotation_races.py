"""Annotations under writers that come at once, or late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

import pytest

from gateway.commit.change import Change, Committed
from gateway.meta import keyspace
from gateway.meta.kv import BatchConflict, OutcomeUnknown
from gateway.model.bucket import Versioning
from gateway.model.errors import (
    NoSuchAnnotation,
    NoSuchKey,
    OperationAborted,
)
from gateway.objects.annotating import put_annotation
from gateway.objects.body import Buffer
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object
from gateway.objects.parting import collect_garbage
from gateway.objects.tagging import put_object_tags
from gateway.objects.values import (
    CopyOptions,
    CopySource,
)
from gateway.objects.versioning import set_versioning
from tests.support.annotations import (
    LARGE,
    NOTHING,
    SMALL,
    annotate,
    content_of,
    drop,
    is_clean,
    names_of,
    run,
)
from tests.support.gateway import BUCKET, BytesBody, Gateway


def _from(key: str, version_id: str | None = None) -> CopySource:
    return CopySource(bucket=BUCKET, key=key, version_id=version_id)


def test_writers_that_race_lose_nothing() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")

        async def quietly(work: Awaitable[object]) -> None:
            with suppress(NoSuchKey, NoSuchAnnotation, OperationAborted):
                await work

        for turn in range(4):
            await asyncio.gather(
                *(quietly(annotate(gateway, f"n{at % 5}", b"%d" % at)) for at in range(20)),
                *(quietly(drop(gateway, f"n{at}")) for at in range(3)),
                *(quietly(put_object_tags(gateway.ctx(), BUCKET, "k", None, ())) for _ in range(2)),
                quietly(gateway.put("k", b"object %d" % turn)),
                quietly(delete_object(gateway.ctx(), BUCKET, "k"))
                if turn % 2
                else asyncio.sleep(0),
                quietly(copy_object(gateway.ctx(), _from("k"), BUCKET, "copy", CopyOptions())),
            )
            assert gateway.live_bytes() == gateway.named_bytes()
            await gateway.put("k", b"again")
        await delete_object(gateway.ctx(), BUCKET, "k")
        await delete_object(gateway.ctx(), BUCKET, "copy")
        while await collect_garbage(gateway.services, rows_max=100):
            pass
        assert is_clean(gateway)
        assert gateway.services.log.reservations.open_count == 0

    run(test)


def test_one_that_is_replaced_by_many_is_released_once() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        for _ in range(3):
            await annotate(gateway, "name", LARGE)
            await asyncio.gather(*(annotate(gateway, "name", b"%d" % at) for at in range(6)))
            assert gateway.live_bytes() == gateway.named_bytes()
            await asyncio.gather(*(drop(gateway, "name") for _ in range(4)))
            assert is_clean(gateway)

    run(test)


def test_a_noncurrent_version_that_goes_meanwhile_gets_none() -> None:
    async def test(gateway: Gateway) -> None:
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        for at in range(6):
            one = (await gateway.put("k", b"one")).version_id
            await gateway.put("k", b"two")
            await annotate(gateway, "name", version_id=one)
            done = await asyncio.gather(
                delete_object(gateway.ctx(), BUCKET, "k", version_id=one),
                annotate(gateway, "name", b"%d" % at, version_id=one),
                annotate(gateway, "more", version_id=one),
                return_exceptions=True,
            )
            assert not isinstance(done[0], BaseException)
            assert is_clean(gateway)

    run(test)


class _Slow(BytesBody):
    """A body during which something happens."""

    def __init__(self, content: bytes, happens: Awaitable[object]) -> None:
        super().__init__(content)
        self._happens: Awaitable[object] | None = happens

    async def read(self) -> Buffer:
        happens, self._happens = self._happens, None
        if happens is not None:
            await happens
        return await super().read()


def test_a_version_that_is_overwritten_meanwhile() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        body, ctx = _Slow(SMALL, gateway.put("k", b"next")), gateway.ctx()
        with pytest.raises(OperationAborted):
            await put_annotation(ctx, BUCKET, "k", "name", body, None, NOTHING)
        body = _Slow(LARGE, delete_object(ctx, BUCKET, "k"))
        with pytest.raises(OperationAborted):
            await put_annotation(ctx, BUCKET, "k", "name", body, None, NOTHING)
        assert is_clean(gateway)
        assert gateway.services.log.reservations.open_count == 0
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        one = (await gateway.put("k", b"one")).version_id
        body = _Slow(SMALL, gateway.put("k", b"two"))
        _, of = await put_annotation(ctx, BUCKET, "k", "name", body, None, NOTHING)
        assert of.version_id == one
        assert await names_of(gateway) == []
        assert await content_of(gateway, "name", version_id=one) == SMALL

    run(test)


def test_what_a_copy_commits_after_its_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller has gone, the log has not: the last annotation comes between two looks of the
    job.
    """

    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        for at in range(3):
            await annotate(gateway, f"n{at}")
        commit = gateway.log.commit_change
        late: list[Change] = []
        refused: list[Change] = []

        async def committing(change: Change) -> Committed:
            writes = change.batch.writes
            if change.bodies and not late:
                late.append(change)
                raise OutcomeUnknown
            garbage = [one for one in writes if one.key[:1] == keyspace.GARBAGE]
            if garbage and garbage[0].value is None and not refused:
                refused.append(late[0])
                with pytest.raises(BatchConflict):
                    await commit(late[0])
            return await commit(change)

        monkeypatch.setattr(gateway.log, "commit_change", committing)
        with pytest.raises(OutcomeUnknown):
            await copy_object(gateway.ctx(), _from("k"), BUCKET, "copy", CopyOptions())
        while await collect_garbage(gateway.services, rows_max=100):
            pass
        assert refused
        assert len(gateway.rows_of(keyspace.ANNOTATION)) == 3
        assert not gateway.rows_of(keyspace.GARBAGE)
        assert gateway.live_bytes() == gateway.named_bytes()

    run(test)
