"""`hexagone departure`: a tenant gives notice, moves away, and has time to retrieve what is his.

Only the admin port's client. Exit codes: 0 done; 1 refused; 2 no gateway answers, or the command is
wrong.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType

from gateway.cli.key_views import when
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of, show
from gateway.cli.tables import Answer, text, titled_table
from gateway.model.departure import NOTICE_DAYS_MAX, RETRIEVAL_DAYS_MIN, TRANSITION_DAYS_MAX
from gateway.terminal.language import heard, say
from gateway.terminal.questions import confirm

departure_app = typer.Typer(
    no_args_is_help=True, help="Tenants that leave: begin, list, extend, cancel."
)

TenantOption = Annotated[str, typer.Option("--tenant", help="name or id")]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.add_typer(departure_app, name="departure")


@departure_app.command("begin")
def begin(
    tenant: TenantOption,
    notice_days: Annotated[
        int, typer.Option("--notice-days", help="until he begins to move; 59 at the most")
    ] = NOTICE_DAYS_MAX,
    transition_days: Annotated[
        int, typer.Option("--transition-days", help="in which he moves; 30 at the most")
    ] = TRANSITION_DAYS_MAX,
    retrieval_days: Annotated[
        int, typer.Option("--retrieval-days", help="in which he can retrieve; 30 at least")
    ] = RETRIEVAL_DAYS_MIN,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """A tenant has given notice: from this hour on nothing that he takes along costs him anything.

    During notice and transition the contract goes on. Then nothing more is taken from him; he can
    read, list and delete. Until that time has ended nobody else erases anything of his, and he
    himself is not erased before.

    Example: hexagone departure begin --tenant mairie --notice-days 30
    """
    days = notice_days + transition_days
    confirm(
        say("In {days} days nothing more is written for {name}.", days=days, name=tenant), yes=yes
    )
    fields = {
        "tenant": tenant,
        "notice_days": str(notice_days),
        "transition_days": str(transition_days),
        "retrieval_days": str(retrieval_days),
    }
    client = client_of(data, socket)
    answer = asked(lambda: client.departure("POST", "/begin", fields))
    show(answer, departures_view, as_json=as_json)


@departure_app.command("list")
def list_departures(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """Tenants that leave or have left, with their dates. Example: hexagone departure list"""
    answer = asked(lambda: client_of(data, socket).departure("GET", "", {}))
    show(answer, departures_view, as_json=as_json)


@departure_app.command("extend")
def extend(
    tenant: TenantOption,
    days: Annotated[int, typer.Option("--days", help="so much longer")],
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the transition last longer, as the tenant may ask for once.

    Example: hexagone departure extend --tenant mairie --days 60
    """
    fields = {"tenant": tenant, "days": str(days)}
    client = client_of(data, socket)
    answer = asked(lambda: client.departure("POST", "/extend", fields))
    show(answer, departures_view, as_json=as_json)


@departure_app.command("cancel")
def cancel(
    tenant: TenantOption,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """The tenant stays: the contract goes on, and what is sent is paid for again.

    Example: hexagone departure cancel --tenant mairie
    """
    confirm(say("The notice is taken back; his journal says so."), yes=yes)
    client = client_of(data, socket)
    answer = asked(lambda: client.departure("POST", "/cancel", {"tenant": tenant}))
    show(answer, departures_view, as_json=as_json)


def departures_view(answer: Answer) -> RenderableType:
    """A row for each."""
    columns = ("tenant", "phase", "notice", "transition from", "retrieval from", "retrieval until")
    rows = [
        (
            text(one["tenant"] or one["tenant_id"]),
            text(heard(one["phase"])),
            text(when(one["given_at_ms"])),
            text(when(one["transition_from_ms"])),
            text(when(one["retrieval_from_ms"])),
            text(when(one["retrieval_until_ms"])),
        )
        for one in answer["departures"]
    ]
    return titled_table("tenants that leave", columns, rows)
