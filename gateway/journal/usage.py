"""Metered hours as events of a tenant's journal, and read back from it.

Not for metering, nor for when hours are told (`gateway.objects.usage_told`), nor for prices. Pure.

    usage.hour     what a bucket was metered for in one hour that is over
    usage.plan     how the tenant pays from an hour on
    usage.closed   everything up to an hour is told

Hours without a change make no event, so each names the hour of its bucket that was told before it
(`previous`), and each closing names the closing before it and how many hours it closes: what is
missing, doubled or late is seen. What a crash lets be found out later is told as another event of
the same hour with the next `revision`; only the last hour of a bucket that was told can change.

Source: docs/metering.md, "From the journal". Requirement: A-16.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256

from gateway.journal.events import Entry, Event, Phase, Value
from gateway.model.billing import HOUR_MS, Hour, Plan, PlanChange
from storaged.base.errors import Kind, StorageError

HOUR, PLAN, CLOSED = "usage.hour", "usage.plan", "usage.closed"
TYPES = (HOUR, PLAN, CLOSED)
FIRST = -1  # instead of what was told before the first
PROBLEMS_MAX = 100
_LINE = "line."
_NUMBERS = re.compile(r"[0-9]{1,30} [0-9]{1,40}")


class UsageEventInvalid(StorageError):
    """An event about usage does not say what such an event says."""

    kind = Kind.CORRUPT


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldHour:
    """An hour as it is told.

    Args:
        bucket_id: hexadecimal.
        previous: number of the hour of the bucket that was told before, or FIRST.
        revision: 0, and one more each time that it is told again.
    """

    bucket_id: str
    hour: Hour
    previous: int
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """Everything up to an hour is told.

    Args:
        hour: the last one.
        previous: the hour of the closing before, or FIRST.
        from_hour: the first hour of which everything was told; earlier ones may be missing.
        hours: how many events of hours stand between the closing before and this one.
    """

    hour: int
    previous: int
    from_hour: int
    hours: int


def hour_event(at_ms: int, told: ToldHour) -> Event:
    """The event of an hour. The bucket's name is hashed, as in every event."""
    hour = told.hour
    body: dict[str, Value] = {
        "bucket_id": told.bucket_id,
        "hour": hour.number,
        "revision": told.revision,
        "previous": told.previous,
        "until_ms": hour.until_ms,
        "requests": " ".join(f"{kind}={count}" for kind, count in sorted(hour.requests.items())),
        "in_bytes": hour.in_bytes,
        "out_bytes": hour.out_bytes,
    }
    # Two numbers in one text: an event has a limited number of fields.
    for line in sorted({*hour.levels, *hour.byte_ms}):
        body[_LINE + line] = f"{hour.levels.get(line, 0)} {hour.byte_ms.get(line, 0)}"
    return Event(at_ms, HOUR, Phase.NOTE, body, hour.name)


def plan_event(at_ms: int, change: PlanChange) -> Event:
    """The event of a plan."""
    body: dict[str, Value] = {
        "since_hour": change.since_hour,
        "reserved_bytes": change.plan.reserved_bytes,
        "reserved_out_bytes": change.plan.reserved_out_bytes,
        "switching": int(change.plan.switching),
    }
    return Event(at_ms, PLAN, Phase.NOTE, body)


def closed_event(at_ms: int, closing: Closing) -> Event:
    """The event of a closing."""
    body: dict[str, Value] = {
        "hour": closing.hour,
        "previous": closing.previous,
        "from_hour": closing.from_hour,
        "hours": closing.hours,
    }
    return Event(at_ms, CLOSED, Phase.NOTE, body)


def read_hour(entry: Entry) -> ToldHour:
    """What an event of an hour says. Raises: UsageEventInvalid."""
    body = entry.body
    levels: dict[str, int] = {}
    byte_ms: dict[str, int] = {}
    for name, said in body.items():
        if name.startswith(_LINE):
            if not isinstance(said, str) or not _NUMBERS.fullmatch(said):
                raise UsageEventInvalid(seq=entry.seq, field=name)
            line = name.removeprefix(_LINE)
            held, integral = map(int, said.split(" "))
            levels |= {line: held} if held else {}
            byte_ms |= {line: integral} if integral else {}
    hour = Hour(
        number=_number(entry, "hour"),
        name="",
        until_ms=_number(entry, "until_ms"),
        levels=levels,
        byte_ms=byte_ms,
        requests=_requests(entry),
        in_bytes=_number(entry, "in_bytes"),
        out_bytes=_number(entry, "out_bytes"),
    )
    return ToldHour(
        bucket_id=str(body.get("bucket_id")),
        hour=hour,
        previous=_number(entry, "previous", least=FIRST),
        revision=_number(entry, "revision"),
    )


def read_plan(entry: Entry) -> PlanChange:
    """What an event of a plan says. Raises: UsageEventInvalid."""
    plan = Plan(
        reserved_bytes=_number(entry, "reserved_bytes"),
        reserved_out_bytes=_number(entry, "reserved_out_bytes"),
        switching=_number(entry, "switching") == 1,
    )
    return PlanChange(since_hour=_number(entry, "since_hour"), plan=plan)


def read_closing(entry: Entry) -> Closing:
    """What an event of a closing says. Raises: UsageEventInvalid."""
    return Closing(
        hour=_number(entry, "hour"),
        previous=_number(entry, "previous", least=FIRST),
        from_hour=_number(entry, "from_hour"),
        hours=_number(entry, "hours"),
    )


def _number(entry: Entry, name: str, *, least: int = 0) -> int:
    value = entry.body.get(name)
    if type(value) is not int or value < least:
        raise UsageEventInvalid(seq=entry.seq, field=name)
    return value


def _requests(entry: Entry) -> dict[str, int]:
    found = {}
    for said in str(entry.body.get("requests", "")).split():
        kind, _, count = said.partition("=")
        if not kind or not count.isascii() or not count.isdigit():
            raise UsageEventInvalid(seq=entry.seq, field="requests")
        found[kind] = int(count)
    return found


def digest_of(hour: Hour) -> str:
    """SHA-256 of what is told of an hour: equal digests, equal figures; hexadecimal."""
    figures = replace(hour, name="")
    body = hour_event(0, ToldHour(bucket_id="", hour=figures, previous=FIRST)).body
    return sha256(repr(sorted(body.items())).encode()).hexdigest()


@dataclass(slots=True)
class _Bucket:
    """What was read of one bucket: the last hour that was told, and those that are wanted."""

    last: int = FIRST
    revision: int = 0
    hours: dict[int, Hour] = field(default_factory=dict)


class UsageReader:
    """Reads what a log tells of usage, and holds it against itself. `take` all of it, in order.

    Args:
        first, end: hours that are wanted; of each bucket the last one before them is kept too.
    """

    def __init__(self, first: int, end: int) -> None:
        self.first, self.end = first, end
        self.problems: list[str] = []
        self.corrected: list[str] = []  # hours that were told again, in words
        self.plans: list[PlanChange] = []
        self.closing: Closing | None = None  # the last one
        self.unclosed = 0  # hours that were told since
        self._buckets: dict[str, _Bucket] = {}

    @property
    def by_bucket(self) -> Mapping[str, list[Hour]]:
        """The hours that are wanted, by bucket and in order."""
        return {
            name: [held.hours[number] for number in sorted(held.hours)]
            for name, held in sorted(self._buckets.items())
        }

    @property
    def closed_before(self) -> int:
        """The first hour that is not closed; 0 where none is."""
        return 0 if self.closing is None else self.closing.hour + 1

    def take(self, entry: Entry) -> None:
        """See an event; those about something else are passed over."""
        try:
            if entry.type == HOUR:
                self._take_hour(entry.seq, read_hour(entry))
            elif entry.type == PLAN:
                self._take_plan(entry.seq, read_plan(entry))
            elif entry.type == CLOSED:
                self._take_closing(entry.seq, read_closing(entry))
        except UsageEventInvalid as error:
            self._find(f"event {entry.seq}: {error.message()}")

    def _find(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)

    def _take_hour(self, seq: int, told: ToldHour) -> None:
        number, name = told.hour.number, told.bucket_id
        named = f"event {seq}: {hour_text(number)} of bucket {name[:8]}"
        bucket = self._buckets.setdefault(name, _Bucket())
        self.unclosed += 1
        if told.revision:
            if (bucket.last, bucket.revision + 1) != (number, told.revision):
                self._find(f"{named} corrects an hour that is not the last one told")
                return
            self.corrected.append(f"{hour_text(number)} of bucket {name[:8]}, by event {seq}")
        elif number <= bucket.last:
            self._find(f"{named} is told twice")
            return
        elif told.previous != bucket.last:
            missing = "the first" if told.previous == FIRST else hour_text(told.previous)
            self._find(f"{named} follows {missing}, which is missing")
        elif number < self.closed_before:
            self._find(f"{named} was closed already")
        bucket.last, bucket.revision = number, told.revision
        if number < self.first:
            bucket.hours.clear()
        if number < self.end:
            bucket.hours[number] = told.hour

    def _take_plan(self, seq: int, change: PlanChange) -> None:
        if self.plans and change.since_hour <= self.plans[-1].since_hour:
            since = hour_text(change.since_hour)
            self._find(f"event {seq}: a plan of {since} is told twice, or too late")
            return
        self.plans.append(change)

    def _take_closing(self, seq: int, closing: Closing) -> None:
        named = f"event {seq}, which closes {hour_text(closing.hour)}"
        before = FIRST if self.closing is None else self.closing.hour
        if closing.previous != before:
            was = "nothing" if closing.previous == FIRST else hour_text(closing.previous)
            self._find(f"{named}: the closing before it, of {was}, is not the one that is there")
        if closing.hours != self.unclosed:
            self._find(f"{named}: {closing.hours} hours were told, {self.unclosed} are there")
        if self.closing is not None and closing.hour <= self.closing.hour:
            self._find(f"{named}: that hour was closed already")
            return
        self.closing, self.unclosed = closing, 0


def hour_text(number: int) -> str:
    """An hour for people: `2026-11-01T13Z`."""
    try:
        return f"{datetime.fromtimestamp(number * HOUR_MS // 1000, UTC):%Y-%m-%dT%H}Z"
    except (OverflowError, ValueError, OSError):
        return f"hour {number}"
