"""Tags of objects and buckets, as boto3 sets and reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from tests.support.refusals import refused
from tests.support.s3_gateway import NAMES, S3Gateway


def tag_set(**tags: str) -> dict[str, list[dict[str, str]]]:
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


def tags_of(s3: Any, bucket: str, key: str = "k", **options: Any) -> dict[str, str]:
    found = s3.get_object_tagging(Bucket=bucket, Key=key, **options)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in found}


def test_tags_of_an_object_are_set_read_and_taken_away(s3: Any, bucket: str) -> None:
    before = s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    assert tags_of(s3, bucket) == {}
    assert "TagCount" not in s3.head_object(Bucket=bucket, Key="k")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set(b="2", a="1"))
    assert (
        s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tag_set(a="1", b="2")["TagSet"]
    )
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["TagCount"], got["ETag"], got["Body"].read()) == (2, before["ETag"], b"content")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set(c="é +/="))
    assert tags_of(s3, bucket) == {"c": "é +/="}
    answer = s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert tags_of(s3, bucket) == {}


@pytest.mark.parametrize("length", [10, 3_000_000])
def test_the_bytes_stay_where_they_are(s3: Any, bucket: str, length: int) -> None:
    content = bytes(range(250)) * (length // 250 + 1)
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    for turn in range(3):
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set(turn=str(turn)))
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == content
    assert got["LastModified"] == modified
    s3.delete_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        (tag_set(**{str(n): "v" for n in range(11)}), "InvalidTag"),
        (tag_set(**{"k" * 129: "v"}), "InvalidTag"),
        (tag_set(k="v" * 257), "InvalidTag"),
        (tag_set(**{"aws:k": "v"}), "InvalidTag"),
        (tag_set(**{"k<": "v"}), "InvalidTag"),
        ({"TagSet": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]}, "InvalidTag"),
    ],
)
def test_tags_beyond_the_rules_are_refused(s3: Any, bucket: str, tags: Any, code: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    with pytest.raises(ClientError) as error:
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tags)
    assert refused(error) == (400, code)
    assert tags_of(s3, bucket) == {}


def test_the_largest_tags_are_taken(s3: Any, bucket: str) -> None:
    tags = {str(n) + "k" * 127: "é" * 256 for n in range(10)}
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set(**tags))
    assert tags_of(s3, bucket) == tags


def test_tags_of_nothing(s3: Any, bucket: str) -> None:
    for call in (
        lambda: s3.get_object_tagging(Bucket=bucket, Key="absent"),
        lambda: s3.put_object_tagging(Bucket=bucket, Key="absent", Tagging=tag_set(a="1")),
        lambda: s3.delete_object_tagging(Bucket=bucket, Key="absent"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert refused(error) == (404, "NoSuchKey")


def test_tags_come_with_the_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="b=2&a=1%20%2B&c")
    assert tags_of(s3, bucket) == {"a": "1 +", "b": "2", "c": ""}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert tags_of(s3, bucket) == {}
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&a=2")
    assert refused(error) == (400, "InvalidArgument")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=%FF")
    assert refused(error) == (400, "InvalidArgument")
    with pytest.raises(ClientError) as error:
        s3.put_object(
            Bucket=bucket, Key="k", Body=b"x", Tagging="&".join(f"k{n}=v" for n in range(11))
        )
    assert refused(error) == (400, "InvalidTag")


def test_a_copy_takes_the_tags_or_brings_its_own(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1", Metadata={"m": "1"})
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(Bucket=bucket, Key="same", CopySource=source)
    assert tags_of(s3, bucket, "same") == {"a": "1"}
    s3.copy_object(
        Bucket=bucket, Key="other", CopySource=source, TaggingDirective="REPLACE", Tagging="b=2"
    )
    assert tags_of(s3, bucket, "other") == {"b": "2"}
    assert s3.head_object(Bucket=bucket, Key="other")["Metadata"] == {"m": "1"}
    s3.copy_object(
        Bucket=bucket, Key="meta", CopySource=source, MetadataDirective="REPLACE", Metadata={}
    )
    assert tags_of(s3, bucket, "meta") == {"a": "1"}
    s3.copy_object(Bucket=bucket, Key="none", CopySource=source, TaggingDirective="REPLACE")
    assert tags_of(s3, bucket, "none") == {}
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="x", CopySource=source, TaggingDirective="WRONG")
    assert refused(error) == (400, "InvalidArgument")


def test_a_multipart_object_has_the_tags_of_its_upload(s3: Any, bucket: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", Tagging="Hello=World&foo=bar")
    named = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    part = s3.upload_part(**named, PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert tags_of(s3, bucket) == {"Hello": "World", "foo": "bar"}
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set(x="y"))
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_each_version_has_its_own_tags(s3: Any, bucket: str) -> None:
    first_null = s3.put_object(Bucket=bucket, Key="k", Body=b"0", Tagging="v=0")
    assert "VersionId" not in first_null
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="v=1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2", Tagging="v=2")["VersionId"]
    assert tags_of(s3, bucket) == {"v": "2"}
    assert tags_of(s3, bucket, VersionId=first) == {"v": "1"}
    assert tags_of(s3, bucket, VersionId="null") == {"v": "0"}
    for version_id in (first, "null", second):
        answer = s3.put_object_tagging(
            Bucket=bucket, Key="k", VersionId=version_id, Tagging=tag_set(of=version_id)
        )
        assert answer["VersionId"] == version_id
    for version_id in (first, "null", second):
        assert tags_of(s3, bucket, VersionId=version_id) == {"of": version_id}
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["VersionId"] == second
    assert s3.delete_object_tagging(Bucket=bucket, Key="k", VersionId=first)["VersionId"] == first
    assert tags_of(s3, bucket, VersionId=first) == {}
    assert tags_of(s3, bucket, VersionId=second) == {"of": second}
    for number, version_id in enumerate(("null", first, second)):
        got = s3.get_object(Bucket=bucket, Key="k", VersionId=version_id)
        assert got["Body"].read() == str(number).encode()
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    with pytest.raises(ClientError) as error:
        s3.get_object_tagging(Bucket=bucket, Key="k")
    assert refused(error) == (404, "NoSuchKey")
    with pytest.raises(ClientError) as error:
        s3.put_object_tagging(Bucket=bucket, Key="k", VersionId=marker, Tagging=tag_set(a="1"))
    assert refused(error) == (405, "MethodNotAllowed")
    with pytest.raises(ClientError) as error:
        s3.get_object_tagging(Bucket=bucket, Key="k", VersionId="3" * len(first))
    assert refused(error)[0] in (400, 404)


def test_policies_see_the_tags_there_are_and_those_to_be(s3: Any, bucket: str) -> None:
    statements = [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:PutObject", "s3:PutObjectTagging"],
            "Resource": f"arn:aws:s3:::{bucket}/*",
            "Condition": {"StringEquals": {"s3:RequestObjectTag/class": "secret"}},
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:GetObjectTagging",
            "Resource": f"arn:aws:s3:::{bucket}/*",
            "Condition": {"StringEquals": {"s3:ExistingObjectTag/class": "hidden"}},
        },
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="class=open")
    for call in (
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"y", Tagging="class=secret"),
        lambda: s3.put_object_tagging(
            Bucket=bucket, Key="k", Tagging=tag_set(**{"class": "secret"})
        ),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert refused(error) == (403, "AccessDenied")
    assert tags_of(s3, bucket) == {"class": "open"}
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set(**{"class": "hidden"}))
    with pytest.raises(ClientError) as error:
        tags_of(s3, bucket)
    assert refused(error) == (403, "AccessDenied")
    assert "TagCount" not in s3.get_object(Bucket=bucket, Key="k")
    s3.copy_object(
        Bucket=bucket,
        Key="c",
        CopySource={"Bucket": bucket, "Key": "k"},
        TaggingDirective="REPLACE",
    )
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"})
    assert refused(error) == (403, "AccessDenied")


def test_tags_of_a_bucket(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.get_bucket_tagging(Bucket=bucket)
    assert refused(error) == (404, "NoSuchTagSet")
    answer = s3.put_bucket_tagging(Bucket=bucket, Tagging=tag_set(b="2", a="1"))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tag_set(a="1", b="2")["TagSet"]
    fifty = {f"k{n:02}": "v" for n in range(50)}
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tag_set(**fifty))
    with pytest.raises(ClientError) as error:
        s3.put_bucket_tagging(Bucket=bucket, Tagging=tag_set(**fifty, more="v"))
    assert refused(error) == (400, "InvalidTag")
    assert len(s3.get_bucket_tagging(Bucket=bucket)["TagSet"]) == 50
    answer = s3.delete_bucket_tagging(Bucket=bucket)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(ClientError) as error:
        s3.get_bucket_tagging(Bucket=bucket)
    assert refused(error) == (404, "NoSuchTagSet")


def test_a_bucket_is_made_with_tags(s3: Any) -> None:
    name = "tagged-" + NAMES.next()
    configuration = {"Tags": [{"Key": "a", "Value": "1"}]}
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=configuration)
    assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == tag_set(a="1")["TagSet"]
    with pytest.raises(ClientError) as error:
        s3.create_bucket(
            Bucket=name + "-x",
            CreateBucketConfiguration={"Tags": [{"Key": "aws:a", "Value": "1"}]},
        )
    assert refused(error) == (400, "InvalidTag")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Tagging/>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet/><TagSet/></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value><x/></Tag></TagSet></Tagging>",
        b"<TagSet/>",
    ],
)
def test_documents_that_are_none(gateway: S3Gateway, s3: Any, bucket: str, body: bytes) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    for path in (f"/{bucket}/k?tagging", f"/{bucket}?tagging"):
        answer = gateway.raw().request("PUT", path, body=body)
        assert (answer.status, b"<Code>MalformedXML</Code>" in answer.body) == (400, True)


def test_whom_an_acl_lets_write_may_bring_tags_but_not_change_them(
    s3: Any, gateway: S3Gateway, bucket: str
) -> None:
    controls = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=controls)
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    s3.put_object(Bucket=bucket, Key="ours", Body=b"")
    anybody = gateway.boto(signature_version=UNSIGNED)
    anybody.put_object(Bucket=bucket, Key="theirs", Body=b"", Tagging="a=b")
    with pytest.raises(ClientError) as error:
        anybody.put_object_tagging(Bucket=bucket, Key="ours", Tagging={"TagSet": []})
    assert error.value.response["Error"]["Code"] == "AccessDenied"
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    with pytest.raises(ClientError) as error:
        anybody.put_object(Bucket=bucket, Key="more", Body=b"", Tagging="a=b")
    assert error.value.response["Error"]["Code"] == "AccessDenied"
