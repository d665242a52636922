"""Answers on their way out: one write for a small one, waits for a slow client with a large one.

Not for what an answer says, nor for what happens to one that cannot be completed.
"""

from __future__ import annotations

import asyncio

from gateway.s3.connections import Exchange
from gateway.s3.responses import BODILESS, Reply

JOIN_BYTES_MAX = 64 * 1024  # head and body up to this go out in one write
SEND_BUFFER_BYTES = 1 << 20  # unsent bytes of one answer before its source is asked to wait


class LengthMismatch(Exception):
    """The content is not as long as the head says."""


async def send_answer(exchange: Exchange, reply: Reply, head: bytes, *, stall_s: float) -> None:
    """Send a head and its content; `exchange.bytes_out` says how much of the content went out.

    Args:
        stall_s: longest time in which a client takes nothing of what is unsent.

    Raises:
        LengthMismatch, and whatever reading the content raises: the connection must be aborted.
        ConnectionError: the client has gone.
    """
    if exchange.message.method == "HEAD" or reply.status in BODILESS:
        exchange.write_soon(head)
    elif reply.pieces is None:
        exchange.bytes_out = len(reply.body)
        if exchange.bytes_out <= JOIN_BYTES_MAX:
            exchange.write_soon(head + reply.body)
        else:
            exchange.write(head)
            exchange.write(reply.body)
    elif len(reply.first) == reply.length and reply.length <= JOIN_BYTES_MAX:
        exchange.bytes_out = reply.length
        exchange.write_soon(b"".join((head, reply.first)))
    else:
        await _send_pieces(exchange, reply, head, stall_s)
    if exchange.protocol.writing_paused:
        await exchange.wait_for_client(stall_s)


async def _send_pieces(exchange: Exchange, reply: Reply, head: bytes, stall_s: float) -> None:
    """Send what `pieces` gives, one by one. Raises: as `send_answer`."""
    transport, pieces, length = exchange.protocol.transport, reply.pieces, reply.length
    assert pieces is not None and length is not None, "an answer in pieces has a length"
    if transport is None:
        raise ConnectionResetError
    if length > SEND_BUFFER_BYTES:
        transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
    exchange.write(head)
    piece = reply.first
    while piece:
        exchange.bytes_out += len(piece)
        exchange.write(piece)
        await exchange.wait_for_client(stall_s)
        await asyncio.sleep(0)  # a source that never waits must not keep the loop from others
        if exchange.bytes_out >= length:
            break
        piece = await anext(pieces, b"")
    if exchange.bytes_out != length:
        raise LengthMismatch(f"{exchange.bytes_out} bytes instead of {length}")
