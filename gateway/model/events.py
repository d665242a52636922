"""Events of a bucket, and which of its notification rules want one. Pure.

A rule's filter is a prefix and a suffix of the key.

Source: Amazon S3 User Guide, "Supported event types", "Configuring notifications with object key
name filtering".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.model.errors import InvalidArgument

CREATED_PUT, CREATED_POST = "s3:ObjectCreated:Put", "s3:ObjectCreated:Post"
CREATED_COPY = "s3:ObjectCreated:Copy"
CREATED_UPLOAD = "s3:ObjectCreated:CompleteMultipartUpload"
REMOVED, REMOVED_MARKER = "s3:ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated"
EXPIRED, EXPIRED_MARKER = (
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
)
TAGGED, UNTAGGED, ACL_PUT = "s3:ObjectTagging:Put", "s3:ObjectTagging:Delete", "s3:ObjectAcl:Put"
ANNOTATED, UNANNOTATED = "s3:ObjectAnnotation:Put", "s3:ObjectAnnotation:Delete"
REPLICATION_FAILED = "s3:Replication:OperationFailedReplication"

ALL_EVENTS = frozenset(
    {
        "s3:ReducedRedundancyLostObject",
        "s3:ObjectCreated:*",
        CREATED_PUT,
        CREATED_POST,
        CREATED_COPY,
        CREATED_UPLOAD,
        "s3:ObjectRemoved:*",
        REMOVED,
        REMOVED_MARKER,
        "s3:ObjectRestore:*",
        "s3:ObjectRestore:Post",
        "s3:ObjectRestore:Completed",
        "s3:ObjectRestore:Delete",
        "s3:Replication:*",
        REPLICATION_FAILED,
        "s3:Replication:OperationNotTracked",
        "s3:Replication:OperationMissedThreshold",
        "s3:Replication:OperationReplicatedAfterThreshold",
        "s3:LifecycleTransition",
        "s3:IntelligentTiering",
        "s3:LifecycleExpiration:*",
        EXPIRED,
        EXPIRED_MARKER,
        "s3:ObjectTagging:*",
        TAGGED,
        UNTAGGED,
        "s3:ObjectAnnotation:*",
        ANNOTATED,
        UNANNOTATED,
        ACL_PUT,
    }
)


class Rule(NamedTuple):
    """Who wants to be told of what. `arn`: the destination as it was given."""

    rule_id: str
    arn: str
    events: frozenset[str]
    prefix: str
    suffix: str

    @property
    def destination(self) -> str:
        """Name of the destination among those that are configured: the last part of its ARN."""
        return self.arn.rpartition(":")[2]

    def wants(self, event: str, key: str) -> bool:
        """Whether it is about this event of this key."""
        if not (key.startswith(self.prefix) and key.endswith(self.suffix)):
            return False
        return event in self.events or f"{event.rpartition(':')[0]}:*" in self.events


def rules_of(document: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules of a document, as `check` has admitted it."""
    return tuple(
        Rule(
            rule["id"],
            rule["arn"],
            frozenset(rule["events"]),
            rule.get("prefix", ""),
            rule.get("suffix", ""),
        )
        for rule in document["rules"]
    )


def check(rules: Sequence[Rule]) -> None:
    """Refuse rules that S3 refuses. Raises: InvalidArgument."""
    for rule in rules:
        if not rule.events <= ALL_EVENTS or not rule.events:
            raise InvalidArgument(message="The event is not supported for notifications")
    if len({rule.rule_id for rule in rules}) != len(rules):
        raise InvalidArgument(message="Same ID used for multiple configurations.")
    for index, rule in enumerate(rules):
        for other in rules[index + 1 :]:
            if _share(rule.events, other.events) and _may_meet(rule, other):
                raise InvalidArgument(
                    message="Configurations overlap. Configurations on the same bucket cannot "
                    "share a common event type."
                )


def _share(some: Iterable[str], others: Iterable[str]) -> bool:
    return any(
        event == other
        or (event.endswith("*") and other.startswith(event[:-1]))
        or (other.endswith("*") and event.startswith(other[:-1]))
        for event in some
        for other in others
    )


def _may_meet(rule: Rule, other: Rule) -> bool:
    """Whether a key may fit both."""
    prefixes = rule.prefix.startswith(other.prefix) or other.prefix.startswith(rule.prefix)
    suffixes = rule.suffix.endswith(other.suffix) or other.suffix.endswith(rule.suffix)
    return prefixes and suffixes
