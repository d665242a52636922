"""HTTP-03 … HTTP-10: bytes that are nearly HTTP, sent to the whole gateway."""

from __future__ import annotations

import pytest

from tests.support.raw_s3 import ClosedByServer, sign
from tests.support.s3_gateway import S3Gateway

HOST = b"Host: 127.0.0.1\r\n"


def exchange(gateway: S3Gateway, raw: bytes) -> bytes:
    """All that comes back for bytes, until the server is done or waits for more."""
    with gateway.raw() as client:
        client.timeout_s = 3.0
        connection = client.connect()
        connection.sendall(raw)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return received


def statuses(received: bytes) -> list[int]:
    return [int(piece[:3]) for piece in received.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://evil.test/bucket/k HTTP/1.1\r\nHost: a\r\n",  # HTTP-03
        b"GET * HTTP/1.1\r\nHost: a\r\n",
        b"GET bucket/k HTTP/1.1\r\nHost: a\r\n",
        b"GET /bucket/%zz HTTP/1.1\r\n" + HOST,  # HTTP-04
        b"GET /bucket/%00 HTTP/1.1\r\n" + HOST,
        b"GET /bucket/%c0%ae HTTP/1.1\r\n" + HOST,
        b"GET /bucket/%e HTTP/1.1\r\n" + HOST,
        b"PUT /bucket/k HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n",  # 05
        b"PUT /bucket/k HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"PUT /bucket/k HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n",
        b"PUT /bucket/k HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n",
        b"PUT /bucket/k HTTP/1.1\r\n" + HOST + b"Content-Length : 3\r\n",
        b"GET /bucket/k HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        b"GET /bucket/k HTTP/1.1\r\n",
        b"GET /bucket/k HTTP/1.1\r\nHost: a b\r\n",
        b"GET /bucket/k HTTP/1.1\r\nHost: a/../b\r\n",
        b"GET /bucket/k HTTP/1.1\r\n" + HOST + b"x-a: b\r\n c\r\n",
        b"GET /bucket/k HTTP/1.1\r\n" + HOST + b"x-amz-date: a\r\nx-amz-date: b\r\n",  # HTTP-06
        b"GET /bucket/k HTTP/1.1\r\n" + HOST + b"Range: bytes=0-1\r\nRange: bytes=2-3\r\n",
        b"GET /bucket/k HTTP/1.1\r\n" + HOST + b"Authorization: a\r\nAuthorization: b\r\n",
        b"GET /bucket/k HTTP/9.9\r\n" + HOST,
        b"G@T /bucket/k HTTP/1.1\r\n" + HOST,
        b"get /bucket/k HTTP/1.1\r\n" + HOST,
        b"GET /bucket/k HTTP/1.1\n" + HOST,
        b"GET /bucket/k HTTP/1.1\r\nHost: 127.0.0.1\n",
    ],
)
def test_http_03_to_06_what_is_ambiguous_is_refused(gateway: S3Gateway, head: bytes) -> None:
    """HTTP-03, HTTP-04, HTTP-05, HTTP-06."""
    received = exchange(gateway, head + b"Connection: close\r\n\r\n")
    assert statuses(received)
    assert all(status in (400, 403, 405, 505) for status in statuses(received)), received[:200]


def test_http_07_what_cannot_be_parsed_is_not_repeated(gateway: S3Gateway) -> None:
    for raw in (
        b"<script>alert(1)</script>\r\n\r\n",
        b"GET /<b> \x00evil\r\n\r\n",
        b"\x16\x03\x01",
    ):
        received = exchange(gateway, raw + b"\r\n\r\n")
        assert b"script" not in received
        assert b"evil" not in received


def test_http_10_heads_are_bounded(gateway: S3Gateway) -> None:
    many = b"".join(b"x-%d: y\r\n" % number for number in range(5000))
    long = b"x-a: " + b"b" * 100_000 + b"\r\n"
    query = b"GET /bucket?" + b"&".join(b"a%d=b" % number for number in range(50_000))
    for head in (
        b"GET /bucket HTTP/1.1\r\n" + HOST + many,
        b"GET /bucket HTTP/1.1\r\n" + HOST + long,
        query + b" HTTP/1.1\r\n" + HOST,
    ):
        received = exchange(gateway, head + b"Connection: close\r\n\r\n")
        assert all(status in (400, 414, 431) for status in statuses(received))


def test_http_05_no_second_request_is_smuggled(gateway: S3Gateway, bucket: str) -> None:
    with gateway.raw() as client:
        hidden = f"DELETE /{bucket}/k HTTP/1.1\r\nHost: {client.authority}\r\n\r\n".encode()
        for headers in (
            {"transfer-encoding": "chunked", "content-length": str(len(hidden))},
            {"content-length": "0", "transfer-encoding": "identity"},
        ):
            head = {"host": client.authority}
            signed = sign(
                client.credentials, "PUT", f"/{bucket}/k", head, payload="UNSIGNED-PAYLOAD"
            )
            client.send_head("PUT", signed.target, {**signed.headers, **headers})
            client.send(b"0\r\n\r\n" + hidden)
            try:
                assert client.read_answer().status in (400, 403, 411)
                client.read_answer()
                raise AssertionError("a second answer came")
            except ClosedByServer:
                pass
            except (ConnectionResetError, TimeoutError):
                pass
            finally:
                client.close()
