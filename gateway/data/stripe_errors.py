"""What can go wrong with a whole stripe, and what one node's part in it was."""

from __future__ import annotations

from dataclasses import dataclass

from storaged.base.errors import Kind, StorageError


class TierNotReached(StorageError):
    """Too few nodes acknowledged their shards.

    Fields: stripe, required and acknowledged (tiers), failures (tuple of `NodeFailure`).
    """

    kind = Kind.UNAVAILABLE
    hint = "see which nodes are away with `hexagone status`"


class StripeUnreadable(StorageError):
    """Too few good shards of a stripe answer."""

    kind = Kind.UNAVAILABLE


class StripeCorrupt(StripeUnreadable):
    """Too few good shards of a stripe exist, though all nodes answer."""

    kind = Kind.CORRUPT


class StripeGone(StorageError):
    """No node holds the stripe where the row says; the row is out of date."""

    kind = Kind.CONFLICT


class ShardInvalid(StorageError):
    """A node answered with bytes that are not the shard's."""

    kind = Kind.CORRUPT


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailure:
    """One shard that one node did not take or give."""

    node: int
    index: int
    error: StorageError

    def __str__(self) -> str:
        return f"node {self.node} shard {self.index}: {self.error.message()}"
