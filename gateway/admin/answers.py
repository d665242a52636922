"""Answers of the admin port: one line of JSON in ASCII.

A key that is no UTF-8 goes through as surrogate escapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web


def json_line(body: Mapping[str, object]) -> bytes:
    """The line, with its line feed."""
    return json.dumps(body).encode("ascii") + b"\n"


def json_answer(
    body: Mapping[str, object], status: int = 200, *, has_secret: bool = False
) -> web.Response:
    """The whole answer. `has_secret`: nobody on the way is to keep it."""
    return web.Response(
        body=json_line(body),
        status=status,
        content_type="application/json",
        charset="utf-8",
        headers={"Cache-Control": "no-store"} if has_secret else None,
    )
