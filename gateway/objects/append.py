"""PutObject at an offset: bytes are added to the end of an object, at one instant.

The added bytes are a part of their own, sealed under the object's DEK and uuid, and the object is a
multipart one from then on. What was there stays where it is: parts have rows already, and a body
that was put whole was sealed as part 1, so it gets the row of that part. Only a packed one goes
along sealed, once (`objects.carrying`).

Only in buckets that have never had versioning. Of two that add at the same offset one is refused:
the batch checks the row that was read.

Source: Amazon S3 API Reference, "PutObject"; User Guide, "Appending data to objects in directory
buckets".
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from gateway.commit.change import Change, Draft
from gateway.limits import OBJECT_BYTES_MAX
from gateway.meta import keyspace
from gateway.meta.kv import Batch, Check, Write
from gateway.meta.part_records import seal_part
from gateway.meta.records import StoredVersion, seal_version
from gateway.model import events
from gateway.model.action import Action
from gateway.model.appending import (
    FIRST_PART,
    appended_checksum,
    appended_etag,
    next_part_number,
    runs_with_part,
)
from gateway.model.attributes import AES256, CUSTOMER
from gateway.model.errors import (
    AccessDenied,
    ConditionalRequestConflict,
    EncryptionTypeMismatch,
    EntityTooLarge,
    InvalidRequest,
    InvalidWriteOffset,
    OperationAborted,
)
from gateway.model.layout import Layout
from gateway.model.version import Part, Version
from gateway.objects import outbox
from gateway.objects.access_rules import rules_of
from gateway.objects.acls import owned
from gateway.objects.bindings import WHOLE_OBJECT
from gateway.objects.body import Body, Buffer
from gateway.objects.carrying import Carried
from gateway.objects.context import Context
from gateway.objects.encryption import admit_read, choose
from gateway.objects.fetch import awaited_dek
from gateway.objects.history import written_head
from gateway.objects.named_keys import name_of
from gateway.objects.new_object import Content, made_object, new_version
from gateway.objects.parting import NOTHING, Parting, collect_object
from gateway.objects.publish import (
    TRIES_MAX,
    IdsGivenBack,
    checks_of,
    decide_and_commit,
    replacing,
    same_bucket,
    until_committed,
)
from gateway.objects.put import check_condition, check_put
from gateway.objects.regions import region_of
from gateway.objects.releases import releases_of
from gateway.objects.rename import check_unversioned
from gateway.objects.store import PartName, SealedPart, store_part
from gateway.objects.target import Target, open_target, reread_current
from gateway.objects.values import EncryptionAsked, Metadata, ObjectHead, PutOptions

assert FIRST_PART == WHOLE_OBJECT
COLLECTIONS_MAX = 64  # of up to 2,048 stripes each, before a new part may have their number


async def append_object(
    ctx: Context, bucket: str, key: str, body: Body, options: PutOptions, offset: int
) -> ObjectHead:
    """Add a body to the end of an object, or make one that is not there at offset 0.

    Raises:
        as put_object, for an object that is made.
        InvalidWriteOffset: the object does not end there, or not any more.
        InvalidRequest: an empty body; metadata, tags, ACL or another class for an object that is
            there; another checksum algorithm than the object's.
        EncryptionTypeMismatch, TooManyParts, EntityTooLarge.
        AccessDenied: with ACLs, the object is another's than the caller's.
        ConditionalRequestConflict: another object has taken its place meanwhile.
        NotImplementedInBucket: versioning was ever enabled there.
    """
    opened = open_target(ctx, bucket, key, Action.PUT_OBJECT)
    check_unversioned(opened, "Appending")
    if not body.length:
        raise InvalidRequest(
            message="Request body cannot be empty when 'write offset' is specified."
        )
    check_put(ctx, opened, body, options)
    target, current = reread_current(ctx, opened)
    if current is None:
        if offset:
            raise InvalidWriteOffset()
        with ctx.services.quotas.room(target.opened.bucket, body.length, 1):
            return await _created(ctx, target, body, options)
    metadata = owned(ctx, target, options.metadata)
    _check_given(target, metadata, current.version)
    _check_offset(current.version, offset, body.length)
    name = await _part_name(ctx, target, current.version, options.encryption)
    algorithm = _algorithm(current.version, options.checksum_algorithm)
    storage_class = current.version.storage_class
    with ctx.services.quotas.room(target.opened.bucket, body.length, 0):
        part = await store_part(ctx.services, name, body, algorithm, storage_class)
        appending = _Appending(ctx, target, name, part, options, offset)
        with IdsGivenBack(ctx.services, part.reserved):
            return await until_committed(ctx.services, target.row_key, appending.attempt)


async def _created(ctx: Context, opened: Target, body: Body, options: PutOptions) -> ObjectHead:
    """As put_object, where nothing is there."""
    services = ctx.services
    metadata = owned(ctx, opened, options.metadata)
    choice = await choose(ctx, opened.opened, options.encryption)
    new = await made_object(services, opened, choice)
    part = await store_part(
        services, new.name, body, options.checksum_algorithm, metadata.storage_class
    )
    content = Content(part.seal.plain_bytes, part.etag, part.checksum, part.seal)
    version = new_version(new, content, metadata, None, services.env.now_ms())

    def decide(target: Target, current: StoredVersion | None) -> Change:
        same_bucket(target, new.bucket)
        check_unversioned(target, "Appending")
        check_condition(ctx, target, options.conditions, current)
        if current is not None:
            raise InvalidWriteOffset()
        return replacing(services, target, None, version, part, NOTHING)

    with IdsGivenBack(services, part.reserved):
        target = await decide_and_commit(ctx, opened, decide)
    return written_head(target, version)


def _check_given(target: Target, metadata: Metadata, version: Version) -> None:
    """What a write may say of an object that is there, and who may. Raises InvalidRequest,
    AccessDenied.
    """
    storage_class = metadata.storage_class
    changes_class = storage_class not in ("STANDARD", version.storage_class)
    if metadata.user or metadata.tags or metadata.attributes.acl or changes_class:
        raise InvalidRequest(
            message="Cannot specify both a write offset value and user-defined object metadata for "
            "existing objects."
        )
    is_others = metadata.attributes.owner_id != version.attributes.owner_id
    if is_others and rules_of(target.opened).has_acls:
        raise AccessDenied()


def _check_offset(version: Version, offset: int, added_bytes: int) -> None:
    """Raises InvalidWriteOffset, EntityTooLarge."""
    if version.content_bytes != offset:
        raise InvalidWriteOffset()
    if offset + added_bytes > OBJECT_BYTES_MAX:
        raise EntityTooLarge(proposed_bytes=offset + added_bytes, max_bytes=OBJECT_BYTES_MAX)


def _algorithm(version: Version, asked: str | None) -> str | None:
    """The checksum of the added part. Raises InvalidRequest."""
    if version.checksum is None:
        return asked
    wanted = version.checksum.algorithm
    if asked is not None and asked != wanted:
        raise InvalidRequest(
            message=f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()}, "
            f"actual checksum Type: {asked.lower()}."
        )
    return wanted


async def _part_name(
    ctx: Context, target: Target, version: Version, asked: EncryptionAsked | None
) -> PartName:
    """What the added part is sealed as, if the request says the object's own encryption or none.

    Raises: EncryptionTypeMismatch, and as choose and admit_read.
    """
    held = version.attributes.encryption
    kind = AES256 if held is None else held.kind
    customer = None if asked is None else asked.customer
    if asked is not None:
        await choose(ctx, target.opened, asked)
        key_id = "" if held is None else held.key_id
        is_other_key = asked.key_id is not None and name_of(asked.key_id) != name_of(key_id)
        if asked.kind not in (None, kind) or is_other_key:
            raise EncryptionTypeMismatch()
    if (customer is not None) != (kind == CUSTOMER):
        raise EncryptionTypeMismatch()
    key = admit_read(ctx, version, customer)
    dek = await awaited_dek(ctx.services, target.bucket_id, target.key, version, key)
    region = region_of(ctx.services, target.opened.bucket)
    return PartName(version.owner, version.object_uuid, next_part_number(version), dek, region)


class _Found(NamedTuple):
    """The object at one instant, and the version as it will be."""

    target: Target
    held: StoredVersion
    version: Version


class _Appending:
    """A sealed part on its way to the end of its object."""

    def __init__(
        self,
        ctx: Context,
        opened: Target,
        name: PartName,
        part: SealedPart,
        options: PutOptions,
        offset: int,
    ) -> None:
        self._ctx = ctx
        self._services = ctx.services
        self._opened = opened
        self._name = name
        self._part = part
        self._options = options
        self._offset = offset
        self._carried = Carried(ctx.services)

    async def attempt(self) -> ObjectHead:
        """Raises: BatchConflict, and as append_object."""
        await self._tidied()
        for _ in range(TRIES_MAX):
            found = self._decide()
            if self._name.number == FIRST_PART:
                change = self._refilling(found)
            elif self._carried.lacks(found.held.layout):
                await self._carried.fetch(found.held.layout)
                continue
            else:
                change = self._adding(found)
            await self._services.log.commit_change(change)
            # A checksum of the whole would tell who may only write what was there before.
            return replace(written_head(found.target, found.version), checksum=None)
        raise ConditionalRequestConflict()

    def _decide(self) -> _Found:
        """What is there, if it is still the object that the part was sealed for."""
        target, current = reread_current(self._ctx, self._opened)
        same_bucket(target, self._opened.bucket_id)
        check_unversioned(target, "Appending")
        check_condition(self._ctx, target, self._options.conditions, current)
        if current is None:
            raise ConditionalRequestConflict()
        version = current.version
        _check_offset(version, self._offset, self._part.seal.plain_bytes)
        if version.object_uuid != self._name.uuid:
            raise ConditionalRequestConflict()
        return _Found(target, current, self._appended(version))

    def _appended(self, version: Version) -> Version:
        part, number = self._part, self._name.number
        added_bytes = part.seal.plain_bytes
        dated = replace(
            version,
            sequence=version.sequence + 1,
            created_at_ms=max(self._services.env.now_ms(), version.created_at_ms + 1),
            content_bytes=version.content_bytes + added_bytes,
        )
        if number == FIRST_PART:
            checksum = None if version.checksum is None else part.checksum
            return replace(dated, etag=part.etag, checksum=checksum, seal=part.seal)
        checksum = appended_checksum(
            version.checksum, version.content_bytes, part.checksum, added_bytes
        )
        return replace(
            dated,
            etag=appended_etag(version.etag, part.etag, version.part_count + 1),
            checksum=checksum,
            seal=None,
            part_runs=runs_with_part(version, number, added_bytes),
        )

    async def _tidied(self) -> None:
        """Parts that an upload has left out are gone: one of them may have had the new number, and
        who takes them away would take any part that the upload did not name. The row that names
        them came with the object, so there will be none later.

        Raises: OperationAborted.
        """
        services, bucket, uuid = self._services, self._opened.bucket_id, self._name.uuid
        garbage = keyspace.garbage_row(bucket, uuid)
        for _ in range(COLLECTIONS_MAX):
            if services.log.read((garbage,))[0] is None:
                return
            await collect_object(services, bucket, uuid)
        raise OperationAborted()

    def _refilling(self, found: _Found) -> Change:
        """An empty object that was put whole gets its bytes."""
        target, held, version = found
        assert held.layout is not None, "an object that was put whole lies somewhere"
        gone = Parting((), tuple(releases_of(held.layout)), ())
        return replacing(self._services, target, held, version, self._part, gone)

    def _adding(self, found: _Found) -> Change:
        services, (target, held, version) = self._services, found
        bucket, uuid, part = target.bucket_id, self._name.uuid, self._part
        version, told = outbox.created(services, target, version, events.CREATED_PUT)
        rows = _PartRows(self._ctx, target, version)
        checks = [
            *checks_of(target, held),
            Check(keyspace.garbage_row(bucket, uuid), None),
        ]
        stripes = part.creates
        if held.layout is not None:
            seal, before = held.version.seal, held.version
            assert seal is not None, "a layout comes with its seal"
            whole = Part(
                number=FIRST_PART,
                seal=seal,
                etag=before.etag,
                checksum=before.checksum,
                created_at_ms=before.created_at_ms,
            )
            bodies = self._carried.bodies_of(held.layout)
            if bodies:
                stripes += tuple(releases_of(held.layout))
            rows.add(whole, bodies, held.layout)
        added = Part(
            number=self._name.number,
            seal=part.seal,
            etag=part.etag,
            checksum=part.checksum,
            created_at_ms=version.created_at_ms,
        )
        rows.add(added, () if part.body is None else (part.body,), part.layout)
        row = Write(
            target.row_key,
            seal_version(services.records, services.nonces, target.row_key, version, None),
        )
        batch = Batch(
            partition=bucket,
            request_id=services.env.random_bytes(16),
            checks=(*checks, *rows.checks),
            writes=(row, *rows.writes, *told),
        )
        return Change(
            batch=batch,
            bodies=tuple(rows.bodies),
            drafts=tuple(rows.drafts),
            stripes=stripes,
            reserved=part.reserved,
        )


class _PartRows:
    """Rows of parts that an object has not had before, and the bodies that go with them."""

    def __init__(self, ctx: Context, target: Target, version: Version) -> None:
        self._services = ctx.services
        self._bucket = target.bucket_id
        self._version = version
        self.bodies: list[Buffer] = []
        self.drafts: list[Draft] = []
        self.writes: list[Write] = []
        self.checks: list[Check] = []

    def add(self, part: Part, bodies: tuple[Buffer, ...], layout: Layout | None) -> None:
        """A part that lies there already, or whose one body is to be placed."""
        services, epoch = self._services, self._version.key_epoch
        row_key = keyspace.part_row(self._bucket, self._version.object_uuid, part.number)

        def sealed(at: Layout) -> bytes:
            return seal_part(services.records, services.nonces, row_key, part, at, key_epoch=epoch)

        self.checks.append(Check(row_key, None))
        if bodies:
            self.drafts.append(Draft(row_key, len(self.bodies), sealed))
            self.bodies += bodies
        else:
            assert layout is not None, "what is not placed with the commit lies somewhere"
            self.writes.append(Write(row_key, sealed(layout)))
