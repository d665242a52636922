"""Answers of the endpoint: headers, late failures, counters and the access log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from gateway.metrics import exposition, new_registry
from gateway.s3.access_log import AccessRecord, access_line
from gateway.s3.body import BodyPace
from gateway.s3.responses import Reply, encode_head
from tests.support import raw_s3
from tests.support.s3_endpoint import CREDENTIALS, Endpoint, running_endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint(pace=BodyPace(idle_s=0.5)) as running:
        yield running


def test_stored_headers_come_back_and_can_be_overridden(endpoint: Endpoint) -> None:
    stored = {
        "content-type": "text/plain; charset=utf-8",
        "cache-control": "no-cache",
        "content-disposition": 'attachment; filename="a b"',
        "content-language": "fr",
        "expires": "Thu, 01 Dec 2027 16:00:00 GMT",
        "x-amz-meta-name": "value",
        "x-amz-meta-accent": "été",
    }
    with endpoint.client() as client:
        headers = {**stored, "x-amz-meta-accent": "été".encode().decode("utf-8", "surrogateescape")}
        assert client.request("PUT", "/bucket/h", b"body", headers).status == 200
        for method in ("GET", "HEAD"):
            answer = client.request(method, "/bucket/h")
            for name, value in stored.items():
                assert answer.headers[name] == value
            assert answer.headers["etag"] == '"841a2d689ad86bd1611447453c22c6fc"'
            assert answer.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
            assert answer.headers["accept-ranges"] == "bytes"
            assert answer.headers["content-length"] == "4"
        query = "?response-cache-control=max-age%3D1&response-content-type=image%2Fpng"
        answer = client.request("GET", "/bucket/h" + query)
        assert answer.headers["cache-control"] == "max-age=1"
        assert answer.headers["content-type"] == "image/png"


def test_overrides_cannot_split_the_response(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        client.request("PUT", "/bucket/h", b"body")
        answer = client.request("GET", "/bucket/h?response-content-type=a%0D%0Ax-evil%3A%201")
        assert (answer.status, answer.code) == (400, "InvalidArgument")
        assert "x-evil" not in answer.headers


def test_no_header_can_hold_a_line_end() -> None:
    reply = Reply(headers=[("x-a", "b\r\nx-evil: 1")])
    with pytest.raises(ValueError, match="x-a"):
        encode_head(reply, request_id="A", host_id="B", now_s=0, keep_alive=True, is_http_10=False)


@pytest.mark.parametrize("cut_after", [1 << 20, 4 << 20])
def test_a_late_failure_breaks_the_connection(endpoint: Endpoint, cut_after: int) -> None:
    """HTTP-11."""
    with endpoint.client() as client:
        assert client.request("PUT", "/bucket/large", bytes(8 << 20)).status == 200
        endpoint.store.cut_after = cut_after
        with pytest.raises(raw_s3.ClosedByServer) as raised:
            client.request("GET", "/bucket/large")
        assert len(raised.value.received) <= cut_after + 1000
    assert endpoint.metrics.aborted_answers == 1


def test_a_failure_of_the_first_read_is_an_ordinary_error(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        client.request("PUT", "/bucket/large", bytes(1 << 20))
        endpoint.store.cut_after = 0
        answer = client.request("GET", "/bucket/large")
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        endpoint.store.cut_after = None
        assert client.request("GET", "/bucket/large").status == 200


def test_a_client_that_stops_reading_is_cut(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        client.request("PUT", "/bucket/large", bytes(32 << 20))
        signed = raw_s3.sign(CREDENTIALS, "GET", "/bucket/large", {"host": client.authority})
        client.send_head("GET", "/bucket/large", signed.headers)
        counters = endpoint.metrics.operation("GetObject")
        end = time.monotonic() + 5
        while not counters.requests and time.monotonic() < end:
            time.sleep(0.02)
        assert counters.errors == {"ClientGone": 1}


def test_an_unforeseen_error_is_a_500_without_details(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    endpoint.store._bucket = broken  # type: ignore[method-assign, assignment]
    with endpoint.client() as client:
        answer = client.request("GET", "/bucket/k")
        assert (answer.status, answer.code) == (500, "InternalError")
        assert b"secret" not in answer.body
        assert answer.headers["connection"] == "close"
    assert "the secret of the house" in caplog.text


def test_requests_are_counted_and_logged(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        client.request("PUT", "/bucket/k", b"12345")
        client.request("GET", "/bucket/k?response-expires=hidden-value")
        client.request("GET", "/bucket/absent")
    endpoint.frontend._access_log.flush()  # type: ignore[union-attr]
    text = exposition(new_registry(endpoint.metrics)).decode()
    assert 'hexagone_s3_requests_total{operation="GetObject"} 2.0' in text
    assert 'hexagone_s3_errors_total{code="NoSuchKey",operation="GetObject"} 1.0' in text
    assert 'hexagone_s3_received_bytes_total{operation="PutObject"} 5.0' in text
    assert 'hexagone_s3_sent_bytes_total{operation="GetObject"}' in text
    assert 'hexagone_s3_latency_seconds_bucket{le="+Inf",operation="PutObject"} 1.0' in text
    assert "hexagone_s3_requests_in_flight 0.0" in text
    demand = endpoint.frontend._services.demand
    assert demand.under_way == 0 and demand.is_there(endpoint.frontend._env.monotonic_s())
    raw = b"".join(endpoint.lines).decode("ascii")
    lines = [json.loads(line) for line in raw.splitlines()]
    assert [line["operation"] for line in lines] == ["PutObject", "GetObject", "GetObject"]
    assert [line["status"] for line in lines] == [200, 200, 404]
    assert lines[0]["bytes_in"] == 5 and lines[1]["bytes_out"] == 5
    assert lines[2]["code"] == "NoSuchKey"
    for secret in ("hidden-value", "Signature", CREDENTIALS.secret):
        assert secret not in raw


def test_a_log_line_is_one_line_whatever_clients_send() -> None:
    record = AccessRecord(
        at_ms=1,
        request_id="A",
        remote="::1",
        access_key_id="k" * 5000,
        operation="GetObject",
        method="GET",
        bucket="b",
        key='a\r\n{"forged":1}\x1b[31m\u202e"\\\ud800',
        status=200,
        code="",
        bytes_in=0,
        bytes_out=0,
        latency_s=0.001,
        user_agent="u" * 1_000_000,
    )
    line = access_line(record)
    assert line.isascii() and line.isprintable() is False and line.count("\n") == 1
    assert len(line) < 3000
    assert json.loads(line)["key"] == record.key
    assert "\x1b" not in line and "\r" not in line


def test_http_1_0_and_close_end_the_connection(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        signed = raw_s3.sign(CREDENTIALS, "GET", "/", {"host": client.authority})
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.headers.items())
        client.send(f"GET / HTTP/1.0\r\n{lines}\r\n".encode())
        answer = client.read_answer()
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
    with endpoint.client() as client:
        answer = client.request("GET", "/", headers={"connection": "close"})
        assert answer.headers["connection"] == "close"
