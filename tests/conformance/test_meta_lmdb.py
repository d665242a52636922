"""The LMDB index against the suite of the port, and what only an index on a disk can do wrong."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import lmdb
import pytest

from gateway.meta.kv import Check, IndexFull, MetaUnavailable, revision_of
from gateway.meta.lmdb import VERIFY_ROWS, IndexForeign, IndexLocked, LmdbIndex
from gateway.meta.verification import SumsMismatch, verify_sums
from storaged.base.env import RealEnv
from tests.conformance.meta_suite import (
    PARTITION,
    Factory,
    MetaSuite,
    batch,
    everything,
    row_key,
    row_value,
    run,
)

SUMS_KEY = b"s" * 32
MAP_BYTES = 64 * 1024 * 1024


@pytest.fixture
def env() -> Iterator[RealEnv]:
    env = RealEnv(threads_max=1)
    yield env
    env.close()


def open_index(path: Path, env: RealEnv, *, map_size_bytes: int = MAP_BYTES) -> LmdbIndex:
    return LmdbIndex(path, map_size_bytes=map_size_bytes, sums_key=SUMS_KEY, env=env)


class TestLmdbIndex(MetaSuite):
    @pytest.fixture
    def factory(self, tmp_path: Path, env: RealEnv) -> Iterator[Factory]:
        opened: list[LmdbIndex] = []
        numbers = count()

        def make() -> LmdbIndex:
            opened.append(open_index(tmp_path / f"index-{next(numbers)}", env))
            return opened[-1]

        yield make
        for index in opened:
            index.close()


def test_reopen_keeps_rows_mark_sums_and_request_ids(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env)
    once = batch((row_key(b"a"), row_value()), (row_key(b"p" * 1000), row_value()))
    run(index.commit(once))
    run(index.apply((batch((row_key(b"b"), row_value())),), b"mark"))
    rows, sums = everything(index), index.partition_sums()
    index.close()
    again = open_index(tmp_path, env)
    assert everything(again) == rows and len(rows) == 3
    assert again.partition_sums() == sums
    assert again.applied() == b"mark"
    assert again.committed(once.request_id)
    run(again.commit(batch((row_key(b"a"), None), request_id=once.request_id)))
    assert everything(again) == rows
    assert again.verify_sums() == []
    again.close()


def test_request_ids_are_bounded_and_the_oldest_go(
    tmp_path: Path, env: RealEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.meta.index_group.REQUEST_IDS_MAX", 10)
    index = open_index(tmp_path, env)
    batches = [batch((row_key(b"a"), row_value())) for _ in range(30)]
    for one in batches:
        run(index.commit(one))
    index.close()
    again = open_index(tmp_path, env)
    known = [again.committed(one.request_id) for one in batches]
    assert known == [False] * 20 + [True] * 10
    assert again._lmdb.begin().stat(again._requests)["entries"] == 10
    again.close()


def test_two_openers_exclude_each_other(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env)
    with pytest.raises(IndexLocked):
        open_index(tmp_path, env)
    index.close()
    open_index(tmp_path, env).close()


def test_index_of_another_key_is_refused(tmp_path: Path, env: RealEnv) -> None:
    open_index(tmp_path, env).close()
    with pytest.raises(IndexForeign):
        LmdbIndex(tmp_path, map_size_bytes=MAP_BYTES, sums_key=b"t" * 32, env=env)
    open_index(tmp_path, env).close()  # the refusal gave the lock back


def test_nobody_else_on_the_machine_reads_names_of_objects(tmp_path: Path, env: RealEnv) -> None:
    folder = tmp_path / "index"
    for _ in range(2):
        open_index(folder, env).close()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "data.mdb").stat().st_mode) == 0o600
        (folder / "data.mdb").chmod(0o644)  # as one that was made before


def test_vanished_and_reverted_rows_are_found_by_the_sums(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env)
    old = row_value(b"old")
    run(index.commit(batch((row_key(b"a"), old), (row_key(b"b"), row_value()))))
    run(index.commit(batch((row_key(b"a"), row_value(b"new")))))
    assert index.verify_sums() == []
    with index._lmdb.begin(write=True, db=index._rows) as txn:
        kept = txn.replace(row_key(b"a"), old)
    assert index.verify_sums() == [PARTITION]
    with index._lmdb.begin(write=True, db=index._rows) as txn:
        txn.put(row_key(b"a"), kept)
    assert index.verify_sums() == []
    with index._lmdb.begin(write=True, db=index._rows) as txn:
        txn.delete(row_key(b"b"))
    assert index.verify_sums() == [PARTITION]
    index.close()


def test_a_verification_is_in_helpings_and_lets_commits_and_reads_between(
    tmp_path: Path, env: RealEnv
) -> None:
    index = open_index(tmp_path, env)
    rows = 5 * VERIFY_ROWS
    run(index.commit(batch(*[(row_key(b"%05d" % n), row_value()) for n in range(rows)])))
    one, other = index.begin_verification(), index.begin_verification()

    async def all_of_both() -> None:
        """A commit behind the one, before the other, and in front of both, after each helping."""
        helpings = 0
        while (bad := one.helping()) is None:
            helpings += 1
            assert helpings % 2 or other.helping() is None
            for at in (b"%05d" % helpings, b"%05d+" % (rows // 2 + helpings), b"9%d" % helpings):
                await index.commit(batch((row_key(at), row_value()), (row_key(at + b"-"), None)))
            await index.commit(batch((row_key(b"%05d" % (helpings * 7)), None)))
            assert index.partition_sums()[PARTITION][0] > rows
        assert bad == [] and helpings >= 5
        while (bad := other.helping()) is None:
            pass
        assert bad == []

    run(all_of_both())
    one.end()
    other.end()
    assert index.verify_sums() == []
    assert index._counting == ()
    with index._lmdb.begin(write=True, db=index._rows) as txn:
        txn.delete(row_key(b"00001"))
    with pytest.raises(SumsMismatch):
        run(verify_sums(index, env))
    assert index._counting == (), "whoever gave up is counted for no more"
    index.close()


def test_a_read_of_the_event_loop_comes_between_two_helpings(tmp_path: Path, env: RealEnv) -> None:
    """It once waited for the end of the verification, and the gateway's start with it."""
    index = open_index(tmp_path, env)
    rows = 3 * VERIFY_ROWS
    run(index.commit(batch(*[(row_key(b"%05d" % n), row_value()) for n in range(rows)])))
    order: list[str] = []
    helping = index.verify_rows

    def counted(*arguments: Any) -> list[bytes] | None:
        order.append("helping")
        return helping(*arguments)

    index.verify_rows = counted  # type: ignore[method-assign]

    async def main() -> None:
        verifying = asyncio.ensure_future(verify_sums(index, env))
        while not verifying.done():
            if order:
                index.partition_sums()
                order.append("read")
            await asyncio.sleep(0)
        await verifying

    run(main())
    helpings = [at for at, what in enumerate(order) if what == "helping"]
    assert len(helpings) == 4
    assert all("read" in order[a:b] for a, b in pairwise(helpings))
    index.close()


def test_sums_verify_while_commits_go_on(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env)
    run(index.commit(batch(*[(row_key(b"%05d" % n), row_value()) for n in range(6000)])))
    verdicts: list[list[bytes]] = []

    def verify() -> None:
        for _ in range(4):
            verdicts.append(index.verify_sums())

    async def churn() -> int:
        thread = threading.Thread(target=verify)
        thread.start()
        done = 0
        while thread.is_alive():
            writes = [(row_key(b"%05d" % ((done * 37 + n * 997) % 6000)), None) for n in range(5)]
            more = [(row_key(b"%05d+" % ((done * 53 + n) % 6000)), row_value()) for n in range(5)]
            await index.commit(batch(*writes, *more))
            done += 1
        return done

    assert run(churn()) > 12, "verification kept the commits out"
    assert verdicts == [[]] * 4
    index.close()


def test_readers_of_other_threads_see_whole_commits(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env)
    keys = [row_key(b"%04d" % n) for n in range(600)]
    torn: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            bodies = {row.value[13:] for row in index.scan(keys[0], b"P", limit=1000)}
            if len(bodies) > 1:
                torn.append(len(bodies))

    async def write() -> None:
        for number in range(40):
            body = b"%d" % number * 100
            await index.commit(batch(*[(key, row_value(body)) for key in keys]))
            assert {row.value[13:] for row in everything(index)} == {body}

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    run(write())
    stop.set()
    for thread in threads:
        thread.join()
    assert not torn
    index.close()


def test_full_map_refuses_and_goes_on(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env, map_size_bytes=1024 * 1024)
    small = row_key(b"small"), row_value()
    run(index.commit(batch(small)))
    before = index.space_left_bytes()
    refused = batch((row_key(b"large"), row_value(b"x" * 2 * 1024 * 1024)))
    with pytest.raises(IndexFull):
        run(index.commit(refused))
    assert everything(index) == [small]
    assert not index.committed(refused.request_id)
    run(index.commit(batch((row_key(b"second"), row_value()))))
    assert index.verify_sums() == []
    assert 0 < before <= 1024 * 1024
    index.close()


def test_first_failed_commit_stops_the_index(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env)
    first = row_key(b"a"), row_value()
    run(index.commit(batch(first)))
    real = index._lmdb

    class FailingTxn:
        def __init__(self) -> None:
            self.txn = real.begin(write=True)

        def __getattr__(self, name: str) -> object:
            return getattr(self.txn, name)

        def commit(self) -> None:
            self.txn.abort()
            raise lmdb.DiskError("no")

    class FailingLmdb:
        def begin(self, write: bool = False, **arguments: object) -> object:
            return FailingTxn() if write else real.begin(**arguments)

        def close(self) -> None:
            real.close()

    index._lmdb = FailingLmdb()

    async def fail() -> list[BaseException | None]:
        commits = [index.commit(batch((row_key(b"b%d" % n), row_value()))) for n in range(3)]
        commits.append(index.commit(batch(checks=(Check(first[0], None),))))
        return await asyncio.gather(*commits, return_exceptions=True)

    outcomes = run(fail())
    assert [type(outcome) for outcome in outcomes] == [MetaUnavailable] * 4
    with pytest.raises(MetaUnavailable):
        index.read([first[0]])
    with pytest.raises(MetaUnavailable):
        run(index.commit(batch((row_key(b"c"), row_value()))))
    index.close()
    again = open_index(tmp_path, env)
    assert everything(again) == [first]
    assert revision_of(again.read([first[0]])[0] or b"") == revision_of(first[1])
    again.close()


def test_cancelled_commit_may_still_happen_and_hinders_nobody(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env)

    async def cancel() -> None:
        task = asyncio.create_task(index.commit(batch((row_key(b"a"), row_value()))))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await index.commit(batch((row_key(b"b"), row_value())))

    run(cancel())
    assert row_key(b"b") in [row.key for row in everything(index)]
    assert index.verify_sums() == []
    index.close()


def test_closed_index_answers_nothing(tmp_path: Path, env: RealEnv) -> None:
    index = open_index(tmp_path, env)
    index.close()
    index.close()
    with pytest.raises(MetaUnavailable):
        index.read([row_key(b"a")])
