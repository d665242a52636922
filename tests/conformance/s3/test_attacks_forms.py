"""SIG-15: a form does what its signer said, in the bucket it was sent to, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from tests.support.accounts import ALT
from tests.support.browser_forms import form_body, post_form
from tests.support.raw_s3 import Credentials, signing_key
from tests.support.s3_gateway import CREDENTIALS, NAMES, S3Gateway

Fields = list[tuple[str, str]]
CONTENT = b"content"


def policy_text(conditions: Iterable[Any]) -> str:
    until = datetime.now(UTC) + timedelta(minutes=10)
    document = {"expiration": f"{until:%Y-%m-%dT%H:%M:%SZ}", "conditions": list(conditions)}
    return base64.b64encode(json.dumps(document).encode()).decode()


def signed(conditions: Iterable[Any], credentials: Credentials = CREDENTIALS) -> Fields:
    """The fields that prove a form, Version 4."""
    date = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{date[:8]}/{credentials.region}/s3/aws4_request"
    proof = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{credentials.access_key_id}/{scope}",
        "x-amz-date": date,
    }
    text = policy_text([*conditions, *({name: value} for name, value in proof.items())])
    key = signing_key(credentials, date[:8])
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return [*proof.items(), ("policy", text), ("x-amz-signature", signature)]


def signed_v2(conditions: Iterable[Any]) -> Fields:
    """The fields that prove a form, Version 2."""
    text = policy_text(conditions)
    digest = hmac.new(CREDENTIALS.secret.encode(), text.encode(), hashlib.sha1).digest()
    signature = base64.b64encode(digest).decode()
    return [
        ("AWSAccessKeyId", CREDENTIALS.access_key_id),
        ("policy", text),
        ("signature", signature),
    ]


def anything(bucket: str, *names: str) -> list[Any]:
    """Conditions that let any key, and any value of these fields, through."""
    return [{"bucket": bucket}, *(["starts-with", f"${name}", ""] for name in ("key", *names))]


def is_there(s3: Any, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError:
        return False
    return True


def test_sig_15_the_bucket_is_that_of_the_request(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    other = NAMES.next() + "-other"
    s3.create_bucket(Bucket=other)
    for named, sent_to in ((other, bucket), (bucket, other)):
        for more in ([], [("bucket", named)], [("bucket", sent_to)]):
            fields = [("key", "k"), *more, *signed(anything(named))]
            assert post_form(gateway, f"/{sent_to}", form_body(fields)).code == "AccessDenied"
    assert not is_there(s3, bucket, "k")
    assert not is_there(s3, other, "k")


@pytest.mark.parametrize(
    "field",
    [
        ("acl", "public-read"),
        ("x-amz-acl", "public-read"),
        ("x-amz-meta-a", "b"),
        ("x-amz-tagging", "a=b"),
        ("tagging", "<Tagging><TagSet/></Tagging>"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-website-redirect-location", "/a"),
        ("x-amz-storage-class", "STANDARD"),
        ("content-type", "text/html"),
        ("success_action_redirect", "http://evil.test/"),
        ("success_action_status", "201"),
        ("redirect", "http://evil.test/"),
        ("KEY ", "other"),
        ("unheard-of", ""),
    ],
)
def test_sig_15_fields_that_the_policy_does_not_name_are_refused(
    gateway: S3Gateway, s3: Any, bucket: str, field: tuple[str, str]
) -> None:
    for fields in (signed(anything(bucket)), signed_v2(anything(bucket))):
        answer = post_form(gateway, f"/{bucket}", form_body([("key", "k"), field, *fields]))
        assert answer.status in (400, 403)
    assert not is_there(s3, bucket, "k")


def test_sig_15_a_field_counts_once(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    mine = [{"bucket": bucket}, ["starts-with", "$key", "mine/"]]
    for name in ("key", "Key", "KEY"):
        for pair in (("mine/a", "theirs/a"), ("theirs/a", "mine/a")):
            fields = [("key", pair[0]), (name, pair[1]), *signed(mine)]
            assert post_form(gateway, f"/{bucket}", form_body(fields)).status == 400
    fields = [("key", "${filename}"), *signed(mine)]
    for file_name in ("mine/a", "mine\\\\a", "../mine/a"):
        answer = post_form(gateway, f"/{bucket}", form_body(fields, file_name=file_name))
        assert answer.code == "AccessDenied"
    for key in ("mine/a", "theirs/a"):
        assert not is_there(s3, bucket, key)


def test_sig_15_headers_of_the_request_are_no_fields(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    headers = {
        "x-amz-acl": "public-read",
        "x-amz-copy-source": f"/{bucket}/k",
        "x-amz-meta-a": "b",
        "x-amz-tagging": "a=b",
        "x-amz-storage-class": "GLACIER",
        "x-amz-object-lock-mode": "COMPLIANCE",
        "cache-control": "no-store",
        "content-encoding": "gzip",
    }
    answer = post_form(
        gateway, f"/{bucket}", form_body([("key", "k"), *signed(anything(bucket))]), headers
    )
    assert answer.status == 204
    read = s3.get_object(Bucket=bucket, Key="k")
    assert read["Body"].read() == CONTENT
    assert not read["Metadata"].keys()
    assert not {"CacheControl", "ContentEncoding", "TagCount", "ObjectLockMode"} & read.keys()


def test_sig_15_bounds_hold_for_the_file_whatever_the_form_says(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    bounded = [*anything(bucket, "content-length"), ["content-length-range", 3, 1000]]
    for size in (0, 2, 1001, 200_000, 700_000):
        for more in ([], [("content-length", "5")]):
            fields = [("key", "k"), *more, *signed(bounded)]
            answer = post_form(gateway, f"/{bucket}", form_body(fields, b"x" * size))
            assert answer.code in ("EntityTooSmall", "EntityTooLarge"), size
    both = [*bounded, ["content-length-range", 0, 10**12]]
    answer = post_form(gateway, f"/{bucket}", form_body([("key", "k"), *signed(both)], b"x" * 1001))
    assert answer.code == "EntityTooLarge"
    assert not is_there(s3, bucket, "k")


@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r", "\r\n\r\n"])
@pytest.mark.parametrize(
    "name", ["content-type", "cache-control", "x-amz-meta-a", "success_action_redirect", "key"]
)
def test_http_09_line_ends_in_fields_begin_no_header(
    gateway: S3Gateway, bucket: str, name: str, ending: str
) -> None:
    evil = f"http://a.test/b{ending}x-evil: c"
    given = {"key": "k", name: evil}
    fields = [*given.items(), *signed(anything(bucket, name))]
    answer = post_form(gateway, f"/{bucket}", form_body(fields))
    assert answer.status in (204, 303, 400)
    assert "x-evil" not in answer.headers
    with gateway.raw() as client:
        for key in ("k", quote(evil, safe="")):
            answer = client.request("GET", f"/{bucket}/{key}")
            assert answer.status in (200, 404)
            assert "x-evil" not in answer.headers
        assert client.request("GET", f"/{bucket}").status == 200


@pytest.mark.parametrize("ending", ["\r\nx-evil: b", "\n", "\r", "\x00"])
def test_http_09_line_ends_in_heads_of_parts_are_no_fields(
    gateway: S3Gateway, s3: Any, bucket: str, ending: str
) -> None:
    """In the name of a field, of the file, and in the boundary."""
    proof = signed(anything(bucket, "content-type"))
    for body in (
        form_body([("key", "k"), (f'content-type"{ending}; a="', "text/html"), *proof]),
        form_body([("key", "k"), *proof], file_name=f"a{ending}"),
        form_body([(f"key{ending}", "k"), *proof]),
    ):
        posted = post_form(gateway, f"/{bucket}", body)
        assert posted.status in (204, 400, 403)
        assert "x-evil" not in posted.headers
    if is_there(s3, bucket, "k"):
        answer = s3.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]
        assert "x-evil" not in answer["HTTPHeaders"]


def test_sig_15_the_signer_needs_the_right(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    fields = signed(anything(bucket), ALT.credentials)
    assert (
        post_form(gateway, f"/{bucket}", form_body([("key", "k"), *fields])).code == "AccessDenied"
    )
    assert post_form(gateway, f"/{bucket}", form_body([("key", "k")])).code == "AccessDenied"
    alone = [field for field in signed(anything(bucket)) if field[0] != "x-amz-signature"]
    assert post_form(gateway, f"/{bucket}", form_body([("key", "k"), *alone])).status == 400
    twice = [*signed(anything(bucket)), *signed_v2(anything(bucket))[::2]]
    assert post_form(gateway, f"/{bucket}", form_body([("key", "k"), *twice])).status == 400
    assert not is_there(s3, bucket, "k")


def test_a_bucket_can_keep_forms_and_the_old_signature_out(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    whole = f"arn:aws:s3:::{bucket}/*"

    def deny(condition: dict[str, Any]) -> None:
        said = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": whole}
        text = json.dumps({"Statement": {**said, "Condition": condition}})
        s3.put_bucket_policy(Bucket=bucket, Policy=text)

    new = form_body([("key", "k"), *signed(anything(bucket, "content-type"))])
    typed = [("content-type", "multipart/form-data"), ("key", "k")]
    typed_form = form_body([*typed, *signed(anything(bucket, "content-type"))])
    old = form_body([("key", "k"), *signed_v2(anything(bucket))])
    deny({"StringNotEquals": {"s3:authType": "REST-HEADER"}})
    for body in (new, typed_form, old):
        assert post_form(gateway, f"/{bucket}", body).code == "AccessDenied"
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ContentType="multipart/form-data")
    deny({"StringNotEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}})
    assert post_form(gateway, f"/{bucket}", old).code == "AccessDenied"
    assert post_form(gateway, f"/{bucket}", new).status == 204
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
