"""Bytes of clients that answers would repeat: none ends a line, none breaks an answer.

Source: the attack tables of the threat model (WEB-01, HTTP-07, XML-04).
"""

from __future__ import annotations

import time

import pytest

from tests.support.s3_gateway import S3Gateway


def cors_of(*children: str) -> bytes:
    return (
        "<CORSConfiguration><CORSRule><AllowedOrigin>http://*.test</AllowedOrigin>"
        f"<AllowedMethod>GET</AllowedMethod>{''.join(children)}</CORSRule></CORSConfiguration>"
    ).encode()


@pytest.mark.parametrize(
    "child",
    [
        "<ExposeHeader>a&#10;x-evil: b</ExposeHeader>",
        "<ExposeHeader>a&#13;&#10;&#13;&#10;b</ExposeHeader>",
        "<ExposeHeader>a b</ExposeHeader>",
        "<ExposeHeader>a, b</ExposeHeader>",
        "<AllowedHeader>a&#10;b</AllowedHeader>",
        "<AllowedOrigin>http://a&#10;b</AllowedOrigin>",
    ],
)
def test_web_01_rules_that_no_header_can_carry_are_refused(
    gateway: S3Gateway, bucket: str, child: str
) -> None:
    with gateway.raw() as client:
        answer = client.request("PUT", f"/{bucket}?cors=", cors_of(child))
        assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_web_01_origins_are_repeated_only_if_a_rule_names_them(
    gateway: S3Gateway, bucket: str
) -> None:
    with gateway.raw() as client:
        spaced = "<ExposeHeader>\n  etag\n</ExposeHeader>"
        assert client.request("PUT", f"/{bucket}?cors=", cors_of(spaced)).status == 200
        for origin in ("http://a.test.evil", "null", "http://evil/.test/", "HTTP://A.TEST", "*"):
            answer = client.request("GET", f"/{bucket}", b"", {"origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.headers["vary"] == "Origin"
        answer = client.request("GET", f"/{bucket}", b"", {"origin": "http://a.test"})
        assert answer.headers["access-control-allow-origin"] == "http://a.test"
        assert answer.headers["access-control-expose-headers"] == "etag"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_preflight_of_nobody_does_not_keep_the_process_busy(
    gateway: S3Gateway, bucket: str
) -> None:
    patterns = "".join(f"<AllowedHeader>*b{number}</AllowedHeader>" for number in range(1600))
    with gateway.raw() as client:
        body = cors_of(patterns, "<AllowedHeader>a*</AllowedHeader>")
        assert client.request("PUT", f"/{bucket}?cors=", body).status == 200
        head = {
            "host": client.authority,
            "origin": "http://a.test",
            "access-control-request-method": "GET",
        }
        wanted = {**head, "access-control-request-headers": ",".join(f"a{n:x}" for n in range(60))}
        client.send_head("OPTIONS", f"/{bucket}/k", wanted)
        assert client.read_answer().status == 200
        many = ",".join(f"a{number:x}" for number in range(1600))
        began = time.perf_counter()
        client.send_head(
            "OPTIONS", f"/{bucket}/k", {**head, "access-control-request-headers": many}
        )
        assert client.read_answer().code == "AccessForbidden"
        assert time.perf_counter() - began < 0.25
