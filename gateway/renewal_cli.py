"""`hexagone ca renew`, `ca retire`, `ca succeed` and `ca withdraw-former`: the CA's side of
certificates that renew themselves, and a CA that takes another one's place.

All run where the CA is, from a timer or by hand; what goes to and fro is a folder.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway.ca_cli import DaysOption, DirOption, JsonOption, ca_app, say, stop
from gateway.terminal import language
from gateway.terminal.refusals import said, write_refusal
from gateway.up import AUTHORITY, Laid
from storaged.base.env import Env, RealEnv
from storaged.base.errors import StorageError
from storaged.identity import CA_KEY_FILE, CERTIFICATE_DAYS, read_authority
from storaged.renewal_ca import (
    TRUSTED,
    left_behind,
    renew_spool,
    retire,
    succeed,
    withdraw_former,
)

LOOK_S = 30.0


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on `hexagone ca`, and that on another app."""
    ca_app.command("renew")(ca_renew)
    ca_app.command("retire")(ca_retire)
    ca_app.command("succeed")(ca_succeed)
    ca_app.command("withdraw-former")(ca_withdraw_former)
    target.add_typer(ca_app, name="ca")


def ca_renew(
    folder: DirOption,
    spool: Annotated[list[Path], typer.Option("--spool", help="folder of requests; repeatable")],
    days: DaysOption = CERTIFICATE_DAYS,
    as_json: JsonOption = False,
) -> None:
    """Renew what asks in a spool: the same identity, for the key that its holder has made. From a
    timer, at least twice a day; exit code 1 where one was refused.

    Example: hexagone ca renew --dir ca --spool spool
    """
    renewed: dict[str, str] = {}
    refused: dict[str, StorageError] = {}
    try:
        authority = read_authority(folder)
        for one in spool:
            for name, made in renew_spool(folder, authority, one, _env(), days=days):
                if isinstance(made, StorageError):
                    refused[name] = made
                else:
                    renewed[name] = made.not_valid_after_utc.isoformat()
    except (StorageError, OSError) as error:
        stop(error)
    if as_json:
        told = {name: error.message() for name, error in refused.items()}
        typer.echo(json.dumps({"renewed": renewed, "refused": told}))
    else:
        for name, until in renewed.items():
            typer.echo(language.say("{name} renewed until {until}", name=name, until=until))
        for name, reason in refused.items():
            text, advice = said(reason)
            write_refusal(f"{name}: {text}", advice)
    if refused:
        raise typer.Exit(1)


def ca_retire(
    folder: DirOption,
    name: Annotated[str, typer.Option("--name", help="as `ca renew` and the register name it")],
    as_json: JsonOption = False,
) -> None:
    """Renew a certificate no more: its holder is out when it ends, after 7 days at the most.

    Example: hexagone ca retire --dir ca --name paris-4-1a2b3c4d
    """
    try:
        read_authority(folder)
        if not name.replace("-", "").isalnum():
            raise typer.BadParameter(language.say("that is no name of a holder"))
        retire(folder, name, _env())
    except (StorageError, OSError) as error:
        stop(error)
    say({"name": name, "retired": "yes"}, as_json)


def ca_succeed(
    folder: DirOption,
    former: Annotated[Path, typer.Option("--from", help="folder of the CA whose place it takes")],
    as_json: JsonOption = False,
) -> None:
    """Make a CA that takes another one's place. First give DIR/authority.pem, which has both, to
    every node, gateway and key service: it is followed within a minute, nothing restarts. Then
    renew with this CA.

    Example: hexagone ca succeed --dir ca-2026 --from ca
    """
    try:
        authority = succeed(former, folder, _env())
    except (StorageError, OSError) as error:
        stop(error)
    answer = {"domain": authority.domain, "directory": str(folder)}
    say({**answer, "authority": str(folder / TRUSTED)}, as_json)


def ca_withdraw_former(
    folder: DirOption,
    cut: Annotated[
        bool, typer.Option("--cut", help="also while holders show certificates of the former CA")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only name those holders")] = False,
    as_json: JsonOption = False,
) -> None:
    """Trust the former CA no more: DIR/authority.pem is that of this one alone. Refused while a
    holder that renews itself still shows a certificate of the former one; of others look at the
    register. Give the file out, and restart one process after the other.

    Example: hexagone ca withdraw-former --dir ca-2026
    """
    try:
        authority = read_authority(folder)
        left = left_behind(folder, authority, _env())
        if not dry_run:
            withdraw_former(folder, authority, _env(), cut=cut)
    except (StorageError, OSError) as error:
        stop(error)
    if as_json:
        typer.echo(json.dumps({"withdrawn": not dry_run, "left_behind": left}))
        return
    for name in left:
        typer.echo(language.say("{name} still shows a certificate of the former CA", name=name))
    if dry_run and not left:
        typer.echo(language.say("nobody who renews himself shows a certificate of the former CA"))
    if not dry_run:
        typer.echo(str(folder / TRUSTED))


@asynccontextmanager
async def renewed_beside(laid: Laid, env: Env) -> AsyncIterator[None]:
    """Requests are answered as they come, for a cluster whose CA is on this machine."""

    ca, spool = laid.keys / AUTHORITY, laid.spool

    async def answer() -> None:
        while True:
            if (ca / CA_KEY_FILE).exists():
                await env.offload(lambda: renew_spool(ca, read_authority(ca), spool, env))
            await env.sleep(LOOK_S)

    answering = asyncio.create_task(answer())
    try:
        yield
    finally:
        answering.cancel()


def _env() -> Env:
    return RealEnv(threads_max=1)
