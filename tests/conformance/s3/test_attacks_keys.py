"""Keys of clients (SSE-C): nothing is told without them, and they are told to nobody."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.objects.encryption import Choice
from gateway.objects.values import CustomerKey
from tests.support.s3_gateway import S3Gateway, running_gateway

SECRET = bytes(range(32))
OTHER = bytes(32)
CONTENT = b"what only the client's key opens"
LARGE = CONTENT * 20_000
DOMAIN = "web.test"


def given(key: bytes, prefix: str = "") -> dict[str, str]:
    digest = base64.b64encode(hashlib.md5(key).digest()).decode()
    return {
        f"{prefix}SSECustomerAlgorithm": "AES256",
        f"{prefix}SSECustomerKey": base64.b64encode(key).decode(),
        f"{prefix}SSECustomerKeyMD5": digest,
    }


def headers_of(key: str, digest: str, algorithm: str = "AES256") -> dict[str, str]:
    start = "x-amz-server-side-encryption-customer"
    return {f"{start}-algorithm": algorithm, f"{start}-key": key, f"{start}-key-md5": digest}


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway(website_domains=(DOMAIN,)) as running:
        running.gateway.services.sse_over_http = True
        yield running


@pytest.fixture(params=[CONTENT, LARGE], ids=["small", "large"])
def sealed(request: pytest.FixtureRequest, s3: Any, bucket: str) -> dict[str, str]:
    """An object under a client's key, just read with it."""
    name = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**name, Body=request.param, **given(SECRET))
    assert s3.get_object(**name, **given(SECRET))["Body"].read() == request.param
    return name


@pytest.mark.proves("CRY-18", "CRY-20")
def test_nothing_of_the_content_is_told_without_the_key(
    gateway: S3Gateway, s3: Any, sealed: dict[str, str]
) -> None:
    bucket = sealed["Bucket"]
    upload = {"Bucket": bucket, "Key": "up"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    asked: list[tuple[Any, dict[str, Any]]] = [
        (s3.get_object, sealed),
        (s3.get_object, {**sealed, "Range": "bytes=0-3"}),
        (s3.get_object, {**sealed, "Range": "bytes=99999999-"}),
        (s3.get_object, {**sealed, "IfNoneMatch": "*"}),
        (s3.get_object, {**sealed, "IfMatch": '"0"'}),
        (s3.get_object, {**sealed, "PartNumber": 1}),
        (s3.get_object, {**sealed, "PartNumber": 2}),
        (s3.get_object, {**sealed, "VersionId": "null"}),
        (s3.head_object, sealed),
        (s3.get_object_attributes, {**sealed, "ObjectAttributes": ["Checksum", "ObjectSize"]}),
    ]
    for call, arguments in asked:
        for key in ({}, given(OTHER)):
            with pytest.raises(ClientError) as refused:
                call(**arguments, **key)
            answer = refused.value.response["ResponseMetadata"]
            assert answer["HTTPStatusCode"] in (400, 403), call
            assert not any("checksum" in name for name in answer["HTTPHeaders"])
    for key in ({}, given(OTHER, "CopySource"), given(SECRET)):
        with pytest.raises(ClientError):
            s3.copy_object(Bucket=bucket, Key="stolen", CopySource=sealed, **key)
        with pytest.raises(ClientError):
            s3.upload_part_copy(**upload, PartNumber=1, CopySource=sealed, **key)
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [one["Key"] for one in listed] == ["k"]


def test_a_website_does_not_open_what_is_under_a_clients_key(
    gateway: S3Gateway, s3: Any, sealed: dict[str, str]
) -> None:
    bucket = sealed["Bucket"]
    s3.delete_public_access_block(Bucket=bucket)
    policy = (
        '{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",'
        f'"Resource":"arn:aws:s3:::{bucket}/*"}}}}'
    )
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    site = {"IndexDocument": {"Suffix": "k"}, "ErrorDocument": {"Key": "k"}}
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=site)
    digest = base64.b64encode(hashlib.md5(SECRET).digest()).decode()
    key = headers_of(base64.b64encode(SECRET).decode(), digest)
    for path in ("/", "/k", "/missing"):
        for more in ({}, key):
            with gateway.raw() as client:
                client.send_head("GET", path, {"host": f"{bucket}.{DOMAIN}", **more})
                answer = client.read_answer()
                assert answer.status >= 400
                assert CONTENT not in answer.body


@pytest.mark.proves("CRY-17", "CRY-18")
def test_keys_are_in_no_answer_and_in_no_log(
    gateway: S3Gateway, s3: Any, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = base64.b64encode(SECRET).decode()
    digest = base64.b64encode(hashlib.md5(SECRET).digest()).decode()
    wrong = [
        headers_of(text, "AAAA"),
        headers_of(text, digest, "AES128"),
        headers_of(text + "AAAA", digest),
        headers_of(text[:-4], digest),
        headers_of(text, ""),
        {**headers_of(text, digest), "x-amz-server-side-encryption": "aws:kms"},
    ]
    caplog.set_level(logging.DEBUG)
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    with gateway.raw() as client:
        for headers in wrong:
            for method, path in (("PUT", "new"), ("GET", "plain"), ("POST", "up?uploads=")):
                answer = client.request(method, f"/{bucket}/{path}", b"", headers)
                assert answer.status == 400, (method, headers)
                told = answer.body.decode() + str(answer.headers)
                assert text[:-4] not in told
        good = headers_of(text, digest)
        answer = client.request("PUT", f"/{bucket}/k", b"x", good)
        assert answer.status == 200
        assert text not in str(answer.headers)
    told = "".join(record.getMessage() for record in caplog.records if "hexagone" in record.name)
    assert text[:-4] not in told


@pytest.mark.proves("CRY-17")
def test_keys_do_not_print() -> None:
    sent = CustomerKey("x-amz-server-side-encryption-customer", "AES256", "the-key", "its-md5")
    assert "the-key" not in f"{sent!r}{sent}"
    choice = Choice(None, b"the-key-that-was-decoded-of-it..")
    assert "the-key" not in f"{choice!r}{choice}"


def test_web_01_a_website_sends_nobody_to_another_host(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    s3.delete_public_access_block(Bucket=bucket)
    policy = (
        '{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",'
        f'"Resource":"arn:aws:s3:::{bucket}/*"}}}}'
    )
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    rules = [
        {
            "Condition": {"KeyPrefixEquals": "old"},
            "Redirect": {"ReplaceKeyPrefixWith": "/new\r\nX-Evil: a"},
        }
    ]
    site = {"IndexDocument": {"Suffix": "i"}, "RoutingRules": rules}
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=site)
    for key in ("/evil.test/i", "//evil.test/i", "plain/i"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    host = f"{bucket}.{DOMAIN}"
    for path in ("//evil.test", "///evil.test", "/plain", "/old", "/old//evil.test"):
        with gateway.raw() as client:
            client.send_head("GET", path, {"host": host})
            answer = client.read_answer()
            assert answer.status in (301, 302)
            location = answer.headers["location"]
            assert location.startswith(f"http://{host}/") or location == "/plain/"
            assert "x-evil" not in answer.headers
