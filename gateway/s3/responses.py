"""Answers: what an operation gives back, and the bytes of its head.

Not for sockets. Header values are checked for line ends here, once, for whatever made them.

Source: RFC 9110 §8, §15; RFC 9112 §4, §6; Amazon S3 API Reference, "Common response headers".
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from gateway.s3 import xml
from gateway.s3.errors import S3Answer

SERVER = "Hexagone"
XML_TYPE = "application/xml"
BODILESS = frozenset({204, 304})

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Header = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Reply:
    """An answer before it is sent.

    Args:
        headers: names as they are written; content-length, date and ids are added later.
        body: the whole content, unless `pieces` is there.
        pieces: content that is read while it is sent, `length` bytes in all.
        first: the first of the pieces, taken before the head is sent.
        length: bytes of the content; None: those of `body`. HEAD states it and sends nothing.
        code: S3 error code for the log and the counters; "" for success.
        close_connection: the next request cannot be read from this connection.
    """

    status: int = 200
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""
    pieces: AsyncIterator[memoryview | bytes] | None = None
    first: memoryview | bytes = b""
    length: int | None = None
    code: str = ""
    close_connection: bool = False


def xml_reply(document: bytes, *, status: int = 200, headers: list[Header] | None = None) -> Reply:
    """An answer with an XML document."""
    return Reply(
        status=status, headers=[("Content-Type", XML_TYPE), *(headers or ())], body=document
    )


def error_reply(
    answer: S3Answer, *, resource: str, request_id: str, host_id: str, is_head: bool
) -> Reply:
    """The answer to a request that failed.

    Args:
        resource: the path of the request without its query.
    """
    body = b""
    if answer.has_body and not is_head:
        body = xml.error_document(answer, resource=resource, request_id=request_id, host_id=host_id)
    headers = list(answer.headers)
    if answer.has_body:
        headers.append(("Content-Type", XML_TYPE))
    return Reply(
        status=answer.status,
        headers=headers,
        body=body,
        code=answer.code,
        close_connection=answer.close_connection,
    )


@lru_cache(maxsize=8)
def _date_at(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=4096)
def http_date(second: int) -> str:
    """`Sun, 06 Nov 1994 08:49:37 GMT` of a second since the epoch."""
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=64)
def _opening(status: int, host_id: str) -> str:
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nServer: {SERVER}\r\n"
        f"X-Content-Type-Options: nosniff\r\nx-amz-id-2: {host_id}\r\n"
    )


def encode_head(
    reply: Reply, *, request_id: str, host_id: str, now_s: int, keep_alive: bool, is_http_10: bool
) -> bytes:
    """Status line and headers, with the empty line that ends them.

    Raises:
        ValueError: a header value holds a control character; that is our own mistake.
    """
    lines = [_opening(reply.status, host_id), f"x-amz-request-id: {request_id}\r\n"]
    lines.append(f"Date: {_date_at(now_s)}\r\n")
    for name, value in reply.headers:
        if _UNSAFE.search(value) is not None:
            raise ValueError(f"header {name} holds a control character")
        lines.append(f"{name}: {value}\r\n")
    if reply.status not in BODILESS:
        length = len(reply.body) if reply.length is None else reply.length
        lines.append(f"Content-Length: {length}\r\n")
    if not keep_alive:
        lines.append("Connection: close\r\n")
    elif is_http_10:
        lines.append("Connection: keep-alive\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


async def close_pieces(pieces: AsyncIterator[memoryview | bytes]) -> None:
    """Let a generator release what it holds, also when it was not read to its end."""
    if isinstance(pieces, AsyncGenerator):
        await pieces.aclose()
