"""Bodies at the endpoint: what is stored is what was sent, if all of it came as promised."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
import zlib
from collections.abc import Iterator

import pytest

from gateway.s3.body import BodyPace
from tests.support import raw_s3
from tests.support.s3_endpoint import CREDENTIALS, Endpoint, running_endpoint


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint(pace=BodyPace(idle_s=0.4, floor_bytes_per_s=512, window_s=60)) as running:
        yield running


def wait_until(condition: object, timeout_s: float = 5.0) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_gzip_bodies_are_never_inflated(endpoint: Endpoint) -> None:
    """HTTP-01."""
    bomb = gzip.compress(bytes(10_000_000))
    with endpoint.client() as client:
        answer = client.request("PUT", "/bucket/gz", bomb, {"content-encoding": "gzip"})
        assert answer.status == 200
        stored = endpoint.store.objects["bucket"]["gz"]
        assert stored.content == bomb
        assert ("content-encoding", "gzip") in stored.head.metadata.headers
        answer = client.request("GET", "/bucket/gz")
        assert answer.body == bomb
        assert answer.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("mode", raw_s3.STREAMING_MODES)
@pytest.mark.parametrize("length", [0, 1, 70_000, 1_000_000])
def test_streaming_modes_store_the_decoded_content(
    endpoint: Endpoint, mode: str, length: int
) -> None:
    content = bytes(index % 251 for index in range(length))
    with endpoint.client() as client:
        assert client.put_chunked("/bucket/chunked", content, mode).status == 200
        stored = endpoint.store.objects["bucket"]["chunked"]
        assert stored.content == content
        assert not [pair for pair in stored.head.metadata.headers if pair[0] == "content-encoding"]
        assert client.request("HEAD", "/bucket/chunked").status == 200  # same connection


FRAMED = b"7\r\ncontent\r\n0\r\nx-amz-checksum-crc32:" + raw_s3.crc32_text(b"content").encode()
FRAMED += b"\r\n\r\n"
IN_CHUNKS = {
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "7",
    "x-amz-trailer": "x-amz-checksum-crc32",
}


def test_chunks_of_who_signs_no_digest_are_decoded(endpoint: Endpoint) -> None:
    """Presigned requests, and those of Version 2, have no header to say that in."""
    with endpoint.client() as client:
        given = {"host": client.authority, **IN_CHUNKS}
        signed = raw_s3.presign(CREDENTIALS, "PUT", "/bucket/framed", given)
        length = {"content-length": str(len(FRAMED))}
        client.send_head("PUT", signed.target, {**signed.headers, **length})
        client.send(FRAMED)
        assert client.read_answer().status == 200
        assert endpoint.store.objects["bucket"].pop("framed").content == b"content"
        answer = client.request("PUT", "/bucket/framed", FRAMED, IN_CHUNKS, payload=raw_s3.UNSIGNED)
        assert answer.status == 200
        assert endpoint.store.objects["bucket"].pop("framed").content == b"content"
        wrong = {**IN_CHUNKS, "x-amz-decoded-content-length": "6"}
        answer = client.request("PUT", "/bucket/framed", FRAMED, wrong, payload=raw_s3.UNSIGNED)
        assert answer.status == 400
    assert "framed" not in endpoint.store.objects["bucket"]


def test_chunks_are_not_announced_beside_a_digest_of_the_body(endpoint: Endpoint) -> None:
    trailer = {"x-amz-trailer": "x-amz-checksum-crc32"}
    with endpoint.client() as client:
        for headers in (IN_CHUNKS, trailer, {**trailer, "content-encoding": "gzip"}):
            for body in (FRAMED, b""):
                answer = client.request("PUT", "/bucket/announced", body, headers)
                assert (answer.status, answer.code) == (400, "InvalidRequest")
        answer = client.request("PUT", "/bucket/announced", b"x", trailer, payload=raw_s3.UNSIGNED)
        assert (answer.status, answer.code) == (400, "InvalidRequest")
        assert "announced" not in endpoint.store.objects["bucket"]
        stated = {"x-amz-decoded-content-length": "1"}  # of a body that is as it is
        assert client.request("PUT", "/bucket/announced", b"x", stated).status == 200


def test_aws_chunked_is_taken_off_the_content_encoding(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        for encoding, kept in (
            ("aws-chunked,gzip", "gzip"),
            ("gzip, aws-chunked", "gzip"),
            ("br,AWS-Chunked, gzip", "br,gzip"),
        ):
            headers = {
                "host": client.authority,
                "content-encoding": encoding,
                "x-amz-decoded-content-length": "3",
            }
            signed = raw_s3.sign(
                CREDENTIALS, "PUT", "/bucket/e", headers, payload=raw_s3.SIGNED_CHUNKS
            )
            body = raw_s3.encode_chunks(signed, raw_s3.SIGNED_CHUNKS, b"abc")
            signed.headers["content-length"] = str(len(body))
            client.send_head("PUT", "/bucket/e", signed.headers)
            client.send(body)
            assert client.read_answer().status == 200
            assert endpoint.store.objects["bucket"]["e"].head.metadata.headers == (
                ("content-encoding", kept),
            )


def test_wrong_digests_store_nothing(endpoint: Endpoint) -> None:
    body = b"content"
    wrong_md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    wrong_crc = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    cases = [
        ({"content-md5": wrong_md5}, None, "BadDigest"),
        ({"content-md5": "nonsense"}, None, "InvalidDigest"),
        ({"x-amz-checksum-crc32": wrong_crc}, None, "BadDigest"),
        ({"x-amz-checksum-crc32": "nonsense"}, None, "BadDigest"),
        ({}, hashlib.sha256(b"other").hexdigest(), "XAmzContentSHA256Mismatch"),
    ]
    with endpoint.client() as client:
        for headers, payload, code in cases:
            answer = client.request("PUT", "/bucket/wrong", body, headers, payload=payload)
            assert (answer.status, answer.code) == (400, code)
    assert "wrong" not in endpoint.store.objects["bucket"]


def send_trailer(endpoint: Endpoint, announced: str, trailer: str) -> raw_s3.Answer:
    mode = raw_s3.UNSIGNED_CHUNKS_TRAILER
    with endpoint.client() as client:
        headers = {"host": client.authority, "x-amz-decoded-content-length": "7"}
        if announced:
            headers["x-amz-trailer"] = announced
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/trailer", headers, payload=mode)
        body = raw_s3.encode_chunks(signed, mode, b"content", trailer=trailer)
        signed.headers["content-length"] = str(len(body))
        client.send_head("PUT", "/bucket/trailer", signed.headers)
        client.send(body)
        return client.read_answer()


def test_trailers_must_be_what_was_announced(endpoint: Endpoint) -> None:
    """SIG-11."""
    right = f"x-amz-checksum-crc32:{raw_s3.crc32_text(b'content')}"
    wrong = f"x-amz-checksum-crc32:{raw_s3.crc32_text(b'other')}"
    assert send_trailer(endpoint, "x-amz-checksum-crc32", wrong).code == "BadDigest"
    assert send_trailer(endpoint, "x-amz-checksum-crc32", "").status == 400
    assert send_trailer(endpoint, "x-amz-checksum-sha1", right).status == 400
    assert send_trailer(endpoint, "", right).status == 400
    assert "trailer" not in endpoint.store.objects["bucket"]
    assert send_trailer(endpoint, "x-amz-checksum-crc32", right).status == 200


@pytest.mark.parametrize("mode", [raw_s3.SIGNED_CHUNKS, raw_s3.SIGNED_CHUNKS_TRAILER])
def test_a_wrong_chunk_signature_stores_nothing(endpoint: Endpoint, mode: str) -> None:
    """SIG-10."""
    with endpoint.client() as client:
        headers = {"host": client.authority, "x-amz-decoded-content-length": "100000"}
        trailer = ""
        if mode.endswith("TRAILER"):
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
            trailer = f"x-amz-checksum-crc32:{raw_s3.crc32_text(bytes(100000))}"
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/forged", headers, payload=mode)
        body = bytearray(raw_s3.encode_chunks(signed, mode, bytes(100000), trailer=trailer))
        body[50_000] ^= 1
        client.send_head(
            "PUT", "/bucket/forged", {**signed.headers, "content-length": str(len(body))}
        )
        client.send(bytes(body))
        answer = client.read_answer()
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    assert "forged" not in endpoint.store.objects["bucket"]


def test_a_streaming_body_needs_its_decoded_length(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        answer = client.request(
            "PUT", "/bucket/k", b"0\r\n\r\n", payload=raw_s3.UNSIGNED_CHUNKS_TRAILER
        )
        assert (answer.status, answer.code) == (411, "MissingContentLength")


def test_a_stalled_body_is_cut(endpoint: Endpoint) -> None:
    """HTTP-10."""
    with endpoint.client() as client:
        given = {"host": client.authority, "content-length": "200000"}
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/stall", given, payload=raw_s3.UNSIGNED)
        client.send_head("PUT", "/bucket/stall", signed.headers)
        client.send(bytes(1000))
        began = time.monotonic()
        answer = client.read_answer()
        assert (answer.status, answer.code) == (400, "RequestTimeout")
        assert 0.3 < time.monotonic() - began < 3
        assert not client.is_open()
    assert "stall" not in endpoint.store.objects["bucket"]


def test_a_trickling_body_is_cut() -> None:
    """HTTP-10."""
    pace = BodyPace(idle_s=5, floor_bytes_per_s=10_000, window_s=0.4)
    with running_endpoint(pace=pace) as running, running.client() as client:
        given = {"host": client.authority, "content-length": "200000"}
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/drip", given, payload=raw_s3.UNSIGNED)
        client.send_head("PUT", "/bucket/drip", signed.headers)
        sent = 0
        for _ in range(40):
            try:
                client.send(b"x" * 10)
            except ConnectionError:
                break
            sent += 10
            if running.metrics.operation("PutObject").requests:
                break
            time.sleep(0.05)
        assert running.metrics.operation("PutObject").errors == {"RequestTimeout": 1}
        assert 0 < sent < 400
        assert "drip" not in running.store.objects["bucket"]


def test_a_client_that_goes_away_leaves_nothing(endpoint: Endpoint) -> None:
    for leave in ("close", "reset"):
        errors = endpoint.metrics.operation("PutObject").errors
        before = sum(errors.values())
        endpoint.store.reading.clear()
        client = endpoint.client()
        given = {"host": client.authority, "content-length": "200000"}
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/gone", given, payload=raw_s3.UNSIGNED)
        client.send_head("PUT", "/bucket/gone", signed.headers)
        client.send(bytes(100_000))
        assert endpoint.store.reading.wait(5)
        getattr(client, leave)()
        wait_until(lambda before=before, errors=errors: sum(errors.values()) > before)
        assert "gone" not in endpoint.store.objects["bucket"]


def test_continue_is_answered_only_after_authentication(endpoint: Endpoint) -> None:
    """HTTP-08."""
    with endpoint.client() as client:
        given = {"host": client.authority, "content-length": "4", "expect": "100-continue"}
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/expect", given, payload=raw_s3.UNSIGNED)
        client.send_head("PUT", "/bucket/expect", signed.headers)
        raw = client.connect().recv(1000)
        assert raw == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"body")
        assert client.read_answer().status == 200
    assert endpoint.store.objects["bucket"]["expect"].content == b"body"
    for spoilt, status in (("/bucket/other", 403), ("/absent/expect", 404)):
        with endpoint.client() as client:
            given = {"host": client.authority, "content-length": "4", "expect": "100-continue"}
            target = spoilt if status == 404 else "/bucket/expect"
            signed = raw_s3.sign(CREDENTIALS, "PUT", target, given, payload=raw_s3.UNSIGNED)
            client.send_head("PUT", spoilt, signed.headers)
            answer = client.read_answer()
            assert (answer.status, answer.interim) == (status, ())
            assert answer.headers["connection"] == "close"


def test_an_empty_body_is_let_through_as_well(endpoint: Endpoint) -> None:
    """A client library that gets its final answer at once sends nothing more on that connection."""
    with endpoint.client() as client:
        for key in ("e1", "e2"):
            given = {"host": client.authority, "content-length": "0", "expect": "100-continue"}
            target = f"/bucket/{key}"
            signed = raw_s3.sign(CREDENTIALS, "PUT", target, given, payload=raw_s3.UNSIGNED)
            client.send_head("PUT", target, signed.headers)
            answer = client.read_answer()
            assert (answer.status, answer.interim) == (200, (100,))
            assert endpoint.store.objects["bucket"][key].content == b""


def test_other_expectations_are_overlooked(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        for expectation in ("miracle", "200", ""):
            answer = client.request("PUT", "/bucket/x", b"x", {"expect": expectation})
            assert answer.status == 200


DELETE = b"<Delete><Object><Key>%s</Key></Object></Delete>"


def test_delete_objects_needs_a_protected_body(endpoint: Endpoint) -> None:
    endpoint.store.objects["bucket"].clear()
    body = DELETE % b"k1"
    with endpoint.client() as client:
        client.request("PUT", "/bucket/k1", b"x")
        answer = client.request("POST", "/bucket?delete=", body, payload=raw_s3.UNSIGNED)
        assert (answer.status, answer.code) == (400, "InvalidRequest")
        md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        answer = client.request(
            "POST", "/bucket?delete=", body, {"content-md5": md5}, payload=raw_s3.UNSIGNED
        )
        assert (answer.status, answer.code) == (400, "BadDigest")
        assert "k1" in endpoint.store.objects["bucket"]
        answer = client.request("POST", "/bucket?delete=", body)  # the signature covers its digest
        assert answer.status == 200
        assert b"<Deleted><Key>k1</Key></Deleted>" in answer.body
    assert "k1" not in endpoint.store.objects["bucket"]


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE Delete [<!ENTITY a "b">]>' + DELETE % b"&a;",
        b"<!DOCTYPE Delete>" + DELETE % b"k",
        b"<Delete>" + b"<a>" * 20_000 + b"</a>" * 20_000 + b"</Delete>",
        b"<Delete><Object><Key>k</Key></Object>",
        b"<Other/>",
        b"",
        "<Delete/>".encode("utf-16"),
    ],
    ids=["entity", "doctype", "deep", "cut", "other", "empty", "utf-16"],
)
def test_bad_xml_is_refused_and_does_nothing(endpoint: Endpoint, body: bytes) -> None:
    writes = endpoint.store.writes
    with endpoint.client() as client:
        answer = client.request("POST", "/bucket?delete=", body)
        assert (answer.status, answer.code) == (400, "MalformedXML")
        answer = client.request("POST", "/bucket/key?uploadId=u", body)
        assert (answer.status, answer.code) == (400, "MalformedXML")
    assert endpoint.store.writes == writes


def test_an_xml_body_that_is_too_large_is_not_read(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        given = {"host": client.authority, "content-length": str(64 << 20)}
        signed = raw_s3.sign(CREDENTIALS, "POST", "/bucket?delete=", given)
        client.send_head("POST", "/bucket?delete=", signed.headers)
        answer = client.read_answer()
        assert answer.status == 400
        assert answer.headers["connection"] == "close"


def test_headers_that_mean_what_we_do_not_do_are_refused(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        for name, value in (
            ("x-amz-if-match-size", "1"),
            ("x-amz-if-match-last-modified-time", "2026-01-01T00:00:00Z"),
            ("x-amz-write-offset-bytes", "0"),
        ):
            # Objects are put at an offset; parts are not.
            is_part = "?partNumber=1&uploadId=u" if name.endswith("offset-bytes") else ""
            answer = client.request("PUT", f"/bucket/refused{is_part}", b"x", {name: value})
            assert (answer.status, answer.code) == (501, "NotImplemented"), name
        assert client.request("PUT", "/bucket/kept", b"x", {"x-amz-unknown": "1"}).status == 200
    assert "refused" not in endpoint.store.objects["bucket"]
