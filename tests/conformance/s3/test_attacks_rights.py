"""What rights do not grow into: holds, policies, public access, logs, replicas, uploads.

Source: the attack tables of the threat model; their ids are in the names of the tests.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.accounts import ALT, ALT_ARN, THIRD, allowing, boto_of, policy_text, raw_of
from tests.support.raw_s3 import UNSIGNED_CHUNKS_TRAILER
from tests.support.refusals import DENIED, refusal, refusal_code
from tests.support.s3_gateway import NAMES, S3Gateway


@pytest.fixture
def open_bucket(gateway: S3Gateway, s3: Any) -> str:
    """A bucket whose ACLs are in force and whose objects belong to who writes them."""
    services = gateway.gateway.services
    services.new_buckets_open = True
    name = NAMES.next()
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    services.new_buckets_open = False
    return name


def test_aut_05_the_right_to_set_policies_stays_in_the_account(
    s3: Any, alt: Any, bucket: str
) -> None:
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:*", who=ALT_ARN))
    alt.put_object(Bucket=bucket, Key="k", Body=b"x")
    shut_out = policy_text(
        bucket,
        {
            "Effect": "Deny",
            "NotPrincipal": ALT_ARN,
            "Action": "s3:*",
            "Resource": f"arn:aws:s3:::{bucket}/*",
        },
    )
    code = refusal_code(alt.put_bucket_policy, Bucket=bucket, Policy=shut_out)
    assert code in ("MethodNotAllowed", "AccessDenied")
    for call in (alt.delete_bucket_policy, alt.get_bucket_policy):
        assert refusal_code(call, Bucket=bucket) in ("MethodNotAllowed", "AccessDenied")


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"aws:userid": "65a011a29cdf8ec533ec3d1ccaae921c"}},
        {"StringEquals": {"aws:UserId": "anonymous"}},
        {"StringNotEquals": {"aws:PrincipalAccount": "nobody"}},
        {"StringEqualsIfExists": {"aws:PrincipalAccount": ALT.owner_id}},
        {"ForAllValues:StringEquals": {"aws:PrincipalAccount": ALT.owner_id}},
        {"StringLike": {"aws:PrincipalArn": "*"}},
        {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}},
        {"IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "0.0.0.0/1"]}},
        {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}},
        {"Null": {"aws:PrincipalAccount": "true"}},
        {"Bool": {"aws:SecureTransport": "false"}},
    ],
)
def test_no_condition_lets_the_public_in_where_public_policies_are_blocked(
    gateway: S3Gateway, s3: Any, bucket: str, condition: dict[str, Any]
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    text = allowing(bucket, "s3:GetObject", Condition=condition)
    try:
        s3.put_bucket_policy(Bucket=bucket, Policy=text)
    except ClientError as refused:
        assert refused.response["Error"]["Code"] == "AccessDenied"
        return
    assert refusal(boto_of(gateway, None).get_object, Bucket=bucket, Key="k") == DENIED
    assert refusal(boto_of(gateway, THIRD).get_object, Bucket=bucket, Key="k") == DENIED


def test_sig_12_a_bucket_can_keep_out_what_nobody_signed(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    """UNSIGNED-PAYLOAD over plain HTTP is taken, as S3 does, unless the owner says otherwise."""
    unsigned = {"StringLike": {"s3:x-amz-content-sha256": ["UNSIGNED-*", "STREAMING-UNSIGNED-*"]}}
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    modes = ("UNSIGNED-PAYLOAD", None)
    for condition, let_in in ((None, modes), (unsigned, (None,)), (plain, ())):
        if condition is not None:
            said = {"Effect": "Deny", "Action": "s3:PutObject", "Condition": condition}
            s3.put_bucket_policy(Bucket=bucket, Policy=policy_text(bucket, said))
        for mode in modes:
            with gateway.raw() as client:
                answer = client.request("PUT", f"/{bucket}/k", b"x", payload=mode)
                told = client.put_chunked(f"/{bucket}/k", b"x", UNSIGNED_CHUNKS_TRAILER)
            assert answer.status == (200 if mode in let_in else 403)
            assert told.status == (200 if condition is None else 403)


def test_lck_02_a_writer_of_another_account_lifts_no_hold(
    gateway: S3Gateway, s3: Any, alt: Any, open_bucket: str
) -> None:
    s3.put_bucket_acl(Bucket=open_bucket, GrantWrite=f"id={ALT.owner_id}")
    written = alt.put_object(
        Bucket=open_bucket, Key="k", Body=b"x", ACL="bucket-owner-full-control"
    )
    s3.put_object_legal_hold(Bucket=open_bucket, Key="k", LegalHold={"Status": "ON"})
    until = datetime.now(UTC) + timedelta(days=1)
    s3.put_object_retention(
        Bucket=open_bucket, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until}
    )
    lifted = {"Bucket": open_bucket, "Key": "k", "LegalHold": {"Status": "OFF"}}
    assert refusal(alt.put_object_legal_hold, **lifted) == DENIED
    named = {"Bucket": open_bucket, "Key": "k", "VersionId": written["VersionId"]}
    for retention in ({}, {"Mode": "GOVERNANCE", "RetainUntilDate": until}):
        for bypass in (True, False):
            code = refusal_code(
                alt.put_object_retention,
                **named,
                Retention=retention,
                BypassGovernanceRetention=bypass,
            )
            assert code == "AccessDenied"
    assert refusal(alt.delete_object, **named, BypassGovernanceRetention=True) == DENIED


def logging_to(target: str) -> dict[str, Any]:
    return {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": "log/"}}


def test_logs_of_other_accounts_are_not_put_into_a_bucket_that_names_no_source(
    gateway: S3Gateway, s3: Any, alt: Any, bucket: str
) -> None:
    own = NAMES.next()
    alt.create_bucket(Bucket=own)
    service = {"Service": "logging.s3.amazonaws.com"}
    put = {"Bucket": own, "BucketLoggingStatus": logging_to(bucket)}
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:PutObject", who=service))
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus=logging_to(bucket))
    assert refusal(alt.put_bucket_logging, **put) == DENIED
    from_alt = {"Condition": {"StringEquals": {"aws:SourceAccount": ALT.owner_id}}}
    s3.put_bucket_policy(
        Bucket=bucket, Policy=allowing(bucket, "s3:PutObject", who=service, **from_alt)
    )
    alt.put_bucket_logging(**put)


def test_logs_of_other_accounts_are_not_let_in_by_an_acl(
    gateway: S3Gateway, s3: Any, alt: Any, open_bucket: str
) -> None:
    s3.put_bucket_acl(Bucket=open_bucket, ACL="log-delivery-write")
    own, mine = NAMES.next(), NAMES.next()
    alt.create_bucket(Bucket=own)
    put = {"Bucket": own, "BucketLoggingStatus": logging_to(open_bucket)}
    assert refusal(alt.put_bucket_logging, **put) == DENIED
    s3.create_bucket(Bucket=mine)
    s3.put_bucket_logging(Bucket=mine, BucketLoggingStatus=logging_to(open_bucket))


def test_aut_07_no_writer_of_another_account_keeps_an_object_from_being_replicated(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    gateway.gateway.services.replication_targets = {"there": frozenset()}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {
        "ID": "all",
        "Priority": 1,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {"Bucket": "arn:aws:s3:::there"},
    }
    s3.put_bucket_replication(
        Bucket=bucket,
        ReplicationConfiguration={"Role": "arn:aws:iam::a:role/r", "Rules": [rule]},
    )
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:PutObject", who=ALT_ARN))
    told = {"x-amz-replication-status": "REPLICA"}
    with raw_of(gateway, ALT) as client:
        assert client.request("PUT", f"/{bucket}/theirs", b"x", told).status == 200
    with gateway.raw() as client:
        assert client.request("PUT", f"/{bucket}/ours", b"x", told).status == 200
    states = {
        key: s3.head_object(Bucket=bucket, Key=key)["ReplicationStatus"]
        for key in ("theirs", "ours")
    }
    assert states == {"theirs": "PENDING", "ours": "REPLICA"}


def test_uploads_of_others_are_not_aborted_by_whom_an_acl_lets_write(
    gateway: S3Gateway, s3: Any, alt: Any, open_bucket: str
) -> None:
    s3.put_bucket_acl(Bucket=open_bucket, ACL="public-read-write")
    upload = {"Bucket": open_bucket, "Key": "up"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    for other in (alt, boto_of(gateway, THIRD), boto_of(gateway, None)):
        assert refusal(other.abort_multipart_upload, **upload) == DENIED
        assert refusal(other.list_parts, **upload) == DENIED
    own = {"Bucket": open_bucket, "Key": "up"}
    own["UploadId"] = alt.create_multipart_upload(**own)["UploadId"]
    alt.upload_part(**own, PartNumber=1, Body=b"x")
    assert len(alt.list_parts(**own)["Parts"]) == 1
    assert refusal(boto_of(gateway, THIRD).abort_multipart_upload, **own) == DENIED
    alt.abort_multipart_upload(**own)
    s3.list_parts(**upload)
    s3.abort_multipart_upload(**upload)
