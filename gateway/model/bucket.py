"""A bucket: its identity and the settings that the data path looks at.

Not for policies, lifecycle rules or other documents attached to a bucket.

Source: Amazon S3 API Reference, "CreateBucket"; docs/data-layout.md, "Buckets".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.model.names import BucketId, BucketName, TenantId

DEFAULT_LOCATION = ""


class Versioning(StrEnum):
    """Versioning state; once enabled it never goes back to OFF."""

    OFF = "off"
    ENABLED = "enabled"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket.

    Args:
        bucket_id: random, never reused: a bucket made again under the same name is another one.
        location: set of datacenters its objects may lie in; DEFAULT_LOCATION = the cluster's
            default.
        geometry_class: name of the class (datacenters, geometry, WORM or not) its stripes belong
            to.
        key_epoch: newest epoch of its bucket key: what is sealed from here on uses it.
    """

    bucket_id: BucketId
    name: BucketName
    tenant: TenantId
    created_at_ms: int
    location: str
    versioning: Versioning
    object_lock: bool
    geometry_class: str
    key_epoch: int
