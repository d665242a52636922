"""Which lifecycle rules a client may set. Pure.

Not for syntax: what is here is well-formed. The messages are those of S3.

Source: Amazon S3 API Reference, "PutBucketLifecycleConfiguration"; User Guide, "Constraints and
considerations for transitions".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NoReturn

from gateway.model.errors import InvalidArgument, InvalidRequest
from gateway.model.lifecycle import DAY_MS, Filter, Rule
from gateway.model.tags import object_tags

RULES_MAX = 1000
ID_CHARACTERS_MAX = 255
PREFIX_BYTES_MAX = 1024
NEWER_VERSIONS_MAX = 100
SIZE_MAX = 50 * 1024**4

# Days before which S3 moves nothing there.
_LEAST_DAYS = {"STANDARD_IA": 30, "ONEZONE_IA": 30}


def check_rules(rules: Sequence[Rule], *, has_least_days: bool = True) -> None:
    """What S3 refuses of rules that are well-formed.

    Args:
        has_least_days: objects stay for a month before they go to an infrequent access class.

    Raises: InvalidRequest, InvalidArgument, InvalidTag.
    """
    if len(rules) > RULES_MAX:
        _invalid(f"The number of lifecycle rules must not exceed the allowed limit of {RULES_MAX}")
    ids: set[str] = set()
    for rule in rules:
        if len(rule.rule_id) > ID_CHARACTERS_MAX:
            _wrong(f"ID length should not exceed allowed limit of {ID_CHARACTERS_MAX}")
        if rule.rule_id and rule.rule_id in ids:
            _wrong("Rule ID must be unique. Found same ID for more than one rule")
        ids.add(rule.rule_id)
        _check_filter(rule)
        _check_expiration(rule)
        _check_moves(rule, has_least_days)
        _check_noncurrent(rule, has_least_days)
    if len({rule.filter.is_legacy for rule in rules}) > 1:
        _invalid(
            "Base level prefix cannot be used in Lifecycle V2, prefixes are only supported in the "
            "Filter."
        )


def _invalid(message: str) -> NoReturn:
    raise InvalidRequest(message=message)


def _wrong(message: str) -> NoReturn:
    raise InvalidArgument(message=message)


def _name(rule: Rule) -> str:
    return f"'(prefix={rule.filter.prefix})'"


def _check_filter(rule: Rule) -> None:
    chosen: Filter = rule.filter
    if len(chosen.prefix.encode()) > PREFIX_BYTES_MAX:
        _invalid(f"The maximum size of a prefix is {PREFIX_BYTES_MAX}.")
    object_tags(chosen.tags)
    for name, size in (
        ("ObjectSizeGreaterThan", chosen.bytes_above),
        ("ObjectSizeLessThan", chosen.bytes_below),
    ):
        least = 0 if name == "ObjectSizeGreaterThan" else 1
        if size is not None and not least <= size <= SIZE_MAX:
            _invalid(f"'{name}' must be between {least} and {SIZE_MAX}")
    above, below = chosen.bytes_above, chosen.bytes_below
    if above is not None and below is not None and above >= below:
        _invalid("'ObjectSizeGreaterThan' must be smaller than 'ObjectSizeLessThan'")
    if rule.abort_days is not None:
        if chosen.tags:
            _invalid("AbortIncompleteMultipartUpload cannot be specified with Tags.")
        if chosen.has_size:
            _invalid("AbortIncompleteMultipartUpload cannot be specified with Object Size.")
        _positive(rule.abort_days, "DaysAfterInitiation", "AbortIncompleteMultipartUpload")
    if rule.expire_markers is not None and (chosen.tags or chosen.has_size):
        what = "Tags" if chosen.tags else "Object Size"
        _invalid(f"ExpiredObjectDeleteMarker cannot be specified with {what}.")


def _check_expiration(rule: Rule) -> None:
    acts = (
        rule.expires,
        rule.expire_markers is not None,
        rule.transitions,
        rule.noncurrent_days is not None,
        rule.noncurrent_transitions,
        rule.abort_days is not None,
    )
    if not any(acts):
        _invalid("At least one action needs to be specified in a rule")
    if rule.expire_days is not None:
        _positive(rule.expire_days, "Days", "Expiration")
    _midnight(rule.expire_date_ms)


def _positive(days: int, element: str, action: str) -> None:
    if days < 1:
        _wrong(f"'{element}' for {action} action must be a positive integer")


def _midnight(date_ms: int | None) -> None:
    if date_ms is not None and date_ms % DAY_MS:
        _wrong("'Date' must be at midnight GMT")


def _check_moves(rule: Rule, has_least_days: bool) -> None:
    moves = rule.transitions
    for move in moves:
        _midnight(move.date_ms)
        if move.days is not None:
            _check_days(move.days, "Days", "Transition", move.storage_class, has_least_days)
    _check_distinct([move.storage_class for move in moves], "Transition", rule)
    dated = [move.date_ms is not None for move in moves]
    if rule.expires:
        dated.append(rule.expire_date_ms is not None)
    if len(set(dated)) > 1:
        _invalid(
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle "
            f"rule for filter {_name(rule)}"
        )
    for move in moves:
        for element, end, start in (
            ("Days", rule.expire_days, move.days),
            ("Date", rule.expire_date_ms, move.date_ms),
        ):
            if end is not None and start is not None and end <= start:
                how = "greater" if element == "Days" else "later"
                _invalid(
                    f"'{element}' in the Expiration action for filter {_name(rule)} must be {how} "
                    f"than '{element}' in the Transition action"
                )


def _check_days(
    days: int, element: str, action: str, storage_class: str, has_least_days: bool
) -> None:
    if days < 0:
        _wrong(f"'{element}' for {action} action must be nonnegative")
    least = _LEAST_DAYS.get(storage_class, 0) if has_least_days else 0
    if days < least:
        _wrong(
            f"'{element}' in {action} action must be greater than or equal to {least} for "
            f"storageClass '{storage_class}'"
        )


def _check_distinct(classes: Sequence[str], action: str, rule: Rule) -> None:
    for one, other in pairwise(sorted(classes)):
        if one == other:
            _invalid(
                f"'StorageClass' must be different for '{action}' actions in same 'Rule' with "
                f"filter {_name(rule)}"
            )


def _check_noncurrent(rule: Rule, has_least_days: bool) -> None:
    moves, action = rule.noncurrent_transitions, "NoncurrentVersionTransition"
    for move in moves:
        _check_days(move.days, "NoncurrentDays", action, move.storage_class, has_least_days)
    _check_distinct([move.storage_class for move in moves], action, rule)
    days = rule.noncurrent_days
    if days is None:
        return
    _positive(days, "NoncurrentDays", "NoncurrentVersionExpiration")
    for move in moves:
        if days <= move.days:
            _invalid(
                "'NoncurrentDays' in the NoncurrentVersionExpiration action for filter "
                f"{_name(rule)} must be greater than 'NoncurrentDays' in the {action} action"
            )


def check_newer_versions(count: int, action: str) -> None:
    """Raises InvalidArgument."""
    if not 1 <= count <= NEWER_VERSIONS_MAX:
        _wrong(
            f"'NewerNoncurrentVersions' for {action} action must be a positive integer not "
            f"greater than {NEWER_VERSIONS_MAX}"
        )
