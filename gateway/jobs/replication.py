"""Job `replication`: puts versions and delete markers into buckets of other endpoints, in the order
in which each key has changed, and writes down how it went.

What is there already with the same content, headers and tags is not put again: so work that is done
twice does no harm. Every request says that it makes a replica, which is not replicated further, so
two buckets that replicate to each other come to rest. A target that cannot be
reached is held back, longer each time; what a target refuses is marked FAILED.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, Protocol
from urllib.parse import quote_plus

from gateway.commit.change import Change
from gateway.limits import ANNOTATIONS_MAX
from gateway.meta import buckets as bucket_rows
from gateway.meta import keyspace
from gateway.meta.queues import Queued
from gateway.model.action import Action
from gateway.model.errors import NoSuchAnnotation
from gateway.model.names import BucketId
from gateway.model.version import Version
from gateway.objects.access_request import ROOT_USER
from gateway.objects.annotation_reads import get_annotation, list_annotations
from gateway.objects.context import Context, Principal, Services
from gateway.objects.get import get_object, head_object
from gateway.objects.log_delivery import queues_of
from gateway.objects.replicas import COMPLETED, FAILED
from gateway.objects.rewriting import rewrite_version
from gateway.objects.values import GetOptions, ObjectHead, ReadBody
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

PAGE_ROWS = 64
KEYS_AT_ONCE = 8
IDLE_S = 0.5
HELD_PASS_S = 5.0
HOLD_FIRST_S, HOLD_MAX_S = 1.0, 300.0
REPLICATION_S = 3600.0  # of one object
MD5_HEX_CHARACTERS = 32
_FINAL = frozenset({Kind.INVALID, Kind.DENIED})


class TargetRefused(StorageError):
    """The target does not take the replica."""

    kind = Kind.DENIED


class TargetUnavailable(StorageError):
    """The target cannot be reached, or not now."""

    kind = Kind.UNAVAILABLE


class RemoteHead(NamedTuple):
    """What the target has under a key; `headers` by lower-case name."""

    etag: str
    length: int
    headers: Mapping[str, str]


class ReplicaTarget(Protocol):
    """A bucket elsewhere. Every verb raises TargetRefused or TargetUnavailable."""

    async def head(self, key: str) -> RemoteHead | None:
        """The current object; None: there is none."""
        ...

    async def tags(self, key: str) -> frozenset[tuple[str, str]]:
        """The tags of the current object."""
        ...

    async def put(
        self, key: str, headers: Mapping[str, str], length: int, body: AsyncIterator[bytes]
    ) -> None:
        """Put an object."""
        ...

    async def create_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """Begin an object of parts; the upload's id."""
        ...

    async def put_part(
        self, key: str, upload_id: str, number: int, length: int, body: AsyncIterator[bytes]
    ) -> str:
        """Put a part; its ETag."""
        ...

    async def complete(self, key: str, upload_id: str, etags: list[str]) -> None:
        """End an object of parts, whose numbers are 1, 2, …"""
        ...

    async def abort(self, key: str, upload_id: str) -> None:
        """Give an upload up."""
        ...

    async def delete(self, key: str) -> None:
        """Delete an object; succeeds when there is none."""
        ...

    async def put_annotation(self, key: str, etag: str, name: str, content: bytes) -> None:
        """Attach a text to the current object, if that has this ETag."""
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...


class Replicator:
    """One page of rows a step, over and over."""

    name = "replication"

    def __init__(self, services: Services, targets: Mapping[str, ReplicaTarget]) -> None:
        self._services = services
        self._targets = targets
        self._after: bytes | None = None
        self._held: dict[str, tuple[float, float]] = {}  # until, next pause
        self._blocked: set[tuple[BucketId, str]] = set()  # keys that wait for the next pass
        self._seen = self._took = 0
        self._waiting = self._done = self._failed = 0

    async def step(self) -> float:
        """Replicate one page."""
        page = queues_of(self._services).page(keyspace.REPLICA, self._after, limit=PAGE_ROWS)
        by_key: dict[tuple[BucketId, str], list[Queued]] = {}
        for row in page:
            by_key.setdefault((row.bucket, row.document["key"]), []).append(row)
        gate = asyncio.Semaphore(KEYS_AT_ONCE)

        async def in_order(rows: Sequence[Queued]) -> int:
            async with gate:
                return await self._in_order(rows)

        self._took += sum(await asyncio.gather(*map(in_order, by_key.values())))
        self._seen += len(page)
        if len(page) == PAGE_ROWS:
            self._after = page[-1].row_key
            return 0.0
        self._waiting = self._seen - self._took
        progressed = self._took
        self._after, self._seen, self._took = None, 0, 0
        self._blocked.clear()
        if self._waiting and not progressed:
            return min(HELD_PASS_S, self._soonest_s())
        return 0.0 if progressed else IDLE_S

    def _soonest_s(self) -> float:
        now_s = self._services.env.monotonic_s()
        waits = [until_s - now_s for until_s, _ in self._held.values()]
        return max(0.05, min(waits, default=IDLE_S))

    async def _in_order(self, rows: Sequence[Queued]) -> int:
        """Rows of one key, until one has to wait; how many are done with."""
        for count, row in enumerate(rows):
            place = (row.bucket, row.document["key"])
            if place in self._blocked or not await self._settle(row):
                self._blocked.add(place)
                return count
        return len(rows)

    async def _settle(self, row: Queued) -> bool:
        """Replicate a row's version and write down how it went; False: it has to wait."""
        name, env = row.document["destination"], self._services.env
        until_s, pause_s = self._held.get(name, (0.0, HOLD_FIRST_S))
        if until_s > env.monotonic_s():
            return False
        # The status of a version says nothing of what was attached to it later.
        status: str | None = None if "annotation" in row.document else FAILED
        target = self._targets.get(name)
        try:
            if target is not None:
                status = await self._replicate(row, target)
        except StorageError as error:
            logger.warning("%s is not replicated to %s: %s", row.document["key"], name, error)
            if error.kind not in _FINAL:
                self._held[name] = (env.monotonic_s() + pause_s, min(2 * pause_s, HOLD_MAX_S))
                return False
        else:
            self._held.pop(name, None)
        if status is not None:
            await self._write_status(row, status)
        batch = queues_of(self._services).changed(row.bucket, (row.row_key,))
        await self._services.log.commit_change(Change(batch=batch))
        self._done += status == COMPLETED
        self._failed += status == FAILED
        return True

    async def _replicate(self, row: Queued, target: ReplicaTarget) -> str | None:
        """The status to write down; None: the version has gone."""
        found = self._place(row)
        if found is None:
            return None
        ctx, bucket = found
        key = row.document["key"]
        if row.document["is_marker"]:
            if await target.head(key) is not None:
                await target.delete(key)
            return COMPLETED
        options = GetOptions(version_id=row.document["version_id"])
        try:
            head = (await head_object(ctx, bucket, key, options)).head
        except StorageError as error:
            if error.kind is Kind.NOT_FOUND:
                return None
            raise
        if "annotation" in row.document:
            await self._put_annotations(
                ctx, bucket, head, row, [row.document["annotation"]], target
            )
            return None
        if not await _is_there(head, target):
            headers = headers_of(head, row.document["storage_class"])
            if head.part_count:
                await self._put_parts(ctx, bucket, head, options, headers, target)
            else:
                await self._put_whole(ctx, bucket, head, options, headers, target)
        if "annotations" in row.document:
            page = await list_annotations(
                ctx,
                bucket,
                key,
                row.document["version_id"],
                prefix="",
                token=None,
                entries_max=ANNOTATIONS_MAX,
            )
            names = [name for name, _ in page.entries]
            await self._put_annotations(ctx, bucket, head, row, names, target)
        return COMPLETED

    async def _put_annotations(
        self,
        ctx: Context,
        bucket: str,
        head: ObjectHead,
        row: Queued,
        names: Sequence[str],
        target: ReplicaTarget,
    ) -> None:
        """Annotations of a version, to its replica. A target that takes none has the object all the
        same.
        """
        for name in names:
            try:
                found = await get_annotation(
                    ctx, bucket, head.key, name, row.document["version_id"]
                )
            except NoSuchAnnotation:
                continue  # taken away meanwhile
            try:
                await target.put_annotation(head.key, head.etag, name, found.content)
            except TargetRefused as error:
                logger.warning("annotation %s of %s is not replicated: %s", name, head.key, error)

    async def _put_whole(
        self,
        ctx: Context,
        bucket: str,
        head: ObjectHead,
        options: GetOptions,
        headers: dict[str, str],
        target: ReplicaTarget,
    ) -> None:
        reading = await get_object(ctx, bucket, head.key, options)
        assert reading.body is not None, "a GET has a body"
        if len(head.etag) == MD5_HEX_CHARACTERS and head.encryption is None:
            headers["content-md5"] = base64.b64encode(bytes.fromhex(head.etag)).decode()
        try:
            await target.put(head.key, headers, reading.length, _pieces(reading.body))
        finally:
            await reading.body.aclose()

    async def _put_parts(
        self,
        ctx: Context,
        bucket: str,
        head: ObjectHead,
        options: GetOptions,
        headers: dict[str, str],
        target: ReplicaTarget,
    ) -> None:
        """The same parts, so that the replica has the same ETag."""
        upload_id = await target.create_upload(head.key, headers)
        try:
            etags = []
            for number in range(1, head.part_count + 1):
                numbered = replace(options, part_number=number)
                reading = await get_object(ctx, bucket, head.key, numbered)
                assert reading.body is not None, "a GET has a body"
                try:
                    body = _pieces(reading.body)
                    etags.append(
                        await target.put_part(head.key, upload_id, number, reading.length, body)
                    )
                finally:
                    await reading.body.aclose()
            await target.complete(head.key, upload_id, etags)
        except StorageError:
            with suppress(StorageError):
                await target.abort(head.key, upload_id)
            raise

    async def _write_status(self, row: Queued, status: str) -> None:
        """Write the status into the version; one that has gone has none."""
        found = self._place(row)
        if found is None or row.document["is_marker"]:
            return
        ctx, bucket = found

        def change(version: Version) -> Version:
            return replace(version, attributes=replace(version.attributes, replication=status))

        version_id = row.document["version_id"]
        action = Action.PUT_OBJECT_VERSION_TAGGING
        try:
            await rewrite_version(ctx, bucket, row.document["key"], version_id, action, change)
        except StorageError as error:
            if error.kind not in (Kind.NOT_FOUND, *_FINAL):
                raise

    def _place(self, row: Queued) -> tuple[Context, str] | None:
        """A context of our own with the rights of the bucket's owner, and the bucket's name."""
        services = self._services
        stored = bucket_rows.read_bucket(services.log, services.records, row.bucket)
        if stored is None:
            return None
        bucket = stored.bucket
        owner = services.identities.of_tenant(bucket.tenant)
        principal = Principal(
            tenant=bucket.tenant, access_key_id="", owner_id=owner.owner_id, user=ROOT_USER
        )
        env = services.env
        deadline_s = env.monotonic_s() + REPLICATION_S
        return Context(services, principal, env.random_bytes(16), deadline_s), bucket.name

    def progress(self) -> Progress:
        """Versions replicated since the start."""
        detail = f"{self._waiting} waiting, {self._failed} failed"
        return Progress(done=self._done, total=0, unit="versions", detail=detail)


async def _is_there(head: ObjectHead, target: ReplicaTarget) -> bool:
    """Whether the target has the same content, headers and tags already."""
    there = await target.head(head.key)
    if there is None or (there.etag, there.length) != (head.etag, head.length):
        return False
    wanted = dict(head.metadata.headers)
    wanted |= {f"x-amz-meta-{name}": value for name, value in head.metadata.user}
    if any(there.headers.get(name) != value for name, value in wanted.items()):
        return False
    users = sum(name.startswith("x-amz-meta-") for name in there.headers)
    if users != len(head.metadata.user):
        return False
    tags = frozenset(head.metadata.tags)
    if there.headers.get("x-amz-tagging-count", "0") != str(len(tags)):
        return False
    return not tags or await target.tags(head.key) == tags


def headers_of(head: ObjectHead, storage_class: str) -> dict[str, str]:
    """Headers that make a replica like its source."""
    metadata = head.metadata
    headers = dict(metadata.headers)
    headers |= {f"x-amz-meta-{name}": value for name, value in metadata.user}
    if metadata.tags:
        pairs = [f"{quote_plus(name)}={quote_plus(value)}" for name, value in metadata.tags]
        headers["x-amz-tagging"] = "&".join(pairs)
    wanted = storage_class or metadata.storage_class
    if wanted != "STANDARD":
        headers["x-amz-storage-class"] = wanted
    return headers


async def _pieces(body: ReadBody) -> AsyncIterator[bytes]:
    async for piece in body:
        yield bytes(piece)
