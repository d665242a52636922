"""Stripe rows: codec, typed reads, and the writes that set or drop one.

Not for shards or placement: the log decides what a stripe row says. Its parts are all the
cluster's: no tenant key is needed to repair or reclaim.

Source: docs/data-layout.md, "Stripe rows".
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.record_fields import MALFORMED
from gateway.meta.sealing import NonceSource, RecordKeys, open_cluster, seal_row
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.ids import StripeId

# k, m, tier, region, cell bytes, payload bytes, live bytes, retain-until; then k + m node numbers
# u16.
_STRIPE = Struct(">BBBBQQQQ")


class StoredStripe(NamedTuple):
    """A stripe row and its revision."""

    row: StripeRow
    revision: bytes


def seal_stripe(keys: RecordKeys, nonces: NonceSource, row: StripeRow) -> bytes:
    """Row value of a stripe; its row key is `keyspace.stripe_row(row.stripe)`."""
    geometry, nodes = row.geometry, row.nodes
    assert len(nodes) == geometry.n
    cluster = _STRIPE.pack(
        geometry.k,
        geometry.m,
        row.tier,
        row.region,
        row.cell_bytes,
        row.payload_bytes,
        row.live_bytes,
        row.retain_until_ms,
    ) + b"".join([node.to_bytes(2, "big") for node in nodes])
    return seal_row(
        keys, nonces, keyspace.stripe_row(row.stripe), cluster, tenant=None, key_epoch=0
    )


def open_stripe(keys: RecordKeys, row_key: bytes, value: bytes) -> StripeRow:
    """A stripe row. Raises: RowCorrupt."""
    stripe = keyspace.parse_stripe(row_key)
    cluster = open_cluster(keys, row_key, value)
    try:
        k, m, tier, region, cell_bytes, payload_bytes, live_bytes, retain_until_ms = (
            _STRIPE.unpack_from(cluster)
        )
        tail = cluster[_STRIPE.size :]
        if len(tail) != 2 * (k + m):
            raise ValueError("a node number per shard")
        nodes = tuple(int.from_bytes(tail[at : at + 2], "big") for at in range(0, len(tail), 2))
        return StripeRow(
            stripe=stripe,
            geometry=Geometry(k, m),
            cell_bytes=cell_bytes,
            payload_bytes=payload_bytes,
            nodes=nodes,
            tier=Tier(tier),
            live_bytes=live_bytes,
            retain_until_ms=retain_until_ms,
            region=region,
        )
    except MALFORMED as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error


def read_stripe(store: MetaStore, keys: RecordKeys, stripe: StripeId) -> StoredStripe | None:
    """The row of one stripe; None when no row names it. Raises: RowCorrupt."""
    row_key = keyspace.stripe_row(stripe)
    value = store.read((row_key,))[0]
    if value is None:
        return None
    return StoredStripe(open_stripe(keys, row_key, value), revision_of(value))


def scan_stripes(
    store: MetaStore, keys: RecordKeys, after: StripeId | None, *, limit: int
) -> list[StoredStripe]:
    """Stripe rows above `after` (None: from the first), in the order of their ids. Raises:
    RowCorrupt.
    """
    start, end = keyspace.stripe_range()
    if after is not None:
        start = keyspace.after(keyspace.stripe_row(after))
    return [
        StoredStripe(open_stripe(keys, row.key, row.value), revision_of(row.value))
        for row in store.scan(start, end, limit=limit)
    ]


def set_stripe(keys: RecordKeys, nonces: NonceSource, row: StripeRow) -> Write:
    """Write that sets a stripe row at a fresh revision."""
    return Write(keyspace.stripe_row(row.stripe), seal_stripe(keys, nonces, row))


def drop_stripe(stripe: StripeId) -> Write:
    """Write that drops a stripe row."""
    return Write(keyspace.stripe_row(stripe), None)


class StripeCodec:
    """Stripe rows under one writer epoch: what the log seals and opens them with."""

    def __init__(self, keys: RecordKeys, nonces: NonceSource) -> None:
        self._keys = keys
        self._nonces = nonces

    def key(self, stripe: StripeId) -> bytes:
        """Row key."""
        return keyspace.stripe_row(stripe)

    def seal(self, row: StripeRow) -> bytes:
        """Row value at a fresh revision."""
        return seal_stripe(self._keys, self._nonces, row)

    def open(self, stripe: StripeId, value: bytes) -> StripeRow:
        """The row. Raises: RowCorrupt."""
        return open_stripe(self._keys, keyspace.stripe_row(stripe), value)
