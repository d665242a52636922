"""Tells a tenant's journal of epochs of keys and of rotations that have ended.

Not for rotating (`gateway.objects.key_rotation`, the job `rotation`). What makes an epoch active or
retires one is told before: where the journal refuses, it is not done. An end is claimed by a row of
the change that ends the rotation, with the size of the journal before it; the job tells it, looks
first whether it was told already, and drops the row. So wherever a process dies, the end is told
once.

Source: docs/journal.md, "What is recorded". Requirement: C9.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.commit.change import Change
from gateway.journal.events import Event
from gateway.journal.journal import Journal
from gateway.journal.key_events import (
    active_event,
    decrypt_only_event,
    mark_of,
    rotated_event,
)
from gateway.journal.shelf import LOGS
from gateway.journal.store import JournalUnavailable, read_lines
from gateway.meta import keyspace
from gateway.meta import rotations as rotation_rows
from gateway.meta.kv import Batch, Write
from gateway.meta.rotations import Claim, Rotation
from gateway.objects.context import Services

CLAIMS_MAX = 10_000


async def tell_active(services: Services, rotation: Rotation) -> None:
    """Record that the epoch of a rotation becomes active. Raises: JournalUnavailable."""
    about = rotation.kind, rotation.owner, rotation.epoch, _bucket(rotation)
    await _record(services, rotation, active_event(services.env.now_ms(), *about))


async def tell_decrypt_only(services: Services, rotation: Rotation, epochs: Sequence[int]) -> None:
    """Record that older epochs become DECRYPT_ONLY; none: nothing is recorded. Raises:
    JournalUnavailable.
    """
    if epochs:
        about = rotation.kind, rotation.owner, epochs, _bucket(rotation)
        await _record(services, rotation, decrypt_only_event(services.env.now_ms(), *about))


async def claim_of(services: Services, ended: Rotation) -> tuple[Write, ...]:
    """What the change that ends a rotation writes so that its end is told. Raises:
    JournalUnavailable.
    """
    if services.journal is None:
        return ()
    size = await services.journal.size(ended.tenant)
    claim = Claim(rotation=ended, journal_size=size)
    return (rotation_rows.set_claim(services.records, services.nonces, claim),)


async def tell_ended(services: Services) -> None:
    """Tell the ends of rotations that were not told. Idempotent, and goes on after what one
    tenant's journal refuses. Raises: JournalUnavailable, the last one, as the log.
    """
    journal = services.journal
    if journal is None:
        return
    refused: JournalUnavailable | None = None
    claims = rotation_rows.scan_claims(services.log, services.records, limit=CLAIMS_MAX)
    for claim in claims:
        try:
            if not await _is_told(journal, claim):
                await _record(services, claim.rotation, _end(services, claim.rotation))
        except JournalUnavailable as error:
            refused = error
            continue
        batch = Batch(
            partition=keyspace.CLUSTER_PARTITION,
            request_id=services.env.random_bytes(16),
            checks=(),
            writes=(rotation_rows.drop_claim(claim.rotation),),
        )
        await services.log.commit_change(Change(batch=batch))
    if refused is not None:
        raise refused


def _end(services: Services, ended: Rotation) -> Event:
    counts = sorted(ended.rewrapped.items())
    report: dict[str, int | str] = {
        "epoch": ended.epoch,
        "outcome": ended.outcome,
        "rewrapped": ended.done,
        "rows": " ".join(f"{name.replace(' ', '-')}={count}" for name, count in counts),
        "unreadable": ended.unreadable,
        "changed_meanwhile": ended.conflicts,
        "passes": ended.number,
        "started_at_ms": ended.started_at_ms,
        "ended_at_ms": ended.ended_at_ms,
    }
    about = ended.kind, ended.owner, report, _bucket(ended)
    return rotated_event(services.env.now_ms(), *about)


async def _is_told(journal: Journal, claim: Claim) -> bool:
    """Whether the journal has the end of a rotation, since it was about to end. Raises:
    JournalUnavailable.
    """
    ended, first = claim.rotation, claim.journal_size
    mark = mark_of(ended.kind, ended.owner, ended.epoch, ended.started_at_ms)
    count = await journal.size(ended.tenant) - first
    folder = journal.folder / LOGS / ended.tenant
    wanted = f'"mark":"{mark}"'.encode()
    try:
        return count > 0 and await journal.env.offload(
            lambda: any(wanted in line for line in read_lines(folder, first, count))
        )
    except OSError as error:
        raise JournalUnavailable(reason=error.strerror) from error


async def _record(services: Services, rotation: Rotation, event: Event) -> None:
    if services.journal is not None:
        await services.journal.record(rotation.tenant, event)


def _bucket(rotation: Rotation) -> str:
    return rotation.name if rotation.kind == rotation_rows.BUCKET else ""
