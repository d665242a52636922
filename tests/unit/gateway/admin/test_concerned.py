"""Whose log of the journal an act of the admin port goes into, of every line of the table of routes
(L-03): what names something of a tenant is in that tenant's log, before and after, and in no other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin.act_recording import ActRecorder
from gateway.admin.concerned import Concerned, Names, names_of
from gateway.admin.gate import ACTOR, ENTRY, Actor
from gateway.admin.route_table import RouteEntry
from gateway.admin.routes import TABLE
from gateway.admin.tickets import Tickets
from gateway.approvals.request import Act, bucket_key_item, named_key_item, tenant_key_item
from gateway.journal.events import Entry, read_line
from gateway.journal.store import read_lines
from gateway.meta.kv import Write
from gateway.meta.records import seal_document
from gateway.model.names import TenantId
from gateway.objects import approving, erasing, tenancy
from gateway.objects.bootstrap import ROOT_ROW
from gateway.objects.buckets import create_bucket, delete_bucket
from gateway.objects.context import Principal
from gateway.objects.key_rotation import commit_rows
from tests.support.erasure_rig import CONFIG, ErasureRig, run
from tests.support.gateway import ACCESS_KEY, TENANT
from tests.support.rotations import bucket_of

pytestmark = pytest.mark.proves("L-01", "L-03")

RECORDED = [entry for entry in TABLE.entries if entry.is_recorded]
TOWN, CANARY = "mairie", "canary-bucket"
OF_TENANTS = {"access_key_id", "bucket", "id", "log", "subject", "tenant", "ticket", "user"}
Case = dict[str, str]


class Town:
    """A second tenant with something of everything that requests name."""

    def __init__(self, rig: ErasureRig) -> None:
        self.rig = rig
        self.tickets = Tickets(rig.gateway.services.env)

    async def make(self) -> None:
        services = self.rig.gateway.services
        tenant, key = await tenancy.create_tenant(services, TOWN)
        self.tenant, self.key = tenant.tenant_id, key.access_key_id
        principal = Principal(
            tenant=tenant.tenant_id, access_key_id=self.key, owner_id=tenant.owner_id
        )
        await create_bucket(self.rig.gateway.ctx(principal), CANARY, None)
        self.bucket = bucket_of(self.rig.gateway, CANARY)
        wanted = erasing.wanted_tenant(services, TOWN, "alice")
        self.erasure = (await erasing.begin(services, CONFIG, wanted)).erasure_id
        self.ticket = self.tickets.issue(self.tenant, TOWN, is_import=False).text
        self.requests = [
            await self._request(tenant_key_item(self.tenant, 1)),
            await self._request(bucket_key_item(self.bucket.bucket_id, 1)),
            await self._request(named_key_item(self.tenant, "letters", 1)),
        ]

    async def _request(self, item: str) -> str:
        pending = await approving.ask(
            self.rig.gateway.services,
            *(Act.DESTROY_KEY,),
            about="a key",
            name="a key",
            permits=[item],
            objects=0,
            size_bytes=0,
            requester="alice",
        )
        return pending.request.request_id

    def cases(self, entry: RouteEntry) -> Iterator[Case]:
        """What can be said to a route of the town, one way of naming it after the other."""
        taken = {field.removesuffix("?") for field in (*entry.query, *entry.body)}
        values = {
            "access_key_id": self.key,
            "key": "canary-object",
            "log": TOWN,
            "lose": f"{CANARY}/1",
            "tenant": TOWN,
            "ticket": self.ticket,
        }
        others = {"bucket", "key", "all", "named_key"}
        said = {name: values.get(name, "1") for name in taken - others}
        if entry.path.startswith("/v1/access/tenant/"):
            yield {**said, "name": TOWN}
        elif "bucket" in taken:
            if "tenant" in taken:
                yield dict(said)
                del said["tenant"]
            if "named_key" in taken:
                yield {**said, "named_key": "letters"}
            yield {**said, "bucket": CANARY}
            yield {**said, "bucket": CANARY, "key": "canary-object"}
        elif "subject" in taken:
            for subject, name in (("tenant", TOWN), ("bucket", CANARY), ("key", self.key)):
                yield {**said, "subject": subject, "name": name}
        elif "id" in taken:
            erasures = [self.erasure, self.erasure[:8]]
            found = erasures if "/erasure/" in entry.path else self.requests
            yield from ({**said, "id": one} for one in found)
        else:
            yield said


def is_of_tenants(entry: RouteEntry) -> bool:
    """Whether a request can name something of a tenant, by what the table says of it."""
    taken = {field.removesuffix("?") for field in (*entry.query, *entry.body)}
    return bool(taken & OF_TENANTS) or entry.path.startswith("/v1/access/tenant/")


def entries(rig: ErasureRig, log: str) -> list[Entry]:
    journal = rig.gateway.services.journal
    assert journal is not None
    found = read_lines(journal.folder / "logs" / log, 0, 10_000)
    return [read_line(line, seq) for seq, line in enumerate(found)]


async def acts(rig: ErasureRig, log: str) -> list[tuple[str, str]]:
    """Types and phases of the acts in a log."""
    journal = rig.gateway.services.journal
    assert journal is not None
    await journal.checkpoint(None)
    held = entries(rig, log) if log in journal.logs() else []
    return [(one.type, one.phase) for one in held if one.type.startswith("admin.")]


async def asked(
    town: Town,
    entry: RouteEntry,
    said: Mapping[str, str],
    act: Callable[[], Awaitable[Any]] | None = None,
) -> None:
    """Ask a route of which nothing is there but that it is recorded."""

    @web.middleware
    async def gate(request: web.Request, handler: Any) -> web.StreamResponse:
        request[ACTOR] = Actor(name="alice", roles=frozenset(), origin="test", may_all=True)
        request[ENTRY] = entry
        answer: web.StreamResponse = await handler(request)
        return answer

    async def handled(request: web.Request) -> web.Response:
        if act is not None:
            await act()
        return web.json_response({})

    services = town.rig.gateway.services
    assert services.journal is not None
    recorder = ActRecorder(services.journal, Concerned(services, town.tickets))
    application = web.Application(middlewares=[gate, recorder.recorded])
    application.router.add_route(entry.method, entry.path, handled)
    async with TestClient(TestServer(application)) as client:
        path = entry.path.format(name="count")
        if entry.body:
            response = await client.request(entry.method, path, json=dict(said))
        else:
            response = await client.request(entry.method, path, params=dict(said))
        assert response.status == 200


def test_every_recorded_route_says_what_names_a_tenant() -> None:
    for entry in RECORDED:
        names = names_of(entry.path)
        fix = f"classify {entry.path} in gateway/admin/concerned.py"
        assert names is not None, fix
        assert (names is not Names.NOTHING) == is_of_tenants(entry), fix


@pytest.mark.parametrize("part", range(4))
def test_what_concerns_a_tenant_is_in_his_log_and_in_no_other(tmp_path: Path, part: int) -> None:
    async def scene(rig: ErasureRig) -> None:
        town = Town(rig)
        await town.make()
        his, others = town.tenant.hex(), ("cluster", TENANT.hex())
        for entry in RECORDED[part::4]:
            for said in town.cases(entry) if is_of_tenants(entry) else [{}]:
                before = {log: await acts(rig, log) for log in (his, *others)}
                await asked(town, entry, said)
                kind = "admin." + entry.path.format(name="count").removeprefix("/v1/")
                both = [(kind.replace("/", "."), phase) for phase in ("intent", "outcome")]
                expected = his if is_of_tenants(entry) else "cluster"
                for log, held in before.items():
                    more = (await acts(rig, log))[len(held) :]
                    assert more == (both if log == expected else []), (entry.path, said, log)
        assert rig.gateway.services.journal is not None
        for path in rig.gateway.services.journal.folder.rglob("*.events"):
            assert b"canary" not in path.read_bytes(), "names are hashed"

    run(tmp_path, scene)


def test_who_names_no_tenant_means_the_root_account(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        root = {"access_key_id": ACCESS_KEY}
        sealed = seal_document(services.records, services.nonces, ROOT_ROW, root)
        await commit_rows(services, (), (Write(ROOT_ROW, sealed),))
        of_accounts = [one for one in RECORDED if names_of(one.path) is Names.ACCOUNT]
        for entry in of_accounts:
            await asked(Town(rig), entry, {"name": "zulu"})
        assert len(await acts(rig, TENANT.hex())) == 2 * len(of_accounts) > 20

    run(tmp_path, scene)


def test_who_is_made_by_an_act_finds_it_in_his_log(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        made: list[TenantId] = []

        async def make() -> None:
            tenant, _ = await tenancy.create_tenant(rig.gateway.services, "new")
            made.append(tenant.tenant_id)

        entry = next(one for one in RECORDED if one.path == "/v1/access/tenant/create")
        await asked(Town(rig), entry, {"name": "new"}, make)
        both = [("admin.access.tenant.create", phase) for phase in ("intent", "outcome")]
        assert await acts(rig, "cluster") == both, "he was not there when it began"
        assert await acts(rig, made[0].hex()) == both

    run(tmp_path, scene)


def test_whose_a_bucket_has_become_meanwhile_finds_the_act_in_his_log_too(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        town = Town(rig)
        await town.make()

        async def passed_on() -> None:
            owner = tenancy.find_tenant(rig.gateway.services, TOWN).owner_id
            of_town = Principal(tenant=town.tenant, access_key_id=town.key, owner_id=owner)
            await delete_bucket(rig.gateway.ctx(of_town), CANARY)
            await create_bucket(rig.gateway.ctx(), CANARY, None)

        entry = next(one for one in RECORDED if one.path == "/v1/purge")
        await asked(town, entry, {"bucket": CANARY}, passed_on)
        both = [("admin.purge", phase) for phase in ("intent", "outcome")]
        assert await acts(rig, town.tenant.hex()) == both == await acts(rig, TENANT.hex())
        assert not await acts(rig, "cluster")

    run(tmp_path, scene)


def test_who_names_a_log_that_is_not_there_does_not_make_it(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        town = Town(rig)
        await town.make()
        entry = next(one for one in RECORDED if one.path == "/v1/journal-bodies/erase")
        journal = rig.gateway.services.journal
        assert journal is not None
        for named, log in (("f" * 32, "cluster"), ("cluster", "cluster"), (town.tenant.hex(),) * 2):
            await acts(rig, "cluster")
            logs, before = journal.logs(), await acts(rig, log)
            await asked(town, entry, {"log": named, "seqs": "1"})
            assert len(await acts(rig, log)) == len(before) + 2, named
            assert set(journal.logs()) <= {*logs, town.tenant.hex()}

    run(tmp_path, scene)


@pytest.mark.parametrize("named", ["\x00", "a\x00b", "\ud800", "é", "/", "..", "1" * 5000, " "])
def test_whatever_is_named_belongs_to_some_log(tmp_path: Path, named: str) -> None:
    async def scene(rig: ErasureRig) -> None:
        town = Town(rig)
        await town.make()
        concerned = Concerned(rig.gateway.services, town.tickets)
        for entry in RECORDED:
            taken = {field.removesuffix("?") for field in (*entry.query, *entry.body)}
            said = {**dict.fromkeys(taken, named), "subject": "bucket"}
            assert concerned.log_of(entry.path, said) in ("cluster", TENANT.hex()), entry.path

    run(tmp_path, scene)


def test_a_request_that_names_two_tenants_is_told_to_neither(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        town = Town(rig)
        await town.make()
        entry = next(one for one in RECORDED if one.path == "/v1/erasure/begin")
        await asked(town, entry, {"tenant": "tests", "bucket": CANARY})
        assert not await acts(rig, TENANT.hex()) and not await acts(rig, town.tenant.hex())
        assert len(await acts(rig, "cluster")) == 2

    run(tmp_path, scene)
