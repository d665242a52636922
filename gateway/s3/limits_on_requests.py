"""Rates and metering of requests: who is too fast, and what an answered request counts for.

Not for the limits (`gateway.objects.throttle`) nor the meter (`gateway.objects.metering`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model.quota import Subject
from gateway.objects.context import Principal, Services
from gateway.objects.target import OpenBucket
from gateway.s3.responses import Reply

if TYPE_CHECKING:
    from gateway.s3.connections import Exchange


def admit_source(services: Services, exchange: Exchange) -> None:
    """Before the signature is looked at. Raises: SlowDown."""
    if services.throttle.is_set:
        services.throttle.admit(Subject.SOURCE, exchange.peer)


def admit_caller(services: Services, principal: Principal | None) -> None:
    """Once it is known who asks. Raises: SlowDown."""
    if services.throttle.is_set and principal is not None:
        services.throttle.admit(Subject.ACCESS_KEY, principal.access_key_id)


def count(
    services: Services,
    exchange: Exchange,
    reply: Reply,
    opened: OpenBucket | None,
    bytes_in: int,
) -> None:
    """A request has been answered."""
    bytes_out = exchange.bytes_out
    if services.throttle.is_set and (bytes_in or bytes_out):
        services.throttle.charge(Subject.SOURCE, exchange.peer, bytes_in, bytes_out)
        if exchange.access_key_id:
            key = exchange.access_key_id
            services.throttle.charge(Subject.ACCESS_KEY, key, bytes_in, bytes_out)
    meter = services.meter
    if meter is not None and opened is not None and reply.status < 400:
        meter.request(opened.bucket.bucket_id, exchange.operation, bytes_in, bytes_out)
