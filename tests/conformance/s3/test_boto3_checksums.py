"""Checksums of every algorithm S3 has in 2026, in every place a client may put one."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.model.checksums import composite_digest, digest_of
from gateway.model.version import CHECKSUM_ALGORITHMS
from tests.support.raw_s3 import (
    SIGNED_CHUNKS,
    SIGNED_CHUNKS_TRAILER,
    STREAMING_MODES,
    UNSIGNED,
    encode_chunks,
    sign,
)
from tests.support.refusals import refused
from tests.support.s3_gateway import CREDENTIALS, S3Gateway

PART = 5 * 1024 * 1024
CONTENT = b"content of some length" * 3
CRCS = ("CRC32", "CRC32C", "CRC64NVME")


def text_of(algorithm: str, content: bytes = CONTENT) -> str:
    return b64encode(digest_of(algorithm, content)).decode()


def begin(s3: Any, bucket: str, **options: Any) -> dict[str, str]:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", **options)
    return {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}


def complete(s3: Any, named: dict[str, str], parts: list[Any], **options: Any) -> Any:
    return s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **options)


@pytest.mark.parametrize("algorithm", CHECKSUM_ALGORITHMS)
def test_in_a_header(gateway: S3Gateway, s3: Any, bucket: str, algorithm: str) -> None:
    name = f"Checksum{algorithm}"
    put = s3.put_object(Bucket=bucket, Key="k", Body=CONTENT, **{name: text_of(algorithm)})
    assert (put[name], put["ChecksumType"]) == (text_of(algorithm), "FULL_OBJECT")
    assert name not in s3.head_object(Bucket=bucket, Key="k")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[name], head["ChecksumType"]) == (text_of(algorithm), "FULL_OBJECT")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got[name]) == (CONTENT, text_of(algorithm))
    some = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", Range="bytes=1-3")
    assert name not in some
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ChecksumAlgorithm"] == [algorithm]
    for wrong in (text_of(algorithm, b"other"), "bad", ""):
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket=bucket, Key="new", Body=CONTENT, **{name: wrong})
        assert refused(error) == (400, "BadDigest")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


@pytest.mark.parametrize("algorithm", CHECKSUM_ALGORITHMS)
def test_in_a_signed_trailer_of_a_large_body(
    gateway: S3Gateway, s3: Any, bucket: str, algorithm: str
) -> None:
    content = b"0123456789abcdef" * 20_000
    header = f"x-amz-checksum-{algorithm.lower()}"
    for value, status in ((text_of(algorithm, b"other"), 400), (text_of(algorithm, content), 200)):
        with gateway.raw() as client:
            headers = {
                "host": client.authority,
                "content-encoding": "aws-chunked",
                "x-amz-decoded-content-length": str(len(content)),
                "x-amz-trailer": header,
            }
            target = f"/{bucket}/k"
            signed = sign(CREDENTIALS, "PUT", target, headers, payload=SIGNED_CHUNKS_TRAILER)
            trailer = f"{header}:{value}"
            body = encode_chunks(signed, SIGNED_CHUNKS_TRAILER, content, trailer=trailer)
            client.send_head("PUT", target, {**signed.headers, "content-length": str(len(body))})
            client.send(body)
            answer = client.read_answer()
            assert answer.status == status, answer.body
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got[f"Checksum{algorithm}"]) == (content, value)


@pytest.mark.parametrize("algorithm", [name for name in CHECKSUM_ALGORITHMS if name != "MD5"])
def test_as_the_sdk_computes_it(s3: Any, bucket: str, algorithm: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=CONTENT, ChecksumAlgorithm=algorithm)
    assert put[f"Checksum{algorithm}"] == text_of(algorithm)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == CONTENT  # boto3 compares the checksum itself


@pytest.mark.parametrize("algorithm", CHECKSUM_ALGORITHMS)
@pytest.mark.parametrize("is_right", [True, False])
def test_in_a_trailer(
    gateway: S3Gateway, s3: Any, bucket: str, algorithm: str, is_right: bool
) -> None:
    header = f"x-amz-checksum-{algorithm.lower()}"
    value = text_of(algorithm, CONTENT if is_right else b"other")
    body = f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n0\r\n"
    body += f"{header}:{value}\r\n\r\n".encode()
    headers = {
        "x-amz-trailer": header,
        "x-amz-decoded-content-length": str(len(CONTENT)),
        "content-encoding": "aws-chunked",
    }
    answer = gateway.raw().request(
        "PUT",
        f"/{bucket}/k",
        headers=headers,
        body=body,
        payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )
    if not is_right:
        assert (answer.status, answer.code) == (400, "BadDigest")
        return
    assert answer.status == 200, answer.body
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == value


@pytest.mark.parametrize(
    "algorithm", [name for name in CHECKSUM_ALGORITHMS if name not in CRCS[2:]]
)
def test_composite_of_parts(s3: Any, bucket: str, algorithm: str) -> None:
    name = f"Checksum{algorithm}"
    contents = [b"1" * PART, b"2"]
    named = begin(s3, bucket, ChecksumAlgorithm=algorithm)
    parts = []
    for number, content in enumerate(contents, 1):
        stated = {name: text_of(algorithm, content)}
        part = s3.upload_part(**named, PartNumber=number, Body=content, **stated)
        assert part[name] == stated[name]
        parts.append({"PartNumber": number, "ETag": part["ETag"], **stated})
    listed = s3.list_parts(**named)
    assert [part[name] for part in listed["Parts"]] == [part[name] for part in parts]
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, "COMPOSITE")
    uploads = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert (uploads[0]["ChecksumAlgorithm"], uploads[0]["ChecksumType"]) == (algorithm, "COMPOSITE")
    digests = [digest_of(algorithm, content) for content in contents]
    whole = b64encode(composite_digest(algorithm, digests)).decode() + "-2"
    with pytest.raises(ClientError) as error:
        complete(s3, named, [{**parts[0], name: parts[1][name]}, parts[1]])
    assert refused(error) == (400, "InvalidPart")
    for wrong in ("bad", whole[:-1] + "3", text_of(algorithm, b"other") + "-2"):
        with pytest.raises(ClientError) as error:
            complete(s3, named, parts, **{name: wrong})
        assert refused(error) == (400, "BadDigest")
    # The parts' own checksums need not be repeated: they are known.
    bare = [{field: part[field] for field in ("PartNumber", "ETag")} for part in parts]
    done = complete(s3, named, bare if algorithm == "SHA256" else parts, **{name: whole})
    assert (done[name], done["ChecksumType"]) == (whole, "COMPOSITE")
    for number, content in enumerate(contents, 1):
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number, ChecksumMode="ENABLED")
        assert (got["Body"].read(), got[name]) == (content, text_of(algorithm, content))
        assert (got["ChecksumType"], got["PartsCount"]) == ("COMPOSITE", 2)
        head = s3.head_object(Bucket=bucket, Key="k", PartNumber=number, ChecksumMode="ENABLED")
        assert (head[name], head["ContentLength"]) == (text_of(algorithm, content), len(content))
        assert head["ETag"] == done["ETag"]


@pytest.mark.parametrize("algorithm", CRCS)
def test_crc_of_the_whole(s3: Any, bucket: str, algorithm: str) -> None:
    name = f"Checksum{algorithm}"
    contents = [b"1" * PART, b"2"]
    named = begin(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    parts = []
    for number, content in enumerate(contents, 1):
        part = s3.upload_part(**named, PartNumber=number, Body=content, ChecksumAlgorithm=algorithm)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    whole = text_of(algorithm, b"".join(contents))
    for options, code in (
        ({name: text_of(algorithm, b"other")}, "BadDigest"),
        ({"ChecksumSHA1": text_of("SHA1")}, "InvalidRequest"),
        ({name: whole, "ChecksumType": "COMPOSITE"}, "InvalidRequest"),
        ({"MpuObjectSize": PART}, "InvalidRequest"),
    ):
        with pytest.raises(ClientError) as error:
            complete(s3, named, parts, **options)
        assert refused(error) == (400, code)
    done = complete(
        s3, named, parts, ChecksumType="FULL_OBJECT", MpuObjectSize=PART + 1, **{name: whole}
    )
    assert (done[name], done["ChecksumType"]) == (whole, "FULL_OBJECT")


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        *((name, "FULL_OBJECT") for name in CHECKSUM_ALGORITHMS if name not in CRCS),
        ("CRC64NVME", "COMPOSITE"),
        ("CRC32", "OTHER"),
    ],
)
def test_types_that_an_algorithm_has_not(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    with pytest.raises(ClientError) as error:
        begin(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    assert refused(error) == (400, "InvalidRequest")


def test_a_copy_keeps_the_algorithm_or_gets_another(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=CONTENT, ChecksumMD5=text_of("MD5"))
    source = {"Bucket": bucket, "Key": "k"}
    kept = s3.copy_object(Bucket=bucket, Key="a", CopySource=source)["CopyObjectResult"]
    assert kept["ChecksumMD5"] == text_of("MD5")
    made = s3.copy_object(Bucket=bucket, Key="b", CopySource=source, ChecksumAlgorithm="XXHASH3")
    assert made["CopyObjectResult"]["ChecksumXXHASH3"] == text_of("XXHASH3")


DELETE = b"<Delete><Object><Key>k</Key></Object></Delete>"
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@pytest.mark.parametrize("algorithm", CHECKSUM_ALGORITHMS)
@pytest.mark.parametrize(
    ("method", "query", "body"),
    [("POST", "delete", DELETE), ("PUT", "tagging", TAGS), ("PUT", "versioning", VERSIONING)],
    ids=["delete", "tagging", "versioning"],
)
def test_any_checksum_or_content_md5_is_taken_where_one_is_required(
    gateway: S3Gateway, bucket: str, algorithm: str, method: str, query: str, body: bytes
) -> None:
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    header = f"x-amz-checksum-{algorithm.lower()}"
    for name, value, other in (
        (header, text_of(algorithm, body), text_of(algorithm, b"other")),
        ("content-md5", md5, b64encode(hashlib.md5(b"other").digest()).decode()),
    ):
        for sent, status in ((other, 400), (value, 0)):
            answer = gateway.raw().request(
                method,
                f"/{bucket}?{query}",
                headers={name: sent},
                body=body,
                payload="UNSIGNED-PAYLOAD",
            )
            if status:
                assert (answer.status, answer.code) == (400, "BadDigest")
            else:
                assert answer.status in (200, 204), answer.body


def test_what_will_be_locked_needs_a_digest_of_its_own(gateway: S3Gateway, s3: Any) -> None:
    """A signature over the payload is none, as on S3; Content-MD5 or any checksum is."""
    bucket = "locked-by-default"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    until = {
        "x-amz-object-lock-mode": "GOVERNANCE",
        "x-amz-object-lock-retain-until-date": "2046-01-01T00:00:00Z",
    }
    client = gateway.raw()
    assert client.request("PUT", f"/{bucket}/k", body=CONTENT).status == 200
    for headers in (until, {"x-amz-object-lock-legal-hold": "ON"}):
        answer = client.request("PUT", f"/{bucket}/k", body=CONTENT, headers=headers)
        assert (answer.status, answer.code) == (400, "InvalidRequest")
        assert b"Content-MD5 OR x-amz-checksum- HTTP header is required" in answer.body
    named = begin(s3, bucket)
    s3.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    part = f"/{bucket}/k?partNumber=1&uploadId={named['UploadId']}"
    for target in (f"/{bucket}/k", part):
        answer = client.request("PUT", target, body=CONTENT)
        assert (answer.status, answer.code) == (400, "InvalidRequest")
        digests = {f"x-amz-checksum-{name.lower()}": text_of(name) for name in CHECKSUM_ALGORITHMS}
        digests["content-md5"] = text_of("MD5")
        for header, value in digests.items():
            answer = client.request("PUT", target, body=CONTENT, headers={header: value})
            assert answer.status == 200, (header, answer.body)


@pytest.mark.parametrize("mode", ["", *STREAMING_MODES, *CHECKSUM_ALGORITHMS])
def test_a_thousand_keys_are_deleted_in_any_integrity_mode(
    gateway: S3Gateway, s3: Any, bucket: str, mode: str
) -> None:
    s3.put_object(Bucket=bucket, Key="key-0500", Body=b"x")
    keys = "".join(f"<Object><Key>key-{n:04}</Key></Object>" for n in range(1000))
    body = f"<Delete>{keys}</Delete>".encode()
    target = f"/{bucket}?delete"
    with gateway.raw() as client:
        if mode in STREAMING_MODES:
            headers = {
                "host": client.authority,
                "content-encoding": "aws-chunked",
                "x-amz-decoded-content-length": str(len(body)),
            }
            trailer = ""
            if mode != SIGNED_CHUNKS:
                headers["x-amz-trailer"] = "x-amz-checksum-crc32"
                trailer = f"x-amz-checksum-crc32:{text_of('CRC32', body)}"
            else:
                headers["content-md5"] = text_of("MD5", body)
            signed = sign(CREDENTIALS, "POST", target, headers, payload=mode)
            sent = encode_chunks(signed, mode, body, trailer=trailer)
            client.send_head("POST", target, {**signed.headers, "content-length": str(len(sent))})
            client.send(sent)
            answer = client.read_answer()
        elif mode:
            stated = {f"x-amz-checksum-{mode.lower()}": text_of(mode, body)}
            answer = client.request("POST", target, body=body, headers=stated, payload=UNSIGNED)
        else:
            answer = client.request("POST", target, body=body)
    assert (answer.status, answer.body.count(b"<Deleted>")) == (200, 1000)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_delete_objects_wants_some_digest(gateway: S3Gateway, bucket: str) -> None:
    answer = gateway.raw().request(
        "POST", f"/{bucket}?delete", body=DELETE, payload="UNSIGNED-PAYLOAD"
    )
    assert (answer.status, answer.code) == (400, "InvalidRequest")
