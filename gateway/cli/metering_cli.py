"""Commands about usage and limits: usage, quota, plan. Only the admin port's client.

Tables for people, CSV and JSON for programs. Times are UTC and whole hours.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import RenderableType

from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer, bytes_text, text, titled_table
from gateway.model.billing import HOUR_MS
from gateway.terminal.language import heard, say
from storaged.base.env import RealEnv

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50}
NONE = "none"
DAYS_SHOWN = 30  # of hours, where nobody says from when
# Limits, in the words of the options that set them.
LIMITS = {
    "stored_bytes": "bytes",
    "objects": "objects",
    "buckets": "buckets",
    "access_keys": "access keys",
    "requests_per_s": "requests per s",
    "in_bytes_per_s": "in bytes per s",
    "out_bytes_per_s": "out bytes per s",
}
# What a spreadsheet would take for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Form(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


TenantOption = Annotated[str, typer.Option("--tenant", help="name or id; else all")]
BucketOption = Annotated[str, typer.Option("--bucket", help="name; else all")]
FormOption = Annotated[Form, typer.Option("--format", help="table, csv or json")]
PlanTenantOption = Annotated[str, typer.Option("--tenant", help="name or id")]
OfTenantOption = Annotated[str, typer.Option("--tenant", help="limits of a tenant")]
OfBucketOption = Annotated[str, typer.Option("--bucket", help="limits of a bucket")]
OfKeyOption = Annotated[str, typer.Option("--key", help="of an access key; '*': of each")]
OfSourceOption = Annotated[str, typer.Option("--source", help="of an address; '*': of each")]

quota_app = typer.Typer(
    no_args_is_help=True, help="Limits of tenants, buckets, access keys, addresses."
)
plan_app = typer.Typer(no_args_is_help=True, help="How a tenant pays: show, set.")


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.command("usage")(usage)
    target.add_typer(quota_app, name="quota")
    target.add_typer(plan_app, name="plan")


def usage(
    tenant: TenantOption = "",
    bucket: BucketOption = "",
    since: Annotated[str, typer.Option("--from", help="2026-11-01 or 2026-11-01T13")] = "",
    to: Annotated[str, typer.Option("--to", help="not included; else this hour's end")] = "",
    hours: Annotated[bool, typer.Option("--hours", help="the metered hours themselves")] = False,
    form: FormOption = Form.TABLE,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """What buckets hold now; with --from, what they used in a time.

    Example: hexagone usage --tenant mairie --from 2026-11-01 --to 2026-12-01 --format csv
    """
    fields = {"tenant": tenant, "bucket": bucket}
    form = Form.JSON if as_json else form
    if not since and not hours:
        answer = asked(lambda: client_of(data, socket).metering("GET", "usage", fields))
        print_rows(answer, "usage", _usage_rows(answer["usage"], answer["total"]), form)
        return
    this_hour = RealEnv(threads_max=1).now_ms() // HOUR_MS
    fields["from_hour"] = str(_hour(since) if since else this_hour - DAYS_SHOWN * 24)
    fields["to_hour"] = str(_hour(to) if to else this_hour + 1)
    if hours:
        answer = asked(lambda: client_of(data, socket).metering("GET", "hours", fields))
        print_rows(answer, "hours", [_hour_row(row) for row in answer["hours"]], form)
        return
    answer = asked(lambda: client_of(data, socket).metering("GET", "metered", fields))
    rows = [_metered_row(row) for row in answer["metered"]]
    rows.append(_metered_row({"tenant": "total", "bucket": "", **answer["total"]}))
    print_rows(answer, "metered", rows, form)


@quota_app.command("show")
def show_quotas(
    form: FormOption = Form.TABLE,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """All limits that are set. Example: hexagone quota show"""
    answer = asked(lambda: client_of(data, socket).metering("GET", "quotas", {}))
    _print_quotas(answer, Form.JSON if as_json else form)


@quota_app.command("set")
def set_quota(
    tenant: OfTenantOption = "",
    bucket: OfBucketOption = "",
    key: OfKeyOption = "",
    source: OfSourceOption = "",
    stored: Annotated[str, typer.Option("--bytes", help="such as 500G, 2Ti, none")] = "",
    objects: Annotated[str, typer.Option("--objects", help="versions and uploads")] = "",
    buckets: Annotated[str, typer.Option("--buckets", help="of a tenant")] = "",
    access_keys: Annotated[str, typer.Option("--access-keys", help="of each user")] = "",
    requests: Annotated[str, typer.Option("--requests-per-s", help="of a key or address")] = "",
    received: Annotated[str, typer.Option("--in-bytes-per-s", help="of a key or address")] = "",
    sent: Annotated[str, typer.Option("--out-bytes-per-s", help="of a key or address")] = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set limits of one tenant, bucket, access key or address; others that it has stay.

    Examples:

        hexagone quota set --tenant mairie --bytes 2T --objects 10M

        hexagone quota set --source '*' --requests-per-s 500
    """
    given = {
        "stored_bytes": stored,
        "objects": objects,
        "buckets": buckets,
        "access_keys": access_keys,
        "requests_per_s": requests,
        "in_bytes_per_s": received,
        "out_bytes_per_s": sent,
    }
    limits = {name: _quantity(said) for name, said in given.items() if said}
    if not limits:
        raise typer.BadParameter("say a limit, such as --bytes 500G; `none` takes one away")
    fields = {**_subject(tenant, bucket, key, source), "limits": json.dumps(limits)}
    answer = asked(lambda: client_of(data, socket).metering("POST", "quotas/set", fields))
    _print_quotas(answer, Form.JSON if as_json else Form.TABLE)


@quota_app.command("clear")
def clear_quota(
    tenant: OfTenantOption = "",
    bucket: OfBucketOption = "",
    key: OfKeyOption = "",
    source: OfSourceOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take all limits of one tenant, bucket, access key or address away.

    Example: hexagone quota clear --tenant mairie
    """
    fields = _subject(tenant, bucket, key, source)
    answer = asked(lambda: client_of(data, socket).metering("POST", "quotas/clear", fields))
    _print_quotas(answer, Form.JSON if as_json else Form.TABLE)


@plan_app.command("show")
def show_plan(
    tenant: PlanTenantOption,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """How a tenant pays. Example: hexagone plan show --tenant mairie"""
    answer = asked(lambda: client_of(data, socket).metering("GET", "plan", {"tenant": tenant}))
    show(answer, _plan_view, as_json=as_json)


@plan_app.command("set")
def set_plan(
    tenant: PlanTenantOption,
    reserved: Annotated[str, typer.Option("--reserved-bytes", help="0: on demand")] = "0",
    sent: Annotated[str, typer.Option("--reserved-out-bytes", help="sent in a month")] = "0",
    switching: Annotated[
        bool, typer.Option("--switching", help="leaving: what is sent is metered and free")
    ] = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set how a tenant pays: on demand, or a subscription of reserved bytes.

    Example: hexagone plan set --tenant mairie --reserved-bytes 10T
    """
    fields = {
        "tenant": tenant,
        "reserved_bytes": str(_quantity(reserved) or 0),
        "reserved_out_bytes": str(_quantity(sent) or 0),
        "switching": "1" if switching else "0",
    }
    answer = asked(lambda: client_of(data, socket).metering("POST", "plan/set", fields))
    show(answer, _plan_view, as_json=as_json)


def _subject(tenant: str, bucket: str, key: str, source: str) -> dict[str, str]:
    given = {"tenant": tenant, "bucket": bucket, "key": key, "source": source}
    named = [(subject, name) for subject, name in given.items() if name]
    if len(named) != 1:
        raise typer.BadParameter("name one of --tenant, --bucket, --key, --source")
    return {"subject": named[0][0], "name": named[0][1]}


def _quantity(said: str) -> int | None:
    """A whole number with an optional unit, decimal or binary; None for "none"."""
    if said == NONE:
        return None
    digits = said.rstrip("kMGTPi")
    factor = {**UNITS, **BINARY}.get(said[len(digits) :])
    if factor is None or not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        raise typer.BadParameter(f"{said} is no quantity: write 500, 20G, 2Ti or none")
    return int(digits) * factor


def quantity_text(value: int) -> str:
    """An exact number as `--bytes` takes it, with the largest unit that leaves a whole number."""
    units = sorted({**UNITS, **BINARY}.items(), key=lambda one: -one[1])
    for unit, factor in units:
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def _hour(said: str) -> int:
    for pattern in ("%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m"):
        try:
            at = datetime.strptime(said, pattern).replace(tzinfo=UTC)
        except ValueError:
            continue
        return int(at.timestamp()) * 1000 // HOUR_MS
    raise typer.BadParameter(f"{said} is no time: write 2026-11-01 or 2026-11-01T13")


def _usage_rows(rows: Sequence[Answer], total: Answer) -> list[Answer]:
    found = []
    for row in (*rows, {"tenant": "total", "bucket": "", **total}):
        classes = row["classes"].values()
        found.append(
            {
                "tenant": row["tenant"],
                "bucket": row["bucket"],
                "stored_bytes": row["stored_bytes"],
                "objects": row["objects"],
                "current": sum(held["current"] for held in classes),
                "noncurrent": sum(held["noncurrent"] for held in classes),
                "noncurrent_bytes": sum(held["noncurrent_bytes"] for held in classes),
                "delete_markers": row["delete_markers"],
                "uploads": row["uploads"],
                "loose_bytes": row["loose_bytes"],
                "annotation_bytes": row["annotation_bytes"],
                "by_class": " ".join(
                    f"{name}={held['current_bytes'] + held['noncurrent_bytes']}"
                    for name, held in row["classes"].items()
                ),
            }
        )
    return found


def _metered_row(row: Answer) -> Answer:
    byte_hours = {line: held // HOUR_MS for line, held in row["byte_ms"].items()}
    return {
        "tenant": row["tenant"],
        "bucket": row["bucket"],
        "byte_hours": sum(row["byte_ms"].values()) // HOUR_MS,
        "by_class": " ".join(f"{line}={held}" for line, held in byte_hours.items()),
        "requests": " ".join(f"{kind}={count}" for kind, count in row["requests"].items()),
        "in_bytes": row["in_bytes"],
        "out_bytes": row["out_bytes"],
    }


def _hour_row(row: Answer) -> Answer:
    return {"hour": _moment(row["number"]), **_metered_row(row)}


def _print_quotas(answer: Answer, form: Form) -> None:
    def row(held: Answer, limits: str) -> Answer:
        return {"of": held["subject"], "name": held["name"], "limits": limits}

    exact, shown = [], []
    for held in answer["quotas"]:
        limits = held["limits"].items()
        exact.append(row(held, " ".join(f"{name}={limit}" for name, limit in limits)))
        said = (f"{say(LIMITS[name])} {quantity_text(limit)}" for name, limit in limits)
        shown.append(row({**held, "subject": say(held["subject"])}, ", ".join(said)))
    print_rows(answer, "limits", exact, form, shown)


def print_rows(
    answer: Answer,
    title: str,
    rows: Sequence[Answer],
    form: Form,
    shown: Sequence[Answer] | None = None,
) -> None:
    """Print an answer as a table (of `shown`, where people read other rows), as CSV or as it is."""
    if form is Form.CSV:
        typer.echo(_csv(rows), nl=False)
    else:
        read = rows if shown is None else shown
        show(answer, lambda _: _table(title, read), as_json=form is Form.JSON)


def _table(title: str, rows: Sequence[Answer]) -> RenderableType:
    if not rows:
        return text(say("{title}: none", title=say(title)))
    columns = list(rows[0])
    cells = [[text(_cell(name, row.get(name, ""))) for name in columns] for row in rows]
    return titled_table(title, [name.replace("_", " ") for name in columns], cells)


def _cell(name: str, value: object) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return bytes_text(value)
    return str(value)


def _csv(rows: Sequence[Answer]) -> str:
    written = io.StringIO()
    if rows:
        writer = csv.DictWriter(written, list(rows[0]), restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _plain(value) for name, value in row.items()})
    return written.getvalue()


def _plain(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value


def _plan_view(answer: Answer) -> RenderableType:
    shown = {name: value for name, value in answer.items() if name != "changes"}
    shown["since_hour"] = _moment(answer["since_hour"])
    shown["kind"] = heard(answer["kind"])
    for name in ("reserved_bytes", "reserved_out_bytes"):
        shown[name] = quantity_text(answer[name])
    rows = [
        (text(say(name.replace("_", " "))), text(_yes_no(value))) for name, value in shown.items()
    ]
    return titled_table("plan", ("", ""), rows)


def _yes_no(value: object) -> str:
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    return str(value)


def _moment(hour: int) -> str:
    return f"{datetime.fromtimestamp(hour * HOUR_MS // 1000, UTC):%Y-%m-%dT%H}Z"
