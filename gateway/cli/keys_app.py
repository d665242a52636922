"""`hexagone keys` and what is below it: every command is put on it here, in the order of its help.

Not for what the commands do: each is a function of its module, which knows no app.
"""

from __future__ import annotations

import typer

from gateway.cli import (
    ceremony_cli,
    key_move_cli,
    keys_cli,
    recovery_cli,
    recovery_restore_cli,
    root_key_cli,
    signing_cli,
    status_cli,
)

keys_app = typer.Typer(no_args_is_help=True, help="Keys: root, tenants', buckets', named ones.")
recovery_app = typer.Typer(
    no_args_is_help=True,
    help="Recovery of keys by a quorum of custodians: init, status, verify, request, restore.",
)


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.add_typer(keys_app, name="keys")


keys_app.command("create")(status_cli.create_key)
keys_app.command("init")(root_key_cli.init_root_key)
keys_app.command("show")(root_key_cli.show_root_key)
keys_app.command("list")(keys_cli.list_keys)
keys_app.command("status")(keys_cli.status)
keys_app.command("rotate")(keys_cli.rotate)
keys_app.command("move")(key_move_cli.move)
keys_app.command("disable")(keys_cli.disable)
keys_app.command("enable")(keys_cli.enable)
keys_app.command("destroy")(keys_cli.destroy)
keys_app.command("signing")(signing_cli.signing)
keys_app.command("rotate-attestation")(signing_cli.rotate_attestation)
keys_app.add_typer(recovery_app, name="recovery")
recovery_app.command("init")(recovery_cli.init)
recovery_app.command("reshare")(recovery_cli.reshare)
recovery_app.command("backup")(recovery_cli.backup)
recovery_app.command("status")(recovery_cli.status)
recovery_app.command("verify")(recovery_cli.verify)
recovery_app.command("request")(recovery_restore_cli.request)
recovery_app.command("restore")(recovery_restore_cli.restore)
recovery_app.command("ceremony")(ceremony_cli.ceremony)
recovery_app.command("transcript")(ceremony_cli.transcript)
