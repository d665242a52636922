"""Commands about epochs of keys: list, status, rotate, disable, enable, destroy. Only the admin
port's client.

Not for the root key (`gateway.cli.root_key_cli`) nor for making named keys
(`gateway.cli.status_cli`), which are commands of `keys` as well (`gateway.cli.keys_app`).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from gateway.cli import key_views
from gateway.cli.client import AdminClient
from gateway.cli.status_cli import (
    AccountOption,
    DataOption,
    JsonOption,
    SocketOption,
    asked,
    client_of,
    show,
)
from gateway.cli.tables import Answer
from gateway.terminal.language import heard, say
from gateway.terminal.questions import confirm
from storaged.base.env import RealEnv

POLL_S = 1.0
POLLS_MAX = 7 * 86400  # a week

BucketOption = Annotated[str, typer.Option("--bucket", help="the key of this bucket")]
TenantOption = Annotated[str, typer.Option("--tenant", help="name or id of a tenant")]
NamedKeyOption = Annotated[
    str, typer.Option("--key", metavar="NAME", help="this named key, what S3 calls a KMS key")
]
EpochOption = Annotated[int, typer.Option("--epoch", min=1, help="as `keys list` shows it")]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="only say what would be done")]


def list_keys(
    bucket: BucketOption = "",
    tenant: TenantOption = "",
    account: AccountOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keys of tenants and buckets with their epochs and states; and those of named keys of an
    account, what S3 calls KMS keys.

    Example: hexagone keys list --bucket photos
    """

    def ask() -> Answer:
        client = client_of(data, socket)
        epochs = client.key_epochs("GET", "", _fields(bucket=bucket, tenant=tenant))
        return {**client.keys(account), **epochs}

    show(asked(ask), key_views.keys_view, as_json=as_json)


def status(
    watch: Annotated[bool, typer.Option("--watch", help="until no rotation is under way")] = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rotations under way and the reports of those that have ended, the latest first.

    The reports, as JSON, are the evidence of what was re-wrapped, when, and to which epoch.

    Example: hexagone keys status --json
    """
    client = client_of(data, socket)
    if watch:
        _follow(client)
    show(asked(lambda: _status(client)), key_views.rotations_view, as_json=as_json)


def rotate(
    bucket: BucketOption = "",
    tenant: Annotated[
        str, typer.Option("--tenant", help="the key of this tenant and those of all its buckets")
    ] = "",
    every: Annotated[
        bool, typer.Option("--all", help="all keys of all tenants and buckets")
    ] = False,
    key: NamedKeyOption = "",
    account: AccountOption = "",
    rate: Annotated[
        int, typer.Option("--rate", min=0, help="most rows re-wrapped in a second; 0 = no limit")
    ] = 2000,
    wait: Annotated[
        bool, typer.Option("--wait", help="until it has ended, with its progress")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make another epoch of a key: what is written from then on is sealed under it, and a job moves
    the rest. No byte of an object is read or moved; nobody is kept from reading or writing.

    Examples:

        hexagone keys rotate --bucket photos --wait

        hexagone keys rotate --tenant mairie --dry-run

        hexagone keys rotate --key archives
    """
    if bool(bucket) + bool(tenant) + every + bool(key) != 1:
        raise typer.BadParameter("say one of --bucket, --tenant, --key and --all")
    fields = _named(key, account) | _fields(
        bucket=bucket, tenant=tenant, all="1" if every else "", rate=str(rate)
    )
    client = client_of(data, socket)
    planned = asked(lambda: client.key_epochs("GET", "plan", fields))
    if dry_run:
        show(planned, key_views.planned_view, as_json=as_json)
        return
    count = len(planned["begun"])
    confirm(say("{count} key(s) get another epoch; nothing is lost.", count=count), yes=yes)
    begun = asked(lambda: client.key_epochs("POST", "rotate", fields))
    if wait:
        _follow(client)
        show(asked(lambda: _status(client)), key_views.rotations_view, as_json=as_json)
        return
    show(begun, key_views.planned_view, as_json=as_json)


def disable(
    epoch: EpochOption,
    bucket: BucketOption = "",
    tenant: TenantOption = "",
    key: NamedKeyOption = "",
    account: AccountOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse everything that is under an epoch, at once, until it is enabled again. The epoch that
    new objects get cannot be disabled: rotate first.

    Example: hexagone keys disable --bucket photos --epoch 1
    """
    fields = _one_epoch(bucket, tenant, key, account, epoch)
    client = client_of(data, socket)
    if dry_run or not yes:
        left = asked(lambda: client.key_epochs("GET", "left", fields))
        if dry_run:
            show(left, key_views.left_view, as_json=as_json)
            return
        held = key_views.left_text(left)
        confirm(say("{what} will not be readable until enabled again.", what=held), yes=yes)
    _change(client, "disable", fields, as_json=as_json)


def enable(
    epoch: EpochOption,
    bucket: BucketOption = "",
    tenant: TenantOption = "",
    key: NamedKeyOption = "",
    account: AccountOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back that an epoch was disabled.

    Example: hexagone keys enable --bucket photos --epoch 1
    """
    fields = _one_epoch(bucket, tenant, key, account, epoch)
    _change(client_of(data, socket), "enable", fields, as_json=as_json)


def destroy(
    epoch: EpochOption,
    bucket: BucketOption = "",
    tenant: TenantOption = "",
    key: NamedKeyOption = "",
    account: AccountOption = "",
    lose: Annotated[
        str,
        typer.Option(
            "--lose", metavar="NAME/EPOCH", help="what is under it is to be lost: its exact name"
        ),
    ] = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a disabled epoch of a key, for ever. Refused while anything is under it, unless --lose
    names it: then that is lost for ever as well.

    Copies of the key stay in the log and in checkpoints until those are freed, and in backups.

    Examples:

        hexagone keys destroy --bucket photos --epoch 1

        hexagone keys destroy --bucket photos --epoch 1 --lose photos/1
    """
    fields = _one_epoch(bucket, tenant, key, account, epoch)
    client = client_of(data, socket)
    left = asked(lambda: client.key_epochs("GET", "left", fields))
    if dry_run:
        show(left, key_views.left_view, as_json=as_json)
        return
    if left["left"] and lose:
        held = key_views.left_text(left)
        confirm(say("{what} will be LOST FOR EVER.", what=held), yes=yes)
    else:
        named = left["named"]
        confirm(say("{named} is erased for ever; nothing is under it.", named=named), yes=yes)
    done = asked(lambda: client.key_epochs("POST", "destroy", {**fields, "lose": lose}))
    show(done, key_views.destroyed_view, as_json=as_json)


def _change(client: AdminClient, verb: str, fields: dict[str, str], *, as_json: bool) -> None:
    answer = asked(lambda: client.key_epochs("POST", verb, fields))
    show(answer, key_views.changed_view, as_json=as_json)


def _fields(**fields: str) -> dict[str, str]:
    return {name: text for name, text in fields.items() if text}


def _one_epoch(bucket: str, tenant: str, key: str, account: str, epoch: int) -> dict[str, str]:
    if bool(bucket) + bool(tenant) + bool(key) != 1:
        raise typer.BadParameter("say --bucket, --tenant or --key")
    return _named(key, account) | _fields(bucket=bucket, tenant=tenant, epoch=str(epoch))


def _named(key: str, account: str) -> dict[str, str]:
    if account and not key:
        raise typer.BadParameter("--account goes with --key")
    return _fields(named_key=key, access_key_id=account)


def _status(client: AdminClient) -> Answer:
    return client.key_epochs("GET", "status", {})


def _follow(client: AdminClient) -> None:
    """Show how far rotations are until none is under way."""
    env = RealEnv(threads_max=1)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bars:
        shown: dict[str, TaskID] = {}
        for _ in range(POLLS_MAX):
            held = asked(lambda: _status(client))["rotations"]
            if not held:
                return
            for one in held:
                name = f"{heard(one['kind'])} {one['name']}"
                if name not in shown:
                    shown[name] = bars.add_task(key_views.plain(name), total=None, pace="")
                total = None if one["is_counting"] else max(one["total"], one["done"])
                bars.update(
                    shown[name],
                    total=total,
                    completed=one["done"],
                    pace=key_views.pace_text(one),
                )
            _sleep(env)


def _sleep(env: RealEnv) -> None:
    asyncio.run(env.sleep(POLL_S))
