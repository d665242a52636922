"""The form of requests: what is refused at once, and in what state the connection is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.limits import SMALL_BODY_BYTES_MAX
from tests.support import raw_s3
from tests.support.s3_endpoint import CREDENTIALS, Endpoint, running_endpoint


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def test_keys_are_decoded_once_and_never_normalised(endpoint: Endpoint) -> None:
    """HTTP-02, HTTP-04."""
    keys = {
        "/bucket/a%2Fb": "a/b",
        "/bucket/a/../b": "a/../b",
        "/bucket/%2e%2e/c": "../c",
        "/bucket//double//": "/double//",
        "/bucket/a%252Fb": "a%2Fb",
        "/bucket/plus+plus": "plus+plus",
        "/bucket/back%5Cslash": "back\\slash",
        "/bucket/%C3%A9t%C3%A9": "été",
    }
    with endpoint.client() as client:
        for target, key in keys.items():
            # The signer signs what S3 signs: the decoded key, encoded once.
            assert client.request("PUT", target, key.encode()).status == 200, target
            assert endpoint.store.objects["bucket"][key].content == key.encode()


@pytest.mark.parametrize("target", ["/bucket/%zz", "/bucket/%0", "/bucket/a%00b", "/bucket/%ff"])
def test_bad_escapes_are_refused(endpoint: Endpoint, target: str) -> None:
    """HTTP-04."""
    with endpoint.client() as client:
        answer = client.request("GET", target)
        assert answer.status == 400
        assert answer.code == "InvalidURI"


@pytest.mark.parametrize("target", ["http://evil/bucket/key", "https://127.0.0.1/bucket/key", "*"])
def test_only_origin_form_targets_are_accepted(endpoint: Endpoint, target: str) -> None:
    """HTTP-03."""
    with endpoint.client() as client:
        signed = raw_s3.sign(CREDENTIALS, "GET", target, {"host": client.authority})
        client.send_head("GET", target, signed.headers)
        assert client.read_answer().status == 400


@pytest.mark.parametrize("host", ["", "a b", "evil/../x", "a:b:c", "x" * 300, "[::1"])
def test_malformed_hosts_are_refused(endpoint: Endpoint, host: str) -> None:
    with endpoint.client() as client:
        client.send_head("GET", "/", {"host": host})
        assert client.read_answer().status == 400


def test_virtual_host_style(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        headers = {"host": "bucket.s3.test", "content-length": "2"}
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/v/host", headers, payload=raw_s3.UNSIGNED)
        client.send_head("PUT", "/v/host", signed.headers)
        client.send(b"vh")
        assert client.read_answer().status == 200
    assert endpoint.store.objects["bucket"]["v/host"].content == b"vh"


@pytest.mark.parametrize(
    "name",
    ["content-type", "range", "if-match", "x-amz-meta-a", "content-md5", "x-amz-date", "expect"],
)
def test_doubled_headers_that_we_interpret_are_refused(endpoint: Endpoint, name: str) -> None:
    """HTTP-06."""
    with endpoint.client() as client:
        given = {"host": client.authority, name: "a"}
        if name == "x-amz-date":
            given = {"host": client.authority}
        signed = raw_s3.sign(CREDENTIALS, "GET", "/bucket/key", given)
        client.send_head("GET", "/bucket/key", {**signed.headers, name.title(): "b"})
        answer = client.read_answer()
        assert answer.status == 400
        assert answer.code in ("InvalidRequest", "InvalidArgument", "BadRequest")


def test_doubled_query_parameters_are_refused(endpoint: Endpoint) -> None:
    """SIG-13."""
    with endpoint.client() as client:
        answer = client.request("GET", "/bucket?prefix=a&prefix=b")
        assert (answer.status, answer.code) == (400, "InvalidArgument")


MALFORMED = {
    "content-length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "two content-lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "space before colon": b"Content-Length : 5\r\n",
    "folded header": b"X-A: b\r\n c\r\n",
    "negative length": b"Content-Length: -1\r\n",
    "unknown coding": b"Transfer-Encoding: xchunked\r\n",
    "too many headers": b"".join(b"x-h%d: v\r\n" % index for index in range(400)),
    "header too long": b"x-long: " + b"<secret>" * 4000 + b"\r\n",
    "control character": b"x-a: a\x00b\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_http_is_answered_with_s3_xml_and_no_echo(endpoint: Endpoint, case: str) -> None:
    """HTTP-05, HTTP-07."""
    with endpoint.client() as client:
        host = client.authority.encode()
        client.send(
            b"PUT /bucket/<secret> HTTP/1.1\r\nHost: " + host + b"\r\n" + MALFORMED[case] + b"\r\n"
        )
        answer = client.read_answer()
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/xml"
        assert b"secret" not in answer.body
        assert b"<RequestId>" in answer.body
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "raw", [b"\x16\x03\x01\x02\x00\x01\x00", b"NONSENSE\r\n\r\n", b"GET\r\n\r\n"]
)
def test_bytes_that_are_not_http_are_answered_and_cut(endpoint: Endpoint, raw: bytes) -> None:
    """HTTP-07."""
    with endpoint.client() as client:
        client.send(raw + b"\r\n\r\n")
        assert client.read_answer().status == 400
        assert not client.is_open()


def test_a_put_without_length_is_refused(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        signed = raw_s3.sign(
            CREDENTIALS, "PUT", "/bucket/k", {"host": client.authority}, payload=raw_s3.UNSIGNED
        )
        client.send_head("PUT", "/bucket/k", signed.headers)
        answer = client.read_answer()
        assert (answer.status, answer.code) == (411, "MissingContentLength")
    assert "k" not in endpoint.store.objects["bucket"]


def test_a_short_body_in_http_chunks_is_measured_and_a_long_one_refused(
    endpoint: Endpoint,
) -> None:
    with endpoint.client() as client:
        given = {"host": client.authority}
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/k", given, payload=raw_s3.UNSIGNED)
        signed.headers["transfer-encoding"] = "chunked"
        client.send_head("PUT", "/bucket/k", signed.headers)
        client.send(b"3\r\nbar\r\n4\r\nfood\r\n0\r\n\r\n")
        assert client.read_answer().status == 200
        assert client.request("GET", "/bucket/k").body == b"barfood"
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/long", given, payload=raw_s3.UNSIGNED)
        signed.headers["transfer-encoding"] = "chunked"
        client.send_head("PUT", "/bucket/long", signed.headers)
        client.send(b"%x\r\n" % (SMALL_BODY_BYTES_MAX + 1) + bytes(SMALL_BODY_BYTES_MAX + 1))
        answer = client.read_answer()
        assert (answer.status, answer.code) == (411, "MissingContentLength")
    assert "long" not in endpoint.store.objects["bucket"]


def test_the_connection_serves_on_after_an_ordinary_error(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        for _ in range(3):
            answer = client.request("GET", "/bucket/absent")
            assert (answer.status, answer.code) == (404, "NoSuchKey")
        assert client.request("PUT", "/absent/key", b"x" * 5000).status == 404
        assert client.request("PUT", "/bucket/after", b"fine").status == 200
        assert client.request("GET", "/bucket/after").body == b"fine"


def test_a_long_unread_body_costs_the_connection(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        given = {"host": client.authority, "content-length": str(10 << 20)}
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/absent/key", given, payload=raw_s3.UNSIGNED)
        client.send_head("PUT", "/absent/key", signed.headers)
        answer = client.read_answer()
        assert answer.status == 404
        assert answer.headers["connection"] == "close"


def test_errors_of_head_have_no_body(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        answer = client.request("HEAD", "/bucket/absent")
        assert answer.status == 404
        assert len(answer.headers["x-amz-request-id"]) == 16
        assert client.request("GET", "/bucket/absent").code == "NoSuchKey"


def test_errors_carry_the_ids_of_the_request(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        answer = client.request("GET", "/bucket/absent")
        request_id = answer.headers["x-amz-request-id"]
        assert request_id == request_id.upper() and len(request_id) == 16
        assert f"<RequestId>{request_id}</RequestId>".encode() in answer.body
        assert answer.headers["server"] == "Hexagone"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_pipelined_requests_are_answered_in_order(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        client.request("PUT", "/bucket/p1", b"one")
        client.request("PUT", "/bucket/p2", b"two")
        for target in ("/bucket/p1", "/bucket/p2"):
            signed = raw_s3.sign(CREDENTIALS, "GET", target, {"host": client.authority})
            client.send_head("GET", target, signed.headers)
        assert [client.read_answer().body for _ in range(2)] == [b"one", b"two"]


def test_too_many_connections_and_requests_are_refused_early() -> None:
    """HTTP-10."""
    with running_endpoint(connections_max=1) as busy, busy.client() as first:
        assert first.request("GET", "/").status == 200
        with busy.client() as second, pytest.raises((raw_s3.ClosedByServer, ConnectionError)):
            second.request("GET", "/")
        assert first.request("GET", "/").status == 200
    with running_endpoint(requests_max=0) as busy, busy.client() as client:
        answer = client.request("GET", "/")
        assert (answer.status, answer.code) == (503, "SlowDown")
        assert "retry-after" in answer.headers
    with running_endpoint(large_bodies_max=0) as busy, busy.client() as client:
        assert client.request("PUT", "/bucket/small", b"x").status == 200
        answer = client.request("PUT", "/bucket/large", bytes(1 << 20))
        assert (answer.status, answer.code) == (503, "SlowDown")


def test_a_head_that_never_ends_is_cut() -> None:
    """HTTP-10."""
    with running_endpoint(keep_alive_s=0.3) as running, running.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        with pytest.raises(raw_s3.ClosedByServer):
            client.read_answer()
