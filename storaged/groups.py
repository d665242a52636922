"""A group of requests as records: what one turn of the writer puts into a volume.

Not for judging requests (`storaged.writer`) or for writing (`storaged.volumes`). Delete records
come before puts, so that a put that replaces a damaged record comes after the delete of it.
"""

from __future__ import annotations

from storaged.base.ids import LogId
from storaged.base.limits import BLOCK_BYTES, DELETE_BATCH_MAX
from storaged.node import Buffer
from storaged.requests import DeleteRequest, FenceRequest, PutRequest
from storaged.shardformat import (
    NO_SHARD,
    RecordKind,
    encode_head,
    head_bytes_of,
    page_checksums,
    page_log2_of,
    round_up,
)
from storaged.volume_index import Killer, Location
from storaged.volumes import Group

_PADDING = bytes(BLOCK_BYTES)


class Plan:
    """A group under construction, with the requests it answers.

    Attributes:
        kills: held shards that the group deletes, and where they are.
        killers: by shard, the delete record that names it.
        touched: shards that this group changes or decides on.
        keep_until_ms: until when what it deletes is kept as trash; 0: it is not.
    """

    def __init__(self, group: Group, promises: dict[LogId, tuple[int, bytes]]) -> None:
        self.group = group
        self.promises = promises
        self.promises_changed = False
        self.puts: list[PutRequest] = []
        self.deletes: list[DeleteRequest] = []
        self.fences: list[FenceRequest] = []
        self.kills: dict[bytes, Location] = {}
        self.killers: dict[bytes, Killer] = {}
        self.killer_places: list[Killer] = []
        self.touched: set[bytes] = set()
        self.bytes = 0
        self.keep_until_ms = 0


def encode_plan(plan: Plan, *, node: bytes, sequence: int) -> int:
    """Fill in the buffers of the plan's group, and where each shard and delete record comes.

    Args:
        node: the node id, for the first record of a new volume.
        sequence: the number of the first record.

    Returns:
        The number of the record after the last.
    """
    group = plan.group
    if not plan.kills and not plan.puts:
        return sequence
    position = group.offset
    if group.volume is None:
        position += _small_record(group, RecordKind.VOLUME, position, sequence, node)
        sequence += 1
    keys = list(plan.kills)
    for start in range(0, len(keys), DELETE_BATCH_MAX):
        batch = keys[start : start + DELETE_BATCH_MAX]
        until_ms = plan.keep_until_ms
        length = _small_record(
            group, RecordKind.DELETE, position, sequence, b"".join(batch), until_ms
        )
        killer = Killer(group.number, position, length, until_ms)
        plan.killer_places.append(killer)
        plan.killers.update(dict.fromkeys(batch, killer))
        position += length
        sequence += 1
    for request in plan.puts:
        position += _put_record(group, position, sequence, request)
        sequence += 1
    group.end = position
    group.may_use_ballast = not plan.puts
    return sequence


def _small_record(
    group: Group,
    kind: RecordKind,
    offset: int,
    sequence: int,
    content: bytes,
    retain_until_ms: int = 0,
) -> int:
    checksums = page_checksums(content, page_log2_of(len(content)))
    head = encode_head(
        kind,
        volume=group.uuid,
        volume_number=group.number,
        offset=offset,
        sequence=sequence,
        shard=NO_SHARD,
        attributes=b"",
        content_bytes=len(content),
        checksums=checksums,
        retain_until_ms=retain_until_ms,
    )
    length = round_up(head_bytes_of(0, len(content)) + len(content))
    group.buffers.append((head + content).ljust(length, b"\0"))
    return length


def _put_record(group: Group, offset: int, sequence: int, request: PutRequest) -> int:
    content_bytes = len(request.content)
    head = encode_head(
        RecordKind.PUT,
        volume=group.uuid,
        volume_number=group.number,
        offset=offset,
        sequence=sequence,
        shard=request.key,
        attributes=request.attributes,
        content_bytes=content_bytes,
        checksums=request.checksums,
        retain_until_ms=request.retain_until_ms,
    )
    request.location = Location(
        group.number,
        offset,
        sequence,
        request.head_bytes,
        page_log2_of(content_bytes),
        content_bytes,
        request.retain_until_ms,
    )
    padding = request.record_bytes - request.head_bytes - content_bytes
    buffers: tuple[Buffer, ...] = (head, request.content, _PADDING[:padding])
    if request.record_bytes == BLOCK_BYTES:
        group.buffers.append(b"".join(buffers))  # one short copy is cheaper than two buffers
    else:
        group.buffers.extend(buffers if padding else buffers[:2])
    return request.record_bytes
