"""Looking for events of the journal for `hexagone journal show`: asked for page by page.

Not for proofs. Ends the command when the gateway refuses.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

import typer

from gateway.cli.client import AdminClient
from gateway.cli.journal_export import lines_of
from gateway.cli.status_cli import asked, parse_url
from gateway.journal import usage
from gateway.journal.events import Entry, read_line

SCANNED_MAX = 1_000_000
PAGE = 2000
OWN_TYPES = frozenset({"journal.anchor", "journal.checkpoint", "journal.idle", *usage.TYPES})


def moment(text: str, option: str) -> int:
    """Milliseconds of a moment in UTC; 0 for none."""
    if not text:
        return 0
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise typer.BadParameter("write it as 2026-11-23T04:00", param_hint=option) from error


def named_log(client: AdminClient, tenant: str) -> str:
    """The log of a tenant that is named; "" for none."""
    if not tenant:
        return ""
    found = asked(lambda: client.journal("GET", "/hashes", {"log": tenant}))
    return str(found["log"])


def hashes_of(client: AdminClient, log: str, about: str) -> dict[str, str]:
    """What the name of a bucket or an object is in a log."""
    bucket, key = about.removeprefix("s3://").partition("/")[::2]
    if key:
        bucket, key = parse_url(about)
    query = {"log": log, "bucket": bucket, "key": key}
    found = asked(lambda: client.journal("GET", "/hashes", query))
    return {name: found[name] for name in ("bucket", "key") if found[name]}


def last_events(
    client: AdminClient,
    log: str,
    size: int,
    wanted: dict[str, Any],
    hashes: dict[str, str],
    count: int,
) -> list[tuple[str, Entry]]:
    """The last events of a log that are wanted, at most so many."""
    found: deque[tuple[str, Entry]] = deque()
    last, floor = size, max(size - SCANNED_MAX, 0)
    while last > floor and len(found) < count:
        first = max(last - PAGE, floor)
        page = asked(lambda: {"lines": list(lines_of(client, log, first, last))})["lines"]  # noqa: B023
        for seq, line in zip(range(last - 1, first - 1, -1), reversed(page), strict=True):
            entry = asked(lambda: {"entry": read_line(line, seq)})["entry"]  # noqa: B023
            if _is_wanted(entry, wanted, hashes):
                found.appendleft((log, entry))
                if len(found) >= count:
                    break
        last = first
    return list(found)


def _is_wanted(entry: Entry, wanted: dict[str, Any], hashes: dict[str, str]) -> bool:
    body = entry.body
    if wanted["kind"] not in entry.type.lower() or wanted["who"] not in str(body.get("who", "")):
        return False
    if entry.type in OWN_TYPES and not wanted["all"]:
        return False
    if wanted["request"] and body.get("request") != wanted["request"]:
        return False
    if wanted["since"] > entry.at_ms or 0 < wanted["until"] <= entry.at_ms:
        return False
    if wanted["failed"] and not (body.get("code") or body.get("error")):
        return False
    return all(body.get(name) == value for name, value in hashes.items())
