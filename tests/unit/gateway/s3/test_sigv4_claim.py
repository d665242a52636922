"""What a request says about its signature: time, scope, lifetime, payload."""

from __future__ import annotations

import dataclasses
from urllib.parse import quote

import pytest

from gateway.s3 import sigv4_claim
from gateway.s3.errors import S3Error
from gateway.s3.sigv4 import (
    PayloadMode,
    payload_mode_of,
)
from tests.support.sigv4_requests import (
    BASE,
    EMPTY,
    KEY_ID,
    NOW_MS,
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

# --- time and scope ---------------------------------------------------------------------------


@pytest.mark.parametrize("off_ms", [-900_000, 900_000])
def test_skew_of_fifteen_minutes(off_ms: int) -> None:
    """SIG-08."""
    assert check(SIGNED_HEADER, NOW_MS + off_ms) is not None
    further = off_ms + (1_000 if off_ms > 0 else -1_000)
    error = refused(SIGNED_HEADER, NOW_MS + further)
    assert error.code == "RequestTimeTooSkewed"
    assert error.extra["MaxAllowedSkewMilliseconds"] == "900000"


def test_presigned_lifetime() -> None:
    """SIG-08."""
    head = presigned(BASE, 60)
    assert check(head, NOW_MS + 60_000) is not None
    assert refused(head, NOW_MS + 60_001).text == "Request has expired"
    assert check(head, NOW_MS - 900_000) is not None
    assert refused(head, NOW_MS - 900_001).text == "Request is not yet valid"
    week = presigned(BASE, 604_800)
    assert check(week, NOW_MS + 604_800_000) is not None


@pytest.mark.parametrize(
    ("expires", "code"),
    [
        ("0", "AccessDenied"),
        ("-7", "AccessDenied"),
        ("604801", "AccessDenied"),
        ("9" * 30, "AccessDenied"),
        ("1.5", "AuthorizationQueryParametersError"),
        ("", "AuthorizationQueryParametersError"),
        ("-", "AuthorizationQueryParametersError"),
        ("%31%", "InvalidURI"),
    ],
)
def test_bad_expires(expires: str, code: str) -> None:
    """SIG-08."""
    query = SIGNED_QUERY.raw_query.replace("X-Amz-Expires=600", f"X-Amz-Expires={expires}")
    assert refused(dataclasses.replace(SIGNED_QUERY, raw_query=query)).code == code


def test_wrong_region_names_the_right_one() -> None:
    """SIG-08."""
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
    """SIG-08."""
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


# --- what is remembered of an Authorization header ----------------------------------------------


def test_a_remembered_header_lets_nothing_through() -> None:
    assert check(SIGNED_HEADER) is not None
    text = header(SIGNED_HEADER, "authorization")
    unsigned, _, signature = text.rpartition("Signature=")
    other = unsigned + "Signature=" + ("0" * 64)
    assert refused(with_header(SIGNED_HEADER, "authorization", other)).code == (
        "SignatureDoesNotMatch"
    )
    for tail in (", Signature=" + signature, ",X=1", ", SignedHeaders=host"):
        changed = with_header(SIGNED_HEADER, "authorization", text + tail)
        assert refused(changed).code == "AuthorizationHeaderMalformed"
    assert check(with_header(SIGNED_HEADER, "authorization", text + " ")) is not None
    assert check(SIGNED_HEADER) is not None


def test_a_long_header_is_not_remembered_and_read_all_the_same() -> None:
    names = tuple((f"x-amz-meta-{n:03}", "v") for n in range(100))
    head = signed(head_of(headers=(("host", "s3.test"), *names)))
    before = sigv4_claim._repeated_grant.cache_info().currsize
    assert len(header(head, "authorization")) > sigv4_claim.GRANT_CHARACTERS_MAX
    assert check(head) is not None
    assert sigv4_claim._repeated_grant.cache_info().currsize == before
    assert refused(with_header(head, "x-amz-meta-050", "w")).code == "SignatureDoesNotMatch"


def test_a_percent_sign_in_a_signed_name_is_a_percent_sign() -> None:
    head = signed(head_of(headers=(("host", "s3.test"), ("x-amz-meta-%s", "v"))))
    assert check(head) is not None
    assert refused(with_header(head, "x-amz-meta-%s", "w")).code == "SignatureDoesNotMatch"
