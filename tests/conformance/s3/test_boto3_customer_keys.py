"""Keys of clients, and what is refused of the headers that choose an encryption."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.encryption_modes import (
    LARGE,
    MODES,
    PREFIX,
    A,
    B,
    encrypting_gateway,
    with_headers,
)
from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway

pytestmark = pytest.mark.proves("CRY-18")


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with encrypting_gateway() as running:
        yield running


KEY_A, MD5_A = A["SSECustomerKey"], A["SSECustomerKeyMD5"]


def test_a_clients_key_is_wanted_for_every_read(s3: Any, bucket: str, gateway: S3Gateway) -> None:
    for key, content in (("small", b"secret"), ("large", LARGE)):
        s3.put_object(Bucket=bucket, Key=key, Body=content, **A)
        name = {"Bucket": bucket, "Key": key}
        for call in (s3.get_object, s3.head_object, s3.get_object):
            # A read with the key leaves the row open; the next one must bring it again.
            assert s3.get_object(**name, **A)["Body"].read() == content
            for given in ({}, B):
                with pytest.raises(ClientError) as error:
                    call(**name, **given)
                assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        with pytest.raises(ClientError) as error:
            s3.copy_object(Bucket=bucket, Key="stolen", CopySource=name)
        assert refused(error) == (400, "InvalidRequest")
    s3.put_object(Bucket=bucket, Key="plain", Body=b"open")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="plain", **A)
    assert refused(error) == (400, "InvalidRequest")


def test_a_clients_key_is_nowhere_in_the_rows(s3: Any, bucket: str, gateway: S3Gateway) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"content", **A)
    services = gateway.gateway.services
    s3.get_object(Bucket=bucket, Key="k", **A)["Body"].read()
    opened = [held for held in services.opened._held.values() if held.head.encryption]
    key = base64.b64decode(A["SSECustomerKey"])
    told = [held for held in opened if held.head.encryption.kind == "SSE-C"]
    assert told and all(held.material is None for held in told)
    for held in told:
        text = repr(held.stored)
        assert A["SSECustomerKey"] not in text and key.hex() not in text
        assert A["SSECustomerKeyMD5"] not in text


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({PREFIX: "aes:kms"}, "InvalidArgument"),
        ({PREFIX: "AES192"}, "InvalidArgument"),
        ({PREFIX: "AES256", f"{PREFIX}-aws-kms-key-id": "key-1"}, "InvalidArgument"),
        ({f"{PREFIX}-aws-kms-key-id": "key-1"}, "InvalidArgument"),
        ({PREFIX: "aws:kms"}, "KMS.NotFoundException"),
        ({PREFIX: "aws:kms", f"{PREFIX}-aws-kms-key-id": "absent"}, "KMS.NotFoundException"),
        (
            {
                PREFIX: "aws:kms",
                f"{PREFIX}-aws-kms-key-id": "key-1",
                f"{PREFIX}-context": "bm8ganNvbg==",
            },
            "InvalidArgument",
        ),
        (
            {
                PREFIX: "aws:kms",
                f"{PREFIX}-aws-kms-key-id": "key-1",
                f"{PREFIX}-bucket-key-enabled": "perhaps",
            },
            "InvalidArgument",
        ),
        ({f"{PREFIX}-customer-algorithm": "AES256"}, "InvalidArgument"),
        (
            {f"{PREFIX}-customer-algorithm": "AES256", f"{PREFIX}-customer-key": KEY_A},
            "InvalidArgument",
        ),
        (
            {f"{PREFIX}-customer-key": KEY_A, f"{PREFIX}-customer-key-md5": MD5_A},
            "InvalidArgument",
        ),
        (
            {
                f"{PREFIX}-customer-algorithm": "AES128",
                f"{PREFIX}-customer-key": KEY_A,
                f"{PREFIX}-customer-key-md5": MD5_A,
            },
            "InvalidEncryptionAlgorithmError",
        ),
        (
            {
                f"{PREFIX}-customer-algorithm": "AES256",
                f"{PREFIX}-customer-key": KEY_A,
                f"{PREFIX}-customer-key-md5": "AAAAAAAAAAAAAAAAAAAAAA==",
            },
            "InvalidArgument",
        ),
        (
            {
                f"{PREFIX}-customer-algorithm": "AES256",
                f"{PREFIX}-customer-key": base64.b64encode(b"short").decode(),
                f"{PREFIX}-customer-key-md5": MD5_A,
            },
            "InvalidArgument",
        ),
        (
            {
                PREFIX: "AES256",
                f"{PREFIX}-customer-algorithm": "AES256",
                f"{PREFIX}-customer-key": KEY_A,
                f"{PREFIX}-customer-key-md5": MD5_A,
            },
            "InvalidArgument",
        ),
    ],
)
def test_headers_that_contradict_each_other(
    gateway: S3Gateway, bucket: str, headers: dict[str, str], code: str
) -> None:
    for operation in ("put_object", "create_multipart_upload"):
        s3 = gateway.boto()
        name = "".join(word.capitalize() for word in operation.split("_"))
        with_headers(s3, name, headers)
        with pytest.raises(ClientError) as error:
            getattr(s3, operation)(Bucket=bucket, Key="k")
        assert refused(error) == (400, code), operation
        told = error.value.response["Error"]
        assert KEY_A not in repr(told)


@pytest.mark.parametrize("header", [PREFIX, f"{PREFIX}-aws-kms-key-id"])
def test_reads_name_no_encryption(gateway: S3Gateway, bucket: str, header: str) -> None:
    s3 = gateway.boto()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with_headers(s3, "GetObject", {header: "AES256"})
    with_headers(s3, "HeadObject", {header: "AES256"})
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k")
    assert refused(error) == (400, "InvalidArgument")
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key="k")
    assert refused(error)[0] == 400


def test_parts_ignore_what_only_the_upload_chooses(gateway: S3Gateway, bucket: str) -> None:
    s3 = gateway.boto()
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", **MODES["aws:kms"])
    headers = {PREFIX: "aws:kms", f"{PREFIX}-aws-kms-key-id": "absent"}
    with_headers(s3, "UploadPart", headers)
    with_headers(s3, "CompleteMultipartUpload", headers)
    named = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    part = s3.upload_part(**named, PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert done["SSEKMSKeyId"] == "key-1"
    with pytest.raises(ClientError) as error:
        s3.upload_part(
            Bucket=bucket,
            Key="k",
            UploadId=s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"],
            PartNumber=1,
            Body=b"x",
            **A,
        )
    assert refused(error) == (400, "InvalidRequest")


def test_an_upload_without_checksums_is_completed_without_the_clients_key(
    gateway: S3Gateway, bucket: str
) -> None:
    s3 = gateway.boto(request_checksum_calculation="when_required")
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", **A)
    named = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    part = s3.upload_part(**named, PartNumber=1, Body=b"old client", **A)
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="k", **A)["Body"].read() == b"old client"


def test_keys_do_not_travel_over_plain_http(bucket: str, gateway: S3Gateway) -> None:
    s3 = gateway.boto()
    s3.put_object(Bucket=bucket, Key="named", Body=b"x", **MODES["aws:kms"])
    s3.put_object(Bucket=bucket, Key="own", Body=b"x", **A)
    services = gateway.gateway.services
    services.sse_over_http = False
    try:
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket=bucket, Key="k", Body=b"x", **A)
        assert refused(error) == (400, "InvalidRequest")
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket=bucket, Key="own", **A)
        assert refused(error) == (400, "InvalidRequest")
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket=bucket, Key="k", Body=b"x", **MODES["aws:kms"])
        assert refused(error) == (400, "InvalidArgument")
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket=bucket, Key="named")
        assert refused(error) == (400, "InvalidArgument")
    finally:
        services.sse_over_http = True
