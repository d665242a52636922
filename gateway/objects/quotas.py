"""Holds tenants and buckets to their limits of bytes and objects, before a body is read.

Not for rates (`gateway.objects.throttle`) nor for counting: counts come from the index, in the
transaction that applies a change and before its caller goes on. What is being written is reserved
from the check to the end of the request, so writers at the edge of a limit cannot overshoot it
together. Room that a write will give back (what it replaces) is not counted in advance.

Source: docs/metering.md, "Quotas".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from gateway.meta.buckets import list_buckets
from gateway.meta.kv import MetaStore
from gateway.meta.sealing import RecordKeys
from gateway.meta.usage import Moves, unpack_slots, weight_of
from gateway.model.bucket import Bucket
from gateway.model.errors import ContractEnded, QuotaExceeded
from gateway.model.names import TenantId
from gateway.model.quota import NO_QUOTA, Quota, Subject

PAGE_BUCKETS = 1000

_ROOM: AbstractContextManager[None] = nullcontext()


class UsageSource(Protocol):
    """What is asked of an index that keeps counts."""

    def usage_entry(self, bucket: bytes) -> bytes | None:
        """Entry of a bucket; None: it holds nothing."""
        ...

    def usage_entries(self) -> dict[bytes, bytes]:
        """All entries."""
        ...


class _Account:
    """One limited tenant or bucket: what it holds as applied, and what is being written."""

    __slots__ = ("held_bytes", "held_objects", "quota", "reserved_bytes", "reserved_objects")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.held_bytes = self.held_objects = 0
        self.reserved_bytes = self.reserved_objects = 0

    def exceeded_by(self, more_bytes: int, more_objects: int) -> bool:
        """Whether so much more is too much."""
        bytes_max, objects_max = self.quota.stored_bytes, self.quota.objects
        if bytes_max is not None and more_bytes:
            too_much = self.held_bytes + self.reserved_bytes + more_bytes > bytes_max
            if too_much:
                return True
        if objects_max is not None and more_objects:
            return self.held_objects + self.reserved_objects + more_objects > objects_max
        return False


class _Room:
    """Reserves until its block ends."""

    __slots__ = ("_accounts", "_bytes", "_objects")

    def __init__(self, accounts: tuple[_Account, ...], more_bytes: int, more_objects: int) -> None:
        self._accounts = accounts
        self._bytes = more_bytes
        self._objects = more_objects

    def __enter__(self) -> None:
        for account in self._accounts:
            account.reserved_bytes += self._bytes
            account.reserved_objects += self._objects

    def __exit__(self, *raised: object) -> None:
        for account in self._accounts:
            account.reserved_bytes -= self._bytes
            account.reserved_objects -= self._objects


class Quotas:
    """Limits of tenants and buckets.

    Attributes:
        is_set: there are any of bytes or objects, or tenants that nothing more is taken from.
        usage: who counts what they hold; there before any is.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.usage: UsageSource | None = None
        self._quotas: dict[tuple[Subject, bytes], Quota] = {}
        self._limited: dict[tuple[Subject, bytes], _Account] = {}
        self._closed: frozenset[bytes] = frozenset()
        self._accounts: dict[bytes, tuple[_Account, ...]] = {}  # by bucket; only limited ones
        self._weights: dict[
            bytes, tuple[int, int]
        ] = {}  # of each of these, as its accounts have it

    def load(
        self,
        quotas: Mapping[tuple[Subject, bytes], Quota],
        store: MetaStore,
        records: RecordKeys,
    ) -> None:
        """Take all limits, in place of those before; what is being written stays reserved nowhere,
        so for a moment writers under way may overshoot a limit that has just been set.
        """
        self._quotas = dict(quotas)
        self._accounts, self._weights = {}, {}
        self._limited = {
            owner: _Account(quota)
            for owner, quota in quotas.items()
            if quota.stored_bytes is not None or quota.objects is not None
        }
        self.is_set = bool(self._limited or self._closed)
        for subject, owner in self._limited:
            if subject is Subject.TENANT:
                for bucket in _buckets_of(store, records, TenantId(owner)):
                    self._follow(bucket, owner)

    def close(self, tenants: Iterable[bytes]) -> None:
        """Take nothing more from these tenants, and from no others: their contracts are over."""
        self._closed = frozenset(tenants)
        self.is_set = bool(self._limited or self._closed)

    def refuse_closed(self, tenant: bytes) -> None:
        """Raises: ContractEnded."""
        if tenant in self._closed:
            raise ContractEnded()

    def of(self, subject: Subject, owner: bytes) -> Quota:
        """Limits of a tenant or bucket."""
        return self._quotas.get((subject, owner), NO_QUOTA)

    def room(
        self, bucket: Bucket, more_bytes: int, more_objects: int
    ) -> AbstractContextManager[None]:
        """Reserve room in a bucket for the time of a block. Raises: QuotaExceeded,
        ContractEnded.
        """
        if not self.is_set:
            return _ROOM
        self.refuse_closed(bucket.tenant)
        accounts = self._accounts.get(bucket.bucket_id)
        if accounts is None:
            accounts = self._follow(bucket.bucket_id, bucket.tenant)
            if not accounts:
                return _ROOM
        more_bytes = max(more_bytes, 0)
        for account in accounts:
            if account.exceeded_by(more_bytes, more_objects):
                raise QuotaExceeded(bucket=bucket.name)
        return _Room(accounts, more_bytes, more_objects)

    def follow(self, counts: Mapping[bytes, tuple[Moves, bytes | None]]) -> None:
        """Take in what a transaction has moved. By what there is after it: who counted a bucket in
        meanwhile has perhaps seen that already.
        """
        if not self.is_set:
            return
        for bucket, (_, kept) in counts.items():
            accounts = self._accounts.get(bucket)
            if accounts is None:
                continue
            self._weigh(bucket, accounts, kept)
            if kept is None and (Subject.BUCKET, bucket) not in self._limited:
                # Whoever writes to it again makes it known again.
                del self._accounts[bucket], self._weights[bucket]

    def _follow(self, bucket: bytes, tenant: bytes) -> tuple[_Account, ...]:
        """The accounts of a bucket, which count it in from here on."""
        assert self.usage is not None
        owners = ((Subject.TENANT, tenant), (Subject.BUCKET, bucket))
        accounts = tuple(self._limited[owner] for owner in owners if owner in self._limited)
        if accounts:
            self._weigh(bucket, accounts, self.usage.usage_entry(bucket))
            self._accounts[bucket] = accounts
        return accounts

    def _weigh(self, bucket: bytes, accounts: tuple[_Account, ...], kept: bytes | None) -> None:
        """Set what a bucket counts for in its accounts."""
        objects, held_bytes = weight_of(unpack_slots(kept))
        objects_before, bytes_before = self._weights.get(bucket, (0, 0))
        for account in accounts:
            account.held_objects += objects - objects_before
            account.held_bytes += held_bytes - bytes_before
        self._weights[bucket] = objects, held_bytes


def _buckets_of(store: MetaStore, records: RecordKeys, tenant: TenantId) -> list[bytes]:
    found: list[bytes] = []
    after = ""
    while page := list_buckets(store, records, tenant, after=after, limit=PAGE_BUCKETS):
        found += [held.bucket_id for held in page]
        after = page[-1].name
    return found
