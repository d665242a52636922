"""The writer of a drive: takes all that waits, judges it, appends it with one sync, answers all.

Not for reads. One group is under way at a time, and all state changes happen on the event loop
between groups; only the blocking calls run in the drive's lane. Within a group, promises are
durable before records, deletes come before puts, and no shard is touched twice: what would touch it
again waits for the next group. The first failed write or sync ends all writing: an `fdatasync`
that failed once says nothing true afterwards.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.limits import BLOCK_BYTES, PUT_QUEUE_BYTES_MAX, VOLUME_BYTES
from storaged.files import Files
from storaged.groups import Plan, encode_plan
from storaged.index_tables import IndexUnreadable
from storaged.lanes import Lane
from storaged.node import (
    DriveFull,
    DriveOutOfService,
    FencedOut,
    NodeBusy,
    NodeUnavailable,
    ShardConflict,
    ShardCorrupt,
    ShardRetained,
)
from storaged.promises import encode_promises, promise, promised_epoch
from storaged.recovery import Recovered, record_bytes_at
from storaged.requests import DeleteRequest, FenceRequest, PutRequest, Request
from storaged.volume_index import Location, VolumeIndex
from storaged.volumes import Group, Volume, write_group

GROUP_BYTES_MAX = 16 * 1024 * 1024  # bounds how long one group takes, and what a crash can tear
GROUP_REQUESTS_MAX = 512
_PADDING = bytes(BLOCK_BYTES)
_IDLE_GROUPS_MAX = 16  # groups between two turns of background work under load

Compare = Callable[[PutRequest, Location], Awaitable[str]]  # "same", "other" or "corrupt"


class Writer:
    """See the module. `background` runs between groups: it punches holes, in the same lane."""

    def __init__(
        self,
        *,
        files: Files,
        lane: Lane,
        index: VolumeIndex,
        recovered: Recovered,
        env: Env,
        node: bytes,
        capacity_bytes: int | None,
        trash_ms: int,
        compare: Compare,
        background: Callable[[], Awaitable[bool]],
        pace: Callable[[], Awaitable[None] | None],
    ) -> None:
        self._files = files
        self._lane = lane
        self._index = index
        self._env = env
        self._node = node
        self._capacity_bytes = capacity_bytes
        self._trash_ms = trash_ms
        self._compare = compare
        self._background = background
        self._pace = pace
        self.volumes = recovered.volumes
        self.promises = recovered.promises
        self.next_sequence = recovered.next_sequence
        self._queue: deque[Request] = deque()
        self._queued_bytes = 0
        self._comparing: dict[bytes, asyncio.Task[None]] = {}
        self._parked: dict[bytes, list[PutRequest]] = {}  # they wait for the comparison of a key
        self._wake = asyncio.Event()
        self._closing = False
        self.failure: StorageError | None = None
        self._task = asyncio.create_task(self._run())

    # -- entry

    @property
    def active(self) -> Volume | None:
        """The volume that is appended to."""
        return self.volumes[max(self.volumes)] if self.volumes else None

    def submit(self, request: Request) -> None:
        """Queue a request. Raises `DriveOutOfService`, `NodeBusy`, `NodeUnavailable`."""
        if self.failure is not None:
            raise DriveOutOfService(reason=str(self.failure))
        if self._closing:
            raise NodeUnavailable(reason="closing")
        if isinstance(request, PutRequest):
            if self._queued_bytes + request.record_bytes > PUT_QUEUE_BYTES_MAX:
                raise NodeBusy(queued_bytes=self._queued_bytes)
            self._queued_bytes += request.record_bytes
        self._queue.append(request)
        self._wake.set()

    def nudge(self) -> None:
        """Let background work have a turn."""
        self._wake.set()

    async def close(self) -> None:
        """Finish what is queued, then end. Idempotent."""
        self._closing = True
        self._wake.set()
        await self._task

    # -- the loop

    async def _run(self) -> None:
        try:
            await self._serve()
        finally:  # also after a mistake of ours: nobody may wait for a writer that has ended
            if not self._closing:
                self._fail(DriveOutOfService(reason="the writer ended"))
            self._refuse_all()

    async def _serve(self) -> None:
        groups = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue and self.failure is None:
                await self._one_group()
                groups += 1
                if groups % _IDLE_GROUPS_MAX == 0:
                    await self._run_background()
            if self.failure is None and await self._run_background():
                self._wake.set()
            if self.failure is not None:
                self._refuse_all()
            if self._closing and not self._queue and not self._comparing:
                return

    async def _run_background(self) -> bool:
        if self._closing:
            return False
        try:
            return await self._background()
        except IndexUnreadable:
            return False  # seen again, and reported, by the next flush
        except StorageError as error:
            self._fail(error)
            return False

    async def _one_group(self) -> None:
        plan = self._plan()
        group = plan.group
        if group.buffers or group.promises is not None:
            try:
                volume = await self._lane.run(partial(write_group, self._files, group))
            except NodeBusy as error:
                for put in plan.puts:
                    self._release(put)
                self._refuse(plan, error)
                return
            except StorageError as error:
                self._fail(error)
                self._refuse(plan, DriveOutOfService(reason=str(error)))
                return
        else:
            volume = group.volume
        self._finish_fences(plan)
        if group.buffers and volume is None:
            self._finish_full(plan)
            return
        if volume is not None and group.buffers:
            # In one step with the index rows: a flush takes both as they are at one moment.
            volume.position = group.end
            self.volumes[volume.number] = volume
        self._finish(plan)
        slower = self._pace()
        if slower is not None:
            await slower

    # -- judging

    def _plan(self) -> Plan:
        plan = Plan(self._new_group(), self.promises)
        plan.keep_until_ms = self._env.now_ms() + self._trash_ms if self._trash_ms else 0
        later: deque[Request] = deque()
        # Promises come first, so that no put of this group slips in below one of them.
        for request in self._queue:
            if isinstance(request, FenceRequest):
                self._judge_fence(plan, request)
        taken = 0
        while self._queue:
            request = self._queue.popleft()
            if isinstance(request, FenceRequest):
                continue
            if taken >= GROUP_REQUESTS_MAX or not self._fits(plan, request):
                self._queue.appendleft(request)
                break
            taken += 1
            if isinstance(request, PutRequest):
                if request.key in self._comparing:
                    self._parked.setdefault(request.key, []).append(request)
                elif request.key in plan.touched:
                    later.append(request)
                    plan.touched.add(request.key)
                else:
                    self._judge(plan, request)
            elif plan.touched.isdisjoint(request.keys):
                self._judge(plan, request)
            else:
                later.append(request)
                plan.touched.update(request.keys)
        if any(isinstance(request, FenceRequest) for request in self._queue):
            self._queue = deque(r for r in self._queue if not isinstance(r, FenceRequest))
        self._queue.extendleft(reversed(later))
        if plan.promises_changed:
            plan.group.promises = encode_promises(plan.promises)
        self.next_sequence = encode_plan(plan, node=self._node, sequence=self.next_sequence)
        return plan

    def _new_group(self) -> Group:
        active = self.active
        if active is not None and active.position < VOLUME_BYTES - GROUP_BYTES_MAX:
            return Group(
                number=active.number, uuid=active.uuid, offset=active.position, volume=active
            )
        return Group(
            number=active.number + 1 if active is not None else 1,
            uuid=self._env.random_bytes(16),
            offset=0,
            volume=None,
            sealed=active,
        )

    def _fits(self, plan: Plan, request: Request) -> bool:
        if isinstance(request, PutRequest):
            return plan.bytes == 0 or plan.bytes + request.record_bytes <= GROUP_BYTES_MAX
        return True

    def _judge_fence(self, plan: Plan, request: FenceRequest) -> None:
        try:
            request.answer, changes = promise(
                plan.promises, log=request.log, epoch=request.epoch, instance=request.instance
            )
        except StorageError as error:
            _reject(request, error)
            return
        if changes:
            plan.promises = {**plan.promises, request.log: (request.epoch, request.instance)}
            plan.promises_changed = True
        plan.fences.append(request)

    def _judge(self, plan: Plan, request: PutRequest | DeleteRequest) -> None:
        try:
            if isinstance(request, PutRequest):
                self._judge_put(plan, request)
            else:
                self._judge_delete(plan, request)
        except IndexUnreadable as error:
            if isinstance(request, PutRequest):
                self._release(request)
            _reject(request, ShardCorrupt(reason=str(error)))

    def _judge_put(self, plan: Plan, request: PutRequest) -> None:
        if request.future.cancelled():
            self._release(request)
            return
        if request.fence is not None:
            promised = promised_epoch(plan.promises, request.fence.log)
            if request.fence.epoch < promised:
                self._release(request)
                _reject(request, FencedOut(shard=request.shard, promised=promised))
                return
        held = None if self._index.is_new(request.key) else self._index.get(request.key)
        if held is not None and held != request.replaces:
            task = asyncio.ensure_future(self._resolve_held(request, held))
            self._comparing[request.key] = task
            return
        room = self._capacity_bytes
        if room is not None:
            room -= self._index.stored_bytes + plan.bytes
            if request.record_bytes > room:
                self._release(request)
                _reject(request, DriveFull(free_bytes=max(room, 0)))
                return
        if held is not None:
            plan.kills[request.key] = held
        plan.touched.add(request.key)
        plan.bytes += request.record_bytes
        plan.puts.append(request)

    def _judge_delete(self, plan: Plan, request: DeleteRequest) -> None:
        now_ms = self._env.now_ms()
        request.outcomes = []
        kills: dict[bytes, Location] = {}
        for shard, key in zip(request.shards, request.keys, strict=True):
            held = self._index.get(key)
            if held is not None and held.retain_until_ms > now_ms:
                request.outcomes.append(
                    ShardRetained(shard=shard, retain_until_ms=held.retain_until_ms)
                )
                continue
            request.outcomes.append(None)
            if held is not None:
                kills[key] = held
        plan.kills.update(kills)
        plan.touched.update(request.keys)
        plan.deletes.append(request)

    async def _resolve_held(self, request: PutRequest, held: Location) -> None:
        """Compare a repeated put with what is held: answer it, or let it replace damage."""
        try:
            verdict = await self._compare(request, held)
        except StorageError as error:
            verdict = ""
            self._release(request)
            _reject(request, error)
        finally:
            del self._comparing[request.key]
            self._queue.extend(self._parked.pop(request.key, ()))
        if verdict == "same":
            self._release(request)
            if not request.future.done():
                request.future.set_result(None)
        elif verdict == "other":
            self._release(request)
            _reject(request, ShardConflict(shard=request.shard))
        elif verdict == "corrupt":
            request.replaces = held
            self._queue.append(request)
        self._wake.set()

    # -- answering

    def _finish_fences(self, plan: Plan) -> None:
        self.promises = plan.promises
        for fence in plan.fences:
            if fence.answer is not None and not fence.future.done():
                fence.future.set_result(fence.answer)

    def _finish(self, plan: Plan) -> None:
        index = self._index
        for killer in plan.killer_places:
            index.occupy(killer.volume_number, killer.length)
        for key, location in plan.kills.items():
            index.kill(key, location, length=record_bytes_at(location), killer=plan.killers[key])
        for put in plan.puts:
            assert put.location is not None
            index.put(put.key, put.location, record_bytes=put.record_bytes)
            self._release(put)
            if not put.future.done():
                put.future.set_result(None)
        for delete in plan.deletes:
            if not delete.future.done():
                delete.future.set_result(tuple(delete.outcomes))

    def _finish_full(self, plan: Plan) -> None:
        """There is no space for the group: puts are refused, deletes come again by themselves."""
        for put in plan.puts:
            self._release(put)
            _reject(put, DriveFull())
        if plan.puts:
            self._queue.extendleft(reversed(plan.deletes))
            return
        for delete in plan.deletes:
            _reject(delete, DriveFull())

    def _fail(self, error: StorageError) -> None:
        if self.failure is None:
            self.failure = error

    def _refuse(self, plan: Plan, error: StorageError) -> None:
        requests: list[Request] = [*plan.puts, *plan.deletes, *plan.fences]
        for request in requests:
            _reject(request, error)

    def _refuse_all(self) -> None:
        while self._queue:
            request = self._queue.popleft()
            _reject(request, DriveOutOfService(reason=str(self.failure)))

    def _release(self, request: PutRequest) -> None:
        self._queued_bytes -= request.record_bytes


def _reject(request: Request, error: StorageError) -> None:
    if not request.future.done():
        request.future.set_exception(error)
