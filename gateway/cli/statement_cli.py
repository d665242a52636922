"""`hexagone statement` and `statement-verify`: what a tenant pays for a month, and if that is so.

`statement-verify` asks no gateway: it needs a journal's export, public keys and the price list.

Exit codes: 0 done, and the statement holds; 1 it does not, or the gateway refused; 2 the month of a
statement that is verified is still open, no gateway answers, or the command is wrong.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from gateway.cli import statements
from gateway.cli.journal_files import journal_keys, kept_checkpoints
from gateway.cli.metering_cli import Form, FormOption, PlanTenantOption, print_rows
from gateway.cli.statement_verify import (
    STATEMENT_BYTES_MAX,
    Checked,
    read_statement,
    verify_statement,
)
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer, text
from gateway.model.billing import HOUR_MS, PriceList
from gateway.terminal.language import heard, say
from gateway.terminal.refusals import WRONG_COMMAND, said, stop
from gateway.terminal.user_files import FileKind, FileUnusable
from storaged.base.errors import StorageError

HOURS = FileKind(
    bytes_max=1 << 28, hint="`hexagone usage --hours --from … --to … --json > FILE` writes it"
)
PLAN = FileKind(bytes_max=1 << 20, hint="`hexagone plan show --tenant … --json > FILE` writes it")
STATEMENT = FileKind(
    bytes_max=STATEMENT_BYTES_MAX, hint="`hexagone statement … --json > FILE` writes it"
)
UNFIT = (KeyError, TypeError, ValueError, AttributeError)  # of a document of another shape

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
            return _from_files(hours, plan, tenant, month, price_list)
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
    shown = [_line_shown(line, answer) for line in answer["lines"]]
    shown.append({**dict.fromkeys(shown[0], ""), **_total_shown(answer)})
    about = heard(answer["plan"])
    if not answer["is_final"]:
        about = say("{plan}, so far", plan=about)
    print_rows(answer, f"{answer['tenant']} {month} ({about})", rows, form, shown)


def _line_shown(line: Answer, answer: Answer) -> Answer:
    """A line for people: the quantity in what the price is of. CSV and JSON have it exactly."""
    units = {
        "GB·month": (answer["gb_bytes"] * answer["month_hours"] * HOUR_MS, "GB·month"),
        "GB": (answer["gb_bytes"], "GB"),
        "10k": (10_000, "10k requests"),
    }
    factor, unit = units[line["per"]]
    return {
        "item": heard(line["item"]),
        "quantity": f"{Decimal(line['quantity']) / factor:.6f}",
        "unit": heard(unit),
        "price": line["price"],
        "amount": line["amount"],
    }


def _total_shown(answer: Answer) -> Answer:
    return {"item": say("total"), "price": answer["currency"], "amount": answer["total"]}


def _from_files(
    hours: Path, plan: Path | None, tenant: str, month: str, prices: PriceList
) -> Answer:
    """The statement of files. Raises: FileUnusable, StatementInvalid."""
    held, paid = HOURS.document(hours), {} if plan is None else PLAN.document(plan)
    if plan is not None:
        if not paid:
            raise PLAN.unusable(plan, "it is no plan of a tenant")
        try:
            plans = statements.plans_of(paid)
        except UNFIT as error:
            raise PLAN.unusable(plan, "it is no plan of a tenant") from error
    else:
        plans = []
    try:
        if (held["from_hour"], held["to_hour"]) != statements.month_hours(month):
            raise statements.StatementInvalid(reason="the hours are of another time")
        return statements.statement_of(
            tenant=paid.get("tenant", tenant),
            tenant_id=paid.get("tenant_id", ""),
            month=month,
            hours=statements.hours_of(held),
            plans=plans,
            prices=prices,
        )
    except UNFIT as error:
        raise HOURS.unusable(hours, "it holds no metered hours of a tenant") from error


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

    Exit codes: 0 it is what the journal says; 1 it is not, or the journal was changed; 2 the month
    is still open, so that nobody can tell yet, or the command is wrong
    """
    known, kept = journal_keys(keys), kept_checkpoints(against or ())
    price_list = statements.read_prices(prices)
    try:
        with STATEMENT.of(file):
            told = read_statement(STATEMENT.read(file))
        checked = verify_statement(journal, known, told, price_list, against=kept)
    except FileUnusable as error:
        stop(error)
    except StorageError as error:
        checked = Checked(findings=[error.message() if as_json else said(error)[0]])
    show(checked.document(), _view, as_json=as_json)
    if checked.is_open:
        raise typer.Exit(WRONG_COMMAND)
    if checked.findings:
        raise typer.Exit(1)


def _view(answer: Answer) -> RenderableType:
    lines: list[RenderableType] = [text(f"- {heard(one)}", "dim") for one in answer["notices"]]
    lines += [text(f"! {heard(one)}", "red") for one in answer["findings"]]
    if answer["equal"]:
        total = answer["statement"]["total"]
        currency = answer["statement"]["currency"]
        equal = say("equal to the last byte: {total} {currency}", total=total, currency=currency)
        lines.append(text(equal, "green"))
    elif answer["open"]:
        later = say("the month is still open: verify again once it is closed, with a new export")
        lines.append(text(later, "yellow"))
    else:
        lines.append(text(say("NOT what the journal says"), "red"))
    return Group(*lines)
