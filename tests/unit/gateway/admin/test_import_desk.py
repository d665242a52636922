"""What an import may fill, and what it must leave alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import md5, sha256
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from gateway.admin import import_desk
from gateway.admin.export_desk import ExportDesk, ExportInputInvalid
from gateway.admin.gate import ACTOR, Actor
from gateway.admin.import_api import transfer_routes
from gateway.admin.import_desk import ImportDesk
from gateway.admin.tickets import Tickets, TicketUnknown
from gateway.commit.change import Change
from gateway.meta import accounts, keyspace
from gateway.meta.accounts import Tenant
from gateway.meta.kv import Batch
from gateway.objects.buckets import create_bucket, delete_bucket
from gateway.objects.exporting import bucket_of
from gateway.objects.tenant_export import account_document, bucket_document
from gateway.objects.tenant_import import ImportConflict, ImportInvalid
from tests.support.gateway import BUCKET, TENANT, Gateway, memory_gateway

HELD = Tenant(tenant_id=TENANT, name="mairie", owner_id="owner", created_at_ms=1)


class OneVersion:
    """A stream of one version."""

    def __init__(self, key: str, content: bytes, sequence: int) -> None:
        record = {
            "key": key,
            "version_id": "null",
            "sequence": sequence,
            "current": True,
            "modified_at_ms": 1,
            "owner_id": "owner",
            "bytes": len(content),
            "etag": md5(content, usedforsecurity=False).hexdigest(),
            "sha256": sha256(content).hexdigest(),
        }
        self._frames: list[dict[str, Any]] = [{"version": record, "inline": len(content)}]
        self._content = content

    async def frame(self) -> dict[str, Any] | None:
        return self._frames.pop() if self._frames else None

    async def read(self, bytes_max: int) -> bytes:
        piece, self._content = self._content[:bytes_max], self._content[bytes_max:]
        return piece


def run(test: Callable[[Gateway, ImportDesk, dict[str, Any]], Awaitable[None]]) -> None:
    """Run a test with what an export of the tenant and its bucket would say."""

    async def main() -> None:
        async with memory_gateway() as gateway:
            services = gateway.services
            write = accounts.set_tenant(services.records, services.nonces, HELD)
            batch = Batch(
                partition=keyspace.CLUSTER_PARTITION, request_id=TENANT, checks=(), writes=(write,)
            )
            await services.log.commit_change(Change(batch=batch))
            tickets = Tickets(services.env)
            desk = ImportDesk(services, tickets, ExportDesk(services, tickets))
            told = {
                "export": "0123456789ab",
                "account": account_document(services, HELD),
                "buckets": [bucket_document(services, bucket_of(services, TENANT, BUCKET))],
                "renamed": {},
            }
            await test(gateway, desk, told)

    asyncio.run(main())


async def begun(desk: ImportDesk) -> str:
    said = {"tenant": TENANT.hex(), "name": "0" * 64}
    return str((await desk.begin(said, "admin:alice"))["ticket"])


@pytest.mark.proves("E-04")
def test_a_bucket_that_was_there_takes_no_version() -> None:
    async def test(gateway: Gateway, desk: ImportDesk, told: dict[str, Any]) -> None:
        await gateway.put("a", b"theirs")
        await create_bucket(gateway.ctx(), "unnamed", None)
        ticket = await begun(desk)
        assert (await desk.plan(ticket, told))["conflicts"]
        with pytest.raises(ImportConflict):
            await desk.versions(ticket, BUCKET, OneVersion("a", b"mine", 9))
        with pytest.raises(ImportConflict):
            await desk.missing(ticket, BUCKET, {"versions": []})
        with pytest.raises(ExportInputInvalid):
            await desk.versions(ticket, "unnamed", OneVersion("a", b"mine", 9))
        assert await gateway.get("a") == b"theirs"

    run(test)


@pytest.mark.proves("E-04")
@pytest.mark.parametrize("export", ["", None, 0, []])
def test_an_export_without_an_id_fills_nothing(export: object) -> None:
    async def test(gateway: Gateway, desk: ImportDesk, told: dict[str, Any]) -> None:
        await gateway.put("a", b"theirs")
        ticket = await begun(desk)
        with pytest.raises(ImportInvalid):
            await desk.plan(ticket, {**told, "export": export})
        with pytest.raises(ExportInputInvalid):
            await desk.versions(ticket, BUCKET, OneVersion("a", b"mine", 9))
        assert await gateway.get("a") == b"theirs"

    run(test)


def test_a_bucket_that_is_being_filled_takes_versions() -> None:
    async def test(gateway: Gateway, desk: ImportDesk, told: dict[str, Any]) -> None:
        ticket = await begun(desk)
        bucket = {**told["buckets"][0], "name": "brought"}
        assert not (await desk.plan(ticket, {**told, "buckets": [bucket]}))["conflicts"]
        await desk.account(ticket)
        await desk.bucket(ticket, "brought")
        answer = await desk.versions(ticket, "brought", OneVersion("a", b"mine", 9))
        assert (answer["installed"], answer["failed"]) == (1, [])
        assert await gateway.get("a", bucket="brought") == b"mine"

    run(test)


class Versions:
    """A stream of several versions."""

    def __init__(self, *each: OneVersion) -> None:
        self._each = list(each)
        self._at: OneVersion | None = None

    async def frame(self) -> dict[str, Any] | None:
        self._at = self._each.pop(0) if self._each else None
        return None if self._at is None else await self._at.frame()

    async def read(self, bytes_max: int) -> bytes:
        assert self._at is not None
        return await self._at.read(bytes_max)


def _other_bytes(key: str) -> OneVersion:
    one = OneVersion(key, b"mine", 9)
    one._content = b"evil"
    return one


@pytest.mark.proves("E-04")
def test_more_failures_than_are_told_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_desk, "FAILED_TOLD_MAX", 3)

    async def test(gateway: Gateway, desk: ImportDesk, told: dict[str, Any]) -> None:
        ticket = await begun(desk)
        bucket = {**told["buckets"][0], "name": "brought"}
        await desk.plan(ticket, {**told, "buckets": [bucket]})
        await desk.account(ticket)
        await desk.bucket(ticket, "brought")
        lot = Versions(*(_other_bytes(f"k{at}") for at in range(8)), OneVersion("a", b"mine", 9))
        answer = await desk.versions(ticket, "brought", lot)
        assert (answer["installed"], len(answer["failed"]), answer["failed_untold"]) == (1, 3, 5)

    run(test)


@pytest.mark.proves("E-04")
def test_a_bucket_that_took_the_name_of_one_that_was_being_filled_takes_no_version() -> None:
    async def test(gateway: Gateway, desk: ImportDesk, told: dict[str, Any]) -> None:
        bucket = {**told["buckets"][0], "name": "brought"}
        told = {**told, "buckets": [bucket]}
        ticket, other = await begun(desk), await begun(desk)
        for one in (ticket, other):
            await desk.plan(one, told)
            await desk.account(one)
        await desk.bucket(ticket, "brought")
        await delete_bucket(gateway.ctx(), "brought")
        await desk.bucket(other, "brought")  # of the same export, so of the same mark
        with pytest.raises(ImportConflict):
            await desk.versions(ticket, "brought", OneVersion("a", b"mine", 9))
        with pytest.raises(ImportConflict):
            await desk.missing(ticket, "brought", {"versions": []})
        with pytest.raises(ImportConflict):
            await desk.settle(ticket, "brought")
        with pytest.raises(ImportConflict):
            await desk.finish({"ticket": ticket})
        answer = await desk.versions(other, "brought", OneVersion("a", b"mine", 9))
        assert answer["installed"] == 1

    run(test)


@web.middleware
async def _as_told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Somebody by the word of the request, as the gate says it of a certificate."""
    request[ACTOR] = Actor(name=request.headers["x-name"], roles=frozenset(), origin="test")
    try:
        return await handler(request)
    except TicketUnknown:
        return web.Response(status=403)


@pytest.mark.proves("L-07")
@pytest.mark.parametrize("way", ["export", "import"])
def test_a_ticket_is_of_no_use_to_another_administrator(way: str) -> None:
    async def test(gateway: Gateway, desk: ImportDesk, told: dict[str, Any]) -> None:
        await gateway.put("a", b"a secret of the tenant")
        application = web.Application(middlewares=[_as_told])
        application.add_routes(transfer_routes(gateway.services))
        async with TestClient(TestServer(application)) as client:
            emma, other = {"x-name": "emma"}, {"x-name": "eve"}
            said = {"tenant": TENANT.hex(), "name": "0" * 64}
            answer = await client.post(f"/v1/{way}/begin", json=said, headers=emma)
            ticket = (await answer.json())["ticket"]
            fields = {"ticket": ticket, "bucket": BUCKET, "bodies": "1"}
            for route in ("bucket", "page", "body"):
                refused = await client.get(f"/v1/export/{route}", params=fields, headers=other)
                assert refused.status == 403
            for verb in ("plan", "account", "bucket", "settle", "missing", "versions"):
                path = f"/v1/import/stream/{verb}"
                refused = await client.post(path, params=fields, headers=other)
                assert refused.status == 403
            for path in ("/v1/export/finish", "/v1/import/finish"):
                done = {"ticket": ticket, "name": "0" * 64}
                assert (await client.post(path, json=done, headers=other)).status == 403
            page = await client.get("/v1/export/page", params=fields, headers=emma)
            assert b"a secret" in await page.read()

    run(test)
