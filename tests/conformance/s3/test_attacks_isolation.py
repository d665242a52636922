"""Attacks of one account on another: what it may not do, and what it may not even learn.

Source: the attack tables of the threat model; their ids are in the names of the tests.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.accounts import ALT, ALT_ARN, allowing, policy_text, raw_of
from tests.support.raw_s3 import sign
from tests.support.refusals import DENIED, refusal, refusal_code
from tests.support.s3_gateway import NAMES, S3Gateway


def test_aut_01_a_copy_needs_the_right_to_read_its_source(s3: Any, alt: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="secret", Body=b"x" * 10, Tagging="a=b")
    own = NAMES.next()
    alt.create_bucket(Bucket=own)
    upload = alt.create_multipart_upload(Bucket=own, Key="up")["UploadId"]
    source = {"Bucket": bucket, "Key": "secret"}
    part = {"Bucket": own, "Key": "up", "UploadId": upload, "PartNumber": 1, "CopySource": source}
    for conditions in ({}, {"CopySourceIfNoneMatch": "*"}, {"CopySourceIfMatch": "0" * 32}):
        code = refusal_code(alt.copy_object, Bucket=own, Key="k", CopySource=source, **conditions)
        assert code == "AccessDenied"
        assert refusal(alt.upload_part_copy, **part, **conditions) == DENIED
    for missing in ({**source, "Key": "missing"}, {**source, "VersionId": "0" * 32}):
        assert refusal(alt.copy_object, Bucket=own, Key="k", CopySource=missing) == DENIED
    # Reading lets nobody take the tags along.
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:GetObject", who=ALT_ARN))
    assert refusal(alt.copy_object, Bucket=own, Key="k", CopySource=source) == DENIED
    alt.copy_object(Bucket=own, Key="k", CopySource=source, TaggingDirective="REPLACE")
    alt.upload_part_copy(**part)


def test_aut_01_a_copy_needs_the_right_to_write_its_target(s3: Any, alt: Any, bucket: str) -> None:
    own = NAMES.next()
    alt.create_bucket(Bucket=own)
    alt.put_object(Bucket=own, Key="k", Body=b"x")
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:GetObject", who=ALT_ARN))
    source = {"Bucket": own, "Key": "k"}
    assert refusal(alt.copy_object, Bucket=bucket, Key="k", CopySource=source) == DENIED
    upload = s3.create_multipart_upload(Bucket=bucket, Key="up")["UploadId"]
    part = {"Bucket": bucket, "Key": "up", "UploadId": upload, "PartNumber": 1}
    assert refusal(alt.upload_part_copy, **part, CopySource=source) == DENIED
    assert refusal(alt.upload_part, **part, Body=b"x") == DENIED


def test_aut_02_dots_in_a_copy_source_cross_no_bucket(
    gateway: S3Gateway, s3: Any, alt: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="secret", Body=b"x")
    own = NAMES.next()
    alt.create_bucket(Bucket=own)
    with raw_of(gateway, ALT) as client:
        for path in (f"/{own}/../{bucket}/secret", f"/{own}/%2e%2e/{bucket}/secret"):
            headers = {"x-amz-copy-source": path}
            assert client.request("PUT", f"/{own}/k", b"", headers).code == "NoSuchKey"
            answer = client.request("GET", path, b"")
            assert answer.code == "NoSuchKey"
        answer = client.request("GET", f"/{own}%2f..%2f{bucket}%2fsecret", b"")
        assert answer.status == 404


def test_aut_01_policies_read_a_copy_source_as_copies_do(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    for key in ("a b", "open", "secret?versionId=x"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    sources = [f"{bucket}/a b", f"{bucket}/secret*"]
    said = {"Effect": "Deny", "Action": "s3:PutObject"}
    condition = {"StringLike": {"s3:x-amz-copy-source": sources}}
    whole = f"arn:aws:s3:::{bucket}/*"
    text = policy_text(bucket, {**said, "Resource": whole, "Condition": condition})
    s3.put_bucket_policy(Bucket=bucket, Policy=text)
    with gateway.raw() as client:
        for source in ("a%20b", "a+b", "%61+b", "a b?versionId=null", "secret%3FversionId=x"):
            for start in ("", "/"):
                headers = {"x-amz-copy-source": f"{start}{bucket}/{source}"}
                answer = client.request("PUT", f"/{bucket}/copy", b"", headers)
                assert answer.code == "AccessDenied", source
        headers = {"x-amz-copy-source": f"{bucket}/open"}
        assert client.request("PUT", f"/{bucket}/copy", b"", headers).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_aut_03_conditions_are_not_looked_at_before_rights(
    gateway: S3Gateway, s3: Any, bucket: str, method: str
) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    told = set()
    with raw_of(gateway, ALT) as client:
        for key in ("k", "missing"):
            for name in ("if-match", "if-none-match"):
                for value in (etag, '"0"', "*"):
                    answer = client.request(method, f"/{bucket}/{key}", b"", {name: value})
                    told.add((answer.status, answer.code, "etag" in answer.headers))
            answer = client.request(method, f"/{bucket}/{key}", b"", {"range": "bytes=9-"})
            told.add((answer.status, answer.code, "etag" in answer.headers))
    assert len(told) == 1
    assert told.pop()[0] == 403


def test_aut_03_who_may_only_write_cannot_ask_for_etags(s3: Any, alt: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"guess me")["ETag"]
    s3.put_bucket_policy(
        Bucket=bucket, Policy=allowing(bucket, "s3:PutObject", "s3:DeleteObject", who=ALT_ARN)
    )
    alt.put_object(Bucket=bucket, Key="mine", Body=b"x")
    for key in ("k", "missing"):
        for value in (etag, '"0"'):
            wanted = {"Bucket": bucket, "Key": key, "IfMatch": value}
            assert refusal(alt.put_object, **wanted, Body=b"y") == DENIED
            assert refusal(alt.delete_object, **wanted) == DENIED
    for value in (etag, '"0"'):
        alone = {"Objects": [{"Key": "k", "ETag": value}]}
        (error,) = alt.delete_objects(Bucket=bucket, Delete=alone)["Errors"]
        assert error["Code"] == "AccessDenied"
    assert s3.get_object(Bucket=bucket, Key="k")["ETag"] == etag


def test_aut_06_addresses_in_headers_are_nobodys(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    only_there = {"Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.7/32"}}}
    s3.put_bucket_policy(
        Bucket=bucket, Policy=allowing(bucket, "s3:GetObject", who=ALT_ARN, **only_there)
    )
    names = ("x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip")
    with raw_of(gateway, ALT) as client:
        for name in (*names, "aws:sourceip", "x-amz-source-ip"):
            value = "for=203.0.113.7" if name == "forwarded" else "203.0.113.7"
            answer = client.request("GET", f"/{bucket}/k", b"", {name: value})
            assert answer.status in (400, 403)


def test_aut_10_what_is_not_there_looks_like_what_is(
    gateway: S3Gateway, s3: Any, alt: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    other = upload[:-8] + "00000000" if upload[-8:] != "0" * 8 else upload[:-8] + "1" * 8
    with raw_of(gateway, ALT) as client:
        for suffix in ("", "?acl=", "?tagging=", "?attributes=", "?torrent=", "?retention="):
            told = {
                (answer.status, answer.code, len(answer.headers))
                for key in ("k", "missing")
                for answer in [
                    client.request(
                        "GET",
                        f"/{bucket}/{key}{suffix}",
                        b"",
                        {"x-amz-object-attributes": "ETag"},
                    )
                ]
            }
            assert len(told) == 1, (suffix, told)
            assert told.pop()[:2] == (403, "AccessDenied"), suffix
        answers = [
            client.request("GET", f"/{bucket}/k?uploadId={one}", b"") for one in (upload, other)
        ]
        assert {(answer.status, answer.code) for answer in answers} == {(403, "AccessDenied")}
        answers = [
            client.request("DELETE", f"/{bucket}/k?uploadId={one}", b"") for one in (upload, other)
        ]
        assert {(answer.status, answer.code) for answer in answers} == {(403, "AccessDenied")}
    assert bucket not in [held["Name"] for held in alt.list_buckets()["Buckets"]]
    assert refusal_code(alt.create_bucket, Bucket=bucket) == "BucketAlreadyExists"
    assert refusal(alt.get_bucket_location, Bucket=bucket) == DENIED


def test_aut_10_who_may_not_list_is_not_told_what_is_missing(
    s3: Any, alt: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:GetObject*", who=ALT_ARN))
    assert alt.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert refusal(alt.get_object, Bucket=bucket, Key="missing") == DENIED
    assert refusal(alt.get_object_tagging, Bucket=bucket, Key="missing") == DENIED
    arguments = {"Bucket": bucket, "Key": "missing", "ObjectAttributes": ["ETag"]}
    assert refusal(alt.get_object_attributes, **arguments) == DENIED
    source = {"Bucket": bucket, "Key": "missing"}
    own = NAMES.next()
    alt.create_bucket(Bucket=own)
    assert refusal(alt.copy_object, Bucket=own, Key="k", CopySource=source) == DENIED


def test_aut_11_each_key_of_a_batch_is_asked_for(s3: Any, alt: Any, bucket: str) -> None:
    for key in ("theirs/1", "mine/1", "theirs/2", "mine/2"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    mine = {"Resource": f"arn:aws:s3:::{bucket}/mine/*"}
    s3.put_bucket_policy(
        Bucket=bucket, Policy=allowing(bucket, "s3:DeleteObject", who=ALT_ARN, **mine)
    )
    keys = ["theirs/1", "mine/1", "theirs/2", "mine/2", "theirs/missing"]
    wanted = {"Objects": [{"Key": key} for key in keys]}
    answer = alt.delete_objects(Bucket=bucket, Delete=wanted)
    assert {one["Key"] for one in answer["Deleted"]} == {"mine/1", "mine/2"}
    assert {(one["Key"], one["Code"]) for one in answer["Errors"]} == {
        (key, "AccessDenied") for key in keys if key.startswith("theirs")
    }
    version = {"Objects": [{"Key": "mine/1", "VersionId": "null"}]}
    (error,) = alt.delete_objects(Bucket=bucket, Delete=version)["Errors"]
    assert error["Code"] == "AccessDenied"  # that is s3:DeleteObjectVersion


def test_sig_09_a_presigned_request_opens_nothing_of_other_accounts(
    gateway: S3Gateway, s3: Any, alt: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    own = NAMES.next()
    alt.create_bucket(Bucket=own)
    alt.put_object(Bucket=own, Key="k", Body=b"y")
    good = alt.generate_presigned_url("get_object", Params={"Bucket": own, "Key": "k"})
    target = good.removeprefix(gateway.url)
    with gateway.raw() as client:
        client.send_head("GET", target, {"host": client.authority})
        assert client.read_answer().status == 200
        moved = target.replace(f"/{own}/", f"/{bucket}/")
        client.send_head("GET", moved, {"host": client.authority})
        assert client.read_answer().code == "SignatureDoesNotMatch"
        theirs = alt.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        client.send_head("GET", theirs.removeprefix(gateway.url), {"host": client.authority})
        assert client.read_answer().code == "AccessDenied"
        for added in (
            "&versionId=null",
            "&acl=",
            "&response-content-type=text/html",
            "&partNumber=1",
        ):
            client.send_head("GET", target + added, {"host": client.authority})
            assert client.read_answer().status == 403
        for method in ("PUT", "DELETE", "HEAD"):
            client.send_head(method, target, {"host": client.authority, "content-length": "0"})
            assert client.read_answer(is_head=method == "HEAD").status == 403


def test_sig_05_a_copy_source_that_is_not_signed_is_refused(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    names = ("x-amz-copy-source", "x-amz-acl", "x-amz-tagging", "x-amz-object-lock-mode")
    for name in (*names, "x-amz-storage-class", "x-amz-server-side-encryption-customer-key"):
        value = f"/{bucket}/k" if name == names[0] else "a"
        with gateway.raw() as client:
            head = {"host": client.authority, "content-length": "0"}
            signed = sign(client.credentials, "PUT", f"/{bucket}/new", head)
            client.send_head("PUT", signed.target, {**signed.headers, name: value})
            assert client.read_answer().code == "AccessDenied"
    assert refusal_code(s3.get_object, Bucket=bucket, Key="new") == "NoSuchKey"


def test_aut_11_versions_are_asked_for_wherever_they_are_named(s3: Any, bucket: str) -> None:
    """In the query, in a batch, as the source of a copy."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"null")
    denied = {"Effect": "Deny", "Resource": f"arn:aws:s3:::{bucket}/*"}
    actions = ["s3:GetObjectVersion", "s3:DeleteObjectVersion"]

    def deny(version_id: str) -> None:
        condition = {"StringEquals": {"s3:VersionId": version_id}}
        text = policy_text(bucket, {**denied, "Action": actions, "Condition": condition})
        s3.put_bucket_policy(Bucket=bucket, Policy=text)

    def try_all(version_id: str) -> set[str]:
        named = {"Bucket": bucket, "Key": "k", "VersionId": version_id}
        one = {"Objects": [{"Key": "k", "VersionId": version_id}]}
        answer = s3.delete_objects(Bucket=bucket, Delete=one)
        return {
            refusal_code(s3.get_object, **named),
            refusal_code(s3.delete_object, **named),
            refusal_code(s3.copy_object, Bucket=bucket, Key="copy", CopySource=named),
            *(error["Code"] for error in answer.get("Errors", [{"Code": "none"}])),
        }

    deny("null")
    assert try_all("null") == {"AccessDenied"}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    kept = s3.put_object(Bucket=bucket, Key="k", Body=b"kept")["VersionId"]
    deny(kept)
    assert try_all(kept) == {"AccessDenied"}
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"null"
