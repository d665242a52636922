"""B-06: somebody writes into the index while the gateway is stopped, with the rows that he finds
there: swapped, copied, moved back in time, made up, taken away. What was changed opens as nothing
else; what he puts back whole opens as what it was, and the sums over all rows say so.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lmdb
import pytest

from gateway.compose import Gateway
from gateway.meta import keyspace
from gateway.objects.buckets import create_bucket
from gateway.objects.get import get_object
from gateway.objects.put import put_object
from gateway.objects.values import GetOptions, PutOptions
from storaged.base.errors import StorageError
from tests.support.gateway import BytesBody, content_of
from tests.support.seized import context_of, opened

CONTENT = {("one", "a"): b"content of a" * 20_000, ("one", "b"): b"content of b" * 20_000}
CONTENT[("two", "a")] = b"content of a elsewhere" * 10_000
FORMER = b"what a was before"
Rows = dict[bytes, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows]:
    """A stopped cluster, and its rows as they were before `a` was overwritten."""
    folder = tmp_path_factory.mktemp("index") / "cluster"
    before: Rows = {}

    async def fill(gateway: Gateway) -> None:
        ctx = context_of(gateway)
        for bucket in ("one", "two"):
            await create_bucket(ctx, bucket, None)
        await put_object(ctx, "one", "a", BytesBody(FORMER), PutOptions())
        before.update(
            (row.key, row.value) for row in gateway.log.scan(b"\0", b"\xff", limit=10_000)
        )
        for (bucket, key), content in CONTENT.items():
            await put_object(ctx, bucket, key, BytesBody(content), PutOptions())

    asyncio.run(opened(folder, fill))
    return folder, before


def edit(folder: Path, change: Callable[[Rows], None]) -> None:
    """Rewrite the rows of the index, as whoever has its file can."""
    with lmdb.open(str(folder / "index"), max_dbs=8, map_size=1 << 30, lock=False) as env:
        rows_of = env.open_db(b"rows")
        with env.begin(write=True) as txn:
            held = dict(txn.cursor(db=rows_of))
            changed = dict(held)
            change(changed)
            for key in held.keys() - changed.keys():
                txn.delete(key, db=rows_of)
            for key, value in changed.items():
                if held.get(key) != value:
                    txn.put(key, value, db=rows_of)


def row_of(rows: Rows, name: str, family: bytes = keyspace.CURRENT, bucket: int = 0) -> bytes:
    """The row of an object, in the bucket of that place among all buckets."""
    found = sorted(key for key in rows if key[:1] == family and key[17:] == name.encode())
    assert len(found) > bucket
    return found[bucket]


async def reads(gateway: Gateway) -> dict[tuple[str, str], bytes | None]:
    got: dict[tuple[str, str], bytes | None] = {}
    for bucket, key in CONTENT:
        got[bucket, key] = None
        with suppress(StorageError):
            found = await get_object(context_of(gateway), bucket, key, GetOptions())
            got[bucket, key] = await content_of(found)
    return got


def swap(first: str, second: str) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        a, b = row_of(rows, first), row_of(rows, second)
        rows[a], rows[b] = rows[b], rows[a]

    return change


def across_buckets(rows: Rows) -> None:
    a, b = row_of(rows, "a"), row_of(rows, "a", bucket=1)
    rows[a], rows[b] = rows[b], rows[a]


def swap_stripes(rows: Rows) -> None:
    first, second = sorted(
        key for key in rows if key[:1] == keyspace.STRIPE and key[17:18] == b"\1"
    )[:2]
    rows[first], rows[second] = rows[second], rows[first]


def swap_bucket_keys(rows: Rows) -> None:
    first, second = sorted(key for key in rows if key[:1] == keyspace.BUCKET_KEY)[:2]
    rows[first], rows[second] = rows[second], rows[first]


def clone(rows: Rows) -> None:
    source = row_of(rows, "a")
    rows[row_of(rows, "b")] = rows[source]


def cut(rows: Rows) -> None:
    key = row_of(rows, "a")
    rows[key] = rows[key][:-1]


def forge_epoch(rows: Rows) -> None:
    key = row_of(rows, "a")
    rows[key] = rows[key][:28] + bytes([rows[key][28] ^ 3]) + rows[key][29:]


def drop(rows: Rows) -> None:
    del rows[row_of(rows, "b")]


CHANGES = {
    "two objects": swap("a", "b"),
    "two buckets": across_buckets,
    "two stripes": swap_stripes,
    "keys of two buckets": swap_bucket_keys,
    "a copy": clone,
    "a cut": cut,
    "another epoch": forge_epoch,
    "a row less": drop,
}
CHANGED_WITHIN = ("a cut", "another epoch")  # sums count keys and revisions: the seal says the rest


@pytest.mark.proves("B-06", "CRY-06", "I1")
@pytest.mark.parametrize("what", CHANGES)
def test_rows_open_in_their_own_place_only(
    made: tuple[Path, Rows], tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "cluster"
    shutil.copytree(made[0], folder)
    edit(folder, CHANGES[what])
    judged: list[object] = []

    async def look(gateway: Gateway) -> None:
        judged.append(await reads(gateway))
        judged.append(gateway.core.index.verify_sums())

    with suppress(StorageError):  # it may refuse to start
        asyncio.run(opened(folder, look))
    if not judged:
        return
    got, wrong = judged
    assert isinstance(got, dict)
    assert wrong or what in CHANGED_WITHIN, "the sums say nothing"
    assert all(got[name] in (None, CONTENT[name]) for name in CONTENT)
    assert None in got.values()


@pytest.mark.proves("B-06")
def test_a_row_that_is_put_back_is_found_by_the_sums(
    made: tuple[Path, Rows], tmp_path: Path
) -> None:
    """A former value of the same row is a right one. Reads cannot tell; the sums over rows do, and
    their key is not in the index.
    """
    folder = tmp_path / "cluster"
    shutil.copytree(made[0], folder)
    before = made[1]
    edit(folder, lambda rows: rows.update({row_of(rows, "a"): before[row_of(before, "a")]}))
    found: list[object] = []

    async def look(gateway: Gateway) -> None:
        got = await reads(gateway)
        found.append(got["one", "a"] in (None, FORMER, CONTENT["one", "a"]))
        found.append(bool(gateway.core.index.verify_sums()))

    with suppress(StorageError):
        asyncio.run(opened(folder, look))
    assert found in ([], [True, True])
