"""Versions that leave one gateway and come into another: in any order, once, and whole or not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple

import pytest

from gateway.data.stripes import StripeGone
from gateway.meta import keyspace
from gateway.model.bucket import Versioning
from gateway.model.exported import Incoming, RecordInvalid, comparable, incoming_of
from gateway.objects import exporting
from gateway.objects.annotating import AnnotationOptions, put_annotation
from gateway.objects.body import Buffer
from gateway.objects.buckets import create_bucket, delete_bucket
from gateway.objects.delete import delete_object
from gateway.objects.exporting import (
    BucketNotThere,
    Cursor,
    Listed,
    VersionReplaced,
    bucket_of,
    cursor_behind,
    described,
    list_rows,
    small_version,
    stream_bytes,
    version_at,
)
from gateway.objects.import_parts import ContentDiffers
from gateway.objects.importing import Installer, Outcome, VersionConflict
from gateway.objects.parting import collect_garbage
from gateway.objects.versioning import set_versioning
from tests.support.gateway import BUCKET, TENANT, BytesBody, Gateway, memory_gateway
from tests.support.object_rig import add, put_parts

ALL = 1 << 40


class Content:
    """Bytes as a source."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, bytes_max: int) -> Buffer:
        piece, self._content = self._content[:bytes_max], self._content[bytes_max:]
        return piece


class Taken(NamedTuple):
    """A version that has left."""

    record: dict[str, Any]
    content: bytes

    @property
    def incoming(self) -> Incoming:
        return incoming_of(self.record, {})


async def taken(gateway: Gateway, page: int = 3) -> list[Taken]:
    """All versions of the bucket, by pages."""
    services, found = gateway.services, list[Taken]()
    opened = bucket_of(services, TENANT, BUCKET)
    cursor: Cursor | None = None
    while True:
        rows, cursor = list_rows(services, opened.bucket, cursor, page)
        for row in rows:
            read = await small_version(services, opened, row, (), ALL)
            assert read is not None and read[1] is not None
            record = dict(read[0].document)
            if "bytes" in record:
                record["sha256"] = sha256(read[1][: record["bytes"]]).hexdigest()
            found.append(Taken(record, read[1]))
        if cursor is None:
            return found


async def history(gateway: Gateway) -> None:
    """Keys with every kind of version among their own."""
    await gateway.put("a", b"null, from before")
    await gateway.put("b", b"x" * 300_000)
    await add(gateway, 0, b"one", key="grown")
    await add(gateway, 3, b"two", key="grown")
    await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
    for at in range(4):
        await gateway.put("a", b"version %d" % at)
    await delete_object(gateway.ctx(), BUCKET, "b")
    await put_parts(gateway, "parts", b"p" * (5 << 20), b"q" * 10)
    await put_annotation(
        gateway.ctx(), BUCKET, "a", "note", BytesBody(b"a note"), None, AnnotationOptions()
    )
    await set_versioning(gateway.ctx(), BUCKET, Versioning.SUSPENDED)
    await gateway.put("b", b"null, over a marker")
    await delete_object(gateway.ctx(), BUCKET, "grown")
    await gateway.put("last", b"")


def installer(gateway: Gateway) -> Installer:
    opened = bucket_of(gateway.services, TENANT, BUCKET)
    return Installer(gateway.services, TENANT, opened.bucket, {})


async def is_clean(gateway: Gateway) -> None:
    """What rows name is what stripes count, when the garbage is gone."""
    while await collect_garbage(gateway.services, rows_max=1000):
        continue
    assert not gateway.rows_of(keyspace.GARBAGE)
    assert gateway.live_bytes() == gateway.named_bytes()


@pytest.mark.proves("E-04")
@pytest.mark.parametrize("seed", range(12))
def test_any_order_makes_the_same_history(seed: int) -> None:
    async def main() -> None:
        async with memory_gateway(seed=1) as here, memory_gateway(seed=2) as there:
            await history(here)
            left = await taken(here)
            assert len(left) == 10
            await set_versioning(there.ctx(), BUCKET, Versioning.ENABLED)
            await set_versioning(there.ctx(), BUCKET, Versioning.SUSPENDED)
            order = list(left)
            Random(seed).shuffle(order)
            for half in (order[:7], order):  # a second time does nothing
                for one in half:
                    await installer(there).install(one.incoming, Content(one.content))
            came = await taken(there)
            unordered = {"noncurrent_since_ms"}  # follows from what came behind
            for before, after in zip(left, came, strict=True):
                held = [
                    {k: v for k, v in comparable(one.record, {}).items() if k not in unordered}
                    for one in (before, after)
                ]
                assert held[0] == held[1] and before.content == after.content
            assert not installer(there).missing([one.incoming for one in left])
            assert await there.get("b") == b"null, over a marker"
            await is_clean(there)

    asyncio.run(main())


@pytest.mark.proves("E-04")
@pytest.mark.parametrize("key", ["a", "b", "parts"])
def test_other_bytes_than_those_of_the_record_make_nothing(key: str) -> None:
    async def main() -> None:
        async with memory_gateway(seed=1) as here, memory_gateway(seed=2) as there:
            await history(here)
            one = next(one for one in await taken(here) if one.record["key"] == key)
            changed = bytearray(one.content)
            changed[-1] ^= 1
            with pytest.raises(ContentDiffers):
                await installer(there).install(one.incoming, Content(bytes(changed)))
            assert await taken(there) == []
            await is_clean(there)

    asyncio.run(main())


@pytest.mark.proves("E-04")
@pytest.mark.parametrize("content", [b"small", b"x" * 300_000])
def test_a_bucket_that_took_the_name_while_a_version_came_is_not_filled(content: bytes) -> None:
    class Late(Content):
        """Bytes in whose middle the bucket is made anew."""

        async def read(self, bytes_max: int) -> Buffer:
            piece = await super().read(bytes_max)
            if piece:
                await delete_bucket(there_now[0].ctx(), BUCKET)
                await create_bucket(there_now[0].ctx(), BUCKET, None)
            return piece

    there_now: list[Gateway] = []

    async def main() -> None:
        async with memory_gateway(seed=1) as here, memory_gateway(seed=2) as there:
            there_now.append(there)
            await here.put("a", content)
            (one,) = await taken(here)
            with pytest.raises(BucketNotThere):
                await installer(there).install(one.incoming, Late(one.content))
            assert await taken(there) == []
            await is_clean(there)

    asyncio.run(main())


def test_what_somebody_else_wrote_is_not_replaced() -> None:
    async def main() -> None:
        async with memory_gateway(seed=1) as here, memory_gateway(seed=2) as there:
            await here.put("a", b"mine")
            await there.put("a", b"theirs")
            (one,) = await taken(here)
            with pytest.raises(VersionConflict):
                await installer(there).install(one.incoming, Content(one.content))
            assert await there.get("a") == b"theirs"
            (other,) = await taken(there)
            outcome = await installer(there).install(other.incoming, Content(other.content))
            assert outcome is Outcome.HELD

    asyncio.run(main())


@pytest.mark.parametrize("state", [Versioning.OFF, Versioning.SUSPENDED])
def test_what_a_client_wrote_meanwhile_is_not_taken_away_by_a_newer_one(state: Versioning) -> None:
    async def main() -> None:
        async with memory_gateway(seed=1) as here, memory_gateway(seed=2) as there:
            if state is not Versioning.OFF:
                await set_versioning(there.ctx(), BUCKET, state)
            for _ in range(3):
                await here.put("a", b"mine")  # so of a later sequence
            await there.put("a", b"theirs")
            (one,) = await taken(here)
            with pytest.raises(VersionConflict):
                await installer(there).install(one.incoming, Content(one.content))
            assert await there.get("a") == b"theirs"
            await is_clean(there)

    asyncio.run(main())


def test_a_version_that_is_replaced_while_it_is_read_is_told_as_what_took_its_place() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await gateway.put("a", b"x" * 300_000)
            services, opened = gateway.services, bucket_of(gateway.services, TENANT, BUCKET)
            (row,), after = list_rows(services, opened.bucket, None, 10)
            assert after is None
            found = described(services, opened.bucket.bucket_id, row)
            await gateway.put("a", b"y")
            with pytest.raises(VersionReplaced):
                version_at(services, opened, row.key, 1, found.version.object_uuid)
            again = Listed(row.key, row.row_key, gateway.log.read((row.row_key,))[0] or b"", True)
            read = await small_version(services, opened, again, (), ALL)
            assert read is not None and (read[0].document["sequence"], read[1]) == (2, b"y")
            assert cursor_behind(services, again) == Cursor(again.key, 2)

    asyncio.run(main())


def test_a_version_that_was_told_of_is_not_told_of_once_more_behind_a_page() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
            for _ in range(3):
                await gateway.put("a", b"x")
            services, opened = gateway.services, bucket_of(gateway.services, TENANT, BUCKET)
            (row,), after = list_rows(services, opened.bucket, None, 1)
            told = [described(services, opened.bucket.bucket_id, row).version.sequence]
            await gateway.put("a", b"written meanwhile")
            while after is not None:
                rows, after = list_rows(services, opened.bucket, after, 1)
                told += [
                    described(services, opened.bucket.bucket_id, one).version.sequence
                    for one in rows
                ]
            assert told == [3, 2, 1]

    asyncio.run(main())


def test_a_version_that_goes_before_its_older_one_is_not_told_of_as_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def gone(*told: object) -> bytes:
        raise StripeGone()

    async def main() -> None:
        async with memory_gateway() as gateway:
            await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
            await gateway.put("a", b"older")
            newer = await gateway.put("a", b"x" * 300_000)
            services, opened = gateway.services, bucket_of(gateway.services, TENANT, BUCKET)
            rows, _ = list_rows(services, opened.bucket, None, 10)
            await delete_object(gateway.ctx(), BUCKET, "a", version_id=newer.version_id)
            monkeypatch.setattr(exporting, "whole_body", gone)
            with pytest.raises(VersionReplaced):
                await small_version(services, opened, rows[0], (), ALL)

    asyncio.run(main())


def test_ranges_over_a_content_and_its_annotations() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await history(gateway)
            services, opened = gateway.services, bucket_of(gateway.services, TENANT, BUCKET)
            row = list_rows(services, opened.bucket, None, 1)[0][0]
            found = described(services, opened.bucket.bucket_id, row)
            whole = b"version 3a note"
            for first in range(len(whole)):
                for length in range(1, len(whole) - first + 1):
                    pieces = stream_bytes(services, opened, found, first, length, None)
                    read = b"".join([bytes(piece) async for piece in pieces])
                    assert read == whole[first : first + length]

    asyncio.run(main())


GOOD: dict[str, Any] = {
    "key": "k",
    "version_id": "null",
    "sequence": 1,
    "current": True,
    "modified_at_ms": 1,
    "owner_id": "",
    "bytes": 2,
    "etag": "e",
    "sha256": "s",
}
PART = {"number": 1, "bytes": 2, "etag": "e", "created_at_ms": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"key": ""},
        {"key": "\x00"},
        {"key": "k" * 1025},
        {"key": 7},
        {"version_id": "x"},
        {"version_id": "00" * 8 + "11" * 8},
        {"sequence": 0},
        {"sequence": True},
        {"bytes": -1},
        {"bytes": "2"},
        {"storage_class": "NONE"},
        {"parts": [PART, PART]},
        {"parts": [{**PART, "bytes": 3}]},
        {"parts": [{**PART, "number": 10_001}]},
        {"annotations": [{**PART, "number": 0, "name": "aws"}]},
        {"checksum": {"algorithm": "ROT13", "type": "FULL_OBJECT", "value": ""}},
        {"retention_mode": "NEVER"},
        {"tags": [["a"]]},
        {"acl": "x"},
        {"headers": [["a", 1]]},
        # What would come back as headers of its own, or as dates that cannot be printed.
        {"headers": [["set-cookie", "a=b"]]},
        {"headers": [["content-type", "x\r\nSet-Cookie: a=b"]]},
        {"metadata": [["a\r\nSet-Cookie", "b"]]},
        {"metadata": [["a: b", "c"]]},
        {"metadata": [["a", "b\nc"]]},
        {"modified_at_ms": 1 << 60},
        {"retention_mode": "COMPLIANCE", "retain_until_ms": 1 << 60},
        {"storage_class": ["STANDARD"]},
        {"checksum": {"algorithm": "CRC32", "type": "HALF", "value": ""}},
    ],
)
def test_records_that_no_version_has_are_refused(change: dict[str, Any]) -> None:
    assert incoming_of(GOOD, {}).content_bytes == 2
    with pytest.raises(RecordInvalid):
        incoming_of({**GOOD, **change}, {})
    with pytest.raises(RecordInvalid):
        incoming_of({name: one for name, one in GOOD.items() if name != "sha256"}, {})


def test_owners_take_the_place_of_others() -> None:
    record = {**GOOD, "owner_id": "old", "acl": [["CanonicalUser", "old", "READ"]]}
    found = incoming_of(record, {"old": "new"})
    assert (found.attributes.owner_id, found.attributes.acl[0].grantee) == ("new", "new")
    assert comparable(record, {"old": "new"})["acl"] == [["CanonicalUser", "new", "READ"]]
    assert replace(found, key=found.key) == found
