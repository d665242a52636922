"""What every implementation of the metadata port must do. Subclass with a `factory` fixture:
`MetaStoreSuite` for the port that the gateway runs on, `MetaSuite` for an index.

The factory returns a fresh, empty store on every call, and the suite closes none: the fixture does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest

from gateway.meta.kv import (
    ROW_KEY_BYTES_MAX,
    Batch,
    BatchConflict,
    Check,
    Exists,
    Index,
    MetaStore,
    Row,
    Write,
    revision_of,
)

PARTITION = bytes(range(16))
ZEROS = bytes(16)
_counter = count(1)
Factory = Callable[[], MetaStore]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def row_key(tail: bytes, *, family: bytes = b"O", partition: bytes = PARTITION) -> bytes:
    return family + partition + tail


def row_value(body: bytes = b"") -> bytes:
    """A value at a revision never used before."""
    return b"\x01" + next(_counter).to_bytes(12, "big") + body


def batch(
    *writes: tuple[bytes, bytes | None],
    checks: tuple[Check | Exists, ...] = (),
    request_id: bytes | None = None,
    partition: bytes = PARTITION,
) -> Batch:
    return Batch(
        partition=partition,
        request_id=request_id or b"req:" + next(_counter).to_bytes(12, "big"),
        checks=checks,
        writes=tuple(Write(key, value) for key, value in writes),
    )


def everything(store: MetaStore) -> list[Row]:
    return store.scan(b"", b"\xff" * 20, limit=10_000)


TAILS = [
    b"\x00",
    b"\x00\x00",
    b"\x00\xff",
    b"\x01",
    b"a",
    b"a\x00",
    b"a\x00\x00",
    b"a\x01",
    b"a\xff",
    b"a\xff\xff",
    b"aa",
    b"b",
    "é".encode(),
    b"\xfe",
    b"\xff",
    b"\xff\x00",
    b"\xff\xff",
]


def long_tails() -> list[bytes]:
    """Tails around every length at which an implementation may start to treat keys differently."""
    tails = []
    for length in (478, 479, 480, 481, 482, 509, 510, 511, 512, 513, 935, 936, 937, 938, 1083):
        inside = length - 17
        tails += [b"p" * max(0, inside), b"p" * max(0, inside - 1) + b"\x00"]
        tails += [b"p" * max(0, inside - 1) + b"\xff", b"q" * 300 + b"p" * max(0, inside - 300)]
    return sorted({tail for tail in tails if 1 <= len(tail) <= ROW_KEY_BYTES_MAX - 17})


class MetaStoreSuite:
    """Behaviour of `MetaStore`."""

    rows_end = b"\xff" * 20  # rows from here on are the store's own

    @pytest.fixture
    def factory(self) -> Factory:
        raise NotImplementedError

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine returns; for a store that needs its loop to live on."""
        return run(coroutine)

    def everything(self, store: MetaStore) -> list[Row]:
        return store.scan(b"", self.rows_end, limit=10_000)

    def index_of(self, store: Any) -> Index:
        """The index that keeps the store's rows."""
        return store  # type: ignore[no-any-return]

    def sum_of(self, store: Any) -> tuple[int, bytes] | None:
        """Row count and sum of the suite's partition; None when it has no row."""
        return self.index_of(store).partition_sums().get(PARTITION)

    @pytest.fixture
    def store(self, factory: Factory) -> MetaStore:
        return factory()

    def test_empty_store(self, store: MetaStore) -> None:
        assert store.read([row_key(b"a")]) == [None]
        assert store.read([]) == []
        assert self.everything(store) == []
        assert self.sum_of(store) is None
        assert self.index_of(store).verify_sums() == []

    def test_committed_rows_are_read_and_scanned_in_byte_order(self, store: MetaStore) -> None:
        rows = {row_key(tail): row_value(tail) for tail in TAILS}
        self.run(store.commit(batch(*reversed(rows.items()))))
        assert store.read(list(rows)) == list(rows.values())
        assert self.everything(store) == sorted(rows.items())
        assert all(isinstance(row, Row) for row in self.everything(store))
        backwards = store.scan(b"", self.rows_end, limit=10_000, reverse=True)
        assert backwards == sorted(rows.items(), reverse=True)

    def test_scan_bounds_are_half_open(self, store: MetaStore) -> None:
        rows = {row_key(tail): row_value() for tail in TAILS}
        self.run(store.commit(batch(*rows.items())))
        keys = sorted(rows)
        for start in range(len(keys)):
            for end in range(len(keys)):
                expected = keys[start:end]
                found = [row.key for row in store.scan(keys[start], keys[end], limit=100)]
                assert found == expected
                found = [r.key for r in store.scan(keys[start], keys[end], limit=2, reverse=True)]
                assert found == expected[::-1][:2]
        assert store.scan(keys[0], keys[-1], limit=0) == []

    def test_long_keys_keep_byte_order(self, store: MetaStore) -> None:
        keys = [row_key(tail) for tail in long_tails()]
        rows = {key: row_value(b"v") for key in [*keys, row_key(b"a"), row_key(b"z")]}
        self.run(store.commit(batch(*rows.items())))
        ordered = sorted(rows)
        assert [row.key for row in self.everything(store)] == ordered
        assert store.read(ordered) == [rows[key] for key in ordered]
        backwards = store.scan(b"", self.rows_end, limit=10_000, reverse=True)
        assert [row.key for row in backwards] == ordered[::-1]
        for place, key in enumerate(ordered):
            for bound in (key, key[:-1], key + b"\x00"):
                below = [k for k in ordered if k < bound]
                above = [k for k in ordered if k >= bound]
                found = store.scan(bound, self.rows_end, limit=3)
                assert [row.key for row in found] == above[:3], place
                assert [r.key for r in store.scan(b"", bound, limit=3, reverse=True)] == (
                    below[::-1][:3]
                ), place
        self.run(store.commit(batch(*[(key, None) for key in ordered[::2]])))
        assert [row.key for row in self.everything(store)] == ordered[1::2]
        assert self.index_of(store).verify_sums() == []
        self.run(store.commit(batch(*[(key, None) for key in ordered])))
        assert self.everything(store) == []
        assert self.sum_of(store) is None

    def test_key_and_value_maxima(self, store: MetaStore) -> None:
        longest = row_key(b"k" * (ROW_KEY_BYTES_MAX - 17))
        large = row_value(b"x" * (4 * 1024 * 1024))
        self.run(store.commit(batch((longest, large))))
        assert store.read([longest]) == [large]
        with pytest.raises(ValueError, match="row key"):
            self.run(store.commit(batch((longest + b"k", row_value()))))
        with pytest.raises(ValueError, match="row value"):
            self.run(store.commit(batch((row_key(b"a"), b"\x01short"))))
        with pytest.raises(ValueError, match="partition"):
            self.run(store.commit(batch((row_key(b"a", partition=b"\x07" * 16), row_value()))))
        assert [row.key for row in self.everything(store)] == [longest]

    def test_check_absent(self, store: MetaStore) -> None:
        key = row_key(b"a")
        absent = (Check(key, None),)
        self.run(store.commit(batch((key, row_value(b"1")), checks=absent)))
        with pytest.raises(BatchConflict) as caught:
            self.run(store.commit(batch((key, row_value(b"2")), checks=absent)))
        assert caught.value.fields == {"check": 0}
        assert store.read([key])[0][13:] == b"1"  # type: ignore[index]

    def test_check_revision(self, store: MetaStore) -> None:
        key, other = row_key(b"a"), row_key(b"b")
        first, second = row_value(b"1"), row_value(b"2")
        self.run(store.commit(batch((key, first))))
        self.run(store.commit(batch((key, second), checks=(Check(key, revision_of(first)),))))
        for checks in (
            (Check(key, revision_of(second)), Check(key, revision_of(first))),
            (Check(key, revision_of(second)), Check(other, revision_of(first))),
        ):
            with pytest.raises(BatchConflict) as caught:
                self.run(store.commit(batch((key, row_value()), checks=checks)))
            assert caught.value.fields == {"check": 1}
        assert store.read([key]) == [second]

    def test_check_exists(self, store: MetaStore) -> None:
        key, open_row = row_key(b"a"), row_key(b"", family=b"B")
        guarded = batch((key, row_value()), checks=(Exists(open_row),))
        with pytest.raises(BatchConflict):
            self.run(store.commit(guarded))
        self.run(store.commit(batch((open_row, row_value()))))
        self.run(store.commit(guarded))
        self.run(store.commit(batch((open_row, None))))
        with pytest.raises(BatchConflict):
            self.run(store.commit(batch((key, row_value()), checks=(Exists(open_row),))))

    def test_failed_batch_writes_nothing(self, store: MetaStore) -> None:
        kept = row_key(b"kept"), row_value()
        self.run(store.commit(batch(kept)))
        before = self.sum_of(store)
        with pytest.raises(BatchConflict):
            absent = (Check(kept[0], None),)
            writes = ((row_key(b"a"), row_value()), (kept[0], None))
            self.run(store.commit(batch(*writes, checks=absent)))
        assert self.everything(store) == [kept]
        assert self.sum_of(store) == before

    def test_request_id_makes_a_repeat_do_nothing(self, store: MetaStore) -> None:
        key = row_key(b"a")
        first = batch((key, row_value(b"1")), checks=(Check(key, None),))
        self.run(store.commit(first))
        later = row_value(b"2")
        self.run(store.commit(batch((key, later))))
        self.run(store.commit(first))
        assert store.read([key]) == [later]
        failed = batch((key, row_value(b"3")), checks=(Check(key, None),))
        with pytest.raises(BatchConflict):
            self.run(store.commit(failed))
        self.run(store.commit(batch((key, None))))
        self.run(store.commit(failed))  # a refused id was not remembered as committed
        assert revision_of(store.read([key])[0] or b"") == revision_of(
            failed.writes[0].value or b""
        )

    def test_concurrent_repeats_commit_once(self, store: MetaStore) -> None:
        key = row_key(b"a")
        once = batch((key, row_value()), checks=(Check(key, None),))

        async def twice() -> None:
            await asyncio.gather(store.commit(once), store.commit(once))

        self.run(twice())
        assert self.everything(store) == [(key, once.writes[0].value)]

    def test_one_of_concurrent_conflicting_batches_wins(self, store: MetaStore) -> None:
        key = row_key(b"counter")

        async def race() -> list[BaseException | None]:
            batches = [batch((key, row_value()), checks=(Check(key, None),)) for _ in range(20)]
            return await asyncio.gather(*(store.commit(b) for b in batches), return_exceptions=True)

        outcomes = self.run(race())
        assert sum(outcome is None for outcome in outcomes) == 1
        assert sum(isinstance(outcome, BatchConflict) for outcome in outcomes) == 19
        assert len(self.everything(store)) == 1

    def test_counter_by_read_check_write_loses_no_step(self, store: MetaStore) -> None:
        key = row_key(b"counter")

        async def step() -> None:
            while True:
                held = store.read([key])[0]
                value = row_value((int(held[13:]) + 1 if held else 1).__str__().encode())
                check = Check(key, revision_of(held) if held else None)
                try:
                    await store.commit(batch((key, value), checks=(check,)))
                except BatchConflict:
                    continue
                return

        async def many() -> None:
            await asyncio.gather(*(step() for _ in range(12)))

        self.run(many())
        assert (store.read([key])[0] or b"")[13:] == b"12"

    def test_later_batches_of_a_group_see_earlier_ones(self, store: MetaStore) -> None:
        a, b = row_key(b"a"), row_key(b"b")
        first = row_value()

        async def chain() -> None:
            await asyncio.gather(
                store.commit(batch((a, first), checks=(Check(a, None),))),
                store.commit(batch((b, row_value()), checks=(Check(a, revision_of(first)),))),
                store.commit(batch((a, None), checks=(Exists(b),))),
            )

        self.run(chain())
        assert [row.key for row in self.everything(store)] == [b]
        assert self.index_of(store).verify_sums() == []

    def test_committed_is_seen_by_reads_that_follow(self, store: MetaStore) -> None:
        async def check() -> None:
            for number in range(50):
                pair = row_key(b"n%d" % number), row_value()
                await store.commit(batch(pair))
                assert store.read([pair[0]]) == [pair[1]]

        self.run(check())

    def test_paging_under_concurrent_writes(self, store: MetaStore) -> None:
        stable = [row_key(b"s%03d" % number) for number in range(200)]
        self.run(store.commit(batch(*[(key, row_value()) for key in stable])))

        async def write() -> None:
            for number in range(60):
                key = row_key(b"s%03d" % (number * 3) + b"+")
                await store.commit(batch((key, row_value())))
                if number % 2:
                    await store.commit(batch((key, None)))

        async def page() -> list[bytes]:
            found: list[bytes] = []
            start = row_key(b"s")
            while rows := store.scan(start, row_key(b"t"), limit=7):
                found += [row.key for row in rows]
                start = rows[-1].key + b"\x00"
                await asyncio.sleep(0)
            return found

        async def both() -> list[bytes]:
            writer = asyncio.create_task(write())
            found = await page()
            await writer
            return found

        found = self.run(both())
        assert found == sorted(set(found))
        assert [key for key in found if not key.endswith(b"+")] == stable


class MetaSuite(MetaStoreSuite):
    """Behaviour of `Index`, which is a `MetaStore` as well."""

    def test_an_empty_index_has_no_mark_and_no_sums(self, store: Index) -> None:
        assert store.applied() is None
        assert store.partition_sums() == {}

    def test_apply_sets_without_checks_and_marks(self, store: Index) -> None:
        a, b = row_key(b"a"), row_key(b"s", family=b"S", partition=ZEROS)
        last = row_value()
        group = (
            batch((a, row_value()), (b, row_value()), checks=(Exists(row_key(b"nowhere")),)),
            batch((a, last), (b, None)),
        )
        self.run(store.apply(group, b"mark-1"))
        assert self.everything(store) == [(a, last)]
        assert store.applied() == b"mark-1"
        self.run(store.apply(group, b"mark-1"))
        assert self.everything(store) == [(a, last)]
        self.run(store.apply((), b"mark-2"))
        assert store.applied() == b"mark-2"
        assert store.verify_sums() == []

    def test_applied_request_ids_are_remembered(self, store: Index) -> None:
        key = row_key(b"a")
        applied = batch((key, row_value()))
        self.run(store.apply((applied,), b"m"))
        repeat = batch((key, row_value()), request_id=applied.request_id)
        self.run(store.commit(repeat))
        assert store.read([key]) == [applied.writes[0].value]

    def test_sums_move_with_rows_and_return_with_them(self, store: Index) -> None:
        pair = row_key(b"a"), row_value()
        self.run(store.commit(batch(pair)))
        one = store.partition_sums()
        assert one[PARTITION][0] == 1
        self.run(store.commit(batch((row_key(b"b"), row_value()), (b"S" + ZEROS, row_value()))))
        assert {p: n for p, (n, _) in store.partition_sums().items()} == {PARTITION: 2, ZEROS: 1}
        self.run(store.commit(batch((row_key(b"b"), None), (b"S" + ZEROS, None))))
        assert store.partition_sums() == one
        self.run(store.commit(batch((pair[0], row_value()))))
        assert store.partition_sums()[PARTITION][1] != one[PARTITION][1]
        self.run(store.commit(batch((pair[0], None), (row_key(b"never"), None))))
        assert store.partition_sums() == {}
        assert store.verify_sums() == []
