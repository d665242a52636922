"""The metadata index over LMDB, on one machine, for one process.

Not replicated: the log above it makes a commit durable on nodes, and replays into this index after
a crash.

How it commits. All batches that wait are one LMDB transaction. Its rows are set on the event loop's
thread, and only its commit (write and fdatasync) runs on the writer thread that `env` provides. The
reason is measured: every call into LMDB gives up the interpreter's lock, so a thread that sets rows
beside a busy event loop waits for the lock at each row (3,000 puts: 1,300 ms instead of 2.8). A
transaction that begins on one thread and ends on another needs LMDB's own locks off (`lock=False`),
so two guards stand here in their place:

* the folder: an exclusive lock on a file in it, so that no other process opens the index;
* the gate: held from the begin of a write transaction to the end of its commit, and by readers of
other threads while
  they read. Readers on the event loop's thread need none: they cannot span the begin of a
  transaction, and LMDB reuses no page before the second transaction after the one that freed it.

Sync is on and `metasync` off: a power cut may undo the last transaction, whole; replay heals that.
The first failed commit stops the index, because what is on the disk is not known any more; the log
starts again on a fresh open.

Source: lmdb documentation, "Environment class", `lock`, `metasync`; docs/data-layout.md, "Index".
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lmdb

from gateway.meta import long_keys
from gateway.meta.batches import SCAN_ROWS_MAX, failed_check, validate
from gateway.meta.gate import Gate
from gateway.meta.index_files import (
    IndexForeign,
    IndexLocked,
    lock_folder,
    translate,
    translated,
)
from gateway.meta.index_group import Count, Group, Pending, RequestWindow, answer
from gateway.meta.keyspace import after, partition_of
from gateway.meta.kv import (
    Batch,
    BatchConflict,
    IndexFull,
    MetaUnavailable,
    OutcomeUnknown,
    Row,
    Verification,
)
from gateway.meta.sealing import RecordKeys
from gateway.meta.sums import SumDelta, differing, moved_sum, unpack_sum
from gateway.meta.usage import METERED, Moves, UsageDelta
from gateway.meta.usage_rows import UsageRows
from storaged.base.env import Env
from storaged.base.errors import StorageError

__all__ = ["IndexForeign", "IndexLocked", "LmdbIndex"]

FORMAT = b"hexagone index 1"
# Batches in one LMDB transaction: keeps the event loop from standing still
GROUP_BATCHES_MAX = 4096
RECOUNT_ROWS = 200  # likewise, while counts are; each row is opened
FILL_ROWS = 1000
VERIFY_ROWS = 200  # looked at in one hold of the gate while sums are verified: under a millisecond
_FORMAT_KEY, _APPLIED_KEY, _SUMS_KEY_CHECK = b"format", b"applied", b"sums-key-check"
_END = b"\xff" * 64  # above every row key: families are letters

_row = partial(tuple.__new__, Row)  # (key, value) → Row without a Python call per row


class LmdbIndex:
    """See the module; implements `gateway.meta.kv.Index`.

    Args:
        directory: made when absent; must be on a local file system.
        map_size_bytes: bound of the index, fixed while it is open; raising it later is free,
            address space only.
        sums_key: 16–64 bytes; another key than the index was made with is refused.
        env: its `offload` runs the commits; give it a thread of its own (`RealEnv(threads_max=1)`).

    Raises: IndexLocked, IndexForeign, MetaUnavailable.
    """

    def __init__(self, directory: Path, *, map_size_bytes: int, sums_key: bytes, env: Env) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._map_size_bytes = map_size_bytes
        self._sums_key = sums_key
        self._env = env
        self._gate = Gate()
        self._owner = 0
        self._waiting: deque[Pending] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._failure: StorageError | None = None
        self._counting: tuple[Count, ...] = ()
        self._usage: UsageRows | None = None
        self._counts_lock = threading.Lock()  # around changes of that tuple
        self._lock_file = lock_folder(directory / "lock")
        opened = False
        try:
            with translated():
                self._open()
            opened = True
        finally:
            if not opened:
                os.close(self._lock_file)

    def _open(self) -> None:
        self._lmdb = lmdb.open(
            str(self._directory),
            map_size=self._map_size_bytes,
            max_dbs=8,
            metasync=False,
            lock=False,
            max_spare_txns=4,
        )
        os.chmod(self._directory / "data.mdb", 0o600)  # keys of rows are names of objects
        rows, long = self._lmdb.open_db(b"rows"), self._lmdb.open_db(b"long")
        self._databases: tuple[Any, Any] = (rows, long)
        self._rows = rows
        self._sums = self._lmdb.open_db(b"sums")
        self._requests = self._lmdb.open_db(b"requests")
        self._meta = self._lmdb.open_db(b"meta")
        self._counts = self._lmdb.open_db(b"counts")
        check = blake2b(b"sums key check", key=self._sums_key, digest_size=16).digest()
        with self._lmdb.begin(write=True) as txn:
            for name, expected in ((_FORMAT_KEY, FORMAT), (_SUMS_KEY_CHECK, check)):
                held = txn.get(name, db=self._meta)
                if held is None:
                    txn.put(name, expected, db=self._meta)
                elif held != expected:
                    raise IndexForeign(field=name.decode())
            self._window = RequestWindow(txn, self._requests)

    # Reads

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `MetaStore.read`."""
        if threading.get_ident() != self._owner:
            with self._gate.reading():
                return self._read(keys)
        return self._read(keys)

    def _read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._check_running()
        try:
            with self._lmdb.begin(db=self._rows) as txn:
                get = txn.get
                return [
                    get(key) if len(key) <= long_keys.HEAD_KEY_BYTES else self._get(txn, key)
                    for key in keys
                ]
        except lmdb.Error as error:
            raise translate(error) from error

    def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """See `MetaStore.scan`."""
        limit = min(limit, SCAN_ROWS_MAX)
        if threading.get_ident() != self._owner:
            with self._gate.reading():
                return self._scan(start, end, limit, reverse)
        return self._scan(start, end, limit, reverse)

    def _scan(self, start: bytes, end: bytes, limit: int, reverse: bool) -> list[Row]:
        self._check_running()
        with translated(), self._lmdb.begin() as txn:
            found = long_keys.collect(
                txn, self._databases, start, end, limit=limit, reverse=reverse
            )
        return list(map(_row, found))

    def _get(self, txn: Any, row_key: bytes) -> bytes | None:
        database, key = long_keys.place(row_key)
        value: bytes | None = txn.get(key, db=self._databases[database])
        return value

    def committed(self, request_id: bytes) -> bool:
        """Whether a batch of this id is among the last REQUEST_IDS_MAX committed or applied."""
        return request_id in self._window.ids

    def applied(self) -> bytes | None:
        """See `Index.applied`."""
        mark: bytes | None = self._gated(lambda txn: txn.get(_APPLIED_KEY, db=self._meta))
        return mark

    def partition_sums(self) -> dict[bytes, tuple[int, bytes]]:
        """See `Index.partition_sums`."""
        sums: dict[bytes, tuple[int, bytes]] = self._gated(self._kept_sums)
        return sums

    # Counts

    def keep_usage(self, keys: RecordKeys) -> UsageRows:
        """Count what buckets hold from here on, and now all there is, if nobody has kept count. For
        start-up: blocking, some µs a row where it has to count.
        """
        usage = UsageRows(self._counts, self._meta, keys)
        with translated(), self._lmdb.begin(write=True) as txn:
            applied = txn.get(_APPLIED_KEY, db=self._meta)
            if not usage.is_current(txn, applied):
                usage.fill(txn, self._all_rows(txn), applied or b"")
        self._usage = usage
        return usage

    def _all_rows(self, txn: Any) -> Iterator[tuple[bytes, bytes]]:
        start = b""
        while rows := long_keys.collect(
            txn, self._databases, start, _END, limit=FILL_ROWS, reverse=False
        ):
            yield from rows
            start = after(rows[-1][0])

    def usage_entry(self, bucket: bytes) -> bytes | None:
        """What a bucket holds, as `gateway.meta.usage.open_usage` reads it; None: nothing."""
        usage = self._usage
        assert usage is not None
        entry: bytes | None = self._gated(lambda txn: usage.kept(txn, bucket))
        return entry

    def usage_entries(self) -> dict[bytes, bytes]:
        """What all buckets hold that hold something, at one instant."""
        assert self._usage is not None
        entries: dict[bytes, bytes] = self._gated(self._usage.all_kept)
        return entries

    def recount_usage(self) -> list[bytes]:
        """Buckets whose counts are not what a scan of their rows finds; the next commit sets them
        right. Blocking and long, as `verify_sums`: offload it.
        """
        usage = self._usage
        assert usage is not None
        found = usage.delta()
        count = self.begin_count(found)
        try:
            while True:
                with self._gate.reading():
                    rows = self._scan(count.position, _END, RECOUNT_ROWS, False)
                    if not rows:
                        with translated(), self._lmdb.begin() as txn:
                            return usage.correct(txn, found)
                    found.count_in(rows)
                    count.position = after(rows[-1].key)
        finally:
            self.end_count(count)

    def _kept_sums(self, txn: Any) -> dict[bytes, tuple[int, bytes]]:
        entries = txn.cursor(db=self._sums).iternext()
        return {partition: unpack_sum(kept) for partition, kept in entries}

    def _gated(self, function: Callable[[Any], Any]) -> Any:
        """Run a read in a transaction of its own, from any thread."""
        with self._gate.reading(), translated():
            self._check_running()
            with self._lmdb.begin() as txn:
                return function(txn)

    def space_left_bytes(self) -> int:
        """Bytes the index may still grow by: of its map, or of its file system, whichever is less.

        Pages freed inside the map are not counted, so this errs on the safe side. The log refuses
        new bodies below INDEX_RESERVE_BYTES and goes on with deletes.
        """
        statistics = os.statvfs(self._directory)
        used = (self._lmdb.info()["last_pgno"] + 1) * self._lmdb.stat()["psize"]
        return min(self._map_size_bytes - used, statistics.f_bavail * statistics.f_frsize)

    # Commits

    async def commit(self, batch: Batch) -> None:
        """See `MetaStore.commit`. Raises also IndexFull."""
        validate(batch)
        await self._submit((batch,), None)

    async def apply(self, group: Sequence[Batch], applied: bytes) -> None:
        """See `Index.apply`. Raises: MetaUnavailable, IndexFull."""
        for batch in group:
            validate(batch)
        await self._submit(group, applied)

    async def _submit(self, batches: Sequence[Batch], applied: bytes | None) -> None:
        self._check_running()
        loop = asyncio.get_running_loop()
        self._owner = threading.get_ident()
        pending = Pending(batches, applied, loop.create_future())
        self._waiting.append(pending)
        if self._flushing is None or self._flushing.done():
            self._flushing = loop.create_task(self._flush())
        await pending.future

    async def _flush(self) -> None:
        """One transaction after the other while batches wait."""
        while self._waiting and self._failure is None:
            group = self._take()
            # What callers learn when this task is cancelled: the commit still runs to its end.
            outcome: StorageError | None = OutcomeUnknown()
            try:
                commit, counts = self._stage(group)
                if commit is not None:
                    await self._env.offload(commit)
                    if counts and self._usage is not None:
                        # Run before those who wait below go on; what they raise is not ours.
                        loop = asyncio.get_running_loop()
                        for listener in self._usage.listeners:
                            loop.call_soon(listener, counts)
                outcome = None
            except IndexFull as error:
                outcome = error
            except StorageError as error:
                self._failure = outcome = error
            finally:
                answer(group, outcome)
        while self._waiting:
            answer((self._waiting.popleft(),), self._failure)

    def _take(self) -> list[Pending]:
        group: list[Pending] = []
        batch_count = 0
        while self._waiting and (not group or batch_count < GROUP_BATCHES_MAX):
            group.append(self._waiting.popleft())
            batch_count += len(group[-1].batches)
        return group

    def _stage(
        self, pending: Sequence[Pending]
    ) -> tuple[Callable[[], None] | None, dict[bytes, tuple[Moves, bytes | None]]]:
        """Decide and set a group in a transaction of its own; returns its commit, None when nothing
        changes, and the counts that it moves.

        Holds the gate on return, if there is a commit; the commit gives it back.
        """
        self._gate.enter_to_write()
        txn: Any = None
        staged = False
        try:
            with translated():
                txn = self._lmdb.begin(write=True)
                group = self._decide(txn, pending)
                if group.request_ids or group.applied is not None:
                    self._set(txn, group)
                    staged = True
        finally:
            if not staged:
                if txn is not None:
                    txn.abort()
                self._gate.leave()
        return (partial(self._finish, txn, group) if staged else None), group.counts

    def _decide(self, txn: Any, pending: Sequence[Pending]) -> Group:
        """Check the batches in order, each over what the ones before it set."""
        group = Group()

        def get(row_key: bytes) -> bytes | None:
            if row_key in group.rows:
                return group.rows[row_key]
            return self._get(txn, row_key)

        for item in pending:
            if item.applied is not None:
                for batch in item.batches:
                    group.add(batch)
                group.applied = item.applied
                continue
            batch = item.batches[0]
            if batch.request_id in self._window.ids or batch.request_id in group.request_ids:
                continue
            failed = failed_check(batch, get)
            if failed is None:
                group.add(batch)
            else:
                item.error = BatchConflict(check=failed)
        return group

    def _set(self, txn: Any, group: Group) -> None:
        delta = SumDelta(self._sums_key)
        counts = None if self._usage is None else self._usage.delta()
        counting = self._counting
        for row_key in sorted(group.rows):
            value = group.rows[row_key]
            if value is None:
                before = long_keys.pop_row(txn, self._databases, row_key)
            else:
                before = long_keys.put_row(txn, self._databases, row_key, value)
            delta.change(row_key, before, value)
            if counts is not None and row_key[0] in METERED and row_key not in group.alike:
                if before is not None:
                    counts.remove(row_key, before)
                if value is not None:
                    counts.add(row_key, value)
            for under_way in counting:
                if row_key < under_way.position:
                    group.watched.append((under_way, row_key, before, value))
        for partition, (count, total) in delta.moved.items():
            kept = moved_sum(txn.get(partition, db=self._sums), count, total)
            if kept is None:
                txn.delete(partition, db=self._sums)
            else:
                txn.put(partition, kept, db=self._sums)
        if self._usage is not None and counts is not None:
            group.counts = self._usage.stage(txn, counts, group.applied)
        self._window.stage(txn, group.request_ids)
        if group.applied is not None:
            txn.put(_APPLIED_KEY, group.applied, db=self._meta)

    def _finish(self, txn: Any, group: Group) -> None:
        """Commit on the writer thread; the gate opens again whatever happens."""
        try:
            with translated():
                txn.commit()
            self._window.keep(group.request_ids)
            if self._usage is not None:
                self._usage.committed()
            for count, row_key, before, value in group.watched:
                count.move(row_key, before, value)
        finally:
            self._gate.leave()

    # Verification and end

    def begin_verification(self) -> Verification:
        """See `Index.begin_verification`."""
        return SumsVerification(self, self._sums_key)

    def verify_sums(self) -> list[bytes]:
        """See `Index.verify_sums`."""
        verification = self.begin_verification()
        try:
            while (bad := verification.helping()) is None:
                pass
            return bad
        finally:
            verification.end()

    def begin_count(self, found: SumDelta | UsageDelta) -> Count:
        """A count that commits keep right behind its position; that moves inside the gate."""
        count = Count(found)
        with self._counts_lock:
            self._counting = (*self._counting, count)
        return count

    def end_count(self, count: Count) -> None:
        """Commits need not keep it right any more. Idempotent."""
        with self._counts_lock:
            self._counting = tuple(held for held in self._counting if held is not count)

    def verify_rows(self, count: Count, found: SumDelta, hidden: set[bytes]) -> list[bytes] | None:
        """Count the next rows in; at the end, the partitions whose sums are others, and `hidden`.

        Rows are counted as a scan finds them, and looked up by their keys as well: rot in the inner
        pages of a tree can hide a row from a look-up that a scan still passes.

        Args:
            hidden: gets the partitions of rows that a look-up does not find.
        """
        with self._gate.reading():
            rows = self._scan(count.position, _END, VERIFY_ROWS, False)
            if not rows:
                with translated(), self._lmdb.begin() as txn:
                    return sorted({*differing(self._kept_sums(txn), found.sums()), *hidden})
            for row, value in zip(rows, self._read([row.key for row in rows]), strict=True):
                if value != row.value:
                    hidden.add(partition_of(row.key))
            found.count_in(rows)
            count.position = after(rows[-1].key)
        return None

    def close(self) -> None:
        """Wait for the commit in flight, then give the folder free. Idempotent."""
        if self._lock_file < 0:
            return
        with self._gate.reading():
            if self._failure is None:
                self._failure = MetaUnavailable(reason="closed")
            self._lmdb.close()
            os.close(self._lock_file)
            self._lock_file = -1

    def _check_running(self) -> None:
        if self._failure is not None:
            raise MetaUnavailable(reason=self._failure.message())


class SumsVerification:
    """`gateway.meta.kv.Verification` over an index on a disk."""

    def __init__(self, index: LmdbIndex, sums_key: bytes) -> None:
        self._index = index
        self._found = SumDelta(sums_key)
        self._hidden: set[bytes] = set()
        self._count = index.begin_count(self._found)
        self._one = threading.Lock()  # a helping outlives the task that asked for it

    def helping(self) -> list[bytes] | None:
        """See `Verification.helping`."""
        with self._one:
            return self._index.verify_rows(self._count, self._found, self._hidden)

    def end(self) -> None:
        """See `Verification.end`."""
        self._index.end_count(self._count)
