"""The end of a contract: a tenant has given notice, moves away, and can still get what is his.

Pure. From the notice until the end of the transition the contract goes on: reads, writes, all of
it. Then it is over, and the tenant can retrieve: reads, listings and deletes, nothing more is
taken. Until that time has ended nobody else erases anything of his.

Source: docs/export.md, "Notice and time to retrieve"; Regulation (EU) 2023/2854 (Data Act), art. 25
and 29. Requirement: E-06.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from storaged.base.errors import Kind, StorageError

DAY_MS = 86_400_000
NOTICE_DAYS_MAX = 59  # two months at most, whichever they are: art. 25(2)(d)
TRANSITION_DAYS_MAX = 30  # art. 25(2)(a); the tenant may have it extended once: art. 25(5)
RETRIEVAL_DAYS_MIN = 30  # art. 25(2)(g)
DAYS_MAX = 3650


class DeparturePhase(StrEnum):
    """Where a departure is."""

    NOTICE = "notice"  # given; the contract goes on
    TRANSITION = "transition"  # the tenant moves; the contract goes on
    RETRIEVAL = "retrieval"  # the contract is over; he can get what is his
    ENDED = "ended"
    CANCELLED = "cancelled"  # he stays


OPEN = frozenset({DeparturePhase.NOTICE, DeparturePhase.TRANSITION, DeparturePhase.RETRIEVAL})
CLOSED_TO_WRITES = frozenset({DeparturePhase.RETRIEVAL, DeparturePhase.ENDED})


class DepartureInvalid(StorageError):
    """These times are not those that the end of a contract may have."""

    kind = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One tenant that leaves. Times are milliseconds since the UTC epoch.

    Args:
        tenant: hexadecimal id.
        requester: who has entered it.
        given_at_ms: when notice was given.
        transition_from_ms, retrieval_from_ms, retrieval_until_ms: when phases begin and end.
        phase: the one that is in force.
        extended_days: what the transition was extended by; 0 = it was not.
        erasable_from_ms: before that the tenant is not erased; never earlier than it once was, also
            where a departure was cancelled.
        was_switching: the plan said so before.
    """

    tenant: str
    requester: str
    given_at_ms: int
    transition_from_ms: int
    retrieval_from_ms: int
    retrieval_until_ms: int
    phase: str = DeparturePhase.NOTICE.value
    extended_days: int = 0
    erasable_from_ms: int = 0
    was_switching: bool = False

    @property
    def at(self) -> DeparturePhase:
        return DeparturePhase(self.phase)

    @property
    def is_open(self) -> bool:
        return self.at in OPEN

    @property
    def is_closed(self) -> bool:
        """Nothing more is written."""
        return self.at in CLOSED_TO_WRITES

    @property
    def is_cancelled(self) -> bool:
        return self.at is DeparturePhase.CANCELLED

    @property
    def dates(self) -> dict[str, int]:
        """What journal and certificate say of it."""
        return {
            "given_at_ms": self.given_at_ms,
            "transition_from_ms": self.transition_from_ms,
            "retrieval_from_ms": self.retrieval_from_ms,
            "retrieval_until_ms": self.retrieval_until_ms,
        }

    def phase_at(self, now_ms: int) -> DeparturePhase:
        """The phase that has come by then; a phase never goes back."""
        if not self.is_open or now_ms >= self.retrieval_until_ms:
            return DeparturePhase.ENDED if self.is_open else self.at
        if now_ms >= self.retrieval_from_ms or self.at is DeparturePhase.RETRIEVAL:
            return DeparturePhase.RETRIEVAL
        if now_ms >= self.transition_from_ms or self.at is DeparturePhase.TRANSITION:
            return DeparturePhase.TRANSITION
        return DeparturePhase.NOTICE


def given_notice(
    tenant: str,
    requester: str,
    now_ms: int,
    *,
    notice_days: int,
    transition_days: int,
    retrieval_days: int,
    before: Departure | None,
    was_switching: bool,
) -> Departure:
    """A departure from this instant on.

    Args:
        before: the tenant's last one, which has ended or was cancelled.

    Raises: DepartureInvalid.
    """
    _refuse_outside("notice_days", notice_days, 0, NOTICE_DAYS_MAX)
    _refuse_outside("transition_days", transition_days, 0, TRANSITION_DAYS_MAX)
    _refuse_outside("retrieval_days", retrieval_days, RETRIEVAL_DAYS_MIN, DAYS_MAX)
    transition_ms = now_ms + notice_days * DAY_MS
    retrieval_ms = transition_ms + transition_days * DAY_MS
    until_ms = retrieval_ms + retrieval_days * DAY_MS
    return Departure(
        tenant=tenant,
        requester=requester,
        given_at_ms=now_ms,
        transition_from_ms=transition_ms,
        retrieval_from_ms=retrieval_ms,
        retrieval_until_ms=until_ms,
        erasable_from_ms=max(until_ms, 0 if before is None else before.erasable_from_ms),
        was_switching=was_switching,
    )


def extended(departure: Departure, days: int) -> Departure:
    """With a longer transition, which the tenant may ask for once. Raises: DepartureInvalid."""
    _refuse_outside("days", days, 1, DAYS_MAX)
    if departure.extended_days:
        raise DepartureInvalid(reason="the transition was extended once already")
    if departure.at not in (DeparturePhase.NOTICE, DeparturePhase.TRANSITION):
        raise DepartureInvalid(reason="the transition is over")
    until_ms = departure.retrieval_until_ms + days * DAY_MS
    return replace(
        departure,
        extended_days=days,
        retrieval_from_ms=departure.retrieval_from_ms + days * DAY_MS,
        retrieval_until_ms=until_ms,
        erasable_from_ms=max(until_ms, departure.erasable_from_ms),
    )


def _refuse_outside(field: str, days: int, least: int, most: int) -> None:
    if not least <= days <= most:
        raise DepartureInvalid(field=field, least=least, most=most)
