"""Bytes at the end of an object: which, on what conditions, and what stays where it was."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.limits import PART_BYTES_MAX
from gateway.meta import keyspace
from gateway.model.bucket import Versioning
from gateway.model.checksums import digest_of
from gateway.model.errors import (
    AccessDenied,
    BadDigest,
    EncryptionTypeMismatch,
    EntityTooLarge,
    InvalidRequest,
    InvalidWriteOffset,
    NoSuchBucket,
    NoSuchKey,
    NotImplementedInBucket,
    PreconditionFailed,
    TooManyParts,
)
from gateway.objects import append
from gateway.objects.append import append_object
from gateway.objects.delete import delete_object
from gateway.objects.values import (
    EncryptionAsked,
    GetOptions,
    Metadata,
    PutOptions,
    WriteConditions,
)
from gateway.objects.versioning import set_versioning
from tests.support.annotations import annotate, names_of
from tests.support.gateway import BUCKET, STRANGER, BytesBody, Gateway, right
from tests.support.object_rig import add, is_whole, keys, put_parts, run

PLAIN = PutOptions()
SMALL, LARGE = b"small", bytes(range(256)) * 1200
PART = b"p" * (5 << 20)


@pytest.mark.parametrize(
    "pieces",
    [
        (SMALL, b"x", b"yy", b"zz"),
        (SMALL, LARGE, SMALL),
        (LARGE, SMALL, LARGE),
        (b"a" * 131_072, b"b" * 131_073),
    ],
    ids=["small", "large in the middle", "large at both ends", "border"],
)
def test_pieces_become_one_object(pieces: Sequence[bytes]) -> None:
    async def test(gateway: Gateway) -> None:
        whole, etags, before = b"", set(), 0
        for at, piece in enumerate(pieces):
            head = await add(gateway, len(whole), piece)
            whole += piece
            assert head.length == len(whole)
            assert head.part_count == (at + 1 if at else 0)
            held = (await gateway.open("key")).head
            assert (held.etag, held.modified_at_ms) == (head.etag, head.modified_at_ms)
            assert head.modified_at_ms > before
            etags.add(head.etag)
            before = head.modified_at_ms
            await is_whole(gateway, whole)
        assert len(etags) == len(pieces)
        for number, piece in enumerate(pieces, 1):
            assert await gateway.get("key", GetOptions(part_number=number)) == piece
        await delete_object(gateway.ctx(), BUCKET, "key")
        assert gateway.live_bytes() == {} and gateway.rows_of(keyspace.PART) == []

    run(test)


def test_nothing_of_a_large_body_is_read_or_written_again() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", LARGE)
        before = gateway.live_bytes()

        async def read(*given: object, **more: object) -> object:
            raise AssertionError("what is there is not read")

        gateway.services.stripes.read = read  # type: ignore[method-assign,assignment]
        await add(gateway, len(LARGE), SMALL)
        after = gateway.live_bytes()
        assert before.items() <= after.items()
        assert sum(after.values()) - sum(before.values()) == len(SMALL) + 16

    run(test)


def test_a_small_body_goes_along_once() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", SMALL)
        read, reads = gateway.services.stripes.read, []

        async def counted(*given: object, **more: object) -> object:
            reads.append(given[2])
            return await read(*given, **more)  # type: ignore[arg-type]

        gateway.services.stripes.read = counted  # type: ignore[method-assign,assignment]
        for at in range(4):
            await add(gateway, len(SMALL) + at, b"x")
        assert reads == [len(SMALL) + 16]

    run(test)


def test_everything_else_of_the_object_is_kept() -> None:
    async def test(gateway: Gateway) -> None:
        metadata = Metadata(
            headers=(("content-type", "a/b"),),
            user=(("u", "1"),),
            tags=(("t", "1"),),
            storage_class="STANDARD_IA",
        )
        for content in (b"", SMALL, LARGE):
            await gateway.put("key", content, PutOptions(metadata=metadata))
            await annotate(gateway, "note", key="key")
            held = (await gateway.open("key")).head.metadata
            again = Metadata(headers=(("content-type", "c/d"),), storage_class="STANDARD_IA")
            await add(gateway, len(content), b"more", PutOptions(metadata=again))
            assert (await gateway.open("key")).head.metadata == held
            assert await names_of(gateway, key="key") == ["note"]
            await is_whole(gateway, content + b"more")

    run(test)


def test_an_empty_object_gets_its_bytes() -> None:
    async def test(gateway: Gateway) -> None:
        for first in (SMALL, LARGE):
            await gateway.put("key", b"")
            head = await add(gateway, 0, first)
            assert (head.part_count, head.etag) == (0, digest_of("MD5", first).hex())
            await is_whole(gateway, first)
            await add(gateway, len(first), b"more")
            await is_whole(gateway, first + b"more")

    run(test)


def test_parts_of_an_upload_get_another_one() -> None:
    async def test(gateway: Gateway) -> None:
        await put_parts(gateway, "key", PART, b"last")
        head = await add(gateway, len(PART) + 4, b"more")
        assert head.part_count == 3
        whole = PART + b"last" + b"more"
        for header in ("bytes=-10", f"bytes={len(PART) - 3}-{len(PART) + 6}"):
            first = len(whole) - 10 if header == "bytes=-10" else len(PART) - 3
            found = await gateway.get("key", GetOptions(range_header=header))
            assert found == whole[first : first + 10]
        assert gateway.live_bytes() == gateway.named_bytes()

    run(test)


def test_parts_that_an_upload_left_out_do_not_take_the_new_one_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A garbage row names all parts but those of the upload, and so the new one as well."""
    monkeypatch.setattr("gateway.objects.parting.INLINE_STRIPES_MAX", 1)

    async def test(gateway: Gateway) -> None:
        await put_parts(gateway, "key", b"only", b"left", b"out", listed=1)
        assert len(gateway.rows_of(keyspace.GARBAGE)) == 1
        await add(gateway, 4, b"more")
        assert gateway.rows_of(keyspace.GARBAGE) == []
        assert len(gateway.rows_of(keyspace.PART)) == 2
        await is_whole(gateway, b"onlymore")

    run(test)


def test_refusals_before_a_byte_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: Gateway) -> None:
        monkeypatch.setattr(append, "store_part", None)
        head = await gateway.put("key", SMALL)
        size = len(SMALL)
        for offset, key in ((0, "key"), (size - 1, "key"), (size + 1, "key"), (1, "absent")):
            with pytest.raises(InvalidWriteOffset):
                await add(gateway, offset, b"x", key=key)
        with pytest.raises(InvalidRequest, match="cannot be empty"):
            await add(gateway, size, b"")
        for metadata in (
            Metadata(user=(("a", "b"),)),
            Metadata(tags=(("a", "b"),)),
            Metadata(storage_class="STANDARD_IA"),
        ):
            with pytest.raises(InvalidRequest, match="user-defined"):
                await add(gateway, size, b"x", PutOptions(metadata=metadata))
        for conditions, error in (
            (WriteConditions(if_none_match="*"), PreconditionFailed),
            (WriteConditions(if_match='"other"'), PreconditionFailed),
            (WriteConditions(if_none_match=head.etag), PreconditionFailed),
        ):
            with pytest.raises(error):
                await add(gateway, size, b"x", PutOptions(conditions=conditions))
        with pytest.raises(NoSuchKey):
            matching = PutOptions(conditions=WriteConditions(if_match="*"))
            await add(gateway, 0, b"x", matching, key="absent")
        with pytest.raises(EncryptionTypeMismatch):
            await add(gateway, size, b"x", PutOptions(encryption=EncryptionAsked(kind="aws:kms")))
        with pytest.raises(EntityTooLarge):
            body = BytesBody(b"x", length=PART_BYTES_MAX + 1)
            await append_object(gateway.ctx(), BUCKET, "key", body, PLAIN, size)
        monkeypatch.setattr(append, "OBJECT_BYTES_MAX", size)
        with pytest.raises(EntityTooLarge):
            await add(gateway, size, b"x")
        with pytest.raises(AccessDenied):
            await append_object(gateway.ctx(STRANGER), BUCKET, "key", BytesBody(b"x"), PLAIN, size)
        with pytest.raises(NoSuchBucket):
            await append_object(gateway.ctx(), "no-bucket", "key", BytesBody(b"x"), PLAIN, size)
        assert await gateway.get("key") == SMALL
        assert await keys(gateway) == ["key"]

    run(test)


@pytest.mark.parametrize("state", [Versioning.ENABLED, Versioning.SUSPENDED])
def test_buckets_with_a_history_are_refused(state: Versioning) -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", SMALL)
        for now in (Versioning.ENABLED, state):
            await set_versioning(gateway.ctx(), BUCKET, now)
        for offset, key in ((len(SMALL), "key"), (0, "absent")):
            with pytest.raises(NotImplementedInBucket, match="versioning"):
                await add(gateway, offset, b"x", key=key)

    run(test)


def test_ten_thousand_parts_are_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: Gateway) -> None:
        monkeypatch.setattr("gateway.model.appending.PART_NUMBER_MAX", 4)
        whole = b""
        for _ in range(4):
            await add(gateway, len(whole), b"x")
            whole += b"x"
        with pytest.raises(TooManyParts):
            await add(gateway, len(whole), b"x")
        await is_whole(gateway, whole)

    run(test)


def test_checksums() -> None:
    async def test(gateway: Gateway) -> None:
        for algorithm in ("CRC32", "CRC64NVME", "SHA256"):
            options = PutOptions(checksum_algorithm=algorithm)
            await gateway.put("key", SMALL, options)
            with pytest.raises(
                InvalidRequest, match=f"expected checksum Type: {algorithm.lower()}"
            ):
                await add(gateway, 5, b"x", PutOptions(checksum_algorithm="SHA1"))
            for at, given in enumerate((PLAIN, options)):
                told = await add(gateway, 5 + at, b"x", given)
                assert told.checksum is None, "it tells what was there before"
            held = (await gateway.open("key")).head.checksum
            if algorithm == "SHA256":
                assert held is None
                continue
            await gateway.put("same", SMALL + b"xx", options)
            assert held == (await gateway.open("same")).head.checksum

    run(test)


def test_a_wrong_digest_adds_nothing() -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.put("key", SMALL)
        for content in (b"more", LARGE):
            wrong = right("MD5", b"other", BadDigest)
            body = BytesBody(content, digests=("MD5",), expected=(wrong,))
            with pytest.raises(BadDigest):
                await append_object(gateway.ctx(), BUCKET, "key", body, PLAIN, len(SMALL))
        await is_whole(gateway, SMALL)

    run(test)
