"""CORS and websites: rules without a server, and that any document or head is read or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.errors import InvalidArgument, InvalidRequest
from gateway.objects.context import Principal
from gateway.objects.cors import METHODS, CorsRule, check_rules, find_rule
from gateway.objects.credentials import Credentials
from gateway.objects.website import Redirect, RoutingRule, Website, check_website
from gateway.s3 import sigv2
from gateway.s3.errors import S3Error
from gateway.s3.operations.cors import parse_cors
from gateway.s3.operations.website import parse_website
from gateway.s3.sigv4 import RequestHead
from tests.support.s3_endpoint import PRINCIPAL

REFUSED = (S3Error, InvalidArgument, InvalidRequest)
CORS_NAMES = ["CORSRule", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader"]
CORS_NAMES += ["MaxAgeSeconds", "ID"]
WEBSITE_NAMES = ["IndexDocument", "Suffix", "ErrorDocument", "Key", "RedirectAllRequestsTo"]
WEBSITE_NAMES += ["HostName", "Protocol", "RoutingRules", "RoutingRule", "Condition", "Redirect"]
WEBSITE_NAMES += ["KeyPrefixEquals", "HttpErrorCodeReturnedEquals", "HttpRedirectCode"]


def trees(root: str, names: list[str]) -> st.SearchStrategy[bytes]:
    """Documents of these elements in any order, some of them well-formed by chance."""
    texts = st.sampled_from(["", "GET", "PUT", "*", "a*", "**", "7", "-1", "404", "http", "é&lt;"])
    element = st.recursive(
        st.tuples(st.sampled_from(names), texts).map(lambda it: f"<{it[0]}>{it[1]}</{it[0]}>"),
        lambda inner: st.tuples(st.sampled_from(names), st.lists(inner, max_size=4)).map(
            lambda it: f"<{it[0]}>{''.join(it[1])}</{it[0]}>"
        ),
        max_leaves=12,
    )
    return st.lists(element, max_size=4).map(lambda it: f"<{root}>{''.join(it)}</{root}>".encode())


@given(trees("CORSConfiguration", CORS_NAMES) | st.binary(max_size=80))
def test_any_cors_document_is_read_or_refused(body: bytes) -> None:
    try:
        rules = parse_cors(body)
        check_rules(rules)
    except REFUSED:
        return
    for rule in rules:
        assert rule.origins and rule.methods and METHODS.issuperset(rule.methods)


@given(trees("WebsiteConfiguration", WEBSITE_NAMES) | st.binary(max_size=80))
def test_any_website_document_is_read_or_refused(body: bytes) -> None:
    try:
        website = parse_website(body)
        check_website(website)
    except REFUSED:
        return
    assert website.all_requests is not None or website.index


@pytest.mark.parametrize(
    ("pattern", "origin", "admitted"),
    [
        ("*", "anything", True),
        ("http://a", "http://a", True),
        ("http://a", "HTTP://a", False),
        ("http://*.a", "http://b.a", True),
        ("http://*.a", "http://.a", True),
        ("http://*.a", "http://a", False),
        ("ab*ba", "aba", False),  # the two ends may not overlap
        ("ab*ba", "abba", True),
        ("a*", "ba", False),
    ],
)
def test_patterns_of_origins(pattern: str, origin: str, admitted: bool) -> None:
    rule = CorsRule(origins=(pattern,), methods=("GET",))
    assert (find_rule([rule], origin, "GET") is rule) is admitted


def test_the_first_rule_that_admits_counts() -> None:
    rules = [
        CorsRule(origins=("a",), methods=("GET",)),
        CorsRule(origins=("*",), methods=("GET", "PUT"), headers=("X-*",)),
        CorsRule(origins=("a",), methods=("PUT",), headers=("*",)),
    ]
    assert find_rule(rules, "a", "GET") is rules[0]
    assert find_rule(rules, "a", "GET", ["x-b"]) is rules[1]
    assert find_rule(rules, "a", "PUT", ["x-b", "other"]) is rules[2]
    assert find_rule(rules, "b", "PUT", ["other"]) is None


def test_routing_rules() -> None:
    moved = RoutingRule(prefix="old/", redirect=Redirect(prefix="new/"))
    lost = RoutingRule(error=404, redirect=Redirect(key="found"))
    website = Website(index="i", rules=(moved, lost))
    assert website.rule_for("old/x", None) is moved
    assert website.rule_for("x", None) is None
    assert website.rule_for("old/x", 404) is lost
    assert moved.new_key("old/x/y") == "new/x/y"
    assert lost.new_key("x") == "found"
    assert [website.page_key(key) for key in ("", "a/", "a")] == ["i", "a/i", "a"]


@dataclass
class OneSecret:
    """Credentials of one key whose signatures are all alike."""

    def sign_v2(self, access_key_id: str, text: bytes) -> tuple[Principal, bytes] | None:
        return (PRINCIPAL, bytes(20)) if access_key_id == "known" else None


@given(
    authorization=st.none() | st.text(max_size=30) | st.just("AWS known:" + "A" * 27 + "="),
    date=st.none() | st.text(max_size=12) | st.just("Mon, 23 Nov 2026 01:00:00 GMT"),
    query=st.lists(
        st.sampled_from(["Expires=99999999999", "Expires=1", "AWSAccessKeyId=known", "acl", "%"])
        | st.sampled_from(["Signature=" + "A" * 27 + "%3D", "versionId=%ff", "x=1", "="]),
        max_size=5,
    ).map("&".join),
)
def test_any_head_is_signed_or_refused(
    authorization: str | None, date: str | None, query: str
) -> None:
    headers = [("host", "h"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]
    headers += [] if authorization is None else [("authorization", authorization)]
    headers += [] if date is None else [("x-amz-date", date)]
    head = RequestHead(method="GET", raw_path="/b", raw_query=query, headers=headers)
    try:
        _, principal = sigv2.identify(
            head, cast(Credentials, OneSecret()), now_ms=1_795_395_600_000, host_bucket=None
        )
    except S3Error as error:
        assert error.code in {
            "AccessDenied",
            "InvalidAccessKeyId",
            "InvalidArgument",
            "InvalidURI",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
        }
    else:
        assert principal is PRINCIPAL
