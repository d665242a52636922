"""Who gets a tenant's data by the admin port, and who does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from gateway.admin.export_desk import ExportDesk, ExportInputInvalid
from gateway.admin.frames import HEAD_BYTES, OBJECT_BYTES_MAX, decode_object, frame_length
from gateway.admin.tickets import TICKETS_MAX, UNUSED_S, Tickets, TicketsExhausted, TicketUnknown
from gateway.commit.change import Change
from gateway.journal.store import JournalUnavailable
from gateway.meta import accounts, keyspace
from gateway.meta.accounts import Tenant
from gateway.meta.kv import Batch
from gateway.model.names import TenantId
from gateway.objects.exporting import BucketNotThere
from gateway.objects.tenancy import NoSuchIdentity
from storaged.base.errors import ProtocolError
from tests.support.gateway import BUCKET, OTHER_TENANT, TENANT, Gateway, memory_gateway
from tests.support.turn_env import TurnEnv


class Recorder:
    """A journal that keeps what it is told, or takes nothing."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.told: list[str] = []
        self.is_full = is_full

    async def record(self, log: str, event: Any) -> None:
        if self.is_full:
            raise JournalUnavailable()
        assert log == TENANT.hex()
        self.told.append(event.type)


def run(test: Callable[[Gateway, ExportDesk], Awaitable[None]]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            services = gateway.services
            for tenant in (TENANT, OTHER_TENANT):
                await _keep(gateway, tenant)
            await test(gateway, ExportDesk(services, Tickets(services.env)))

    asyncio.run(main())


async def _keep(gateway: Gateway, tenant: TenantId) -> None:
    services = gateway.services
    name = tenant.decode()[:4]
    held = Tenant(tenant_id=tenant, name=name, owner_id=f"owner-{name}", created_at_ms=1)
    write = accounts.set_tenant(services.records, services.nonces, held)
    batch = Batch(
        partition=keyspace.CLUSTER_PARTITION, request_id=tenant, checks=(), writes=(write,)
    )
    await services.log.commit_change(Change(batch=batch))


async def frames(desk: ExportDesk, fields: dict[str, str]) -> bytes:
    return b"".join([frame async for frame in await desk.page(fields)])


@pytest.mark.proves("L-07", "B-07")
def test_nothing_is_told_without_a_ticket_or_of_another_tenant() -> None:
    async def test(gateway: Gateway, desk: ExportDesk) -> None:
        await gateway.put("a", b"a secret of the tenant")
        for ticket in ("", "0" * 32):
            with pytest.raises(TicketUnknown):
                await desk.page({"ticket": ticket, "bucket": BUCKET, "bodies": "1"})
        mine = await desk.begin({"tenant": TENANT.hex()}, "root")
        assert b"a secret" in await frames(
            desk, {"ticket": mine["ticket"], "bucket": BUCKET, "bodies": "1"}
        )
        other = await desk.begin({"tenant": OTHER_TENANT.hex()}, "root")
        assert other["buckets"] == []
        said = []
        for name in (BUCKET, "no-such-bucket"):
            with pytest.raises(BucketNotThere) as refused:
                desk.bucket({"ticket": other["ticket"], "bucket": name})
            said.append(refused.value.message().replace(f"={name}", "=…"))
        assert said[0] == said[1]
        with pytest.raises(NoSuchIdentity):
            await desk.begin({"tenant": "nobody"}, "root")

    run(test)


@pytest.mark.proves("L-07")
def test_the_journal_comes_first() -> None:
    async def test(gateway: Gateway, desk: ExportDesk) -> None:
        journal: Any = Recorder()
        gateway.services.journal = journal
        await gateway.put("a", b"a secret of the tenant")
        begun = await desk.begin({"tenant": TENANT.hex()}, "root")
        assert journal.told == ["export.begun"]
        fields = {"ticket": begun["ticket"], "bucket": BUCKET, "bodies": "1"}
        pages = await desk.page(fields)
        assert journal.told == ["export.begun", "export.page"]
        await pages.aclose()  # type: ignore[attr-defined]
        journal.is_full = True
        with pytest.raises(JournalUnavailable):
            await desk.page(fields)
        with pytest.raises(JournalUnavailable):
            await desk.begin({"tenant": TENANT.hex()}, "root")

    run(test)


@pytest.mark.proves("L-07")
def test_a_ticket_ends_by_itself_and_with_its_export() -> None:
    async def test(gateway: Gateway, desk: ExportDesk) -> None:
        begun = await desk.begin({"tenant": TENANT.hex(), "buckets": BUCKET}, "root")
        ticket = begun["ticket"]
        assert desk.bucket({"ticket": ticket, "bucket": BUCKET})["bucket"]["name"] == BUCKET
        with pytest.raises(ExportInputInvalid):
            desk.bucket({"ticket": ticket, "bucket": "another"})
        await desk.finish({"ticket": ticket, "name": "0" * 64})
        with pytest.raises(TicketUnknown):
            desk.bucket({"ticket": ticket, "bucket": BUCKET})

    run(test)
    env = TurnEnv(Random(1))
    tickets = Tickets(env)
    ticket = tickets.issue(TENANT, "t", is_import=False)
    assert ticket.text not in repr(ticket)
    with pytest.raises(TicketUnknown):
        tickets.find(ticket.text, is_import=True)
    for _ in range(TICKETS_MAX - 1):
        tickets.issue(TENANT, "t", is_import=False)
    with pytest.raises(TicketsExhausted):
        tickets.issue(TENANT, "t", is_import=False)
    env.wall_ms += int(UNUSED_S * 1000) + 1
    with pytest.raises(TicketUnknown):
        tickets.find(ticket.text)


def test_frames_that_are_none_are_refused() -> None:
    assert frame_length((5).to_bytes(HEAD_BYTES, "big")) == 5
    for head in (b"", b"\0\0\0", b"\0\0\0\0", (OBJECT_BYTES_MAX + 1).to_bytes(4, "big")):
        with pytest.raises(ProtocolError):
            frame_length(head)
    for raw in (b"", b"[]", b"{", b"[" * 100_000):
        with pytest.raises(ProtocolError):
            decode_object(raw)
