"""A tenant that comes from an export: what stands against it, then its people, rights and buckets.

Not for objects (`gateway.objects.importing`). Nothing that is there is changed: what has the same
name and says the same is taken for what was brought before, what says something else is a conflict
that is told before anything is made. Rules that would act on objects (lifecycle, replication,
notifications, access logs, inventories) are set when all objects are there.

Source: docs/export.md, "Bringing a tenant".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from gateway.commit.change import Change
from gateway.meta import buckets as bucket_rows
from gateway.meta.accounts import Tenant
from gateway.meta.identities import (
    GROUPS,
    POLICIES,
    PROVIDERS,
    ROLES,
    USERS,
    Family,
    Group,
    IdentityProvider,
    NamedPolicy,
    Role,
    User,
)
from gateway.meta.kv import BatchConflict, Check
from gateway.model.billing import Plan
from gateway.model.bucket import HOT_DOCUMENTS, Bucket, Versioning
from gateway.model.exported import Document
from gateway.model.names import UUID_BYTES, BucketId, TenantId, bucket_name
from gateway.model.quota import Quota, Subject, quota_of
from gateway.objects import limits_set, tenancy, users
from gateway.objects.buckets import DEFAULT_CLASS, FIRST_KEY_EPOCH
from gateway.objects.context import Services
from gateway.objects.named_keys import create_named_key
from gateway.objects.regions import check_location
from gateway.objects.tenancy import NoSuchIdentity, Step
from storaged.base.errors import Kind, StorageError

MARK = "import"  # document of a bucket that is being filled
TRIES_MAX = 8
# Of a version of the same name, what may differ: who made it when, and with which id.
_OF_ONE_SIDE = ("user_id", "group_id", "role_id", "created_at_ms", "updated_at_ms", "access_keys")

Entity = TypeVar("Entity", User, Group, Role, NamedPolicy, IdentityProvider)


class ImportInvalid(StorageError):
    """What an export says of a tenant is not usable."""

    kind = Kind.INVALID


class ImportConflict(StorageError):
    """Something is in the way."""

    kind = Kind.CONFLICT
    hint = "see `hexagone import --dry-run`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What is brought.

    Args:
        export: what tells one export from another.
        tenant: name that it will have here.
        buckets: their documents, with the names that they will have here.
        renamed: buckets' new names by the old ones.
    """

    export: str
    tenant: str
    account: Document
    buckets: Sequence[Document] = field(default=())
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Outlook:
    """What would be done: `conflicts` have to go before anything is."""

    conflicts: list[str]
    notes: list[str]
    makes_tenant: bool
    owners: dict[str, str]

    def document(self) -> Document:
        """For the admin port."""
        return {
            "conflicts": self.conflicts,
            "notes": self.notes,
            "makes_tenant": self.makes_tenant,
            "owners": self.owners,
        }


def outlook(services: Services, arrival: Arrival) -> Outlook:
    """Look at everything, change nothing. Raises: ImportInvalid, RowCorrupt."""
    try:
        return _outlook(services, arrival)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImportInvalid(reason=f"{type(error).__name__}: {error}"[:200]) from error


def _outlook(services: Services, arrival: Arrival) -> Outlook:
    found = Outlook(conflicts=[], notes=[], makes_tenant=False, owners={})
    if not isinstance(arrival.export, str) or not arrival.export:  # "" is no bucket's mark
        raise ValueError("the export has no id")
    old_id = arrival.account["tenant"]["owner_id"]
    tenant = _tenant(services, arrival.tenant)
    if tenant is None:
        found.makes_tenant = True
        if _tenant(services, old_id) is not None:
            found.notes.append("the tenant gets another canonical id, for its own is taken here")
            found.owners = {old_id: ""}
    else:
        found.owners = {} if tenant.owner_id == old_id else {old_id: tenant.owner_id}
        _judge_people(services, tenant, arrival, found)
    for document in arrival.buckets:
        _judge_bucket(services, tenant, arrival, document, found)
    return found


def _judge_people(services: Services, tenant: Tenant, arrival: Arrival, found: Outlook) -> None:
    owners = found.owners
    for family, one in _entities(tenant.tenant_id, arrival, owners):
        held = family.read(services.log, services.records, tenant.tenant_id, one.name)
        if held is not None and not _says_the_same(held.held, one):
            what = type(one).__name__.lower()
            found.conflicts.append(f"there is another {what} {one.name} in the tenant")


def _judge_bucket(
    services: Services,
    tenant: Tenant | None,
    arrival: Arrival,
    document: Document,
    found: Outlook,
) -> None:
    name = bucket_name(document["name"])
    held = bucket_rows.find_bucket(services.log, services.records, name)
    if held is not None:
        is_ours = tenant is not None and held.bucket.tenant == tenant.tenant_id
        if not is_ours or mark_of(services, held.bucket) != arrival.export:
            found.conflicts.append(f"there is a bucket {name} already: --rename-bucket {name}=…")
    try:
        check_location(services, document["location"])
    except StorageError as error:
        found.conflicts.append(f"bucket {name} cannot be made here: {error.message()}")
    Versioning(document["versioning"])
    watched = sorted({"notification", "replication"} & document["documents"].keys())
    if watched:
        named = " and ".join(watched)
        found.notes.append(f"bucket {name}: {named} needs its targets in gateway.toml here too")


def _tenant(services: Services, text: str) -> Tenant | None:
    try:
        return tenancy.find_tenant(services, text)
    except NoSuchIdentity:
        return None


def mark_of(services: Services, bucket: Bucket) -> str:
    """The export that a bucket is being filled from; "": none."""
    if MARK not in bucket.cold:
        return ""
    held = bucket_rows.read_document(services.log, services.records, bucket.bucket_id, MARK)
    return "" if held is None else str(held["export"])


async def make_tenant(services: Services, arrival: Arrival) -> Tenant:
    """The tenant with all that is in it. Access keys are not: whoever is to have one makes it.

    Raises: ImportInvalid, ImportConflict, as tenancy.create_tenant and the log.

    Idempotent: yes.
    """
    try:
        before = outlook(services, arrival)
        if before.conflicts:
            raise ImportConflict(reason=before.conflicts[0])
        tenant = _tenant(services, arrival.tenant)
        if tenant is None:
            told = arrival.account["tenant"]
            owner_id = "" if before.owners else told["owner_id"]
            tenant, key = await tenancy.create_tenant(services, arrival.tenant, owner_id=owner_id)
            await users.delete_access_key(services, key.access_key_id)
            await _set_terms(services, tenant, arrival.account)
            if not told["enabled"]:
                await tenancy.set_tenant_enabled(services, arrival.tenant, enabled=False)
        await _bring_people(services, tenant, arrival)
        for name in arrival.account["encryption_keys"]:
            await create_named_key(services, tenant.tenant_id, name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImportInvalid(reason=f"{type(error).__name__}: {error}"[:200]) from error
    return tenant


async def _set_terms(services: Services, tenant: Tenant, account: Document) -> None:
    """Plan and limits of a tenant that was made."""
    plan = Plan(**account["plan"])
    await limits_set.set_plan(services, tenant.tenant_id, plan)
    limits: Quota = quota_of(Subject.TENANT, account["limits"])
    if account["limits"]:
        await limits_set.set_limits(services, Subject.TENANT, tenant.tenant_id.hex(), limits)


async def _bring_people(services: Services, tenant: Tenant, arrival: Arrival) -> None:
    owners = owners_of(arrival, tenant)
    records, nonces = services.records, services.nonces
    for family, one in _entities(tenant.tenant_id, arrival, owners):
        row_key = family.row(tenant.tenant_id, one.name)
        if services.log.read((row_key,))[0] is not None:
            continue
        step = Step((Check(row_key, None),), (family.set(records, nonces, one),))
        await tenancy.change(services, partial(_decided, step))


def _decided(step: Step) -> tuple[Step, None]:
    return step, None


def owners_of(arrival: Arrival, tenant: Tenant) -> dict[str, str]:
    """Canonical ids by those that they take the place of."""
    old_id = arrival.account["tenant"]["owner_id"]
    return {} if old_id == tenant.owner_id else {old_id: tenant.owner_id}


def _entities(
    tenant: TenantId, arrival: Arrival, owners: Mapping[str, str]
) -> list[tuple[Family[Any], Any]]:
    """Users, groups, roles, policies and identity providers, as they will be."""
    account = arrival.account
    change = _texts(arrival, owners)
    found: list[tuple[Family[Any], Any]] = []
    for one in account["policies"]:
        found.append(
            (POLICIES, NamedPolicy(**{"tenant": tenant, **one, "text": change(one["text"])}))
        )
    for one in account["identity_providers"]:
        fields = {**one, "audiences": tuple(one["audiences"])}
        found.append((PROVIDERS, IdentityProvider(tenant=tenant, **fields)))
    for one in account["groups"]:
        found.append((GROUPS, Group(tenant=tenant, **{**one, "policies": tuple(one["policies"])})))
    for one in account["roles"]:
        fields = {**one, "policies": tuple(one["policies"]), "trust": change(one["trust"])}
        found.append((ROLES, Role(tenant=tenant, **fields)))
    for one in account["users"]:
        fields = {
            **one,
            "groups": tuple(one["groups"]),
            "policies": tuple(one["policies"]),
            "tags": tuple((name, value) for name, value in one["tags"]),
        }
        found.append((USERS, User(tenant=tenant, **fields)))
    return found


def _says_the_same(held: Entity, brought: Entity) -> bool:
    same = {name: getattr(held, name) for name in _OF_ONE_SIDE if hasattr(held, name)}
    return bool(replace(brought, **same) == held)


def _texts(arrival: Arrival, owners: Mapping[str, str]) -> Callable[[Any], Any]:
    """What puts names of renamed buckets, and the canonical id, in place of the old ones."""
    patterns = [
        (re.compile(rf"(arn:aws:s3:::){re.escape(old)}(?=[/\"'*]|$)"), rf"\g<1>{new}")
        for old, new in arrival.renamed.items()
    ]

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(one) for name, one in value.items()}
        if isinstance(value, list):
            return [changed(one) for one in value]
        if not isinstance(value, str):
            return value
        for old_id, new_id in owners.items():
            value = value.replace(old_id, new_id or old_id)
        for pattern, new in patterns:
            value = pattern.sub(new, value)
        return value

    return changed


def _documents(
    arrival: Arrival, tenant: Tenant, documents: Mapping[str, Any]
) -> dict[str, Document]:
    """Documents of a bucket as they will be."""
    changed: dict[str, Document] = _texts(arrival, owners_of(arrival, tenant))(dict(documents))
    logging = changed.get("logging")
    if logging is not None:  # the one that names a bucket without an ARN
        target = logging["target"]
        changed["logging"] = {**logging, "target": arrival.renamed.get(target, target)}
    return changed


async def make_bucket(
    services: Services, tenant: Tenant, arrival: Arrival, document: Document
) -> BucketId:
    """A bucket that is to be filled; one that is being filled from the same export stays.

    Raises: ImportConflict, ImportInvalid, what the key provider and the log raise.
    """
    name = bucket_name(document["name"])
    held = bucket_rows.find_bucket(services.log, services.records, name)
    if held is not None:
        is_ours = held.bucket.tenant == tenant.tenant_id
        if is_ours and mark_of(services, held.bucket) == arrival.export:
            return held.bucket.bucket_id
        raise ImportConflict(bucket=name)
    documents = _documents(arrival, tenant, document["documents"])
    bucket = Bucket(
        bucket_id=BucketId(services.env.random_bytes(UUID_BYTES)),
        name=name,
        tenant=tenant.tenant_id,
        created_at_ms=document["created_at_ms"],
        location=document["location"],
        versioning=Versioning(document["versioning"]),
        object_lock=document["object_lock"],
        geometry_class=DEFAULT_CLASS,
        key_epoch=FIRST_KEY_EPOCH,
        documents={name: one for name, one in documents.items() if name in HOT_DOCUMENTS},
        cold=frozenset({MARK}),
    )
    wrapped, tenant_epoch = await services.bucket_keys.make_key(bucket)
    records, nonces = services.records, services.nonces
    mark = bucket_rows.set_document(
        records, nonces, bucket.bucket_id, MARK, {"export": arrival.export}
    )
    request_id = services.env.random_bytes(16)
    batch = bucket_rows.create_batch(
        records, nonces, bucket, wrapped, request_id, mark, tenant_epoch=tenant_epoch
    )
    try:
        await services.log.commit_change(Change(batch=batch))
    except BatchConflict as error:
        raise ImportConflict(bucket=name) from error
    limits = document["limits"]
    if limits:
        quota = quota_of(Subject.BUCKET, limits)
        await limits_set.set_limits(services, Subject.BUCKET, bucket.bucket_id.hex(), quota)
    return bucket.bucket_id


async def settle_bucket(
    services: Services,
    tenant: Tenant,
    arrival: Arrival,
    document: Document,
    filled: BucketId,
    *,
    is_over: bool,
) -> None:
    """Set the documents that act on objects; `is_over`: and forget where it comes from.

    Args:
        filled: the bucket that was; another one of its name is left alone.

    Raises: ImportConflict, what the log raises. Idempotent: yes.
    """
    documents = _documents(arrival, tenant, document["documents"])
    cold = {name: one for name, one in documents.items() if name not in HOT_DOCUMENTS}
    records, nonces, name = services.records, services.nonces, bucket_name(document["name"])
    for _ in range(TRIES_MAX):
        held = bucket_rows.find_bucket(services.log, records, name)
        if held is None or held.bucket.bucket_id != filled:
            raise ImportConflict(bucket=name)
        if mark_of(services, held.bucket) != arrival.export:
            raise ImportConflict(bucket=name)
        bucket = held.bucket
        kept = (bucket.cold | cold.keys()) - ({MARK} if is_over else set())
        writes = [
            bucket_rows.set_document(records, nonces, bucket.bucket_id, one, cold[one])
            for one in sorted(cold)
        ]
        if is_over:
            writes.append(bucket_rows.set_document(records, nonces, bucket.bucket_id, MARK, None))
        request_id, changed = services.env.random_bytes(16), replace(bucket, cold=frozenset(kept))
        batch = bucket_rows.update_batch(records, nonces, held, changed, request_id, *writes)
        try:
            await services.log.commit_change(Change(batch=batch))
        except BatchConflict:
            continue
        finally:
            services.buckets.forget(name)
        return
    raise ImportConflict(bucket=name)
