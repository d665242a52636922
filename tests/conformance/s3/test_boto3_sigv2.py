"""Signature Version 2, as boto3 signs it: taken where a test profile says so, refused elsewhere."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway


@pytest.fixture
def v2(gateway: S3Gateway) -> Iterator[Any]:
    gateway.gateway.services.sigv2 = True
    yield gateway.boto(signature_version="s3")
    gateway.gateway.services.sigv2 = False


def fetch(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request(method, f"{parts.path}?{parts.query}", body=body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_it_is_refused_by_default(gateway: S3Gateway, bucket: str) -> None:
    v2 = gateway.boto(signature_version="s3")
    with pytest.raises(ClientError) as error:
        v2.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert refused(error) == (400, "InvalidRequest")
    url = v2.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert fetch(url)[0] == 400


def test_headers(v2: Any, s3: Any, bucket: str) -> None:
    v2.create_bucket(Bucket=f"{bucket}-v2")
    v2.put_object(Bucket=bucket, Key="a b/é+&", Body=b"content", Metadata={"a": "1  2"})
    read = v2.get_object(Bucket=bucket, Key="a b/é+&", ResponseContentType="text/plain; a=b")
    assert (read["Body"].read(), read["ContentType"]) == (b"content", "text/plain; a=b")
    assert read["Metadata"] == {"a": "1  2"}
    assert v2.list_objects_v2(Bucket=bucket, Prefix="a b")["KeyCount"] == 1
    upload = v2.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    v2.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"part")
    v2.abort_multipart_upload(Bucket=bucket, Key="m", UploadId=upload)
    v2.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a b/é+&"}]})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_presigned(v2: Any, s3: Any, bucket: str) -> None:
    url = v2.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    assert fetch(url, "PUT", b"content")[0] == 200
    url = v2.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert fetch(url) == (200, b"content")
    for changed, code in (
        (url.replace("/k?", "/other?"), b"SignatureDoesNotMatch"),
        (url.replace("Expires=", "Expires=9"), b"SignatureDoesNotMatch"),
        (url.replace("Expires=", "Expires=0000000000001&Was="), b"AccessDenied"),
        (url.replace("AWSAccessKeyId=", "AWSAccessKeyId=NOBODY"), b"InvalidAccessKeyId"),
    ):
        status, body = fetch(changed)
        assert status == 403 and b"<Code>" + code in body


@pytest.mark.parametrize(
    ("date", "code"),
    [
        ("Bad Date", "AccessDenied"),
        ("", "AccessDenied"),
        ("Tue, 07 Jul 1950 21:53:04 GMT", "AccessDenied"),
        ("Tue, 07 Jul 2010 21:53:04 GMT", "RequestTimeTooSkewed"),
        ("Tue, 07 Jul 9999 21:53:04 GMT", "RequestTimeTooSkewed"),
    ],
)
def test_dates(gateway: S3Gateway, v2: Any, bucket: str, date: str, code: str) -> None:
    with gateway.raw() as client:
        headers = {"host": client.authority, "x-amz-date": date, "authorization": "AWS a:b"}
        client.send_head("GET", f"/{bucket}", headers)
        answer = client.read_answer()
        assert (answer.status, answer.code) == (403, code)
        client.send_head("GET", f"/{bucket}", {**headers, "authorization": "AWS nonsense"})
        assert client.read_answer().code == "InvalidArgument"
