"""Routes of the admin port by which bodies of events are erased from the journal.

    GET  /v1/journal-bodies?log=…&subject=…
    POST /v1/journal-bodies/erase?log=…&seqs=17,18

Not for what that leaves of the proofs: `gateway.journal.forgetting`. Requirement: E-07.
"""

from __future__ import annotations

import re
from hashlib import sha256

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.journal_desk import JournalDesk, JournalInputInvalid
from gateway.admin.requester import requester_of
from gateway.approvals.request import Act
from gateway.journal.forgetting import EVENTS_MAX, events_of, forget
from gateway.objects.approving import spend as spend_approvals
from gateway.objects.approving import warrant_for
from gateway.objects.context import Services

_SEQS = re.compile(r"(0|[1-9][0-9]{0,17})(,(0|[1-9][0-9]{0,17}))*")
_SUBJECT = re.compile(r"[!-~]{1,256}")


def forget_routes(services: Services) -> list[web.RouteDef]:
    """The routes, where there is a journal."""
    journal = services.journal
    if journal is None:
        return []
    desk = JournalDesk(journal, services)

    async def found(request: web.Request) -> web.Response:
        subject = request.query.get("subject", "")
        if not _SUBJECT.fullmatch(subject) or '"' in subject:
            raise JournalInputInvalid(reason="say who: an access key, as `journal show` prints it")
        log = desk.log(request.query.get("log", ""))
        seqs = await services.env.offload(lambda: events_of(journal, log, subject))
        return json_answer({"log": log, "seqs": seqs, "most": EVENTS_MAX})

    async def erase(request: web.Request) -> web.Response:
        log, text = desk.log(request.query.get("log", "")), request.query.get("seqs", "")
        if not _SEQS.fullmatch(text):
            raise JournalInputInvalid(reason="seqs are numbers with commas between")
        seqs = [int(one) for one in text.split(",")]
        digest = sha256(text.encode()).hexdigest()
        warrant = await warrant_for(
            services,
            Act.FORGET_EVENTS,
            f"journal/{log}/{digest}",
            about=f"{len(seqs)} events of log {log}, whose list has SHA-256 {digest}",
            name=log,
            objects=0,
            size_bytes=0,
            requester=requester_of(request),
        )
        spend_approvals(services, f"journal/{log}/{digest}", warrant, digest)
        return json_answer({"log": log, "erased": await forget(journal, log, seqs)})

    return [
        web.get("/v1/journal-bodies", found),
        web.post("/v1/journal-bodies/erase", erase),
    ]
