"""What is sent to make a replica like its source, the first time and after each change of it.

A replica gets content, headers, user metadata, tags, class, lock and annotations of its source. Of
an object that has been sent, only what has changed goes again: its tags and its lock, to the
version that the target has named; so also to one that is no longer the current one.

Not for which versions, in which order, nor for what is written down about them
(`gateway.jobs.replication`).

Source: Amazon S3 User Guide, "What does Amazon S3 replicate?", "Using Object Lock with
replication".
"""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import md5
from typing import NamedTuple
from urllib.parse import quote_plus

from gateway.jobs.replica_target import (
    RemoteHead,
    ReplicaTarget,
    TargetRefused,
)
from gateway.limits import ANNOTATIONS_MAX
from gateway.model.attributes import Attributes
from gateway.model.errors import NoSuchAnnotation
from gateway.objects.annotation_reads import get_annotation, list_annotations
from gateway.objects.context import Context
from gateway.objects.get import get_object
from gateway.objects.replicas import ANNOTATIONS, HOLD, RETENTION, TAGS
from gateway.objects.values import GetOptions, ObjectHead, ReadBody
from storaged.base.errors import StorageError

logger = logging.getLogger(__name__)

MD5_HEX_CHARACTERS = 32
LOCK_MODE, LOCK_UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
LOCK_HOLD = "x-amz-object-lock-legal-hold"


class Source(NamedTuple):
    """A version that is to be replicated.

    Args:
        ctx: with the rights of the bucket's owner.
        version_id: as clients are told it.
        storage_class: what its rule says; "" = its own.
        older_replica: id of the replica of the version before it; "" = none is known.
    """

    ctx: Context
    bucket: str
    head: ObjectHead
    version_id: str
    storage_class: str
    older_replica: str

    @property
    def options(self) -> GetOptions:
        """Of a read of this version."""
        return GetOptions(version_id=self.version_id)


async def send(source: Source, target: ReplicaTarget) -> str:
    """Make the replica, or make it like its source again; the id of its version, "" where the
    target has none.

    Raises: TargetRefused, TargetUnavailable, and what reading the source raises.
    """
    head, attributes = source.head, source.head.metadata.attributes
    if attributes.replica:
        there = await target.head(head.key, attributes.replica)
        if there is None:
            raise TargetRefused(reason="the replica has gone", replica=attributes.replica)
        await _send_changes(source, there, attributes.replica, target)
        return attributes.replica
    there = await target.head(head.key)
    has_content = there is not None and (there.etag, there.length) == (head.etag, head.length)
    if attributes.unsent:
        # It was replicated before ids of replicas were kept, or to a bucket without versions.
        if there is not None and has_content:
            await _send_changes(source, there, there.version_id, target)
            return there.version_id
        if attributes.noncurrent_since_ms:
            raise TargetRefused(reason="which version is the replica is not known")
    if there is not None and has_content and await _is_there(source, there, target):
        version_id = there.version_id
    else:
        version_id = await _put(source, target)
    if attributes.annotations:
        await send_annotations(source, await _annotation_names(source), target)
    return version_id


async def _put(source: Source, target: ReplicaTarget) -> str:
    now_ms = source.ctx.services.env.now_ms()
    headers = headers_of(source.head, source.storage_class, now_ms)
    if source.head.part_count:
        return await _put_parts(source, headers, target)
    return await _put_whole(source, headers, target)


async def _put_whole(source: Source, headers: dict[str, str], target: ReplicaTarget) -> str:
    head, options = source.head, source.options
    if len(head.etag) == MD5_HEX_CHARACTERS and head.encryption is None:
        headers["content-md5"] = base64.b64encode(bytes.fromhex(head.etag)).decode()
    elif has_lock(headers):
        headers["content-md5"] = await _md5_of(source, options)
    reading = await get_object(source.ctx, source.bucket, head.key, options)
    assert reading.body is not None, "a GET has a body"
    try:
        return await target.put(head.key, headers, reading.length, _pieces(reading.body))
    finally:
        await reading.body.aclose()


async def _put_parts(source: Source, headers: dict[str, str], target: ReplicaTarget) -> str:
    """The same parts, so that the replica has the same ETag."""
    ctx, bucket, head = source.ctx, source.bucket, source.head
    upload_id = await target.create_upload(head.key, headers)
    try:
        etags = []
        for number in range(1, head.part_count + 1):
            options = replace(source.options, part_number=number)
            digest = {}
            if has_lock(headers):
                digest["content-md5"] = await _md5_of(source, options)
            reading = await get_object(ctx, bucket, head.key, options)
            assert reading.body is not None, "a GET has a body"
            try:
                body = _pieces(reading.body)
                etags.append(
                    await target.put_part(head.key, upload_id, number, digest, reading.length, body)
                )
            finally:
                await reading.body.aclose()
        return await target.complete(head.key, upload_id, etags)
    except StorageError:
        with suppress(StorageError):
            await target.abort(head.key, upload_id)
        raise


async def _md5_of(source: Source, options: GetOptions) -> str:
    """Digest of a body that is read for it once more: what will be locked has to come with one."""
    digest = md5(usedforsecurity=False)
    reading = await get_object(source.ctx, source.bucket, source.head.key, options)
    assert reading.body is not None, "a GET has a body"
    try:
        async for piece in reading.body:
            digest.update(piece)
    finally:
        await reading.body.aclose()
    return base64.b64encode(digest.digest()).decode()


async def _send_changes(
    source: Source, there: RemoteHead, version_id: str, target: ReplicaTarget
) -> None:
    """What has changed of a version since its replica was made. What has not changed here is left
    as the target has it.
    """
    head, attributes = source.head, source.head.metadata.attributes
    unsent = attributes.unsent.split()
    if TAGS in unsent:
        await target.put_tags(head.key, version_id, frozenset(head.metadata.tags))
    if RETENTION in unsent:
        await _send_retention(source, there, version_id, target)
    if HOLD in unsent and attributes.legal_hold != (there.headers.get(LOCK_HOLD) == "ON"):
        await target.put_legal_hold(head.key, version_id, is_held=attributes.legal_hold)
    if ANNOTATIONS in unsent:
        await send_annotations(source, await _annotation_names(source), target)


async def _send_retention(
    source: Source, there: RemoteHead, version_id: str, target: ReplicaTarget
) -> None:
    now_ms = source.ctx.services.env.now_ms()
    attributes = source.head.metadata.attributes
    wanted = lock_headers_of(attributes, now_ms)
    if attributes.retention_mode and LOCK_MODE not in wanted:
        return  # it has ended, and no target takes one that has
    mode, until = wanted.get(LOCK_MODE, ""), wanted.get(LOCK_UNTIL, "")
    held_mode, held_until = there.headers.get(LOCK_MODE, ""), there.headers.get(LOCK_UNTIL, "")
    if (mode, _instant(until)) == (held_mode, _instant(held_until)):
        return
    is_shorter = bool(held_mode) and (mode != held_mode or _instant(until) < _instant(held_until))
    await target.put_retention(
        source.head.key, version_id, mode, until, bypass_governance=is_shorter
    )


async def _annotation_names(source: Source) -> list[str]:
    page = await list_annotations(
        source.ctx,
        source.bucket,
        source.head.key,
        source.version_id,
        prefix="",
        token=None,
        entries_max=ANNOTATIONS_MAX,
    )
    return [name for name, _ in page.entries]


async def send_annotations(source: Source, names: Sequence[str], target: ReplicaTarget) -> None:
    """Annotations of a version, to its replica. A target that takes none has the object all the
    same.
    """
    head = source.head
    for name in names:
        try:
            found = await get_annotation(
                source.ctx, source.bucket, head.key, name, source.version_id
            )
        except NoSuchAnnotation:
            continue  # taken away meanwhile
        try:
            await target.put_annotation(head.key, head.etag, name, found.content)
        except TargetRefused as error:
            logger.warning("annotation %s of %s is not replicated: %s", name, head.key, error)


async def _is_there(source: Source, there: RemoteHead, target: ReplicaTarget) -> bool:
    """Whether what has the same content is the replica already, from a try that was cut short: it
    is of no older version, and has the same headers, tags and lock.
    """
    head = source.head
    if source.older_replica and there.version_id == source.older_replica:
        return False
    wanted = dict(head.metadata.headers)
    wanted |= {f"x-amz-meta-{name}": value for name, value in head.metadata.user}
    if any(there.headers.get(name) != value for name, value in wanted.items()):
        return False
    users = sum(name.startswith("x-amz-meta-") for name in there.headers)
    if users != len(head.metadata.user):
        return False
    lock = lock_headers_of(head.metadata.attributes, source.ctx.services.env.now_ms())
    for name, value in lock.items():
        held = there.headers.get(name, "")
        if held != value and (name != LOCK_UNTIL or _instant(held) != _instant(value)):
            return False
    tags = frozenset(head.metadata.tags)
    if there.headers.get("x-amz-tagging-count", "0") != str(len(tags)):
        return False
    return not tags or await target.tags(head.key) == tags


def headers_of(head: ObjectHead, storage_class: str, now_ms: int) -> dict[str, str]:
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
    return headers | lock_headers_of(metadata.attributes, now_ms)


def lock_headers_of(attributes: Attributes, now_ms: int) -> dict[str, str]:
    """Headers of a write that ask for the lock of a version; a retention that has ended is none."""
    headers = {}
    if attributes.retention_mode and attributes.retain_until_ms > now_ms:
        until = datetime.fromtimestamp(attributes.retain_until_ms / 1000, UTC)
        headers[LOCK_MODE] = attributes.retention_mode
        headers[LOCK_UNTIL] = f"{until:%Y-%m-%dT%H:%M:%S}.{until.microsecond // 1000:03d}Z"
    if attributes.legal_hold:
        headers[LOCK_HOLD] = "ON"
    return headers


def has_lock(headers: dict[str, str]) -> bool:
    """Whether headers of a write ask for a lock."""
    return LOCK_MODE in headers or LOCK_HOLD in headers


def _instant(text: str) -> float:
    """Seconds since the epoch; 0 for what is no date."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return 0.0


async def _pieces(body: ReadBody) -> AsyncIterator[bytes]:
    async for piece in body:
        yield bytes(piece)
