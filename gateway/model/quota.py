"""Limits that an operator sets: for a tenant, a bucket, an access key, an address.

Not for holding anybody to them: `gateway.objects.quotas` and `gateway.objects.throttle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from storaged.base.errors import Kind, StorageError

LIMIT_MAX = (1 << 63) - 1
EVERY = "*"  # the access key or address that stands for each that has no limits of its own


class QuotaInvalid(StorageError):
    """The quota cannot be set."""

    kind = Kind.INVALID


class Subject(StrEnum):
    """Whom limits are for."""

    TENANT = "tenant"
    BUCKET = "bucket"
    ACCESS_KEY = "key"
    SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Limits; None: there is none.

    Args:
        stored_bytes: as `Usage.stored_bytes`.
        objects: versions that hold data, and uploads in progress.
        buckets: of a tenant.
        access_keys: of each user of a tenant.
        requests_per_s: mean rate; as many may come at once as in one second.
        in_bytes_per_s, out_bytes_per_s: of bodies; counted when a request has ended, so one request
            may exceed them and those after it wait.
    """

    stored_bytes: int | None = None
    objects: int | None = None
    buckets: int | None = None
    access_keys: int | None = None
    requests_per_s: int | None = None
    in_bytes_per_s: int | None = None
    out_bytes_per_s: int | None = None

    def limits(self) -> dict[str, int]:
        """Those that are set, by name."""
        return {name: limit for name, limit in asdict(self).items() if limit is not None}


NO_QUOTA = Quota()

_RATES = ("requests_per_s", "in_bytes_per_s", "out_bytes_per_s")
NAMES: Mapping[Subject, tuple[str, ...]] = {
    Subject.TENANT: ("stored_bytes", "objects", "buckets", "access_keys"),
    Subject.BUCKET: ("stored_bytes", "objects"),
    Subject.ACCESS_KEY: _RATES,
    Subject.SOURCE: _RATES,
}


def quota_of(subject: Subject, limits: Mapping[str, object]) -> Quota:
    """Limits by name as a value. Raises: QuotaInvalid."""
    held: dict[str, int] = {}
    for name, limit in limits.items():
        if name not in NAMES[subject]:
            raise QuotaInvalid(limit=str(name)[:64], subject=subject.value)
        least = 1 if name in _RATES else 0
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise QuotaInvalid(limit=name, reason="not a whole number")
        if not least <= limit <= LIMIT_MAX:
            raise QuotaInvalid(limit=name, reason=f"not between {least} and {LIMIT_MAX}")
        held[name] = limit
    return Quota(**held)
