"""Commit stripes on nodes: a sealed group becomes shards that carry the group's header, under the
epoch's fence.

Not for what a group holds or when it closes. The bytes of a group are made once; every retry and
hand-off inside `StripeStore.write` sends the same ones (D4).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.commit.fencing import EpochHistory, Fenced, fence
from gateway.commit.forming import Sealed, Term
from gateway.commit.header import Applied
from gateway.data.geometry import cell_bytes
from gateway.data.stripes import StripeStore, TierNotReached
from gateway.limits import NODE_PUT_S
from gateway.model.layout import Geometry, Tier
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import LogId
from storaged.node import Fence as NodeFence
from storaged.node import FencedOut, Node


class TierUnreachable(StorageError):
    """The group cannot reach its tier with the nodes that answer."""

    kind = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGroup:
    """Where the shards of a group are, by acknowledgement."""

    nodes: tuple[int, ...]
    tier: Tier
    cell_bytes: int


class GroupStore:
    """Stores groups and wins epochs. `tier_floor` is the lowest tier that policy lets writes go on
    at.
    """

    def __init__(
        self,
        *,
        store: StripeStore,
        nodes: Mapping[int, Node],
        geometry: Geometry,
        log: LogId,
        instance: bytes,
        history: EpochHistory,
        tier_floor: Tier,
        reachable: Callable[[], Tier],
    ) -> None:
        self.stripes = store
        self.geometry = geometry
        self.nodes = nodes
        self._log = log
        self._instance = instance
        self.history = history
        self._tier_floor = tier_floor
        self._reachable = reachable
        self.is_choosy = tier_floor > Tier.NODE  # policy refuses writes at the lower tier

    @property
    def refused_reach(self) -> Tier | None:
        """The tier in reach of the nodes as they are known, when policy lets no write go on at it.

        None where policy asks for no more than NODE: there the nodes are tried.
        """
        if not self.is_choosy:
            return None
        reachable = self._reachable()
        return reachable if reachable < self._tier_floor else None

    async def store(self, sealed: Sealed, term: Term) -> StoredGroup:
        """Make a group durable at the term's tier.

        Raises:
            TierUnreachable: not enough nodes acknowledged; some shards may be there.
            FencedOut: another gateway has taken over.
        """
        cell = cell_bytes(self.geometry, sealed.payload_bytes)
        buffer = bytearray(self.geometry.n * cell)
        at = 0
        for part in sealed.payload_parts:
            buffer[at : at + len(part)] = part
            at += len(part)
        try:
            nodes, tier = await self.stripes.write(
                sealed.header.stripe,
                self.geometry,
                buffer,
                cell_bytes=cell,
                payload_bytes=sealed.payload_bytes,
                common=sealed.encoded,
                tier=term.tier,
                fence=NodeFence(log=self._log, epoch=term.epoch),
                retain_until_ms=0,
                deadline_s=NODE_PUT_S,
            )
        except TierNotReached as error:
            failures = error.fields.get("failures", ())
            if isinstance(failures, tuple | list) and any(
                isinstance(getattr(failure, "error", failure), FencedOut) for failure in failures
            ):
                raise FencedOut(epoch=term.epoch) from error
            raise TierUnreachable(tier=term.tier.name, epoch=term.epoch) from error
        return StoredGroup(nodes=nodes, tier=tier, cell_bytes=cell)

    async def fence(
        self, epoch: int, tier: Tier | None, *, starting: bool = False
    ) -> tuple[Fenced, Tier]:
        """Win an epoch ≥ `epoch`, and say at which tier it can write (`tier` None: the best in
        reach).

        Raises:
            FenceNotReached, FencedOut; TierUnreachable when even the policy's lowest tier is out of
            reach.
        """
        reachable = self._reachable()
        if reachable < self._tier_floor:
            # What is known may be old: nobody else asks the nodes while a log is being opened.
            await self.stripes.health.probe()
            reachable = self._reachable()
        wanted = reachable if tier is None else min(tier, reachable)
        if wanted < self._tier_floor:
            raise TierUnreachable(reachable=reachable.name, required=self._tier_floor.name)
        self.history.note(epoch)
        won = await fence(
            self.nodes,
            self.stripes.topology,
            self.geometry,
            log=self._log,
            epoch=epoch,
            instance=self._instance,
            starting=starting,
        )
        if won.epoch != epoch:
            self.history.note(won.epoch)
        return won, wanted

    def epoch_record(self, term: Term, applied: Applied) -> bytes:
        """What the first group of an epoch says, for people and for the sweep."""
        record = {
            "opened_after": {"epoch": applied.epoch, "sequence": applied.sequence},
            "digest": applied.digest.hex(),
            "tier": term.tier.name,
            "instance": self._instance.hex(),
        }
        return json.dumps(record, sort_keys=True).encode()
