"""RenameObject: an object gets another key of its bucket, at one instant.

The key is bound into the wrapped DEK and into the seal of the row, and into nothing else. So the
DEK is wrapped anew and the row is sealed anew, in one batch that takes the old row away; bodies in
stripes of their own and the parts of a multipart object, which the object uuid names, stay where
they are, and what is packed goes along sealed (`objects.carrying`).

Only in buckets that have never had versioning: a rename would leave a key's history behind, and no
key with a history may lose a version that is locked. Everything of the object is kept, its date
too.

Source: Amazon S3 API Reference, "RenameObject"; User Guide, "Renaming objects in directory
buckets".
"""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import NamedTuple

from gateway.commit.change import Change, Draft
from gateway.data.cipher import SALT_BYTES
from gateway.meta.kv import Batch, Write
from gateway.meta.records import StoredVersion, seal_version
from gateway.model import events
from gateway.model.action import Action
from gateway.model.attributes import rename_mark, same_token
from gateway.model.bucket import Versioning
from gateway.model.conditions import check_rename
from gateway.model.errors import (
    ConditionalRequestConflict,
    IdempotencyParameterMismatch,
    InvalidRequest,
    NoSuchKey,
    NotImplementedInBucket,
)
from gateway.model.version import Version
from gateway.objects import access, outbox
from gateway.objects.carrying import Carried
from gateway.objects.context import Context
from gateway.objects.encryption import Choice, admit_read
from gateway.objects.fetch import version_dek
from gateway.objects.new_object import DekPlace, wrapped_dek
from gateway.objects.parting import NOTHING, part_from_version
from gateway.objects.publish import TRIES_MAX, checks_of, until_committed
from gateway.objects.releases import releases_of
from gateway.objects.target import Target, open_target, reread_current
from gateway.objects.values import RenameOptions

SOURCE_CONDITIONS = "x-amz-rename-source-"


async def rename_object(
    ctx: Context, bucket: str, source_key: str, key: str, options: RenameOptions
) -> None:
    """Give an object another key; what had it is replaced.

    Succeeds without a commit when the object that has the key got it by a rename of the same token
    and parameters. The token is known for as long as that object has that key.

    Raises:
        AccessDenied: it takes the rights to read and delete the one, to write the other, and those
            of tags for an object that has any.
        NoSuchBucket, NoSuchKey (the source), KeyTooLong, InvalidArgument.
        InvalidRequest: onto itself; a key that ends with a slash; as admit_read for the client's
            own key. KmsKeyNotFound.
        PreconditionFailed, IdempotencyParameterMismatch, ConditionalRequestConflict.
        NotImplementedInBucket: versioning was ever enabled there.
        StripeUnreadable, and what the log raises.
    """
    source = open_target(ctx, bucket, source_key, Action.GET_OBJECT)
    target = open_target(ctx, bucket, key, Action.PUT_OBJECT)
    services = ctx.services
    renaming = _Renaming(ctx, source, target, options)
    # Always in this order: two renames that exchange their keys do not wait for each other.
    first, second = sorted((source.row_key, target.row_key))
    if first == second:
        # Is refused; in a queue it would wait behind itself.
        await renaming.attempt()
        return
    await until_committed(
        services, first, lambda: until_committed(services, second, renaming.attempt)
    )


class _Found(NamedTuple):
    """Both names at one instant, and the version as it will be."""

    source: Target
    target: Target
    held: StoredVersion
    current: StoredVersion | None
    version: Version


class _Renaming:
    """One rename, tried until it is committed or refused."""

    def __init__(
        self, ctx: Context, source: Target, target: Target, options: RenameOptions
    ) -> None:
        self._ctx = ctx
        self._services = ctx.services
        self._source = source
        self._target = target
        self._options = options
        self._carried = Carried(ctx.services)
        said = (*astuple(options.source), *astuple(options.destination))
        self._mark = rename_mark(
            options.client_token, source.key.decode(), *(repr(one) for one in said)
        )

    async def attempt(self) -> None:
        """Raises: BatchConflict, and as rename_object."""
        for _ in range(TRIES_MAX):
            found = self._decide()
            if found is None:
                return
            if not self._carried.lacks(found.held.layout):
                await self._services.log.commit_change(self._change(found))
                return
            await self._carried.fetch(found.held.layout)
        raise ConditionalRequestConflict()

    def _decide(self) -> _Found | None:
        """What is to be done; None: an earlier call has done it."""
        ctx, options = self._ctx, self._options
        source, held = reread_current(ctx, self._source)
        target, current = reread_current(ctx, self._target)
        _check_names(ctx, source, target)
        if self._is_done(current):
            source.admit(None if current is None else current.version)
            return None
        source.admit(None if held is None else held.version)
        if held is None:
            raise NoSuchKey(key=source.key.decode())
        version = held.version
        check_rename(
            options.source,
            etag=version.etag,
            modified_at_ms=version.created_at_ms,
            prefix=SOURCE_CONDITIONS,
        )
        self._check_destination(target, current)
        _check_tags(ctx, source, target, version)
        return _Found(source, target, held, current, self._renamed(source, target, held, current))

    def _is_done(self, current: StoredVersion | None) -> bool:
        if current is None or not same_token(self._mark, current.version.attributes.renamed):
            return False
        if current.version.attributes.renamed != self._mark:
            raise IdempotencyParameterMismatch()
        return True

    def _check_destination(self, target: Target, current: StoredVersion | None) -> None:
        """Conditions of what has the new key; to ask more than whether anything has it takes the
        right to read it.
        """
        wanted = self._options.destination
        asked = {wanted.if_match, wanted.if_none_match} - {None, access.ANY_ETAG}
        version = None if current is None else current.version
        if asked or wanted.if_modified_since_ms or wanted.if_unmodified_since_ms:
            judge = access.judge_of(self._ctx, target.opened, Action.GET_OBJECT, target.key)
            if judge is not None:
                judge.admit(version)
        if version is None:
            check_rename(wanted, etag=None, modified_at_ms=0)
        else:
            check_rename(wanted, etag=version.etag, modified_at_ms=version.created_at_ms)

    def _renamed(
        self, source: Target, target: Target, held: StoredVersion, current: StoredVersion | None
    ) -> Version:
        """The version under its new key."""
        services, version = self._services, held.version
        key_given = admit_read(self._ctx, version, self._options.customer_key)
        dek = version_dek(services, source.bucket_id, source.key, version, key_given)
        # A row of another key is a row that who rotates the bucket's key may be past.
        epoch = target.opened.bucket.key_epoch
        place = DekPlace(version.owner, target.bucket_id, target.key, version.object_uuid, epoch)
        salt = services.env.random_bytes(SALT_BYTES)
        choice = Choice(version.attributes.encryption, key_given)
        wrapped, chosen = wrapped_dek(services, place, dek, salt, choice)
        attributes = version.attributes
        if (chosen, self._mark) != (attributes.encryption, attributes.renamed):
            attributes = replace(attributes, encryption=chosen, renamed=self._mark)
        return replace(
            version,
            sequence=1 if current is None else current.version.sequence + 1,
            wrapped_dek=wrapped,
            key_epoch=epoch,
            attributes=attributes,
        )

    def _change(self, found: _Found) -> Change:
        services, (source, target, held, current, version) = self._services, found
        records, nonces, row_key = services.records, services.nonces, target.row_key
        gone = NOTHING
        if current is not None:
            gone = part_from_version(services, target.bucket_id, current)
        version, told = outbox.created(services, target, version, events.CREATED_COPY)
        old_key = source.key.decode()
        told += outbox.removed(services, self._ctx, source.opened, old_key, held.version)
        writes = (Write(source.row_key, None), *gone.writes, *told)
        bodies, stripes = self._carried.bodies_of(held.layout), gone.stripes
        drafts: tuple[Draft, ...] = ()
        if bodies:
            assert held.layout is not None, "a body lies somewhere"
            drafts = (
                Draft(row_key, 0, lambda at: seal_version(records, nonces, row_key, version, at)),
            )
            stripes = (*releases_of(held.layout), *stripes)
        else:
            value = seal_version(records, nonces, row_key, version, held.layout)
            writes = (Write(row_key, value), *writes)
        batch = Batch(
            partition=target.bucket_id,
            request_id=services.env.random_bytes(16),
            checks=(*checks_of(source, held), *checks_of(target, current), *gone.checks),
            writes=writes,
        )
        return Change(batch=batch, bodies=bodies, drafts=drafts, stripes=stripes)


def _check_names(ctx: Context, source: Target, target: Target) -> None:
    """What does not depend on the objects. Raises AccessDenied, NotImplementedInBucket,
    InvalidRequest.
    """
    access.check(ctx, source.opened, Action.DELETE_OBJECT, source.key)
    access.check_not_denied(ctx, target.opened, Action.RENAME_OBJECT, target.key)
    check_unversioned(target, "RenameObject")
    if source.key == target.key:
        raise InvalidRequest(
            message="This rename request is illegal because it is trying to rename an object to "
            "itself."
        )
    if source.key.endswith(b"/") or target.key.endswith(b"/"):
        raise InvalidRequest(message="Keys that end with a slash cannot be renamed.")


def check_unversioned(target: Target, what: str) -> None:
    """The bucket has never had versioning, nor then object lock. Raises NotImplementedInBucket."""
    bucket = target.opened.bucket
    if bucket.versioning is not Versioning.OFF or bucket.object_lock:
        raise NotImplementedInBucket(
            message=f"{what} is not possible in a bucket whose versioning is or was enabled."
        )


def _check_tags(ctx: Context, source: Target, target: Target, version: Version) -> None:
    """Tags go along, which takes the rights that a copy of them takes. Raises AccessDenied."""
    if not version.tags:
        return
    judge = access.judge_of(ctx, source.opened, Action.GET_OBJECT_TAGGING, source.key)
    if judge is not None:
        judge.admit(version)
    access.check(ctx, target.opened, Action.PUT_OBJECT_TAGGING, target.key)
