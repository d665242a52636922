"""From an answered request to the records of the access logs of the buckets it was about.

Not for their format (`gateway.s3.server_log`). Only for buckets whose log is on.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gateway.objects.bucket_logging import DOCUMENT
from gateway.objects.context import Services
from gateway.objects.log_delivery import route_of
from gateway.objects.log_spool import LogRoute
from gateway.objects.target import OpenBucket
from gateway.s3 import routes
from gateway.s3.responses import Reply
from gateway.s3.server_log import (
    BATCH_DELETES,
    LogRecord,
    operation_names,
    record_line,
    source_operation,
)
from storaged.base.errors import StorageError

if TYPE_CHECKING:
    from gateway.s3.connections import Exchange

logger = logging.getLogger(__name__)

RENAME = "RenameObject"
WITH_SOURCE = frozenset({"CopyObject", "UploadPartCopy", RENAME})
# Names in a query, in lower case; a client may take any header for one of the query's.
_SECRETS = frozenset(
    {
        "signature",
        "x-amz-copy-source-server-side-encryption-customer-key",
        "x-amz-security-token",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-signature",
    }
)
_SENT_BODIES = frozenset({"PostObject", "PutObject", "UploadPart"})
_READS = frozenset({"GetObject", "HeadObject"})


def log_request(
    services: Services,
    exchange: Exchange,
    reply: Reply,
    opened: OpenBucket,
    *,
    host_id: str,
    latency_s: float,
) -> None:
    """Add records to the log of the bucket, and to that of the source of a copy or a rename, if
    they have one.
    """
    try:
        if DOCUMENT in opened.bucket.cold and (route := route_of(services, opened)) is not None:
            record = _record(services, route, exchange, reply, host_id, latency_s)
            _log_target(services, route, exchange, reply, record)
        if exchange.operation in WITH_SOURCE:
            _log_source(services, exchange, reply, host_id, latency_s)
    except StorageError:
        logger.warning("request %s is not in its bucket's log", exchange.request_id)


def _log_target(
    services: Services, route: LogRoute, exchange: Exchange, reply: Reply, record: LogRecord
) -> None:
    for name in operation_names(exchange.operation, exchange.message.method):
        services.log_spool.add(route, record_line(record._replace(operation=name)))
    for key, version_id, code in reply.deleted:
        gone = record._replace(
            key=key, version_id=version_id, code=code, request_line="", status=204, bytes_sent=0
        )
        for name in BATCH_DELETES:
            services.log_spool.add(route, record_line(gone._replace(operation=name)))


def _log_source(
    services: Services, exchange: Exchange, reply: Reply, host_id: str, latency_s: float
) -> None:
    try:
        bucket, key, version_id = _source(exchange)
    except StorageError:
        return  # nothing that can be named was copied
    route = _route(services, bucket)
    if route is None:
        return
    record = _record(services, route, exchange, reply, host_id, latency_s)
    name = source_operation(exchange.operation)
    record = record._replace(
        operation=name, key=key, version_id=version_id or "", bytes_sent=0, object_bytes=None
    )
    services.log_spool.add(route, record_line(record))


def _source(exchange: Exchange) -> tuple[str, str, str | None]:
    """(bucket, key, version id) of what was copied or renamed. Raises S3Error."""
    if exchange.operation == RENAME:
        named = exchange.headers.get("x-amz-rename-source", "")
        return exchange.bucket, routes.split_rename_source(named, exchange.bucket), None
    return routes.split_copy_source(exchange.headers.get("x-amz-copy-source", ""))


def _route(services: Services, bucket: str) -> LogRoute | None:
    opened = services.buckets.find(bucket) if bucket else None
    if opened is None or DOCUMENT not in opened.bucket.cold:
        return None
    return route_of(services, opened)


def _record(
    services: Services,
    route: LogRoute,
    exchange: Exchange,
    reply: Reply,
    host_id: str,
    latency_s: float,
) -> LogRecord:
    message, headers = exchange.message, exchange.headers
    answered = {name.lower(): value for name, value in reply.headers}
    total_ms = round(latency_s * 1000)
    signature, auth_type = _authentication(message.path, headers)
    tls, cipher = _tls(exchange)
    minor = 1 if message.version >= (1, 1) else 0
    return LogRecord(
        owner=route.owner,
        bucket=route.source,
        at_ms=services.env.now_ms() - total_ms,
        remote=exchange.peer,
        requester=exchange.owner_id,
        request_id=exchange.request_id,
        operation=exchange.operation,
        key=exchange.key,
        request_line=f"{message.method} {_without_secrets(message.path)} HTTP/1.{minor}",
        status=reply.status,
        code=reply.code,
        bytes_sent=exchange.bytes_out,
        object_bytes=_object_bytes(exchange, reply, answered),
        total_ms=total_ms,
        turnaround_ms=total_ms if reply.pieces is None else None,
        referrer=headers.get("referer", ""),
        user_agent=headers.get("user-agent", ""),
        version_id=answered.get("x-amz-version-id", ""),
        host_id=host_id,
        signature=signature,
        cipher=cipher,
        auth_type=auth_type,
        host=headers.get("host", ""),
        tls=tls,
    )


def _without_secrets(path: str) -> str:
    """The target, without what would let a reader of the log in, and without brackets."""
    target, mark, query = path.partition("?")
    kept = [
        pair for pair in query.split("&") if unquote(pair.partition("=")[0]).lower() not in _SECRETS
    ]
    return (target + mark + "&".join(kept)).replace("[", "%5B").replace("]", "%5D")


def _authentication(path: str, headers: Mapping[str, str]) -> tuple[str, str]:
    """(signature version, kind of authentication)."""
    query = path.partition("?")[2]
    stated = headers.get("authorization", "")
    if stated.startswith("AWS4-"):
        return "SigV4", "AuthHeader"
    if stated.startswith("AWS "):
        return "SigV2", "AuthHeader"
    if "X-Amz-Signature=" in query:
        return "SigV4", "QueryString"
    if "Signature=" in query and "AWSAccessKeyId=" in query:
        return "SigV2", "QueryString"
    return "", ""


def _tls(exchange: Exchange) -> tuple[str, str]:
    """(version, cipher), "" without TLS or when the connection is gone."""
    transport = exchange.protocol.transport
    secured = None if transport is None else transport.get_extra_info("ssl_object")
    if not isinstance(secured, ssl.SSLObject | ssl.SSLSocket):
        return "", ""
    cipher = secured.cipher()
    return secured.version() or "", cipher[0] if cipher else ""


def _object_bytes(exchange: Exchange, reply: Reply, answered: Mapping[str, str]) -> int | None:
    if exchange.operation in _SENT_BODIES and exchange.body is not None:
        return exchange.body.content_bytes
    if exchange.operation in _READS and reply.status < 300:
        total = answered.get("content-range", "").rpartition("/")[2]
        return int(total) if total.isdigit() else reply.length
    return None
