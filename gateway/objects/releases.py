"""Which stripes stop being named when a version or part goes.

Pure. The free job drops a stripe once its live bytes are 0; here they are only counted down, in
the very batch that removes the name (D2, D3).
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.commit.change import StripeChange
from gateway.model.layout import Layout, Packed, Striped
from storaged.base.ids import StripeId


def stripe_count(layout: Layout) -> int:
    """How many stripes hold bytes of the part."""
    return 1 if isinstance(layout, Packed) else layout.stripe_count


def releases_of(layout: Layout) -> Iterable[StripeChange]:
    """One change per stripe of the part, each by the bytes the part has in it."""
    if isinstance(layout, Packed):
        return (StripeChange(stripe=layout.stripe, live_delta=-layout.sealed_bytes),)
    return (
        StripeChange(stripe=stripe, live_delta=-payload_bytes)
        for stripe, payload_bytes in stripes_of(layout)
    )


def stripes_of(layout: Striped) -> Iterable[tuple[StripeId, int]]:
    """(stripe, payload bytes) of a part in data stripes, in order."""
    first = layout.first
    left = layout.sealed_bytes
    for index in range(layout.stripe_count):
        payload_bytes = min(left, layout.stripe_bytes)
        yield StripeId(first.family, first.epoch, first.counter + index), payload_bytes
        left -= payload_bytes
    assert left == 0, "the stripes of a layout hold its sealed bytes exactly"
