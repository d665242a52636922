"""The LMDB index against the memory store: one history, the same answers, over reopening too."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.meta.kv import Batch, BatchConflict, Check, Exists, Write, revision_of
from gateway.meta.lmdb import LmdbIndex
from gateway.meta.memory import MemoryStore
from storaged.base.env import RealEnv

BUCKETS = [b"\x01" * 16, b"\x02" * 16]
ZEROS = bytes(16)
TAILS = [
    b"",
    b"a",
    b"a\x00",
    b"a\xff",
    b"b",
    b"p" * 470,
    b"p" * 700,
    b"p" * 700 + b"q",
    b"p" * 1080,
]
SUMS_KEY = b"k" * 32
_revisions = count(1)

TAIL = st.sampled_from(TAILS)
BUCKET = st.integers(0, 1)
OPERATION = st.tuples(st.sampled_from(["set", "drop"]), st.booleans(), TAIL)
CHECK = st.tuples(st.sampled_from(["absent", "same", "stale", "exists"]), TAIL)


class Stores(RuleBasedStateMachine):
    """Every rule does the same to both; `read`, `scan`, sums and errors must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.env = RealEnv(threads_max=1)
        self.path = Path(tempfile.mkdtemp(prefix="meta-"))
        self.loop = asyncio.new_event_loop()
        self.memory = MemoryStore(SUMS_KEY)
        self.index = self.open()
        self.committed: list[Batch] = []

    def open(self) -> LmdbIndex:
        return LmdbIndex(self.path, map_size_bytes=1 << 26, sums_key=SUMS_KEY, env=self.env)

    def batch(
        self,
        bucket: int,
        operations: list[tuple[str, bool, bytes]],
        checks: list[tuple[str, bytes]],
    ) -> Batch:
        partition = BUCKETS[bucket]
        writes, decided = [], []
        for verb, in_bucket, tail in operations:
            key = (b"O" + partition if in_bucket else b"S" + ZEROS) + tail
            number = next(_revisions)
            value = b"\x01" + number.to_bytes(12, "big") + b"v" * (number % 50)
            writes.append(Write(key, value if verb == "set" else None))
        for verb, tail in checks:
            key = b"O" + partition + tail
            held = self.memory.read([key])[0]
            if verb == "exists":
                decided.append(Exists(key))
            elif verb == "absent" or (verb == "same" and held is None):
                decided.append(Check(key, None))
            else:
                decided.append(
                    Check(key, revision_of(held) if held and verb == "same" else b"x" * 12)
                )
        return Batch(
            partition=partition,
            request_id=b"r" * 4 + next(_revisions).to_bytes(12, "big"),
            checks=tuple(decided),
            writes=tuple(writes),
        )

    async def outcome(self, store: Any, batches: list[Batch]) -> list[object]:
        outcomes = await asyncio.gather(
            *(store.commit(batch) for batch in batches), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, BatchConflict):
                raise outcome
        return [o.fields if isinstance(o, BatchConflict) else None for o in outcomes]

    def commit_both(self, batches: list[Batch]) -> None:
        expected = self.loop.run_until_complete(self.outcome(self.memory, batches))
        found = self.loop.run_until_complete(self.outcome(self.index, batches))
        assert found == expected
        self.committed += [b for b, o in zip(batches, expected, strict=True) if o is None]

    @rule(
        parts=st.lists(
            st.tuples(BUCKET, st.lists(OPERATION, max_size=4), st.lists(CHECK, max_size=2)),
            min_size=1,
            max_size=4,
        )
    )
    def commit(
        self, parts: list[tuple[int, list[tuple[str, bool, bytes]], list[tuple[str, bytes]]]]
    ) -> None:
        self.commit_both([self.batch(*part) for part in parts])

    @rule(parts=st.lists(st.tuples(BUCKET, st.lists(OPERATION, max_size=4)), max_size=3))
    def apply(self, parts: list[tuple[int, list[tuple[str, bool, bytes]]]]) -> None:
        group = [self.batch(bucket, operations, []) for bucket, operations in parts]
        mark = b"mark-%d" % next(_revisions)
        for store in (self.memory, self.index):
            self.loop.run_until_complete(store.apply(group, mark))
        self.committed += group

    @precondition(lambda self: self.committed)
    @rule(which=st.integers(0, 1000))
    def repeat(self, which: int) -> None:
        self.commit_both([self.committed[which % len(self.committed)]])

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = self.open()

    @rule(start=TAIL, end=TAIL, bucket=BUCKET, limit=st.integers(0, 5), reverse=st.booleans())
    def scan(self, start: bytes, end: bytes, bucket: int, limit: int, reverse: bool) -> None:
        head = b"O" + BUCKETS[bucket]
        found = self.index.scan(head + start, head + end, limit=limit, reverse=reverse)
        assert found == self.memory.scan(head + start, head + end, limit=limit, reverse=reverse)

    @invariant()
    def agree(self) -> None:
        everything = self.memory.scan(b"", b"\xff", limit=10_000)
        assert self.index.scan(b"", b"\xff", limit=10_000) == everything
        keys = [row.key for row in everything]
        assert self.index.read(keys) == self.memory.read(keys)
        assert self.index.partition_sums() == self.memory.partition_sums()
        assert self.index.applied() == self.memory.applied()
        assert self.index.verify_sums() == self.memory.verify_sums() == []

    def teardown(self) -> None:
        self.index.close()
        self.loop.close()
        self.env.close()
        shutil.rmtree(self.path)


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
