"""What of the admin port is in the journal.

Every request to the admin port that changes something (the table of routes says which do) is
recorded before it takes effect, with who asks, in which role and from where, and refused when it
cannot be; its outcome follows. Both are in the log of the tenant whom it is about
(`gateway.admin.concerned`); who is made by the act itself, or has got what it names while it went
on, finds it in his log as well. Who may not is told by `gateway.admin.gate`, before anything is
recorded here. Only fields of the allow-list are recorded with their values: whatever else a request
says may be a secret.

Not for reading the journal (`gateway.admin.journal_desk`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.admin.concerned import Concerned
from gateway.admin.gate import ACTOR, ENTRY
from gateway.admin.journal_desk import JournalInputInvalid
from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.journal.journal import Journal
from gateway.model.quota import Subject
from storaged.base.errors import StorageError

FIELDS_TAKEN = 20
# Fields of admin requests that are recorded with their values; of the others, the names.
OPEN_FIELDS = frozenset(
    {
        "access_key_id",
        "account",
        "by",
        "country",
        "datacenter",
        "effect",
        "epoch",
        "group",
        "id",
        "job",
        "log",
        "mode",
        "month",
        "name",
        "named_key",
        "node",
        "number",
        "operator",
        "person",
        "plan",
        "role",
        "roles",
        "set",
        "shares",
        "state",
        "subject",
        "tenant",
        "threshold",
        "transcript",
        "until",
        "user",
        "was",
        "year",
    }
)


class ActRecorder:
    """See the module."""

    def __init__(self, journal: Journal, concerned: Concerned) -> None:
        self._journal = journal
        self._concerned = concerned
        self._env = journal.env

    @web.middleware
    async def recorded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record a request before and after it, if it changes something."""
        if not request[ENTRY].is_recorded:
            return await handler(request)
        said = await _said(request)
        body = self._fields(request, said)
        path = request[ENTRY].path
        log = self._concerned.log_of(path, said)
        kind = "admin." + request.path.removeprefix("/v1/").replace("/", ".")
        about = _text(said, "bucket", *_name_of_bucket(said)), _text(said, "key")
        event = Event(self._env.now_ms(), _type(kind), Phase.INTENT, body, *about)
        await self._journal.record(log, event)
        told = ("request", "who", "acting_as", "from")
        outcome: dict[str, Value] = {name: body[name] for name in told}
        outcome["error"] = "internal error"
        try:
            response = await handler(request)
            del outcome["error"]
            outcome["status"] = response.status
            return response
        except StorageError as error:
            outcome["error"] = type(error).__name__
            raise
        except asyncio.CancelledError:
            outcome["error"] = "the client has gone"
            raise
        finally:
            done = event._replace(at_ms=self._env.now_ms(), phase=Phase.OUTCOME, body=outcome)
            self._journal.note(log, done)
            is_settled = log != CLUSTER and not event.bucket  # tenants keep their names
            found = log if is_settled else self._concerned.log_of(path, said)
            if found not in (log, CLUSTER):  # there, or another's, only since it began
                self._journal.note(found, event)
                self._journal.note(found, done)

    def _fields(self, request: web.Request, said: Mapping[str, object]) -> dict[str, Value]:
        actor = request[ACTOR]
        body: dict[str, Value] = {
            "request": self._env.random_bytes(8).hex().upper(),
            "who": peer_of(request),
            "acting_as": actor.acting_as(request[ENTRY]),
            "from": actor.origin,
        }
        hidden = []
        for name, value in sorted(said.items()):
            is_open = name in OPEN_FIELDS and name not in _name_of_bucket(said)
            if is_open and isinstance(value, str | int):
                body[name] = value
            else:
                hidden.append(name)
        if hidden:
            body["fields"] = ",".join(hidden)
        return body


async def _said(request: web.Request) -> dict[str, object]:
    """The fields of a request, from its query or its body: what could be read in two ways is
    refused, so that nothing else is recorded than what is done. Raises: JournalInputInvalid.
    """
    pairs = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)
    said: dict[str, object] = dict(pairs)
    body = await request.read()
    if len(said) != len(pairs) or (said and body):
        raise JournalInputInvalid(reason="a field is there twice, or in the query beside a body")
    try:
        sent = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return said
    found = sent if isinstance(sent, dict) and sent else said
    if len(found) > FIELDS_TAKEN:
        raise JournalInputInvalid(reason=f"{FIELDS_TAKEN} fields at most can be recorded")
    return {name: value for name, value in found.items() if value != ""}


def _text(said: Mapping[str, object], *names: str) -> str:
    """The first of the fields that is a text."""
    for name in names:
        if isinstance(value := said.get(name), str) and value:
            return value
    return ""


def _name_of_bucket(said: Mapping[str, object]) -> tuple[str, ...]:
    """The field that names a bucket by another word than `bucket`: such a name is hashed too."""
    return ("name",) if said.get("subject") == Subject.BUCKET.value else ()


def _type(kind: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in kind)[:80]


def peer_of(request: web.Request) -> str:
    """Who asks, as events name them."""
    return f"admin:{request[ACTOR].name}"
