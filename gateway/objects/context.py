"""What a use case gets: who asks, until when, and the stores of this process.

Not for deciding anything. `Services` is made once by the composition root, a `Context` per request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.objects.credentials import Credentials
    from storaged.base.env import Env


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated caller.

    Args:
        tenant: 16-byte id of the tenant the caller belongs to.
        owner_id: what S3 answers as Owner/ID.
    """

    tenant: bytes
    access_key_id: str
    owner_id: str


@dataclass(slots=True, kw_only=True)
class Services:
    """Everything that lives as long as the process; fields are documented where they are made.

    `region` is what the endpoint signs for and what a bucket without a location constraint is in;
    `locations` are the location constraints CreateBucket accepts beside "".
    """

    env: Env
    credentials: Credentials
    region: str
    locations: frozenset[str]


@dataclass(slots=True)
class Context:
    """One request.

    Args:
        principal: None for an anonymous request.
        request_id: 16 random bytes; also what a commit is repeated by.
        deadline_s: monotonic time after which work for the request is pointless.
    """

    services: Services
    principal: Principal | None
    request_id: bytes
    deadline_s: float
