"""`hexagone access-key rotate`: the second access key of a user, and what is to be done with the
first. Only the admin port's client.

Not for the other commands about access keys (`gateway.cli.access_cli`).
"""

from __future__ import annotations

import typer
from rich.console import Group, RenderableType

from gateway.cli.access_cli import (
    SecretFileOption,
    ShowSecretOption,
    UserOption,
    key_app,
    make_key,
)
from gateway.cli.access_views import keys_view
from gateway.cli.policy_cli import TenantOption
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption, asked, client_of
from gateway.cli.tables import Answer, text, time_text
from gateway.terminal.language import say


def add_commands(target: typer.Typer) -> None:
    """Put the commands on another app (the `hexagone` command)."""
    target.add_typer(key_app, name="access-key")


@key_app.command("rotate")
def rotate_key(
    user: UserOption,
    tenant: TenantOption = "",
    secret_file: SecretFileOption = None,
    show_secret: ShowSecretOption = False,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a second access key, and say when the first one was last used: both work until you
    disable and delete the first. A user has two at the most.

    Example: hexagone access-key rotate --tenant mairie --user alice --secret-file alice.env
    """
    fields = {"tenant": tenant, "user": user}
    make_key(
        lambda: asked(lambda: client_of(data, socket).access("access-key", "rotate", fields)),
        _rotated_view,
        secret_file,
        show_secret=show_secret,
        as_json=as_json,
    )


def _rotated_view(answer: Answer) -> RenderableType:
    parts: list[RenderableType] = [keys_view([answer["access_key"]])]
    for key in answer["former"]:
        name, used = key["access_key_id"], time_text(key["last_used_at_ms"])
        parts.append(text(say("{name} was last used: {used}", name=name, used=used)))
        for line in (
            say(
                "give the new one to all that use it, then: hexagone access-key disable {name}",
                name=name,
            ),
            say("a day later, if nobody misses it: hexagone access-key delete {name}", name=name),
        ):
            parts.append(text(line))
    return Group(*parts)
