"""Epochs of keys for the admin port: which there are, rotations, and what disables or destroys one.

Not for deciding what is allowed (`gateway.objects.key_epochs`, `gateway.objects.key_rotation`,
`gateway.objects.named_epochs`), nor for making named keys (`gateway.admin.named_keys`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import NamedTuple

from gateway.admin.named_keys import epoch_document, tenant_of
from gateway.admin.outlook import Document
from gateway.approvals.request import Act, bucket_key_item, named_key_item, tenant_key_item
from gateway.data.envelope import NamedKeyMissing
from gateway.data.named_form import newest_active
from gateway.jobs.rotation import KeyRotation
from gateway.meta import accounts, bucket_key_rows
from gateway.meta import buckets as bucket_rows
from gateway.meta import rotations as rotation_rows
from gateway.meta.rotations import Rotation
from gateway.model.bucket import Bucket
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId, TenantId
from gateway.objects import key_epochs, named_epochs
from gateway.objects.approving import approvers_of, warrant_for
from gateway.objects.context import Services
from gateway.objects.erasure_bars import refuse_leaving
from gateway.objects.key_rotation import (
    REPORTS_MAX,
    NoSuchTenant,
    RotationUnderWay,
    rotate_bucket_key,
    rotate_tenant_key,
)
from gateway.objects.named_rotation import rotate_named_key
from storaged.base.errors import Kind, StorageError

PAGE = 500
WHICH = ("bucket", "tenant", "all", "named_key")  # fields that say which key is meant
LISTED_MAX = 1000  # buckets in one answer
RATE_MAX = 1_000_000
RATE_DEFAULT = 2000  # rows a second that leave room for requests; 0 = as many as there can be


class KeyCommandInvalid(StorageError):
    """The command about keys is not usable."""

    kind = Kind.INVALID


class NoSuchBucketOfThatName(StorageError):
    """There is no bucket of that name."""

    kind = Kind.NOT_FOUND


class NameNotRepeated(StorageError):
    """What is to be lost was not named exactly."""

    kind = Kind.PRECONDITION
    hint = "--lose takes the name of the epoch as `keys list` shows it, such as photos/1"


class Target(NamedTuple):
    """A key that a command is about: a bucket's, a tenant's or a named one.

    Args:
        owner: as a rotation of it names it. tenant: whose it is.
    """

    kind: str
    owner: bytes
    name: str
    epoch: int
    tenant: TenantId
    bucket: Bucket | None = None


class KeyDesk:
    """What the commands `hexagone keys …` ask. `kept_in` says where keys of tenants are."""

    def __init__(
        self,
        services: Services,
        job: KeyRotation,
        kept_in: Callable[[], str] = lambda: "gateway: file",
    ) -> None:
        self._services = services
        self._job = job
        self._kept_in = kept_in

    def listed(self, fields: Mapping[str, str]) -> Document:
        """Epochs of the keys of all tenants and buckets, or of one of them."""
        if fields.get("bucket") or fields.get("tenant"):
            targets = list(self._targets(fields))
        else:
            targets = list(self._targets({"all": "1"}))
        tenants = [one for one in targets if one.kind == rotation_rows.TENANT]
        buckets = [one for one in targets if one.kind == rotation_rows.BUCKET]
        return {
            "tenants": [self._tenant(one) for one in tenants],
            "buckets": [self._bucket(one) for one in buckets[:LISTED_MAX]],
            "is_truncated": len(buckets) > LISTED_MAX,
            "kept_in": self._kept_in(),
        }

    def status(self) -> Document:
        """Rotations under way, and reports of those that have ended, the latest first."""
        services, current = self._services, self._job.current
        held = rotation_rows.scan_rotations(services.log, services.records, limit=LISTED_MAX)
        under_way = []
        for stored in held:
            is_current = current is not None and current.row_key == stored.rotation.row_key
            rotation = current if is_current and current is not None else stored.rotation
            rate = self._job.rate() if is_current else 0.0
            under_way.append(_rotation_report(rotation, rate))
        reports = rotation_rows.scan_reports(services.log, services.records, limit=REPORTS_MAX)
        return {
            "rotations": under_way,
            "reports": [_rotation_report(one, 0.0) for one in reports[:LISTED_MAX]],
            "said": self._job.progress().detail,
        }

    async def rotate(self, fields: Mapping[str, str], *, dry_run: bool = False) -> Document:
        """Begin rotations; those under way already are left alone. `dry_run`: only say which.

        Raises: KeyCommandInvalid, NoSuchBucketOfThatName, NoSuchTenant; RotationUnderWay: of the
            one key that is meant.
        """
        rate = _number(fields, "rate", RATE_DEFAULT)
        if rate > RATE_MAX:
            raise KeyCommandInvalid(reason=f"rate is at most {RATE_MAX}")
        targets = list(self._targets(fields))
        answer: Document = {"begun": [], "under_way": [], "dry_run": dry_run}
        for target in targets:
            try:
                begun = await self._begin(target, rate, dry_run=dry_run)
            except RotationUnderWay:
                if len(targets) == 1:
                    raise
                answer["under_way"].append({"kind": target.kind, "name": target.name})
                continue
            answer["begun"].append(begun)
        return answer

    async def _begin(self, target: Target, rate: int, *, dry_run: bool) -> Document:
        services = self._services
        if dry_run:
            held = rotation_rows.read_rotation(
                services.log, services.records, target.kind, target.owner
            )
            if held is not None:
                raise RotationUnderWay(key=target.name)
            epoch = target.epoch + 1
        elif target.kind == rotation_rows.NAMED:
            epoch = (await rotate_named_key(services, target.tenant, target.name, rate)).epoch
        elif target.kind == rotation_rows.TENANT:
            epoch = (await rotate_tenant_key(services, TenantId(target.owner), rate)).epoch
        else:
            epoch = (await rotate_bucket_key(services, BucketId(target.owner), rate)).epoch
        return {"kind": target.kind, "name": target.name, "from": target.epoch, "to": epoch}

    async def set_state(self, fields: Mapping[str, str], state: KeyState) -> Document:
        """Disable or enable an epoch. Raises: as the use cases."""
        target, epoch = self._one(fields), _number(fields, "epoch", 0)
        services, tenant = self._services, target.tenant
        if target.kind == rotation_rows.NAMED:
            about = await named_epochs.set_named_epoch(services, tenant, target.name, epoch, state)
        elif target.bucket is None:
            about = await key_epochs.set_tenant_epoch(services, tenant, epoch, state)
        else:
            about = await key_epochs.set_bucket_epoch(services, target.bucket, epoch, state)
        return {
            "kind": target.kind,
            "name": target.name,
            "epoch": epoch_document(about, target.epoch),
        }

    async def left(self, fields: Mapping[str, str]) -> Document:
        """What is still under an epoch, by what it is."""
        target, epoch = self._one(fields), _number(fields, "epoch", 0)
        left = await self._left(target, epoch)
        return {
            "kind": target.kind,
            "name": target.name,
            "epoch": epoch,
            "named": f"{target.name}/{epoch}",
            "left": left,
        }

    async def destroy(self, fields: Mapping[str, str], requester: str = "admin") -> Document:
        """Erase an epoch. `lose`: its name, exactly, if what is under it is to be lost.

        Raises: NameNotRepeated, TenantLeaving, ApprovalNeeded, and as the use cases.
        """
        target, epoch = self._one(fields), _number(fields, "epoch", 0)
        lose = fields.get("lose", "")
        if lose and lose != f"{target.name}/{epoch}":
            raise NameNotRepeated(named=lose[:64])
        forced = bool(lose)
        services, tenant = self._services, target.tenant
        if forced:
            refuse_leaving(services, tenant)
        warrant = await self._warrant(target, epoch, requester, forced=forced)
        if target.kind == rotation_rows.NAMED:
            lost = await named_epochs.destroy_named_epoch(
                services, tenant, target.name, epoch, forced=forced, warrant=warrant
            )
        elif target.bucket is None:
            lost = await key_epochs.destroy_tenant_epoch(
                services, tenant, epoch, forced=forced, warrant=warrant
            )
        else:
            lost = await key_epochs.destroy_bucket_epoch(
                services, target.bucket, epoch, forced=forced, warrant=warrant
            )
        return {"kind": target.kind, "name": target.name, "epoch": epoch, "lost": lost}

    async def _warrant(self, target: Target, epoch: int, requester: str, *, forced: bool) -> bytes:
        """What approvers have said to destroying an epoch. Nobody is asked for what would be
        refused. Raises: ApprovalNeeded, NoSuchEpoch, EpochNotDisabled, EpochNotEmpty.
        """
        services = self._services
        if approvers_of(services) is None:
            return b""
        if target.kind == rotation_rows.NAMED:
            item = named_key_item(target.tenant, target.name, epoch)
            named_epochs.check_named_epoch(services, target.tenant, target.name, epoch)
            left = await self._left(target, epoch)
        elif target.bucket is None:
            item = tenant_key_item(target.owner, epoch)
            key_epochs.check_tenant_epoch(services, target.tenant, epoch)
            left = await key_epochs.left_in_tenant(services, target.tenant, epoch)
        else:
            item = bucket_key_item(target.owner, epoch)
            key_epochs.check_bucket_epoch(services, target.bucket, epoch)
            left = await self._left(target, epoch)
        if left and not forced:
            named = "name" if target.kind == rotation_rows.NAMED else target.kind
            raise key_epochs.EpochNotEmpty(
                epoch=epoch, left=sum(left.values()), **{named: target.name}
            )
        return await warrant_for(
            services,
            Act.DESTROY_KEY,
            item,
            about=f"epoch {epoch} of the key of {target.kind} {target.owner.hex()}",
            name=f"{target.name}/{epoch}",
            objects=sum(left.values()),
            size_bytes=0,
            requester=requester,
        )

    async def _left(self, target: Target, epoch: int) -> dict[str, int]:
        services, tenant = self._services, target.tenant
        if target.kind == rotation_rows.NAMED:
            return await named_epochs.left_under_name(services, tenant, target.name, epoch)
        if target.bucket is None:
            return await key_epochs.left_with_names(services, tenant, epoch)
        return await key_epochs.left_in_bucket(services, target.bucket.bucket_id, epoch)

    # What is meant

    def _one(self, fields: Mapping[str, str]) -> Target:
        if fields.get("all"):
            raise KeyCommandInvalid(reason="name one: a bucket, a tenant or a named key")
        return next(self._targets({**fields, "only_tenant": "1"}))

    def _targets(self, fields: Mapping[str, str]) -> Iterator[Target]:
        bucket, tenant, all_, key = (fields.get(one, "") for one in WHICH)
        if sum(map(bool, (bucket, tenant, all_, key))) != 1:
            raise KeyCommandInvalid(reason="name one: a bucket, a tenant, a named key, or all")
        if key:
            yield self._named_key(key, fields.get("access_key_id", ""))
            return
        if bucket:
            opened = self._services.buckets.find(bucket)
            stored = opened and bucket_rows.read_bucket(
                self._services.log, self._services.records, opened.bucket.bucket_id
            )
            if not stored:
                raise NoSuchBucketOfThatName(bucket=bucket[:64])
            yield _of_bucket(stored.bucket)
            return
        owners = self._tenants() if all_ else [self._named_tenant(tenant)]
        for owner in owners:
            epochs = self._services.bucket_keys.provider.tenant_epochs(owner.tenant_id)
            # All of them are disabled while the tenant is about to be erased.
            active = [one.epoch for one in epochs if one.state is KeyState.ACTIVE]
            epoch = max(active, default=epochs[-1].epoch + 1 if epochs else 0)
            id_ = owner.tenant_id
            yield Target(rotation_rows.TENANT, id_, owner.name, epoch, id_)
        if fields.get("only_tenant"):
            return
        chosen = {owner.tenant_id for owner in owners}
        for held in self._buckets():
            if held.tenant in chosen:
                yield _of_bucket(held)

    def _named_key(self, name: str, access_key_id: str) -> Target:
        tenant = tenant_of(self._services, access_key_id)
        epochs = self._services.bucket_keys.provider.named_epochs(tenant, name)
        if not epochs:
            raise NamedKeyMissing(name=name[:64])
        owner = rotation_rows.named_owner(tenant, name)
        newest = newest_active(epochs) or epochs[-1].epoch + 1
        return Target(rotation_rows.NAMED, owner, name, newest, tenant)

    def _named_tenant(self, name: str) -> accounts.Tenant:
        found = [one for one in self._tenants() if name in (one.name, one.tenant_id.hex())]
        if len(found) > 1:
            raise KeyCommandInvalid(reason=f"{len(found)} tenants have that name: use the id")
        if not found:
            raise NoSuchTenant(tenant=name[:64])
        return found[0]

    def _tenants(self) -> list[accounts.Tenant]:
        held: list[accounts.Tenant] = []
        while True:
            page = accounts.scan_tenants(
                self._services.log,
                self._services.records,
                held[-1].tenant_id if held else None,
                limit=PAGE,
            )
            held += [stored.tenant for stored in page]
            if len(page) < PAGE:
                return held

    def _buckets(self) -> Iterator[Bucket]:
        after: BucketId | None = None
        while True:
            page = bucket_rows.scan_buckets(
                self._services.log, self._services.records, after, limit=PAGE
            )
            for stored in page:
                yield stored.bucket
            if len(page) < PAGE:
                return
            after = page[-1].bucket.bucket_id

    def _tenant(self, target: Target) -> Document:
        held = self._services.bucket_keys.provider.tenant_epochs(target.owner)
        epochs = [epoch_document(about, target.epoch) for about in held]
        return {"tenant": target.owner.hex(), "name": target.name, "epochs": epochs}

    def _bucket(self, target: Target) -> Document:
        assert target.bucket is not None
        held = bucket_key_rows.scan_bucket_keys(
            self._services.log, self._services.records, target.bucket.bucket_id
        )
        epochs = [
            {**epoch_document(key.about, target.epoch), "tenant_epoch": key.tenant_epoch}
            for key in held
        ]
        return {"bucket": target.name, "tenant": target.bucket.tenant.hex(), "epochs": epochs}


def _of_bucket(bucket: Bucket) -> Target:
    id_, epoch = bucket.bucket_id, bucket.key_epoch
    return Target(rotation_rows.BUCKET, id_, bucket.name, epoch, bucket.tenant, bucket)


def _rotation_report(rotation: Rotation, rate: float) -> Document:
    left = max(0, rotation.total - rotation.done)
    return {
        **asdict(rotation),
        "rewrapped": dict(rotation.rewrapped),
        "done": rotation.done,
        "is_counting": rotation.kind == rotation_rows.BUCKET and not rotation.number,
        "rate": round(rate, 1),
        "eta_s": round(left / rate, 1) if rate > 0 else None,
    }


def _number(fields: Mapping[str, str], name: str, default: int) -> int:
    text = fields.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise KeyCommandInvalid(reason=f"{name} is a number")
    return int(text)
