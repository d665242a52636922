"""A bucket: its identity and the settings that the data path looks at.

Not for what a document attached to a bucket means (policy, lifecycle rules, …): only for which of
them lie in the bucket's own row.

Source: Amazon S3 API Reference, "CreateBucket"; docs/data-layout.md, "Buckets".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.model.names import BucketId, BucketName, TenantId

DEFAULT_LOCATION = ""

# Documents that requests for objects need; they are read with the bucket itself. All others have
# rows of their own, and are read when they are asked for.
HOT_DOCUMENTS = frozenset(
    {"acl", "encryption", "lock", "ownership", "payer", "policy", "public_access"}
)


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
        documents: what the data path looks at, by the names in HOT_DOCUMENTS.
        cold: names of the documents that have rows of their own.
        named_turns: how often a named key of its tenant was rotated; what is written where that is
            not 0 goes under the newest epoch of the named key that it has.
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
    documents: Mapping[str, Any] = field(default_factory=dict, hash=False)
    cold: frozenset[str] = frozenset()
    named_turns: int = 0
