"""Versions on their way into a cluster: with the id, date, ETag, lock and place they had elsewhere.

Not for S3, nor for whoever is a tenant: an operator brings a tenant's data, and the admin port
records it. Nobody's policy is asked. A version is put where its sequence says, so any order will
do and a second time does nothing. Its bytes are sealed anew under keys of this cluster; they have
to be those that its record tells of before anything names them. No version that is there is
changed, so no lock gets shorter.

Invariants: D2, D3 (see `gateway.objects.parting`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from hashlib import md5, sha256
from typing import TYPE_CHECKING

from gateway.commit.change import Change
from gateway.meta import keyspace
from gateway.meta.records import StoredVersion, open_version, seal_version
from gateway.model.action import Action
from gateway.model.attributes import AES256, CUSTOMER, Attributes
from gateway.model.bucket import Bucket
from gateway.model.exported import Incoming
from gateway.model.names import UUID_BYTES, ObjectUuid
from gateway.model.version import PartSeal, Version, part_runs
from gateway.objects.context import Services
from gateway.objects.encryption import PLAIN, Choice
from gateway.objects.exporting import BucketNotThere, bucket_of, customer_key_md5
from gateway.objects.history import insertion
from gateway.objects.import_parts import ContentDiffers, InTheMaking, Slice, Source, stored_change
from gateway.objects.new_object import NewObject, made_object
from gateway.objects.parting import NOTHING, Parting
from gateway.objects.publish import IdsGivenBack, checks_of, until_committed
from gateway.objects.rewrapping import rewrapped_version
from gateway.objects.store import SealedPart, store_part
from gateway.objects.target import OpenBucket, Target
from storaged.base.errors import Kind, StorageError

if TYPE_CHECKING:
    from hashlib import _Hash


class VersionConflict(StorageError):
    """Another version is where this one belongs."""

    kind = Kind.CONFLICT
    hint = "somebody has written to the bucket since the import began"


class CustomerKeyNeeded(StorageError):
    """Only the client's own key can seal the version as it was."""

    kind = Kind.INVALID
    hint = "bring it: --customer-keys FILE"


class Outcome(StrEnum):
    """What became of a version."""

    INSTALLED = "installed"
    HELD = "held"


class Installer:
    """Versions of one bucket that is being filled.

    Args:
        bucket: that and no other of its name, which a client could have made meanwhile.
        keys: clients' own keys, by the base64 of their MD5.
    """

    def __init__(
        self, services: Services, tenant: bytes, bucket: Bucket, keys: dict[str, bytes]
    ) -> None:
        self._services = services
        self._tenant = tenant
        self._bucket = bucket
        self._keys = keys

    def missing(self, wanted: Sequence[Incoming]) -> list[Incoming]:
        """Those that are not there. Raises: BucketNotThere, VersionConflict, RowCorrupt."""
        opened = self._opened()
        return [one for one in wanted if not self._is_held(opened, one)]

    async def install(self, incoming: Incoming, source: Source) -> Outcome:
        """Make a version of a record and its bytes.

        Raises: BucketNotThere, VersionConflict, ContentDiffers, CustomerKeyNeeded, QuotaExceeded,
            KmsKeyNotFound, what the source, the nodes and the log raise. Nothing is named then.

        Idempotent: by id. Durable when: it returns. Concurrent: yes; of one key, best in order.
        """
        services, opened = self._services, self._opened()
        if self._is_held(opened, incoming):
            return Outcome.HELD
        row_key = keyspace.current_row(opened.bucket.bucket_id, incoming.key)
        target = Target(opened, incoming.key, row_key, Action.PUT_OBJECT)
        if incoming.is_delete_marker:
            return await self._place(incoming, self._marker(target, incoming), None, NOTHING)
        new = await made_object(services, target, self._choice(incoming))
        making = InTheMaking(services, target, new, self._opened)
        held_bytes = incoming.content_bytes + sum(one.plain_bytes for one in incoming.annotations)
        with services.quotas.room(opened.bucket, held_bytes, 1), making:
            digest, part, seal = sha256(), None, None
            if incoming.parts:
                for one in incoming.parts:
                    await making.write(one, source, digest, incoming.storage_class)
            else:
                part = await self._whole(incoming, new, source, digest)
                seal = part.seal
            with IdsGivenBack(services, None if part is None else part.reserved):
                if digest.hexdigest() != incoming.sha256:
                    raise ContentDiffers(key=incoming.key.decode("utf-8"), part="sha256")
                for one in incoming.annotations:
                    await making.write(one, source, md5(usedforsecurity=False), "STANDARD")
                version = _version(new, incoming, seal)
                return await self._place(incoming, version, part, making.done())

    def _opened(self) -> OpenBucket:
        """The bucket as it is at this moment. Raises: BucketNotThere, RowCorrupt."""
        opened = bucket_of(self._services, self._tenant, self._bucket.name)
        if opened.bucket.bucket_id != self._bucket.bucket_id:
            raise BucketNotThere(bucket=self._bucket.name[:64])
        return opened

    def _is_held(self, opened: OpenBucket, incoming: Incoming) -> bool:
        """Whether the version is there. Raises: VersionConflict, RowCorrupt."""
        bucket = opened.bucket.bucket_id
        rows = (
            keyspace.current_row(bucket, incoming.key),
            keyspace.noncurrent_row(bucket, incoming.key, incoming.sequence),
        )
        for row_key, value in zip(rows, self._services.log.read(rows), strict=True):
            if value is None:
                continue
            held = open_version(self._services.records, row_key, value).version
            if held.sequence == incoming.sequence:
                _check_same(held, incoming)
                return True
        return False

    def _choice(self, incoming: Incoming) -> Choice:
        chosen = incoming.attributes.encryption
        if chosen is None or chosen.kind == AES256:
            return PLAIN
        if chosen.kind != CUSTOMER:
            return Choice(chosen)
        key = self._keys.get(incoming.customer_key_md5)
        if key is None:
            raise CustomerKeyNeeded(key=incoming.key.decode("utf-8"))
        return Choice(chosen, key)

    async def _whole(
        self, incoming: Incoming, new: NewObject, source: Source, digest: _Hash
    ) -> SealedPart:
        """The bytes of a version that was put whole."""
        told = incoming.checksum
        body = Slice(source, incoming.content_bytes, digest)
        algorithm = None if told is None else told.algorithm
        part = await store_part(self._services, new.name, body, algorithm, incoming.storage_class)
        with_checksum = told is not None and told.type == "FULL_OBJECT"
        if with_checksum and part.checksum != told:
            raise ContentDiffers(key=incoming.key.decode("utf-8"), part="checksum")
        return part

    def _marker(self, target: Target, incoming: Incoming) -> Version:
        bucket, env = target.opened.bucket, self._services.env
        return Version(
            version_id=incoming.version_id,
            object_uuid=ObjectUuid(env.random_bytes(UUID_BYTES)),
            sequence=incoming.sequence,
            created_at_ms=incoming.created_at_ms,
            content_bytes=0,
            etag="",
            is_delete_marker=True,
            storage_class="STANDARD",
            headers=(),
            user_metadata=(),
            tags=incoming.tags,
            checksum=None,
            wrapped_dek=b"",
            key_epoch=bucket.key_epoch,
            owner=bucket.tenant,
            seal=None,
            attributes=_attributes(incoming, None),
        )

    async def _place(
        self, incoming: Incoming, version: Version, part: SealedPart | None, also: Parting
    ) -> Outcome:
        """Give it its row. Raises: VersionConflict, ConditionalRequestConflict, from the log."""
        services = self._services

        async def attempt() -> Outcome:
            opened = self._opened()
            row_key = keyspace.current_row(opened.bucket.bucket_id, incoming.key)
            target = Target(opened, incoming.key, row_key, Action.PUT_OBJECT)
            value = services.log.read((row_key,))[0]
            current = None if value is None else open_version(services.records, row_key, value)
            if self._is_held(opened, incoming):
                return Outcome.HELD
            change = _placing(services, target, current, version, part, also)
            await services.log.commit_change(change)
            return Outcome.INSTALLED

        bucket = self._opened().bucket.bucket_id
        row_key = keyspace.current_row(bucket, incoming.key)
        return await until_committed(services, row_key, attempt)


def _check_same(held: Version, incoming: Incoming) -> None:
    """Raises: VersionConflict."""
    is_same = (
        held.version_id == incoming.version_id
        and held.is_delete_marker == incoming.is_delete_marker
        and held.content_bytes == incoming.content_bytes
        and held.etag == incoming.etag
        and held.created_at_ms == incoming.created_at_ms
    )
    if not is_same:
        raise VersionConflict(key=incoming.key.decode("utf-8"))


def _version(new: NewObject, incoming: Incoming, seal: PartSeal | None) -> Version:
    return Version(
        version_id=incoming.version_id,
        object_uuid=new.name.uuid,
        sequence=incoming.sequence,
        created_at_ms=incoming.created_at_ms,
        content_bytes=incoming.content_bytes,
        etag=incoming.etag,
        is_delete_marker=False,
        storage_class=incoming.storage_class,
        headers=incoming.headers,
        user_metadata=incoming.user_metadata,
        tags=incoming.tags,
        checksum=incoming.checksum,
        wrapped_dek=new.wrapped_dek,
        key_epoch=new.key_epoch,
        owner=new.name.tenant,
        seal=seal,
        part_runs=part_runs((part.number, part.plain_bytes) for part in incoming.parts),
        attributes=_attributes(incoming, new),
    )


def _attributes(incoming: Incoming, new: NewObject | None) -> Attributes:
    return replace(
        incoming.attributes,
        noncurrent_since_ms=incoming.noncurrent_since_ms,
        encryption=None if new is None else new.encryption,
        annotations=len(incoming.annotations),
    )


def _placing(
    services: Services,
    target: Target,
    current: StoredVersion | None,
    version: Version,
    part: SealedPart | None,
    also: Parting,
) -> Change:
    """The change that puts a version where it belongs. Raises: VersionConflict."""
    version = rewrapped_version(services, target.opened.bucket, target.key, version)
    found = insertion(services, target, current, version)
    if found is None:
        raise VersionConflict(key=target.key.decode("utf-8"))
    records, nonces, row_key, placed = services.records, services.nonces, *found[:2]
    gone = found.gone
    change = stored_change(
        services,
        target.opened,
        row_key,
        part,
        lambda at: seal_version(records, nonces, row_key, placed, at),
        (*checks_of(target, current), *gone.checks, *also.checks),
        (*gone.writes, *also.writes),
    )
    return replace(change, stripes=change.stripes + gone.stripes + also.stripes)


def customer_keys_by_md5(keys: Sequence[bytes]) -> dict[str, bytes]:
    """Clients' own keys by what S3 calls their MD5."""
    return {customer_key_md5(key): key for key in keys}
