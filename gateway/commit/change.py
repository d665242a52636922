"""What a use case hands the log, and what it gets back.

Not for how groups are formed: `gateway.commit.forming`. A change is checked and written at one
instant or not at all.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.meta.batches import validate, validate_key
from gateway.meta.kv import Batch
from gateway.model.layout import Packed, StripeRow, Tier
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import StripeId
from storaged.base.values import value
from storaged.node import Buffer


class LogUnavailable(StorageError):
    """The log cannot commit."""

    kind = Kind.UNAVAILABLE


class LogBusy(StorageError):
    """Too many changes are waiting for the log."""

    kind = Kind.UNAVAILABLE


class StripeBusy(StorageError):
    """The stripe is named again and may not be dropped."""

    kind = Kind.CONFLICT


@value(frozen=True, slots=True)
class Draft:
    """A row whose value names the place of a small body of the same change.

    `seal` is called once the place is known, at most once per attempt to form a group, and must be
    quick.
    """

    key: bytes
    body_index: int
    seal: Callable[[Packed], bytes]


@value(frozen=True, slots=True, kw_only=True)
class StripeChange:
    """A step of one stripe's row; the committer turns it into the row's value, in order, so that no
    two changes conflict over a shared stripe.

    Args:
        live_delta: bytes of the payload that rows start (+) or stop (−) naming.
        create: the row of a stripe that has none yet (its `live_bytes` as of this change).
        moved: (shard index, node number) pairs that repair or a drain has stored; 0 = no longer
            there.
        tier: what the stripe survives once it has moved; None: as before.
        drop: forget the stripe; refused while its live bytes are not 0.
    """

    stripe: StripeId
    live_delta: int = 0
    create: StripeRow | None = None
    moved: tuple[tuple[int, int], ...] = ()
    tier: Tier | None = None
    drop: bool = False


@value(frozen=True, slots=True, kw_only=True)
class Change:
    """One batch with what rides along.

    Args:
        reserved: stripe ids that the caller gives back itself when it is told the outcome; the log
            does when nobody waits for it any more.
    """

    batch: Batch
    bodies: tuple[Buffer, ...] = ()  # sealed small bodies, each placed in the commit stripe
    drafts: tuple[Draft, ...] = ()
    stripes: tuple[StripeChange, ...] = ()
    reserved: StripeId | None = None


def validate_change(change: Change) -> None:
    """Bounds of the metadata port. What is beyond them must not get into the log: the index would
    refuse it when it is applied, in this run and in every later one.

    Raises: ValueError.
    """
    validate(change.batch)
    for draft in change.drafts:
        validate_key(draft.key, change.batch.partition)


@value(frozen=True, slots=True)
class Position:
    """A place in the log; sequence numbers run on across epochs."""

    epoch: int
    sequence: int


@value(frozen=True, slots=True)
class Committed:
    """Where a change was committed, and where its bodies lie."""

    position: Position
    places: tuple[Packed, ...]
