"""A metered gateway that tells a journal of usage, and what an auditor makes of that journal."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.admin.metering_desk import MeteringDesk
from gateway.cli.statement_verify import Checked, read_statement, verify_statement
from gateway.cli.statements import (
    hours_of,
    month_hours,
    plans_of,
    prices_of,
    statement_bytes,
    statement_of,
)
from gateway.jobs.metering import Metering
from gateway.jobs.usage_journal import UsageJournal
from gateway.journal.events import SALT_BYTES, Event, Phase, Value, read_line
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.shelf import Placed, Shelf
from gateway.journal.store import read_lines
from storaged.base.env import RealEnv
from tests.support.gateway import TENANT
from tests.support.journal_rig import as_export, keys_with, public
from tests.support.metered import Metered, TurnedEnv, metered_gateway

MONTH = "2026-11"
NOVEMBER = 1_793_491_200_000  # 2026-11-01T00Z
LOG = TENANT.hex()
PRICES = prices_of(
    {"out_gb": "0.01", "storage": {"*": "0.02"}, "requests_10k": {"write": "3", "read": "1"}}
)


@dataclass
class Told:
    """A gateway, its meter, the job that tells the journal, and the journal."""

    rig: Metered
    journal: Journal
    job: UsageJournal
    desk: MeteringDesk

    async def tell(self) -> None:
        """One round of the job."""
        while not await self.job.step():
            pass

    def restart(self) -> None:
        """What meter and job had in memory is gone."""
        rig, services = self.rig, self.rig.gateway.services
        rig.lose_meter()
        rig.metering = Metering(services, rig.meter, rig.index, rig.index.recount_usage)
        metering = rig.metering
        self.job = UsageJournal(services, rig.meter, lambda: metering.has_looked)

    async def settle(self) -> None:
        """What the job `metering` does at the start."""
        while not self.rig.metering.has_looked:
            await self.rig.metering.step()

    async def statement(self) -> bytes:
        """As `hexagone statement --json` writes it."""
        first, end = month_hours(MONTH)
        fields = {"tenant": LOG, "from_hour": str(first), "to_hour": str(end)}
        hours, plan = await self.desk.hours(fields), self.desk.plan(fields)
        return statement_bytes(
            statement_of(
                tenant="mairie",
                tenant_id=LOG,
                month=MONTH,
                hours=hours_of(hours),
                plans=plans_of(plan),
                prices=PRICES,
            )
        )


@asynccontextmanager
async def telling(folder: Path) -> AsyncIterator[Told]:
    """In `folder`: `index`, `journal`."""
    env = TurnedEnv(NOVEMBER + 3 * 3_600_000)
    async with metered_gateway(folder / "index", env) as rig:
        own = RealEnv(threads_max=1)
        journal = Journal(JournalConfig(folder=folder / "journal"), keys_with(), own)
        journal.start()
        services = rig.gateway.services
        services.journal = journal
        metering = rig.metering
        job = UsageJournal(services, rig.meter, lambda: metering.has_looked)
        told = Told(rig, journal, job, MeteringDesk(services))
        await told.settle()
        try:
            yield told
        finally:
            await journal.close()
            own.close()


def exported(folder: Path) -> Path:
    """An export of the journal that was closed."""
    export = folder / "export"
    shutil.copytree(folder / "journal", export)
    as_export(export)
    return export


def checked(export: Path, statement: bytes) -> Checked:
    """What an auditor finds."""
    return verify_statement(export, public(), read_statement(statement), PRICES)


Change = Callable[[list[Event]], Sequence[Event]]


def forged(folder: Path, change: Change) -> Path:
    """An export of whoever has the journal's keys, and writes its events of usage anew."""
    events: list[Event] = []
    for seq, line in enumerate(read_lines(folder / "journal" / "logs" / LOG, 0, 1_000_000)):
        entry = read_line(line, seq)
        body: dict[str, Value] = {
            name: value
            for name, value in entry.body.items()
            if name not in ("salt", "bucket") and isinstance(value, (int, str))
        }
        events.append(Event(entry.at_ms, entry.type, Phase(entry.phase), body))
    export, env = folder / "forged", RealEnv(threads_max=1)
    shutil.rmtree(export, ignore_errors=True)
    shelf = Shelf(export, keys_with(), env)
    placed = [Placed(LOG, event) for event in change(events)]
    assert not shelf.write(placed, bytes(SALT_BYTES * len(placed)), "")
    shelf.sign(())
    shelf.close()
    env.close()
    as_export(export)
    return export
