"""More accounts for a gateway under test, and clients that sign as them or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from gateway.meta import accounts
from gateway.meta.kv import Batch
from gateway.model.names import TenantId
from gateway.objects.context import Services
from tests.support.gateway import ROOT
from tests.support.raw_s3 import Credentials, RawClient
from tests.support.s3_gateway import REGION, S3Gateway


@dataclass(frozen=True)
class Account:
    """An account with one access key; `user` "root" is the account itself."""

    name: str
    owner_id: str
    access_key_id: str
    secret: str
    user: str = "root"

    @property
    def tenant(self) -> TenantId:
        return TenantId(self.name.encode().ljust(16, b"-")[:16])

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.access_key_id, self.secret, REGION)


ALT = Account("alt", "2" * 64, "HXTESTS0000000000002", "the-secret-of-alt-is-known-to-all")
THIRD = Account("third", "3" * 64, "HXTESTS0000000000003", "the-secret-of-third-is-known-too")
OWNER = ROOT.owner_id  # of the account that a gateway under test starts with
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
ALT_ARN = {"AWS": f"arn:aws:iam::{ALT.owner_id}:root"}


async def add_account(services: Services, account: Account) -> None:
    """Make the rows of an account; its key is derived by the keyring of tests."""
    records, nonces = services.records, services.nonces
    tenant = accounts.Tenant(
        tenant_id=account.tenant, name=account.name, owner_id=account.owner_id, created_at_ms=1
    )
    key = accounts.AccessKey(
        access_key_id=account.access_key_id,
        secret=account.secret,
        tenant=account.tenant,
        user=account.user,
        created_at_ms=1,
        enabled=True,
    )
    writes = (
        accounts.set_tenant(records, nonces, tenant),
        accounts.set_access_key(records, nonces, key),
    )
    await services.log.commit(
        Batch(
            partition=bytes(16), request_id=services.env.random_bytes(16), checks=(), writes=writes
        )
    )


def boto_of(gateway: S3Gateway, account: Account | None) -> Any:
    """A client of an account; None: one that signs nothing."""
    signing: dict[str, Any] = {}
    options: dict[str, Any] = {"signature_version": UNSIGNED}
    if account is not None:
        options = {}
        signing = {
            "aws_access_key_id": account.access_key_id,
            "aws_secret_access_key": account.secret,
        }
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **options)
    return boto3.client(
        "s3", endpoint_url=gateway.url, region_name=REGION, config=config, **signing
    )


def raw_of(gateway: S3Gateway, account: Account) -> RawClient:
    """A bare client of an account."""
    return RawClient("127.0.0.1", gateway.port, account.credentials)


def policy_text(bucket: str, *statements: dict[str, Any]) -> str:
    """A policy; what a statement does not say is: everybody may, in the whole bucket."""
    whole = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    listed = []
    for statement in statements:
        plain: dict[str, Any] = {"Effect": "Allow", "Resource": whole}
        if "NotPrincipal" not in statement:
            plain["Principal"] = "*"
        listed.append({**plain, **statement})
    return json.dumps({"Version": "2012-10-17", "Statement": listed})


def allowing(bucket: str, *actions: str, who: Any = "*", **more: Any) -> str:
    """A policy that lets `who` take these actions in a bucket."""
    return policy_text(bucket, {"Principal": who, "Action": list(actions), **more})
