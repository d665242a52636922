"""One committer at a time: an epoch is granted by nodes that promise to refuse all lower ones.

`fence` succeeds when a majority of the nodes has promised, and when the nodes that have not could
not by themselves
make any group durable: then nobody who holds a lower epoch can commit, whatever machines are cut
off. Nothing here rests on elapsed time.

Source: docs/data-layout.md, "The commit protocol", step 9.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.data.placement import can_write_without
from gateway.data.topology import Topology
from gateway.model.layout import Geometry
from storaged.base.durable import replace_file
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import LogId
from storaged.node import FencedOut, Node, Promise

FENCE_S = 5.0
STRAGGLER_S = 0.5
ATTEMPTS_MAX = 8
HISTORY_MAX = 64


class FenceNotReached(StorageError):
    """Too few nodes answered to open a log epoch."""

    kind = Kind.UNAVAILABLE
    hint = "start or reconnect the nodes named"


class TakeoverNotConfirmed(StorageError):
    """Another gateway has opened an epoch of this log."""

    kind = Kind.DENIED
    hint = "make sure the other gateway is off, then start with --takeover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """An epoch that is ours: no node of `granted` will take a commit shard of a lower one."""

    epoch: int
    granted: frozenset[int]
    unreachable: frozenset[int]


def is_quorum(granted: frozenset[int], topology: Topology, geometry: Geometry) -> bool:
    """A majority, and the others could not reach any tier by themselves."""
    return 2 * len(granted) > len(topology.nodes) and not can_write_without(
        granted, topology, geometry
    )


async def _ask_all(
    nodes: Mapping[int, Node],
    log: LogId,
    epoch: int,
    instance: bytes,
    enough: Callable[[Mapping[int, Promise]], bool] = lambda promises: False,
) -> dict[int, Promise]:
    """What the nodes promise; nodes that do not answer within FENCE_S are left out.

    Args:
        enough: once it holds, the others get only STRAGGLER_S more: a datacenter that is cut off
            without a word must not hold up the epoch that goes on without it.
    """
    promises: dict[int, Promise] = {}
    satisfied = asyncio.Event()

    async def ask(number: int, node: Node) -> None:
        try:
            promises[number] = await node.fence(log, epoch, instance)
        except StorageError:
            return
        if enough(promises):
            satisfied.set()

    asking = {asyncio.create_task(ask(number, node)) for number, node in nodes.items()}
    waiting = asyncio.create_task(satisfied.wait())
    try:
        either: set[asyncio.Future[Any]] = {asyncio.gather(*asking), waiting}
        await asyncio.wait(either, timeout=FENCE_S, return_when=FIRST_COMPLETED)
        await asyncio.wait(asking, timeout=STRAGGLER_S if satisfied.is_set() else 0)
    finally:
        for task in (*asking, waiting):
            task.cancel()
        await asyncio.gather(*asking, waiting, return_exceptions=True)
    return promises


async def fence(
    nodes: Mapping[int, Node],
    topology: Topology,
    geometry: Geometry,
    *,
    log: LogId,
    epoch: int,
    instance: bytes,
    starting: bool,
) -> Fenced:
    """Win an epoch ≥ `epoch`.

    Args:
        instance: 16 random bytes of this run.
        starting: True when this run has not served yet: a higher promise is then passed, not
            obeyed.

    Raises:
        FencedOut: another run holds a higher epoch (only when not starting).
        FenceNotReached: too few nodes promised.
    """

    def has_quorum(promises: Mapping[int, Promise]) -> bool:
        granted = frozenset(number for number, promise in promises.items() if promise.granted)
        return is_quorum(granted, topology, geometry)

    for _ in range(ATTEMPTS_MAX):
        promises = await _ask_all(nodes, log, epoch, instance, has_quorum)
        granted = frozenset(number for number, promise in promises.items() if promise.granted)
        highest = max((p.epoch for p in promises.values() if not p.granted), default=0)
        if highest >= epoch:
            if not starting:
                raise FencedOut(epoch=epoch, promised=highest)
            epoch = highest + 1
            continue
        if is_quorum(granted, topology, geometry):
            return Fenced(epoch=epoch, granted=granted, unreachable=frozenset(nodes) - granted)
        missing = sorted(str(nodes[number].identity.node) for number in set(nodes) - granted)
        raise FenceNotReached(epoch=epoch, missing=",".join(missing))
    raise FenceNotReached(epoch=epoch, missing="another gateway keeps taking over")


async def promises_of(nodes: Mapping[int, Node], log: LogId) -> dict[int, int]:
    """The epoch each reachable node has promised, 0 where it has promised none: such a node is
    fresh, or has lost everything.
    """
    promises = await _ask_all(nodes, log, 0, bytes(16))
    return {number: promise.epoch for number, promise in promises.items()}


class EpochHistory:
    """The epochs this index has tried to open, noted and synced before each try.

    It tells our own crash from a takeover by another gateway.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def epochs(self) -> frozenset[int]:
        try:
            words = self._path.read_text().split()
        except FileNotFoundError:
            return frozenset()
        return frozenset(int(word) for word in words if word.isdigit())

    def note(self, epoch: int) -> None:
        """Add an epoch, durably."""
        kept = sorted(self.epochs() | {epoch})[-HISTORY_MAX:]
        replace_file(self._path, ("\n".join(map(str, kept)) + "\n").encode())
