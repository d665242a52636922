"""Answers: what an operation gives back, and the bytes of its head.

Not for sockets. Header values are checked for line ends here, once, for whatever made them.

Source: RFC 9110 §8, §15; RFC 9112 §4, §6; Amazon S3 API Reference, "Common response headers".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from gateway.objects.context import Principal
from gateway.objects.values import ReadBody
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
        key, signer: of what a form has stored, for the log: its head tells neither.
        issued: (name, value) of the session that was given out, for the journal.
        deleted: (key, version id, S3 error code) of each delete of many, for the bucket's log.
        close_connection: the next request cannot be read from this connection.
    """

    status: int = 200
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""
    pieces: ReadBody | None = None
    first: memoryview | bytes = b""
    length: int | None = None
    code: str = ""
    key: str = ""
    signer: Principal | None = None
    close_connection: bool = False
    deleted: tuple[tuple[str, str, str], ...] = ()
    issued: tuple[tuple[str, str], ...] = ()


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


@lru_cache(maxsize=4096)
def http_date(second: int) -> str:
    """`Sun, 06 Nov 1994 08:49:37 GMT` of a second since the epoch."""
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=64)
def _opening(status: int, host_id: str, now_s: int) -> str:
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nServer: {SERVER}\r\n"
        f"X-Content-Type-Options: nosniff\r\nx-amz-id-2: {host_id}\r\n"
        f"Date: {http_date(now_s)}\r\nx-amz-request-id: "
    )


def _check_values(headers: list[Header]) -> None:
    """Refuse what would end a line. Raises: as `encode_head`."""
    if "".join([value for _, value in headers]).isprintable():
        return
    for name, value in headers:
        if _UNSAFE.search(value) is not None:
            raise ValueError(f"header {name} holds a control character")


def encode_head(
    reply: Reply, *, request_id: str, host_id: str, now_s: int, keep_alive: bool, is_http_10: bool
) -> bytes:
    """Status line and headers, with the empty line that ends them.

    Raises:
        ValueError: a header value holds a control character; that is our own mistake.
    """
    headers = reply.headers
    _check_values(headers)
    end = "\r\n"
    if reply.status not in BODILESS:
        length = len(reply.body) if reply.length is None else reply.length
        end = f"Content-Length: {length}\r\n\r\n"
    if not keep_alive:
        end = f"Connection: close\r\n{end}"
    elif is_http_10:
        end = f"Connection: keep-alive\r\n{end}"
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    head = f"{_opening(reply.status, host_id, now_s)}{request_id}\r\n{lines}{end}"
    return head.encode("utf-8", "surrogateescape")
