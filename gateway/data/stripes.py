"""Stripes on nodes: write, read, reconstruct, restore, delete.

Not for what is in a stripe, nor for rows: callers know where a stripe is and keep what `write`
returns.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from gateway.data.buffers import Lease
from gateway.data.direct_read import read_at_once, read_one
from gateway.data.erasure import codec_for
from gateway.data.geometry import cell_ranges
from gateway.data.health import HealthView
from gateway.data.placement import place, replacement, tier_of
from gateway.data.shard_header import tag_key, tagged_shards
from gateway.data.stripe_errors import (
    NodeFailure,
    StripeCorrupt,
    StripeGone,
    StripeUnreadable,
    TierNotReached,
)
from gateway.data.stripe_read import OnDamage, ReadSources, StripeRead
from gateway.data.stripe_write import StripeWrite
from gateway.data.topology import OWN_REGION, Topology
from gateway.limits import FULL_CELL_BYTES, NODE_PUT_S
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId, StripeId
from storaged.base.limits import DELETE_BATCH_MAX
from storaged.base.spare import SpareBuffers
from storaged.node import Buffer, Fence, Node

__all__ = [
    "NodeFailure",
    "StripeCorrupt",
    "StripeGone",
    "StripeStore",
    "StripeUnreadable",
    "TierNotReached",
]

PLAIN_KEPT_MAX = 48  # opened cells that are kept to be used again, 1 MiB each


def _no_report(stripe: StripeId, index: int, reason: str) -> None:
    pass


class StripeStore:
    """Stripes over the nodes of a topology. One event loop.

    Args:
        nodes: node by number; may grow while the store is in use.
        integrity_key: 32 bytes, makes the keys of shard tags.
        on_damage: called with (stripe, index, reason) for each shard that a read could not use.
    """

    def __init__(
        self,
        nodes: Mapping[int, Node],
        topology: Topology,
        health: HealthView,
        *,
        integrity_key: bytes,
        cluster_id: bytes,
        env: Env,
        on_damage: OnDamage = _no_report,
    ) -> None:
        self.nodes = nodes
        self.topology = topology
        self.health = health
        self._integrity_key = integrity_key
        self._cluster_id = cluster_id
        self._env = env
        self.plain = SpareBuffers(PLAIN_KEPT_MAX, FULL_CELL_BYTES)
        self._sources = ReadSources(
            nodes=nodes,
            health=health,
            env=env,
            integrity_key=integrity_key,
            cluster_id=cluster_id,
            on_damage=on_damage,
        )

    @property
    def reads_in_place(self) -> bool:
        """All nodes are of this process: what they have in memory is not worth reading ahead."""
        return all(hasattr(node, "try_get") for node in self.nodes.values())

    def set_topology(self, topology: Topology) -> None:
        """Place by another topology from the next write on."""
        self.topology = topology
        self.health.set_topology(topology)

    async def write(
        self,
        stripe: StripeId,
        geometry: Geometry,
        cells: Lease | bytearray | memoryview,
        *,
        cell_bytes: int,
        payload_bytes: int,
        common: bytes,
        tier: Tier,
        fence: Fence | None,
        retain_until_ms: int,
        deadline_s: float,
        region: int = OWN_REGION,
    ) -> tuple[tuple[int, ...], Tier]:
        """Code a stripe, tag it, and put its shards.

        Args:
            cells: at least n·cell_bytes bytes, writable: the payload, zeros up to k·cell_bytes,
                room for parity. A lease is retained until the last put has ended; any other buffer
                is not to be changed afterwards.
            common: header that all shards carry.
            tier: what must be acknowledged.
            fence: the caller's term, for commit stripes.
            deadline_s: seconds that reaching the tier may take.
            region: whose nodes alone get shards, hand-off included.

        Returns:
            Node number for each index (0: not stored), and the tier they make, `tier` or higher.
            Once the tier is acknowledged the remaining puts get what is left of HAND_OFF_S; a put
            that fails, or is slower than that before the tier is reached, is handed to another
            node.

        Raises:
            TierNotReached: with `failures`, a tuple of NodeFailure. Some shards may be stored.

        Idempotent: by stripe id and bytes. Durable when: it returns, at the tier it returns.
        Cancelled: puts under way end by themselves, into garbage. Concurrent: any number.
        """
        assert 0 < payload_bytes <= geometry.k * cell_bytes
        placed = self._place(stripe, geometry, tier, region)
        view = cells.view if isinstance(cells, Lease) else memoryview(cells)
        codec_for(geometry).encode_into(view, cell_bytes)
        parts = {i: view[i * cell_bytes : (i + 1) * cell_bytes] for i in range(geometry.n)}
        return await StripeWrite(
            self.nodes,
            self.topology,
            self.health,
            stripe=stripe,
            geometry=geometry,
            shards=self._tagged(stripe, geometry, cell_bytes, payload_bytes, common, parts),
            stored=(0,) * geometry.n,
            placed=placed,
            required=tier,
            fence=fence,
            retain_until_ms=retain_until_ms,
            deadline_s=deadline_s,
            lease=cells if isinstance(cells, Lease) else None,
            region=region,
        ).run()

    def _place(
        self, stripe: StripeId, geometry: Geometry, tier: Tier, region: int
    ) -> tuple[int, ...]:
        placed = place(stripe, self.topology, geometry, self.health.usable(), region)
        reachable = Tier.NONE if placed is None else tier_of(placed, self.topology, geometry.k)
        if placed is None or reachable < tier:
            raise TierNotReached(
                stripe=stripe,
                required=tier.name,
                acknowledged=Tier.NONE.name,
                reachable=reachable.name,
                region=region,
                failures=(),
            )
        return placed

    def _tagged(
        self,
        stripe: StripeId,
        geometry: Geometry,
        cell_bytes: int,
        payload_bytes: int,
        common: bytes,
        cells: Mapping[int, memoryview],
    ) -> dict[int, tuple[bytes, memoryview]]:
        """Attributes and cell of each shard."""
        key = tag_key(
            self._integrity_key,
            self._cluster_id,
            stripe,
            geometry,
            cell_bytes=cell_bytes,
            payload_bytes=payload_bytes,
            common=common,
        )
        return tagged_shards(
            key,
            geometry,
            cell_bytes=cell_bytes,
            payload_bytes=payload_bytes,
            common=common,
            cells=cells,
        )

    async def put_shards(
        self,
        stripe: StripeId,
        shards: Mapping[int, tuple[bytes, Buffer]],
        onto: Mapping[int, int],
        *,
        fence: Fence | None,
        retain_until_ms: int,
    ) -> dict[int, StorageError | None]:
        """Put shards on given nodes and nowhere else.

        Args:
            shards: attributes and cell by index. onto: node number by index.

        Returns:
            For each index None, or why its node did not take it.

        Idempotent: by shard and bytes. Durable when: it returns, where None. Cancelled: any may be
            stored.
        """

        async def put(index: int) -> StorageError | None:
            attributes, content = shards[index]
            try:
                await self.nodes[onto[index]].put(
                    ShardId(stripe, index),
                    attributes,
                    content,
                    fence=fence,
                    retain_until_ms=retain_until_ms,
                )
            except StorageError as error:
                self.health.mark_failed(onto[index], error)
                return error
            return None

        outcomes = await asyncio.gather(*(put(index) for index in shards))
        return dict(zip(shards, outcomes, strict=True))

    async def read(
        self, row: StripeRow, offset: int, length: int, *, verified: bool = False
    ) -> memoryview:
        """Payload bytes [offset, offset + length) in one buffer; see `read_parts`."""
        parts = await self.read_parts(row, offset, length, verified=verified)
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def try_read(self, row: StripeRow, offset: int, length: int) -> memoryview | None:
        """Payload bytes [offset, offset + length) if nodes of this process have them at hand.

        Returns:
            The bytes as the nodes gave them, opening the frames is the check; None: `read` gets
            them, or says why not.
        """
        return read_at_once(self._sources, row, offset, length)

    async def read_parts(
        self, row: StripeRow, offset: int, length: int, *, verified: bool = False
    ) -> list[memoryview]:
        """Payload bytes [offset, offset + length), one buffer for each cell, in order.

        A cell that does not come, or comes late, is decoded from k others whose tags were verified.

        Args:
            verified: check the tags of every cell. Otherwise the bytes of cells that came directly
                are as the nodes gave them, and opening the frames is the check.

        Raises:
            StripeGone: the shards are not where the row says: read the row again.
            StripeUnreadable (kind UNAVAILABLE), StripeCorrupt (kind CORRUPT): fewer than k good
            shards.

        Idempotent: yes. Cancelled: nothing happened. Concurrent: any number.
        """
        assert offset >= 0 and length >= 0 and offset + length <= row.geometry.k * row.cell_bytes
        if not length:
            return [memoryview(b"")]
        ranges = cell_ranges(row.cell_bytes, offset, length)
        if verified:
            return await StripeRead(self._sources, row).cells(ranges, verified=True)
        # What is at hand costs no thread, and threads cost all others the interpreter.
        parts = [self.try_read(row, w.cell * row.cell_bytes + w.offset, w.length) for w in ranges]
        missing = [wanted for wanted, part in zip(ranges, parts, strict=True) if part is None]
        waited: list[memoryview] = []
        if len(missing) == 1 and self._is_prompt(row.nodes[missing[0].cell]):
            waited = [await read_one(self._sources, row, *missing[0])]
        elif missing:
            waited = await StripeRead(self._sources, row).cells(missing, verified=False)
        came = iter(waited)
        return [next(came) if part is None else part for part in parts]

    def _is_prompt(self, number: int) -> bool:
        return number in self.nodes and self.health.prompt(number)

    async def reconstruct(
        self, row: StripeRow, wanted: Sequence[int]
    ) -> dict[int, tuple[bytes, memoryview]]:
        """Attributes and cells of shards, computed from k others that were verified whole.

        Args:
            wanted: indexes to compute; shards stored under them are not looked at.

        Raises:
            StripeGone, StripeUnreadable, StripeCorrupt.
        """
        if not wanted:
            return {}
        cell_bytes, geometry = row.cell_bytes, row.geometry
        lost = frozenset(wanted)
        sources = await StripeRead(self._sources, row).verified_cells(lost, 0, cell_bytes)
        present = {index: cell.content for index, cell in sources.items()}
        common = next(iter(sources.values())).common
        cells = codec_for(geometry).reconstruct(present, sorted(lost), cell_bytes)
        views = {index: memoryview(cell) for index, cell in cells.items()}
        return self._tagged(row.stripe, geometry, cell_bytes, row.payload_bytes, common, views)

    async def restore(
        self, row: StripeRow, indexes: Sequence[int], *, fence: Fence | None = None
    ) -> dict[int, int]:
        """Compute shards again and put them on nodes, within the rules of placement.

        Args:
            indexes: shards to restore, wherever the row says they are.

        Returns:
            Node number for each index that is stored; one that found no place is left out.

        Raises:
            StripeGone, StripeUnreadable, StripeCorrupt: too few sources; nothing was put.
        """
        shards = await self.reconstruct(row, indexes)
        usable = self.health.usable()
        stored = [0 if index in shards else number for index, number in enumerate(row.nodes)]
        placed = list(stored)
        for index in shards:
            number = replacement(
                row.stripe,
                self.topology,
                row.geometry,
                placed,
                index,
                usable,
                frozenset(),
                row.region,
            )
            placed[index] = number or 0
        nodes, _ = await StripeWrite(
            self.nodes,
            self.topology,
            self.health,
            stripe=row.stripe,
            geometry=row.geometry,
            shards=shards,
            stored=[number or -1 if i not in shards else 0 for i, number in enumerate(stored)],
            placed=placed,
            required=Tier.NONE,
            fence=fence,
            retain_until_ms=row.retain_until_ms,
            deadline_s=NODE_PUT_S,
            lease=None,
            region=row.region,
        ).run()
        return {index: nodes[index] for index in shards if nodes[index]}

    async def delete(self, rows: Sequence[StripeRow]) -> dict[StripeId, tuple[NodeFailure, ...]]:
        """Delete all shards that these rows name.

        Returns:
            For each stripe that is not wholly gone, which nodes still may hold what.

        Idempotent: by shard. Durable when: it returns, for the stripes that it does not name.
        """
        by_node: dict[int, list[ShardId]] = defaultdict(list)
        for row in rows:
            for index, number in enumerate(row.nodes):
                if number in self.nodes:
                    by_node[number].append(ShardId(row.stripe, index))
        left: dict[StripeId, list[NodeFailure]] = defaultdict(list)

        async def delete_from(number: int, shards: list[ShardId]) -> None:
            for start in range(0, len(shards), DELETE_BATCH_MAX):
                batch = shards[start : start + DELETE_BATCH_MAX]
                outcomes: Sequence[StorageError | None]
                try:
                    outcomes = await self.nodes[number].delete(batch)
                except StorageError as error:
                    self.health.mark_failed(number, error)
                    outcomes = [error] * len(batch)
                for shard, outcome in zip(batch, outcomes, strict=True):
                    if outcome is not None:
                        failure = NodeFailure(node=number, index=shard.index, error=outcome)
                        left[shard.stripe].append(failure)

        await asyncio.gather(*(delete_from(number, shards) for number, shards in by_node.items()))
        return {stripe: tuple(failures) for stripe, failures in left.items()}
