"""Answers on their way out: one write for a small one, waits for a slow client with a large one.

Not for what an answer says. An answer that cannot be completed ends with an aborted connection, so
no client takes it for whole.
"""

from __future__ import annotations

import logging

from gateway.s3.connections import Exchange
from gateway.s3.responses import BODILESS, Reply

logger = logging.getLogger("hexagone.s3")

JOIN_BYTES_MAX = 64 * 1024  # head and body up to this go out in one write
SEND_BUFFER_BYTES = 1 << 20  # unsent bytes of one answer before its source is asked to wait


class AnswerCut(Exception):
    """The rest of an answer could not be had; its connection is aborted."""


async def send_answer(exchange: Exchange, reply: Reply, head: bytes, *, stall_s: float) -> None:
    """Send a head and its content; `exchange.bytes_out` says how much of the content went out.

    Args:
        stall_s: longest time in which a client takes nothing of what is unsent.

    Raises:
        AnswerCut: the content ended early, or reading it failed.
        ConnectionError: the client has gone.
    """
    if exchange.message.method == "HEAD" or reply.status in BODILESS:
        exchange.write(head)
    elif reply.pieces is None:
        exchange.bytes_out = len(reply.body)
        if exchange.bytes_out <= JOIN_BYTES_MAX:
            exchange.write(head + reply.body)
        else:
            exchange.write(head)
            exchange.write(reply.body)
    elif len(reply.first) == reply.length and reply.length <= JOIN_BYTES_MAX:
        exchange.bytes_out = reply.length
        exchange.write(b"".join((head, reply.first)))
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
    try:
        while piece:
            exchange.bytes_out += len(piece)
            exchange.write(piece)
            await exchange.wait_for_client(stall_s)
            if exchange.bytes_out >= length:
                break
            piece = await anext(pieces, b"")
    except ConnectionError:
        raise
    except Exception as error:
        logger.exception("answer to request %s cannot be completed", exchange.request_id)
        transport.abort()
        raise AnswerCut from error
    if exchange.bytes_out != length:
        logger.error("answer to request %s has another length", exchange.request_id)
        transport.abort()
        raise AnswerCut
