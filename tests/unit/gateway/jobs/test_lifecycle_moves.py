"""Storage classes as geometries: the lifecycle job codes bodies anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.meta.stripes import scan_stripes
from gateway.model.layout import Geometry
from gateway.model.lifecycle import Filter, Transition
from gateway.objects import multipart
from gateway.objects.complete import complete_upload
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CreateUploadOptions,
    Metadata,
    PutOptions,
)
from storaged.base.ids import StripeFamily
from tests.support.annotations import LARGE, SMALL, annotate, content_of, is_clean
from tests.support.gateway import BUCKET, BytesBody, Gateway
from tests.support.lifecycle_rig import Clock, one_pass, rule, ruled, run

ARCHIVE = Geometry(8, 4)


def geometries(gateway: Gateway) -> set[tuple[int, int]]:
    """(k, m) of all data stripes that hold something."""
    rows = scan_stripes(gateway.log, gateway.services.records, None, limit=10_000)
    return {
        (held.row.geometry.k, held.row.geometry.m)
        for held in rows
        if held.row.live_bytes and held.row.stripe.family is StripeFamily.DATA
    }


def archiving(scene: Callable[[Gateway, Clock], Awaitable[None]]) -> None:
    async def with_class(gateway: Gateway, clock: Clock) -> None:
        gateway.services.class_geometries = {"GLACIER": ARCHIVE}
        moves = (Transition(days=1, storage_class="GLACIER"),)
        await ruled(gateway, rule(transitions=moves))
        await scene(gateway, clock)

    run(with_class)


def test_a_class_is_a_geometry() -> None:
    content = bytes(range(251)) * 40_000  # three stripes of 4+2, two of 8+4

    async def scene(gateway: Gateway, clock: Clock) -> None:
        await gateway.put("large", content)
        upload = await multipart.create_upload(
            gateway.ctx(), BUCKET, "parts", CreateUploadOptions()
        )
        parts = []
        for number, piece in ((1, content[:6_000_000]), (2, b"end" * 100_000)):
            part = await multipart.upload_part(
                gateway.ctx(), BUCKET, "parts", upload.upload_id, number, BytesBody(piece), None
            )
            parts.append(CompletePart(part_number=number, etag=part.etag))
        await complete_upload(
            gateway.ctx(), BUCKET, "parts", upload.upload_id, parts, CompleteOptions()
        )
        assert geometries(gateway) == {(4, 2)}
        clock.days = 3
        assert await one_pass(gateway) == "2 moved"
        assert geometries(gateway) == {(8, 4)}
        assert gateway.live_bytes() == gateway.named_bytes()
        assert gateway.log.reservations.open_count == 0
        assert await gateway.get("large") == content
        assert await gateway.get("parts") == content[:6_000_000] + b"end" * 100_000
        found = await gateway.open("large")
        assert found.head.metadata.storage_class == "GLACIER"
        assert await one_pass(gateway) == ""

    archiving(scene)


def test_annotations_move_along_and_expire_along() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        await gateway.put("k", b"x" * 300_000)
        await annotate(gateway, "small")
        await annotate(gateway, "large", LARGE)
        clock.days = 3
        assert await one_pass(gateway) == "1 moved"
        assert geometries(gateway) == {(8, 4)}
        await annotate(gateway, "later", LARGE)
        assert geometries(gateway) == {(8, 4)}
        assert gateway.live_bytes() == gateway.named_bytes()
        assert await content_of(gateway, "large") == LARGE
        assert await content_of(gateway, "small") == SMALL
        await ruled(gateway, rule(expire_days=1))
        clock.days = 6
        assert await one_pass(gateway) == "1 expired"
        assert is_clean(gateway)

    archiving(scene)


def test_a_body_put_in_a_class_has_its_geometry() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        options = PutOptions(metadata=Metadata(storage_class="GLACIER"))
        await gateway.put("large", b"x" * 300_000, options)
        assert geometries(gateway) == {(8, 4)}
        assert await gateway.get("large") == b"x" * 300_000

    archiving(scene)


def test_moves_wait_while_nodes_are_away_and_nothing_else_does() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        for key in "abcd":
            await gateway.put(key, b"x" * 300_000)
        await gateway.put("gone", b"x")
        gone = rule(rule_id="2", expire_days=1, filter=Filter(prefix="gone"))
        moves = (Transition(days=1, storage_class="GLACIER"),)
        await ruled(gateway, rule(transitions=moves), gone)
        gateway.services.class_geometries = {"GLACIER": Geometry(12, 8)}  # more than fit
        clock.days = 3
        assert await one_pass(gateway) == "1 expired, 2 failed"  # those two that were begun
        assert geometries(gateway) == {(4, 2)}
        assert gateway.log.reservations.open_count == 0
        gateway.services.class_geometries = {"GLACIER": ARCHIVE}
        assert await one_pass(gateway) == "4 moved"

    archiving(scene)


def test_a_put_during_a_move_wins() -> None:
    async def scene(gateway: Gateway, clock: Clock) -> None:
        await gateway.put("key", b"old" * 100_000)
        clock.days = 3
        moving = asyncio.ensure_future(one_pass(gateway))
        for _ in range(20):
            await asyncio.sleep(0)
        await gateway.put("key", b"new" * 100_000)
        await moving
        assert await gateway.get("key") == b"new" * 100_000
        assert gateway.live_bytes() == gateway.named_bytes()
        assert gateway.log.reservations.open_count == 0

    archiving(scene)
