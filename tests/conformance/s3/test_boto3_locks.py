"""Object lock as boto3 sees it: LCK-01, LCK-02."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.refusals import refusal
from tests.support.s3_gateway import NAMES

FAR = datetime(2140, 1, 1, tzinfo=UTC)
FARTHER = FAR + timedelta(days=2)


@pytest.fixture
def locked(s3: Any) -> str:
    name = f"locked-{NAMES.next()}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def put(s3: Any, bucket: str, **named: Any) -> str:
    return str(s3.put_object(Bucket=bucket, Key="key", Body=b"kept", **named)["VersionId"])


def retain(s3: Any, bucket: str, mode: str, until: datetime, **named: Any) -> None:
    retention = {"Mode": mode, "RetainUntilDate": until}
    s3.put_object_retention(Bucket=bucket, Key="key", Retention=retention, **named)


def configure(s3: Any, bucket: str, **retention: Any) -> None:
    s3.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": retention},
        },
    )


def test_the_configuration(s3: Any, locked: str, bucket: str) -> None:
    assert s3.get_bucket_versioning(Bucket=locked)["Status"] == "Enabled"
    configure(s3, locked, Mode="GOVERNANCE", Days=3)
    held = s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"]
    assert held["Rule"]["DefaultRetention"] == {"Mode": "GOVERNANCE", "Days": 3}
    head = s3.head_object(Bucket=locked, Key="key", VersionId=put(s3, locked))
    assert head["ObjectLockMode"] == "GOVERNANCE"
    remaining = head["ObjectLockRetainUntilDate"] - datetime.now(UTC)
    assert timedelta(days=2.9) < remaining <= timedelta(days=3)
    suspended = {"Status": "Suspended"}
    assert refusal(s3.put_bucket_versioning, Bucket=locked, VersioningConfiguration=suspended) == (
        409,
        "InvalidBucketState",
    )
    named = {"Bucket": bucket}
    not_found = (404, "ObjectLockConfigurationNotFoundError")
    assert refusal(s3.get_object_lock_configuration, **named) == not_found
    for wrong, code in (
        ({"Mode": "GOVERNANCE", "Days": 1, "Years": 1}, "MalformedXML"),
        ({"Mode": "governance", "Days": 1}, "MalformedXML"),
        ({"Mode": "GOVERNANCE", "Days": 0}, "InvalidRetentionPeriod"),
    ):
        with pytest.raises(ClientError, match=code):
            configure(s3, locked, **wrong)
    with pytest.raises(ClientError, match="InvalidBucketState"):
        configure(s3, bucket, Mode="GOVERNANCE", Days=1)


@pytest.mark.proves("LCK-01")
def test_governance_protects_but_from_those_who_may_bypass(s3: Any, locked: str) -> None:
    version = put(s3, locked)
    retain(s3, locked, "GOVERNANCE", FARTHER)
    named = {"Bucket": locked, "Key": "key", "VersionId": version}
    assert refusal(s3.delete_object, **named) == (403, "AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"):
        retain(s3, locked, "GOVERNANCE", FAR)
    with pytest.raises(ClientError, match="AccessDenied"):
        retain(s3, locked, "COMPLIANCE", FARTHER)
    retain(s3, locked, "GOVERNANCE", FAR, BypassGovernanceRetention=True)
    held = s3.get_object_retention(Bucket=locked, Key="key")["Retention"]
    assert held == {"Mode": "GOVERNANCE", "RetainUntilDate": FAR}
    wanted = {"Objects": [{"Key": "key", "VersionId": version}]}
    failed = s3.delete_objects(Bucket=locked, Delete=wanted)
    assert [error["Code"] for error in failed["Errors"]] == ["AccessDenied"]
    s3.delete_object(**named, BypassGovernanceRetention=True)


@pytest.mark.proves("LCK-02")
def test_compliance_protects_from_everybody(s3: Any, locked: str) -> None:
    version = put(s3, locked, ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=FAR)
    named = {"Bucket": locked, "Key": "key", "VersionId": version}
    assert refusal(s3.delete_object, **named, BypassGovernanceRetention=True) == (
        403,
        "AccessDenied",
    )
    for mode, until in (("COMPLIANCE", FAR - timedelta(days=1)), ("GOVERNANCE", FARTHER)):
        with pytest.raises(ClientError, match="AccessDenied"):
            retain(s3, locked, mode, until, BypassGovernanceRetention=True)
    retain(s3, locked, "COMPLIANCE", FARTHER)
    marker = s3.delete_object(Bucket=locked, Key="key")
    assert marker["DeleteMarker"] is True
    assert s3.get_object(**named)["Body"].read() == b"kept"


def test_a_legal_hold_protects_until_it_is_lifted(s3: Any, locked: str) -> None:
    version = put(s3, locked, ObjectLockLegalHoldStatus="ON")
    named = {"Bucket": locked, "Key": "key", "VersionId": version}
    assert s3.get_object_legal_hold(**named)["LegalHold"]["Status"] == "ON"
    assert refusal(s3.delete_object, **named, BypassGovernanceRetention=True) == (
        403,
        "AccessDenied",
    )
    s3.put_object_legal_hold(**named, LegalHold={"Status": "OFF"})
    assert s3.get_object_legal_hold(**named)["LegalHold"]["Status"] == "OFF"
    s3.delete_object(**named)


def test_locks_need_a_bucket_that_has_them(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="key", Body=b"free")
    with pytest.raises(ClientError, match="InvalidRequest"):
        retain(s3, bucket, "GOVERNANCE", FAR)
    with pytest.raises(ClientError, match="InvalidRequest"):
        put(s3, bucket, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=FAR)
    assert refusal(s3.get_object_legal_hold, Bucket=bucket, Key="key")[1] == "InvalidRequest"


def test_neither_lock_nor_hold_is_copied(s3: Any, locked: str) -> None:
    put(s3, locked, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=FAR)
    s3.copy_object(Bucket=locked, Key="copy", CopySource={"Bucket": locked, "Key": "key"})
    assert "ObjectLockMode" not in s3.head_object(Bucket=locked, Key="copy")
