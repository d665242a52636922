"""`hexagone completion`: what makes a shell complete the names of commands and options."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script  # typer has no public name for it

from gateway.terminal.commands import COMPLETE_VARIABLE


class Shell(StrEnum):
    """Shells that can be served."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def add_commands(target: typer.Typer) -> None:
    """Put the command on the `hexagone` command."""
    target.command("completion")(completion)


def completion(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish")]) -> None:
    """Print what makes a shell complete the names of commands and options.

    Examples:

        hexagone completion bash > ~/.local/share/bash-completion/completions/hexagone

        hexagone completion fish > ~/.config/fish/completions/hexagone.fish
    """
    script = get_completion_script(
        prog_name="hexagone", complete_var=COMPLETE_VARIABLE, shell=shell.value
    )
    typer.echo(script)
