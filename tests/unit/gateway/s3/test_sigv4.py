"""SigV4: round trips, every change refused, and where credentials may be."""

from __future__ import annotations

import dataclasses
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.s3.signer import presign_url
from gateway.s3.sigv4 import (
    PayloadMode,
    RequestHead,
    authorize,
    derive_signing_key,
)
from tests.support.sigv4_requests import (
    BASE,
    EMPTY,
    KEY_ID,
    NOW_MS,
    REGIONS,
    SECRET,
    SIGNED_HEADER,
    SIGNED_QUERY,
    check,
    head_of,
    header,
    presigned,
    refused,
    signed,
    with_header,
    without_header,
)

# --- our own signer and its round trip --------------------------------------------------------

ODD_KEYS = [
    "plain",
    "with space",
    "100%",
    "a+b",
    "a%2Fb",
    "été/ключ/鍵",
    "../up",
    "a/../b",
    "//double//",
    "~tilde-_.",
    "q?x=1&y#z",
    "back\\slash",
    "*'()!;:@$,=[]{}|^`\"<>",
    "\x01\x7f",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_own_signer_and_verifier_agree(key: str) -> None:
    path = "/bucket/" + quote(key, safe="/~")
    assert check(signed(head_of(path=path, query="a=b+c&empty&x=%C3%A9"))) is not None
    assert check(presigned(head_of("GET", path, "versionId=1"))) is not None


def test_equivalent_spellings_have_one_signature() -> None:
    """SIG-13."""
    head = signed(head_of(path="/b/%C3%A9~%20+", query="p=a%20b&q"))
    for path, query in [
        ("/b/%c3%a9%7E%20%2B", "p=a+b&q="),
        ("/b/é~%20+", "q&p=a%20b"),
        ("%2Fb%2F%C3%A9~%20+", "&q&&p=%61%20b"),
    ]:
        assert check(dataclasses.replace(head, raw_path=path, raw_query=query)) is not None
    assert refused(dataclasses.replace(head, raw_path="/b/%C3%A9~++")).code == (
        "SignatureDoesNotMatch"
    )


def test_anonymous_is_none() -> None:
    assert check(head_of("GET")) is None
    assert check(head_of("GET", query="versionId=3")) is None


def test_empty_path_is_the_root() -> None:
    assert check(signed(head_of("GET", ""))) is not None


# --- any change is refused --------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(data=st.data(), in_query=st.booleans())
def test_any_change_of_a_signed_field_is_refused(data: st.DataObject, in_query: bool) -> None:
    head = SIGNED_QUERY if in_query else SIGNED_HEADER
    place = data.draw(st.sampled_from(["method", "path", "query", "header", "remove", "add"]))
    letter = data.draw(st.characters(min_codepoint=0x30, max_codepoint=0x39))
    changed = head
    if place == "method":
        changed = dataclasses.replace(head, method="GET")
    elif place == "path":
        at = data.draw(st.integers(0, len(head.raw_path)))
        path = head.raw_path[:at] + letter + head.raw_path[at:]
        changed = dataclasses.replace(head, raw_path=path)
    elif place == "query":
        at = data.draw(st.integers(0, len(head.raw_query)))
        query = head.raw_query[:at] + letter + head.raw_query[at:]
        changed = dataclasses.replace(head, raw_query=query)
    else:
        name, value = data.draw(st.sampled_from(list(head.headers)))
        if place == "header":
            at = data.draw(st.integers(0, len(value)))
            changed = with_header(head, name, value[:at] + letter + value[at:])
        elif place == "remove":
            if name == "authorization":
                return
            changed = without_header(head, name)
        else:
            changed = dataclasses.replace(head, headers=[*head.headers, (name, value)])
    error = refused(changed)
    assert error.code in {
        "SignatureDoesNotMatch",
        "AccessDenied",
        "InvalidArgument",
        "InvalidRequest",
        "InvalidAccessKeyId",
        "InvalidURI",
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "RequestTimeTooSkewed",
    }


def test_another_secret_or_an_empty_one_is_refused() -> None:
    """SIG-14: nor is a digest that needs no key."""
    for secret in ("", "other", SECRET[:-1]):
        assert refused(signed(BASE, secret=secret)).code == "SignatureDoesNotMatch"
    # A "signature" that needs no key.
    head = with_header(
        SIGNED_HEADER,
        "authorization",
        header(SIGNED_HEADER, "authorization").rsplit("=", 1)[0] + "=" + EMPTY,
    )
    error = refused(head)
    assert error.code == "SignatureDoesNotMatch"
    assert error.extra["SignatureProvided"] == EMPTY
    assert error.extra["CanonicalRequest"].startswith("PUT\n/bucket/some/key%20x\n")
    assert SECRET not in repr(error.extra)


@pytest.mark.parametrize("mode", list(PayloadMode))
@pytest.mark.parametrize("in_query", [False, True])
def test_no_payload_mode_skips_the_signature(mode: PayloadMode, in_query: bool) -> None:
    """SIG-01, SIG-02, SIG-04: a streaming mode is no way round the check."""
    value = EMPTY if mode is PayloadMode.SIGNED else str(mode)
    if in_query:
        base = with_header(BASE, "x-amz-content-sha256", value)
        url = presign_url(
            BASE, access_key_id=KEY_ID, secret=SECRET, now_ms=NOW_MS, region="fr", expires_s=60
        )
        path, _, query = url.partition("?")
        bad = dataclasses.replace(base, raw_path=path, raw_query=query)
        assert refused(bad).code == "AccessDenied"  # the header is not signed
        forged = query.replace("SignedHeaders=", "SignedHeaders=x-amz-content-sha256%3B")
        assert refused(dataclasses.replace(bad, raw_query=forged)).code == "SignatureDoesNotMatch"
        return
    good = signed(BASE, content_sha256=value)
    result = check(good)
    assert result is not None and result.payload_mode is mode
    assert mode.is_streaming == value.startswith("STREAMING")
    assert refused(signed(BASE, content_sha256=value, secret="wrong")).code == (
        "SignatureDoesNotMatch"
    )


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-copy-source",
        "x-amz-tagging",
        "x-amz-storage-class",
        "x-amz-server-side-encryption",
        "x-amz-object-lock-mode",
        "x-amz-security-token",
        "x-amz-anything-new",
    ],
)
@pytest.mark.parametrize("head", [SIGNED_HEADER, SIGNED_QUERY])
def test_unsigned_amz_headers_are_refused(head: RequestHead, name: str) -> None:
    """SIG-05, AUT-07."""
    error = refused(dataclasses.replace(head, headers=[*head.headers, (name, "v")]))
    assert error.code == "AccessDenied"
    assert error.text == "There were headers present in the request which were not signed"
    assert error.extra == {"HeadersNotSigned": name}


def test_host_must_be_signed() -> None:
    value = header(SIGNED_HEADER, "authorization").replace(";host;", ";")
    error = refused(with_header(SIGNED_HEADER, "authorization", value))
    assert error.code == "AccessDenied" and "Host" in error.text


def test_unsigned_content_headers_are_tolerated() -> None:
    head = signed(without_header(BASE, "content-type"))
    for name in ("content-type", "content-md5", "user-agent"):
        assert check(with_header(head, name, "x")) is not None


# --- where credentials are --------------------------------------------------------------------


def test_two_places_at_once_are_refused() -> None:
    """SIG-06."""
    authorization = header(SIGNED_HEADER, "authorization")
    both = with_header(SIGNED_QUERY, "authorization", authorization)
    two = dataclasses.replace(
        SIGNED_HEADER, headers=[*SIGNED_HEADER.headers, ("authorization", authorization)]
    )
    v2_and_v4 = dataclasses.replace(
        SIGNED_QUERY, raw_query=SIGNED_QUERY.raw_query + "&AWSAccessKeyId=a&Signature=b"
    )
    v2_and_header = dataclasses.replace(SIGNED_HEADER, raw_query="Signature=b")
    escaped = dataclasses.replace(SIGNED_HEADER, raw_query="X%2DAmz%2DSignature=b")
    for head in (both, two, v2_and_v4, v2_and_header, escaped):
        error = refused(head)
        assert error.code == "InvalidArgument"
        assert error.text.startswith("Only one auth mechanism allowed")


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-content-sha256", "date"])
def test_deciding_headers_come_once(name: str) -> None:
    """SIG-06, SIG-13."""
    head = signed(with_header(BASE, "date", "x"))
    value = header(head, name)
    error = refused(dataclasses.replace(head, headers=[*head.headers, (name, value)]))
    assert error.code == "InvalidRequest"


def test_repeated_headers_are_joined_by_commas() -> None:
    head = signed(
        head_of(headers=(("host", "h"), ("x-amz-meta-a", "1"), ("x-amz-meta-a", " 2\t 3")))
    )
    assert check(head) is not None
    joined = [pair for pair in head.headers if pair[0] != "x-amz-meta-a"]
    joined.append(("x-amz-meta-a", "1,2 3"))
    assert check(dataclasses.replace(head, headers=joined)) is not None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("AWS AKID:signature", "InvalidRequest"),
        ("aws4-hmac-sha256 Credential=a", "InvalidArgument"),
        ("none", "InvalidArgument"),
        ("", "InvalidArgument"),
        ("Bearer x", "InvalidArgument"),
        ("AWS4-ECDSA-P256-SHA256 Credential=a", "InvalidArgument"),
        ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a, Credential=b", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Other=a", "AuthorizationHeaderMalformed"),
        (
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0",
            "AuthorizationHeaderMalformed",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=/20260101/fr/s3/aws4_request, SignedHeaders=host,"
            " Signature=0",
            "AuthorizationHeaderMalformed",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a/20260101/fr/s3/aws5, SignedHeaders=host, Signature=0",
            "AuthorizationHeaderMalformed",
        ),
    ],
)
def test_malformed_authorization(value: str, code: str) -> None:
    """SIG-07."""
    assert refused(with_header(SIGNED_HEADER, "authorization", value)).code == code


def test_spacing_is_tolerated_as_aws_does() -> None:
    value = header(SIGNED_HEADER, "authorization")
    for other in (value.replace(", ", ","), value.replace(", ", " ,  ")):
        assert check(with_header(SIGNED_HEADER, "authorization", other)) is not None


def test_sigv2_in_the_query() -> None:
    """SIG-07."""
    error = refused(head_of("GET", query="AWSAccessKeyId=a&Expires=1&Signature=b"))
    assert error.code == "InvalidRequest" and "AWS4-HMAC-SHA256" in error.text


def test_unknown_access_key() -> None:
    for head in (signed(BASE, access_key_id="AKNOBODY"), presigned(BASE, access_key_id="AKNOBODY")):
        error = refused(head)
        assert error.code == "InvalidAccessKeyId"
        assert error.extra == {"AWSAccessKeyId": "AKNOBODY"}


def test_access_key_ids_may_hold_slashes() -> None:
    asked: list[tuple[str, str, str, str]] = []

    def lookup(access_key_id: str, date: str, region: str, service: str) -> bytes | None:
        asked.append((access_key_id, date, region, service))
        return derive_signing_key(SECRET, date=date, region=region)

    head = signed(BASE, access_key_id="a/b")
    assert authorize(head, now_ms=NOW_MS, regions=REGIONS, signing_key=lookup) is not None
    assert asked == [("a/b", "20260921", "fr", "s3")]
