"""Codec of the Node port's verbs: arguments and results as the fields and content of messages.

Not for messages and connections. Free functions with plain arguments: they run once per request.
Fields of a request start with the verb, fields of a response with the code (0: what follows is
the result; else: the error).

Parsers raise `ProtocolError` (`InvalidId` is one) and nothing else. Source: docs/wire.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from storaged.base.errors import ProtocolError, StorageError
from storaged.base.ids import (
    LOG_ID_BYTES,
    SHARD_ID_BYTES,
    LogId,
    ShardId,
    datacenter_id,
    node_id,
)
from storaged.base.limits import (
    ATTRIBUTES_BYTES_MAX,
    DELETE_BATCH_MAX,
    LIST_LIMIT_MAX,
    WIRE_CORRUPT_SHARDS_MAX,
    WIRE_DETAIL_BYTES_MAX,
)
from storaged.node import Fence, NodeIdentity, NodeStatus, Promise, ShardInfo, ShardPage
from storaged.wire import OK, Verb, cut_text, decode_error, encode_error, take_text

INSTANCE_BYTES_MAX = 64  # a node wants 16 and says so itself
INT64_MAX = (1 << 63) - 1

_OK = struct.pack(">H", OK)
_PUT = struct.Struct(">B17sqB16sq")
_GET = struct.Struct(">B17sqq")
_ONE = struct.Struct(">B17s")
_DELETE = struct.Struct(">BH")
_LIST = struct.Struct(">B17sB17sq")
_FENCE = struct.Struct(">B16sq")
_INFO = struct.Struct(">17sQQQH")
_RANGE = struct.Struct(">HQ")
_PROMISE = struct.Struct(">HQB")
_STATUS = struct.Struct(">HBBQQQQQd")
_U16 = struct.Struct(">H")
_WITH_TIME = b"\x01"


def _exactly(layout: struct.Struct, fields: bytes) -> tuple[object, ...]:
    if len(fields) != layout.size:
        raise ProtocolError(reason="length of fields", fields=len(fields), expected=layout.size)
    return layout.unpack(fields)


def _at_least(layout: struct.Struct, raw: bytes | memoryview, offset: int = 0) -> None:
    if len(raw) - offset < layout.size:
        raise ProtocolError(reason="fields cut short", fields=len(raw), expected=layout.size)


# Requests


def request_verb(fields: bytes) -> Verb:
    """The verb of a request. Raises ProtocolError."""
    if not fields or not Verb.PUT <= fields[0] <= Verb.FENCE:
        raise ProtocolError(reason="unknown verb", verb=fields[:1].hex())
    return Verb(fields[0])


def _signed(number: int) -> int:
    """The nearest number that fits 64 bits: the node itself refuses what makes no sense."""
    return max(-INT64_MAX, min(number, INT64_MAX))


def encode_put(
    shard: ShardId, attributes: bytes, *, fence: Fence | None, retain_until_ms: int
) -> bytes:
    """Verb, shard, retain-until i64, fenced u8, log, epoch i64, attributes to the end."""
    log, epoch, fenced = (fence.log, fence.epoch, 1) if fence else (bytes(LOG_ID_BYTES), 0, 0)
    fixed = _PUT.pack(
        Verb.PUT, shard.encode(), _signed(retain_until_ms), fenced, log, _signed(epoch)
    )
    return fixed + attributes


def decode_put(fields: bytes) -> tuple[ShardId, bytes, Fence | None, int]:
    """(shard, attributes, fence, retain_until_ms). Raises ProtocolError."""
    _at_least(_PUT, fields)
    _, shard, retain_until_ms, fenced, log, epoch = _PUT.unpack_from(fields)
    attributes = fields[_PUT.size :]
    if fenced > 1 or len(attributes) > ATTRIBUTES_BYTES_MAX:
        raise ProtocolError(reason="put")
    fence = Fence(log=LogId(log), epoch=epoch) if fenced else None
    return ShardId.decode(shard), attributes, fence, retain_until_ms


def encode_get(shard: ShardId, *, offset: int, length: int) -> bytes:
    """Verb, shard, offset i64, length i64."""
    return _GET.pack(Verb.GET, shard.encode(), _signed(offset), _signed(length))


def decode_get(fields: bytes) -> tuple[ShardId, int, int]:
    """(shard, offset, length). Raises ProtocolError."""
    if len(fields) != _GET.size:
        raise ProtocolError(reason="get")
    _, shard, offset, length = _GET.unpack(fields)
    return ShardId.decode(shard), offset, length


def encode_stat(shard: ShardId) -> bytes:
    """Verb, shard."""
    return _ONE.pack(Verb.STAT, shard.encode())


def encode_verify(shard: ShardId) -> bytes:
    """Verb, shard."""
    return _ONE.pack(Verb.VERIFY, shard.encode())


def decode_one(fields: bytes) -> ShardId:
    """The shard of stat and verify. Raises ProtocolError."""
    shard = _exactly(_ONE, fields)[1]
    assert isinstance(shard, bytes)
    return ShardId.decode(shard)


def encode_delete(shards: Sequence[ShardId]) -> tuple[bytes, bytes]:
    """Fields: verb, count u16. Content: the shard ids."""
    return _DELETE.pack(Verb.DELETE, len(shards)), b"".join(shard.encode() for shard in shards)


def decode_delete(fields: bytes, content: memoryview) -> tuple[ShardId, ...]:
    """The shards to delete. Raises ProtocolError."""
    count = _exactly(_DELETE, fields)[1]
    if not isinstance(count, int) or count > DELETE_BATCH_MAX:
        raise ProtocolError(reason="delete", count=count)
    return _shards(content, count)


def _shards(content: memoryview, count: int) -> tuple[ShardId, ...]:
    if len(content) != count * SHARD_ID_BYTES:
        raise ProtocolError(reason="shard ids", content=len(content), count=count)
    raw = bytes(content)
    return tuple(
        ShardId.decode(raw[at : at + SHARD_ID_BYTES]) for at in range(0, len(raw), SHARD_ID_BYTES)
    )


def encode_list(start: ShardId, end: ShardId | None, *, limit: int) -> bytes:
    """Verb, start, bounded u8, end, limit i64."""
    raw_end = end.encode() if end else bytes(SHARD_ID_BYTES)
    return _LIST.pack(Verb.LIST, start.encode(), 1 if end else 0, raw_end, limit)


def decode_list(fields: bytes) -> tuple[ShardId, ShardId | None, int]:
    """(start, end, limit). Raises ProtocolError."""
    _at_least(_LIST, fields)
    _, start, bounded, end, limit = _LIST.unpack_from(fields)
    if bounded > 1 or len(fields) != _LIST.size or not 1 <= limit <= LIST_LIMIT_MAX:
        raise ProtocolError(reason="list", limit=limit)
    return ShardId.decode(start), ShardId.decode(end) if bounded else None, limit


def encode_status() -> bytes:
    """Verb, then 1: with the node's time, too. Older nodes read the verb only."""
    return bytes((Verb.STATUS,)) + _WITH_TIME


def wants_time(fields: bytes) -> bool:
    """Whether a request for status wants the node's time, too; older gateways refuse it."""
    return fields[1:2] == _WITH_TIME


def encode_fence(log: LogId, epoch: int, instance: bytes) -> bytes:
    """Verb, log, epoch i64, instance to the end. Raises ProtocolError: a very long instance."""
    if len(instance) > INSTANCE_BYTES_MAX:
        raise ProtocolError(reason="instance", instance_bytes=len(instance))
    return _FENCE.pack(Verb.FENCE, log, _signed(epoch)) + instance


def decode_fence(fields: bytes) -> tuple[LogId, int, bytes]:
    """(log, epoch, instance). Raises ProtocolError."""
    _at_least(_FENCE, fields)
    if len(fields) > _FENCE.size + INSTANCE_BYTES_MAX:
        raise ProtocolError(reason="fence")
    _, log, epoch = _FENCE.unpack_from(fields)
    return LogId(log), epoch, fields[_FENCE.size :]


# Responses


def encode_failure(error: StorageError) -> bytes:
    """Fields of a response that is an error."""
    return encode_error(error)


def raise_failure(fields: bytes) -> None:
    """Raise the error of a response, if it is one. Raises ProtocolError when it is malformed."""
    if len(fields) < 2:
        raise ProtocolError(reason="response cut short")
    if fields[:2] != _OK:
        raise decode_error(fields)


def encode_done() -> bytes:
    """The answer to put."""
    return _OK


def decode_done(fields: bytes) -> None:
    """Check the answer to put. Raises ProtocolError."""
    if len(fields) != 2:
        raise ProtocolError(reason="result of put")


def encode_range(attributes: bytes, content_bytes: int) -> bytes:
    """Code, content bytes of the whole shard u64, attributes to the end.

    The range is the content.
    """
    return _RANGE.pack(OK, content_bytes) + attributes


def decode_range(fields: bytes) -> tuple[bytes, int]:
    """(attributes, content_bytes). Raises ProtocolError."""
    _at_least(_RANGE, fields)
    return fields[_RANGE.size :], _RANGE.unpack_from(fields)[1]


def _encode_info(info: ShardInfo) -> bytes:
    fixed = _INFO.pack(
        info.shard.encode(),
        info.content_bytes,
        info.stored_bytes,
        info.retain_until_ms,
        len(info.attributes),
    )
    return fixed + info.attributes


def _decode_info(raw: bytes, at: int) -> tuple[ShardInfo, int]:
    _at_least(_INFO, raw, at)
    shard, content_bytes, stored_bytes, retain_until_ms, length = _INFO.unpack_from(raw, at)
    at += _INFO.size
    if length > ATTRIBUTES_BYTES_MAX or at + length > len(raw):
        raise ProtocolError(reason="attributes", length=length)
    description = ShardInfo(
        shard=ShardId.decode(shard),
        attributes=raw[at : at + length],
        content_bytes=content_bytes,
        stored_bytes=stored_bytes,
        retain_until_ms=retain_until_ms,
    )
    return description, at + length


def encode_shard_info(info: ShardInfo) -> bytes:
    """Code, then.

    Shard, content bytes u64, stored bytes u64, retain-until u64, length u16, attributes.
    """
    return _OK + _encode_info(info)


def decode_shard_info(fields: bytes) -> ShardInfo:
    """The answer to stat and verify. Raises ProtocolError."""
    description, end = _decode_info(fields, 2)
    if end != len(fields):
        raise ProtocolError(reason="bytes behind the shard info")
    return description


def encode_outcomes(outcomes: Sequence[StorageError | None]) -> tuple[bytes, bytes]:
    """Fields: code, count u16. Content: per shard a length u16 and an error; length 0 = gone."""
    parts = []
    for outcome in outcomes:
        raw = encode_error(outcome) if outcome else b""
        parts.append(_U16.pack(len(raw)) + raw)
    return _OK + _U16.pack(len(outcomes)), b"".join(parts)


def decode_outcomes(fields: bytes, content: memoryview) -> tuple[StorageError | None, ...]:
    """The answer to delete. Raises ProtocolError."""
    if len(fields) != 4:
        raise ProtocolError(reason="result of delete")
    count = _U16.unpack_from(fields, 2)[0]
    outcomes: list[StorageError | None] = []
    raw, at = bytes(content), 0
    for _ in range(count):
        _at_least(_U16, raw, at)
        length = _U16.unpack_from(raw, at)[0]
        at += 2
        if at + length > len(raw):
            raise ProtocolError(reason="outcome cut short")
        outcomes.append(decode_error(raw[at : at + length]) if length else None)
        at += length
    if at != len(raw):
        raise ProtocolError(reason="bytes behind the outcomes")
    return tuple(outcomes)


def encode_page(page: ShardPage) -> tuple[bytes, bytes]:
    """Fields: code, count u16, then `next` (17 bytes) unless at the end. Content: shard infos."""
    following = page.next.encode() if page.next else b""
    return (
        _OK + _U16.pack(len(page.shards)) + following,
        b"".join(_encode_info(info) for info in page.shards),
    )


def decode_page(fields: bytes, content: memoryview) -> ShardPage:
    """The answer to list. Raises ProtocolError."""
    if len(fields) not in (4, 4 + SHARD_ID_BYTES):
        raise ProtocolError(reason="result of list")
    count = _U16.unpack_from(fields, 2)[0]
    shards, raw, at = [], bytes(content), 0
    for _ in range(count):
        description, at = _decode_info(raw, at)
        shards.append(description)
    if at != len(raw):
        raise ProtocolError(reason="bytes behind the page")
    following = ShardId.decode(fields[4:]) if len(fields) > 4 else None
    return ShardPage(shards=tuple(shards), next=following)


def encode_promise(promise: Promise) -> bytes:
    """Code, epoch u64, granted u8."""
    return _PROMISE.pack(OK, promise.epoch, promise.granted)


def decode_promise(fields: bytes) -> Promise:
    """The answer to fence. Raises ProtocolError."""
    _, epoch, granted = _exactly(_PROMISE, fields)
    if not isinstance(epoch, int) or granted not in (0, 1):
        raise ProtocolError(reason="promise")
    return Promise(epoch=epoch, granted=granted == 1)


def encode_node_status(status: NodeStatus) -> tuple[bytes, bytes]:
    """Fields: code, figures, four texts, time if there is one. Content: ids of corrupt shards."""
    figures = _STATUS.pack(
        OK,
        status.in_service,
        status.writable,
        status.shard_count,
        status.stored_bytes,
        status.capacity_bytes,
        status.free_bytes,
        status.scrubbed_at_ms,
        status.scrub_progress,
    )
    texts = (
        status.identity.node.encode(),
        status.identity.datacenter.encode(),
        status.identity.country.encode(),
        cut_text(status.detail, WIRE_DETAIL_BYTES_MAX),
    )
    corrupt = status.corrupt_shards[:WIRE_CORRUPT_SHARDS_MAX]
    fields = figures + b"".join(_U16.pack(len(text)) + text for text in texts)
    fields += b"" if status.at_ms is None else max(status.at_ms, 0).to_bytes(8, "big")
    return fields, b"".join(shard.encode() for shard in corrupt)


def decode_node_status(fields: bytes, content: memoryview) -> NodeStatus:
    """The answer to status. Raises ProtocolError."""
    _at_least(_STATUS, fields)
    figures = _STATUS.unpack_from(fields)
    if figures[1] > 1 or figures[2] > 1 or not 0.0 <= figures[8] <= 1.0:
        raise ProtocolError(reason="status")
    texts, at = [], _STATUS.size
    for _ in range(4):
        _at_least(_U16, fields, at)
        length = _U16.unpack_from(fields, at)[0]
        texts.append(take_text(fields, at + 2, length))
        at += 2 + length
    if len(fields) - at not in (0, 8):
        raise ProtocolError(reason="bytes behind the status")
    corrupt_count = len(content) // SHARD_ID_BYTES
    if corrupt_count > WIRE_CORRUPT_SHARDS_MAX:
        raise ProtocolError(reason="too many corrupt shards")
    return NodeStatus(
        identity=NodeIdentity(
            node=node_id(texts[0]), datacenter=datacenter_id(texts[1]), country=texts[2]
        ),
        in_service=figures[1] == 1,
        writable=figures[2] == 1,
        shard_count=figures[3],
        stored_bytes=figures[4],
        capacity_bytes=figures[5],
        free_bytes=figures[6],
        scrubbed_at_ms=figures[7],
        scrub_progress=figures[8],
        corrupt_shards=_shards(content, corrupt_count),
        detail=texts[3],
        at_ms=int.from_bytes(fields[at:], "big") if at < len(fields) else None,
    )
