"""The body of an admin request that is a JSON object of texts.

Not for the fields of a query. Only what the table of routes names is taken.
"""

from __future__ import annotations

import json

from gateway.admin.route_table import RouteEntry
from storaged.base.errors import Kind, StorageError


class FieldsUnusable(StorageError):
    """The body of the admin request is not usable."""

    kind = Kind.INVALID


def text_fields(body: bytes, entry: RouteEntry) -> dict[str, str]:
    """The fields of a request to a route; none for no body. Raises: FieldsUnusable."""
    if not body:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FieldsUnusable(reason="the body is no JSON") from error
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise FieldsUnusable(reason="the body is no object of texts")
    for name, text in found.items():
        if not entry.takes(name):
            raise FieldsUnusable(field=name[:64], route=entry.name, reason="no such field")
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise FieldsUnusable(field=name, reason="it is no text") from error
    return found
