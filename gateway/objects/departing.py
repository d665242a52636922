"""Tenants that leave: notice is given, the transition extended, the notice taken back.

Not for the passing of time (the job `departure`), nor for what an erasure waits for
(`gateway.objects.erasing`). Every act is in the tenant's journal before it takes effect; a process
that dies between the two tells it twice.

Source: docs/export.md, "Notice and time to retrieve". Requirement: E-06.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.journal.events import Event, Phase
from gateway.meta import departure_rows, erasure_rows
from gateway.meta.departure_rows import StoredDeparture
from gateway.meta.kv import Check
from gateway.model.departure import Departure, DeparturePhase, extended, given_notice
from gateway.model.erasure import ENDED, ErasureStep
from gateway.model.names import TenantId
from gateway.objects import limits_set, tenancy
from gateway.objects.bootstrap import read_root
from gateway.objects.context import Services
from gateway.objects.erasing import (
    ERASURES_MAX,
    ErasureUnderWay,
    JournalNeeded,
    latest_now_ms,
)
from gateway.objects.tenancy import Step, change
from storaged.base.errors import Kind, StorageError

GIVEN, EXTENDED = "departure.notice", "departure.extended"
CANCELLED = "departure.cancelled"


class NoDeparture(StorageError):
    """This tenant has given no notice."""

    kind = Kind.NOT_FOUND
    hint = "`hexagone departure list` shows who has"


class DepartureUnderWay(StorageError):
    """This tenant is leaving already."""

    kind = Kind.CONFLICT
    hint = "`hexagone departure list` shows its dates"


class OwnTenant(StorageError):
    """The cluster's own tenant does not leave."""

    kind = Kind.CONFLICT


def load_departures(services: Services) -> None:
    """Take from the rows whose contract is over: nothing more is written there.

    Raises: RowCorrupt.
    """
    services.quotas.close(
        TenantId(bytes.fromhex(one.tenant)) for one in departures(services) if one.is_closed
    )


def departures(services: Services) -> list[Departure]:
    """All of them, also those that have ended, by their end. Raises: RowCorrupt."""
    rows = departure_rows.scan_departures(services.log, services.records, limit=tenancy.TENANTS_MAX)
    return sorted((one.departure for one in rows), key=lambda one: one.retrieval_until_ms)


def departure_of(services: Services, tenant: TenantId) -> Departure | None:
    """A tenant's departure as it is; None: he has never given notice. Raises: RowCorrupt."""
    stored = departure_rows.read_departure(services.log, services.records, tenant)
    return None if stored is None else stored.departure


def is_leaving(services: Services, tenant: TenantId) -> bool:
    """Whether notice was given, and the time to retrieve has not ended. Raises: RowCorrupt."""
    found = departure_of(services, tenant)
    return found is not None and found.is_open


async def give_notice(
    services: Services,
    text: str,
    requester: str,
    *,
    notice_days: int,
    transition_days: int,
    retrieval_days: int,
) -> Departure:
    """A tenant has given notice: what is sent is free from this hour on. Durable when it returns.

    Args:
        text: the tenant's name or id.

    Raises: NoSuchIdentity, OwnTenant, DepartureUnderWay, DepartureInvalid, ErasureUnderWay (its
        keys are being disabled or destroyed), JournalNeeded, JournalUnavailable, as the log.
    """
    tenant = tenancy.find_tenant(services, text).tenant_id
    root = read_root(services.log, services.records)
    if root is not None and root.tenant == tenant:
        raise OwnTenant()
    _refuse_erased(services, tenant)
    plan = limits_set.plan_of(services, tenant)
    at_ms = latest_now_ms(services)

    def given(stored: StoredDeparture | None) -> Departure:
        before = None if stored is None else stored.departure
        if before is not None and before.is_open:
            raise DepartureUnderWay(tenant=before.tenant)
        return given_notice(
            tenant.hex(),
            requester,
            at_ms,
            notice_days=notice_days,
            transition_days=transition_days,
            retrieval_days=retrieval_days,
            before=before,
            was_switching=plan.switching,
        )

    return await _set(services, tenant, given, GIVEN, requester, switching=True)


async def extend(services: Services, text: str, requester: str, days: int) -> Departure:
    """Have the transition last longer, once. Raises: NoDeparture, DepartureInvalid, as above."""
    tenant = tenancy.find_tenant(services, text).tenant_id
    return await _set(
        services, tenant, lambda stored: extended(_there(stored), days), EXTENDED, requester
    )


async def take_back(services: Services, text: str, requester: str) -> Departure:
    """The tenant stays: writes are taken again, and he pays for what is sent from this hour on, if
    he did before. That he is not erased before a date holds all the same.

    Raises: NoDeparture, as above.
    """
    tenant = tenancy.find_tenant(services, text).tenant_id

    def stays(stored: StoredDeparture | None) -> Departure:
        return replace(_there(stored), phase=DeparturePhase.CANCELLED.value)

    held = departure_of(services, tenant)
    switching = held is not None and held.was_switching
    return await _set(services, tenant, stays, CANCELLED, requester, switching=switching)


async def tell(
    services: Services, departure: Departure, kind: str, phase: Phase, requester: str
) -> None:
    """Put a departure and its dates into the tenant's journal.

    Raises: JournalNeeded, JournalUnavailable.
    """
    if services.journal is None:
        raise JournalNeeded()
    body: dict[str, str | int] = {"who": requester, **departure.dates}
    at_ms = services.env.now_ms()
    await services.journal.record(departure.tenant, Event(at_ms, kind, phase, body))


async def save(services: Services, stored: StoredDeparture, moved: Departure) -> None:
    """Another phase of a departure; nothing, if it was changed meanwhile. Raises: as the log."""

    def decide() -> tuple[Step, None]:
        tenant = TenantId(bytes.fromhex(moved.tenant))
        held = departure_rows.read_departure(services.log, services.records, tenant)
        if held is None or held.revision != stored.revision:
            return Step((), ()), None
        write = departure_rows.set_departure(services.records, services.nonces, moved)
        return Step((Check(departure_rows.departure_row(tenant), held.revision),), (write,)), None

    await change(services, decide)
    load_departures(services)


def warnings(services: Services) -> list[str]:
    """What an operator should know: whose time has ended, and nobody has begun to erase him."""
    ended = {one.tenant for one in departures(services) if one.at is DeparturePhase.ENDED}
    if not ended:
        return []
    rows = erasure_rows.scan_erasures(services.log, services.records, limit=ERASURES_MAX)
    ended -= {one.erasure.tenant for one in rows if not one.erasure.bucket}
    names = {one.tenant_id.hex(): one.name for one in tenancy.tenants(services)}
    return [
        f"tenant {names[tenant]} has left and his time to retrieve is over: `hexagone erase "
        f"--tenant {names[tenant]}`"
        for tenant in sorted(ended & names.keys())
    ]


async def _set(
    services: Services,
    tenant: TenantId,
    decided: Callable[[StoredDeparture | None], Departure],
    kind: str,
    requester: str,
    *,
    switching: bool | None = None,
) -> Departure:
    """Write a departure, after the journal was told, together with the plan where that changes."""
    row_key = departure_rows.departure_row(tenant)

    def stored() -> StoredDeparture | None:
        return departure_rows.read_departure(services.log, services.records, tenant)

    await tell(services, decided(stored()), kind, Phase.INTENT, requester)

    def decide() -> tuple[Step, Departure]:
        held = stored()
        departure = decided(held)
        writes = [departure_rows.set_departure(services.records, services.nonces, departure)]
        plan = limits_set.plan_of(services, tenant)
        if switching is not None and plan.switching is not switching:
            changed = replace(plan, switching=switching)
            writes.append(limits_set.plan_write(services, tenant, changed))
        check = Check(row_key, None if held is None else held.revision)
        return Step((check,), tuple(writes)), departure

    departure = await change(services, decide)
    load_departures(services)
    return departure


def _there(stored: StoredDeparture | None) -> Departure:
    if stored is None or stored.departure.at is DeparturePhase.CANCELLED:
        raise NoDeparture()
    return stored.departure


def _refuse_erased(services: Services, tenant: TenantId) -> None:
    rows = erasure_rows.scan_erasures(services.log, services.records, limit=ERASURES_MAX)
    for one in rows:
        erasure = one.erasure
        if erasure.tenant == tenant.hex() and erasure.at not in (ErasureStep.NOTICE, *ENDED):
            raise ErasureUnderWay(erasure=erasure.erasure_id, step=erasure.step)
