"""Lifecycle rules of a bucket: set them, read them, and what they say of an object to come.

Not for doing what they say (`gateway.objects.lifecycle_acts`), nor for when.

Source: Amazon S3 API Reference, "PutBucketLifecycleConfiguration", "GetObject" (x-amz-expiration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from gateway.model.action import Action
from gateway.model.errors import NoSuchLifecycleConfiguration
from gateway.model.lifecycle import (
    ALL_CLASSES_128K,
    DAY_MS,
    Configuration,
    Expiration,
    Filter,
    Instant,
    NoncurrentTransition,
    Rule,
    Transition,
)
from gateway.model.lifecycle_checks import check_rules
from gateway.objects.bucket_config import Document, find_document, put_document, read_document
from gateway.objects.context import Context, Services
from gateway.objects.target import OpenBucket
from gateway.objects.values import ObjectHead

DOCUMENT = "lifecycle"
ID_BYTES = 16
_COMPILED = "lifecycle rules"  # in `OpenBucket.parsed`


def instant_of(services: Services) -> Instant:
    """This moment, with days as long as this process takes them."""
    return Instant(services.env.now_ms(), round(services.lifecycle_day_s * 1000))


def has_real_days(services: Services) -> bool:
    """False under the test profile, where what S3 rules of months and sizes makes no sense."""
    return round(services.lifecycle_day_s * 1000) == DAY_MS


async def put_lifecycle(
    ctx: Context, bucket: str, rules: Sequence[Rule], minimum: str | None
) -> str:
    """Set the rules of a bucket; those without an id get one.

    Args:
        minimum: as in `Configuration`; None: S3's default.

    Returns:
        the minimum that holds.

    Raises: AccessDenied, NoSuchBucket, InvalidRequest, InvalidArgument, InvalidTag,
        OperationAborted.
    """
    services = ctx.services
    check_rules(rules, has_least_days=has_real_days(services))
    named = [
        rule if rule.rule_id else replace(rule, rule_id=services.env.random_bytes(ID_BYTES).hex())
        for rule in rules
    ]
    chosen = minimum or ALL_CLASSES_128K
    document = {"rules": [_document_of(rule) for rule in named], "minimum": chosen}
    await put_document(ctx, bucket, DOCUMENT, document, Action.PUT_LIFECYCLE_CONFIGURATION)
    return chosen


def read_lifecycle(ctx: Context, bucket: str) -> Configuration:
    """The rules of a bucket.

    Raises: AccessDenied, NoSuchBucket, NoSuchLifecycleConfiguration.
    """
    held = read_document(ctx, bucket, DOCUMENT, Action.GET_LIFECYCLE_CONFIGURATION)
    if held is None:
        raise NoSuchLifecycleConfiguration(bucket=bucket)
    return _configuration_of(ctx.services, held)


async def delete_lifecycle(ctx: Context, bucket: str) -> None:
    """Drop the rules of a bucket, if there are any. Raises: as put_document."""
    await put_document(ctx, bucket, DOCUMENT, None, Action.PUT_LIFECYCLE_CONFIGURATION)


def configuration_of(services: Services, opened: OpenBucket) -> Configuration | None:
    """The rules of an open bucket; None without any. Raises: RowCorrupt."""
    if DOCUMENT not in opened.bucket.cold:
        return None
    compiled: Configuration | None = opened.parsed.get(_COMPILED)
    if compiled is None:
        held = find_document(services, opened, DOCUMENT)
        if held is None:
            return None
        compiled = opened.parsed[_COMPILED] = _configuration_of(services, held)
    return compiled


def expiration_of(services: Services, bucket: str, head: ObjectHead) -> Expiration | None:
    """When the current version of a key goes; None: never. Rights are the caller's to ask."""
    configuration = _found(services, bucket)
    if configuration is None:
        return None
    return configuration.expiration_of(
        head.key.encode(),
        tags=head.metadata.tags,
        content_bytes=head.length,
        created_at_ms=head.modified_at_ms,
    )


def abort_of(services: Services, bucket: str, key: str, created_at_ms: int) -> Expiration | None:
    """When an upload goes unless it is completed; None: never."""
    configuration = _found(services, bucket)
    if configuration is None:
        return None
    return configuration.abort_of(key.encode(), created_at_ms, Instant(0))


def _found(services: Services, bucket: str) -> Configuration | None:
    opened = services.buckets.find(bucket)
    return None if opened is None else configuration_of(services, opened)


def _document_of(rule: Rule) -> Document:
    held = asdict(rule)
    return {name: value for name, value in held.items() if value is not None and value != ()}


def _configuration_of(services: Services, held: Document) -> Configuration:
    rules = tuple(_rule_of(rule) for rule in held["rules"])
    if has_real_days(services):
        return Configuration(rules=rules, minimum=held["minimum"])
    return Configuration(rules=rules, minimum=held["minimum"], small_bytes=0)


def _rule_of(held: dict[str, Any]) -> Rule:
    known = dict(held)
    chosen = dict(known.pop("filter"))
    tags = tuple((key, value) for key, value in chosen.pop("tags"))
    moves = tuple(Transition(**move) for move in known.pop("transitions", ()))
    others = tuple(NoncurrentTransition(**move) for move in known.pop("noncurrent_transitions", ()))
    return Rule(
        filter=Filter(tags=tags, **chosen),
        transitions=moves,
        noncurrent_transitions=others,
        **known,
    )
