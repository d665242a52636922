"""What a change of an object leaves to be done: events to be told, versions to be replicated.

Rows of queues are written in the same batch as the change, so neither is lost nor told of what has
not happened. A queue that is full costs nobody a change: events are dropped and counted, versions
wait without a row (`replica_backlog`). A bucket without such a configuration pays one look at the
names of its documents.

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
from gateway.model.attributes import Attributes
from gateway.model.bucket import Versioning
from gateway.model.errors import AccessDenied
from gateway.model.names import ObjectKey, version_id_text
from gateway.model.version import Version
from gateway.objects import access, notices, replicas
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
    is_replica = _is_replica(target.ctx, opened, target.key)
    if is_replica:
        attributes = replace(version.attributes, replication=replicas.REPLICA)
        version = replace(version, attributes=attributes)
    if WATCHED.isdisjoint(opened.bucket.cold):
        return version, NOTHING
    key = target.key.decode("utf-8")
    writes: tuple[Write, ...] = ()
    # A marker of a lifecycle rule stays here: the destination has rules of its own.
    stays = is_replica or (target.ctx is None and version.is_delete_marker)
    rule = None if stays else replicas.rule_for(services, opened, key, version)
    if rule is not None:
        attributes = replace(version.attributes, replication=replicas.PENDING)
        version = replace(version, attributes=attributes)
        writes = (_replica_entry(services, opened, replica_document(rule, key, version)),)
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
    services: Services, ctx: Context, target: Target, held: Version, version: Version
) -> tuple[Version, tuple[Write, ...]]:
    """A version that gets other tags, another lock or ACL as it is to be stored, and the rows that
    go with it. Raises: RowCorrupt.
    """
    if WATCHED.isdisjoint(target.opened.bucket.cold):
        return version, NOTHING
    version, writes = _changed_replica(services, ctx, target, held, version)
    return version, (*writes, *_told_of_rewriting(services, ctx, target, version))


def _changed_replica(
    services: Services, ctx: Context, target: Target, held: Version, version: Version
) -> tuple[Version, tuple[Write, ...]]:
    """What was replicated already, or is about to be, is PENDING once more.

    A version without a replica that is known by its id, and that is not the current one, cannot be
    told from others at the destination: it stays as it is.
    """
    changes = replicas.changes_between(held, version)
    attributes = version.attributes
    is_pending = attributes.replication == replicas.PENDING
    if not changes or not (is_pending or attributes.replica or _may_be_current_there(attributes)):
        return version, NOTHING
    if attributes.replication == replicas.REPLICA or _is_replica(ctx, target.opened, target.key):
        return version, NOTHING
    key = target.key.decode("utf-8")
    rule = replicas.rule_over(services, target.opened, key, version)
    if rule is None:
        return version, NOTHING
    if attributes.replica or attributes.unsent or not is_pending:
        version = replicas.with_unsent(version, changes)
    document = replica_document(rule, key, version)
    return version, (_replica_entry(services, target.opened, document),)


def _may_be_current_there(attributes: Attributes) -> bool:
    return attributes.replication == replicas.COMPLETED and not attributes.noncurrent_since_ms


def _told_of_rewriting(
    services: Services, ctx: Context, target: Target, version: Version
) -> tuple[Write, ...]:
    if notices.DOCUMENT not in target.opened.bucket.cold:
        return NOTHING
    name = _REWRITES.get(target.action)
    if name is None or ctx.facts is NO_FACTS:
        return NOTHING
    key = target.key.decode("utf-8")
    return _told(services, target.opened, _happened(ctx, name, target.opened, key, version))


def annotated(
    services: Services, ctx: Context, target: Target, version: Version, name: str | None
) -> tuple[Version, tuple[Write, ...]]:
    """A version that gets an annotation as it is to be stored, and the rows that go with it; `name`
    None: one is taken away, which replicas are not told. Raises: RowCorrupt.
    """
    opened, key = target.opened, target.key.decode("utf-8")
    writes = _told_of_rewriting(services, ctx, target, version)
    attributes = version.attributes
    is_first = attributes.replication == replicas.PENDING and not attributes.unsent
    is_replicated = is_first or attributes.replica or _may_be_current_there(attributes)
    if name is None or not is_replicated or _is_replica(ctx, opened, target.key):
        return version, writes
    rule = replicas.rule_for(services, opened, key, version)
    if rule is None:
        return version, writes
    has_room = services.replica_backlog.room(opened.bucket.bucket_id)
    if not has_room and (attributes.replica or not is_first):
        version = replicas.with_unsent(version, (replicas.ANNOTATIONS,))
    document = {**replica_document(rule, key, version), "annotation": name}
    return version, (*writes, _replica_entry(services, opened, document))


def replica_document(
    rule: replicas.ReplicationRule, key: str, version: Version
) -> dict[str, object]:
    """What a row of the queue says of a version."""
    return {
        "key": key,
        "version_id": version_id_text(version.version_id),
        "is_marker": version.is_delete_marker,
        "destination": rule.destination,
        "storage_class": rule.storage_class,
    }


def _is_replica(ctx: Context | None, opened: OpenBucket, key: ObjectKey) -> bool:
    """Whether somebody of the bucket's account says so who may write replicas: no other writer is
    to keep anything back.
    """
    if ctx is None or replicas.STATUS_HEADER not in ctx.facts.headers:
        return False
    if ctx.principal is None or ctx.principal.tenant != opened.bucket.tenant:
        return False
    if ctx.facts.headers[replicas.STATUS_HEADER].upper() != replicas.REPLICA:
        return False
    try:
        access.check(ctx, opened, Action.REPLICATE_OBJECT, key)
    except AccessDenied:
        return False
    return True


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
            waiting.added += 1
            message = notices.message_of(services, opened.bucket, rule, happened, now_ms)
            document = {"destination": rule.destination, "message": message}
            writes.append(_entry(services, opened, keyspace.EVENT, document))
    return tuple(writes)


def _replica_entry(services: Services, opened: OpenBucket, document: Mapping[str, object]) -> Write:
    return services.replica_backlog.left(opened.bucket.bucket_id, document)


def _entry(
    services: Services, opened: OpenBucket, family: bytes, document: Mapping[str, object]
) -> Write:
    queues = Queues(services.log, services.records, services.nonces, services.env)
    return queues.entry(family, opened.bucket.bucket_id, document, services.env.now_ms())
