"""Policies of forms: what they admit, and that any document is a policy or a refusal."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import S3Error
from gateway.s3.post_form_policy import check_policy, parse_policy

EXPIRATION = "2026-11-23T02:00:00Z"
BEFORE_MS = 1_795_399_199_000  # a second earlier


def encoded(document: Any) -> str:
    return b64encode(json.dumps(document).encode()).decode()


def policy_of(*conditions: Any, expiration: Any = EXPIRATION) -> str:
    return encoded({"expiration": expiration, "conditions": list(conditions)})


def verdict(fields: dict[str, str], *conditions: Any, now_ms: int = BEFORE_MS) -> str:
    """ "" if the policy admits the fields, else what it says."""
    policy = parse_policy(policy_of({"bucket": "bucket"}, *conditions))
    try:
        check_policy(policy, fields, "bucket", now_ms)
    except S3Error as error:
        assert error.code == "AccessDenied"
        return error.text
    return ""


def test_conditions() -> None:
    assert verdict({"key": "user/a"}, ["starts-with", "$key", "user/"]) == ""
    assert verdict({"key": "usera"}, ["starts-with", "$key", "user/"])
    assert verdict({"key": "a"}, ["eq", "$key", "a"]) == ""
    assert verdict({"key": "A"}, ["EQ", "$KEY", "a"])
    assert verdict({"acl": "private"}, {"ACL": "private"}) == ""
    assert verdict({}, ["starts-with", "$key", ""]) == ""  # any value will do, none as well
    assert verdict({}, ["starts-with", "$key", "a"])
    assert verdict({}, ["eq", "$key", ""])  # absent is not empty
    kinds = ["starts-with", "$Content-Type", "image/"]
    assert verdict({"content-type": "image/png, image/gif"}, kinds) == ""
    assert verdict({"content-type": "image/png, text/html"}, kinds)
    assert verdict({"x-amz-meta-a": "1, 2"}, ["starts-with", "$x-amz-meta-a", "1"]) == ""


def test_every_field_needs_a_condition() -> None:
    assert "Extra input fields: x-amz-meta-a" in verdict({"x-amz-meta-a": "1"})
    free = ("policy", "signature", "awsaccesskeyid", "x-amz-signature", "x-ignore-this", "file")
    assert verdict(dict.fromkeys(free, "x")) == ""
    assert verdict({"x-amz-credential": "x"})
    # Also the bucket, which no form has to state: else a policy would open all buckets.
    policy = parse_policy(policy_of())
    with pytest.raises(S3Error):
        check_policy(policy, {}, "bucket", BEFORE_MS)
    # What the form itself says of the bucket counts for nothing.
    policy = parse_policy(policy_of({"bucket": "other"}))
    with pytest.raises(S3Error):
        check_policy(policy, {"bucket": "other"}, "bucket", BEFORE_MS)


def test_policies_end() -> None:
    assert verdict({}, now_ms=BEFORE_MS + 1000) == ""
    assert "expired" in verdict({}, now_ms=BEFORE_MS + 1001)


def test_lengths() -> None:
    policy = parse_policy(
        policy_of(["content-length-range", 1, 10], ["Content-Length-Range", "3", "20"])
    )
    assert (policy.least_bytes, policy.most_bytes) == (3, 10)
    assert parse_policy(policy_of()).most_bytes is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "é",
        "e30",  # padding is missing
        b64encode(b"not JSON").decode(),
        b64encode(b"\xff").decode(),
        b64encode(b"[" * 15_000).decode(),
        b64encode(b"9" * 15_000).decode(),
        encoded([]),
        encoded({"expiration": EXPIRATION}),
        encoded({"conditions": []}),
        encoded({"EXPIRATION": EXPIRATION, "conditions": []}),
        encoded({"expiration": EXPIRATION, "conditions": {}}),
        encoded({"expiration": EXPIRATION, "conditions": [], "more": 1}),
        policy_of(expiration="2026-11-23 02:00:00+00:00"),
        policy_of(expiration="2026-13-23T02:00:00Z"),
        policy_of(expiration="0000-01-01T00:00:00Z"),
        policy_of(expiration=17),
        policy_of({}),
        policy_of({"a": "b", "c": "d"}),
        policy_of({"a": 1}),
        policy_of([]),
        policy_of(["eq", "$key"]),
        policy_of(["eq", "key", "a"]),
        policy_of(["eq", "$key", None]),
        policy_of([1, "$key", "a"]),
        policy_of(["like", "$key", "a"]),
        policy_of(["content-length-range", 0]),
        policy_of(["content-length-range", -1, 0]),
        policy_of(["content-length-range", True, 5]),
        policy_of(["content-length-range", 0, 1.5]),
        policy_of(["content-length-range", 0, "9" * 16]),
        policy_of("text"),
    ],
)
def test_documents_that_are_refused(text: str) -> None:
    with pytest.raises(S3Error) as error:
        parse_policy(text)
    assert error.value.code == "InvalidPolicyDocument"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
CONDITION = st.tuples(
    st.sampled_from(["eq", "starts-with", "content-length-range", "EQ"]),
    st.sampled_from(["$key", "$acl", 0, "7"]) | JSON,
    st.sampled_from(["", "a", 0, "7"]) | JSON,
).map(list)


@given(
    document=JSON
    | st.fixed_dictionaries(
        {"expiration": st.just(EXPIRATION) | JSON, "conditions": st.lists(CONDITION | JSON)}
    ),
    fields=st.dictionaries(st.sampled_from(["key", "acl", "policy"]), st.text(max_size=4)),
)
def test_any_document_admits_or_refuses(document: Any, fields: dict[str, str]) -> None:
    try:
        check_policy(parse_policy(encoded(document)), fields, "bucket", BEFORE_MS)
    except S3Error as error:
        assert error.code in {"InvalidPolicyDocument", "AccessDenied"}


@given(st.text() | st.binary().map(lambda raw: b64encode(raw).decode()))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    try:
        parse_policy(text)
    except S3Error as error:
        assert error.code == "InvalidPolicyDocument"
