"""Annotations are under the key of their object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.encryption_modes import A, encrypting_gateway
from tests.support.refusals import refusal
from tests.support.s3_gateway import S3Gateway

NAMED = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-2"}
REFUSED = (400, "InvalidRequest")


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with encrypting_gateway() as running:
        yield running


def annotate(s3: Any, bucket: str, key: str) -> Any:
    return s3.put_object_annotation(
        Bucket=bucket, Key=key, AnnotationName="name", AnnotationPayload=b"a text"
    )


def read(s3: Any, bucket: str, key: str) -> Any:
    return s3.get_object_annotation(Bucket=bucket, Key=key, AnnotationName="name")


def test_a_named_key_is_inherited_and_may_change(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **NAMED)
    assert annotate(s3, bucket, "k")["ServerSideEncryption"] == "aws:kms"
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    assert annotate(s3, bucket, "plain")["ServerSideEncryption"] == "AES256"
    arn = "arn:aws:kms:fr:123456789012:key/key-1"
    wanted = {"SSEKMS": {"KMSKeyArn": arn, "BucketKeyEnabled": True}}
    for key in ("k", "plain"):
        s3.update_object_encryption(Bucket=bucket, Key=key, ObjectEncryption=wanted)
        found = read(s3, bucket, key)
        assert found["AnnotationPayload"].read() == b"a text"
        assert found["ServerSideEncryption"] == "aws:kms"
    copied = s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k", **NAMED)
    assert copied["SSEKMSKeyId"] == "key-2"
    assert read(s3, bucket, "c")["AnnotationPayload"].read() == b"a text"


def test_a_key_of_the_client_rules_them_out(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **A)
    assert refusal(annotate, s3, bucket, "k") == REFUSED
    assert refusal(read, s3, bucket, "k") == (404, "NoSuchAnnotation")
    assert s3.list_object_annotations(Bucket=bucket, Key="k")["AnnotationCount"] == 0
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    annotate(s3, bucket, "plain")
    copy = {"Bucket": bucket, "Key": "c", "CopySource": f"{bucket}/plain", **A}
    assert refusal(s3.copy_object, **copy) == REFUSED
    s3.copy_object(**copy, AnnotationDirective="EXCLUDE")
    assert s3.list_object_annotations(Bucket=bucket, Key="c")["AnnotationCount"] == 0
