"""What is told of a request once it is answered: counters, the log of its bucket, meter and rates,
the journal, the access log.

Not for what any of them keeps. Nobody waits for it, and a failure changes no answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.metrics import S3Metrics
from gateway.objects.context import Services
from gateway.objects.target import OpenBucket
from gateway.s3 import journaling, limits_on_requests
from gateway.s3.access_log import AccessLog, AccessRecord
from gateway.s3.log_records import log_request
from gateway.s3.responses import Reply
from storaged.base.errors import StorageError

if TYPE_CHECKING:
    from gateway.s3.connections import Exchange


def tell(
    exchange: Exchange,
    reply: Reply,
    *,
    services: Services,
    metrics: S3Metrics,
    host_id: str,
    access_log: AccessLog | None,
) -> None:
    """Tell everybody who counts or remembers requests."""
    latency_s = services.env.monotonic_s() - exchange.began_s
    bytes_in = 0 if exchange.body is None else exchange.body.content_bytes
    metrics.operation(exchange.operation).count(
        latency_s=latency_s, bytes_in=bytes_in, bytes_out=exchange.bytes_out, code=reply.code
    )
    opened = _opened(services, exchange.bucket)
    if opened is not None and reply.code != "NoSuchBucket":
        log_request(services, exchange, reply, opened, host_id=host_id, latency_s=latency_s)
    limits_on_requests.count(services, exchange, reply, opened, bytes_in)
    if (journal := services.journal) is not None:
        journaling.after(journal, services, exchange, reply, opened, bytes_in)
    if access_log is None:
        return
    access_log.add(
        AccessRecord(
            at_ms=services.env.now_ms(),
            request_id=exchange.request_id,
            remote=exchange.peer,
            access_key_id=exchange.access_key_id,
            operation=exchange.operation,
            method=exchange.message.method,
            bucket=exchange.bucket,
            key=exchange.key,
            status=reply.status,
            code=reply.code,
            bytes_in=bytes_in,
            bytes_out=exchange.bytes_out,
            latency_s=latency_s,
            user_agent=exchange.headers.get("user-agent", ""),
        )
    )


def _opened(services: Services, bucket: str) -> OpenBucket | None:
    """The bucket that a request was about; None: there is none, or its row cannot be read, of which
    whoever asks for it is told.
    """
    try:
        return services.buckets.find(bucket) if bucket else None
    except StorageError:
        return None
