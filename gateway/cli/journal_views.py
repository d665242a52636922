"""Tables of the journal for people: events, logs, and what a verification has found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table

from gateway.cli.tables import Answer, text, titled_table
from gateway.journal.events import Entry
from gateway.journal.verify import Report
from gateway.terminal.language import heard, say

HASH_SHOWN = 12
_TOLD = frozenset({"salt", "request", "who", "bucket", "key", "status", "code", "error"})


def moment(at_ms: int) -> str:
    """A time of an event, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def entry_document(log: str, entry: Entry) -> Answer:
    """An event as JSON."""
    return {
        "log": log,
        "seq": entry.seq,
        "at_ms": entry.at_ms,
        "type": entry.type,
        "phase": entry.phase,
        **{f"body_{k}" if k in ("type", "phase") else k: v for k, v in entry.body.items()},
    }


def _short(value: str) -> str:
    return f"{value[:HASH_SHOWN]}…" if len(value) in (32, 64) and value.isalnum() else value


def events_view(found: Iterable[tuple[str, Entry]], names: Mapping[str, str]) -> Table:
    """`hexagone journal show`."""
    columns = ("time", "log", "event", "phase", "who", "bucket", "result", "more")
    table = titled_table("journal", columns, ())
    for log, entry in found:
        body = entry.body
        bucket = str(body.get("bucket", ""))
        result = " ".join(str(body[name]) for name in ("status", "code", "error") if name in body)
        told = ((name, str(value)) for name, value in body.items() if name not in _TOLD)
        more = " ".join(f"{name}={_short(value)}" for name, value in told)
        failed = bool(body.get("code") or body.get("error"))
        table.add_row(
            text(moment(entry.at_ms)),
            text(f"{log[:8]}:{entry.seq}"),
            text(entry.type),
            text(entry.phase),
            text(body.get("who", "")),
            text(names.get(bucket, bucket[:12])),
            text(result, "red" if failed else ""),
            text(more, "dim"),
        )
    return table


def logs_view(answer: Answer) -> RenderableType:
    """`hexagone journal list`."""
    table = titled_table("", ("log", "tenant", "events", "signed"), ())
    for log in answer["logs"]:
        table.add_row(
            text(log["log"]), text(log["tenant"]), text(log["events"]), text(log["signed"])
        )
    state = text(say("events are taken"), "green")
    if answer["failure"]:
        state = text(say("acts are refused: {reason}", reason=heard(answer["failure"])), "red")
    accesses = heard(answer["accesses"])
    if answer["accesses_required"]:
        accesses = say("{accesses}, required", accesses=accesses)
    lines: list[RenderableType] = [
        text(say("folder {path}", path=answer["folder"])),
        text(say("accesses: {how}; {lost} events lost", how=accesses, lost=answer["lost"])),
        state,
        table,
    ]
    return Group(*lines)


def report_document(report: Report) -> Answer:
    """A verification as JSON."""
    return {
        "intact": not report.findings,
        "findings": report.findings,
        "notices": report.notices,
        "logs": [asdict(log) for log in report.logs],
    }


def report_view(answer: Answer) -> RenderableType:
    """`hexagone journal verify`."""
    table = titled_table("", ("log", "events", "signed", "first", "last", "root"), ())
    for log in answer["logs"]:
        times = [moment(log[name]) if log[name] else "" for name in ("first_ms", "last_ms")]
        cells = (log["name"], log["events"], log["signed"], *times, log["root"])
        table.add_row(*(text(cell) for cell in cells))
    lines: list[RenderableType] = [table]
    lines += [text(f"- {heard(notice)}", "dim") for notice in answer["notices"]]
    lines += [text(f"! {heard(finding)}", "red") for finding in answer["findings"]]
    if answer["intact"]:
        lines.append(text(say("intact: every event is the one that was signed"), "green"))
    else:
        lines.append(text(say("NOT intact"), "red"))
    return Group(*lines)
