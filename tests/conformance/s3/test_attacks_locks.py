"""LCK-01, LCK-02: no request takes a locked version away, and none makes its lock shorter.

Everything that S3 lets the owner of a bucket ask for is asked for, in turn, about one version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.s3_gateway import S3Gateway, running_gateway

pytestmark = pytest.mark.proves("LCK-02")

UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
CONTENT = b"kept" * 1000
KEY = "k"
KEY_ARN = "arn:aws:kms:fr:123456789012:key/aws/s3"  # the one that every account has


class Attack:
    """Requests about one version; each returns whatever S3 makes of it."""

    def __init__(self, s3: Any, bucket: str, version_id: str) -> None:
        self.s3 = s3
        self.name = {"Bucket": bucket, "Key": KEY}
        self.version = {**self.name, "VersionId": version_id}
        self.bucket = bucket

    def delete(self) -> None:
        self.s3.delete_object(**self.version)

    def delete_with_bypass(self) -> None:
        self.s3.delete_object(**self.version, BypassGovernanceRetention=True)

    def delete_if_it_matches(self) -> None:
        etag = self.s3.head_object(**self.version)["ETag"]
        self.s3.delete_object(**self.version, IfMatch=etag, BypassGovernanceRetention=True)

    def delete_in_a_batch(self) -> None:
        one = {"Key": KEY, "VersionId": self.version["VersionId"]}
        self.s3.delete_objects(
            Bucket=self.bucket,
            Delete={"Objects": [one, {"Key": "other"}]},
            BypassGovernanceRetention=True,
        )

    def mark_and_delete_the_marker(self) -> None:
        marker = self.s3.delete_object(**self.name)["VersionId"]
        self.s3.delete_object(**self.name, VersionId=marker)

    def shorten(self) -> None:
        self._retain("COMPLIANCE", UNTIL - timedelta(days=1))

    def change_the_mode(self) -> None:
        self._retain("GOVERNANCE", UNTIL + timedelta(days=1))

    def take_retention_away(self) -> None:
        self.s3.put_object_retention(**self.version, Retention={}, BypassGovernanceRetention=True)

    def _retain(self, mode: str, until: datetime) -> None:
        self.s3.put_object_retention(
            **self.version,
            Retention={"Mode": mode, "RetainUntilDate": until},
            BypassGovernanceRetention=True,
        )

    def lift_the_hold(self) -> None:
        self.s3.put_object_legal_hold(**self.version, LegalHold={"Status": "OFF"})
        try:
            self.s3.delete_object(**self.version, BypassGovernanceRetention=True)
        finally:
            self.s3.put_object_legal_hold(**self.version, LegalHold={"Status": "ON"})

    def suspend(self) -> None:
        self.s3.put_bucket_versioning(
            Bucket=self.bucket, VersioningConfiguration={"Status": "Suspended"}
        )

    def drop_the_configuration(self) -> None:
        self.s3.put_object_lock_configuration(
            Bucket=self.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        )

    def disable_locks(self) -> None:
        self.s3.put_object_lock_configuration(
            Bucket=self.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Disabled"}
        )

    def delete_the_bucket(self) -> None:
        self.s3.delete_bucket(Bucket=self.bucket)

    def overwrite(self) -> None:
        self.s3.put_object(**self.name, Body=b"other")

    def copy_onto_itself(self) -> None:
        self.s3.copy_object(
            **self.name,
            CopySource=self.version,
            MetadataDirective="REPLACE",
            ObjectLockMode="GOVERNANCE",
            ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(seconds=60),
            ObjectLockLegalHoldStatus="OFF",
        )

    def complete_an_upload(self) -> None:
        upload = {**self.name, "UploadId": self.s3.create_multipart_upload(**self.name)["UploadId"]}
        etag = self.s3.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
        parts = [{"PartNumber": 1, "ETag": etag}]
        self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def put_it_under_another_key(self) -> None:
        self.s3.update_object_encryption(
            **self.version,
            ObjectEncryption={"SSEKMS": {"KMSKeyArn": KEY_ARN}},
        )

    def tag_it(self) -> None:
        self.s3.put_object_tagging(**self.version, Tagging={"TagSet": []})

    def delete_the_null_version(self) -> None:
        self.s3.delete_object(**self.name, VersionId="null", BypassGovernanceRetention=True)


ATTACKS: dict[str, Callable[[Attack], None]] = {
    name: method
    for name, method in vars(Attack).items()
    if callable(method) and not name.startswith("_")
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway() as running:
        running.gateway.services.sse_over_http = True
        yield running


@pytest.fixture(params=["current", "noncurrent", "null"])
def attacked(request: pytest.FixtureRequest, s3: Any, bucket: str) -> Attack:
    """A version that is locked for a month and held, with others around it."""
    name = {"Bucket": bucket, "Key": KEY}
    if request.param == "null":
        s3.put_object(**name, Body=CONTENT)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    version_id = "null" if request.param == "null" else ""
    if not version_id:
        version_id = s3.put_object(**name, Body=CONTENT)["VersionId"]
    s3.put_object_retention(
        **name,
        VersionId=version_id,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": UNTIL},
        BypassGovernanceRetention=True,
    )
    s3.put_object_legal_hold(**name, VersionId=version_id, LegalHold={"Status": "ON"})
    if request.param == "noncurrent":
        s3.put_object(**name, Body=b"newer")
    return Attack(s3, bucket, version_id)


@pytest.mark.parametrize("attack", ATTACKS)
def test_lck_02_a_locked_version_stays(
    gateway: S3Gateway, s3: Any, attacked: Attack, attack: str
) -> None:
    try:
        ATTACKS[attack](attacked)
    except ClientError as refused:
        assert refused.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403, 404, 409, 501)
    read = s3.get_object(**attacked.version)
    assert read["Body"].read() == CONTENT
    assert read["ObjectLockMode"] == "COMPLIANCE"
    assert read["ObjectLockRetainUntilDate"] == UNTIL
    assert read["ObjectLockLegalHoldStatus"] == "ON"
    assert read["ServerSideEncryption"] == "AES256"
    state = s3.get_bucket_versioning(Bucket=attacked.bucket)["Status"]
    assert state == "Enabled"
    held = s3.get_object_lock_configuration(Bucket=attacked.bucket)["ObjectLockConfiguration"]
    assert held["ObjectLockEnabled"] == "Enabled"
