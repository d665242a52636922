"""Erasures begun and cancelled, and what stands against one.

Not for carrying one out, which takes weeks: the job `erasure`. An erasure begins as a row that says
when it may be executed, and, where there are approvers, a request that they have to sign.

Source: docs/erasure.md. Requirements: E-01, C7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import NamedTuple

from gateway.approvals.request import Act, bucket_key_item, tenant_key_item
from gateway.config_erasure import ErasureConfig
from gateway.journal.certificate import DONE
from gateway.journal.events import Event, Phase
from gateway.journal.evidence import find_marked
from gateway.meta import bucket_key_rows, erasure_rows
from gateway.meta.erasure_rows import Erasure, StoredErasure
from gateway.meta.kv import Check
from gateway.model.bucket import Bucket
from gateway.model.erasure import (
    CANCELLABLE,
    ENDED,
    ErasureKind,
    ErasureStep,
)
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId, TenantId
from gateway.objects import approving
from gateway.objects.bootstrap import read_root
from gateway.objects.context import Services
from gateway.objects.erasure_bars import kept_until_ms, refuse_leaving
from gateway.objects.erasure_looks import buckets_of, versions_of
from gateway.objects.lock_clock import lock_now_ms
from gateway.objects.purging import held_in
from gateway.objects.tenancy import Step, change, find_tenant
from storaged.base.errors import Kind, StorageError

ERASURES_MAX = 10_000
DAY_MS = 86_400_000
PAGE_ROWS = 500
EPOCHS_MAX = 1 << 32
NOTICE_EVENT, DISABLE_EVENT = "erasure.notice", "erasure.disable"


class Recorded(NamedTuple):
    """Where an event is in its log, and when it happened."""

    seq: int
    at_ms: int


class NoSuchErasure(StorageError):
    """There is no erasure of this id, or none of this tenant or bucket."""

    kind = Kind.NOT_FOUND
    hint = "`hexagone erase status` shows them"


class ErasureUnderWay(StorageError):
    """This is being erased already."""

    kind = Kind.CONFLICT
    hint = "`hexagone erase status` shows how far it is"


class ErasureTooLate(StorageError):
    """Keys are being destroyed: this cannot be taken back."""

    kind = Kind.CONFLICT


class ErasureNotEnded(StorageError):
    """This erasure has no certificate yet: it has not ended."""

    kind = Kind.CONFLICT
    hint = "`hexagone erase status` shows how far it is, and what it waits for"


class ErasureRefused(StorageError):
    """This cannot be erased."""

    kind = Kind.CONFLICT


class JournalNeeded(StorageError):
    """An erasure is recorded and certified by the journal, and there is none."""

    kind = Kind.INVALID
    hint = "configure one: [journal] folder = …"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants to have erased. `version` "" = all versions of the key."""

    kind: ErasureKind
    tenant: TenantId
    name: str
    requester: str
    bucket: Bucket | None = None
    key: str = ""
    version: str = ""


def wanted_tenant(services: Services, text: str, requester: str) -> Wanted:
    """A tenant by name or id. Raises: NoSuchIdentity, ErasureRefused (the cluster's own)."""
    tenant = find_tenant(services, text)
    root = read_root(services.log, services.records)
    if root is not None and root.tenant == tenant.tenant_id:
        raise ErasureRefused(tenant=tenant.name, reason="it is the cluster's own tenant")
    return Wanted(
        kind=ErasureKind.TENANT, tenant=tenant.tenant_id, name=tenant.name, requester=requester
    )


def items_of(services: Services, erasure: Erasure) -> tuple[str, ...]:
    """Everything that an erasure does, as approvals name it: the act, and each key as it is."""
    tenant = TenantId(bytes.fromhex(erasure.tenant))
    items = [act_item(erasure)]
    provider = services.bucket_keys.provider
    items += [
        tenant_key_item(tenant, about.epoch)
        for about in provider.tenant_epochs(tenant)
        if about.state is not KeyState.DESTROYED and not _is_new(erasure, "tenant", about.epoch)
    ]
    if erasure.bucket:
        bucket = BucketId(bytes.fromhex(erasure.bucket))
        items += [
            bucket_key_item(bucket, held.about.epoch)
            for held in bucket_key_rows.scan_bucket_keys(services.log, services.records, bucket)
            if held.about.state is not KeyState.DESTROYED
            and not _is_new(erasure, "bucket", held.about.epoch)
        ]
    return tuple(items)


def _is_new(erasure: Erasure, kind: str, epoch: int) -> bool:
    """Whether the epoch was made when what is erased was gone already."""
    return epoch >= erasure.limits.get(kind, EPOCHS_MAX)


def act_item(erasure: Erasure) -> str:
    """The erasure itself, as approvals name it."""
    if erasure.of is ErasureKind.TENANT:
        return f"tenant/{erasure.tenant}"
    if erasure.of is ErasureKind.BUCKET:
        return f"bucket/{erasure.bucket}"
    digest = sha256(erasure.key.encode("utf-8", "surrogateescape")).hexdigest()
    return f"object/{erasure.bucket}/{digest}/{erasure.version or 'all'}"


async def begin(services: Services, config: ErasureConfig, wanted: Wanted) -> Erasure:
    """Begin an erasure: a notice in the tenant's journal, then its row. Durable when it returns.

    Raises: ErasureUnderWay, TenantLeaving, JournalNeeded, JournalUnavailable, as the log.
    """
    if services.journal is None:
        raise JournalNeeded()
    now_ms = execute_at_ms = services.env.now_ms()
    if wanted.kind is ErasureKind.TENANT:
        notice_ends_ms = latest_now_ms(services) + config.notice_days * DAY_MS
        execute_at_ms = max(notice_ends_ms, kept_until_ms(services, wanted.kind, wanted.tenant))
    else:
        refuse_leaving(services, wanted.tenant)
    bucket = "" if wanted.bucket is None else wanted.bucket.bucket_id.hex()
    objects, size_bytes = await lost_by(services, wanted)
    erasure = Erasure(
        erasure_id=services.env.random_bytes(16).hex(),
        kind=wanted.kind.value,
        tenant=wanted.tenant.hex(),
        bucket=bucket,
        name=wanted.name,
        key=wanted.key,
        version=wanted.version,
        requester=wanted.requester,
        requested_at_ms=now_ms,
        execute_at_ms=execute_at_ms,
        step=ErasureStep.NOTICE.value,
        step_since_ms=now_ms,
        objects=objects,
        size_bytes=size_bytes,
    )
    _refuse_second(services, erasure)
    erasure = await record_once(services, erasure, NOTICE_EVENT, Phase.INTENT)
    if approving.approvers_of(services) is not None:
        erasure = await ask_again(services, erasure)

    def decide() -> tuple[Step, None]:
        _refuse_second(services, erasure)
        writes = erasure_rows.set_erasure(services.records, services.nonces, erasure)
        check = Check(erasure_rows.erasure_row(erasure.erasure_id), None)
        return Step((check,), writes), None

    await change(services, decide)
    return erasure


async def ask_again(services: Services, erasure: Erasure) -> Erasure:
    """The erasure with another request for approval, for the keys as they are. The one before is
    forgotten: what is signed of it would be good for nothing.
    """
    pending = await approving.ask(
        services,
        Act(f"erase-{erasure.kind}"),
        about=f"erasure {erasure.erasure_id}: {erasure.kind} of tenant {erasure.tenant}"
        + (f", bucket {erasure.bucket}" if erasure.bucket else ""),
        name=erasure.name,
        permits=items_of(services, erasure),
        objects=erasure.objects,
        size_bytes=erasure.size_bytes,
        requester=erasure.requester,
        not_before_ms=erasure.execute_at_ms,
    )
    if erasure.request:
        await approving.drop(services, erasure.request)
    return replace(erasure, request=pending.request.request_id)


async def record(
    services: Services, erasure: Erasure, kind: str, phase: Phase, **more: str | int
) -> Recorded:
    """Put an event into the tenant's journal. Raises: JournalUnavailable."""
    journal = services.journal
    if journal is None:
        raise JournalNeeded()
    log = erasure.tenant
    first = await journal.size(log)
    body = {"erasure": erasure.erasure_id, "kind": erasure.kind, "who": erasure.requester, **more}
    if erasure.bucket:
        body["bucket_id"] = erasure.bucket
    if kind == NOTICE_EVENT:
        body |= {"execute_at_ms": erasure.execute_at_ms, "objects": erasure.objects}
    if kind == DISABLE_EVENT:
        body |= erasure.departure
    token = services.env.random_bytes(8).hex()
    at_ms = services.env.now_ms()
    await journal.record(log, Event(at_ms, kind, phase, {**body, "mark": token}))
    return Recorded(await find_marked(journal, log, first, token), at_ms)


async def record_once(
    services: Services, erasure: Erasure, kind: str, phase: Phase, item: str = ""
) -> Erasure:
    """The erasure with an event of the tenant's journal, which is written unless it is there.

    Raises: JournalNeeded, JournalUnavailable.
    """
    for one in erasure.events:
        if (one["type"], one["phase"], one["item"]) == (kind, phase.value, item):
            return erasure
    more: dict[str, str | int] = {"item": item} if item else {}
    if kind == DONE:
        more |= {"objects": erasure.objects, "size_bytes": erasure.size_bytes}
    seq, at_ms = await record(services, erasure, kind, phase, **more)
    noted = {"seq": seq, "at_ms": at_ms, "type": kind, "phase": phase.value, "item": item}
    return replace(erasure, events=(*erasure.events, noted))


def certain_now_ms(services: Services) -> int:
    """A time that has come by every clock: to set one of them forward ends no notice."""
    return min(services.env.now_ms(), lock_now_ms(services))


def latest_now_ms(services: Services) -> int:
    """The time from which something lasts: a clock that was set back makes no notice begin early,
    and so none end early once it is right again.
    """
    return max(services.env.now_ms(), lock_now_ms(services))


def find(services: Services, erasure_id: str) -> StoredErasure:
    """An erasure by id. Raises: NoSuchErasure, RowCorrupt."""
    found = None
    if len(erasure_id) == 32 and erasure_id.isalnum() and erasure_id.isascii():
        found = erasure_rows.read_erasure(services.log, services.records, erasure_id)
    if found is None:
        raise NoSuchErasure(erasure=erasure_id[:64])
    return found


def erasures(services: Services) -> list[Erasure]:
    """All erasures, the latest first. Raises: RowCorrupt."""
    log, records = services.log, services.records
    rows = erasure_rows.scan_erasures(log, records, limit=ERASURES_MAX)
    rows += erasure_rows.scan_ended(log, records, limit=ERASURES_MAX)
    return sorted((one.erasure for one in rows), key=lambda one: one.requested_at_ms, reverse=True)


async def cancel(services: Services, erasure_id: str) -> Erasure:
    """Take an erasure back; the job enables again what was disabled.

    Raises: NoSuchErasure, ErasureTooLate, as the log.
    """

    def decide() -> tuple[Step, Erasure]:
        stored = find(services, erasure_id)
        erasure = stored.erasure
        if erasure.at in (ErasureStep.CANCEL, ErasureStep.CANCELLED):
            return Step((), ()), erasure
        if erasure.at not in CANCELLABLE:
            raise ErasureTooLate(erasure=erasure_id, step=erasure.step)
        changed = replace(
            erasure,
            step=ErasureStep.CANCEL.value,
            step_since_ms=services.env.now_ms(),
            detail="",
        )
        check = Check(erasure_rows.erasure_row(erasure_id), stored.revision)
        writes = erasure_rows.set_erasure(services.records, services.nonces, changed)
        return Step((check,), writes), changed

    return await change(services, decide)


def _refuse_second(services: Services, wanted: Erasure) -> None:
    for stored in erasure_rows.scan_erasures(services.log, services.records, limit=ERASURES_MAX):
        held = stored.erasure
        same = (held.tenant, held.bucket, held.key, held.version) == (
            wanted.tenant,
            wanted.bucket,
            wanted.key,
            wanted.version,
        )
        if held.at not in ENDED and same:
            raise ErasureUnderWay(erasure=held.erasure_id)


async def lost_by(services: Services, wanted: Wanted) -> tuple[int, int]:
    """Versions that an erasure takes, and their bytes."""
    if wanted.kind is ErasureKind.OBJECT:
        assert wanted.bucket is not None
        found = versions_of(services, wanted.bucket.bucket_id, wanted.key, wanted.version)
        return len(found), sum(size for _, size in found)
    bucket = None if wanted.bucket is None else wanted.bucket.bucket_id
    return await lost_in(services, wanted.tenant, bucket)


async def lost_in(services: Services, tenant: TenantId, bucket: BucketId | None) -> tuple[int, int]:
    """Versions of a bucket, or of all of a tenant's, and their bytes."""
    ids = buckets_of(services, tenant) if bucket is None else [bucket]
    counts = []
    for one in ids:
        counts.append(held_in(services, one))
        await services.env.sleep(0)
    return sum(count for count, _ in counts), sum(size for _, size in counts)
