"""Usage, limits, plans and metered hours, for the admin port.

Not for prices: a statement is made from these answers by who has a price list
(`gateway.cli.statements`), here or anywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import NamedTuple

from gateway.admin.outlook import Document
from gateway.meta import accounts
from gateway.meta import buckets as bucket_rows
from gateway.meta import hours as hour_rows
from gateway.meta.accounts import Tenant
from gateway.meta.usage import Usage, open_usage, total_of
from gateway.model.billing import HOUR_MS, Hour, Metered, Plan, integrate
from gateway.model.names import BucketId, TenantId
from gateway.model.quota import Quota, Subject, quota_of
from gateway.objects import departing, limits_set, tenancy
from gateway.objects.context import Services
from gateway.objects.metering import Meter
from storaged.base.errors import Kind, StorageError

PAGE_ROWS = 1000
HOURS_MAX = 400 * 24
ROWS_MAX = 100_000  # hours of one answer
NAME_CHARS_MAX = 256
AT_ONCE = 100  # buckets or hours: a few milliseconds

Fields = Mapping[str, str]


class MeteringInputInvalid(StorageError):
    """The request about usage or limits is not usable."""

    kind = Kind.INVALID


class NoSuchMeteredBucket(StorageError):
    """There is no bucket of this name."""

    kind = Kind.NOT_FOUND


class _Held(NamedTuple):
    """A bucket that is there or was metered."""

    tenant: Tenant
    bucket: BucketId
    name: str


class MeteringDesk:
    """What operators and auditors ask about usage."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def usage(self, fields: Fields) -> Document:
        """What buckets hold at this moment; of one tenant or bucket, or all."""
        source = self._services.quotas.usage
        assert source is not None, "the composition root gives it"
        entries = source.usage_entries()
        held = []
        for one in self._buckets(fields):
            held.append(one)
            await self._give_way(len(held))
        found = [entries.get(one.bucket) for one in held]
        rows = [
            {**_named(one), **_usage_document(open_usage(entry))}
            for one, entry in zip(held, found, strict=True)
        ]
        return {"usage": rows, "total": _usage_document(total_of(found))}

    async def metered(self, fields: Fields) -> Document:
        """What buckets used from an hour to before another."""
        first, end = self._hours(fields)
        meter = await self._meter()
        rows, total = [], Metered()
        for count, one in enumerate(self._metered(fields)):
            await self._give_way(count)
            hours = self._rows(one, first, end)
            used = integrate(hours, first=first, end=end, now_ms=meter.now_ms())
            if used != Metered():
                rows.append({**_named(one), **asdict(used)})
                total.add(used)
        return {
            "from_hour": first,
            "to_hour": end,
            "until_ms": min(end * HOUR_MS, meter.now_ms()),
            "flushed_at_ms": meter.flushed_at_ms,
            "metered": rows,
            "total": asdict(total),
        }

    async def hours(self, fields: Fields) -> Document:
        """The hours themselves, from which all the rest can be computed again."""
        first, end = self._hours(fields)
        meter = await self._meter()
        rows = []
        for one in self._metered(fields):
            for hour in self._rows(one, first, end):
                rows.append({**_named(one), "number": hour.number, **hour.document()})
                await self._give_way(len(rows))
                if len(rows) > ROWS_MAX:
                    raise MeteringInputInvalid(reason="too many hours", rows_max=ROWS_MAX)
        until_ms = min(end * HOUR_MS, meter.now_ms())
        return {"from_hour": first, "to_hour": end, "until_ms": until_ms, "hours": rows}

    def quotas(self) -> Document:
        """All limits that are set."""
        rows = []
        for subject, name, quota in limits_set.stored_limits(self._services):
            rows.append(
                {
                    "subject": subject.value,
                    "name": self._shown(subject, name),
                    "id": name,
                    "limits": quota.limits(),
                }
            )
        return {"quotas": rows, "refused_for_rate": self._services.throttle.refused}

    async def set_quota(self, fields: Fields) -> Document:
        """Set or change limits of somebody; a limit of null is taken away, others stay."""
        subject, name = self._subject(fields)
        limits = _json_object(fields.get("limits", "{}"))
        held: dict[str, object] = {}
        for stored in limits_set.stored_limits(self._services):
            if (stored.subject, stored.name) == (subject, name):
                held = dict(stored.quota.limits())
        held.update(limits)
        given = {limit: value for limit, value in held.items() if value is not None}
        await limits_set.set_limits(self._services, subject, name, quota_of(subject, given))
        return self.quotas()

    async def clear_quota(self, fields: Fields) -> Document:
        """Take all limits of somebody away."""
        subject, name = self._subject(fields)
        await limits_set.set_limits(self._services, subject, name, Quota())
        return self.quotas()

    def plan(self, fields: Fields) -> Document:
        """How a tenant pays."""
        tenant = self._tenant(fields)
        changes = limits_set.plan_changes(self._services, tenant.tenant_id)
        return {
            "tenant": tenant.name,
            "tenant_id": tenant.tenant_id.hex(),
            "kind": changes[-1].plan.kind,
            **changes[-1].document(),
            "changes": [one.document() for one in changes],
        }

    async def set_plan(self, fields: Fields) -> Document:
        """Set how a tenant pays, from the beginning of this hour on."""
        tenant = self._tenant(fields)
        plan = Plan(
            reserved_bytes=_number(fields, "reserved_bytes"),
            reserved_out_bytes=_number(fields, "reserved_out_bytes"),
            switching=fields.get("switching") == "1",
        )
        if not plan.switching and departing.is_leaving(self._services, tenant.tenant_id):
            raise MeteringInputInvalid(reason="the tenant is leaving: what is sent is free")
        await limits_set.set_plan(self._services, tenant.tenant_id, plan)
        return self.plan(fields)

    async def _meter(self) -> Meter:
        """The meter, with its hours up to this moment, if they can be written."""
        meter = self._services.meter
        assert meter is not None, "the composition root gives it"
        with suppress(StorageError):
            await meter.flush()
        return meter

    async def _give_way(self, count: int) -> None:
        """Let requests go on now and then."""
        if count % AT_ONCE == 0:
            await self._services.env.sleep(0)

    # Who and when

    def _tenant(self, fields: Fields) -> Tenant:
        return tenancy.find_tenant(self._services, fields.get("tenant", ""))

    def _tenants(self, fields: Fields) -> list[Tenant]:
        if fields.get("tenant"):
            return [self._tenant(fields)]
        found: list[Tenant] = []
        after: TenantId | None = None
        log, records = self._services.log, self._services.records
        while page := accounts.scan_tenants(log, records, after, limit=PAGE_ROWS):
            found += [one.tenant for one in page]
            after = found[-1].tenant_id
        return found

    def _buckets(self, fields: Fields) -> Iterator[_Held]:
        """Buckets that are there: of one tenant or name, or all."""
        log, records, wanted = self._services.log, self._services.records, fields.get("bucket", "")
        is_found = False
        for tenant in self._tenants(fields):
            after = ""
            while page := bucket_rows.list_buckets(
                log, records, tenant.tenant_id, after=after, limit=PAGE_ROWS
            ):
                after = page[-1].name
                for one in page:
                    if not wanted or one.name == wanted:
                        is_found = True
                        yield _Held(tenant, one.bucket_id, one.name)
        if wanted and not is_found:
            raise NoSuchMeteredBucket(bucket=wanted[:NAME_CHARS_MAX])

    def _metered(self, fields: Fields) -> Iterator[_Held]:
        """Buckets that have hours, those that are gone too; these by their last name."""
        services, wanted = self._services, fields.get("bucket", "")
        for tenant in self._tenants(fields):
            for _, bucket in hour_rows.metered_buckets(services.log, tenant.tenant_id):
                last = hour_rows.last_hour(services.log, services.records, tenant.tenant_id, bucket)
                name = "" if last is None else last.name
                if not wanted or name == wanted:
                    yield _Held(tenant, bucket, name)

    def _rows(self, held: _Held, first: int, end: int) -> Iterator[Hour]:
        services, tenant = self._services, held.tenant.tenant_id
        return hour_rows.hours_between(
            services.log, services.records, tenant, held.bucket, first, end
        )

    def _hours(self, fields: Fields) -> tuple[int, int]:
        first, end = _number(fields, "from_hour"), _number(fields, "to_hour")
        if not first < end <= first + HOURS_MAX or end > hour_rows.HOUR_MAX:
            raise MeteringInputInvalid(reason="not a time of 1 to 9,600 hours")
        return first, end

    def _subject(self, fields: Fields) -> tuple[Subject, str]:
        """Whom limits are for, and how their row names him."""
        name = fields.get("name", "")
        try:
            subject = Subject(fields.get("subject", ""))
        except ValueError as error:
            raise MeteringInputInvalid(
                reason="limits are of tenant, bucket, key or source"
            ) from error
        if not name or len(name) > NAME_CHARS_MAX or not name.isascii():
            raise MeteringInputInvalid(reason="say whose limits")
        if subject is Subject.TENANT:
            return subject, tenancy.find_tenant(self._services, name).tenant_id.hex()
        if subject is Subject.BUCKET:
            opened = self._services.buckets.find(name)
            if opened is None:
                raise NoSuchMeteredBucket(bucket=name)
            return subject, opened.bucket.bucket_id.hex()
        return subject, name

    def _shown(self, subject: Subject, name: str) -> str:
        """The name that people know a tenant or bucket by; its id when it is gone."""
        log, records = self._services.log, self._services.records
        if subject is Subject.TENANT:
            stored = accounts.read_tenant(log, records, TenantId(bytes.fromhex(name)))
            return name if stored is None else stored.tenant.name
        if subject is Subject.BUCKET:
            found = bucket_rows.read_bucket(log, records, BucketId(bytes.fromhex(name)))
            return name if found is None else found.bucket.name
        return name


def _named(held: _Held) -> Document:
    return {
        "tenant": held.tenant.name,
        "tenant_id": held.tenant.tenant_id.hex(),
        "bucket": held.name,
        "bucket_id": held.bucket.hex(),
    }


def _usage_document(usage: Usage) -> Document:
    return {
        "stored_bytes": usage.stored_bytes,
        "objects": usage.objects,
        "classes": {name: asdict(held) for name, held in usage.classes.items()},
        "delete_markers": usage.delete_markers,
        "uploads": usage.uploads,
        "loose_bytes": usage.loose_bytes,
        "annotations": usage.annotations,
        "annotation_bytes": usage.annotation_bytes,
    }


def _number(fields: Fields, name: str) -> int:
    text = fields.get(name) or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise MeteringInputInvalid(reason=f"{name} is not a whole number")
    return int(text)


def _json_object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MeteringInputInvalid(reason="limits are no JSON") from error
    if not isinstance(found, dict):
        raise MeteringInputInvalid(reason="limits are no JSON object")
    return found
