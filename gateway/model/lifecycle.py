"""Lifecycle rules: what is due for a version or an upload at an instant. Pure.

Not for reading or committing (`gateway.objects.lifecycle`), nor for which rules a client may set
(`gateway.model.lifecycle_checks`). A deletion goes before a move. Of several moves that are due,
the one that came due last decides where a version lies.

Source: Amazon S3 User Guide, "Lifecycle configuration elements", "Expiring objects",
"Transitioning objects using Amazon S3 Lifecycle".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gateway.model.version import Pairs, Version

DAY_MS = 86_400_000
SMALL_BYTES = 128 * 1024  # what is smaller does not move unless a rule speaks of sizes

ALL_CLASSES_128K = "all_storage_classes_128K"
VARIES_BY_CLASS = "varies_by_storage_class"
NOT_REPLICATED = frozenset({"PENDING", "FAILED"})  # such a version stays until it is copied
_ANY_SIZE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # under VARIES_BY_CLASS


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which objects a rule is about: all of it must hold.

    Args:
        bytes_above, bytes_below: size limits, both exclusive; None: none.
        is_legacy: written as a Prefix of the rule itself, and given back so.
        is_and: written inside an And.
    """

    prefix: str = ""
    tags: Pairs = ()
    bytes_above: int | None = None
    bytes_below: int | None = None
    is_legacy: bool = False
    is_and: bool = False

    @property
    def has_size(self) -> bool:
        return self.bytes_above is not None or self.bytes_below is not None

    def covers_name(self, key: bytes) -> bool:
        """Whether the key begins as the filter says."""
        return key.startswith(self.prefix.encode())

    def covers(self, key: bytes, tags: Pairs, content_bytes: int) -> bool:
        """Whether the rule is about an object like this."""
        if not self.covers_name(key):
            return False
        if self.bytes_above is not None and content_bytes <= self.bytes_above:
            return False
        if self.bytes_below is not None and content_bytes >= self.bytes_below:
            return False
        return not self.tags or set(self.tags) <= set(tags)

    def covers_version(self, key: bytes, version: Version) -> bool:
        """Whether the rule is about this version; of a marker no tag or size can be asked."""
        if version.is_delete_marker:
            return not self.tags and not self.has_size and self.covers_name(key)
        return self.covers(key, version.tags, version.content_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A move of current versions; one of `days` and `date_ms` is None."""

    days: int | None = None
    date_ms: int | None = None
    storage_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoncurrentTransition:
    """A move of noncurrent versions, but for the `newer_versions` newest of a key."""

    days: int
    newer_versions: int = 0
    storage_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; None or () = it does not do that.

    Args:
        expire_markers: ExpiredObjectDeleteMarker as sent.
        newer_versions: noncurrent versions of a key that `noncurrent_days` leaves alone.
        abort_days: days after its start at which an upload goes.
    """

    rule_id: str
    is_enabled: bool
    filter: Filter
    expire_days: int | None = None
    expire_date_ms: int | None = None
    expire_markers: bool | None = None
    transitions: tuple[Transition, ...] = ()
    noncurrent_days: int | None = None
    newer_versions: int = 0
    noncurrent_transitions: tuple[NoncurrentTransition, ...] = ()
    abort_days: int | None = None

    @property
    def expires(self) -> bool:
        return self.expire_days is not None or self.expire_date_ms is not None

    @property
    def newer_versions_max(self) -> int:
        """How many newer versions of a key must be known to judge one."""
        moves = [move.newer_versions for move in self.noncurrent_transitions]
        return max([self.newer_versions, *moves])


class Instant(NamedTuple):
    """When it is judged, and how long a day is."""

    now_ms: int
    day_ms: int = DAY_MS

    def after(self, start_ms: int, days: int) -> int:
        """When something is due: real days end at midnight UTC."""
        due_ms = start_ms + days * self.day_ms
        return next_midnight(due_ms) if self.day_ms == DAY_MS else due_ms

    def has_come(self, due_ms: int) -> bool:
        return due_ms <= self.now_ms


class Act(StrEnum):
    """What happens to a version."""

    KEEP = "keep"
    EXPIRE = "expire"  # a current version goes, or is hidden where versions are kept
    REMOVE = "remove"  # a noncurrent version, or the delete marker of an object that is no more
    MOVE = "move"


class Decision(NamedTuple):
    """An act; `storage_class` is where MOVE goes."""

    act: Act
    storage_class: str = ""


KEPT = Decision(Act.KEEP)
EXPIRED = Decision(Act.EXPIRE)
REMOVED = Decision(Act.REMOVE)


class Expiration(NamedTuple):
    """When a version will go, and the rule that says so."""

    due_ms: int
    rule_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The rules of a bucket.

    Args:
        minimum: ALL_CLASSES_128K or VARIES_BY_CLASS.
        small_bytes: what is smaller does not move unless a rule speaks of sizes.
    """

    rules: tuple[Rule, ...]
    minimum: str = ALL_CLASSES_128K
    small_bytes: int = SMALL_BYTES

    def enabled(self) -> Iterator[Rule]:
        return (rule for rule in self.rules if rule.is_enabled)

    @property
    def newer_versions_max(self) -> int:
        """How many newer versions of a key must be known to judge one."""
        return max((rule.newer_versions_max for rule in self.enabled()), default=0)

    def current_prefixes(self) -> list[str]:
        """Where current versions may have to go or move."""
        return [
            rule.filter.prefix
            for rule in self.enabled()
            if rule.expires or rule.expire_markers or rule.transitions
        ]

    def noncurrent_prefixes(self) -> list[str]:
        """Where noncurrent versions may have to go or move."""
        return [
            rule.filter.prefix
            for rule in self.enabled()
            if rule.noncurrent_days is not None or rule.noncurrent_transitions
        ]

    def upload_prefixes(self) -> list[str]:
        """Where uploads may have to go."""
        return [rule.filter.prefix for rule in self.enabled() if rule.abort_days is not None]

    def current(self, key: bytes, version: Version, *, is_only: bool, at: Instant) -> Decision:
        """What is due for a current version.

        Args:
            is_only: the key has no other version; asked of delete markers alone.
        """
        if version.is_delete_marker:
            return REMOVED if is_only and self._marker_is_due(key, version, at) else KEPT
        if version.attributes.replication in NOT_REPLICATED:
            return KEPT
        moves: list[tuple[int, str]] = []
        for rule in self.enabled():
            if not rule.filter.covers_version(key, version):
                continue
            due_ms = _expires_at(rule, version, at)
            if due_ms is not None and at.has_come(due_ms):
                return EXPIRED
            for move in rule.transitions:
                due_ms = _due(move.days, move.date_ms, version.created_at_ms, at)
                if due_ms is not None and self._may_move(rule, version, move.storage_class):
                    moves.append((due_ms, move.storage_class))
        return _moved(version, moves, at)

    def _marker_is_due(self, key: bytes, version: Version, at: Instant) -> bool:
        for rule in self.enabled():
            if not rule.filter.covers_version(key, version):
                continue
            due_ms = _expires_at(rule, version, at)
            if rule.expire_markers or (due_ms is not None and at.has_come(due_ms)):
                return True
        return False

    def noncurrent(self, key: bytes, version: Version, *, newer: int, at: Instant) -> Decision:
        """What is due for a noncurrent version.

        Args:
            newer: noncurrent versions of the key that are newer, delete markers not counted; no
                more than `newer_versions_max` need be known.
        """
        since_ms = version.attributes.noncurrent_since_ms
        if version.attributes.replication in NOT_REPLICATED:
            return KEPT
        moves: list[tuple[int, str]] = []
        for rule in self.enabled():
            if not rule.filter.covers_version(key, version):
                continue
            days = rule.noncurrent_days
            is_old = days is not None and at.has_come(at.after(since_ms, days))
            if is_old and newer >= rule.newer_versions:
                return REMOVED
            if version.is_delete_marker:
                continue
            for move in rule.noncurrent_transitions:
                if newer < move.newer_versions:
                    continue
                if self._may_move(rule, version, move.storage_class):
                    moves.append((at.after(since_ms, move.days), move.storage_class))
        return _moved(version, moves, at)

    def _may_move(self, rule: Rule, version: Version, storage_class: str) -> bool:
        if rule.filter.has_size or version.content_bytes >= self.small_bytes:
            return True
        return self.minimum == VARIES_BY_CLASS and storage_class in _ANY_SIZE_CLASSES

    def abort(self, key: bytes, created_at_ms: int, at: Instant) -> bool:
        """Whether an upload has been in progress for too long."""
        found = self.abort_of(key, created_at_ms, at)
        return found is not None and at.has_come(found.due_ms)

    def abort_of(self, key: bytes, created_at_ms: int, at: Instant) -> Expiration | None:
        """When an upload goes unless it is completed; None: never."""
        return min(
            (
                Expiration(at.after(created_at_ms, rule.abort_days), rule.rule_id)
                for rule in self.enabled()
                if rule.abort_days is not None and rule.filter.covers_name(key)
            ),
            default=None,
        )

    def expiration_of(
        self, key: bytes, *, tags: Pairs, content_bytes: int, created_at_ms: int
    ) -> Expiration | None:
        """When a current version goes, in real days; None: never."""
        found: list[Expiration] = []
        at = Instant(0)
        for rule in self.enabled():
            if not rule.expires or not rule.filter.covers(key, tags, content_bytes):
                continue
            due_ms = _due(rule.expire_days, rule.expire_date_ms, created_at_ms, at)
            if due_ms is not None:
                found.append(Expiration(due_ms, rule.rule_id))
        return min(found, default=None)


def next_midnight(at_ms: int) -> int:
    """The first midnight UTC that is not before an instant."""
    return -(-at_ms // DAY_MS) * DAY_MS


def apart(prefixes: Iterable[str]) -> list[bytes]:
    """The prefixes in order, without those that another one covers: no key has two of them."""
    found: list[bytes] = []
    for prefix in sorted({prefix.encode() for prefix in prefixes}):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return found


def _due(days: int | None, date_ms: int | None, start_ms: int, at: Instant) -> int | None:
    return date_ms if days is None else at.after(start_ms, days)


def _expires_at(rule: Rule, version: Version, at: Instant) -> int | None:
    return _due(rule.expire_days, rule.expire_date_ms, version.created_at_ms, at)


def _moved(version: Version, moves: list[tuple[int, str]], at: Instant) -> Decision:
    due = [move for move in moves if at.has_come(move[0])]
    if not due:
        return KEPT
    latest_ms = max(due_ms for due_ms, _ in due)
    # Of several that came due at once, the one that is written last.
    storage_class = [name for due_ms, name in due if due_ms == latest_ms][-1]
    return KEPT if storage_class == version.storage_class else Decision(Act.MOVE, storage_class)
