"""How the S3 endpoint behaves: what the composition root tells it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.s3.access_log import LineSink
from gateway.s3.body import BodyPace


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendConfig:
    """How the endpoint behaves.

    Args:
        regions: accepted in signatures; the first one is the endpoint's own.
        base_domains: `<bucket>.<base domain>` is virtual-host style.
        website_domains: `<bucket>.<website domain>` serves a bucket's website.
        requests_max: requests answered at once; beyond: SlowDown.
        large_bodies_max: of them, those with a body that does not ride in a commit stripe.
        connections_max: beyond, a connection is closed at once.
        keep_alive_s: idle time of a connection, and longest time for the head of a request.
        linger_s: how long an unread body is read and forgotten before the connection is closed.
        access_log: gets whole lines, now and then; None: no access log.
    """

    regions: tuple[str, ...]
    base_domains: tuple[str, ...] = ()
    website_domains: tuple[str, ...] = ()
    requests_max: int = 1024
    large_bodies_max: int = 256
    connections_max: int = 4096
    keep_alive_s: float = 75.0
    linger_s: float = 2.0
    pace: BodyPace = field(default_factory=BodyPace)
    access_log: LineSink | None = None
