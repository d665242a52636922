"""Who may do what with annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.accounts import ALT, ALT_ARN, allowing, policy_text, raw_of
from tests.support.boto3_annotations import drop, get, names_of, put
from tests.support.refusals import DENIED, refusal
from tests.support.s3_gateway import S3Gateway


@pytest.fixture
def annotated(s3: Any, bucket: str) -> str:
    """A bucket with an object "k"."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    return bucket


RIGHTS: dict[str, Callable[[Any, str], Any]] = {
    "PutObjectAnnotation": lambda s3, bucket: put(s3, bucket, "name"),
    "GetObjectAnnotation": lambda s3, bucket: get(s3, bucket, "name"),
    "ListObjectAnnotations": lambda s3, bucket: names_of(s3, bucket),
    "DeleteObjectAnnotation": lambda s3, bucket: drop(s3, bucket, "other"),
}


@pytest.mark.parametrize("action", RIGHTS)
def test_rights(s3: Any, alt: Any, nobody: Any, annotated: str, action: str) -> None:
    put(s3, annotated, "name")
    for other in (alt, nobody):
        for call in RIGHTS.values():
            assert refusal(call, other, annotated) == DENIED
    policy = allowing(annotated, f"s3:{action}", who=ALT_ARN)
    s3.put_bucket_policy(Bucket=annotated, Policy=policy)
    for name, call in RIGHTS.items():
        if name == action:
            call(alt, annotated)
        else:
            assert refusal(call, alt, annotated) == DENIED
        assert refusal(call, nobody, annotated) == DENIED
    denial = {"Effect": "Deny", "Action": f"s3:{action}"}
    s3.put_bucket_policy(Bucket=annotated, Policy=policy_text(annotated, denial))
    for name, call in RIGHTS.items():
        if name == action:
            assert refusal(call, s3, annotated) == DENIED
        else:
            call(s3, annotated)


def test_versions_have_actions_of_their_own(s3: Any, alt: Any, annotated: str) -> None:
    put(s3, annotated, "name")
    plain = allowing(annotated, "s3:*ObjectAnnotation*", who=ALT_ARN)
    s3.put_bucket_policy(Bucket=annotated, Policy=plain)
    put(alt, annotated, "name")
    for call in (put, get, drop):
        assert refusal(call, alt, annotated, "name", VersionId="null") == DENIED
    versions = allowing(annotated, "s3:*ObjectVersionAnnotation*", who=ALT_ARN)
    s3.put_bucket_policy(Bucket=annotated, Policy=versions)
    assert refusal(get, alt, annotated, "name") == DENIED
    for call in (put, get, drop):
        call(alt, annotated, "name", VersionId="null")


def test_a_condition_tells_the_etag_to_none_who_may_not_read(
    s3: Any, alt: Any, annotated: str
) -> None:
    etag = s3.head_object(Bucket=annotated, Key="k")["ETag"]
    policy = allowing(annotated, "s3:PutObjectAnnotation", who=ALT_ARN)
    s3.put_bucket_policy(Bucket=annotated, Policy=policy)
    put(alt, annotated, "name")
    for guess in (etag, '"other"'):
        assert refusal(put, alt, annotated, "name", ObjectIfMatch=guess) == DENIED


def test_a_copy_takes_the_rights_of_its_annotations(s3: Any, alt: Any, annotated: str) -> None:
    put(s3, annotated, "name")
    target = annotated + "-alt"
    alt.create_bucket(Bucket=target)
    s3.put_bucket_policy(Bucket=annotated, Policy=allowing(annotated, "s3:GetObject", who=ALT_ARN))
    source = {"Bucket": target, "Key": "c", "CopySource": f"{annotated}/k"}
    assert refusal(alt.copy_object, **source) == DENIED
    alt.copy_object(**source, AnnotationDirective="EXCLUDE")
    actions = ("s3:GetObject", "s3:GetObjectAnnotation")
    s3.put_bucket_policy(Bucket=annotated, Policy=allowing(annotated, *actions, who=ALT_ARN))
    alt.copy_object(**source)
    assert names_of(alt, target, "c") == ["name"]
    denial = {"Effect": "Deny", "Action": "s3:PutObjectAnnotation"}
    alt.put_bucket_policy(Bucket=target, Policy=policy_text(target, denial))
    assert refusal(alt.copy_object, **source) == DENIED


def test_requests_of_others_with_wrong_names_are_told_nothing(
    gateway: S3Gateway, s3: Any, annotated: str
) -> None:
    put(s3, annotated, "name")
    with raw_of(gateway, ALT) as raw:
        for query in ("annotationName=a%20b", "annotationName=", "annotationName=name"):
            for method in ("PUT", "GET", "DELETE"):
                target = f"/{annotated}/k?annotation=&{query}"
                answer = raw.request(method, target, body=b"x" if method == "PUT" else b"")
                assert (answer.status, answer.code) == (403, "AccessDenied")
