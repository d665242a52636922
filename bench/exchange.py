"""One signed request and its answer, for all that is not measured."""

from __future__ import annotations

import http.client
import ssl
from hashlib import sha256

from bench.heads import Endpoint, HeadMaker

ANSWER_S = 60.0


def exchange(
    endpoint: Endpoint,
    method: str,
    path: str,
    *,
    query: str = "",
    body: bytes = b"",
    tls: bool = False,
) -> tuple[int, bytes]:
    """One signed request on a connection of its own; status and body.

    Raises:
        OSError, http.client.HTTPException: nobody answers, or not in HTTP.
    """
    maker = HeadMaker(
        endpoint,
        method=method,
        body_bytes=len(body) if method in ("PUT", "POST") else None,
        content_sha256=sha256(body).hexdigest(),
    )
    lines = maker.head(path, query).decode().split("\r\n")[1:-2]
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            endpoint.host, endpoint.port, timeout=ANSWER_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=ANSWER_S)
    try:
        target = f"{path}?{query}" if query else path
        connection.request(method, target, body=body or None, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
