"""Administrators with second factors, for tests: their authenticators, sessions and clock."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

from gateway.cli.client import AdminClient
from gateway.model.totp import code_of, step_at
from tests.support.admin_plane import AdminPlaneServed
from tests.support.stood_clock import StoodClock

STARTED_S = 90  # after as many seconds a gateway takes codes


class Authenticators(StoodClock):
    """What everybody's authenticator shows."""

    def code(self, uri: str, *, steps: int = 0) -> str:
        """What an authenticator shows for a URI, steps from now."""
        query = parse_qs(urlsplit(uri).query)
        return code_of(base64.b32decode(query["secret"][0]), step_at(self.now) + steps)


class MemoryToken:
    """A session that a client keeps, and the codes that its owner would type."""

    def __init__(self, *codes: str) -> None:
        self.token = ""
        self.codes = list(codes)

    def read(self) -> str:
        return self.token

    def keep(self, token: str) -> None:
        self.token = token

    def code(self) -> str:
        return self.codes.pop(0) if self.codes else ""


def client_of(served: AdminPlaneServed, name: str) -> tuple[AdminClient, MemoryToken]:
    kept = MemoryToken()
    return AdminClient(served.place(name), kept), kept


def invited(served: AdminPlaneServed, name: str) -> str:
    answer = served.local.change_administrator("invite", {"name": name})
    return str(answer["invitation"])


def enrolled(served: AdminPlaneServed, clock: Authenticators, name: str) -> tuple[str, MemoryToken]:
    """One of PEOPLE with a second factor: its URI, and the session that enrolling began."""
    served.add(name)
    client, kept = client_of(served, name)
    uri = str(client.begin_enrolment(invited(served, name))["uri"])
    client.confirm_enrolment(clock.code(uri))
    clock.pass_s(30)
    return uri, kept
