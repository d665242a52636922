"""Locks and tags that replicas get: with the object, and when they change later.

Not for which objects are replicated: `test_boto3_replication`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from gateway.meta import keyspace
from tests.support.replica_pair import Pair, replicate, versions_there

DAY = timedelta(days=1)
SSE_KMS = {"ServerSideEncryption": "aws:kms"}


def locking(pair: Pair, *sides: str) -> datetime:
    """Turn object lock on at these sides; a date that locks can end at."""
    for side, client, name in (
        ("here", pair.here, pair.source),
        ("there", pair.there, pair.target._remote.bucket),
    ):
        if side in sides:
            client.put_object_lock_configuration(
                Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
            )
    replicate(pair)
    return datetime.now(UTC).replace(microsecond=123_000) + 30 * DAY


def locked_there(pair: Pair, key: str, **version: str) -> tuple[str, datetime | None, str]:
    head = pair.there.head_object(Bucket=pair.target._remote.bucket, Key=key, **version)
    return (
        head.get("ObjectLockMode", ""),
        head.get("ObjectLockRetainUntilDate"),
        head.get("ObjectLockLegalHoldStatus", ""),
    )


def test_locks_go_with_the_object(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair.gateway.gateway.services, "sse_over_http", True)
    until = locking(pair, "here", "there").replace(microsecond=0)  # boto3 sends no more
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    pair.here.put_object(Bucket=pair.source, Key="both", Body=b"x", **lock)
    pair.here.put_object(
        Bucket=pair.source, Key="held", Body=b"x", ObjectLockLegalHoldStatus="ON", **SSE_KMS
    )
    upload = pair.here.create_multipart_upload(Bucket=pair.source, Key="parts", **lock)["UploadId"]
    where = {"Bucket": pair.source, "Key": "parts", "UploadId": upload}
    part = pair.here.upload_part(**where, PartNumber=1, Body=b"part")
    named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    pair.here.complete_multipart_upload(**where, MultipartUpload=named)
    pair.run()
    assert [pair.status(key) for key in ("both", "held", "parts")] == ["COMPLETED"] * 3
    assert locked_there(pair, "both") == ("GOVERNANCE", until, "")
    assert locked_there(pair, "held") == ("", None, "ON")
    assert locked_there(pair, "parts") == ("GOVERNANCE", until, "")


def test_a_lock_that_cannot_be_had_fails_the_replica(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    locking(pair, "here")
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")
    pair.run()
    assert pair.status("k") == "FAILED"
    assert versions_there(pair) == []
    assert "Bucket is missing Object Lock Configuration" in caplog.text


def test_a_retention_that_has_ended_is_not_asked_for(pair: Pair) -> None:
    locking(pair, "here", "there")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": soon}
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x", **lock)
    time.sleep(1.1)
    pair.run()
    assert pair.status("k") == "COMPLETED"
    assert locked_there(pair, "k") == ("", None, "")


def test_later_changes_go_to_the_replica_that_they_are_of(pair: Pair) -> None:
    until = locking(pair, "here", "there")
    older = pair.here.put_object(Bucket=pair.source, Key="k", Body=b"same", Tagging="a=1")
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"same", Tagging="a=1")
    pair.run()
    newest, oldest = versions_there(pair)
    where = {"Bucket": pair.source, "Key": "k", "VersionId": older["VersionId"]}
    pair.here.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "b c", "Value": "2+="}]})
    assert pair.status("k", VersionId=older["VersionId"]) == "PENDING"
    pair.here.put_object_retention(
        **where, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until}
    )
    pair.here.put_object_legal_hold(**where, LegalHold={"Status": "ON"})
    pair.run()
    assert pair.status("k", VersionId=older["VersionId"]) == "COMPLETED"
    assert [one["VersionId"] for one in versions_there(pair)] == [
        newest["VersionId"],
        oldest["VersionId"],
    ]
    there = {"Bucket": pair.target._remote.bucket, "Key": "k", "VersionId": oldest["VersionId"]}
    assert pair.there.get_object_tagging(**there)["TagSet"] == [{"Key": "b c", "Value": "2+="}]
    assert locked_there(pair, "k", VersionId=oldest["VersionId"]) == ("GOVERNANCE", until, "ON")
    assert locked_there(pair, "k") == ("", None, "")
    held = pair.there.get_object_tagging(Bucket=there["Bucket"], Key="k")["TagSet"]
    assert held == [{"Key": "a", "Value": "1"}]
    # Shorter, with the right to it; then away.
    shorter = until - 10 * DAY
    pair.here.put_object_retention(
        **where,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": shorter},
        BypassGovernanceRetention=True,
    )
    pair.here.put_object_legal_hold(**where, LegalHold={"Status": "OFF"})
    pair.here.delete_object_tagging(**where)
    pair.run()
    assert locked_there(pair, "k", VersionId=oldest["VersionId"]) == ("GOVERNANCE", shorter, "")
    assert pair.there.get_object_tagging(**there)["TagSet"] == []
    pair.here.put_object_retention(**where, Retention={}, BypassGovernanceRetention=True)
    pair.run()
    assert locked_there(pair, "k", VersionId=oldest["VersionId"]) == ("", None, "")
    assert not pair.gateway.gateway.rows_of(keyspace.REPLICA)


def test_a_change_leaves_alone_what_only_the_target_has(pair: Pair) -> None:
    until = locking(pair, "here", "there")
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    pair.run()
    there = {"Bucket": pair.target._remote.bucket, "Key": "k"}
    pair.there.put_object_legal_hold(**there, LegalHold={"Status": "ON"})
    pair.there.put_object_retention(
        **there, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
    )
    tags = [{"Key": "a", "Value": "b"}]
    pair.here.put_object_tagging(Bucket=pair.source, Key="k", Tagging={"TagSet": tags})
    pair.run()
    assert pair.there.get_object_tagging(**there)["TagSet"] == tags
    assert locked_there(pair, "k") == ("COMPLIANCE", until, "ON")
    assert pair.status("k") == "COMPLETED"


def test_a_change_that_the_target_refuses_has_failed(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    locking(pair, "here")
    pair.here.put_object(Bucket=pair.source, Key="k", Body=b"x")
    pair.run()
    pair.here.put_object_legal_hold(Bucket=pair.source, Key="k", LegalHold={"Status": "ON"})
    pair.run()
    assert pair.status("k") == "FAILED"
    assert "Bucket is missing Object Lock Configuration" in caplog.text
    # A later change that it takes makes that good, with what has failed before.
    locking(pair, "there")
    tags = [{"Key": "a", "Value": "b"}]
    pair.here.put_object_tagging(Bucket=pair.source, Key="k", Tagging={"TagSet": tags})
    pair.run()
    assert pair.status("k") == "COMPLETED"
    assert locked_there(pair, "k") == ("", None, "ON")
