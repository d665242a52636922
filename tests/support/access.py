"""Tenants, users and policies of a gateway under test, made as operators make them."""

from __future__ import annotations

import json
from typing import Any

from gateway.admin.access_desk import AccessDesk
from gateway.admin.outlook import Document
from tests.support.accounts import Account
from tests.support.s3_gateway import S3Gateway


class Operator:
    """Runs commands of the admin port, and has the gateway see what they did at once."""

    def __init__(self, gateway: S3Gateway) -> None:
        self.gateway = gateway
        self._desk = AccessDesk(gateway.gateway.services)

    def __call__(self, command: str, **fields: str) -> Document:
        """What a command answers. Raises: as the command."""
        answer: Document = self.gateway.thread.run(self._desk.run(command, fields))
        self.forget()
        return answer

    def forget(self) -> None:
        """Let nothing be taken from before."""
        credentials = self.gateway.gateway.services.credentials
        credentials._held.clear()
        credentials._sessions.clear()

    def tenant(self, name: str) -> Account:
        """A new tenant, as its root."""
        made = self("tenant create", name=name)
        key = made["access_key"]
        owner_id = made["tenant"]["owner_id"]
        return Account(name, owner_id, key["access_key_id"], key["secret"])

    def user(self, tenant: Account, name: str, *statements: dict[str, Any]) -> Account:
        """A new user of a tenant with an access key and, if it may do anything, a policy."""
        self("user create", tenant=tenant.owner_id, name=name)
        if statements:
            self.allow(tenant, name, *statements)
        made = self("access-key create", tenant=tenant.owner_id, user=name)
        key = made["access_key"]
        return Account(tenant.name, tenant.owner_id, key["access_key_id"], key["secret"], name)

    def allow(self, tenant: Account, user: str, *statements: dict[str, Any]) -> None:
        """Set the only policy of a user."""
        named = {"tenant": tenant.owner_id, "name": f"of-{user}"}
        self("policy put", **named, text=document(*statements))
        self("policy attach", **named, user=user)


def document(*statements: dict[str, Any]) -> str:
    """A policy; what a statement does not say is: is allowed, anywhere."""
    listed = []
    for statement in statements:
        where = {} if "NotResource" in statement else {"Resource": "*"}
        listed.append({"Effect": "Allow", **where, **statement})
    return json.dumps({"Version": "2012-10-17", "Statement": listed})


def allowed(*actions: str, on: Any = "*", **more: Any) -> dict[str, Any]:
    """A statement that allows actions."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **more}


def denied(*actions: str, on: Any = "*", **more: Any) -> dict[str, Any]:
    """A statement that denies actions."""
    return {"Effect": "Deny", "Action": list(actions), "Resource": on, **more}


def trust(*principals: str, action: str = "sts:AssumeRole", **more: Any) -> str:
    """A policy of trust in these ARNs."""
    statement = {"Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": action}
    return json.dumps({"Version": "2012-10-17", "Statement": [{**statement, **more}]})
