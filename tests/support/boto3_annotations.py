"""The annotations of the object "k" of a bucket, through boto3."""

from __future__ import annotations

from typing import Any

MIB = 1 << 20
NO_ANNOTATION = (404, "NoSuchAnnotation")


def put(s3: Any, bucket: str, name: str, content: bytes = b"a text", **more: Any) -> Any:
    return s3.put_object_annotation(
        **{"Bucket": bucket, "Key": "k", "AnnotationName": name, "AnnotationPayload": content}
        | more
    )


def get(s3: Any, bucket: str, name: str, **more: Any) -> Any:
    return s3.get_object_annotation(**{"Bucket": bucket, "Key": "k", "AnnotationName": name} | more)


def content_of(s3: Any, bucket: str, name: str, **more: Any) -> bytes:
    content: bytes = get(s3, bucket, name, **more)["AnnotationPayload"].read()
    return content


def drop(s3: Any, bucket: str, name: str, **more: Any) -> Any:
    return s3.delete_object_annotation(
        **{"Bucket": bucket, "Key": "k", "AnnotationName": name} | more
    )


def names_of(s3: Any, bucket: str, key: str = "k", **more: Any) -> list[str]:
    held = s3.list_object_annotations(Bucket=bucket, Key=key, **more)
    found = [entry["AnnotationName"] for entry in held.get("Annotations", [])]
    assert held["AnnotationCount"] == len(found)
    return found
