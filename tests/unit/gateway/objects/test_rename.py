"""RenameObject: one name before, the other one after, and the bytes where they were."""

from __future__ import annotations

import pytest

from gateway.meta import keyspace
from gateway.model.attributes import rename_mark, same_token
from gateway.model.bucket import Versioning
from gateway.model.errors import (
    AccessDenied,
    IdempotencyParameterMismatch,
    InvalidRequest,
    NoSuchBucket,
    NoSuchKey,
    NotImplementedInBucket,
    PreconditionFailed,
)
from gateway.objects.delete import delete_object
from gateway.objects.rename import rename_object
from gateway.objects.values import (
    GetOptions,
    Metadata,
    PutOptions,
    ReadConditions,
    RenameOptions,
)
from gateway.objects.versioning import set_versioning
from tests.support.annotations import annotate, is_clean, names_of
from tests.support.annotations import content_of as annotation
from tests.support.gateway import BUCKET, STRANGER, Gateway, content_of
from tests.support.object_rig import keys, put_parts, run

PLAIN = RenameOptions()
SMALL, LARGE = b"small", bytes(range(256)) * 1200
METADATA = Metadata(headers=(("content-type", "a/b"),), user=(("u", "1"),), tags=(("t", "1"),))


async def rename(gateway: Gateway, source: str, key: str, options: RenameOptions = PLAIN) -> None:
    await rename_object(gateway.ctx(), BUCKET, source, key, options)


@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "packed", "striped"])
def test_everything_of_an_object_goes_along(content: bytes) -> None:
    async def test(gateway: Gateway) -> None:
        options = PutOptions(metadata=METADATA, checksum_algorithm="SHA256")
        await gateway.put("old", content, options)
        before = (await gateway.open("old")).head
        await rename(gateway, "old", "new/name")
        assert await keys(gateway) == ["new/name"]
        after = (await gateway.open("new/name")).head
        assert await gateway.get("new/name") == content
        assert (after.etag, after.checksum, after.metadata, after.modified_at_ms) == (
            before.etag,
            before.checksum,
            before.metadata,
            before.modified_at_ms,
        )
        assert gateway.live_bytes() == gateway.named_bytes()
        with pytest.raises(NoSuchKey):
            await gateway.get("old")

    run(test)


def test_no_stripe_of_a_large_body_is_written_or_lost() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("old", LARGE)
        rows, written = gateway.live_bytes(), []
        write = gateway.services.stripes.write

        async def counted(*given: object, **more: object) -> object:
            written.append(given[0])
            return await write(*given, **more)  # type: ignore[arg-type]

        gateway.services.stripes.write = counted  # type: ignore[method-assign,assignment]
        await rename(gateway, "old", "new")
        assert gateway.live_bytes() == rows
        assert len(written) <= 1, "the commit stripe and nothing else"
        assert await gateway.get("new") == LARGE

    run(test)


def test_parts_stay_where_they_are() -> None:
    async def test(gateway: Gateway) -> None:
        part = bytes(5 << 20)
        etag = await put_parts(gateway, "old", part, b"last")
        rows = gateway.rows_of(keyspace.PART)
        await gateway.put("new", b"is replaced")
        await rename(gateway, "old", "new")
        assert gateway.rows_of(keyspace.PART) == rows
        head = (await gateway.open("new")).head
        assert (head.etag, head.part_count) == (etag, 2)
        for header, wanted in (("bytes=-6", b"\0\0last"), (f"bytes={5 << 20}-", b"last")):
            assert await gateway.get("new", GetOptions(range_header=header)) == wanted
        await delete_object(gateway.ctx(), BUCKET, "new")
        assert gateway.rows_of(keyspace.PART) == [] and gateway.live_bytes() == {}

    run(test)


def test_annotations_go_along_and_go_with_what_is_replaced() -> None:
    async def test(gateway: Gateway) -> None:
        for key, content in (("old", LARGE), ("new", SMALL)):
            await gateway.put(key, content)
            await annotate(gateway, "note", key.encode(), key=key)
        await rename(gateway, "old", "new")
        assert await names_of(gateway, key="new") == ["note"]
        assert await annotation(gateway, "note", key="new") == b"old"
        await delete_object(gateway.ctx(), BUCKET, "new")
        assert is_clean(gateway)

    run(test)


def test_what_has_the_new_key_is_replaced_whole() -> None:
    async def test(gateway: Gateway) -> None:
        for there in (SMALL, LARGE):
            await gateway.put("new", there)
            await gateway.put("old", b"content")
            await rename(gateway, "old", "new")
            assert await gateway.get("new") == b"content"
            assert gateway.live_bytes() == gateway.named_bytes()
        await put_parts(gateway, "new", bytes(5 << 20), b"last")
        await gateway.put("old", b"content")
        await rename(gateway, "old", "new")
        assert gateway.rows_of(keyspace.PART) == []
        assert len(gateway.live_bytes()) == 1

    run(test)


def test_renaming_back_and_forth_and_round() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("a", SMALL)
        await gateway.put("b", LARGE)
        for _ in range(3):
            await rename(gateway, "a", "c")
            await rename(gateway, "b", "a")
            await rename(gateway, "c", "b")
        assert (await gateway.get("a"), await gateway.get("b")) == (LARGE, SMALL)
        assert gateway.live_bytes() == gateway.named_bytes()

    run(test)


def test_a_read_that_has_begun_ends_well() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("old", LARGE)
        reading = await gateway.open("old")
        await rename(gateway, "old", "new")
        assert await content_of(reading) == LARGE

    run(test)


def test_refusals() -> None:
    async def test(gateway: Gateway) -> None:
        head = await gateway.put("old", SMALL)
        await gateway.put("new", LARGE)
        for source, key, error in (
            ("missing", "new", NoSuchKey),
            ("old", "old", InvalidRequest),
            ("old", "folder/", InvalidRequest),
            ("folder/", "new", InvalidRequest),
        ):
            with pytest.raises(error):
                await rename(gateway, source, key)
        with pytest.raises(NoSuchBucket):
            await rename_object(gateway.ctx(), "no-bucket", "old", "new", PLAIN)
        with pytest.raises(AccessDenied):
            await rename_object(gateway.ctx(STRANGER), BUCKET, "old", "new", PLAIN)
        etag = f'"{head.etag}"'
        date = head.modified_at_ms
        for conditions in (
            ReadConditions(if_match='"other"'),
            ReadConditions(if_none_match=etag),
            ReadConditions(if_none_match="*"),
            ReadConditions(if_unmodified_since_ms=date - 2000),
            ReadConditions(if_modified_since_ms=date + 2000),
        ):
            with pytest.raises(PreconditionFailed) as refused:
                await rename(gateway, "old", "new", RenameOptions(source=conditions))
            condition = str(refused.value.fields["condition"])
            assert condition.startswith("x-amz-rename-source-If-")
        for conditions in (
            ReadConditions(if_none_match="*"),
            ReadConditions(if_match=etag),
            ReadConditions(if_unmodified_since_ms=1000),
            ReadConditions(if_modified_since_ms=1 << 42),
        ):
            with pytest.raises(PreconditionFailed) as refused:
                await rename(gateway, "old", "new", RenameOptions(destination=conditions))
            assert str(refused.value.fields["condition"]).startswith("If-")
        for conditions in (ReadConditions(if_match="*"), ReadConditions(if_modified_since_ms=1)):
            with pytest.raises(PreconditionFailed):
                await rename(gateway, "old", "none", RenameOptions(destination=conditions))
        assert await keys(gateway) == ["new", "old"]
        assert (await gateway.get("old"), await gateway.get("new")) == (SMALL, LARGE)
        holding = RenameOptions(
            source=ReadConditions(if_match=etag, if_unmodified_since_ms=date),
            destination=ReadConditions(if_none_match="*", if_unmodified_since_ms=1000),
        )
        await rename(gateway, "old", "none", holding)
        assert await keys(gateway) == ["new", "none"]

    run(test)


@pytest.mark.parametrize("state", [Versioning.ENABLED, Versioning.SUSPENDED])
def test_buckets_with_a_history_are_refused(state: Versioning) -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("old", SMALL)
        for now in (Versioning.ENABLED, state):
            await set_versioning(gateway.ctx(), BUCKET, now)
        with pytest.raises(NotImplementedInBucket, match="versioning"):
            await rename(gateway, "old", "new")
        assert await keys(gateway) == ["old"]

    run(test)


def test_a_token_makes_a_repetition_nothing() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("old", SMALL)
        once = RenameOptions(client_token="t", destination=ReadConditions(if_none_match="*"))
        await rename(gateway, "old", "new", once)
        await gateway.put("old", b"another")
        before = gateway.log.position.sequence
        await rename(gateway, "old", "new", once)
        assert gateway.log.position.sequence == before
        assert (await gateway.get("old"), await gateway.get("new")) == (b"another", SMALL)
        for source, options in (
            ("else", once),
            ("old", RenameOptions(client_token="t")),
        ):
            with pytest.raises(IdempotencyParameterMismatch):
                await rename(gateway, source, "new", options)
        # Another token is another request.
        await rename(gateway, "old", "new", RenameOptions(client_token="u"))
        assert await gateway.get("new") == b"another"
        # Without one, a repetition finds nothing to rename.
        with pytest.raises(NoSuchKey):
            await rename(gateway, "old", "new")

    run(test)


def test_marks_of_tokens() -> None:
    assert rename_mark("", "a") == ""
    one, other = rename_mark("t", "a", "b"), rename_mark("t", "ab", "")
    assert one != other and same_token(one, other)
    assert not same_token(one, rename_mark("u", "a", "b"))
    assert not same_token("", "")
