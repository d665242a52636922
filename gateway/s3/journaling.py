"""Which requests are in the journal, before they act or after they were answered.

Not for how events are kept (`gateway.journal`). An act changes rights, retention, configuration or
encryption: its event is durable before the operation begins, else the request is refused; its
outcome follows. Objects written, deleted and read are accesses, recorded after the answer as far as
the configuration says, and no request waits for them.

An event goes to the log of the tenant whose bucket it is about; without a bucket, to the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.journal.journal import Accesses, Journal
from gateway.journal.store import JournalUnavailable
from gateway.objects.context import Services
from gateway.objects.target import OpenBucket
from gateway.s3 import routes, tokens
from gateway.s3.actions import Operation
from gateway.s3.errors import S3Error
from gateway.s3.responses import Reply
from storaged.base.errors import StorageError

if TYPE_CHECKING:
    from gateway.s3.connections import Exchange

BYPASS = "x-amz-bypass-governance-retention"
DECLARED_SHA256 = "x-amz-content-sha256"
COPY_SOURCE = "x-amz-copy-source"
RENAME_SOURCE = "x-amz-rename-source"
REFUSED = (
    "The journal cannot be written, and this request has to be recorded before it takes effect."
)
ACCESS_REFUSED = "The journal has not been writable for a while, and accesses have to be recorded."

_ACT_NAMES = ("CREATE_BUCKET", "DELETE_BUCKET", "PUT_BUCKET", "UPDATE_BUCKET")
ACTS: frozenset[str] = frozenset(
    operation.value for operation in Operation if operation.name.startswith(_ACT_NAMES)
) | {
    Operation.CREATE_SESSION.value,
    Operation.DELETE_PUBLIC_ACCESS_BLOCK.value,
    Operation.PUT_OBJECT_ACL.value,
    Operation.PUT_OBJECT_LEGAL_HOLD.value,
    Operation.PUT_OBJECT_LOCK_CONFIGURATION.value,
    Operation.PUT_OBJECT_RETENTION.value,
    Operation.PUT_PUBLIC_ACCESS_BLOCK.value,
    Operation.UPDATE_OBJECT_ENCRYPTION.value,
}
WRITES: frozenset[str] = frozenset(
    {
        Operation.ABORT_MULTIPART_UPLOAD.value,
        Operation.COMPLETE_MULTIPART_UPLOAD.value,
        Operation.COPY_OBJECT.value,
        Operation.CREATE_MULTIPART_UPLOAD.value,
        Operation.DELETE_OBJECT.value,
        Operation.DELETE_OBJECT_ANNOTATION.value,
        Operation.DELETE_OBJECT_TAGGING.value,
        Operation.DELETE_OBJECTS.value,
        Operation.POST_OBJECT.value,
        Operation.PUT_OBJECT.value,
        Operation.PUT_OBJECT_ANNOTATION.value,
        Operation.PUT_OBJECT_TAGGING.value,
        Operation.RENAME_OBJECT.value,
        Operation.RESTORE_OBJECT.value,
        Operation.UPLOAD_PART.value,
        Operation.UPLOAD_PART_COPY.value,
    }
)
_REMOVALS = frozenset({Operation.DELETE_OBJECT.value, Operation.DELETE_OBJECTS.value})
_MAYBE_ACTS = ACTS | _REMOVALS
_RENAME = Operation.RENAME_OBJECT.value
_WITH_SOURCE = frozenset({Operation.COPY_OBJECT.value, Operation.UPLOAD_PART_COPY.value, _RENAME})
SOME, ALL = Accesses.WRITES, Accesses.ALL
# What a write says of the rights and the retention of what it makes.
_RIGHTS_OF_A_WRITE = (
    ("acl", "x-amz-acl"),
    ("grant_all", "x-amz-grant-full-control"),
    ("grant_read", "x-amz-grant-read"),
    ("grant_read_acl", "x-amz-grant-read-acp"),
    ("grant_write_acl", "x-amz-grant-write-acp"),
    ("lock", "x-amz-object-lock-mode"),
    ("lock_until", "x-amz-object-lock-retain-until-date"),
    ("hold", "x-amz-object-lock-legal-hold"),
)
_RIGHTS_HEADERS = frozenset(header for _, header in _RIGHTS_OF_A_WRITE)
_NOTHING_DONE = "Unknown"  # the request was refused before anybody knew what it was


def is_act(exchange: Exchange) -> bool:
    """Whether a request changes rights, retention, configuration or encryption; a deletion that
    passes over a retention is one.
    """
    operation = exchange.operation
    return operation in ACTS or (operation in _REMOVALS and BYPASS in exchange.headers)


def log_of(services: Services, exchange: Exchange, bucket: str) -> str:
    """The log that an event about a bucket, or about none, belongs to."""
    try:
        opened = services.buckets.find(bucket) if bucket else None
    except StorageError:
        opened = None
    return _log(exchange, opened)


def _log(exchange: Exchange, opened: OpenBucket | None) -> str:
    tenant = exchange.tenant if opened is None else opened.bucket.tenant
    return tenant.hex() if tenant else CLUSTER


async def before(journal: Journal, services: Services, exchange: Exchange) -> None:
    """Record an act. Raises: S3Error, ServiceUnavailable, when it cannot be recorded; SlowDown."""
    if exchange.operation not in _MAYBE_ACTS or not is_act(exchange):
        is_troubled = journal.failure or journal.damaged
        if is_troubled and _is_recorded(journal, exchange.operation):
            try:
                journal.check_accesses(log_of(services, exchange, exchange.bucket))
            except JournalUnavailable as error:
                raise S3Error("ServiceUnavailable", ACCESS_REFUSED) from error
        return
    services.refused_acts.admit(_caller(exchange))
    body = _body(exchange)
    declared = exchange.headers.get(DECLARED_SHA256, "")
    if len(declared) == 64:
        body["sha256"] = declared  # the policy, the rules …: what was set can be shown later
    log = log_of(services, exchange, exchange.bucket)
    try:
        await journal.record(log, _event(services, exchange, Phase.INTENT, body))
    except JournalUnavailable as error:
        raise S3Error("ServiceUnavailable", REFUSED) from error


async def may_issue(services: Services, exchange: Exchange, reply: Reply) -> bool:
    """Record the session in an answer, if one is, before its secret leaves; False: it must not."""
    journal = services.journal
    if not reply.issued or journal is None:
        return True
    body = _body(exchange)
    body.update(reply.issued)
    try:
        await journal.record(_log(exchange, None), _event(services, exchange, Phase.INTENT, body))
    except JournalUnavailable:
        return False
    return True


def after(
    journal: Journal,
    services: Services,
    exchange: Exchange,
    reply: Reply,
    opened: OpenBucket | None,
    bytes_in: int,
) -> None:
    """Take note of what was answered; costs no wait. `opened`: the bucket it was about."""
    operation, phase = exchange.operation, Phase.ACCESS
    if operation in _MAYBE_ACTS and is_act(exchange):
        phase = Phase.OUTCOME
        if 400 <= reply.status < 500:
            services.refused_acts.charge(_caller(exchange))
    elif operation == tokens.OPERATION and exchange.access_key_id:
        phase = Phase.OUTCOME  # a session was asked for by somebody who is known
    elif operation == _NOTHING_DONE or not _is_recorded(journal, operation):
        return
    body = _body(exchange)
    body["status"] = reply.status
    if operation in WRITES:
        headers = exchange.headers
        if not _RIGHTS_HEADERS.isdisjoint(headers):
            for name, header in _RIGHTS_OF_A_WRITE:
                if header in headers:
                    body[name] = headers[header]
    if reply.code:
        body["code"] = reply.code
    for name, text in reply.issued:
        body[name] = text  # whose the acts of the session are
    body["in"] = bytes_in
    body["out"] = exchange.bytes_out
    log = _log(exchange, opened)
    journal.note(log, _event(services, exchange, phase, body))
    for key, version_id, code in reply.deleted:
        gone = {**_body(exchange), "version": version_id, "code": code}
        event = _event(services, exchange, phase, gone)
        journal.note(log, event._replace(type="s3.DeleteObjects.one", key=key))
    if operation in _WITH_SOURCE:
        _note_source(journal, services, exchange, body)


def _caller(exchange: Exchange) -> str:
    return exchange.access_key_id or exchange.peer


def _is_recorded(journal: Journal, operation: str) -> bool:
    accesses = journal.accesses
    return accesses is ALL or (accesses is SOME and operation in WRITES)


def _note_source(
    journal: Journal, services: Services, exchange: Exchange, body: dict[str, Value]
) -> None:
    """A copy is a read of its source, for whoever owns that; a rename takes its source away."""
    version: str | None = None
    try:
        if exchange.operation == _RENAME:
            bucket = exchange.bucket
            key = routes.split_rename_source(exchange.headers.get(RENAME_SOURCE, ""), bucket)
        else:
            copied = exchange.headers.get(COPY_SOURCE, "")
            bucket, key, version = routes.split_copy_source(copied)
    except StorageError:
        return  # nothing that can be named was copied
    event = _event(services, exchange, Phase.ACCESS, {**body, "version": version or ""})
    named = event._replace(type=f"s3.{exchange.operation}.source", bucket=bucket, key=key)
    journal.note(log_of(services, exchange, bucket), named)


def _body(exchange: Exchange) -> dict[str, Value]:
    return {
        "request": exchange.request_id,
        "who": exchange.access_key_id or "anonymous",
        "from": exchange.peer,
    }


def _event(services: Services, exchange: Exchange, phase: Phase, body: dict[str, Value]) -> Event:
    return Event(
        services.env.now_ms(),
        f"s3.{exchange.operation}",
        phase,
        body,
        exchange.bucket,
        exchange.key,
    )
