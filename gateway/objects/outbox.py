"""What a change of an object leaves to be done: events to be told, versions to be replicated.

Rows of queues are written in the same batch as the change, so neither is lost nor told of what has
not happened. A bucket without such a configuration pays one look at the names of its documents.

Not for doing it (`gateway.jobs.events`, `gateway.jobs.replication`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.meta import keyspace
from gateway.meta.kv import Write
from gateway.meta.queues import Queues
from gateway.model import events
from gateway.model.action import Action
from gateway.model.bucket import Versioning
from gateway.model.names import version_id_text
from gateway.model.version import Version
from gateway.objects import notices, replicas
from gateway.objects.context import NO_FACTS, Context, Services
from gateway.objects.notices import Happened
from gateway.objects.target import OpenBucket, Target

WATCHED = frozenset({notices.DOCUMENT, replicas.DOCUMENT})
EVENTS_MAX = 100_000  # rows; what comes beyond is not told
NOTHING: tuple[Write, ...] = ()
_REWRITES: dict[Action, str] = {
    Action.PUT_OBJECT_TAGGING: events.TAGGED,
    Action.PUT_OBJECT_VERSION_TAGGING: events.TAGGED,
    Action.DELETE_OBJECT_TAGGING: events.UNTAGGED,
    Action.DELETE_OBJECT_VERSION_TAGGING: events.UNTAGGED,
    Action.PUT_OBJECT_ANNOTATION: events.ANNOTATED,
    Action.PUT_OBJECT_VERSION_ANNOTATION: events.ANNOTATED,
    Action.DELETE_OBJECT_ANNOTATION: events.UNANNOTATED,
    Action.DELETE_OBJECT_VERSION_ANNOTATION: events.UNANNOTATED,
    Action.PUT_OBJECT_ACL: events.ACL_PUT,
    Action.PUT_OBJECT_VERSION_ACL: events.ACL_PUT,
}


def created(
    services: Services, target: Target, version: Version, event: str | None = None
) -> tuple[Version, tuple[Write, ...]]:
    """A version that is about to be the current one (a delete marker is one) as it is to be
    stored, and the rows that go with it. Raises: RowCorrupt.

    Args:
        event: what it is told as; None: as what the request and the version show.
    """
    opened = target.opened
    if WATCHED.isdisjoint(opened.bucket.cold):
        return version, NOTHING
    key = target.key.decode("utf-8")
    writes: tuple[Write, ...] = ()
    rule = replicas.rule_for(services, opened, key, version)
    if rule is not None and _is_replica(target.ctx, opened):
        attributes = replace(version.attributes, replication=replicas.REPLICA)
        version = replace(version, attributes=attributes)
    elif rule is not None:
        if not version.is_delete_marker:
            attributes = replace(version.attributes, replication=replicas.PENDING)
            version = replace(version, attributes=attributes)
        document = _replica_document(rule, key, version)
        if version.attributes.annotations:
            document["annotations"] = True
        writes = (_entry(services, opened, keyspace.REPLICA, document),)
    name = event or _creation(target.ctx, version)
    happened = _happened(target.ctx, name, opened, key, version)
    return version, (*writes, *_told(services, opened, happened))


def removed(
    services: Services, ctx: Context | None, opened: OpenBucket, key: str, version: Version
) -> tuple[Write, ...]:
    """Rows that go with a version that is taken away for good. Raises: RowCorrupt."""
    if notices.DOCUMENT not in opened.bucket.cold:
        return NOTHING
    name = events.EXPIRED if ctx is None else events.REMOVED
    return _told(services, opened, _happened(ctx, name, opened, key, version))


def rewritten(
    services: Services, ctx: Context, target: Target, version: Version
) -> tuple[Write, ...]:
    """Rows that go with a version that gets other tags, annotations or another ACL. Raises:
    RowCorrupt.
    """
    if notices.DOCUMENT not in target.opened.bucket.cold:
        return NOTHING
    name = _REWRITES.get(target.action)
    if name is None or ctx.facts is NO_FACTS:
        return NOTHING
    key = target.key.decode("utf-8")
    return _told(services, target.opened, _happened(ctx, name, target.opened, key, version))


def annotated(
    services: Services, ctx: Context, target: Target, version: Version, name: str | None
) -> tuple[Write, ...]:
    """Rows that go with a version that gets an annotation; `name` None: one is taken away, which
    replicas are not told. Raises: RowCorrupt.
    """
    opened, key = target.opened, target.key.decode("utf-8")
    writes = rewritten(services, ctx, target, version)
    if name is None or _is_replica(ctx, opened):
        return writes
    rule = replicas.rule_for(services, opened, key, version)
    if rule is None:
        return writes
    document = {**_replica_document(rule, key, version), "annotation": name}
    return (*writes, _entry(services, opened, keyspace.REPLICA, document))


def _replica_document(
    rule: replicas.ReplicationRule, key: str, version: Version
) -> dict[str, object]:
    return {
        "key": key,
        "version_id": version_id_text(version.version_id),
        "is_marker": version.is_delete_marker,
        "destination": rule.destination,
        "storage_class": rule.storage_class,
    }


def _is_replica(ctx: Context | None, opened: OpenBucket) -> bool:
    """Whether the bucket's own account says so: no other writer is to keep anything back."""
    if ctx is None or ctx.principal is None or ctx.principal.tenant != opened.bucket.tenant:
        return False
    return ctx.facts.headers.get(replicas.STATUS_HEADER, "").upper() == replicas.REPLICA


def _creation(ctx: Context | None, version: Version) -> str:
    if version.is_delete_marker:
        return events.EXPIRED_MARKER if ctx is None else events.REMOVED_MARKER
    if version.is_multipart:
        return events.CREATED_UPLOAD
    facts = NO_FACTS if ctx is None else ctx.facts
    if facts.is_form:
        return events.CREATED_POST
    if "x-amz-copy-source" in facts.headers:
        return events.CREATED_COPY
    return events.CREATED_PUT


def _happened(
    ctx: Context | None, name: str, opened: OpenBucket, key: str, version: Version
) -> Happened:
    return Happened(ctx, name, key, version, opened.bucket.versioning is not Versioning.OFF)


def _told(services: Services, opened: OpenBucket, happened: Happened) -> tuple[Write, ...]:
    if notices.DOCUMENT not in opened.bucket.cold:
        return NOTHING
    now_ms = services.env.now_ms()
    waiting = services.events_waiting
    writes: list[Write] = []
    for rule in notices.rules_in_force(services, opened):
        if rule.wants(happened.name, happened.key):
            # A rule may be older than the operator's word on who may use what it names.
            tenant = opened.bucket.tenant
            if not services.may_use(services.event_targets, rule.destination, tenant):
                continue
            if waiting.count >= EVENTS_MAX:
                waiting.dropped += 1
                continue
            waiting.count += 1
            message = notices.message_of(services, opened.bucket, rule, happened, now_ms)
            document = {"destination": rule.destination, "message": message}
            writes.append(_entry(services, opened, keyspace.EVENT, document))
    return tuple(writes)


def _entry(
    services: Services, opened: OpenBucket, family: bytes, document: Mapping[str, object]
) -> Write:
    queues = Queues(services.log, services.records, services.nonces, services.env)
    return queues.entry(family, opened.bucket.bucket_id, document, services.env.now_ms())
