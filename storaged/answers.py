"""From the fields of a request to a call of the Node port, and back: one `match`, no state."""

from __future__ import annotations

from dataclasses import replace

from storaged import verbs
from storaged.base.errors import ProtocolError
from storaged.base.limits import ATTRIBUTES_BYTES_MAX, CONTENT_BYTES_MAX
from storaged.node import Buffer, Node
from storaged.wire import Verb


async def answer_request(node: Node, fields: bytes, content: memoryview) -> tuple[bytes, Buffer]:
    """Call the verb of a request; returns fields and content of the response.

    Raises:
        ProtocolError: the arguments are malformed. And what the verb raises.
    """
    match verbs.request_verb(fields):
        case Verb.PUT:
            shard, attributes, fence, retain_until_ms = verbs.decode_put(fields)
            await node.put(shard, attributes, content, fence=fence, retain_until_ms=retain_until_ms)
            return verbs.encode_done(), b""
        case Verb.GET:
            shard, offset, length = verbs.decode_get(fields)
            part = await node.get(shard, offset=offset, length=length)
            return verbs.encode_range(part.attributes, part.content_bytes), part.content
        case Verb.STAT:
            return verbs.encode_shard_info(await node.stat(verbs.decode_one(fields))), b""
        case Verb.DELETE:
            return verbs.encode_outcomes(await node.delete(verbs.decode_delete(fields, content)))
        case Verb.LIST:
            start, end, limit = verbs.decode_list(fields)
            return verbs.encode_page(await node.list(start, end, limit=limit))
        case Verb.VERIFY:
            return verbs.encode_shard_info(await node.verify(verbs.decode_one(fields))), b""
        case Verb.STATUS:
            status = await node.status()
            told = status if verbs.wants_time(fields) else replace(status, at_ms=None)
            return verbs.encode_node_status(told)
        case Verb.FENCE:
            return verbs.encode_promise(await node.fence(*verbs.decode_fence(fields))), b""


def answer_bytes_max(fields: bytes) -> int:
    """How much content the answer to a request may have.

    It is reserved before the node is asked.
    """
    try:
        verb = verbs.request_verb(fields)
        if verb is Verb.GET:
            return max(0, min(verbs.decode_get(fields)[2], CONTENT_BYTES_MAX))
        if verb is Verb.LIST:
            return verbs.decode_list(fields)[2] * (ATTRIBUTES_BYTES_MAX + 64)
    except ProtocolError:
        pass  # it is answered when the request is
    return 0


def verb_name(fields: bytes) -> str:
    """The verb of a request, as metrics call it."""
    try:
        return verbs.request_verb(fields).name.lower()
    except ProtocolError:
        return "unknown"
