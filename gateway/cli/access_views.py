"""How answers about access are printed: tables of tenants, users, access keys, policies.

Secrets are in none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from gateway.cli.tables import Answer, text, titled_table
from gateway.terminal.language import say
from gateway.terminal.times import moment

_HIDDEN = frozenset({"secret", "text", "trust"})


def rows_view(title: str, columns: Sequence[str], rows: Sequence[Answer]) -> Table:
    """One row each, with these of their fields."""
    cells = [[text(_said(row[column])) for column in columns] for row in rows]
    return titled_table(title, [column.replace("_", " ") for column in columns], cells)


def one_view(title: str, held: Answer) -> Table:
    """All fields of one."""
    cells = [
        (text(say(name.removesuffix("_ms").replace("_", " "))), text(_said(value, name)))
        for name, value in held.items()
        if name not in _HIDDEN
    ]
    return titled_table(title, ("", ""), cells)


def keys_view(keys: Sequence[Answer]) -> Table:
    """Access keys without their secrets."""
    rows = [{**key, "last_used": _used(key.get("last_used_at_ms"))} for key in keys]
    columns = ("access_key_id", "user", "enabled", "last_used")
    return rows_view("access keys", columns, rows)


def _used(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    return _said(at_ms, "last_used_at_ms") if at_ms else say("never")


def _said(value: object, name: str = "") -> str:
    if name.endswith("_ms") and isinstance(value, int):
        return moment(value)
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={_said(one)}" for key, one in value.items() if one)
    return str(value)
