"""Signatures at the endpoint: no route may be reached without one that holds.

The matrix is made from the route table, so a route that is added is tested by being there.

Source: MinIO CVE-2025-31489, CVE-2026-41145, CVE-2026-40344; RustFS GHSA-g8w9-qw9q-fghr.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from gateway.s3.actions import Operation
from gateway.s3.operations import table as operation_tables
from gateway.s3.operations.table import OPERATIONS
from tests.support import raw_s3
from tests.support.raw_s3 import Answer, RawClient
from tests.support.route_matrix import EVERY
from tests.support.s3_endpoint import CREDENTIALS, Endpoint, running_endpoint

MODES = ("0" * 64, raw_s3.UNSIGNED, *raw_s3.STREAMING_MODES)
# Every route, whether it is implemented or not; a preflight is signed by nobody.
ROUTES = sorted(
    {
        (one.method, one.target.replace("{bucket}", "bucket").replace("{id}", "u"))
        for one in EVERY
        if one.method != "OPTIONS"
    }
)
FORBIDDEN = (403, "SignatureDoesNotMatch")


@pytest.fixture
def old_signatures(endpoint: Endpoint) -> Iterator[Endpoint]:
    """The endpoint with Signature Version 2, as a test profile takes it."""
    services = endpoint.frontend._services
    services.sigv2 = True
    yield endpoint
    services.sigv2 = False


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def head_for(client: RawClient, mode: str) -> raw_s3.Headers:
    headers = {"host": client.authority, "content-length": "5"}
    if mode in raw_s3.STREAMING_MODES:
        headers["x-amz-decoded-content-length"] = "5"
    if mode.endswith("TRAILER"):
        headers["x-amz-trailer"] = "x-amz-checksum-crc32"
    return headers


def spoil(signature: str) -> str:
    return signature[:-1] + ("0" if signature[-1] != "0" else "1")


def send(client: RawClient, method: str, target: str, headers: raw_s3.Headers) -> Answer:
    client.send_head(method, target, headers)
    client.send(b"hello")
    return client.read_answer(is_head=method == "HEAD")


def told(answer: Answer, method: str, code: str) -> tuple[int, str]:
    """Status and code; answers to HEAD have no body to say the code in."""
    return answer.status, code if method == "HEAD" else answer.code


def test_the_matrix_has_every_operation() -> None:
    """SIG-03."""
    asked = {one.operation for one in EVERY if one.method != "OPTIONS"}
    assert asked == set(Operation) - {Operation.OPTIONS_OBJECT}
    assert ("PUT", "/bucket/k") in ROUTES and ("POST", "/bucket?delete=") in ROUTES


def test_every_function_is_that_of_an_operation_of_s3() -> None:
    assert set(OPERATIONS) <= {operation.value for operation in Operation}
    names = [
        name
        for name in dir(operation_tables)
        if hasattr(getattr(operation_tables, name), "OPERATIONS")
    ]
    assert len(OPERATIONS) == sum(len(getattr(operation_tables, name).OPERATIONS) for name in names)


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_signature_in_the_header_reaches_no_route(endpoint: Endpoint, mode: str) -> None:
    """SIG-01, SIG-03, SIG-04."""
    writes = endpoint.store.writes
    with endpoint.client() as client:
        for method, target in ROUTES:
            signed = raw_s3.sign(CREDENTIALS, method, target, head_for(client, mode), payload=mode)
            authorization = signed.headers["authorization"]
            signed.headers["authorization"] = authorization[:-64] + spoil(signed.signature)
            answer = send(client, method, target, signed.headers)
            assert told(answer, method, FORBIDDEN[1]) == FORBIDDEN, target
    assert endpoint.store.writes == writes


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_signature_in_the_query_reaches_no_route(endpoint: Endpoint, mode: str) -> None:
    """SIG-02, SIG-03."""
    writes = endpoint.store.writes
    with endpoint.client() as client:
        for method, target in ROUTES:
            headers = head_for(client, mode)
            if mode != raw_s3.UNSIGNED:
                headers["x-amz-content-sha256"] = mode
            signed = raw_s3.presign(CREDENTIALS, method, target, headers, payload=mode)
            spoilt = signed.target[:-64] + spoil(signed.signature)
            answer = send(client, method, spoilt, signed.headers)
            assert told(answer, method, FORBIDDEN[1]) == FORBIDDEN, target
    assert endpoint.store.writes == writes


@pytest.mark.parametrize("mode", [None, *MODES])
def test_no_route_is_open_to_anonymous_requests(endpoint: Endpoint, mode: str | None) -> None:
    """SIG-03."""
    writes = endpoint.store.writes
    with endpoint.client() as client:
        for method, target in ROUTES:
            headers = head_for(client, mode or "")
            if mode is not None:
                headers["x-amz-content-sha256"] = mode
            answer = send(client, method, target, headers)
            # The bucket of these routes is not there, as everybody may know.
            refusals = ((403, "AccessDenied"), (404, "NoSuchBucket"))
            hidden = "AccessDenied" if answer.status == 403 else "NoSuchBucket"
            assert told(answer, method, hidden) in refusals, target
    assert endpoint.store.writes == writes


def test_an_unsigned_amz_header_is_refused_on_every_route(endpoint: Endpoint) -> None:
    """SIG-05."""
    writes = endpoint.store.writes
    added = {"x-amz-copy-source": "/bucket/other"}
    with endpoint.client() as client:
        for method, target in ROUTES:
            headers = head_for(client, raw_s3.UNSIGNED)
            signed = raw_s3.sign(CREDENTIALS, method, target, headers, payload=raw_s3.UNSIGNED)
            answer = send(client, method, target, {**signed.headers, **added})
            assert told(answer, method, "AccessDenied") == (403, "AccessDenied"), target
            signed = raw_s3.presign(CREDENTIALS, method, target, headers)
            answer = send(client, method, signed.target, {**signed.headers, **added})
            assert told(answer, method, "AccessDenied") == (403, "AccessDenied"), target
    assert endpoint.store.writes == writes


@pytest.mark.parametrize(
    "name", ["x-amz-tagging", "x-amz-storage-class", "x-amz-acl", "x-amz-object-lock-mode"]
)
def test_headers_that_change_a_write_must_be_signed(endpoint: Endpoint, name: str) -> None:
    with endpoint.client() as client:
        headers = head_for(client, raw_s3.UNSIGNED)
        signed = raw_s3.presign(CREDENTIALS, "PUT", "/bucket/unsigned", headers)
        answer = send(client, "PUT", signed.target, {**signed.headers, name: "x"})
        assert (answer.status, answer.code) == (403, "AccessDenied")
    assert "unsigned" not in endpoint.store.objects["bucket"]


def test_two_places_of_credentials_are_refused(endpoint: Endpoint) -> None:
    """SIG-06."""
    writes = endpoint.store.writes
    with endpoint.client() as client:
        for method, target in ROUTES:
            headers = head_for(client, raw_s3.UNSIGNED)
            by_header = raw_s3.sign(CREDENTIALS, method, target, headers, payload=raw_s3.UNSIGNED)
            by_query = raw_s3.presign(CREDENTIALS, method, target, headers)
            answer = send(client, method, by_query.target, by_header.headers)
            assert answer.status == 400, target
    assert endpoint.store.writes == writes


def version_2(client: RawClient, target: str, *, in_query: bool) -> tuple[str, raw_s3.Headers]:
    """Target and headers with a wrong signature of Version 2."""
    date = formatdate(usegmt=True)
    headers = {"host": client.authority, "content-length": "5", "date": date}
    if in_query:
        mark = "&" if "?" in target else "?"
        proof = f"AWSAccessKeyId={CREDENTIALS.access_key_id}&Expires=99999999999&Signature=AAAA"
        return f"{target}{mark}{proof}", headers
    headers["authorization"] = f"AWS {CREDENTIALS.access_key_id}:AAAAAAAAAAAAAAAAAAAAAAAAAAA="
    return target, headers


@pytest.mark.parametrize("in_query", [False, True])
def test_version_2_is_refused_on_every_route(endpoint: Endpoint, in_query: bool) -> None:
    """SIG-07."""
    writes = endpoint.store.writes
    with endpoint.client() as client:
        for method, target in ROUTES:
            signed, headers = version_2(client, target, in_query=in_query)
            answer = send(client, method, signed, headers)
            assert told(answer, method, "InvalidRequest") == (400, "InvalidRequest"), target
    assert endpoint.store.writes == writes


@pytest.mark.parametrize("in_query", [False, True])
def test_a_wrong_signature_of_version_2_reaches_no_route(
    old_signatures: Endpoint, in_query: bool
) -> None:
    """SIG-03, SIG-07."""
    endpoint = old_signatures
    writes = endpoint.store.writes
    with endpoint.client() as client:
        for method, target in ROUTES:
            signed, headers = version_2(client, target, in_query=in_query)
            answer = send(client, method, signed, headers)
            assert told(answer, method, FORBIDDEN[1]) == FORBIDDEN, target
    assert endpoint.store.writes == writes


def test_a_signature_of_version_2_beside_another_is_refused(old_signatures: Endpoint) -> None:
    """SIG-06."""
    endpoint, payload = old_signatures, raw_s3.UNSIGNED
    target, date = "/bucket/both", formatdate(usegmt=True)
    text = f"PUT\n\n\n{date}\n{target}".encode()
    digest = hmac.digest(CREDENTIALS.secret.encode(), text, "sha1")
    authorization = f"AWS {CREDENTIALS.access_key_id}:{base64.b64encode(digest).decode()}"
    with endpoint.client() as client:
        plain = {"host": client.authority, "content-length": "5", "date": date}
        by_header = {**plain, "authorization": authorization}
        assert send(client, "PUT", "/bucket/once", by_header).status == 403  # the key is signed
        by_query, _ = version_2(client, target, in_query=True)
        assert send(client, "PUT", by_query, by_header).status == 400
        version_4 = raw_s3.presign(CREDENTIALS, "PUT", target, {"host": client.authority})
        assert send(client, "PUT", version_4.target, by_header).status == 400
        old_and_new = f"{by_query}&{version_4.target.partition('?')[2]}"
        assert send(client, "PUT", old_and_new, plain).status == 400
        signed = raw_s3.sign(CREDENTIALS, "PUT", by_query, plain, payload=payload)
        assert send(client, "PUT", by_query, signed.headers).status == 400
        assert "both" not in endpoint.store.objects["bucket"]
        assert send(client, "PUT", target, by_header).status == 200


def test_two_authorization_headers_are_refused(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        headers = head_for(client, raw_s3.UNSIGNED)
        signed = raw_s3.sign(CREDENTIALS, "PUT", "/bucket/twice", headers, payload=raw_s3.UNSIGNED)
        client.send_head(
            "PUT", "/bucket/twice", {**signed.headers, "Authorization": "AWS4-HMAC-SHA256 none"}
        )
        client.send(b"hello")
        assert client.read_answer().status == 400
    assert "twice" not in endpoint.store.objects["bucket"]


def test_a_presigned_put_stores_and_an_unknown_key_id_does_not(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        headers = {"host": client.authority, "content-length": "5"}
        signed = raw_s3.presign(CREDENTIALS, "PUT", "/bucket/presigned", headers)
        assert send(client, "PUT", signed.target, signed.headers).status == 200
        stranger = raw_s3.Credentials("HXNOBODY000000000001", CREDENTIALS.secret)
        signed = raw_s3.presign(stranger, "PUT", "/bucket/stranger", headers)
        answer = send(client, "PUT", signed.target, signed.headers)
        assert (answer.status, answer.code) == (403, "InvalidAccessKeyId")
    assert endpoint.store.objects["bucket"]["presigned"].content == b"hello"
    assert "stranger" not in endpoint.store.objects["bucket"]


def test_what_is_not_there_is_not_implemented_for_those_who_may_ask(endpoint: Endpoint) -> None:
    writes = endpoint.store.writes
    with endpoint.client() as client:
        for target in ("/bucket?metadataTable", "/bucket?session"):
            answer = client.request("GET", target + "=")
            assert (answer.status, answer.code) == (501, "NotImplemented"), target
        answer = client.request("POST", "/bucket/key?select=", b"<Select/>")
        assert (answer.status, answer.code) == (501, "NotImplemented")
    assert endpoint.store.writes == writes


def test_internal_headers_are_refused(endpoint: Endpoint) -> None:
    with endpoint.client() as client:
        answer = client.request("PUT", "/bucket/internal", b"x", {"x-hexagone-tier": "1"})
        assert (answer.status, answer.code) == (403, "AccessDenied")
    assert "internal" not in endpoint.store.objects["bucket"]
