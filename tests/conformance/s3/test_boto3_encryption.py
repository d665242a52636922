"""Encryption as clients choose it: S3's own keys, named keys, keys of their own, and every copy."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.gateway import TENANT
from tests.support.s3_gateway import S3Gateway, running_gateway

PREFIX = "x-amz-server-side-encryption"
KEYS = ("key-1", "key-2")
PART = 5 * 1024 * 1024
LARGE = b"large" * 60_000
MIN = b"least" * (1 << 20)  # the least that a part but the last may have
SIZES = (b"", b"small", LARGE)


def own_key(seed: str, prefix: str = "SSECustomer") -> dict[str, str]:
    key = hashlib.sha256(seed.encode()).digest()
    return {
        f"{prefix}Algorithm": "AES256",
        f"{prefix}Key": base64.b64encode(key).decode(),
        f"{prefix}KeyMD5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }


A, B = own_key("a"), own_key("b")
FROM_A = own_key("a", "CopySourceSSECustomer")
MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "AES256": {"ServerSideEncryption": "AES256"},
    "aws:kms": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"},
    "aws:kms:dsse": {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "key-2"},
    "SSE-C": A,
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway() as running:
        services = running.gateway.services
        services.sse_over_http = True
        services.test_kms_keys = KEYS
        yield running


def refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    response = error.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def with_headers(s3: Any, operation: str, headers: dict[str, str]) -> None:
    s3.meta.events.register(
        f"before-call.s3.{operation}", lambda params, **_: params["headers"].update(headers)
    )


def check_told(answer: dict[str, Any], mode: str) -> None:
    """An answer names the mode of its object, and nothing of another one."""
    if mode == "SSE-C":
        # Of a completion boto3 gives these as headers only.
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        assert headers[f"{PREFIX}-customer-algorithm"] == "AES256"
        digests = (A["SSECustomerKeyMD5"], B["SSECustomerKeyMD5"])
        assert headers[f"{PREFIX}-customer-key-md5"] in digests
        assert "ServerSideEncryption" not in answer
        return
    assert answer["ServerSideEncryption"] == ("AES256" if mode == "none" else mode)
    assert "SSECustomerAlgorithm" not in answer
    assert answer.get("SSEKMSKeyId") == MODES[mode].get("SSEKMSKeyId")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", SIZES, ids=len)
def test_every_mode_gives_back_what_was_put(
    s3: Any, bucket: str, mode: str, content: bytes
) -> None:
    check_told(s3.put_object(Bucket=bucket, Key="k", Body=content, **MODES[mode]), mode)
    given = A if mode == "SSE-C" else {}
    for _ in range(2):  # the second read finds the row open
        read = s3.get_object(Bucket=bucket, Key="k", **given)
        assert read["Body"].read() == content
        check_told(read, mode)
    check_told(s3.head_object(Bucket=bucket, Key="k", **given), mode)
    if content:
        part = s3.get_object(Bucket=bucket, Key="k", Range="bytes=1-3", **given)
        assert part["Body"].read() == content[1:4]


@pytest.mark.parametrize("pair", list(itertools.product(MODES, MODES)), ids="-".join)
def test_copies_between_all_modes(s3: Any, bucket: str, pair: tuple[str, str]) -> None:
    source, target = pair
    s3.put_object(Bucket=bucket, Key="from", Body=MIN, **MODES[source])
    options: dict[str, Any] = dict(B if target == "SSE-C" else MODES[target])
    options |= FROM_A if source == "SSE-C" else {}
    given = B if target == "SSE-C" else {}
    origin = {"Bucket": bucket, "Key": "from"}
    check_told(s3.copy_object(Bucket=bucket, Key="to", CopySource=origin, **options), target)
    read = s3.get_object(Bucket=bucket, Key="to", **given)
    assert read["Body"].read() == MIN
    check_told(read, target)

    begun = s3.create_multipart_upload(
        Bucket=bucket, Key="parts", **(B if target == "SSE-C" else MODES[target])
    )
    check_told(begun, target)
    named = {"Bucket": bucket, "Key": "parts", "UploadId": begun["UploadId"]}
    source_key = FROM_A if source == "SSE-C" else {}
    if target == "SSE-C":
        for wrong in ({}, A):
            with pytest.raises(ClientError) as error:
                s3.upload_part_copy(**named, PartNumber=1, CopySource=origin, **wrong, **source_key)
            assert refused(error) == (400, "InvalidRequest")
    copied = s3.upload_part_copy(**named, PartNumber=1, CopySource=origin, **given, **source_key)
    check_told(copied, target)
    last = s3.upload_part(**named, PartNumber=2, Body=b"last", **given)
    parts = [
        {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]},
        {"PartNumber": 2, "ETag": last["ETag"]},
    ]
    for wrong in ({}, A) if target == "SSE-C" else ():
        with pytest.raises(ClientError) as error:
            s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **wrong)
        assert refused(error) == (400, "InvalidRequest")
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **given)
    check_told(done, target)
    assert s3.get_object(Bucket=bucket, Key="parts", **given)["Body"].read() == MIN + b"last"


@pytest.mark.parametrize("mode", MODES)
def test_multipart_uploads_with_each_mode(s3: Any, bucket: str, mode: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", **MODES[mode])
    given = A if mode == "SSE-C" else {}
    named = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    contents, parts = [b"1" * PART, b"2" * 70_000], []
    for number, content in enumerate(contents, 1):
        part = s3.upload_part(**named, PartNumber=number, Body=content, **given)
        check_told(part, mode)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **given)
    assert s3.get_object(Bucket=bucket, Key="k", **given)["Body"].read() == b"".join(contents)
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=2, **given)
    assert part["Body"].read() == contents[1]


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
    opened = [held for held in services.opened._held.values() if held.head.key == "k"]
    s3.get_object(Bucket=bucket, Key="k", **A)["Body"].read()
    opened = [held for held in services.opened._held.values() if held.head.encryption]
    key = base64.b64decode(A["SSECustomerKey"])
    told = [held for held in opened if held.head.encryption.kind == "SSE-C"]
    assert told and all(held.material is None for held in told)
    for held in told:
        text = repr(held.stored)
        assert A["SSECustomerKey"] not in text and key.hex() not in text
        assert A["SSECustomerKeyMD5"] not in text


KEY_A, MD5_A = A["SSECustomerKey"], A["SSECustomerKeyMD5"]


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


def test_an_object_is_copied_onto_itself_to_change_its_encryption(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, **MODES["aws:kms"])
    assert s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == "key-1"
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    assert refused(error) == (400, "InvalidRequest")


ARN = "arn:aws:kms:fr:123456789012:key/"


def updated(s3: Any, bucket: str, key: str, key_id: str, **options: Any) -> None:
    wanted = {"SSEKMS": {"KMSKeyArn": ARN + key_id, "BucketKeyEnabled": True}}
    s3.update_object_encryption(Bucket=bucket, Key=key, ObjectEncryption=wanted, **options)


def test_an_object_goes_under_another_key_without_moving(s3: Any, bucket: str) -> None:
    parts = s3.create_multipart_upload(Bucket=bucket, Key="parts", Metadata={"m": "1"})
    named = {"Bucket": bucket, "Key": "parts", "UploadId": parts["UploadId"]}
    part = s3.upload_part(**named, PartNumber=1, Body=MIN)
    s3.complete_multipart_upload(
        **named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    s3.put_object(Bucket=bucket, Key="small", Body=b"x")
    s3.put_object(Bucket=bucket, Key="large", Body=LARGE, **MODES["aws:kms"])
    for key, content in (("parts", MIN), ("small", b"x"), ("large", LARGE)):
        before = s3.get_object(Bucket=bucket, Key=key)
        assert before["Body"].read() == content
        updated(s3, bucket, key, "key-2")
        after = s3.get_object(Bucket=bucket, Key=key)
        assert after["Body"].read() == content
        assert (after["SSEKMSKeyId"], after["BucketKeyEnabled"]) == (ARN + "key-2", True)
        for name in ("ETag", "LastModified", "Metadata", "ContentLength"):
            assert after[name] == before[name]


def test_updates_that_are_refused(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="own", Body=b"x", **A)
    s3.put_object(Bucket=bucket, Key="dual", Body=b"x", **MODES["aws:kms:dsse"])
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    for key, key_id, expected in (
        ("own", "key-1", (400, "InvalidRequest")),
        ("dual", "key-1", (400, "InvalidRequest")),
        ("plain", "absent", (400, "KMS.NotFoundException")),
        ("absent", "key-1", (404, "NoSuchKey")),
    ):
        with pytest.raises(ClientError) as error:
            updated(s3, bucket, key, key_id)
        assert refused(error) == expected, key
    with pytest.raises(ClientError) as error:
        s3.update_object_encryption(
            Bucket=bucket,
            Key="plain",
            ObjectEncryption={"SSEKMS": {"KMSKeyArn": "alias/a-name-but-no-arn"}},
        )
    assert refused(error) == (400, "InvalidRequest")


def test_a_version_is_updated_by_its_id_unless_it_is_locked(s3: Any) -> None:
    bucket = "encryption-of-versions"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2", ObjectLockLegalHoldStatus="ON")
    updated(s3, bucket, "k", "key-1", VersionId=first)
    old = s3.get_object(Bucket=bucket, Key="k", VersionId=first)
    assert (old["Body"].read(), old["SSEKMSKeyId"]) == (b"1", ARN + "key-1")
    assert s3.head_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == "AES256"
    with pytest.raises(ClientError) as error:
        updated(s3, bucket, "k", "key-1", VersionId=second["VersionId"])
    assert refused(error) == (403, "AccessDenied")
