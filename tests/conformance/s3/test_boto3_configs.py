"""Configurations that SDKs look for: what is told when nothing is set, what is kept, what is
refused.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.refusals import refused

DESTINATION = {"S3BucketDestination": {"Bucket": "arn:aws:s3:::somewhere", "Format": "CSV"}}
INVENTORY = {
    "Destination": DESTINATION,
    "IsEnabled": True,
    "Filter": {"Prefix": "a/"},
    "IncludedObjectVersions": "Current",
    "OptionalFields": ["Size", "ETag"],
    "Schedule": {"Frequency": "Daily"},
}
TAG = {"Key": "colour", "Value": "blue"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "analytics": (
        "AnalyticsConfiguration",
        {
            "Filter": {"And": {"Prefix": "p", "Tags": [TAG]}},
            "StorageClassAnalysis": {
                "DataExport": {"OutputSchemaVersion": "V_1", "Destination": DESTINATION}
            },
        },
    ),
    "metrics": ("MetricsConfiguration", {"Filter": {"Tag": TAG}}),
    "intelligent_tiering": (
        "IntelligentTieringConfiguration",
        {"Status": "Enabled", "Tierings": [{"Days": 90, "AccessTier": "ARCHIVE_ACCESS"}]},
    ),
    "inventory": ("InventoryConfiguration", INVENTORY),
}


def test_nothing_set(s3: Any, bucket: str) -> None:
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    assert s3.get_bucket_abac(Bucket=bucket)["AbacStatus"]["Status"] == "Disabled"
    for kind in KINDS:
        verb = f"list_bucket_{kind}_configurations"
        answer = getattr(s3, verb)(Bucket=bucket)
        assert answer["IsTruncated"] is False
        assert not [name for name in answer if name.endswith("ConfigurationList")]


def test_payer_and_acceleration(s3: Any, bucket: str) -> None:
    s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "Requester"
    s3.put_bucket_accelerate_configuration(
        Bucket=bucket, AccelerateConfiguration={"Status": "Suspended"}
    )
    assert s3.get_bucket_accelerate_configuration(Bucket=bucket)["Status"] == "Suspended"
    s3.put_bucket_abac(Bucket=bucket, AbacStatus={"Status": "Enabled"})
    assert s3.get_bucket_abac(Bucket=bucket)["AbacStatus"]["Status"] == "Enabled"
    with pytest.raises(ClientError) as caught:
        s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Me"})
    assert refused(caught)[1] == "MalformedXML"


@pytest.mark.parametrize("kind", KINDS)
def test_configurations_with_ids(s3: Any, bucket: str, kind: str) -> None:
    name, body = KINDS[kind]
    put = getattr(s3, f"put_bucket_{kind}_configuration")
    get = getattr(s3, f"get_bucket_{kind}_configuration")
    for config_id in ("second", "first"):
        put(Bucket=bucket, Id=config_id, **{name: {"Id": config_id, **body}})
    assert get(Bucket=bucket, Id="first")[name] == {"Id": "first", **body}
    listed = getattr(s3, f"list_bucket_{kind}_configurations")(Bucket=bucket)
    assert [one["Id"] for one in listed[f"{name}List"]] == ["first", "second"]
    getattr(s3, f"delete_bucket_{kind}_configuration")(Bucket=bucket, Id="first")
    with pytest.raises(ClientError) as caught:
        get(Bucket=bucket, Id="first")
    assert refused(caught)[1] == "NoSuchConfiguration"
    with pytest.raises(ClientError) as caught:
        put(Bucket=bucket, Id="other", **{name: {"Id": "third", **body}})
    assert refused(caught)[1] == "InvalidConfigurationId"


def test_pages_of_configurations(s3: Any, bucket: str) -> None:
    for number in range(101):
        s3.put_bucket_metrics_configuration(
            Bucket=bucket, Id=f"m{number:03}", MetricsConfiguration={"Id": f"m{number:03}"}
        )
    first = s3.list_bucket_metrics_configurations(Bucket=bucket)
    assert first["IsTruncated"] and len(first["MetricsConfigurationList"]) == 100
    token = first["NextContinuationToken"]
    second = s3.list_bucket_metrics_configurations(Bucket=bucket, ContinuationToken=token)
    assert [one["Id"] for one in second["MetricsConfigurationList"]] == ["m100"]


def test_form_is_checked(s3: Any, bucket: str) -> None:
    wrong = {**INVENTORY, "Id": "x", "IncludedObjectVersions": "Some"}
    with pytest.raises(ClientError) as caught:
        s3.put_bucket_inventory_configuration(Bucket=bucket, Id="x", InventoryConfiguration=wrong)
    assert refused(caught)[1] == "MalformedXML"
