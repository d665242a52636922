"""Forming commit groups: checks decided in order, bodies placed, stripe rows moved on; then one
payload of bytes.

Not for storing or applying them: `gateway.commit.log`. Nothing here awaits.

A change is decided over what is applied, what is in flight and what the forming group already
holds, so that a group is a sequence of changes of which each sees the one before. Drafts are sealed
with the place their body got, which is known because bodies come first in the payload and the
stripe's id is the group's position.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.commit.change import Change, Committed, Position, StripeBusy, StripeChange
from gateway.commit.header import GroupHeader, GroupKind, digest_of
from gateway.commit.records import TAG_BYTES, batch_bytes, encode_records, seal_records
from gateway.limits import GROUP_BATCHES_MAX, GROUP_BYTES_MAX
from gateway.meta.kv import (
    PARTITION_BYTES,
    REVISION_BYTES,
    Batch,
    BatchConflict,
    Check,
    Exists,
    RowCorrupt,
    Write,
)
from gateway.model.layout import Packed, StripeRow, Tier
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import LogId, StripeFamily, StripeId
from storaged.node import Buffer

CLUSTER_PARTITION = bytes(PARTITION_BYTES)
REVISION_END = 1 + REVISION_BYTES  # as `revision_of`, without its call
CHANGE_BYTES_MAX = 2 * GROUP_BYTES_MAX  # one change alone in its group; k cells of 4 MiB hold it
CHECKED_AT_ONCE = 16  # checks of one change, from which on their rows are read in one transaction


class ChangeTooLarge(StorageError):
    """One change has too many rows or bytes."""

    kind = Kind.INVALID


class StripeRowCodec(Protocol):
    """Stripe rows as the index keeps them."""

    def key(self, stripe: StripeId) -> bytes: ...

    def seal(self, row: StripeRow) -> bytes: ...

    def open(self, stripe: StripeId, value: bytes) -> StripeRow: ...


class Rows(Protocol):
    """Applied rows."""

    def row(self, key: bytes) -> bytes | None:
        """As MetaStore.read of one key."""
        ...

    def rows(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """As MetaStore.read, for very many keys."""
        ...


@dataclass(slots=True)
class Waiter:
    """One caller: its change, and the future its answer goes to."""

    change: Change
    future: asyncio.Future[Committed]
    deadline_s: float
    body_bytes: int = 0
    places: tuple[Packed, ...] = ()
    counted: bool = True  # its bodies count against the bound of the undecided


@dataclass(slots=True, eq=False)
class Group:
    """A group that is forming or in flight."""

    position: Position
    batches: list[Batch] = field(default_factory=list)
    bodies: list[Buffer] = field(default_factory=list)
    bodies_bytes: int = 0
    records_bytes: int = 64
    stripes: dict[StripeId, StripeRow | None] = field(default_factory=dict)
    touched: list[bytes] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    refused: list[tuple[Waiter, StorageError]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return (
            self.bodies_bytes + self.records_bytes >= GROUP_BYTES_MAX
            or len(self.waiters) >= GROUP_BATCHES_MAX
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """A closed group as bytes: what is stored, and what the index will apply."""

    header: GroupHeader
    encoded: bytes
    digest: bytes
    payload_parts: tuple[Buffer, ...]
    batches: tuple[Batch, ...]

    @property
    def payload_bytes(self) -> int:
        return self.header.bodies_bytes + self.header.records_bytes


class View:
    """The index with the effects of unapplied groups on top, for checks only: GET and LIST never
    see it.
    """

    def __init__(
        self,
        rows: Rows,
        load_stripe: Callable[[StripeId], StripeRow | None],
    ) -> None:
        self._rows_below = rows
        self._load_stripe = load_stripe
        self._rows: dict[bytes, tuple[Group, bytes | None]] = {}
        self._stripes: dict[StripeId, tuple[Group, StripeRow | None]] = {}

    def failed_check(
        self, checks: Sequence[Check | Exists]
    ) -> tuple[Group | None, BatchConflict | None]:
        """First failed check, and the latest unapplied group that the decision rests on."""
        blocker: Group | None = None
        pending, applied = self._rows, self._rows_below.row
        many: Sequence[bytes | None] = ()
        if len(checks) >= CHECKED_AT_ONCE:
            many = self._rows_below.rows([check.key for check in checks])
        for position, check in enumerate(checks):
            laid = pending.get(check.key)
            if laid is None:
                value = many[position] if many else applied(check.key)
            else:
                group, value = laid
                if blocker is None or group.position.sequence > blocker.position.sequence:
                    blocker = group
            if isinstance(check, Check):
                held = None if value is None else value[1:REVISION_END]
                stands = held == check.revision
            else:
                stands = value is not None
            if not stands:
                return blocker, BatchConflict(check=position)
        return blocker, None

    def stripe(self, stripe: StripeId) -> StripeRow | None:
        pending = self._stripes.get(stripe)
        return pending[1] if pending is not None else self._load_stripe(stripe)

    def set_rows(self, group: Group, writes: Iterable[Write]) -> None:
        rows, touch = self._rows, group.touched.append
        for write in writes:
            key = write.key
            rows[key] = (group, write.value)
            touch(key)

    def set_stripe(self, group: Group, stripe: StripeId, row: StripeRow | None) -> None:
        self._stripes[stripe] = (group, row)
        group.stripes[stripe] = row

    def settle(self, group: Group) -> None:
        """Forget what an applied group laid over the index."""
        for key in group.touched:
            pending = self._rows.get(key)
            if pending is not None and pending[0] is group:
                del self._rows[key]
        for stripe in group.stripes:
            laid = self._stripes.get(stripe)
            if laid is not None and laid[0] is group:
                del self._stripes[stripe]

    def clear(self) -> None:
        """Forget everything unapplied: its changes are about to be decided again."""
        self._rows.clear()
        self._stripes.clear()


def admit(view: View, group: Group, waiter: Waiter) -> StorageError | None:
    """Decide one change; when it stands, add it to the group.

    Returns:
        None when admitted. A BatchConflict or StripeBusy when refused; if an unapplied group was
        read for that, the waiter has been queued on it (`refused`) and is answered with it, and
        None is returned as well.

    Raises:
        ChangeTooLarge, RowCorrupt: nothing changed.
    """
    change = waiter.change
    batch, bodies = change.batch, change.bodies
    blocker, error = view.failed_check(batch.checks)
    if error is not None:
        if blocker is not None:
            blocker.refused.append((waiter, error))
            return None
        return error
    moved = _move_stripes(view, change.stripes)
    if isinstance(moved, StripeBusy):
        return moved
    places: tuple[Packed, ...] = ()
    body_bytes = 0
    if bodies:
        places = _place(group, bodies)
        body_bytes = sum([place.sealed_bytes for place in places])
    if change.drafts:
        drafted = [
            Write(draft.key, draft.seal(places[draft.body_index])) for draft in change.drafts
        ]
        batch = Batch(
            partition=batch.partition,
            request_id=batch.request_id,
            checks=(),
            writes=batch.writes + tuple(drafted),
        )
    added_bytes = batch_bytes(batch) + 256 * len(moved)
    if added_bytes + body_bytes > CHANGE_BYTES_MAX:
        raise ChangeTooLarge(change_bytes=added_bytes + body_bytes)
    view.set_rows(group, batch.writes)
    for stripe, row in moved.items():
        view.set_stripe(group, stripe, row)
    group.batches.append(batch)
    if bodies:
        group.bodies.extend(bodies)
        group.bodies_bytes += body_bytes
        waiter.places = places
    group.records_bytes += added_bytes
    group.waiters.append(waiter)
    return None


def _move_stripes(
    view: View, steps: Sequence[StripeChange]
) -> dict[StripeId, StripeRow | None] | StripeBusy:
    """The stripe rows after the steps. Raises RowCorrupt when a row is missing or would go below
    zero.
    """
    rows: dict[StripeId, StripeRow | None] = {}
    for step in steps:
        if step.create is not None:
            rows[step.stripe] = step.create
            continue
        row = rows[step.stripe] if step.stripe in rows else view.stripe(step.stripe)
        if row is None:
            if step.drop:
                continue
            raise RowCorrupt(stripe=step.stripe, reason="no row")
        if step.live_delta:
            live = row.live_bytes + step.live_delta
            if not 0 <= live <= row.payload_bytes:
                raise RowCorrupt(stripe=step.stripe, reason="live bytes", live=live)
            row = replace(row, live_bytes=live)
        if step.moved:
            nodes = list(row.nodes)
            for index, number in step.moved:
                nodes[index] = number
            tier = row.tier if step.tier is None else step.tier
            row = replace(row, nodes=tuple(nodes), tier=tier)
        if step.drop:
            if row.live_bytes:
                return StripeBusy(stripe=step.stripe)
            rows[step.stripe] = None
        else:
            rows[step.stripe] = row
    return rows


def _place(group: Group, bodies: Sequence[Buffer]) -> tuple[Packed, ...]:
    stripe = StripeId(StripeFamily.COMMIT, group.position.epoch, group.position.sequence)
    places = []
    offset = group.bodies_bytes
    for body in bodies:
        places.append(Packed(stripe=stripe, offset=offset, sealed_bytes=len(body)))
        offset += len(body)
    return tuple(places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What all groups of one log epoch share."""

    log: LogId
    epoch: int
    tier: Tier
    log_key: bytes
    cipher: AESGCM


def records_context(log: LogId, epoch: int, sequence: int, previous: bytes) -> bytes:
    """Associated data of a group's records: the group's place in the chain."""
    return log + epoch.to_bytes(8, "big") + sequence.to_bytes(8, "big") + previous


def seal_group(
    term: Term,
    group: Group,
    codec: StripeRowCodec,
    *,
    kind: GroupKind,
    previous: bytes,
    checkpoint: tuple[int, int],
    request_id: bytes,
    extra: bytes = b"",
) -> Sealed:
    """Close a group: stripe rows become row values, records are sealed, the header is made. An id
    is sealed once.
    """
    batches = list(group.batches)
    if group.stripes:
        writes = tuple(
            Write(codec.key(stripe), None if row is None else codec.seal(row))
            for stripe, row in group.stripes.items()
        )
        batches.append(
            Batch(partition=CLUSTER_PARTITION, request_id=request_id, checks=(), writes=writes)
        )
    sequence = group.position.sequence
    context = records_context(term.log, term.epoch, sequence, previous)
    sealed = seal_records(term.cipher, sequence, context, encode_records(batches, extra))
    header = GroupHeader(
        log=term.log,
        epoch=term.epoch,
        sequence=sequence,
        tier=term.tier,
        kind=kind,
        previous=previous,
        checkpoint=checkpoint,
        bodies_bytes=group.bodies_bytes,
        records_bytes=len(sealed),
    )
    encoded = header.encode(term.log_key)
    return Sealed(
        header=header,
        encoded=encoded,
        digest=digest_of(encoded, sealed[-TAG_BYTES:]),
        payload_parts=(*group.bodies, sealed),
        batches=tuple(batches),
    )
