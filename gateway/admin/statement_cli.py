"""`hexagone statement` and `statement-verify`: what a tenant pays for a month, and if that is so.

`statement-verify` asks no gateway: it needs a journal's export, public keys and the price list.

Exit codes: 0 done, and the statement holds; 1 it does not, or the gateway refused; 2 no gateway
answers, or the command is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from gateway.admin import statements
from gateway.admin.cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.admin.metering_cli import Form, FormOption, PlanTenantOption, print_rows
from gateway.admin.statement_verify import STATEMENT_BYTES_MAX, Checked, verify_statement
from gateway.admin.tables import Answer, text
from gateway.journal.chain import KEYS_BYTES_MAX, read_keys
from gateway.journal.notes import NOTE_BYTES_MAX
from gateway.terminal.language import heard, say
from gateway.terminal.refusals import said
from storaged.base.errors import StorageError

PricesOption = Annotated[Path | None, typer.Option("--prices", help="price list, TOML")]


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.command("statement")(statement)
    target.command("statement-verify")(verify)


def statement(
    month: Annotated[str, typer.Argument(metavar="YYYY-MM")],
    tenant: PlanTenantOption = "",
    prices: PricesOption = None,
    hours: Annotated[
        Path | None,
        typer.Option("--hours", help="compute it from this file of `usage --hours --json`"),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="with --hours: file of `plan show --json`")
    ] = None,
    form: FormOption = Form.TABLE,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """A tenant's statement of a month; from files, without a gateway, the same again.

    Example: hexagone statement 2026-11 --tenant mairie --prices prices.toml --format csv
    """
    form = Form.JSON if as_json else form

    def computed() -> Answer:
        price_list = statements.read_prices(prices)
        first, end = statements.month_hours(month)
        if hours is not None:
            held = json.loads(hours.read_text())
            paid = {} if plan is None else json.loads(plan.read_text())
            if (held["from_hour"], held["to_hour"]) != (first, end):
                raise statements.StatementInvalid(reason="the hours are of another time")
        else:
            if not tenant:
                raise typer.BadParameter("name a tenant", param_hint="--tenant")
            fields = {"tenant": tenant, "from_hour": str(first), "to_hour": str(end)}
            held = client_of(data, socket).metering("GET", "hours", fields)
            paid = client_of(data, socket).metering("GET", "plan", {"tenant": tenant})
        return statements.statement_of(
            tenant=paid.get("tenant", tenant),
            tenant_id=paid.get("tenant_id", ""),
            month=month,
            hours=statements.hours_of(held),
            plans=statements.plans_of(paid),
            prices=price_list,
        )

    answer = asked(computed)
    rows: list[Answer] = list(answer["lines"])
    rows.append({"item": "total", "amount": answer["total"], "unit": answer["currency"]})
    about = heard(answer["plan"])
    if not answer["is_final"]:
        about = say("{plan}, so far", plan=about)
    print_rows(answer, f"{answer['tenant']} {month} ({about})", rows, form)


def verify(
    file: Annotated[
        Path, typer.Argument(metavar="STATEMENT", help="as `statement --json` wrote it")
    ],
    journal: Annotated[
        Path, typer.Option("--journal", help="folder of `journal export --tenant …`")
    ],
    keys: Annotated[
        Path, typer.Option("--keys", help="file of public keys, as `journal keys` prints them")
    ],
    prices: PricesOption = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="a checkpoint that you have kept")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute a statement again from the journal alone, and compare every byte. Asks no gateway.

    Example: hexagone statement-verify 2026-11.json --journal ./export --keys journal.pub
    --prices prices.toml

    Exit codes: 0 it is what the journal says; 1 it is not, or the journal was changed; 2 the
    command is wrong
    """
    try:
        checked = verify_statement(
            journal,
            read_keys(_read(keys, KEYS_BYTES_MAX)),
            _read(file, STATEMENT_BYTES_MAX),
            statements.read_prices(prices),
            against=[_read(one, NOTE_BYTES_MAX) for one in against or ()],
        )
    except StorageError as error:
        checked = Checked(findings=[error.message() if as_json else said(error)[0]])
    show(checked.document(), _view, as_json=as_json)
    if checked.findings:
        raise typer.Exit(1)


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error


def _view(answer: Answer) -> RenderableType:
    lines: list[RenderableType] = [text(f"- {heard(one)}", "dim") for one in answer["notices"]]
    lines += [text(f"! {heard(one)}", "red") for one in answer["findings"]]
    if answer["equal"]:
        total = answer["statement"]["total"]
        currency = answer["statement"]["currency"]
        equal = say("equal to the last byte: {total} {currency}", total=total, currency=currency)
        lines.append(text(equal, "green"))
    else:
        lines.append(text(say("NOT what the journal says"), "red"))
    return Group(*lines)
