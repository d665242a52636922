"""Starting a log: fence, replay what the index has not seen, open an epoch; or rebuild the whole
index from the nodes.

This is steps 9–11 told in order. What the steps decide is in `gateway.commit.recovery`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.commit.fencing import TakeoverNotConfirmed, promises_of
from gateway.commit.forming import StripeRowCodec
from gateway.commit.group_store import GroupStore
from gateway.commit.header import Applied
from gateway.commit.keys import LogKeys
from gateway.commit.log import Log
from gateway.commit.manifest import Manifest, Segment, decode_manifest, read_segment
from gateway.commit.recovery import Candidates, LogGap, collect, locate, read_group
from gateway.commit.replay import Replay
from gateway.commit.reservations import Reservations
from gateway.meta.kv import Batch, Index
from gateway.model.layout import Geometry
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import ShardId, StripeFamily, StripeId

logger = logging.getLogger(__name__)

CodecOf = Callable[[int], StripeRowCodec]
"""The stripe rows' codec for a writer epoch (its nonces start with it)."""

ReplayProgress = Callable[[str, int, int], None]
"""(phase, done, total)"""


class IndexEmpty(StorageError):
    """The nodes hold a log, but the index is empty."""

    kind = Kind.CORRUPT
    hint = "run `hexagone rebuild`"


class IndexNotEmpty(StorageError):
    """A rebuild needs an empty index."""

    kind = Kind.INVALID
    hint = "move the index folder away first"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogParts:
    """What a log is made of."""

    index: Index
    groups: GroupStore
    keys: LogKeys
    codec_of: CodecOf
    geometry: Geometry
    env: Env


def _silent(phase: str, done: int, total: int) -> None:
    """No progress wanted."""


async def open_log(
    parts: LogParts, *, takeover: bool = False, progress: ReplayProgress = _silent
) -> Log:
    """Win an epoch, follow the log to its end, and serve.

    Args:
        takeover: the operator confirms that a gateway that served this log elsewhere is off.

    Raises:
        TakeoverNotConfirmed, IndexEmpty, FenceNotReached, LogGap, LogUndecided, TierUnreachable.
    """
    applied = Applied.decode(parts.index.applied())
    promises = await promises_of(parts.groups.nodes, parts.keys.log)
    promised = max(promises.values(), default=0)
    ours = parts.groups.history.epochs() | {applied.epoch}
    if promised and applied.sequence == 0 and promised not in ours:
        raise IndexEmpty(promised=promised)
    if promised > applied.epoch and promised not in ours and not takeover:
        raise TakeoverNotConfirmed(promised=promised, ours=max(ours))
    fenced, tier = await parts.groups.fence(max(promised, applied.epoch) + 1, None, starting=True)
    codec = parts.codec_of(fenced.epoch)
    start = StripeId(StripeFamily.COMMIT, applied.epoch, applied.sequence + 1)
    candidates, failed = await collect(parts.groups.nodes, fenced.granted, start, parts.keys)
    blank = await _blank(parts, fenced.granted)
    replay = Replay(
        index=parts.index,
        groups=parts.groups,
        keys=parts.keys,
        codec=codec,
        random_bytes=parts.env.random_bytes,
        progress=lambda done, total: progress("replay", done, total),
    )
    applied = await replay.run(applied, candidates, fenced, failed | blank)
    log = Log(
        index=parts.index,
        store=parts.groups,
        keys=parts.keys,
        codec=codec,
        geometry=parts.geometry,
        env=parts.env,
        applied=applied,
        epoch=fenced.epoch,
        tier=tier,
        reservations=Reservations(fenced.epoch),
    )
    await log.start((fenced.epoch, tier))
    return log


async def rebuild_index(
    parts: LogParts, *, accept_loss: bool = False, progress: ReplayProgress = _silent
) -> tuple[Applied, list[str]]:
    """Fill an empty index from the nodes: newest checkpoint, then the log from its floor, gap-free.

    Returns: how far it came, and what was given up (only with `accept_loss`).

    Raises:
        IndexNotEmpty, FenceNotReached, LogGap, LogUndecided, CheckpointCorrupt.
    """
    if parts.index.applied() is not None:
        raise IndexNotEmpty()
    promises = await promises_of(parts.groups.nodes, parts.keys.log)
    promised = max(promises.values(), default=0)
    fenced, _ = await parts.groups.fence(promised + 1, None, starting=True)
    candidates, failed = await collect(
        parts.groups.nodes,
        fenced.granted,
        StripeId(StripeFamily.COMMIT, 0, 0),
        parts.keys,
        progress=lambda listed: progress("list", listed, 0),
    )
    lost: list[str] = []
    try:
        applied = await _load_checkpoint(parts, candidates, progress)
    except LogGap as error:
        if not accept_loss:
            raise
        logger.warning("no checkpoint is whole: %s", error)
        applied = await _load_what_is_left(parts, candidates, lost)
    blank = await _blank(parts, fenced.granted)
    replay = Replay(
        index=parts.index,
        groups=parts.groups,
        keys=parts.keys,
        codec=parts.codec_of(fenced.epoch),
        random_bytes=parts.env.random_bytes,
        accept_loss=accept_loss,
        progress=lambda done, total: progress("replay", done, total),
    )
    applied = await replay.run(applied, candidates, fenced, failed | blank)
    return applied, lost + replay.lost


async def _blank(parts: LogParts, reachable: frozenset[int]) -> frozenset[int]:
    """Nodes that answer but hold nothing of a log of which others hold something: fresh ones, or
    such as have lost everything. That they hold no shard of a group proves nothing.

    Their promises would not tell: a start that stopped has left one on each.
    """
    first = ShardId(StripeId(StripeFamily.COMMIT, 0, 0), 0)

    async def holds_something(number: int) -> bool:
        try:
            return bool((await parts.groups.nodes[number].list(first, None, limit=1)).shards)
        except StorageError:
            return True  # whoever lists the log will find that it does not answer

    numbers = sorted(reachable)
    found = await asyncio.gather(*(holds_something(number) for number in numbers))
    empty = frozenset(n for n, something in zip(numbers, found, strict=True) if not something)
    return frozenset() if empty == reachable else empty


async def _segment_rows(parts: LogParts, segment: Segment) -> tuple[Batch, ...]:
    """The rows of a segment, from where the manifest says it is, or else from where it is found:
    repair may have moved it since, and only the index that is lost knew that.
    """
    groups, keys = parts.groups, parts.keys
    try:
        return await read_segment(groups.stripes, keys, segment)
    except StorageError as error:
        logger.info("segment %s is looked for on all nodes: %s", segment.row.stripe, error)
    row = await locate(groups.nodes, segment.row)
    return await read_segment(groups.stripes, keys, replace(segment, row=row))


async def _load_checkpoint(
    parts: LogParts, candidates: Candidates, progress: ReplayProgress
) -> Applied:
    """Load the newest checkpoint that can be read; the start of the log when there is none.

    Raises: LogGap: no checkpoint is whole, and the log does not begin at its start.
    """
    empty = Applied.decode(None)
    unreadable: list[str] = []
    for epoch, sequence in _checkpoints(candidates):
        try:
            manifest = await _manifest(parts, candidates, epoch, sequence)
            for number, segment in enumerate(manifest.segments):
                batches = await _segment_rows(parts, segment)
                await parts.index.apply(batches, empty.encode())
                progress("load", number + 1, len(manifest.segments))
        except (KeyError, StorageError) as error:
            logger.warning("checkpoint %d/%d is not readable: %s", epoch, sequence, error)
            unreadable.append(f"{epoch}/{sequence}")
            continue
        await parts.index.apply((), manifest.floor.encode())
        return manifest.floor
    if min(candidates, default=1) > 1:
        raise LogGap(missing=1, later=min(candidates), checkpoints=",".join(unreadable))
    return empty


def _checkpoints(candidates: Candidates) -> list[tuple[int, int]]:
    """(epoch, sequence) of the checkpoint records that headers name, newest first."""
    named = {c.header.checkpoint for epochs in candidates.values() for c in epochs.values()}
    return sorted(named - {(0, 0)}, reverse=True)


async def _manifest(parts: LogParts, candidates: Candidates, epoch: int, sequence: int) -> Manifest:
    """Raises: KeyError: no shard of the record was found; StorageError."""
    candidate = candidates[sequence][epoch]
    records, _ = await read_group(parts.groups.stripes, candidate, parts.keys)
    return decode_manifest(records.extra)


async def _load_what_is_left(parts: LogParts, candidates: Candidates, lost: list[str]) -> Applied:
    """With losses accepted: the readable segments of the newest checkpoint whose manifest is
    readable, or nothing but the log that is there. What is given up is added to `lost`.
    """
    empty = Applied.decode(None)
    for epoch, sequence in _checkpoints(candidates):
        try:
            manifest = await _manifest(parts, candidates, epoch, sequence)
        except (KeyError, StorageError):
            lost.append(f"checkpoint {epoch}/{sequence}")
            continue
        for segment in manifest.segments:
            try:
                batches = await _segment_rows(parts, segment)
            except StorageError as error:
                lost.append(f"rows of checkpoint segment {segment.row.stripe}: {error}")
                continue
            await parts.index.apply(batches, empty.encode())
        await parts.index.apply((), manifest.floor.encode())
        return manifest.floor
    first = min(candidates)
    lost.append(f"groups 1 to {first - 1} of the log")
    return Applied(0, first - 1, empty.digest, (0, 0))
