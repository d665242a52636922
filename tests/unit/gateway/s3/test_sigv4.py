"""SigV4: AWS's published examples, botocore as oracle, and every way of being refused."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.s3.errors import S3Error
from gateway.s3.signer import presign_url, sign_request
from gateway.s3.sigv4 import (
    Authorized,
    PayloadMode,
    RequestHead,
    authorize,
    derive_signing_key,
    payload_mode_of,
)

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGIONS = ("us-east-1", "fr")
AWS_NOW_MS = int(datetime(2013, 5, 24, tzinfo=UTC).timestamp() * 1000)
NOW_MS = 1_790_000_000_000
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def signing_key(access_key_id: str, date: str, region: str, service: str) -> bytes | None:
    if access_key_id != KEY_ID:
        return None
    return derive_signing_key(SECRET, date=date, region=region, service=service)


def check(head: RequestHead, now_ms: int = NOW_MS) -> Authorized | None:
    return authorize(head, now_ms=now_ms, regions=REGIONS, signing_key=signing_key)


def refused(head: RequestHead, now_ms: int = NOW_MS) -> S3Error:
    with pytest.raises(S3Error) as caught:
        check(head, now_ms)
    return caught.value


def head_of(
    method: str = "PUT",
    path: str = "/bucket/key",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (("host", "s3.test"),),
) -> RequestHead:
    return RequestHead(method=method, raw_path=path, raw_query=query, headers=headers)


def signed(head: RequestHead, **changes: object) -> RequestHead:
    arguments: dict[str, object] = {
        "access_key_id": KEY_ID,
        "secret": SECRET,
        "now_ms": NOW_MS,
        "region": "fr",
        **changes,
    }
    headers = sign_request(head, **arguments)  # type: ignore[arg-type]
    return dataclasses.replace(head, headers=headers)


def presigned(head: RequestHead, expires_s: int = 600, **changes: object) -> RequestHead:
    arguments: dict[str, object] = {
        "access_key_id": KEY_ID,
        "secret": SECRET,
        "now_ms": NOW_MS,
        "region": "fr",
        **changes,
    }
    url = presign_url(head, expires_s=expires_s, **arguments)  # type: ignore[arg-type]
    path, _, query = url.partition("?")
    return dataclasses.replace(head, raw_path=path, raw_query=query)


def with_header(head: RequestHead, name: str, value: str) -> RequestHead:
    kept = [(key, text) for key, text in head.headers if key != name]
    return dataclasses.replace(head, headers=[*kept, (name, value)])


def without_header(head: RequestHead, name: str) -> RequestHead:
    return dataclasses.replace(head, headers=[pair for pair in head.headers if pair[0] != name])


def header(head: RequestHead, name: str) -> str:
    return dict(head.headers)[name]


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

BASE = head_of(
    path="/bucket/some/key%20x",
    query="partNumber=3&uploadId=abc",
    headers=(
        ("host", "s3.test"),
        ("content-type", "text/plain"),
        ("x-amz-meta-colour", "red"),
        ("x-amz-acl", "private"),
    ),
)
SIGNED_HEADER = signed(BASE)
SIGNED_QUERY = presigned(BASE)


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
    for secret in ("", "other", SECRET[:-1]):
        assert refused(signed(BASE, secret=secret)).code == "SignatureDoesNotMatch"
    # SIG-14: a "signature" that needs no key.
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
    assert refused(with_header(SIGNED_HEADER, "authorization", value)).code == code


def test_spacing_is_tolerated_as_aws_does() -> None:
    value = header(SIGNED_HEADER, "authorization")
    for other in (value.replace(", ", ","), value.replace(", ", " ,  ")):
        assert check(with_header(SIGNED_HEADER, "authorization", other)) is not None


def test_sigv2_in_the_query() -> None:
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


# --- time and scope ---------------------------------------------------------------------------


@pytest.mark.parametrize("off_ms", [-900_000, 900_000])
def test_skew_of_fifteen_minutes(off_ms: int) -> None:
    assert check(SIGNED_HEADER, NOW_MS + off_ms) is not None
    further = off_ms + (1_000 if off_ms > 0 else -1_000)
    error = refused(SIGNED_HEADER, NOW_MS + further)
    assert error.code == "RequestTimeTooSkewed"
    assert error.extra["MaxAllowedSkewMilliseconds"] == "900000"


def test_presigned_lifetime() -> None:
    head = presigned(BASE, 60)
    assert check(head, NOW_MS + 60_000) is not None
    assert refused(head, NOW_MS + 60_001).text == "Request has expired"
    assert check(head, NOW_MS - 900_000) is not None
    assert refused(head, NOW_MS - 900_001).text == "Request is not yet valid"
    week = presigned(BASE, 604_800)
    assert check(week, NOW_MS + 604_800_000) is not None


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "9" * 30, "1.5", "", "%31%"])
def test_bad_expires(expires: str) -> None:
    query = SIGNED_QUERY.raw_query.replace("X-Amz-Expires=600", f"X-Amz-Expires={expires}")
    error = refused(dataclasses.replace(SIGNED_QUERY, raw_query=query))
    assert error.code in {"AuthorizationQueryParametersError", "InvalidURI"}


def test_wrong_region_names_the_right_one() -> None:
    error = refused(signed(BASE, region="eu-west-3"))
    assert error.code == "AuthorizationHeaderMalformed"
    assert error.extra == {"Region": "us-east-1"}
    error = refused(presigned(BASE, region="eu-west-3"))
    assert error.code == "AuthorizationQueryParametersError"
    assert error.extra == {"Region": "us-east-1"}


@pytest.mark.parametrize(
    ("old", "new"), [("/s3/", "/ec2/"), ("/20260921/", "/20260920/"), ("/20260921/", "/x/")]
)
def test_wrong_service_or_date_in_the_scope(old: str, new: str) -> None:
    value = header(SIGNED_HEADER, "authorization").replace(old, new)
    error = refused(with_header(SIGNED_HEADER, "authorization", value))
    assert error.code == "AuthorizationHeaderMalformed"
    query = SIGNED_QUERY.raw_query.replace(old.replace("/", "%2F"), new.replace("/", "%2F"))
    error = refused(dataclasses.replace(SIGNED_QUERY, raw_query=query))
    assert error.code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    "date",
    [
        "20260921",
        "20260921T141320",
        "20261321T141320Z",
        "20260931T141320Z",
        "19690921T141320Z",
        "20260921T241320Z",
        "20260921T146020Z",
        "20260921T141360Z",
        "20260921 131320Z",
        "2026092xT141320Z",
        "20260921T14132xZ",
        "２0260921T141320Z",
    ],
)
def test_invalid_dates(date: str) -> None:
    assert refused(with_header(SIGNED_HEADER, "x-amz-date", date)).code == "AccessDenied"
    query = SIGNED_QUERY.raw_query.replace(
        "X-Amz-Date=20260921T141320Z", "X-Amz-Date=" + quote(date)
    )
    assert query != SIGNED_QUERY.raw_query
    error = refused(dataclasses.replace(SIGNED_QUERY, raw_query=query))
    assert error.code == "AuthorizationQueryParametersError"


def test_the_date_header_serves_without_amz_date() -> None:
    amz_date = header(SIGNED_HEADER, "x-amz-date")
    base = with_header(without_header(BASE, "x-amz-acl"), "x-amz-content-sha256", EMPTY)
    for date in (amz_date, "Mon, 21 Sep 2026 14:13:20 GMT"):
        head = with_header(base, "date", date)
        head = signed(without_header(head, "x-amz-content-sha256"), content_sha256=EMPTY)
        # The signer always adds x-amz-date: without it the signature cannot match, but time is
        # known.
        assert refused(without_header(head, "x-amz-date")).code == "SignatureDoesNotMatch"
    for date in ("", "nonsense", "Mon, 99 Sep 99999 99:99:99 GMT"):
        head = without_header(with_header(SIGNED_HEADER, "date", date), "x-amz-date")
        assert refused(head).code == "AccessDenied"
    assert refused(without_header(SIGNED_HEADER, "x-amz-date")).code == "AccessDenied"


# --- payload declarations ---------------------------------------------------------------------


def test_payload_modes() -> None:
    assert payload_mode_of(EMPTY.upper()) == (PayloadMode.SIGNED, EMPTY)
    assert payload_mode_of("UNSIGNED-PAYLOAD") == (PayloadMode.UNSIGNED, None)
    for value in ("", "SIGNED", EMPTY[:-1], EMPTY[:-1] + "g", "STREAMING-X", "unsigned-payload"):
        with pytest.raises(S3Error) as caught:
            payload_mode_of(value)
        assert caught.value.code == "InvalidArgument"


def test_content_sha256_is_required_in_header_auth() -> None:
    error = refused(without_header(SIGNED_HEADER, "x-amz-content-sha256"))
    assert error.code == "InvalidRequest" and "x-amz-content-sha256" in error.text


def test_presigned_content_sha256() -> None:
    in_query = presigned(head_of(query=f"X-Amz-Content-Sha256={EMPTY}"))
    # The signer signs UNSIGNED-PAYLOAD, so the digest in the query must break the signature.
    assert refused(in_query).code == "SignatureDoesNotMatch"
    other = with_header(in_query, "x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    assert refused(other).code == "InvalidArgument"


@pytest.mark.parametrize("name", ["X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Credential"])
def test_presigned_needs_each_parameter_once(name: str) -> None:
    fields = SIGNED_QUERY.raw_query.split("&")
    kept = [field for field in fields if not field.startswith(name)]
    [field] = [field for field in fields if field.startswith(name)]
    for query in (kept, [*fields, field]):
        error = refused(dataclasses.replace(SIGNED_QUERY, raw_query="&".join(query)))
        assert error.code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    ("old", "new"),
    [("=AWS4-HMAC-SHA256", "=AWS4-HMAC-SHA1"), ("%2Faws4_request", ""), (f"={KEY_ID}%2F", "=%2F")],
)
def test_presigned_malformed(old: str, new: str) -> None:
    query = SIGNED_QUERY.raw_query.replace(old, new)
    assert query != SIGNED_QUERY.raw_query
    error = refused(dataclasses.replace(SIGNED_QUERY, raw_query=query))
    assert error.code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    "change", ["&acl", "&versionId=1", "&response-content-type=text%2Fhtml", "&uploads"]
)
def test_presigned_covers_the_whole_query(change: str) -> None:
    """SIG-09."""
    head = dataclasses.replace(SIGNED_QUERY, raw_query=SIGNED_QUERY.raw_query + change)
    assert refused(head).code == "SignatureDoesNotMatch"


def test_too_many_query_fields() -> None:
    assert refused(head_of(query="&".join(["a"] * 1001))).code == "InvalidArgument"
