"""Erasures and purges for the admin port: what would be lost, begun, how far, certificates.

Not for carrying one out (`gateway.jobs.erasure`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gateway.admin.key_desk import NoSuchBucketOfThatName
from gateway.admin.outlook import Document
from gateway.config_erasure import ErasureConfig
from gateway.journal.events import Event, Phase
from gateway.meta import buckets as bucket_rows
from gateway.meta.erasure_rows import Erasure
from gateway.model.bucket import Bucket
from gateway.model.erasure import ENDED, ErasureKind
from gateway.objects import approving, erasing, erasure_acts, erasure_looks
from gateway.objects.context import Services
from gateway.objects.erasing import ErasureNotEnded, ErasureRefused, NoSuchErasure, Wanted
from gateway.objects.erasure_bars import kept_until_ms, refuse_leaving
from gateway.objects.purging import count_destroyed, purge_destroyed
from storaged.base.errors import Kind, StorageError

PURGE_ROUNDS_MAX = 1000


class LossNotNamed(StorageError):
    """What is to be erased was not named exactly."""

    kind = Kind.PRECONDITION
    hint = "--lose takes the name of the tenant or the bucket, or s3://BUCKET/KEY of the object"


class ErasureCommandInvalid(StorageError):
    """The command about erasure is not usable."""

    kind = Kind.INVALID


class ErasureDesk:
    """What the commands `hexagone erase …` and `hexagone purge` ask."""

    def __init__(self, services: Services, config: ErasureConfig) -> None:
        self._services = services
        self._config = config

    def listed(self) -> Document:
        """All erasures, the latest first."""
        return {"erasures": [self._shown(one) for one in erasing.erasures(self._services)]}

    def certificate(self, fields: Mapping[str, str]) -> Document:
        """The certificate of an erasure that has ended. Raises: NoSuchErasure, ErasureNotEnded."""
        erasure = erasing.find(self._services, fields.get("id", "")).erasure
        if not erasure.certificate:
            raise ErasureNotEnded(erasure=erasure.erasure_id, step=erasure.step)
        return {"certificate": erasure.certificate}

    async def plan(self, fields: Mapping[str, str]) -> Document:
        """What an erasure would take, and when. Raises: as begin."""
        wanted = self._wanted(fields, "")
        objects, size_bytes = await erasing.lost_by(self._services, wanted)
        days = self._config.notice_days if wanted.kind is ErasureKind.TENANT else 0
        approvers = approving.approvers_of(self._services)
        return {
            "kind": wanted.kind.value,
            "name": wanted.name,
            "objects": objects,
            "size_bytes": size_bytes,
            "notice_days": days,
            "kept_until_ms": kept_until_ms(self._services, wanted.kind, wanted.tenant),
            "disabled_hours": 0
            if wanted.kind is ErasureKind.OBJECT
            else self._config.disabled_hours,
            "approvals": 0 if approvers is None else approvers.threshold,
            "backup_retention_days": self._config.backup_retention_days,
        }

    async def begin(self, fields: Mapping[str, str], requester: str) -> Document:
        """Begin an erasure. `lose`: the name of what is lost, exactly. An object without `certify`
        is only deleted, and the answer says what that is worth.

        Raises: LossNotNamed, ErasureCommandInvalid, NoSuchBucketOfThatName, NoSuchIdentity,
            ErasureUnderWay, TenantLeaving, ErasureRefused (an object that is only deleted, without
            the approvals that are needed), JournalNeeded, JournalUnavailable, as the log.
        """
        wanted = self._wanted(fields, requester)
        if fields.get("lose", "") != wanted.name:
            raise LossNotNamed(named=fields.get("lose", "")[:64])
        if wanted.kind is ErasureKind.OBJECT and not fields.get("certify"):
            refuse_leaving(self._services, wanted.tenant)
            return await self._delete(wanted)
        return {"erasure": self._shown(await erasing.begin(self._services, self._config, wanted))}

    async def _delete(self, wanted: Wanted) -> Document:
        assert wanted.bucket is not None
        services, bucket = self._services, wanted.bucket.bucket_id
        if approving.approvers_of(services) is not None:
            reason = "approvers are registered: --certify asks for their approvals"
            raise ErasureRefused(reason=reason)
        if services.journal is not None:  # before it takes effect, so that the tenant knows
            event = Event(
                services.env.now_ms(),
                "erasure.deleted",
                Phase.INTENT,
                {"who": wanted.requester},
                wanted.bucket.name,
                wanted.key,
            )
            await services.journal.record(wanted.tenant.hex(), event)
        deleted = 0
        for version, _ in erasure_looks.versions_of(services, bucket, wanted.key, wanted.version):
            deleted += await erasure_acts.delete_version(services, bucket, wanted.key, version)
        return {
            "deleted": deleted,
            "level": "deleted",
            "shredded": "not before the bucket's and the tenant's key are rotated and their older"
            " epochs destroyed: no date is set; --certify does that",
        }

    async def cancel(self, fields: Mapping[str, str]) -> Document:
        """Take an erasure back. Raises: NoSuchErasure, ErasureTooLate."""
        erasure = await erasing.cancel(self._services, self._id(fields))
        return {"erasure": self._shown(erasure)}

    async def purge_plan(self, fields: Mapping[str, str]) -> Document:
        """What lies under destroyed epochs of a bucket's key."""
        bucket = self._bucket(fields.get("bucket", ""))
        left = await count_destroyed(self._services, bucket.bucket_id)
        return {"bucket": bucket.name, "left": dict(left)}

    async def purge(self, fields: Mapping[str, str]) -> Document:
        """Take away what lies under destroyed epochs of a bucket's key: nobody can read it."""
        services, bucket = self._services, self._bucket(fields.get("bucket", ""))
        purged: Counter[str] = Counter()
        for _ in range(PURGE_ROUNDS_MAX):
            taken = await purge_destroyed(services, bucket.bucket_id)
            purged += taken
            if not taken:
                break
        left = await count_destroyed(services, bucket.bucket_id)
        return {"bucket": bucket.name, "purged": dict(purged), "left": dict(left)}

    # What is meant

    def _wanted(self, fields: Mapping[str, str], requester: str) -> Wanted:
        tenant, bucket, key = (fields.get(name, "") for name in ("tenant", "bucket", "key"))
        if bool(tenant) == bool(bucket) or (key and not bucket):
            raise ErasureCommandInvalid(reason="name one: a tenant, a bucket, or an object")
        if tenant:
            return erasing.wanted_tenant(self._services, tenant, requester)
        held = self._bucket(bucket)
        return Wanted(
            kind=ErasureKind.OBJECT if key else ErasureKind.BUCKET,
            tenant=held.tenant,
            name=f"s3://{held.name}/{key}" if key else held.name,
            requester=requester,
            bucket=held,
            key=key,
            version=fields.get("version", ""),
        )

    def _bucket(self, name: str) -> Bucket:
        services = self._services
        opened = services.buckets.find(name)
        stored = opened and bucket_rows.read_bucket(
            services.log, services.records, opened.bucket.bucket_id
        )
        if not stored:
            raise NoSuchBucketOfThatName(bucket=name[:64])
        return stored.bucket

    def _id(self, fields: Mapping[str, str]) -> str:
        """An erasure by its id, or by the beginning of it. Raises: NoSuchErasure."""
        wanted = fields.get("id", "")
        found = [
            one.erasure_id
            for one in erasing.erasures(self._services)
            if one.erasure_id.startswith(wanted) and (one.at not in ENDED or len(wanted) == 32)
        ]
        if len(wanted) < 8 or len(found) != 1:
            raise NoSuchErasure(erasure=wanted[:64])
        return found[0]

    def _shown(self, erasure: Erasure) -> Document:
        return {
            "id": erasure.erasure_id,
            "kind": erasure.kind,
            "tenant": erasure.tenant,
            "bucket": erasure.bucket,
            "name": erasure.name,
            "requester": erasure.requester,
            "requested_at_ms": erasure.requested_at_ms,
            "execute_at_ms": erasure.execute_at_ms,
            "step": erasure.step,
            "step_since_ms": erasure.step_since_ms,
            "detail": erasure.detail,
            "request": erasure.request if erasure.at not in ENDED else "",
            "objects": erasure.objects,
            "size_bytes": erasure.size_bytes,
            "purged": dict(erasure.purged),
            "destroyed": dict(erasure.destroyed),
            "is_certified": bool(erasure.certificate),
        }
