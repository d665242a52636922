"""Access keys are rotated: two are live, and the one that goes is gone within five seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway.admin.access_desk import AccessCommandInvalid
from gateway.jobs.key_use import FILE, KeyUse
from gateway.objects.credentials import SIGNING_KEY_TTL_S
from gateway.objects.tenancy import AccessKeyLimit
from tests.support.access import Operator
from tests.support.accounts import Account
from tests.support.s3_gateway import REGION, S3Gateway, running_gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway() as gateway:
        yield gateway


def listed(gateway: S3Gateway, key: dict[str, Any]) -> int | str:
    """The status of a listing with an access key."""
    client = boto3.client(
        "s3",
        endpoint_url=gateway.url,
        aws_access_key_id=key["access_key_id"],
        aws_secret_access_key=key["secret"],
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        return int(client.list_buckets()["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return str(error.response["Error"]["Code"])


def of(gateway: S3Gateway, name: str) -> tuple[Operator, Account, dict[str, Any]]:
    operator = Operator(gateway)
    tenant = operator.tenant(name)
    operator("user create", tenant=tenant.owner_id, name="alice")
    operator.allow(tenant, "alice", {"Effect": "Allow", "Action": "s3:*"})
    made = operator("access-key create", tenant=tenant.owner_id, user="alice")
    return operator, tenant, made["access_key"]


@pytest.mark.proves("K-10", "C6")
def test_two_keys_live_and_the_former_one_is_told_with_its_last_use(gateway: S3Gateway) -> None:
    operator, tenant, first = of(gateway, "mairie")
    named = {"tenant": tenant.owner_id, "user": "alice"}
    before = operator("access-key list", **named)["access_keys"]
    assert before[0]["last_used_at_ms"] == 0
    assert listed(gateway, first) == 200
    assert listed(gateway, {**first, "secret": "wrong"}) == "SignatureDoesNotMatch"
    rotated = operator("access-key rotate", **named)
    (former,) = rotated["former"]
    assert former["access_key_id"] == first["access_key_id"] and former["last_used_at_ms"] > 0
    assert "secret" not in former
    assert listed(gateway, first) == 200 == listed(gateway, rotated["access_key"])
    with pytest.raises(AccessCommandInvalid, match=rf"{first['access_key_id']} \(20"):
        operator("access-key rotate", **named)
    assert "disable" in AccessKeyLimit.hint and "delete" in AccessKeyLimit.hint
    with pytest.raises(AccessKeyLimit):
        operator("access-key create", **named)
    operator("access-key disable", access_key_id=first["access_key_id"])
    assert listed(gateway, first) == "InvalidAccessKeyId"
    operator("access-key delete", access_key_id=first["access_key_id"])
    assert listed(gateway, rotated["access_key"]) == 200
    assert [k["access_key_id"] for k in operator("access-key list", **named)["access_keys"]] == [
        rotated["access_key"]["access_key_id"]
    ]


def test_a_wrong_signature_is_no_use(gateway: S3Gateway) -> None:
    operator, tenant, first = of(gateway, "lycee")
    assert listed(gateway, {**first, "secret": "wrong"}) == "SignatureDoesNotMatch"
    (key,) = operator("access-key list", tenant=tenant.owner_id, user="alice")["access_keys"]
    assert key["last_used_at_ms"] == 0


@pytest.mark.proves("C6")
def test_a_disabled_key_is_refused_within_five_seconds(gateway: S3Gateway) -> None:
    """What was looked up before counts for no longer than that, on the clock of the gateway."""
    assert SIGNING_KEY_TTL_S <= 5.0
    operator, _, first = of(gateway, "college")
    credentials = gateway.gateway.services.credentials
    assert listed(gateway, first) == 200
    held = {
        scope: at
        for scope, (at, _) in credentials._held.items()
        if scope[0] == first["access_key_id"]
    }
    now_s = gateway.gateway.services.env.monotonic_s()
    assert held and all(at - now_s <= 5.0 for at in held.values())
    operator("access-key disable", access_key_id=first["access_key_id"])
    assert listed(gateway, first) == "InvalidAccessKeyId"


def test_last_uses_survive_a_restart(gateway: S3Gateway, tmp_path: Path) -> None:
    _, _, first = of(gateway, "musee")
    assert listed(gateway, first) == 200
    services = gateway.gateway.services
    at_ms = services.credentials.uses[first["access_key_id"]]
    gateway.thread.run(KeyUse(services, tmp_path).step())
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    services.credentials.uses.clear()
    gateway.thread.run(KeyUse(services, tmp_path).step())
    assert services.credentials.uses[first["access_key_id"]] == at_ms
    (tmp_path / FILE).write_bytes(b"no JSON")
    gateway.thread.run(KeyUse(services, tmp_path).step())
