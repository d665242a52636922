"""Where the sealed bytes of a part are, and what the index says of a stripe.

Not for names of S3. Pure values; their row forms are in `gateway.meta.records`.

Source: docs/data-layout.md, "Layouts" and "Stripe rows".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from storaged.base.ids import StripeId
from storaged.base.values import value


class Tier(IntEnum):
    """What a stripe survives. Ordered: a higher tier survives more."""

    NONE = 0  # not even any one node may go
    NODE = 1  # any node may go: stored − most on one node ≥ k
    FULL = 2  # any datacenter may go: stored − most in one datacenter ≥ k


@dataclass(frozen=True, slots=True)
class Geometry:
    """Erasure code of a stripe: k data cells and m parity cells."""

    k: int
    m: int

    @property
    def n(self) -> int:
        return self.k + self.m


@value(frozen=True, slots=True, kw_only=True)
class Striped:
    """A part in data stripes of its own, with consecutive counters from `first`.

    Every stripe but the last holds `stripe_bytes` sealed bytes; the last one the rest.
    """

    first: StripeId
    stripe_count: int
    stripe_bytes: int
    sealed_bytes: int


@value(frozen=True, slots=True, kw_only=True)
class Packed:
    """A small part: `sealed_bytes` bytes at `offset` of the payload of a commit or pack stripe."""

    stripe: StripeId
    offset: int
    sealed_bytes: int


Layout = Striped | Packed


@value(frozen=True, slots=True, kw_only=True)
class StripeRow:
    """What the index knows of one stripe.

    Args:
        cell_bytes: bytes of one cell; the payload is the first `payload_bytes` of the k data cells
            put in a row.
        nodes: node number per shard index, `k + m` long; 0 = not stored anywhere.
        live_bytes: payload bytes that some row still names; 0 = the stripe may be freed.
        retain_until_ms: no shard may be deleted before it.
        region: number of the region whose nodes alone may hold its shards; 0: the cluster's own.
    """

    stripe: StripeId
    geometry: Geometry
    cell_bytes: int
    payload_bytes: int
    nodes: tuple[int, ...]
    tier: Tier
    live_bytes: int
    retain_until_ms: int = 0
    region: int = 0
