"""`LocalNode`: the Node port over a shard store in this process, and the function that opens one.

Not for several drives: a node is one drive, so that its loss is one node's loss.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from storaged.base.env import Env
from storaged.base.limits import BLOCK_BYTES, RESERVE_BYTES
from storaged.files import Files, PosixFiles
from storaged.index_tables import LmdbTables, Tables
from storaged.lanes import Lane, OffloadLane, ThreadLane
from storaged.node import (
    NodeIdentity,
    NodeStatus,
)
from storaged.recovery import Recovered, open_drive
from storaged.shardstore import ShardStore
from storaged.trash import Trash
from storaged.volume_index import VolumeIndex
from storaged.volumes import restore_ballast

INDEX_DIRECTORY = "index"


class LocalNode:
    """A storage node on a drive of this machine. Made by `open_local_node`."""

    def __init__(
        self,
        identity: NodeIdentity,
        store: ShardStore,
        trash: Trash,
        env: Env,
        *,
        scanned_all: bool = False,
    ) -> None:
        self._identity = identity
        self._env = env
        self.store = store
        self.trash = trash
        self.scanned_all = scanned_all  # the index was rebuilt when this node was opened
        # The store has the port's own verbs; a second coroutine around each would only cost time.
        self.put = store.put
        self.get = store.get
        self.try_get = store.try_get
        self.stat = store.stat
        self.delete = store.delete
        self.list = store.list
        self.verify = store.verify
        self.fence = store.fence
        self.close = store.close

    @property
    def identity(self) -> NodeIdentity:
        return self._identity

    async def status(self) -> NodeStatus:
        """See the port."""
        store = self.store
        capacity_bytes, free_bytes = await store.space()
        in_service = store.failure is None
        return NodeStatus(
            identity=self._identity,
            in_service=in_service,
            writable=in_service and free_bytes >= BLOCK_BYTES and store.has_room,
            shard_count=store.shard_count,
            stored_bytes=store.stored_bytes,
            capacity_bytes=capacity_bytes,
            free_bytes=free_bytes,
            scrubbed_at_ms=store.scrub.finished_at_ms,
            scrub_progress=store.scrub.progress,
            corrupt_shards=store.corrupt_shards(),
            detail=store.detail,
            at_ms=self._env.now_ms(),
        )


async def open_local_node(
    directory: Path,
    identity: NodeIdentity,
    env: Env,
    *,
    capacity_bytes: int | None = None,
    reserve_bytes: int | None = None,
    trash_ms: int = 0,
) -> LocalNode:
    """Open, or create, the node whose drive is `directory`.

    Args:
        capacity_bytes: refuse puts beyond so many stored bytes; None: as much as the drive has.
        reserve_bytes: ballast for deletes on a full drive; None: RESERVE_BYTES, or nothing where
            a capacity keeps the drive from being full.
        trash_ms: how long what is deleted is kept (`storaged.trash`); 0: not at all.

    Raises:
        DirectoryInUse, ForeignDrive, DriveMarkUnreadable, PromisesUnreadable, DriveOutOfService.
    """
    if reserve_bytes is None:
        reserve_bytes = RESERVE_BYTES if capacity_bytes is None else 0
    files = await env.offload(lambda: PosixFiles(directory))

    def open_tables() -> Tables:
        return LmdbTables(directory / INDEX_DIRECTORY)

    return await open_node_over(
        files,
        open_tables,
        identity,
        env,
        lane=ThreadLane(f"drive-{identity.node}"),
        capacity_bytes=capacity_bytes,
        reserve_bytes=reserve_bytes,
        trash_ms=trash_ms,
    )


async def open_node_over(
    files: Files,
    open_tables: Callable[[], Tables],
    identity: NodeIdentity,
    env: Env,
    *,
    lane: Lane | None,
    capacity_bytes: int | None,
    reserve_bytes: int,
    trash_ms: int = 0,
) -> LocalNode:
    """The same over given files, tables and lane (None: `Env.offload`); simulations use it.

    Closes `files` and `lane` when it fails.
    """
    lane = OffloadLane(env) if lane is None else lane

    def load() -> tuple[VolumeIndex, Recovered]:
        with ExitStack() as undo:
            index = VolumeIndex(open_tables())
            undo.callback(index.close)
            recovered = open_drive(files, index, identity, env)
            restore_ballast(files, reserve_bytes=reserve_bytes)
            undo.pop_all()
            return (index, recovered)

    with ExitStack() as undo:
        undo.callback(files.close)
        undo.callback(lane.close)
        index, recovered = await env.offload(load)
        undo.pop_all()
    store = ShardStore(
        files=files,
        index=index,
        recovered=recovered,
        lane=lane,
        env=env,
        node=identity.node.encode("ascii"),
        capacity_bytes=capacity_bytes,
        reserve_bytes=reserve_bytes,
        trash_ms=trash_ms,
    )
    trash = Trash(index, recovered.volumes, store, env)
    return LocalNode(identity, store, trash, env, scanned_all=recovered.scanned_all)
