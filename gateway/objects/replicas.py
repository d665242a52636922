"""Which new versions are to be replicated, and what their status is called.

Not for setting rules (`objects.replication`), nor for doing it (`gateway.jobs.replication`).

Source: Amazon S3 User Guide, "Replication configuration file elements", "Getting replication
status information".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from gateway.model.attributes import CUSTOMER
from gateway.model.bucket import Versioning
from gateway.model.version import Pairs, Version
from gateway.objects.bucket_documents import find_document
from gateway.objects.context import Services
from gateway.objects.target import OpenBucket

DOCUMENT = "replication"
COMPILED = "replication rules"
PENDING, COMPLETED, FAILED = "PENDING", "COMPLETED", "FAILED"
# What was replicated here is not replicated further; who replicates says so in this header.
REPLICA, STATUS_HEADER = "REPLICA", "x-amz-replication-status"
ARN = "arn:aws:s3:::"
# What of a version may change after it was replicated.
TAGS, RETENTION, HOLD, ANNOTATIONS = CHANGES = ("tags", "retention", "hold", "annotations")


class ReplicationRule(NamedTuple):
    """A rule that is enabled.

    Args:
        destination: name of a target of the gateway's configuration.
        tags: all of them must be on the object.
    """

    rule_id: str
    priority: int
    prefix: str
    tags: Pairs
    destination: str
    storage_class: str
    with_markers: bool

    def covers(self, key: str, version: Version) -> bool:
        """Whether the version is to be replicated by it."""
        if not key.startswith(self.prefix):
            return False
        if version.is_delete_marker:
            return self.with_markers and not self.tags
        return set(self.tags) <= set(version.tags)


def rule_for(
    services: Services, opened: OpenBucket, key: str, version: Version
) -> ReplicationRule | None:
    """The rule that a new version is replicated by; None: none, or it cannot be. Raises:
    RowCorrupt.
    """
    if opened.bucket.versioning is not Versioning.ENABLED:
        return None
    return rule_over(services, opened, key, version)


def rule_over(
    services: Services, opened: OpenBucket, key: str, version: Version
) -> ReplicationRule | None:
    """The rule that covers a version, new or not. Raises: RowCorrupt."""
    if DOCUMENT not in opened.bucket.cold:
        return None
    chosen = version.attributes.encryption
    if chosen is not None and chosen.kind == CUSTOMER:
        return None  # only its owner can open it
    for rule in rules_in_force(services, opened):
        if rule.covers(key, version):
            allowed = services.may_use(
                services.replication_targets, rule.destination, opened.bucket.tenant
            )
            return rule if allowed else None
    return None


def changes_between(held: Version, version: Version) -> frozenset[str]:
    """What of CHANGES differs, but for annotations, which have rows of their own."""
    before, after = held.attributes, version.attributes
    retained = (before.retention_mode, before.retain_until_ms)
    differs = {
        TAGS: set(held.tags) != set(version.tags),
        RETENTION: retained != (after.retention_mode, after.retain_until_ms),
        HOLD: before.legal_hold != after.legal_hold,
    }
    return frozenset(name for name, is_changed in differs.items() if is_changed)


def with_unsent(version: Version, changes: Iterable[str]) -> Version:
    """A version whose replica lacks these changes, beside what it lacked before."""
    attributes = version.attributes
    unsent = " ".join(sorted({*attributes.unsent.split(), *changes}))
    return replace(version, attributes=replace(attributes, replication=PENDING, unsent=unsent))


def rules_in_force(services: Services, opened: OpenBucket) -> tuple[ReplicationRule, ...]:
    """Enabled rules of an open bucket, most important first, compiled once. Raises: RowCorrupt."""
    if COMPILED not in opened.parsed:
        document = find_document(services, opened, DOCUMENT)
        opened.parsed[COMPILED] = () if document is None else rules_of(document)
    rules: tuple[ReplicationRule, ...] = opened.parsed[COMPILED]
    return rules


def rules_of(
    document: Mapping[str, Any], *, only_enabled: bool = True
) -> tuple[ReplicationRule, ...]:
    """Rules of a document, most important first."""
    found = [
        _rule(rule, index)
        for index, rule in enumerate(document["rules"])
        if rule["Status"] == "Enabled" or not only_enabled
    ]
    return tuple(sorted(found, key=lambda rule: -rule.priority))


def _rule(rule: Mapping[str, Any], index: int) -> ReplicationRule:
    chosen = rule.get("Filter", {})
    both = chosen.get("And", {})
    tags = both.get("Tag", [])
    if "Tag" in chosen:
        tags = [chosen["Tag"]]
    prefix = both.get("Prefix", chosen.get("Prefix", rule.get("Prefix", "")))
    markers = rule.get("DeleteMarkerReplication", {}).get("Status")
    # The first version of the configuration, without a filter, always replicates markers.
    with_markers = markers == "Enabled" or (markers is None and "Filter" not in rule)
    destination = rule["Destination"]
    return ReplicationRule(
        rule.get("ID", str(index)),
        int(rule.get("Priority", "0")),
        prefix,
        tuple((tag["Key"], tag["Value"]) for tag in tags),
        destination["Bucket"].removeprefix(ARN),
        destination.get("StorageClass", ""),
        with_markers,
    )
