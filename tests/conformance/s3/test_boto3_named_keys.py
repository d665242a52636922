"""Defaults of buckets, and named keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.encryption_modes import KEYS, MODES, A, check_told, encrypting_gateway
from tests.support.gateway import TENANT
from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with encrypting_gateway() as running:
        yield running


def default(kind: str, **options: Any) -> dict[str, Any]:
    by_default = {"SSEAlgorithm": kind}
    if "key_id" in options:
        by_default["KMSMasterKeyID"] = options.pop("key_id")
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": by_default, **options}]}


def test_the_default_of_a_bucket(s3: Any, bucket: str) -> None:
    def held() -> Any:
        return s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]

    untouched = default("AES256", BucketKeyEnabled=False)
    assert held() == untouched
    wanted = default("aws:kms", key_id="key-2", BucketKeyEnabled=True)
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=wanted)
    assert held() == wanted
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    read = s3.get_object(Bucket=bucket, Key="k")
    for answer in (put, read):
        assert answer["ServerSideEncryption"] == "aws:kms"
        assert (answer["SSEKMSKeyId"], answer["BucketKeyEnabled"]) == ("key-2", True)
    check_told(s3.put_object(Bucket=bucket, Key="c", Body=b"x", **A), "SSE-C")
    plain = s3.put_object(Bucket=bucket, Key="s", Body=b"x", ServerSideEncryption="AES256")
    assert plain["ServerSideEncryption"] == "AES256"
    # The source's choice does not come along: a copy gets the default of its bucket.
    copied = s3.copy_object(Bucket=bucket, Key="t", CopySource=f"{bucket}/s")
    assert copied["SSEKMSKeyId"] == "key-2"
    s3.delete_bucket_encryption(Bucket=bucket)
    assert held() == untouched
    assert s3.get_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == "key-2"
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ServerSideEncryption"] == "AES256"


def test_a_bucket_that_blocks_keys_of_clients(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="before", Body=b"x", **A)
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}]
        },
    )
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", **A)
    assert refused(error) == (403, "AccessDenied")
    assert s3.get_object(Bucket=bucket, Key="before", **A)["Body"].read() == b"x"
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["BlockedEncryptionTypes"] == {"EncryptionType": ["SSE-C"]}
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ({"Rules": []}, "MalformedXML"),
        (default("AES512"), "MalformedXML"),
        (default("AES256", key_id="key-1"), "InvalidArgument"),
        ({"Rules": default("AES256")["Rules"] * 2}, "MalformedXML"),
    ],
)
def test_defaults_that_are_refused(
    s3: Any, bucket: str, configuration: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=configuration)
    assert refused(error) == (400, code)


def test_an_encryption_context_is_told_to_who_writes(s3: Any, bucket: str) -> None:
    context = base64.b64encode(json.dumps({"purpose": "tests"}).encode()).decode()
    options = MODES["aws:kms"] | {"SSEKMSEncryptionContext": context, "BucketKeyEnabled": True}
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x", **options)
    assert (put["SSEKMSEncryptionContext"], put["BucketKeyEnabled"]) == (context, True)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_key_ids_are_told_as_they_were_given(s3: Any, bucket: str) -> None:
    for key_id in (
        "alias/key-1",
        "arn:aws:kms:fr:123456789012:key/key-1",
        "arn:aws:kms:fr:123456789012:alias/key-1",
    ):
        put = s3.put_object(
            Bucket=bucket,
            Key="k",
            Body=b"x",
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=key_id,
        )
        assert put["SSEKMSKeyId"] == key_id
        assert s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == key_id
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_a_named_key_that_is_gone_opens_nothing(s3: Any, bucket: str, gateway: S3Gateway) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **MODES["aws:kms"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    named = gateway.gateway.services.bucket_keys.provider.named  # type: ignore[attr-defined]
    named.discard((TENANT, "key-1"))
    try:
        for call in (s3.get_object, s3.get_object):
            with pytest.raises(ClientError) as error:
                call(Bucket=bucket, Key="k")
            assert refused(error) == (400, "KMS.NotFoundException")
    finally:
        named.add((TENANT, "key-1"))


def test_without_fixed_keys_the_default_key_is_made_when_it_is_wanted(
    s3: Any, bucket: str, gateway: S3Gateway
) -> None:
    services = gateway.gateway.services
    services.test_kms_keys = ()
    try:
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
        assert put["SSEKMSKeyId"] == "aws/s3"
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    finally:
        services.test_kms_keys = KEYS
        services.bucket_keys.provider.named.discard((TENANT, "aws/s3"))  # type: ignore[attr-defined]
