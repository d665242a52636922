"""Sealed bytes of a small body that go along into another commit, as they are.

A small body lies in the stripe of the commit that put it, or in a pack, and compaction finds its
row by the row keys which that stripe names. So a body whose row gets another key goes into the
commit that gives it, which names the other key. No key of the body is needed for that, and nothing
is sealed anew.

Source: docs/data-layout.md, "Versions".
"""

from __future__ import annotations

from gateway.data.stripes import StripeGone
from gateway.model.layout import Layout, Packed
from gateway.objects.body import Buffer
from gateway.objects.context import Services


class Carried:
    """The sealed bytes of one packed body, once they are fetched."""

    __slots__ = ("_content", "_layout", "_services")

    def __init__(self, services: Services) -> None:
        self._services = services
        self._layout: Packed | None = None
        self._content: Buffer = b""

    def lacks(self, layout: Layout | None) -> bool:
        """Whether the bytes that a row names are packed and not here."""
        return isinstance(layout, Packed) and layout != self._layout

    def bodies_of(self, layout: Layout | None) -> tuple[Buffer, ...]:
        """What has to go along with a row of this layout: its bytes, or nothing."""
        assert not self.lacks(layout), "the bytes are fetched first"
        return (self._content,) if isinstance(layout, Packed) else ()

    async def fetch(self, layout: Layout | None) -> None:
        """Read the bytes that a row names, every tag verified. Returns without them where they have
        moved: the row knows.

        Raises: StripeUnreadable, and what nodes raise.
        """
        assert isinstance(layout, Packed), "other bytes stay where they are"
        services = self._services
        ticket = services.reads.begin(services.env.monotonic_s())
        try:
            row = services.log.stripe_row(layout.stripe)
            if row is None:
                return
            self._content = await services.stripes.read(
                row, layout.offset, layout.sealed_bytes, verified=True
            )
            self._layout = layout
        except StripeGone:
            return
        finally:
            services.reads.end(ticket)
