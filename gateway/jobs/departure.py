"""Job `departure`: moves tenants that leave from phase to phase, by a clock that nobody can set
forward.

Not for what phases mean (`gateway.model.departure`). The tenant's journal is told before a phase
begins; while it cannot be, the phase before goes on.

Requirement: E-06.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.journal.events import Phase
from gateway.meta import departure_rows
from gateway.objects import departing
from gateway.objects.context import Services
from gateway.objects.erasing import certain_now_ms
from gateway.objects.tenancy import TENANTS_MAX
from storaged.base.jobs import Progress

IDLE_S = 30.0


def keep_departures(services: Services) -> DepartureKeeper:
    """Have nothing more taken from who has left; the job. Raises: RowCorrupt."""
    departing.load_departures(services)
    return DepartureKeeper(services)


class DepartureKeeper:
    """One phase of one tenant a step."""

    name = "departure"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open = 0
        self._said = ""

    def progress(self) -> Progress:
        """How many tenants leave, and what was done last."""
        return Progress(done=0, total=self._open, unit="tenants", detail=self._said)

    async def step(self) -> float:
        """Begin a phase whose time has come. Raises: JournalNeeded, JournalUnavailable."""
        services = self._services
        rows = departure_rows.scan_departures(services.log, services.records, limit=TENANTS_MAX)
        self._open = sum(one.departure.is_open for one in rows)
        now_ms = certain_now_ms(services)
        for stored in rows:
            held = stored.departure
            phase = held.phase_at(now_ms)
            if phase is held.at:
                continue
            moved = replace(held, phase=phase.value)
            await departing.tell(
                services, moved, f"departure.{phase}", Phase.OUTCOME, held.requester
            )
            await departing.save(services, stored, moved)
            self._said = f"{held.tenant[:8]}: {phase}"
            return 0.0
        return IDLE_S
