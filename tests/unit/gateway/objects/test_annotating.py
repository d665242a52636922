"""Annotations: what is stored, whom it belongs to, and what is refused."""

from __future__ import annotations

import asyncio

import pytest

from gateway.limits import ANNOTATIONS_MAX
from gateway.meta import keyspace
from gateway.model import events
from gateway.model.attributes import GOVERNANCE
from gateway.model.bucket import Versioning
from gateway.model.errors import (
    AccessDenied,
    AnnotationLimitExceeded,
    EntityTooLarge,
    InvalidRequest,
    NoSuchAnnotation,
    NoSuchKey,
    PreconditionFailed,
    UnsupportedMediaType,
)
from gateway.objects.annotating import (
    AnnotationOptions,
    delete_annotation,
    put_annotation,
)
from gateway.objects.annotation_reads import get_annotation, list_annotations
from gateway.objects.delete import delete_object
from gateway.objects.locks import Retention, put_lock_configuration, put_retention
from gateway.objects.parting import collect_garbage
from gateway.objects.versioning import set_versioning
from storaged.base.ids import ShardId, StripeFamily, StripeId
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
from tests.support.gateway import BUCKET, STRANGER, BytesBody, Gateway


@pytest.mark.parametrize("content", [b"x", SMALL, "é".encode() * 70_000, LARGE])
def test_what_was_put_is_there_until_it_is_replaced_or_deleted(content: bytes) -> None:
    async def test(gateway: Gateway) -> None:
        before = await gateway.put("k", b"object")
        await annotate(gateway, "name", content)
        assert await content_of(gateway, "name") == content
        assert gateway.live_bytes() == gateway.named_bytes()
        head = (await gateway.open("k")).head
        assert (head.etag, head.modified_at_ms) == (before.etag, before.modified_at_ms)
        await annotate(gateway, "name", b"other")
        assert await content_of(gateway, "name") == b"other"
        assert await names_of(gateway) == ["name"]
        await drop(gateway, "name")
        with pytest.raises(NoSuchAnnotation):
            await content_of(gateway, "name")
        assert is_clean(gateway)
        at = gateway.log.position.sequence
        await drop(gateway, "name")
        assert gateway.log.position.sequence == at, "nothing to commit"
        assert await gateway.get("k") == b"object"

    run(test)


def test_its_bytes_are_sealed_on_the_nodes_and_in_the_index() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        small, large = b"clear text of a small annotation", b"clear text of a large one" * 8000
        await annotate(gateway, "small", small)
        await annotate(gateway, "large", large)
        rows = gateway.log.scan(b"\x00", b"\xff", limit=10_000)
        held = [row.value for row in rows]
        for node in gateway.cluster.nodes.values():
            first = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
            for info in (await node.list(first, None, limit=1000)).shards:
                got = await node.get(info.shard, offset=0, length=info.content_bytes)
                held.append(bytes(got.content))
        assert len(held) > len(rows) + 6
        assert not [one for one in held if b"clear text" in one]

    run(test)


def test_content_that_is_refused() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        before = gateway.live_bytes()
        for content, error in (
            (b"", InvalidRequest),
            (LARGE + b"x", EntityTooLarge),
            (b"\xff\xfe", UnsupportedMediaType),
            ("é".encode()[:1], UnsupportedMediaType),
            (LARGE[:-1] + b"\xc3", UnsupportedMediaType),
        ):
            with pytest.raises(error):
                await annotate(gateway, "name", content)
        # A letter may be cut by the pieces that a body comes in.
        body = BytesBody("é€𝄞".encode() * 9, piece_bytes=1)
        await put_annotation(gateway.ctx(), BUCKET, "k", "cut", body, None, NOTHING)
        await drop(gateway, "cut")
        assert gateway.live_bytes() == before
        assert gateway.services.log.reservations.open_count == 0
        with pytest.raises(NoSuchKey):
            await annotate(gateway, "name", key="missing")

    run(test)


def test_a_condition_is_about_the_object() -> None:
    async def test(gateway: Gateway) -> None:
        head = await gateway.put("k", b"object")
        wrong = AnnotationOptions(if_match='"other"')
        with pytest.raises(PreconditionFailed):
            await annotate(gateway, "name", options=wrong)
        await annotate(gateway, "name", options=AnnotationOptions(if_match=f'"{head.etag}"'))
        with pytest.raises(PreconditionFailed):
            await drop(gateway, "name", wrong)
        await drop(gateway, "name", AnnotationOptions(if_match=head.etag))
        assert is_clean(gateway)

    run(test)


def test_no_more_than_a_thousand_and_all_of_them_go_with_the_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        for at in range(0, ANNOTATIONS_MAX, 50):
            names = [f"n{number:04}" for number in range(at, at + 50)]
            await asyncio.gather(*(annotate(gateway, name) for name in names))
        with pytest.raises(AnnotationLimitExceeded):
            await annotate(gateway, "more")
        await annotate(gateway, "n0500", b"replaced")
        assert await content_of(gateway, "n0500") == b"replaced"
        assert await names_of(gateway) == [f"n{number:04}" for number in range(ANNOTATIONS_MAX)]
        await drop(gateway, "n0000")
        await annotate(gateway, "more")
        assert gateway.live_bytes() == gateway.named_bytes()
        await delete_object(gateway.ctx(), BUCKET, "k")
        assert gateway.live_bytes() == gateway.named_bytes()
        await gateway.put("k", b"next")
        assert await names_of(gateway) == []
        while await collect_garbage(gateway.services, rows_max=100):
            pass
        assert is_clean(gateway)
        assert len(gateway.live_bytes()) == 1

    run(test)


def test_pages_of_a_list() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        names = ["a", "b-1", "b-2", "b.", "c", "é"]
        for name in reversed(names):
            await annotate(gateway, name)

        async def pages(prefix: str, entries_max: int) -> list[list[str]]:
            found, token = [], None
            while True:
                page = await list_annotations(
                    gateway.ctx(),
                    BUCKET,
                    "k",
                    None,
                    prefix=prefix,
                    token=token,
                    entries_max=entries_max,
                )
                found.append([name for name, _ in page.entries])
                token = page.next_token
                if token is None:
                    return found

        assert await pages("", 4) == [names[:4], names[4:]]
        assert await pages("", 6) == [names]
        assert await pages("b", 2) == [["b-1", "b-2"], ["b."]]
        assert await pages("z", 2) == [[]]

    run(test)


def test_each_version_has_its_own() -> None:
    async def test(gateway: Gateway) -> None:
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        one = (await gateway.put("k", b"one")).version_id
        await annotate(gateway, "name", b"of one")
        two = (await gateway.put("k", b"two")).version_id
        assert await names_of(gateway) == []
        await annotate(gateway, "name", b"of two")
        await annotate(gateway, "late", LARGE, version_id=one)
        assert await content_of(gateway, "name", version_id=one) == b"of one"
        await delete_object(gateway.ctx(), BUCKET, "k")
        with pytest.raises(NoSuchKey):
            await names_of(gateway)
        assert await content_of(gateway, "name", version_id=two) == b"of two"
        assert gateway.live_bytes() == gateway.named_bytes()
        await delete_object(gateway.ctx(), BUCKET, "k", version_id=one)
        assert len(gateway.rows_of(keyspace.ANNOTATION)) == 1
        await delete_object(gateway.ctx(), BUCKET, "k", version_id=two)
        assert is_clean(gateway)

    run(test)


def test_what_is_locked_keeps_them() -> None:
    async def test(gateway: Gateway) -> None:
        await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        await put_lock_configuration(gateway.ctx(), BUCKET, None)
        await gateway.put("k", b"object")
        await annotate(gateway, "name")
        until_ms = gateway.services.env.now_ms() + 10_000
        lock = Retention(GOVERNANCE, until_ms)
        await put_retention(gateway.ctx(), BUCKET, "k", None, lock, bypass_governance=False)
        await annotate(gateway, "added")
        for change in (drop(gateway, "name"), annotate(gateway, "name", b"other")):
            with pytest.raises(AccessDenied):
                await change
        await drop(gateway, "missing")
        assert await content_of(gateway, "name") == SMALL
        bypass = AnnotationOptions(bypass_governance=True)
        await annotate(gateway, "name", b"other", options=bypass)
        await drop(gateway, "name", bypass)
        assert await names_of(gateway) == ["added"]

    run(test)


def test_strangers_get_nothing() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("k", b"object")
        await annotate(gateway, "name")
        for who in (STRANGER, None):
            ctx = gateway.ctx(who)
            for key in ("k", "missing"):
                body = BytesBody(SMALL)
                for work in (
                    put_annotation(ctx, BUCKET, key, "name", body, None, NOTHING),
                    put_annotation(ctx, BUCKET, key, "bad name", body, None, NOTHING),
                    get_annotation(ctx, BUCKET, key, "name", None),
                    delete_annotation(ctx, BUCKET, key, "name", NOTHING),
                    list_annotations(ctx, BUCKET, key, None, prefix="!", token="!", entries_max=1),
                ):
                    with pytest.raises(AccessDenied):
                        await work

    run(test)


def test_events_have_their_names() -> None:
    assert {events.ANNOTATED, events.UNANNOTATED, "s3:ObjectAnnotation:*"} <= events.ALL_EVENTS
