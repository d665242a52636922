"""The sealed bytes of a part in other stripes, of another geometry; not one of them changes.

Not for rows: what this returns is named by nobody until a batch does. No key is needed, as nothing
is opened: tags of shards prove what is read. One stripe of the new geometry is held at a time.

Invariants: D1, D4 (each stripe has an id of its own; frames keep their key and numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.data.geometry import cell_bytes, stripe_plan
from gateway.data.stripes import StripeGone, StripeStore
from gateway.data.topology import OWN_REGION
from gateway.data.writer import put_stripe
from gateway.model.layout import Geometry, Striped, StripeRow, Tier
from storaged.base.ids import StripeId

Rows = Callable[[StripeId], StripeRow | None]


class _Held(NamedTuple):
    """How long the stripes are kept that some bytes were read from, and in which region."""

    retain_until_ms: int
    region: int


class Recoded(NamedTuple):
    """Where the bytes are, and the rows of the stripes that hold them, all of it live."""

    layout: Striped
    stripe_rows: tuple[StripeRow, ...]


def stripes_needed(layout: Striped, geometry: Geometry) -> int:
    """How many stripes of a geometry the part takes: so many ids are to be reserved."""
    return stripe_plan(geometry, layout.sealed_bytes)[1]


async def recode(
    store: StripeStore,
    rows: Rows,
    layout: Striped,
    geometry: Geometry,
    tiers: tuple[Tier, Tier],
    first: StripeId,
) -> Recoded:
    """Copy the sealed bytes of a part into stripes of a geometry.

    Args:
        rows: the row of a stripe; None when the index does not know it.
        tiers: what each new stripe must reach, and the lower tier that will do when nodes are away.
        first: of as many consecutive ids as `stripes_needed` says.

    Raises:
        StripeGone: the part was moved or has gone; StripeUnreadable, StripeCorrupt.
        TierNotReached: nodes are away.

    Durable when: it returns. Cancelled: stripes that are not named by a row remain.
    """
    stripe_bytes, count = stripe_plan(geometry, layout.sealed_bytes)
    found: list[StripeRow] = []
    for number in range(count):
        start = number * stripe_bytes
        payload = min(stripe_bytes, layout.sealed_bytes - start)
        cell = cell_bytes(geometry, payload)
        cells = bytearray(geometry.n * cell)
        held = await _fill(store, rows, layout, start, memoryview(cells)[:payload])
        stripe = StripeId(first.family, first.epoch, first.counter + number)
        row = StripeRow(
            stripe=stripe,
            geometry=geometry,
            cell_bytes=cell,
            payload_bytes=payload,
            nodes=(),
            tier=Tier.NONE,
            live_bytes=payload,
            retain_until_ms=held.retain_until_ms,
            region=held.region,
        )
        found.append(await put_stripe(store, row, cells, tiers))
    moved = Striped(
        first=first,
        stripe_count=count,
        stripe_bytes=stripe_bytes,
        sealed_bytes=layout.sealed_bytes,
    )
    return Recoded(moved, tuple(found))


async def _fill(
    store: StripeStore, rows: Rows, layout: Striped, start: int, view: memoryview
) -> _Held:
    """Sealed bytes of a part from `start` on; a part lies in one region."""
    first, filled, held = layout.first, 0, _Held(0, OWN_REGION)
    while filled < len(view):
        number, offset = divmod(start + filled, layout.stripe_bytes)
        stripe = StripeId(first.family, first.epoch, first.counter + number)
        row = rows(stripe)
        if row is None:
            raise StripeGone(stripe=stripe)
        held = _Held(max(held.retain_until_ms, row.retain_until_ms), row.region)
        length = min(row.payload_bytes - offset, len(view) - filled)
        for part in await store.read_parts(row, offset, length, verified=True):
            view[filled : filled + len(part)] = part
            filled += len(part)
    return held
