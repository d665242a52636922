"""What a tenant is, beside its objects, as documents to take along: users, groups, roles, policies,
limits, buckets with their settings. No secret is in them.

Not for taking them in (`gateway.objects.tenant_import`).

Source: docs/export-format.md, "The account", "Buckets".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from gateway.meta import buckets as bucket_rows
from gateway.meta.accounts import AccessKey, Tenant
from gateway.meta.buckets import BucketSummary
from gateway.model.bucket import Bucket
from gateway.model.exported import Document
from gateway.model.identity_names import ROOT_USER
from gateway.model.names import TenantId
from gateway.model.quota import Subject
from gateway.objects import attachments, limits_set, providers, users
from gateway.objects.context import Services
from gateway.objects.exporting import settings_of
from gateway.objects.target import OpenBucket

PAGE_BUCKETS = 1000


def account_document(services: Services, tenant: Tenant) -> Document:
    """A tenant and whoever is in it. Raises: RowCorrupt."""
    tenant_id = tenant.tenant_id
    people = users.users(services, tenant_id)
    names = [ROOT_USER, *(user.name for user in people)]
    keys = [key for name in names for key in users.access_keys(services, tenant_id, name)]
    limits = dict[str, int]()
    for subject, name, quota in limits_set.stored_limits(services):
        if subject is Subject.TENANT and name == tenant_id.hex():
            limits = dict(quota.limits())
    return {
        "tenant": {
            "name": tenant.name,
            "tenant_id": tenant_id.hex(),
            "owner_id": tenant.owner_id,
            "created_at_ms": tenant.created_at_ms,
            "enabled": tenant.enabled,
        },
        "users": [
            {
                "name": user.name,
                "user_id": user.user_id,
                "created_at_ms": user.created_at_ms,
                "enabled": user.enabled,
                "groups": list(user.groups),
                "policies": list(user.policies),
                "tags": [list(pair) for pair in user.tags],
            }
            for user in people
        ],
        "groups": [
            {
                "name": group.name,
                "group_id": group.group_id,
                "created_at_ms": group.created_at_ms,
                "policies": list(group.policies),
            }
            for group in users.groups(services, tenant_id)
        ],
        "access_keys": [_key_document(key) for key in keys],
        **_rights(services, tenant_id),
        "encryption_keys": list(services.bucket_keys.provider.named_keys(tenant_id)),
        "plan": asdict(limits_set.plan_of(services, tenant_id)),
        "limits": limits,
    }


def _key_document(key: AccessKey) -> Document:
    """An access key without its secret."""
    return {
        "access_key_id": key.access_key_id,
        "user": key.user,
        "created_at_ms": key.created_at_ms,
        "enabled": key.enabled,
    }


def _rights(services: Services, tenant: TenantId) -> Document:
    return {
        "policies": [
            {
                "name": policy.name,
                "created_at_ms": policy.created_at_ms,
                "updated_at_ms": policy.updated_at_ms,
                "text": policy.text,
            }
            for policy in attachments.policies(services, tenant)
        ],
        "roles": [
            {
                "name": role.name,
                "role_id": role.role_id,
                "created_at_ms": role.created_at_ms,
                "trust": role.trust,
                "session_s_max": role.session_s_max,
                "policies": list(role.policies),
            }
            for role in attachments.roles(services, tenant)
        ],
        "identity_providers": [
            {
                "name": provider.name,
                "created_at_ms": provider.created_at_ms,
                "issuer": provider.issuer,
                "audiences": list(provider.audiences),
                "jwks": provider.jwks,
            }
            for provider in providers.providers(services, tenant)
        ],
    }


def buckets_of(services: Services, tenant: TenantId) -> Iterator[BucketSummary]:
    """A tenant's buckets by name. Raises: RowCorrupt."""
    after = ""
    while page := bucket_rows.list_buckets(
        services.log, services.records, tenant, after=after, limit=PAGE_BUCKETS
    ):
        yield from page
        after = page[-1].name


def bucket_document(services: Services, opened: OpenBucket) -> Document:
    """A bucket with all its settings. Raises: RowCorrupt."""
    bucket: Bucket = settings_of(services, opened)
    limits = dict[str, int]()
    for subject, name, quota in limits_set.stored_limits(services):
        if subject is Subject.BUCKET and name == bucket.bucket_id.hex():
            limits = dict(quota.limits())
    return {
        "name": bucket.name,
        "created_at_ms": bucket.created_at_ms,
        "location": bucket.location,
        "versioning": bucket.versioning.value,
        "object_lock": bucket.object_lock,
        "geometry_class": bucket.geometry_class,
        "documents": dict(bucket.documents),
        "limits": limits,
    }
