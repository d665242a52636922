"""Annotations of a copy: those of its source, sealed again for the copy.

They are written before the copy has a version, a change for each, for a thousand of them are more
than one change may hold. A garbage row says meanwhile that nobody names them; the batch that makes
the version drops it. So after a crash, or when the copy comes to nothing, the job `garbage` takes
them away, and a copy is never seen with some of its annotations. Every one of them checks that row,
which that job changes first: none comes late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType

from gateway.commit.change import Change
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.annotations import StoredAnnotation
from gateway.meta.kv import Batch, BatchConflict, Check, Exists, Write, revision_of
from gateway.model.action import Action
from gateway.model.annotations import DEFAULT_CHECKSUM, PART_NUMBER
from gateway.model.attributes import Encryption
from gateway.model.errors import OperationAborted
from gateway.model.names import BucketId
from gateway.model.version import Version
from gateway.objects import access
from gateway.objects.annotating import check_no_customer_key
from gateway.objects.annotation_changes import annotation_of, change_with
from gateway.objects.annotation_reads import annotations_of, whole_content
from gateway.objects.context import Context, Services
from gateway.objects.encryption import admit_read
from gateway.objects.fetch import awaited_dek
from gateway.objects.log_delivery import TextBody
from gateway.objects.new_object import NewObject
from gateway.objects.parting import NOTHING, Parting, part_later
from gateway.objects.publish import IdsGivenBack
from gateway.objects.rewriting import found_version
from gateway.objects.store import store_part
from gateway.objects.target import Target, open_target, reread_current
from gateway.objects.values import CopySource, Metadata, ObjectHead

COPIED_AT_ONCE = 8  # so at most 8 MiB of them are in memory


class SourceAnnotations:
    """Annotations of the source of a copy, as they were at one instant.

    A read is under way until `close`, so that their stripes stay.
    """

    def __init__(
        self, services: Services, version: Version, dek: bytes, held: list[StoredAnnotation]
    ) -> None:
        self.version = version
        self.held = held
        self._services = services
        self._dek = dek
        self._ticket = services.reads.begin(services.env.monotonic_s())

    async def content(self, one: StoredAnnotation) -> bytes:
        """The bytes of one of them. Raises: as fetch.open_body."""
        return await whole_content(self._services, self.version, self._dek, one.held)

    def close(self) -> None:
        """Let go of them. Idempotent."""
        self._services.reads.end(self._ticket)


async def open_annotations(
    ctx: Context,
    source: CopySource,
    head: ObjectHead,
    target: Target,
    encryption: Encryption | None,
) -> SourceAnnotations | None:
    """The annotations that a copy brings along; None when its source has none.

    Args:
        head: of the source, as it is being copied.
        encryption: of the copy.

    Raises: AccessDenied (to read them, or to write them at the target), InvalidRequest (the copy
        will be under a client's own key), OperationAborted (the source has changed meanwhile).
    """
    if not head.metadata.attributes.annotations:
        return None
    wanted = source.version_id
    action = (
        Action.GET_OBJECT_ANNOTATION if wanted is None else Action.GET_OBJECT_VERSION_ANNOTATION
    )
    asking, services = ctx.about(wanted), ctx.services
    opened = open_target(asking, source.bucket, source.key, action)
    access.check(ctx, target.opened, Action.PUT_OBJECT_ANNOTATION, target.key)
    check_no_customer_key(encryption)
    place, current = reread_current(asking, opened)
    version = found_version(services, place, current, wanted, "GET").stored.version
    if (version.etag, version.created_at_ms) != (head.etag, head.modified_at_ms):
        raise OperationAborted(bucket=source.bucket)
    admit_read(asking, version, None)
    dek = await awaited_dek(services, place.bucket_id, place.key, version)
    held = annotations_of(services, place.bucket_id, version)
    return SourceAnnotations(services, version, dek, held)


class AnnotationsInTheMaking:
    """Guards the annotations of a copy from the job `garbage` while the block runs."""

    def __init__(self, services: Services, target: Target, new: NewObject) -> None:
        self._services = services
        self._target = target
        self._new = new
        self._bucket: BucketId = target.bucket_id
        self._count = 0

    def __enter__(self) -> AnnotationsInTheMaking:
        self._services.in_the_making.add(self._new.name.uuid)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._services.in_the_making.discard(self._new.name.uuid)

    def counted(self, metadata: Metadata) -> Metadata:
        """What the copy will be stored with, once `write` has returned."""
        if not self._count:
            return metadata
        attributes = replace(metadata.attributes, annotations=self._count)
        return replace(metadata, attributes=attributes)

    async def write(
        self, source: SourceAnnotations | None, algorithm: str | None, storage_class: str
    ) -> Parting:
        """Write the annotations of a source; what the batch that makes the version has to do.

        Args:
            algorithm: of their checksums; None: each keeps its own.

        Raises: OperationAborted (the bucket is gone), and what reading and storing raise.
        """
        if source is None or not source.held:
            return NOTHING
        uuid = self._new.name.uuid
        later = part_later(
            self._services, self._bucket, uuid, (), with_annotations=True, is_open=True
        )
        (garbage,) = later.writes
        assert garbage.value is not None, "a garbage row is set"
        is_open = Exists(self._target.opened.row_key)
        await self._commit(Change(batch=self._batch((is_open,), (garbage,))))
        unchanged = Check(garbage.key, revision_of(garbage.value))
        checks = (is_open, unchanged)
        for at in range(0, len(source.held), COPIED_AT_ONCE):
            outcomes = await asyncio.gather(
                *(
                    self._write_one(source, one, algorithm, storage_class, checks)
                    for one in source.held[at : at + COPIED_AT_ONCE]
                ),
                return_exceptions=True,
            )
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome
        self._count = len(source.held)
        return Parting((Write(garbage.key, None),), (), (unchanged,))

    async def _write_one(
        self,
        source: SourceAnnotations,
        one: StoredAnnotation,
        algorithm: str | None,
        storage_class: str,
        checks: tuple[Exists | Check, ...],
    ) -> None:
        services, sealing, kept = self._services, self._new.name, one.held.part.checksum
        content = await source.content(one)
        wanted = algorithm or (DEFAULT_CHECKSUM if kept is None else kept.algorithm)
        name = sealing._replace(number=PART_NUMBER)
        part = await store_part(services, name, TextBody(content), wanted, storage_class)
        row_key = keyspace.annotation_row(self._bucket, sealing.uuid, one.name)
        held = annotation_of(services, part)

        async def attempt() -> None:
            bucket = bucket_rows.read_bucket(services.log, services.records, self._bucket)
            if bucket is None:
                raise OperationAborted(bucket=self._target.opened.bucket.name)
            # Sealed under the epoch that the bucket's key has at this instant: who rotates it would
            # else miss the row.
            is_same = Check(self._target.opened.row_key, bucket.revision)
            change = change_with(
                services,
                self._bucket,
                row_key,
                (*checks, is_same, Check(row_key, None)),
                (),
                held,
                part,
                bucket.bucket.key_epoch,
            )
            await services.log.commit_change(change)

        with IdsGivenBack(services, part.reserved):
            try:
                await attempt()
            except BatchConflict:
                await self._commit_again(attempt)

    def _batch(self, checks: tuple[Exists, ...], writes: tuple[Write, ...]) -> Batch:
        return Batch(
            partition=self._bucket,
            request_id=self._services.env.random_bytes(16),
            checks=checks,
            writes=writes,
        )

    async def _commit_again(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Once more: settings of the bucket have changed, or the copy has been given up."""
        try:
            await attempt()
        except BatchConflict as error:
            raise OperationAborted(bucket=self._target.opened.bucket.name) from error

    async def _commit(self, change: Change) -> None:
        try:
            await self._services.log.commit_change(change)
        except BatchConflict as error:
            raise OperationAborted(bucket=self._target.opened.bucket.name) from error
