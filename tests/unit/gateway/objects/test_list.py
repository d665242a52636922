"""ListObjects against brute force, and how little a delimiter reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.meta.kv import Row
from gateway.model.bucket import Versioning
from gateway.model.errors import AccessDenied, InvalidArgument, NoSuchBucket
from gateway.objects import list as lists
from gateway.objects import walk
from gateway.objects.delete import delete_object
from gateway.objects.list import list_objects
from gateway.objects.tokens import AT_KEY, TOKEN_TEXT_MAX, decode_token, encode_token
from gateway.objects.values import ListOptions, ListPage
from gateway.objects.versioning import set_versioning
from gateway.objects.walk import rolled_up
from tests.support.gateway import BUCKET, Gateway, memory_gateway

KEYS = st.lists(st.text("ab/é\U0001f600", min_size=1, max_size=6), max_size=25, unique=True)
HEAD = b"O" + bytes(16)
SCOPE = b"s" * 16


def expected(keys: Iterable[str], prefix: str, delimiter: str) -> list[tuple[str, bool]]:
    """(name, is a common prefix), as the S3 reference describes it."""
    found: dict[tuple[str, bool], None] = {}
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            found[(key, False) if cut < 0 else (key[: cut + len(delimiter)], True)] = None
    return list(found)


def names(page: ListPage) -> list[tuple[str, bool]]:
    found = [(entry.key, False) for entry in page.entries]
    found += [(name, True) for name in page.common_prefixes]
    return sorted(found, key=lambda item: item[0].encode())


async def all_names(
    gateway: Gateway, options: ListOptions, *, by_marker: bool
) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    while True:
        page = await list_objects(gateway.ctx(), BUCKET, options)
        assert len(page.entries) + len(page.common_prefixes) <= options.keys_max
        found += names(page)
        if not page.is_truncated:
            assert page.next_after is None and page.next_token is None
            return found
        assert page.next_after is not None
        options = ListOptions(
            prefix=options.prefix,
            delimiter=options.delimiter,
            keys_max=options.keys_max,
            after=page.next_after if by_marker else "",
            token=None if by_marker else page.next_token,
        )


async def mark(gateway: Gateway, keys: list[str], deleted: set[int] | None) -> list[str]:
    """The keys that are left when others get delete markers; None: versions were never kept."""
    if deleted is None:
        return keys
    await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
    for number, key in enumerate(keys):
        if number in deleted:
            await delete_object(gateway.ctx(), BUCKET, key)
    return [key for number, key in enumerate(keys) if number not in deleted]


@settings(max_examples=40, deadline=None)
@given(
    keys=KEYS,
    prefix=st.sampled_from(["", "a", "a/", "é", "b/a"]),
    delimiter=st.sampled_from(["", "/", "b", "a/", "é"]),
    keys_max=st.integers(1, 5),
    deleted=st.none() | st.sets(st.integers(0, 24)),
)
def test_pages_are_what_brute_force_says(
    keys: list[str], prefix: str, delimiter: str, keys_max: int, deleted: set[int] | None
) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            await asyncio.gather(*(gateway.put(key, b"x") for key in keys))
            left = await mark(gateway, keys, deleted)
            options = ListOptions(prefix=prefix, delimiter=delimiter, keys_max=keys_max)
            wanted = expected(left, prefix, delimiter)
            for by_marker in (True, False):
                assert await all_names(gateway, options, by_marker=by_marker) == wanted

    asyncio.run(main())


def test_a_long_page_lets_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "OPENED_AT_ONCE", 3)

    async def main() -> None:
        async with memory_gateway() as gateway:
            for key in "abcdefgh":
                await gateway.put(key, b"")
            page = asyncio.create_task(list_objects(gateway.ctx(), BUCKET, ListOptions(keys_max=7)))
            turns = 0
            while not page.done():
                turns += 1
                await asyncio.sleep(0)
            found = page.result()
            assert [entry.key for entry in found.entries] == list("abcdefg")
            assert found.is_truncated and found.next_after == "g"
            assert turns >= 3

    asyncio.run(main())


def test_delete_markers_let_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "PAGE_ROWS_MAX", 4)

    async def main() -> None:
        async with memory_gateway() as gateway:
            keys = [f"k{number:02d}" for number in range(40)]
            for key in keys:
                await gateway.put(key, b"")
            assert await mark(gateway, keys, set(range(38))) == ["k38", "k39"]
            page = asyncio.create_task(list_objects(gateway.ctx(), BUCKET, ListOptions(keys_max=1)))
            turns = 0
            while not page.done():
                turns += 1
                await asyncio.sleep(0)
            assert [entry.key for entry in page.result().entries] == ["k38"]
            assert page.result().is_truncated and turns >= 9

    asyncio.run(main())


def test_start_after_and_empty_pages() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            for key in ("a", "b/1", "b/2", "c"):
                await gateway.put(key, key.encode())

            async def found(**options: object) -> list[str]:
                page = await list_objects(gateway.ctx(), BUCKET, ListOptions(**options))  # type: ignore[arg-type]
                return [name for name, _ in names(page)]

            assert await found(after="b/1") == ["b/2", "c"]
            assert await found(after="b/1", delimiter="/") == ["b/", "c"]
            assert await found(after="b/", delimiter="/") == ["c"]
            assert await found(after="z") == []
            assert await found(prefix="b", after="a") == ["b/1", "b/2"]
            assert await found(prefix="b", after="c") == []
            empty = await list_objects(gateway.ctx(), BUCKET, ListOptions(keys_max=0))
            assert not empty.is_truncated and not empty.entries
            entry = (await list_objects(gateway.ctx(), BUCKET, ListOptions())).entries[0]
            assert (entry.key, entry.content_bytes, entry.storage_class) == ("a", 1, "STANDARD")
            with pytest.raises(InvalidArgument):
                await found(keys_max=-1)
            with pytest.raises(InvalidArgument):
                await found(token="forged")
            with pytest.raises(NoSuchBucket):
                await list_objects(gateway.ctx(), "missing", ListOptions())
            with pytest.raises(AccessDenied):
                await list_objects(gateway.ctx(None), BUCKET, ListOptions())

    asyncio.run(main())


def test_a_common_prefix_costs_a_seek_however_much_is_below() -> None:
    rows = [Row(HEAD + b"%03d/%04d" % (at // 1000, at % 1000), b"") for at in range(20_000)]
    keys = [row.key for row in rows]
    read: list[int] = []

    def scan(start: bytes, end: bytes, *, limit: int) -> list[Row]:
        from bisect import bisect_left

        first, beyond = bisect_left(keys, start), bisect_left(keys, end)
        page = rows[first : min(beyond, first + limit)]
        read.append(len(page))
        return page

    found = list(
        rolled_up(
            scan,
            start=HEAD,
            end=HEAD + b"\xff",
            name_of=lambda row_key: row_key[len(HEAD) :],
            prefix_bytes=0,
            delimiter=b"/",
        )
    )
    assert found == [b"%03d/" % at for at in range(20)]
    assert sum(read) <= 20 * 8


@given(st.binary(min_size=1, max_size=1100))
def test_tokens_are_bound_to_what_was_listed(position: bytes) -> None:
    token = encode_token(SCOPE, AT_KEY, position)
    assert len(token) <= TOKEN_TEXT_MAX
    assert decode_token(SCOPE, token) == (AT_KEY, position)
    with pytest.raises(InvalidArgument):
        decode_token(b"t" * 16, token)


@given(st.text(max_size=60))
def test_any_other_text_is_no_token(text: str) -> None:
    with pytest.raises(InvalidArgument):
        decode_token(SCOPE, text)
