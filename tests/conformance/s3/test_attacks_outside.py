"""AUT-12: who owns a bucket cannot make the gateway ask an address of his own.

Source: SeaweedFS CVE-2026-73080.
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.meta import keyspace
from tests.support.accounts import OWNER
from tests.support.refusals import refusal
from tests.support.s3_gateway import S3Gateway

NOWHERE = (400, "InvalidArgument")
ADDRESSES = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:9001/metrics",
    "arn:aws:sns:fr:0:http://169.254.169.254/",
    "arn:aws:sns:fr:0:",
    "arn:aws:sns:fr:0:unheard-of",
    "arn:aws:sns:fr:0:of-alt",
)
REPLICATION = {
    "Role": "arn:aws:iam::a:role/r",
    "Rules": [
        {
            "ID": "all",
            "Priority": 1,
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "DeleteMarkerReplication": {"Status": "Disabled"},
        }
    ],
}


@pytest.fixture(autouse=True)
def known_targets(gateway: S3Gateway) -> None:
    """One target for everybody, and one for another account only."""
    services = gateway.gateway.services
    services.event_targets = {"of-all": frozenset(), "of-alt": frozenset({"2" * 64})}
    services.replication_targets = {"of-all": frozenset(), "of-alt": frozenset({"2" * 64})}


def telling(arn: str) -> dict[str, Any]:
    return {"TopicConfigurations": [{"TopicArn": arn, "Events": ["s3:ObjectCreated:*"]}]}


def waiting(gateway: S3Gateway, family: bytes) -> int:
    """How many rows wait to be sent to somebody outside."""
    return len(gateway.gateway.rows_of(family))


@pytest.mark.parametrize("arn", ADDRESSES)
def test_aut_12_events_go_to_what_the_operator_has_named(
    gateway: S3Gateway, s3: Any, bucket: str, arn: str
) -> None:
    put = {"Bucket": bucket, "NotificationConfiguration": telling(arn)}
    before = waiting(gateway, keyspace.EVENT)
    assert refusal(s3.put_bucket_notification_configuration, **put) == NOWHERE
    if arn.startswith("arn:"):
        # Kept without a look at the destination, it is looked at whenever something happens.
        s3.put_bucket_notification_configuration(**put, SkipDestinationValidation=True)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert waiting(gateway, keyspace.EVENT) == before
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration=telling("arn:aws:sns:fr:0:of-all")
    )
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert waiting(gateway, keyspace.EVENT) == before + 2  # with the one that says "test"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/",
        "169.254.169.254",
        "arn:aws:s3:::unheard-of",
        "arn:aws:s3:::of-alt",
    ],
)
def test_aut_12_replicas_go_to_what_the_operator_has_named(
    gateway: S3Gateway, s3: Any, bucket: str, target: str
) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    (rule,) = REPLICATION["Rules"]
    wanted = {**REPLICATION, "Rules": [{**rule, "Destination": {"Bucket": target}}]}  # type: ignore[dict-item]
    status, _ = refusal(s3.put_bucket_replication, Bucket=bucket, ReplicationConfiguration=wanted)
    assert status == 400
    before = waiting(gateway, keyspace.REPLICA)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert waiting(gateway, keyspace.REPLICA) == before


def test_aut_12_a_target_that_is_taken_away_gets_no_more(
    gateway: S3Gateway, s3: Any, bucket: str
) -> None:
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration=telling("arn:aws:sns:fr:0:of-all")
    )
    gateway.gateway.services.event_targets = {"of-all": frozenset({"2" * 64})}
    before = waiting(gateway, keyspace.EVENT)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert waiting(gateway, keyspace.EVENT) == before
    gateway.gateway.services.event_targets = {"of-all": frozenset({OWNER})}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert waiting(gateway, keyspace.EVENT) == before + 1
