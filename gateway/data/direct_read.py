"""The short ways of a read: a range of one cell from the node that has it, with nothing decoded.

Not for tags: what comes is as the node gave it, and opening the frames in it is the check. What
does not come, or comes late, is `gateway.data.stripe_read`'s.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from gateway.data.geometry import CellRange
from gateway.data.stripe_errors import ShardInvalid
from gateway.data.stripe_read import ReadSources, StripeRead, hedge_delay_s
from gateway.model.layout import StripeRow
from storaged.base.errors import StorageError
from storaged.base.ids import ShardId

# From here on the node's check of its pages costs more than the reading around it. Tags of frames
# cover the same bytes, and what they refuse is read again with every check there is.
UNCHECKED_FROM_BYTES = 64 * 1024


class _TryGet(Protocol):
    """`storaged.node.ReadsInPlace.try_get`."""

    def __call__(
        self, shard: ShardId, *, offset: int, length: int, checked: bool
    ) -> memoryview | None: ...


def read_at_once(
    sources: ReadSources, row: StripeRow, offset: int, length: int
) -> memoryview | None:
    """Payload bytes [offset, offset + length) where nodes of this process have them at hand; None
    where a read has to wait, or to tell what is wrong.
    """
    cell_bytes, pieces = row.cell_bytes, []
    while length > 0:
        index, start = divmod(offset, cell_bytes)
        number = row.nodes[index]
        try_get: _TryGet | None = getattr(sources.nodes.get(number), "try_get", None)
        if try_get is None or not sources.health.readable(number):
            return None
        taken = min(length, cell_bytes - start)
        shard, checked = ShardId(row.stripe, index), taken < UNCHECKED_FROM_BYTES
        piece = try_get(shard, offset=start, length=taken, checked=checked)
        if piece is None:
            return None
        pieces.append(piece)
        offset += taken
        length -= taken
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


def _settle(waiter: asyncio.Future[None], _: object) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def read_one(
    sources: ReadSources, row: StripeRow, index: int, offset: int, length: int
) -> memoryview:
    """A range of one cell from its node; decoded from others where it does not come in time.

    Raises: as `StripeRead.cells`.
    """
    number, health = row.nodes[index], sources.health
    loop = asyncio.get_running_loop()
    started_s = sources.env.monotonic_s()
    task = loop.create_task(
        sources.nodes[number].get(ShardId(row.stripe, index), offset=offset, length=length)
    )
    waiter = loop.create_future()
    task.add_done_callback(partial(_settle, waiter))
    timer = loop.call_later(hedge_delay_s(health, number), _settle, waiter, None)
    try:
        await waiter
    except asyncio.CancelledError:
        task.cancel()
        raise
    finally:
        timer.cancel()
    failed: StorageError | None = None
    if task.done():
        try:
            content = task.result().content
            if len(content) == length:
                health.mark_ok(number, sources.env.monotonic_s() - started_s)
                return content
            failed = ShardInvalid(content_bytes=len(content), wanted_bytes=length)
        except StorageError as error:
            failed = error
    else:
        health.mark_late(number, started_s)
    read = StripeRead(sources, row)
    if failed is not None:
        read.note_failure(index, failed)
    wanted = CellRange(index, offset, length)
    adopted = {index: task} if failed is None else {}
    return (await read.cells([wanted], verified=False, adopted=adopted))[0]
