"""An admin port with its listener over TLS, accounts and a journal, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.admin.access_api import access_routes
from gateway.admin.access_desk import AccessDesk
from gateway.admin.api import AdminServer
from gateway.admin.journal_api import journal_routes, recording
from gateway.admin.key_api import key_routes
from gateway.admin.key_desk import KeyDesk
from gateway.admin.metering_api import metering_routes
from gateway.admin.metering_desk import MeteringDesk
from gateway.admin.named_keys import NamedKeyDesk
from gateway.admin.plane import AdminPlane, admin_plane
from gateway.cli.authority import (
    AdminAuthority,
    create_admin_authority,
    issue_administrator,
    issue_listener,
    write_pair,
)
from gateway.cli.client import AdminClient
from gateway.cli.places import RemotePlace
from gateway.config_admin import AdminConfig
from gateway.jobs.rotation import KeyRotation
from gateway.journal.events import Entry, read_line
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.store import read_lines
from gateway.model.administrators import LocalRights, Role
from gateway.model.second_factor import SecondFactorRule
from gateway.objects.administrators import Administrators
from storaged.base.durable import replace_file
from storaged.base.env import RealEnv
from tests.support.admin_rig import AdminRig, admin_rig
from tests.support.journal_rig import keys_with
from tests.support.stood_clock import StoodClock

PEOPLE = {
    "alice": ("Alice Martin", Role.CUSTODIAN),
    "bob": ("Bob Petit", Role.STORAGE_ADMIN),
    "carole": ("Carole Roux", Role.AUDITOR),
    "denis": ("Denis Blanc", Role.BILLING),
    "emma": ("Emma Noir", Role.TENANT_ADMIN),
}


class AdminPlaneServed:
    """What tests ask, and how; `authority.pem` and everybody's pair are in `folder`."""

    def __init__(
        self, folder: Path, authority: AdminAuthority, rig: AdminRig, plane: AdminPlane
    ) -> None:
        self.folder = folder
        self.authority = authority
        self.rig = rig
        self.plane = plane
        self.journal = rig.gateway.services.journal
        self.local = AdminClient(folder / "a.sock")
        self._loop = asyncio.get_running_loop()

    @property
    def port(self) -> int:
        assert self.plane.listener is not None
        return self.plane.listener.port

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def place(self, name: str) -> RemotePlace:
        return RemotePlace(
            url=self.url,
            certificate=self.folder / f"{name}.pem",
            key=self.folder / f"{name}.key",
            authority=self.folder / "authority.pem",
        )

    def certify(self, name: str, person: str, *roles: Role, file: str = "") -> AdminClient:
        """A client with a new certificate."""
        env = RealEnv(threads_max=1)
        pair = issue_administrator(self.authority, name, person, frozenset(roles), env)
        file = file or name
        write_pair(pair, self.folder / f"{file}.pem", self.folder / f"{file}.key")
        return AdminClient(self.place(file))

    def add(self, name: str) -> AdminClient:
        """One of PEOPLE, with account and certificate."""
        person, role = PEOPLE[name]
        self.change("add", name=name, person=person, roles=role.value)
        return self.certify(name, person, role)

    def change(self, verb: str, **fields: str) -> Mapping[str, Any]:
        """Make or change an account, as the register does it, whatever the local root may."""
        held = self.plane.gate._administrators
        assert isinstance(held, Administrators)
        work = {
            "add": lambda: held.add(fields["name"], fields["person"], fields["roles"].split(",")),
            "disable": lambda: held.set_enabled(fields["name"], enabled=False),
        }[verb]
        made: Mapping[str, Any] = {"administrator": self.run(work())}
        return made

    def entries(self, log: str = "cluster") -> list[Entry]:
        """Events of a log."""
        journal = self.journal
        assert journal is not None
        self.run(journal.checkpoint([log]))
        found = read_lines(journal.folder / "logs" / log, 0, 10_000)
        return [read_line(line, seq) for seq, line in enumerate(found)]

    def ask(self, client: AdminClient, method: str, target: str, body: Any = None) -> Any:
        """Any route."""
        raw = None if body is None else json.dumps(body).encode()
        return client._ask(method, target, raw)


def server_of(rig: AdminRig, plane: AdminPlane, config: AdminConfig, env: RealEnv) -> AdminServer:
    """The admin port of a rig, with the routes that need no more than it has."""
    services = rig.gateway.services

    async def run_job(name: str) -> dict[str, object]:
        return {"rounds": 1}

    return AdminServer(
        view=rig.view,
        scheduler=rig.scheduler,
        run_job=run_job,
        path=config.socket,
        env=env,
        keys=NamedKeyDesk(services),
        more=[
            *access_routes(AccessDesk(services)),
            *key_routes(KeyDesk(services, KeyRotation(services))),
            *metering_routes(MeteringDesk(services)),
            *journal_routes(services),
            *plane.routes,
        ],
        journaled=recording(services),
        gate=plane.gate,
        listener=plane.listener,
    )


def config_of(folder: Path, *, listens: bool) -> AdminConfig:
    """With a listener on a port of the kernel's choice, or none."""
    return AdminConfig(
        socket=folder / "a.sock",
        port=0 if listens else None,
        certificate=folder / "admin.pem",
        key=folder / "admin.key",
        authority=folder / "authority.pem",
    )


@contextmanager
def admin_plane_served(
    folder: Path,
    *,
    local: LocalRights = LocalRights.BOOTSTRAP,
    listens: bool = True,
    glass_s: float = 0,
    authority: AdminAuthority | None = None,
    sources: tuple[str, ...] = (),
    second_factor: SecondFactorRule = SecondFactorRule.OPTIONAL,
    clock: StoodClock | None = None,
) -> Iterator[AdminPlaneServed]:
    """An admin port; with a listener on a port of the kernel's choice."""
    ready, done = threading.Event(), threading.Event()
    held: list[AdminPlaneServed] = []
    env = RealEnv(threads_max=2)
    authority = authority or create_admin_authority("admin.test", env)
    write_pair(
        issue_listener(authority, ["127.0.0.1", "localhost"], env),
        folder / "admin.pem",
        folder / "admin.key",
    )
    replace_file(folder / "authority.pem", authority.certificate_pem, mode=0o644)
    config = replace(
        config_of(folder, listens=listens),
        local=local,
        sources=sources,
        second_factor=second_factor,
    )

    async def main() -> None:
        async with admin_rig(folder=folder) as rig:
            journal = Journal(JournalConfig(folder=folder / "journal"), keys_with(), env)
            journal.start()
            services = rig.gateway.services
            services.journal = journal
            if clock is not None:
                clock.drive(services.env)
            told = config
            if glass_s:
                until = datetime.fromtimestamp(services.env.now_ms() / 1000 + glass_s, UTC)
                told = replace(config, break_glass_until=until.isoformat())
            plane = admin_plane(told, services, [])
            server = server_of(rig, plane, config, env)
            await server.start()
            held.append(AdminPlaneServed(folder, authority, rig, plane))
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.01)
            await server.close()
            await journal.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(20)
        yield held[0]
    finally:
        done.set()
        thread.join()
        env.close()
