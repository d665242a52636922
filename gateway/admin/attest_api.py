"""Route of the admin port for statements about the place of an object:
GET /v1/where/attest?bucket=…&key=…&challenge=…

Not for what they say (`gateway.admin.attest`).
"""

from __future__ import annotations

from urllib.parse import parse_qs

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.api import AdminInputInvalid
from gateway.admin.attest import Attester


def attest_routes(attester: Attester) -> list[web.RouteDef]:
    """The one route."""

    async def answer(request: web.Request) -> web.Response:
        query = parse_qs(
            request.rel_url.raw_query_string, keep_blank_values=True, errors="surrogateescape"
        )
        bucket, key, challenge = (
            query.get(name, [""])[0] for name in ("bucket", "key", "challenge")
        )
        if not bucket or not key:
            raise AdminInputInvalid(reason="bucket and key are needed")
        document = await attester.attest(bucket, key, challenge)
        return json_answer(document)

    return [web.get("/v1/where/attest", answer)]
