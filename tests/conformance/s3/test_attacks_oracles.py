"""AUT-10 over every route: another account, and nobody, cannot tell what a bucket holds or how it
is set up. Names of buckets are global, so whether there is one can be told.
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.s3.actions import Operation
from tests.support.accounts import ALT, ALT_ARN, allowing, raw_of
from tests.support.gateway import TENANT
from tests.support.route_matrix import MATRIX, Asked, send
from tests.support.s3_gateway import S3Gateway

pytestmark = pytest.mark.proves("B-07", "A-07")

FULL, BARE = "oracle-full", "oracle-bare"
# What these tell of is what a caller who has not the key of an object may not know either.
CONDITIONS = (
    {},
    {"if-match": '"0"'},
    {"if-none-match": "*"},
    {"range": "bytes=1000000-"},
    {"x-amz-checksum-mode": "ENABLED"},
)


def furnish(s3: Any, bucket: str) -> None:
    """Everything that a bucket can have."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"content", Tagging="a=b")
    s3.put_object(Bucket=bucket, Key="k", Body=b"newer")
    s3.delete_object(Bucket=bucket, Key="gone")
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tags)
    site = {"IndexDocument": {"Suffix": "index.html"}}
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=site)
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["http://a.test"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    expiry = {"Status": "Enabled", "Filter": {"Prefix": "x"}, "Expiration": {"Days": 9}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [expiry]})
    s3.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )


@pytest.fixture(scope="module")
def uploads(gateway: S3Gateway) -> dict[str, str]:
    """Two buckets, one with everything and one with nothing; their uploads."""
    s3 = gateway.boto()
    found: dict[str, str] = {}
    for name in (FULL, BARE):
        s3.create_bucket(Bucket=name)
        found[name] = "0" * 32
    furnish(s3, FULL)
    found[FULL] = s3.create_multipart_upload(Bucket=FULL, Key="up")["UploadId"]
    return found


def told(gateway: S3Gateway, one: Asked, uploads: dict[str, str], who: str) -> set[Any]:
    """What differs between the answers of the two buckets, but for their names."""
    answers = set()
    for bucket, upload in uploads.items():
        client = raw_of(gateway, ALT) if who == "another" else gateway.raw()
        answer = send(client, one, bucket, upload, signed=who == "another")
        names = frozenset(answer.headers) - {"connection"}
        answers.add((answer.status, answer.code, names, len(answer.body)))
    return answers


@pytest.mark.parametrize("who", ["another", "nobody"])
def test_aut_10_a_bucket_with_everything_looks_like_one_with_nothing(
    gateway: S3Gateway, uploads: dict[str, str], who: str
) -> None:
    differing = {}
    for one in MATRIX:
        if one.operation is Operation.DELETE_OBJECTS:
            continue
        answers = told(gateway, one, uploads, who)
        if len(answers) > 1:
            differing[f"{one.method} {one.target}"] = answers
    assert not differing


@pytest.mark.parametrize("signed", [True, False])
def test_aut_10_a_key_that_is_there_looks_like_one_that_is_not(
    gateway: S3Gateway, uploads: dict[str, str], signed: bool
) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        for query in ("", "?tagging=", "?acl=", "?retention=", "?versionId=null", "?partNumber=1"):
            for condition in CONDITIONS:
                answers = set()
                for key in ("k", "gone", "missing"):
                    client = raw_of(gateway, ALT)
                    with client:
                        target = f"/{FULL}/{key}{query}"
                        if signed:
                            answer = client.request(method, target, b"", dict(condition))
                        else:
                            head = {"host": client.authority, "content-length": "0", **condition}
                            client.send_head(method, target, head)
                            answer = client.read_answer(is_head=method == "HEAD")
                        answers.add((answer.status, answer.code, frozenset(answer.headers)))
                assert len(answers) == 1, (method, query, condition, answers)
                assert answers.pop()[0] in (400, 403, 405, 501)


def test_aut_10_names_of_keys_are_not_told(
    gateway: S3Gateway, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.gateway.services, "sse_over_http", True)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    # With a rule, what the bucket says of objects is decided only when one is looked at.
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:ListBucket", who=ALT_ARN))
    known = gateway.gateway.services.bucket_keys.provider.named_keys(TENANT)
    with raw_of(gateway, ALT) as client:
        for name in ("aws/s3", "none"):
            arn = f"<KMSKeyArn>arn:aws:kms:fr:123456789012:key/{name}</KMSKeyArn>"
            body = f"<ObjectEncryption><SSE-KMS>{arn}</SSE-KMS></ObjectEncryption>".encode()
            answer = client.request("PUT", f"/{bucket}/k?encryption=", body)
            assert (answer.status, answer.code) == (403, "AccessDenied")
    assert gateway.gateway.services.bucket_keys.provider.named_keys(TENANT) == known
